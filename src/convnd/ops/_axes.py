"""Maps that act on each axis by itself: every output position reads one input position, chosen axis by axis."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..kernels.checks import empty
from ..layout import Ints, Layout
from ..tensor import Array, Tensor
from ..window import Regions, axis_lengths, refuse_empty
from ._operands import layout_like, layout_of


def table_starts(layout: Layout) -> Ints:
    """The entry of a flat per-axis table at which each sample's axis begins, (N, ndim)."""
    lengths = layout.shapes.reshape(-1)
    starts: Ints = (np.cumsum(lengths) - lengths).reshape(layout.shapes.shape)
    return starts


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """start, start + 1, ... start + length - 1 for each in turn."""
    ends = np.cumsum(lengths)
    numbers = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    numbers += np.repeat(starts - (ends - lengths), lengths)
    return numbers


def axis_entries(layout: Layout, axis: int) -> Ints:
    """For every position, the entry of a flat per-axis table that stands for its place on one axis: (P,)."""
    shapes = layout.shapes
    lines = np.prod(shapes[:, :axis], axis=1)  # of places on this axis, in each sample
    entries = _ranges(np.repeat(table_starts(layout)[:, axis], lines), np.repeat(shapes[:, axis], lines))
    inner = np.prod(shapes[:, axis + 1 :], axis=1)
    result: Ints = np.repeat(entries, np.repeat(inner, lines * shapes[:, axis]))
    return result


def _take(values: Array, index: Ints, axis: int) -> Array:
    """``np.take`` into memory that is used again."""
    shape = (*values.shape[:axis], len(index), *values.shape[axis + 1 :])
    out = empty(prod(shape[:-1]), shape[-1], values.dtype).reshape(shape)
    return np.take(values, index, axis=axis, out=out, mode="clip")  # a mode in which it writes there at once


class AxisMap:
    """Output position (q_0, q_1, ...) of a sample reads its input position (source_0[q_0], source_1[q_1], ...).

    ``source`` is a flat per-axis table, an entry for each output place of each sample's axes in turn; ``axes`` are
    those on which it does anything. What follows from the layouts is worked out once: operations keep a map in the
    memo of a layout.
    """

    def __init__(
        self, input: Layout, output: Layout, source: Ints, axes: tuple[int, ...], crops: bool = False
    ) -> None:
        self.input = input
        self.output = output
        self.source = source
        self.axes = axes
        self._crops = crops

    @classmethod
    def crop(cls, input: Layout, output: Layout, start: Ints) -> AxisMap:
        """The map that reads ``output``'s shapes from ``start`` (N, ndim) on: see :meth:`put` for the way back."""
        rows, q = axis_lengths(output)
        return cls(input, output, q + start.reshape(-1)[rows], tuple(range(input.ndim)), crops=True)

    @cached_property
    def _index(self) -> Ints:
        """The row of the input's values that each output position reads, (P_out,)."""
        shapes = self.input.shapes
        inner = np.ones_like(shapes)
        inner[:, :-1] = np.cumprod(shapes[:, :0:-1], axis=1)[:, ::-1]
        steps = self.source * np.repeat(inner.reshape(-1), self.output.shapes.reshape(-1))
        shapes, starts = self.output.shapes, table_starts(self.output)
        index, samples = self.input.offsets[:-1], np.arange(len(shapes))
        for axis in range(self.output.ndim):  # every line so far becomes one for each place on this axis
            lengths = shapes[samples, axis]
            entries = _ranges(starts[samples, axis], lengths)
            index = np.repeat(index, lengths) + steps[entries]
            samples = np.repeat(samples, lengths) if axis + 1 < self.output.ndim else samples
        return index

    @property
    def alike(self) -> bool:
        """Whether the map is the same for all samples."""
        # Dense layouts live long: they keep a table an axis, not an index of every position.
        return len(self.input) > 0 and self.input.uniform and self.output.uniform

    @cached_property
    def _tables(self) -> list[Ints]:
        """The source of each axis, the same for all samples."""
        shape = self.output.shape(0)
        return np.split(self.source[: sum(shape)], np.cumsum(shape)[:-1]) if shape else []

    def gather(self, values: Array) -> Array:
        """What each output position reads: (P_in, C) to (P_out, C)."""
        if not self.alike:
            return _take(values, self._index, 0)
        box = values.reshape(*self.input.box, values.shape[1])
        if self._crops:
            read = empty(self.output.positions, values.shape[1], values.dtype)
            read.reshape(*self.output.box, -1)[...] = box[self._within]
            return read
        for axis in self.axes:
            box = _take(box, self._tables[axis], axis + 1)
        return box.reshape(self.output.positions, values.shape[1])

    @cached_property
    def _within(self) -> tuple[slice, ...]:
        """What a crop leaves of a dense batch."""
        return (slice(None), *(slice(int(table[0]), int(table[0]) + len(table)) for table in self._tables))

    def put(self, values: Array, fill: float) -> Array:
        """The way back of a crop: (P_out, C) to (P_in, C), with ``fill`` at positions that it doesn't read."""
        whole = empty(self.input.positions, values.shape[1], values.dtype)
        whole.fill(fill)
        if self.alike:
            box = whole.reshape(*self.input.box, values.shape[1])
            box[self._within] = values.reshape(*self.output.box, values.shape[1])
        else:
            whole[self._index] = values
        return whole

    @cached_property
    def _regions(self) -> Regions:
        """The map as pooling regions of one position each."""
        rows_in, _ = axis_lengths(self.input)
        rows, q = axis_lengths(self.output)
        read = self.source + table_starts(self.input).reshape(-1)[rows]
        order = np.argsort(read, kind="stable")
        entries = np.arange(len(rows_in))
        low, high = (np.searchsorted(read[order], entries, side=side) for side in ("left", "right"))
        # An input lies between the first and the last output that reads it; the kernel passes over others between them.
        begin, end = np.zeros((2, len(rows_in)), dtype=np.int64)
        some = high > low
        begin[some] = q[order[low[some]]]
        end[some] = q[order[high[some] - 1]] + 1
        ones, zeros = np.ones_like(q), np.zeros_like(q)
        return Regions(self.input, self.output, (1,) * self.input.ndim, None, self.source, ones, zeros, begin, end)

    def gather_grad(self, g: Array) -> Array:
        """The gradient of :meth:`gather`: each input sums over the outputs that read it, in their order."""
        return kernels.pool_grad(np.asarray(g, order="C"), self._regions, "sum")


def like_layout(like: Any, x: Tensor) -> Layout:
    """The layout of another batch, whose samples ``x`` is to be like in shape."""
    layout, wanted = layout_of(x), layout_like(like)
    if wanted is None:
        raise ArgumentError("like must be a batch or a Layout. Received: like=None")
    if wanted.ndim != layout.ndim or len(wanted) != len(layout):
        raise ShapeError(
            f"like must have {len(layout)} samples of {layout.ndim} axes, as x has. "
            f"Received: {len(wanted)} samples of {wanted.ndim} axes"
        )
    if x.kind == "dense" and not wanted.uniform:
        raise ShapeError(
            "like must have samples of one shape, since x is a dense array: make x a Ragged. "
            f"Received: like of shapes {wanted.shapes.tolist()[:3]}"
        )
    refuse_empty(layout)
    refuse_empty(wanted)
    return wanted


def first_sample(wrong: NDArray[np.bool_]) -> tuple[int, int]:
    """The first (sample, axis) of (N, ndim) that is marked."""
    sample, axis = (int(i) for i in np.argwhere(wrong)[0])
    return sample, axis
