"""Layers that multiply by weights: convolution, its transpose, depthwise, linear."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..ops.convolution import ALGORITHMS
from ..tensor import Batch, Tensor
from ..window import Window
from .arguments import axis_ints, count, flag, fused, one_of, padding_argument, product, shape_after
from .init import initial
from .layer import Layer, Maker
from .spec import Mode, Spec


class _Windowed(Layer):
    """What ``Conv`` and ``ConvTranspose`` share: their window's arguments, bias and activation."""

    fixed = ("ndim", "channels")
    filters: int
    bias: bool | str

    def _set_window(self, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
        self.kernel = axis_ints(kernel, "kernel")
        self.stride = axis_ints(stride, "stride")
        self.padding = padding_argument(padding)
        self.dilation = axis_ints(dilation, "dilation")

    def _set_groups(self, groups: Any) -> None:
        self.groups = count(groups, "groups")
        if self.filters % self.groups:
            raise ArgumentError(f"groups must divide filters={self.filters}. Received: groups={groups}")

    def _set_rest(self, bias: Any, activation: Any, init: Any) -> None:
        self.bias = flag(bias, "bias")
        self.activation = fused(activation)
        self.init = initial(init)

    def window(self, ndim: int) -> Window:
        """The window on ``ndim`` axes."""
        return Window.of(ndim, self.kernel, self.stride, self.padding, self.dilation, name="kernel")


class Conv(_Windowed):
    """Convolution: ``filters`` weighted sums over a window that slides along every axis.

    Computes y[q, f] = b[f] + sum over taps j and channels c of x[q stride + j dilation - low, c] w[j, c, f], which is
    cross-correlation, as deep learning has it, and then the activation. Keeps the law.

    Parameters
    ----------
    filters : int
        Channels of the result.
    kernel : int or one int an axis
        Positions the window reads on an axis.
    stride, dilation : int or one int an axis
        Steps between outputs, and between taps.
    padding : str, int, one int an axis, or (low, high) an axis
        "valid", "same" (ceil(S / stride) positions), "same_lower", "causal", "full", or zeros around the sample.
    groups : int
        Groups of channels that don't see one another; it divides the channels and the filters.
    bias : bool
    activation : "relu", "leaky_relu", "sigmoid", "tanh", "elu" or None
        Fused; for others follow with :class:`Activation`.
    init : str or number
        Of the weight, a name in :mod:`convnd.nn.init`. The bias starts at 0.
    algorithm : "auto", "direct", "winograd" or "fft"
        As :func:`convnd.ops.conv` has it.

    Parameters made: weight (*kernel, channels / groups, filters), bias (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> conv = Conv(8, 3, stride=2, padding="same", activation="relu").build(ndim=1, channels=2)
    >>> conv(np.zeros((1, 9, 2), np.float32)).shape
    (1, 5, 8)

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, sections 9.1, 9.5 and equation 9.6.
    """

    def __init__(
        self,
        filters: int,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: Any = "he_normal",
        algorithm: str = "auto",
    ) -> None:
        self.filters = count(filters, "filters")
        self._set_window(kernel, stride, padding, dilation)
        self._set_groups(groups)
        self._set_rest(bias, activation, init)
        self.algorithm = one_of(algorithm, "algorithm", ALGORITHMS)

    def sliding(self, ndim: int) -> Window | None:
        return self.window(ndim)

    def split(self, channels: int) -> tuple[int, int]:
        """(groups, filters) for this many channels."""
        if channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the channels. Received: {channels} channels")
        return self.groups, self.filters

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return Spec(x.ndim, self.split(x.channels)[1], shape_after(self.window(x.ndim), x.shape))

    def make(self, given: Spec, new: Maker) -> None:
        groups, filters = self.split(given.channels)
        kernel = self.window(given.ndim).kernel
        terms, taps = given.channels // groups, product(kernel)
        new.parameter("weight", (*kernel, terms, filters), self.init, (terms * taps, filters // groups * taps))
        if self.bias:
            new.parameter("bias", (filters,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        return ops.conv(
            x,
            self.params["weight"],
            self.params.get("bias"),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.split(x.channels)[0],
            activation=self.activation,
            algorithm=self.algorithm,
            moments=mode.moments,
        )

    def cost(self, *inputs: Spec, output: Spec) -> int:
        (x,) = inputs
        taps = product(self.window(x.ndim).kernel)
        return output.positions * taps * (x.channels // self.split(x.channels)[0]) * output.channels


class DepthwiseConv(Conv):
    """Convolution of every channel on its own: ``Conv`` with as many groups as channels.

    Parameters
    ----------
    kernel, stride, padding, dilation, bias, activation, init, algorithm
        As :class:`Conv` has them.
    multiplier : int
        Filters of each channel: the result has channels times multiplier of them.

    Examples
    --------
    >>> DepthwiseConv(3).build(ndim=2, channels=6).params["weight"].values.shape
    (3, 3, 1, 6)

    Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017.
    """

    def __init__(
        self,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        multiplier: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: Any = "he_normal",
        algorithm: str = "auto",
    ) -> None:
        self._set_window(kernel, stride, padding, dilation)
        self.multiplier = count(multiplier, "multiplier")
        self._set_rest(bias, activation, init)
        self.algorithm = one_of(algorithm, "algorithm", ALGORITHMS)

    def split(self, channels: int) -> tuple[int, int]:
        return channels, channels * self.multiplier


class ConvTranspose(_Windowed):
    """The transpose of a convolution: it goes from the small size back to the large one.

    Every input position adds its weighted window to the result. On an axis of size S the result has (S - 1) stride +
    dilation (kernel - 1) + 1 - low - high + output_padding positions, with padding="same" S stride. Given a second
    input, the result takes the size of that one (``Node(..., like=)`` in a graph): decoders meet their encoders at odd
    sizes. Keeps the law.

    Parameters
    ----------
    filters : int
        Channels of the result.
    kernel, stride, padding, dilation, groups
        Of the convolution whose transpose this is.
    output_padding : int or one int an axis
        Positions added at the end.
    bias, activation, init
        As :class:`Conv` has them.

    Parameters made: weight (*kernel, filters / groups, channels), that of the convolution it transposes, and bias
    (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> up = ConvTranspose(4, 2, stride=2).build(ndim=1, channels=8)
    >>> up(np.zeros((1, 5, 8), np.float32)).shape
    (1, 10, 4)
    >>> up(np.zeros((1, 5, 8), np.float32), np.zeros((1, 11, 3), np.float32)).shape
    (1, 11, 4)

    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
    """

    arity = (1, 2)

    def __init__(
        self,
        filters: int,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        output_padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: Any = "he_normal",
    ) -> None:
        self.filters = count(filters, "filters")
        self._set_window(kernel, stride, padding, dilation)
        self.output_padding = axis_ints(output_padding, "output_padding", least=0)
        self._set_groups(groups)
        self._set_rest(bias, activation, init)

    def output(self, *inputs: Spec) -> Spec:
        x, like = inputs[0], inputs[1] if len(inputs) > 1 else None
        if x.channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the channels. Received: {x.channels} channels")
        window, shape = self.window(x.ndim), None
        if like is not None and like.ndim != x.ndim:
            raise ShapeError(f"like must have the input's {x.ndim} axes. Received: {like.ndim}")
        if x.shape is not None and (like is None or like.shape is not None):
            wanted = None if like is None or like.shape is None else Layout.dense(1, like.shape)
            shape = window.transposed_on(Layout.dense(1, x.shape), self.output_padding, wanted).input.shape(0)
        return Spec(x.ndim, self.filters, shape)

    def make(self, given: Spec, new: Maker) -> None:
        window = self.window(given.ndim)
        shape = (*window.kernel, self.filters // self.groups, given.channels)
        # An output sums over the taps that meet it: one in stride along each axis.
        terms = max(1, round(product(window.kernel) / product(window.stride))) * given.channels // self.groups
        reached = product(window.kernel) * self.filters // self.groups
        new.parameter("weight", shape, self.init, (terms, reached))
        if self.bias:
            new.parameter("bias", (self.filters,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.conv_transpose(
            inputs[0],
            self.params["weight"],
            self.params.get("bias"),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
            activation=self.activation,
            like=inputs[1] if len(inputs) > 1 else None,
        )

    def cost(self, *inputs: Spec, output: Spec) -> int:
        x = inputs[0]
        return x.positions * product(self.window(x.ndim).kernel) * x.channels * (self.filters // self.groups)


class Linear(Layer):
    """A linear map of the channels of each position, y = x w + b, and then the activation. Keeps the law.

    Parameters
    ----------
    features : int
        Channels of the result.
    bias : bool
    activation : "relu", "leaky_relu", "sigmoid", "tanh", "elu" or None
    init : str or number
        Of the weight, a name in :mod:`convnd.nn.init`. The bias starts at 0.

    Parameters made: weight (channels, features), bias (features,).

    Examples
    --------
    >>> import numpy as np
    >>> Linear(3).build(ndim=0, channels=10)(np.zeros((2, 10), np.float32)).shape
    (2, 3)

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 6.1.
    """

    fixed = ("channels",)
    pointwise = True

    def __init__(
        self, features: int, bias: bool = True, activation: str | None = None, init: Any = "glorot_uniform"
    ) -> None:
        self.features = count(features, "features")
        self.bias = flag(bias, "bias")
        self.activation = fused(activation)
        self.init = initial(init)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return Spec(x.ndim, self.features, x.shape)

    def make(self, given: Spec, new: Maker) -> None:
        fans = (given.channels, self.features)
        new.parameter("weight", fans, self.init, fans)
        if self.bias:
            new.parameter("bias", (self.features,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        return ops.linear(x, self.params["weight"], self.params.get("bias"), activation=self.activation)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * inputs[0].channels * self.features
