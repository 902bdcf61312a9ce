"""Ctrl-C, heard between steps: a step is finished, the place is saved, then the run stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """A context in which the first Ctrl-C only raises a flag; a second one stops at once.

    Outside the main thread signals can't be caught, and where Ctrl-C is already someone else's (ignored in
    the background, taken by a debugger) it stays theirs.
    """

    def __init__(self) -> None:
        self.asked = False
        self._earlier: Any = None

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._earlier = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._earlier is not None:
            signal.signal(signal.SIGINT, self._earlier)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
