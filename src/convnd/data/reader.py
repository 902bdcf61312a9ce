"""Read a data file: refuse what is foreign or damaged, and hand out runs of samples."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..layout import Ints, Layout
from .collection import Collection, Run
from .filters import check_filters
from .handle import DAMAGE, Handle, check_claim
from .schema import META, Info, decode, read_attributes

# Values of another dtype are read and converted in parts of this size.
READ_BYTES = 512 << 10
# Runs of at least this size are read straight to their place; below, h5py's own slicing costs less.
DIRECT_BYTES = 64 << 10


class File(Collection):
    """A data file. ``file["train"]`` is a split; samples are read when asked for.

    A File may be used from several threads, goes on working in a forked child (which opens the file for
    itself) and can be pickled (by its path). Close it, or use it in a ``with`` statement.

    Attributes
    ----------
    path : Path
    info : Info
        What the file says about itself.
    layout : Layout
        Shapes of all samples.
    splits : tuple of str
        Names of the splits.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._handle = Handle(self.path)
        try:
            with self._handle.reading("its description"):
                root = self._handle.root
                self.info: Info = read_attributes(root, self.path)
                check_filters(root["values"], self.path)
                self.layout = Layout(self._handle.read("shapes"))
                self.splits: tuple[str, ...] = self._members("splits")
                self._check_structure()
            self._handle.check = self._check_same
        except BaseException:
            self.close()
            raise

    @property
    def _root(self) -> h5py.File:
        return self._handle.root

    def _check_structure(self) -> None:
        """What the datasets' shapes must be, given each other."""
        info, count = self.info, len(self.layout)
        expected: dict[str, tuple[tuple[int, ...], str | None]] = {
            "values": ((self.layout.positions, info.channels), info.dtype)
        }
        if info.target == "class":
            expected["targets"] = ((count,), info.target_dtype)
        elif info.target == "numbers":
            expected["targets"] = ((count, info.target_channels), info.target_dtype)
        elif info.target == "ragged":
            expected["targets"] = ((self.target_layout.positions, info.target_channels), info.target_dtype)
        for name, (shape, dtype) in expected.items():
            found = self._root[name]
            check_claim(found)
            if found.shape != shape or found.dtype.name != dtype:
                raise DataError(
                    f"{self.path}: /{name} must be {dtype} of shape {shape} to agree with the rest of the file. "
                    f"Received: {found.dtype} of shape {found.shape}"
                )

    def _check_same(self) -> None:
        """What has been read of the file must be true of it still, when it is opened again."""
        with self._handle.reading("its description"):
            root = self._handle.root
            same = read_attributes(root, self.path) == self.info and Layout(self._handle.read("shapes")) == self.layout
            if not same:
                raise DataError(f"{self.path} has changed since it was opened: open it anew")
            self._check_structure()

    def _members(self, group: str) -> tuple[str, ...]:
        """Names in a group, none if there is no such group; one that is there but damaged is an error."""
        # By the names listed: h5py's `in` and `get` take an object that can't be read for one that isn't there.
        return tuple(self._root[group].keys()) if group in list(self._root.keys()) else ()

    def split_numbers(self, name: str) -> Ints:
        with self._handle.reading(f"split {name!r}"):
            numbers = np.asarray(self._handle.read(f"splits/{name}"), dtype=np.int64)
        if numbers.ndim != 1 or (numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self)):
            raise DataError(f"{self.path}: split {name!r} must list sample numbers below {len(self)}")
        return numbers

    @cached_property
    def target_layout(self) -> Layout:
        """Shapes of the ragged targets."""
        with self._handle.reading("the targets' shapes"):
            return Layout(self._handle.read("target_shapes"))

    @cached_property
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (N,) int64, or numbers (N, K) float64; None where there are none or they are ragged."""
        if self.info.target not in ("class", "numbers"):
            return None
        with self._handle.reading("/targets"):
            targets = self._handle.read("targets")
        targets.flags.writeable = False
        return targets

    @cached_property
    def meta(self) -> dict[str, Any]:
        """By column (name, group, weight, file, spacing, affine, where given): one entry a sample."""
        with self._handle.reading("/meta"):
            columns = {key: self._handle.read(f"meta/{key}") for key in self._members("meta") if key in META}
        for key, column in columns.items():
            if len(column) != len(self):
                raise DataError(f"{self.path}: /meta/{key} must have {len(self)} entries. Received: {len(column)}")
            if column.dtype.kind == "S":
                columns[key] = np.array([decode(entry) for entry in column], dtype=object)
        return columns

    def read_stored(self, first: int, last: int, out: NDArray[Any]) -> None:
        self._read_run("values", self.layout, first, last, out)

    def read_runs(self, runs: Sequence[Run]) -> None:
        try:
            chunks = self._handle.chunks("values")
            if chunks is not None:
                runs = [run for run in runs if not chunks.read(int(self.layout.offsets[run[0]]), run[2])]
            if runs:
                with self._handle.lock:
                    rows = Cursor(self._handle.dataset("values"), np.dtype(self.info.dtype))
                    for first, _, out in runs:
                        rows.read(int(self.layout.offsets[first]), out)
        except DAMAGE:
            super().read_runs(runs)  # which names the sample

    def read_targets(self, first: int, last: int, out: NDArray[Any]) -> None:
        self._read_run("targets", self.target_layout, first, last, out)

    def _read_run(self, name: str, layout: Layout, first: int, last: int, out: NDArray[Any]) -> None:
        start, stop = int(layout.offsets[first]), int(layout.offsets[last + 1])
        try:
            chunks = self._handle.chunks(name)
            if chunks is None or not chunks.read(start, out):
                read_rows(self._handle.dataset(name), start, stop, out)
        except DAMAGE as error:
            raise self._damage(name, layout, first, last, error) from error

    def _damage(self, name: str, layout: Layout, first: int, last: int, error: Exception) -> DataError:
        """The error that names the first sample of a run that can't be read by itself."""
        for number in range(first, last + 1):
            try:
                for begin in range(int(layout.offsets[number]), int(layout.offsets[number + 1]), 4096):
                    self._handle.dataset(name)[begin : min(begin + 4096, int(layout.offsets[number + 1]))]
            except DAMAGE:
                return DataError(f"{self.path}: {self.who(number)} is damaged: its {name} can't be read ({error})")
        return DataError(f"{self.path}: samples {first} to {last}: their {name} can't be read ({error})")

    def close(self) -> None:
        """Close the file; reading from it again opens it again."""
        self._handle.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return File, (self.path,)

    def __repr__(self) -> str:
        return f"<convnd data file {str(self.path)!r}: {len(self)} samples, splits {', '.join(self.splits) or 'none'}>"


