"""Samples by their name: an operation knows a sample by its place in the batch, its user by its number in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ..data import Batch, Split
from ..errors import ConvndError, DataError, ShapeError
from ..layout import Layout, Ragged

_SAMPLE = re.compile(r"\bsample (\d+)\b")


@contextmanager
def renamed(name: Callable[[int], str], count: int, where: str = "") -> Iterator[None]:
    """Errors raised inside name the samples 0 ... count - 1 of a batch by ``name``, and begin with ``where``."""

    def other(found: re.Match[str]) -> str:
        number = int(found[1])
        return name(number) if number < count else found[0]

    try:
        yield
    except (ShapeError, DataError) as error:
        raise type(error)(where + _SAMPLE.sub(other, str(error))) from error


@contextmanager
def in_file(split: Split, batch: Batch) -> Iterator[None]:
    """Errors raised inside name the samples of a batch as their file does."""
    file = split.file
    with renamed(lambda place: file.who(int(batch.numbers[place])), len(batch), f"{file.path}: "):
        yield


def not_finite(split: Split, batch: Batch) -> ConvndError | None:
    """An error that names the first sample of a batch that holds NaN or infinity, among its values or its targets."""
    given = [("values", batch.x)]
    if isinstance(batch.targets, Ragged):
        given.append(("targets", batch.targets))
    elif batch.targets is not None:
        given.append(("targets", Ragged(batch.targets.reshape(len(batch), -1), Layout.dense(len(batch), ()))))
    for what, ragged in given:
        bad = np.flatnonzero(~np.isfinite(ragged.values).all(axis=1))
        if len(bad):
            place = int(np.searchsorted(ragged.layout.offsets, bad[0], side="right")) - 1
            who = split.file.who(int(batch.numbers[place]))
            return DataError(f"{split.file.path}: {who} holds {what} that are not finite ('convnd check' lists all)")
    return None
