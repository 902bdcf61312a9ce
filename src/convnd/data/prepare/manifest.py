"""The manifest: a table of files, with what is known of each."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from .items import Failure, Item
from .kind import Kind
from .walk import refuse_link

COLUMNS = ("label", "split", "weight", "group", "labels")


def read_manifest(source: Path, manifest: Path, kind: Kind) -> tuple[list[Item], list[Failure]]:
    """The files of a table with the column path and, where wanted, label, split, weight, group, labels.

    Paths count from ``source``; ``labels`` is the path of a file of labels per position. Other columns are passed over.
    The separator is a tab, a semicolon or a comma, whichever the line of names has. A fault of the table itself is an
    error that names the line; a file that isn't there or leads out of ``source`` is a failure.
    """
    items: list[Item] = []
    failed: list[Failure] = []
    lines: dict[str, int] = {}
    for number, row in _rows(manifest):
        where = f"{manifest}, line {number}"
        if not row["path"]:
            raise DataError(f"{where}: no path")
        path = os.path.normpath(os.path.join(source, row["path"]))
        name = os.path.relpath(path, source).replace(os.sep, "/")
        if name in lines:
            raise DataError(f"{where}: {name} is in line {lines[name]} already, and a file can be one sample only")
        lines[name] = number
        item = _item(name, Path(path), row, where)
        refused = _refuse(source, Path(path), kind)
        if row.get("labels") and kind.load_labels is None:
            raise DataError(f"{manifest}: the column labels: {kind.name} take no labels per position")
        if row.get("labels"):
            item = replace(item, labels=source / str(row["labels"]))
            refused = refused or _refuse_labels(source, row["labels"] or "")
        if refused is None:
            items.append(item)
        else:
            failed.append(Failure(name, refused))
    _check_labels(items, manifest)
    return items, failed


def _rows(manifest: Path) -> list[tuple[int, Mapping[str, str | None]]]:
    try:
        # File names needn't be UTF-8, and what isn't must come back as it was.
        with manifest.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline()
            file.seek(0)
            delimiter = next((mark for mark in "\t;," if mark in first), ",")
            reader = csv.reader(file, delimiter=delimiter)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, csv.Error) as error:
        raise DataError(f"{manifest}: this manifest can't be read: {error}") from None
    names = [name.strip() for name in rows[0][1]] if rows else []
    if "path" not in names or len(rows) < 2:
        raise DataError(f"{manifest}: a manifest needs a line of column names, path among them, and a line a file")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{manifest}: the column {twice[0]} is there twice")
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise DataError(f"{manifest}, line {number}: {len(row)} cells under {len(names)} column names")
    return [(number, dict(zip(names, (cell.strip() for cell in row), strict=True))) for number, row in rows[1:]]


def _item(name: str, path: Path, row: Mapping[str, str | None], where: str) -> Item:
    split, weight = row.get("split") or None, row.get("weight") or None
    if split is not None and ("/" in split or split == "."):
        raise DataError(f'{where}: split must be a name without "/". Received: {split!r}')
    return Item(name, path, row.get("label") or None, split, _weight(weight, where), row.get("group") or None)


def _weight(text: str | None, where: str) -> float | None:
    if text is None:
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(f"{where}: weight must be a finite number of at least 0. Received: {text!r}")
    return weight


def _refuse(source: Path, path: Path, kind: Kind) -> str | None:
    refused = _refuse_path(source, path)
    if refused is None and not (path.is_file() or (kind.folders and path.is_dir())):
        return "it isn't a file"
    return refused


def _refuse_path(source: Path, path: Path) -> str | None:
    outside = os.path.relpath(path, source).split(os.sep)[0] == os.pardir
    if outside:
        return "its path leads out of the source folder"
    try:
        return refuse_link(source, path)
    except ValueError as error:  # A NUL character.
        return str(error)


def _refuse_labels(source: Path, given: str) -> str | None:
    refused = _refuse_path(source, Path(os.path.normpath(source / given)))
    return None if refused is None else f"its file of labels, {given}: {refused}"


def _check_labels(items: Sequence[Item], manifest: Path) -> None:
    for what in ("label", "labels"):
        lacking = [item.name for item in items if getattr(item, what) is None]
        if lacking and len(lacking) < len(items):
            raise DataError(f"{manifest}: {lacking[0]} has no {what}, and others have")
