"""Pools of every kind, on one sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..window import Placement, Window
from .windows import Array, Index, pairs, place_of


def pool(
    x: Array,
    size: Any,
    mode: str = "max",
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Array:
    """The "max", "mean" or "sum" under each window, over true positions; with ``count_include_pad`` the mean
    divides by the window's positions in the padding as well."""
    place = place_of(x, size, size if stride is None else stride, padding, dilation, ceil_mode)
    covered: dict[Index, list[Array]] = {q: [] for q in np.ndindex(place.output.shape(0))}
    for q, _, p in pairs(place):
        covered[q].append(x[p].astype(np.float64))
    y = np.zeros((*place.output.shape(0), x.shape[-1]))
    for q, values in covered.items():
        if mode == "mean" and count_include_pad:
            y[q] = sum(values) / _padded_count(place, q)
        else:
            y[q] = _combine(values, mode)
    return y.astype(x.dtype)


def _padded_count(place: Placement, q: Index) -> int:
    """Positions of a window in the sample and its padding: one of ``ceil_mode`` may reach over that."""
    window, count = place.window, 1
    for axis in range(window.ndim):
        end = place.input.shapes[0, axis] + place.low[0, axis]
        if axis < window.fixed_padding.shape[1]:
            end += window.fixed_padding[1, axis]
        else:
            end += window.extent[axis]  # "same": no window reaches over the padding
        start, step = q[axis] * window.stride[axis], window.dilation[axis]
        count *= sum(start + j * step < end for j in range(window.kernel[axis]))
    return count


