"""Resampling every sample to another size: the nearest position, or a linear blend of two along each axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axes import AxisTaps, Doubles, Reads
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..tensor import Batch, X
from ..window import axis_lengths, per_axis, refuse_empty
from ._axes import first_sample, like_layout, take
from ._operands import batch, give_back, layout_of

RESIZE_MODES = ("nearest", "nearest_exact", "linear")

Scales = tuple[float, ...]


def resize(
    x: X,
    size: Any = None,
    scale: Any = None,
    like: Batch | Layout | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> X:
    """Every sample at another size. Defined on one sample: op(batch) = concat(op(sample)), to the last bit.

    On an axis of S positions that becomes one of O, with r = S / O (or 1 / scale, where ``scale`` was given), output q
    reads

    ==================  ========================================================================================
    "nearest"           input floor(q r)
    "nearest_exact"     input floor((q + 1/2) r): the one whose centre is nearest
    "linear"            at p = (q + 1/2) r - 1/2, clipped to 0 ... S - 1: (1 - w) x[floor p] + w x[ceil p], with
                        w = p - floor p. Axis by axis: bilinear on two, trilinear on three
    ... align_corners   the same at p = q (S - 1) / (O - 1), so that first and last positions meet
    ==================  ========================================================================================

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size : int, or one an axis
        O, the same for all samples.
    scale : number, or one an axis
        O = floor(S scale). An axis with scale 1 stays as it is.
    like : batch or Layout
        O is the sample's size there. One of ``size``, ``scale`` and ``like`` is given.
    mode : "nearest", "nearest_exact" or "linear"
    align_corners : bool
        With "linear" alone.

    Returns
    -------
    The kind of ``x``.

    Raises
    ------
    ArgumentError
        If not exactly one of ``size``, ``scale`` and ``like`` is given, or an option is outside its rule.
    ShapeError
        If ``scale`` leaves nothing of a sample, or ``like`` has other samples or axes.

    References
    ----------
    Odena, Dumoulin, Olah, "Deconvolution and checkerboard artifacts", Distill, 2016, for resizing before a convolution
    in place of a transposed one. Coordinates are those of ``torch.nn.functional.interpolate``.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    >>> resize(x, scale=2).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]
    >>> resize(x, 5, mode="linear", align_corners=True).ravel().tolist()
    [1.0, 1.5, 2.0, 3.0, 4.0]
    """
    t = batch(x)
    wanted = None if like is None else like_layout(like, t)
    return give_back(take(t, resize_taps(layout_of(t), size, scale, wanted, mode, align_corners)), x)


def resize_taps(
    layout: Layout, size: Any, scale: Any, like: Layout | None, mode: str, align_corners: bool
) -> AxisTaps:
    """What :func:`resize` reads and with which weights, kept with the layout."""
    key = ("resize", size, type(size), scale, type(scale), like, mode, align_corners)
    taps: AxisTaps | None = layout.memo.find(key)
    if taps is None:
        check_resize(size, scale, like is not None, mode, align_corners)
        scales = None if scale is None else number_per_axis(scale, layout.ndim)
        output = resized(layout, size, scales, like)
        taps = AxisTaps.of(layout, output, lambda a, b: _reads(a, b, scales, mode, align_corners))
        layout.memo.keep(key, taps)
    return taps


def check_resize(size: Any, scale: Any, like: bool, mode: Any, align_corners: Any) -> None:
    """Refuse arguments that don't go together."""
    if (size is not None) + (scale is not None) + like != 1:
        raise ArgumentError(
            f"resize takes one of size, scale and like. Received: size={size!r}, scale={scale!r}, "
            f"like={'a batch' if like else None}"
        )
    if mode not in RESIZE_MODES:
        raise ArgumentError(f"mode must be one of {', '.join(RESIZE_MODES)}. Received: mode={mode!r}")
    if not isinstance(align_corners, (bool, np.bool_)) or (align_corners and mode != "linear"):
        raise ArgumentError(
            'align_corners must be true or false, and goes with mode="linear" alone. '
            f"Received: align_corners={align_corners!r}, mode={mode!r}"
        )


def number_per_axis(scale: Any, ndim: int) -> Scales:
    """A positive number for each axis, from one or from as many as there are axes."""
    items = list(scale) if isinstance(scale, (list, tuple, np.ndarray)) and np.ndim(scale) else [scale] * ndim
    if len(items) != ndim or not all(
        isinstance(item, (int, float, np.number)) and not isinstance(item, bool) and 0 < item < np.inf
        for item in items
    ):
        raise ArgumentError(
            f"scale must be a positive number, or {ndim} of them (one an axis). Received: scale={scale!r}"
        )
    return tuple(float(item) for item in items)


def resized(layout: Layout, size: Any, scales: Scales | None, like: Layout | None) -> Layout:
    """The layout that comes out."""
    refuse_empty(layout)
    if like is not None:
        return like
    if scales is None:
        return Layout.dense(len(layout), per_axis(size, layout.ndim, "size"))
    shapes = np.floor(layout.shapes * np.array(scales)).astype(np.int64)
    if shapes.size and shapes.min() < 1:
        sample, axis = first_sample(shapes < 1)
        raise ShapeError(
            f"sample {sample}: scale={scales[axis]} leaves nothing of axis {axis}. "
            f"Received: sample of shape {layout.shape(sample)}"
        )
    return Layout.own(shapes)


def _reads(layout: Layout, output: Layout, scales: Scales | None, mode: str, align_corners: bool) -> Reads:
    """The position that an output reads on an axis, or two and their shares.

    On a position it reads that alone: a share of 0 would make NaN of an infinite neighbour.
    """
    place = _places(layout, output, scales, mode, align_corners)
    low = np.floor(place).astype(np.int64)
    if mode != "linear":
        return low[:, None], np.ones((len(low), 1))
    high = np.ceil(place).astype(np.int64)
    share = place - low
    return np.stack([low, high], axis=1), np.stack([1 - share, share], axis=1)


def _places(
    layout: Layout, output: Layout, scales: Scales | None, mode: str, align_corners: bool
) -> Doubles:
    """Where every output place of each (sample, axis) reads, within 0 ... S - 1."""
    rows, q = axis_lengths(output)
    inputs, outputs = layout.shapes.reshape(-1), output.shapes.reshape(-1)
    # A ratio as two numbers: products of sizes are exact in float64, so that a floor isn't one short.
    above: Any = inputs
    below: Any = outputs
    if align_corners:
        above, below = inputs - 1, np.maximum(outputs - 1, 1)
    elif scales is not None:
        above, below = np.ones(len(inputs)), np.tile(scales, len(layout))
    above, below = above[rows], below[rows]
    if mode == "nearest" or align_corners:
        place = q * above / below
    elif mode == "nearest_exact":
        place = (2 * q + 1) * above / (2 * below)
    else:
        place = ((2 * q + 1) * above / below - 1) / 2
    read: Doubles = np.clip(place, 0, inputs[rows] - 1)
    return read
