"""Label tracks: a class for every position along the time of a recording or a series."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .arrays import load_array
from .kind import check_claim

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".txt")
Track = NDArray[np.int64]


def read_track(
    path: Path, recipe: Mapping[str, Any], times: NDArray[np.float64] | None, lengths: Sequence[int]
) -> Track:
    """Class numbers along time.

    ``.npy``, or a table of one column: as many class numbers as one of ``lengths`` says. A table of the columns
    start, end, label (as names in its first line, or three columns without, as Audacity writes them): a class where
    start <= time < end, of several the last line's; 0 elsewhere. Its label is a class number or one of
    ``recipe["classes"]``.

    Parameters
    ----------
    times : float64 (positions,), optional
        When each position is, in the unit of start and end; None where positions have no times.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        array = load_array(path, recipe)
        if array.dtype.kind not in "biu":
            raise DataError(f"class numbers must be whole. Received: {array.dtype}")
        track = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
        if track.ndim != 1:
            raise DataError(f"a label track has one axis. Received: shape {array.shape}")
        return _check_length(track.astype(np.int64), lengths)
    # A table is read at once: as text it takes about ten times its size.
    check_claim((path.stat().st_size,), 10, recipe)
    rows, names = _rows(path)
    width = len(rows[0][1])
    if width == 1:
        return _check_length(np.array([_whole(row[0], number) for number, row in rows], dtype=np.int64), lengths)
    if names is None and width == 3:
        names = ["start", "end", "label"]
    if names is None or not {"start", "end", "label"} <= set(names):
        raise DataError("a label track has one column, or the columns start, end, label")
    if times is None:
        raise DataError("start and end are seconds, and the positions of this sample have no times")
    return _from_intervals(rows, names, times, recipe.get("classes"))


def _check_length(track: Track, lengths: Sequence[int]) -> Track:
    if len(track) not in lengths or not len(track):
        wanted = " or ".join(str(length) for length in dict.fromkeys(lengths))
        raise DataError(f"it must hold {wanted} class numbers, as the sample has positions. Received: {len(track)}")
    return track


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], list[str] | None]:
    """The rows of a table with their line numbers, and the names in its first line if it has some."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = next((mark for mark in "\t;," if mark in first), ",")
        reader = csv.reader(file, delimiter=delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    names = None
    if rows and not _is_number(rows[0][1][0]):
        names = [name.lower() for name in rows.pop(0)[1]]
    if not rows:
        raise DataError("it has no rows")
    for number, row in rows:
        if len(row) != len(names or rows[0][1]):
            raise DataError(f"line {number} has {len(row)} columns, the first has {len(names or rows[0][1])}")
    return rows, names


def _from_intervals(
    rows: Sequence[tuple[int, list[str]]], names: list[str], times: NDArray[np.float64], classes: Sequence[str] | None
) -> Track:
    start, end, label = (names.index(name) for name in ("start", "end", "label"))
    track = np.zeros(len(times), dtype=np.int64)
    for number, row in rows:
        if not (_is_number(row[start]) and _is_number(row[end]) and float(row[start]) <= float(row[end])):
            raise DataError(f"line {number}: start and end must be seconds, the end not before the start")
        here = slice(*np.searchsorted(times, (float(row[start]), float(row[end]))))
        track[here] = _class_number(row[label], number, classes)
    return track


def _class_number(text: str, line: int, classes: Sequence[str] | None) -> int:
    if classes is not None and text in classes:
        return list(classes).index(text)
    if classes is not None and not text.isdigit():
        raise DataError(f"line {line}: {text!r} is none of the classes {', '.join(classes)}")
    return _whole(text, line)


def _whole(text: str, line: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"line {line}: a class number must be whole; names need classes=. Received: {text!r}"
        ) from None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
