"""Receptive fields: which inputs an output can see, by rule from the layers' windows (section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import ceil, floor
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Ints
from ..nn.layer import Layer
from ..nn.spec import Spec
from ..window import per_axis
from .connections import given_spec
from .rules import JOINS, POINTWISE, Number, Step, steps_of, unwrapped, walk

NOTHING = 2**62  # the first position of no position


@dataclass(frozen=True)
class Field:
    """The receptive field of a layer's outputs, one entry an axis of the network's INPUT.

    Output q sees the input positions from ``offset + q stride`` to ``offset + q stride + size - 1`` that exist. The
    figures are ints, or fractions where a transposed convolution, resizing or a proportional pool makes them so (a
    position is still whole); behind one of these a field may lie inside of the bounds. Stride 0 means that all outputs
    see the same, as where global pooling has left no axes. ``first`` and ``last`` are exact: for each output along the
    axis the ends of what it sees, ``first > last`` for one that sees padding alone.
    """

    size: tuple[Number, ...]
    stride: tuple[Number, ...]
    offset: tuple[Number, ...]
    first: tuple[Ints, ...]
    last: tuple[Ints, ...]

    def inputs(self, position: Any) -> tuple[slice, ...]:
        """What the output at ``position`` sees of each axis; nothing at all where it sees padding alone.

        ``position`` has one int an axis of the output, so it is () where that has none.
        """
        ends = [len(first) for first in self.first]
        collapsed = not any(self.stride)
        at = (0,) * len(ends) if collapsed and tuple(np.atleast_1d(position)) == () else position
        at = per_axis(at, len(ends), "position", least=0)
        if any(q >= end for q, end in zip(at, ends, strict=True)):
            raise ArgumentError(f"position must lie in the output, of shape {tuple(ends)}. Received: {position!r}")
        seen = [(int(a[q]), int(b[q]) + 1) for q, a, b in zip(at, self.first, self.last, strict=True)]
        return tuple(slice(a, b) if all(a < b for a, b in seen) else slice(0, 0) for a, b in seen)


@dataclass(frozen=True)
class Row:
    """One place of a layer, with its output's shape (*S, C)."""

    path: str
    type: str
    output: tuple[int, ...]
    field: Field


@dataclass(frozen=True)
class Fields:
    """The table that ``str`` prints; the field of a layer by its path: ``fields["conv2"]``; ``output`` is the net's."""

    input: tuple[int, ...]
    rows: tuple[Row, ...]
    output: Field

    def __getitem__(self, path: str) -> Field:
        return self.row(path).field

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def row(self, path: str) -> Row:
        """The row of a path."""
        for row in self.rows:
            if row.path == path:
                return row
        raise ArgumentError(f"a layer is one of {', '.join(row.path for row in self.rows)}. Received: {path!r}")

    def __str__(self) -> str:
        head = ("layer", "type", "output", "size", "stride", "offset")
        body = [
            (row.path, row.type, *map(_joined, (row.output, row.field.size, row.field.stride, row.field.offset)))
            for row in self
        ]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in (head, *body)]
        return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def receptive_fields(net: Layer, shape: tuple[int, ...]) -> Fields:
    """The receptive field of every layer: its size, stride and offset on each axis, and its exact ends.

    A window of extent e, stride s and low padding p on a layer whose field has size r, stride j and offset o:
    ``size = r + (e - 1) j``, ``stride = s j``, ``offset = o - p j``. A transposed convolution divides: ``r + (e - 1)
    j / s``, ``j / s``, ``o + (p - e + 1) j / s``. Proportional pooling into b bins strides by S / b of what S it finds;
    over one bin it sees all of it, and so do global pooling, Flatten and what normalises by a sample's statistics.
    Joins see what any of their inputs sees. What :class:`~convnd.nn.Pad` repeats from elsewhere counts for ``first``
    and ``last`` alone. Channels don't count: a grouped convolution sees what an ordinary one does.

    Parameters
    ----------
    net : Layer
        Any layer, Sequential or Graph, built or not; it isn't changed.
    shape : tuple of ints
        (*S, C), the sample's spatial shape and its channels. With "valid" and numbered padding no figure but those of
        proportional and global pooling depends on it.

    Raises
    ------
    ShapeError
        If the sample doesn't fit the network.
    ArgumentError
        For a kind of layer without a rule, by name: what k-max pooling, unpooling and pooled boxes read follows from
        the values.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.2, figures 9.3 and 9.4; Araujo, Norris, Sim, "Computing
    receptive fields of convolutional neural networks", Distill, 2019.

    Examples
    --------
    >>> from convnd import nn
    >>> net = nn.Sequential(nn.Conv(4, 3, padding="same"), nn.MaxPool(2), nn.Conv(4, 3), nn.GlobalPool())
    >>> print(receptive_fields(net, (28, 28, 1)))
    layer        type        output       size     stride  offset
    --------------------------------------------------------------
    conv1        Conv        28 x 28 x 4  3 x 3    1 x 1   -1 x -1
    maxpool1     MaxPool     14 x 14 x 4  4 x 4    2 x 2   -1 x -1
    conv2        Conv        12 x 12 x 4  8 x 8    2 x 2   -1 x -1
    globalpool1  GlobalPool  4            28 x 28  0 x 0   0 x 0
    >>> receptive_fields(net, (28, 28, 1))["conv2"].inputs((0, 5))
    (slice(0, 7, None), slice(9, 17, None))
    """
    given = given_spec(shape)
    rows: list[Row] = []

    def leaf(layer: Layer, inputs: tuple[tuple[Spec, Field], ...], path: str) -> tuple[Spec, Field]:
        specs, fields = zip(*inputs, strict=True)
        layer.check_arity(len(specs))
        spec = layer.output(*specs)
        field = _field(layer, specs, fields, spec)
        rows.append(Row(path or type(layer).__name__.lower(), type(layer).__name__, _shape(spec), field))
        return spec, field

    output = walk(net, ((given, _itself(given)),), "", leaf)[1]
    return Fields(_shape(given), tuple(rows), output)


