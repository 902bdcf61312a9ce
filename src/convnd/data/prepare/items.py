"""The samples to be: where they are, and what is known of them before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...errors import DataError


@dataclass(frozen=True)
class Item:
    """A sample to be.

    Attributes
    ----------
    name : str
        Unlike all others: the file's name below the source folder, with ``/``.
    path : Path
        The file (or folder, of kinds whose samples are folders).
    label, split, weight, group
        What is known of it; None where nothing says.
    labels : Path, optional
        The file of labels per position beside it.
    """

    name: str
    path: Path
    label: str | None = None
    split: str | None = None
    weight: float | None = None
    group: str | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Failure:
    """A file that didn't become a sample, and why."""

    path: str
    reason: str


@dataclass
class Report:
    """What a preparation did: the file made, the number of samples in it, and the files that failed."""

    path: Path
    samples: int = 0
    failed: list[Failure] = field(default_factory=list)
    strict: bool = False

    def fail(self, name: str, reason: str) -> None:
        """Note a failure; with ``strict`` it is an error at once."""
        if self.strict:
            raise DataError(f"{name}: {reason}")
        self.failed.append(Failure(name, reason))


def ending_of(name: str, suffixes: Sequence[str]) -> str | None:
    """The longest of the suffixes that a file's name ends in, None if none; ``""`` is that of names without a dot."""
    low = PurePosixPath(name).name.lower()
    for suffix in sorted(suffixes, key=len, reverse=True):
        if (suffix and low.endswith(suffix)) or (not suffix and "." not in low):
            return suffix
    return None


def stem_of(name: str, suffixes: Sequence[str]) -> str:
    """A name without that ending."""
    return name[: len(name) - len(ending_of(name, suffixes) or "")]
