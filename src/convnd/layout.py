"""The data model: positions of all samples one after the other, and the samples' shapes.

An activation is ``values`` of shape (P, C) plus a :class:`Layout`. A dense array (N, *S, C) is the
special case in which the shapes agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError, ShapeError

Ints = NDArray[np.int64]
MOST_POSITIONS = 2**62  # of a batch, so that sizes computed from it fit 64 bits


class Memo(dict[Any, Any]):
    """What is worked out once and asked for at every call, by the arguments it depends on.

    Arguments that can't be keys, such as lists, are never found and never kept. As 1, 1.0 and True are one key, whoever
    tells them apart puts their types into it.
    """

    def find(self, key: Any) -> Any:
        """What is kept for the key, or None."""
        try:
            return self.get(key)
        except TypeError:
            return None

    def keep(self, key: Any, value: Any) -> None:
        """For the calls to come."""
        with suppress(TypeError):
            self[key] = value


class Layout:
    """The spatial shapes of N samples.

    Parameters
    ----------
    shapes : int array (N, ndim)
        One row a sample. ``ndim`` 0 is legal (one position a sample), and so is a sample without
        positions. The array is copied and can't be changed afterwards.

    Examples
    --------
    >>> layout = Layout([[3], [5]])
    >>> layout.offsets.tolist(), layout.uniform, layout.ndim, len(layout)
    ([0, 3, 8], False, 1, 2)
    """

    __slots__ = ("__dict__", "memo", "ndim", "offsets", "positions", "shapes", "sizes")

    shapes: Ints
    ndim: int
    """Number of spatial axes."""
    sizes: Ints
    """Positions in each sample, (N,)."""
    offsets: Ints
    """Where each sample starts among all positions, and the total last, (N + 1,)."""
    positions: int
    """Number of positions of all samples."""
    memo: Memo
    """What operations have worked out for these shapes."""

    def __init__(self, shapes: ArrayLike) -> None:
        given = np.asarray(shapes)
        if given.ndim != 2:
            raise ShapeError(
                f"shapes must be a 2-D array (samples, axes). Received: an array of shape {given.shape}"
            )
        if given.size and given.dtype.kind not in "iu":
            raise ShapeError(f"shapes must be integers. Received: dtype {given.dtype}")
        self._fill(np.array(given, dtype=np.int64, order="C", copy=True))

    @classmethod
    def own(cls, shapes: Ints) -> Layout:
        """The layout of a C-contiguous int64 array (N, ndim) that nobody else will change."""
        layout = cls.__new__(cls)
        layout._fill(shapes)
        return layout

    @classmethod
    def dense(cls, count: int, shape: Sequence[int]) -> Layout:
        """The layout of ``count`` samples that all have ``shape``."""
        return _dense(count, tuple(shape))

    def _fill(self, own: Ints) -> None:
        count, self.ndim = own.shape
        # As unsigned numbers, negative ones are the largest.
        largest = int(np.maximum.reduce(own.view(np.uint64), axis=None, initial=0))
        if count * largest**self.ndim >= MOST_POSITIONS:
            _refuse(own)
        self.shapes = own
        self.sizes = np.multiply.reduce(own, axis=1)
        self.offsets = np.zeros(count + 1, dtype=np.int64)
        np.add.accumulate(self.sizes, out=self.offsets[1:])
        self.positions = int(self.offsets[-1])
        for array in (self.shapes, self.sizes, self.offsets):
            array.setflags(write=False)
        self.memo = Memo()

    @cached_property
    def uniform(self) -> bool:
        """Whether all shapes agree: a hint for speed, never a change of meaning."""
        return len(self) <= 1 or bool((self.shapes == self.shapes[0]).all())

    @cached_property
    def has_empty(self) -> bool:
        """Whether a sample has no positions."""
        return not self.sizes.all()

    @cached_property
    def box(self) -> tuple[int, ...]:
        """Samples and their spatial shape, where all are alike; zeros for the shape if there are none."""
        count = len(self)
        return count, *(self.shape(0) if count else (0,) * self.ndim)

    def shape(self, sample: int) -> tuple[int, ...]:
        """The spatial shape of one sample."""
        return tuple(self.shapes[sample].tolist())

    def take(self, samples: ArrayLike) -> Layout:
        """The layout of the chosen samples, in the order given."""
        return Layout(self.shapes[np.asarray(samples, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.shapes.shape[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layout):
            return NotImplemented
        if self is other:
            return True
        return self.shapes.shape == other.shapes.shape and self.shapes.tobytes() == other.shapes.tobytes()

    def __hash__(self) -> int:
        return hash((self.shapes.shape, self.shapes.tobytes()))

    def __repr__(self) -> str:
        return f"Layout({self.shapes.tolist()})"

    def __getstate__(self) -> Ints:
        return self.shapes

    def __setstate__(self, shapes: Ints) -> None:
        self._fill(np.array(shapes, dtype=np.int64, order="C"))


def _refuse(shapes: Ints) -> None:
    """Refuse negative sizes, and more positions than there may be."""
    if shapes.min() < 0:
        sample = int(np.argmax((shapes < 0).any(axis=1)))
        raise ShapeError(
            f"sample {sample}: sizes must not be negative. Received: {tuple(shapes[sample].tolist())}"
        )
    if shapes.prod(axis=1, dtype=np.float64).sum() >= MOST_POSITIONS:
        raise ShapeError(f"shapes must hold fewer than 2**62 positions in all. Received: {shapes.tolist()[:3]} ...")


@lru_cache(maxsize=256)
def _dense(count: int, shape: tuple[int, ...]) -> Layout:
    # Remembered, because a layout remembers where windows fall on it, and dense batches come in few shapes.
    return Layout(np.tile(np.asarray(shape, dtype=np.int64).reshape(1, -1), (count, 1)))


def sample_numbers(key: Any, count: int) -> Ints:
    """Sample numbers in [0, count) that an index, a slice or a sequence of ints (or a mask) names."""
    if isinstance(key, slice):
        return np.arange(count, dtype=np.int64)[key]
    numbers = np.atleast_1d(np.asarray(key))
    if numbers.dtype == bool:
        if numbers.shape != (count,):
            raise ShapeError(f"a mask must have one entry a sample ({count}). Received: {numbers.shape}")
        return np.flatnonzero(numbers).astype(np.int64)
    if numbers.size == 0:
        return np.zeros(0, dtype=np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise ArgumentError(f"samples are chosen by an int, a slice or a list of ints. Received: {key!r}")
    wrapped = np.where(numbers < 0, numbers + count, numbers).astype(np.int64)
    if ((wrapped < 0) | (wrapped >= count)).any():
        first = int(numbers[(wrapped < 0) | (wrapped >= count)][0])
        raise IndexError(f"sample {first} is out of range: {count} samples")
    return wrapped


class Ragged:
    """Samples of different sizes in one array: ``values`` (P, C) and their ``layout``.

    Examples
    --------
    >>> r = Ragged.pack([np.ones((3, 2)), np.zeros((5, 2))])
    >>> len(r), r.values.shape, [a.shape for a in r.unpack()]
    (2, (8, 2), [(3, 2), (5, 2)])
    >>> r[1:].layout
    Layout([[5]])
    """

    __slots__ = ("layout", "values")

    def __init__(self, values: NDArray[Any], layout: Layout) -> None:
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[0] != layout.positions:
            raise ShapeError(
                f"values must be (positions, channels) with {layout.positions} positions. "
                f"Received: shape {values.shape}"
            )
        self.values = values
        self.layout = layout

    @classmethod
    def pack(cls, samples: Sequence[ArrayLike]) -> Ragged:
        """Join samples, each (*S_i, C), of one rank, one number of channels and one dtype."""
        arrays = [np.asarray(sample) for sample in samples]
        if not arrays:
            raise ArgumentError("samples must not be empty: an empty batch has no rank. Received: []")
        first = arrays[0]
        for number, array in enumerate(arrays):
            if array.ndim < 1 or array.ndim != first.ndim or array.shape[-1] != first.shape[-1]:
                raise ShapeError(
                    f"sample {number}: all samples must have the rank and channels of sample 0, whose shape "
                    f"is {first.shape}. Received: {array.shape}"
                )
            if array.dtype != first.dtype:
                raise ShapeError(
                    f"sample {number}: all samples must have the dtype of sample 0, {first.dtype}. "
                    f"Received: {array.dtype}"
                )
        shapes = np.array([array.shape[:-1] for array in arrays], dtype=np.int64).reshape(len(arrays), -1)
        values = np.concatenate([array.reshape(-1, first.shape[-1]) for array in arrays])
        return cls(values, Layout(shapes))

    def unpack(self) -> list[NDArray[Any]]:
        """The samples, each (*S_i, C), as views."""
        return list(self)

    def __len__(self) -> int:
        return len(self.layout)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        offsets = self.layout.offsets
        for number in range(len(self)):
            piece = self.values[offsets[number] : offsets[number + 1]]
            yield piece.reshape(*self.layout.shape(number), self.values.shape[1])

    def __getitem__(self, key: Any) -> Ragged:
        """The chosen samples, always as a Ragged: by one int, a slice, ints, or a mask."""
        chosen = sample_numbers(key, len(self))
        return Ragged(self.values[position_numbers(self.layout, chosen)], self.layout.take(chosen))

    def __repr__(self) -> str:
        return f"<Ragged of {len(self)} samples, {self.values.shape[1]} channels, {self.values.dtype}>"


def position_numbers(layout: Layout, samples: Ints) -> slice | Ints:
    """The rows of ``values`` that hold the chosen samples: a slice where they lie in one piece."""
    offsets = layout.offsets
    if len(samples) and (np.diff(samples) == 1).all():
        return slice(int(offsets[samples[0]]), int(offsets[samples[-1] + 1]))
    sizes = layout.sizes[samples]
    starts = np.cumsum(sizes) - sizes
    numbers: Ints = np.arange(int(sizes.sum()), dtype=np.int64) + np.repeat(offsets[samples] - starts, sizes)
    return numbers
