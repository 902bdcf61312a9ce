"""Winograd's convolution along the last axis alone, directly along the others: for few channels.

Its transforms take place in registers or the first cache, or once for all filters, where those of all axes at once go
through memory three times. It saves fewer multiplications. With a stride s, positions are inputs side by side as well:
K taps are K / u ones of u positions each, u a multiple of s, that lie u / s outputs apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import isa
from .._core import rowwise as core
from .._core import rowwise_blocks as core_blocks
from .._core import rowwise_weight as core_weight
from . import direct, phased, winograd
from .checks import Array, empty
from .moves import turned
from .task import Mask, Operation, Problem, Task, in_parts, of_samples, parts_of

algorithm = "winograd"

MOST_TAPS = 5
MOST_BYTES = 8 * 2**20  # of frequencies that a thread keeps
FREQUENCIES = 6, 8
PANEL = 64 * 1024  # bytes
READ = 1.5  # how often a row is transformed, where it isn't known yet


@dataclass(frozen=True, slots=True)
class Costs:
    """In multiply-adds of the direct convolution. Fitted to measurements."""

    product: float
    power: float  # by which that grows with a panel of the weight beyond PANEL
    first: float  # of a tile's output, a filter: from frequencies (or to them) and to memory (or from it)
    output: float  # that of filters beyond a first vector
    channel: float  # of an input's frequency
    full: float  # of one where channels fill vectors
    row: float  # of inputs
    weight: float  # a sample, of a number of the weight's frequencies
    # How many times what their rules expect other ways take, of few channels.
    direct: float
    winograd: float
    phased: float
    partial: float | None = None  # directly, a weight gradient's vectors that filters don't fill; None: as rules say
    fft: float = 1.0  # and Fourier transforms, of what theirs does


# By isa.units(): forth and back, the gradient of the weight.
COSTS = {
    "1x512": (  # its costs of a weight's number are those of 2x256: they haven't been measured
        Costs(1.07, 0.1, 8.4, 8.4, 11, 7, 2000, 3, 0.9, 1.2, 0.9),
        Costs(1.29, 0.15, 6, 12, 7, 12, 1800, 10, 0.97, 1.1, 0.9),
    ),
    "2x256": (
        Costs(1.28, 0.03, 17, 14, 11.5, 9, 1350, 3, 1.07, 1.17, 0.99),
        Costs(1.3, 0.2, 16, 13, 11.5, 12, 1100, 10, 1, 0.95, 1),
    ),
    "2x512": (
        Costs(0.73, 0.15, 12, 34, 38, 25, 1480, 4.9, 1, 0.82, 0.81, fft=0.77),
        Costs(1.3, 0.28, 9.2, 4.7, 50, 45, 1270, 130, 1, 1.3, 1.2, 1.2),
    ),
    "2x512 Zen": (
        Costs(0.81, 0.14, 15, 11, 35, 9.2, 880, 2.8, 1.13, 0.93, 0.69),
        Costs(0.79, 0.22, 7.4, 14, 31, 39, 780, 15, 0.9, 0.83, 0.67, 1.2),
    ),
}
FEW_COSTS = {  # of no more filters than a vector holds, where others take two at a time and 32 registers
    "2x512": (
        Costs(0.58, 0.41, 20, 0, 30, 16, 500, 2.1, 1, 0.82, 0.86, fft=0.77),
        Costs(1, 0.27, 0.83, 0, 49, 48, 1280, 460, 1, 1.4, 1.1, 2.6),
    ),
    "2x512 Zen": (
        Costs(0.78, 0.35, 9.8, 0, 31, 13, 620, 1.6, 0.91, 1.35, 1.13),
        Costs(0.73, 0.28, 5.3, 0, 36, 43, 530, 16, 0.74, 0.84, 0.99, 2.4),
    ),
}  # fmt: skip


def refuses(task: Task) -> str | None:
    """Groups; the way back from strides; rows without taps, or with strides beside dilation."""
    kernel, stride, dilation = task.geometry
    if (task.kind == "transposed" and (stride > 1).any()) or task.groups > 1:
        return "rows are convolved in one group, and not back from strides"
    if (stride[:-1] > (kernel[:-1] - 1) * dilation[:-1] + 1).any() or (stride[-1] > 1 and dilation[-1] > 1):
        return "rows that no output reads, and a stride beside dilation, are left to others"
    if not _cuts(task.operation):
        return f"rows need 2 to {MOST_TAPS} taps near each other, not {kernel.tolist()} with stride {stride[-1]}"
    return None


def takes(task: Task) -> bool | Mask:
    """By multiply-adds: against the direct convolution's and those of all axes at once."""
    costs = _costs(task.operation)
    rival = _direct(task, costs)
    if winograd.refuses(task) is None:
        rival = np.minimum(rival, costs.winograd * winograd.spent(task))
    elif phased.refuses(task) is None:
        rival = np.minimum(rival, costs.phased * phased.spent(task))
    mask: Mask = spent(task) < rival
    return mask


