"""A last axis that the kernel spans: its positions are so many more channels.

Where a window covers the whole of the last axis, and so has one place on it, its K positions of C channels lie in
memory as one position of K C channels. That leaves a convolution of one axis fewer, which fills its tiles: a direct one
whose outputs' chains of multiply-adds stay the same, or one of short kernels, which Winograd's does if it is the
quicker. Spectrograms end so, whose bands a filter takes all together, and what comes behind, one position wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..layout import Ints
from . import direct, phased, winograd
from .checks import Array, empty
from .task import Implementation, Mask, Operation, Problem, Side, Task, choose, perform


@dataclass(eq=False, slots=True)
class Spanned:
    """The convolution without that axis, and without the next if the kernel spans that too, in one of some ways."""

    algorithm: str
    ways: tuple[Implementation, ...]

    def refuses(self, task: Task) -> str | None:
        """Groups, whose channels would lie apart; a single axis; a flipped kernel."""
        if task.groups > 1 or task.rank == 1 or task.flip:
            return "an axis becomes channels where there are two axes or more, one group, and no flip"
        return None

    def takes(self, task: Task) -> bool | Mask:
        """Samples whose last axis the kernel spans, without padding and without holes, if a way takes what is left."""
        kernel, _, dilation = task.geometry[:, -1].tolist()
        if kernel > 1 and dilation > 1:
            return False
        wide, single = _sides(task.problem)
        mask: Mask = single.shapes[:, -1] == 1
        if not mask.any():
            return False
        mask &= (wide.shapes[:, -1] == kernel) & (task.low[:, -1] == 0)
        if mask.any():
            problem = task.problem if mask.all() else task.problem.part(mask)
            left = Task(_without_axis(problem, kernel)[0], task.x, task.x)
            taken = np.zeros(len(problem.low), dtype=bool)
            for way in (self, *self.ways):
                if way.refuses(left) is None:
                    taken |= way.takes(left)
            mask[mask] = taken
        return mask

    def run(self, task: Task) -> None:
        """Run the ways on what is left."""
        kernel = int(task.geometry[0, -1])
        problem, rows = _without_axis(task.problem, kernel)
        x, out = task.x, task.out
        if rows is not None and task.kind == "transposed":
            out = empty(len(rows), task.filters, out.dtype)
        elif rows is not None:
            x = x[rows]
        inner_x, inner_out = x, out
        if task.kind != "transposed":
            inner_x = x.reshape(-1, kernel * task.channels)
        if task.kind == "transposed":
            inner_out = out.reshape(-1, kernel * task.filters)
        elif task.kind == "weight":
            inner_out = out.reshape(-1, kernel * out.shape[1], out.shape[2])
        packs = None if task.packs is None else task.packs.setdefault("spanned", {})
        inner = Task(problem, inner_x, inner_out, _weight(task), _bias(task, kernel), task.grad, packs, task.counted)
        parts: list[tuple[Implementation, Problem | None]] | None = problem.memo.get(self)
        if parts is None:
            chosen = choose(inner, (self, *self.ways), self.algorithm)
            # None for the problem itself, which would keep itself.
            parts = problem.memo[self] = [(way, None if part is problem else part) for way, part in chosen]
        perform(inner, [(way, part or problem) for way, part in parts])
        if out is not task.out:
            task.out[rows] = out


by_winograd = Spanned("auto", (phased, winograd))
directly = Spanned("direct", (direct,))


def _sides(problem: Problem) -> tuple[Side, Side]:
    """Where the last axis is spanned, and where it is a single position."""
    if problem.operation.kind == "transposed":
        return problem.target, problem.source
    return problem.source, problem.target


def _without_axis(problem: Problem, kernel: int) -> tuple[Problem, Ints | None]:
    """The problem without the last axis; and the rows of the spanned side to copy, None if they lie as they should."""
    known: tuple[Problem, Ints | None] | None = problem.memo.get("spanned")
    if known is not None:
        return known
    wide, single = _sides(problem)
    rows, offsets = None, wide.offsets
    if (offsets % kernel).any():  # not all samples are spanned
        sizes = wide.shapes.prod(axis=1)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(wide.offsets[:-1] - offsets[:-1], sizes) + np.arange(offsets[-1])
    folded = Side(np.ascontiguousarray(wide.shapes[:, :-1]), offsets // kernel)
    kept = Side(np.ascontiguousarray(single.shapes[:, :-1]), single.offsets)
    source, target = (kept, folded) if problem.operation.kind == "transposed" else (folded, kept)
    low = np.ascontiguousarray(problem.low[:, :-1])
    made = problem.memo["spanned"] = Problem(_operation(problem.operation, kernel), source, target, low), rows
    return made


def _operation(whole: Operation, kernel: int) -> Operation:
    known: Operation | None = whole.memo.get("spanned")
    if known is None:
        forth, back = (1, kernel) if whole.kind == "transposed" else (kernel, 1)
        known = whole.memo["spanned"] = Operation(
            whole.kind, np.ascontiguousarray(whole.geometry[:, :-1]), whole.channels * forth, whole.filters * back, 1,
            whole.dtype, activation=whole.activation,
        )  # fmt: skip
    return known


def _weight(task: Task) -> Array | None:
    """(*kernel, C, F) with the last axis of the kernel among the channels."""
    if task.weight is None:
        return None
    *kernel, last, channels, filters = task.weight.shape
    return task.weight.reshape(*kernel, last * channels, filters)


def _bias(task: Task, kernel: int) -> Array | None:
    """On the way back every position of the axis has the bias."""
    return np.tile(task.bias, kernel) if task.bias is not None and task.kind == "transposed" else task.bias
