"""Open a data file, refuse what is foreign or damaged, and read runs of samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import ConvndError, DataError
from ..layout import Layout
from .schema import META, Info, decode, read_attributes

if TYPE_CHECKING:
    from .split import Split

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Values are read and converted in parts of this size; it is what reading needs beside its result.
READ_BYTES = 1 << 20
CACHE_BYTES = 1 << 20
# What h5py raises for a file that isn't as it should be, whichever layer notices first.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def open(path: str | os.PathLike[str]) -> File:
    """Open a data file for reading.

    Raises
    ------
    DataError
        No such file; not HDF5; HDF5 but not convnd's; of a newer schema; truncated or damaged.

    Examples
    --------
    >>> from convnd.data import japanese_vowels
    >>> with open(japanese_vowels()) as file:
    ...     print(file.splits, len(file["train"]), file.info.channels)
    ('test', 'train') 270 12
    """
    return File(path)


class File:
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
        self._handle: tuple[int, h5py.File, dict[str, h5py.Dataset]] | None = None
        _check_signature(self.path)
        try:
            with self._reading("its description"):
                self.info: Info = read_attributes(self._root, self.path)
                self.layout = Layout(self._root["shapes"][()])
                self.splits: tuple[str, ...] = self._members("splits")
                self._check_structure()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> tuple[int, h5py.File, dict[str, h5py.Dataset]]:
        """The open file: one handle a process, since a forked child must not share its parent's."""
        handle = self._handle
        if handle is None or handle[0] != os.getpid():
            # Small chunk cache: shuffled reads don't come back soon, and memory is the batches' to use.
            root = h5py.File(self.path, "r", locking="best-effort", rdcc_nbytes=CACHE_BYTES)
            handle = self._handle = (os.getpid(), root, {})
        return handle

    @property
    def _root(self) -> h5py.File:
        return self._opened()[1]

    def _dataset(self, name: str) -> h5py.Dataset:
        """A dataset that stays open between reads: its chunk cache lives as long as it does."""
        _, root, datasets = self._opened()
        if name not in datasets:
            datasets[name] = root[name]
        return datasets[name]

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except ConvndError:
            raise
        except DAMAGE as error:
            raise DataError(f"{self.path}: {what} can't be read: the file is truncated or damaged ({error})") from error

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
            if found.shape != shape or found.dtype.name != dtype:
                raise DataError(
                    f"{self.path}: /{name} must be {dtype} of shape {shape} to agree with the rest of the file. "
                    f"Received: {found.dtype} of shape {found.shape}"
                )

    def _members(self, group: str) -> tuple[str, ...]:
        """Names in a group, none if there is no such group; one that is there but damaged is an error."""
        # By the names listed: h5py's `in` and `get` take an object that can't be read for one that isn't there.
        return tuple(self._root[group].keys()) if group in list(self._root.keys()) else ()

    def __len__(self) -> int:
        return len(self.layout)

    def __contains__(self, split: object) -> bool:
        return split in self.splits

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __getitem__(self, name: str) -> Split:
        """The split of that name."""
        from .split import Split

        if name not in self.splits:
            raise DataError(f"{self.path} has no split {name!r}. It has: {', '.join(self.splits) or 'none'}")
        with self._reading(f"split {name!r}"):
            numbers = np.asarray(self._root[f"splits/{name}"][()], dtype=np.int64)
        if numbers.ndim != 1 or (numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self)):
            raise DataError(f"{self.path}: split {name!r} must list sample numbers below {len(self)}")
        return Split(self, numbers, name)

    @property
    def samples(self) -> Split:
        """All samples, whatever their split."""
        from .split import Split

        return Split(self, np.arange(len(self), dtype=np.int64), "all")

    @cached_property
    def target_layout(self) -> Layout:
        """Shapes of the ragged targets."""
        with self._reading("the targets' shapes"):
            return Layout(self._root["target_shapes"][()])

    @cached_property
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (N,) int64, or numbers (N, K) float64; None where there are none or they are ragged."""
        if self.info.target not in ("class", "numbers"):
            return None
        with self._reading("/targets"):
            targets: NDArray[Any] = self._root["targets"][()]
        targets.flags.writeable = False
        return targets

    @cached_property
    def meta(self) -> dict[str, Any]:
        """By column (name, group, weight, file, spacing, where given): one entry a sample."""
        with self._reading("/meta"):
            columns = {key: self._root["meta"][key][()] for key in self._members("meta") if key in META}
        for key, column in columns.items():
            if len(column) != len(self):
                raise DataError(f"{self.path}: /meta/{key} must have {len(self)} entries. Received: {len(column)}")
            if column.dtype.kind == "S":
                columns[key] = np.array([decode(entry) for entry in column], dtype=object)
        return columns

    def who(self, number: int) -> str:
        """How messages name a sample."""
        try:
            return f"sample {number} ({self.meta['name'][number]!r})"
        except (DataError, KeyError):
            return f"sample {number}"

    def read_values(self, first: int, last: int, out: NDArray[Any]) -> None:
        """Samples first ... last (inclusive) into ``out`` (P, C), converted to its dtype, times the scale."""
        self._read_run("values", self.layout, first, last, out, self.info.scale)

    def read_raw(self, number: int, out: NDArray[Any]) -> None:
        """One sample as stored, without its scale."""
        self._read_run("values", self.layout, number, number, out, None)

    def read_targets(self, first: int, last: int, out: NDArray[Any]) -> None:
        """Ragged targets of samples first ... last (inclusive) into ``out`` (P', K), converted to its dtype."""
        self._read_run("targets", self.target_layout, first, last, out, None)

    def _read_run(self, name: str, layout: Layout, first: int, last: int, out: NDArray[Any], scale: Any) -> None:
        start, stop = int(layout.offsets[first]), int(layout.offsets[last + 1])
        try:
            dataset = self._dataset(name)
            rows = max(1, READ_BYTES // max(1, dataset.dtype.itemsize * dataset.shape[1]))
            for begin in range(start, stop, rows):
                end = min(begin + rows, stop)
                _convert(dataset[begin:end], out[begin - start : end - start], scale)
        except DAMAGE as error:
            raise self._damage(name, layout, first, last, error) from error

    def _damage(self, name: str, layout: Layout, first: int, last: int, error: Exception) -> DataError:
        """The error that names the first sample of a run that can't be read by itself."""
        for number in range(first, last + 1):
            try:
                for begin in range(int(layout.offsets[number]), int(layout.offsets[number + 1]), 4096):
                    self._dataset(name)[begin : min(begin + 4096, int(layout.offsets[number + 1]))]
            except DAMAGE:
                return DataError(f"{self.path}: {self.who(number)} is damaged: its {name} can't be read ({error})")
        return DataError(f"{self.path}: samples {first} to {last}: their {name} can't be read ({error})")

    def check(self) -> list[str]:
        """Read everything, and say what is wrong, a line a defect; an empty list is a sound file."""
        from .check import check

        return check(self)

    def close(self) -> None:
        """Close the file; reading from it again opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None and handle[0] == os.getpid():
            handle[1].close()

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return File, (self.path,)

    def __repr__(self) -> str:
        return f"<convnd data file {str(self.path)!r}: {len(self)} samples, splits {', '.join(self.splits) or 'none'}>"


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    if start != SIGNATURE:
        raise DataError(f"{path} isn't an HDF5 file (it begins with {start!r})")


def _convert(raw: NDArray[Any], out: NDArray[Any], scale: Any) -> None:
    """Stored numbers into ``out``, times the scale; with a scale computed in float64 and rounded once."""
    if scale is None:
        out[...] = raw
    else:
        np.multiply(raw, np.asarray(scale, dtype=np.float64), out=out, casting="unsafe")
