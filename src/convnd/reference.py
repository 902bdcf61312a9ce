"""The specification: every operation on ONE sample, in plain NumPy loops, for any rank.

Slow on purpose. Nothing here is clever, so that it can be read and believed; every kernel is tested
against it. Sums are in float64, results in the dtype of the input. A sample is an array (*S, C).
Only batch normalisation and the losses, which are about a batch, take a list of samples.

    >>> conv(np.arange(4.0).reshape(4, 1), np.ones((2, 1, 1))).ravel().tolist()
    [1.0, 3.0, 5.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError
from .layout import Layout
from .window import Placement, Window

Array = NDArray[Any]
Index = tuple[int, ...]


def _place(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool = False) -> Placement:
    window = Window.of(x.ndim - 1, kernel, stride, padding, dilation, ceil_mode)
    return window.on(Layout([x.shape[:-1]]))


def _pairs(place: Placement) -> Iterator[tuple[Index, Index, Index]]:
    """Every (output, tap, input) that meet: input = output stride + tap dilation - low, where it exists."""
    window, size, low = place.window, place.input.shape(0), place.low[0].tolist()
    for q in np.ndindex(place.output.shape(0)):
        for j in np.ndindex(window.kernel):
            p = tuple(
                qi * s + ji * d - lo
                for qi, s, ji, d, lo in zip(q, window.stride, j, window.dilation, low, strict=True)
            )
            if all(0 <= pi < si for pi, si in zip(p, size, strict=True)):
                yield q, j, p


def _groups(channels: int, filters: int, groups: int) -> Iterator[tuple[slice, slice]]:
    c, f = channels // groups, filters // groups
    for group in range(groups):
        yield slice(group * c, (group + 1) * c), slice(group * f, (group + 1) * f)


def _flipped(weight: Array, flip: bool) -> Array:
    return np.flip(weight, tuple(range(weight.ndim - 2))) if flip else weight


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
) -> Array:
    """y[q, f] = bias[f] + sum over taps j and channels c of x[q stride + j dilation - low, c] weight[j, c, f]."""
    weight = _flipped(weight, flip).astype(np.float64)
    place = _place(x, weight.shape[:-2], stride, padding, dilation)
    y = np.zeros((*place.output.shape(0), weight.shape[-1]))
    if bias is not None:
        y += bias
    for q, j, p in _pairs(place):
        for cs, fs in _groups(x.shape[-1], weight.shape[-1], groups):
            y[q][fs] += x[p][cs].astype(np.float64) @ weight[j][:, fs]
    return y.astype(x.dtype)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
    like: Sequence[int] | None = None,
) -> Array:
    """The adjoint of :func:`conv`: y[q stride + j dilation - low, c] += sum over f of x[q, f] weight[j, c, f]."""
    weight = _flipped(weight, flip).astype(np.float64)
    window = Window.of(x.ndim - 1, weight.shape[:-2], stride, padding, dilation)
    place = window.transposed_on(Layout([x.shape[:-1]]), output_padding, None if like is None else Layout([like]))
    channels = weight.shape[-2] * groups
    y = np.zeros((*place.input.shape(0), channels))
    for q, j, p in _pairs(place):
        for cs, fs in _groups(channels, x.shape[-1], groups):
            y[p][cs] += weight[j][:, fs] @ x[q][fs].astype(np.float64)
    if bias is not None:
        y += bias
    return y.astype(x.dtype)


def conv_weight(
    x: Array,
    grad: Array,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
) -> Array:
    """The gradient of conv to its weight: w[j, c, f] = sum over q of x[q stride + j dilation - low, c] grad[q, f]."""
    place = _place(x, kernel_size, stride, padding, dilation)
    channels, filters = x.shape[-1], grad.shape[-1]
    w = np.zeros((*place.window.kernel, channels // groups, filters))
    for q, j, p in _pairs(place):
        for cs, fs in _groups(channels, filters, groups):
            w[j][:, fs] += np.outer(x[p][cs].astype(np.float64), grad[q][fs])
    return _flipped(w, flip).astype(x.dtype)


def tiled_conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """:func:`conv`, but output q has weight[q mod tile], (*tile, *kernel, C / groups, F), and bias[q mod its tile]."""
    rank = x.ndim - 1
    weight, tile = weight.astype(np.float64), weight.shape[:rank]
    place = _place(x, weight.shape[rank : 2 * rank], stride, padding, dilation)
    y = np.zeros((*place.output.shape(0), weight.shape[-1]))
    for q, j, p in _pairs(place):
        own = weight[tuple(qi % t for qi, t in zip(q, tile, strict=True))]
        for cs, fs in _groups(x.shape[-1], weight.shape[-1], groups):
            y[q][fs] += x[p][cs].astype(np.float64) @ own[j][:, fs]
    if bias is not None:
        for q in np.ndindex(y.shape[:-1]):
            y[q] += bias[tuple(qi % t for qi, t in zip(q, bias.shape[:-1], strict=bias.ndim > 1))]
    return y.astype(x.dtype)


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
    divides by the whole window's positions."""
    place = _place(x, size, size if stride is None else stride, padding, dilation, ceil_mode)
    covered: dict[Index, list[Array]] = {q: [] for q in np.ndindex(place.output.shape(0))}
    for q, _, p in _pairs(place):
        covered[q].append(x[p].astype(np.float64))
    y = np.zeros((*place.output.shape(0), x.shape[-1]))
    for q, values in covered.items():
        if mode == "mean" and count_include_pad:
            y[q] = sum(values) / math.prod(place.window.kernel)
        else:
            y[q] = _combine(values, mode)
    return y.astype(x.dtype)


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


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda v: max(v, 0.0),
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v)),
    "tanh": math.tanh,
    "elu": lambda v: v if v > 0 else math.expm1(v),
    "gelu": lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
    "silu": lambda v: v * ACTIVATIONS["sigmoid"](v),
    "softplus": lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))),
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
