"""What every output position of a padding, a cropping or a resampling reads, axis by axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .layout import Ints, Layout
from .window import axis_lengths

Doubles = NDArray[np.float64]
Reads = tuple[Ints, Doubles]  # (entries, 2): two places of the input's axis and their weights


@dataclass(frozen=True, eq=False)
class AxisTaps:
    """Each place of an axis of the output reads some places of the input's, each with a weight.

    An output position's taps are the product of its places' over all axes, and the weights are multiplied. The place
    with entry e, counted over the axes of all samples in turn, takes ``index[t]`` and ``weight[t]`` for ``first[e] <= t
    < first[e + 1]``; ``starts`` (N, ndim) has the first entry of each sample's axes. Samples that are alike share
    entries.
    """

    input: Layout
    output: Layout
    starts: Ints
    first: Ints
    index: Ints
    weight: Doubles

    @classmethod
    def of(cls, input: Layout, output: Layout, reads: Callable[[Layout, Layout], Reads]) -> AxisTaps:
        """From ``reads(input, output)``, which gives the (entries, 2) places and weights of all axes of all samples; a
        weight of 0 is no tap. Where all samples are alike it is asked for one of them."""
        alike = len(input) > 1 and input.uniform and output.uniform
        of = (Layout.dense(1, input.shape(0)), Layout.dense(1, output.shape(0))) if alike else (input, output)
        index, weight = reads(*of)
        taken = weight != 0
        first = np.zeros(len(index) + 1, dtype=np.int64)
        np.cumsum(taken.sum(axis=1), out=first[1:])
        starts = np.broadcast_to(_starts(of[1]), output.shapes.shape)
        return cls(input, output, np.ascontiguousarray(starts), first, index[taken], weight[taken])

    @cached_property
    def back(self) -> AxisTaps:
        """The adjoint: each input takes from the outputs that read it, in their order."""
        alike = len(self.input) > 1 and len(self.first) - 1 < self.output.shapes.sum()
        input, output = (Layout.dense(1, of.shape(0)) if alike else of for of in (self.input, self.output))
        rows, q = axis_lengths(output)
        counts = np.diff(self.first)
        entry = _starts(input).reshape(-1)[np.repeat(rows, counts)] + self.index
        order = np.argsort(entry, kind="stable")
        first = np.zeros(int(input.shapes.sum()) + 1, dtype=np.int64)
        np.cumsum(np.bincount(entry, minlength=len(first) - 1), out=first[1:])
        starts = np.ascontiguousarray(np.broadcast_to(_starts(input), self.input.shapes.shape))
        return AxisTaps(self.output, self.input, starts, first, np.repeat(q, counts)[order], self.weight[order])


def _starts(layout: Layout) -> Ints:
    """The first entry of each sample's axes, (N, ndim)."""
    lengths = layout.shapes.reshape(-1)
    starts: Ints = (np.cumsum(lengths) - lengths).reshape(layout.shapes.shape)
    return starts
