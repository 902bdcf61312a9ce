"""Samples read in blocks of neighbours, many blocks at a time, and handed out in another order."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..layout import Ints
from .batch import Stored, read_stored

if TYPE_CHECKING:
    from .collection import Collection

Rows = NDArray[Any]


class Pools:
    """The pools that batches are drawn from: read one after the other, each kept until its last batch has been made.

    While the batches of one are made, a thread reads the next.

    Parameters
    ----------
    data : Collection
    pools : sequence of int64 arrays
        The samples' numbers, ascending, of each pool.
    uses : sequence of ranges
        The pools that each batch takes samples from: of one batch after the other, the same or later ones.
    ahead : bool
        Whether to read ahead.
    """

    def __init__(self, data: Collection, pools: Sequence[Ints], uses: Sequence[range], ahead: bool) -> None:
        self._data, self._pools, self._uses = data, pools, uses
        self._room = max((int(data.layout.sizes[pool].sum()) for pool in pools), default=0)
        self._ahead = ahead
        self._begin(0)

    def _begin(self, batch: int) -> None:
        """At a batch, with nothing read, in this process."""
        self._process = os.getpid()
        self._left = Counter(pool for used in self._uses[batch:] for pool in used)
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="convnd-prefetch") if self._ahead else None
        self._found: dict[int, Future[Pool]] = {}
        self._free: list[Rows] = []

    @contextmanager
    def of(self, batch: int) -> Iterator[Stored]:
        """How to get the stored values (P, C) of each sample of a batch, by its number."""
        if os.getpid() != self._process:  # a forked child has no threads, and its locks are as they happened to be
            self._ahead = False
            self._begin(batch)
        parts = [self._pool(pool) for pool in self._uses[batch]]

        def stored(number: int) -> Rows:
            return next(part for part in parts if number in part.places).stored(number)

        yield parts[0].stored if len(parts) == 1 else stored
        for pool in self._uses[batch]:
            self._leave(pool)

    def _pool(self, pool: int) -> Pool:
        with self._lock:
            found = self._want(pool)
            if self._ahead and self._left[pool + 1]:
                self._want(pool + 1)
        return found.result()

    def _want(self, pool: int) -> Future[Pool]:
        """A pool that is there, or will be. The lock is held."""
        if pool not in self._found:
            if self._reader is not None:
                self._found[pool] = self._reader.submit(self._read, pool)
            else:
                done: Future[Pool] = Future()
                done.set_result(self._read(pool))
                self._found[pool] = done
        return self._found[pool]

    def _read(self, pool: int) -> Pool:
        numbers = self._pools[pool]
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty((self._room, self._data.info.channels), dtype=self._data.info.dtype)
        layout = self._data.layout.take(numbers)
        read_stored(self._data, numbers, layout, memory[: layout.positions])
        return Pool(numbers, layout.offsets, memory)

    def _leave(self, pool: int) -> None:
        """A batch has been made; after the last, the pool's memory is free."""
        with self._lock:
            self._left[pool] -= 1
            if not self._left[pool]:
                self._free.append(self._found.pop(pool).result().rows)

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None and os.getpid() == self._process:
            self._reader.shutdown(wait=True, cancel_futures=True)


class Pool:
    """Samples' stored values, and where each sample's are."""

    def __init__(self, numbers: Ints, offsets: Ints, rows: Rows) -> None:
        self.rows = rows
        self.places = dict(zip(numbers.tolist(), pairwise(offsets.tolist()), strict=True))

    def stored(self, number: int) -> Rows:
        start, end = self.places[number]
        return self.rows[start:end]
