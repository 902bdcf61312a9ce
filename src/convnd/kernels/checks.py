"""What every kernel asks of its arrays, and outputs for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import moves
from .._core.memory import Buffer
from ..errors import DtypeError, ShapeError

Array = NDArray[Any]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def floats(**arrays: Array | None) -> None:
    """All arrays are of one dtype, float32 or float64."""
    first = None
    for name, array in arrays.items():
        if array is None:
            continue
        if array.dtype not in DTYPES:
            raise DtypeError(
                f"{name} must be float32 or float64: cast it, {name}.astype('float32'). "
                f"Received: {name} of {array.dtype}"
            )
        if first is None:
            first = name, array.dtype
        elif array.dtype != first[1]:
            raise DtypeError(
                f"{name} and {first[0]} must have one dtype: cast one, {name}.astype('{first[1]}'). "
                f"Received: {first[0]} of {first[1]}, {name} of {array.dtype}"
            )


MOST_AXES = 16  # the core's MAX_RANK


def check_rank(ndim: int) -> None:
    """The core has room for this many axes."""
    if ndim > MOST_AXES:
        raise ShapeError(f"x must have at most {MOST_AXES} spatial axes. Received: {ndim}")


def rows(name: str, x: Array, positions: int) -> Array:
    """x as a C-contiguous (positions, channels) array."""
    if x.ndim != 2 or x.shape[0] != positions:
        raise ShapeError(f"{name} must have shape ({positions} positions, channels). Received: {x.shape}")
    return contiguous(x)


def in_rows(x: Array) -> bool:
    """Whether x is a matrix whose rows may lie apart, as channels taken out of a batch do; not over each other."""
    if x.ndim != 2 or not x.flags.aligned:
        return False
    step, size = x.strides[0], x.itemsize
    return x.strides[1] == size and step % size == 0 and step >= x.shape[1] * size


def contiguous(x: Array) -> Array:
    """x in row-major order: itself, or a copy."""
    if x.flags.c_contiguous:
        return x
    if not in_rows(x) or x.dtype not in DTYPES or not x.size:
        return np.ascontiguousarray(x)
    out = empty(x.shape[0], x.shape[1], x.dtype)
    moves.take(x, np.arange(x.shape[1]), out, 0)
    return out


def vector(name: str, given: Array, channels: int) -> Array:
    """A C-contiguous vector, one number a channel."""
    if given.shape != (channels,):
        raise ShapeError(f"{name} must have shape ({channels},), one a channel. Received: {given.shape}")
    return np.ascontiguousarray(given)


PAGE = 4096  # below this a buffer of our own costs more than the memory it saves


def empty(positions: int, channels: int, dtype: np.dtype[Any]) -> Array:
    """A new array for an output, its content undefined; its memory is used again when the array is gone."""
    size = positions * channels * dtype.itemsize
    shape = positions, channels
    return np.empty(shape, dtype) if size < PAGE else np.ndarray(shape, dtype, Buffer(size))


def empty_like(x: Array) -> Array:
    """:func:`empty`, for an output of the shape of ``x``."""
    return empty(x.size, 1, x.dtype).reshape(x.shape)
