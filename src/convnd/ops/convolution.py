"""Convolution, its adjoint and its weight gradient: three primitives, each the others' gradient.

With <a, b> the sum of all products, for every x, w and g whose shapes fit:

    <conv(x, w), g> = <x, conv_transpose(g, w)> = <w, conv_weight(x, g)>

Each is linear in both of its operands, so this one line is also the table of their gradients:

    of                      to the first operand      to the second
    y = conv(x, w)          conv_transpose(g, w)      conv_weight(x, g)
    x = conv_transpose(y, w)       conv(g, w)         conv_weight(g, y)
    w = conv_weight(x, y)   conv_transpose(y, g)      conv(x, g)

A convolution and a transposed convolution are defined on one sample: op(batch) = concat(op(sample)),
to the last bit. A weight gradient sums over the batch, in a fixed tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..tensor import Array, Batch, Tensor, X, check_same_dtype, record
from ..window import Placement, each_position
from ._operands import batch, check_fused, fixed, give_back, layout_like, layout_of, parameter, window

ALGORITHMS = ("auto", "direct", "winograd", "fft")


def conv(
    x: X,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
    activation: str | None = None,
    algorithm: str = "auto",
    moments: bool = False,
) -> X:
    """Convolution (cross-correlation) of every sample, whatever its size.

    For output position q and filter f, over taps j whose position exists and channels c of the group:
    ``y[q, f] = activation(bias[f] + sum_jc x[q stride + j dilation - low, c] weight[j, c, f])``.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    weight : (*kernel, C / groups, F)
        An array or a parameter, of the dtype of ``x``.
    bias : (F,), optional
    stride, dilation : int, or one an axis
    padding : "valid", "same", "same_lower", "causal", "full", an int, one int or (low, high) pair an axis
    groups : int
        Channels and filters are divided into this many groups that don't see each other.
    flip : bool
        Convolution proper, with the kernel flipped: eq. 9.5 of the book instead of eq. 9.6.
    activation : None, "relu", "leaky_relu", "sigmoid", "tanh" or "elu"
        Applied to the result.
    algorithm : "auto", "direct", "winograd" or "fft"
        Also of the gradients. "auto" chooses by the window, the channels, the dtype and each sample's own shape;
        "direct" is one chain of multiply-adds for each output; the others round differently (docs/architecture.md).
    moments : bool
        Count the mean and variance of each channel meanwhile, while the result is in the cache: a result that is a
        Tensor remembers them, and :func:`batch_norm` in training takes them from there. They round differently than
        its own.

    Returns
    -------
    The kind of ``x``, with F channels; a Tensor if any operand is one.

    Raises
    ------
    ShapeError
        If channels don't fit, or a sample is too short for the window (the message names it).
    DtypeError
        If an operand isn't float32 or float64, or their dtypes differ.
    ArgumentError
        If an option is outside its rule.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.1, eq. 9.5 and 9.6.

    Examples
    --------
    >>> x = np.arange(5.0).reshape(1, 5, 1)
    >>> conv(x, np.array([1.0, -1.0]).reshape(2, 1, 1)).ravel().tolist()
    [-1.0, -1.0, -1.0, -1.0]
    >>> from convnd import Ragged
    >>> r = Ragged.pack([np.ones((3, 1)), np.ones((5, 1))])
    >>> conv(r, np.ones((3, 1, 1))).layout
    Layout([[1], [3]])
    """
    options = "conv", stride, padding, dilation, groups, activation, algorithm
    known = _known(x, weight, bias, options)
    if known is not None:
        y: X = _dense(
            kernels.conv(*known, groups=groups, flip=flip, activation=activation, algorithm=algorithm), known[1].output
        )
        return y
    t, w = batch(x), fixed(weight, "weight")
    b = None if bias is None else fixed(bias, "bias")
    layout = layout_of(t)
    key = _key(t.values.shape, t.values, w.values, None if b is None else b.values, options)
    place: Placement | None = layout.memo.find(key)
    if place is None:
        _check_algorithm(algorithm)
        check_fused(activation)
        _check_weight(w, t, groups, inputs="C")
        _check_bias(b, t, w.channels)
        place = window(layout.ndim, w.values.shape[:-2], stride, padding, dilation).on(layout)
        layout.memo.keep(key, place)
    return give_back(_conv(t, w, b, place, groups, flip, activation, algorithm, moments), x, weight, bias)


def _key(
    shape: tuple[int, ...], x: Array, w: Array, b: Array | None, options: tuple[Any, ...]
) -> tuple[Any, ...]:
    """All that is checked, for the memo of the layout of ``x``, whose values have this shape: what was right once is
    right again."""
    of_bias = None if b is None else (b.shape, b.dtype)
    return shape, x.dtype, w.shape, w.dtype, of_bias, options, tuple(map(type, options))


def _known(x: Any, w: Any, b: Any, options: tuple[Any, ...]) -> tuple[Array, Placement, Array, Array | None] | None:
    """The values of ``x``, the place, ``w`` and ``b``, where these are arrays and such a call was right before: it
    needs no tensors and no checks."""
    if type(x) is not np.ndarray or type(w) is not np.ndarray or (b is not None and type(b) is not np.ndarray):
        return None
    shape = x.shape
    if len(shape) < 2:
        return None
    layout = Layout.dense(shape[0], shape[1:-1])
    rows = layout.positions, shape[-1]
    place: Placement | None = layout.memo.find(_key(rows, x, w, b, options))
    return None if place is None else (x.reshape(rows), place, w, b)


def _dense(values: Array, layout: Layout) -> Any:
    """Positions of a dense batch as an array (N, *S, C)."""
    return values.reshape((*layout.box, values.shape[1]))


def _conv(
    x: Tensor, w: Tensor, b: Tensor | None, place: Placement, groups: int, flip: bool, activation: str | None,
    algorithm: str = "auto", moments: bool = False,
) -> Tensor:
    bias = None if b is None else b.values
    shared: dict[str, Any] = {"groups": groups, "flip": flip, "algorithm": algorithm}
    given = (x.values, place, w.values, bias)
    if moments and place.output.positions:
        y, counted = kernels.conv_and_moments(*given, activation=activation, packs=w.packs, **shared)
    else:
        y, counted = kernels.conv(*given, activation=activation, packs=w.packs, **shared), None

    def grad_fn(g: Array) -> list[Array | None]:
        if activation is not None:
            g = kernels.activate_grad(y, g, activation)
        to_x = to_w = to_b = None
        if x.requires_grad:
            to_x = kernels.conv_transpose(g, place, w.values, packs=w.packs, **shared)
        if w.requires_grad:
            to_w = kernels.conv_weight(x.values, g, place, **shared)
        if b is not None and b.requires_grad:
            to_b = kernels.column_sum(g)
        return [to_x, to_w] if b is None else [to_x, to_w, to_b]

    result = record(y, place.output, x.kind, (x, w) if b is None else (x, w, b), grad_fn)
    if counted is not None:
        result.packs["moments"] = counted
    return result


def conv_transpose(
    x: X,
    weight: Array | Tensor,
    bias: Array | Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
    activation: str | None = None,
    like: Batch | Layout | None = None,
) -> X:
    """Transposed convolution of every sample: the adjoint of the convolution with the same arguments.

    ``<conv(u, w), x> = <u, conv_transpose(x, w)>`` for every u. An axis of size S becomes
    ``(S - 1) stride + dilation (kernel - 1) + 1 - low - high + output_padding``; with "same", S stride.

    Parameters
    ----------
    x : ndarray (N, *S, F), Ragged or Tensor
    weight : (*kernel, C / groups, F)
        The very weight of the convolution, so the result has C channels.
    bias : (C,), optional
    output_padding : int, or one an axis
        Positions added at the end of an axis.
    like : batch or Layout, optional
        The result gets its size, sample by sample; each must be one that the convolution maps to the
        sample's own. A decoder meets its encoder so, at odd sizes too.

    stride, padding, dilation, groups, flip, activation and errors are those of :func:`conv`.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5; Dumoulin and Visin, "A guide to convolution
    arithmetic for deep learning", arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> x = np.array([1.0, 2.0]).reshape(1, 2, 1)
    >>> conv_transpose(x, np.array([1.0, 10.0]).reshape(2, 1, 1), stride=2).ravel().tolist()
    [1.0, 10.0, 2.0, 20.0]
    >>> conv_transpose(x, np.ones((2, 1, 1)), stride=2, like=np.zeros((1, 5, 1))).shape
    (1, 5, 1)
    """
    wanted = layout_like(like)
    options = "conv_transpose", stride, padding, dilation, groups, activation, output_padding, wanted
    known = _known(x, weight, bias, options)
    if known is not None:
        y: X = _dense(
            kernels.conv_transpose(*known, groups=groups, flip=flip, activation=activation), known[1].input
        )
        return y
    t, w = batch(x), fixed(weight, "weight")
    b = None if bias is None else fixed(bias, "bias")
    layout = layout_of(t)
    key = _key(t.values.shape, t.values, w.values, None if b is None else b.values, options)
    place: Placement | None = layout.memo.find(key)
    if place is None:
        check_fused(activation)
        _check_weight(w, t, groups, inputs="F")
        _check_bias(b, t, w.values.shape[-2] * groups)
        geometry = window(layout.ndim, w.values.shape[:-2], stride, padding, dilation)
        place = geometry.transposed_on(layout, output_padding, wanted)
        layout.memo.keep(key, place)
    return give_back(_conv_transpose(t, w, b, place, groups, flip, activation), x, weight, bias)


def _conv_transpose(
    x: Tensor, w: Tensor, b: Tensor | None, place: Placement, groups: int, flip: bool, activation: str | None
) -> Tensor:
    bias = None if b is None else b.values
    shared: dict[str, Any] = {"groups": groups, "flip": flip}
    y = kernels.conv_transpose(x.values, place, w.values, bias, activation=activation, packs=w.packs, **shared)

    def grad_fn(g: Array) -> list[Array | None]:
        if activation is not None:
            g = kernels.activate_grad(y, g, activation)
        to_x = to_w = to_b = None
        if x.requires_grad:
            to_x = kernels.conv(g, place, w.values, packs=w.packs, **shared)
        if w.requires_grad:
            to_w = kernels.conv_weight(g, x.values, place, **shared)
        if b is not None and b.requires_grad:
            to_b = kernels.column_sum(g)
        return [to_x, to_w] if b is None else [to_x, to_w, to_b]

    return record(y, place.input, x.kind, (x, w) if b is None else (x, w, b), grad_fn)


def conv_weight(
    x: Batch,
    grad: Batch,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
) -> Array | Tensor:
    """The gradient of a convolution to its weight: ``<conv(x, w), grad> = <w, conv_weight(x, grad)>`` for every w.

    It sums over the batch: in a fixed tree over the samples in batch order, the same bits for any
    number of threads and for dense or ragged input.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        The convolution's input.
    grad : batch with F channels
        The gradient of its output, so of the output's sizes.
    kernel_size : int, or one an axis

    stride, padding, dilation, groups, flip and errors are those of :func:`conv`.

    Returns
    -------
    ndarray (*kernel, C / groups, F); a Tensor if any operand is one.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5, eq. 9.11.

    Examples
    --------
    >>> conv_weight(np.arange(4.0).reshape(1, 4, 1), np.ones((1, 3, 1)), 2).ravel().tolist()
    [3.0, 6.0]
    """
    shared: dict[str, Any] = {"groups": groups, "flip": flip}
    options = "conv_weight", kernel_size, stride, padding, dilation, groups
    known = _known(x, grad, None, options)
    if known is not None:
        values, place, other, _ = known
        shared["groups"] = int(groups)
        return kernels.conv_weight(values, other.reshape(place.output.positions, other.shape[-1]), place, **shared)
    t, g = batch(x), batch(grad, "grad")
    check_same_dtype(g.values, "grad", t.values, "x")
    shared["groups"] = check_groups(groups, t.channels, g.channels)
    place = window(layout_of(t).ndim, kernel_size, stride, padding, dilation).on(layout_of(t))
    if layout_of(g) != place.output:
        raise ShapeError(f"grad must have the convolution's output layout {place.output!r}. Received: {g.layout!r}")
    if type(grad) is np.ndarray:
        layout_of(t).memo.keep(_key(t.values.shape, t.values, grad, None, options), place)
    w = kernels.conv_weight(t.values, g.values, place, **shared)

    def grad_fn(v: Array) -> tuple[Array | None, Array | None]:
        to_x = kernels.conv_transpose(g.values, place, v, **shared) if t.requires_grad else None
        to_g = kernels.conv(t.values, place, v, **shared) if g.requires_grad else None
        return to_x, to_g

    result = record(w, None, "array", (t, g), grad_fn)
    return result if isinstance(x, Tensor) or isinstance(grad, Tensor) else result.values


def linear(
    x: X, weight: Array | Tensor, bias: Array | Tensor | None = None, *, activation: str | None = None
) -> X:
    """The same affine map at every position: ``activation(x @ weight + bias)``, a convolution of size 1.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
    weight : (C, F)
    bias : (F,), optional
    activation : None, "relu", "leaky_relu", "sigmoid", "tanh" or "elu"

    Errors are those of :func:`conv`.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 6.1.

    Examples
    --------
    >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0], [10.0]]), np.array([0.5])).tolist()
    [[21.5]]
    """
    options = "linear", activation
    known = _known(x, weight, bias, options)
    if known is not None:
        y: X = _dense(kernels.conv(*known, activation=activation), known[1].output)
        return y
    check_fused(activation)
    t = batch(x)
    w = parameter(weight, "weight", t)
    if w.values.ndim != 2 or w.values.shape[0] != t.channels:
        raise ShapeError(f"weight must be ({t.channels}, F): x has {t.channels} channels. Received: {w.values.shape}")
    b = None if bias is None else parameter(bias, "bias", t, (w.channels,))
    place = each_position(layout_of(t))
    if type(x) is np.ndarray:
        key = _key(t.values.shape, t.values, w.values, None if b is None else b.values, options)
        layout_of(t).memo.keep(key, place)
    return give_back(_conv(t, w, b, place, 1, False, activation), x, weight, bias)


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise ArgumentError(f"algorithm must be one of {', '.join(ALGORITHMS)}. Received: algorithm={algorithm!r}")


def check_groups(groups: Any, channels: int, filters: int) -> int:
    """An int that divides both."""
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(f"groups must be an int of at least 1. Received: groups={groups!r}")
    if channels % groups or filters % groups:
        raise ShapeError(
            f"groups must divide the {channels} input channels and the {filters} filters. Received: groups={groups}"
        )
    return int(groups)


def _check_weight(w: Tensor, x: Tensor, groups: Any, inputs: str) -> None:
    """Refuse a weight (*kernel, C / groups, F) that doesn't go with ``x``, whose channels are C or F."""
    check_same_dtype(w.values, "weight", x.values, "x")
    shape = w.values.shape
    ndim = layout_of(x).ndim
    if len(shape) != ndim + 2 or 0 in shape:
        raise ShapeError(
            f"weight must be (*kernel, C / groups, F) with a kernel of {ndim} axes, as x has. "
            f"Received: weight of shape {shape}"
        )
    whole = groups if isinstance(groups, (int, np.integer)) and groups > 0 else 1
    expected = shape[-2] * whole if inputs == "C" else shape[-1]
    if x.channels != expected:
        raise ShapeError(
            f"x has {x.channels} channels, but weight of shape {shape} with groups={groups} takes {expected}. "
            f"Received: x of {x.channels} channels"
        )
    check_groups(groups, shape[-2] * whole, shape[-1])


def _check_bias(b: Tensor | None, x: Tensor, channels: int) -> None:
    if b is not None:
        parameter(b, "bias", x, (channels,))