def _costs(operation: Operation) -> Costs:
    units, few = isa.units(), operation.filters <= isa.lanes(operation.dtype.itemsize)
    costs = FEW_COSTS if few and units in FEW_COSTS else COSTS
    return costs[units][operation.kind == "weight"]


def share_of_fft(task: Task) -> float:
    """How many times what their rule expects Fourier transforms take, beside this."""
    return _costs(task.operation).fft


def gain(task: Task) -> NDArray[np.floating[Any]]:
    """By how much it is expected to be faster than the direct convolution, for each sample."""
    found: NDArray[np.floating[Any]] = _direct(task, _costs(task.operation)) / np.maximum(spent(task), 1)
    return found


def _direct(task: Task, costs: Costs) -> NDArray[np.floating[Any]]:
    """What the direct convolution is expected to cost beside this, for each sample."""
    does, tap = task.operation, 1.0
    partial = does.kind == "weight" and does.filters > 1 and does.filters % isa.lanes(does.dtype.itemsize)
    if costs.partial is not None and partial and not direct.swaps(does):
        whole = does.channels * winograd.whole_vectors(does.filters, 1, task)
        tap = costs.partial * whole / winograd.direct_products(task)
    return costs.direct * winograd.direct(task, tap)


def spent(task: Task) -> NDArray[np.floating[Any]]:
    """What it is expected to cost for each sample, in multiply-adds of the direct convolution."""
    found: NDArray[np.floating[Any]] = _spent(task.problem).min(axis=0)
    return found


@dataclass(frozen=True, slots=True)
class Cut:
    """How a row is cut into tiles: ``taps`` that lie ``apart`` outputs apart and read ``unit`` positions each."""

    taps: int
    apart: int
    unit: int
    alpha: int
    tile: float  # costs of a tile's products and outputs, of its input, of a row, and of a sample
    input: float
    row: float
    sample: float

    @property
    def outputs(self) -> int:
        return self.alpha + 1 - self.taps


