"""Normalisation: by the batch, a sample, groups of channels, neighbours; and of a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .convolution import groups_of
from .windows import Array, Index, pairs, place_of


def moments(samples: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and biased variance of each channel over all true positions of all samples, float64."""
    rows = [sample[p].astype(np.float64) for sample in samples for p in np.ndindex(sample.shape[:-1])]
    mean: Array = np.sum(rows, axis=0) / len(rows)
    variance: Array = np.sum([(row - mean) ** 2 for row in rows], axis=0) / len(rows)
    return mean, variance


def batch_norm(samples: Sequence[Array], gamma: Array, beta: Array, eps: float = 1e-5) -> list[Array]:
    """gamma (x - mean) / sqrt(variance + eps) + beta, with the moments of all true positions."""
    mean, variance = moments(samples)
    return [((x - mean) / np.sqrt(variance + eps) * gamma + beta).astype(x.dtype) for x in samples]


def _standardised(x: Array, members: Sequence[tuple[Index, int]], y: Array, eps: float) -> None:
    """(x - mean) / sqrt(variance + eps) of the numbers at these (position, channel), into y."""
    values = [float(x[p][c]) for p, c in members]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    for (p, c), v in zip(members, values, strict=True):
        y[p][c] = (v - mean) / math.sqrt(variance + eps)


def group_norm(x: Array, groups: int, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """gamma (x - mean) / sqrt(variance + eps) + beta, with the moments of a group of channels at all positions."""
    y, channels = np.zeros(x.shape), x.shape[-1]
    for group, _ in groups_of(channels, channels, groups):
        inside = range(channels)[group]
        _standardised(x, [(p, c) for p in np.ndindex(x.shape[:-1]) for c in inside], y, eps)
    return (y * gamma + beta).astype(x.dtype)


def instance_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """:func:`group_norm` with a group for each channel."""
    return group_norm(x, x.shape[-1], gamma, beta, eps)


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """gamma (x - mean) / sqrt(variance + eps) + beta, with the moments of the channels at each position."""
    y = np.zeros(x.shape)
    for p in np.ndindex(x.shape[:-1]):
        _standardised(x, [(p, c) for c in range(x.shape[-1])], y, eps)
    return (y * gamma + beta).astype(x.dtype)


def local_response_norm(x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x_c / (k + alpha / size sum_j x_j^2)^beta over the channels j from c - size // 2 to c + (size - 1) // 2."""
    y = np.zeros(x.shape)
    for p in np.ndindex(x.shape[:-1]):
        for c in range(x.shape[-1]):
            around = range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, x.shape[-1]))
            squares = sum(float(x[p][j]) ** 2 for j in around)
            y[p][c] = float(x[p][c]) / (k + alpha / size * squares) ** beta
    return y.astype(x.dtype)


def local_contrast_norm(x: Array, size: Any = 9, sigma: Any = None, eps: float = 1e-4) -> Array:
    """v = x - its mean around; y = v / max(s, mean of s, eps), s the root of the mean of v^2 around.

    "Around" is over all channels and the window's true positions, by the weights of a Gaussian."""
    place = place_of(x, size, 1, "same", 1)
    sigmas = [k / 4 for k in place.window.kernel] if sigma is None else np.broadcast_to(sigma, x.ndim - 1)

    def around(values: Array) -> Array:
        total, mass = np.zeros(x.shape[:-1]), np.zeros(x.shape[:-1])
        for q, _, p in pairs(place):
            weight = math.exp(-sum((a - b) ** 2 / (2 * s * s) for a, b, s in zip(p, q, sigmas, strict=True)))
            total[q] += weight * float(np.mean(values[p]))
            mass[q] += weight
        return (total / mass)[..., None]

    v = x.astype(np.float64) - around(x.astype(np.float64))
    s = np.sqrt(around(v * v))
    return (v / np.maximum(s, max(float(np.mean(s)), eps))).astype(x.dtype)


def weight_norm(v: Array, g: Array) -> Array:
    """g v / ||v||, the norm of each filter, which the last axis counts."""
    w = np.zeros(v.shape)
    for f in range(v.shape[-1]):
        w[..., f] = float(g[f]) * v[..., f] / math.sqrt(sum(float(one) ** 2 for one in v[..., f].ravel()))
    return w.astype(v.dtype)
