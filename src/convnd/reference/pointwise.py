"""Functions of a position: activations, softmax, the loss, look-up; and drop block's mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..window import Window
from .windows import Array

ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda v: max(v, 0.0),
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v)),
    "tanh": math.tanh,
    "elu": lambda v: v if v > 0 else math.expm1(v),
    "gelu": lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
    "silu": lambda v: v * ACTIVATIONS["sigmoid"](v),
    "softplus": lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))),
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "hardsigmoid": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "hardswish": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "absolute": abs,
}


def activate(x: Array, name: str) -> Array:
    """The activation called ``name`` of every value."""
    function = ACTIVATIONS[name]
    return np.array([function(float(v)) for v in x.ravel()], dtype=x.dtype).reshape(x.shape)


def log_softmax(x: Array) -> Array:
    """x_c - log sum_k exp(x_k) over the channels of each position."""
    y = np.zeros(x.shape)
    for p in np.ndindex(x.shape[:-1]):
        row = x[p].astype(np.float64)
        y[p] = row - row.max() - math.log(sum(math.exp(v - row.max()) for v in row))
    return y.astype(x.dtype)


def softmax(x: Array) -> Array:
    """exp(x_c) / sum_k exp(x_k) over the channels of each position."""
    return np.exp(log_softmax(x.astype(np.float64))).astype(x.dtype)


def cross_entropy(
    logits: Sequence[Array],
    targets: Sequence[Any],
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore: int | None = None,
    sample_weights: Array | None = None,
) -> float:
    """sum of s (-sum_k w_k t_k log p_k) / sum of s w_label over the counted positions: t is the smoothed one-hot
    label, w the class weights, s the sample's weight."""
    total = weight_sum = 0.0
    for number, (scores, labels) in enumerate(zip(logits, targets, strict=True)):
        log_p = log_softmax(scores.astype(np.float64)).reshape(-1, scores.shape[-1])
        classes = log_p.shape[1]
        for row, label in zip(log_p, np.asarray(labels).reshape(-1).tolist(), strict=True):
            if label == ignore:
                continue
            of_class = np.ones(classes) if class_weights is None else class_weights
            of_sample = 1.0 if sample_weights is None else float(sample_weights[number])
            target = np.full(classes, label_smoothing / classes)
            target[label] += 1 - label_smoothing
            total -= of_sample * float((of_class * target) @ row)
            weight_sum += of_sample * float(of_class[label])
    return total / weight_sum


def embedding(numbers: Array, table: Array) -> Array:
    """The row of the table that each number names: (*S,) integers to (*S, C)."""
    y = np.zeros((*numbers.shape, table.shape[1]), dtype=table.dtype)
    for p in np.ndindex(numbers.shape):
        y[p] = table[int(numbers[p])]
    return y


def prelu(x: Array, slope: Array) -> Array:
    """x where positive, else slope_c x."""
    y = np.zeros(x.shape, dtype=x.dtype)
    for index in np.ndindex(x.shape):
        y[index] = x[index] if x[index] > 0 else x[index] * slope[index[-1]]
    return y


def drop_block(x: Array, begins: Array, size: Any) -> Array:
    """Zero the block at each (position, channel) where ``begins`` is true, and scale up what is left."""
    kept: Array = np.ones(x.shape)
    block = Window.of(x.ndim - 1, size).kernel
    for *p, c in np.argwhere(begins).tolist():
        box = tuple(slice(start, start + length) for start, length in zip(p, block, strict=True))
        kept[..., c][box] = 0
    y: Array = (x * kept * (kept.size / max(kept.sum(), 1.0))).astype(x.dtype)
    return y
