"""Memory of batches that nobody holds any more, used for the next ones.

Fresh memory costs a page fault for every few KB, which takes about as long as reading does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


class Buffers:
    """Arrays (rows, channels) for batches of up to ``rows`` rows; at most ``most`` are kept for later."""

    def __init__(self, rows: int, channels: int, most: int) -> None:
        self.rows, self.channels, self.most = rows, channels, most
        self.free: list[Values] = []

    def empty(self, rows: int) -> Values:
        """An array (rows, channels) of any content."""
        if rows > self.rows:
            return np.empty((rows, self.channels), dtype=np.float32)
        try:
            memory = self.free.pop()
        except IndexError:
            memory = np.empty((self.rows, self.channels), dtype=np.float32)
        return np.asarray(Lease(memory, self))[:rows]

    def close(self) -> None:
        """Keep nothing from now on."""
        self.most = 0
        self.free.clear()


class Lease:
    """What an array of a buffer has as its base: gone with the last array that shows any of it."""

    def __init__(self, memory: Values, buffers: Buffers) -> None:
        self.memory, self.buffers = memory, buffers
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        if len(self.buffers.free) < self.buffers.most:
            self.buffers.free.append(self.memory)
