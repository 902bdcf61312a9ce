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
from ..layout import Layout
from ..tensor import Array, Tensor, X, check_same_dtype, record
from ..window import refuse_empty
from ._operands import batch, fixed, give_back, layout_of, parameter

FAR = 4.0  # deviations


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


# -------------------------------------------------------------------------------------- over the channels of a position


def _over_channels(x: Tensor, gamma: Any, beta: Any, eps: float) -> Tensor:
    """``gamma n + beta``, n = (x - mean) inverse, inverse = 1 / sqrt(var + eps), of each position's channels."""
    scale, shift, by_channel = _vectors(x, gamma, beta, eps)
    normal, inverse = kernels.standardise(x.values, eps)
    zeros = np.zeros(x.channels, x.dtype)
    y = normal
    if scale is not None or shift is not None:
        y = kernels.scale_shift(normal, by_channel, zeros if shift is None else shift.values)

    def grads(g: Array) -> tuple[Any, Any, Any]:
        total, product = kernels.batch_norm_sums(g, normal, np.zeros(x.channels), np.ones_like(zeros), zeros)
        to_x = kernels.standardise_grad(normal, g, by_channel, inverse) if x.requires_grad else None
        return to_x, product.astype(x.dtype), total.astype(x.dtype)

    return _record(x, scale, shift, y, grads)


# --------------------------------------------------------------------------------------- over the positions of a sample


def _over_sample(x: Tensor, gamma: Any, beta: Any, groups: int, eps: float, name: str) -> Tensor:
    """``gamma n + beta``, n = (x - mean) inverse, mean and variance of each sample's groups of channels.

    A sample goes through the kernels of batch norm on its own: one pass for its moments and one for its result, on the
    way back one for two sums and one for the gradient

        to_x = inverse (h - S1 / M - (x - mean) inverse^2 S2 / M),   h = g gamma,

    S1 and S2 the sums of h and h (x - mean) over the M members of a group. A mean that is many deviations off is taken
    off first, rounded to the dtype of x, so that it costs no digits.
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
    near, rest, inverse = np.empty((3, len(layout), x.channels))  # the mean is near + rest, near in the dtype of x
    y = empty(layout.positions, x.channels, x.dtype)

    def centred(n: int, part: slice) -> Array:
        if not near[n].any():
            return x.values[part]
        less: Array = x.values[part] - near[n].astype(x.dtype)
        return less

    for n, part in enumerate(_parts(layout)):
        mean, variance = _of_groups(*kernels.moments(x.values[part]), groups)
        near[n] = mean.astype(x.dtype) if (mean**2 > FAR**2 * variance).any() else 0
        rest[n], inverse[n] = mean - near[n], 1 / np.sqrt(variance + eps)
        own = by_channel * inverse[n]
        vectors = own.astype(x.dtype), (added - own * rest[n]).astype(x.dtype)
        kernels.scale_shift(centred(n, part), *vectors, out=y[part])
    zeros = np.zeros(x.channels, x.dtype)

    def grads(g: Array) -> tuple[Any, Any, Any]:
        to_x = empty(layout.positions, x.channels, x.dtype) if x.requires_grad else None
        to_scale, to_shift = np.zeros((2, x.channels))
        for n, part in enumerate(_parts(layout)):
            less = centred(n, part)
            total, product = kernels.batch_norm_sums(g[part], less, rest[n], zeros, zeros)
            to_scale += product * inverse[n]
            to_shift += total
            if to_x is not None:
                count = members * int(layout.sizes[n])
                first, second = (_sum_groups(by_channel * sums, groups) / count for sums in (total, product))
                along = -(inverse[n] ** 3) * second
                own = [by_channel * inverse[n], zeros, along, -inverse[n] * first - along * rest[n]]
                by, none, b, c = (vector.astype(x.dtype) for vector in own)
                kernels.batch_norm_grad(g[part], less, by, none, b, c, out=to_x[part])
        return to_x, to_scale.astype(x.dtype), to_shift.astype(x.dtype)

    return _record(x, scale, shift, y, grads)


def _parts(layout: Layout) -> list[slice]:
    """The rows of each sample."""
    return [slice(begin, end) for begin, end in pairwise(layout.offsets.tolist())]


def _sum_groups(by_channel: Array, groups: int) -> Array:
    """The sum over the channels of a group, for each of its channels."""
    members = len(by_channel) // groups
    sums: Array = np.repeat(by_channel.reshape(groups, members).sum(axis=1), members)
    return sums


def _of_groups(mean: Array, variance: Array, groups: int) -> tuple[Array, Array]:
    """Mean and variance of each channel's group, from those of the channels."""
    members = len(mean) // groups
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
    norm = np.sqrt(kernels.column_sum(v__kf * v__kf))
    if not norm.all():
        raise ArgumentError(f"v must have a direction in every filter. Received: filter {int(np.argmin(norm))} is zero")
    factor = gain.values / norm

    def grad_fn(to_w: Array) -> tuple[Array, Array]:
        to_w__kf = to_w.reshape(v__kf.shape)
        along = kernels.column_sum(to_w__kf * v__kf) / norm
        return (factor * (to_w__kf - v__kf * (along / norm))).reshape(shape), along

    result = record((v__kf * factor).reshape(shape), None, "array", (direction, gain), grad_fn)
    given: Any = result if isinstance(v, Tensor) or isinstance(g, Tensor) else result.values
    own: Array | Tensor = given
    return own
