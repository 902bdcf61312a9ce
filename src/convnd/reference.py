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
    divides by the window's positions in the padding as well."""
    place = _place(x, size, size if stride is None else stride, padding, dilation, ceil_mode)
    covered: dict[Index, list[Array]] = {q: [] for q in np.ndindex(place.output.shape(0))}
    for q, _, p in _pairs(place):
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
    for group, _ in _groups(channels, channels, groups):
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
    place = _place(x, size, 1, "same", 1)
    sigmas = [k / 4 for k in place.window.kernel] if sigma is None else np.broadcast_to(sigma, x.ndim - 1)

    def around(values: Array) -> Array:
        total, mass = np.zeros(x.shape[:-1]), np.zeros(x.shape[:-1])
        for q, _, p in _pairs(place):
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


ACTIVATIONS |= {
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "hardsigmoid": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "hardswish": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "absolute": abs,
}


def _windows(
    x: Array, size: Any, *, stride: Any = None, padding: Any = "valid", dilation: Any = 1, ceil_mode: bool = False
) -> Iterator[tuple[Index, list[tuple[Index, Index]]]]:
    """Each output of a pooling window, and the (tap, input) that it covers in row-major order."""
    place = _place(x, size, size if stride is None else stride, padding, dilation, ceil_mode)
    covered: dict[Index, list[tuple[Index, Index]]] = {q: [] for q in np.ndindex(place.output.shape(0))}
    for q, j, p in _pairs(place):
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