class Cursor:
    """Reads runs of rows of a dataset. What HDF5 has to be told takes longer to make than a few rows to read: it is
    made once."""

    def __init__(self, dataset: h5py.Dataset, dtype: np.dtype[Any]) -> None:
        self._dataset, self._columns, self._type = dataset.id, dataset.shape[1:], h5py.h5t.py_create(dtype)
        self._source, self._target = dataset.id.get_space(), h5py.h5s.create_simple((1, *self._columns))

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Rows from ``start`` on into ``out``, C-contiguous and of the cursor's dtype."""
        count = (len(out), *self._columns)
        self._source.select_hyperslab((start,) + (0,) * len(self._columns), count)
        self._target.set_extent_simple(count)
        self._dataset.read(self._target, self._source, out, self._type)


def read_rows(dataset: h5py.Dataset, start: int, stop: int, out: NDArray[Any]) -> None:
    """Rows start ... stop - 1 of a dataset (rows, columns) into ``out``, converted to its dtype."""
    if dataset.dtype == out.dtype and out.flags.c_contiguous and out.nbytes >= DIRECT_BYTES:
        Cursor(dataset, out.dtype).read(start, out)
        return
    step = max(1, READ_BYTES // max(1, dataset.dtype.itemsize * math.prod(dataset.shape[1:])))
    for begin in range(start, stop, step):
        end = min(begin + step, stop)
        out[begin - start : end - start] = dataset[begin:end]
