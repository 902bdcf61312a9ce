"""Layers that work on each position or channel by itself: activation, dropout, batch normalisation."""

from __future__ import annotations

from .. import ops
from ..errors import ArgumentError
from ..tensor import Batch, Tensor
from .arguments import ACTIVATIONS, fused, one_of, share
from .layer import Layer, Maker
from .pool import MaxPool
from .spec import Mode, Spec


class _Pointwise(Layer):
    """A layer whose result is shaped as its input."""

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return x


class Activation(_Pointwise):
    """A nonlinearity by name, at each position. Keeps the law.

    Parameters
    ----------
    function : str
        "relu", "leaky_relu" (slope 0.01), "sigmoid", "tanh", "elu", "gelu", "silu", "softplus" of every element;
        "softmax" or "log_softmax" over the channels.

    Examples
    --------
    >>> import numpy as np
    >>> Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 6.3.
    """

    pointwise = True

    def __init__(self, function: str) -> None:
        self.function = one_of(function, "function", ACTIVATIONS)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        result: Batch = getattr(ops, self.function)(x)
        return result


class Dropout(_Pointwise):
    """In training, sets each element to 0 with probability ``rate`` and divides the others by 1 - rate.

    What is dropped follows from the call's ``rng`` (seed, step), the layer's place in the network, the sample and the
    position: not from what else is in the batch. Outside training it changes nothing.

    Parameters
    ----------
    rate : float in [0, 1)

    Examples
    --------
    >>> import numpy as np
    >>> Dropout(0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]

    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout", JMLR 15, 2014; the book's section 7.12.
    """

    pointwise = True

    def __init__(self, rate: float) -> None:
        self.rate = share(rate, "rate")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        if not mode.training or self.rate == 0:
            return x
        if mode.rng is None:
            raise ArgumentError("Dropout in training needs rng, a convnd.random.Key(seed, step). Received: rng=None")
        return ops.dropout(x, self.rate, mode.rng.fold(mode.path))


class BatchNorm(_Pointwise):
    """Batch normalisation: each channel to mean 0 and variance 1, then times a scale plus a shift.

    In training the mean and (biased) variance are those of the batch, over all true positions of all its samples: an
    exception to the law. Meanwhile running averages are kept, new = (1 - momentum) old + momentum batch, with the
    unbiased variance; inference and a frozen layer use these, and keep the law.

    Parameters
    ----------
    momentum : float in (0, 1]
        The weight of the newest batch in the running averages.
    eps : float
        Added to the variance.
    activation : "relu", "leaky_relu", "sigmoid", "tanh", "elu" or None
        Fused. So is a :class:`MaxPool` that is all that follows in a network.

    Parameters made: gamma and beta (channels,), at 1 and 0. Buffers: running_mean and running_var, at 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> norm = BatchNorm(momentum=1.0).build(ndim=0, channels=1, dtype="float64")
    >>> norm(np.array([[1.0], [3.0]]), training=True).round(3).tolist()
    [[-1.0], [1.0]]
    >>> norm.buffers["running_mean"].tolist(), norm.buffers["running_var"].tolist()
    ([2.0], [2.0])

    Ioffe & Szegedy, "Batch normalization", ICML 2015; the book's section 8.7.1.
    """

    pointwise = True
    fixed = ("channels",)
    takes_along = (MaxPool,)

    def __init__(self, momentum: float = 0.1, eps: float = 1e-5, activation: str | None = None) -> None:
        if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0 < momentum <= 1:
            raise ArgumentError(f"momentum must be a number in (0, 1]. Received: momentum={momentum!r}")
        if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps < float("inf"):
            raise ArgumentError(f"eps must be a positive number. Received: eps={eps!r}")
        self.momentum = float(momentum)
        self.eps = float(eps)
        self.activation = fused(activation)

    def make(self, given: Spec, new: Maker) -> None:
        shape = (given.channels,)
        new.parameter("gamma", shape, "ones")
        new.parameter("beta", shape, "zeros")
        new.buffer("running_mean", shape, 0.0)
        new.buffer("running_var", shape, 1.0)

    def forward(self, *inputs: Tensor, mode: Mode, then: MaxPool | None = None) -> Batch:
        return ops.batch_norm(
            inputs[0],
            self.params["gamma"],
            self.params["beta"],
            self.buffers["running_mean"],
            self.buffers["running_var"],
            training=mode.training and not self.frozen,
            momentum=self.momentum,
            eps=self.eps,
            activation=self.activation,
            pool=None if then is None else then.arguments(),
        )

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels
