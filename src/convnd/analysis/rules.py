"""What each kind of layer reads, axis by axis: the rules that receptive fields are made of."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from .. import nn
from ..errors import ArgumentError
from ..kernels import proportional_regions, window_regions
from ..layout import Ints
from ..nn.conv import _Windowed
from ..nn.graph import INPUT, Graph
from ..nn.layer import Layer
from ..nn.pool import _Pool
from ..nn.spec import Spec, join, located
from ..ops.padding import pair_per_axis
from ..ops.resize import number_per_axis
from ..window import Placement
from .connections import Meetings, axis_meetings, layer_window, one_sample

Number = int | Fraction
T = TypeVar("T")


class Step(NamedTuple):
    """What one layer reads along an axis: output q from ``start + q rate`` on, ``span`` further; and what meets.

    Without ``met`` each output reads all there is.
    """

    outputs: int
    rate: Number
    start: Number
    span: Number
    met: Meetings | None


# Each output sees its own position, in inference.
POINTWISE = (
    nn.Activation, nn.BatchNorm, nn.Bias, nn.ChannelShuffle, nn.Dropout, nn.Embedding, nn.LayerNorm, nn.Linear,
    nn.LocalResponseNorm, nn.Maxout, nn.PReLU,
)  # fmt: skip
# Each output sees what any of the inputs does.
JOINS = (nn.Add, nn.Concat, nn.Multiply, nn.ScaleChannels)
# Each output sees the whole sample: there is one, or they share the sample's statistics.
WHOLE = (
    nn.Flatten, nn.GlobalPool, nn.SpatialPyramidPool, nn.GroupNorm, nn.InstanceNorm, nn.LocalContrastNorm,
    nn.SqueezeExcite,
)  # fmt: skip
# Which positions they read follows from the values.
BY_VALUE = (nn.KMaxPool, nn.MaxUnpool, nn.RoiPool)


def walk(layer: Layer, inputs: tuple[T, ...], path: str, leaf: Callable[[Layer, tuple[T, ...], str], T]) -> T:
    """Take values through a network, ``leaf`` at each layer that isn't a graph of others."""
    if not isinstance(layer, Graph):
        return leaf(layer, inputs, path)
    known = {INPUT: inputs[0]}
    for name in layer.order:
        node = layer.nodes[name]
        with located(name):
            known[name] = walk(node.layer, tuple(known[feed] for feed in node.feeds), join(path, name), leaf)
    return known[layer.output_node]


def unwrapped(layer: Layer) -> Layer:
    """The layer whose weight a :class:`~convnd.nn.WeightNorm` normalises; any other layer itself."""
    return nn.from_config(layer.layer) if isinstance(layer, nn.WeightNorm) else layer


def refuse_by_value(layer: Layer) -> None:
    """Refuse a layer that has no receptive field, short of the whole sample."""
    if isinstance(layer, BY_VALUE):
        raise ArgumentError(
            f"which positions a {type(layer).__name__} reads follows from the values, not from a rule. "
            f"Received: {layer!r}"
        )


