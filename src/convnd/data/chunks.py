"""Rows of a dataset, read past the HDF5 library where its chunks are stored as they are, each with its checksum.

The library reads chunk by chunk under a lock, so that threads wait for each other, and takes the checksum word by word.
Here threads read side by side, and a vector of words at a time.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from . import _chunks

# To find the chunks takes as long as to read a tenth of them: it is done when this part of the rows has been read.
PART = 1 / 16
MOST_BYTES = 16 << 20  # of a chunk: each thread that reads has one in memory


class Descriptor:
    """A file's number that stays open as long as anybody reads: one that is closed may soon be another file's."""

    def __init__(self, file: h5py.File) -> None:
        self.number: int = os.dup(file.id.get_vfd_handle())

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class Chunks:
    """The chunks of a dataset that :meth:`accepts` lets through, in a file that is open as ``file``."""

    def __init__(self, dataset: h5py.Dataset, file: Descriptor) -> None:
        self._dataset, self._file = dataset, file
        self._shape, self._dtype = dataset.shape, dataset.dtype
        self._row = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        self._rows = int(dataset.chunks[0])
        self._left = int(PART * dataset.shape[0])
        self._places: NDArray[np.int64] | None = None
        self._lock = threading.Lock()

    @staticmethod
    def accepts(dataset: h5py.Dataset) -> bool:
        """Whether a dataset is one: rows in chunks, nothing but checksums, in a plain file of this machine."""
        if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or not dataset.size:
            return False
        plist, file = dataset.id.get_create_plist(), dataset.file
        filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
        return (
            filters == [h5py.h5z.FILTER_FLETCHER32]
            and math.prod(dataset.chunks) * dataset.dtype.itemsize <= MOST_BYTES
            and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype.newbyteorder("="))
            and hasattr(dataset.id, "chunk_iter")
            and file.driver == "sec2"
            and not file.userblock_size
            and hasattr(os, "pread")
            and sys.byteorder == "little"
        )

    def read(self, start: int, out: NDArray[Any]) -> bool:
        """Rows from ``start`` on into ``out`` (rows, columns).

        False says that HDF5 is to read them: ``out`` isn't C-contiguous, of another dtype or not of rows that there
        are, a chunk isn't there or not what its checksum says (HDF5 knows what to say of it), or the chunks haven't
        been looked for yet.
        """
        if out.dtype != self._dtype or not out.flags.c_contiguous:
            return False
        if out.shape[1:] != self._shape[1:] or not 0 <= start <= self._shape[0] - len(out):
            return False
        places = self._places
        if places is None:
            with self._lock:
                self._left -= len(out)
                if self._left > 0:
                    return False
                if self._places is None:
                    self._places = self._found()
                places = self._places
        size = self._rows * self._row
        number = self._file.number
        return _chunks.read(number, places, size, start * self._row, out.reshape(-1).view(np.uint8))

    def _found(self) -> NDArray[np.int64]:
        """Where in the file each chunk is; -1 where none is, or one without its checksum, or the index is damaged."""
        rows, size = self._rows, self._rows * self._row + 4
        places = np.full(-(-self._shape[0] // rows), -1, dtype=np.int64)

        def note(chunk: Any) -> None:
            offset, place = chunk.chunk_offset, chunk.byte_offset
            if offset is None or place is None or chunk.size != size or chunk.filter_mask:
                return
            if 0 <= offset[0] < self._shape[0] and not offset[0] % rows and 0 <= place < 1 << 63:
                places[offset[0] // rows] = place

        try:
            self._dataset.id.chunk_iter(note)
        except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError):
            places[:] = -1
        return places
