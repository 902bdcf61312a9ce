"""Vectors for integers: each number of a sequence becomes a row of a table.

A position's result depends on its number alone, so op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, DtypeError, ShapeError
from ..layout import Ints, Layout, Ragged
from ..tensor import Array, Kind, Tensor, record
from ._operands import fixed


def embedding(numbers: Array | Ragged, table: Array | Tensor) -> Any:
    """Row ``numbers[p]`` of ``table`` at every position p.

    A Tensor holds floats only, and integers need no gradient: so they come as they are, an integer array that has NO
    axis of channels, or an integer Ragged with one channel. The rank is free: one number a sample, sequences, images.

    Parameters
    ----------
    numbers : integer ndarray (N, *S), or integer Ragged with one channel
        Each at least 0 and below K.
    table : (K, C)
        An array or a parameter, float32 or float64.

    Returns
    -------
    ndarray (N, *S, C) or Ragged with C channels, as ``numbers``; a Tensor of that kind if ``table`` is one. The
    gradient of a row is summed over the batch's positions in their order.

    Raises
    ------
    DtypeError
        If ``numbers`` aren't integers, or ``table`` isn't float32 or float64.
    ShapeError
        If ``table`` isn't (K, C), or ``numbers`` have no axis of samples, or a Ragged has several channels.
    ArgumentError
        If a number is out of range (the message names the sample).

    References
    ----------
    Bengio, Ducharme, Vincent, Jauvin, "A neural probabilistic language model", JMLR 3, 2003; *Deep Learning*, section
    12.4.2.

    Examples
    --------
    >>> table = np.array([[0.0, 0.0], [1.0, 10.0], [2.0, 20.0]])
    >>> embedding(np.array([[2, 1, 1]]), table).tolist()
    [[[2.0, 20.0], [1.0, 10.0], [1.0, 10.0]]]
    >>> embedding(Ragged.pack([np.array([[2]]), np.array([[0], [1]])]), table).layout
    Layout([[1], [2]])
    """
    rows = fixed(table, "table")
    if rows.values.ndim != 2 or 0 in rows.values.shape:
        raise ShapeError(f"table must be (K, C), a row for each number. Received: table of shape {rows.values.shape}")
    if isinstance(numbers, Tensor):
        raise DtypeError("numbers must be integers: an integer array or Ragged. Received: a Tensor, which holds floats")
    kind: Kind
    if isinstance(numbers, Ragged):
        if numbers.values.shape[1] != 1:
            raise ShapeError(f"numbers must have one channel. Received: {numbers!r}")
        flat, layout, kind = numbers.values.reshape(-1), numbers.layout, "ragged"
    else:
        array = np.asarray(numbers)
        if array.ndim < 1:
            raise ShapeError(f"numbers must be (samples, *shape) or a Ragged. Received: shape {array.shape}")
        flat, layout, kind = array.reshape(-1), Layout.dense(array.shape[0], array.shape[1:]), "dense"
    if flat.dtype.kind not in "iu":
        raise DtypeError(f"numbers must be integers; cast them: numbers.astype(np.int64). Received: dtype {flat.dtype}")
    _check_range(flat, layout, len(rows.values))
    result = _look_up(flat.astype(np.int64), layout, kind, rows)
    return result if isinstance(table, Tensor) else result.numpy()


def _check_range(flat: Array, layout: Layout, count: int) -> None:
    if flat.size and (flat.min() < 0 or flat.max() >= count):
        position = int(np.argmax((flat < 0) | (flat >= count)))
        sample = int(np.searchsorted(layout.offsets, position, side="right")) - 1
        raise ArgumentError(
            f"sample {sample}: numbers must be at least 0 and below {count}, the rows of table. "
            f"Received: {flat[position]}"
        )


def _look_up(numbers: Ints, layout: Layout, kind: Kind, table: Tensor) -> Tensor:
    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.sum_rows(g, numbers, len(table.values)),)

    return record(kernels.take_rows(table.values, numbers), layout, kind, (table,), grad_fn)
