"""Block sizes of a convolution by Fourier transforms, and what it costs beside the direct one.

An output costs about as much whatever the window, so long windows win. The costs were fitted to measurements; the unit
is a vector's multiply-add as a tile does it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, ...]

MATRIX_BYTES = 64 * 2**20  # a weight's matrices take no more, unless the smallest blocks do
PASS, MOVE = 12.0, 36.0  # of a vector of a spectrum: for each pass of its transform, and to move it
PRODUCT, OPEN = 1.9, 80.0  # of a matrix's vector, and of each vector of a result
MATRIX, SHARE = 100.0, 1 / 8  # of making a vector of a matrix, and how much of that a sample bears
DIRECT, DEPTHWISE = 1.75, 2.5  # of a vector's multiply-add in the direct convolution, dense and depthwise
IN_CACHE = 0.65  # depthwise spectra never leave the cache
FEW_FILTERS = 1.5  # what lanes that aren't filters cost more
MARGIN = 1.15


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels as spectra hold them: in each of `parts`, whole columns of two vectors; depthwise, all are one part."""

    inputs: int
    outputs: int
    groups: int
    lanes: int

    @property
    def depth(self) -> int:
        return self.inputs // self.groups

    @property
    def width(self) -> int:
        return self.outputs // self.groups

    @property
    def depthwise(self) -> bool:
        return self.depth == 1 and self.width == 1

    @property
    def parts(self) -> int:
        return 1 if self.depthwise else self.groups

    @property
    def z_width(self) -> int:
        """Numbers of a point of the input's spectrum."""
        return self._padded(self.inputs)

    @property
    def v_width(self) -> int:
        """And of the result's."""
        return self._padded(self.outputs)

    @property
    def matrix(self) -> int:
        """Numbers of a frequency's matrices."""
        if self.depthwise:
            return 2 * self.v_width
        return self.v_width * 2 * (self.depth if self.depth <= self.lanes else self.z_width // self.groups)

    def _padded(self, channels: int) -> int:
        column = 2 * self.lanes
        return self.parts * -(-channels // self.parts // column) * column


@cache
def sizes_from(least: int, most: int) -> tuple[int, ...]:
    """Sizes of transforms, 2^i and 3 2^i, from the first that holds `least` to the first that holds `most`."""
    found = sorted({2**i for i in range(1, 62)} | {3 * 2**i for i in range(61)})
    first = next(i for i, size in enumerate(found) if size >= least)
    last = next(i for i, size in enumerate(found) if size >= most)
    return tuple(found[first : max(first, last) + 1])


@lru_cache(maxsize=4096)
def plan(
    outputs: Size, extent: Size, step: Size, taps: int, channels: Channels, itemsize: int
) -> tuple[Size, float, float]:
    """The block for a sample with these outputs; its cost and the direct convolution's."""
    axes = _sizes(extent, tuple((out - 1) * s + e for out, s, e in zip(outputs, step, extent, strict=True)))
    grid = _grid(axes)
    points, rows = np.ones(()), np.ones(())
    for n, out, e, s in zip(grid, outputs, extent, step, strict=True):
        points = points * n
        rows = rows * np.ceil(out / ((n - e) // s + 1))
    matrix = points * channels.matrix
    cost = MARGIN * (rows * _block_cost(grid, channels) + matrix / channels.lanes * MATRIX * SHARE)
    memory = matrix * itemsize
    cost = np.where(memory > max(MATRIX_BYTES, float(memory.min())), np.inf, cost)
    best = np.unravel_index(int(np.argmin(cost)), cost.shape)
    size = tuple(sizes[i] for sizes, i in zip(axes, best, strict=True))
    return size, float(cost[best]), math.prod(outputs) * taps * _direct_cost(channels)


@lru_cache(maxsize=1024)
def never(extent: Size, step: Size, taps: int, channels: Channels) -> bool:
    """Whether the direct convolution costs less for samples of any size: than blocks full of outputs, of any size."""
    grid = _grid(_sizes(extent, (2**40,) * len(extent)))
    outputs = np.ones(())
    for n, e, s in zip(grid, extent, step, strict=True):
        outputs = outputs * ((n - e) // s + 1)
    return bool((MARGIN * _block_cost(grid, channels) / outputs).min() >= taps * _direct_cost(channels))


def _sizes(extent: Size, most: Size) -> list[Size]:
    """A few sizes of transforms for each axis; with many axes the smallest."""
    few = max(1, int(4096 ** (1 / max(1, sum(e > 1 for e in extent)))))
    return [(1,) if e == 1 else sizes_from(e, whole)[:few] for e, whole in zip(extent, most, strict=True)]


def _grid(axes: list[Size]) -> list[NDArray[np.float64]]:
    """Every combination of the axes' sizes: an array for each axis, to be broadcast against the others."""
    rank = len(axes)
    return [np.array(sizes, dtype=np.float64).reshape(-1, *[1] * (rank - 1 - axis)) for axis, sizes in enumerate(axes)]


def _block_cost(grid: list[NDArray[np.float64]], channels: Channels) -> NDArray[np.float64]:
    """Of a block of each size, its matrices aside."""
    points, passes = np.ones(()), np.zeros(())
    for n in grid:
        points = points * n
        passes = passes + np.ceil(np.log2(n) / 2)
    spectra = points * (channels.z_width + channels.v_width) / channels.lanes * (passes * PASS + MOVE)
    if channels.depthwise:
        return spectra * IN_CACHE
    return spectra + points * (channels.matrix * PRODUCT + channels.v_width * OPEN) / channels.lanes


def _direct_cost(channels: Channels) -> float:
    """Of a tap of an output."""
    if channels.depthwise:
        return channels.outputs / channels.lanes * DEPTHWISE
    if channels.width < channels.lanes:
        return channels.inputs * channels.width / channels.lanes * FEW_FILTERS * DIRECT
    return channels.inputs * -(-channels.width // channels.lanes) * DIRECT
