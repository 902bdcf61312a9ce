"""Batches under a budget of positions, in a seeded order that reads a file in few contiguous slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError, DataError
from ..layout import Ints, Layout
from .augment import Augmentation, composed
from .batch import Batch, Stored, read_augmented, read_batch
from .buffers import Buffers
from .divide import draws
from .order import BLOCK_BYTES, block_batches, grouped_batches, mixed_batches
from .pools import Pools
from .prefetch import prefetched, usable_cores

if TYPE_CHECKING:
    from .split import Split

SIZES = ("mixed", "grouped")
SHUFFLES = (True, False, "samples", "blocks")
# From so many bytes on samples are shuffled by blocks, if a block has so many or more: what is read in pieces then
# comes from a disk, and a few chunks of HDF5 for each sample cost more than the sample.
LARGE_BYTES, BLOCK_SAMPLES = 1 << 30, 2


class Batches:
    """The batches of a split, to be iterated over (again and again, with the same result); ``len()`` counts them.

    The order is a pure function of the seed, the epoch and the samples' shapes and dtype. The split is cut into blocks
    of neighbouring samples, at places that differ from epoch to epoch; blocks are shuffled; batches are cut
    from that order, each as long as its positions stay within the budget. A block is at most 1/32 of
    a batch, or one sample where samples are large, and is read as one slice. With ``sizes="grouped"``
    the samples of 64 batches are sorted by size before they are cut into batches, and these are shuffled.

    With ``shuffle="blocks"`` a block has 512 KiB, so that nearly all of what is read is used, and the samples of 16
    blocks are mixed; three times as many are in memory, as stored. ``shuffle=True`` is that for splits of 1 GiB and
    more whose samples have 256 KiB on average or less, unless sizes are grouped, and "samples" otherwise.

    An augmentation changes samples on their way. What becomes of a sample is a pure function of the seed, the
    epoch and the sample's number in the file: it doesn't depend on the rest of its batch, the order, ``start`` or the
    number of threads. The budget holds for what augmented samples may have at most.

    Memory: at any time at most ``prefetch + 2`` batches exist: ``prefetch`` read ahead, the one handed out, and the
    one before it, which a ``for`` loop holds until it has the next. So at most ``(prefetch + 2) * positions``
    positions in float32 (with ``oversize="alone"`` a larger sample counts itself), and in each thread 2 MiB, or the
    largest sample, for reading.

    Parameters
    ----------
    split : Split
    positions : int
        Budget: most positions in a batch, all samples together.
    samples : int
        Most samples in a batch. At least one of the two must be given.
    seed, epoch : int
        Of the order and of the augmentation. ``seed=None`` is seed 0.
    shuffle : bool, "samples" or "blocks"
        False keeps the split's order.
    oversize : "error" or "alone"
        A sample of more positions than the budget is an error that names it, or a batch of its own.
    start : int
        Leave out the first ``start`` batches (without reading them): go on in the middle of an epoch.
    prefetch : int
        Batches read ahead in background threads; 0 reads in the caller's.
    sizes : "mixed" or "grouped"
        Batches of samples of any size, or of like size.
    augment : Augmentation, its text, or a list of them, optional
        What is done to samples at random: see :mod:`convnd.data.augment`.
    workers : int, optional
        Most threads that read ahead. By default as many as there are cores and batches to read ahead.

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
        shuffle: bool | str = True,
        oversize: str = "error",
        start: int = 0,
        prefetch: int = 2,
        sizes: str = "mixed",
        augment: Augmentation | str | Sequence[Augmentation | str] | None = None,
        workers: int | None = None,
    ) -> None:
        if positions is None and samples is None:
            raise ArgumentError("batches need positions=, samples= or both. Received: neither")
        for name, value, least in (
            ("positions", positions, 1),
            ("samples", samples, 1),
            ("start", start, 0),
            ("prefetch", prefetch, 0),
            ("workers", workers, 1),
        ):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least
            ):
                raise ArgumentError(f"{name} must be an int of at least {least}. Received: {name}={value!r}")
        if oversize not in ("error", "alone"):
            raise ArgumentError(f'oversize must be "error" or "alone". Received: oversize={oversize!r}')
        if sizes not in SIZES:
            raise ArgumentError(f'sizes must be "mixed" or "grouped". Received: sizes={sizes!r}')
        if not any(shuffle is known or (isinstance(known, str) and shuffle == known) for known in SHUFFLES):
            raise ArgumentError(f'shuffle must be True, False, "samples" or "blocks". Received: shuffle={shuffle!r}')
        if shuffle == "blocks" and sizes == "grouped":
            raise ArgumentError('shuffle="blocks" goes with sizes="mixed". Received: sizes="grouped"')
        self.split = split
        self.prefetch = int(prefetch)
        self.workers = usable_cores() if workers is None else int(workers)
        self.augment = None if augment is None else composed(augment)
        self.seed, self.epoch = 0 if seed is None else seed, epoch
        draws(0, self.seed, self.epoch)  # refuses what no random numbers follow from
        layout = split.layout if self.augment is None else Layout(self.augment.bound(split.layout.shapes))
        budget = int(positions) if positions is not None else layout.positions + 1
        most = int(samples) if samples is not None else max(len(split), 1)
        if oversize == "error":
            _refuse_oversize(split, layout, budget)
        seeds = (self.seed, self.epoch) if shuffle else None
        self._pools: list[Ints] = []
        self._uses: list[range] = []
        row = split.info.channels * np.dtype(split.info.dtype).itemsize
        if shuffle is True and sizes == "mixed" and _large(split, row):
            shuffle = "blocks"
        if seeds and len(split) and shuffle == "blocks":
            batches, pools, uses = block_batches(split.layout.sizes, layout.sizes, budget, most, row, seeds)
            self._pools, self._uses = [split.numbers[pool] for pool in pools], uses[int(start) :]
        elif sizes == "grouped":
            batches = grouped_batches(layout.shapes, layout.sizes, budget, most, seeds)
        else:
            batches = mixed_batches(layout.sizes, budget, most, seeds)
        self._batches = batches[int(start) :]
        # Positions of the largest batch that the budget allows: more are a sample alone.
        self._most = max((size for batch in batches if (size := int(layout.sizes[batch].sum())) <= budget), default=0)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        buffers = Buffers(self._most, self.split.info.channels, self.prefetch + 2)
        pools = Pools(self.split.file, self._pools, self._uses, self.prefetch > 0) if self._pools else None

        def read(index: int) -> Batch:
            if pools is None:
                return self._read(index, buffers)
            with pools.of(index) as stored:
                return self._read(index, buffers, stored)

        try:
            yield from prefetched(read, len(self), self.prefetch, self.workers)
        finally:
            if pools is not None:
                pools.close()
            buffers.close()

    def numbers(self) -> list[Ints]:
        """The samples' numbers in the file, batch by batch, without reading any."""
        return [self.split.numbers[batch] for batch in self._batches]

    def _read(self, index: int, buffers: Buffers, stored: Stored | None = None) -> Batch:
        numbers = self.split.numbers[self._batches[index]]
        if self.augment is None:
            return read_batch(self.split.file, numbers, buffers, stored)
        return read_augmented(self.split.file, numbers, self.augment, self.seed, self.epoch, buffers, stored)


def _large(split: Split, row: int) -> bool:
    """Whether a split of rows of so many bytes is read by blocks."""
    stored = split.layout.positions * row
    return stored >= LARGE_BYTES and BLOCK_SAMPLES * stored <= BLOCK_BYTES * len(split)


def _refuse_oversize(split: Split, layout: Layout, budget: int) -> None:
    """``layout``: the shapes that samples may have in a batch."""
    sizes = layout.sizes
    if len(sizes) and sizes.max() > budget:
        index = int(np.argmax(sizes > budget))
        raise DataError(
            f"{split.file.path}: {split.file.who(int(split.numbers[index]))} of shape {layout.shape(index)} has "
            f"{sizes[index]} positions, above the budget positions={budget}: raise it, or choose "
            'oversize="alone" (--oversize alone)'
        )
