"""Classes and splits of the samples to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...errors import ArgumentError, DataError
from ..divide import choose_groups, choose_samples
from .items import Item


def class_names(items: Iterable[Item]) -> list[str] | None:
    """The labels that occur, sorted (as numbers where all are); None if there are none."""
    labels = {item.label for item in items if item.label is not None}
    numeric = all(re.fullmatch(r"-?\d+", label) for label in labels)
    return sorted(labels, key=(lambda label: (int(label), label)) if numeric else None) or None


def check_shares(split: Mapping[str, float] | None) -> dict[str, float]:
    """Shares of splits, as given."""
    shares = dict(split or {})
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1 or "train" in shares:
        raise ArgumentError(
            'split must give shares between 0 and 1, together below 1, for splits other than "train", which gets the '
            f"rest. Received: split={split!r}"
        )
    return shares


def assign_splits(items: Sequence[Item], split: Mapping[str, float] | None, seed: int, by_group: bool) -> list[Item]:
    """Give items without a split one: shares by name, stratified by label, the rest "train".

    With ``by_group`` no group is torn apart: an item whose group is in a split already goes there too.
    """
    shares = check_shares(split)
    result = _follow_groups(items) if by_group else list(items)
    free = np.array([index for index, item in enumerate(result) if item.split is None], dtype=np.int64)
    left = 1.0
    for name, share in shares.items():
        strata = np.array([result[index].label or "" for index in free])
        groups = np.array([result[index].group or "" for index in free])
        fraction = share / left
        if len(free):
            by = choose_groups(strata, groups, fraction, seed) if by_group else choose_samples(strata, fraction, seed)
            for index in free[by]:
                result[index] = replace(result[index], split=name)
            free = free[~by]
        left -= share
    return [item if item.split is not None else replace(item, split="train") for item in result]


def _follow_groups(items: Sequence[Item]) -> list[Item]:
    """Items whose group has a split get that one."""
    if any(item.group is None for item in items):
        raise ArgumentError(
            "by_group=True needs a group for every file: (?P<group>...) in pattern, or a manifest's column"
        )
    where: dict[str | None, Item] = {}
    for item in items:
        if item.split is None:
            continue
        other = where.setdefault(item.group, item)
        if other.split != item.split:
            raise DataError(
                f"by_group=True: the group {item.group} is in two splits, {other.name} in {other.split} and "
                f"{item.name} in {item.split}"
            )
    return [replace(item, split=where[item.group].split) if item.group in where else item for item in items]
