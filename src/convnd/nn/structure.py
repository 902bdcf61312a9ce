"""Layers that change a sample's box or its channels' order, join by products, or convolve by a table of connections."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..ops.channels import check_mask
from ..ops.padding import check_alignment, check_mode, cropped, pair_per_axis
from ..ops.resize import RESIZE_MODES, check_resize, number_per_axis, resized
from ..tensor import Batch, Tensor
from .arguments import axis_ints, count, flag, one_of, product
from .conv import Conv
from .layer import Layer, Maker
from .spec import Mode, Spec


def _pairs(value: Any, name: str) -> Any:
    """A per-axis argument of ints or (low, high) pairs while the rank isn't known yet."""
    if isinstance(value, (list, tuple)) and len(value):
        return pair_per_axis(value, len(value), name)
    return pair_per_axis(value, 1, name)[0][0]


def _like_shape(inputs: tuple[Spec, ...]) -> Spec:
    """The first input's channels with the second's shape."""
    x, like = inputs
    if like.ndim != x.ndim:
        raise ShapeError(f"like must have the input's {x.ndim} axes. Received: {like.ndim}")
    return Spec(x.ndim, x.channels, like.shape)


class Pad(Layer):
    """Positions added around every sample. Keeps the law.

    Parameters
    ----------
    padding : int, one int or (low, high) pair an axis
    mode : "constant", "reflect", "replicate" or "circular"
        What the new positions hold: :func:`convnd.ops.pad` has the details.
    value : float
        With "constant".

    Examples
    --------
    >>> import numpy as np
    >>> Pad(1, "circular")(np.arange(3.0).reshape(1, 3, 1)).ravel().tolist()
    [2.0, 0.0, 1.0, 2.0, 0.0]

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.5.
    """

    def __init__(self, padding: Any, mode: str = "constant", value: float = 0.0) -> None:
        self.padding = _pairs(padding, "padding")
        self.mode = check_mode(mode, value)
        self.value = float(value)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        pairs = pair_per_axis(self.padding, x.ndim, "padding")
        if x.shape is None:
            return x
        return Spec(x.ndim, x.channels, tuple(s + sum(pair) for s, pair in zip(x.shape, pairs, strict=True)))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.pad(inputs[0], self.padding, self.mode, self.value)


class Crop(Layer):
    """Positions taken off around every sample. Keeps the law.

    Parameters
    ----------
    cropping : int, one int or (low, high) pair an axis

    Examples
    --------
    >>> import numpy as np
    >>> Crop(1)(np.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [1.0, 2.0]
    """

    def __init__(self, cropping: Any) -> None:
        self.cropping = _pairs(cropping, "cropping")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        pairs = pair_per_axis(self.cropping, x.ndim, "cropping")
        return x if x.shape is None else Spec(x.ndim, x.channels, cropped(Layout.dense(1, x.shape), pairs).shape(0))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.crop(inputs[0], self.cropping)


class CropLike(Layer):
    """Every sample cropped to the shape that it has in a second input, ``Node(CropLike(), x, other)``. Keeps the law.

    Parameters
    ----------
    at : "centre" or "start"
        What is kept.

    Examples
    --------
    >>> import numpy as np
    >>> CropLike()(np.arange(4.0).reshape(1, 4, 1), np.zeros((1, 2, 3))).ravel().tolist()
    [1.0, 2.0]

    Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015, figure 1.
    """

    arity = (2, 2)

    def __init__(self, at: str = "centre") -> None:
        self.at = check_alignment(at)

    def output(self, *inputs: Spec) -> Spec:
        return _like_shape(inputs)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.crop_like(inputs[0], inputs[1], at=self.at)


