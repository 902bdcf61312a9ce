"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import h5py


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` last through a power cut, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of a closed file last through a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file over ``path``: readers see the old file or the new one, never a part."""
    sync_file(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file whole, through a temporary neighbour."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_all(file: IO[bytes], data: memoryview) -> None:
    """Write to an unbuffered file, which may take only a part at a time."""
    while len(data):
        data = data[file.write(data) :]


class WriteOnce:
    """A new file for HDF5 to write, whose failures are remembered instead of raised.

    HDF5 can crash the process when a write fails while it closes a file (a full disk does that). So it is told
    that all is well, ``error`` keeps what went wrong, and whoever closes the file raises that.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        if self.error is None:
            try:
                write_all(self.file, memoryview(data))
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                self.file.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        """Nothing to do: the file has no buffer."""

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, WriteOnce]]:
    """A new HDF5 file to write. A write that fails is raised as OSError, at the latest when the file is closed."""
    with path.open("wb+", buffering=0) as raw:
        file = WriteOnce(raw)
        try:
            with h5py.File(file, "w", libver=("v110", "v110")) as root:
                yield root, file
        except Exception:
            file.check()  # What HDF5 makes of a file that lacks what it wrote is not the reason.
            raise
        file.check()
