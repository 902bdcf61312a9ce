"""The layers that are measured: one list, which feeds the timings and a test of their results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..kernels.checks import empty
from ..layout import Layout
from ..window import Placement, Window, per_axis
from .functions import FUNCTIONS, KERNEL

Array = NDArray[Any]
Shape = tuple[int, ...]
Pass = Literal["forward", "input", "weight"]
PASSES: tuple[Pass, ...] = ("forward", "input", "weight")
ITEM = 4  # bytes of a float32


@dataclass(frozen=True)
class Case(ABC):
    """A layer on a dense batch of random numbers: (batch, *size, channels) -> (batch, *output, filters)."""

    name: str
    batch: int
    channels: int
    size: Shape

    passes: ClassVar[tuple[Pass, ...]] = PASSES
    unit: ClassVar[str] = "GB/s"  # of its figures: a layer that computes little is as fast as memory

    @property
    def rank(self) -> int:
        """Axes of a sample."""
        return len(self.size)

    @property
    @abstractmethod
    def output(self) -> Shape:
        """Positions of a result on every axis."""

    @property
    def filters(self) -> int:
        """Channels of a result."""
        return self.channels

    @property
    def weight_shape(self) -> Shape:
        """Of the layer's parameters."""
        return (0,)

    @property
    def layer(self) -> str:
        """The layer in the words of the tables: batch x channels->filters x size, what it does."""
        return f"{self.batch} x {self.width} x {'x'.join(map(str, self.size))}, {self.kind}"

    @property
    def width(self) -> str:
        """Channels, in words."""
        return str(self.channels)

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it does, in words."""

    def work(self, which: Pass) -> int:
        """What a pass is counted as, in the case's unit without the giga: here bytes read and written, each once."""
        numbers = self.batch * (math.prod(self.size) * self.channels + math.prod(self.output) * self.filters)
        return ITEM * numbers

    @abstractmethod
    def small(self) -> Self:
        """The same kind of layer with few positions and channels: what the tests compute in full."""

    def _shrunk(self, reach: Iterable[int]) -> dict[str, Any]:
        """What all small cases have in common; of every axis as much as ``reach``, at least 4 positions."""
        size = tuple(min(whole, max(part, 4)) for whole, part in zip(self.size, reach, strict=True))
        return {"batch": min(self.batch, 2), "size": size}


