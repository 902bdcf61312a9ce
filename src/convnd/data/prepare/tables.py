"""Tables of numbers: a row a time, a column a channel."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt")
Rows = Iterator[tuple[int, list[str]]]


def table_header(path: Path) -> tuple[int, list[str] | None]:
    """Columns of a table, and their names if its first line has some, from its first lines alone."""
    with _rows(path) as rows:
        first = list(islice(rows, 2))
    names = _names(first)
    numbers = first[1:] if first and not _are_numbers(first[0][1]) else first
    if not numbers:
        raise DataError("the table has no rows of numbers")
    return len(numbers[0][1]), names if names is not None and len(names) == len(numbers[0][1]) else None


def read_table(path: Path) -> tuple[NDArray[np.float32], list[str] | None]:
    """The numbers (rows, columns), an empty cell as NaN, and the columns' names where they are all there and differ."""
    values, width = array("f"), 0
    with _rows(path) as rows:
        first = list(islice(rows, 1))
        names = _names(first)
        titled = bool(first) and not _are_numbers(first[0][1])
        for number, row in rows if titled else chain(first, rows):
            width = width or len(row)
            if len(row) != width:
                raise DataError(f"line {number} has {len(row)} columns, the lines above have {width}")
            try:
                values.extend(float(cell) if cell.strip() else math.nan for cell in row)
            except ValueError as error:
                raise DataError(f"line {number}: {error}") from None
    if not values:
        raise DataError("the table has no rows of numbers")
    table = np.frombuffer(values, dtype=np.float32).reshape(-1, width)
    return table, names if names is not None and len(names) == width else None


@contextmanager
def _rows(path: Path) -> Iterator[Rows]:
    """Rows with their line numbers, separated by tab, semicolon or comma, whichever the first line has."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = next((mark for mark in "\t;," if mark in first), ",")
            reader: Any = csv.reader(file, delimiter=delimiter)
            try:
                yield ((reader.line_num, row) for row in reader if row)
            except csv.Error as error:
                raise DataError(f"line {reader.line_num}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"it isn't text in UTF-8: {error.reason} at byte {error.start}") from None


def _names(first: list[tuple[int, list[str]]]) -> list[str] | None:
    if not first or _are_numbers(first[0][1]):
        return None
    names = [cell.strip() for cell in first[0][1]]
    return names if all(names) and len(set(names)) == len(names) else None


def _are_numbers(row: list[str]) -> bool:
    try:
        for cell in row:
            float(cell or "nan")
    except ValueError:
        return False
    return True
