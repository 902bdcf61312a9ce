"""Strides as channels: Winograd's convolution of what lies at every phase of a stride.

A kernel of K taps with stride s is one of ceil(K / s) taps with stride 1 over s times the channels; where K isn't a
multiple of s, some of its weights are zeros. Where a position's channels don't fill lines of the cache, or samples take
tiles of different sizes, x is copied for that, some samples at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import isa, pointwise
from .._core import phases as core
from .._core.winograd_tiles import Fold
from ..layout import Ints
from . import winograd
from .checks import Array, empty
from .task import Mask, Operation, Problem, Side, Task

algorithm = "winograd"

BYTES = 16 * 2**20  # of the copies of some samples; or of one sample
LINE = 64  # bytes of the cache's, and of the longest vectors
PRODUCTS, CACHE, SPILL_TILES, SPILL_BYTES = 2048, 2 * 2**20, 14, 2 * 2**20


@dataclass(frozen=True, slots=True)
class Fit:
    """Constants of what the convolution costs, in multiply-adds of the direct one. Fitted to measurements."""

    copy: float  # of a copied number, where each sample by itself would have to be copied
    share: float  # of what Winograd's rule expects
    power: float  # by which that grows with channels times filters beyond PRODUCTS
    size: float = 0  # and, times the axes, with the size of a weight's frequencies beyond CACHE
    spill: float = 0  # of a frequency's number that waits in a slower cache: where SPILL_TILES take twice SPILL_BYTES


# By isa.units(): forth and back, the gradient of the weight, and that on one axis alone where it differs.
FITS: dict[str, tuple[Fit, ...]] = {
    "2x256": (Fit(5, 1.12, 0.03, size=0.03, spill=30), Fit(2, 0.98, 0.03, size=0.2)),
    "1x512": (Fit(4, 1.2, 0.06, size=0.05, spill=30), Fit(2, 1.3, 0.04, size=0.08)),
    "2x512": (Fit(15, 1.08, 0.03, spill=80), Fit(9, 1.12, 0.0), Fit(15, 1.8, 0.05)),
    "2x512 Zen": (Fit(12, 1.28, 0.03, spill=40), Fit(12, 1.22, 0.0)),
}
# How much longer the way back to less than a vector of channels takes directly than to one; 1 where none is given.
NARROW = {"2x512 Zen": 2.4}


def refuses(task: Task) -> str | None:
    """No strides, or such as skip inputs; groups; dilation beside a stride; what Winograd's convolution refuses."""
    kernel, stride, dilation = task.geometry
    if (stride == 1).all() or (stride > kernel).any() or task.groups > 1 or ((stride > 1) & (dilation > 1)).any():
        return "phases are of strides up to the kernel's size, with one group and no dilation beside them"
    return winograd.refuses(_inner(task))


def takes(task: Task) -> bool | Mask:
    """By multiply-adds: of Winograd's convolution, and what copies take, against the direct convolution's."""
    lanes, units = isa.lanes(task.operation.dtype.itemsize), isa.units()
    few = task.filters < lanes
    if few and task.kind != "transposed" and units.startswith("2x512"):
        return False
    narrow = task.kind == "transposed" and few and task.filters > winograd.FEW and lanes == 16
    mask: Mask = spent(task) < winograd.direct(task, NARROW.get(units, 1.0) if narrow else 1.0)
    return mask


def spent(task: Task) -> NDArray[np.floating[Any]]:
    """What it is expected to cost for each sample, in multiply-adds of the direct convolution."""
    folding, inner, of_weight = _folding(task.problem), _inner(task), task.kind == "weight"
    fits, axes = FITS[isa.units()], int((inner.geometry[0] > 1).sum())
    fit = fits[0] if not of_weight else fits[-1] if axes == 1 else fits[1]
    bytes_ = winograd.tile_frequencies(inner) * task.operation.dtype.itemsize
    share = fit.share * max(1, inner.channels * inner.filters / PRODUCTS) ** fit.power
    share *= max(1, bytes_ * inner.channels * inner.filters / CACHE) ** (fit.size * axes)
    copy = 0 if _gathers(task) else fit.copy
    found: NDArray[np.floating[Any]] = share * winograd.spent(inner)
    found = found + copy * folding.width * np.multiply.reduce(folding.folded.shapes, axis=1)
    if fit.spill:
        numbers = inner.channels + inner.filters
        spilled = min(1, max(0, math.log2(SPILL_TILES * bytes_ * numbers / SPILL_BYTES)))
        found = found + fit.spill * spilled * numbers * winograd.frequencies(inner)
    return found


