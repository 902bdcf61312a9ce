"""Pooling: by windows, in proportion to a sample's size, and over the whole sample.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..tensor import Array, Tensor, X, record
from ..window import Regions, per_axis, proportional_regions, window_regions
from ._operands import batch, give_back, layout_of, window

MODES = ("max", "mean", "sum")


def max_pool(
    x: X, size: Any, *, stride: Any = None, padding: Any = "valid", dilation: Any = 1, ceil_mode: bool = False
) -> X:
    """The largest value under the window, channel by channel. Padding never counts.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size : int, or one an axis
    stride : int, or one an axis
        None means ``size``.
    padding, dilation
        As for :func:`convnd.ops.conv`.
    ceil_mode : bool
        Also keep a last window that reaches over the end (the output's size is rounded up).

    Returns
    -------
    The kind of ``x``. The gradient goes to the first of equal largest values.

    Raises
    ------
    ShapeError
        If a sample is too short for the window, or a window holds padding alone (the message names the sample).

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3.

    Examples
    --------
    >>> max_pool(np.array([1.0, 3.0, 2.0, 5.0]).reshape(1, 4, 1), 2).ravel().tolist()
    [3.0, 5.0]
    """
    t = batch(x)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    return give_back(_pool(t, regions, "max"), x)


def avg_pool(
    x: X,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> X:
    """The mean under the window, channel by channel, over true positions.

    ``count_include_pad`` divides by the whole window's positions instead, as if padding were zeros.
    All else is as for :func:`max_pool`.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 2.0]).reshape(1, 3, 1)
    >>> avg_pool(x, 2, padding="same").ravel().tolist()
    [2.0, 2.0]
    >>> avg_pool(x, 2, padding="same", count_include_pad=True).ravel().tolist()
    [2.0, 1.0]
    """
    t = batch(x)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    return give_back(_pool(t, regions, "mean_padded" if count_include_pad else "mean"), x)


def proportional_pool(x: X, bins: Any, mode: str = "max") -> X:
    """Pool every sample into the same number of bins, whatever its size.

    Bin i of b on an axis of length S covers positions floor(i S / b) up to ceil((i + 1) S / b), also where S < b.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    bins : int, or one an axis
    mode : "max", "mean" or "sum"

    Returns
    -------
    The kind of ``x``; every sample has shape ``bins``.

    References
    ----------
    He, Zhang, Ren, Sun, "Spatial pyramid pooling in deep convolutional networks for visual recognition", ECCV 2014.

    Examples
    --------
    >>> proportional_pool(np.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
    [2.0, 4.0]
    """
    t = batch(x)
    layout = layout_of(t)
    number = per_axis(bins, layout.ndim, "bins")
    return give_back(_pool(t, _proportional(layout, number), _mode(mode)), x)


def global_pool(x: X, mode: str = "mean") -> X:
    """One vector a sample: the mean, largest value or sum over all its positions. The result has no spatial axes.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    mode : "mean", "max" or "sum"

    Returns
    -------
    (N, C) in the kind of ``x``.

    References
    ----------
    Lin, Chen, Yan, "Network in network", ICLR 2014, section 3.2.

    Examples
    --------
    >>> global_pool(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[2.0, 3.0]]
    """
    t = batch(x)
    layout = layout_of(t)
    regions = _proportional(layout, (1,) * layout.ndim)
    return give_back(_pool(t, regions, _mode(mode), Layout.dense(len(layout), ())), x)


def _pool(x: Tensor, regions: Regions, mode: str, layout: Layout | None = None) -> Tensor:
    y, index = kernels.pool(x.values, regions, mode)

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.pool_grad(g, regions, mode, index),)

    return record(y, layout or regions.output, x.kind, (x,), grad_fn)


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {', '.join(MODES)}. Received: mode={mode!r}")
    return mode


def pooled_regions(
    layout: Layout, size: Any, stride: Any = None, padding: Any = "valid", dilation: Any = 1, ceil_mode: bool = False
) -> Regions:
    """Where the windows of :func:`max_pool` fall."""
    stride = size if stride is None else stride
    place = window(layout.ndim, size, stride, padding, dilation, ceil_mode, name="size").on(layout)
    known = place.__dict__  # a placement is kept by its layout, so the regions are as well
    if "regions" not in known:
        regions = window_regions(place)
        _refuse_padding_alone(regions, padding)
        known["regions"] = regions
    found: Regions = known["regions"]
    return found


def _refuse_padding_alone(regions: Regions, padding: Any) -> None:
    if regions.count.size and regions.count.min() < 1:
        rows = np.repeat(np.arange(regions.output.shapes.size), regions.output.shapes.reshape(-1))
        sample = int(rows[np.argmin(regions.count)]) // regions.output.ndim
        raise ShapeError(
            f"sample {sample}: padding={padding!r} leaves a window of size {regions.window} without a true position. "
            f"Received: sample of shape {regions.input.shape(sample)}"
        )


def _proportional(layout: Layout, bins: tuple[int, ...]) -> Regions:
    known: dict[tuple[int, ...], Regions] = layout.__dict__.setdefault("proportional", {})
    if bins not in known:
        known[bins] = proportional_regions(layout, bins)
    return known[bins]
