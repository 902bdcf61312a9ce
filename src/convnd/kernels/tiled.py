"""Tiled convolution, its adjoint and its weight gradient: output q has the weight of its residue q mod tile.

A tile of 1 is a convolution. One as large as the output shares nothing: locally connected. Arrays are those of
:mod:`.conv`, but the weight is (*tile, *kernel, C / groups, F).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._core import conv as core
from .._core import isa, panels
from .._core import tiled_weight as core_weight
from ..errors import ShapeError
from ..window import Placement
from .checks import Array, check_rank, empty, floats, rows
from .conv import activation_number, conv, conv_transpose, conv_weight
from .task import Packs

Tile = tuple[int, ...]


def _geometry(
    place: Placement, tile: Tile, channels: int, filters: int, groups: int, dtype: np.dtype[Any], transposed: bool
) -> panels.Geometry:
    """What the core asks of a batch, kept with the placement."""
    key = "tiled", tile, channels, filters, groups, dtype, transposed, isa.current()
    found: panels.Geometry | None = place.memo.get(key)
    if found is None:
        check_rank(place.window.ndim)
        window = np.array([*place.window.rows[:3].tolist(), list(tile)], dtype=np.int64)
        source, target = (place.output, place.input) if transposed else (place.input, place.output)
        found = place.memo[key] = panels.Geometry(
            window, source.shapes, target.shapes, place.low, source.offsets, target.offsets, transposed, channels,
            filters, groups, dtype.itemsize,
        )
    return found


def _axis_by_axis(rank: int) -> list[int]:
    """The order of a weight's axes in which the core counts them: tile and kernel of the first axis, of the next ..."""
    return [axis + side * rank for axis in range(rank) for side in (0, 1)]


def _run(
    x: Array, place: Placement, weight: Array, bias: Array | None, groups: int, activation: str | None,
    packs: Packs | None, transposed: bool,
) -> Array:
    floats(x=x, weight=weight, bias=bias)
    rank = place.window.ndim
    tile, per_group, columns = weight.shape[:rank], weight.shape[-2], weight.shape[-1]
    if rank == 0:
        same: dict[str, Any] = {"groups": groups, "activation": activation, "packs": packs}
        return (conv_transpose if transposed else conv)(x, place, weight, bias, **same)
    channels, filters = (columns, per_group * groups) if transposed else (per_group * groups, columns)
    x = rows("x", x, (place.output if transposed else place.input).positions)
    target = place.input if transposed else place.output
    out = empty(target.positions, filters, x.dtype)
    if out.size == 0:
        return out
    geometry = _geometry(place, tile, channels, filters, groups, x.dtype, transposed)
    # A transposed one's taps are packed in an order that depends on the window.
    order = place.window.stride, place.window.dilation
    key = ("tiled", transposed, tile, groups, order if transposed else None, isa.current())
    packed: Array | None = None if packs is None else packs.get(key)
    if packed is None:
        lanes = panels.LANES["filters"]
        flat = np.ascontiguousarray(weight.transpose(*_axis_by_axis(rank), 2 * rank, 2 * rank + 1))
        packed = empty(1, panels.size(geometry, lanes), x.dtype)[0]
        panels.pack(geometry, flat, False, lanes, packed)
        if packs is not None:
            packs[key] = packed
    bias = None if bias is None else np.ascontiguousarray(bias)
    core.conv(geometry, x, packed, bias, panels.LANES["filters"], activation_number(activation, fused=True), out)
    return out


def tiled_conv(
    x: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1,
    activation: str | None = None, packs: Packs | None = None,
) -> Array:
    """activation(bias + the sum over taps t and channels c of x[q s + t d - low, c] weight[q mod tile, t, c, f])."""
    return _run(x, place, weight, bias, groups, activation, packs, transposed=False)


def tiled_conv_transpose(
    g: Array, place: Placement, weight: Array, *, groups: int = 1, packs: Packs | None = None
) -> Array:
    """The adjoint of :func:`tiled_conv`: g is on the placement's output, the result (P_in, C) on its input."""
    return _run(g, place, weight, None, groups, None, packs, transposed=True)


def tiled_conv_weight(x: Array, g: Array, place: Placement, tile: Tile, *, groups: int = 1) -> Array:
    """The sum over the outputs of each residue of x at each tap times g, (*tile, *kernel, C / groups, F)."""
    floats(x=x, grad=g)
    rank, kernel = place.window.ndim, place.window.kernel
    if rank == 0:
        return conv_weight(x, g, place, groups=groups)
    x, g = rows("x", x, place.input.positions), rows("grad", g, place.output.positions)
    channels, filters = x.shape[1], g.shape[1]
    if channels % groups or filters % groups:
        raise ShapeError(
            f"groups must divide the {channels} channels and the {filters} filters. Received: groups={groups}"
        )
    out = empty(math.prod(tile) * math.prod(kernel), channels // groups * filters, x.dtype)
    if g.size == 0 or x.size == 0:
        out[...] = 0
    else:
        # A core's tile reads whole vectors of filters.
        wide = empty(1, g.size + 2 * isa.lanes(g.itemsize), g.dtype)[0]
        wide[: g.size], wide[g.size :] = g.ravel(), 0
        core_weight.conv_weight(_geometry(place, tile, channels, filters, groups, x.dtype, False), x, wide, out)
    return out.reshape(*tile, *kernel, channels // groups, filters)
