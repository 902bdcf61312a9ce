"""Find the samples to be, with what folders, names and manifests say of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...errors import ArgumentError, DataError
from .beside import attach_labels
from .items import Failure, Item, ending_of
from .kind import Kind
from .manifest import read_manifest
from .walk import walk


def find_items(
    source: Path,
    kind: Kind,
    label_from: str | os.PathLike[str] | None,
    pattern: str | None,
    labels_from: str | os.PathLike[str] | None = None,
) -> tuple[list[Item], list[Failure]]:
    """The files below a folder (or of a manifest, in its order; else sorted by name), and those that can't be used."""
    expression = _expression(label_from, pattern)
    if not source.exists():
        raise DataError(f"{source}: there is no such file or folder")
    if label_from not in ("folder", "name", None):
        if not source.is_dir():
            raise DataError(f"{source} isn't a folder, and a manifest's paths count from one")
        items, failed = read_manifest(source, Path(label_from), kind)
    else:
        wanted = None if labels_from is not None else label_from
        items, failed = _find_files(source, kind, wanted, expression)
    if labels_from is not None:
        items, more = attach_labels(source, items, kind, labels_from)
        failed += more
    if not items:
        why = f" (the first of {len(failed)}: {failed[0].path}: {failed[0].reason})" if failed else ""
        raise DataError(f"{source} holds no usable files ending in {', '.join(endings(kind))}{why}")
    return items, failed


def endings(kind: Kind) -> tuple[str, ...]:
    """The endings of the files that a kind looks for."""
    return tuple(ending for ending in kind.suffixes + kind.folders if ending)


def _expression(label_from: object, pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        expression = None
    else:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ArgumentError(
                f"pattern isn't a regular expression ({error}). Received: pattern={pattern!r}"
            ) from None
    if label_from == "name" and (expression is None or "label" not in expression.groupindex):
        raise ArgumentError(
            f'label_from="name" needs a pattern with a group (?P<label>...). Received: pattern={pattern!r}'
        )
    return expression


def _find_files(
    source: Path, kind: Kind, label_from: object, expression: re.Pattern[str] | None
) -> tuple[list[Item], list[Failure]]:
    if source.is_dir():
        root = source
        names, failed = walk(source, lambda name: ending_of(name, kind.suffixes + kind.folders) is not None)
        names = _samples(root, names, kind)
    else:
        root, names, failed = source.parent, [source.name], []
    items: list[Item] = []
    for name in names:
        item = Item(root.resolve().name if name == "." else name, root / name)
        try:
            items.append(_known(item, kind, label_from, expression))
        except DataError as error:
            failed.append(Failure(name, str(error)))
    return items, failed


def _samples(root: Path, names: Sequence[str], kind: Kind) -> list[str]:
    """Files that are one sample each as they are; those that are one all together by their folder."""
    samples: dict[str, None] = {}
    for name in names:
        alone = ending_of(name, kind.suffixes) is not None
        if alone or kind.belongs is None or kind.belongs(root / name):
            samples[name if alone else str(PurePosixPath(name).parent)] = None
    return sorted(samples)


def _known(item: Item, kind: Kind, label_from: object, expression: re.Pattern[str] | None) -> Item:
    """What the folder and the name say of a file."""
    if expression is not None:
        match = expression.search(item.name)
        if match is None:
            raise DataError(f"its name doesn't match the pattern {expression.pattern!r}")
        found = match.groupdict()
        item = replace(item, label=found.get("label"), split=found.get("split"), group=found.get("group"))
    if label_from == "folder" and item.label is None and ending_of(item.name, kind.labelled) is None:
        folder = PurePosixPath(item.name).parent.name
        if not folder:
            raise DataError("it lies in no folder that could name its class")
        item = replace(item, label=folder)
    return item
