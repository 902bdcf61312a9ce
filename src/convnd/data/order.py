"""The order of an epoch, and where it is cut into batches: pure functions of seed, epoch and the samples' shapes."""

from __future__ import annotations

import numpy as np

from ..layout import Ints
from .divide import draws, shuffled

# A shuffled batch is drawn from at least this many places of the file, so that neighbours, which are often
# of one class, don't fill it.
PLACES = 32
# Samples are grouped by size among those of so many batches: enough for like sizes to meet, few enough for chance
# to decide who meets whom.
POOL = 64
# The order by blocks: bytes of a block as stored, beside which the chunks at its two ends are little, and the blocks
# whose samples are mixed.
BLOCK_BYTES = 512 << 10
MIXED_BLOCKS = 16


def mixed_batches(sizes: Ints, budget: int, most: int, seeds: tuple[int, int] | None) -> list[Ints]:
    """Batches of samples of any size. ``seeds`` are seed and epoch, or None for the given order."""
    return _cut(_order(sizes, budget, most, seeds), sizes, budget, most)


def grouped_batches(shapes: Ints, sizes: Ints, budget: int, most: int, seeds: tuple[int, int] | None) -> list[Ints]:
    """Batches of samples of like size.

    The mixed order is cut into pools of 64 batches; a pool is sorted by size, cut into batches, and these are shuffled.
    In a batch samples stand as in the file, so that neighbours are read as one slice.
    """
    batches: list[Ints] = []
    order = _order(sizes, budget, most, seeds)
    for number, pool in enumerate(_cut(order, sizes, POOL * budget, POOL * most)):
        # Number of positions first, then the shape: samples of one shape lie side by side.
        ranked = pool[np.lexsort((pool, *shapes[pool].T[::-1], sizes[pool]))]
        cut = [np.sort(batch) for batch in _cut(ranked, sizes, budget, most)]
        places = range(len(cut)) if seeds is None else shuffled(len(cut), *seeds, number, 2).tolist()
        batches += [cut[place] for place in places]
    return batches


def block_batches(
    stored: Ints, sizes: Ints, budget: int, most: int, row: int, seeds: tuple[int, int]
) -> tuple[list[Ints], list[Ints], list[range]]:
    """Batches whose samples come from 16 blocks of neighbours that are read at a time.

    ``stored`` are the samples' positions in the file, of ``row`` bytes each, and ``sizes`` those that count in a batch.
    Returns the batches, the samples of each pool of 16 blocks, ascending, and the pools that each batch takes samples
    from.
    """
    count = len(sizes)
    size = max(1, BLOCK_BYTES // row)
    before = np.cumsum(stored) - stored + int(draws(1, *seeds, 1)[0] % size)
    blocks = np.cumsum(np.diff(before // size, prepend=before[:1] // size) > 0)
    ranks = np.empty(int(blocks[-1]) + 1, dtype=np.int64)
    ranks[shuffled(len(ranks), *seeds, 3)] = np.arange(len(ranks))
    pools = ranks[blocks] // MIXED_BLOCKS
    order = shuffled(count, *seeds)
    order = order[np.argsort(pools[order], kind="stable")]
    ends = np.cumsum(np.bincount(pools))
    batches = _cut(order, sizes, budget, most)
    last = np.cumsum([len(batch) for batch in batches]) - 1
    first = np.concatenate([[0], last[:-1] + 1])
    uses = [
        range(int(a), int(b) + 1)
        for a, b in zip(np.searchsorted(ends, first, "right"), np.searchsorted(ends, last, "right"), strict=True)
    ]
    return batches, [np.sort(part) for part in np.split(order, ends[:-1])], uses


def _order(sizes: Ints, budget: int, most: int, seeds: tuple[int, int] | None) -> Ints:
    if seeds is None:
        return np.arange(len(sizes), dtype=np.int64)
    return _blocked_order(sizes, budget, most, *seeds)


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
        limit = min(total + budget, int(ends[-1]))
        last = min(int(np.searchsorted(ends, limit, side="right")), first + most)
        last = max(last, first + 1)
        batches.append(order[first:last])
        first, total = last, int(ends[last - 1])
    return batches