def run(task: Task) -> None:
    """Fold some samples at a time, run Winograd's convolution on them, and unfold its results on the way back.

    Phases whose channels fill whole lines aren't copied, if all tiles have one size: they are read from where they lie.
    """
    total: Array | None = None
    weight, bias, packs = _weight(task), _bias(task), _packs(task)
    whole = _folding(task.problem)
    if _gathers(task) and winograd.tiles_alike(whole.problem):
        does, out = whole.problem.operation, task.out
        if task.kind == "weight":
            out = _grad(does, out)
        winograd.run_folded(Task(whole.problem, task.x, out, weight, bias, task.grad, packs), _fold(task.problem))
        if task.kind == "weight":
            task.out[:] = _unfolded(out, task.operation)
        if task.kind == "transposed":
            _fill_unread(task, whole, bias)
        return
    for part in _pieces(task.problem):
        copy = empty(int(part.folded.offsets[-1]), part.width, task.x.dtype)
        if task.kind == "transposed":
            winograd.run(Task(part.problem, task.x, copy, weight, bias, packs=packs))
            _move(copy, part, True, task.out)
            _fill_unread(task, part, bias)
            continue
        _move(task.x, part, False, copy)
        if task.kind == "forward":
            winograd.run(Task(part.problem, copy, task.out, weight, bias, packs=packs))
            continue
        does = part.problem.operation
        grad = _grad(does, copy)
        winograd.run(Task(part.problem, copy, grad, grad=task.grad))
        total = grad if total is None else np.add(total, grad, out=total)
    if total is not None:
        task.out[:] = _unfolded(total, task.operation)


def _gathers(task: Task) -> bool:
    """Whether Winograd's convolution reads (or writes) the phases where they lie: a position's channels fill lines."""
    channels = task.filters if task.kind == "transposed" else task.channels
    return bool(channels * task.operation.dtype.itemsize % LINE == 0)


def _fold(problem: Problem) -> Fold:
    """The folded side of all samples, for the core."""
    known: Fold | None = problem.memo.get("fold")
    if known is None:
        whole, back = _folding(problem), problem.operation.kind == "transposed"
        plain, stride = problem.target if back else problem.source, np.ascontiguousarray(problem.operation.geometry[1])
        known = problem.memo["fold"] = Fold(plain.shapes, whole.ends, plain.offsets, whole.low, stride, back)
    return known


@dataclass(frozen=True, eq=False, slots=True)
class _Folding:
    """Some samples as they are and folded, ``width`` channels then; and the problem that is left of theirs."""

    plain: Side
    folded: Side
    ends: Ints  # how many positions of the plain side are read on each axis
    low: Ints  # padding on the axes that have a stride
    stride: Ints
    width: int
    problem: Problem


def _move(x: Array, part: _Folding, back: bool, out: Array) -> None:
    plain, folded = part.plain, part.folded
    if x.size and out.size:
        core.move_phases(
            x, plain.shapes, plain.offsets, folded.shapes, folded.offsets, part.ends, part.low, part.stride, back, out
        )


def _fill_unread(task: Task, part: _Folding, bias: Array | None) -> None:
    """What no output reads gets nothing back but the bias: zeros of the folded weight leave some rounding there."""
    plain, ends = part.plain, part.ends
    samples, axes = np.nonzero(ends < plain.shapes)
    if not len(samples):
        return
    value = np.zeros(task.filters, task.out.dtype) if bias is None else bias[: task.filters]
    if task.activation:
        value = value.copy()
        pointwise.activate(value, task.activation, value)
    for sample, axis in zip(samples.tolist(), axes.tolist(), strict=True):
        shape = plain.shapes[sample].tolist()
        first = int(plain.offsets[sample])
        rows = task.out[first : first + math.prod(shape)].reshape(*shape, task.filters)
        rows[(*[slice(None)] * axis, slice(int(ends[sample, axis]), None))] = value


