"""Convolutions in parts: an axis at a time, or space and channels apart."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.separable import one_axis_each
from ..tensor import Batch, Tensor
from .arguments import axis_ints, count, flag, fused, padding_argument, product
from .conv import Conv, DepthwiseConv
from .graph import Graph
from .init import initial
from .layer import Maker
from .spec import Mode, Spec


class SeparableConv(Conv):
    """Convolution with spatially separable kernels: one axis after the other.

    Filter f's kernel for channel c is the outer product of one vector an axis, ``w[j, c, f] = u[j_0, c, f] v_1[j_1, f]
    v_2[j_2, f] ...``. The first axis is convolved with all channels, each further one filter by filter: k_0 C + k_1 +
    k_2 + ... multiply-adds an output and filter, where :class:`Conv` takes k_0 k_1 k_2 ... C. Keeps the law.

    Parameters
    ----------
    filters, kernel, stride, padding, dilation, groups, bias, activation
        As :class:`Conv` has them.
    init : str or number
        Of u. The vectors start as "lecun_normal", which keeps the variance, as nothing lies between the axes.

    Parameters made: weight (k_0, 1, ..., channels / groups, filters); axis1 (1, k_1, 1, ..., 1, filters), axis2 and so
    on, one for each further axis; bias (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> conv = SeparableConv(8, 5, padding="same").build(ndim=3, channels=4)
    >>> conv(np.zeros((1, 6, 7, 8, 4), np.float32)).shape
    (1, 6, 7, 8, 8)
    >>> sum(p.values.size for p in conv.parameters()) - 8  # beside the bias; Conv has 5 * 5 * 5 * 4 * 8 = 4000
    240

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.8; Szegedy, Vanhoucke, Ioffe, Shlens & Wojna,
    "Rethinking the Inception architecture for computer vision", CVPR 2016, section 3.2.
    """

    def _shapes(self, given: Spec) -> list[tuple[int, ...]]:
        """Of the weights, an axis each. A sample without axes has the one of a linear layer."""
        groups, filters = self.split(given.channels)
        kernel = self.window(given.ndim).kernel
        first = (*kernel[:1], *(1,) * len(kernel[1:]), given.channels // groups, filters)
        further = [
            (*(1,) * axis, kernel[axis], *(1,) * (len(kernel) - axis - 1), 1, filters)
            for axis in range(1, len(kernel))
        ]
        return [first, *further]

    def make(self, given: Spec, new: Maker) -> None:
        groups, filters = self.split(given.channels)
        first, *further = self._shapes(given)
        new.parameter("weight", first, self.init, (product(first[:-1]), filters // groups * product(first[:-2])))
        for axis, shape in enumerate(further, 1):
            new.parameter(f"axis{axis}", shape, "lecun_normal", (product(shape[:-1]), product(shape[:-1])))
        if self.bias:
            new.parameter("bias", (filters,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        own = [self.params["weight"], *(value for name, value in self.params.items() if name.startswith("axis"))]
        ndim = own[0].values.ndim - 2
        steps = one_axis_each(ndim, self.stride, self.padding) or [{}]
        y = x
        for number, (weight, step) in enumerate(zip(own, steps, strict=True)):
            last = number == len(own) - 1
            y = ops.conv(
                y,
                weight,
                self.params.get("bias") if last else None,
                dilation=self.dilation,
                groups=self.filters if number else self.groups,
                activation=self.activation if last else None,
                **step,
            )
        return y

    def cost(self, *inputs: Spec, output: Spec) -> int:
        (x,) = inputs
        assert x.shape is not None
        assert output.shape is not None
        done = [(*output.shape[: axis + 1], *x.shape[axis + 1 :]) for axis in range(max(x.ndim, 1))]
        return sum(product(shape) * product(weight) for shape, weight in zip(done, self._shapes(x), strict=True))


class DepthwiseSeparableConv(Graph):
    """A depthwise convolution of each channel, then a pointwise one that mixes them.

    Window and channels apart: k^d C + C F multiply-adds an output position, where :class:`Conv` takes k^d C F. Nothing
    lies between the two. Keeps the law.

    Parameters
    ----------
    filters : int
        Channels of the result.
    kernel, stride, padding, dilation, multiplier
        Of the depthwise part, as :class:`DepthwiseConv` has them. It has no bias: the pointwise part's does its work.
    bias, activation, init
        Of the pointwise part. The depthwise weight starts as "lecun_normal", which keeps the variance.

    Parameters made: depthwise.weight (*kernel, 1, channels multiplier), pointwise.weight (1, ..., channels multiplier,
    filters) and pointwise.bias (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> conv = DepthwiseSeparableConv(8, 3, padding="same", activation="relu").build(ndim=2, channels=4)
    >>> conv(np.zeros((1, 6, 7, 4), np.float32)).shape
    (1, 6, 7, 8)
    >>> list(conv.named_parameters())
    ['depthwise.weight', 'pointwise.weight', 'pointwise.bias']

    Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017; Howard et al., "MobileNets",
    arXiv:1704.04861, section 3.1.
    """

    def __init__(
        self,
        filters: int,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        multiplier: int = 1,
        bias: bool = True,
        activation: str | None = None,
        init: Any = "he_normal",
    ) -> None:
        self.filters = count(filters, "filters")
        self.kernel = axis_ints(kernel, "kernel")
        self.stride = axis_ints(stride, "stride")
        self.padding = padding_argument(padding)
        self.dilation = axis_ints(dilation, "dilation")
        self.multiplier = count(multiplier, "multiplier")
        self.bias = flag(bias, "bias")
        self.activation = fused(activation)
        self.init = initial(init)
        depthwise = DepthwiseConv(
            self.kernel, self.stride, self.padding, self.dilation, self.multiplier, bias=False, init="lecun_normal"
        )
        pointwise = Conv(self.filters, 1, bias=self.bias, activation=self.activation, init=self.init)
        super().__init__({"depthwise": depthwise, "pointwise": pointwise})
