"""Read ahead in a background thread, with a bound on what exists at a time."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(make: Callable[[int], Item], count: int, ahead: int) -> Iterator[Item]:
    """``make(0)`` ... ``make(count - 1)``, made up to ``ahead`` items before they are asked for.

    At most ``ahead + 2`` items exist at a time: ``ahead`` made or in the making, the one handed out, and the one before
    it, which a ``for`` loop holds until it has the next. What ``make`` raises is raised here, at its place.
    Leaving the loop (break, an error, Ctrl-C) stops the thread and waits for the item it is at.
    A forked child, in which the thread doesn't exist, makes the remaining items itself.
    """
    if not ahead:
        for index in range(count):
            yield make(index)
        return
    process = os.getpid()
    slots = threading.Semaphore(ahead + 1)
    ready: queue.SimpleQueue[tuple[Item | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        for index in range(count):
            slots.acquire()
            if stop.is_set():
                return
            try:
                ready.put((make(index), None))
            except BaseException as error:
                ready.put((None, error))
                return

    thread = threading.Thread(target=work, name="convnd-prefetch", daemon=True)
    thread.start()
    try:
        for index in range(count):
            if os.getpid() != process:
                yield make(index)
                continue
            item, error = ready.get()
            if error is not None:
                raise error
            if index:
                # The caller comes for the next one: it is done with the last, whose slot this is.
                slots.release()
            yield item  # type: ignore[misc]
            item = None
    finally:
        stop.set()
        slots.release()
        if os.getpid() == process:
            thread.join()
