"""Channels, rows and single numbers that are moved: taken by number, joined, added where they belong, multiplied."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._core import moves as core
from .._core import places as by_position
from ..errors import ShapeError
from ..layout import Ints, Layout
from .checks import Array, contiguous, empty, empty_like, floats, in_rows, rows


def take_channels(x: Array, channels: Ints) -> Array:
    """The channels of these numbers, (P, len(channels)); zeros where a number is below 0."""
    floats(x=x)
    x = _rows(x)
    out = empty(len(x), len(channels), x.dtype)
    if out.size:
        core.take(x, np.ascontiguousarray(channels, np.int64), out, 0)
    return out


def join_channels(parts: Sequence[Array]) -> Array:
    """The channels of all parts, one after the other; they have as many positions."""
    ends = np.cumsum([part.shape[-1] for part in parts]).tolist()
    out = empty(len(parts[0]), ends[-1], parts[0].dtype)
    put_channels(out, [(end - part.shape[-1], part) for end, part in zip(ends, parts, strict=True)])
    return out


def put_channels(out: Array, parts: Sequence[tuple[int, Array]]) -> None:
    """``out[:, first : first + C] = part`` for each (first, part); a part is (P, C) and out (P, more channels)."""
    floats(out=out, **{f"parts[{number}]": part for number, (_, part) in enumerate(parts)})
    for number, (first, part) in enumerate(parts):
        if part.ndim != 2 or len(part) != len(out) or part.shape[1] > out.shape[1] - first:
            raise ShapeError(
                f"parts[{number}] must have {len(out)} positions, as the others, and at most {out.shape[1] - first} "
                f"channels. Received: shape {part.shape}"
            )
    rows = [(first, _rows(part)) for first, part in parts if part.size]
    where = [
        (part.__array_interface__["data"][0], part.strides[0] // part.itemsize, part.shape[1], first)
        for first, part in rows
    ]
    if where:
        core.join(np.array(where), out)


def _rows(x: Array) -> Array:
    """x, whose rows may lie apart."""
    return x if in_rows(x) else contiguous(x)


def maxout(x: Array, pieces: int) -> Array:
    """The largest of each group of ``pieces`` neighbouring channels, which divide them; NaN wins, and no zero is -0."""
    floats(x=x)
    x = rows("x", x, len(x))
    out = empty(len(x), x.shape[1] // pieces, x.dtype)
    if out.size:
        core.maxout(x, out)
    return out


def maxout_grad(x: Array, g: Array) -> Array:
    """The gradient to x: g at the first of equal largest."""
    floats(x=x, grad=g)
    x, g = rows("x", x, len(x)), rows("grad", g, len(x))
    out = empty_like(x)
    if x.size:
        core.maxout_grad(x, g, out)
    return out


def add(x: Array, y: Array) -> Array:
    """x + y; y may lack the first axes of x."""
    floats(x=x, y=y)
    if y.shape != x.shape[x.ndim - y.ndim :]:
        raise ShapeError(f"y must have the shape of the last axes of x. Received: {y.shape} and {x.shape}")
    x, y = contiguous(x), contiguous(y)
    out = empty_like(x)
    if x.size:
        core.add(x.reshape(-1), y.reshape(-1), out.reshape(-1))
    return out


def multiply(x: Array, y: Array) -> Array:
    """x y, (P, C) both; a ``y`` of one channel goes with every channel of x."""
    if y.shape[1] == 1 < x.shape[1]:
        floats(x=x, y=y)
        x, y = rows("x", x, len(x)), rows("y", y, len(x))
        out = empty_like(x)
        if x.size:
            core.multiply_rows(x, y.reshape(-1), out)
        return out
    floats(x=x, y=y)
    if x.shape != y.shape:
        raise ShapeError(f"x and y must have one shape. Received: {x.shape} and {y.shape}")
    x, y = contiguous(x), contiguous(y)
    out = empty_like(x)
    if x.size:
        core.multiply(x.reshape(-1), y.reshape(-1), out.reshape(-1))
    return out


def keep(x: Array, kept: NDArray[np.bool_]) -> Array:
    """x where kept, zeros elsewhere, whatever x is there; ``kept`` has the shape of the last axes of x."""
    floats(x=x)
    x = contiguous(x)
    out = empty_like(x)
    if x.size:
        bits = np.negative(kept.view(np.int8), dtype=f"i{x.itemsize}").reshape(-1)
        core.keep(x.reshape(-1), bits.view(x.dtype), out.reshape(-1))
    return out


def turned(x: Array) -> Array:
    """Each of some matrices transposed: (..., C, R) of (..., R, C)."""
    floats(x=x)
    x = np.ascontiguousarray(x)
    *count, rows, columns = x.shape
    out = empty(x.size, 1, x.dtype).reshape(math.prod(count), columns, rows)
    if x.size:
        core.turn(x.reshape(len(out), rows, columns), out)
    return out.reshape(*count, columns, rows)


def take_rows(table: Array, numbers: Ints) -> Array:
    """``table[numbers]``, numbers in range."""
    floats(table=table)
    table = rows("table", table, len(table))
    out = empty(len(numbers), table.shape[1], table.dtype)
    if out.size:
        core.take_rows(table, np.ascontiguousarray(numbers, np.int64), out)
    return out


def sum_rows(g: Array, numbers: Ints, count: int) -> Array:
    """For each number below ``count`` the sum of its rows of g, (count, C), in float64 and in their order."""
    floats(grad=g)
    g = rows("grad", g, len(numbers))
    out = np.zeros((count, g.shape[1]), g.dtype)
    if g.size:
        core.sum_rows(g, np.ascontiguousarray(numbers, np.int64), out)
    return out


def sum_few(x: Array) -> Array:
    """The sum of few long rows, (C,): one chain for each channel, in the dtype of x."""
    out = np.empty(x.shape[1], x.dtype)
    core.sum_few(x, out)
    return out


def scatter(x: Array, places: Ints, at: Layout, of: Layout) -> Array | None:
    """Zeros on ``of``, to which the values of x, on ``at``, are added in order at their ``places`` within the sample,
    (P_at, C) like x. None if a place lies outside of its sample."""
    floats(x=x)
    x = rows("x", x, at.positions)
    out = empty(of.positions, x.shape[1], x.dtype)
    if not x.size:
        out.fill(0)
        return out
    inside = by_position.scatter_places(x, np.ascontiguousarray(places, np.int64), at.offsets, of.offsets, out)
    return out if inside else None


def gather(x: Array, places: Ints, at: Layout, of: Layout) -> Array:
    """The values of x, on ``of``, at ``places``: the adjoint of :func:`scatter`, whose places these are."""
    floats(x=x)
    x = rows("x", x, of.positions)
    out = empty(at.positions, x.shape[1], x.dtype)
    if out.size:
        by_position.gather_places(x, np.ascontiguousarray(places, np.int64), at.offsets, of.offsets, out)
    return out


def largest(x: Array, layout: Layout, output: Layout, k: int) -> tuple[Array, Ints]:
    """The k largest along the first axis of each sample, in their order, on ``output``, and for each its number among
    all of x. Of equals the first; NaN goes before all."""
    floats(x=x)
    x = rows("x", x, layout.positions)
    out = empty(output.positions, x.shape[1], x.dtype)
    index = np.empty(out.shape, np.int64)
    if out.size:
        by_position.largest(x, layout.offsets, output.offsets, np.ascontiguousarray(layout.shapes[:, 0]), k, out, index)
    return out, index
