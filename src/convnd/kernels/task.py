"""What a convolution kernel is asked to do, and the choice among the implementations that can do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .._core import isa
from .._core.panels import Geometry
from ..errors import ArgumentError
from ..layout import Ints
from .checks import Array, empty_like

Packs = dict[Any, Any]
Doubles = NDArray[np.float64]
Counted = tuple[int, Doubles]
Mask = NDArray[np.bool_]
Kind = Literal["forward", "transposed", "weight"]

MOST_KEPT = 1 << 12  # samples of an operation
ASKED_TAPS = 64  # of an axis, from which it is told how many meet inputs


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One end of a convolution: the samples' shapes (N, rank) and offsets (N + 1,), the last of which is all positions.

    In a part of a batch there are gaps between the samples.
    """

    shapes: Ints
    offsets: Ints

    def samples(self, other: Side, low: Ints) -> list[bytes]:
        """What each sample is by itself: its shapes at both ends, and its padding."""
        rows = np.concatenate([self.shapes, other.shapes, low], axis=1, dtype=np.int64)
        known: list[bytes] = rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0].tolist()
        return known


@dataclass(frozen=True, eq=False)
class Operation:
    """What a convolution does with samples of any size. All that follows from it is worked out once for all batches.

    ``geometry`` has the rows kernel, stride and dilation of the convolution. ``channels`` are those of x, ``filters``
    those of out, or of grad. An operation is for the instruction set in use when it was made.
    """

    kind: Kind
    geometry: Ints
    channels: int
    filters: int
    groups: int
    dtype: np.dtype[Any]
    flip: bool = False
    activation: int = 0  # the core's number
    memo: dict[Any, Any] = field(default_factory=dict)  # of the implementations

    @cached_property
    def pack_key(self) -> tuple[Any, ...]:
        """What the packed weight depends on, beside how it is packed."""
        taps = self.geometry.tobytes() if self.kind == "transposed" else b""
        return self.kind, self.flip, self.groups, taps, isa.current()


