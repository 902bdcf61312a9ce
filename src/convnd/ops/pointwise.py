"""What happens at each position on its own: activations, softmax, dropout, sums.

A position's result depends on nothing but its channels (and, for dropout, its place in its sample),
so op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..errors import ArgumentError
from ..random import Key
from ..tensor import Array, Tensor, X, record
from ._operands import FUSED, batch, give_back, layout_of, parameter

ACTIVATIONS = (*FUSED, "gelu", "silu", "softplus", "selu", "hardsigmoid", "hardswish", "absolute")


def activate(x: X, name: str) -> X:
    """The activation called ``name``: "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus",
    "selu", "hardsigmoid", "hardswish" or "absolute".

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


def selu(x: X) -> X:
    """scale x where positive, else scale alpha (exp(x) - 1), scale = 1.0507... and alpha = 1.6732...: the values with
    which mean 0 and variance 1 are a fixed point of a layer. Source: Klambauer, Unterthiner, Mayr, Hochreiter,
    "Self-normalizing neural networks", NeurIPS 2017, eq. 2.

    >>> selu(np.array([[0.0, 2.0]])).round(6).tolist()
    [[0.0, 2.101402]]
    """
    return activate(x, "selu")


def hardsigmoid(x: X) -> X:
    """min(max(x + 3, 0), 6) / 6. Its derivative at -3 and 3 is 0. Source: Howard et al., "Searching for MobileNetV3",
    ICCV 2019, section 5.2.

    >>> hardsigmoid(np.array([[-4.0, 0.0, 3.0]])).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return activate(x, "hardsigmoid")


def hardswish(x: X) -> X:
    """x min(max(x + 3, 0), 6) / 6. Its derivative at -3 is 0, at 3 it is 1. Source: Howard et al., "Searching for
    MobileNetV3", ICCV 2019, section 5.2.

    >>> hardswish(np.array([[0.0, 1.5, 3.0]])).tolist()
    [[0.0, 1.125, 3.0]]
    """
    return activate(x, "hardswish")


def absolute(x: X) -> X:
    """abs(x): rectification that keeps both polarities apart from sign. Its derivative at 0 is 0. Source: Jarrett,
    Kavukcuoglu, Ranzato, LeCun, "What is the best multi-stage architecture for object recognition?", ICCV 2009; *Deep
    Learning*, section 6.3.1.

    >>> absolute(np.array([[-1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """
    return activate(x, "absolute")


def prelu(x: X, slope: Array | Tensor) -> X:
    """x where positive, else slope_c x, with a slope for each channel that is learned: parametric rectification.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    slope : (C,), of the dtype of ``x``

    Returns
    -------
    The kind of ``x``; a Tensor if any operand is one. At 0 the gradient is the negative side's.

    Raises
    ------
    ShapeError
        If ``slope`` isn't (C,).

    References
    ----------
    He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 1.

    Examples
    --------
    >>> prelu(np.array([[-2.0, -2.0, 2.0]]), np.array([0.5, 0.1, 0.1])).tolist()
    [[-1.0, -0.2, 2.0]]
    """
    t = batch(x)
    s = parameter(slope, "slope", t, (t.channels,))
    values = t.values
    y = kernels.leaky(values, values, s.values)

    def grad_fn(g: Array) -> tuple[Array | None, Array | None]:
        to_x = kernels.leaky(values, g, s.values) if t.requires_grad else None
        to_slope = None
        if s.requires_grad:  # the sum of g x where x is negative: where ReLU has its slope at -x
            zeros = np.zeros(t.channels)
            slope, shift = -np.ones(t.channels, t.dtype), zeros.astype(t.dtype)
            to_slope = kernels.batch_norm_sums(g, values, zeros, slope, shift, "relu")[1].astype(t.dtype)
        return to_x, to_slope

    return give_back(record(y, t.layout, t.kind, (t, s), grad_fn), x, slope)


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
