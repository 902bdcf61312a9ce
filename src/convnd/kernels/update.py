"""Optimisers' steps, in place: everything that one touches goes by once, all parameters in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from .._core import update as core
from ..errors import ArgumentError, ShapeError
from ..layout import Ints
from .checks import DTYPES, Array, floats

# Values, their gradient, and what goes with them: mean and square; a velocity or None.
AdamChange = tuple[Array, Array, Array, Array]
DescentChange = tuple[Array, Array, "Array | None"]


def adam(
    changes: Sequence[AdamChange], steps: Sequence[tuple[float, float]], *, betas: tuple[float, float], eps: float,
    pull: float = 0.0, shrink: float = 0.0,
) -> None:
    """values -= rate mean / (sqrt(square) / root + eps), with mean and square of g = grad + pull values moved before.

    ``steps`` are the rate and root of each change. ``shrink`` times the values is taken off beside. Source: Kingma and
    Ba, "Adam", ICLR 2015, algorithm 1.
    """
    if len(steps) != len(changes):
        raise ArgumentError(f"steps must be as many as changes, {len(changes)}. Received: {len(steps)}")
    table, kept = _table(changes, ("mean", "square"))
    of_each = np.array(steps, dtype=np.float64).reshape(-1, 2)
    for part in _apart(table):
        core.adam(table[part], of_each[part], *betas, eps, pull, shrink)
    del kept


def descent(
    changes: Sequence[DescentChange], *, rate: float, momentum: float = 0.0, nesterov: bool = False, pull: float = 0.0
) -> None:
    """velocity = momentum velocity + g, g = grad + pull values; values -= rate velocity.

    Nesterov's momentum steps by g + momentum velocity, a descent without velocity by g.
    """
    table, kept = _table(changes, ("velocity",))
    nothing = np.zeros((len(table), 2))
    for part in _apart(table):
        core.descent(table[part], nothing[part], rate, momentum, nesterov, pull)
    del kept


def _apart(table: Ints) -> list[slice]:
    """The rows that may go at once: all, or one after the other where the values of two share memory."""
    if not len(table):
        return []
    first = np.argsort(table[:, 1])
    begin, size = table[first, 1], table[first, 4] * table[first, 5]
    if (begin[:-1] + size[:-1] <= begin[1:]).all():
        return [slice(None)]
    return [slice(row, row + 1) for row in range(len(table))]


def _table(changes: Sequence[tuple[Array | None, ...]], names: Sequence[str]) -> tuple[Ints, list[Array]]:
    """Addresses of the gradient, the values and up to two running means of each change, its numbers and their bytes.
    And the gradients that were copied for it."""
    table, kept = np.zeros((len(changes), 6), dtype=np.int64), []
    for row, (values, grad, *state) in zip(table, changes, strict=True):
        assert values is not None
        assert grad is not None
        if not isinstance(grad, np.ndarray) or not grad.flags.c_contiguous:
            grad = np.array(grad, order="C")
            kept.append(grad)
        shape, dtype = values.shape, values.dtype
        alike = all(array is None or (array.shape == shape and array.dtype == dtype) for array in (grad, *state))
        if not (alike and dtype in DTYPES and core.read_addresses((grad, values, *state), row)):
            _refuse(dict(zip(("values", "grad", *names), (values, grad, *state), strict=True)))
        row[4:] = values.size, values.itemsize
    return table, kept


def _refuse(given: dict[str, Array | None]) -> NoReturn:
    arrays = {name: array for name, array in given.items() if array is not None}
    values = arrays["values"]
    floats(**arrays)
    for name, array in arrays.items():
        if array.shape != values.shape:
            raise ShapeError(f"{name} must have the shape of values, {values.shape}. Received: {array.shape}")
        if name != "grad" and not array.flags.c_contiguous:
            raise ShapeError(f"{name}, changed in place, must be C-contiguous. Received: strides {array.strides}")
        if name != "grad" and not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ArgumentError(f"{name}, changed in place, must be a writeable array. Received: a read-only one")
    raise AssertionError("nothing to refuse")
