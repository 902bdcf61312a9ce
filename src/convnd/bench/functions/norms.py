"""Normalisation of a sample by itself."""

from __future__ import annotations

import numpy as np

from ... import ops
from .function import SCALE_SHIFT, Array, Function, Shape, along, positions

EPS = 1e-5
CONTRAST, CONTRAST_EPS = 9, 1e-4


def _normal(x: Array, over: Shape) -> Array:
    mean, variance = x.mean(axis=over, keepdims=True), x.var(axis=over, keepdims=True)
    y: Array = (x - mean) / np.sqrt(variance + EPS)
    return y


def _group_norm(x: Array, weight: Array) -> Array:
    split = x.reshape(*x.shape[:-1], 4, -1)
    y: Array = _normal(split, (*positions(x), x.ndim)).reshape(x.shape) * weight[0] + weight[1]
    return y


def _response_norm(x: Array, weight: Array) -> Array:
    edges = [(0, 0)] * (x.ndim - 1) + [(2, 2)]
    squares = np.pad(x * x, edges)
    total = np.sum([squares[..., shift : shift + x.shape[-1]] for shift in range(5)], axis=0)
    y: Array = x / (1 + 1e-4 / 5 * total) ** 0.75
    return y


def _around(x: Array) -> Array:
    """The Gaussian mean over all channels and the window's true positions, (N, *S, 1): a matrix an axis."""
    mean: Array = x.mean(axis=-1, keepdims=True)
    for axis in positions(x):
        place = np.arange(x.shape[axis])
        away = place[:, None] - place
        weights = np.exp(-((away / (CONTRAST / 4)) ** 2) / 2) * (np.abs(away) <= CONTRAST // 2)
        mean = along(weights / weights.sum(axis=1, keepdims=True), mean, axis)
    return mean


def _contrast_norm(x: Array, weight: Array) -> Array:
    v = x - _around(x)
    deviation = np.sqrt(_around(v * v))
    least = np.maximum(deviation.mean(axis=positions(x), keepdims=True), CONTRAST_EPS)
    y: Array = v / np.maximum(deviation, least)
    return y


NORMS: dict[str, Function] = {
    "layer_norm": Function(
        "layer norm", lambda x, w: ops.layer_norm(x, w[0], w[1], eps=EPS),
        lambda f, x, w: f.layer_norm(x.movedim(1, -1), (x.shape[1],), w[0], w[1], EPS).movedim(-1, 1),
        lambda x, w: _normal(x, (x.ndim - 1,)) * w[0] + w[1], weight=SCALE_SHIFT,
    ),
    "instance_norm": Function(
        "instance norm", lambda x, w: ops.instance_norm(x, w[0], w[1], eps=EPS),
        lambda f, x, w: f.instance_norm(x, weight=w[0], bias=w[1], eps=EPS),
        lambda x, w: _normal(x, positions(x)) * w[0] + w[1], weight=SCALE_SHIFT,
    ),
    "group_norm": Function(
        "group norm, 4 groups", lambda x, w: ops.group_norm(x, 4, w[0], w[1], eps=EPS),
        lambda f, x, w: f.group_norm(x, 4, w[0], w[1], EPS), _group_norm, weight=SCALE_SHIFT,
    ),
    "local_response_norm": Function(
        "local response norm of 5", lambda x, w: ops.local_response_norm(x, 5),
        lambda f, x, w: f.local_response_norm(x, 5), _response_norm,
    ),
    "local_contrast_norm": Function(
        "local contrast norm k9", lambda x, w: ops.local_contrast_norm(x, CONTRAST, eps=CONTRAST_EPS), None,
        _contrast_norm,
    ),
}  # fmt: skip
