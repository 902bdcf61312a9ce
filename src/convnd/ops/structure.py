"""Rearranging and joining: no arithmetic but sums.

Each is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..tensor import Array, X, dense_shape, record
from ..window import refuse_empty
from ._operands import batch, check_alike, give_back, layout_of


def flatten(x: X) -> X:
    """All positions and channels of a sample as the channels of one position: (N, *S, C) to (N, |S| C).

    The last axis runs fastest, then the axis before it. All samples must have one shape: pool
    samples of different sizes first, with proportional_pool or global_pool.

    Raises
    ------
    ShapeError
        If the samples' shapes differ, naming the first that does.

    Examples
    --------
    >>> flatten(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    """
    t = batch(x)
    layout = layout_of(t)
    refuse_empty(layout)
    if not layout.uniform:
        sample = int(np.argmax((layout.shapes != layout.shapes[0]).any(axis=1)))
        raise ShapeError(
            f"flatten needs samples of one shape; sample {sample} differs from sample 0, whose shape is "
            f"{layout.shape(0)}: use proportional_pool or global_pool first. "
            f"Received: sample {sample} of shape {layout.shape(sample)}"
        )
    channels = math.prod(dense_shape(layout)) * t.channels
    values = t.values.reshape(len(layout), channels)
    shape = t.values.shape
    result = record(values, Layout.dense(len(layout), ()), t.kind, (t,), lambda g: (g.reshape(shape),))
    return give_back(result, x)


def concat(xs: Sequence[X]) -> X:
    """The channels of several batches of one layout, one after the other.

    Parameters
    ----------
    xs : sequence of ndarray (N, *S, C_i), Ragged or Tensor
        At least one; all of one layout and dtype.

    Returns
    -------
    The kind of the first, with sum C_i channels; a Tensor if any operand is one.

    Examples
    --------
    >>> concat([np.ones((1, 2, 1)), np.zeros((1, 2, 1))]).tolist()
    [[[1.0, 0.0], [1.0, 0.0]]]
    """
    if not isinstance(xs, Sequence) or not xs:
        raise ArgumentError(f"xs must be a list of at least one batch. Received: {xs!r}")
    tensors = [batch(x, f"xs[{number}]") for number, x in enumerate(xs)]
    check_alike(tensors)
    first = tensors[0]
    ends = np.cumsum([t.channels for t in tensors]).tolist()

    def grad_fn(g: Array) -> list[Array | None]:
        return [
            g[:, end - t.channels : end] if t.requires_grad else None
            for t, end in zip(tensors, ends, strict=True)
        ]

    values = kernels.join_channels([t.values for t in tensors])
    return give_back(record(values, first.layout, first.kind, tensors, grad_fn), xs[0], *xs[1:])


def add(xs: Sequence[X]) -> X:
    """The sum of several batches of one layout and as many channels, from first to last.

    Parameters
    ----------
    xs : sequence of ndarray (N, *S, C), Ragged or Tensor
        At least one; all of one layout, number of channels and dtype.

    Examples
    --------
    >>> add([np.ones((1, 2, 1)), np.ones((1, 2, 1))]).tolist()
    [[[2.0], [2.0]]]
    """
    if not isinstance(xs, Sequence) or not xs:
        raise ArgumentError(f"xs must be a list of at least one batch. Received: {xs!r}")
    tensors = [batch(x, f"xs[{number}]") for number, x in enumerate(xs)]
    check_alike(tensors)
    first = tensors[0]
    values = first.values
    for number, t in enumerate(tensors[1:], 1):
        if t.channels != first.channels:
            raise ShapeError(
                f"xs[{number}] must have the {first.channels} channels of xs[0]. Received: {t.channels} channels"
            )
        values = kernels.add(values, t.values)
    return give_back(record(values, first.layout, first.kind, tensors, lambda g: [g] * len(tensors)), xs[0], *xs[1:])
