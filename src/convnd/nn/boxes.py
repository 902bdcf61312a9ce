"""Ranges of positions on every axis of one sample, and what a window reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..tensor import Array
from ..window import Window

Span = tuple[int, int]  # from the first position to the last, not included
Box = tuple[Span, ...]


class Piece(NamedTuple):
    """A box of a sample, as an array (1, *box, C)."""

    values: Array
    box: Box

    def cut(self, box: Box) -> Piece:
        """A box inside of this one."""
        if box == self.box:
            return self
        inside = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(box, self.box, strict=True))
        return Piece(np.ascontiguousarray(self.values[(slice(None), *inside)]), box)


def lengths(box: Box) -> tuple[int, ...]:
    """Positions on each axis."""
    return tuple(stop - start for start, stop in box)


def hull(a: Box, b: Box) -> Box:
    """The least box around two."""
    return tuple((min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(a, b, strict=True))


def meet(a: Box, b: Box) -> Box:
    """What two boxes share."""
    return tuple((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True))


class Axis(NamedTuple):
    """A window along an axis of ``size`` positions: output q reads q stride + j dilation - low."""

    size: int
    outputs: int
    stride: int
    extent: int
    low: int
    middle: int  # what the middle tap reads is q stride + middle - low

    @classmethod
    def of(cls, window: Window, sizes: Sequence[int], outputs: Sequence[int], low: Sequence[int]) -> list[Axis]:
        """Those of a window."""
        middle = [(k - 1) // 2 * d for k, d in zip(window.kernel, window.dilation, strict=True)]
        return [cls(*axis) for axis in zip(sizes, outputs, window.stride, window.extent, low, middle, strict=True)]

    def ends(self, span: Span) -> Span:
        """What outputs read, or would read beyond the sample."""
        return span[0] * self.stride - self.low, (span[1] - 1) * self.stride - self.low + self.extent

    def widened(self, span: Span) -> Span:
        """The outputs, and where these read padding alone as many more as it takes to read the sample."""
        start, stop = span
        first, last = self.ends(span)
        if last < 1:
            stop = -(-(1 + self.low - self.extent) // self.stride) + 1
        elif first >= self.size:
            start = (self.size - 1 + self.low) // self.stride
        return start, stop

    def reads(self, span: Span) -> Span:
        """What outputs read of the sample."""
        first, last = self.ends(self.widened(span))
        return max(first, 0), min(last, self.size)

    def centre(self, span: Span) -> Span:
        """What their middle taps read."""
        start, stop = self.reads(span)
        first, last = (
            min(max(q * self.stride - self.low + self.middle, start), stop - 1) for q in (span[0], span[1] - 1)
        )
        return first, last + 1

    def reached(self, span: Span) -> Span:
        """The outputs that read inputs, and where there are none the one before; at least one in all cases."""
        start, stop = span
        first = min((start + self.low - self.extent) // self.stride + 1, (start + self.low) // self.stride)
        first = min(max(first, 0), self.outputs - 1)
        return first, min(max((stop - 1 + self.low) // self.stride + 1, first + 1), self.outputs)