def _operation(whole: Operation) -> Operation:
    """What is left of it: no strides, shorter kernels, more channels."""
    known: Operation | None = whole.memo.get(_Folding)
    if known is None:
        kernel, stride, dilation = whole.geometry
        phases = int(stride.prod())
        forth, back = (1, phases) if whole.kind == "transposed" else (phases, 1)
        known = whole.memo[_Folding] = Operation(
            whole.kind, np.stack([-(-kernel // stride), np.ones_like(stride), dilation]), whole.channels * forth,
            whole.filters * back, 1, whole.dtype, activation=whole.activation,
        )  # fmt: skip
    return known


def _folding(problem: Problem) -> _Folding:
    """All samples of it."""
    known: _Folding | None = problem.memo.get("phased")
    if known is not None:
        return known
    back = problem.operation.kind == "transposed"
    plain, outputs = (problem.target, problem.source) if back else (problem.source, problem.target)
    kernel, stride, _ = problem.operation.geometry
    inner = _operation(problem.operation)
    places = outputs.shapes + inner.geometry[0] - 1
    if back:  # an input that no output reads has a place as well
        places = np.maximum(places, -(-(plain.shapes + problem.low) // stride))
    shapes = np.where(stride > 1, places, plain.shapes)
    folded = Side(shapes, np.concatenate([[0], np.cumsum(shapes.prod(axis=1))]))
    source, target = (outputs, folded) if back else (folded, outputs)
    left = Problem(inner, source, target, np.where(stride > 1, 0, problem.low), exact=True)
    low = np.where(stride > 1, problem.low, 0)
    read = (outputs.shapes - 1) * stride + kernel - problem.low
    ends = np.where(stride > 1, np.clip(read, 0, plain.shapes), plain.shapes)
    width = inner.filters if back else inner.channels
    made = problem.memo["phased"] = _Folding(plain, folded, ends, low, stride, width, left)
    return made


def _inner(task: Task) -> Task:
    """All that is left of the task but its arrays."""
    return Task(_folding(task.problem).problem, task.x, task.x)


def _pieces(problem: Problem) -> list[_Folding]:
    """So many samples at a time as the copies have room for."""
    known: list[_Folding] | None = problem.memo.get("phased pieces")
    if known is not None:
        return known
    whole = _folding(problem)
    size = whole.width * problem.operation.dtype.itemsize
    made: list[_Folding] = []
    first, count = 0, len(whole.low)
    while first < count:
        end = first + 1
        while end < count and (whole.folded.offsets[end + 1] - whole.folded.offsets[first]) * size <= BYTES:
            end += 1
        made.append(whole if end - first == count else _folding(problem.part(_among(count, first, end))))
        first = end
    problem.memo["phased pieces"] = made
    return made


def _among(count: int, first: int, end: int) -> Mask:
    mask = np.zeros(count, dtype=bool)
    mask[first:end] = True
    return mask


def _packs(task: Task) -> dict[str, Array] | None:
    """Where the folded weight and what Winograd's convolution makes of it are kept."""
    if task.packs is None:
        return None
    kept: dict[str, Array] = task.packs.setdefault(("phased", task.flip, task.geometry.tobytes()), {})
    return kept


def _weight(task: Task) -> Array | None:
    """(*kernel, C, F) with its phases among the channels."""
    if task.weight is None:
        return None
    packs = _packs(task)
    if packs is not None and "weight" in packs:
        return packs["weight"]
    *kernel, channels, filters = task.weight.shape
    stride, rank = task.geometry[1].tolist(), task.rank
    weight = task.weight
    if task.flip:
        weight = np.flip(weight, tuple(range(rank)))
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    filled = [(0, n * s - k) for n, k, s in zip(taps, kernel, stride, strict=True)]
    weight = np.pad(weight, [*filled, (0, 0), (0, 0)])
    weight = weight.reshape(*(size for pair in zip(taps, stride, strict=True) for size in pair), channels, filters)
    order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1]
    folded: Array = np.ascontiguousarray(weight.transpose(order)).reshape(*taps, -1, filters)
    if packs is not None:
        packs["weight"] = folded
    return folded


def _grad(does: Operation, like: Array) -> Array:
    """Room for the gradient of the folded weight."""
    taps = int(does.geometry[0].prod())
    return empty(taps * does.channels, does.filters, like.dtype).reshape(taps, does.channels, does.filters)


def _unfolded(grad: Array, operation: Operation) -> Array:
    """A folded weight's gradient (taps, channels, F), as the weight's own."""
    kernel, stride, _ = operation.geometry.tolist()
    rank = len(kernel)
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    grad = grad.reshape(*taps, *stride, operation.channels, operation.filters)
    order = [axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]
    whole = grad.transpose([*order, 2 * rank, 2 * rank + 1])
    whole = whole.reshape(*(n * s for n, s in zip(taps, stride, strict=True)), operation.channels, operation.filters)
    return whole[tuple(slice(k) for k in kernel)].reshape(math.prod(kernel), operation.channels, operation.filters)


def _bias(task: Task) -> Array | None:
    """On the way back every phase has the bias."""
    if task.bias is None or task.kind != "transposed":
        return task.bias
    return np.tile(task.bias, int(task.geometry[1].prod()))