def interior(field: Field, inputs: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """For each axis, how many outputs at its low and its high end would see beyond the sample."""
    margins = []
    for size, stride, offset, first, whole in zip(
        field.size, field.stride, field.offset, field.first, inputs, strict=True
    ):
        if stride == 0:
            margins.append((0, 0))
            continue
        low = max(0, ceil(-offset / Fraction(stride)))
        last = floor((whole - size - offset) / Fraction(stride))
        margins.append((low, max(0, len(first) - 1 - last)))
    return tuple(margins)


def _itself(given: Spec) -> Field:
    """The field of the input: each position sees itself."""
    ones, own = (1,) * given.ndim, tuple(np.arange(size, dtype=np.int64) for size in given.shape or ())
    return Field(ones, ones, (0,) * given.ndim, own, own)


def _field(layer: Layer, specs: tuple[Spec, ...], fields: tuple[Field, ...], output: Spec) -> Field:
    layer = unwrapped(layer)
    if isinstance(layer, POINTWISE):
        return fields[0]
    if isinstance(layer, JOINS):
        return _joint(fields)
    steps = steps_of(layer, specs, output)
    return _through(fields[0], steps) if steps else fields[0]  # no axes are left, or none were there


def _through(field: Field, steps: list[Step]) -> Field:
    """The field behind a layer whose own input has ``field``."""
    size: list[Number] = []
    stride: list[Number] = []
    offset: list[Number] = []
    first: list[Ints] = []
    last: list[Ints] = []
    axes = zip(field.size, field.stride, field.offset, field.first, field.last, steps, strict=True)
    for r, j, o, a, b, step in axes:
        if step.met is None:
            # All there is ends where the sample does, though the fields of the outermost positions may reach beyond.
            low, high = int(a.min()), int(b.max())
            low = min(low, high + 1)  # nothing at all is seen, maybe
            ends = np.full(step.outputs, low, dtype=np.int64), np.full(step.outputs, high, dtype=np.int64)
            figures: tuple[Number, Number, Number] = high - low + 1, 0, low
        else:
            ends = np.full(step.outputs, NOTHING, dtype=np.int64), np.full(step.outputs, -1, dtype=np.int64)
            np.minimum.at(ends[0], step.met.output, a[step.met.input])
            np.maximum.at(ends[1], step.met.output, b[step.met.input])
            figures = r + j * step.span, j * step.rate, o + j * step.start
        for values, value in zip((size, stride, offset), figures, strict=True):
            values.append(_plain(value))
        first.append(ends[0])
        last.append(ends[1])
    return Field(tuple(size), tuple(stride), tuple(offset), tuple(first), tuple(last))


def _joint(fields: tuple[Field, ...]) -> Field:
    """What any of them sees. Where their strides differ, the least is kept, and the size makes up for the others."""
    strides = tuple(min(values) for values in zip(*(field.stride for field in fields), strict=True))
    size: list[Number] = []
    offset: list[Number] = []
    for axis, stride in enumerate(strides):
        # Of straight lines in q, the outermost is so at one of the ends.
        ends = (0, max(len(field.first[axis]) for field in fields) - 1)
        starts = [(f, f.offset[axis] + q * (f.stride[axis] - stride)) for f in fields for q in ends]
        low = min(start for _, start in starts)
        offset.append(_plain(low))
        size.append(_plain(max(start + f.size[axis] for f, start in starts) - low))
    first = tuple(reduce(np.minimum, tables) for tables in zip(*(f.first for f in fields), strict=True))
    last = tuple(reduce(np.maximum, tables) for tables in zip(*(f.last for f in fields), strict=True))
    return Field(tuple(size), strides, tuple(offset), first, last)


def _plain(value: Number) -> Number:
    return int(value) if value == int(value) else value


def _shape(spec: Spec) -> tuple[int, ...]:
    if spec.shape is None:
        raise ShapeError(f"the spatial shape must be known. Received: {spec}")
    return (*spec.shape, spec.channels)


def _joined(values: tuple[Number, ...]) -> str:
    return " x ".join(map(str, values)) or "-"
