"""Normalisation over a batch's true positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..tensor import Array, Tensor, X, record
from ._operands import batch, check_fused, give_back, parameter


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
) -> X:
    """Batch normalisation: ``activation(gamma (x - mean) / sqrt(var + eps) + beta)``, channel by channel.

    In training, mean and variance are those of all true positions of the batch (padding doesn't exist),
    summed in a fixed tree in float64, and the running ones move towards them in place:
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

    Raises
    ------
    ShapeError
        If a vector isn't (C,), or a batch in training has a single position.
    ArgumentError
        If ``momentum``, ``eps`` or ``activation`` is outside its rule.

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
    t = batch(x)
    shape = (t.channels,)
    scale, shift = parameter(gamma, "gamma", t, shape), parameter(beta, "beta", t, shape)
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(running, np.ndarray) or running.shape != shape:
            raise ShapeError(f"{name} must be an ndarray of shape {shape}. Received: shape {np.shape(running)}")
    if training:
        mean, var = _batch_moments(t, running_mean, running_var, momentum)
    else:
        mean, var = running_mean.astype(np.float64), running_var.astype(np.float64)
    return give_back(_normalise(t, scale, shift, mean, 1 / np.sqrt(var + eps), training, activation), x, gamma, beta)


def _batch_moments(x: Tensor, running_mean: Array, running_var: Array, momentum: float) -> tuple[Array, Array]:
    count = len(x.values)
    if count < 2:
        raise ShapeError(f"batch_norm in training needs at least 2 positions in the batch. Received: {count}")
    mean, var = kernels.moments(x.values)
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)
    return mean, var


def _normalise(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Array, inverse: Array, training: bool, activation: str | None
) -> Tensor:
    dtype = x.dtype
    factor = gamma.values * inverse  # float64, as mean and inverse are
    offset = beta.values - mean * factor
    y = kernels.scale_shift(x.values, factor.astype(dtype), offset.astype(dtype), activation=activation)

    def grad_fn(g: Array) -> tuple[Any, Any, Any]:
        if activation is not None:
            g = kernels.activate_grad(y, g, activation)
        total, product = kernels.batch_norm_sums(g, x.values, mean)
        to_x = None
        if x.requires_grad:
            # d/dx of the batch's own mean and variance; both are constants where the running ones were used.
            share = 1 / len(g) if training else 0.0
            slope = -factor * inverse**2 * product * share
            level = -factor * total * share - slope * mean
            to_x = kernels.batch_norm_grad(g, x.values, factor.astype(dtype), slope.astype(dtype), level.astype(dtype))
        return to_x, (product * inverse).astype(dtype), total.astype(dtype)

    return record(y, x.layout, x.kind, (x, gamma, beta), grad_fn)
