"""Read ahead in background threads, with a bound on what exists at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(make: Callable[[int], Item], count: int, ahead: int, workers: int = 1) -> Iterator[Item]:
    """``make(0)`` ... ``make(count - 1)`` in this order, made up to ``ahead`` items before they are asked for.

    At most ``ahead + 2`` items exist at a time: ``ahead`` made or in the making, by up to ``workers`` threads; the one
    handed out; and the one before it, which a ``for`` loop holds until it has the next. What ``make`` raises is raised
    here, at its place. Leaving the loop (break, an error, Ctrl-C) stops the threads and waits for the items they are
    at. A forked child, in which the threads don't exist, makes the remaining items itself.
    """
    if not ahead:
        for index in range(count):
            yield make(index)
        return
    process = os.getpid()
    pool = ThreadPoolExecutor(min(workers, ahead), thread_name_prefix="convnd-prefetch")
    pending: deque[Future[Item]] = deque()
    try:
        for index in range(count):
            if os.getpid() != process:
                yield make(index)
                continue
            for number in range(index + len(pending), min(count, index + ahead + 1)):
                pending.append(pool.submit(make, number))
            item = pending.popleft().result()
            yield item
            del item
    finally:
        if os.getpid() == process:
            pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
