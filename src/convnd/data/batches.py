"""Batches under a budget of positions, in a seeded order that reads a file in few contiguous slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from ..layout import Ints, Layout, Ragged
from .divide import draws, shuffled
from .prefetch import prefetched

if TYPE_CHECKING:
    from .reader import File
    from .split import Split

# A shuffled batch is drawn from at least this many places of the file, so that neighbours, which are often
# of one class, don't fill it.
PLACES = 32


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples in memory.

    Attributes
    ----------
    x : Ragged
        float32 values, the stored ones times the file's scale.
    targets : int64 array (N,), float32 array (N, K), Ragged or None
        Class numbers, numbers, or ragged targets (int64 labels or float32 numbers).
    numbers : int64 array (N,)
        The samples' numbers in the file.
    weights : float32 array (N,) or None
        The samples' weights, where the file has them.
    """

    x: Ragged
    targets: NDArray[Any] | Ragged | None
    numbers: Ints
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.numbers)


class Batches:
    """The batches of a split, to be iterated over (again and again, with the same result); ``len()`` counts them.

    The order is a pure function of the seed, the epoch and the samples' shapes. The split is cut into blocks
    of neighbouring samples, at places that differ from epoch to epoch; blocks are shuffled; batches are cut
    from that order, each as long as its positions stay within the budget. A block is at most 1/32 of
    a batch, or one sample where samples are large, and is read as one slice.

    Memory: at any time at most ``prefetch + 2`` batches exist: ``prefetch`` read ahead, the one handed out, and the
    one before it, which a ``for`` loop holds until it has the next. So at most ``(prefetch + 2) * positions``
    positions in float32 (with ``oversize="alone"`` a larger sample counts itself), and 2 MiB for reading.

    Parameters
    ----------
    split : Split
    positions : int
        Budget: most positions in a batch, all samples together.
    samples : int
        Most samples in a batch. At least one of the two must be given.
    seed, epoch : int
        Of the order. ``seed=None`` is seed 0.
    shuffle : bool
        False keeps the split's order.
    oversize : "error" or "alone"
        A sample of more positions than the budget is an error that names it, or a batch of its own.
    start : int
        Leave out the first ``start`` batches (without reading them): go on in the middle of an epoch.
    prefetch : int
        Batches read ahead in a background thread; 0 reads in the caller's.

    Examples
    --------
    >>> from convnd.data import japanese_vowels, open
    >>> with open(japanese_vowels()) as file:
    ...     batches = file["train"].batches(positions=512, seed=1)
    ...     print(len(batches), sum(len(batch) for batch in batches))
    ...     print(max(batch.x.layout.positions for batch in batches) <= 512)
    9 270
    True
    """

    def __init__(
        self,
        split: Split,
        positions: int | None = None,
        samples: int | None = None,
        *,
        seed: int | None = None,
        epoch: int = 0,
        shuffle: bool = True,
        oversize: str = "error",
        start: int = 0,
        prefetch: int = 2,
    ) -> None:
        if positions is None and samples is None:
            raise ArgumentError("batches need positions=, samples= or both. Received: neither")
        for name, value, least in (
            ("positions", positions, 1),
            ("samples", samples, 1),
            ("start", start, 0),
            ("prefetch", prefetch, 0),
        ):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least
            ):
                raise ArgumentError(f"{name} must be an int of at least {least}. Received: {name}={value!r}")
        if oversize not in ("error", "alone"):
            raise ArgumentError(f'oversize must be "error" or "alone". Received: oversize={oversize!r}')
        self.split = split
        self.prefetch = int(prefetch)
        sizes = split.layout.sizes
        budget = int(positions) if positions is not None else int(sizes.sum()) + 1
        most = int(samples) if samples is not None else max(len(split), 1)
        if oversize == "error":
            _refuse_oversize(split, budget)
        order = np.arange(len(split), dtype=np.int64)
        if shuffle:
            order = _blocked_order(sizes, budget, most, 0 if seed is None else seed, epoch)
        self._batches = _cut(order, sizes, budget, most)[int(start) :]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return prefetched(self._read, len(self), self.prefetch)

    def numbers(self) -> list[Ints]:
        """The samples' numbers in the file, batch by batch, without reading any."""
        return [self.split.numbers[batch] for batch in self._batches]

    def _read(self, index: int) -> Batch:
        return read_batch(self.split.file, self.split.numbers[self._batches[index]])


