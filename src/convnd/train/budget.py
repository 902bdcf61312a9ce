"""How much of a split goes into a batch where the caller doesn't say, and what shape its samples share."""

from __future__ import annotations

from ..data import Split
from ..data.augment import Augmentation
from ..layout import Layout

SAMPLES = 32


def default_positions(split: Split, augment: Augmentation | None = None, held_out: Split | None = None) -> int:
    """Room for 32 samples of mean size, as large as they may be when augmented, and for the largest one of all."""
    shapes = split.layout.shapes if augment is None else augment.bound(split.layout.shapes)
    sizes = Layout(shapes).sizes
    largest = int(sizes.max()) if held_out is None else int(max(sizes.max(), held_out.layout.sizes.max()))
    return max(largest, -(-SAMPLES * int(sizes.sum()) // len(sizes)), 1)


def split_shape(split: Split) -> tuple[int, ...] | None:
    """The spatial shape of all samples, where they agree."""
    return split.layout.shape(0) if len(split) and split.layout.uniform else None
