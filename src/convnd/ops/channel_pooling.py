"""Pooling across channels, and of some channels only.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..kernels.checks import empty
from ..layout import Ints
from ..tensor import Array, Tensor, X, record
from ..window import Regions
from ._operands import batch, give_back, layout_of
from ._regions import output_ranges, positions_of
from .pooling import MODES, pooled_regions

SHORT = 8  # channels: runs that are shorter on the mean aren't pooled one by one


def maxout(x: X, pieces: int) -> X:
    """The largest of each group of ``pieces`` channels, at every position: ``y[p, k] = max_j x[p, k pieces + j]``.

    After a linear layer or a convolution this is the maxout unit. Over filters that answer to one feature in different
    poses, it learns to be invariant to the pose.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    pieces : int
        Channels a group, next to each other; it must divide C.

    Returns
    -------
    The kind of ``x``, with C / pieces channels. The gradient goes to the first of equal largest values.

    Raises
    ------
    ShapeError
        If ``pieces`` doesn't divide the channels.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville, Bengio, "Maxout networks", ICML 2013; Goodfellow, Bengio, Courville,
    *Deep Learning*, section 6.3.1, eq. 6.37, and figure 9.9.

    Examples
    --------
    >>> maxout(np.array([[1.0, 3.0, 5.0, 2.0]]), 2).tolist()
    [[3.0, 5.0]]
    """
    t = batch(x)
    if isinstance(pieces, bool) or not isinstance(pieces, (int, np.integer)) or pieces < 1:
        raise ArgumentError(f"pieces must be an int of at least 1. Received: pieces={pieces!r}")
    if t.channels % pieces:
        raise ShapeError(f"pieces must divide the {t.channels} channels of x. Received: pieces={pieces}")
    return give_back(_maxout(t, int(pieces)), x)


def _maxout(x: Tensor, pieces: int) -> Tensor:
    values = x.values

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.maxout_grad(values, g),)

    return record(kernels.maxout(values, pieces), x.layout, x.kind, (x,), grad_fn)


def pool_channels(
    x: X,
    channels: slice | Sequence[int],
    size: Any,
    mode: str = "max",
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> X:
    """Pool some of the channels; the others are subsampled: each window's true position that is nearest its centre.

    So the pooled channels don't mind a small shift, and the others still say where things are. With ``stride=1`` and
    ``padding="same"`` the others pass unchanged. An even window's centre is the earlier of its two middle taps.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    channels : slice, or a list of ints
        Those that are pooled, each once; negative numbers count from the last.
    size, stride, padding, dilation, ceil_mode
        As for :func:`max_pool`.
    mode : "max", "mean" or "sum"

    Returns
    -------
    The kind of ``x``; every channel stays at its number.

    Raises
    ------
    ArgumentError
        If ``channels`` names none, one twice, or one that doesn't exist.
    ShapeError
        As :func:`max_pool`.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.4: some architectures (Szegedy et al., "Going deeper with
    convolutions", CVPR 2015) pool some channels but not others, so as to get both invariant features and features that
    don't underfit where the prior of translation invariance is wrong.

    Examples
    --------
    >>> x = np.stack([np.arange(4.0), np.arange(4.0)], axis=-1)[None]
    >>> pool_channels(x, [0], 2).tolist()
    [[[1.0, 0.0], [3.0, 2.0]]]
    """
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {', '.join(MODES)}. Received: mode={mode!r}")
    t = batch(x)
    pooled = channel_numbers(channels, t.channels)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    return give_back(_pool_channels(t, pooled, regions, mode), x)


def channel_numbers(channels: Any, count: int) -> Ints:
    """The numbers in [0, count) that a slice or a list of ints names, each once."""
    numbers = np.arange(count, dtype=np.int64)
    if isinstance(channels, slice):
        chosen = numbers[channels]
    else:
        given = np.asarray(channels)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ArgumentError(f"channels must be a slice or a list of ints. Received: channels={channels!r}")
        given = given.astype(np.int64)
        if ((given < -count) | (given >= count)).any():
            raise ArgumentError(f"channels must exist: x has {count}. Received: channels={channels!r}")
        chosen = numbers[given]
    if not len(chosen) or len(np.unique(chosen)) < len(chosen):
        raise ArgumentError(f"channels must name at least one channel, and each once. Received: channels={channels!r}")
    return chosen


def _pool_channels(x: Tensor, pooled: Ints, regions: Regions, mode: str) -> Tensor:
    central, rows = _central(regions)
    y = kernels.take_rows(x.values, rows)
    index = None
    if mode == "max":  # of all channels the position that each came from
        index = empty(len(y), x.channels, central.dtype)
        index[...] = central
    numbers = np.sort(pooled)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    if len(runs) * SHORT <= len(numbers):
        for run in runs:
            kernels.pool_channels(x.values, regions, mode, int(run[0]), len(run), y, index)
    else:
        part, own = kernels.pool(kernels.take_channels(x.values, numbers), regions, mode)
        y = _put(part, numbers, y)
        if index is not None and own is not None:  # int32 as float32: they are only moved
            index = _put(own.view(np.float32), numbers, index.view(np.float32)).view(index.dtype)

    def grad_fn(g: Array) -> tuple[Array]:
        if index is not None:
            return (kernels.pool_grad(g, regions, mode, index),)
        others = np.setdiff1d(np.arange(x.channels), pooled)
        back = np.argsort(np.concatenate([pooled, others]))  # where each channel is among both
        to_part = kernels.pool_grad(kernels.take_channels(g, pooled), regions, mode)
        chosen = np.repeat(central, len(others), axis=1)
        to_rest = kernels.pool_grad(kernels.take_channels(g, others), regions, "max", chosen)
        return (_in_order([to_part, to_rest], back),)

    return record(y, regions.output, x.kind, (x,), grad_fn)


def _put(part: Array, numbers: Ints, whole: Array) -> Array:
    """``whole`` with the channels of these numbers replaced by those of ``part``."""
    order = np.arange(len(numbers), len(numbers) + whole.shape[1])
    order[numbers] = np.arange(len(numbers))
    return kernels.take_channels(kernels.join_channels([part, whole]), order)


def _in_order(parts: list[Array], back: Ints) -> Array:
    """The channels of all parts, each where ``back`` has its number."""
    joint = kernels.join_channels(parts)
    return joint if (np.diff(back) > 0).all() else kernels.take_channels(joint, back)


def _central(regions: Regions) -> tuple[Array, Ints]:
    """For each region the position that is nearest the window's centre: where in its sample, int32 (P_out, 1), and its
    row in the batch. Kept with the regions, as these are with their layout."""
    known = regions.__dict__
    if "central" not in known:
        assert regions.window is not None
        sample, ranges = output_ranges(regions)
        number = np.zeros(len(sample), dtype=np.int64)
        for size, (_, count, tap) in zip(regions.window, ranges, strict=True):
            number = number * count + np.clip((size - 1) // 2 - tap, 0, count - 1)
        central = positions_of(number[:, None], regions)
        known["central"] = central.astype(np.int32), central[:, 0] + regions.input.offsets[sample]
    found: tuple[Array, Ints] = known["central"]
    return found
