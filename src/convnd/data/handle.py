"""An HDF5 file that is open for reading: one handle a process, from as many threads as there are."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import ConvndError, DataError
from .chunks import Chunks, Descriptor

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CACHE_BYTES = 1 << 20
# What h5py raises for a file that isn't as it should be, whichever layer notices first.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
# Compressed data this much larger than what is stored of them are a claim, not data: gzip's limit is 1,032.
MOST_RATIO = 1 << 14
SMALL_BYTES = 64 << 20  # not worth doubting


@dataclass(eq=False)
class Opened:
    """What is open in one process."""

    process: int
    root: h5py.File
    datasets: dict[str, h5py.Dataset] = field(default_factory=dict)
    chunks: dict[str, Chunks | None] = field(default_factory=dict)
    descriptor: Descriptor | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handle:
    """An HDF5 file, opened when it is asked for: again after a fork, since a child must not share its parent's.

    ``check``, once it is set, is called whenever the file has been opened again, and raises if it isn't the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Opened | None = None
        self.check: Callable[[], None] | None = None
        check_signature(path)

    def _now(self) -> Opened:
        opened = self._opened
        if opened is None or opened.process != os.getpid():
            # Small chunk cache: shuffled reads don't come back soon, and memory is the batches' to use.
            root = h5py.File(self.path, "r", locking="best-effort", rdcc_nbytes=CACHE_BYTES)
            opened = self._opened = Opened(os.getpid(), root)
            if self.check is not None:
                try:
                    self.check()
                except BaseException:
                    self.close()
                    raise
        return opened

    @property
    def root(self) -> h5py.File:
        """The file's root group."""
        return self._now().root

    @property
    def lock(self) -> threading.Lock:
        """Held while HDF5 reads a stretch of samples: threads take turns at stretches and not at each sample."""
        return self._now().lock

    def dataset(self, name: str) -> h5py.Dataset:
        """A dataset that stays open between reads: its chunk cache lives as long as it does."""
        opened = self._now()
        if name not in opened.datasets:
            opened.datasets[name] = opened.root[name]
        return opened.datasets[name]

    def chunks(self, name: str) -> Chunks | None:
        """The chunks of a dataset, where they can be read past HDF5."""
        opened = self._now()
        if name not in opened.chunks:
            dataset, found = self.dataset(name), None
            if Chunks.accepts(dataset):
                try:
                    opened.descriptor = opened.descriptor or Descriptor(dataset.file)
                    found = Chunks(dataset, opened.descriptor)
                except OSError:  # no more files may be open
                    pass
            opened.chunks[name] = found
        return opened.chunks[name]

    def read(self, name: str) -> NDArray[Any]:
        """All of a dataset, if it can be what it claims."""
        dataset = self.root[name]
        check_claim(dataset)
        content: NDArray[Any] = np.asarray(dataset[()])
        return content

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Errors raised inside say that ``what`` can't be read."""
        try:
            yield
        except ConvndError:
            raise
        except DAMAGE as error:
            raise DataError(f"{self.path}: {what} can't be read: the file is truncated or damaged ({error})") from error

    def close(self) -> None:
        """Close the file in this process."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.process == os.getpid():
            opened.root.close()


def check_signature(path: Path) -> None:
    """Refuse what isn't an HDF5 file."""
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    if start != SIGNATURE:
        raise DataError(f"{path} isn't an HDF5 file (it begins with {start!r})")


def check_claim(dataset: h5py.Dataset) -> None:
    """Refuse a dataset that claims more than is stored of it, before anything is allocated for it."""
    if dataset.is_virtual or dataset.external:
        return
    claimed = math.prod(int(size) for size in dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), os.path.getsize(dataset.file.filename))
    packed = dataset.id.get_create_plist().get_nfilters() > int(dataset.fletcher32)
    if claimed > (max(MOST_RATIO * stored, SMALL_BYTES if stored else 0) if packed else stored):
        raise DataError(
            f"{dataset.file.filename}: {dataset.name} claims {claimed} bytes ({dataset.dtype} of shape "
            f"{dataset.shape}), and {stored} are stored: the file wasn't written to its end, or is damaged"
        )
