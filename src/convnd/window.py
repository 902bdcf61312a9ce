"""Windows: kernel size, stride, dilation and padding, and where they fall on samples of any size.

All arithmetic of shapes of convolution and pooling stands here, once: integers, one axis beside the
other, vectorised over samples. (The tables of pooling regions are made in `kernels.regions`.) With S the
input, k the kernel, s the stride, d the dilation of an axis and e = d (k - 1) + 1 the extent of the window:

    output = floor((S + low + high - e) / s) + 1                       (explicit padding)
    output = ceil(S / s),  low + high = max((output - 1) s + e - S, 0) ("same")

Output q reads the inputs q s + j d - low for j = 0 ... k - 1 that exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError
from .layout import Ints, Layout, Memo

Pairs = tuple[tuple[int, int], ...]
PADDINGS = ("valid", "same", "same_lower", "causal", "full")


def per_axis(value: Any, ndim: int, name: str, least: int = 1) -> tuple[int, ...]:
    """One int for every axis: from one int, or from as many ints as there are axes."""
    items = (value,) * ndim if isinstance(value, (int, np.integer)) else value
    if (
        not isinstance(items, (Sequence, np.ndarray))
        or isinstance(items, str)
        or len(items) != ndim
        or not all(isinstance(item, (int, np.integer)) and not isinstance(item, bool) for item in items)
        or any(item < least for item in items)
    ):
        raise ArgumentError(
            f"{name} must be an int of at least {least}, or {ndim} of them (one an axis). "
            f"Received: {name}={value!r}"
        )
    return tuple(int(item) for item in items)


def padding_rule(padding: Any, ndim: int) -> str | Pairs:
    """A padding as its name ("same", "same_lower", "causal") or as a (low, high) pair for each axis."""
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ArgumentError(
                f"padding must be one of {', '.join(PADDINGS)}, ints or pairs. Received: padding={padding!r}"
            )
        return padding
    if isinstance(padding, (int, np.integer)):
        padding = (padding,) * ndim
    rule = "padding must be a name, an int, one int an axis, or a (low, high) pair an axis, none negative"
    if not isinstance(padding, (Sequence, np.ndarray)) or len(padding) != ndim:
        raise ArgumentError(f"{rule}; there are {ndim} axes. Received: padding={padding!r}")
    pairs = []
    for item in padding:
        pair = (item, item) if isinstance(item, (int, np.integer)) else item
        if (
            not isinstance(pair, (Sequence, np.ndarray))
            or len(pair) != 2
            or not all(isinstance(end, (int, np.integer)) and end >= 0 for end in pair)
        ):
            raise ArgumentError(f"{rule}. Received: padding={padding!r}")
        pairs.append((int(pair[0]), int(pair[1])))
    return tuple(pairs)


@dataclass(frozen=True)
class Window:
    """A window on every axis, its arguments normalised. Make one with :meth:`Window.of`."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | Pairs
    ceil_mode: bool = False

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # of tuples of tuples: once
        return hash((self.kernel, self.stride, self.dilation, self.padding, self.ceil_mode))

    @classmethod
    def of(
        cls,
        ndim: int,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        ceil_mode: bool = False,
        name: str = "kernel_size",
    ) -> Window:
        """A window for ``ndim`` axes from arguments as users give them."""
        return cls(
            per_axis(kernel, ndim, name),
            per_axis(stride, ndim, "stride"),
            per_axis(dilation, ndim, "dilation"),
            padding_rule(padding, ndim),
            bool(ceil_mode),
        )

    @property
    def ndim(self) -> int:
        return len(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """What the window spans on each axis: dilation (kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @cached_property
    def rows(self) -> Ints:
        """Kernel, stride, dilation and extent, a row each."""
        return np.array([self.kernel, self.stride, self.dilation, self.extent], dtype=np.int64)

    @cached_property
    def is_position(self) -> bool:
        """Whether it holds a single position, and steps from each to the next."""
        return all(size == 1 for size in (*self.kernel, *self.stride))

    @cached_property
    def fixed_padding(self) -> Ints:
        """(low, high) of each axis, a row each, up to the first whose padding follows from the size ("same")."""
        spread = [e - 1 for e in self.extent]
        if not isinstance(self.padding, str):
            pairs = list(self.padding)
        elif self.padding == "valid":
            pairs = [(0, 0)] * self.ndim
        elif self.padding == "full":
            pairs = [(e, e) for e in spread]
        else:
            pairs = [(e, 0) for e in spread[:1]] if self.padding == "causal" else []
        return np.array(pairs, dtype=np.int64).reshape(len(pairs), 2).T

    @cached_property
    def reaches_over(self) -> bool:
        """Whether it may lie over a sample's border, be that of no sample at hand."""
        fixed = self.fixed_padding
        return self.ceil_mode or fixed.shape[1] < self.ndim or bool(fixed.any())

    def on(self, layout: Layout) -> Placement:
        """Where this window falls on every sample of ``layout``."""
        found: Placement | None = layout.memo.get(self)
        if found is None:
            found = layout.memo[self] = self._place(layout)
        return found

    def _place(self, layout: Layout) -> Placement:
        refuse_empty(layout)
        sizes = layout.shapes
        output, low = self._outputs(sizes)
        if output.size and np.minimum.reduce(output, axis=None) < 1:
            sample, axis = (int(i) for i in np.argwhere(output < 1)[0])
            raise ShapeError(
                f"sample {sample} is too short for the window: axis {axis} has {sizes[sample, axis]} positions, the "
                f"window spans {self.extent[axis]} (kernel {self.kernel[axis]}, dilation {self.dilation[axis]}) and "
                f"padding={self.padding!r} doesn't make up for it. Received: sample of shape {layout.shape(sample)}"
            )
        return Placement(self, layout, Layout.own(output), low)

    def _outputs(self, sizes: Ints) -> tuple[Ints, Ints]:
        """The outputs' sizes, below 1 where a sample is too short, and the padding before: both (N, ndim)."""
        fixed = self.fixed_padding.shape[1]
        if fixed == self.ndim:
            return self._outputs_of_fixed(sizes)
        if fixed == 0:
            return self._outputs_of_same(sizes)
        output, low = np.empty_like(sizes), np.empty_like(sizes)
        output[:, :fixed], low[:, :fixed] = self._outputs_of_fixed(sizes[:, :fixed])
        output[:, fixed:], low[:, fixed:] = self._outputs_of_same(sizes[:, fixed:])
        return output, low

    def _outputs_of_fixed(self, sizes: Ints) -> tuple[Ints, Ints]:
        """On the first axes, whose padding is fixed."""
        low, high = self.fixed_padding
        _, stride, _, extent = self.rows[:, : len(low)]
        room = sizes + (low + high - extent)
        before = np.empty_like(sizes)
        before[...] = low
        if not self.ceil_mode:
            return room // stride + 1, before
        output = -(-room // stride) + 1
        output -= ((output - 1) * stride >= sizes + low) & (output > 1)
        return np.where(room < 0, 0, output), before

    def _outputs_of_same(self, sizes: Ints) -> tuple[Ints, Ints]:
        """On the last axes, whose padding follows from the size."""
        _, stride, _, extent = self.rows[:, self.ndim - sizes.shape[1] :]
        output = -(-sizes // stride)
        total = np.maximum((output - 1) * stride + extent - sizes, 0)
        return output, (total + 1) // 2 if self.padding == "same_lower" else total // 2

    def transposed_on(self, layout: Layout, output_padding: Any = 0, like: Layout | None = None) -> Placement:
        """The placement whose OUTPUT is ``layout``: what a transposed convolution of ``layout`` inverts.

        The input has (S - 1) stride + extent - low - high + output_padding positions on an axis, with
        "same" S stride; or it is ``like``, if this window maps ``like`` to ``layout``.
        """
        key = self, "back", output_padding, type(output_padding), like
        found: Placement | None = layout.memo.find(key)
        if found is None:
            found = self._place_back(layout, output_padding, like)
            layout.memo.keep(key, found)
        return found

    def _place_back(self, layout: Layout, output_padding: Any, like: Layout | None) -> Placement:
        refuse_empty(layout)
        if like is None:
            extra = per_axis(output_padding, self.ndim, "output_padding", least=0)
            fixed = self.fixed_padding
            count = fixed.shape[1]
            if any(extra[count:]):
                raise ArgumentError(
                    f"output_padding can't go with padding={self.padding!r}, which makes S stride positions of S; "
                    f"choose the size with like=. Received: output_padding={output_padding!r}"
                )
            if any(e and e >= max(s, d) for e, s, d in zip(extra, self.stride, self.dilation, strict=True)):
                raise ArgumentError(
                    "output_padding must be below the stride or the dilation of its axis. "
                    f"Received: {output_padding!r}"
                )
            _, stride, _, extent = self.rows
            sizes = layout.shapes * stride
            more = extent - stride + np.array(extra, dtype=np.int64)
            sizes[:, :count] += more[:count] - fixed.sum(axis=0)
            if sizes.size and sizes.min() < 1:
                sample = int(np.argmax((sizes < 1).any(axis=1)))
                raise ShapeError(
                    f"sample {sample}: padding={self.padding!r} leaves nothing of the transposed convolution's output. "
                    f"Received: sample of shape {layout.shape(sample)}"
                )
            like = Layout.own(sizes)
            if not any(extra) or isinstance(self.padding, str):
                return self._check_back(like, layout)
            return Placement(self, like, layout, self._outputs(sizes)[1])
        if like.ndim != self.ndim or len(like) != len(layout):
            raise ShapeError(
                f"like must have {len(layout)} samples of {self.ndim} axes. "
                f"Received: {len(like)} samples of {like.ndim}"
            )
        return self._check_back(like, layout)

    def _check_back(self, like: Layout, layout: Layout) -> Placement:
        place = self.on(like)
        if place.output != layout:
            sample = int(np.argmax((place.output.shapes != layout.shapes).any(axis=1)))
            raise ShapeError(
                f"sample {sample}: a convolution maps the wanted size {like.shape(sample)} to "
                f"{place.output.shape(sample)}, not back to the input's {layout.shape(sample)}"
            )
        return Placement(self, like, layout, place.low)


@dataclass(frozen=True, eq=False)
class Placement:
    """A window on a batch: output q of a sample reads inputs q stride + j dilation - low that exist.

    ``input`` and ``output`` are layouts, ``low`` is the padding before each axis, int64 (N, ndim). ``memo`` keeps what
    kernels have worked out for it.
    """

    window: Window
    input: Layout
    output: Layout
    low: Ints
    memo: Memo = field(default_factory=Memo, repr=False)


_POINT = Window((), (), (), "valid")


def each_position(layout: Layout) -> Placement:
    """The placement of a window without axes, which holds a position and no other."""
    found: Placement | None = layout.memo.get(_POINT)
    if found is None:
        found = layout.memo[_POINT] = Placement(_POINT, layout, layout, np.zeros((len(layout), 0), np.int64))
    return found


@dataclass(frozen=True, eq=False)
class Regions:
    """Pooling regions, the product of ranges of each axis, in both directions.

    Every table holds, for each sample and each of its axes in turn, one entry an output (``first``,
    ``count``, ``tap``) or an input (``begin``, ``end``) of that axis, all samples in one flat array; ``outputs``
    is ``first`` and ``count``, and ``inputs`` is ``begin`` and ``end``, each in one array.
    Output q covers the inputs first + i step, i = 0 ... count - 1, the first of which is tap number
    ``tap`` of the window; input i lies in outputs begin <= q < end whose steps meet it.
    """

    input: Layout
    output: Layout
    step: tuple[int, ...]
    window: tuple[int, ...] | None
    outputs: Ints
    tap: Ints
    inputs: Ints

    @property
    def first(self) -> Ints:
        """Of each output: its first input."""
        row: Ints = self.outputs[0]
        return row

    @property
    def count(self) -> Ints:
        """Of each output: its inputs."""
        row: Ints = self.outputs[1]
        return row

    @property
    def begin(self) -> Ints:
        """Of each input: the first output that it may lie in."""
        row: Ints = self.inputs[0]
        return row

    @property
    def end(self) -> Ints:
        """Of each input: the output behind the last."""
        row: Ints = self.inputs[1]
        return row


def refuse_empty(layout: Layout) -> None:
    """Operations refuse a sample without positions, by name."""
    if layout.has_empty:
        sample = int(np.argmin(layout.sizes))
        raise ShapeError(f"sample {sample} has no positions. Received: sample of shape {layout.shape(sample)}")


def axis_lengths(layout: Layout) -> tuple[Ints, Ints]:
    """For every entry of a flat per-axis table: which (sample, axis) row it is of, and its number in it."""
    lengths = layout.shapes.reshape(-1)
    ends = np.cumsum(lengths)
    numbers = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    numbers -= np.repeat(ends - lengths, lengths)
    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths), numbers
