"""Layers that normalise one sample by its own statistics, and the wrapper that normalises a layer's weight.

Nothing here is about a batch: all of it keeps the law, in training as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..tensor import Batch, Tensor
from ..window import per_axis
from .arguments import axis_ints, count, flag
from .config import from_config
from .conv import Conv, Linear
from .init import Initial
from .layer import Layer, Maker
from .pointwise import _Pointwise
from .spec import Mode, Spec


def positive(value: Any, name: str) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < float("inf"):
        raise ArgumentError(f"{name} must be a positive number. Received: {name}={value!r}")
    return float(value)


class _SampleNorm(_Pointwise):
    """What the norms with a scale and a shift for each channel share."""

    fixed = ("channels",)

    def __init__(self, eps: float = 1e-5, affine: bool = True) -> None:
        self.eps = positive(eps, "eps")
        self.affine = flag(affine, "affine")

    def make(self, given: Spec, new: Maker) -> None:
        if self.affine:
            new.parameter("gamma", (given.channels,), "ones")
            new.parameter("beta", (given.channels,), "zeros")

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels


class LayerNorm(_SampleNorm):
    """Layer normalisation: the channels of each position to mean 0 and variance 1, then a scale and a shift by channel.

    Parameters
    ----------
    eps : float
        Added to the variance.
    affine : bool
        Whether there are a scale and a shift.

    Parameters made: gamma and beta (channels,), at 1 and 0. Keeps the law.

    Examples
    --------
    >>> import numpy as np
    >>> norm = LayerNorm(eps=1e-12).build(ndim=0, channels=2, dtype="float64")
    >>> norm(np.array([[1.0, 3.0], [10.0, 30.0]])).round(6).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]

    Ba, Kiros & Hinton, "Layer normalization", 2016; over channels alone as in Liu et al., "A ConvNet for the 2020s",
    CVPR 2022.
    """

    pointwise = True

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.layer_norm(inputs[0], self.params.get("gamma"), self.params.get("beta"), eps=self.eps)


class InstanceNorm(_SampleNorm):
    """Instance normalisation: each channel of a sample to mean 0 and variance 1 over its positions.

    The arguments and the parameters made are those of :class:`LayerNorm`. Keeps the law.

    Examples
    --------
    >>> import numpy as np
    >>> norm = InstanceNorm(eps=1e-12, affine=False).build(ndim=1, channels=1, dtype="float64")
    >>> norm(np.array([1.0, 1.0, 3.0, 3.0]).reshape(1, 4, 1)).round(6).ravel().tolist()
    [-1.0, -1.0, 1.0, 1.0]

    Ulyanov, Vedaldi & Lempitsky, "Instance normalization", 2016.
    """

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.instance_norm(inputs[0], self.params.get("gamma"), self.params.get("beta"), eps=self.eps)


class GroupNorm(_SampleNorm):
    """Group normalisation: each group of channels of a sample to mean 0 and variance 1, over all its positions.

    Parameters
    ----------
    groups : int
        It divides the channels; 1 is the whole sample.
    eps, affine
        As :class:`LayerNorm` has them, and so are the parameters made. Keeps the law.

    Examples
    --------
    >>> import numpy as np
    >>> norm = GroupNorm(2, eps=1e-12).build(ndim=1, channels=4, dtype="float64")
    >>> norm(np.array([1.0, 3.0, 10.0, 30.0]).reshape(1, 1, 4)).round(6).tolist()
    [[[-1.0, 1.0, -1.0, 1.0]]]

    Wu & He, "Group normalization", ECCV 2018.
    """

    def __init__(self, groups: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.groups = count(groups, "groups")
        super().__init__(eps, affine)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the channels. Received: {x.channels} channels")
        return x

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        gamma, beta = self.params.get("gamma"), self.params.get("beta")
        return ops.group_norm(inputs[0], self.groups, gamma, beta, eps=self.eps)


class LocalResponseNorm(_Pointwise):
    """Local response normalisation: x_c / (k + alpha / size sum x^2)^beta over the ``size`` channels around c.

    Keeps the law.

    Parameters
    ----------
    size : int
        Channels in a window, c - size // 2 to c + (size - 1) // 2.
    alpha, beta, k : float
        As in PyTorch, where alpha is divided by ``size``. AlexNet's paper doesn't do so: its numbers are ``size=5,
        alpha=5e-4, k=2`` here.

    Examples
    --------
    >>> import numpy as np
    >>> LocalResponseNorm(1, alpha=1.0, beta=0.5)(np.array([[0.0, 2.0]])).round(6).tolist()
    [[0.0, 0.894427]]

    Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section
    3.3.
    """

    pointwise = True

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = count(size, "size")
        self.alpha = positive(alpha, "alpha")
        self.beta = positive(beta, "beta")
        self.k = positive(k, "k")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.local_response_norm(inputs[0], self.size, alpha=self.alpha, beta=self.beta, k=self.k)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return output.positions * output.channels * self.size


class LocalContrastNorm(_Pointwise):
    """Local contrast normalisation: subtracts the mean around each position, divides by the deviation around it.

    Both are over all channels and a Gaussian window's true positions; the divisor is at least its mean over the
    sample. Keeps the law.

    Parameters
    ----------
    size : int or one int an axis
        Positions in the window: odd.
    sigma : float or one an axis, or None
        Of the Gaussian, in positions; None means size / 4.
    eps : float
        The least divisor.

    Examples
    --------
    >>> import numpy as np
    >>> LocalContrastNorm(5)(np.full((1, 6, 6, 3), 0.5)).round(9).any().tolist()
    False

    Jarrett, Kavukcuoglu, Ranzato & LeCun, "What is the best multi-stage architecture for object recognition?", ICCV
    2009, section 2.1.
    """

    def __init__(self, size: Any = 9, sigma: Any = None, eps: float = 1e-4) -> None:
        self.size = axis_ints(size, "size")
        if any(one % 2 == 0 for one in np.atleast_1d(self.size).tolist()):
            raise ArgumentError(f"size must be odd, so that the window has a centre. Received: size={size!r}")
        many = isinstance(sigma, (tuple, list))
        self.sigma = tuple(positive(one, "sigma") for one in sigma) if many else sigma
        if not many and sigma is not None:
            self.sigma = positive(sigma, "sigma")
        self.eps = positive(eps, "eps")

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        per_axis(self.size, x.ndim, "size")
        if isinstance(self.sigma, tuple) and len(self.sigma) != x.ndim:
            raise ArgumentError(f"sigma must be one number, or one an axis ({x.ndim}). Received: sigma={self.sigma}")
        return x

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.local_contrast_norm(inputs[0], self.size, sigma=self.sigma, eps=self.eps)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        # Two blurs of one number a position, one axis after the other; the squares and the division.
        return output.positions * (2 * sum(per_axis(self.size, output.ndim, "size")) + 2 * output.channels)


class _Definition(dict[str, Any]):
    """A layer's config, for configs; it is written as the layer."""

    def __repr__(self) -> str:
        return repr(from_config(self))