def proportional_pool(x: Array, bins: Sequence[int], mode: str = "max") -> Array:
    """Bin i of b on an axis of length S covers positions floor(i S / b) up to ceil((i + 1) S / b)."""
    y = np.zeros((*bins, x.shape[-1]))
    for q in np.ndindex(*bins):
        box = tuple(
            slice(i * size // b, math.ceil((i + 1) * size / b))
            for i, size, b in zip(q, x.shape[:-1], bins, strict=True)
        )
        y[q] = _combine(list(x[box].reshape(-1, x.shape[-1]).astype(np.float64)), mode)
    return y.astype(x.dtype)


def global_pool(x: Array, mode: str = "mean") -> Array:
    """The "mean", "max" or "sum" over all positions, (C,)."""
    return _combine(list(x.reshape(-1, x.shape[-1]).astype(np.float64)), mode).astype(x.dtype)


def _combine(values: list[Array], mode: str) -> Array:
    if mode == "max":
        largest: Array = np.max(values, axis=0)
        return largest
    total: Array = np.sum(values, axis=0)
    if mode == "sum":
        return total
    if mode == "mean":
        return total / len(values)
    raise ArgumentError(f"mode must be max, mean or sum. Received: mode={mode!r}")


def _windows(
    x: Array, size: Any, *, stride: Any = None, padding: Any = "valid", dilation: Any = 1, ceil_mode: bool = False
) -> Iterator[tuple[Index, list[tuple[Index, Index]]]]:
    """Each output of a pooling window, and the (tap, input) that it covers in row-major order."""
    place = place_of(x, size, size if stride is None else stride, padding, dilation, ceil_mode)
    covered: dict[Index, list[tuple[Index, Index]]] = {q: [] for q in np.ndindex(place.output.shape(0))}
    for q, j, p in pairs(place):
        covered[q].append((j, p))
    yield from covered.items()


def _grid(values: dict[Index, Array]) -> Array:
    """An array (*shape, C) from its values at every position."""
    shape = tuple(max(places) + 1 for places in zip(*values, strict=True))
    return np.array(list(values.values())).reshape(*shape, -1)


def max_pool_indices(x: Array, size: Any, **options: Any) -> Array:
    """Where each maximum of :func:`pool` stands in the sample: the first of equals, row-major, int64."""
    y = {}
    for q, covered in _windows(x, size, **options):
        number = [int(np.ravel_multi_index(p, x.shape[:-1])) if p else 0 for _, p in covered]
        y[q] = np.array(number)[np.argmax([x[p] for _, p in covered], axis=0)]
    return _grid(y)


def max_unpool(y: Array, indices: Array, shape: Sequence[int]) -> Array:
    """x[p, c] = the sum of y[q, c] over the q whose index is p."""
    x = np.zeros((math.prod(shape), y.shape[-1]))
    for q in np.ndindex(y.shape[:-1]):
        for c in range(y.shape[-1]):
            x[indices[q][c], c] += y[q][c]
    return x.reshape(*shape, -1).astype(y.dtype)


def lp_pool(x: Array, size: Any, p: float = 2.0, **options: Any) -> Array:
    """m (sum (|x| / m)^p)^(1/p) over each window's true positions, m the largest |x| among them."""
    y = {}
    for q, covered in _windows(x, size, **options):
        values = np.abs([x[i].astype(np.float64) for _, i in covered])
        most = values.max(axis=0)
        y[q] = most * np.sum((values / np.where(most == 0, 1, most)) ** p, axis=0) ** (1 / p)
    return _grid(y).astype(x.dtype)


def weighted_pool(x: Array, size: Any, sigma: float = 0.25, **options: Any) -> Array:
    """The mean over true positions, weighted by exp(-d^2 / 2): d the distance of the tap from the window's centre, each
    axis in units of sigma times its size."""
    kernel = Window.of(x.ndim - 1, size).kernel
    y = {}
    for q, covered in _windows(x, size, **options):
        weights = [
            math.exp(-sum(((i - (k - 1) / 2) / (sigma * k)) ** 2 for i, k in zip(j, kernel, strict=True)) / 2)
            for j, _ in covered
        ]
        rows = [weight * x[p].astype(np.float64) for weight, (_, p) in zip(weights, covered, strict=True)]
        y[q] = np.sum(rows, axis=0) / sum(weights)
    return _grid(y).astype(x.dtype)


def stochastic_pool(x: Array, size: Any, draw: Array | None = None, **options: Any) -> Array:
    """With P_i = x_i / sum x (alike where all are 0): the expectation sum P_i x_i; with ``draw``, uniform numbers of
    the result's shape, the first x_i at which P_0 + ... + P_i is above the draw."""
    y = {}
    for q, covered in _windows(x, size, **options):
        values = np.array([x[p].astype(np.float64) for _, p in covered])
        total = values.sum(axis=0)
        share = np.where(total > 0, values / np.where(total > 0, total, 1), 1 / len(values))
        if draw is None:
            y[q] = (share * values).sum(axis=0)
        else:
            chosen = np.argmax(np.cumsum(share, axis=0) > draw[q], axis=0)
            y[q] = values[chosen, np.arange(values.shape[1])]
    return _grid(y).astype(x.dtype)


def maxout(x: Array, pieces: int) -> Array:
    """y[p, k] = the largest of x[p, k pieces + j], j = 0 ... pieces - 1."""
    y = np.zeros((*x.shape[:-1], x.shape[-1] // pieces), dtype=x.dtype)
    for *p, k in np.ndindex(y.shape):
        y[(*p, k)] = max(x[(*p, k * pieces + j)] for j in range(pieces))
    return y


def pool_channels(x: Array, channels: Sequence[int], size: Any, mode: str = "max", **options: Any) -> Array:
    """:func:`pool` on some channels; the others at the true position whose tap is nearest the window's centre on every
    axis, that is the earlier middle one where it exists."""
    kernel = Window.of(x.ndim - 1, size).kernel
    y = {}
    for q, covered in _windows(x, size, **options):
        away = [sum(abs(i - (k - 1) // 2) for i, k in zip(j, kernel, strict=True)) for j, _ in covered]
        y[q] = x[covered[int(np.argmin(away))][1]].astype(np.float64)
        y[q][list(channels)] = _combine([x[p].astype(np.float64) for _, p in covered], mode)[list(channels)]
    return _grid(y).astype(x.dtype)


def spatial_pyramid_pool(x: Array, levels: Sequence[int], mode: str = "max") -> Array:
    """:func:`proportional_pool` into each level's bins an axis, flattened, one after the other."""
    return np.concatenate([proportional_pool(x, [b] * (x.ndim - 1), mode).reshape(-1) for b in levels])


def k_max_pool(x: Array, k: int) -> Array:
    """The k largest of each line along the first axis, in their order; the first of equals."""
    y = np.zeros((k, *x.shape[1:]), dtype=x.dtype)
    for at in np.ndindex(x.shape[1:]):
        line = [float(x[(i, *at)]) for i in range(len(x))]
        largest = sorted((-value, i) for i, value in enumerate(line))[:k]
        for j, i in enumerate(sorted(i for _, i in largest)):
            y[(j, *at)] = line[i]
    return y


def roi_pool(x: Array, boxes: Array, bins: Sequence[int], mode: str = "max") -> Array:
    """:func:`proportional_pool` of each box, (begin, end) of each axis in turn: (boxes, *bins, C)."""
    crops = [x[tuple(slice(*pair) for pair in box.reshape(-1, 2))] for box in boxes.astype(int)]
    return np.array([proportional_pool(crop, bins, mode) for crop in crops])