@dataclass(frozen=True, eq=False)
class Problem:
    """An operation on a batch, all of a task but its arrays. ``low`` is the padding before each axis of each sample.

    ``exact`` says that what it costs is compared with what another problem does.
    """

    operation: Operation
    source: Side
    target: Side
    low: Ints
    exact: bool = False
    given: list[bytes] | None = None  # the samples, where they are known already
    memo: dict[Any, Any] = field(default_factory=dict)  # of the implementations

    @cached_property
    def like(self) -> Ints:
        """The target's shapes as rules of cost see them: the nearest of 1, 1.4, 2, 2.8, 4 ... on each axis.

        So samples of like size go the same way. A batch pays for each way that its samples go: a call, a packed
        weight, sums. With strides rules compare other problems' costs, and see the very sizes.
        """
        shapes = self.target.shapes
        if self.exact or (self.operation.geometry[1] > 1).any():
            return shapes
        near = np.exp2(np.rint(2 * np.log2(np.maximum(shapes, 1))) / 2)
        return np.where(shapes > 0, np.rint(near), 0).astype(np.int64)

    @cached_property
    def core(self) -> Geometry:
        """The same for the core."""
        does = self.operation
        return Geometry(
            does.geometry, self.source.shapes, self.target.shapes, self.low, self.source.offsets, self.target.offsets,
            does.kind == "transposed", does.channels, does.filters, does.groups, does.dtype.itemsize,
        )

    @cached_property
    def met(self) -> Doubles:
        """The share of all outputs' taps that meet an input, for each sample and axis (N, rank).

        The others fall on padding, or between inputs that are spread, and cost the direct convolution nothing.
        """
        does = self.operation
        inner, outer = (self.target, self.source) if does.kind == "transposed" else (self.source, self.target)
        met = np.empty(self.low.shape)
        for axis, (kernel, stride, dilation) in enumerate(does.geometry.T.tolist()):
            few = kernel <= ASKED_TAPS
            taps = np.arange(kernel) if few else np.linspace(0, kernel - 1, ASKED_TAPS).astype(np.int64)
            before = self.low[:, axis, None] - dilation * taps
            first = np.maximum(0, -(-before // stride))
            last = np.minimum(outer.shapes[:, axis, None], (inner.shapes[:, axis, None] - 1 + before) // stride + 1)
            met[:, axis] = np.maximum(0, last - first).mean(axis=1) / np.maximum(1, self.target.shapes[:, axis])
        return met

    @cached_property
    def samples(self) -> list[bytes]:
        """What each sample is by itself: its shapes and its padding."""
        return self.source.samples(self.target, self.low) if self.given is None else self.given

    def part(self, mask: Mask) -> Problem:
        """The same for some of the samples."""
        ends = np.append(mask, True)

        def side(whole: Side) -> Side:
            return Side(whole.shapes[mask], whole.offsets[ends])

        samples = [*compress(self.samples, mask.tolist())]
        return Problem(self.operation, side(self.source), side(self.target), self.low[mask], self.exact, samples)


class Task:
    """A convolution ("forward"), its adjoint ("transposed") or its weight gradient ("weight"), checked.

    ``x`` is on ``source``. "forward" and "transposed" fill ``out`` on ``target``; "weight" fills ``out``
    (taps, C / groups, F) from ``x`` and ``grad``, which is on ``target``. Where ``counted`` is a list, a way may add
    what it has counted of ``out`` while it had it in the cache: positions, their means and squared deviations (2, F).
    """

    __slots__ = ("bias", "counted", "grad", "operation", "out", "packs", "problem", "weight", "x")

    def __init__(
        self, problem: Problem, x: Array, out: Array, weight: Array | None = None, bias: Array | None = None,
        grad: Array | None = None, packs: Packs | None = None, counted: list[Counted] | None = None,
    ) -> None:
        self.problem = problem
        self.operation = problem.operation
        self.x = x
        self.out = out
        self.weight = weight  # (*kernel, C / groups, F)
        self.bias = bias
        self.grad = grad
        self.packs = packs
        self.counted = counted

    @property
    def kind(self) -> Kind:
        return self.operation.kind

    @property
    def geometry(self) -> Ints:
        return self.operation.geometry

    @property
    def source(self) -> Side:
        return self.problem.source

    @property
    def target(self) -> Side:
        return self.problem.target

    @property
    def low(self) -> Ints:
        return self.problem.low

    @property
    def groups(self) -> int:
        return self.operation.groups

    @property
    def flip(self) -> bool:
        return self.operation.flip

    @property
    def activation(self) -> int:
        return self.operation.activation

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return int(self.operation.geometry.shape[1])

    @property
    def channels(self) -> int:
        """Channels of x."""
        return self.operation.channels

    @property
    def filters(self) -> int:
        """Channels of out, or of grad."""
        return self.operation.filters

    def room_for_moments(self, together: int) -> Doubles | None:
        """Means and squared deviations (2, F) to fill, if they are wanted and filters fill a vector, so many of them
        being summed ``together``: of few :func:`convnd.kernels.moments` counts several positions in one."""
        wanted = self.counted is not None and together >= isa.lanes(self.operation.dtype.itemsize)
        return np.empty((2, self.filters)) if wanted else None

    def count(self, moments: Doubles | None) -> None:
        """All of out has been counted, if ``moments`` says so."""
        if self.counted is not None and moments is not None:
            positions = int(np.multiply.reduce(self.target.shapes, axis=1).sum())
            self.counted.append((positions, moments))

    def on(self, problem: Problem, out: Array | None = None) -> Task:
        """The same arrays, but perhaps the result, for a part of the batch."""
        out = self.out if out is None else out
        return Task(problem, self.x, out, self.weight, self.bias, self.grad, self.packs, self.counted)


class Implementation(Protocol):
    """A way to do a task. Modules of this package are implementations."""

    algorithm: str

    def refuses(self, task: Task) -> str | None:
        """Why it can't do the task; None if it can. By the operation alone: it is asked once for all batches."""

    def takes(self, task: Task) -> bool | Mask:
        """Whether it is the way to do a task that it can do, for all samples or for each.

        By the window, channels, dtype and a sample's own shape and padding, so that a result doesn't depend on the
        batch.
        """

    def run(self, task: Task) -> None:
        """Do it."""


Part = tuple[Implementation, Problem]


def perform(task: Task, parts: Sequence[Part]) -> None:
    """Each part of the batch by its implementation."""
    if len(parts) == 1:
        parts[0][0].run(task)
        return
    in_parts(task, ((way.run, problem) for way, problem in parts))


def in_parts(task: Task, parts: Iterable[tuple[Callable[[Task], None], Problem]]) -> None:
    """Each part of the batch in its way; their gradients of a weight are added up in this order."""
    for number, (run, problem) in enumerate(parts):
        adds = task.kind == "weight" and number > 0
        part = task.on(problem, empty_like(task.out) if adds else None)
        run(part)
        if adds:
            np.add(task.out, part.out, out=task.out)


def of_samples(problem: Problem, name: Any, ask: Callable[[Problem], Sequence[Any]]) -> list[Any]:
    """What ``ask`` says of each sample, which follows from the operation and from what the sample is by itself.

    It is asked for a sample that no batch had before, and the answer kept with the operation.
    """
    memo = problem.operation.memo
    known: dict[bytes, Any] | None = memo.get(name)
    if known is None or len(known) > MOST_KEPT:
        known = memo[name] = {}
    samples = problem.samples
    with suppress(KeyError):
        return [known[sample] for sample in samples]
    new = {sample: place for place, sample in enumerate(samples) if sample not in known}
    mask = np.zeros(len(samples), dtype=bool)
    mask[list(new.values())] = True
    asked = problem if mask.all() else problem.part(mask)
    known.update(zip(asked.samples, ask(asked), strict=True))
    return [known[sample] for sample in samples]


def parts_of(problem: Problem, answers: Sequence[Any]) -> list[tuple[Any, Problem]]:
    """For each answer the samples that have it, in ascending order; all of the problem where they agree."""
    several = sorted(set(answers))
    if len(several) == 1:
        return [(several[0], problem)]
    of = np.array([several.index(answer) for answer in answers])
    return [(answer, problem.part(of == number)) for number, answer in enumerate(several)]


def choose(task: Task, implementations: Sequence[Implementation], algorithm: str) -> list[Part]:
    """Each sample gets the first implementation that takes it; one of ``algorithm``, unless that is "auto"."""
    able = _able(task, implementations, algorithm)
    if len(able) == 1:
        return [(able[0], task.problem)]
    x = task.x
    if task.geometry[0].max(initial=1) == 1:  # a position's, all of a batch in one row: it is never met again
        numbers = _numbers(task, able)
    else:
        numbers = of_samples(task.problem, ("way", algorithm), lambda problem: _numbers(Task(problem, x, x), able))
    return [(able[number], problem) for number, problem in parts_of(task.problem, numbers)]


def _numbers(task: Task, able: Sequence[Implementation]) -> list[int]:
    """For each sample the first of these that takes it. The last one does what is left, as it is told to."""
    numbers = np.full(len(task.low), len(able) - 1)
    left = np.ones(len(task.low), dtype=bool)
    for number, way in enumerate(able[:-1]):
        mine = left & way.takes(task)
        numbers[mine] = number
        left &= ~mine
        if not left.any():
            break
    found: list[int] = numbers.tolist()
    return found


def _able(task: Task, implementations: Sequence[Implementation], algorithm: str) -> list[Implementation]:
    """Those of ``algorithm`` that don't refuse: the last one takes everything."""
    known: list[Implementation] | None = task.operation.memo.get(("able", algorithm))
    if known is not None:
        return known
    able, refusals = [], []
    for way in implementations:
        if algorithm in ("auto", way.algorithm):
            refusal = way.refuses(task)
            if refusal is None:
                able.append(way)
            else:
                refusals.append(refusal)
    if not able:
        raise ArgumentError(f"algorithm={algorithm!r} can't do this convolution: {'; '.join(refusals)}")
    task.operation.memo["able", algorithm] = able
    return able
