"""Optimisers' steps, in place: everything that one touches goes by once."""

from __future__ import annotations

from .._core import pointwise as core
from ..errors import ShapeError
from .checks import Array, floats


def adam(
    values: Array, grad: Array, mean: Array, square: Array, *, betas: tuple[float, float], rate: float, root: float,
    eps: float, pull: float = 0.0, shrink: float = 0.0,
) -> None:
    """values -= rate mean / (sqrt(square) / root + eps), with mean and square of g = grad + pull values moved before.

    ``shrink`` times the values is taken off beside. Source: Kingma and Ba, "Adam", ICLR 2015, algorithm 1.
    """
    flat = _flat(values, grad, mean=mean, square=square)
    if values.size:
        core.adam(*flat, *betas, rate, root, eps, pull, shrink)


def descent(
    values: Array, grad: Array, velocity: Array | None, *, rate: float, momentum: float = 0.0, nesterov: bool = False,
    pull: float = 0.0,
) -> None:
    """velocity = momentum velocity + g, g = grad + pull values; values -= rate velocity.

    Nesterov's momentum steps by g + momentum velocity, a descent without velocity by g.
    """
    flat = _flat(values, grad) if velocity is None else _flat(values, grad, velocity=velocity)
    if values.size:
        core.descent(*flat, *([flat[0][:0]] if velocity is None else []), rate, momentum, nesterov, pull)


def _flat(values: Array, grad: Array, **state: Array) -> list[Array]:
    """The gradient, then what is changed, each as one run of numbers."""
    floats(values=values, grad=grad, **state)
    for name, array in {"values": values, "grad": grad, **state}.items():
        if array.shape != values.shape:
            raise ShapeError(f"{name} must have the shape of values, {values.shape}. Received: {array.shape}")
        if name != "grad" and not array.flags.c_contiguous:
            raise ShapeError(f"{name}, changed in place, must be C-contiguous. Received: strides {array.strides}")
    return [array.reshape(-1) for array in (grad, values, *state.values())]