def steps_of(layer: Layer, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    """What a layer that moves positions reads of its first input, for each axis of that."""
    refuse_by_value(layer)
    if isinstance(layer, WHOLE):
        outputs = output.shape or (1,) * specs[0].ndim
        return [_all(size, out) for size, out in zip(_shape(specs[0]), outputs, strict=True)]
    for kinds, rule in _RULES:
        if isinstance(layer, kinds):
            found = rule(layer, specs, output)
            return found
    raise ArgumentError(f"there is no rule for the receptive field of a {type(layer).__name__}. Received: {layer!r}")


def _shape(spec: Spec) -> tuple[int, ...]:
    return spec.shape or ()


def _all(size: int, outputs: int = 1) -> Step:
    return Step(outputs, 0, 0, size - 1, None)


def _window(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    place = layer_window(layer, output.ndim).on(one_sample(_shape(specs[0])))
    window, low, met = place.window, place.low[0].tolist(), axis_meetings(window_regions(place))
    rules = zip(window.stride, low, window.extent, met, _shape(output), strict=True)
    return [Step(outputs, s, -p, e - 1, along) for s, p, e, along, outputs in rules]


def _masked(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    if np.ndim(layer.mask) > 2:
        raise ArgumentError(
            "a mask over taps leaves no window to speak of; seen_by_gradient shows what is seen. "
            f"Received: {type(layer).__name__} with a mask of shape {np.shape(layer.mask)}"
        )
    return _window(layer, specs, output)


def _transposed(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    like = None if len(specs) < 2 else one_sample(_shape(specs[1]))
    window = layer.window(output.ndim)
    place: Placement = window.transposed_on(one_sample(_shape(specs[0])), layer.output_padding, like)
    met = [Meetings(along.input, along.output, along.tap) for along in axis_meetings(window_regions(place))]
    rules = zip(window.stride, place.low[0].tolist(), window.extent, met, _shape(output), strict=True)
    return [
        Step(outputs, Fraction(1, s), Fraction(p - e + 1, s), Fraction(e - 1, s), along)
        for s, p, e, along, outputs in rules
    ]


def _bins(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    """Bin q of b covers floor(q S / b) up to ceil((q + 1) S / b): in steps of u / v = S / b, up to (v - 1) / v more."""
    steps = []
    bins = _shape(output)
    met = axis_meetings(proportional_regions(one_sample(_shape(specs[0])), bins))
    for size, outputs, along in zip(_shape(specs[0]), bins, met, strict=True):
        rate = Fraction(size, outputs)
        more = Fraction(rate.denominator - 1, rate.denominator)
        span = rate - Fraction(1, rate.denominator) + more
        steps.append(_all(size) if outputs == 1 else Step(outputs, rate, -more, span, along))
    return steps


def _moved(size: int, outputs: int, low: int, mode: str = "constant") -> Step:
    """Output q reads q - low, and what a padding reads where that doesn't exist."""
    q = np.arange(outputs, dtype=np.int64)
    source: Ints = q - low
    if mode != "constant":
        name = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        source = np.pad(np.arange(size, dtype=np.int64), (low, outputs - size - low), cast(Any, name))
    there = (source >= 0) & (source < size)
    return Step(outputs, 1, -low, 0, Meetings(q[there], source[there], np.zeros_like(q[there])))


def _box(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    """Padding and cropping: by numbers, or to another's size."""
    sizes, outputs = _shape(specs[0]), _shape(output)
    if isinstance(layer, nn.Pad):
        lows = [low for low, _ in pair_per_axis(layer.padding, output.ndim, "padding")]
    elif isinstance(layer, nn.Crop):
        lows = [-low for low, _ in pair_per_axis(layer.cropping, output.ndim, "cropping")]
    else:  # the odd one of the rest goes at the end
        rests = [out - size for size, out in zip(sizes, outputs, strict=True)]
        lows = [0 if layer.at == "start" else (rest // 2 if rest > 0 else -(-rest // 2)) for rest in rests]
    mode = getattr(layer, "mode", "constant")
    return [_moved(size, out, low, mode) for size, out, low in zip(sizes, outputs, lows, strict=True)]


def _resized(layer: Any, specs: tuple[Spec, ...], output: Spec) -> list[Step]:
    """Output q reads the position at place z, or linearly the two around it."""
    scales = (None,) * output.ndim if layer.scale is None else number_per_axis(layer.scale, output.ndim)
    return [
        _resampled(size, outputs, scale, layer.mode, layer.align_corners)
        for size, outputs, scale in zip(_shape(specs[0]), _shape(output), scales, strict=True)
    ]


def _resampled(size: int, outputs: int, scale: float | None, mode: str, align_corners: bool) -> Step:
    if align_corners:
        rate = Fraction(size - 1, max(outputs - 1, 1))
    else:
        rate = Fraction(size, outputs) if scale is None else 1 / Fraction(scale).limit_denominator(10**6)
    start = Fraction(0) if mode == "nearest" or align_corners else (rate if mode == "nearest_exact" else rate - 1) / 2
    parts = lcm(rate.denominator, start.denominator)  # a place is a multiple of 1 / parts
    q = np.arange(outputs, dtype=np.int64)
    place = np.clip(q * int(rate * parts) + int(start * parts), 0, (size - 1) * parts)
    more = Fraction(parts - 1, parts)
    if mode != "linear":
        return Step(outputs, rate, start - more, more, Meetings(q, place // parts, np.zeros_like(q)))
    both = np.concatenate([place // parts, -(-place // parts)])
    return Step(outputs, rate, start - more, 2 * more, Meetings(np.tile(q, 2), both, np.zeros_like(both)))


# The first that fits is taken.
_RULES: tuple[tuple[Any, Callable[[Any, tuple[Spec, ...], Spec], list[Step]]], ...] = (
    (nn.ConvTranspose, _transposed),
    (nn.MaskedConv, _masked),
    ((_Windowed, _Pool), _window),
    ((nn.ProportionalPool, nn.QuadrantPool), _bins),
    ((nn.Pad, nn.Crop, nn.PadLike, nn.CropLike), _box),
    (nn.Resize, _resized),
)
