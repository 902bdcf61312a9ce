"""Pools by windows whose statistic is neither the maximum nor the plain mean: p-norm, weighted mean, a random draw.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..errors import ArgumentError
from ..kernels.checks import empty_like
from ..layout import Ints, Layout
from ..random import Key
from ..tensor import Array, Tensor, X, record
from ..window import Placement, Regions
from ._operands import batch, give_back, layout_of, window
from ._regions import elements, positions_of, taps
from .pooling import pooled_regions


def lp_pool(
    x: X,
    size: Any,
    p: float = 2.0,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> X:
    """The p-norm of what lies under the window, channel by channel: ``(sum |x|^p)^(1/p)`` over true positions.

    From the sum of magnitudes at p = 1 it comes ever closer to the largest magnitude as p grows. No p loses large
    values or small ones in their powers.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size, stride, padding, dilation, ceil_mode
        As for :func:`max_pool`.
    p : float
        At least 1, and finite.

    Returns
    -------
    The kind of ``x``. The gradient is sign(x) (|x| / y)^(p - 1), and 0 where the norm y is 0.

    Raises
    ------
    ArgumentError
        If ``p`` is below 1 or not finite.
    ShapeError
        As :func:`max_pool`.

    References
    ----------
    Sermanet, Chintala, LeCun, "Convolutional neural networks applied to house numbers digit classification", ICPR 2012;
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3 (the L2 norm of a rectangular neighborhood).

    Examples
    --------
    >>> x = np.array([3.0, -4.0, 0.0, 0.0]).reshape(1, 4, 1)
    >>> lp_pool(x, 2).ravel().tolist()
    [5.0, 0.0]
    >>> lp_pool(x, 2, p=1).ravel().tolist()
    [7.0, 0.0]
    """
    if isinstance(p, bool) or not isinstance(p, (int, float, np.number)) or not 1 <= p < math.inf:
        raise ArgumentError(f"p must be a finite number of at least 1. Received: p={p!r}")
    t = batch(x)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    return give_back(_lp(t, regions, float(p)), x)


def _lp(x: Tensor, regions: Regions, p: float) -> Tensor:
    """The p-norms, and the way back.

    Powers are summed as they are. Only sums that overflow, or come so close to underflow that terms may be lost, are
    made again of values relative to their window's largest.
    """
    values = x.values
    if p == 2:
        total, _ = kernels.pool(values, regions, "squares")
    else:
        total, _ = kernels.pool(_power(values, p), regions, "sum")
    plain = _plain(total, regions)
    with np.errstate(all="ignore"):
        y = np.sqrt(total, out=total) if p == 2 else total ** (1 / p)
    rows: Ints = np.zeros(0, dtype=np.int64)
    if plain is not None:
        magnitude = kernels.activate(values, "absolute")
        largest, _ = kernels.pool(magnitude, regions, "max", indexed=False)
        again = ~plain & (largest != 0)
        rows = np.flatnonzero(again.any(axis=1))
        again = again[rows]
        y[rows] = np.where(again, _lp_relative(magnitude, regions, p, rows, largest[rows]), y[rows])

    def grad_fn(g: Array) -> tuple[Array]:
        with np.errstate(all="ignore"):
            slope = _slope(values, p)
            if not np.isfinite(kernels.column_sum(slope)).all():
                slope = np.where(np.isinf(slope), 0, slope)  # it lies in no window that is plain, or in none
            part = np.divide(g, y, out=empty_like(g)) if p == 2 else g * y ** (1 - p)
            if plain is not None:
                part = np.where(plain, part, 0)
            to_x = kernels.multiply(kernels.pool_grad(part, regions, "sum"), slope)
            if len(rows):
                norm, part = y[rows], np.where(again, g[rows], 0)
                for having, inputs in taps(regions, rows):
                    share = (magnitude[inputs] / norm[having]) ** (p - 1) * np.sign(values[inputs])
                    to_x[inputs] += np.where(again[having], part[having] * share, 0)
        return (to_x,)

    return record(y, regions.output, x.kind, (x,), grad_fn)


def _plain(total: Array, regions: Regions) -> NDArray[np.bool_] | None:
    """Which sums of positive terms didn't overflow and are far from underflow; None if all."""
    limits = np.finfo(total.dtype)
    least, most = math.prod(regions.window or ()) * float(limits.tiny / limits.eps), limits.max
    if total.min(initial=most) >= least and total.max(initial=0) <= most:
        return None
    plain: NDArray[np.bool_] = (total >= least) & (total <= most)
    return plain


