"""Pooling whose regions follow a sample's size, its largest values, or boxes that the caller gives.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout, Ragged
from ..tensor import Array, Batch, Tensor, X, record
from ..window import per_axis, refuse_empty
from ._operands import batch, give_back, layout_of
from ._regions import coordinates, scatter_add
from .pooling import MODES, proportional_pool
from .structure import concat, flatten


def spatial_pyramid_pool(x: X, levels: Sequence[Any] = (1, 2, 4), mode: str = "max") -> X:
    """One vector of a fixed length from a sample of any size: proportional pooling at several scales, side by side.

    Level b gives b bins on each axis, flattened with the last axis fastest and the channels of a bin together.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    levels : sequence
        The bins of each level: an int, or one an axis.
    mode : "max", "mean" or "sum"

    Returns
    -------
    The kind of ``x``, without spatial axes; its channels are C times the bins of all levels.

    References
    ----------
    He, Zhang, Ren, Sun, "Spatial pyramid pooling in deep convolutional networks for visual recognition", ECCV 2014;
    Lazebnik, Schmid, Ponce, "Beyond bags of features", CVPR 2006.

    Examples
    --------
    >>> spatial_pyramid_pool(np.arange(5.0).reshape(1, 5, 1), levels=(1, 2)).tolist()
    [[4.0, 2.0, 4.0]]
    """
    if isinstance(levels, str) or not isinstance(levels, Sequence) or not levels:
        raise ArgumentError(f"levels must be a list of at least one number of bins. Received: levels={levels!r}")
    t = batch(x)
    return give_back(concat([flatten(proportional_pool(t, level, mode)) for level in levels]), x)


def quadrant_pool(x: X, mode: str = "sum") -> X:
    """Pool every sample into its halves on each axis: quadrants of an image, octants of a volume.

    It is :func:`proportional_pool` with two bins an axis, so the middle position of an odd axis counts in both halves.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    mode : "sum", "mean" or "max"
        The paper sums.

    Returns
    -------
    The kind of ``x``; every sample has shape (2, ..., 2).

    References
    ----------
    Coates, Lee, Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011, section 3.2.

    Examples
    --------
    >>> quadrant_pool(np.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
    [[10.0, 18.0], [42.0, 50.0]]
    """
    return proportional_pool(x, 2, mode)


def k_max_pool(x: X, k: int) -> X:
    """The k largest values along the first axis, in the order they stand there, for each channel on its own.

    Where there are further axes, each of their positions has its own k. Of equal values the first count; NaN is the
    largest of all, as in :func:`max_pool`.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    k : int
        At least 1.

    Returns
    -------
    The kind of ``x``; every sample has k positions on its first axis. The gradient goes to the values taken.

    Raises
    ------
    ShapeError
        If a sample has fewer than ``k`` positions on its first axis (the message names it), or no axis.
    ArgumentError
        If ``k`` isn't an int of at least 1.

    References
    ----------
    Kalchbrenner, Grefenstette, Blunsom, "A convolutional neural network for modelling sentences", ACL 2014,
    section 3.2.

    Examples
    --------
    >>> k_max_pool(np.array([2.0, 9.0, 1.0, 5.0, 3.0]).reshape(1, 5, 1), 3).ravel().tolist()
    [9.0, 5.0, 3.0]
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ArgumentError(f"k must be an int of at least 1. Received: k={k!r}")
    t = batch(x)
    layout = layout_of(t)
    refuse_empty(layout)
    if layout.ndim == 0:
        raise ShapeError("k_max_pool takes the largest along the first axis. Received: samples without axes")
    short = layout.shapes[:, 0] < k
    if short.any():
        sample = int(np.argmax(short))
        raise ShapeError(
            f"sample {sample}: the first axis must have at least k={k} positions. "
            f"Received: sample of shape {layout.shape(sample)}"
        )
    return give_back(_k_max(t, int(k)), x)


def _k_max(x: Tensor, k: int) -> Tensor:
    layout = layout_of(x)
    output = Layout.own(np.concatenate([np.full((len(layout), 1), k), layout.shapes[:, 1:]], axis=1))
    y, where = kernels.largest(x.values, layout, output, k)

    def grad_fn(g: Array) -> tuple[Array]:
        to_x = np.zeros(x.values.shape, x.dtype)
        to_x.reshape(-1)[where] = g
        return (to_x,)

    return record(y, output, x.kind, (x,), grad_fn)


def roi_pool(x: X, boxes: Batch, bins: Any, mode: str = "max") -> X:
    """Dynamic pooling regions: each box of a sample, whatever its size, pooled into the same number of bins.

    A box is cut into bins as :func:`proportional_pool` cuts a whole sample.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    boxes : ndarray (N, B, 2 ndim), or a Ragged or Tensor of N samples (B_n, 2 ndim)
        Whole numbers: begin and end of the first axis, then of the next. A box covers the positions begin <= p < end. A
        sample may have none. They may overlap. There is no gradient to them.
    bins : int, or one an axis
    mode : "max", "mean" or "sum"

    Returns
    -------
    The kind of ``x``: one sample of shape ``bins`` a box, those of the first sample's boxes first.

    Raises
    ------
    ShapeError
        If there aren't boxes for each sample, or one is empty or lies outside its sample (the message names it).
    ArgumentError
        If boxes aren't whole numbers.

    References
    ----------
    Girshick, "Fast R-CNN", ICCV 2015, section 2.1; Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3 (pooling
    regions that are chosen dynamically: Boureau et al., "Ask the locals", ICCV 2011).

    Examples
    --------
    >>> x = np.arange(6.0).reshape(1, 6, 1)
    >>> roi_pool(x, np.array([[[0, 4], [3, 6]]]), 2)[..., 0].tolist()
    [[1.0, 3.0], [4.0, 5.0]]
    """
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {', '.join(MODES)}. Received: mode={mode!r}")
    t = batch(x)
    layout = layout_of(t)
    refuse_empty(layout)
    number = per_axis(bins, layout.ndim, "bins")
    owner, begin, end = _boxes(boxes, layout)
    return give_back(_roi_pool(t, owner, begin, end, number, mode), x)


def _boxes(boxes: Any, layout: Layout) -> tuple[Ints, Ints, Ints]:
    """The sample of each box, (M,), where it begins and where it ends, (M, ndim)."""
    given = boxes.numpy() if isinstance(boxes, Tensor) else boxes
    if isinstance(given, Ragged):
        values, lists = given.values, given.layout
    else:
        values = np.asarray(given)
        if values.ndim != 3:
            raise ShapeError(
                f"boxes must be (samples, boxes, 2 an axis), or a Ragged of (boxes, 2 an axis). Received: an array of "
                f"shape {values.shape}"
            )
        lists = Layout.dense(len(values), values.shape[1:2])
        values = values.reshape(lists.positions, values.shape[2])
    if len(lists) != len(layout) or lists.ndim != 1 or values.shape[1] != 2 * layout.ndim:
        raise ShapeError(
            f"boxes must have {len(layout)} samples, as x has, of boxes with {2 * layout.ndim} numbers, two an axis. "
            f"Received: {len(lists)} samples of {lists.ndim} axes, {values.shape[1]} numbers"
        )
    owner = np.repeat(np.arange(len(layout)), lists.sizes)
    number = np.arange(len(owner)) - lists.offsets[owner]
    _refuse_boxes(~_whole(values), values, owner, number, "must be whole numbers", ArgumentError)
    begin, end = (np.ascontiguousarray(values[:, first::2]).astype(np.int64) for first in (0, 1))
    outside = (begin < 0) | (begin >= end) | (end > layout.shapes[owner])
    _refuse_boxes(outside, values, owner, number, "must have 0 <= begin < end <= size on every axis", ShapeError)
    return owner, begin, end


def _whole(values: Array) -> NDArray[np.bool_]:
    """Whether each is a whole number, and not so large that it can't be a position."""
    if values.dtype.kind in "iu":
        return np.ones(values.shape, dtype=bool)
    if values.dtype.kind != "f":
        return np.zeros(values.shape, dtype=bool)
    whole: NDArray[np.bool_] = (values == np.floor(values)) & (np.abs(values) < 2.0**62)
    return whole


def _refuse_boxes(
    wrong: NDArray[np.bool_], boxes: Array, owner: Ints, number: Ints, rule: str, error: type[Exception]
) -> None:
    if wrong.any():
        first = int(np.argmax(wrong.any(axis=1)))
        raise error(
            f"sample {owner[first]}: boxes[{number[first]}] {rule}. Received: {boxes[first].tolist()}"
        )


def _roi_pool(x: Tensor, owner: Ints, begin: Ints, end: Ints, bins: tuple[int, ...], mode: str) -> Tensor:
    layout = layout_of(x)
    crops = Layout.own(end - begin)
    regions = kernels.proportional_regions(crops, bins)
    box, places = coordinates(crops)
    sample = owner[box]
    rows = np.zeros(len(box), dtype=np.int64)
    for axis, place in enumerate(places):
        rows = rows * layout.shapes[sample, axis] + place + begin[box, axis]
    rows += layout.offsets[sample]
    y, index = kernels.pool(x.values[rows], regions, mode)

    def grad_fn(g: Array) -> tuple[Array]:
        part = kernels.pool_grad(g, regions, mode, index)
        where = rows[:, None] * x.channels + np.arange(x.channels)
        return (scatter_add(where, part, x.values.shape),)

    return record(y, regions.output, x.kind, (x,), grad_fn)
