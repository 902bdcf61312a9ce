"""What a box of a layer's result reads, and the layer on that alone.

A box is a range of positions on every axis. Ranges count on the WHOLE sample, at every layer: a window falls where it
falls on the whole, and a layer that runs on a box gets as padding what the box's windows reach beyond the sample. So an
output's sum has the very terms that it has on the whole.

A layer needs no code of its own for that if it is ``pointwise`` or says which window slides (:meth:`Layer.sliding`).
``RULES`` has the others, ``WHOLE`` those that look at the sample as a whole, with the reason.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..axes import AxisTaps
from ..errors import ArgumentError
from ..layout import Layout
from ..ops._axes import take
from ..ops.padding import crop_like_taps, crop_taps, pad_like_taps, pad_taps
from ..ops.resize import resize_taps
from ..tensor import Array, Tensor
from .attention import SqueezeExcite
from .boxes import Axis, Box, Piece, Span, hull, lengths
from .conv import ConvTranspose, _Windowed
from .layer import Layer
from .norm import GroupNorm, InstanceNorm, LocalContrastNorm, WeightNorm
from .pool import Flatten, GlobalPool, ProportionalPool
from .pool_kinds import KMaxPool, MaxUnpool, QuadrantPool, RoiPool, SpatialPyramidPool
from .spec import Mode, Spec
from .structure import Crop, CropLike, Pad, PadLike, Resize, ScaleChannels
from .tiled import Bias, LocalConv, TiledConv

WHOLE: tuple[tuple[Any, str], ...] = (
    (GlobalPool, "it pools all positions of the sample"),
    ((ProportionalPool, SpatialPyramidPool, QuadrantPool), "its bins are shares of the whole sample"),
    (Flatten, "it joins all positions of the sample in one vector"),
    ((InstanceNorm, GroupNorm), "it normalises by statistics of the whole sample"),
    (LocalContrastNorm, "its least divisor is a mean over the whole sample"),
    (SqueezeExcite, "it scales by means over the whole sample"),
    (ScaleChannels, "its factors are the same for the whole sample"),
    (KMaxPool, "its k largest are those of the whole first axis"),
    (RoiPool, "its regions lie anywhere in the sample"),
)


def run(layer: Layer, *inputs: Array) -> Array:
    """The layer in inference on arrays (N, *S, C)."""
    result: Array = layer.run(*map(Tensor, inputs), mode=Mode()).numpy()
    return result


def padded(layer: Layer, padding: Box) -> Any:
    """The layer with another padding, a pair an axis."""
    own: Any = copy.copy(layer)
    own.padding = padding
    return own


def _at_ends(layer: Layer, padding: Box) -> Any:
    """The layer with the padding that its windows meet in a box, those too that reach over the end."""
    own = padded(layer, padding)
    if hasattr(own, "ceil_mode"):
        own.ceil_mode = False
    return own


class Local:
    """A layer whose results are local, on one sample.

    ``reads`` says which box of each input a box of the result follows from (None: the input's size alone), ``centre``
    which part of that mustn't be left out; what else is left out counts as padding. ``run`` computes the box.
    """

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        raise NotImplementedError

    def centre(self, box: Box) -> tuple[Box | None, ...]:
        return self.reads(box)

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        """``pieces`` are the boxes of those inputs that are read."""
        raise NotImplementedError


class _Each(Local):
    """Every position on its own."""

    def __init__(self, layer: Layer, inputs: tuple[Spec, ...], output: Spec) -> None:
        self._layer, self._count = layer, len(inputs)

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        return (box,) * self._count

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        return run(self._layer, *(piece.values for piece in pieces))


class _Bias(_Each):
    """A bias that may depend on the position."""

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        layer = copy.copy(self._layer)
        layer.params = _turned(layer.params, box, whole=getattr(layer, "tile", None) == "shape")
        return run(layer, pieces[0].values)


class _Sliding(Local):
    """A window."""

    def __init__(self, layer: Layer, inputs: tuple[Spec, ...], output: Spec) -> None:
        sizes = inputs[0].shape or ()
        window = layer.window(len(sizes)) if isinstance(layer, _Windowed) else layer.sliding(len(sizes))
        assert window is not None
        place = window.on(Layout.dense(1, sizes))
        self._layer = layer
        self._axes = Axis.of(window, sizes, place.output.shape(0), place.low[0].tolist())

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        return (tuple(axis.reads(span) for axis, span in zip(self._axes, box, strict=True)),)

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        (piece,) = pieces
        outputs = tuple(axis.widened(span) for axis, span in zip(self._axes, box, strict=True))
        ends = [axis.ends(span) for axis, span in zip(self._axes, outputs, strict=True)]
        padding = tuple((i - first, last - j) for (first, last), (i, j) in zip(ends, piece.box, strict=True))
        return Piece(run(self._on(_at_ends(self._layer, padding), outputs), piece.values), outputs).cut(box).values

    def _on(self, layer: Layer, outputs: Box) -> Layer:
        return layer


class _Convolved(_Sliding):
    """A convolution: of what its window reads all but the middle may be left out, since padding is zero."""

    def centre(self, box: Box) -> tuple[Box | None, ...]:
        return (tuple(axis.centre(span) for axis, span in zip(self._axes, box, strict=True)),)


class _Tiled(_Convolved):
    """A convolution whose weights depend on the position."""

    def _on(self, layer: Layer, outputs: Box) -> Layer:
        layer.params = _turned(layer.params, outputs, whole=isinstance(layer, LocalConv))
        return layer


def _turned(params: dict[str, Tensor], box: Box, whole: bool) -> dict[str, Tensor]:
    """Parameters (*tile, ...), by position modulo the tile, for positions that are counted from the box's start.

    ``whole``: with as many as the box has positions.
    """
    return {name: _turned_one(value, box, whole) for name, value in params.items()}


def _turned_one(parameter: Tensor, box: Box, whole: bool) -> Tensor:
    values = parameter.values
    tile = values.shape[: len(box)]
    if values.ndim <= len(box):  # one for each channel
        return parameter
    size = lengths(box) if whole else tuple(map(min, tile, lengths(box)))
    if size == tile and not any(start % length for (start, _), length in zip(box, tile, strict=True)):
        return parameter
    for axis, ((start, _), length, count) in enumerate(zip(box, tile, size, strict=True)):
        values = np.take(values, (start + np.arange(count)) % length, axis=axis)
    return Tensor.of(values, None, "array")


class _Transposed(Local):
    """A transposed convolution: inputs are the window's outputs. The size of what it is to be like is known already."""

    def __init__(self, layer: ConvTranspose, inputs: tuple[Spec, ...], output: Spec) -> None:
        sizes = inputs[0].shape or ()
        like = Layout.dense(1, inputs[1].shape or ()) if len(inputs) > 1 else None
        window = layer.window(len(sizes))
        place = window.transposed_on(Layout.dense(1, sizes), layer.output_padding, like)
        self._layer, self._others = layer, (None,) * (len(inputs) - 1)
        self._axes = Axis.of(window, place.input.shape(0), sizes, place.low[0].tolist())

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        return (tuple(axis.reached(span) for axis, span in zip(self._axes, box, strict=True)), *self._others)

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        (piece,) = pieces
        padding, more = [], []
        for axis, (start, stop), span in zip(self._axes, box, piece.box, strict=True):
            first, last = axis.ends(span)
            padding.append((start - first, max(0, last - stop)))
            more.append(max(0, stop - last))  # less than a stride, or that of the whole
        layer = padded(self._layer, tuple(padding))
        layer.output_padding = tuple(more)
        return run(layer, piece.values)


class _Taken(Local):
    """Padding, cropping and resizing: which positions an output reads stands in a table for each axis.

    A border that is padded "circular" reads both ends of its axis, and so all between.
    """

    def __init__(self, layer: Any, inputs: tuple[Spec, ...], output: Spec) -> None:
        layouts = [Layout.dense(1, spec.shape or ()) for spec in inputs]
        self._taps = self._table(layer, layouts[0], layouts[1] if len(inputs) > 1 else None)
        self._fill = float(getattr(layer, "value", 0.0))
        self._starts = self._taps.starts[0].tolist()
        self._others = (None,) * (len(inputs) - 1)

    @staticmethod
    def _table(layer: Any, own: Layout, like: Layout | None) -> AxisTaps:
        if isinstance(layer, Resize):
            return resize_taps(own, layer.size, layer.scale, like, layer.mode, layer.align_corners)
        if isinstance(layer, Pad):
            return pad_taps(own, layer.padding, layer.mode, layer.value)
        if isinstance(layer, Crop):
            return crop_taps(own, layer.cropping)
        assert like is not None
        if isinstance(layer, PadLike):
            return pad_like_taps(own, like, layer.at, layer.mode, layer.value)
        return crop_like_taps(own, like, layer.at)

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        index, spans = self._taps.index, []
        for start, (first, last) in zip(self._starts, self._ranges(box), strict=True):
            if first == last:  # constants alone: the position next to them will do
                first -= first > self._taps.first[start]
                last = first + 1
            spans.append((int(index[first:last].min()), int(index[first:last].max()) + 1))
        return (tuple(spans), *self._others)

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        (piece,) = pieces
        counts, index, weight = [np.zeros(1, np.int64)], [], []
        for start, span, (first, last), (at, _) in zip(
            self._starts, box, self._ranges(box), piece.box, strict=True
        ):
            counts.append(np.diff(self._taps.first[start + span[0] : start + span[1] + 1]))
            index.append(self._taps.index[first:last] - at)
            weight.append(self._taps.weight[first:last])
        input, output = Layout.dense(1, lengths(piece.box)), Layout.dense(1, lengths(box))
        entries = np.cumsum([0, *lengths(box)])[:-1].reshape(1, -1)
        taps = AxisTaps(
            input, output, entries, np.cumsum(np.concatenate(counts)), np.concatenate(index), np.concatenate(weight)
        )
        values: Array = take(Tensor(piece.values), taps, self._fill).numpy()
        return values

    def _ranges(self, box: Box) -> list[Span]:
        """Which taps are those of a box, axis by axis."""
        first = self._taps.first
        return [
            (int(first[start + span[0]]), int(first[start + span[1]]))
            for start, span in zip(self._starts, box, strict=True)
        ]


class _Unpooled(Local):
    """Values that go back to where maxima were: those whose windows meet the box, and all that these windows hold."""

    def __init__(self, layer: MaxUnpool, inputs: tuple[Spec, ...], output: Spec) -> None:
        sizes = inputs[1].shape or ()
        window = layer.sliding(len(sizes))
        assert window is not None
        place = window.on(Layout.dense(1, sizes))
        self._axes = Axis.of(window, sizes, place.output.shape(0), place.low[0].tolist())
        self._layer = layer

    def reads(self, box: Box) -> tuple[Box | None, ...]:
        values = tuple(axis.reached(span) for axis, span in zip(self._axes, box, strict=True))
        pooled = tuple(axis.reads(span) for axis, span in zip(self._axes, values, strict=True))
        return values, hull(pooled, box)

    def run(self, box: Box, pieces: Sequence[Piece]) -> Array:
        values, pooled = pieces
        ends = [axis.ends(span) for axis, span in zip(self._axes, values.box, strict=True)]
        padding = tuple(
            (start - first, max(0, last - stop))
            for (first, last), (start, stop) in zip(ends, pooled.box, strict=True)
        )
        result = run(_at_ends(self._layer, padding), values.values, pooled.values)
        return Piece(result, pooled.box).cut(box).values


RULES: tuple[tuple[Any, Any], ...] = (
    (Bias, _Bias),
    (ConvTranspose, _Transposed),
    (TiledConv, _Tiled),
    ((Pad, Crop, PadLike, CropLike, Resize), _Taken),
    (MaxUnpool, _Unpooled),
    (_Windowed, _Convolved),
)


def local(layer: Layer, inputs: tuple[Spec, ...], output: Spec) -> Local:
    """The layer on a sample of these shapes, box by box.

    Raises
    ------
    ArgumentError
        If its results follow from the whole sample, with the reason.
    """
    layer = unwrapped(layer)
    for kinds, reason in WHOLE:
        if isinstance(layer, kinds):
            raise refused(layer, reason)
    if layer.pointwise:
        return _Each(layer, inputs, output)
    for kinds, rule in RULES:
        if isinstance(layer, kinds):
            found: Local = rule(layer, inputs, output)
            return found
    if len(inputs) == 1 and layer.sliding(inputs[0].ndim) is not None:
        return _Sliding(layer, inputs, output)
    raise refused(layer, "it says neither that it is pointwise nor which window slides")


def refused(layer: Layer, reason: str) -> ArgumentError:
    """The error of a layer that needs the whole sample."""
    return ArgumentError(
        f"{type(layer).__name__} can't be computed tile by tile: {reason}. Leave out tile, which runs each sample as a "
        f"whole. Received: {layer!r}"
    )


def unwrapped(layer: Layer) -> Layer:
    """A layer with a normalised weight as the layer itself with that weight, made once."""
    if not isinstance(layer, WeightNorm):
        return layer
    params = dict(layer.params)
    weight = ops.weight_norm(params.pop("v"), params.pop("g"))
    assert isinstance(weight, Tensor)
    own = copy.copy(layer._wrapped)
    own.params, own.input = {"weight": weight.detach(), **params}, layer.input
    return own
