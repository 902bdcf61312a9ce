"""Which inputs meet which outputs under a window, as index arrays: what every table and matrix here is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout
from ..nn.conv import _Windowed
from ..nn.pool import _Pool
from ..nn.spec import Spec
from ..window import Regions, Window


class Meetings(NamedTuple):
    """Outputs and inputs that meet, and by which tap; three int64 arrays of one length."""

    output: Ints
    input: Ints
    tap: Ints


class Entries(NamedTuple):
    """The entries of a convolution's matrix: row, column, and the number of the weight that stands there."""

    row: Ints
    column: Ints
    weight: Ints


def one_sample(shape: tuple[int, ...]) -> Layout:
    """The layout of a single sample."""
    return Layout.dense(1, shape)


def given_spec(shape: Any) -> Spec:
    """The sample shape (*S, C) that a user gave, as a Spec."""
    if not isinstance(shape, (tuple, list)) or not shape:
        raise ShapeError(f"shape must be a tuple (*spatial, channels). Received: shape={shape!r}")
    return Spec.of(len(shape) - 1, shape[-1], tuple(shape[:-1]))


def layer_window(layer: _Windowed | _Pool, ndim: int) -> Window:
    """The window of a sliding layer on ``ndim`` axes."""
    if isinstance(layer, _Windowed):
        return layer.window(ndim)
    stride = layer.size if layer.stride is None else layer.stride
    return Window.of(ndim, layer.size, stride, layer.padding, layer.dilation, layer.ceil_mode, name="size")


def axis_meetings(regions: Regions) -> list[Meetings]:
    """What meets along each axis of the one sample of ``regions``, outputs ascending."""
    meetings, start = [], 0
    for step, outputs in zip(regions.step, regions.output.shape(0), strict=True):
        first, count, tap = (table[start : start + outputs] for table in (regions.first, regions.count, regions.tap))
        start += outputs
        q = np.repeat(np.arange(outputs, dtype=np.int64), count)
        i = np.arange(len(q), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
        meetings.append(Meetings(q, first[q] + i * step, tap[q] + i))
    return meetings


def meetings(regions: Regions) -> Meetings:
    """What meets in the one sample of ``regions``: positions and taps as numbers, the last axis fastest.

    For a window's regions; those in proportion have no taps to number, theirs are all 0.
    """
    window = regions.window or (1,) * len(regions.step)
    output = source = tap = np.zeros(1, dtype=np.int64)
    sizes = zip(axis_meetings(regions), regions.output.shape(0), regions.input.shape(0), window, strict=True)
    for along, outputs, inputs, taps in sizes:
        output = np.add.outer(output * outputs, along.output).reshape(-1)
        source = np.add.outer(source * inputs, along.input).reshape(-1)
        tap = np.add.outer(tap * taps, along.tap).reshape(-1)
    return Meetings(output, source, tap if regions.window else np.zeros_like(tap))


def weight_entries(met: Meetings, shape: tuple[int, ...], groups: int, flip: bool = False) -> Entries:
    """Where the weight of ``shape`` (*kernel, C / groups, F) stands in the matrix of its convolution.

    A row is an output (position, filter), a column an input (position, channel), channels last.
    """
    terms, filters = shape[-2:]
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    if flip:
        numbers = np.flip(numbers, tuple(range(len(shape) - 2)))
    weight = numbers.reshape(-1, terms, filters)[met.tap]
    f = np.arange(filters, dtype=np.int64)
    c = np.add.outer(np.arange(terms, dtype=np.int64), f // (filters // groups) * terms)
    row = np.broadcast_to(met.output[:, None, None] * filters + f, weight.shape)
    column = met.input[:, None, None] * (terms * groups) + c
    return Entries(row.reshape(-1), column.reshape(-1), weight.reshape(-1))


def check_groups(groups: Any, filters: int) -> int:
    """An int of at least 1 that divides the filters."""
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(f"groups must be an int of at least 1. Received: groups={groups!r}")
    if filters % groups:
        raise ShapeError(f"groups must divide the {filters} filters. Received: groups={groups}")
    return int(groups)
