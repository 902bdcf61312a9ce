"""Pools beside max, mean and proportional ones, which are cases of their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...layout import Layout
from .draws import KEY, KEYS, uniforms
from .function import Array, Function, Weight, axes, channels, positions, torch_module

LARGEST = 4  # of a k-max pool
PIECES = 2  # of maxout
BOXES, BINS = 16, 7  # of a sample, and of an axis of each
LEVELS = (1, 2, 4)
SIGMA = 0.25  # of a weighted pool


def _windows(x: Array, size: int, stride: int) -> Array:
    """What windows without padding cover, (N, *S', taps, C), taps row-major."""
    outputs = [(n - size) // stride + 1 for n in x.shape[1:-1]]
    taps = [
        x[:, *(slice(j, j + stride * (n - 1) + 1, stride) for j, n in zip(tap, outputs, strict=True))]
        for tap in np.ndindex(*[size] * len(outputs))
    ]
    return np.stack(taps, axis=-2)


def _bins(x: Array, bins: int, statistic: Callable[..., Array]) -> Array:
    """Bin i of b on an axis of length S covers positions floor(i S / b) up to ceil((i + 1) S / b)."""
    ranges = [[slice(i * n // bins, -(-(i + 1) * n // bins)) for i in range(bins)] for n in x.shape[1:-1]]
    found = [statistic(x[:, *box], axis=positions(x)) for box in itertools.product(*ranges)]
    return np.stack(found, axis=1).reshape(len(x), *[bins] * len(ranges), -1)


def _pyramid(x: Array, weight: Array) -> Array:
    return np.concatenate([_bins(x, bins, np.max).reshape(len(x), -1) for bins in LEVELS], axis=1)


def _torch_pyramid(f: Any, x: Any, weight: Any) -> Any:
    levels = [f.adaptive_max_pool2d(x, bins).movedim(1, -1).flatten(1) for bins in LEVELS]
    return torch_module().cat(levels, 1)


def _torch_quadrants(f: Any, x: Any, weight: Any) -> Any:
    return f.adaptive_avg_pool2d(x, 2) * math.prod(-(-size // 2) for size in x.shape[2:])


def _boxes(drawn: Array, case: Any) -> Array:
    """(N, B, 2 ndim): begin and end of each axis, between them up to half of it, at a random place."""
    share = (np.abs(drawn) % 1).reshape(case.batch, BOXES, case.rank, 2)
    begin, length = np.moveaxis(share * (np.array(case.size) // 2)[:, None], -1, 0).astype(np.int64)
    return np.stack([begin, begin + length + 1], axis=-1).reshape(drawn.shape)


def _roi(x: Array, boxes: Array) -> Array:
    pooled = [
        [_bins(sample[None, *(slice(*ends) for ends in box.reshape(-1, 2))], BINS, np.max)[0] for box in own]
        for sample, own in zip(x, boxes, strict=True)
    ]
    return np.array(pooled)


def _k_max(x: Array, weight: Array) -> Array:
    """The largest along the first axis, in the order they stand there."""
    largest = np.sort(np.argsort(-x, axis=1, kind="stable")[:, :LARGEST], axis=1)
    return np.take_along_axis(x, largest, axis=1)


def _torch_k_max(f: Any, x: Any, weight: Any) -> Any:
    return x.gather(-1, x.topk(LARGEST, -1).indices.sort(-1).values)


def _indices(drawn: Array, case: Any) -> Array:
    """For each value the position of one of the 2 x ... x 2 that its window covers, int64."""
    bits = (np.abs(drawn) * 1e4).astype(np.int64)
    position = np.zeros_like(bits)
    for axis, size in enumerate(case.size, 1):
        place = np.arange(size).reshape(-1, *[1] * (drawn.ndim - 1 - axis))
        position = position * (2 * size) + 2 * place + (bits >> axis) % 2
    return position


def _unpool(x: Array, indices: Array) -> Array:
    sizes = [2 * size for size in x.shape[1:-1]]
    y = np.zeros((len(x), math.prod(sizes), x.shape[-1]))
    np.put_along_axis(y, indices.reshape(len(x), -1, x.shape[-1]), x.reshape(len(x), -1, x.shape[-1]), axis=1)
    return y.reshape(len(x), *sizes, -1)


def _our_unpool(y: Any, indices: Array) -> Any:
    count, *size = y.layout.box
    return ops.max_unpool(y, indices, like=Layout.dense(count, [2 * each for each in size]))


def _half(x: Array, weight: Array) -> Array:
    """k3 s2 p1: the first half of the channels pooled, of the others the windows' centres."""
    half, edges = x.shape[-1] // 2, [(0, 0), *[(1, 1)] * (x.ndim - 2), (0, 0)]
    pooled = _windows(np.pad(x[..., :half], edges, constant_values=-np.inf), 3, 2).max(axis=-2)
    centres = x[:, *[slice(None, None, 2)] * (x.ndim - 2), half:]
    return np.concatenate([pooled, centres], axis=-1)


def _torch_half(f: Any, x: Any, weight: Any) -> Any:
    half = x.shape[1] // 2
    return torch_module().cat((f.max_pool2d(x[:, :half], 3, 2, 1), x[:, half:, ::2, ::2]), 1)


def _stochastic(x: Array, keys: Array) -> Array:
    """Of each window the first value at which the sum so far is above u times the whole."""
    values = _windows(x, 2, 2)
    share = np.cumsum(values, axis=-2) / values.sum(axis=-2, keepdims=True)
    uniform = uniforms(keys, (*values.shape[1:-2], x.shape[-1]))[..., None, :]
    return np.take_along_axis(values, np.argmax(share > uniform, axis=-2)[..., None, :], axis=-2)[..., 0, :]


def _expected(x: Array, weight: Array) -> Array:
    values = _windows(x, 2, 2)
    y: Array = (values**2).sum(axis=-2) / values.sum(axis=-2)
    return y


def _gaussian(rank: int) -> Array:
    """The weights of a window of 3, (3, ..., 3), which sum to 1."""
    line = np.exp(-(((np.arange(3) - 1) / (SIGMA * 3)) ** 2) / 2)
    weights = np.ones(())
    for _ in range(rank):
        weights = np.multiply.outer(weights, line / line.sum())
    return weights


def _weighted(x: Array, weight: Array) -> Array:
    y: Array = np.einsum("...tc,t->...c", _windows(x, 3, 2), _gaussian(x.ndim - 2).ravel())
    return y


def _depthwise(drawn: Array, case: Any) -> Array:
    """The window as PyTorch's users have it: the weight (3, ..., 3, 1, C) of a depthwise convolution."""
    return np.broadcast_to(_gaussian(case.rank)[..., None, None], drawn.shape).astype(drawn.dtype)


def _halved(n: int) -> int:
    return n // 2


def _strided(n: int) -> int:
    return (n - 1) // 2


POOLS: dict[str, Function] = {
    "lp_pool": Function(
        "p-norm pool k2, p 3", lambda x, w: ops.lp_pool(x, 2, 3.0), lambda f, x, w: f.lp_pool2d(x.abs(), 3, 2),
        lambda x, w: (np.abs(_windows(x, 2, 2)) ** 3).sum(axis=-2) ** (1 / 3), axes(_halved),
    ),
    "k_max_pool": Function(
        "the 4 largest", lambda x, w: ops.k_max_pool(x, LARGEST), _torch_k_max, _k_max,
        lambda shape: (LARGEST, *shape[1:]),
    ),
    "maxout": Function(
        "maxout of 2", lambda x, w: ops.maxout(x, PIECES),
        lambda f, x, w: x.unflatten(1, (-1, PIECES)).max(2).values,
        lambda x, w: x.reshape(*x.shape[:-1], -1, PIECES).max(axis=-1), channels(lambda n: n // PIECES),
    ),
    "max_unpool": Function(
        "max unpool k2", _our_unpool, lambda f, x, w: f.max_unpool2d(x, w, 2), _unpool, axes(lambda n: 2 * n),
        weight=Weight(
            lambda case: (case.batch, *case.size, case.channels), _indices, by_sample=True, spatial=True
        ),
        reads="w",
    ),
    "pool_channels": Function(
        "half of the channels max k3 s2 p1",
        lambda x, w: ops.pool_channels(x, slice(x.channels // 2), 3, stride=2, padding=1), _torch_half, _half,
        axes(lambda n: (n + 1) // 2),
    ),
    "quadrant_pool": Function(
        "sums of quadrants", lambda x, w: ops.quadrant_pool(x), _torch_quadrants, lambda x, w: _bins(x, 2, np.sum),
        axes(lambda n: 2), reads="",
    ),
    "roi_pool": Function(
        "max of 7x7 bins in 16 boxes", lambda x, w: ops.roi_pool(x, w, BINS), None, _roi,
        lambda shape: (BOXES, *[BINS] * (len(shape) - 1), shape[-1]),
        weight=Weight(lambda case: (case.batch, BOXES, 2 * case.rank), _boxes, by_sample=True),
    ),
    "spatial_pyramid_pool": Function(
        "max of 1, 2x2, 4x4 bins", lambda x, w: ops.spatial_pyramid_pool(x, LEVELS), _torch_pyramid, _pyramid,
        lambda shape: (shape[-1] * sum(bins ** (len(shape) - 1) for bins in LEVELS),),
    ),
    "stochastic_pool": Function(
        "drawn from k2", lambda x, w: ops.stochastic_pool(x, 2, training=True, key=KEY), None, _stochastic,
        axes(_halved), weight=KEYS, takes="positive",
    ),
    "expected_pool": Function(
        "expectation of k2", lambda x, w: ops.stochastic_pool(x, 2),
        lambda f, x, w: f.avg_pool2d(x * x, 2) / f.avg_pool2d(x, 2), _expected, axes(_halved), takes="positive",
    ),
    "weighted_pool": Function(
        "weighted mean k3 s2", lambda x, w: ops.weighted_pool(x, 3, SIGMA, stride=2),
        lambda f, x, w: f.conv2d(x, w.movedim((-1, -2), (0, 1)), stride=2, groups=x.shape[1]), _weighted,
        axes(_strided), weight=Weight(lambda case: (*[3] * case.rank, 1, case.channels), _depthwise), reads="",
    ),
}  # fmt: skip
