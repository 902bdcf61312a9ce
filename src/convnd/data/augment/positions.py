"""Augmentations that choose, mirror or shift positions: exact, whatever the values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError
from ...layout import Ints
from .base import Augmentation, Result, Values, on_positions
from .rules import axes_of, axis_list, interval, number, one_of, whole

EDGES = ("nearest", "reflect", "wrap", "constant")


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror a sample along axes, each with probability ``p``.

    Parameters
    ----------
    axis : int, several ints, or None
        Spatial axes (of an image 0 is top to bottom, 1 left to right); None stands for all.

    Examples
    --------
    >>> flip = Flip(axis=0, p=1.0)
    >>> values, labels = flip(np.float32([[1], [2], [3]]), np.array([[0], [0], [1]]), np.random.default_rng(0))
    >>> values[:, 0].tolist(), labels[:, 0].tolist()
    ([3.0, 2.0, 1.0], [1, 0, 0])
    """

    moves = True
    axis: int | Sequence[int] | None = None
    p: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        axis_list(self.axis)

    def check_rank(self, ndim: int) -> None:
        axes_of(self.axis, ndim)

    def __call__(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        self.check(values, target)
        # The probability is each axis's.
        axes = np.array(axes_of(self.axis, values.ndim - 1), dtype=np.int64)
        turned = tuple(axes[rng.random(len(axes)) < self.p].tolist())
        return np.flip(values, turned), np.flip(target, turned) if on_positions(target) else target


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Cut a random box out of a sample. An axis that is shorter stays whole; a sample is never empty.

    Parameters
    ----------
    size : int, or an int or None for each axis
        Positions that are left of each axis; None leaves the axis as it is.
    share : float, or a pair (low, high)
        Instead: the share of each axis that is left, drawn from the pair for every axis and sample, rounded up.

    Examples
    --------
    >>> values, _ = RandomCrop((4, None))(np.zeros((9, 5, 1), "float32"), 0, np.random.default_rng(0))
    >>> values.shape
    (4, 5, 1)
    """

    moves = True
    size: int | Sequence[int | None] | None = None
    share: float | tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.size is None) == (self.share is None):
            raise ArgumentError(
                f"RandomCrop takes size= or share=, one of them. Received: size={self.size!r}, share={self.share!r}"
            )
        if self.share is not None:
            interval("share", self.share, 0, 1, above=True)
        for one in self.size if isinstance(self.size, (tuple, list)) else [self.size]:
            if one is not None:
                whole("size", one, 1)

    def check_rank(self, ndim: int) -> None:
        if isinstance(self.size, (tuple, list)) and len(self.size) != ndim:
            raise ArgumentError(f"size must have an entry for each of {ndim} axes. Received: size={self.size!r}")

    def largest(self, shapes: Ints) -> Ints:
        if self.share is not None:
            high = interval("share", self.share, 0, 1)[1]
            cut: Ints = np.ceil(shapes * high).astype(np.int64)
            return cut
        sizes = self.size if isinstance(self.size, (tuple, list)) else [self.size] * shapes.shape[1]
        most = np.iinfo(np.int64).max
        limits: Ints = np.array([most if one is None else one for one in sizes], dtype=np.int64)
        return np.minimum(shapes, limits)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        shape: Ints = np.array(values.shape[:-1], dtype=np.int64)
        if self.share is None:
            left = self.largest(shape[None])[0]
        else:
            low, high = interval("share", self.share, 0, 1)
            left = np.ceil(shape * rng.uniform(low, high, len(shape))).astype(np.int64)
        starts = rng.integers(0, shape - left, endpoint=True)
        box = tuple(slice(start, start + size) for start, size in zip(starts.tolist(), left.tolist(), strict=True))
        return values[box], target[box] if on_positions(target) else target


@dataclass(frozen=True)
class Shift(Augmentation):
    """Shift a sample by a whole number of positions, as likely in either direction; its size stays.

    Parameters
    ----------
    size : int
        Most positions to shift by.
    share : float
        Instead: most positions as a share of the axis.
    axis : int, several ints, or None
        Spatial axes; None stands for all.
    mode : "wrap", "nearest", "reflect" or "constant"
        What comes in at the edge: the other end, the edge repeated, the sample mirrored, or ``fill`` (and, in a
        target of every position, ``fill_label``).

    Examples
    --------
    >>> shift = Shift(2, mode="constant", fill=-1)
    >>> [shift(np.float32([[1], [2], [3]]), 0, np.random.default_rng(seed))[0][:, 0].tolist() for seed in (0, 4)]
    [[-1.0, -1.0, 1.0], [-1.0, 1.0, 2.0]]
    """

    moves = True
    size: int | None = None
    share: float | None = None
    axis: int | Sequence[int] | None = 0
    mode: str = "wrap"
    fill: float = 0.0
    fill_label: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.size is None) == (self.share is None):
            raise ArgumentError(
                f"Shift takes size= or share=, one of them. Received: size={self.size!r}, share={self.share!r}"
            )
        if self.size is not None:
            whole("size", self.size, 0)
        if self.share is not None:
            number("share", self.share, 0, 1)
        axis_list(self.axis)
        one_of("mode", self.mode, EDGES)

    def check_rank(self, ndim: int) -> None:
        axes_of(self.axis, ndim)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        for axis in axes_of(self.axis, values.ndim - 1):
            length = values.shape[axis]
            limit = int(self.share * length) if self.share is not None else self.size or 0
            step = int(rng.integers(-limit, limit, endpoint=True))
            values = self._shifted(values, axis, step, self.fill)
            if on_positions(target):
                target = self._shifted(target, axis, step, self.fill_label)
        return values, target

    def _shifted(self, array: NDArray[Any], axis: int, step: int, fill: float) -> NDArray[Any]:
        length = array.shape[axis]
        if self.mode == "constant":
            kept = max(0, length - abs(step))
            to, start = (length - kept, 0) if step > 0 else (0, length - kept)
            before = (slice(None),) * axis
            shifted = np.full_like(array, fill, order="C")
            shifted[*before, to : to + kept] = array[*before, start : start + kept]
            return shifted
        places = np.arange(-step, length - step)
        if self.mode == "wrap":
            places %= length
        elif self.mode == "reflect":
            places %= 2 * length
            places = np.minimum(places, 2 * length - 1 - places)
        else:
            places = np.minimum(np.maximum(places, 0), length - 1)
        return array.take(places, axis=axis)
