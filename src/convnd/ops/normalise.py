"""Normalisation by statistics of one sample, and of a weight's filters.

Mean and variance are those of a sample's own positions, so the law holds in training as well as after it:
op(batch) = concat(op(sample)), to the last bit. They are summed in an order that follows from the sample's shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..kernels.checks import empty
from ..layout import Ints, Layout
from ..tensor import Array, Tensor, X, check_same_dtype, record
from ..window import refuse_empty
from ._operands import batch, fixed, give_back, layout_of, parameter

CACHED = 8 * 1024 * 1024  # bytes that are surely still in a cache when they are read again


def layer_norm(
    x: X, gamma: Array | Tensor | None = None, beta: Array | Tensor | None = None, *, eps: float = 1e-5
) -> X:
    """Layer normalisation: ``gamma (x - mean) / sqrt(var + eps) + beta`` over the channels of each position.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    gamma, beta : (C,), optional
        Of the dtype of ``x``; 1 and 0 unless given.
    eps : float
        Positive. The variance is the biased one.

    Returns
    -------
    The kind of ``x``; a Tensor if any operand is one.

    Raises
    ------
    ShapeError
        If a vector isn't (C,), or there is one channel only, which would leave nothing but ``beta``.
    ArgumentError
        If ``eps`` isn't positive.

    References
    ----------
    Ba, Kiros, Hinton, "Layer normalization", arXiv:1607.06450; over channels alone as Liu et al., "A ConvNet for the
    2020s", CVPR 2022, have it.

    Examples
    --------
    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), eps=1e-12).round(6).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    t = batch(x)
    layout = layout_of(t)
    refuse_empty(layout)
    if t.channels < 2:
        raise ShapeError(f"layer_norm needs at least 2 channels. Received: {t.channels} channel(s)")
    return give_back(_over_channels(t, gamma, beta, eps), x, gamma, beta)


def instance_norm(
    x: X, gamma: Array | Tensor | None = None, beta: Array | Tensor | None = None, *, eps: float = 1e-5
) -> X:
    """Instance normalisation: ``gamma (x - mean) / sqrt(var + eps) + beta``, each channel over its sample's positions.

    The arguments and errors are those of :func:`layer_norm`, but that each sample must have two positions or more.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky, "Instance normalization: the missing ingredient for fast stylization",
    arXiv:1607.08022.

    Examples
    --------
    >>> from convnd import Ragged
    >>> r = Ragged.pack([np.array([[1.0], [3.0]]), np.array([[5.0], [5.0], [8.0], [8.0]])])
    >>> instance_norm(r, eps=1e-12).values.round(6).ravel().tolist()
    [-1.0, 1.0, -1.0, -1.0, 1.0, 1.0]
    """
    t = batch(x)
    return give_back(_over_sample(t, gamma, beta, t.channels, eps, "instance_norm"), x, gamma, beta)


