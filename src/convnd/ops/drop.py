"""Dropout of what belongs together: whole channels, and blocks of neighbouring positions.

What is dropped follows from the key, the sample and the position within it, whatever else is in the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..errors import ArgumentError
from ..layout import Ints, Layout
from ..random import Key
from ..tensor import Array, X, record
from ..window import per_axis, refuse_empty
from ._operands import batch, give_back, layout_of
from ._regions import coordinates
from .channels import by_sample
from .pooling import pooled_regions


def spatial_dropout(x: X, rate: float, key: Key) -> X:
    """Set each channel of a sample to zero, at all its positions, with probability ``rate``; divide the others by
    1 - rate.

    Neighbouring positions say nearly the same, so dropping single ones takes little away. The arguments and errors are
    those of :func:`dropout`.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun, Bregler, "Efficient object localization using convolutional networks", CVPR 2015,
    section 3.2.

    Examples
    --------
    >>> y = spatial_dropout(np.ones((2, 5, 8)), 0.5, Key(seed=1))
    >>> sorted(set(y.ravel().tolist())), bool((y == y[:, :1]).all())
    ([0.0, 2.0], True)
    """
    _check(rate, key)
    t = batch(x)
    if rate == 0:
        return x
    layout = layout_of(t)
    refuse_empty(layout)
    count = len(layout)
    mask = kernels.dropout_mask(key.per_sample(count), Layout.dense(count, ()), t.channels, float(rate), t.dtype)
    y = by_sample(t.values, layout, mask)
    return give_back(record(y, t.layout, t.kind, (t,), lambda g: (by_sample(g, layout, mask),)), x)


def drop_block(x: X, size: Any, rate: float, key: Key) -> X:
    """Set blocks of neighbouring positions to zero, in each channel on its own, so that about ``rate`` of all go.

    A block begins at any position from which it lies within the sample, with probability::

        gamma = rate product over axes of S / (b (S - b + 1))

    where S is the sample's size and b the smaller of ``size`` and S: the paper's gamma, by each sample's own size.
    Blocks may overlap, so a little less than ``rate`` is dropped. What is left is multiplied by the sample's number of
    values over the number of those left, whatever came of the draws.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size : int, or one an axis
        Positions of a block. With 1 it is dropout, but for the last multiplication.
    rate : float
        At least 0 and below 1.
    key : convnd.random.Key

    Raises
    ------
    ShapeError
        If a sample has no positions.
    ArgumentError
        If an argument is outside its rule.

    References
    ----------
    Ghiasi, Lin, Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018, algorithm 1 and
    eq. 1.

    Examples
    --------
    >>> drop_block(np.ones((1, 8, 1)), 3, 0.4, Key(seed=5)).ravel().tolist()
    [1.6, 0.0, 0.0, 0.0, 1.6, 1.6, 1.6, 1.6]
    """
    _check(rate, key)
    t = batch(x)
    layout = layout_of(t)
    block = per_axis(size, layout.ndim, "size")
    refuse_empty(layout)
    if rate == 0 or not len(layout):
        return x
    dropped = np.zeros((layout.positions, t.channels), dtype=t.dtype)
    begins, sample, gamma = _beginnings(layout, block, float(rate))
    number = begins - layout.offsets[sample]
    dropped[begins] = _drawn(key.per_sample(len(layout))[sample], number, t.channels, gamma[sample])
    for axis, length in enumerate(block):
        # A position is in every block that begins at most length - 1 before it.
        if length > 1:
            one = tuple(length if other == axis else 1 for other in range(layout.ndim))
            before = tuple((each - 1, 0) for each in one)
            dropped = kernels.pool(dropped, pooled_regions(layout, one, 1, before), "max", indexed=False)[0]
    kept = dropped == 0
    left = np.add.reduceat(np.count_nonzero(kept, axis=1), layout.offsets[:-1])
    factor = layout.sizes * t.channels / np.maximum(left, 1)
    mask = kept * np.repeat(factor.astype(t.dtype), layout.sizes)[:, None]
    return give_back(record(t.values * mask, t.layout, t.kind, (t,), lambda g: (g * mask,)), x)


def _check(rate: Any, key: Any) -> None:
    if not isinstance(rate, (int, float, np.number)) or not 0 <= rate < 1:
        raise ArgumentError(f"rate must be at least 0 and below 1. Received: rate={rate!r}")
    if not isinstance(key, Key):
        raise ArgumentError(f"key must be a convnd.random.Key. Received: key={key!r}")


def _beginnings(layout: Layout, block: tuple[int, ...], rate: float) -> tuple[Ints, Ints, Array]:
    """The positions where a block may begin, by their numbers in the batch; the sample of each; and the probability
    of every sample."""
    length = np.minimum(layout.shapes, np.asarray(block, dtype=np.int64))
    room = layout.shapes - length + 1
    sample, places = coordinates(layout)
    inside = np.ones(layout.positions, dtype=bool)
    for axis, place in enumerate(places):
        inside &= place < room[sample, axis]
    begins = np.flatnonzero(inside)
    return begins, sample[begins], rate * np.prod(layout.shapes / (length * room), axis=1)


def _drawn(keys: NDArray[np.uint64], number: Ints, channels: int, probability: Array) -> NDArray[np.bool_]:
    """Whether each channel of the positions with these keys, numbers and probabilities is drawn, (positions, C).

    The draws are those of :func:`kernels.dropout_mask`, number p C + c of SplitMix64 at the sample's key; that takes
    one probability for all samples."""
    draw = number[:, None] * channels + np.arange(1, channels + 1)
    z = keys[:, None] + draw.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    threshold = (probability * 2.0**64).astype(np.uint64)  # at most rate, so it fits 64 bits
    drawn: NDArray[np.bool_] = (z ^ (z >> np.uint64(31))) < threshold[:, None]
    return drawn
