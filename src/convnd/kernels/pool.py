"""Pooling over regions, and its gradient."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .._core import pool as core
from .._core import pool_grad as core_grad
from ..errors import ArgumentError, ShapeError
from ..layout import Ints
from ..window import Regions
from .checks import Array, check_rank, empty, empty_like, floats, rows, vector
from .conv import activation_number

Index = NDArray[np.int32]
INDEX = np.dtype(np.int32)

MODES = ("max", "mean", "sum", "mean_padded")  # those with a gradient
ALL_MODES = (*MODES, "squares")


def _mode_number(mode: str, regions: Regions, modes: tuple[str, ...] = MODES) -> tuple[int, float]:
    """The core's number of a mode, and the positions of the whole window."""
    if mode not in modes:
        raise ArgumentError(f"mode must be one of {', '.join(modes)}. Received: mode={mode!r}")
    if mode == "mean_padded" and regions.window is None:
        raise ArgumentError("mode='mean_padded' needs the regions of a window, all of one size")
    return modes.index(mode), float(math.prod(regions.window or ()))


def _starts(shapes: Ints) -> Ints:
    """Entries of a flat per-axis table before each (sample, axis), and the total last."""
    starts = np.zeros(shapes.size + 1, dtype=np.int64)
    np.cumsum(shapes, out=starts[1:])
    return starts


def _tables(regions: Regions) -> tuple[Ints, ...]:
    """What the core asks of regions, kept with them: shapes, offsets, starts of the tables, steps, the tables.

    A sample without axes has one position; to the core it is an axis of one.
    """
    known = regions.__dict__
    if "tables" not in known:
        big, small = regions.input, regions.output
        outputs, inputs, steps = regions.outputs, regions.inputs, regions.step
        shapes = big.shapes, small.shapes
        check_rank(big.ndim)
        if big.ndim == 0:
            one = np.ones((len(big), 1), dtype=np.int64)
            shapes, steps = (one, one), (1,)
            outputs = inputs = np.repeat([[0], [1]], len(big), axis=1)
        known["tables"] = (
            *shapes, big.offsets, small.offsets, _starts(shapes[0]), _starts(shapes[1]),
            np.asarray(steps, dtype=np.int64), outputs, inputs,
        )
    found: tuple[Ints, ...] = known["tables"]
    return found


def _check_index_range(regions: Regions) -> None:
    if len(regions.input) and regions.input.sizes.max() >= 2**31:
        sample = int(np.argmax(regions.input.sizes))
        raise ShapeError(
            f"sample {sample}: max pooling numbers a sample's positions in 32 bits, so a sample must have fewer than "
            f"2^31. Received: sample of shape {regions.input.shape(sample)}"
        )


def pool(x: Array, regions: Regions, mode: str, indexed: bool = True) -> tuple[Array, Index | None]:
    """The "max", "mean", "sum", "mean_padded" or "squares" (their sum) of each region, (P_out, C).

    With "max" and ``indexed`` also the winner's position in its sample, int32 (P_out, C): the first of equals; NaN
    wins. "mean" is over true positions, "mean_padded" divides by the window's. A region without positions has mean and
    sum 0, maximum -inf and position -1.
    """
    floats(x=x)
    x = rows("x", x, regions.input.positions)
    out = empty(regions.output.positions, x.shape[1], x.dtype)
    index = empty(len(out), x.shape[1], INDEX) if indexed and mode == "max" else None
    pool_channels(x, regions, mode, 0, x.shape[1], out, index)
    return out, index


def pool_channels(
    x: Array, regions: Regions, mode: str, first: int, count: int, out: Array, index: Index | None
) -> None:
    """:func:`pool` of ``count`` channels from ``first`` on, to those of ``out`` and, with "max", of ``index`` where it
    is given; both have the channels of x."""
    floats(x=x, out=out)
    x = rows("x", x, regions.input.positions)
    number, window = _mode_number(mode, regions, ALL_MODES)
    if index is not None:
        _check_index_range(regions)
    if out.size and count:
        none: Index = np.empty((0, 0), dtype=np.int32)
        core.pool(x, *_tables(regions), number, window, first, first + count, out, none if index is None else index)


def scale_shift_pool(
    x: Array, regions: Regions, scale: Array, shift: Array, activation: str | None = None
) -> tuple[Array, Index, Array]:
    """``pool(scale_shift(x, scale, shift, activation), regions, "max")``, and the number of x behind each maximum."""
    floats(x=x, scale=scale, shift=shift)
    x = rows("x", x, regions.input.positions)
    channels = x.shape[1]
    scale, shift = vector("scale", scale, channels), vector("shift", shift, channels)
    number = activation_number(activation, fused=True)
    _check_index_range(regions)
    out, winner = (empty(regions.output.positions, channels, x.dtype) for _ in range(2))
    index: Index = empty(len(out), channels, INDEX)
    if out.size:
        core.norm_pool(x, *_tables(regions), scale, shift, number, out, index, winner)
    return out, index, winner


def pool_grad(g: Array, regions: Regions, mode: str, index: Index | None = None) -> Array:
    """The gradient to x of :func:`pool`, (P_in, C): every input gathers from the outputs whose regions hold it."""
    floats(grad=g)
    g = rows("grad", g, regions.output.positions)
    number, window = _mode_number(mode, regions)
    if mode == "max":
        _check_index_range(regions)
        index = _winners(g, index)
    else:
        index = np.empty((0, 0), dtype=np.int32)
    out = empty(regions.input.positions, g.shape[1], g.dtype)
    if g.size:
        core_grad.pool_grad(g, *_tables(regions), number, window, out, index)
    else:
        out[...] = 0
    return out


def scale_shift_pool_grad(
    g: Array, x: Array, regions: Regions, index: Index, scale: Array, shift: Array, b: Array, c: Array,
    activation: str | None = None,
) -> Array:
    """``batch_norm_grad(pool_grad(g, regions, "max", index), x, scale, shift, b, c, activation)``.

    If several outputs have one maximum, the activation's slope there is a factor of the sum of their gradients.
    """
    floats(grad=g, x=x, scale=scale, shift=shift, b=b, c=c)
    number = activation_number(activation, fused=True)
    g, x = rows("grad", g, regions.output.positions), rows("x", x, regions.input.positions)
    if x.shape[1] != g.shape[1]:
        raise ShapeError(f"grad must have the channels of x, {x.shape[1]}. Received: {g.shape}")
    out = empty_like(x)
    named = (("scale", scale), ("shift", shift), ("b", b), ("c", c))
    scale, shift, b, c = (vector(name, v, x.shape[1]) for name, v in named)
    if x.size and g.size:
        core_grad.norm_pool_grad(g, x, *_tables(regions), _winners(g, index), scale, shift, number, b, c, out)
    elif x.size:
        out[...] = x * b + c
    return out


def _winners(g: Array, index: Index | None) -> Index:
    """The positions that the pool gave with "max", checked."""
    if index is None or index.shape != g.shape or index.dtype != np.int32:
        received = None if index is None else f"{index.dtype} of shape {index.shape}"
        raise ShapeError(f"index must be what pool gave with 'max', int32 of shape {g.shape}. Received: {received}")
    return np.ascontiguousarray(index)
