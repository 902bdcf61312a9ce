"""Which rows of a batch's values lie in pooling regions: for the pools that kernels don't do in one go."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..layout import Ints, Layout
from ..tensor import Array
from ..window import Regions

Rows = Ints | slice


def coordinates(layout: Layout) -> tuple[Ints, list[Ints]]:
    """The sample of every position, and the position's place on each axis: arrays (P,)."""
    sample = np.repeat(np.arange(len(layout), dtype=np.int64), layout.sizes)
    left = np.arange(layout.positions, dtype=np.int64) - layout.offsets[sample]
    places = []
    for axis in reversed(range(layout.ndim)):
        left, place = np.divmod(left, layout.shapes[sample, axis])
        places.append(place)
    return sample, places[::-1]


def output_ranges(regions: Regions) -> tuple[Ints, list[tuple[Ints, Ints, Ints]]]:
    """The sample of every output, and for each axis the (first, count, tap) of its region: arrays (P_out,)."""
    sample, places = coordinates(regions.output)
    lengths = regions.output.shapes
    starts = (np.cumsum(lengths) - lengths.reshape(-1)).reshape(lengths.shape)
    ranges = []
    for axis, place in enumerate(places):
        entry = starts[sample, axis] + place
        ranges.append((regions.first[entry], regions.count[entry], regions.tap[entry]))
    return sample, ranges


def positions_of(index: NDArray[np.integer], regions: Regions) -> Ints:
    """The position within its sample, row-major, of number ``index`` (P_out, C) within each region."""
    sample, ranges = output_ranges(regions)
    left = index.astype(np.int64)
    position: Ints = np.zeros_like(left)
    pitch: Ints = np.ones((len(sample), 1), dtype=np.int64)
    for axis in reversed(range(regions.input.ndim)):
        first, count, _ = ranges[axis]
        left, number = np.divmod(left, count[:, None])
        position += (first[:, None] + number * regions.step[axis]) * pitch
        pitch = pitch * regions.input.shapes[sample, axis, None]
    return position


def elements(position: Ints, at: Layout, of: Layout) -> Ints:
    """Where ``position`` (P_at, C) within the samples of ``of`` lies among all its values, row-major (P_of, C)."""
    rows = position + np.repeat(of.offsets[:-1], at.sizes)[:, None]
    where: Ints = rows * position.shape[1] + np.arange(position.shape[1], dtype=np.int64)
    return where


def taps(regions: Regions, outputs: Ints | None = None) -> Iterator[tuple[Rows, Ints]]:
    """For each tap of the window, row-major: which of ``outputs`` have it, and the input rows that they read there.

    ``outputs`` are rows of the result, all of them if None; those that have the tap are numbered among them. The input
    rows of one tap are distinct.
    """
    assert regions.window is not None
    sample, ranges = output_ranges(regions)
    if outputs is not None:
        sample = sample[outputs]
        ranges = [(first[outputs], count[outputs], tap[outputs]) for first, count, tap in ranges]
    for window_tap in np.ndindex(*regions.window):
        inside = np.ones(len(sample), dtype=bool)
        position = np.zeros(len(sample), dtype=np.int64)
        for axis, (first, count, tap) in enumerate(ranges):
            number = window_tap[axis] - tap
            inside &= (number >= 0) & (number < count)
            position = position * regions.input.shapes[sample, axis] + first + number * regions.step[axis]
        rows = position + regions.input.offsets[sample]
        if inside.all():
            yield slice(None), rows
        else:
            having = np.flatnonzero(inside)
            yield having, rows[having]


def scatter_add(where: Ints, values: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of ``shape``, to whose elements ``where`` the ``values`` are added in their order."""
    out = np.zeros(shape, dtype=values.dtype)
    np.add.at(out.reshape(-1), where.reshape(-1), values.reshape(-1))
    return out
