"""Separable kernels: an outer product of one vector an axis, or a sum of a few, in place of all taps.

A kernel of d axes, w wide, that is the outer product of d vectors convolves in w d multiply-adds an output instead of
w^d: *Deep Learning*, section 9.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, ShapeError
from ..random import Key
from ..tensor import Array, X, check_dtype, check_same_dtype
from ..window import padding_rule, per_axis
from ._operands import batch, give_back, layout_of
from .convolution import conv
from .structure import add

Doubles = NDArray[np.float64]

STARTS = 4  # of the search on three axes and more
SWEEPS = 1000
EXACT = 1e-7  # an error below which a kernel needs no other start
GAIN = 1e-10  # a sweep that lowers the error by less than this share of the kernel's size is the last
SMALL = 1e-12  # singular values below this share of the largest count as none


@dataclass(frozen=True, eq=False)
class Separation:
    """A kernel as a sum of outer products: what :func:`separate` gives.

    ``vectors`` are arrays (rank, k_a), one an axis; (rank, k_a, C / groups, F) for a weight. ``error`` is the norm of
    what is missing relative to the kernel's, one number, or (C / groups, F) for a weight. ``speedup`` is the kernel's
    taps over those of all vectors, w^d / (rank w d) with w taps on each of d axes.
    """

    vectors: tuple[Array, ...]
    error: Array
    speedup: float

    def kernel(self) -> Array:
        """The sum of the outer products: (*kernel,), or (*kernel, C / groups, F) for a weight."""
        product = self.vectors[0]
        for number, vector in enumerate(self.vectors[1:], 1):
            above = vector.reshape(len(vector), *(1,) * number, *vector.shape[1:])
            product = product.reshape(*product.shape[: number + 1], 1, *product.shape[number + 1 :]) * above
        total: Array = product.sum(axis=0)
        return total


def separate(kernel: ArrayLike, rank: int = 1, *, ndim: int | None = None) -> Separation:
    """The sum of ``rank`` outer products of one vector an axis that comes closest to a kernel.

    ``sum_r v_0[r, j_0] v_1[r, j_1] ...`` for tap (j_0, j_1, ...), least squares. On two axes that is the truncated
    singular value decomposition, and no other sum is closer. On more it is the canonical polyadic decomposition, found
    by alternating least squares from the leading singular vectors of the unfoldings (HOSVD) and, for ``rank`` above 1,
    from some random ones: a good one, not always the best.

    Parameters
    ----------
    kernel : (*kernel,), or a weight (*kernel, C / groups, F)
        float32 or float64.
    rank : int
    ndim : int, optional
        Axes of the kernel. None: all that the array has. For a weight it says that two more follow; then each channel
        and filter has vectors of its own.

    Returns
    -------
    Separation
        ``vectors``, ``error``, ``speedup``, and ``kernel()``, what the vectors make together.

    Raises
    ------
    ShapeError
        If the array hasn't ``ndim`` axes or ``ndim`` + 2, or has no taps.
    ArgumentError
        If ``rank`` isn't a positive int.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.8. Eckart and Young, "The approximation of one matrix by
    another of lower rank", Psychometrika 1, 1936; Kolda and Bader, "Tensor decompositions and applications", SIAM
    Review 51, 2009, figures 3.3 and 4.3.

    Examples
    --------
    >>> sobel = np.outer([1.0, 2.0, 1.0], [1.0, 0.0, -1.0])
    >>> parts = separate(sobel)
    >>> bool(parts.error < 1e-12), parts.speedup, np.allclose(parts.kernel(), sobel)
    (True, 1.5, True)
    >>> laplace = np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    >>> [round(float(separate(laplace, rank).error), 3) for rank in (1, 2)]
    [0.101, 0.0]
    """
    given = np.asarray(kernel)
    check_dtype(given, "kernel")
    if not isinstance(rank, (int, np.integer)) or isinstance(rank, bool) or rank < 1:
        raise ArgumentError(f"rank must be an int of at least 1. Received: rank={rank!r}")
    axes = given.ndim if ndim is None else per_axis(ndim, 1, "ndim")[0]
    if given.ndim not in (axes, axes + 2) or axes < 1 or not given.size:
        raise ShapeError(
            f"kernel must be (*kernel,) or (*kernel, C / groups, F) with taps on {max(axes, 1)} axes. "
            f"Received: kernel of shape {given.shape}, ndim={ndim!r}"
        )
    shape, channels = given.shape[:axes], given.shape[axes:]
    kernels = np.moveaxis(given.reshape(*shape, prod(channels)), -1, 0).astype(np.float64)
    factors, error = _decompose(kernels, int(rank))
    vectors = tuple(
        np.ascontiguousarray(factor.transpose(2, 1, 0)).reshape(rank, size, *channels).astype(given.dtype)
        for factor, size in zip(_balanced(factors), shape, strict=True)
    )
    return Separation(vectors, error.reshape(channels), prod(shape) / (int(rank) * sum(shape)))


def _decompose(kernels: Doubles, rank: int) -> tuple[list[Doubles], Doubles]:
    """Factors (B, k_a, rank) of kernels (B, *kernel), and the relative error of each."""
    # On one or two axes the singular vectors are the answer (Eckart and Young), and of one term a start that will do.
    starts = STARTS if kernels.ndim > 3 and rank > 1 else 1
    best = _singular_start(kernels, rank)
    least = _alternate(kernels, best)
    for start in range(1, starts):
        left = np.flatnonzero(least > EXACT)
        if not len(left):
            break
        factors = _random_start(kernels[left], rank, start)
        error = _alternate(kernels[left], factors)
        better = error < least[left]
        least[left[better]] = error[better]
        for old, new in zip(best, factors, strict=True):
            old[left[better]] = new[better]
    return best, least


def _unfolded(kernels: Doubles, axis: int) -> Doubles:
    """(B, k_axis, all other taps), the last axis fastest."""
    return np.moveaxis(kernels, axis + 1, 1).reshape(len(kernels), kernels.shape[axis + 1], -1)


def _singular_start(kernels: Doubles, rank: int) -> list[Doubles]:
    factors = _random_start(kernels, rank, 0)
    for axis, factor in enumerate(factors):
        left = np.linalg.svd(_unfolded(kernels, axis), full_matrices=False)[0][..., :rank]
        factor[..., : left.shape[-1]] = left
    return factors


def _random_start(kernels: Doubles, rank: int, start: int) -> list[Doubles]:
    """The same for every kernel, so that a kernel's vectors don't depend on what it came with."""
    rng = Key(start).fold("separate").generator()
    return [np.tile(rng.standard_normal((size, rank)), (len(kernels), 1, 1)) for size in kernels.shape[1:]]


def _alternate(kernels: Doubles, factors: list[Doubles]) -> Doubles:
    """Improve the factors in place, one axis after the other; returns each kernel's relative error."""
    size = np.sqrt(np.sum(kernels**2, axis=tuple(range(1, kernels.ndim))))
    error = np.full(len(kernels), np.inf)
    active = np.arange(len(kernels))
    for _ in range(SWEEPS):
        own = [factor[active] for factor in factors]
        mine = kernels[active]
        for axis in range(len(own)):
            others = _khatri_rao([factor for number, factor in enumerate(own) if number != axis], own[0].shape[-1])
            own[axis] = _unfolded(mine, axis) @ np.linalg.pinv(others.swapaxes(1, 2), SMALL)
        for factor, new in zip(factors, own, strict=True):
            factor[active] = new
        last = len(own) - 1
        missing = _unfolded(mine, last) - own[last] @ others.swapaxes(1, 2)
        now = np.sqrt(np.sum(missing**2, axis=(1, 2))) / np.where(size[active] > 0, size[active], 1)
        going = error[active] - now > GAIN
        error[active] = now
        active = active[going]
        if not len(active):
            break
    return error


