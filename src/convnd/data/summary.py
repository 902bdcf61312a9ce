"""What is in a file, in numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..layout import Ints
from .reader import File


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A file's description and counts, JSON-able.

    Beside the fields of :class:`~convnd.data.schema.Info`: ``samples``, ``positions``, ``bytes``; ``shapes`` with the
    least, median and largest size of every axis; ``splits`` with the samples of each split and, with
    class targets, of each class in it; ``groups``, their number; ``sizes``, a histogram of the samples' positions: bin
    i holds ``counts[i]`` samples of ``edges[i]`` up to ``edges[i + 1] - 1``; ``checksums``, how many datasets have one
    and which haven't (nothing is read to compare them: that is what ``check`` does).

    Examples
    --------
    >>> from convnd.data import japanese_vowels
    >>> facts = info(japanese_vowels())
    >>> facts["samples"], facts["shapes"], facts["splits"]["train"]["classes"]["1"]
    (640, {'min': [7], 'median': [15.0], 'max': [29]}, 30)
    """
    with File(path) as file:
        shapes = file.layout.shapes
        facts = file.info.to_dict() | {
            "path": str(file.path),
            "bytes": file.path.stat().st_size,
            "samples": len(file),
            "positions": file.layout.positions,
            "shapes": {
                "min": shapes.min(axis=0).tolist(),
                "median": np.median(shapes, axis=0).tolist(),
                "max": shapes.max(axis=0).tolist(),
            },
            "splits": {name: _count(file, name) for name in file.splits},
            "sizes": _histogram(file.layout.sizes),
            "checksums": _checksums(file.path),
        }
        if "group" in file.meta:
            facts["groups"] = len(set(file.meta["group"]))
        return facts


def _count(file: File, name: str) -> dict[str, Any]:
    split = file[name]
    counts: dict[str, Any] = {"samples": len(split), "positions": split.layout.positions}
    if file.info.target == "class" and split.targets is not None:
        numbers = np.bincount(split.targets[split.targets >= 0], minlength=len(file.info.classes or ()))
        names = file.info.classes or tuple(str(number) for number in range(len(numbers)))
        counts["classes"] = {label: int(count) for label, count in zip(names, numbers, strict=False)}
    return counts


def _histogram(sizes: Ints, bins: int = 8) -> dict[str, list[int]]:
    """Counts of sizes in a few bins; their edges grow by a factor where the largest is far from the least."""
    low, end = int(sizes.min()), int(sizes.max()) + 1
    even = np.geomspace(max(low, 1), end, bins + 1) if end > 16 * max(low, 1) else np.linspace(low, end, bins + 1)
    edges = np.unique(np.concatenate([[low], np.round(even[1:-1]).astype(np.int64), [end]]))
    return {"edges": edges.tolist(), "counts": np.histogram(sizes, edges)[0].tolist()}


def _checksums(path: Path) -> dict[str, Any]:
    """Datasets with and without a checksum of their values. One without values needs none."""
    found: dict[str, bool] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.size:
            found[name] = bool(item.fletcher32)

    with h5py.File(path, "r", locking="best-effort") as root:
        root.visititems(visit)
    return {"with": sum(found.values()), "without": sorted(name for name, has in found.items() if not has)}
