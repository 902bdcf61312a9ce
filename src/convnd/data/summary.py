"""What is in a file, in numbers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .reader import File


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A file's description and counts, JSON-able.

    Beside the fields of :class:`~convnd.data.schema.Info`: ``samples``, ``positions``, ``bytes``; ``shapes`` with the
    least, median and largest size of every axis; ``splits`` with the samples of each split and, with
    class targets, of each class in it; ``groups``, their number.

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
