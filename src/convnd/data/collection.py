"""What a data file, several files as one and other people's files have in common: samples, read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..layout import Ints, Layout
from .convert import convert, factor
from .schema import Info

if TYPE_CHECKING:
    from .split import Split


# Neighbours: the first and the last of them, and the rows (P, C) that they are to fill.
Run = tuple[int, int, NDArray[Any]]


class Collection(ABC):
    """Samples with a description, shapes and splits. ``data["train"]`` is a split; samples are read when asked for.

    Attributes
    ----------
    path : Path
        Where the samples are; messages begin with it.
    info : Info
        What the samples are.
    layout : Layout
        Shapes of all samples.
    splits : tuple of str
        Names of the splits.
    """

    path: Path
    info: Info
    layout: Layout
    splits: tuple[str, ...]

    # What each kind of collection has to say

    @abstractmethod
    def read_stored(self, first: int, last: int, out: NDArray[Any]) -> None:
        """Samples first ... last (inclusive) into ``out`` (P, C) of the stored dtype, without their scale."""

    @abstractmethod
    def read_targets(self, first: int, last: int, out: NDArray[Any]) -> None:
        """Ragged targets of samples first ... last (inclusive) into ``out`` (P', K), converted to its dtype."""

    @abstractmethod
    def split_numbers(self, name: str) -> Ints:
        """The numbers of the samples in a split that there is."""

    @cached_property
    @abstractmethod
    def target_layout(self) -> Layout:
        """Shapes of the ragged targets."""

    @cached_property
    @abstractmethod
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (N,) int64, or numbers (N, K) float64; None where there are none or they are ragged."""

    @cached_property
    @abstractmethod
    def meta(self) -> dict[str, Any]:
        """By column (name, group, weight, file, spacing, affine, where given): one entry a sample."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open; reading again opens it again."""

    def files(self) -> list[Path]:
        """The files that hold the samples."""
        return [self.path]

    @property
    def identity(self) -> str:
        """What the samples' numbers count in: collections of one identity have the same samples."""
        return str(self.path.resolve())

    def identities(self) -> set[str]:
        """Those of all parts."""
        return {self.identity}

    def origins(self, numbers: Ints) -> list[tuple[str, int]]:
        """What samples really are, whichever collection they are taken from: an identity, and a number there."""
        return [(self.identity, int(number)) for number in numbers]

    # What follows from it

    @cached_property
    def factor(self) -> NDArray[Any] | None:
        """What stored values are multiplied by: see :func:`~convnd.data.convert.factor`."""
        made: NDArray[Any] | None = factor(self.info.dtype, self.info.scale)
        return made

    def read_runs(self, runs: Sequence[Run]) -> None:
        """Many times :meth:`read_stored`."""
        for first, last, out in runs:
            self.read_stored(first, last, out)

    def read_values(self, first: int, last: int, out: NDArray[Any]) -> None:
        """Samples first ... last (inclusive) into ``out`` (P, C), converted to its dtype, times the scale."""
        if self.factor is None and out.dtype == self.info.dtype:
            self.read_stored(first, last, out)
            return
        stored = np.empty(out.shape, dtype=self.info.dtype)
        self.read_stored(first, last, stored)
        convert(stored, out, self.factor)

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
        return Split(self, self.split_numbers(name), name)

    @property
    def samples(self) -> Split:
        """All samples, whatever their split."""
        from .split import Split

        return Split(self, np.arange(len(self), dtype=np.int64), "all")

    def who(self, number: int) -> str:
        """How messages name a sample."""
        try:
            return f"sample {number} ({self.meta['name'][number]!r})"
        except (DataError, KeyError):
            return f"sample {number}"

    def check(self) -> list[str]:
        """Read everything, and say what is wrong, a line a defect; an empty list is a sound file."""
        from .check import check

        return check(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