@dataclass(frozen=True)
class Sliding(Case):
    """A case with a window. ``padding`` lies on both sides of an axis, as all libraries have it.

    Kernel, stride, padding and dilation are one number for all axes, or one for each.
    """

    kernel: int | Shape
    stride: int | Shape = 1
    padding: int | Shape = 0
    dilation: int | Shape = 1

    @property
    def window(self) -> Window:
        """The window, axis by axis."""
        return Window.of(self.rank, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def pads(self) -> Shape:
        """The padding of every axis."""
        return per_axis(self.padding, self.rank, "padding", least=0)

    @property
    def place(self) -> Placement:
        """The window on the batch."""
        return self.window.on(Layout.dense(self.batch, self.size))

    @property
    def output(self) -> Shape:
        return self.place.output.shape(0)

    @property
    def kind(self) -> str:
        window, words = self.window, [f"k{_axes(self.window.kernel)}"]
        for letter, values, usual in (("s", window.stride, 1), ("p", self.pads, 0), ("d", window.dilation, 1)):
            if any(value != usual for value in values):
                words.append(f"{letter}{_axes(values)}")
        return " ".join(words)

    def _reach(self) -> list[int]:
        """Positions of an axis that give about eight outputs."""
        window = self.window
        return [
            extent + 7 * stride - 2 * pad
            for extent, stride, pad in zip(window.extent, window.stride, self.pads, strict=True)
        ]


@dataclass(frozen=True)
class Conv(Sliding):
    """A convolution without bias, or a transposed one.

    The weight of a transposed one is that of the convolution whose adjoint it is, (*kernel, out / groups, in).
    """

    out: int = 1
    groups: int = 1
    transposed: bool = False

    unit = "GFLOP/s"

    @property
    def place(self) -> Placement:
        layout = Layout.dense(self.batch, self.size)
        return self.window.transposed_on(layout) if self.transposed else self.window.on(layout)

    @property
    def output(self) -> Shape:
        return (self.place.input if self.transposed else self.place.output).shape(0)

    @property
    def filters(self) -> int:
        return self.out

    @property
    def weight_shape(self) -> Shape:
        ends = (self.out, self.channels) if self.transposed else (self.channels, self.out)
        return (*self.window.kernel, ends[0] // self.groups, ends[1])

    @property
    def adjoint(self) -> Conv:
        """The convolution that a transposed one is the adjoint of: x and grad change places, the weight stays."""
        return replace(self, channels=self.out, out=self.channels, size=self.output, transposed=False)

    def work(self, which: Pass) -> int:
        """Twice the multiply-adds of the direct algorithm, taps in the padding included: the same for every pass."""
        positions = math.prod(self.size if self.transposed else self.output)
        return 2 * self.batch * positions * math.prod(self.weight_shape)

    @property
    def width(self) -> str:
        return f"{self.channels}" if self.groups == self.channels == self.out > 1 else f"{self.channels}->{self.out}"

    @property
    def kind(self) -> str:
        depthwise = self.groups == self.channels > 1
        text = f"{'transposed ' if self.transposed else ''}{'depthwise ' if depthwise else ''}{super().kind}"
        return text if depthwise or self.groups == 1 else f"{text} in {self.groups} groups"

    def small(self) -> Self:
        reach = [4] * self.rank if self.transposed else self._reach()
        if self.groups == 1:
            width: dict[str, Any] = {"channels": min(self.channels, 24), "out": min(self.out, 40)}
        else:
            groups = max(1, 24 * self.groups // self.channels)
            width = {name: getattr(self, name) // self.groups * groups for name in ("channels", "out")}
            width["groups"] = groups
        return replace(self, **self._shrunk(reach), **width)


@dataclass(frozen=True)
class Pool(Sliding):
    """The largest value or the mean under the window; padding doesn't count."""

    mode: Literal["max", "mean"] = "max"

    passes = ("forward", "input")

    @property
    def kind(self) -> str:
        return f"{self.mode} {super().kind}"

    def small(self) -> Self:
        return replace(self, **self._shrunk(self._reach()), channels=min(self.channels, 24))


@dataclass(frozen=True)
class ProportionalPool(Case):
    """The largest value or the mean of each of so many bins an axis, as large as the size asks for."""

    bins: int = 1
    mode: Literal["max", "mean"] = "max"

    passes = ("forward", "input")

    @property
    def output(self) -> Shape:
        return (self.bins,) * self.rank

    @property
    def kind(self) -> str:
        return f"{self.mode} of {'x'.join([str(self.bins)] * self.rank)} bins"

    def small(self) -> Self:
        return replace(self, **self._shrunk([11] * self.rank), channels=min(self.channels, 24))


@dataclass(frozen=True)
class BatchNorm(Case):
    """Batch normalisation by the batch's own statistics, and ReLU. Its weight is (gamma, beta)."""

    passes = ("forward", "input")

    @property
    def output(self) -> Shape:
        return self.size

    @property
    def weight_shape(self) -> Shape:
        return (2, self.channels)

    @property
    def kind(self) -> str:
        return "batch norm + ReLU"

    def work(self, which: Pass) -> int:
        """Bytes: x and y, or x, the gradient of y and that of x."""
        numbers = self.batch * math.prod(self.size) * self.channels
        return ITEM * numbers * (3 if which == "input" else 2)

    def small(self) -> Self:
        return replace(self, **self._shrunk([7] * self.rank), channels=min(self.channels, 24))


@dataclass(frozen=True)
class Layer(Case):
    """One of :data:`convnd.bench.functions.FUNCTIONS`, forward alone. ``out`` filters, if it has its own weights."""

    function: str = ""
    out: int = 0

    passes = ("forward",)

    @property
    def output(self) -> Shape:
        return tuple(map(FUNCTIONS[self.function].size, self.size))

    @property
    def filters(self) -> int:
        return self.out or self.channels

    @property
    def weight_shape(self) -> Shape:
        if not self.out:
            return (2, self.channels)
        tile = (2,) * self.rank if self.function == "tiled_conv" else self.output
        return (*tile, *[KERNEL] * self.rank, self.channels, self.out)

    @property
    def width(self) -> str:
        return f"{self.channels}->{self.out}" if self.out else super().width

    @property
    def kind(self) -> str:
        return FUNCTIONS[self.function].words

    def small(self) -> Self:
        return replace(self, **self._shrunk([6] * self.rank), channels=min(self.channels, 24), out=min(self.out, 20))


@dataclass(frozen=True, eq=False)
class Operands:
    """Random arrays for a case, float32: x (P_in, C), the weight in its shape, grad (P_out, F)."""

    x: Array
    weight: Array
    grad: Array

    @classmethod
    def draw(cls, case: Case, seed: int = 0) -> Operands:
        """Normal numbers: never zeros, which some machines multiply faster. They begin at a cache line, as every
        library's activations do."""
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> Array:
            array = empty(1, math.prod(shape), np.dtype(np.float32)).reshape(shape)
            rng.standard_normal(dtype=np.float32, out=array)
            return array

        return cls(
            normal(case.batch * math.prod(case.size), case.channels),
            normal(*case.weight_shape),
            normal(case.batch * math.prod(case.output), case.filters),
        )


def _axes(values: Sequence[int]) -> str:
    """One number, or (a,b,c) where the axes differ."""
    return str(values[0]) if len(set(values)) == 1 else f"({','.join(map(str, values))})"


CUBE = (32, 32, 32)
CASES: tuple[Case, ...] = (
    Conv("1d-first", 16, 1, (16000,), 80, 4, out=64),
    Conv("1d-k3", 16, 64, (4000,), 3, padding=1, out=64),
    Conv("1d-k9", 16, 128, (1000,), 9, padding=4, out=128),
    Conv("1d-long", 4, 16, (16000,), 512, out=16),
    Conv("1d-depthwise", 16, 256, (1000,), 31, padding=15, out=256, groups=256),
    Conv("1d-wavenet", 4, 64, (16000,), 2, dilation=64, out=64),
    Conv("1d-single", 1, 32, (600,), 3, padding=1, out=32),
    Conv("1d-skeleton", 32, 60, (100,), 5, padding=2, out=128),
    Conv("2d-wide", 8, 64, (56, 56), 3, padding=1, out=64),
    Conv("2d-middle", 8, 128, (28, 28), 3, padding=1, out=128),
    Conv("2d-deep", 8, 256, (14, 14), 3, padding=1, out=256),
    Conv("2d-end", 8, 512, (7, 7), 3, padding=1, out=512),
    Conv("2d-k5", 8, 64, (56, 56), 5, padding=2, out=64),
    Conv("2d-first", 8, 3, (224, 224), 7, 2, 3, out=64),
    Conv("2d-last", 4, 64, (128, 128), 3, padding=1, out=3),
    Conv("2d-spectrogram", 16, 1, (128, 64), 3, padding=1, out=16),
    Conv("2d-1x1", 8, 128, (28, 28), 1, out=128),
    Conv("2d-expand", 8, 32, (56, 56), 1, out=192),
    Conv("2d-depthwise", 8, 128, (56, 56), 3, padding=1, out=128, groups=128),
    Conv("2d-depthwise-s2", 8, 144, (28, 28), 5, 2, 2, out=144, groups=144),
    Conv("2d-grouped", 8, 128, (28, 28), 3, padding=1, out=128, groups=32),
    Conv("2d-dilated", 4, 64, (64, 64), 3, padding=2, dilation=2, out=64),
    Conv("2d-transposed", 8, 64, (28, 28), 4, 2, 1, out=32, transposed=True),
    Conv("2d-edges", 1, 1, (280, 320), (1, 2)),
    Conv("2d-filter", 1, 1, (1024, 1024), 5, padding=2),
    Conv("3d-k3", 2, 32, CUBE, 3, padding=1, out=32),
    Conv("3d-wide", 1, 64, CUBE, 3, padding=1, out=64),
    Conv("3d-narrow", 2, 16, CUBE, 3, padding=1, out=32),
    Conv("3d-stride", 2, 32, CUBE, 3, 2, 1, out=64),
    Conv("3d-first", 2, 1, (64, 64, 64), 3, padding=1, out=16),
    Conv("3d-video", 1, 3, (16, 112, 112), (3, 7, 7), (1, 2, 2), (1, 3, 3), out=32),
    Conv("3d-time", 1, 64, (16, 56, 56), (3, 1, 1), padding=(1, 0, 0), out=64),
    Conv("3d-depthwise", 2, 32, CUBE, 3, padding=1, out=32, groups=32),
    Conv("3d-dilated", 1, 21, (64, 64, 64), 3, padding=2, dilation=2, out=21),
    Conv("3d-transposed", 1, 32, CUBE, 2, 2, out=16, transposed=True),
    Conv("4d-k3", 1, 8, (12, 12, 12, 12), 3, padding=1, out=8),
    Pool("2d-max", 8, 64, (56, 56), 3, 2, 1, mode="max"),
    Pool("2d-mean", 8, 64, (56, 56), 2, 2, mode="mean"),
    Pool("3d-max", 2, 32, CUBE, 3, 2, 1, mode="max"),
    Pool("3d-mean", 2, 32, CUBE, 2, 2, mode="mean"),
    ProportionalPool("2d-proportional", 8, 64, (56, 56), 6, mode="max"),
    ProportionalPool("3d-proportional", 2, 32, CUBE, 6, mode="mean"),
    BatchNorm("1d-norm", 16, 64, (4000,)),
    BatchNorm("2d-norm", 8, 64, (56, 56)),
    BatchNorm("3d-norm", 2, 32, CUBE),
    Layer("2d-layer-norm", 8, 64, (56, 56), "layer_norm"),
    Layer("2d-instance-norm", 8, 64, (56, 56), "instance_norm"),
    Layer("2d-group-norm", 8, 64, (56, 56), "group_norm"),
    Layer("2d-response-norm", 8, 64, (56, 56), "local_response_norm"),
    Layer("2d-lp-pool", 8, 64, (56, 56), "lp_pool"),
    Layer("2d-pad", 8, 64, (56, 56), "pad"),
    Layer("2d-resize", 8, 64, (28, 28), "resize"),
    Layer("2d-gelu", 8, 64, (56, 56), "gelu"),
    Layer("2d-log-softmax", 8, 64, (56, 56), "log_softmax"),
    Layer("2d-tiled", 8, 64, (56, 56), "tiled_conv", 64),
    Layer("2d-local", 16, 32, (28, 28), "local_conv", 32),
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
