"""Arrays of different sizes as others store them: a group of datasets, a dataset of variable length, .npy files."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .filters import check_filters
from .handle import Handle, check_claim
from .vlen import Entries, vlen_dtype

LARGEST = 4 << 30  # bytes of one array in a .npy file


class Arrays(ABC):
    """Arrays whose names, shapes and dtype are known before they are read.

    Attributes
    ----------
    where : str
        What messages call them all together.
    names : list of str
    shapes : list of tuple of int
    dtype : NumPy dtype
    """

    where: str
    names: list[str]
    shapes: list[tuple[int, ...]]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, number: int) -> NDArray[Any]:
        """One array."""

    def __len__(self) -> int:
        return len(self.names)

    def who(self, number: int) -> str:
        """How messages name one."""
        return f"{self.where}: {self.names[number]}"

    def _note(self, number: int, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        """Keep an array's shape, and that its dtype is that of all."""
        if not number:
            self.dtype = dtype
        if dtype.kind not in "biuf":
            raise DataError(f"{self.who(number)}: must hold numbers. Received: {dtype}")
        if dtype != self.dtype:
            raise DataError(f"{self.who(number)}: must be {self.dtype}, as {self.names[0]} is. Received: {dtype}")
        self.shapes.append(tuple(int(size) for size in shape))


class GroupArrays(Arrays):
    """The datasets of an HDF5 group, by name: as numbers where all names are numbers, else in the group's order."""

    def __init__(self, handle: Handle, group: str, names: Sequence[str] | None = None) -> None:
        self.handle, self.group = handle, group
        self.where = f"{handle.path}: /{group}"
        with handle.reading(f"the group {group!r}"):
            members = list(handle.root[group].keys())
        numeric = all(re.fullmatch(r"\d+", name) for name in members)
        self.names = list(names) if names is not None else sorted(members, key=int) if numeric else members
        missing = sorted(set(self.names) - set(members))
        if missing:
            raise DataError(f"{self.where} must hold {missing[0]}, as the values do")
        self.shapes = []
        for number, name in enumerate(self.names):
            with handle.reading(f"/{group}/{name}"):
                found = handle.root[f"{group}/{name}"]
                if not isinstance(found, h5py.Dataset):
                    raise DataError(f"{self.who(number)} is a group, and each sample must be a dataset")
                check_filters(found, handle.path)
                check_claim(found)
                self._note(number, found.shape, found.dtype)

    def read(self, number: int) -> NDArray[Any]:
        array: NDArray[Any] = np.asarray(self.handle.root[f"{self.group}/{self.names[number]}"][()])
        return array

    def attribute(self, key: str) -> list[Any]:
        """An attribute that every dataset has."""
        found = []
        for number, name in enumerate(self.names):
            with self.handle.reading(f"/{self.group}/{name}"):
                attributes = self.handle.root[f"{self.group}/{name}"].attrs
                if key not in attributes:
                    raise DataError(f"{self.who(number)} has no attribute {key!r}, which is to be its label")
                found.append(attributes[key])
        return found


class VlenArrays(Arrays):
    """The entries of an HDF5 dataset of variable length. Each is flat; ``shapes`` may say what it was."""

    def __init__(self, handle: Handle, name: str, shapes: NDArray[Any] | None = None) -> None:
        self.where = f"{handle.path}: /{name}"
        with handle.reading(f"/{name}"):
            dataset = handle.dataset(name)
            base = vlen_dtype(dataset)
            if base is None or dataset.ndim != 1 or base.kind == "S":
                raise DataError(
                    f"{self.where} must be a group of datasets, or a dataset (samples,) of variable length. Received: "
                    f"{dataset.dtype} of shape {dataset.shape}"
                )
            self.entries = Entries(handle, name)
        counts = self.entries.counts.reshape(-1, 1) if shapes is None else shapes
        self.names = [str(number) for number in range(len(self.entries))]
        if len(counts) != len(self.names):
            raise DataError(f"{self.where}: shapes must have {len(self.names)} rows. Received: {len(counts)}")
        self.dtype = base
        self.shapes = [tuple(shape) for shape in counts.tolist()]

    def read(self, number: int) -> NDArray[Any]:
        entry = self.entries.read(number)
        if len(entry) != math.prod(self.shapes[number]):
            raise DataError(f"{self.who(number)}: {len(entry)} numbers don't make the shape {self.shapes[number]}")
        return entry.reshape(self.shapes[number])


class NpyArrays(Arrays):
    """Files of NumPy's format."""

    def __init__(self, root: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
        from .prepare.arrays import array_header

        self.where, self.paths, self.names = str(root), list(paths), list(names)
        self.shapes = []
        for number, path in enumerate(self.paths):
            try:
                shape, dtype = array_header(path, {"largest": LARGEST})
            except (DataError, OSError) as error:
                raise DataError(f"{self.who(number)}: {error}") from error
            self._note(number, shape, dtype.newbyteorder("="))

    def read(self, number: int) -> NDArray[Any]:
        from .prepare.arrays import load_array

        return load_array(self.paths[number], {"largest": LARGEST})
