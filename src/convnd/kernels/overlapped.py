"""Long kernels with strides, of few channels: neighbouring positions as channels, Winograd's convolution of the rest.

A kernel of A B taps is one of A taps, each of B positions side by side, that lie B apart. Where B is a multiple of the
stride s, outputs read them from inputs that begin s apart and overlap: B positions, which lie in memory as B C
channels. That is a convolution of A taps with stride 1 and dilation B / s, without a copy: 80 taps with stride 4 on a
waveform are 5 taps of 16 channels.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .._core import isa
from . import rowwise, winograd
from .checks import Array, empty
from .task import Mask, Operation, Problem, Side, Task

algorithm = "winograd"

LINE = 64  # bytes of the cache's
MOST_TAPS = winograd.MOST_TAPS[1]
LONG = 1 << 16  # outputs of a sample that the way to cut a kernel is chosen for
# By isa.units(): how many times what Winograd's rule expects it takes, forth and for weights. Elsewhere, and with AVX2
# forth, kernels.rowwise is faster, and the rule isn't asked.
FITS: dict[str, tuple[float | None, float]] = {"2x512": (0.9, 1.7), "2x512 Zen": (0.9, 1), "2x256": (None, 1.05)}


def refuses(task: Task) -> str | None:
    """Several axes, groups, dilation, the way back; channels that fill lines; kernels that can't be cut so."""
    _, stride, dilation = (int(row[0]) for row in task.geometry)
    if task.rank > 1 or task.groups > 1 or dilation > 1 or task.kind == "transposed" or task.flip:
        return "positions become channels on one axis, with one group and no dilation, and not on the way back"
    if stride == 1 or task.channels * task.operation.dtype.itemsize >= LINE or _cut(task.operation) is None:
        return f"few channels get their neighbours' too in kernels of 2 to {MOST_TAPS} times a multiple of the stride"
    return None


def takes(task: Task) -> bool | Mask:
    """By multiply-adds: Winograd's rule for what is left, against the direct convolution's and those row by row."""
    fit = FITS.get(isa.units(), (None, None))[task.kind == "weight"]
    if fit is None:
        return False
    rival = winograd.direct(task)
    if rowwise.refuses(task) is None:
        rival = np.minimum(rival, rowwise.spent(task))
    mask: Mask = fit * winograd.spent(Task(_problem(task.problem), task.x, task.x)) < rival
    return mask


def run(task: Task) -> None:
    """Run Winograd's convolution on x as it lies, or on a copy with the padding that a window meets."""
    problem = _problem(task.problem)
    taps, width = int(problem.operation.geometry[0, 0]), problem.operation.channels
    x, out, weight = task.x, task.out, task.weight
    if problem.source.offsets is not task.source.offsets:
        x = _padded(task, problem)
    if weight is not None:
        weight = weight.reshape(taps, width, task.filters)
    if task.kind == "weight":
        out = out.reshape(taps, width, task.filters)
    packs = None if task.packs is None else task.packs.setdefault(("overlapped", taps), {})
    inner = Task(problem, x, out, weight, task.bias, task.grad, packs, task.counted)
    winograd.run(inner, step=int(task.geometry[1, 0]))


def _cut(operation: Operation) -> Operation | None:
    """What is left of it: the cheapest of some short kernels, if there is any."""
    if "overlapped" in operation.memo:
        known: Operation | None = operation.memo["overlapped"]
        return known
    kernel, stride, _ = (int(row[0]) for row in operation.geometry)
    best, least = None, np.inf
    for taps in range(2, MOST_TAPS + 1):
        part = kernel // taps
        if kernel % taps or part % stride:
            continue
        made = Operation(
            operation.kind, np.array([[taps], [1], [part // stride]]), part * operation.channels, operation.filters, 1,
            operation.dtype, activation=operation.activation,
        )  # fmt: skip
        inputs, outputs = (Side(np.array([[size]]), np.array([0, size])) for size in (LONG + kernel, LONG))
        nothing = np.empty((0, 0), operation.dtype)
        spent = winograd.spent(Task(Problem(made, inputs, outputs, np.zeros((1, 1), np.int64)), nothing, nothing))[0]
        if spent < least:
            best, least = made, spent
    operation.memo["overlapped"] = best
    return best


def _problem(problem: Problem) -> Problem:
    """What is left of it. The source's offsets stay those of x, or become those of its copy."""
    known: Problem | None = problem.memo.get("overlapped")
    if known is None:
        operation = _cut(problem.operation)
        assert operation is not None
        (taps,), _, (apart,) = operation.geometry.tolist()
        outputs = problem.target.shapes
        shapes = np.where(outputs > 0, outputs + (taps - 1) * apart, 0)
        offsets = problem.source.offsets
        if not _inside(problem):
            offsets = np.concatenate([[0], np.cumsum(_reach(problem))])
        known = Problem(operation, Side(shapes, offsets), problem.target, np.zeros_like(problem.low), exact=True)
        problem.memo["overlapped"] = known
    return known


def _reach(problem: Problem) -> Array:
    """How many positions each sample's windows cover, padding and all."""
    kernel, stride, _ = (int(row[0]) for row in problem.operation.geometry)
    outputs = problem.target.shapes[:, 0]
    reach: Array = np.where(outputs > 0, (outputs - 1) * stride + kernel, 0)
    return reach


def _inside(problem: Problem) -> bool:
    """Whether all windows begin with their samples, and none goes beyond its end."""
    return bool((problem.low == 0).all() and (_reach(problem) <= problem.source.shapes[:, 0]).all())


def _padded(task: Task, problem: Problem) -> Array:
    """x with the padding that windows meet, without what none reads."""
    offsets, plain, low = problem.source.offsets.tolist(), task.source, task.low[:, 0].tolist()
    copy = empty(offsets[-1], task.channels, task.x.dtype)
    copy[:] = 0
    for sample, (start, end) in enumerate(pairwise(offsets)):
        first, size = int(plain.offsets[sample]), int(plain.shapes[sample, 0])
        from_, to = max(0, -low[sample]), min(size, end - start - low[sample])
        if from_ < to:
            copy[start + low[sample] + from_ : start + low[sample] + to] = task.x[first + from_ : first + to]
    return copy