def _khatri_rao(factors: list[Doubles], rank: int) -> Doubles:
    """The outer products of the factors' columns as columns: (B, all taps, rank), the last factor fastest."""
    product = factors[0] if factors else np.ones((1, 1, rank))
    for factor in factors[1:]:
        product = (product[:, :, None] * factor[:, None]).reshape(len(factor), -1, rank)
    return product


def _balanced(factors: list[Doubles]) -> list[Doubles]:
    """The same sum with vectors of one length in each term, longest term first, and one sign for all but the first."""
    lengths = [np.sqrt(np.sum(factor**2, axis=1, keepdims=True)) for factor in factors]
    size = np.prod(lengths, axis=0)
    order = np.argsort(-size, axis=2, kind="stable")
    sign = np.ones_like(size)
    result: list[Doubles] = []
    for factor, length in reversed(list(zip(factors, lengths, strict=True))):
        unit = factor / np.where(length > 0, length, 1) * size ** (1 / len(factors))
        if len(result) < len(factors) - 1:
            largest = np.take_along_axis(unit, np.argmax(np.abs(unit), axis=1, keepdims=True), axis=1)
            own = np.where(largest < 0, -1.0, 1.0)
            sign *= own
            unit = unit * own
        else:
            unit = unit * sign
        result.append(np.take_along_axis(unit, order, axis=2))
    return result[::-1]


