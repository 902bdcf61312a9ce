"""Labels per position: where the file that holds them lies, beside a sample or in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...errors import ArgumentError
from .items import Failure, Item, stem_of
from .kind import Kind


def attach_labels(
    source: Path, items: Sequence[Item], kind: Kind, labels_from: str | os.PathLike[str]
) -> tuple[list[Item], list[Failure]]:
    """The items that have a file of labels, each with it; the others are failures.

    ``labels_from`` is a folder whose files are named as the samples are but for the ending (``masks/x/a.png`` for
    ``images/x/a.jpg``), or a name with ``{stem}``, beside the sample: ``{stem}_mask.png``, ``../masks/{stem}.png``.
    Files of labels that lie among the samples are no samples. Kinds with the ending "" take folders of labels too.
    """
    if kind.load_labels is None:
        raise ArgumentError(f"{kind.name} take no labels per position. Received: labels_from={labels_from!r}")
    given = os.fspath(labels_from)
    if "{stem}" in given:
        places = [[_beside(item, kind, given)] for item in items]
    else:
        folder = Path(given) if Path(given).is_dir() else source / given
        if not folder.is_dir():
            raise ArgumentError(
                "labels_from must be a folder, or the name of a file of labels with {stem} where it has the sample's. "
                f"Received: labels_from={given!r}"
            )
        items = [item for item in items if not _is_inside(item.path, folder)]
        places = [
            [folder / (stem_of(item.name, kind.suffixes) + suffix) for suffix in kind.label_suffixes] for item in items
        ]
    return _pair(items, places, folders="" in kind.label_suffixes)


def _beside(item: Item, kind: Kind, given: str) -> Path:
    stem = PurePosixPath(stem_of(item.name, kind.suffixes)).name
    return Path(os.path.normpath(item.path.parent / given.replace("{stem}", stem)))


def _is_inside(path: Path, folder: Path) -> bool:
    inside = os.path.abspath(folder)
    return os.path.commonpath([inside, os.path.abspath(path)]) == inside


def _pair(items: Sequence[Item], places: Sequence[Sequence[Path]], folders: bool) -> tuple[list[Item], list[Failure]]:
    paired: list[Item] = []
    failed: list[Failure] = []
    labels = [
        next((place for place in wanted if place.is_file() or (folders and place.is_dir())), None) for wanted in places
    ]
    used = {Path(os.path.abspath(place)) for place in labels if place is not None}
    for item, place, wanted in zip(items, labels, places, strict=True):
        here = Path(os.path.abspath(item.path))
        if here in used or (folders and not used.isdisjoint(here.parents)):
            continue
        if place is None:
            names = " or ".join(str(path) for path in wanted)
            failed.append(Failure(item.name, f"it has no file of labels: {names} isn't there"))
        else:
            paired.append(replace(item, labels=place))
    return paired, failed
