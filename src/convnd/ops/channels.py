"""Channels: taken apart, multiplied, mixed, connected by a table.

What is done at a position depends on nothing but that position (a factor of :func:`scale_channels` on its sample), so
op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..kernels.checks import empty_like
from ..layout import Ints, Layout
from ..tensor import Array, Tensor, X, check_same_dtype, record
from ..window import refuse_empty
from ._operands import batch, check_alike, fixed, give_back, layout_of

LENET5_C3 = (
    (1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1),
    (1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1),
    (1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1),
    (0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1),
    (0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1),
    (0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1),
)
"""Which of the 6 maps of layer S2 (rows) each of the 16 maps of layer C3 (columns) of LeNet-5 sees: LeCun, Bottou,
Bengio, Haffner, "Gradient-based learning applied to document recognition", Proceedings of the IEEE 86, 1998, table I.
A mask for :func:`mask_weight`."""


def split(x: X, sizes: Sequence[int]) -> list[X]:
    """The channels in parts, one after the other: what :func:`concat` joins.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    sizes : ints
        Channels of each part, at least 1; C in all.

    Returns
    -------
    A batch for each size, of the kind of ``x``: views, which share their values with it, and one way back.

    Examples
    --------
    >>> [part.tolist() for part in split(np.array([[1.0, 2.0, 3.0]]), (1, 2))]
    [[[1.0]], [[2.0, 3.0]]]
    """
    t = batch(x)
    if (
        not isinstance(sizes, (Sequence, np.ndarray))
        or isinstance(sizes, str)
        or not all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size > 0 for size in sizes)
    ):
        raise ArgumentError(f"sizes must be ints of at least 1, one a part. Received: sizes={sizes!r}")
    if sum(sizes) != t.channels:
        raise ShapeError(f"sizes must sum to the {t.channels} channels of x. Received: sizes={sizes!r}")
    ends = np.cumsum(sizes).tolist()
    found: dict[int, Array] = {}  # gradients of parts, by the first channel of each

    def grad_fn(g: Array) -> tuple[Array]:
        for first, end in bounds:
            if first not in found:
                g[:, first:end] = 0
        kernels.put_channels(g, list(found.items()))
        found.clear()
        return (g,)

    whole = record(t.values, t.layout, t.kind, (t,), grad_fn)
    bounds = [(end - int(size), end) for size, end in zip(sizes, ends, strict=True)]

    def part(first: int, end: int) -> Tensor:
        def grad_fn(g: Array) -> tuple[Array | None]:
            found[first] = g
            return (empty_like(t.values) if len(found) == 1 else None,)  # of all, filled once all parts have theirs

        return record(whole.values[:, first:end], whole.layout, whole.kind, (whole,), grad_fn)

    return [give_back(part(first, end), x) for first, end in bounds]


def _take(x: Tensor, channels: Ints, back: Ints) -> Tensor:
    """The channels of these numbers; ``back`` says which of them each channel of x became, -1 that none."""

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.take_channels(g, back),)

    return record(kernels.take_channels(x.values, channels), x.layout, x.kind, (x,), grad_fn)


def multiply(xs: Sequence[X]) -> X:
    """The product of several batches of one layout, element by element, from first to last.

    Parameters
    ----------
    xs : sequence of ndarray (N, *S, C), Ragged or Tensor
        At least one; all of one layout and dtype. A batch of one channel, such as a map of attention, goes with every
        channel of the others.

    Returns
    -------
    The kind of the first; a Tensor if any operand is one.

    Raises
    ------
    ShapeError
        If layouts differ, or channels that aren't one.

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997, for gates.

    Examples
    --------
    >>> multiply([np.full((1, 2, 2), 3.0), np.array([0.0, 1.0]).reshape(1, 2, 1)]).tolist()
    [[[0.0, 0.0], [3.0, 3.0]]]
    """
    if not isinstance(xs, Sequence) or not xs:
        raise ArgumentError(f"xs must be a list of at least one batch. Received: {xs!r}")
    tensors = [batch(x, f"xs[{number}]") for number, x in enumerate(xs)]
    check_alike(tensors)
    channels = max(t.channels for t in tensors)
    for number, t in enumerate(tensors):
        if t.channels not in (1, channels):
            raise ShapeError(
                f"xs[{number}] must have 1 channel, or the {channels} that others have. Received: {t.channels} channels"
            )
    first, factors = tensors[0], [t.values for t in tensors]

    def grad_fn(g: Array) -> list[Array | None]:
        return [
            _summed(_product([g, *factors[:number], *factors[number + 1 :]]), t.channels) if t.requires_grad else None
            for number, t in enumerate(tensors)
        ]

    return give_back(record(_product(factors), first.layout, first.kind, tensors, grad_fn), xs[0], *xs[1:])


def _product(factors: list[Array]) -> Array:
    result = factors[0]
    for factor in factors[1:]:
        wide, other = (result, factor) if result.shape[1] >= factor.shape[1] else (factor, result)
        result = kernels.multiply(wide, other)
    return result


def _summed(gradient: Array, channels: int) -> Array:
    """The gradient to an operand of so many channels: one channel went with all."""
    return gradient if gradient.shape[1] == channels else np.sum(gradient, axis=1, keepdims=True)


def scale_channels(x: X, factor: Any) -> X:
    """Each channel of each sample times a number: ``y[p, c] = x[p, c] factor[sample of p, c]``.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    factor : batch (N, C) without spatial axes
        Of the dtype of ``x``, such as what follows a global pooling.

    Returns
    -------
    The kind of ``x``; a Tensor if any operand is one.

    Raises
    ------
    ShapeError
        If ``factor`` has spatial axes, or other samples or channels than ``x``.

    References
    ----------
    Hu, Shen, Sun, "Squeeze-and-excitation networks", CVPR 2018, equation 4.

    Examples
    --------
    >>> scale_channels(np.ones((1, 2, 2)), np.array([[3.0, 5.0]])).tolist()
    [[[3.0, 5.0], [3.0, 5.0]]]
    """
    t, f = batch(x), batch(factor, "factor")
    check_same_dtype(f.values, "factor", t.values, "x")
    layout, of_factor = layout_of(t), layout_of(f)
    if of_factor.ndim or f.values.shape != (len(layout), t.channels):
        raise ShapeError(
            f"factor must be ({len(layout)}, {t.channels}), a number for each sample and channel of x, without spatial "
            f"axes. Received: {len(of_factor)} samples of {of_factor.ndim} axes with {f.channels} channels"
        )
    refuse_empty(layout)

    def grad_fn(g: Array) -> tuple[Array | None, Array | None]:
        to_x = by_sample(g, layout, f.values) if t.requires_grad else None
        to_f = None
        if f.requires_grad:
            sums = kernels.sample_sums(g, t.values, layout.offsets, np.zeros(f.values.shape))[1]
            to_f = sums.astype(f.dtype)
        return to_x, to_f

    return give_back(record(by_sample(t.values, layout, f.values), layout, t.kind, (t, f), grad_fn), x, factor)


def by_sample(values: Array, layout: Layout, factor: Array) -> Array:
    """The values of each sample times its own factors (N, C)."""
    zeros = np.zeros_like(factor)
    return kernels.centred(values, layout.offsets, zeros, factor, -zeros)  # to add 0.0 would take the sign of -0.0


def channel_shuffle(x: X, groups: int) -> X:
    """The channels of all groups in turn: the first of each group, then the second of each, and so on.

    With C channels, ``y[p, i groups + g] = x[p, g C / groups + i]``: what a grouped convolution kept apart meets in the
    next one.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    groups : int
        It divides the channels.

    References
    ----------
    Zhang, Zhou, Lin, Sun, "ShuffleNet: an extremely efficient convolutional neural network for mobile devices",
    CVPR 2018, section 3.1.

    Examples
    --------
    >>> channel_shuffle(np.arange(6.0).reshape(1, 6), 2).tolist()
    [[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]]
    """
    t = batch(x)
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(f"groups must be an int of at least 1. Received: groups={groups!r}")
    if t.channels % groups:
        raise ShapeError(f"groups must divide the {t.channels} channels of x. Received: groups={groups}")
    shuffled = np.arange(t.channels).reshape(int(groups), -1).T.reshape(-1)
    return give_back(_take(t, shuffled, np.argsort(shuffled)), x)


def mask_weight(weight: Array | Tensor, mask: ArrayLike) -> Array | Tensor:
    """A weight whose forbidden connections are zero, in value and in gradient.

    Parameters
    ----------
    weight : array or parameter, such as (*kernel, C / groups, F)
        float32 or float64.
    mask : array of 0 and 1, or of bools
        Over the last axes of the weight: (C / groups, F) says which channels each filter sees, at all taps alike;
        (*kernel, C / groups, F) chooses taps as well.

    Returns
    -------
    array, or a Tensor if ``weight`` is one.

    Raises
    ------
    ShapeError
        If the mask's shape isn't that of the weight's last axes.
    ArgumentError
        If it holds anything but 0 and 1.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5, figure 9.15: a restricted set of connections between
    channels. LeNet-5's are in :data:`convnd.ops.LENET5_C3`.

    Examples
    --------
    >>> mask_weight(np.ones((2, 2, 1)), [[1], [0]]).ravel().tolist()
    [1.0, 0.0, 1.0, 0.0]
    >>> weight = np.random.default_rng(0).normal(size=(5, 5, 6, 16))
    >>> int(np.count_nonzero(mask_weight(weight, LENET5_C3))) + 16  # and the biases: C3's trainable parameters
    1516
    """
    w = fixed(weight, "weight")
    kept = check_mask(mask)
    shape = w.values.shape
    if kept.ndim > len(shape) or kept.shape != shape[len(shape) - kept.ndim :]:
        raise ShapeError(
            f"mask must have the shape of the last axes of weight, whose shape is {shape}. "
            f"Received: mask of shape {kept.shape}"
        )

    # Not a product, which keeps what isn't finite.
    result = record(kernels.keep(w.values, kept), None, "array", (w,), lambda g: (kernels.keep(g, kept),))
    return result if isinstance(weight, Tensor) else result.values


def check_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    """A mask of 0 and 1 as bools."""
    try:
        given = np.asarray(mask)
    except ValueError:  # rows of several lengths
        given = np.asarray(None)
    kept = given.astype(bool)
    if given.dtype.kind not in "biuf" or given.ndim < 1 or not np.array_equal(kept, given):
        raise ArgumentError(f"mask must be an array of 0 and 1, or of bools. Received: mask={mask!r}")
    return kept
