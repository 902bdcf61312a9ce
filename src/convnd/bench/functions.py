"""Layers that are timed forward alone: what convnd and PyTorch call, and their definition in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..tensor import Tensor

Array = NDArray[Any]
Shape = tuple[int, ...]
EPS = 1e-5
KERNEL = 3  # of tiled and local convolutions


@dataclass(frozen=True)
class Function:
    """One of them. Weights are those of the case, (2, C) of a normalisation."""

    words: str
    ours: Callable[[Tensor, Any], Any]
    torch: Callable[[Any, Any, Any], Any] | None  # (torch.nn.functional, x (N, C, *S), weight); None: it has no such
    exact: Callable[[Array, Array], Array]  # (N, *S, C) to (N, *S', F), float64
    size: Callable[[int], int] = lambda n: n  # of an axis, after it


def _normal(x: Array, axes: tuple[int, ...], weight: Array) -> Array:
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    y: Array = (x - mean) / np.sqrt(variance + EPS) * weight[0] + weight[1]
    return y


def _positions(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def _group_norm(x: Array, weight: Array) -> Array:
    split = x.reshape(*x.shape[:-1], 4, -1)
    axes = (*_positions(x), split.ndim - 1)
    mean, variance = split.mean(axis=axes, keepdims=True), split.var(axis=axes, keepdims=True)
    y: Array = ((split - mean) / np.sqrt(variance + EPS)).reshape(x.shape) * weight[0] + weight[1]
    return y


def _response_norm(x: Array, weight: Array) -> Array:
    edges = [(0, 0)] * (x.ndim - 1) + [(2, 2)]
    squares = np.pad(x * x, edges)
    total = sum(squares[..., shift : shift + x.shape[-1]] for shift in range(5))
    y: Array = x / (1 + 1e-4 / 5 * total) ** 0.75
    return y


def _log_softmax(x: Array, weight: Array) -> Array:
    moved = x - x.max(axis=-1, keepdims=True)
    y: Array = moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True))
    return y


def _pairs(x: Array) -> Array:
    """The positions of windows of 2, on new axes."""
    for axis in reversed(_positions(x)):
        n = x.shape[axis] // 2
        x = x.take(range(2 * n), axis).reshape(*x.shape[:axis], n, 2, *x.shape[axis + 1 :])
    return x


def _lp_pool(x: Array, weight: Array) -> Array:
    rank = x.ndim - 2
    y: Array = (np.abs(_pairs(x)) ** 3).sum(axis=tuple(range(2, 2 + 2 * rank, 2))) ** (1 / 3)
    return y


def _doubled(x: Array, weight: Array) -> Array:
    """Linear interpolation, axis by axis: output q reads at (q + 1/2) / 2 - 1/2."""
    for axis in _positions(x):
        size = x.shape[axis]
        at = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *[1] * (x.ndim - 1 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, size - 1), axis) * share
    return x


def _own_weights(x: Array, weight: Array, rank: int, tile: Shape) -> Array:
    """Tap by tap; output q has the weight of q mod tile."""
    sizes = [n - KERNEL + 1 for n in x.shape[1:-1]]
    which = np.ix_(*[np.arange(n) % t for n, t in zip(sizes, tile, strict=True)])
    total: Array = np.zeros((len(x), *sizes, weight.shape[-1]))
    for tap in np.ndindex(*[KERNEL] * rank):
        reads = tuple(slice(j, j + n) for j, n in zip(tap, sizes, strict=True))
        own = weight[which][(..., *tap, slice(None), slice(None))]
        total += np.einsum("n...c,...cf->n...f", x[(slice(None), *reads)], own)
    return total


def _tiled(x: Array, weight: Array) -> Array:
    rank = x.ndim - 2
    return _own_weights(x, weight, rank, weight.shape[:rank])


ERF = np.vectorize(math.erf, otypes=[float])
FUNCTIONS: dict[str, Function] = {
    "gelu": Function(
        "GELU", lambda x, w: ops.gelu(x), lambda f, x, w: f.gelu(x), lambda x, w: x / 2 * (1 + ERF(x / math.sqrt(2)))
    ),
    "log_softmax": Function(
        "log softmax", lambda x, w: ops.log_softmax(x), lambda f, x, w: f.log_softmax(x, 1), _log_softmax
    ),
    "layer_norm": Function(
        "layer norm", lambda x, w: ops.layer_norm(x, w[0], w[1], eps=EPS),
        lambda f, x, w: f.layer_norm(x.movedim(1, -1), (x.shape[1],), w[0], w[1], EPS).movedim(-1, 1),
        lambda x, w: _normal(x, (x.ndim - 1,), w),
    ),
    "instance_norm": Function(
        "instance norm", lambda x, w: ops.instance_norm(x, w[0], w[1], eps=EPS),
        lambda f, x, w: f.instance_norm(x, weight=w[0], bias=w[1], eps=EPS), lambda x, w: _normal(x, _positions(x), w),
    ),
    "group_norm": Function(
        "group norm, 4 groups", lambda x, w: ops.group_norm(x, 4, w[0], w[1], eps=EPS),
        lambda f, x, w: f.group_norm(x, 4, w[0], w[1], EPS), _group_norm,
    ),
    "local_response_norm": Function(
        "local response norm of 5", lambda x, w: ops.local_response_norm(x, 5),
        lambda f, x, w: f.local_response_norm(x, 5), _response_norm,
    ),
    "lp_pool": Function(
        "p-norm pool k2, p 3", lambda x, w: ops.lp_pool(x, 2, 3.0), lambda f, x, w: f.lp_pool2d(abs(x), 3, 2), _lp_pool,
        lambda n: n // 2,
    ),
    "pad": Function(
        "reflected by 1", lambda x, w: ops.pad(x, 1, "reflect"), lambda f, x, w: f.pad(x, (1, 1, 1, 1), "reflect"),
        lambda x, w: np.pad(x, ((0, 0), *[(1, 1)] * (x.ndim - 2), (0, 0)), "reflect"), lambda n: n + 2,
    ),
    "resize": Function(
        "twice as large, linear", lambda x, w: ops.resize(x, scale=2, mode="linear"),
        lambda f, x, w: f.interpolate(x, scale_factor=2, mode="bilinear"), _doubled, lambda n: 2 * n,
    ),
    "tiled_conv": Function(
        "k3, 2 x 2 tiles", lambda x, w: ops.tiled_conv(x, w), None, _tiled, lambda n: n - KERNEL + 1
    ),
    "local_conv": Function(
        "k3, locally connected", lambda x, w: ops.local_conv(x, w), None, _tiled, lambda n: n - KERNEL + 1
    ),
}  # fmt: skip
