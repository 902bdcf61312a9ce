"""Prepare time series: tables of numbers, NumPy arrays, and the archives' ``.ts`` files."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ConvndError, DataError
from .sources import (
    UNREADABLE,
    Failure,
    Item,
    Progress,
    Report,
    assign_splits,
    class_names,
    find_items,
    write_items,
)
from .timeseries import Header, read_cases, read_header
from .writer import Writer, create

TABLES = (".csv", ".tsv", ".txt")
ARRAYS = (".npy", ".npz")


def prepare_series(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    label_from: str | os.PathLike[str] | None = "folder",
    pattern: str | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    by_group: bool = False,
    strict: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    origin: str | None = None,
    licence: str | None = None,
) -> Report:
    """Make a data file of time series, each (time, channels) of its own length.

    Parameters
    ----------
    source : path
        A ``.ts`` file, or a folder of them (each a set of labelled cases; ``..._TRAIN.ts`` and ``..._TEST.ts``
        become those splits); or a folder of files that hold one sample each: ``.csv``, ``.tsv``, ``.txt`` (a row
        a time, a column a channel, a first line of names or not), ``.npy``, ``.npz`` (the array ``values``, or the
        only one).
        Text becomes float32; arrays keep the dtype of the first.
    label_from, pattern, split, seed, by_group, strict, resume, progress, origin, licence
        As for :func:`~convnd.data.audio.prepare_audio`; ``.ts`` files bring their own labels (classes, or a number).

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).
    """
    folder = Path(source)
    about: dict[str, Any] = {"source": origin, "licence": licence, "resume": resume}
    archives = [folder] if folder.suffix.lower() == ".ts" else sorted(folder.glob("*.ts"))
    if archives:
        if by_group:
            raise ArgumentError("by_group=True: a .ts file has no groups")
        return _prepare_archives(archives, Path(out), _Choice(split, seed, strict, progress), about)
    found, failed = find_items(folder, TABLES + ARRAYS, label_from, pattern)
    items = assign_splits(found, split, seed, by_group)
    first, names = _first_readable(items)
    classes = class_names(items)
    report = Report(Path(out), failed=failed)
    recipe = {"kind": "series", "dtype": first.dtype.name, "scale": None}
    with create(
        out,
        ndim=1,
        channels=first.shape[1],
        dtype=first.dtype,
        target=None if classes is None else "class",
        classes=classes,
        axes=[{"name": "time"}],
        channel_names=names,
        recipe=recipe,
        **about,
    ) as writer:
        write_items(writer, items, lambda item: _read_series(item.path)[0], report, strict, progress)
    return report


@dataclass(frozen=True)
class _Choice:
    """How the cases of archives are divided and reported."""

    split: Mapping[str, float] | None
    seed: int
    strict: bool
    progress: Progress | None


def _first_readable(items: list[Item]) -> tuple[NDArray[Any], list[str] | None]:
    """The first sample that can be read: it fixes channels and dtype."""
    reasons = []
    for item in items:
        try:
            return _read_series(item.path)
        except UNREADABLE as error:
            reasons.append(str(error))
    raise DataError(f"none of the {len(items)} files could be read. The first, {items[0].name}: {reasons[0]}")


def _read_series(path: Path) -> tuple[NDArray[Any], list[str] | None]:
    """One sample (time, channels), and the channels' names where the file gives them."""
    names = None
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = np.load(path, allow_pickle=False)
    elif suffix == ".npz":
        values = _only_array(path)
    elif suffix in TABLES:
        values, names = _read_table(path)
    else:
        raise DataError(f"{path.name}: a series is read from {', '.join((*TABLES, *ARRAYS))} or .ts")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise DataError(
            f"a series must have one time axis and then channels. Received: an array of shape {values.shape}"
        )
    return values, names


