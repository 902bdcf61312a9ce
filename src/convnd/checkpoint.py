"""Checkpoints: arrays and a little JSON in one file, written all or not at all, and never unpickled.

The bytes are those of the safetensors format (https://github.com/huggingface/safetensors), so any
reader of it can look inside: the header's length (8 bytes, little endian), a JSON header, the arrays
one after the other. The header's metadata adds a SHA-256 of the whole file (its own 64 digits read
as zeros), by which a cut or damaged file is known.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import TrainingError

if TYPE_CHECKING:
    from .train.model import Model

FORMAT = "convnd checkpoint 1"
NO_DIGEST = "0" * 64
DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


@dataclass
class Checkpoint:
    """What a checkpoint file holds: arrays by name, and JSON-able facts about them."""

    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose names begin with ``prefix/``, under the rest of their names."""
        start = prefix + "/"
        return {name[len(start) :]: array for name, array in self.arrays.items() if name.startswith(start)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file in one step: until the new one is whole, the old one stays in its place.

        Raises
        ------
        TrainingError
            Where it can't be written (a full disk, no permission); the earlier file is untouched.
        """
        arrays = {name: _plain(array) for name, array in self.arrays.items()}
        header = _header(arrays, self.meta)
        size = len(header).to_bytes(8, "little")
        digest = hashlib.sha256(size + header)
        for array in arrays.values():
            digest.update(_bytes(array))
        header = header.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1)
        write_whole(path, [size, header, *(_bytes(array) for array in arrays.values())])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a file back, every byte of it checked.

        Raises
        ------
        TrainingError
            For a file that is missing, foreign, cut short or damaged.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise TrainingError(f"there is no checkpoint {path}") from None
        except OSError as error:
            raise TrainingError(f"the checkpoint {path} can't be read: {error.strerror}") from error
        start, header = _parse_header(path, content)
        metadata = header.pop("__metadata__")
        _check_digest(path, content, start, str(metadata["sha256"]))
        arrays = {name: _array(content, start, entry) for name, entry in header.items()}
        return cls(arrays, json.loads(metadata["meta"]))


def write_whole(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file to the side, force it to the disk, then put it in place with one rename."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise TrainingError(
            f"{path} could not be written: {error.strerror or error}. What was there before is untouched"
        ) from error
    _sync_folder(path.parent)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write JSON for people and programs, in one step."""
    write_whole(path, [(json.dumps(content, indent=2, allow_nan=False) + "\n").encode()])


def _sync_folder(folder: Path) -> None:
    """Force the rename itself to the disk, on systems that let a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array as the file stores it: C order, little endian."""
    array = np.asarray(array)
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if plain.dtype not in NAMES:
        raise TrainingError(f"a checkpoint can't hold an array of dtype {array.dtype}")
    return plain


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _header(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> bytes:
    metadata = {"format": FORMAT, "sha256": NO_DIGEST, "meta": json.dumps(meta, allow_nan=False)}
    # The digest's place is found again by its zeros: it must be the first text in the header.
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def _parse_header(path: Path, content: bytes) -> tuple[int, dict[str, Any]]:
    """Where the arrays start, and the header; nothing in it is believed before the digest agrees."""
    foreign = TrainingError(f"{path} is not a convnd checkpoint, or its beginning is damaged")
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or content[8:9] != b"{":
        raise foreign
    if 8 + length > len(content):
        raise TrainingError(f"the checkpoint {path} is cut short: {len(content)} bytes are left")
    try:
        header = json.loads(content[8 : 8 + length])
        metadata = header["__metadata__"]
        if metadata["format"] != FORMAT:
            raise foreign
        end = max([entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"], default=0)
        if not isinstance(end, int) or not isinstance(metadata["meta"], str) or "sha256" not in metadata:
            raise foreign
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise foreign from None
    if len(content) < 8 + length + end:
        raise TrainingError(
            f"the checkpoint {path} is cut short: {len(content)} bytes are left of {8 + length + end}"
        )
    return 8 + length, header


def _check_digest(path: Path, content: bytes, start: int, stored: str) -> None:
    header = content[:start].replace(stored.encode(), NO_DIGEST.encode(), 1)
    digest = hashlib.sha256(header)
    digest.update(memoryview(content)[start:])
    if digest.hexdigest() != stored:
        raise TrainingError(f"the checkpoint {path} is damaged: its checksum does not match its content")


def _array(content: bytes, start: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(DTYPES[entry["dtype"]])
    flat = np.frombuffer(content, dtype, count=(end - begin) // dtype.itemsize, offset=start + begin)
    return flat.reshape(entry["shape"]).copy()


def load(path: str | os.PathLike[str]) -> Model:
    """The trained model of a run folder, ready to call.

    Parameters
    ----------
    path : str or path
        The folder, of which ``best.ckpt`` is read (``last.ckpt``, if the run was stopped in its first epoch); or one
        checkpoint file, which is all that is needed to carry a model elsewhere.

    Returns
    -------
    Model
        Called on raw samples it gives the network's output; ``.predict`` gives class names.

    Raises
    ------
    TrainingError
        No run is there, or its checkpoint is damaged.

    Examples
    --------
    >>> load("no/such/run")
    Traceback (most recent call last):
    convnd.errors.TrainingError: no/such/run is not a run folder: there is neither best.ckpt nor last.ckpt in it
    """
    from .train.model import Model

    return Model.read(path)