def group_norm(
    x: X,
    groups: int,
    gamma: Array | Tensor | None = None,
    beta: Array | Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> X:
    """Group normalisation: ``gamma (x - mean) / sqrt(var + eps) + beta``, over groups of channels of a sample.

    A group's mean and variance are over all the sample's positions and the C / groups channels of the group; with
    ``groups=1`` over the whole sample.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    groups : int
        It divides the channels.
    gamma, beta, eps
        As for :func:`layer_norm`.

    Raises
    ------
    ShapeError
        If ``groups`` doesn't divide the channels, a vector isn't (C,), or a sample has one value only in a group (the
        message names the sample).
    ArgumentError
        If ``groups`` or ``eps`` isn't positive.

    References
    ----------
    Wu and He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 10.0, 30.0]).reshape(1, 1, 4)
    >>> group_norm(x, 2, eps=1e-12).round(6).tolist()
    [[[-1.0, 1.0, -1.0, 1.0]]]
    """
    t = batch(x)
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(f"groups must be an int of at least 1. Received: groups={groups!r}")
    if t.channels % groups:
        raise ShapeError(f"groups must divide the {t.channels} channels of x. Received: groups={groups}")
    return give_back(_over_sample(t, gamma, beta, int(groups), eps, "group_norm"), x, gamma, beta)


def _vectors(x: Tensor, gamma: Any, beta: Any, eps: float) -> tuple[Tensor | None, Tensor | None, Array]:
    """gamma and beta checked, and gamma's values, 1 unless given."""
    if not eps > 0:
        raise ArgumentError(f"eps must be positive. Received: eps={eps!r}")
    shape = (x.channels,)
    scale = None if gamma is None else parameter(gamma, "gamma", x, shape)
    shift = None if beta is None else parameter(beta, "beta", x, shape)
    return scale, shift, np.ones(shape, x.dtype) if scale is None else scale.values


def _record(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, y: Array, grads: Callable[[Array], tuple[Any, Any, Any]]
) -> Tensor:
    """``grads`` gives the gradients to x, gamma and beta."""

    def grad_fn(g: Array) -> list[Array | None]:
        to_x, to_scale, to_shift = grads(g)
        return [to_x, *([] if scale is None else [to_scale]), *([] if shift is None else [to_shift])]

    parents = [x, *([] if scale is None else [scale]), *([] if shift is None else [shift])]
    return record(y, x.layout, x.kind, parents, grad_fn)


def _wanted(*parameters: Tensor | None) -> bool:
    """Whether any of these needs a gradient."""
    return any(each is not None and each.requires_grad for each in parameters)


# -------------------------------------------------------------------------------------- over the channels of a position


def _over_channels(x: Tensor, gamma: Any, beta: Any, eps: float) -> Tensor:
    """``gamma n + beta``, n = (x - mean) inverse, inverse = 1 / sqrt(var + eps), of each position's channels."""
    scale, shift, by_channel = _vectors(x, gamma, beta, eps)
    zeros = np.zeros(x.channels, x.dtype)
    values = x.values
    y = kernels.layer_norm(values, by_channel, zeros if shift is None else shift.values, eps)

    def grads(g: Array) -> tuple[Any, Any, Any]:
        to_x = kernels.layer_norm_grad(values, g, by_channel, eps) if x.requires_grad else None
        if not _wanted(scale, shift):
            return to_x, None, None
        normal = kernels.standardise(values, eps)
        total, product = kernels.batch_norm_sums(g, normal, np.zeros(x.channels), np.ones_like(zeros), zeros)
        return to_x, product.astype(x.dtype), total.astype(x.dtype)

    return _record(x, scale, shift, y, grads)


# --------------------------------------------------------------------------------------- over the positions of a sample


def _over_sample(x: Tensor, gamma: Any, beta: Any, groups: int, eps: float, name: str) -> Tensor:
    """``gamma n + beta``, n = (x - mean) inverse, mean and variance of each sample's groups of channels.

    One pass for the moments and one for the result; on the way back one for two sums and one for the gradient

        to_x = inverse (h - S1 / M - (x - mean) inverse^2 S2 / M),   h = g gamma,

    S1 and S2 the sums of h and h (x - mean) over the M members of a group. Some samples at a time, so that the second
    pass finds in the caches what the first has read. The mean is taken off as rounded to the dtype of x, and then what
    is left of it, so that a large one costs no digits.
    """
    layout = layout_of(x)
    refuse_empty(layout)
    members = x.channels // groups
    if len(layout) and members * int(layout.sizes.min()) < 2:
        sample = int(np.argmin(layout.sizes))
        raise ShapeError(
            f"sample {sample}: {name} needs at least 2 values for a mean and a variance; one position with "
            f"{x.channels} channels in {groups} groups has 1. Received: sample of shape {layout.shape(sample)}"
        )
    scale, shift, by_channel = _vectors(x, gamma, beta, eps)
    added = np.zeros_like(by_channel) if shift is None else shift.values
    mean, inverse = np.empty((2, len(layout), x.channels))
    near = np.empty(mean.shape, x.dtype)
    y = empty(layout.positions, x.channels, x.dtype)
    for some, part, offsets in _parts(layout, x):
        mean[some], variance = _of_groups(*kernels.sample_moments(x.values[part], offsets), groups)
        inverse[some] = 1 / np.sqrt(variance + eps)
        near[some] = mean[some]
        own = by_channel * inverse[some]
        plus = added - own * (mean[some] - near[some])
        by, plus = own.astype(x.dtype), plus.astype(x.dtype)
        kernels.centred(x.values[part], offsets, near[some], by, plus, y[part], layout.positions)

    def grads(g: Array) -> tuple[Any, Any, Any]:
        to_x = empty(layout.positions, x.channels, x.dtype) if x.requires_grad else None
        sums, products = np.empty((2, *mean.shape))
        for some, part, offsets in _parts(layout, x):
            total, product = sums[some], products[some] = kernels.sample_sums(
                g[part], x.values[part], offsets, mean[some]
            )
            if to_x is not None:
                count = members * np.diff(offsets)[:, None]
                first, second = (_sum_groups(by_channel * each, groups) / count for each in (total, product))
                along = -(inverse[some] ** 3) * second
                plus = -inverse[some] * first - along * (mean[some] - near[some])
                by, along, plus = (of.astype(x.dtype) for of in (by_channel * inverse[some], along, plus))
                kernels.centred_grad(
                    g[part], x.values[part], offsets, near[some], by, along, plus, to_x[part], layout.positions
                )
        return to_x, _total(products * inverse, x), _total(sums, x)

    return _record(x, scale, shift, y, grads)


def _parts(layout: Layout, x: Tensor) -> list[tuple[slice, slice, Ints]]:
    """The batch in parts of whole samples: which samples, which rows, and the offsets of the samples in these."""
    most = max(1, CACHED // (x.channels * x.dtype.itemsize))
    starts = layout.offsets[:-1] // most  # a part begins where a multiple of `most` rows is passed
    ends = [0, *(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(layout)]
    found = []
    for low, high in pairwise(ends):
        offsets = layout.offsets[low : high + 1]
        if high > low:
            found.append((slice(low, high), slice(int(offsets[0]), int(offsets[-1])), offsets - offsets[0]))
    return found


def _total(by_sample: Array, x: Tensor) -> Array:
    """The sum over samples, one by one."""
    total = np.zeros(x.channels)
    for own in by_sample:
        total += own
    return total.astype(x.dtype)


def _sum_groups(by_channel: Array, groups: int) -> Array:
    """The sum over the channels of a group, for each of its channels: (N, C)."""
    split = by_channel.reshape(len(by_channel), groups, -1)
    sums: Array = np.repeat(split.sum(axis=2), split.shape[2], axis=1)
    return sums


def _of_groups(mean: Array, variance: Array, groups: int) -> tuple[Array, Array]:
    """Mean and variance of each channel's group, from those of the channels: (N, C)."""
    members = mean.shape[1] // groups
    if members == 1:
        return mean, variance
    joint = _sum_groups(mean, groups) / members
    return joint, _sum_groups(variance + (mean - joint) ** 2, groups) / members


def weight_norm(v: Array | Tensor, g: Array | Tensor) -> Array | Tensor:
    """Weight normalisation: the weight ``w = g v / ||v||``, a norm and a direction for each filter.

    The norm is over all axes but the last, which counts filters in the weights of :func:`conv`, :func:`linear` and
    their like: what the result is for. It has no samples, and so no law to keep.

    Parameters
    ----------
    v : (*kernel, C / groups, F), (C, F) or any shape that ends in F
        An array or a parameter, float32 or float64.
    g : (F,), of the dtype of ``v``

    Returns
    -------
    The weight, in the shape of ``v``: a Tensor if an operand is one, else an ndarray.

    Raises
    ------
    ShapeError
        If ``v`` has fewer than two axes or ``g`` isn't (F,).
    ArgumentError
        If a filter of ``v`` is zero: it has no direction.

    References
    ----------
    Salimans and Kingma, "Weight normalization: a simple reparameterization to accelerate training of deep neural
    networks", NeurIPS 2016, eq. 2 and 3.

    Examples
    --------
    >>> weight_norm(np.array([[3.0], [4.0]]), np.array([10.0])).ravel().tolist()
    [6.0, 8.0]
    """
    direction, gain = fixed(v, "v"), fixed(g, "g")
    shape = direction.values.shape
    if len(shape) < 2 or 0 in shape:
        raise ShapeError(f"v must be a weight whose last axis counts filters. Received: v of shape {shape}")
    check_same_dtype(gain.values, "g", direction.values, "v")
    if gain.values.shape != shape[-1:]:
        raise ShapeError(f"g must have shape {shape[-1:]}. Received: g of shape {gain.values.shape}")
    v__kf = direction.values.reshape(-1, shape[-1])
    zeros, ones = np.zeros_like(gain.values), np.ones_like(gain.values)
    norm = np.sqrt(kernels.column_squares(v__kf))
    if not norm.all():
        raise ArgumentError(f"v must have a direction in every filter. Received: filter {int(np.argmin(norm))} is zero")
    factor = (gain.values / norm).astype(v__kf.dtype)

    def grad_fn(to_w: Array) -> tuple[Array, Array]:
        to_w__kf = to_w.reshape(v__kf.shape)
        along = kernels.batch_norm_sums(to_w__kf, v__kf, zeros, ones, zeros)[1] / norm
        less = (-factor * along / norm).astype(v__kf.dtype)
        to_v = kernels.batch_norm_grad(to_w__kf, v__kf, factor, ones, less, zeros)
        return to_v.reshape(shape), along.astype(v__kf.dtype)

    result = record(kernels.scale_shift(v__kf, factor, zeros).reshape(shape), None, "array", (direction, gain), grad_fn)
    given: Any = result if isinstance(v, Tensor) or isinstance(g, Tensor) else result.values
    own: Array | Tensor = given
    return own
