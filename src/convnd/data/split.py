"""A split: some of the samples of a file, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, DataError
from ..layout import Ints, Layout, Ragged, sample_numbers
from .augment import Augmentation
from .batch import Batch, read_batch
from .batches import Batches
from .collection import Collection
from .divide import choose_groups, choose_samples
from .schema import Info


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample.

    Attributes
    ----------
    values : float32 array (*S, C)
        Stored values times the file's scale: what a batch holds.
    target : int, float32 array (K,), array (*S', K) or None
        Ragged targets are int64 if they are labels, else float32.
    number : int
        Its number in the file.
    meta : dict
        Name, group, weight, file, spacing, affine, where the file has them.
    """

    values: NDArray[np.float32]
    target: Any
    number: int
    meta: dict[str, Any]


class Split:
    """Some samples of a file: ``split[i]`` reads one, ``split.batches(...)`` streams them all.

    Attributes
    ----------
    file : Collection
        The data file it is a part of.
    numbers : int64 array (n,)
        The samples' numbers in the file.
    name : str
    """

    def __init__(self, file: Collection, numbers: Ints, name: str) -> None:
        self.file = file
        self.numbers = np.array(numbers, dtype=np.int64)
        self.numbers.flags.writeable = False
        self.name = name

    @property
    def info(self) -> Info:
        """What the file says about itself."""
        return self.file.info

    @cached_property
    def layout(self) -> Layout:
        """Shapes of this split's samples."""
        return self.file.layout.take(self.numbers)

    @property
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (n,) int64, or numbers (n, K) float64; None where there are none or they are ragged."""
        return None if self.file.targets is None else self.file.targets[self.numbers]

    @property
    def names(self) -> list[str]:
        """The samples' names; their numbers in a file without names."""
        names = self._column("name")
        return [str(number) for number in self.numbers] if names is None else list(names)

    @property
    def groups(self) -> NDArray[Any] | None:
        """The samples' groups, texts (n,); None where the file has none."""
        return self._column("group")

    @property
    def weights(self) -> NDArray[Any] | None:
        """The samples' weights, float64 (n,); None where the file has none (all count 1)."""
        return self._column("weight")

    def _column(self, key: str) -> NDArray[Any] | None:
        column = self.file.meta.get(key)
        return None if column is None else column[self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; from the end with a negative index."""
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise ArgumentError(f"one sample is chosen by an int; subset() chooses several. Received: {index!r}")
        number = int(self.numbers[sample_numbers(int(index), len(self))[0]])
        batch = self.read(np.array([number], dtype=np.int64))
        target: Any = batch.targets
        if isinstance(target, Ragged):
            target = target.unpack()[0]
        elif target is not None:
            target = int(target[0]) if self.info.target == "class" else target[0]
        meta = {key: column[number] for key, column in self.file.meta.items()}
        return Sample(batch.x.unpack()[0], target, number, meta)

    def __iter__(self) -> Iterator[Sample]:
        for index in range(len(self)):
            yield self[index]

    def subset(self, samples: ArrayLike | slice) -> Split:
        """The chosen samples of this split (ints counted within it, a slice or a mask), in the order given."""
        return Split(self.file, self.numbers[sample_numbers(samples, len(self))], self.name)

    def divide(
        self, fraction: float, seed: int = 0, by_group: bool = False, stratify: bool = True
    ) -> tuple[Split, Split]:
        """Divide at random into (rest, part), the same for the same seed.

        Parameters
        ----------
        fraction : float
            Share of the samples that go into the part, between 0 and 1.
        by_group : bool
            Never tear a group (a speaker, a patient) apart. The share is then met as nearly as the groups allow.
        stratify : bool
            Keep the share the same in every class, where targets are class numbers.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
            raise ArgumentError(f"fraction must lie between 0 and 1. Received: fraction={fraction!r}")
        strata = np.zeros(len(self), dtype=np.int64)
        if stratify and self.info.target == "class" and self.targets is not None:
            strata = self.targets
        if by_group:
            if self.groups is None:
                raise DataError(f"{self.file.path} has no groups, so by_group=True can't divide by them")
            chosen = choose_groups(strata, self.groups, float(fraction), seed)
        else:
            chosen = choose_samples(strata, float(fraction), seed)
        if chosen.all() or not chosen.any():
            raise DataError(
                f"{fraction} of the {len(self)} samples of split {self.name!r} leaves one of the two parts empty"
            )
        return self.subset(np.flatnonzero(~chosen)), self.subset(np.flatnonzero(chosen))

    def batches(
        self,
        positions: int | None = None,
        samples: int | None = None,
        *,
        seed: int | None = None,
        epoch: int = 0,
        shuffle: bool | str = True,
        oversize: str = "error",
        start: int = 0,
        prefetch: int = 2,
        sizes: str = "mixed",
        augment: Augmentation | str | Sequence[Augmentation | str] | None = None,
        workers: int | None = None,
    ) -> Batches:
        """Stream the split in batches: see :class:`~convnd.data.batches.Batches`."""
        return Batches(
            self,
            positions,
            samples,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
            oversize=oversize,
            start=start,
            prefetch=prefetch,
            sizes=sizes,
            augment=augment,
            workers=workers,
        )

    def read(self, numbers: Ints) -> Batch:
        """The batch of the samples of these numbers in the file, in this order."""
        return read_batch(self.file, numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        return Split, (self.file, self.numbers, self.name)

    def __repr__(self) -> str:
        return f"<split {self.name!r} of {str(self.file.path)!r}: {len(self)} samples>"
