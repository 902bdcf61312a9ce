"""What all preparations share: find the files, their labels and splits, write them, and report what failed."""

from __future__ import annotations

import csv
import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ConvndError, DataError
from .divide import choose_groups, choose_samples
from .writer import Writer

# What reading a foreign file may raise: soundfile's errors are RuntimeErrors, NumPy's ValueErrors.
UNREADABLE = (ConvndError, OSError, ValueError, RuntimeError, EOFError)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Item:
    """A sample to be: where it is, and what is known about it before it is read."""

    name: str
    path: Path
    label: str | None = None
    split: str | None = None
    group: str | None = None


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


def need(module: str, extra: str) -> Any:
    """An optional package, or an error that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(f"this needs the package {module}: pip install convnd[{extra}]") from None


def find_items(
    source: Path, suffixes: Sequence[str], label_from: str | os.PathLike[str] | None, pattern: str | None
) -> tuple[list[Item], list[Failure]]:
    """The files below a folder (or of a manifest), sorted by name, and those whose label can't be told."""
    if not source.is_dir():
        raise DataError(f"{source} isn't a folder")
    if label_from not in ("folder", "name", None):
        return _read_manifest(source, Path(label_from)), []
    if label_from == "name" and (pattern is None or "label" not in _compile(pattern).groupindex):
        raise ArgumentError(
            f'label_from="name" needs a pattern with a group (?P<label>...). Received: pattern={pattern!r}'
        )
    expression = None if pattern is None else _compile(pattern)
    items: list[Item] = []
    failed: list[Failure] = []
    for path in sorted(source.rglob("*"), key=lambda path: path.relative_to(source).as_posix()):
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or not path.is_file():
            continue
        try:
            items.append(_item(source, path, label_from, expression))
        except DataError as error:
            failed.append(Failure(path.relative_to(source).as_posix(), str(error)))
    if not items:
        why = f" (the first of {len(failed)}: {failed[0].path}: {failed[0].reason})" if failed else ""
        raise DataError(f"{source} holds no usable files ending in {', '.join(suffixes)}{why}")
    return items, failed


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"pattern isn't a regular expression ({error}). Received: pattern={pattern!r}") from None


def _item(source: Path, path: Path, label_from: Any, expression: re.Pattern[str] | None) -> Item:
    name = path.relative_to(source).as_posix()
    known: dict[str, str | None] = {}
    if expression is not None:
        match = expression.search(name)
        if match is None:
            raise DataError(f"its name doesn't match the pattern {expression.pattern!r}")
        known = {key: text for key, text in match.groupdict().items() if key in ("label", "split", "group")}
    if label_from == "folder" and "label" not in known:
        if path.parent == source:
            raise DataError("it lies in no folder that could name its class")
        known["label"] = path.parent.name
    return Item(name, path, **known)


def _read_manifest(source: Path, manifest: Path) -> list[Item]:
    """A CSV file with the columns path and, where wanted, label, split, group; paths count from ``source``."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest}: this manifest can't be read: {error}") from None
    if not rows or "path" not in rows[0]:
        raise DataError(f"{manifest}: a manifest needs a line of column names, path among them, and a line a file")
    items = []
    for number, row in enumerate(rows, start=2):
        if not row["path"]:
            raise DataError(f"{manifest}, line {number}: no path")
        known = {key: row.get(key) or None for key in ("label", "split", "group")}
        items.append(Item(row["path"], source / row["path"], **known))
    unlabelled = [item.name for item in items if item.label is None]
    if unlabelled and len(unlabelled) < len(items):
        raise DataError(f"{manifest}: {unlabelled[0]} has no label, and others have")
    return items


def class_names(items: Iterable[Item]) -> list[str] | None:
    """The labels that occur, sorted (as numbers where all are); None if there are none."""
    labels = {item.label for item in items if item.label is not None}
    numeric = all(re.fullmatch(r"-?\d+", label) for label in labels)
    return sorted(labels, key=(lambda label: (int(label), label)) if numeric else None) or None


def assign_splits(items: Sequence[Item], split: Mapping[str, float] | None, seed: int, by_group: bool) -> list[Item]:
    """Give items without a split one: shares by name, stratified by label, the rest "train"."""
    shares = dict(split or {})
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1 or "train" in shares:
        raise ArgumentError(
            'split must give shares between 0 and 1, together below 1, for splits other than "train", which gets the '
            f"rest. Received: split={split!r}"
        )
    if by_group and any(item.group is None for item in items):
        raise ArgumentError(
            "by_group=True needs a group for every file: (?P<group>...) in pattern, or a manifest's column"
        )
    result = list(items)
    free = np.array([index for index, item in enumerate(items) if item.split is None], dtype=np.int64)
    left = 1.0
    for name, share in shares.items():
        strata = np.array([items[index].label or "" for index in free])
        groups = np.array([items[index].group or "" for index in free])
        fraction = share / left
        chosen = choose_groups(strata, groups, fraction, seed) if by_group else choose_samples(strata, fraction, seed)
        for index in free[chosen]:
            result[index] = replace(result[index], split=name)
        free, left = free[~chosen], left - share
    return [item if item.split is not None else replace(item, split="train") for item in result]


def write_items(
    writer: Writer,
    items: Sequence[Item],
    load: Callable[[Item], NDArray[Any]],
    report: Report,
    strict: bool,
    progress: Progress | None,
) -> None:
    """Append all items that aren't in yet. Unreadable ones go into the report, or with ``strict`` stop the work."""
    for index, item in enumerate(items):
        if item.name not in writer.done:
            try:
                values = load(item)
            except UNREADABLE as error:
                _fail(report, item, error, strict)
            else:
                _append(writer, item, values, report, strict)
        if progress is not None:
            progress(index + 1, len(items), item.name)
    report.samples = len(writer)
    if not report.samples:
        first = report.failed[0]
        raise DataError(f"none of the {len(items)} files could be read. The first, {first.path}: {first.reason}")


def _append(writer: Writer, item: Item, values: NDArray[Any], report: Report, strict: bool) -> None:
    try:
        writer.append(values, label=item.label, split=item.split, name=item.name, group=item.group)
    except ConvndError as error:
        _fail(report, item, error, strict)


def _fail(report: Report, item: Item, error: Exception, strict: bool) -> None:
    reason = str(error) or type(error).__name__
    if strict:
        raise DataError(f"{item.name}: {reason}") from error
    report.failed.append(Failure(item.name, reason))
