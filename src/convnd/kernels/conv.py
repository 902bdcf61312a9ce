"""Convolution, its adjoint and its weight gradient: each the gradient of the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import conv as core
from .._core import conv_weight as core_weight
from .._core import isa, panels
from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout
from ..window import Placement
from .checks import Array, check_rank, empty, floats, rows

Packs = dict[Any, Array]

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus")
FUSED = ACTIVATIONS[:5]  # their derivative follows from the output


def activation_number(name: str | None, fused: bool) -> int:
    """The core's number of an activation, 0 for none."""
    known = FUSED if fused else ACTIVATIONS
    if name is None:
        return 0
    if name not in known:
        raise ArgumentError(f"activation must be None or one of {', '.join(known)}. Received: activation={name!r}")
    return ACTIVATIONS.index(name) + 1


def _check_weight(weight: Array, kernel: tuple[int, ...], groups: int) -> None:
    if weight.ndim != len(kernel) + 2 or weight.shape[:-2] != kernel:
        raise ShapeError(
            f"weight must have shape (*kernel, C_in / groups, C_out) with kernel {kernel}. Received: {weight.shape}"
        )
    if not isinstance(groups, (int, np.integer)) or groups < 1 or weight.shape[-1] % groups:
        raise ArgumentError(
            f"groups must be at least 1 and divide the {weight.shape[-1]} filters. Received: groups={groups!r}"
        )


def _check_channels(name: str, x: Array, channels: int, rule: str) -> None:
    if x.shape[1] != channels:
        raise ShapeError(f"{name} must have {channels} channels, {rule}. Received: {x.shape[1]} channels")


def _geometry(place: Placement) -> tuple[Ints, Layout, Layout, Ints]:
    """Kernel, stride and dilation as rows, and what they slide over.

    Where every window is a single position and nothing is skipped, all positions of the batch are one long row: the
    chain of an output doesn't depend on how positions are grouped.
    """
    window = place.window
    check_rank(window.ndim)
    if all(k == 1 for k in window.kernel) and all(s == 1 for s in window.stride) and place.input == place.output:
        positions = Layout([[place.input.positions]])
        return np.ones((3, 1), dtype=np.int64), positions, positions, np.zeros((1, 1), dtype=np.int64)
    geometry = np.array([window.kernel, window.stride, window.dilation], dtype=np.int64)
    return geometry, place.input, place.output, np.ascontiguousarray(place.low)


def _pack(weight: Array, geometry: Ints, transposed: bool, flip: bool, groups: int, packs: Packs | None) -> Array:
    key = (transposed, flip, groups, geometry.tobytes() if transposed else b"", isa.current())
    if packs is not None and key in packs:
        return packs[key]
    flat = np.ascontiguousarray(weight).reshape(math.prod(weight.shape[:-2]), *weight.shape[-2:])
    none = np.empty(0, dtype=weight.dtype)
    packed: Array = empty(1, panels.pack(flat, geometry, transposed, flip, groups, none), weight.dtype)[0]
    panels.pack(flat, geometry, transposed, flip, groups, packed)
    if packs is not None:
        packs[key] = packed
    return packed


def _run(
    x: Array, place: Placement, weight: Array, bias: Array | None, groups: int, flip: bool, activation: str | None,
    transposed: bool, packs: Packs | None,
) -> Array:
    number = activation_number(activation, fused=True)
    geometry, big, small, low = _geometry(place)
    source, target = (small, big) if transposed else (big, small)
    channels = weight.shape[-2] * groups if transposed else weight.shape[-1]
    out = empty(target.positions, channels, x.dtype)
    if bias is None:
        bias = np.empty(0, dtype=x.dtype)
    elif bias.shape != (channels,):
        raise ShapeError(f"bias must have shape ({channels},), one a filter. Received: {bias.shape}")
    if x.shape[1] == 0:
        raise ShapeError("x must have at least one channel. Received: 0 channels")
    packed = _pack(weight, geometry, transposed, flip, groups, packs)
    core.conv(
        x, source.shapes, target.shapes, low, source.offsets, target.offsets, geometry, transposed, packed,
        np.ascontiguousarray(bias), groups, number, out,
    )
    return out


def conv(
    x: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, packs: Packs | None = None,
) -> Array:
    """activation(bias + the sum over taps t and channels c of x[q s + t d - low, c] weight[t, c, f]), (P_out, F)."""
    floats(x=x, weight=weight, bias=bias)
    _check_weight(weight, place.window.kernel, groups)
    x = rows("x", x, place.input.positions)
    _check_channels("x", x, weight.shape[-2] * groups, f"weight's {weight.shape[-2]} x {groups} groups")
    return _run(x, place, weight, bias, groups, flip, activation, False, packs)


def conv_transpose(
    g: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, packs: Packs | None = None,
) -> Array:
    """The adjoint of :func:`conv` at ``place``: g is on its output, the result (P_in, C) on its input."""
    floats(x=g, weight=weight, bias=bias)
    _check_weight(weight, place.window.kernel, groups)
    g = rows("x", g, place.output.positions)
    _check_channels("x", g, weight.shape[-1], "weight's filters")
    return _run(g, place, weight, bias, groups, flip, activation, True, packs)


def conv_weight(x: Array, g: Array, place: Placement, *, groups: int = 1, flip: bool = False) -> Array:
    """The sum over samples and outputs of x at each tap times g, (*kernel, C / groups, F)."""
    floats(x=x, grad=g)
    x, g = rows("x", x, place.input.positions), rows("grad", g, place.output.positions)
    for name, array in (("x", x), ("grad", g)):
        if not isinstance(groups, (int, np.integer)) or groups < 1 or array.shape[1] % groups:
            raise ArgumentError(
                f"groups must be at least 1 and divide the {array.shape[1]} channels of {name}. "
                f"Received: groups={groups!r}"
            )
    geometry, big, small, low = _geometry(place)
    kernel = place.window.kernel
    weight: NDArray[Any] = np.empty((int(np.prod(kernel)), x.shape[1] // groups, g.shape[1]), dtype=x.dtype)
    core_weight.conv_weight(
        x, g, big.shapes, small.shapes, low, big.offsets, small.offsets, geometry, groups, weight
    )
    weight = weight.reshape(*kernel, *weight.shape[1:])
    return np.ascontiguousarray(np.flip(weight, tuple(range(len(kernel))))) if flip else weight
