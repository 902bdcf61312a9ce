"""What a convolution kernel is asked to do, and the choice among the implementations that can do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..layout import Ints
from .checks import Array

Packs = dict[Any, Any]
Mask = NDArray[np.bool_]
Kind = Literal["forward", "transposed", "weight"]


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One end of a convolution: the samples' shapes (N, rank) and offsets (N + 1,), the last of which is all positions.

    In a part of a batch there are gaps between the samples.
    """

    shapes: Ints
    offsets: Ints


@dataclass(frozen=True, eq=False, slots=True)
class Task:
    """A convolution ("forward"), its adjoint ("transposed") or its weight gradient ("weight"), checked.

    ``geometry`` has the rows kernel, stride and dilation of the convolution, ``low`` its padding before each axis of
    each sample. ``x`` is on ``source``. "forward" and "transposed" fill ``out`` on ``target``; "weight" fills ``out``
    (taps, C / groups, F) from ``x`` and ``grad``, which is on ``target``.
    """

    kind: Kind
    x: Array
    out: Array
    geometry: Ints
    source: Side
    target: Side
    low: Ints
    groups: int
    flip: bool = False
    weight: Array | None = None  # (*kernel, C / groups, F)
    bias: Array | None = None
    activation: int = 0  # the core's number
    grad: Array | None = None
    packs: Packs | None = None

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return int(self.geometry.shape[1])

    @property
    def channels(self) -> int:
        """Channels of x."""
        return int(self.x.shape[1])

    @property
    def filters(self) -> int:
        """Channels of out, or of grad."""
        return int((self.out if self.grad is None else self.grad).shape[1])

    def part(self, mask: Mask) -> Task:
        """The same for some of the samples; a weight gradient of them alone gets an array of its own."""

        def side(whole: Side) -> Side:
            return Side(whole.shapes[mask], np.append(whole.offsets[:-1][mask], whole.offsets[-1]))

        out = np.empty_like(self.out) if self.kind == "weight" else self.out
        return replace(self, out=out, source=side(self.source), target=side(self.target), low=self.low[mask])


class Implementation(Protocol):
    """A way to do a task. Modules of this package are implementations."""

    algorithm: str

    def refuses(self, task: Task) -> str | None:
        """Why it can't do the task; None if it can."""

    def takes(self, task: Task) -> bool | Mask:
        """Whether it is the way to do a task that it can do, for all samples or for each.

        By the window, channels, dtype and a sample's own shape, so that a result doesn't depend on the batch.
        """

    def run(self, task: Task) -> None:
        """Do it."""


Plan = list[tuple[Implementation, Mask | None]]


def perform(task: Task, plan: Plan) -> None:
    """Each part of the batch by its implementation."""
    parts = [(way, task if mask is None else task.part(mask)) for way, mask in plan]
    for way, part in parts:
        way.run(part)
    if task.kind == "weight" and len(parts) > 1:
        np.sum([part.out for _, part in parts], axis=0, out=task.out)


def choose(task: Task, implementations: Sequence[Implementation], algorithm: str) -> Plan:
    """Each sample gets the first implementation that takes it; one of ``algorithm``, unless that is "auto"."""
    plan: Plan = []
    refusals = []
    left = np.ones(len(task.low), dtype=np.bool_)
    for way in implementations:
        if algorithm not in ("auto", way.algorithm):
            continue
        refusal = way.refuses(task)
        if refusal is not None:
            refusals.append(refusal)
            continue
        # The direct ways divide the work among them; any other does what it is told to.
        takes = way.takes(task) if algorithm in ("auto", "direct") else True
        mine = left & takes
        if mine.any():
            plan.append((way, None if mine.all() else mine))
            left &= ~mine
        if not left.any():
            return plan
    raise ArgumentError(f"algorithm={algorithm!r} can't do this convolution: {'; '.join(refusals)}")
