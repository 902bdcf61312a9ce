"""What happens at each position on its own, and sums over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import pointwise as core
from .._core import segment
from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout
from .checks import Array, contiguous, empty, empty_like, floats, rows, vector
from .conv import activation_number
from .moves import sum_few

Doubles = NDArray[np.float64]

FEW, WIDE = 64, 1024  # positions and channels of a sum that is one chain


def _matrix(name: str, x: Array) -> Array:
    """x as a C-contiguous (positions, channels) array."""
    return rows(name, x, len(x))


def _alike(name: str, g: Array, other: str, x: Array) -> Array:
    """g, C-contiguous and of the shape of x."""
    if g.shape != x.shape:
        raise ShapeError(f"{name} must have the shape of {other}, {x.shape}. Received: {g.shape}")
    return contiguous(g)


# ---------------------------------------------------------------------------------------------------------- activations


def activate(x: Array, name: str) -> Array:
    """The activation called ``name`` of every number, in the shape of x."""
    floats(x=x)
    number = activation_number(name, fused=False)
    x = contiguous(x)
    out = empty_like(x)
    if x.size:
        core.activate(x.reshape(-1), number, out.reshape(-1))
    return out


def activate_grad(y: Array, g: Array, name: str) -> Array:
    """g times the activation's derivative. ``y`` is the output of "relu", "leaky_relu", "sigmoid", "tanh" and "elu",
    the input of all others."""
    floats(y=y, grad=g)
    number = activation_number(name, fused=False)
    y = contiguous(y)
    g = _alike("grad", g, "y", y)
    out = empty_like(y)
    if y.size:
        core.activate_grad(y.reshape(-1), g.reshape(-1), number, out.reshape(-1))
    return out


# ----------------------------------------------------------------------------------------------------------- by channel


def _target(out: Array | None, x: Array) -> Array:
    """Where a result goes: rows of a larger one, or a new array."""
    if out is None:
        return empty(len(x), x.shape[1], x.dtype)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.flags.c_contiguous
    return out


def scale_shift(
    x: Array, scale: Array, shift: Array, activation: str | None = None, out: Array | None = None
) -> Array:
    """activation(x scale + shift), scale and shift (C,); into ``out`` if given."""
    floats(x=x, scale=scale, shift=shift)
    number = activation_number(activation, fused=True)
    x = _matrix("x", x)
    channels = x.shape[1]
    out = _target(out, x)
    scale, shift = vector("scale", scale, channels), vector("shift", shift, channels)
    if x.size:
        core.scale_shift(x, scale, shift, number, out)
    return out


def batch_norm_grad(
    g: Array, x: Array, scale: Array, shift: Array, b: Array, c: Array, activation: str | None = None,
    out: Array | None = None,
) -> Array:
    """g slope scale + x b + c, with the slope of the activation at x scale + shift; the vectors are (C,). It goes into
    ``out`` if given."""
    floats(grad=g, x=x, scale=scale, shift=shift, b=b, c=c)
    number = activation_number(activation, fused=True)
    x = _matrix("x", x)
    channels = x.shape[1]
    g = _alike("grad", g, "x", x)
    out = _target(out, x)
    scale, shift = vector("scale", scale, channels), vector("shift", shift, channels)
    b, c = vector("b", b, channels), vector("c", c, channels)
    if x.size:
        core.norm_grad(g, x, scale, shift, number, b, c, out)
    return out


def leaky(x: Array, g: Array, slope: Array) -> Array:
    """g where x is positive, else g slope, slope (C,). With g = x the activation, else its gradient."""
    floats(x=x, grad=g, slope=slope)
    x = _matrix("x", x)
    g = _alike("grad", g, "x", x)
    slope = vector("slope", slope, x.shape[1])
    out = empty(len(x), x.shape[1], x.dtype)
    if x.size:
        core.leaky(x, g, slope, out)
    return out


# ------------------------------------------------------------------------------------------------ by sample and channel


def centred(
    x: Array, offsets: Ints, near: Array, by: Array, plus: Array, out: Array | None = None, whole: int = 0
) -> Array:
    """(x - near) by + plus, the three (N, C): of each sample, as for :func:`sample_moments`. Into ``out`` if given, a
    part of a result of ``whole`` positions."""
    floats(x=x, near=near, by=by, plus=plus)
    x = rows("x", x, int(offsets[-1]))
    near, by, plus = (_by_sample(each, offsets, x) for each in (near, by, plus))
    out = _target(out, x)
    if x.size:
        core.centred(x, offsets, near, by, plus, out, max(whole, len(x)))
    return out


def _by_sample(given: Array, offsets: Ints, x: Array) -> Array:
    shape = len(offsets) - 1, x.shape[1]
    if given.shape != shape:
        raise ShapeError(f"what goes by sample and channel must be {shape}. Received: shape {given.shape}")
    return contiguous(given)


def centred_grad(
    g: Array,
    x: Array,
    offsets: Ints,
    near: Array,
    scale: Array,
    by: Array,
    plus: Array,
    out: Array | None = None,
    whole: int = 0,
) -> Array:
    """g scale + (x - near) by + plus, the four (N, C). ``out`` and ``whole`` as for :func:`centred`."""
    floats(grad=g, x=x, near=near, scale=scale, by=by, plus=plus)
    x = rows("x", x, int(offsets[-1]))
    g = _alike("grad", g, "x", x)
    near, scale, by, plus = (_by_sample(each, offsets, x) for each in (near, scale, by, plus))
    out = _target(out, x)
    if x.size:
        core.centred_grad(g, x, offsets, near, scale, by, plus, out, max(whole, len(x)))
    return out


# -------------------------------------------------------------------------------------------------------- over channels


def _over_channels(x: Array, log: bool) -> Array:
    floats(x=x)
    x = _matrix("x", x)
    out = empty(len(x), x.shape[1], x.dtype)
    if x.size:
        core.softmax(x, log, out)
    return out


def softmax(x: Array) -> Array:
    """exp(x_c) / sum_k exp(x_k) over the channels of each position."""
    return _over_channels(x, False)


def log_softmax(x: Array) -> Array:
    """x_c - log sum_k exp(x_k) over the channels of each position."""
    return _over_channels(x, True)


def _over_channels_grad(y: Array, g: Array, log: bool) -> Array:
    floats(y=y, grad=g)
    y = _matrix("y", y)
    g = _alike("grad", g, "y", y)
    out = empty(len(y), y.shape[1], y.dtype)
    if y.size:
        core.softmax_grad(y, g, log, out)
    return out


def softmax_grad(y: Array, g: Array) -> Array:
    """y_c (g_c - sum_k g_k y_k): the gradient to x of softmax, from its output y."""
    return _over_channels_grad(y, g, False)


def log_softmax_grad(y: Array, g: Array) -> Array:
    """g_c - exp(y_c) sum_k g_k: the gradient to x of log_softmax, from its output y."""
    return _over_channels_grad(y, g, True)


def standardise(x: Array, eps: float) -> Array:
    """(x_c - mean) / sqrt(variance + eps) over the channels of each position."""
    floats(x=x)
    x = _matrix("x", x)
    out = empty(len(x), x.shape[1], x.dtype)
    if x.size:
        core.standard(x, float(eps), None, None, out)
    return out


def layer_norm(x: Array, scale: Array, shift: Array, eps: float) -> Array:
    """``scale n + shift`` by channel, n the result of :func:`standardise`."""
    floats(x=x, scale=scale, shift=shift)
    x = _matrix("x", x)
    scale, shift = vector("scale", scale, x.shape[1]), vector("shift", shift, x.shape[1])
    out = empty(len(x), x.shape[1], x.dtype)
    if x.size:
        core.standard(x, float(eps), scale, shift, out)
    return out


def layer_norm_grad(x: Array, g: Array, scale: Array, eps: float) -> Array:
    """(h - mean(h) - n mean(h n)) / sqrt(variance + eps), h = g scale: the gradient to x of :func:`layer_norm`."""
    floats(x=x, grad=g, scale=scale)
    x = _matrix("x", x)
    g = _alike("grad", g, "x", x)
    scale = vector("scale", scale, x.shape[1])
    out = empty(len(x), x.shape[1], x.dtype)
    if x.size:
        core.standard_grad(x, g, float(eps), scale, out)
    return out


# ------------------------------------------------------------------------------------------------------- over positions


def column_sum(x: Array) -> Array:
    """The sum of each channel, (C,), in the dtype of x: totals in float64, added in a fixed tree. Few positions of many
    channels are one chain."""
    floats(x=x)
    x = _matrix("x", x)
    if 0 < len(x) <= FEW and x.shape[1] >= WIDE:
        return sum_few(x)
    sums, spare = np.zeros((2, x.shape[1]))
    if x.size:
        segment.column_sum(x, False, sums, spare)
    return sums.astype(x.dtype)


def column_squares(x: Array) -> Doubles:
    """The sum of the squares of each channel, float64 (C,)."""
    floats(x=x)
    x = _matrix("x", x)
    sums, spare = np.zeros((2, x.shape[1]))
    if x.size:
        segment.column_sum(x, True, sums, spare)
    return sums


def moments(x: Array) -> tuple[Doubles, Doubles]:
    """Mean and biased variance of each channel over all positions, float64 (C,).

    One pass over memory: blocks that the cache holds have their own mean and squared deviations, which are joined in a
    fixed tree. Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician
    37, 1983.
    """
    floats(x=x)
    x = _matrix("x", x)
    if len(x) == 0:
        raise ShapeError("x must have at least one position. Received: 0 positions")
    mean, variance = sample_moments(x, np.array([0, len(x)]))
    return mean[0], variance[0]


def sample_moments(x: Array, offsets: Ints) -> tuple[Doubles, Doubles]:
    """:func:`moments` of each sample's positions, (N, C); those of sample n are ``offsets[n]`` to ``offsets[n + 1]``,
    one at least."""
    floats(x=x)
    x = rows("x", x, int(offsets[-1]))
    mean, square = np.zeros((2, len(offsets) - 1, x.shape[1]))
    if x.size:
        segment.moments(x, offsets, mean, square)
    return mean, square / (offsets[1:] - offsets[:-1])[:, None]


def batch_norm_sums(
    g: Array, x: Array, mean: Doubles, scale: Array, shift: Array, activation: str | None = None
) -> tuple[Doubles, Doubles]:
    """The sums of h and of h (x - mean) of each channel over all positions, float64 (C,).

    h is g times the slope of the activation at x scale + shift. ``mean`` is float64; all vectors are (C,).
    """
    floats(grad=g, x=x, scale=scale, shift=shift)
    number = activation_number(activation, fused=True)
    x = _matrix("x", x)
    g = _alike("grad", g, "x", x)
    named = (("mean", mean), ("scale", scale), ("shift", shift))
    vectors = [vector(name, v, x.shape[1]).astype(np.float64) for name, v in named]
    sums, products = np.zeros((2, 1, x.shape[1]))
    if x.size:
        segment.products(g, x, np.array([0, len(x)]), vectors[0][None], *vectors[1:], number, sums, products)
    return sums[0], products[0]


def sample_sums(g: Array, x: Array, offsets: Ints, mean: Doubles) -> tuple[Doubles, Doubles]:
    """The sums of g and of g (x - mean) over each sample's positions, float64 (N, C); ``mean`` is (N, C)."""
    floats(grad=g, x=x)
    x = rows("x", x, int(offsets[-1]))
    g = _alike("grad", g, "x", x)
    sums, products = np.zeros((2, *mean.shape))
    zeros = np.zeros(x.shape[1])
    if x.size:
        segment.products(g, x, offsets, np.ascontiguousarray(mean), zeros, zeros, 0, sums, products)
    return sums, products




# ---------------------------------------------------------------------------------------------------------------- draws


def dropout_mask(keys: NDArray[np.uint64], layout: Layout, channels: int, rate: float, dtype: Any) -> Array:
    """0 with probability ``rate``, else 1 / (1 - rate), (P, C).

    The number of (p, c), p the position within its sample, is draw p C + c of SplitMix64 at the sample's key, so it
    doesn't depend on what else is in the batch. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014.
    """
    if keys.shape != (len(layout),):
        raise ShapeError(f"keys must be ({len(layout)},), one a sample. Received: {keys.shape}")
    if not 0 <= rate < 1:
        raise ArgumentError(f"rate must be at least 0 and below 1. Received: rate={rate!r}")
    out = empty(layout.positions, channels, np.dtype(dtype))
    floats(out=out)
    if out.size:
        keys = np.ascontiguousarray(keys, dtype=np.uint64)
        # rate < 1 is at most 1 - 2^-53, so the threshold fits 64 bits.
        core.dropout(keys, layout.offsets, int(rate * 2.0**64), 1 / (1 - rate), out)
    return out
