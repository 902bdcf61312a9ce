"""Normalisation over a batch's true positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..tensor import Array, Tensor, X, record
from ..window import Regions
from ._operands import batch, check_fused, give_back, layout_of, parameter
from .pooling import pooled_regions

POOL = ("size", "stride", "padding", "dilation", "ceil_mode")


def batch_norm(
    x: X,
    gamma: Array | Tensor,
    beta: Array | Tensor,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
    pool: Mapping[str, Any] | None = None,
) -> X:
    """Batch normalisation: ``activation(gamma (x - mean) / sqrt(var + eps) + beta)``, channel by channel.

    In training, mean and variance are those of all true positions of the batch (padding doesn't exist),
    summed in a fixed tree in float64 (or counted by the convolution before, :func:`conv`), and the running ones move
    towards them in place:
    ``running += momentum (batch - running)``, with the unbiased variance. So in training a sample's
    result does depend on the batch: the one exception to the law here. Otherwise the running ones are
    used, and op(batch) = concat(op(sample)), to the last bit.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    gamma, beta : (C,), of the dtype of ``x``
    running_mean, running_var : ndarray (C,), float32 or float64
        Changed in place in training.
    momentum : float
        The weight of the batch, at least 0 and at most 1.
    eps : float
        Positive.
    activation : None, "relu", "leaky_relu", "sigmoid", "tanh" or "elu"
    pool : mapping, optional
        The arguments of a :func:`max_pool` that follows, ``{"size": 2}`` at least. The result is that of the two, to
        the last bit, but what lies between them is never in memory.

    Raises
    ------
    ShapeError
        If a vector isn't (C,), or a batch in training has a single position.
    ArgumentError
        If ``momentum``, ``eps``, ``activation`` or ``pool`` is outside its rule.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> batch_norm(x, np.ones(1), np.zeros(1), mean, var, training=True, eps=1e-12).round(6).tolist()
    [[-1.0], [1.0]]
    >>> mean.tolist(), var.tolist()
    ([0.2], [1.1])
    """
    check_fused(activation)
    if not 0 <= momentum <= 1:
        raise ArgumentError(f"momentum must be at least 0 and at most 1. Received: momentum={momentum!r}")
    if not eps > 0:
        raise ArgumentError(f"eps must be positive. Received: eps={eps!r}")
    if pool is not None and ("size" not in pool or not set(pool).issubset(POOL)):
        raise ArgumentError(f"pool must have size, and else only {', '.join(POOL[1:])}. Received: pool={pool!r}")
    t = batch(x)
    shape = (t.channels,)
    scale, shift = parameter(gamma, "gamma", t, shape), parameter(beta, "beta", t, shape)
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(running, np.ndarray) or running.shape != shape:
            raise ShapeError(f"{name} must be an ndarray of shape {shape}. Received: shape {np.shape(running)}")
    regions = None if pool is None else pooled_regions(layout_of(t), **pool)
    if training:
        mean, var = _batch_moments(t, running_mean, running_var, momentum)
    else:
        mean, var = running_mean.astype(np.float64), running_var.astype(np.float64)
    norm = _Norm.of(scale, shift, mean, var + eps, training, activation)
    if regions is None:
        result = _normalise(t, scale, shift, norm)
    else:
        result = _normalise_and_pool(t, scale, shift, norm, regions)
    return give_back(result, x, gamma, beta)


def _batch_moments(x: Tensor, running_mean: Array, running_var: Array, momentum: float) -> tuple[Array, Array]:
    count = len(x.values)
    if count < 2:
        raise ShapeError(f"batch_norm in training needs at least 2 positions in the batch. Received: {count}")
    mean, var = x.packs.get("moments") or kernels.moments(x.values)
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)
    return mean, var


class _Norm(NamedTuple):
    """``activation(x scale + shift)``, scale = gamma inverse and shift = beta - mean scale, where inverse is 1 over
    the standard deviation. The way back goes in two passes over the gradient: sums, and the gradient to x from them."""

    mean: Array  # float64, as factor and inverse are
    inverse: Array
    factor: Array
    scale: Array  # in the dtype of x
    shift: Array
    training: bool
    activation: str | None

    @classmethod
    def of(
        cls, gamma: Tensor, beta: Tensor, mean: Array, var: Array, training: bool, activation: str | None
    ) -> _Norm:
        dtype = gamma.dtype
        inverse = 1 / np.sqrt(var)
        factor = gamma.values * inverse
        shift = beta.values - mean * factor
        return cls(mean, inverse, factor, factor.astype(dtype), shift.astype(dtype), training, activation)

    def to_parameters(self, total: Array, product: Array) -> tuple[Array, Array]:
        """The gradients to gamma and beta, from the sums of g and of g (x - mean)."""
        return (product * self.inverse).astype(self.scale.dtype), total.astype(self.scale.dtype)

    def through_moments(self, total: Array, product: Array, count: int) -> tuple[Array, Array]:
        """(slope, level): the gradient to x is g scale + x slope + level.

        The last two are d/dx of the batch's own mean and variance, which are constants where the running ones were
        used."""
        share = 1 / count if self.training else 0.0
        slope = -self.factor * self.inverse**2 * product * share
        level = -self.factor * total * share - slope * self.mean
        return slope.astype(self.scale.dtype), level.astype(self.scale.dtype)


def _normalise(x: Tensor, gamma: Tensor, beta: Tensor, norm: _Norm) -> Tensor:
    y = kernels.scale_shift(x.values, norm.scale, norm.shift, norm.activation)

    def grad_fn(g: Array) -> tuple[Any, Any, Any]:
        by_x = (norm.scale, norm.shift, norm.activation)
        sums = kernels.batch_norm_sums(g, x.values, norm.mean, *by_x)
        to_x = None
        if x.requires_grad:
            slope, level = norm.through_moments(*sums, len(x.values))
            to_x = kernels.batch_norm_grad(g, x.values, norm.scale, norm.shift, slope, level, norm.activation)
        return to_x, *norm.to_parameters(*sums)

    return record(y, x.layout, x.kind, (x, gamma, beta), grad_fn)


def _normalise_and_pool(x: Tensor, gamma: Tensor, beta: Tensor, norm: _Norm, regions: Regions) -> Tensor:
    by_x = (norm.scale, norm.shift, norm.activation)
    y, index, winner = kernels.scale_shift_pool(x.values, regions, *by_x)

    def grad_fn(g: Array) -> tuple[Any, Any, Any]:
        activation = norm.activation
        if activation not in (None, "relu"):    # its slope costs something, and here it is asked for at maxima alone
            g, activation = kernels.activate_grad(y, g, activation), None
        sums = kernels.batch_norm_sums(g, winner, norm.mean, norm.scale, norm.shift, activation)
        to_x = None
        if x.requires_grad:
            slope, level = norm.through_moments(*sums, len(x.values))
            to_x = kernels.scale_shift_pool_grad(
                g, x.values, regions, index, norm.scale, norm.shift, slope, level, activation)
        return to_x, *norm.to_parameters(*sums)

    return record(y, regions.output, x.kind, (x, gamma, beta), grad_fn)
