"""Convolution, its adjoint and its weight gradient: each the gradient of the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._core import isa
from ..errors import ArgumentError, ShapeError
from ..layout import Ints
from ..window import Placement
from . import depthwise, direct, grouped, narrow, winograd
from .checks import Array, check_rank, empty, floats, rows
from .task import Implementation, Kind, Packs, Side, Task, choose, perform

# The first that takes a task does it.
IMPLEMENTATIONS: tuple[Implementation, ...] = (depthwise, narrow, grouped, winograd, direct)

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


def _sides(place: Placement) -> tuple[Ints, Side, Side, Ints]:
    """Kernel, stride and dilation as rows, the two sides of the window, and the padding before.

    Where every window is a single position and nothing is skipped, all positions of the batch are one long row: the
    result of a position doesn't depend on how positions are grouped.
    """
    window = place.window
    check_rank(window.ndim)
    if all(k == 1 for k in window.kernel) and all(s == 1 for s in window.stride) and place.input == place.output:
        row = Side(np.array([[place.input.positions]]), np.array([0, place.input.positions]))
        return np.ones((3, 1), dtype=np.int64), row, row, np.zeros((1, 1), dtype=np.int64)
    geometry = np.array([window.kernel, window.stride, window.dilation], dtype=np.int64)
    big, small = (Side(layout.shapes, layout.offsets) for layout in (place.input, place.output))
    return geometry, big, small, np.ascontiguousarray(place.low)


def _perform(kind: Kind, place: Placement, algorithm: str, **operands: Any) -> None:
    """Fill ``out``. What follows from the placement is worked out once."""
    memo = place.memo
    if "sides" not in memo:
        memo["sides"] = _sides(place)
    geometry, big, small, low = memo["sides"]
    source, target = (small, big) if kind == "transposed" else (big, small)
    task = Task(kind, geometry=geometry, source=source, target=target, low=low, **operands)
    if len(task.low) == 0 or task.out.size == 0:
        return
    key = (kind, algorithm, task.channels, task.filters, task.groups, task.x.dtype, isa.current())
    if key not in memo:
        memo[key] = choose(task, IMPLEMENTATIONS, algorithm)
    perform(task, memo[key])


def chosen(place: Placement) -> list[str]:
    """Names of the implementations that calls at ``place`` have taken so far."""
    plans = (plan for key, plan in place.memo.items() if isinstance(key, tuple))
    return sorted({getattr(way, "__name__", way.algorithm).rpartition(".")[2] for plan in plans for way, _ in plan})


def _run(
    kind: Kind, x: Array, place: Placement, weight: Array, bias: Array | None, groups: int, flip: bool,
    activation: str | None, algorithm: str, packs: Packs | None,
) -> Array:
    number = activation_number(activation, fused=True)
    channels = weight.shape[-2] * groups if kind == "transposed" else weight.shape[-1]
    if bias is not None:
        if bias.shape != (channels,):
            raise ShapeError(f"bias must have shape ({channels},), one a filter. Received: {bias.shape}")
        bias = np.ascontiguousarray(bias)
    if x.shape[1] == 0:
        raise ShapeError("x must have at least one channel. Received: 0 channels")
    out = empty((place.input if kind == "transposed" else place.output).positions, channels, x.dtype)
    _perform(
        kind, place, algorithm, x=x, out=out, groups=groups, flip=flip, weight=weight, bias=bias, activation=number,
        packs=packs,
    )
    return out


def conv(
    x: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, algorithm: str = "auto", packs: Packs | None = None,
) -> Array:
    """activation(bias + the sum over taps t and channels c of x[q s + t d - low, c] weight[t, c, f]), (P_out, F)."""
    floats(x=x, weight=weight, bias=bias)
    _check_weight(weight, place.window.kernel, groups)
    x = rows("x", x, place.input.positions)
    _check_channels("x", x, weight.shape[-2] * groups, f"weight's {weight.shape[-2]} x {groups} groups")
    return _run("forward", x, place, weight, bias, groups, flip, activation, algorithm, packs)


def conv_transpose(
    g: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, algorithm: str = "auto", packs: Packs | None = None,
) -> Array:
    """The adjoint of :func:`conv` at ``place``: g is on its output, the result (P_in, C) on its input."""
    floats(x=g, weight=weight, bias=bias)
    _check_weight(weight, place.window.kernel, groups)
    g = rows("x", g, place.output.positions)
    _check_channels("x", g, weight.shape[-1], "weight's filters")
    return _run("transposed", g, place, weight, bias, groups, flip, activation, algorithm, packs)


def conv_weight(
    x: Array, g: Array, place: Placement, *, groups: int = 1, flip: bool = False, algorithm: str = "auto"
) -> Array:
    """The sum over samples and outputs of x at each tap times g, (*kernel, C / groups, F)."""
    floats(x=x, grad=g)
    x, g = rows("x", x, place.input.positions), rows("grad", g, place.output.positions)
    for name, array in (("x", x), ("grad", g)):
        if not isinstance(groups, (int, np.integer)) or groups < 1 or array.shape[1] % groups:
            raise ArgumentError(
                f"groups must be at least 1 and divide the {array.shape[1]} channels of {name}. "
                f"Received: groups={groups!r}"
            )
    kernel = place.window.kernel
    weight: Array = np.empty((math.prod(kernel), x.shape[1] // groups, g.shape[1]), dtype=x.dtype)
    if len(g) == 0:
        weight[:] = 0
    _perform("weight", place, algorithm, x=x, out=weight, groups=groups, grad=g)
    weight = weight.reshape(*kernel, *weight.shape[1:])
    return np.ascontiguousarray(np.flip(weight, tuple(range(len(kernel))))) if flip else weight
