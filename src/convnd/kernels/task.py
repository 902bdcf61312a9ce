"""What a convolution kernel is asked to do, and the choice among the implementations that can do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .._core import isa
from .._core.panels import Geometry
from ..errors import ArgumentError
from ..layout import Ints
from .checks import Array

Packs = dict[Any, Any]
Doubles = NDArray[np.float64]
Counted = tuple[int, Doubles]
Mask = NDArray[np.bool_]
Kind = Literal["forward", "transposed", "weight"]


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One end of a convolution: the samples' shapes (N, rank) and offsets (N + 1,), the last of which is all positions.

    In a part of a batch there are gaps between the samples.
    """

    shapes: Ints
    offsets: Ints


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
    """An operation on a batch, all of a task but its arrays. ``low`` is the padding before each axis of each sample."""

    operation: Operation
    source: Side
    target: Side
    low: Ints
    memo: dict[Any, Any] = field(default_factory=dict)  # of the implementations

    @cached_property
    def core(self) -> Geometry:
        """The same for the core."""
        does = self.operation
        return Geometry(
            does.geometry, self.source.shapes, self.target.shapes, self.low, self.source.offsets, self.target.offsets,
            does.kind == "transposed", does.channels, does.filters, does.groups, does.dtype.itemsize,
        )

    def part(self, mask: Mask) -> Problem:
        """The same for some of the samples."""

        def side(whole: Side) -> Side:
            return Side(whole.shapes[mask], np.append(whole.offsets[:-1][mask], whole.offsets[-1]))

        return Problem(self.operation, side(self.source), side(self.target), self.low[mask])


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

    def on(self, problem: Problem) -> Task:
        """The same arrays, for a part of the batch; a weight gradient of it alone gets an array of its own."""
        out = np.empty_like(self.out) if self.kind == "weight" else self.out
        return Task(problem, self.x, out, self.weight, self.bias, self.grad, self.packs, self.counted)

    def part(self, mask: Mask) -> Task:
        """The same for some of the samples."""
        return self.on(self.problem.part(mask))


class Implementation(Protocol):
    """A way to do a task. Modules of this package are implementations."""

    algorithm: str

    def refuses(self, task: Task) -> str | None:
        """Why it can't do the task; None if it can. By the operation alone: it is asked once for all batches."""

    def takes(self, task: Task) -> bool | Mask:
        """Whether it is the way to do a task that it can do, for all samples or for each.

        By the window, channels, dtype and a sample's own shape, so that a result doesn't depend on the batch.
        """

    def run(self, task: Task) -> None:
        """Do it."""


Part = tuple[Implementation, Problem]


def perform(task: Task, parts: Sequence[Part]) -> None:
    """Each part of the batch by its implementation."""
    if len(parts) == 1:
        parts[0][0].run(task)
        return
    tasks = [task.on(problem) for _, problem in parts]
    for (way, _), part in zip(parts, tasks, strict=True):
        way.run(part)
    if tasks and task.kind == "weight":
        np.sum([part.out for part in tasks], axis=0, out=task.out)


def choose(task: Task, implementations: Sequence[Implementation], algorithm: str) -> list[Part]:
    """Each sample gets the first implementation that takes it; one of ``algorithm``, unless that is "auto"."""
    parts: list[Part] = []
    left: Mask | None = None  # all
    able = _able(task, implementations, algorithm)
    for way in able:
        # The last one does what is left, as it is told to.
        mine = True if way is able[-1] else way.takes(task)
        if isinstance(mine, bool):
            if not mine:
                continue
            parts.append((way, task.problem if left is None else task.problem.part(left)))
            break
        if left is not None:
            mine &= left
        count = int(np.count_nonzero(mine))
        if not count:
            continue
        if count == len(mine):
            return [(way, task.problem)]
        parts.append((way, task.problem.part(mine)))
        left = ~mine if left is None else left & ~mine
        if not left.any():
            break
    return parts


def _able(task: Task, implementations: Sequence[Implementation], algorithm: str) -> list[Implementation]:
    """Those of ``algorithm`` that don't refuse: the last one takes everything."""
    known: list[Implementation] | None = task.operation.memo.get(algorithm)
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
    task.operation.memo[algorithm] = able
    return able