class WeightNorm(Layer):
    """A convolution or a linear layer whose weight is ``g v / ||v||``: a norm and a direction for each filter.

    It starts as the layer itself would: v as its weight, and g = ||v||. Keeps the law.

    Parameters
    ----------
    layer : Conv, DepthwiseConv, Linear or another kind of them, or its config
        What is wrapped: its definition. It isn't built itself.

    Parameters made: v, in the shape of the layer's weight; g, one number a filter; and the layer's others, such as
    bias.

    Examples
    --------
    >>> import numpy as np
    >>> layer = WeightNorm(Conv(8, 3)).build(ndim=2, channels=1)
    >>> layer
    WeightNorm(Conv(8, 3))
    >>> {name: value.values.shape for name, value in layer.params.items()}
    {'v': (3, 3, 1, 8), 'g': (8,), 'bias': (8,)}
    >>> layer(np.zeros((1, 6, 7, 1), np.float32)).shape
    (1, 4, 5, 8)

    Salimans & Kingma, "Weight normalization", NeurIPS 2016.
    """

    def __init__(self, layer: Layer | Mapping[str, Any]) -> None:
        wrapped = from_config(layer) if isinstance(layer, Mapping) else layer
        if not isinstance(wrapped, (Conv, Linear)) or wrapped.frozen:
            raise ArgumentError(
                f"layer must be a Conv, a Linear or another kind of them, not frozen. Received: layer={layer!r}"
            )
        self.layer = _Definition(wrapped.config())
        self._wrapped: Layer = from_config(self.layer)

    @property
    def fixed(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the wrapped layer."""
        return self._wrapped.fixed

    def output(self, *inputs: Spec) -> Spec:
        return self._wrapped.output(*inputs)

    def make(self, given: Spec, new: Maker) -> None:
        self._wrapped.make(given, _Renaming(new))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        params = dict(self.params)
        weight = ops.weight_norm(params.pop("v"), params.pop("g"))
        assert isinstance(weight, Tensor)
        layer = copy.copy(self._wrapped)  # one a call: several threads may be here
        layer.params = {"weight": weight, **params}
        return layer.forward(*inputs, mode=mode)

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return self._wrapped.cost(*inputs, output=output)


class _Renaming(Maker):
    """Makes v and g where the layer asks for its weight."""

    def __init__(self, new: Maker) -> None:
        self._new = new

    def parameter(self, name: str, shape: tuple[int, ...], init: Initial, fans: tuple[int, int] = (1, 1)) -> None:
        if name != "weight":
            self._new.parameter(name, shape, init, fans)
            return
        self._new.parameter("v", shape, init, fans)
        self._new.parameter("g", shape[-1:], "ones")
        made = getattr(self._new, "params", None)  # a Maker that only counts has none
        if made is not None:
            v = made["v"].values.reshape(-1, shape[-1])
            made["g"].assign(np.sqrt((v * v).sum(axis=0)))

    def buffer(self, name: str, shape: tuple[int, ...], value: float) -> None:
        self._new.buffer(name, shape, value)