def _refuse_oversize(split: Split, budget: int) -> None:
    sizes = split.layout.sizes
    if len(sizes) and sizes.max() > budget:
        index = int(np.argmax(sizes > budget))
        raise DataError(
            f"{split.file.path}: {split.file.who(int(split.numbers[index]))} of shape {split.layout.shape(index)} has "
            f"{sizes[index]} positions, above the budget positions={budget}: raise it, or choose "
            'oversize="alone" (--oversize alone)'
        )


def _blocked_order(sizes: Ints, budget: int, most: int, seed: int, epoch: int) -> Ints:
    """The samples' order: blocks of neighbours, shuffled."""
    count = len(sizes)
    blocks = np.arange(count, dtype=np.int64)
    most_positions, most_samples = max(1, budget // PLACES), max(1, most // PLACES)
    if most_samples > 1:
        # A block ends where the running number of positions or of samples passes a multiple of its limit,
        # counted from a start that depends on the epoch.
        phases = draws(2, seed, epoch, 1)
        before = np.cumsum(sizes) - sizes + int(phases[0] % most_positions)
        marks = before // most_positions + (blocks + int(phases[1] % most_samples)) // most_samples
        blocks = np.cumsum(np.diff(marks, prepend=marks[:1]) > 0)
    places = np.empty(count, dtype=np.int64)
    places[shuffled(count, seed, epoch)] = np.arange(count)
    # A block's place is its first sample's.
    first = np.flatnonzero(np.diff(blocks, prepend=-1) > 0)
    return np.argsort(places[first][blocks], kind="stable").astype(np.int64)


def _cut(order: Ints, sizes: Ints, budget: int, most: int) -> list[Ints]:
    """Cut the order into batches: each takes samples while they fit."""
    ends = np.cumsum(sizes[order])
    batches, first, total = [], 0, 0
    while first < len(order):
        last = min(int(np.searchsorted(ends, total + budget, side="right")), first + most)
        last = max(last, first + 1)
        batches.append(order[first:last])
        first, total = last, int(ends[last - 1])
    return batches


def read_batch(file: File, numbers: Ints) -> Batch:
    """Read samples by their numbers: one slice for each run of neighbours."""
    info = file.info
    layout = file.layout.take(numbers)
    values = np.empty((layout.positions, info.channels), dtype=np.float32)
    ragged: Ragged | None = None
    if info.target == "ragged":
        target_layout = file.target_layout.take(numbers)
        dtype = np.int64 if info.labels else np.float32
        ragged = Ragged(np.empty((target_layout.positions, info.target_channels), dtype=dtype), target_layout)
    for begin, end in _runs(numbers):
        first, last = int(numbers[begin]), int(numbers[end - 1])
        file.read_values(first, last, _rows(values, layout, begin, end))
        if ragged is not None:
            file.read_targets(first, last, _rows(ragged.values, ragged.layout, begin, end))
    targets: NDArray[Any] | Ragged | None = ragged
    if file.targets is not None:
        targets = file.targets[numbers] if info.target == "class" else file.targets[numbers].astype(np.float32)
    weights = file.meta["weight"][numbers].astype(np.float32) if "weight" in file.meta else None
    return Batch(Ragged(values, layout), targets, numbers, weights)


def _runs(numbers: Ints) -> list[tuple[int, int]]:
    """(begin, end) of every run of consecutive numbers."""
    edges = np.flatnonzero(np.diff(numbers) != 1) + 1
    bounds = [0, *edges.tolist(), len(numbers)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _rows(values: NDArray[Any], layout: Layout, begin: int, end: int) -> NDArray[Any]:
    return values[layout.offsets[begin] : layout.offsets[end]]
