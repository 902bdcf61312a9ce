"""Pooling layers beyond the maximum and the mean: other statistics, across channels, and by other regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..ops.channel_pooling import channel_numbers
from ..tensor import Batch, Tensor
from ..window import per_axis
from .arguments import axis_ints, count, one_of, product
from .layer import Layer
from .pool import _Pool
from .spec import Mode, Spec

MODES = ("max", "mean", "sum")


def _positive(value: Any, name: str, least: float = 0.0) -> float:
    """A finite number of at least ``least``, and above 0."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not least <= value < math.inf or value == 0:
        rule = f"a finite number of at least {least:g}" if least else "a positive number"
        raise ArgumentError(f"{name} must be {rule}. Received: {name}={value!r}")
    return float(value)


class LpPool(_Pool):
    """The p-norm of each window, channel by channel, (sum |x|^p)^(1/p); padding never counts. Keeps the law.

    Parameters
    ----------
    size : int or one int an axis
    p : float
        At least 1, and finite. The book names the L2 norm.
    stride, padding, dilation, ceil_mode
        As :class:`MaxPool` has them.

    Examples
    --------
    >>> import numpy as np
    >>> LpPool(2)(np.array([3.0, 4.0, 0.0, -1.0]).reshape(1, 4, 1)).ravel().tolist()
    [5.0, 1.0]

    Sermanet, Chintala & LeCun, "Convolutional neural networks applied to house numbers digit classification",
    ICPR 2012; the book's section 9.3.
    """

    def __init__(
        self,
        size: Any,
        p: float = 2.0,
        stride: Any = None,
        padding: Any = "valid",
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(size, stride, padding, dilation, ceil_mode)
        self.p = _positive(p, "p", 1.0)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.lp_pool(inputs[0], p=self.p, **self.arguments())


class WeightedPool(_Pool):
    """The mean of each window, weighted with a Gaussian of the distance from its centre. Keeps the law.

    The weights of the true positions are scaled to sum 1; padding never counts.

    Parameters
    ----------
    size : int or one int an axis
    sigma : float
        The Gaussian's standard deviation as a share of the window's size.
    stride, padding, dilation, ceil_mode
        As :class:`MaxPool` has them.

    Examples
    --------
    >>> import numpy as np
    >>> WeightedPool(3)(np.array([0.0, 4.0, 0.0]).reshape(1, 3, 1)).ravel().round(2).tolist()
    [2.2]

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.3.
    """

    def __init__(
        self,
        size: Any,
        sigma: float = 0.25,
        stride: Any = None,
        padding: Any = "valid",
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(size, stride, padding, dilation, ceil_mode)
        self.sigma = _positive(sigma, "sigma")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.weighted_pool(inputs[0], sigma=self.sigma, **self.arguments())

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels * product(per_axis(self.size, output.ndim, "size"))


class StochasticPool(_Pool):
    """In training, a value drawn from each window in proportion to the values; else the expectation of that.

    What is drawn follows from the call's ``rng`` (seed, step), the layer's place in the network, the sample and the
    position: not from what else is in the batch. Inference keeps the law. Values must not be negative: put it after
    a "relu". The arguments are those of :class:`MaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> StochasticPool(2)(np.array([1.0, 3.0]).reshape(1, 2, 1)).ravel().tolist()
    [2.5]

    Zeiler & Fergus, "Stochastic pooling for regularization of deep convolutional neural networks", ICLR 2013.
    """

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        if mode.training and mode.rng is None:
            raise ArgumentError(
                "StochasticPool in training needs rng, a convnd.random.Key(seed, step). Received: rng=None"
            )
        key = None if mode.rng is None else mode.rng.fold(mode.path)
        return ops.stochastic_pool(inputs[0], training=mode.training, key=key, **self.arguments())


class MaxUnpool(_Pool):
    """The way back from a :class:`MaxPool` of the same arguments: values go where the maxima came from. Keeps the law.

    Takes two inputs: what is to go back, and what the max pool took. The maxima are found in the latter again; the
    result has its size, and zeros at all other positions. Values that meet, where windows overlap, are added.

    Examples
    --------
    A decoder that puts values back where its encoder found them:

    >>> import numpy as np
    >>> from convnd import nn
    >>> net = nn.Graph({
    ...     "pool": nn.MaxPool(2),
    ...     "code": nn.Activation("relu"),
    ...     "unpool": nn.Node(nn.MaxUnpool(2), "code", "input"),
    ... })
    >>> net(np.array([1.0, 3.0, 5.0, 2.0]).reshape(1, 4, 1)).ravel().tolist()
    [0.0, 3.0, 5.0, 0.0]

    Zeiler, Taylor & Fergus, "Adaptive deconvolutional networks for mid and high level feature learning", ICCV 2011.
    """

    arity = (2, 2)

    def output(self, *inputs: Spec) -> Spec:
        values, pooled = inputs
        wanted = super().output(pooled)
        differ = values.shape is not None and wanted.shape is not None and values.shape != wanted.shape
        if (values.ndim, values.channels) != (wanted.ndim, wanted.channels) or differ:
            raise ShapeError(
                f"MaxUnpool takes values shaped as the maxima of its second input, {wanted}. Received: {values}"
            )
        return pooled

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        values, pooled = inputs
        _, indices = ops.max_pool(pooled.detach(), return_indices=True, **self.arguments())
        return ops.max_unpool(values, indices, like=pooled)


class Maxout(Layer):
    """The largest of each group of ``pieces`` neighbouring channels, at every position. Keeps the law.

    After a layer with ``pieces`` times the filters it is the maxout unit: pooling over filters, which can learn what
    to be invariant to.

    Parameters
    ----------
    pieces : int
        It must divide the input's channels.

    Examples
    --------
    >>> import numpy as np
    >>> Maxout(2)(np.array([[1.0, 3.0, 5.0, 2.0]])).tolist()
    [[3.0, 5.0]]

    Goodfellow, Warde-Farley, Mirza, Courville & Bengio, "Maxout networks", ICML 2013; the book's figure 9.9.
    """

    pointwise = True

    def __init__(self, pieces: int) -> None:
        self.pieces = count(pieces, "pieces")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.channels % self.pieces:
            raise ShapeError(f"pieces={self.pieces} must divide the channels of the input. Received: {x}")
        return Spec(x.ndim, x.channels // self.pieces, x.shape)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.maxout(inputs[0], self.pieces)


class PoolChannels(_Pool):
    """Pools some channels; the others are subsampled at each window's centre. Keeps the law.

    With ``stride=1`` and ``padding="same"`` the others pass unchanged.

    Parameters
    ----------
    channels : list of ints
        Those that are pooled; negative numbers count from the last.
    size : int or one int an axis
    mode : "max", "mean" or "sum"
    stride, padding, dilation, ceil_mode
        As :class:`MaxPool` has them.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.stack([np.arange(4.0), np.arange(4.0)], axis=-1)[None]
    >>> PoolChannels([0], 2)(x).tolist()
    [[[1.0, 0.0], [3.0, 2.0]]]

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.4.
    """

    def __init__(
        self,
        channels: Sequence[int],
        size: Any,
        mode: str = "max",
        stride: Any = None,
        padding: Any = "valid",
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(size, stride, padding, dilation, ceil_mode)
        if not isinstance(channels, (Sequence, np.ndarray)) or isinstance(channels, str) or not len(channels):
            raise ArgumentError(f"channels must be a list of at least one int. Received: channels={channels!r}")
        self.channels = tuple(count(number, "channels", least=-(2**62)) for number in channels)
        self.mode = one_of(mode, "mode", MODES)

    def output(self, *inputs: Spec) -> Spec:
        channel_numbers(self.channels, inputs[0].channels)
        return super().output(*inputs)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.pool_channels(inputs[0], self.channels, mode=self.mode, **self.arguments())


class SpatialPyramidPool(Layer):
    """One vector a sample from bins at several scales, side by side, whatever its size. Has rank 0. Keeps the law.

    Parameters
    ----------
    levels : list
        The bins of each level: an int, or one an axis.
    mode : "max", "mean" or "sum"

    Examples
    --------
    >>> import numpy as np
    >>> SpatialPyramidPool((1, 2))(np.arange(5.0).reshape(1, 5, 1)).tolist()
    [[4.0, 2.0, 4.0]]

    He, Zhang, Ren & Sun, "Spatial pyramid pooling in deep convolutional networks", ECCV 2014.
    """

    def __init__(self, levels: Sequence[Any] = (1, 2, 4), mode: str = "max") -> None:
        if not isinstance(levels, Sequence) or isinstance(levels, str) or not levels:
            raise ArgumentError(f"levels must be a list of at least one number of bins. Received: levels={levels!r}")
        self.levels = tuple(axis_ints(level, "levels") for level in levels)
        self.mode = one_of(mode, "mode", MODES)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return Spec(0, x.channels * sum(product(per_axis(level, x.ndim, "levels")) for level in self.levels), ())

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.spatial_pyramid_pool(inputs[0], self.levels, mode=self.mode)


class QuadrantPool(Layer):
    """Every sample pooled into its halves on each axis: shape (2, ..., 2). Keeps the law.

    Parameters
    ----------
    mode : "sum", "mean" or "max"

    Examples
    --------
    >>> import numpy as np
    >>> QuadrantPool()(np.ones((1, 4, 6, 1)))[0, ..., 0].tolist()
    [[6.0, 6.0], [6.0, 6.0]]

    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011.
    """

    def __init__(self, mode: str = "sum") -> None:
        self.mode = one_of(mode, "mode", MODES)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return Spec(x.ndim, x.channels, (2,) * x.ndim)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.quadrant_pool(inputs[0], self.mode)


class KMaxPool(Layer):
    """The k largest values along the first axis of each channel, in the order they stand there. Keeps the law.

    Parameters
    ----------
    k : int

    Examples
    --------
    >>> import numpy as np
    >>> KMaxPool(2)(np.array([2.0, 9.0, 1.0, 5.0]).reshape(1, 4, 1)).ravel().tolist()
    [9.0, 5.0]

    Kalchbrenner, Grefenstette & Blunsom, "A convolutional neural network for modelling sentences", ACL 2014.
    """

    def __init__(self, k: int) -> None:
        self.k = count(k, "k")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.ndim == 0 or (x.shape is not None and x.shape[0] < self.k):
            raise ShapeError(f"KMaxPool needs a first axis of at least k={self.k} positions. Received: {x}")
        return Spec(x.ndim, x.channels, None if x.shape is None else (self.k, *x.shape[1:]))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.k_max_pool(inputs[0], self.k)


class RoiPool(Layer):
    """Each box of a sample pooled into the same number of bins; the result has one sample a box. Keeps the law.

    Takes two inputs: the features, and the boxes as a batch of rank 1, one position a box, whose channels are begin and
    end of the first axis, then of the next: whole numbers, end not included. No gradient goes to the boxes.

    Parameters
    ----------
    bins : int or one int an axis
    mode : "max", "mean" or "sum"

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[[0.0, 4.0], [3.0, 6.0]]])
    >>> RoiPool(2)(np.arange(6.0).reshape(1, 6, 1), boxes)[..., 0].tolist()
    [[1.0, 3.0], [4.0, 5.0]]

    Girshick, "Fast R-CNN", ICCV 2015, section 2.1.
    """

    arity = (2, 2)

    def __init__(self, bins: Any, mode: str = "max") -> None:
        self.bins = axis_ints(bins, "bins")
        self.mode = one_of(mode, "mode", MODES)

    def output(self, *inputs: Spec) -> Spec:
        x, boxes = inputs
        if boxes.ndim != 1 or boxes.channels != 2 * x.ndim:
            raise ShapeError(
                f"RoiPool takes boxes of rank 1 and {2 * x.ndim} channels, two an axis. Received: {boxes}"
            )
        return Spec(x.ndim, x.channels, per_axis(self.bins, x.ndim, "bins"))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.roi_pool(inputs[0], inputs[1], self.bins, mode=self.mode)
