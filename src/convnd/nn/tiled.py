"""Convolutions that share weights in part or not at all, and biases that do."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..tensor import Batch, Tensor
from ..window import per_axis
from .arguments import axis_ints, count, fused, one_of, product, shape_after
from .conv import _Windowed
from .init import initial
from .layer import Layer, Maker
from .spec import Mode, Spec

BIASES = ("tiled", "channel", "none")


class TiledConv(_Windowed):
    """Convolution with ``tile`` kernels in rotation on every axis: output position q uses the one of q mod tile.

    Computes y[q, f] = b[q mod tile, f] + sum over taps j and channels c of x[q stride + j dilation - low, c] w[q mod
    tile, j, c, f], and then the activation. A tile of 1 is :class:`Conv`; as large as the output, :class:`LocalConv`.
    Keeps the law.

    Parameters
    ----------
    filters, kernel, stride, padding, dilation, groups, activation, init
        As :class:`Conv` has them.
    tile : int or one int an axis
        Kernels in rotation.
    bias : "tiled", "channel" or "none"
        Shared as the kernels are, or one a filter.

    Parameters made: weight (*tile, *kernel, channels / groups, filters), bias (*tile, filters) or (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> layer = TiledConv(8, 3, tile=2, padding="same").build(ndim=2, channels=1)
    >>> layer(np.zeros((1, 5, 7, 1), np.float32)).shape, layer.params["weight"].values.shape
    ((1, 5, 7, 8), (2, 2, 3, 3, 1, 8))

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.5 and equation 9.10; Le et al., "Tiled
    convolutional neural networks", NIPS 2010.
    """

    def __init__(
        self,
        filters: int,
        kernel: Any,
        tile: Any = 2,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        groups: int = 1,
        bias: str = "tiled",
        activation: str | None = None,
        init: Any = "he_normal",
    ) -> None:
        self.filters = count(filters, "filters")
        self.tile = axis_ints(tile, "tile")
        self._set_window(kernel, stride, padding, dilation)
        self._set_groups(groups)
        self._set_sharing(bias, activation, init)

    def _set_sharing(self, bias: Any, activation: Any, init: Any) -> None:
        self.bias = one_of(bias, "bias", BIASES)
        self.activation = fused(activation)
        self.init = initial(init)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the channels. Received: {x.channels} channels")
        return Spec(x.ndim, self.filters, shape_after(self.window(x.ndim), x.shape))

    def tiles(self, given: Spec) -> tuple[int, ...]:
        """Kernels on each axis, for an input like this."""
        return per_axis(self.tile, given.ndim, "tile")

    def make(self, given: Spec, new: Maker) -> None:
        tile, kernel = self.tiles(given), self.window(given.ndim).kernel
        terms, taps = given.channels // self.groups, product(kernel)
        shape = (*tile, *kernel, terms, self.filters)
        new.parameter("weight", shape, self.init, (terms * taps, self.filters // self.groups * taps))
        if self.bias != "none":
            new.parameter("bias", (*(tile if self.bias == "tiled" else ()), self.filters), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.tiled_conv(inputs[0], self.params["weight"], self.params.get("bias"), **self.arguments())

    def arguments(self) -> dict[str, Any]:
        """What the operation takes beside its operands."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "activation": self.activation,
        }

    def cost(self, *inputs: Spec, output: Spec) -> int:
        (x,) = inputs
        return output.positions * product(self.window(x.ndim).kernel) * (x.channels // self.groups) * output.channels


class LocalConv(TiledConv):
    """Locally connected: the connections of a convolution, a weight of its own for each. Keeps the law.

    It is for samples of one shape, which ``build`` must be told; for others use :class:`Conv` or :class:`TiledConv`, or
    put :class:`ProportionalPool` before it.

    Parameters
    ----------
    filters, kernel, stride, padding, dilation, groups, activation, init
        As :class:`Conv` has them.
    bias : "tiled", "channel" or "none"
        "tiled" is one for each filter at each position, as the weights are.

    Parameters made: weight (*output, *kernel, channels / groups, filters), bias (*output, filters) or (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> layer = LocalConv(4, 3).build(ndim=1, channels=2, shape=9)
    >>> layer(np.zeros((1, 9, 2), np.float32)).shape, layer.params["weight"].values.shape
    ((1, 7, 4), (7, 3, 2, 4))

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.5 and equation 9.9.
    """

    def __init__(
        self,
        filters: int,
        kernel: Any,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        groups: int = 1,
        bias: str = "tiled",
        activation: str | None = None,
        init: Any = "he_normal",
    ) -> None:
        self.filters = count(filters, "filters")
        self._set_window(kernel, stride, padding, dilation)
        self._set_groups(groups)
        self._set_sharing(bias, activation, init)

    def tiles(self, given: Spec) -> tuple[int, ...]:
        shape = self.output(given).shape
        if shape is None:
            raise ShapeError("LocalConv has weights for each position: give build(..., shape=...). Received: no shape")
        return shape

    def check_input(self, spec: Spec, known: Spec, path: str = "") -> None:
        super().check_input(spec, known, path)
        if spec.shape is not None and spec.shape != known.shape:
            at = f"{path}: " if path else ""
            raise ShapeError(f"{at}LocalConv was built for samples of shape {known.shape}. Received: {spec.shape}")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.local_conv(inputs[0], self.params["weight"], self.params.get("bias"), **self.arguments())


class Bias(Layer):
    """A bias of its own for every channel, and for every position of a tile if there is one. Keeps the law.

    Parameters
    ----------
    tile : int, one int an axis, "shape" or None
        None is one a channel. With a tile position p gets the one of p mod tile; "shape" makes the tile as large as the
        samples that ``build`` is told of: untied biases.

    Parameters made: bias (*tile, channels).

    Examples
    --------
    >>> Bias("shape").build(ndim=2, channels=3, shape=(4, 5)).params["bias"].values.shape
    (4, 5, 3)

    Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 9.5.
    """

    fixed = ("ndim", "channels")

    def __init__(self, tile: Any = None) -> None:
        if isinstance(tile, str) and tile != "shape":
            raise ArgumentError(f'tile must be None, "shape", an int or one an axis. Received: tile={tile!r}')
        self.tile = tile if tile is None or isinstance(tile, str) else axis_ints(tile, "tile")

    def output(self, *inputs: Spec) -> Spec:
        return inputs[0]

    def make(self, given: Spec, new: Maker) -> None:
        tile: tuple[int, ...] = ()
        if self.tile == "shape":
            if given.shape is None:
                raise ShapeError('Bias(tile="shape") needs the shape: give build(..., shape=...). Received: no shape')
            tile = given.shape
        elif self.tile is not None:
            tile = per_axis(self.tile, given.ndim, "tile")
        new.parameter("bias", (*tile, given.channels), "zeros")

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        (x,) = inputs
        bias = self.params["bias"]
        if self.tile == "shape":
            assert x.layout is not None
            own = bias.values.shape[:-1]
            others = np.flatnonzero((x.layout.shapes != own).any(axis=1))
            if len(others):
                sample = int(others[0])
                raise ShapeError(
                    f"Bias(tile='shape') has a bias for each position of samples of shape {own}: for other sizes use "
                    f"Bias() or a tile, or put ProportionalPool before it. "
                    f"Received: sample {sample} of shape {x.layout.shape(sample)}"
                )
        return ops.tiled_bias(x, bias)
