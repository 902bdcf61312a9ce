"""Pooling: by windows, in proportion to a sample's size, and over the whole sample.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn, overload

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout, Ragged
from ..tensor import Array, Batch, Tensor, X, is_recording, record
from ..window import Regions, per_axis, refuse_empty
from ._operands import batch, give_back, layout_of, window
from ._regions import coordinates

MODES = ("max", "mean", "sum")


@overload
def max_pool(
    x: X,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> X: ...


@overload
def max_pool(
    x: X,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: Literal[True],
) -> tuple[X, Array | Ragged]: ...


def max_pool(
    x: X,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> X | tuple[X, Array | Ragged]:
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
    return_indices : bool
        Also give where each largest value came from, for :func:`max_unpool`.

    Returns
    -------
    The kind of ``x``. The gradient goes to the first of equal largest values.
    With ``return_indices`` a pair of it and int64 positions, an ndarray or a Ragged of its layout and channels: the
    number of the largest value's position within its own sample, the last axis fastest, padding not counted.

    Raises
    ------
    ShapeError
        If a sample is too short for the window, or a window holds padding alone (the message names the sample).

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> max_pool(x, 2).ravel().tolist()
    [3.0, 5.0]
    >>> max_pool(x, 2, return_indices=True)[1].ravel().tolist()
    [1, 3]
    """
    t = batch(x)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    if not return_indices:
        return give_back(_pool(t, regions, "max"), x)
    y, index = kernels.pool(t.values, regions, "max")
    assert index is not None
    result = Tensor.of(index.astype(np.int64), regions.output, t.kind)
    return give_back(_pooled(t, regions, "max", y, index), x), result.numpy()


def max_unpool(y: X, indices: Array | Ragged, *, like: Batch | Layout) -> X:
    """The way back from max pooling: each value at the position its maximum came from, zeros elsewhere.

    ``x[n, p, c] = sum of y[n, q, c] over the q whose indices[n, q, c] = p``: the adjoint of taking x at the indices,
    and so what max pooling's gradient does. Where windows don't overlap, the sum has one term.

    Parameters
    ----------
    y : ndarray (N, *Q, C), Ragged or Tensor
        float32 or float64.
    indices : ndarray or Ragged of ints
        Of the layout and channels of ``y``: positions within a sample, as ``max_pool(..., return_indices=True)`` gives
        them.
    like : batch or Layout
        Whose size the result takes, sample by sample: what was pooled.

    Returns
    -------
    The kind of ``y``.

    Raises
    ------
    ShapeError
        If layouts or channels don't fit, or an index lies outside its sample (the message names it).
    ArgumentError
        If the indices aren't integers.

    References
    ----------
    Zeiler, Taylor, Fergus, "Adaptive deconvolutional networks for mid and high level feature learning", ICCV 2011.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> y, indices = max_pool(x, 2, return_indices=True)
    >>> max_unpool(10 * y, indices, like=x).ravel().tolist()
    [0.0, 30.0, 0.0, 50.0]
    """
    t = batch(y, "y")
    layout = like if isinstance(like, Layout) else layout_of(batch(like, "like"))
    own, places = layout_of(t), _check_indices(indices, t, layout)
    if t.requires_grad:
        places = places.copy()  # the way back may come after the caller's next indices
    x = kernels.scatter(t.values, places, own, layout)
    if x is None:
        _refuse_outside(places, own, layout)
    return give_back(record(x, layout, t.kind, (t,), lambda g: (kernels.gather(g, places, own, layout),)), y)


