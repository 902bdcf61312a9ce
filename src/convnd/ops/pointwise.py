"""What happens at each position on its own: activations, softmax, dropout, sums.

A position's result depends on nothing but its channels (and, for dropout, its place in its sample),
so op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..errors import ArgumentError
from ..random import Key
from ..tensor import Array, X, record
from ._operands import FUSED, batch, give_back, layout_of

ACTIVATIONS = (*FUSED, "gelu", "silu", "softplus")


def activate(x: X, name: str) -> X:
    """The activation called ``name``: "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu" or "softplus".

    >>> activate(np.array([[-1.0, 2.0]]), "relu").tolist()
    [[0.0, 2.0]]
    """
    if name not in ACTIVATIONS:
        raise ArgumentError(f"name must be one of {', '.join(ACTIVATIONS)}. Received: name={name!r}")
    t = batch(x)
    y = kernels.activate(t.values, name)
    # The derivative follows from the output where it can: then the input needn't be kept.
    kept = y if name in FUSED else t.values
    return give_back(record(y, t.layout, t.kind, (t,), lambda g: (kernels.activate_grad(kept, g, name),)), x)


def relu(x: X) -> X:
    """max(x, 0). Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    >>> relu(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """
    return activate(x, "relu")


def leaky_relu(x: X) -> X:
    """x where positive, else 0.01 x. Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network
    acoustic models", ICML 2013.

    >>> leaky_relu(np.array([[-1.0, 2.0]])).tolist()
    [[-0.01, 2.0]]
    """
    return activate(x, "leaky_relu")


def sigmoid(x: X) -> X:
    """1 / (1 + exp(-x)). Source: *Deep Learning*, eq. 3.30.

    >>> sigmoid(np.array([[0.0]])).tolist()
    [[0.5]]
    """
    return activate(x, "sigmoid")


def tanh(x: X) -> X:
    """The hyperbolic tangent. Source: *Deep Learning*, section 6.3.2.

    >>> tanh(np.array([[0.0]])).tolist()
    [[0.0]]
    """
    return activate(x, "tanh")


def elu(x: X) -> X:
    """x where positive, else exp(x) - 1. Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network
    learning by exponential linear units", ICLR 2016.

    >>> elu(np.array([[0.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """
    return activate(x, "elu")


def gelu(x: X) -> X:
    """x Phi(x), Phi the normal distribution's cumulative function. Source: Hendrycks and Gimpel, "Gaussian error
    linear units", arXiv:1606.08415.

    >>> gelu(np.array([[0.0]])).tolist()
    [[0.0]]
    """
    return activate(x, "gelu")


def silu(x: X) -> X:
    """x sigmoid(x). Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", Neural Networks 107, 2018.

    >>> silu(np.array([[0.0]])).tolist()
    [[0.0]]
    """
    return activate(x, "silu")


def softplus(x: X) -> X:
    """log(1 + exp(x)). Source: *Deep Learning*, eq. 3.31.

    >>> softplus(np.array([[0.0]])).round(6).tolist()
    [[0.693147]]
    """
    return activate(x, "softplus")


def softmax(x: X) -> X:
    """exp(x_c) / sum_k exp(x_k) over the channels of each position. Source: *Deep Learning*, eq. 4.1.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    t = batch(x)
    y = kernels.softmax(t.values)

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.softmax_grad(y, g),)

    return give_back(record(y, t.layout, t.kind, (t,), grad_fn), x)


def log_softmax(x: X) -> X:
    """x_c - log sum_k exp(x_k) over the channels of each position. Source: *Deep Learning*, eq. 6.30.

    >>> log_softmax(np.array([[0.0, 0.0]])).round(6).tolist()
    [[-0.693147, -0.693147]]
    """
    t = batch(x)
    y = kernels.log_softmax(t.values)

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.log_softmax_grad(y, g),)

    return give_back(record(y, t.layout, t.kind, (t,), grad_fn), x)


def dropout(x: X, rate: float, key: Key) -> X:
    """Set each value to zero with probability ``rate``, and divide the others by 1 - rate.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    rate : float
        At least 0 and below 1.
    key : convnd.random.Key
        Decides what is dropped: by sample and position within it, whatever else is in the batch.

    Raises
    ------
    ArgumentError
        If ``rate`` is out of range or ``key`` isn't a Key.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> sorted(set(dropout(np.ones((4, 8)), 0.5, Key(seed=1)).ravel().tolist()))
    [0.0, 2.0]
    """
    if not isinstance(rate, (int, float, np.number)) or not 0 <= rate < 1:
        raise ArgumentError(f"rate must be at least 0 and below 1. Received: rate={rate!r}")
    if not isinstance(key, Key):
        raise ArgumentError(f"key must be a convnd.random.Key. Received: key={key!r}")
    t = batch(x)
    if rate == 0:
        return x
    layout = layout_of(t)
    mask = kernels.dropout_mask(key.per_sample(len(t)), layout, t.channels, float(rate), t.dtype)
    return give_back(record(t.values * mask, t.layout, t.kind, (t,), lambda g: (g * mask,)), x)
