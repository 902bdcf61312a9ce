"""Normalisation by what lies around: across channels, and within a window of positions.

Both are defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..errors import ArgumentError
from ..layout import Layout
from ..tensor import Array, Tensor, X, record
from ..window import Placement, per_axis, refuse_empty
from ._operands import batch, give_back, layout_of, window
from .pooling import _proportional


def local_response_norm(x: X, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> X:
    """Local response normalisation across channels: ``y_c = x_c / (k + alpha / size sum_j x_j^2)^beta``.

    j runs over the ``size`` channels from c - size // 2 to c + (size - 1) // 2 that exist; the divisor is ``size`` at
    the ends too. This is PyTorch's convention. AlexNet's paper doesn't divide by ``size``: its k = 2, n = 5,
    alpha = 1e-4, beta = 0.75 are ``size=5, alpha=5e-4, k=2`` here.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size : int
        Channels in a window.
    alpha, beta, k : float
        Positive.

    Raises
    ------
    ArgumentError
        If an argument is outside its rule.

    References
    ----------
    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012,
    section 3.3.

    Examples
    --------
    >>> local_response_norm(np.array([[1.0, 2.0, 3.0]]), 2, alpha=2.0, beta=1.0, k=1.0).tolist()
    [[0.5, 0.3333333333333333, 0.21428571428571427]]
    """
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
        raise ArgumentError(f"size must be an int of at least 1. Received: size={size!r}")
    for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        if not value > 0:
            raise ArgumentError(f"{name} must be positive. Received: {name}={value!r}")
    t = batch(x)
    values, share = t.values, float(alpha) / int(size)
    low, high = int(size) // 2, (int(size) - 1) // 2
    divisor = float(k) + share * _sum_around(values * values, low, high)
    scale = divisor ** -float(beta)

    def grad_fn(g: Array) -> tuple[Array]:
        # Channel j is in the windows of j - high to j + low.
        through = _sum_around(g * values * scale / divisor, high, low)
        return (g * scale - (2 * float(beta) * share) * values * through,)

    return give_back(record(values * scale, t.layout, t.kind, (t,), grad_fn), x)


def _sum_around(a__pc: Array, low: int, high: int) -> Array:
    """For channel c, the sum of channels c - low to c + high that exist, in ascending order."""
    positions, channels = a__pc.shape
    padded = np.zeros((positions, low + channels + high), dtype=a__pc.dtype)
    padded[:, low : low + channels] = a__pc
    total = padded[:, :channels].copy()
    for tap in range(1, low + high + 1):
        total += padded[:, tap : tap + channels]
    return total


def local_contrast_norm(x: X, size: Any = 9, *, sigma: Any = None, eps: float = 1e-4) -> X:
    """Local contrast normalisation: subtract the mean around, then divide by the standard deviation around.

    With w a Gaussian window over positions, its weights at a sample's true positions scaled to sum to 1, and C
    channels::

        v[p, c] = x[p, c] - sum over q and channels i of w[p, q] x[q, i] / C
        y[p, c] = v[p, c] / max(s[p], mean of s over the sample, eps)
        s[p]^2  = sum over q and channels i of w[p, q] v[q, i]^2 / C

    Padding doesn't exist: at a border the window has fewer positions. Where the two largest are equal, the gradient
    goes to the mean.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    size : int, or one an axis
        Positions in the window on an axis: odd, so that it has a centre.
    sigma : float, or one an axis, optional
        Of the Gaussian, in positions; size / 4 unless given.
    eps : float
        Positive: a sample without contrast stays as flat as it is.

    Raises
    ------
    ShapeError
        If a sample has no positions.
    ArgumentError
        If an argument is outside its rule.

    References
    ----------
    Jarrett, Kavukcuoglu, Ranzato, LeCun, "What is the best multi-stage architecture for object recognition?", ICCV
    2009, section 2.1; *Deep Learning*, section 12.2.1.1.

    Examples
    --------
    >>> x = np.array([0.0, 0.0, 1.0, 0.0, 0.0]).reshape(1, 5, 1)
    >>> y = local_contrast_norm(x, 3)
    >>> (local_contrast_norm(10 * x + 7, 3) - y).round(12).any().tolist()
    False
    """
    t = batch(x)
    layout = layout_of(t)
    refuse_empty(layout)
    if not eps > 0:
        raise ArgumentError(f"eps must be positive. Received: eps={eps!r}")
    return give_back(_contrast(t, _Blur.of(layout, size, sigma), float(eps)), x)


def _contrast(x: Tensor, blur: _Blur, eps: float) -> Tensor:
    layout = layout_of(x)
    sample = _proportional(layout, (1,) * layout.ndim)
    wide = x.values.astype(np.float64, copy=False)
    v = wide - blur.mean(np.mean(wide, axis=1, keepdims=True))
    spread = np.sqrt(blur.mean(np.mean(v * v, axis=1, keepdims=True)))  # (P, 1), as all that has no channels
    mean = kernels.pool(spread, sample, "mean")[0]
    floor = np.repeat(np.maximum(mean, eps), layout.sizes, axis=0)
    divisor = np.maximum(spread, floor)
    y = v / divisor

    def grad_fn(g: Array) -> tuple[Array]:
        to_v = g / divisor
        to_divisor = -np.sum(to_v * y, axis=1, keepdims=True)
        to_spread = np.where(spread > floor, to_divisor, 0.0)
        to_mean = kernels.pool(to_divisor - to_spread, sample, "mean")[0] * (mean > eps)
        to_spread += np.repeat(to_mean, layout.sizes, axis=0)
        # Where nothing varies within the window the root has no derivative, and v is 0 there.
        to_square = np.divide(to_spread, 2 * spread, out=np.zeros_like(spread), where=spread > 0)
        to_v += v * (blur.back(to_square) * (2 / x.channels))
        return ((to_v - blur.back(np.mean(to_v, axis=1, keepdims=True))).astype(x.dtype),)

    return record(y.astype(x.dtype), x.layout, x.kind, (x,), grad_fn)


class _Blur:
    """The Gaussian window's weighted mean over true positions, of one number a position in float64.

    The window is a product over axes, and so is its mass at a border: a convolution along each axis, then one division.
    All are direct ones, whose results of what isn't negative aren't either.
    """

    def __init__(self, layout: Layout, sizes: tuple[int, ...], sigmas: tuple[float, ...]) -> None:
        self._axes: list[tuple[Placement, Array]] = []
        for axis, (size, sigma) in enumerate(zip(sizes, sigmas, strict=True)):
            kernel = tuple(size if other == axis else 1 for other in range(layout.ndim))
            steps = np.arange(size) - size // 2
            taps = np.exp(-0.5 * (steps / sigma) ** 2).reshape(*kernel, 1, 1)
            self._axes.append((window(layout.ndim, kernel, 1, "same", 1).on(layout), taps))
        self._mass = np.ones((1, 1))
        self._mass = self.mean(np.ones((layout.positions, 1)))

    @classmethod
    def of(cls, layout: Layout, size: Any, sigma: Any) -> _Blur:
        """From arguments as users give them; kept by the layout."""
        sizes = per_axis(size, layout.ndim, "size")
        if any(one % 2 == 0 for one in sizes):
            raise ArgumentError(f"size must be odd, so that the window has a centre. Received: size={size!r}")
        sigmas = _sigmas(sigma, sizes)
        key = "local_contrast_norm", sizes, sigmas
        found: _Blur | None = layout.memo.get(key)
        if found is None:
            found = layout.memo[key] = cls(layout, sizes, sigmas)
        return found

    def mean(self, a__p1: Array) -> Array:
        """The weighted mean around each position."""
        for place, taps in self._axes:
            a__p1 = kernels.conv(a__p1, place, taps, algorithm="direct")
        mean: Array = a__p1 / self._mass
        return mean

    def back(self, g__p1: Array) -> Array:
        """The adjoint."""
        g__p1 = g__p1 / self._mass
        for place, taps in reversed(self._axes):
            g__p1 = kernels.conv_transpose(g__p1, place, taps, algorithm="direct")
        return g__p1


def _sigmas(sigma: Any, sizes: tuple[int, ...]) -> tuple[float, ...]:
    if sigma is None:
        return tuple(size / 4 for size in sizes)
    given = np.asarray(sigma, dtype=np.float64) if np.size(sigma) and not isinstance(sigma, str) else np.zeros(1)
    if given.ndim > 1 or given.shape not in ((), (len(sizes),)) or not ((given > 0) & np.isfinite(given)).all():
        raise ArgumentError(
            f"sigma must be a positive number, or {len(sizes)} of them (one an axis). Received: sigma={sigma!r}"
        )
    return tuple(np.broadcast_to(given, (len(sizes),)).tolist())
