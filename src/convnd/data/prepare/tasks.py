"""What workers do: look at headers, load samples. Whatever a file does to them becomes that file's fault, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sources import MissingPackage
from .items import Item
from .kind import Fault, Kind, Loaded, Look, by_value

# Libraries that read foreign files say of these what was wrong with the file; of others, the name says as much as the
# text.
PLAIN = (OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Sample:
    """A sample to be: its file, what is known of it, and its place and key in a file that holds many."""

    file: Item
    item: Item
    place: int = 0
    key: str | None = None


@dataclass(frozen=True)
class HeaderJob:
    """Headers to look at."""

    kind: Kind
    files: tuple[tuple[str, Path], ...]
    options: Mapping[str, Any]

    def __str__(self) -> str:
        return _among([name for name, _ in self.files])


@dataclass(frozen=True)
class Wanted:
    """A file to load: which of its samples (by their place in it), and its labels per position."""

    name: str
    path: Path
    labels: Path | None
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class LoadJob:
    """Files to load."""

    kind: Kind
    files: tuple[Wanted, ...]
    recipe: Mapping[str, Any]
    label_values: tuple[int, ...] | None

    def __str__(self) -> str:
        return _among([file.name for file in self.files])


@dataclass(frozen=True)
class Ready:
    """A sample on its way to the writer."""

    values: NDArray[Any]
    spacing: Sequence[float] | None
    affine: NDArray[np.float64] | None
    target: NDArray[Any] | None

    @property
    def nbytes(self) -> int:
        """What it takes in a pipe, nearly."""
        return self.values.nbytes + (0 if self.target is None else self.target.nbytes)


def look_job(job: HeaderJob) -> Iterator[Look | Fault]:
    """The header of every file, or what is wrong with it."""
    for _, path in job.files:
        try:
            yield job.kind.look(path, job.options)
        except MissingPackage:
            raise
        except Exception as error:
            yield Fault(reason(error))


def load_job(job: LoadJob) -> Iterator[Ready | Fault]:
    """The wanted samples of every file, one result for each."""
    for file in job.files:
        yield from _load_file(job, file)


def survey_job(job: LoadJob) -> Iterator[Any]:
    """What every file says of its wanted samples together; nothing of one that can't be read."""
    assert job.kind.survey is not None
    for file in job.files:
        try:
            found = job.kind.survey(file.path, file.numbers, job.recipe)
        except MissingPackage:
            raise
        except Exception:  # Its loading reports it.
            continue
        yield found


def _load_file(job: LoadJob, file: Wanted) -> Iterator[Ready | Fault]:
    """Exactly one result for each wanted sample, whatever happens on the way."""
    wanted = list(file.numbers)
    fault = Fault("the file doesn't hold as many samples as it did when its header was read")
    try:
        for number, loaded in enumerate(job.kind.load(file.path, job.recipe)):
            if wanted and number == wanted[0]:
                result = loaded if isinstance(loaded, Fault) else _ready(job, file, loaded)
                del wanted[0]
                yield result
            if not wanted:
                break
    except MissingPackage:
        raise
    except Exception as error:
        fault = Fault(reason(error))
    yield from [fault] * len(wanted)


def _ready(job: LoadJob, file: Wanted, loaded: Loaded) -> Ready | Fault:
    target = None
    if file.labels is not None and job.kind.load_labels is not None:
        try:
            target = by_value(job.kind.load_labels(file.labels, job.recipe, loaded), job.label_values)
        except MissingPackage:
            raise
        except Exception as error:
            return Fault(f"its file of labels, {file.labels.name}: {reason(error)}")
    return Ready(np.ascontiguousarray(loaded.values), loaded.spacing, loaded.affine, target)


def reason(error: Exception) -> str:
    """What was wrong, in words for people, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    if isinstance(error, MemoryError):
        return f"there isn't enough memory for it. {text}".strip()
    return text if text and isinstance(error, PLAIN) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _among(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]}, or one of the {len(names) - 1} files after it"