def _spent(problem: Problem) -> NDArray[np.float64]:
    """For each cut, what each sample costs."""
    known: NDArray[np.float64] | None = problem.memo.get(Costs)
    if known is not None:
        return known
    does, shapes = problem.operation, problem.like
    rows, size = np.multiply.reduce(shapes[:, :-1], axis=1), shapes[:, -1]
    cuts, rank = _cuts(does), shapes.shape[1]
    found, read = np.empty((len(cuts), len(shapes))), np.empty(len(shapes))
    for cut, spent in zip(cuts, found, strict=True):
        each = -(-size // cut.apart)
        tiles, whole = (cut.apart * winograd.pieces(each, cut.outputs, axes) for axes in (rank, 0))
        core_blocks.tiles_read(
            shapes, does.geometry, cut.apart, cut.taps, cut.alpha, does.channels, does.filters, does.dtype.itemsize,
            read,
        )  # fmt: skip
        count = rows * tiles
        if does.kind != "weight":  # a sample's last ones take as long as a whole product's
            at_once = core.tiles_at_once(does.dtype.itemsize, does.filters, cut.alpha)
            count = at_once * winograd.pieces(count, at_once, rank)
        again = read / np.maximum(whole, 1)  # how often rows are read
        spent[:] = count * cut.tile + again * (tiles * cut.input + cut.row)
        spent += np.where(count > 0, cut.sample, 0)
    problem.memo[Costs] = found
    return found


def _cuts(operation: Operation) -> list[Cut]:
    """For each number of frequencies the cheapest way to cut long rows, if there is any."""
    known: list[Cut] | None = operation.memo.get(Cut)
    if known is not None:
        return known
    kernel, stride, dilation = (int(row[-1]) for row in operation.geometry)
    outer, _, spread = operation.geometry[:, :-1]
    rows, reach = int(outer.prod()), float(((outer - 1) * spread + 1).prod())
    sized = operation.dtype.itemsize, operation.filters
    lanes, panel = isa.lanes(operation.dtype.itemsize), core.panel_lanes(*sized)
    filters = -(-operation.filters // panel) * panel
    costs = _costs(operation)
    made = []
    for alpha in FREQUENCIES:
        ways = []
        for apart in [dilation] if dilation > 1 else range(1, kernel // stride + 1):
            unit = 1 if dilation > 1 else apart * stride
            taps, width = -(-kernel // unit), unit * operation.channels
            few = core.fewest_tiles(*sized, alpha)
            least = reach * few * width * 8 * operation.dtype.itemsize  # bytes of what they read
            if 2 <= taps <= MOST_TAPS and least <= MOST_BYTES:
                end = costs.first * lanes + costs.output * (filters - lanes)
                size = alpha * rows * width * panel * operation.dtype.itemsize
                product = costs.product * max(1, size / PANEL) ** costs.power
                weight = alpha * rows * width * filters
                turn = alpha * (costs.channel if width % lanes else costs.full) * width
                tile = product * weight + (alpha + 1 - taps) * end
                ways.append(Cut(taps, apart, unit, alpha, tile, turn, costs.row, costs.weight * weight))
        if ways:
            made.append(min(ways, key=lambda cut: (cut.tile + READ * cut.input) / cut.outputs))
    operation.memo[Cut] = made
    return made


def _by_cut(problem: Problem) -> list[tuple[Cut, Problem | None]]:
    """The samples that are best cut in the same way, together; None: all of them, which would keep itself."""
    known: list[tuple[Cut, Problem | None]] | None = problem.memo.get(Cut)
    if known is not None:
        return known
    cuts = _cuts(problem.operation)
    numbers = of_samples(problem, Costs, lambda some: _spent(some).argmin(axis=0).tolist())
    made = [(cuts[number], None if part is problem else part) for number, part in parts_of(problem, numbers)]
    problem.memo[Cut] = made
    return made


def run(task: Task) -> None:
    """Run the core, samples that are cut in the same way together."""
    way = _run_weight if task.kind == "weight" else _run
    found = _by_cut(task.problem)
    in_parts(task, ((partial(way, cut=cut), task.problem if some is None else some) for cut, some in found))


def _run_weight(task: Task, cut: Cut) -> None:
    source, target, geometry = task.source, task.target, task.geometry
    assert task.grad is not None
    rows, kernel = int(geometry[0, :-1].prod()), int(geometry[0, -1])
    width = cut.unit * task.channels
    made = empty(cut.taps * rows * width, task.filters, task.out.dtype)
    core_weight.conv_weight(
        task.x, task.grad, source.shapes, target.shapes, task.low, source.offsets, target.offsets, geometry, cut.apart,
        cut.taps, cut.alpha, made.reshape(cut.taps, rows * width, task.filters),
    )  # fmt: skip
    made = made.reshape(cut.taps, rows, cut.unit, task.channels, task.filters).swapaxes(0, 1)
    made = made.reshape(rows, cut.taps * cut.unit, task.channels, task.filters)[:, :kernel]
    task.out[:] = made.reshape(task.out.shape)


def _run(task: Task, cut: Cut) -> None:
    source, target, geometry, low = task.source, task.target, task.geometry, task.low
    if task.kind == "transposed":
        low = np.ascontiguousarray((geometry[0] - 1) * geometry[2] - low)
    bias = np.empty(0, dtype=task.x.dtype) if task.bias is None else task.bias
    moments = task.room_for_moments(task.filters)
    core.conv(
        task.x, source.shapes, target.shapes, low, source.offsets, target.offsets, geometry, cut.apart, cut.taps,
        cut.alpha, _packed_weight(task, cut), bias, task.activation, task.out, moments,
    )  # fmt: skip
    task.count(moments)


def _packed_weight(task: Task, cut: Cut) -> Array:
    """The frequencies of the task's weight, kept in its packs."""
    key = ("rowwise", task.kind, task.flip, cut.taps, cut.unit, cut.alpha, isa.current())
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    weight, rank = task.weight, task.rank
    assert weight is not None
    if task.kind == "transposed":
        weight = turned(weight)
    if task.flip != (task.kind == "transposed"):
        weight = np.flip(weight, tuple(range(rank)))
    kernel, (channels, filters) = weight.shape[rank - 1], weight.shape[rank:]
    rows = math.prod(weight.shape[: rank - 1])
    weight = weight.reshape(rows, kernel, channels, filters)
    if cut.taps * cut.unit > kernel:
        weight = np.pad(weight, [(0, 0), (0, cut.taps * cut.unit - kernel), (0, 0), (0, 0)])
    weight = weight.reshape(rows, cut.taps, cut.unit * channels, filters).swapaxes(0, 1)
    weight = np.ascontiguousarray(weight).reshape(cut.taps, -1, filters)
    lanes = core.panel_lanes(weight.itemsize, filters)
    packed: Array = empty(1, -(-filters // lanes) * lanes * weight.shape[1] * cut.alpha, weight.dtype)[0]
    core.pack(weight, cut.alpha, packed)
    if task.packs is not None:
        task.packs[key] = packed
    return packed
