"""What is in a file, in numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..layout import Ints
from .batch import runs_of
from .collection import Collection
from .opening import open
from .split import Split

PART = 1 << 20  # labels counted at a time


def info(path: Any, **how: Any) -> dict[str, Any]:
    """A file's description and counts, JSON-able.

    Beside the fields of :class:`~convnd.data.schema.Info`: ``samples``, ``positions``, ``bytes``; ``shapes`` with the
    least, median and largest size of every axis; ``splits`` with the samples of each split and of each class in it
    (``classes``), or with labels per position the positions of each class (``class_positions``) and those without a
    label (``ignored``); ``groups``, their number; ``sizes``, a histogram of the samples' positions: bin
    i holds ``counts[i]`` samples of ``edges[i]`` up to ``edges[i + 1] - 1``; ``checksums``, how many datasets have one
    and which haven't (nothing is read to compare them: that is what ``check`` does).

    Labels per position are read to be counted, a million at a time (or the labels of one sample, where they are more).

    Parameters
    ----------
    path, **how
        As of :func:`~convnd.data.open`: a file, several, or what others made.

    Examples
    --------
    >>> from convnd.data import japanese_vowels
    >>> facts = info(japanese_vowels())
    >>> facts["samples"], facts["shapes"], facts["splits"]["train"]["classes"]["1"]
    (640, {'min': [7], 'median': [15.0], 'max': [29]}, 30)
    """
    with open(path, **how) as data:
        shapes = data.layout.shapes
        facts = data.info.to_dict() | {
            "path": str(data.path),
            "bytes": sum(os.path.getsize(file) for file in data.files()),
            "samples": len(data),
            "positions": data.layout.positions,
            "shapes": {
                "min": shapes.min(axis=0).tolist(),
                "median": np.median(shapes, axis=0).tolist(),
                "max": shapes.max(axis=0).tolist(),
            },
            "splits": {name: _count(data[name]) for name in data.splits},
            "sizes": _histogram(data.layout.sizes),
            "checksums": _checksums(data),
        }
        if "group" in data.meta:
            facts["groups"] = len(set(data.meta["group"]))
        return facts


def _count(split: Split) -> dict[str, Any]:
    described, targets = split.info, split.targets
    counts: dict[str, Any] = {"samples": len(split), "positions": split.layout.positions}
    if described.target == "class" and targets is not None:
        numbers = np.bincount(targets[targets >= 0], minlength=len(described.classes or ()))
        counts["classes"] = _by_name(split, numbers)
    elif described.target == "ragged" and described.labels:
        numbers, ignored = count_labels(split)
        counts |= {"class_positions": _by_name(split, numbers), "ignored": ignored}
    return counts


def _by_name(split: Split, numbers: Ints) -> dict[str, int]:
    names = split.info.classes or tuple(str(number) for number in range(len(numbers)))
    return {label: int(count) for label, count in zip(names, numbers, strict=False)}


def count_labels(split: Split) -> tuple[Ints, int]:
    """How many positions of a split have each label, and how many stand for "no label". Memory: a million labels, or
    a sample's."""
    ignore = split.info.ignore
    counts, ignored = np.zeros(len(split.info.classes or ()), np.int64), 0
    for labels in _labels(split):
        if ignore is not None:
            ignored += int((labels == ignore).sum())
            labels = labels[labels != ignore]
        found = np.bincount(labels[labels >= 0], minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts, ignored


def _labels(split: Split) -> Iterator[NDArray[Any]]:
    """The labels of a split, flat, in parts."""
    file, described, offsets = split.file, split.info, split.file.target_layout.offsets
    for begin, end in runs_of(split.numbers):
        first, last = int(split.numbers[begin]), int(split.numbers[end - 1])
        while first <= last:
            stop = int(np.searchsorted(offsets, offsets[first] + PART, side="right")) - 1
            stop = min(max(stop, first + 1), last + 1)
            rows = int(offsets[stop] - offsets[first])
            labels = np.empty((rows, described.target_channels), described.target_dtype)
            file.read_targets(first, stop - 1, labels)
            flat = labels.reshape(-1)
            for start in range(0, len(flat), PART):
                yield flat[start : start + PART]
            first = stop


def _histogram(sizes: Ints, bins: int = 8) -> dict[str, list[int]]:
    """Counts of sizes in a few bins; their edges grow by a factor where the largest is far from the least."""
    low, end = int(sizes.min()), int(sizes.max()) + 1
    even = np.geomspace(max(low, 1), end, bins + 1) if end > 16 * max(low, 1) else np.linspace(low, end, bins + 1)
    edges = np.unique(np.concatenate([[low], np.round(even[1:-1]).astype(np.int64), [end]]))
    return {"edges": edges.tolist(), "counts": np.histogram(sizes, edges)[0].tolist()}


def _checksums(data: Collection) -> dict[str, Any]:
    """Datasets with and without a checksum of their values. One without values needs none."""
    found: dict[str, bool] = {}
    paths = data.files()
    arrays = [path for path in paths if path.suffix.lower() == ".npy"]
    if arrays:
        found[".npy files"] = False
    for path in paths:
        if path in arrays:
            continue
        before = "" if len(paths) == 1 else f"{path.name}:"

        def visit(name: str, item: Any, before: str = before) -> None:
            if isinstance(item, h5py.Dataset) and item.size:
                found[before + name] = bool(item.fletcher32)

        with h5py.File(path, "r", locking="best-effort") as root:
            root.visititems(visit)
    return {"with": sum(found.values()), "without": sorted(name for name, has in found.items() if not has)}
