"""Convolution, its adjoint and its weight gradient: each the gradient of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .._core import isa
from ..errors import ArgumentError, ShapeError
from ..layout import Ints
from ..window import Placement, Window
from . import depthwise, direct, fft, grouped, narrow, overlapped, phased, rowwise, spanned, winograd
from .checks import Array, check_rank, contiguous, empty, floats, rows
from .task import Counted, Implementation, Kind, Operation, Packs, Part, Problem, Side, Task, choose, perform

# The first that takes a task does it.
IMPLEMENTATIONS: tuple[Implementation, ...] = (
    fft, depthwise, spanned.by_winograd, overlapped, rowwise, phased, grouped, winograd, narrow, spanned.directly,
    direct,
)  # fmt: skip

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus",
               "selu", "hardsigmoid", "hardswish", "absolute")
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


def _check_bias(bias: Array | None, channels: int) -> None:
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(f"bias must have shape ({channels},), one a filter. Received: {bias.shape}")


def _check_channels(name: str, x: Array, channels: int, rule: str) -> None:
    if x.shape[1] != channels:
        raise ShapeError(f"{name} must have {channels} channels, {rule}. Received: {x.shape[1]} channels")
    if channels == 0:
        raise ShapeError(f"{name} must have at least one channel. Received: 0 channels")


@lru_cache(maxsize=1024)
def _operation(
    kind: Kind, window: Window, flat: bool, channels: int, filters: int, groups: int, dtype: np.dtype[Any], flip: bool,
    activation: int, level: str,
) -> Operation:
    """One for all batches, at an instruction set. ``flat``: every window is a single position."""
    check_rank(window.ndim)
    geometry = np.ones((3, 1), dtype=np.int64) if flat else window.rows[:3]
    return Operation(kind, geometry, channels, filters, groups, dtype, flip, activation)


@dataclass(frozen=True, eq=False, slots=True)
class _Sides:
    """Both ends of a placement, the padding before, and what each sample is by itself.

    Where every window is a single position and nothing is skipped, all positions of the batch are one long row: the
    result of a position doesn't depend on how positions are grouped.
    """

    flat: bool
    big: Side
    small: Side
    low: Ints
    samples: list[bytes] | None  # None: a row, which is never met again

    @classmethod
    def of(cls, place: Placement) -> _Sides:
        if place.window.is_position and place.input == place.output:
            row = Side(np.array([[place.input.positions]]), np.array([0, place.input.positions]))
            return cls(True, row, row, np.zeros((1, 1), dtype=np.int64), None)
        big, small = (Side(layout.shapes, layout.offsets) for layout in (place.input, place.output))
        return cls(False, big, small, place.low, big.samples(small, place.low))


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What calls at one placement share if their operands have the same shapes, dtypes and options, which are right."""

    problem: Problem
    parts: list[Part]
    positions: int  # of the output
    filters: int


def _plan(
    kind: Kind, place: Placement, x: Array, filters: int, groups: int, algorithm: str, flip: bool = False,
    activation: int = 0,
) -> Plan:
    sides = place.memo.get("sides")
    if sides is None:
        sides = place.memo["sides"] = _Sides.of(place)
    source, target = (sides.small, sides.big) if kind == "transposed" else (sides.big, sides.small)
    channels = x.shape[1]
    operation = _operation(
        kind, place.window, sides.flat, channels, filters, groups, x.dtype, flip, activation, isa.current()
    )
    problem = Problem(operation, source, target, sides.low, given=sides.samples)
    parts: list[Part] = []
    if len(sides.low) and channels and filters:
        parts = choose(Task(problem, x, x), IMPLEMENTATIONS, algorithm)  # by all but the output
    return Plan(problem, parts, int(target.offsets[-1]), filters)


def _run(
    plan: Plan, x: Array, weight: Array, bias: Array | None, packs: Packs | None, counted: list[Counted] | None = None
) -> Array:
    out = empty(plan.positions, plan.filters, x.dtype)
    if bias is not None:
        bias = np.ascontiguousarray(bias)
    perform(Task(plan.problem, contiguous(x), out, weight, bias, None, packs, counted), plan.parts)
    return out