def _power(values: Array, p: float) -> Array:
    """``|values| ** p``: products where p is a small whole number, which are a multiple as fast as powers."""
    base = kernels.activate(values, "absolute") if p % 2 else values
    if p not in range(1, 9):
        with np.errstate(all="ignore"):
            powers: Array = base**p
        return powers
    product = base
    for digit in f"{int(p):b}"[1:]:
        product = kernels.multiply(product, product)
        if digit == "1":
            product = kernels.multiply(product, base)
    return product


def _slope(values: Array, p: float) -> Array:
    """``sign(values) |values| ** (p - 1)``."""
    if p == 2:
        return values
    if p in (4, 6, 8):
        return kernels.multiply(_power(values, p - 2), values)
    signs: Array = np.sign(values)
    return signs if p == 1 else kernels.multiply(_power(values, p - 1), signs)


def _lp_relative(magnitude: Array, regions: Regions, p: float, rows: Ints, largest: Array) -> Array:
    """The p-norms of some outputs, of values relative to the largest of each: the rows' (Q, C)."""
    total = np.zeros_like(largest)
    with np.errstate(all="ignore"):
        for having, inputs in taps(regions, rows):
            total[having] += (magnitude[inputs] / largest[having]) ** p
        return np.where(np.isfinite(largest), largest * total ** (1 / p), largest)


