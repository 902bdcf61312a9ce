"""Read a whole file and say what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .writer import check_labels

if TYPE_CHECKING:
    from .collection import Collection


def check(file: Collection) -> list[str]:
    """What is wrong with the samples of an open file, a line a defect. Memory: the largest sample."""
    wrong: list[str] = []
    for part in ("meta", "targets"):
        try:
            getattr(file, part)
        except DataError as error:
            wrong.append(str(error))
    wrong += _check_splits(file)
    for number in range(len(file)):
        try:
            _check_sample(file, number)
        except DataError as error:
            wrong.append(str(error))
    return wrong


def _check_splits(file: Collection) -> list[str]:
    wrong: list[str] = []
    seen = np.zeros(len(file), dtype=np.int64)
    for name in file.splits:
        try:
            np.add.at(seen, file[name].numbers, 1)
        except DataError as error:
            wrong.append(str(error))
    if (seen > 1).any():
        number = int(np.argmax(seen > 1))
        wrong.append(f"{file.path}: {file.who(number)} is in more than one split, or twice in one")
    return wrong


def _check_sample(file: Collection, number: int) -> None:
    info, who = file.info, f"{file.path}: {file.who(number)}"
    size = int(file.layout.sizes[number])
    if not size:
        raise DataError(f"{who} has no positions (shape {file.layout.shape(number)})")
    values = np.empty((size, info.channels), dtype=info.dtype)
    file.read_stored(number, number, values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{who}: values must be finite")
    if info.target == "ragged":
        targets = np.empty((int(file.target_layout.sizes[number]), info.target_channels), dtype=info.target_dtype)
        file.read_targets(number, number, targets)
    elif file.targets is not None:
        targets = np.asarray(file.targets[number])
    else:
        return
    if info.labels:
        check_labels(targets, info, who)
    elif not np.isfinite(targets).all():
        raise DataError(f"{who}: its target must be finite")