def separable_conv(
    x: X, vectors: Sequence[Any], *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, flip: bool = False
) -> X:
    """Each channel convolved with a sum of outer products, one axis after the other.

    What ``conv`` computes with the kernel that the vectors make together and as many groups as channels, in
    rank w d multiply-adds an output instead of w^d. Defined on one sample: op(batch) = concat(op(sample)), to the last
    bit.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
    vectors : arrays (rank, k_a), one an axis
        Or (rank, k_a, 1, C), which differ from channel to channel: both as :func:`separate` gives them, of the dtype
        of ``x``. They are constants: gradients flow to ``x``.
    stride, padding, dilation, flip
        As for :func:`conv`.

    Raises
    ------
    ShapeError
        If the vectors don't fit together or to ``x``, or a sample is too short.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.8.

    Examples
    --------
    >>> x = np.arange(12.0).reshape(1, 3, 4, 1)
    >>> sobel = separate(np.outer([1.0, 2.0, 1.0], [1.0, 0.0, -1.0]))
    >>> separable_conv(x, sobel.vectors).round(9).tolist()
    [[[[-8.0], [-8.0]]]]
    """
    t = batch(x)
    layout = layout_of(t)
    if not isinstance(vectors, Sequence) or len(vectors) != layout.ndim:
        raise ShapeError(
            f"vectors must be a list of {layout.ndim} arrays, one an axis of x. "
            f"Received: {len(vectors) if isinstance(vectors, Sequence) else vectors!r}"
        )
    arrays = [np.asarray(vector) for vector in vectors]
    rank = len(arrays[0]) if arrays and arrays[0].ndim else 1
    for axis, array in enumerate(arrays):
        check_same_dtype(array, f"vectors[{axis}]", t.values, "x")
        if array.ndim not in (2, 4) or len(array) != rank or array.shape[2:] not in ((), (1, t.channels)):
            raise ShapeError(
                f"vectors[{axis}] must be (rank, k) or (rank, k, 1, {t.channels}), and have the rank {rank} of "
                f"vectors[0]. Received: shape {array.shape}"
            )
    terms = []
    for term in range(rank):
        y = t
        steps = one_axis_each(layout.ndim, stride, padding)
        for axis, array in enumerate(arrays):
            weight = axis_weight(array[term].reshape(array.shape[1], -1), axis, layout.ndim, t.channels)
            y = conv(y, weight, dilation=dilation, groups=t.channels, flip=flip, **steps[axis])
        terms.append(y)
    return give_back(add(terms), x)


def axis_weight(vectors: Array, axis: int, ndim: int, channels: int) -> Array:
    """The depthwise weight (1, .. k, .. 1, 1, channels) of vectors along one axis, (k, channels) or (k, 1) for all."""
    shape = (*(1,) * axis, len(vectors), *(1,) * (ndim - axis - 1), 1)
    return np.ascontiguousarray(np.broadcast_to(vectors.reshape(*shape, -1), (*shape, channels)))


def one_axis_each(ndim: int, stride: Any, padding: Any) -> list[dict[str, Any]]:
    """The stride and padding of a convolution, for each axis of those that convolve along that axis alone."""
    strides, rule = per_axis(stride, ndim, "stride"), padding_rule(padding, ndim)
    steps = []
    for axis in range(ndim):
        own = tuple(strides[axis] if other == axis else 1 for other in range(ndim))
        pads = rule  # a rule by name pads nothing where the kernel has one tap and steps by one
        if not isinstance(rule, str):
            pads = tuple(rule[axis] if other == axis else (0, 0) for other in range(ndim))
        steps.append({"stride": own, "padding": pads})
    return steps
