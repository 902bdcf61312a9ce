"""Entries of variable length, read past HDF5.

An entry is a reference to an object in one of the file's global heaps: how many elements, where the heap is, and which
of its objects. HDF5 checks no heap before it walks through it: one flipped bit there can keep it busy for ever. So the
heaps are walked here, with every step checked. Lengths are then known without reading any data, and an entry is read
with one system call. Format: HDF5 File Format Specification, III.E (global heap) and IV.A.2.d (datatypes).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..layout import Ints
from .handle import Handle

REFERENCE = np.dtype([("count", "<u4"), ("heap", "<u8"), ("object", "<u4")])
OBJECT = np.dtype([("object", "<u2"), ("uses", "<u2"), ("reserved", "<u4"), ("size", "<u8")])
SIGNATURE, VERSION = b"GCOL", 1
HEADER = 16  # bytes: of a heap, and of each object in it
SHUFFLE, DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE


def vlen_dtype(dataset: h5py.Dataset) -> np.dtype[Any] | None:
    """The dtype of a variable-length dataset's elements: numbers, or bytes for texts. None for other datasets."""
    kind = dataset.id.get_type()
    if isinstance(kind, h5py.h5t.TypeStringID):
        return np.dtype("S1") if kind.is_variable_str() else None
    if not isinstance(kind, h5py.h5t.TypeVlenID):
        return None
    base = np.dtype(kind.get_super().dtype)
    return base if base.kind in "biuf" and base.itemsize else None


class Entries:
    """The entries of a dataset (N,) of variable length: ``counts`` of elements, and each read when asked for."""

    def __init__(self, handle: Handle, name: str) -> None:
        self.handle, self.name = handle, name
        dataset = handle.dataset(name)
        found = vlen_dtype(dataset)
        assert found is not None
        self.dtype = found
        self._size = os.fstat(_descriptor(handle)).st_size
        references = _references(handle, dataset)
        self.counts: Ints = references["count"].astype(np.int64)
        self.places: Ints = self._find(references)

    def __len__(self) -> int:
        return len(self.counts)

    def read(self, number: int) -> NDArray[Any]:
        """One entry, flat."""
        count = int(self.counts[number]) * self.dtype.itemsize
        return np.frombuffer(_bytes(self.handle, int(self.places[number]), count), dtype=self.dtype)

    def texts(self) -> list[bytes]:
        """All entries as texts."""
        return [self.read(number).tobytes().rstrip(b"\0") for number in range(len(self))]

    def _find(self, references: NDArray[Any]) -> Ints:
        """Where in the file each entry's elements are."""
        places: Ints = np.zeros(len(references), dtype=np.int64)
        order = np.argsort(references["heap"], kind="stable")
        order = order[references["count"][order] > 0]
        heaps, starts = np.unique(references["heap"][order], return_index=True)
        for heap, numbers in zip(heaps.tolist(), np.split(order, starts[1:]), strict=True):
            objects = self._objects(heap)
            for number in numbers.tolist():
                wanted = int(references["object"][number])
                size = int(references["count"][number]) * self.dtype.itemsize
                place, held = objects.get(wanted, (0, -1))
                if held != size:
                    raise OSError(f"entry {number} claims {size} bytes, and {max(held, 0)} are stored")
                places[number] = place
        return places

    def _objects(self, heap: int) -> dict[int, tuple[int, int]]:
        """Place and size of every object of a heap."""
        header = _bytes(self.handle, heap, HEADER)
        size = int.from_bytes(header[8:16], "little")
        if header[:4] != SIGNATURE or header[4] != VERSION or size < HEADER:
            raise OSError(f"there is no sound heap at {heap}")
        objects: dict[int, tuple[int, int]] = {}
        for number, place, held in self._walk(heap, size):
            if number in objects or place + held > min(heap + size, self._size):
                raise OSError(f"the heap at {heap} is damaged")
            objects[number] = place, held
        return objects

    def _walk(self, heap: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Number, place and size of the objects of a heap, one after the other."""
        place, end = heap + HEADER, heap + size
        whole = _bytes(self.handle, heap, size) if size <= 1 << 16 else None
        while place + HEADER <= end:
            start = place - heap
            head = whole[start : start + HEADER] if whole is not None else _bytes(self.handle, place, HEADER)
            found = np.frombuffer(head, dtype=OBJECT)[0]
            number, held = int(found["object"]), int(found["size"])
            if not number:  # The free space, which is last.
                return
            yield number, place + HEADER, held
            place += HEADER + -(-held // 8) * 8


def _references(handle: Handle, dataset: h5py.Dataset) -> NDArray[Any]:
    """A dataset's references, as they are stored."""
    plain = handle.root.id.get_create_plist().get_sizes() == (8, 8) and not handle.root.userblock_size
    place = dataset.id.get_offset()
    if dataset.ndim != 1 or not plain or (dataset.chunks is None and place is None):
        raise DataError(
            f"{handle.path}: {dataset.name} is stored in a way that isn't read here: write it anew with h5py, as a "
            "dataset (samples,) without userblock"
        )
    count = int(dataset.shape[0])
    if dataset.chunks is None:
        if dataset.id.get_storage_size() != count * REFERENCE.itemsize:
            raise OSError(f"{count} entries are claimed, and {dataset.id.get_storage_size()} bytes are stored of them")
        return np.frombuffer(_bytes(handle, place, count * REFERENCE.itemsize), dtype=REFERENCE)
    return _chunked(dataset, count)


def _chunked(dataset: h5py.Dataset, count: int) -> NDArray[Any]:
    rows, parts = int(dataset.chunks[0]), []
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if not set(filters) <= {SHUFFLE, DEFLATE}:
        raise DataError(f"{dataset.file.filename}: {dataset.name} is compressed by something else than gzip")
    if dataset.id.get_num_chunks() != -(-count // rows):
        raise OSError("it was not written to its end")
    for start in range(0, count, rows):
        mask, data = dataset.id.read_direct_chunk((start,))
        for place in reversed(range(len(filters))):
            if not mask >> place & 1:
                data = _undone(filters[place], data)
        if len(data) != rows * REFERENCE.itemsize:
            raise OSError(f"the chunk at {start} holds {len(data)} bytes")
        parts.append(np.frombuffer(data, dtype=REFERENCE)[: count - start])
    return np.concatenate(parts) if parts else np.zeros(0, dtype=REFERENCE)


def _undone(kind: int, data: bytes) -> bytes:
    """A chunk before one of its filters."""
    if kind == SHUFFLE:
        return np.frombuffer(data, dtype=np.uint8).reshape(REFERENCE.itemsize, -1).T.tobytes()
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise OSError(str(error)) from None


def _descriptor(handle: Handle) -> int:
    return int(handle.root.id.get_vfd_handle())


def _bytes(handle: Handle, place: int, count: int) -> bytes:
    """Bytes of the file, if it has them."""
    if count < 0 or place + count > os.fstat(_descriptor(handle)).st_size:
        raise OSError(f"the file ends before the {count} bytes at {place} do")
    data = bytearray()
    while len(data) < count:
        if hasattr(os, "pread"):
            part = os.pread(_descriptor(handle), min(count - len(data), 1 << 30), place + len(data))
        else:
            with handle.path.open("rb") as file:
                file.seek(place + len(data))
                part = file.read(count - len(data))
        if not part:
            raise OSError(f"the file was cut while it was read, within the {count} bytes at {place}")
        data += part
    return bytes(data)
