"""NumPy's .npy and .npz files: what their headers claim is checked before anything is allocated."""

from __future__ import annotations

import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .kind import DEFLATES, check_claim

SUFFIXES = (".npy", ".npz")
# What NumPy takes of a header; it reads all that the header claims to be before it compares.
MOST_HEADER = 10_000
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def array_header(path: Path, given: Mapping[str, Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array in a file (in .npz: ``values``, or the only one), from its header alone.

    Refused: what isn't numbers, claims more bytes than ``given["largest"]``, or more than the file holds.
    """
    with _opened(path, given) as (_, shape, dtype):
        return shape, dtype


def load_array(path: Path, given: Mapping[str, Any]) -> NDArray[Any]:
    """The array in a file, in the machine's byte order."""
    with _opened(path, given) as (file, _, dtype):
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array.astype(dtype.newbyteorder("="), copy=False)


def map_array(path: Path, given: Mapping[str, Any]) -> NDArray[Any]:
    """The array in a .npy file, left on the disk: however large."""
    array_header(path, {**given, "largest": sys.maxsize})
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


@contextmanager
def _opened(path: Path, given: Mapping[str, Any]) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """The file at its array's start, with the array's shape and dtype."""
    with path.open("rb") as file:
        if path.suffix.lower() == ".npz":
            try:
                with zipfile.ZipFile(file) as archive:
                    member = _only_array(archive)
                    with archive.open(member) as inner:
                        yield inner, *_header(inner, _holds(member, path.stat().st_size), given)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise DataError(f"it isn't a sound .npz file: {error}") from None
        else:
            yield file, *_header(file, path.stat().st_size, given)


def _only_array(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
    if "values" not in names and len(names) != 1:
        raise DataError(f'must hold an array "values", or one array only. Received: {", ".join(names)}')
    return archive.infolist()[names.index("values") if "values" in names else 0]


def _holds(member: zipfile.ZipInfo, size: int) -> int:
    """The most bytes that a member of an archive of that size can be, whatever it claims."""
    plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return min(member.file_size, size * DEFLATES) if plain else member.file_size


def _header(file: IO[bytes], size: int, given: Mapping[str, Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if not size:
        raise DataError("it is empty")
    try:
        version = np.lib.format.read_magic(file)
        read = READERS.get(version)
        _check_length(file, 4 if version == (2, 0) else 2)
        shape, _, dtype = read(file) if read is not None else ((), False, np.dtype("O"))
    except (ValueError, tokenize.TokenError) as error:
        raise DataError(f"it isn't a sound .npy file: {' '.join(str(error).split())}") from None
    if read is None:
        raise DataError(f"it is of the .npy format {version[0]}.{version[1]}, which plain numbers don't need")
    if dtype.kind not in "biuf":
        raise DataError(f"it must hold numbers. Received: an array of {dtype}")
    claimed = check_claim(shape, dtype.itemsize, given)
    if claimed > size - file.tell():
        raise DataError(
            f"it claims an array of shape {shape}, {claimed} bytes, and holds {size - file.tell()}: it is truncated or "
            "damaged"
        )
    return shape, dtype


def _check_length(file: IO[bytes], width: int) -> None:
    """Refuse a header that claims to be longer than any is, before it is read."""
    start = file.tell()
    length = int.from_bytes(file.read(width), "little")
    if length > MOST_HEADER:
        raise DataError(f"it isn't a sound .npy file: its header claims {length} bytes")
    file.seek(start)