def _check_indices(indices: Any, y: Tensor, layout: Layout) -> Ints:
    """Positions within the samples of ``layout``, one a value of ``y``: int64 (P, C)."""
    own = layout_of(y)
    if len(layout) != len(own):
        raise ShapeError(f"like must have the {len(own)} samples of y. Received: {len(layout)} samples")
    if y.kind == "dense" and not layout.uniform:
        raise ShapeError(f"like must have samples of one shape, as y is dense. Received: {layout!r}")
    refuse_empty(layout)
    if isinstance(indices, Ragged):
        given, found = indices.values, indices.layout
    else:
        given = np.asarray(indices)
        if given.ndim < 2:
            raise ShapeError(
                f"indices must be (samples, *shape, channels) or a Ragged. Received: an array of shape {given.shape}"
            )
        found = Layout.dense(given.shape[0], given.shape[1:-1])
        given = given.reshape(found.positions, given.shape[-1])
    if given.dtype.kind not in "iu":
        raise ArgumentError(f"indices must be integers. Received: dtype {given.dtype}")
    if found != own or given.shape[1] != y.channels:
        raise ShapeError(
            f"indices must have the layout of y and its {y.channels} channels. "
            f"Received: {given.shape[1]} channels, {found!r}"
        )
    return given.astype(np.int64, copy=False)


def _refuse_outside(places: Ints, at: Layout, of: Layout) -> NoReturn:
    wrong = (places < 0) | (places >= np.repeat(of.sizes, at.sizes)[:, None])
    row, channel = (int(number) for number in np.argwhere(wrong)[0])
    sample = int(np.searchsorted(at.offsets, row, side="right")) - 1
    raise ShapeError(
        f"sample {sample}: indices must be at least 0 and below its {of.sizes[sample]} positions. "
        f"Received: index {places[row, channel]}"
    )


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

    ``count_include_pad`` divides by the window's positions instead, as if padding were zeros; what a window of
    ``ceil_mode`` holds beyond the padding doesn't count. All else is as for :func:`max_pool`.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 2.0]).reshape(1, 3, 1)
    >>> avg_pool(x, 2, padding="same").ravel().tolist()
    [2.0, 2.0]
    >>> avg_pool(x, 2, padding="same", count_include_pad=True).ravel().tolist()
    [2.0, 1.0]
    """
    t = batch(x)
    layout = layout_of(t)
    regions = pooled_regions(layout, size, stride, padding, dilation, ceil_mode)
    if not (count_include_pad and ceil_mode):
        return give_back(_pool(t, regions, "mean_padded" if count_include_pad else "mean"), x)
    counts = _padded_counts(layout, size, stride, padding, dilation).astype(t.values.dtype)
    y, _ = kernels.pool(t.values, regions, "sum")

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.pool_grad(g / counts, regions, "sum"),)

    return give_back(record(y / counts, regions.output, t.kind, (t,), grad_fn), x)


def _padded_counts(layout: Layout, size: Any, stride: Any, padding: Any, dilation: Any) -> Ints:
    """For every output of windows of ``ceil_mode`` its positions in the sample and its padding, (P_out, 1)."""
    stride = size if stride is None else stride
    place = window(layout.ndim, size, stride, padding, dilation, ceil_mode=True, name="size").on(layout)
    sliding, fixed = place.window, place.window.fixed_padding
    sample, places = coordinates(place.output)
    counts = np.ones(len(sample), dtype=np.int64)
    for axis, q in enumerate(places):
        if axis >= fixed.shape[1]:  # "same" leaves no window that reaches over its padding
            counts *= sliding.kernel[axis]
            continue
        room = layout.shapes[sample, axis] + fixed.sum(axis=0)[axis] - q * sliding.stride[axis]
        counts *= np.minimum(sliding.kernel[axis], -(-room // sliding.dilation[axis]))
    return counts[:, None]


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
    y, index = kernels.pool(x.values, regions, mode, indexed=x.requires_grad and is_recording())
    return _pooled(x, regions, mode, y, index, layout)


def _pooled(
    x: Tensor, regions: Regions, mode: str, y: Array, index: Any = None, layout: Layout | None = None
) -> Tensor:
    """The result ``y`` of a pool, with the way back."""

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
        regions = kernels.window_regions(place)
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
        known[bins] = kernels.proportional_regions(layout, bins)
    return known[bins]
