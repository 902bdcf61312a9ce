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
MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Costs:
    """Of vectors."""

    turn: float  # of a spectrum, for each pass of its transform
    move: float  # of a spectrum, there and back
    product: float  # of a frequency's matrix, for a block
    open: float  # of a result
    matrix: float  # to make one of a matrix
    direct: float  # a multiply-add of the direct convolution


# By isa.units(): forth and back, and the gradient of the weight.
_ONE = Costs(8.6, 1, 1.1, 3.5, 76, 1.05), Costs(6.1, 8.3, 1.1, 8.2, 73, 1.1)
DENSE = {
    "2x256": _ONE,  # not fitted by itself
    "1x512": _ONE,
    "2x512": (Costs(10, 0.5, 0.93, 3.5, 76, 0.73), Costs(15, 45, 2.4, 100, 125, 1.75)),
    "2x512 Zen": (Costs(10, 0.5, 0.93, 3.5, 76, 1.1), Costs(15, 45, 2.4, 100, 125, 2.8)),  # the last alone is its own
}
DEPTHWISE = Costs(8, 24, 0, 0, 0, 2.5)  # whose spectra never leave the cache
# Samples that are thought to share a weight's matrices, and its gradient's: a choice may not depend on the batch.
SHARING = (8, 2)


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels as spectra hold them: in each of `parts`, whole columns of two vectors; depthwise, all are one part."""

    inputs: int
    outputs: int
    groups: int
    lanes: int
    units: str  # of a core, see isa
    tap: float  # of an output: multiply-adds of the direct convolution

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
    outputs: Size, extent: Size, step: Size, taps: int, channels: Channels, itemsize: int, of_weight: bool = False
) -> tuple[Size, float, float]:
    """The block for a sample with these outputs; its cost and the direct convolution's."""
    costs = _costs(channels, of_weight)
    axes = _sizes(extent, tuple((out - 1) * s + e for out, s, e in zip(outputs, step, extent, strict=True)))
    grid = _grid(axes)
    points, rows = np.ones(()), np.ones(())
    for n, out, e, s in zip(grid, outputs, extent, step, strict=True):
        points = points * n
        rows = rows * np.ceil(out / ((n - e) // s + 1))
    matrix = points * channels.matrix
    shared = matrix / channels.lanes * costs.matrix / SHARING[of_weight]
    cost = MARGIN * (rows * _block_cost(grid, channels, costs) + shared)
    memory = matrix * itemsize
    cost = np.where(memory > max(MATRIX_BYTES, float(memory.min())), np.inf, cost)
    best = np.unravel_index(int(np.argmin(cost)), cost.shape)
    size = tuple(sizes[i] for sizes, i in zip(axes, best, strict=True))
    return size, float(cost[best]), math.prod(outputs) * taps * _direct_cost(channels, costs)


@lru_cache(maxsize=1024)
def never(extent: Size, step: Size, taps: int, channels: Channels, of_weight: bool = False) -> bool:
    """Whether the direct convolution costs less for samples of any size: than blocks full of outputs, of any size."""
    costs = _costs(channels, of_weight)
    grid = _grid(_sizes(extent, (2**40,) * len(extent)))
    outputs = np.ones(())
    for n, e, s in zip(grid, extent, step, strict=True):
        outputs = outputs * ((n - e) // s + 1)
    return bool((MARGIN * _block_cost(grid, channels, costs) / outputs).min() >= taps * _direct_cost(channels, costs))


def _sizes(extent: Size, most: Size) -> list[Size]:
    """A few sizes of transforms for each axis; with many axes the smallest."""
    few = max(1, int(4096 ** (1 / max(1, sum(e > 1 for e in extent)))))
    return [(1,) if e == 1 else sizes_from(e, whole)[:few] for e, whole in zip(extent, most, strict=True)]


def _grid(axes: list[Size]) -> list[NDArray[np.float64]]:
    """Every combination of the axes' sizes: an array for each axis, to be broadcast against the others."""
    rank = len(axes)
    return [np.array(sizes, dtype=np.float64).reshape(-1, *[1] * (rank - 1 - axis)) for axis, sizes in enumerate(axes)]


def _costs(channels: Channels, of_weight: bool) -> Costs:
    return DEPTHWISE if channels.depthwise else DENSE[channels.units][of_weight]


def _block_cost(grid: list[NDArray[np.float64]], channels: Channels, costs: Costs) -> NDArray[np.float64]:
    """Of a block of each size, its matrices aside."""
    points, passes = np.ones(()), np.zeros(())
    for n in grid:
        points = points * n
        passes = passes + np.ceil(np.log2(n) / 2)
    spectra = (channels.z_width + channels.v_width) * (passes * costs.turn + costs.move)
    products = 0 if channels.depthwise else channels.matrix * costs.product + channels.v_width * costs.open
    cost: NDArray[np.float64] = points / channels.lanes * (spectra + products)
    return cost


def _direct_cost(channels: Channels, costs: Costs) -> float:
    """Of a tap of an output."""
    numbers = channels.outputs if channels.depthwise else channels.tap
    return numbers / channels.lanes * costs.direct
