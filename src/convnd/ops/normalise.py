"""Normalisation by statistics of one sample, and of a weight's filters.

Mean and variance are those of a sample's own positions, so the law holds in training as well as after it:
op(batch) = concat(op(sample)), to the last bit. They are summed in float64, in an order that follows from the
sample's shape alone.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..kernels.checks import empty
from ..layout import Layout
from ..tensor import Array, Tensor, X, check_same_dtype, record
from ..window import Regions, refuse_empty
from ._operands import batch, fixed, give_back, layout_of, parameter
from .pooling import _proportional

DOUBLE = np.dtype(np.float64)


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
    return give_back(_scaled(t, gamma, beta, _Channels(), eps), x, gamma, beta)


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
    return give_back(_scaled(t, gamma, beta, _Sample.of(t, t.channels, "instance_norm"), eps), x, gamma, beta)


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
    return give_back(_scaled(t, gamma, beta, _Sample.of(t, int(groups), "group_norm"), eps), x, gamma, beta)


class _Sets(Protocol):
    """The sets of numbers that share a mean and a variance."""

    def mean(self, a__pc: Array) -> Array:
        """The mean of each set, from float64."""

    def align(self, a__pc: Array, means: Array) -> tuple[Array, Array]:
        """``a__pc``, and each set's number for all its members: in shapes that broadcast."""


class _Channels:
    """A set is the channels of one position."""

    def mean(self, a__pc: Array) -> Array:
        # Over the last, contiguous axis of float64: NumPy's pairwise sum, whose order follows from C alone.
        mean: Array = np.mean(a__pc, axis=1, keepdims=True)
        return mean

    def align(self, a__pc: Array, means: Array) -> tuple[Array, Array]:
        return a__pc, means


class _Sample:
    """A set is a group of channels at all positions of one sample."""

    def __init__(self, layout: Layout, groups: int) -> None:
        self._layout, self._groups = layout, groups
        self._regions: Regions = _proportional(layout, (1,) * layout.ndim)

    @classmethod
    def of(cls, x: Tensor, groups: int, name: str) -> _Sample:
        """The sets of ``x``, none of which may have one member only."""
        layout = layout_of(x)
        sets = cls(layout, groups)
        if len(layout) and x.channels // groups * int(layout.sizes.min()) < 2:
            sample = int(np.argmin(layout.sizes))
            raise ShapeError(
                f"sample {sample}: {name} needs at least 2 values for a mean and a variance; one position with "
                f"{x.channels} channels in {groups} groups has 1. Received: sample of shape {layout.shape(sample)}"
            )
        return sets

    def mean(self, a__pc: Array) -> Array:
        by_channel = kernels.pool(a__pc, self._regions, "mean")[0]
        samples, channels = by_channel.shape
        members = channels // self._groups
        if members == 1:
            return by_channel
        by_group = np.mean(by_channel.reshape(samples, self._groups, members), axis=2)
        return np.repeat(by_group, members, axis=1)

    def align(self, a__pc: Array, means: Array) -> tuple[Array, Array]:
        if len(self._layout) and self._layout.uniform:
            return a__pc.reshape(len(means), -1, means.shape[1]), means[:, None, :]
        return a__pc, np.repeat(means, self._layout.sizes, axis=0)


def _scaled(x: Tensor, gamma: Array | Tensor | None, beta: Array | Tensor | None, sets: _Sets, eps: float) -> Tensor:
    """``gamma n + beta``, n = (x - mean) inverse."""
    if not eps > 0:
        raise ArgumentError(f"eps must be positive. Received: eps={eps!r}")
    shape, zeros = (x.channels,), np.zeros(x.channels, x.dtype)
    scale = None if gamma is None else parameter(gamma, "gamma", x, shape)
    shift = None if beta is None else parameter(beta, "beta", x, shape)
    normal, inverse = _normal(x.values, sets, eps)
    by_channel = np.ones_like(zeros) if scale is None else scale.values
    y = normal
    if scale is not None or shift is not None:
        y = kernels.scale_shift(normal, by_channel, zeros if shift is None else shift.values)

    def grad_fn(g: Array) -> list[Array | None]:
        grads = [_normal_grad(g, by_channel, normal, inverse, sets) if x.requires_grad else None]
        if scale is not None or shift is not None:
            total, product = kernels.batch_norm_sums(g, normal, np.zeros(x.channels), np.ones_like(zeros), zeros)
            grads += [] if scale is None else [product.astype(x.dtype)]
            grads += [] if shift is None else [total.astype(x.dtype)]
        return grads

    parents = [x, *([] if scale is None else [scale]), *([] if shift is None else [shift])]
    return record(y, x.layout, x.kind, parents, grad_fn)


def _normal(x__pc: Array, sets: _Sets, eps: float) -> tuple[Array, Array]:
    """n = (x - mean) inverse in the dtype of x, and inverse = 1 / sqrt(var + eps) of each set."""
    positions, channels = x__pc.shape
    centred, squares = (empty(positions, channels, DOUBLE) for _ in range(2))  # and then in place: memory bounds it all
    np.copyto(centred, x__pc)
    a, mean = sets.align(centred, sets.mean(centred))
    np.subtract(a, mean, out=a)
    np.multiply(centred, centred, out=squares)
    inverse = 1 / np.sqrt(sets.mean(squares) + eps)
    normal = empty(positions, channels, x__pc.dtype)
    a, of_set = sets.align(centred, inverse)
    np.multiply(a, of_set, out=a)
    np.copyto(normal, centred, casting="same_kind")
    return normal, inverse


def _normal_grad(g__pc: Array, scale: Array, normal: Array, inverse: Array, sets: _Sets) -> Array:
    """The gradient to x, inverse (h - mean(h) - n mean(h n)) with h = g scale."""
    positions, channels = g__pc.shape
    h, product = (empty(positions, channels, DOUBLE) for _ in range(2))
    np.copyto(h, g__pc)  # what has two dtypes goes through small buffers: slower than a copy first
    np.multiply(h, scale.astype(DOUBLE), out=h)
    np.copyto(product, normal)
    np.multiply(h, product, out=product)
    _, along = sets.align(product, sets.mean(product))
    a, mean = sets.align(h, sets.mean(h))
    np.subtract(a, mean, out=a)
    n, p = normal.reshape(a.shape), product.reshape(a.shape)
    np.multiply(n, along, out=p)
    np.subtract(a, p, out=a)
    to_x = empty(positions, channels, g__pc.dtype)
    a, of_set = sets.align(h, inverse)
    np.multiply(a, of_set, out=a)
    np.copyto(to_x, h, casting="same_kind")
    return to_x


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
