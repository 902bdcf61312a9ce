"""Convolution, its adjoint and its weight gradient, and the tiled one, on one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..layout import Layout
from ..window import Window
from .windows import Array, pairs, place_of


def groups_of(channels: int, filters: int, groups: int) -> Iterator[tuple[slice, slice]]:
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
    place = place_of(x, weight.shape[:-2], stride, padding, dilation)
    y = np.zeros((*place.output.shape(0), weight.shape[-1]))
    if bias is not None:
        y += bias
    for q, j, p in pairs(place):
        for cs, fs in groups_of(x.shape[-1], weight.shape[-1], groups):
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
    for q, j, p in pairs(place):
        for cs, fs in groups_of(channels, x.shape[-1], groups):
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
    place = place_of(x, kernel_size, stride, padding, dilation)
    channels, filters = x.shape[-1], grad.shape[-1]
    w = np.zeros((*place.window.kernel, channels // groups, filters))
    for q, j, p in pairs(place):
        for cs, fs in groups_of(channels, filters, groups):
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
    place = place_of(x, weight.shape[rank : 2 * rank], stride, padding, dilation)
    y = np.zeros((*place.output.shape(0), weight.shape[-1]))
    for q, j, p in pairs(place):
        own = weight[tuple(qi % t for qi, t in zip(q, tile, strict=True))]
        for cs, fs in groups_of(x.shape[-1], weight.shape[-1], groups):
            y[q][fs] += x[p][cs].astype(np.float64) @ own[j][:, fs]
    if bias is not None:
        for q in np.ndindex(y.shape[:-1]):
            y[q] += bias[tuple(qi % t for qi, t in zip(q, bias.shape[:-1], strict=bias.ndim > 1))]
    return y.astype(x.dtype)
