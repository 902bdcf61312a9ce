"""How much of a split goes into a batch where the caller doesn't say, and what shape its samples share."""

from __future__ import annotations

from ..data import Split

SAMPLES = 32


def default_positions(split: Split) -> int:
    """Room for 32 samples of mean size, and for the largest one."""
    sizes = split.layout.sizes
    return max(int(sizes.max()), -(-SAMPLES * int(sizes.sum()) // len(sizes)), 1)


def split_shape(split: Split) -> tuple[int, ...] | None:
    """The spatial shape of all samples, where they agree."""
    return split.layout.shape(0) if len(split) and split.layout.uniform else None
