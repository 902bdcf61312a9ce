"""Layers with weights beside the convolutions, and what is done to weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from .function import VECTOR, Array, Function, Weight, along, axes, positions, torch_module

KERNEL = 3  # of tiled and local convolutions
TAPS = 5  # an axis, of separable ones
VECTORS = 128  # channels of an embedding


def _tiled(x: Array, weight: Array) -> Array:
    """Output q has the weight of q mod tile, (*tile, *kernel, C, F)."""
    rank = x.ndim - 2
    tile, sizes = weight.shape[:rank], [n - KERNEL + 1 for n in x.shape[1:-1]]
    y = np.empty((len(x), *sizes, weight.shape[-1]))
    for own in np.ndindex(tile):
        outputs = (slice(None), *(slice(first, n, t) for first, n, t in zip(own, sizes, tile, strict=True)))
        total = np.zeros_like(y[outputs])
        for tap in np.ndindex(*[KERNEL] * rank):
            ends = zip(own, tap, sizes, tile, strict=True)
            total += x[:, *(slice(first + j, n + j, t) for first, j, n, t in ends)] @ weight[own + tap]
        y[outputs] = total
    return y


def _separable(x: Array, weight: Array) -> Array:
    """Zeros around; along each axis y[p] = sum_j v[j] x[p + j - 2], as a matrix of diagonals."""
    for axis, (vector,) in zip(positions(x), weight, strict=True):
        size = x.shape[axis]
        x = along(sum(v * np.eye(size, k=j - TAPS // 2) for j, v in enumerate(vector)), x, axis)
    return x


def _torch_separable(f: Any, x: Any, weight: Any) -> Any:
    for axis, vector in enumerate(weight):
        kernel = [TAPS if each == axis else 1 for each in range(2)]
        own = vector.reshape(1, 1, *kernel).expand(x.shape[1], 1, *kernel)
        x = f.conv2d(x, own, padding=[size // 2 for size in kernel], groups=x.shape[1])
    return x


def _weight_norm(x: Array, gain: Array) -> Array:
    y: Array = gain * x / np.sqrt((x * x).sum(axis=positions(x), keepdims=True))
    return y


WEIGHTED: dict[str, Function] = {
    "tiled_conv": Function(
        "k3, 2 x 2 tiles", ops.tiled_conv, None, _tiled, axes(lambda n: n - KERNEL + 1),
        weight=Weight(
            lambda case: (*[2] * case.rank, *[KERNEL] * case.rank, case.channels, case.out), learned=True
        ),
        reads="w", additive=True,
    ),
    "local_conv": Function(
        "k3, locally connected", ops.local_conv, None, _tiled, axes(lambda n: n - KERNEL + 1),
        weight=Weight(
            lambda case: (*case.output, *[KERNEL] * case.rank, case.channels, case.out), learned=True
        ),
        reads="w", additive=True,
    ),
    "tiled_bias": Function(
        "a bias for each position", ops.tiled_bias, lambda f, x, w: x + w, np.add,
        weight=Weight(lambda case: (*case.size, case.channels), spatial=True, learned=True), reads="",
    ),
    "separable_conv": Function(
        "5 taps along each axis", lambda x, w: ops.separable_conv(x, list(w), padding="same"), _torch_separable,
        _separable, weight=Weight(lambda case: (case.rank, 1, TAPS)), reads="w",
    ),
    "embedding": Function(
        "vectors for numbers", ops.embedding, lambda f, x, w: f.embedding(x, w).movedim(-1, 1),
        lambda x, w: w[x[..., 0]], lambda shape: (*shape[:-1], VECTORS),
        weight=Weight(lambda case: (case.channels, VECTORS), learned=True), takes="numbers",
    ),
    "mask_weight": Function(
        "a weight, masked", ops.mask_weight, lambda f, x, w: x * w.T[:, :, None, None], np.multiply,
        weight=Weight(
            lambda case: (case.size[-1], case.channels), lambda drawn, case: (drawn > 0).astype(drawn.dtype)
        ),
        takes="weight", reads="w",
    ),
    "weight_norm": Function(
        "a weight, normalised", ops.weight_norm,
        lambda f, x, w: torch_module()._weight_norm(x, w[:, None, None, None], 0), _weight_norm, weight=VECTOR,
        takes="weight", reads="xw",
    ),
}  # fmt: skip