def chosen(place: Placement) -> list[str]:
    """Names of the implementations that calls at ``place`` have taken so far."""
    plans = (plan for plan in place.memo.values() if isinstance(plan, Plan))
    ways = {way for plan in plans for way, _ in plan.parts}
    return sorted(getattr(way, "__name__", type(way).__name__.lower()).rpartition(".")[2] for way in ways)


def _key(kind: Kind, x: Array, other: Array, bias: Array | None, groups: int, *options: Any) -> tuple[Any, ...]:
    """All that a plan depends on, and all that is checked. (A count of 2.0 is refused, though it equals 2.)"""
    shape = None if bias is None else (bias.shape, bias.dtype)
    return kind, x.shape, x.dtype, other.shape, other.dtype, shape, type(groups), groups, options, isa.current()


def conv(
    x: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, algorithm: str = "auto", packs: Packs | None = None,
    counted: list[Counted] | None = None,
) -> Array:
    """activation(bias + the sum over taps t and channels c of x[q s + t d - low, c] weight[t, c, f]), (P_out, F).

    ``counted`` is a task's.
    """
    key = _key("forward", x, weight, bias, groups, flip, activation, algorithm)
    plan: Plan | None = place.memo.find(key)
    if plan is None:
        floats(x=x, weight=weight, bias=bias)
        _check_weight(weight, place.window.kernel, groups)
        x = rows("x", x, place.input.positions)
        _check_channels("x", x, weight.shape[-2] * groups, f"weight's {weight.shape[-2]} x {groups} groups")
        number = activation_number(activation, fused=True)
        filters = weight.shape[-1]
        _check_bias(bias, filters)
        plan = place.memo[key] = _plan("forward", place, x, filters, groups, algorithm, flip, number)
    return _run(plan, x, weight, bias, packs, counted)


def conv_transpose(
    g: Array, place: Placement, weight: Array, bias: Array | None = None, *, groups: int = 1, flip: bool = False,
    activation: str | None = None, algorithm: str = "auto", packs: Packs | None = None,
) -> Array:
    """The adjoint of :func:`conv` at ``place``: g is on its output, the result (P_in, C) on its input."""
    key = _key("transposed", g, weight, bias, groups, flip, activation, algorithm)
    plan: Plan | None = place.memo.find(key)
    if plan is None:
        floats(x=g, weight=weight, bias=bias)
        _check_weight(weight, place.window.kernel, groups)
        g = rows("x", g, place.output.positions)
        _check_channels("x", g, weight.shape[-1], "weight's filters")
        number = activation_number(activation, fused=True)
        filters = weight.shape[-2] * groups
        _check_bias(bias, filters)
        plan = place.memo[key] = _plan("transposed", place, g, filters, groups, algorithm, flip, number)
    return _run(plan, g, weight, bias, packs)


def conv_weight(
    x: Array, g: Array, place: Placement, *, groups: int = 1, flip: bool = False, algorithm: str = "auto"
) -> Array:
    """The sum over samples and outputs of x at each tap times g, (*kernel, C / groups, F)."""
    key = _key("weight", x, g, None, groups, algorithm)
    plan: Plan | None = place.memo.find(key)
    if plan is None:
        floats(x=x, grad=g)
        x, g = rows("x", x, place.input.positions), rows("grad", g, place.output.positions)
        for name, array in (("x", x), ("grad", g)):
            if not isinstance(groups, (int, np.integer)) or groups < 1 or array.shape[1] % groups:
                raise ArgumentError(
                    f"groups must be at least 1 and divide the {array.shape[1]} channels of {name}. "
                    f"Received: groups={groups!r}"
                )
        plan = place.memo[key] = _plan("weight", place, x, g.shape[1], groups, algorithm)
    kernel = place.window.kernel
    taps, depth = math.prod(kernel), x.shape[1] // groups
    weight = empty(taps * depth, g.shape[1], x.dtype).reshape(taps, depth, g.shape[1])
    if len(g) == 0:
        weight[:] = 0
    perform(Task(plan.problem, contiguous(x), weight, grad=contiguous(g)), plan.parts)
    weight = weight.reshape(*kernel, *weight.shape[1:])
    return np.ascontiguousarray(np.flip(weight, tuple(range(len(kernel))))) if flip else weight