class PadLike(Layer):
    """Every sample padded to the shape that it has in a second input, ``Node(PadLike(), x, other)``. Keeps the law.

    Parameters
    ----------
    at : "centre" or "start"
        Where the sample comes to lie.
    mode, value
        As :class:`Pad` has them.

    Examples
    --------
    >>> import numpy as np
    >>> PadLike()(np.ones((1, 2, 1)), np.zeros((1, 4, 3))).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    arity = (2, 2)

    def __init__(self, at: str = "centre", mode: str = "constant", value: float = 0.0) -> None:
        self.at = check_alignment(at)
        self.mode = check_mode(mode, value)
        self.value = float(value)

    def output(self, *inputs: Spec) -> Spec:
        return _like_shape(inputs)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.pad_like(inputs[0], inputs[1], at=self.at, mode=self.mode, value=self.value)


class Resize(Layer):
    """Every sample at another size: the nearest position, or a linear blend along each axis. Keeps the law.

    Given a second input and neither ``size`` nor ``scale``, the result takes the size of that one (``Node(..., like=)``
    in a graph).

    Parameters
    ----------
    size : int or one int an axis
        Of the result.
    scale : number or one an axis
        The result has floor(S scale) positions.
    mode : "nearest", "nearest_exact" or "linear"
    align_corners : bool
        With "linear": first and last positions meet. :func:`convnd.ops.resize` has the details.

    Examples
    --------
    >>> import numpy as np
    >>> Resize(scale=2)(np.array([[[1.0], [2.0]]])).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    >>> Resize(mode="linear")(np.array([[[1.0], [2.0]]]), np.zeros((1, 3, 1))).ravel().tolist()
    [1.0, 1.5, 2.0]

    Odena, Dumoulin & Olah, "Deconvolution and checkerboard artifacts", Distill, 2016.
    """

    arity = (1, 2)

    def __init__(
        self, size: Any = None, scale: Any = None, mode: str = "nearest", align_corners: bool = False
    ) -> None:
        check_resize(size, scale, size is None and scale is None, mode, align_corners)
        self.size = None if size is None else axis_ints(size, "size")
        self.scale = None if scale is None else _scale(scale)
        self.mode = one_of(mode, "mode", RESIZE_MODES)
        self.align_corners = flag(align_corners, "align_corners")

    def output(self, *inputs: Spec) -> Spec:
        x = inputs[0]
        check_resize(self.size, self.scale, len(inputs) > 1, self.mode, self.align_corners)
        if len(inputs) > 1:
            return _like_shape(inputs)
        scales = None if self.scale is None else number_per_axis(self.scale, x.ndim)
        # A size says what comes out, whatever comes in.
        given = (1,) * x.ndim if x.shape is None and scales is None else x.shape
        if given is None:
            return x
        return Spec(x.ndim, x.channels, resized(Layout.dense(1, given), self.size, scales, None).shape(0))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        like = inputs[1] if len(inputs) > 1 else None
        return ops.resize(inputs[0], self.size, self.scale, like, self.mode, self.align_corners)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        taps = 2 * output.ndim if self.mode == "linear" else 0
        return taps * output.positions * output.channels


def _scale(scale: Any) -> float | tuple[float, ...]:
    if isinstance(scale, (list, tuple)) and len(scale):
        return number_per_axis(scale, len(scale))
    return number_per_axis(scale, 1)[0]


class Multiply(Layer):
    """The product of its inputs, element by element. Keeps the law.

    They have one shape and as many channels; an input of one channel goes with every channel of the others.

    Examples
    --------
    >>> import numpy as np
    >>> Multiply()(np.full((1, 2), 3.0), np.array([[2.0]])).tolist()
    [[6.0, 6.0]]
    """

    pointwise = True
    arity = (2, None)

    def output(self, *inputs: Spec) -> Spec:
        listed = "; ".join(map(str, inputs))
        channels = max(spec.channels for spec in inputs)
        if any(spec.ndim != inputs[0].ndim or spec.channels not in (1, channels) for spec in inputs):
            raise ShapeError(f"Multiply needs inputs of one rank, with as many channels or one. Received: {listed}")
        shapes = {spec.shape for spec in inputs if spec.shape is not None}
        if len(shapes) > 1:
            raise ShapeError(f"Multiply needs inputs of one shape. Received: {listed}")
        return Spec(inputs[0].ndim, channels, shapes.pop() if shapes else None)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.multiply(inputs)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return (len(inputs) - 1) * output.positions * output.channels


class ScaleChannels(Layer):
    """Each channel of each sample times a number, from a second input without spatial axes. Keeps the law.

    Examples
    --------
    >>> import numpy as np
    >>> ScaleChannels()(np.ones((1, 2, 2)), np.array([[3.0, 5.0]])).tolist()
    [[[3.0, 5.0], [3.0, 5.0]]]

    Hu, Shen & Sun, "Squeeze-and-excitation networks", CVPR 2018, equation 4.
    """

    arity = (2, 2)

    def output(self, *inputs: Spec) -> Spec:
        x, factor = inputs
        if factor.ndim or factor.channels != x.channels:
            raise ShapeError(
                f"the factor must have no spatial axes and the input's {x.channels} channels. Received: {factor}"
            )
        return x

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.scale_channels(inputs[0], inputs[1])

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels


class ChannelShuffle(Layer):
    """The channels of all groups in turn, so that grouped convolutions' groups meet. Keeps the law.

    Parameters
    ----------
    groups : int
        It divides the channels.

    Examples
    --------
    >>> import numpy as np
    >>> ChannelShuffle(2)(np.arange(6.0).reshape(1, 6)).tolist()
    [[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]]

    Zhang, Zhou, Lin & Sun, "ShuffleNet", CVPR 2018, section 3.1.
    """

    pointwise = True

    def __init__(self, groups: int) -> None:
        self.groups = count(groups, "groups")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the channels. Received: {x.channels} channels")
        return x

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.channel_shuffle(inputs[0], self.groups)


class MaskedConv(Conv):
    """Convolution whose filters see some channels, or taps, alone: forbidden weights are zero and stay so.

    Parameters
    ----------
    filters, kernel, stride, padding, dilation, groups, bias, activation, init
        As :class:`Conv` has them.
    mask : rows of 0 and 1
        Over the last axes of the weight: (channels / groups, filters), at all taps alike, or (*kernel, channels /
        groups, filters).

    Parameters made: those of :class:`Conv`, the forbidden weights among them.

    Examples
    --------
    Layer C3 of LeNet-5, by its table of connections:

    >>> import numpy as np
    >>> from convnd.ops import LENET5_C3
    >>> c3 = MaskedConv(16, 5, LENET5_C3, activation="tanh").build(ndim=2, channels=6)
    >>> c3(np.zeros((1, 14, 14, 6), np.float32)).shape
    (1, 10, 10, 16)
    >>> sum(int(np.count_nonzero(p.values)) for p in c3.parameters()) + 16
    1516

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998, table I;
    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.5, figure 9.15.
    """

    def __init__(
        self,
        filters: int,
        kernel: Any,
        mask: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: Any = "he_normal",
    ) -> None:
        super().__init__(filters, kernel, stride, padding, dilation, groups, bias, activation, init)
        self.mask = _nested(check_mask(mask).astype(int).tolist())
        width = np.shape(self.mask)[-1]
        if np.ndim(self.mask) < 2 or width != self.filters:
            raise ArgumentError(f"mask must have {self.filters} columns, one a filter. Received: {np.shape(self.mask)}")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        groups, filters = self.split(x.channels)
        shape = (*self.window(x.ndim).kernel, x.channels // groups, filters)
        given = np.shape(self.mask)
        if given != shape[max(len(shape) - len(given), 0) :]:
            raise ShapeError(f"mask must have the shape of the last axes of the weight, {shape}. Received: {given}")
        return super().output(x)

    def make(self, given: Spec, new: Maker) -> None:
        groups, filters = self.split(given.channels)
        kernel = self.window(given.ndim).kernel
        terms, taps, seen = given.channels // groups, product(kernel), float(np.mean(self.mask))
        fans = (max(1, round(terms * taps * seen)), max(1, round(filters // groups * taps * seen)))
        new.parameter("weight", (*kernel, terms, filters), self.init, fans)
        made = getattr(new, "params", {}).get("weight")  # a Maker that only counts makes nothing
        if made is not None:
            made.assign(ops.mask_weight(made.values, self.mask))
        if self.bias:
            new.parameter("bias", (filters,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        return ops.conv(
            x,
            ops.mask_weight(self.params["weight"], self.mask),
            self.params.get("bias"),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.split(x.channels)[0],
            activation=self.activation,
        )

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return round(super().cost(*inputs, output=output) * float(np.mean(self.mask)))


def _nested(rows: Any) -> Any:
    """Lists as tuples."""
    return tuple(_nested(row) for row in rows) if isinstance(rows, list) else rows
