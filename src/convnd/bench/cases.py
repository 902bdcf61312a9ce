"""The layers that are measured: one list, which feeds the timings and a test of their results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..layout import Layout
from ..window import Placement, Window

Array = NDArray[Any]
Pass = Literal["forward", "input", "weight"]
PASSES: tuple[Pass, ...] = ("forward", "input", "weight")


@dataclass(frozen=True)
class Case:
    """A convolution of a dense batch. ``padding`` zeros lie on both sides of every axis, as all libraries have it."""

    name: str
    batch: int
    channels: int
    filters: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def rank(self) -> int:
        """Axes of a sample."""
        return len(self.size)

    @property
    def place(self) -> Placement:
        """Its window on its batch."""
        window = Window.of(self.rank, self.kernel, self.stride, self.padding, self.dilation)
        return window.on(Layout.dense(self.batch, self.size))

    @property
    def output(self) -> tuple[int, ...]:
        """Positions of a result on every axis."""
        return self.place.output.shape(0)

    @property
    def flops(self) -> int:
        """Twice the multiply-adds of the direct algorithm, taps in the padding included: the same for every pass."""
        taps = math.prod(self.kernel)
        return 2 * self.batch * math.prod(self.output) * taps * self.channels // self.groups * self.filters

    @property
    def layer(self) -> str:
        """The layer in the words of the tables: batch x channels->filters x size, kernel."""
        width = f"{self.channels}" if self.groups == self.channels > 1 else f"{self.channels}->{self.filters}"
        text = f"{self.batch} x {width} x {'x'.join(map(str, self.size))}, k{self.kernel[0]}"
        text += f" s{self.stride}" if self.stride > 1 else ""
        return text + (f" d{self.dilation}" if self.dilation > 1 else "")

    def small(self) -> Case:
        """The same kind of layer with few positions and channels: what the tests compute in full."""
        window = self.place.window
        room = [extent + 7 * self.stride - 2 * self.padding for extent in window.extent]
        channels = min(self.channels, 24)
        return replace(
            self,
            batch=2,
            channels=channels,
            filters=channels if self.groups > 1 else min(self.filters, 40),
            size=tuple(min(whole, max(part, 4)) for whole, part in zip(self.size, room, strict=True)),
            groups=channels if self.groups > 1 else 1,
        )


@dataclass(frozen=True, eq=False)
class Operands:
    """Random arrays for a case, float32: x (P_in, C), weight (*kernel, C / groups, F), grad (P_out, F)."""

    x: Array
    weight: Array
    grad: Array

    @classmethod
    def draw(cls, case: Case, seed: int = 0) -> Operands:
        """Normal numbers: never zeros, which some machines multiply faster."""
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> Array:
            return rng.standard_normal(shape, dtype=np.float32)

        place = case.place
        return cls(
            normal(place.input.positions, case.channels),
            normal(*case.kernel, case.channels // case.groups, case.filters),
            normal(place.output.positions, case.filters),
        )


CASES: tuple[Case, ...] = (
    Case("1d-first", 16, 1, 64, (16000,), (80,), stride=4),
    Case("1d-k3", 16, 64, 64, (4000,), (3,), padding=1),
    Case("1d-k9", 16, 128, 128, (1000,), (9,), padding=4),
    Case("1d-long", 4, 16, 16, (16000,), (512,)),
    Case("1d-depthwise", 16, 256, 256, (1000,), (31,), padding=15, groups=256),
    Case("2d-wide", 8, 64, 64, (56, 56), (3, 3), padding=1),
    Case("2d-deep", 8, 256, 256, (14, 14), (3, 3), padding=1),
    Case("2d-first", 8, 3, 64, (224, 224), (7, 7), stride=2, padding=3),
    Case("2d-1x1", 8, 128, 128, (28, 28), (1, 1)),
    Case("2d-depthwise", 8, 128, 128, (56, 56), (3, 3), padding=1, groups=128),
    Case("3d-k3", 2, 32, 32, (32, 32, 32), (3, 3, 3), padding=1),
    Case("3d-first", 2, 1, 16, (64, 64, 64), (3, 3, 3), padding=1),
    Case("3d-depthwise", 2, 32, 32, (32, 32, 32), (3, 3, 3), padding=1, groups=32),
    Case("3d-dilated", 1, 21, 21, (64, 64, 64), (3, 3, 3), padding=2, dilation=2),
)


def choose(patterns: Sequence[str], cases: Sequence[Case] = CASES) -> list[Case]:
    """The cases whose name matches any of the patterns ("3d-*", or a part of a name), in the list's order.

    No pattern chooses all.

    >>> [case.name for case in choose(["1x1", "3d-*k3"])]
    ['2d-1x1', '3d-k3']
    """
    for pattern in patterns:
        if not any(_matches(case, pattern) for case in cases):
            raise ArgumentError(f"no case matches {pattern!r}. There are: {', '.join(case.name for case in cases)}")
    return [case for case in cases if not patterns or any(_matches(case, pattern) for pattern in patterns)]


def _matches(case: Case, pattern: str) -> bool:
    return fnmatchcase(case.name, pattern) or pattern in case.name
