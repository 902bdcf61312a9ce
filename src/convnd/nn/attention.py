"""Layers that weight their input by what they see of it as a whole."""

from __future__ import annotations

from .. import ops
from ..ops.channels import scale_channels
from ..tensor import Batch, Tensor
from .arguments import count, fused
from .layer import Maker
from .pointwise import _Pointwise
from .spec import Mode, Spec


class SqueezeExcite(_Pointwise):
    """Squeeze and excitation: every channel of a sample times a number in (0, 1) that follows from all channels' means.

    ``s = sigmoid(activation(z w1 + b1) w2 + b2)`` and ``y = x s``, z the mean of each channel over the sample's
    positions: global pooling, two linear layers, and a scale. Keeps the law.

    Parameters
    ----------
    reduction : int
        The middle has channels // reduction features, at least 1.
    activation : "relu", "leaky_relu", "sigmoid", "tanh", "elu" or None
        Of the middle.

    Parameters made: w1 (channels, features), b1 (features,), w2 (features, channels), b2 (channels,). The weights start
    with "he_normal" and "glorot_uniform", b1 and b2 at 0.

    Examples
    --------
    >>> import numpy as np
    >>> layer = SqueezeExcite(4).build(ndim=2, channels=8)
    >>> x = np.ones((1, 5, 6, 8), np.float32)
    >>> y = layer(x)
    >>> y.shape, bool((y < x).all()), bool((y == y[:, :1, :1]).all())
    ((1, 5, 6, 8), True, True)

    Hu, Shen & Sun, "Squeeze-and-excitation networks", CVPR 2018, section 3.
    """

    fixed = ("channels",)

    def __init__(self, reduction: int = 16, activation: str | None = "relu") -> None:
        self.reduction = count(reduction, "reduction")
        self.activation = fused(activation)

    def features(self, channels: int) -> int:
        """Of the middle, for this many channels."""
        return max(channels // self.reduction, 1)

    def make(self, given: Spec, new: Maker) -> None:
        channels, features = given.channels, self.features(given.channels)
        new.parameter("w1", (channels, features), "he_normal", (channels, features))
        new.parameter("b1", (features,), "zeros")
        new.parameter("w2", (features, channels), "glorot_uniform", (features, channels))
        new.parameter("b2", (channels,), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,), own = inputs, self.params
        z = ops.global_pool(x, "mean")
        z = ops.linear(z, own["w1"], own["b1"], activation=self.activation)
        return scale_channels(x, ops.linear(z, own["w2"], own["b2"], activation="sigmoid"))

    def cost(self, *inputs: Spec, output: Spec) -> int:
        return (output.positions + 2 * self.features(output.channels)) * output.channels
