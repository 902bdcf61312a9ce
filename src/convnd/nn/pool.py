"""Pooling layers, and the step from a fixed shape to one vector."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import ShapeError
from ..tensor import Batch, Tensor
from ..window import Window, per_axis
from .arguments import axis_ints, flag, one_of, padding_argument, product, shape_after
from .layer import Layer
from .spec import Mode, Spec


class _Pool(Layer):
    """What the sliding pools share."""

    def __init__(
        self, size: Any, stride: Any = None, padding: Any = "valid", dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        self.size = axis_ints(size, "size")
        self.stride = None if stride is None else axis_ints(stride, "stride")
        self.padding = padding_argument(padding)
        self.dilation = axis_ints(dilation, "dilation")
        self.ceil_mode = flag(ceil_mode, "ceil_mode")

    def sliding(self, ndim: int) -> Window | None:
        stride = self.size if self.stride is None else self.stride
        return Window.of(ndim, self.size, stride, self.padding, self.dilation, self.ceil_mode, name="size")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        window = self.sliding(x.ndim)
        assert window is not None
        return Spec(x.ndim, x.channels, shape_after(window, x.shape))

    def arguments(self) -> dict[str, Any]:
        """What the operation takes beside its input."""
        return {
            "size": self.size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }


class MaxPool(_Pool):
    """The largest value in each window, channel by channel. Padding never wins. Keeps the law.

    Parameters
    ----------
    size : int or one int an axis
    stride : int or one int an axis, or None
        None means the size: windows that don't overlap.
    padding, dilation
        As :class:`Conv` has them.
    ceil_mode : bool
        Whether a last window that reaches over the end counts too.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool(2)(np.arange(6.0).reshape(1, 6, 1)).ravel().tolist()
    [1.0, 3.0, 5.0]

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.3.
    """

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        result: Batch = ops.max_pool(inputs[0], **self.arguments())
        return result


class AvgPool(_Pool):
    """The mean of the true positions in each window, channel by channel; padding never counts. Keeps the law.

    The arguments are those of :class:`MaxPool`.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool(2)(np.arange(6.0).reshape(1, 6, 1)).ravel().tolist()
    [0.5, 2.5, 4.5]

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998, section II.
    """

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.avg_pool(inputs[0], **self.arguments())


class ProportionalPool(Layer):
    """A fixed number of bins whatever the sample's size, each as wide in proportion. Keeps the law.

    Bin i of b on an axis of S positions covers floor(i S / b) up to ceil((i + 1) S / b), also where S < b.

    Parameters
    ----------
    bins : int or one int an axis
        Positions of the result.
    mode : "max", "mean" or "sum"

    Examples
    --------
    >>> import numpy as np
    >>> ProportionalPool(2)(np.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [2.0, 4.0]

    He, Zhang, Ren & Sun, "Spatial pyramid pooling in deep convolutional networks", ECCV 2014: one level of it.
    """

    def __init__(self, bins: Any, mode: str = "max") -> None:
        self.bins = axis_ints(bins, "bins")
        self.mode = one_of(mode, "mode", ("max", "mean", "sum"))

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        return Spec(x.ndim, x.channels, per_axis(self.bins, x.ndim, "bins"))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.proportional_pool(inputs[0], self.bins, mode=self.mode)


class GlobalPool(Layer):
    """One vector of channels a sample: over all its positions. The result has rank 0. Keeps the law.

    Parameters
    ----------
    mode : "mean", "max" or "sum"

    Examples
    --------
    >>> import numpy as np
    >>> GlobalPool()(np.arange(6.0).reshape(1, 6, 1)).tolist()
    [[2.5]]

    Lin, Chen & Yan, "Network in network", ICLR 2014, section 3.2.
    """

    def __init__(self, mode: str = "mean") -> None:
        self.mode = one_of(mode, "mode", ("mean", "max", "sum"))

    def output(self, *inputs: Spec) -> Spec:
        return Spec(0, inputs[0].channels, ())

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.global_pool(inputs[0], mode=self.mode)


class Flatten(Layer):
    """All positions and channels of a sample as one vector, the last axis fastest. The result has rank 0.

    All samples must have one shape: put :class:`ProportionalPool` before it where they don't.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 3, 4, 5))).shape
    (2, 60)
    """

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.shape is None:
            raise ShapeError(
                "Flatten needs the spatial shape: build(..., shape=...) where all samples have one, or put "
                f"ProportionalPool before it. Received: {x}"
            )
        return Spec(0, product(x.shape) * x.channels, ())

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.flatten(inputs[0])
