"""Tables of numbers: a row a time, a column a channel."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
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
    with _rows(path) as rows:
        lines = list(rows)
    names = _names(lines[:1])
    if lines and not _are_numbers(lines[0][1]):
        lines.pop(0)
    if not lines:
        raise DataError("the table has no rows of numbers")
    width = len(lines[0][1])
    table = np.empty((len(lines), width), dtype=np.float32)
    for index, (number, row) in enumerate(lines):
        if len(row) != width:
            raise DataError(f"line {number} has {len(row)} columns, the lines above have {width}")
        try:
            table[index] = [float(cell) if cell.strip() else np.nan for cell in row]
        except ValueError as error:
            raise DataError(f"line {number}: {error}") from None
    return table, names if names is not None and len(names) == width else None


@contextmanager
def _rows(path: Path) -> Iterator[Rows]:
    """Rows with their line numbers, separated by tab, semicolon or comma, whichever the first line has."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = next((mark for mark in "\t;," if mark in first), ",")
        reader: Any = csv.reader(file, delimiter=delimiter)
        try:
            yield ((reader.line_num, row) for row in reader if row)
        except csv.Error as error:
            raise DataError(f"line {reader.line_num}: {error}") from None


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
