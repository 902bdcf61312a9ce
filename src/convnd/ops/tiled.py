"""Convolutions that share their weights in part, or not at all; and biases that do.

    y[q, f] = sum over taps j and channels c of x[q stride + j dilation - low, c] weight[q mod tile, j, c, f]

A tile of 1 is a convolution, a tile as large as the output is locally connected, and anything between is the tiled
convolution of the book's eq. 9.10 (which counts from 1: its tiles are ours, rolled by one). It is linear in x and in
the weight, so its gradients are its adjoint and a sum over the outputs of each residue, as a convolution's are.

Each is defined on one sample: op(batch) = concat(op(sample)), to the last bit. A locally connected layer's weights
belong to positions, so samples must have one shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ShapeError
from ..layout import Ints, Layout
from ..tensor import Array, Tensor, X, check_same_dtype, record
from ..window import Placement
from ._operands import batch, check_fused, fixed, give_back, layout_of, window
from ._regions import coordinates
from .convolution import check_groups
from .pointwise import activate


def tiled_conv(
    x: X,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> X:
    """Convolution with some kernels in rotation: output position q uses the one of q mod tile, axis by axis.

    ``y[q, f] = activation(bias[f] + sum_jc x[q stride + j dilation - low, c] weight[q mod tile, j, c, f])``.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    weight : (*tile, *kernel, C / groups, F)
        An array or a parameter, of the dtype of ``x``: on every axis as many kernels as the tile says.
    bias : (F,) or (*bias tile, F), optional
        One for each filter, or tiled as well: see :func:`tiled_bias`.

    stride, padding, dilation, groups and activation are those of :func:`conv`.

    Returns
    -------
    The kind of ``x``, with F channels; a Tensor if any operand is one.

    Raises
    ------
    ShapeError, DtypeError, ArgumentError
        As :func:`conv` does.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5, eq. 9.10; Gregor and LeCun, "Emergence of complex-like
    cells in a temporal product network with local receptive fields", arXiv:1006.0448; Le et al., "Tiled convolutional
    neural networks", NIPS 2010.

    Examples
    --------
    Two kernels of one tap, in turn:

    >>> x = np.arange(1.0, 6.0).reshape(1, 5, 1)
    >>> tiled_conv(x, np.array([1.0, 10.0]).reshape(2, 1, 1, 1)).ravel().tolist()
    [1.0, 20.0, 3.0, 40.0, 5.0]
    """
    t, w = batch(x), fixed(weight, "weight")
    place = _place(t, w, stride, padding, dilation, groups, "tile")
    return _tiled_conv(t, w, bias, place, groups, activation, x, weight)


def local_conv(
    x: X,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> X:
    """Locally connected: a convolution's connections, with a weight of its own for each (unshared convolution).

    ``y[q, f] = activation(bias[q, f] + sum_jc x[q stride + j dilation - low, c] weight[q, j, c, f])``.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        Samples of one shape. float32 or float64.
    weight : (*output, *kernel, C / groups, F)
        ``output`` is the shape that the window leaves of a sample.
    bias : (F,) or (*output, F), optional
        One for each filter, or for each filter at each position (untied).

    stride, padding, dilation, groups and activation are those of :func:`conv`.

    Returns
    -------
    The kind of ``x``, with F channels; a Tensor if any operand is one.

    Raises
    ------
    ShapeError
        If samples differ in shape (the message says what to use instead), or the weight isn't made for theirs.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5, eq. 9.9; LeCun, "Generalization and network design
    strategies", 1989.

    Examples
    --------
    >>> x = np.ones((1, 3, 1))
    >>> local_conv(x, np.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1, 1)).ravel().tolist()
    [3.0, 7.0]
    """
    t, w = batch(x), fixed(weight, "weight")
    _refuse_mixed(layout_of(t), "local_conv")
    place = _place(t, w, stride, padding, dilation, groups, "output")
    rank, shape = place.window.ndim, place.output.shape(0) if len(place.output) else None
    if shape is not None and w.values.shape[:rank] != shape:
        raise ShapeError(
            f"weight must be (*output, *kernel, C / groups, F), and the output of a sample of shape "
            f"{place.input.shape(0)} has shape {shape}. Received: weight of shape {w.values.shape}"
        )
    return _tiled_conv(t, w, bias, place, groups, activation, x, weight)


def tiled_bias(x: X, bias: Array | Tensor) -> X:
    """Add biases in rotation: position p of a sample gets the one of p mod tile, axis by axis.

    With no tile it is one for each channel. A tile as large as the samples gives each position its own (untied biases);
    samples that are larger start again, smaller ones use what they need.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
    bias : (C,) or (*tile, C)
        Of the dtype of ``x``.

    Raises
    ------
    ShapeError
        If the bias has other channels or another number of axes.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5 ("it is natural ... to have ... a separate bias at each
    location").

    Examples
    --------
    >>> tiled_bias(np.zeros((1, 5, 1)), np.array([[1.0], [2.0]])).ravel().tolist()
    [1.0, 2.0, 1.0, 2.0, 1.0]
    """
    t, b = batch(x), fixed(bias, "bias")
    return give_back(_add_bias(t, b), x, bias)


def _place(t: Tensor, w: Tensor, stride: Any, padding: Any, dilation: Any, groups: Any, first: str) -> Placement:
    """Where the windows fall, and the weight checked."""
    layout, shape = layout_of(t), w.values.shape
    check_same_dtype(w.values, "weight", t.values, "x")
    if len(shape) != 2 * layout.ndim + 2 or 0 in shape:
        raise ShapeError(
            f"weight must be (*{first}, *kernel, C / groups, F), {first} and kernel of {layout.ndim} axes each. "
            f"Received: weight of shape {shape}"
        )
    whole = groups if isinstance(groups, (int, np.integer)) and groups > 0 else 1
    if t.channels != shape[-2] * whole:
        raise ShapeError(
            f"x has {t.channels} channels, but weight of shape {shape} with groups={groups} takes {shape[-2] * whole}. "
            f"Received: x of {t.channels} channels"
        )
    check_groups(groups, shape[-2] * whole, shape[-1])
    return window(layout.ndim, shape[layout.ndim : -2], stride, padding, dilation).on(layout)


def _tiled_conv(
    t: Tensor, w: Tensor, bias: Any, place: Placement, groups: int, activation: str | None, x: X, weight: Any
) -> X:
    check_fused(activation)
    rank, tiled = place.window.ndim, False
    tile = w.values.shape[:rank]
    b = None if bias is None else fixed(bias, "bias")
    if b is not None:
        tiled = b.values.ndim != 1
        _check_bias(b, t, rank, w.values.shape[-1])
    own = None if b is None or tiled else b.values  # the kernel adds it
    fused = None if tiled else activation
    y = kernels.tiled_conv(t.values, place, w.values, own, groups=groups, activation=fused, packs=w.packs)

    def grad_fn(g: Array) -> list[Array | None]:
        if fused is not None:
            g = kernels.activate_grad(y, g, fused)
        to_x = to_w = None
        if t.requires_grad:
            to_x = kernels.tiled_conv_transpose(g, place, w.values, groups=groups, packs=w.packs)
        if w.requires_grad:
            to_w = kernels.tiled_conv_weight(t.values, g, place, tile, groups=groups)
        if own is None:
            return [to_x, to_w]
        assert b is not None
        return [to_x, to_w, kernels.column_sum(g) if b.requires_grad else None]

    parents = (t, w) if b is None or tiled else (t, w, b)
    result = record(y, place.output, t.kind, parents, grad_fn)
    if tiled:
        assert b is not None
        result = _add_bias(result, b)
        if activation is not None:
            result = activate(result, activation)
    return give_back(result, x, weight, bias)


def _refuse_mixed(layout: Layout, name: str) -> None:
    if not layout.uniform:
        sample = int(np.argmax((layout.shapes != layout.shapes[0]).any(axis=1)))
        raise ShapeError(
            f"{name} has weights for each position, so samples must have one shape; sample {sample} differs from "
            f"sample 0, whose shape is {layout.shape(0)}: use conv or tiled_conv, or proportional_pool first. "
            f"Received: sample {sample} of shape {layout.shape(sample)}"
        )


def _check_bias(b: Tensor, x: Tensor, rank: int, channels: int) -> None:
    check_same_dtype(b.values, "bias", x.values, "x")
    shape = b.values.shape
    if len(shape) not in (1, rank + 1) or shape[-1] != channels or 0 in shape:
        raise ShapeError(
            f"bias must be ({channels},), one a channel, or (*tile, {channels}) with a tile of {rank} axes. "
            f"Received: bias of shape {shape}"
        )


def _add_bias(x: Tensor, b: Tensor) -> Tensor:
    layout = layout_of(x)
    _check_bias(b, x, layout.ndim, x.channels)
    shape = b.values.shape
    tile = shape[:-1] or (1,) * layout.ndim
    if len(flat := b.values.reshape(-1)) == x.channels:
        y = kernels.scale_shift(x.values, np.ones_like(flat), flat)
        return record(y, layout, x.kind, (x, b), lambda g: (g, kernels.column_sum(g).reshape(shape)))
    if layout.uniform and len(layout) and tile == layout.shape(0):

        def whole_grad_fn(g: Array) -> tuple[Array, Array | None]:
            return g, kernels.column_sum(g.reshape(-1, len(flat))).reshape(shape) if b.requires_grad else None

        y = kernels.add(x.values.reshape(-1, len(flat)), flat).reshape(x.values.shape)
        return record(y, layout, x.kind, (x, b), whole_grad_fn)
    number, rows = _residues(layout, tile), b.values.reshape(-1, x.channels)

    def tiled_grad_fn(g: Array) -> tuple[Array, Array | None]:
        return g, kernels.sum_rows(g, number, len(rows)).reshape(shape) if b.requires_grad else None

    y = kernels.add(x.values, kernels.take_rows(rows, number))
    return record(y, layout, x.kind, (x, b), tiled_grad_fn)


def _residues(layout: Layout, tile: tuple[int, ...]) -> Ints:
    """For each position its residue modulo the tile, counted row-major. Kept with the layout."""
    key = "residues", tile
    found: Ints | None = layout.memo.get(key)
    if found is None:
        found = np.zeros(layout.positions, dtype=np.int64)
        for place, size in zip(coordinates(layout)[1], tile, strict=True):
            found = found * size + place % size
        layout.memo[key] = found
    return found
