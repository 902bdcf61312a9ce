"""Layers that work on each position or channel by itself: activation, dropout, batch normalisation."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import ArgumentError
from ..random import Key
from ..tensor import Batch, Tensor
from ..window import per_axis
from .arguments import ACTIVATIONS, axis_ints, fused, one_of, share
from .init import initial
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
        "relu", "leaky_relu" (slope 0.01), "sigmoid", "tanh", "elu", "gelu", "silu", "softplus", "selu",
        "hardsigmoid", "hardswish", "absolute" of every element; "softmax" or "log_softmax" over the channels.

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


class PReLU(_Pointwise):
    """x where positive, else slope x, with a slope that is learned for each channel. Keeps the law.

    Parameters
    ----------
    init : number or str
        Of the slopes.

    Parameters made: slope (channels,).

    Examples
    --------
    >>> import numpy as np
    >>> PReLU().build(ndim=0, channels=2, dtype="float64")(np.array([[-2.0, 2.0]])).tolist()
    [[-0.5, 2.0]]

    He, Zhang, Ren & Sun, "Delving deep into rectifiers", ICCV 2015, section 2.1.
    """

    pointwise = True
    fixed = ("channels",)

    def __init__(self, init: Any = 0.25) -> None:
        self.init = initial(init)

    def make(self, given: Spec, new: Maker) -> None:
        new.parameter("slope", (given.channels,), self.init)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.prelu(inputs[0], self.params["slope"])

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels


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
            name = type(self).__name__
            raise ArgumentError(f"{name} in training needs rng, a convnd.random.Key(seed, step). Received: rng=None")
        return self.drop(x, mode.rng.fold(mode.path))

    def drop(self, x: Tensor, key: Key) -> Tensor:
        """What it does in training."""
        return ops.dropout(x, self.rate, key)


class SpatialDropout(Dropout):
    """In training, sets whole channels of a sample to 0 with probability ``rate`` and divides the others by 1 - rate.

    The argument is that of :class:`Dropout`, and so is what decides. Outside training it changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from convnd.random import Key
    >>> y = SpatialDropout(0.5)(np.ones((1, 5, 8)), training=True, rng=Key(1))
    >>> bool((y == y[:, :1]).all()), sorted(set(y.ravel().tolist()))
    (True, [0.0, 2.0])

    Tompson, Goroshin, Jain, LeCun & Bregler, "Efficient object localization using convolutional networks", CVPR 2015.
    """

    def drop(self, x: Tensor, key: Key) -> Tensor:
        return ops.spatial_dropout(x, self.rate, key)


class DropBlock(Dropout):
    """In training, sets blocks of neighbouring positions to 0, in each channel on its own; the rest is scaled up.

    About a ``rate`` of all values goes; :func:`convnd.ops.drop_block` has the details. Blocks are no larger than the
    sample. Outside training it changes nothing.

    Parameters
    ----------
    size : int or one int an axis
        Positions of a block.
    rate : float in [0, 1)

    Examples
    --------
    >>> import numpy as np
    >>> from convnd.random import Key
    >>> DropBlock(3, 0.4)(np.ones((1, 8, 1)), training=True, rng=Key(4)).ravel().tolist()
    [0.0, 0.0, 0.0, 1.6, 1.6, 1.6, 1.6, 1.6]

    Ghiasi, Lin & Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.
    """

    def __init__(self, size: Any, rate: float) -> None:
        self.size = axis_ints(size, "size")
        super().__init__(rate)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        per_axis(self.size, x.ndim, "size")
        return x

    def drop(self, x: Tensor, key: Key) -> Tensor:
        return ops.drop_block(x, self.size, self.rate, key)


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

    def wants_moments(self, mode: Mode) -> bool:
        return mode.training and not self.frozen

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
