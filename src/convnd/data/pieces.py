"""Samples on their way into a file: sealed pieces in a folder beside it.

An HDF5 file whose writer was killed doesn't open again. So samples go into pieces first: the raw bytes of
values and of targets in two files, and a seal (a small JSON file with the samples' shapes, names and
the checksums) that is renamed into place when both are safe on the disk. A piece without its seal
never happened. After a kill, a power cut or a full disk, everything sealed is still there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .disk import sync_folder, write_all, write_file

try:
    import fcntl
except ImportError:  # Windows: two writers of one file are not noticed there.
    fcntl = None  # type: ignore[assignment]

# A kill loses at most the samples since the last seal: this many bytes or samples, or as much work.
PIECE_BYTES = 16 << 20
PIECE_SAMPLES = 4096
PIECE_SECONDS = 10.0
READ_BYTES = 1 << 20
STREAMS = ("values", "targets")


class Pieces:
    """The pieces of one unfinished file, in the folder ``<file>.parts``."""

    def __init__(self, folder: Path, settings: dict[str, Any], resume: bool) -> None:
        self.folder = folder
        self.names: dict[str, None] = {}
        self._sealed = 0
        self._rows: list[dict[str, Any]] = []
        self._files: dict[str, IO[bytes]] = {}
        self._bytes = dict.fromkeys(STREAMS, 0)
        self._sums = dict.fromkeys(STREAMS, 0)
        self._begun = 0.0
        found = (folder / "settings.json").exists()
        if found and not resume:
            raise DataError(
                f"{folder} holds an unfinished write: continue it with resume=True, or delete that folder to start anew"
            )
        folder.mkdir(exist_ok=True)
        self._lock = _lock(folder)
        try:
            self._begin(settings, found)
        except BaseException:
            self.release()
            raise

    def _begin(self, settings: dict[str, Any], found: bool) -> None:
        if found:
            self._check_settings(settings)
            self._keep_sealed()
        else:
            self._drop_from(0)
            write_file(self.folder / "settings.json", json.dumps(settings, indent=1).encode())
            sync_folder(self.folder.parent)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        stored = json.loads((self.folder / "settings.json").read_bytes())
        wanted = json.loads(json.dumps(settings))
        for key in {**stored, **wanted}:
            if stored.get(key) != wanted.get(key):
                raise DataError(
                    f"{self.folder} was begun with {key}={stored.get(key)!r}: it can't be continued with "
                    f"{key}={wanted.get(key)!r}. Delete that folder to start anew"
                )

    def _keep_sealed(self) -> None:
        """Take over the sound pieces. Behind a damaged one, order would change: those go too."""
        while self._is_sound(self._sealed):
            self.names.update(dict.fromkeys(self._seal(self._sealed)["names"]))
            self._sealed += 1
        self._drop_from(self._sealed)

    def _is_sound(self, piece: int) -> bool:
        if not self._path(piece, "json").exists():
            return False
        try:
            for stream in STREAMS:
                for _ in self._read(piece, stream):
                    pass
        except (DataError, OSError):
            return False
        return True

    def _drop_from(self, first: int) -> None:
        for path in self.folder.iterdir():
            number = path.name.split(".")[0]
            if path.suffix == ".tmp" or (number.isdigit() and int(number) >= first):
                path.unlink()

    def _path(self, piece: int, kind: str) -> Path:
        return self.folder / f"{piece:06d}.{kind}"

    def _seal(self, piece: int) -> dict[str, Any]:
        """What a piece's seal says; its own checksum stands in its last line."""
        path = self._path(piece, "json")
        body, _, check = path.read_bytes().rpartition(b"\n")
        if check != b"%08x" % zlib.crc32(body):
            raise DataError(
                f"{path} is damaged: continue with resume=True, which drops it, and append its samples again"
            )
        seal: dict[str, Any] = json.loads(body)
        return seal

    def append(self, row: dict[str, Any], content: dict[str, NDArray[Any]]) -> None:
        """Add one sample: its row of the seal, and its arrays by stream. If it fails, nothing has changed."""
        if not self._files:
            paths = {stream: self._path(self._sealed, stream) for stream in STREAMS}
            self._files = {stream: path.open("wb", buffering=0) for stream, path in paths.items()}
            self._begun = time.monotonic()
        ends, sums = dict(self._bytes), dict(self._sums)
        for stream, array in content.items():
            data = np.ascontiguousarray(array).data.cast("B")
            # A write that failed half way left bytes behind; writing starts where the last whole sample ended.
            self._files[stream].seek(ends[stream])
            write_all(self._files[stream], data)
            ends[stream] += len(data)
            sums[stream] = zlib.crc32(data, sums[stream])
        self._bytes, self._sums = ends, sums
        self._rows.append(row)
        self.names[row["name"]] = None
        full = sum(ends.values()) >= PIECE_BYTES or len(self._rows) >= PIECE_SAMPLES
        if full or time.monotonic() - self._begun >= PIECE_SECONDS:
            self.seal()

    def seal(self) -> None:
        """Make the samples appended so far safe."""
        if self._rows:
            for stream, file in self._files.items():
                file.truncate(self._bytes[stream])
                os.fsync(file.fileno())
            columns = {f"{key}s": [row[key] for row in self._rows] for key in self._rows[0]}
            body = json.dumps(columns | {"bytes": self._bytes, "sums": self._sums}).encode()
            write_file(self._path(self._sealed, "json"), body + b"\n%08x" % zlib.crc32(body))
            self._sealed += 1
            self._rows = []
        self._bytes = dict.fromkeys(STREAMS, 0)
        self._sums = dict.fromkeys(STREAMS, 0)
        self._close_files()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def columns(self) -> dict[str, list[Any]]:
        """Shapes, names, splits, ... of all sealed samples, one entry a sample."""
        columns: dict[str, list[Any]] = {}
        for piece in range(self._sealed):
            for key, entries in self._seal(piece).items():
                if isinstance(entries, list):
                    columns.setdefault(key, []).extend(entries)
        return columns

    def blocks(self, stream: str, size: int) -> Iterator[NDArray[np.uint8]]:
        """The bytes of a stream through all pieces, in blocks of ``size`` (the last may be shorter)."""
        block = np.empty(size, dtype=np.uint8)
        filled = 0
        for piece in range(self._sealed):
            for data in self._read(piece, stream):
                while len(data):
                    part = min(size - filled, len(data))
                    block[filled : filled + part] = data[:part]
                    data, filled = data[part:], filled + part
                    if filled == size:
                        yield block
                        filled = 0
        if filled:
            yield block[:filled]

    def _read(self, piece: int, stream: str) -> Iterator[NDArray[np.uint8]]:
        """The bytes of one piece, checked against its seal at the end."""
        seal = self._seal(piece)
        path, found, check = self._path(piece, stream), 0, 0
        with open(path, "rb", buffering=0) as file:
            while len(data := np.frombuffer(file.read(READ_BYTES), dtype=np.uint8)):
                found, check = found + len(data), zlib.crc32(data.data, check)
                yield data
        if (found, check) != (seal["bytes"][stream], seal["sums"][stream]):
            raise DataError(
                f"{path} is damaged: continue with resume=True, which drops it, and append its samples again"
            )

    def release(self) -> None:
        """Close files and let another writer have the folder."""
        self._close_files()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Delete the pieces: out of sight in one step first, so that a kill leaves no half of them to continue."""
        self.release()
        gone = self.folder.with_name(self.folder.name + ".old")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(self.folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _lock(folder: Path) -> IO[bytes] | None:
    if fcntl is None:
        return None
    file = (folder / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DataError(f"{folder} is in use: another process is writing this file") from None
    except OSError:  # A file system without locks.
        pass
    return file
