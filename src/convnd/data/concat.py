"""Several collections as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from ..layout import Ints, Layout
from .collection import Collection, Run
from .schema import Info

# What must agree, so that a sample means the same whichever file it is from. Source and licence may differ.
ALIKE = (
    "ndim", "channels", "dtype", "scale", "target", "target_dtype", "target_channels", "target_ndim", "classes",
    "ignore", "axes", "channel_names", "recipe",
)  # fmt: skip


def concat(parts: Iterable[Collection]) -> Concat:
    """Several collections as one, one after the other: each split is that of all of them.

    A sample's number counts through all parts. Names that occur in several parts get the file's name before them. A
    group (a speaker, a patient) of one name is one group, whichever files its samples are in.

    Raises
    ------
    DataError
        Parts that differ in what samples are (the message names both and the difference), or share samples.

    Examples
    --------
    >>> from convnd.data import japanese_vowels, open
    >>> import shutil, tempfile, pathlib
    >>> copy = shutil.copy(japanese_vowels(), pathlib.Path(tempfile.mkdtemp(), "more.h5"))
    >>> with concat([open(japanese_vowels()), open(copy)]) as data:
    ...     len(data["train"]), data["train"].names[270]
    (540, 'more.h5:...')
    """
    return Concat(list(parts))


class Concat(Collection):
    """Several collections as one. Made by :func:`concat`, or by ``open`` with a list of paths.

    Attributes
    ----------
    parts : list of Collection
    """

    def __init__(self, parts: list[Collection]) -> None:
        if not parts:
            raise ArgumentError("several files as one need at least one. Received: none")
        for part in parts:
            if not isinstance(part, Collection):
                raise ArgumentError(f"the parts must be open data files. Received: {part!r}")
        _check_alike(parts)
        self.parts = parts
        more = f" + {len(parts) - 1} more" if len(parts) > 1 else ""
        self.path = Path(f"{parts[0].path}{more}")
        self.info: Info = replace(parts[0].info, source=_joined(parts, "source"), licence=_joined(parts, "licence"))
        self.layout = Layout(np.concatenate([part.layout.shapes for part in parts]))
        self.splits = tuple(sorted({name for part in parts for name in part.splits}))
        self.starts: Ints = np.cumsum([0, *(len(part) for part in parts)])

    @cached_property
    def target_layout(self) -> Layout:
        """Shapes of the ragged targets."""
        return Layout(np.concatenate([part.target_layout.shapes for part in self.parts]))

    @cached_property
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (N,) int64, or numbers (N, K) float64; None where there are none or they are ragged."""
        targets = [part.targets for part in self.parts if part.targets is not None]
        return np.concatenate(targets) if targets else None

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The columns that all parts have; a weight is 1 in a part that has none."""
        columns: dict[str, Any] = {}
        metas = [part.meta for part in self.parts]
        for key in dict.fromkeys(key for meta in metas for key in meta):
            found: list[Any] = [
                np.ones(len(part)) if key == "weight" and key not in meta else meta.get(key)
                for part, meta in zip(self.parts, metas, strict=True)
            ]
            if all(column is not None for column in found):
                columns[key] = np.concatenate(found)
        if "name" in columns and len(set(columns["name"])) < len(self):
            columns["name"] = self._full_names(columns["name"])
        return columns

    def _full_names(self, names: NDArray[Any]) -> NDArray[Any]:
        """Names with their file's before them."""
        files = [part.path.name for part in self.parts]
        if len(set(files)) < len(files):
            files = [str(part.path) for part in self.parts]
        which = np.repeat(np.arange(len(self.parts)), np.diff(self.starts))
        return np.array([f"{files[part]}:{name}" for part, name in zip(which, names, strict=True)], dtype=object)

    def split_numbers(self, name: str) -> Ints:
        return np.concatenate([
            part.split_numbers(name) + start
            for part, start in zip(self.parts, self.starts[:-1], strict=True) if name in part
        ])  # fmt: skip

    def who(self, number: int) -> str:
        part, own = self._place(number)
        return f"{super().who(number)[:-1]}, number {own} of {part.path})"

    def files(self) -> list[Path]:
        return list(dict.fromkeys(path for part in self.parts for path in part.files()))

    def identities(self) -> set[str]:
        return {identity for part in self.parts for identity in part.identities()}

    def origins(self, numbers: Ints) -> list[tuple[str, int]]:
        return [origin for number in numbers for part, own in [self._place(number)]
                for origin in part.origins(np.array([own]))]  # fmt: skip

    def _place(self, number: int) -> tuple[Collection, int]:
        """The part that a sample is in, and its number there."""
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.parts[place], int(number - self.starts[place])

    def read_stored(self, first: int, last: int, out: NDArray[Any]) -> None:
        for part, begin, end, rows in self._pieces(self.layout, first, last):
            part.read_stored(begin, end, out[rows])

    def read_runs(self, runs: Sequence[Run]) -> None:
        by_part: dict[int, tuple[Collection, list[Run]]] = {}
        for first, last, out in runs:
            for part, begin, end, rows in self._pieces(self.layout, first, last):
                by_part.setdefault(id(part), (part, []))[1].append((begin, end, out[rows]))
        for part, theirs in by_part.values():
            part.read_runs(theirs)

    def read_targets(self, first: int, last: int, out: NDArray[Any]) -> None:
        for part, begin, end, rows in self._pieces(self.target_layout, first, last):
            part.read_targets(begin, end, out[rows])

    def _pieces(self, layout: Layout, first: int, last: int) -> Iterator[tuple[Collection, int, int, slice]]:
        """Samples first ... last part by part: first and last there, and their rows in the result."""
        start = int(layout.offsets[first])
        while first <= last:
            part, begin = self._place(first)
            count = min(last - first + 1, len(part) - begin)
            end = first + count
            rows = slice(int(layout.offsets[first]) - start, int(layout.offsets[end]) - start)
            yield part, begin, begin + count - 1, rows
            first = end

    def close(self) -> None:
        """Close all parts."""
        for part in self.parts:
            part.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Concat, (self.parts,)

    def __repr__(self) -> str:
        return f"<{len(self.parts)} collections as one: {len(self)} samples, splits {', '.join(self.splits) or 'none'}>"


def _check_alike(parts: list[Collection]) -> None:
    first = parts[0]
    seen: set[str] = set()
    for part in parts:
        for key in ALIKE:
            ours, theirs = getattr(first.info, key), getattr(part.info, key)
            if ours != theirs:
                raise DataError(
                    f"{part.path} can't be joined to {first.path}: its {key} is {theirs!r}, there it is {ours!r}"
                )
        shared = seen & part.identities()
        if shared:
            raise DataError(f"{min(shared)} is given twice: its samples would be there twice")
        seen |= part.identities()


def _joined(parts: list[Collection], key: str) -> str | None:
    texts = dict.fromkeys(text for part in parts if (text := getattr(part.info, key)) is not None)
    return "; ".join(texts) or None
