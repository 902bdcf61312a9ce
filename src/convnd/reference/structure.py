"""Padding, cropping and resizing one sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .windows import Array


def pad(x: Array, padding: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Array:
    """Output q reads input q - low, (low, high) positions being added on each axis; where there is none, the "constant"
    value, the mirror image without its edge ("reflect"), the edge ("replicate") or the other end ("circular")."""
    y = np.full((*(s + low + high for s, (low, high) in zip(x.shape[:-1], padding, strict=True)), x.shape[-1]), value)
    for q in np.ndindex(y.shape[:-1]):
        p = [_padded(qi - low, size, mode) for qi, (low, _), size in zip(q, padding, x.shape[:-1], strict=True)]
        if None not in p:
            y[q] = x[tuple(p)]
    return y.astype(x.dtype)


def _padded(p: int, size: int, mode: str) -> int | None:
    if 0 <= p < size:
        return p
    if mode == "reflect":
        return -p if p < 0 else 2 * (size - 1) - p
    if mode == "replicate":
        return 0 if p < 0 else size - 1
    if mode == "circular":
        return p + size if p < 0 else p - size
    return None


def crop(x: Array, start: Sequence[int], shape: Sequence[int]) -> Array:
    """The ``shape`` positions from ``start`` on."""
    y = np.zeros((*shape, x.shape[-1]), x.dtype)
    for q in np.ndindex(*shape):
        y[q] = x[tuple(qi + first for qi, first in zip(q, start, strict=True))]
    return y


def resize(
    x: Array, size: Sequence[int], mode: str = "nearest", *, align_corners: bool = False, scale: Any = None
) -> Array:
    """Output q of O reads input position (q + 1/2) r - 1/2 with r = S / O, or 1 / scale: "linear" blends its two
    neighbours on each axis; with ``align_corners`` q (S - 1) / (O - 1). "nearest" reads floor(q r), "nearest_exact"
    floor((q + 1/2) r)."""
    scales = [None] * len(size) if scale is None else scale
    y = np.zeros((*size, x.shape[-1]))
    for q in np.ndindex(*size):
        corners = [
            _read(qi, s, o, r, mode, align_corners)
            for qi, s, o, r in zip(q, x.shape[:-1], size, scales, strict=True)
        ]
        for chosen in np.ndindex(*map(len, corners)):
            picked = [corner[c] for corner, c in zip(corners, chosen, strict=True)]
            y[q] += math.prod(weight for _, weight in picked) * x[tuple(p for p, _ in picked)].astype(np.float64)
    return y.astype(x.dtype)


def _read(q: int, size: int, out: int, scale: Any, mode: str, align_corners: bool) -> list[tuple[int, float]]:
    """The positions that an output reads on one axis, and their weights."""
    above, below = (size, out) if scale is None else (1, scale)
    if mode == "nearest":
        return [(min(math.floor(q * above / below), size - 1), 1.0)]
    if mode == "nearest_exact":
        return [(min(math.floor((2 * q + 1) * above / (2 * below)), size - 1), 1.0)]
    at = q * (size - 1) / max(out - 1, 1) if align_corners else (q + 0.5) * above / below - 0.5
    at = min(max(at, 0.0), size - 1.0)
    low = math.floor(at)
    return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]