def weighted_pool(
    x: X,
    size: Any,
    sigma: float = 0.25,
    *,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> X:
    """The mean under the window, weighted by the distance from the window's centre with a Gaussian.

    Tap j of an axis k wide weighs ``exp(-((j - (k - 1) / 2) / (sigma k))^2 / 2)``, a tap of the window the product over
    the axes. The weights of each window's true positions are scaled to sum 1: a constant stays one at the border.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size, stride, padding, dilation, ceil_mode
        As for :func:`max_pool`.
    sigma : float
        The Gaussian's standard deviation as a share of the window's size on each axis, positive. With a large one
        this is :func:`avg_pool`.

    Returns
    -------
    The kind of ``x``.

    Raises
    ------
    ArgumentError
        If ``sigma`` isn't positive, or so small that all true positions of a window weigh 0.
    ShapeError
        As :func:`max_pool`.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3 (a weighted average based on the distance from the
    central pixel).

    Examples
    --------
    >>> x = np.array([0.0, 4.0, 0.0, 4.0]).reshape(1, 4, 1)
    >>> weighted_pool(x, 3, stride=1).ravel().round(2).tolist()
    [2.2, 1.8]
    >>> weighted_pool(np.ones((1, 4, 1)), 3, stride=1, padding="same").ravel().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float, np.number)) or not 0 < sigma < math.inf:
        raise ArgumentError(f"sigma must be a positive number. Received: sigma={sigma!r}")
    t = batch(x)
    layout = layout_of(t)
    pooled_regions(layout, size, stride, padding, dilation, ceil_mode)  # refuses windows of padding alone
    place = window(
        layout.ndim, size, size if stride is None else stride, padding, dilation, ceil_mode, name="size"
    ).on(layout)
    return give_back(_weighted(t, place, float(sigma)), x)


def _weighted(x: Tensor, place: Placement, sigma: float) -> Tensor:
    own = gaussian(place.window.kernel, sigma).astype(x.dtype)[..., None, None]
    # Directly: a Fourier transform's errors would be divided by the small sums of windows at the border.
    direct: dict[str, Any] = {"groups": x.channels, "algorithm": "direct"}
    total: Array | None = _total_weight(place, own, sigma)
    if not place.window.reaches_over:
        own, total = own / own.sum(), None
    weight = np.repeat(own, x.channels, axis=-1)
    y = kernels.conv(x.values, place, weight, **direct)
    if total is not None:
        y /= total

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.conv_transpose(g if total is None else g / total, place, weight, **direct),)

    return record(y, place.output, x.kind, (x,), grad_fn)


def _total_weight(place: Placement, own: Array, sigma: float) -> Array:
    """The sum of the weights of each window's true positions, (P_out, 1). Kept with the placement."""
    key = "gaussian", sigma, own.dtype
    total: Array | None = place.memo.get(key)
    if total is None:
        ones = np.ones((place.input.positions, 1), dtype=own.dtype)
        total = place.memo[key] = kernels.conv(ones, place, own, algorithm="direct")
    if not total.all():
        sample = _sample_of(place.output, int(np.argmin(total[:, 0])))
        raise ArgumentError(
            f"sigma is too small for the window: in sample {sample} all true positions of a window weigh 0. "
            f"Received: sigma={sigma}, a window of size {place.window.kernel}"
        )
    return total


def gaussian(size: tuple[int, ...], sigma: float) -> Array:
    """The weights of :func:`weighted_pool`, of shape ``size``; the largest possible is 1.

    >>> gaussian((3,), 0.25).round(3).tolist()
    [0.411, 1.0, 0.411]
    """
    weight = np.ones(())
    for k in size:
        distance = (np.arange(k) - (k - 1) / 2) / (sigma * k)
        weight = weight[..., None] * np.exp(-(distance**2) / 2)
    return weight


def stochastic_pool(
    x: X,
    size: Any,
    *,
    training: bool = False,
    key: Key | None = None,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> X:
    """A value drawn from the window in proportion to the values themselves, channel by channel; else its expectation.

    With ``P_i = x_i / sum x`` over the window's true positions, training gives x_i with probability P_i, and inference
    ``sum P_i x_i``. Where all are 0 each position is as likely as any other.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64. Negative values are refused: they have no probability. The paper pools what a ReLU gives.
    size, stride, padding, dilation, ceil_mode
        As for :func:`max_pool`.
    training : bool
        Draw, instead of taking the expectation.
    key : convnd.random.Key
        Decides what is drawn: by sample and position within it, whatever else is in the batch. Training needs it.

    Returns
    -------
    The kind of ``x``. In training the gradient goes to the position drawn, as if the draw didn't depend on x. In
    inference it is that of the expectation, (2 x_i - y) / sum x, and that of the mean where all are 0.

    Raises
    ------
    ArgumentError
        If a value is negative or not finite (the message names the sample), or training has no key.
    ShapeError
        As :func:`max_pool`.

    References
    ----------
    Zeiler, Fergus, "Stochastic pooling for regularization of deep convolutional neural networks", ICLR 2013.

    Examples
    --------
    >>> x = np.array([1.0, 3.0, 0.0, 2.0]).reshape(1, 4, 1)
    >>> stochastic_pool(x, 2).ravel().tolist()
    [2.5, 2.0]
    >>> stochastic_pool(x, 2, training=True, key=Key(2)).ravel().tolist()
    [3.0, 2.0]
    """
    if training and not isinstance(key, Key):
        raise ArgumentError(f"key must be a convnd.random.Key in training. Received: key={key!r}")
    t = batch(x)
    regions = pooled_regions(layout_of(t), size, stride, padding, dilation, ceil_mode)
    _refuse_negative(t)
    return give_back(_drawn(t, regions, key) if training and key is not None else _expected(t, regions), x)


def _refuse_negative(x: Tensor) -> None:
    values = x.values
    # As bits: what is negative, infinite or no number lies above all other numbers. So does -0.0, which is one to keep.
    bits = values.view(f"u{values.itemsize}")
    if not values.size or bits.max() < np.array(np.inf, values.dtype).view(bits.dtype):
        return
    if not (values.min() >= 0 and values.max() < np.inf):
        row, channel = (int(number) for number in np.argwhere(~((values >= 0) & (values < np.inf)))[0])
        raise ArgumentError(
            f"sample {_sample_of(layout_of(x), row)}: stochastic pooling takes finite values of at least 0, as relu "
            f"gives them. Received: {values[row, channel]}"
        )


def _sample_of(layout: Layout, row: int) -> int:
    return int(np.searchsorted(layout.offsets, row, side="right")) - 1


def _drawn(x: Tensor, regions: Regions, key: Key) -> Tensor:
    values, output = x.values, regions.output
    uniform = uniforms(key.per_sample(len(output)), output, x.channels)
    total = np.zeros(uniform.shape)
    count = np.zeros((len(uniform), 1), dtype=np.int64)
    for having, inputs in taps(regions):
        total[having] += values[inputs]
        count[having] += 1
    # The first position at which the sum so far is above u times the whole; the one that reaches the whole is the last.
    bound = uniform * total
    so_far = np.zeros_like(total)
    index = np.zeros(total.shape, dtype=np.int32)
    for having, inputs in taps(regions):
        so_far[having] += values[inputs]
        reached = so_far[having]
        index[having] += (reached <= bound[having]) & (reached < total[having])
    index = np.where(total == 0, (uniform * count).astype(np.int32), index)
    position = positions_of(index, regions)
    where, index = elements(position, output, regions.input), position.astype(np.int32)

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.pool_grad(g, regions, "max", index),)

    return record(values.reshape(-1)[where], output, x.kind, (x,), grad_fn)


def uniforms(keys: NDArray[np.uint64], layout: Layout, channels: int) -> Array:
    """Uniform draws from [0, 1), float64 (P, C), from one key a sample.

    The number of (p, c), p the position within its sample, is draw p C + c of SplitMix64 at the sample's key: Steele,
    Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. They are those of ``dropout_mask``.

    >>> uniforms(Key(0).per_sample(1), Layout([[1]]), 2).round(2).tolist()
    [[0.99, 0.87]]
    """
    position = np.arange(layout.positions, dtype=np.int64) - np.repeat(layout.offsets[:-1], layout.sizes)
    number = (position[:, None] * channels + np.arange(1, channels + 1)).astype(np.uint64)
    # Unsigned arithmetic wraps, as the generator's does.
    z = number * np.uint64(0x9E3779B97F4A7C15) + np.repeat(keys, layout.sizes)[:, None]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform: Array = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return uniform


def _expected(x: Tensor, regions: Regions) -> Tensor:
    """In the dtype of x. Windows whose squares overflow in float32, or come so close to underflow that terms may be
    lost, are done again in float64, and so is their way back."""
    values = x.values
    total, squares = _sums(values, regions)
    plain = _plain(squares, regions)
    if plain is None:
        y = np.divide(squares, total, out=squares)
    else:
        zero = total == 0
        left = ~plain
        again = left & ~zero
        with np.errstate(all="ignore"):
            y = np.divide(squares, np.where(zero, 1, total), out=squares)
        if again.any():
            total64, squares64 = _sums(values.astype(np.float64), regions)
            y[again] = squares64[again] / total64[again]

    def grad_fn(g: Array) -> tuple[Array]:
        part = empty_like(g)
        if plain is None:
            np.divide(g, total, out=part)
        else:
            part[...] = 0
            np.divide(g, total, out=part, where=~left)
        to_x = kernels.multiply(values, kernels.pool_grad(part, regions, "sum"))
        to_x *= 2
        to_x -= kernels.pool_grad(kernels.multiply(part, y), regions, "sum")
        if plain is None:
            return (to_x,)
        if again.any():
            part = np.divide(g, total64, out=np.zeros_like(total64), where=again)
            more = 2 * (values * kernels.pool_grad(part, regions, "sum"))
            _add_where(to_x, again, more - kernels.pool_grad(part * y, regions, "sum"), regions)
        if zero.any():
            _add_where(to_x, zero, kernels.pool_grad(np.where(zero, g, 0), regions, "mean"), regions)
        return (to_x,)

    return record(y, regions.output, x.kind, (x,), grad_fn)


def _add_where(to_x: Array, outputs: NDArray[np.bool_], more: Array, regions: Regions) -> None:
    """Add what some outputs give to the inputs that they read, and nothing to others, be it 0.0."""
    read = kernels.pool_grad(outputs.astype(to_x.dtype), regions, "sum") > 0
    to_x[read] += more[read].astype(to_x.dtype)


def _sums(values: Array, regions: Regions) -> tuple[Array, Array]:
    """The sums of the values and of their squares."""
    return kernels.pool(values, regions, "sum")[0], kernels.pool(values, regions, "squares")[0]
