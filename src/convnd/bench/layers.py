"""The kinds of layers that can be measured, and their operands."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ..kernels.checks import empty
from ..layout import Layout
from ..window import Placement, Window, per_axis
from .functions import FUNCTIONS, Array, Function, Shape

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

    unit: ClassVar[str] = "GB/s"  # of its figures: a layer that computes little is as fast as memory

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Those that are measured."""
        return ("forward", "input")

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

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """x (P_in, C) and the weight: normal numbers."""
        return normal(rng, self.batch * math.prod(self.size), self.channels), normal(rng, *self.weight_shape)

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
    def passes(self) -> tuple[Pass, ...]:
        return PASSES

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
    """One of :data:`convnd.bench.functions.FUNCTIONS`; ``out`` filters, if its weight is one of a convolution."""

    function: str = ""
    out: int = 0

    @property
    def called(self) -> Function:
        """What is called, and what is known of it."""
        return FUNCTIONS[self.function]

    @property
    def passes(self) -> tuple[Pass, ...]:
        learned, numbers = self.called.weight.learned, self.called.takes == "numbers"
        return ("forward", *(() if numbers else ("input",)), *(("weight",) if learned else ()))

    @property
    def output(self) -> Shape:
        return self.called.shape((*self.size, self.channels))[:-1]

    @property
    def filters(self) -> int:
        return self.out or self.called.shape((*self.size, self.channels))[-1]

    @property
    def weight_shape(self) -> Shape:
        return self.called.weight.shape(self)

    @property
    def width(self) -> str:
        return f"{self.channels}->{self.filters}" if self.out or self.filters != self.channels else super().width

    @property
    def kind(self) -> str:
        return self.called.words

    def work(self, which: Pass) -> int:
        """Bytes read and written, each once, 4 a number: x, the weight and y; for a gradient that of y, what it needs
        of x and of the weight, and itself. What a forward pass may have kept, such as a mask, doesn't count.
        """
        x = self.batch * math.prod(self.size) * (1 if self.called.takes == "numbers" else self.channels)
        y, weight = self.batch * math.prod(self.output) * self.filters, math.prod(self.weight_shape)
        reads = self.called.reads
        if which == "input":
            return ITEM * (y + x + ("x" in reads) * x + ("w" in reads) * weight)
        if which == "weight" and not reads:  # as x's gradient needs no weight, the weight's needs no x
            return ITEM * (y + weight)
        return ITEM * (x + weight + y)

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        if self.called.takes == "numbers":
            x: Array = rng.integers(self.channels, size=(self.batch * math.prod(self.size), 1))
            weight = normal(rng, *self.weight_shape)
        else:
            x, weight = super().draw(rng)
        if self.called.takes == "positive":
            np.abs(x, out=x)
        return x, self.called.weight.made(weight, self)

    def small(self) -> Self:
        reach = [5, *[4] * (self.rank - 1)]
        return replace(self, **self._shrunk(reach), channels=min(self.channels, 12), out=min(self.out, 3))


@dataclass(frozen=True, eq=False)
class Operands:
    """Random arrays for a case: x (P_in, C), the weight in its shape, grad (P_out, F); float32, or integers."""

    x: Array
    weight: Array
    grad: Array

    @classmethod
    def draw(cls, case: Case, seed: int = 0) -> Operands:
        """The case's x and weight, and a gradient of its result."""
        rng = np.random.default_rng(seed)
        return cls(*case.draw(rng), normal(rng, case.batch * math.prod(case.output), case.filters))


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Normal numbers, float32: never zeros, which some machines multiply faster. They begin at a cache line, as every
    library's activations do."""
    array = empty(1, math.prod(shape), np.dtype(np.float32)).reshape(shape)
    rng.standard_normal(dtype=np.float32, out=array)
    return array


def _axes(values: Sequence[int]) -> str:
    """One number, or (a,b,c) where the axes differ."""
    return str(values[0]) if len(set(values)) == 1 else f"({','.join(map(str, values))})"
