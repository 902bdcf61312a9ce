"""From sealed pieces to the finished HDF5 file: the same samples in the same order give the same bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..layout import Ints
from .disk import WriteOnce, new_hdf5
from .filters import creation_arguments
from .pieces import Pieces
from .schema import Info, fixed_strings, write_attributes

# Chunks of values are of 16 to 256 KiB, by the samples' mean size: see `chunk_rows`. Tables have chunks of 16 KiB.
LEAST_BYTES, MOST_BYTES = 16 << 10, 256 << 10
# What a chunk costs whatever its size, in bytes that could be read in that time.
OVERHEAD_BYTES = 4 << 10


def write_hdf5(path: Path, info: Info, pieces: Pieces, compress: str | None) -> None:
    """Write the finished file. Memory: one chunk of values, and what the samples' names and shapes take."""
    columns = pieces.columns()
    with new_hdf5(path) as (root, file):
        filters = creation_arguments(compress)
        write_attributes(root, info)
        shapes = np.array(columns["shapes"], dtype="<i8").reshape(len(columns["names"]), info.ndim)
        _write(root, "shapes", shapes, filters)
        sizes = shapes.prod(axis=1)
        _stream(root, "values", pieces, (int(sizes.sum()), info.channels), info.dtype, filters, file, sizes)
        if info.target is not None:
            _write_targets(root, info, pieces, columns, filters, file)
        splits = np.array(columns["splits"], dtype=object)
        for split in sorted({split for split in splits if split is not None}):
            _write(root, f"splits/{split}", np.flatnonzero(splits == split).astype("<i8"), filters)
        _write_meta(root, info, columns, filters)


def _write_targets(
    root: h5py.Group,
    info: Info,
    pieces: Pieces,
    columns: dict[str, list[Any]],
    filters: dict[str, Any],
    file: WriteOnce,
) -> None:
    count = len(columns["names"])
    shape: tuple[int, ...] = (count,)
    sizes = None
    if info.target == "numbers":
        shape = (count, info.target_channels)
    elif info.target == "ragged":
        target_shapes = np.array(columns["target_shapes"], dtype="<i8").reshape(count, info.target_ndim)
        _write(root, "target_shapes", target_shapes, filters)
        sizes = target_shapes.prod(axis=1)
        shape = (int(sizes.sum()), info.target_channels)
    _stream(root, "targets", pieces, shape, str(info.target_dtype), filters, file, sizes)


def _write_meta(root: h5py.Group, info: Info, columns: dict[str, list[Any]], filters: dict[str, Any]) -> None:
    for key in ("name", "group", "file"):
        if any(entry is not None for entry in columns[f"{key}s"]):
            _write(root, f"meta/{key}", fixed_strings([entry or "" for entry in columns[f"{key}s"]]), filters)
    if any(entry is not None for entry in columns["weights"]):
        weights = np.array([1.0 if entry is None else entry for entry in columns["weights"]], dtype="<f8")
        _write(root, "meta/weight", weights, filters)
    if any(entry is not None for entry in columns["spacings"]):
        missing = [np.nan if axis.spacing is None else axis.spacing for axis in info.axes] or [np.nan] * info.ndim
        spacings = np.array([missing if entry is None else entry for entry in columns["spacings"]], dtype="<f8")
        _write(root, "meta/spacing", spacings, filters)
    if any(entry is not None for entry in columns["affines"]):
        nowhere = np.full((info.ndim + 1,) * 2, np.nan)
        affines = np.array([nowhere if entry is None else entry for entry in columns["affines"]], dtype="<f8")
        _write(root, "meta/affine", affines, filters)


def chunk_rows(sizes: Ints | None, width: int) -> int:
    """Positions in a chunk, for samples of these sizes whose positions have ``width`` bytes.

    A shuffled read decodes a sample's chunks, and those at its two ends hold others' positions too: large chunks waste
    more there, small ones cost more each. For samples of s bytes the sum is least near sqrt(s * 4 KiB): the power of
    two at or below that, from 16 to 256 KiB. Where all samples are of one size, chunks end where samples do.
    """
    width = max(1, width)
    if sizes is None or not len(sizes):
        return max(1, LEAST_BYTES // width)
    best = math.sqrt(float(sizes.mean()) * width * OVERHEAD_BYTES)
    size = min(max(1 << int(math.log2(max(best, 1))), LEAST_BYTES), MOST_BYTES)
    rows, sample = max(1, size // width), int(sizes[0])
    if (sizes != sample).any():
        return rows
    if sample <= rows:
        return rows // sample * sample
    fewest = -(-sample // rows)
    return next((sample // parts for parts in range(fewest, 2 * fewest) if not sample % parts), rows)


def _dataset(
    root: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any, filters: dict[str, Any], sizes: Ints | None = None
) -> h5py.Dataset:
    width = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
    chunk = (min(shape[0], chunk_rows(sizes, width)), *shape[1:])
    # A dataset without elements (the shapes of samples without axes) can't be chunked, and has nothing to protect.
    more = {"chunks": chunk, "fletcher32": True, **filters} if np.prod(shape) else {}
    return root.create_dataset(name, shape=shape, dtype=dtype, track_times=False, **more)


def _write(root: h5py.Group, name: str, array: NDArray[Any], filters: dict[str, Any]) -> None:
    dataset = _dataset(root, name, array.shape, array.dtype, filters)
    if array.size:
        dataset[...] = array


def _stream(
    root: h5py.Group,
    name: str,
    pieces: Pieces,
    shape: tuple[int, ...],
    dtype: str,
    filters: dict[str, Any],
    file: WriteOnce,
    sizes: Ints | None,
) -> None:
    """One stream of the pieces into a dataset, a whole chunk at a time: chunks written in parts would be placed
    in the file by how the pieces happened to be cut."""
    stored = np.dtype(dtype).newbyteorder("<")
    dataset = _dataset(root, name, shape, stored, filters, sizes)
    rows = dataset.chunks[0]
    width = int(np.prod(shape[1:], dtype=np.int64)) * stored.itemsize
    start = 0
    for block in pieces.blocks(name, rows * width):
        part = block.view(stored).reshape(-1, *shape[1:])
        dataset[start : start + len(part)] = part
        file.check()  # A full disk stops the work here, not after the last sample.
        start += len(part)