def _only_array(path: Path) -> NDArray[Any]:
    try:
        # Opened here, not by np.load, which leaves a broken file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if "values" not in arrays and len(arrays.files) != 1:
                raise DataError(f'must hold an array "values", or one array only. Received: {", ".join(arrays.files)}')
            values: NDArray[Any] = arrays["values" if "values" in arrays else arrays.files[0]]
    except zipfile.BadZipFile as error:
        raise DataError(str(error)) from None
    return values


def _read_table(path: Path) -> tuple[NDArray[np.float32], list[str] | None]:
    """A table of numbers, separated by tab, semicolon or comma, whichever its first line has."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = next((mark for mark in "\t;," if mark in first), ",")
        rows = [(number, row) for number, row in enumerate(csv.reader(file, delimiter=delimiter), start=1) if row]
    names = None
    if rows and not all(_is_number(cell) for cell in rows[0][1]):
        names = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise DataError("the table has no rows of numbers")
    width = len(rows[0][1])
    table = np.empty((len(rows), width), dtype=np.float32)
    for index, (number, row) in enumerate(rows):
        if len(row) != width:
            raise DataError(f"line {number} has {len(row)} columns, the lines above have {width}")
        try:
            table[index] = [float(cell) if cell.strip() else np.nan for cell in row]
        except ValueError as error:
            raise DataError(f"line {number}: {error}") from None
    usable = names is not None and all(names) and len(set(names)) == len(names) == width
    return table, names if usable else None


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _prepare_archives(archives: list[Path], out: Path, choice: _Choice, about: dict[str, Any]) -> Report:
    """A data file of the cases in ``.ts`` files."""
    headers = [read_header(path) for path in archives]
    items = [item for path, header in zip(archives, headers, strict=True) for item in _case_items(path, header)]
    if not items:
        raise DataError(f"{archives[0]}: there are no cases behind @data")
    items = assign_splits(items, choice.split, choice.seed, by_group=False)
    numbers = headers[0].numbers
    report = Report(out)
    with create(
        out,
        ndim=1,
        channels=next(read_cases(items[0].path))[0].shape[1],
        target="numbers" if numbers else "class" if headers[0].classes else None,
        classes=headers[0].classes,
        axes=[{"name": "time"}],
        recipe={"kind": "series", "dtype": "float32", "scale": None},
        **about,
    ) as writer:
        number = 0
        for path in archives:
            for values, _ in read_cases(path):
                _append_case(writer, items[number], values.astype(np.float32), numbers, report, choice.strict)
                number += 1
                if choice.progress is not None:
                    choice.progress(number, len(items), items[number - 1].name)
        report.samples = len(writer)
    return report


def _case_items(path: Path, header: Header) -> Iterator[Item]:
    """The cases of an archive before their values are wanted: a first reading for labels and splits."""
    ending = path.stem.rpartition("_")[2].lower()
    split = ending if ending in ("train", "test") else None
    for index, (_, label) in enumerate(read_cases(path)):
        yield Item(f"{path.stem}/{index}", path, label if header.labelled else None, split)


def _append_case(
    writer: Writer, item: Item, values: NDArray[np.float32], numbers: bool, report: Report, strict: bool
) -> None:
    if item.name in writer.done:
        return
    try:
        given: dict[str, Any] = {"target": [_number(item.label)]} if numbers else {"label": item.label}
        writer.append(values, split=item.split, name=item.name, file=item.path.name, **given)
    except ConvndError as error:
        if strict:
            raise
        report.failed.append(Failure(item.name, str(error)))


def _number(label: str | None) -> float:
    try:
        return float(label or "")
    except ValueError:
        raise DataError(f"the target must be a number. Received: {label!r}") from None


def load_series(path: Path, recipe: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The samples of a file as a trained network is to see them, each with its name."""
    try:
        if path.suffix.lower() == ".ts":
            for index, (values, _) in enumerate(read_cases(path)):
                yield f"{path.stem}/{index}", values.astype(np.float32)
        else:
            yield path.name, _read_series(path)[0].astype(np.float32)
    except ConvndError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{path}: {error}") from error
