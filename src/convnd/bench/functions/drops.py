"""Dropout of values, of channels, of blocks. The masks follow from the draws' specification, not from a result."""

from __future__ import annotations

from math import prod

import numpy as np

from ... import ops
from .draws import KEY, KEYS, chance
from .function import Array, Function

RATE = 0.5
BLOCK, BLOCK_RATE = 7, 0.1


def _dropout(x: Array, keys: Array) -> Array:
    return x * ~chance(keys, x.shape[1:], RATE) / (1 - RATE)


def _spatial_dropout(x: Array, keys: Array) -> Array:
    kept = ~chance(keys, x.shape[-1:], RATE)
    return x * kept.reshape(len(x), *[1] * (x.ndim - 2), -1) / (1 - RATE)


def _drop_block(x: Array, keys: Array) -> Array:
    """A position goes if a block that holds it begins at most BLOCK - 1 before it, on every axis."""
    blocks = [(size, min(BLOCK, size)) for size in x.shape[1:-1]]
    probability = BLOCK_RATE * prod(size / (block * (size - block + 1)) for size, block in blocks)
    dropped = chance(keys, x.shape[1:], probability)
    for axis, (size, block) in enumerate(blocks, 1):
        lines = np.moveaxis(dropped, axis, 0)
        spread = np.zeros_like(lines)
        for first in range(size - block + 1):
            spread[first : first + block] |= lines[first]
        dropped = np.moveaxis(spread, 0, axis)
    kept = ~dropped
    y: Array = x * kept * (prod(x.shape[1:]) / kept.sum(axis=tuple(range(1, x.ndim)), keepdims=True))
    return y


DROPS: dict[str, Function] = {
    "dropout": Function(
        "dropout, rate 0.5", lambda x, w: ops.dropout(x, RATE, KEY), lambda f, x, w: f.dropout(x, RATE), _dropout,
        weight=KEYS, reads="", rate=RATE,
    ),
    "spatial_dropout": Function(
        "dropout of channels, rate 0.5", lambda x, w: ops.spatial_dropout(x, RATE, KEY),
        lambda f, x, w: f.dropout2d(x, RATE), _spatial_dropout, weight=KEYS, reads="", rate=RATE,
    ),
    "drop_block": Function(
        "dropout of 7x7 blocks, rate 0.1", lambda x, w: ops.drop_block(x, BLOCK, BLOCK_RATE, KEY), None, _drop_block,
        weight=KEYS, reads="",
    ),
}  # fmt: skip
