"""Winograd's convolution: fewer multiplications for short kernels of stride 1, along every axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import isa
from .._core import winograd as core
from .._core import winograd_weight as core_weight
from .._core.winograd_tiles import Fold
from ..layout import Ints
from . import narrow
from .checks import Array, empty
from .direct import swaps
from .task import Mask, Problem, Task, in_parts, of_samples, parts_of

algorithm = "winograd"

# Outputs of a tile for kernels of 1 to 5 taps, or 7 where the window has several taps on one axis alone; of a longer
# one, there and if that takes fewer frequencies (in 1D on the mean); and of a small one, where an axis has one or two
# outputs, or where tiles would take too many.
_LARGE = np.array([0, 1, 5, 4, 3, 2, 3, 2])
_LONG = np.array([0, 1, 7, 6, 5, 4, 3, 2])
_SMALL = np.array([0, 1, 3, 2, 3, 2, 3, 2])
MOST_TAPS = 5, 7  # on several axes, on one
MOST_AXES, MOST_FREQUENCIES = 4, 256  # of the core
# Costs in multiply-adds of the direct convolution, fitted to measurements, for 1 to 4 axes: of a product; of
# transforming a number to a frequency, and from one; and what a weight's frequency costs a sample.
COSTS = {  # by isa.units()
    "2x256": ((1, 15, 18, 2), (1.5, 15, 12, 0.75), (2, 23, 17, 1), (1.3, 28, 20, 0)),
    # The last of 1x512's, and of 2x512's on one axis and two, are those of 2x256: they haven't been measured.
    "1x512": ((0.83, 18, 10, 2), (0.85, 18, 10, 0.75), (1.15, 18, 9, 1), (1.3, 28, 20, 0)),
    "2x512": ((1, 20, 20, 2), (1.3, 19, 17, 0.75), (1.7, 14, 17, 2), (1, 42, 33, 0)),
    "2x512 Zen": ((0.7, 10.5, 20, 0.75), (0.97, 6, 17, 0.4), (0.84, 4.8, 17, 0.53), (1.1, 3, 16, 0)),
}
# Of the weight gradient: its products; transforming a number of x, and of the gradient; a weight's frequency.
WEIGHT_COSTS = {
    "2x256": ((0.8, 9, 8, 3), (1.95, 12, 10, 0.75), (3, 17, 11, 1.5), (1.2, 26, 20, 4)),
    "1x512": ((0.8, 12, 8, 4), (0.82, 17, 11, 2.6), (1.1, 17, 11, 4), (1.2, 26, 20, 4)),
    "2x512": ((0.69, 6.1, 8.6, 0), (1.7, 10, 10, 1.8), (3.9, 7.7, 10, 10), (1.2, 60, 60, 6)),
    "2x512 Zen": ((0.72, 14, 8.7, 0.5), (1.1, 14, 11, 4.3), (1.9, 5.6, 13, 5.8), (3, 0, 9.4, 0)),
}
USUALLY_MET = 0.95  # share of rows of taps that met inputs where these were fitted
END = 6  # multiply-adds of the direct convolution: to begin and end a vector of sums
FEW, NARROW = 4, 2  # filters that don't take a vector each time, and what those cost beside their number
# A direct tile of few sums waits for them, and one of few outputs reads a weight for few multiply-adds: as long as so
# many vectors of sums, and so many outputs, would take. By isa.units(), where it was measured; on three axes and more.
LEAST_SUMS = {"2x512": (4.0, 2.5)}
PANEL = 4  # vectors of filters that a direct tile takes at the most


def refuses(task: Task) -> str | None:
    """Strides, long kernels, many axes."""
    kernel, stride = task.geometry[0], task.geometry[1]
    if (stride != 1).any():
        return f"winograd needs stride 1, not {tuple(stride.tolist())}"
    most = MOST_TAPS[int((kernel > 1).sum() == 1)]
    if kernel.max() > most or (kernel == 1).all():
        return f"winograd needs a kernel of 1 to {most} taps on each axis and 2 on some, not {tuple(kernel.tolist())}"
    if (kernel > 1).sum() > MOST_AXES or _frequencies(kernel, _SMALL[kernel]) > MOST_FREQUENCIES:
        return f"winograd would need more than {MOST_FREQUENCIES} frequencies for kernel {tuple(kernel.tolist())}"
    return None


def takes(task: Task) -> bool | Mask:
    """By multiply-adds: each frequency's products, and what the transforms take, against the direct convolution's."""
    return False if _Costs.of(task).never else gain(task) > 1


def gain(task: Task) -> NDArray[np.floating[Any]]:
    """By how much it is expected to be faster than the direct convolution, for each sample."""
    found: NDArray[np.floating[Any]] = direct(task) / np.maximum(spent(task), 1)
    return found


def spent(task: Task) -> NDArray[np.floating[Any]]:
    """What it is expected to cost for each sample, in multiply-adds of the direct convolution."""
    known: NDArray[np.floating[Any]] | None = task.problem.memo.get(_Costs)
    if known is None:
        costs = _Costs.of(task)
        tiles, size = _tiled(task)
        known = np.multiply.reduce(tiles * size, axis=1) * costs.frequency
        if costs.weight:
            known = known + np.multiply.reduce(costs.spread * size, axis=1) * costs.weight
        task.problem.memo[_Costs] = known
    return known


def frequencies(task: Task) -> NDArray[Any]:
    """Of all tiles of each sample."""
    tiles, size = _tiled(task)
    found: NDArray[Any] = np.multiply.reduce(tiles * size, axis=1)
    return found


def _tiled(task: Task) -> tuple[NDArray[Any], Ints]:
    """How many tiles of how many frequencies each sample has on each axis."""
    spread, kernel, sizes = _Costs.of(task).spread, task.geometry[0], task.problem.like
    outputs = _tiles(kernel, spread, sizes)
    return spread * pieces(_ceil(sizes, spread), outputs, len(kernel)), kernel - 1 + outputs


def tile_frequencies(task: Task) -> int:
    """Of a tile of the usual size."""
    kernel = task.geometry[0]
    return _frequencies(kernel, _tiles(kernel, np.ones_like(kernel), kernel + 8))


@dataclass(frozen=True, slots=True)
class _Costs:
    """What follows from the operation, for samples of any size."""

    spread: Ints  # interleaved tilings on each axis
    frequency: float  # of a tile
    weight: float  # of a frequency of the weight
    never: bool  # even tiles full of outputs cost more

    @classmethod
    def of(cls, task: Task) -> _Costs:
        known: _Costs | None = task.operation.memo.get(cls)
        if known is None:
            known = task.operation.memo[cls] = cls._of(task)
        return known

    @classmethod
    def _of(cls, task: Task) -> _Costs:
        kernel, _, dilation = task.geometry
        groups, axes = task.groups, int((kernel > 1).sum())
        channels, filters = whole_vectors(task.channels, 1, task), whole_vectors(task.filters, groups, task)
        product = task.channels * filters / groups
        products, to, back, weight = (WEIGHT_COSTS if task.kind == "weight" else COSTS)[isa.units()][axes - 1]
        frequency = products * product + to * channels + back * filters
        output = float(kernel.prod() * direct_products(task) + direct_end(task)) * _most_waiting(task)
        tiles = [tile[kernel] for tile in (_LARGE, _SMALL, *([_LONG] if axes == 1 else []))]
        share = np.min([(kernel + outputs - 1) / outputs for outputs in tiles], axis=0).prod()
        spread = np.where(kernel > 1, dilation, 1)
        return cls(spread, frequency, weight * product, bool(share * frequency >= output))


def tiles_alike(problem: Problem) -> bool:
    """Whether the tiles of all samples have the same size."""
    return isinstance(_by_tile(problem), np.ndarray)


def run_folded(task: Task, fold: Fold) -> None:
    """Run the core where an array of the task has one position after the other, not its phases side by side."""
    outputs = _by_tile(task.problem)
    assert isinstance(outputs, np.ndarray)
    _run(task, outputs, fold)


def run(task: Task, step: int = 0) -> None:
    """Run the core, samples whose tiles have the same size together.

    With a ``step``, an input begins so many positions of x behind the one before, and has as many of x's numbers as
    there are channels: inputs overlap. The source's offsets are then those of x's positions.
    """
    found = _by_tile(task.problem)
    if isinstance(found, np.ndarray):
        _run(task, found, step=step)
        return
    in_parts(task, ((partial(_run, outputs=outputs, step=step), problem) for problem, outputs in found))


def whole_vectors(count: int, groups: int, task: Task) -> int:
    """Channels of so many groups as vectors hold them, each group's in vectors of its own."""
    lanes: int = isa.lanes(task.operation.dtype.itemsize)
    return -(-count // groups // lanes) * lanes * groups


def direct(task: Task, tap: float = 1) -> NDArray[np.floating[Any]]:
    """What the direct convolution is expected to cost for each sample; a tap ``tap`` times as much as usual."""
    outputs = np.multiply.reduce(task.problem.like, axis=1)
    windows = np.multiply.reduce(_windows(task) / np.maximum(task.target.shapes, 1), axis=1)
    taps = outputs * np.minimum(windows * rows_met(task), 1) * task.geometry[0].prod()
    products = taps * (tap * direct_products(task)) + outputs * direct_end(task)
    found: NDArray[np.floating[Any]] = products * waiting(task)
    return found


def waiting(task: Task) -> NDArray[np.floating[Any]] | float:
    """How many times as long the direct convolution takes because its tiles are low."""
    most = _most_waiting(task)
    if most == 1:
        return 1.0
    found: NDArray[np.floating[Any]] = np.maximum(most / np.maximum(_heights(task), 1), 1)
    return found


def _most_waiting(task: Task) -> float:
    """That of tiles of one output: 1 where tiles aren't thought to wait."""
    least = LEAST_SUMS.get(isa.units())
    if task.kind == "weight" or task.rank < 3 or least is None or (task.geometry[1] > 1).any():
        return 1.0
    vectors = whole_vectors(task.filters, task.groups, task) / task.groups / isa.lanes(task.operation.dtype.itemsize)
    most: float = max(least[0] / min(vectors, PANEL), least[1], 1.0)
    return most


def _heights(task: Task) -> NDArray[np.floating[Any]]:
    """About how many outputs a tile of the direct convolution has, on the mean, for each sample.

    As if a row's inner outputs made a tile, and those at its edges, which lack taps, one each with those below them
    that lack the same taps. (Short rows may stand upright as a whole, and edges of many channels go row by row.)
    """
    sizes, shapes, reach = task.problem.like, task.target.shapes, (task.geometry[0] - 1) * task.geometry[2]
    before = reach - task.low if task.kind == "transposed" else task.low
    edge = np.maximum(before, 0) + np.maximum(shapes - task.source.shapes + reach - before, 0)
    inner, outer = sizes > edge, np.minimum(sizes, edge)
    planes = np.multiply.reduce(sizes[:, :-2], axis=1)
    upright = inner[:, -2] + outer[:, -2]
    tiles = planes * (sizes[:, -2] * inner[:, -1] + outer[:, -1] * upright)
    found: NDArray[np.floating[Any]] = np.multiply.reduce(sizes, axis=1) / np.maximum(tiles, 1)
    return found


def rows_met(task: Task) -> NDArray[np.floating[Any]]:
    """The share of rows of taps that meet inputs, of those that usually do: the others cost the direct convolution
    nothing. A row of which some taps meet inputs takes about as long as a whole one."""
    met = task.problem.met[:, :-1] * task.target.shapes[:, :-1] / np.maximum(_windows(task)[:, :-1], 1)
    found: NDArray[np.floating[Any]] = np.minimum(met.prod(axis=1) / USUALLY_MET, 1)
    return found


def _windows(task: Task) -> Ints:
    """How many windows there are on each axis: on the way back they are the source's."""
    return (task.source if task.kind == "transposed" else task.target).shapes


def direct_products(task: Task) -> float:
    """What a tap of an output costs the direct convolution."""
    channels, width, near = task.channels, task.filters // task.groups, (task.geometry[1] == 1).all()
    if task.kind == "weight":
        if swaps(task.operation):
            return whole_vectors(channels, 1, task) * (width + NARROW)
        few = width <= FEW and task.groups == 1 and near
    else:  # lanes are channels, or positions that are neighbours
        few = narrow.fits(task.operation) or (width <= FEW and channels == 1 and near)
    return channels * (width + NARROW if few else whole_vectors(task.filters, task.groups, task) / task.groups)


def direct_end(task: Task) -> float:
    """And what an output costs it beside its taps."""
    if task.kind == "weight" or isa.units().startswith("2x512"):
        return 0.0
    return float(END * whole_vectors(task.filters, task.groups, task))


def _frequencies(kernel: Ints, outputs: Ints) -> int:
    return math.prod((kernel + outputs - 1).tolist())


def _ceil(a: Ints, b: Ints) -> Ints:
    return (a + b - 1) // b


def pieces(row: NDArray[Any], size: Any, rank: int) -> Any:
    """Pieces of ``size`` that a row takes; in 1D the mean of rows about as long, so that they go one way."""
    return np.where(row > 0, np.maximum((row + (size - 1) / 2) / size, 1), 0) if rank == 1 else -(-row // size)


def _tiles(kernel: Ints, spread: Ints, sizes: Ints) -> Ints:
    """Outputs of a tile on each axis, for each sample (N, rank)."""
    large, small = _LARGE[kernel], _SMALL[kernel]
    if _frequencies(kernel, large) > MOST_FREQUENCIES:
        return np.broadcast_to(small, sizes.shape)
    if np.count_nonzero(kernel > 1) == 1:
        long, row = _LONG[kernel], _ceil(sizes, spread)
        rank = len(kernel)
        fewer = pieces(row, long, rank) * (kernel - 1 + long) < pieces(row, large, rank) * (kernel - 1 + large)
        large = np.where(fewer, long, large)
    return np.where(sizes <= 2, small, large)


def _tiles_of(problem: Problem) -> list[tuple[int, ...]]:
    kernel, _, dilation = problem.operation.geometry
    tiles = map(tuple, _tiles(kernel, np.where(kernel > 1, dilation, 1), problem.like).tolist())
    one: dict[tuple[int, ...], tuple[int, ...]] = {}  # of each, as answers are kept
    return [one.setdefault(tile, tile) for tile in tiles]


def _by_tile(problem: Problem) -> Ints | list[tuple[Problem, Ints]]:
    """The outputs of all samples' tiles on each axis; or parts of the batch, and those of theirs."""
    known: Ints | list[tuple[Problem, Ints]] | None = problem.memo.get("tiles")
    if known is None:
        parts = parts_of(problem, of_samples(problem, "tiles", _tiles_of))
        several = [(part, np.array(tile)) for tile, part in parts]
        known = several if len(several) > 1 else several[0][1]  # alone: the problem would keep itself
        problem.memo["tiles"] = known
    return known


def _run(task: Task, outputs: Ints, fold: Fold | None = None, step: int = 0) -> None:
    source, target, geometry, low = task.source, task.target, task.geometry, task.low
    if task.kind == "weight":
        core_weight.conv_weight(
            task.x, task.grad, source.shapes, target.shapes, low, source.offsets, target.offsets, geometry, outputs,
            task.groups, task.out, fold, step,
        )
        return
    if task.kind == "transposed":
        low = (geometry[0] - 1) * geometry[2] - low
    bias = np.empty(0, dtype=task.x.dtype) if task.bias is None else task.bias
    moments = task.room_for_moments(task.filters)
    counts = core.conv(
        task.x, source.shapes, target.shapes, low, source.offsets, target.offsets, geometry, outputs,
        _packed_weight(task, outputs), bias, task.groups, task.activation, task.out, fold, moments, step, task.channels,
    )
    task.count(moments if counts else None)


def _packed_weight(task: Task, outputs: Ints) -> Array:
    """The frequencies of the task's weight, kept in its packs."""
    key = (algorithm, task.kind, task.flip, task.groups, outputs.tobytes(), isa.current())
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    assert task.weight is not None
    flat = task.weight.reshape(math.prod(task.weight.shape[:-2]), *task.weight.shape[-2:])
    transposed = task.kind == "transposed"
    flip = task.flip != transposed
    arguments: tuple[Any, ...] = (np.ascontiguousarray(flat), task.geometry, outputs, task.groups, transposed, flip)
    packed: Array = empty(1, core.pack(*arguments, np.empty(0, dtype=flat.dtype)), flat.dtype)[0]
    core.pack(*arguments, packed)
    if task.packs is not None:
        task.packs[key] = packed
    return packed
