"""How far a function is from commuting with shifts, scalings, rotations and reflections (section 9.2)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Layout, Ragged
from ..nn.arguments import flag
from ..nn.layer import Layer
from ..tensor import Array, check_dtype
from ..window import per_axis, refuse_empty
from .receptive import interior, receptive_fields

Margins = tuple[tuple[int, int], ...]
Slices = tuple[slice, ...]


class Transform:
    """A change g of the positions of a batch (N, *S, C), and what it is behind a function of stride s: g'."""

    def __call__(self, x: Array) -> Array:
        """g(x)."""
        raise NotImplementedError

    def behind(self, stride: tuple[Any, ...]) -> Transform:
        """The g' for which an equivariant f has f(g(x)) = g'(f(x))."""
        return self

    def compared(self, shape: tuple[int, ...], margins: Margins) -> Slices:
        """Which outputs of ``shape`` don't depend on what is beyond the sample: as much is cut at every end."""
        most = max((most for margin in margins for most in margin), default=0)
        return tuple(slice(most, max(size - most, 0)) for size in shape)


class Shift(Transform):
    """g(x)[p] = x[p - by], where that doesn't exist zeros; or, if ``circular``, what left the sample at the other end.

    Circular shifts are compared at all outputs, so a function commutes with them only if it continues the sample
    periodically itself.

    >>> Shift(1)(np.arange(1.0, 4).reshape(1, 3, 1)).ravel().tolist()
    [0.0, 1.0, 2.0]
    >>> Shift(1, circular=True)(np.arange(1.0, 4).reshape(1, 3, 1)).ravel().tolist()
    [3.0, 1.0, 2.0]
    """

    def __init__(self, by: Any, circular: bool = False) -> None:
        self.by, self.circular = by, flag(circular, "circular")

    def _steps(self, ndim: int) -> tuple[int, ...]:
        steps = (self.by,) * ndim if isinstance(self.by, (int, np.integer)) else self.by
        if (
            not isinstance(steps, (tuple, list, np.ndarray))
            or len(steps) != ndim
            or not all(isinstance(t, (int, np.integer)) for t in steps)
        ):
            raise ArgumentError(f"by must be an int, or {ndim} of them (one an axis). Received: by={self.by!r}")
        return tuple(int(t) for t in steps)

    def __call__(self, x: Array) -> Array:
        shape = x.shape[1:-1]
        steps = self._steps(len(shape))
        if self.circular:
            return np.roll(x, steps, tuple(range(1, x.ndim - 1)))
        result = np.zeros_like(x)
        to = tuple(slice(max(t, 0), max(size + min(t, 0), 0)) for t, size in zip(steps, shape, strict=True))
        source = tuple(slice(max(-t, 0), max(size - max(t, 0), 0)) for t, size in zip(steps, shape, strict=True))
        if all(abs(t) < size for t, size in zip(steps, shape, strict=True)):
            result[(slice(None), *to)] = x[(slice(None), *source)]
        return result

    def behind(self, stride: tuple[Any, ...]) -> Shift:
        steps = []
        for t, s in zip(self._steps(len(stride)), stride, strict=True):
            step = Fraction(t) / Fraction(s)
            if step.denominator != 1:
                raise ArgumentError(f"by must be a multiple of the function's stride, {s}. Received: by={self.by!r}")
            steps.append(int(step))
        return Shift(tuple(steps), self.circular)

    def compared(self, shape: tuple[int, ...], margins: Margins) -> Slices:
        if self.circular:
            return (slice(None),) * len(shape)
        steps = self._steps(len(shape))
        return tuple(
            slice(low + max(t, 0), max(size - high + min(t, 0), 0))
            for t, size, (low, high) in zip(steps, shape, margins, strict=True)
        )


class Rotate(Transform):
    """``turns`` by 90 degrees from the first towards the second of two axes.

    >>> Rotate()(np.arange(4.0).reshape(1, 2, 2, 1)).reshape(2, 2).tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """

    def __init__(self, turns: int = 1, axes: tuple[int, int] = (0, 1)) -> None:
        if isinstance(turns, bool) or not isinstance(turns, (int, np.integer)):
            raise ArgumentError(f"turns must be an int. Received: turns={turns!r}")
        self.turns, self.axes = int(turns), axes

    def __call__(self, x: Array) -> Array:
        first, second = _axes(self.axes, x.ndim - 2, 2)
        return np.rot90(x, self.turns, (first + 1, second + 1))


class Flip(Transform):
    """The reverse order of positions along one axis or several.

    >>> Flip((0,))(np.arange(3.0).reshape(1, 3, 1)).ravel().tolist()
    [2.0, 1.0, 0.0]
    """

    def __init__(self, axes: int | tuple[int, ...]) -> None:
        self.axes = (axes,) if isinstance(axes, (int, np.integer)) else axes

    def __call__(self, x: Array) -> Array:
        return np.flip(x, tuple(axis + 1 for axis in _axes(self.axes, x.ndim - 2)))


class Scale(Transform):
    """Every axis ``factor`` times as long, rounded, by linear interpolation between the centres of positions.

    g(x)[p] = x at (p + 1/2) S / S' - 1/2, the ends continued, where S' = round(factor S).

    >>> Scale(2)(np.array([0.0, 4.0]).reshape(1, 2, 1)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """

    def __init__(self, factor: float) -> None:
        if isinstance(factor, bool) or not isinstance(factor, (int, float, np.number)) or not 0 < factor < np.inf:
            raise ArgumentError(f"factor must be a positive number. Received: factor={factor!r}")
        self.factor = float(factor)

    def __call__(self, x: Array) -> Array:
        for axis, size in enumerate(x.shape[1:-1], 1):
            new = max(1, round(size * self.factor))
            at = np.clip((np.arange(new) + 0.5) * (size / new) - 0.5, 0, size - 1)
            low = np.minimum(at.astype(np.int64), max(size - 2, 0))
            share = (at - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis))
            ahead = np.take(x, np.minimum(low + 1, size - 1), axis)
            x = np.take(x, low, axis) * (1 - share) + ahead * share
        return x

    def compared(self, shape: tuple[int, ...], margins: Margins) -> Slices:
        most = max((most for margin in margins for most in margin), default=0)
        return super().compared(shape, ((max(most, round(most * self.factor)),) * 2,))


def equivariance_error(
    f: Layer | Callable[[Any], Any], x: Array | Ragged, transform: Transform, *, stride: Any = None, margin: Any = None
) -> float:
    """How far f(g(x)) is from g'(f(x)), relative to the latter: 0.0 where the two agree to the last bit.

    ``sqrt(sum |f(g(x)) - g'(f(x))|^2 / sum |g'(f(x))|^2)``, over the outputs in the interior: those whose receptive
    fields lie inside the sample both before and after. g' is g on the output; a shift by t becomes one by t / stride.
    If f leaves no axes (global pooling), g' changes nothing, and this measures invariance.

    A convolution commutes with shifts: the error is 0.0 for ``algorithm="direct"``, where an output is one chain of
    sums wherever it lies; Winograd tiles and Fourier blocks, which "auto" may choose, are counted from the sample's
    first output, and leave a rounding error unless the shift is a multiple of theirs. Padding is not shifted along,
    hence the interior (or circular shifts). It doesn't commute with scalings and rotations, unless its kernel happens
    to be symmetric.

    Parameters
    ----------
    f : Layer, or function of a batch (N, *S, C)
        Of a built layer or network stride and margin are known, from its receptive field.
    x : ndarray (N, *S, C) or Ragged
        float32 or float64. Transforms and f apply to each sample.
    transform : Shift, Scale, Rotate or Flip
    stride : int, or one an axis
        Of f, for shifts; 1 unless given.
    margin : int, or one an axis
        Outputs at both ends of each axis that see padding, so aren't compared; 0 unless given.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        If a shift isn't a multiple of the stride, or no outputs are left to compare.
    ShapeError
        If f(g(x)) and g'(f(x)) differ in size by an odd number, so have no common centre.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.2: "to say a function is equivariant means that if the
    input changes, the output changes in the same way".

    Examples
    --------
    >>> from convnd import nn
    >>> x = np.random.default_rng(0).standard_normal((1, 12, 12, 1))
    >>> conv = nn.Conv(4, 3, padding="same").build(ndim=2, channels=1, dtype="float64")
    >>> equivariance_error(conv, x, Shift((2, -1))) < 1e-15
    True
    >>> equivariance_error(conv, x, Rotate()) > 0.1, equivariance_error(conv, x, Scale(2)) > 0.1
    (True, True)
    """
    blocks = [sample[None] for sample in x] if isinstance(x, Ragged) else [np.asarray(x)]
    if not isinstance(transform, Transform):
        raise ArgumentError(f"transform must be a Shift, Scale, Rotate or Flip. Received: transform={transform!r}")
    apart = whole = 0.0
    for block in blocks:
        check_dtype(block, "x")
        if block.ndim < 2:
            raise ShapeError(f"x must be (samples, *shape, channels) or a Ragged. Received: shape {block.shape}")
        refuse_empty(Layout.dense(block.shape[0], block.shape[1:-1]))
        ours, theirs = _compared(f, block, transform, stride, margin)
        apart += float(np.sum(np.square(np.subtract(ours, theirs, dtype=np.float64))))
        whole += float(np.sum(np.square(theirs, dtype=np.float64)))
    if apart == 0:
        return 0.0
    return float(np.sqrt(apart / whole)) if whole else float("inf")


def _compared(f: Any, x: Array, transform: Transform, stride: Any, margin: Any) -> tuple[Array, Array]:
    """f(g(x)) and g'(f(x)) where they are to be compared."""
    moved, plain = np.asarray(f(np.ascontiguousarray(transform(x)))), np.asarray(f(x))
    if moved.ndim < 2 or moved.ndim != plain.ndim:
        raise ShapeError(f"f must give a batch (N, *S, C), as it is given one. Received: shape {moved.shape}")
    axes = plain.ndim - 2
    if axes == 0:
        return moved, plain
    strides, margins = _geometry(f, x, axes, stride, margin)
    behind = transform.behind(strides)
    moved, wanted = _same_centre(moved, np.asarray(behind(plain)))
    inside = (slice(None), *behind.compared(wanted.shape[1:-1], margins))
    if wanted[inside].size == 0:
        raise ArgumentError(
            f"no outputs are left to compare: the sample is too short for the shift and a margin of {margins}. "
            f"Received: f(x) of shape {plain.shape}"
        )
    return moved[inside], wanted[inside]


def _geometry(f: Any, x: Array, axes: int, stride: Any, margin: Any) -> tuple[tuple[Any, ...], Margins]:
    """The stride of f, and how many outputs at each end see padding."""
    strides: tuple[Any, ...] = (1,) * axes
    margins: Margins = ((0, 0),) * axes
    if isinstance(f, Layer) and (stride is None or margin is None):
        field = receptive_fields(f, x.shape[1:]).output
        strides, margins = field.stride, interior(field, x.shape[1:-1])
    if stride is not None:
        strides = per_axis(stride, axes, "stride")
    if margin is not None:
        margins = tuple((most, most) for most in per_axis(margin, axes, "margin", least=0))
    return strides, margins


def _same_centre(a: Array, b: Array) -> tuple[Array, Array]:
    """Both cut to their common size about the centre."""
    if a.shape[-1] != b.shape[-1] or any((m - n) % 2 for m, n in zip(a.shape[1:-1], b.shape[1:-1], strict=True)):
        raise ShapeError(
            'f(g(x)) and g(f(x)) must have one centre, so sizes that differ by even numbers; use padding="same". '
            f"Received: shapes {a.shape} and {b.shape}"
        )
    sizes = [min(m, n) for m, n in zip(a.shape[1:-1], b.shape[1:-1], strict=True)]
    cut = [
        y[(slice(None), *(slice((m - n) // 2, (m - n) // 2 + n) for m, n in zip(y.shape[1:-1], sizes, strict=True)))]
        for y in (a, b)
    ]
    return cut[0], cut[1]


def _axes(axes: Any, ndim: int, number: int | None = None) -> tuple[int, ...]:
    """Axes of the sample, counted from 0; negative ones from the last."""
    given = tuple(axes) if isinstance(axes, (tuple, list)) else ()
    found = {int(axis) % ndim for axis in given if isinstance(axis, (int, np.integer)) and -ndim <= axis < ndim}
    if not given or len(found) != len(given) or len(given) != (number or len(given)):
        raise ArgumentError(
            f"axes must be {number or 'some'} of the sample's {ndim}, none of them twice. Received: axes={axes!r}"
        )
    return tuple(int(axis) % ndim for axis in given)


def sensitivity(f: Callable[[Array], Array], x: Array, transform: Transform) -> tuple[float, float]:
    """The shares of inputs and of outputs that a change of the positions changes: (of x, of f(x)).

    Pooling is nearly invariant to small shifts: after one every input is another, but many maxima are where they were
    seen before.

    Parameters
    ----------
    f : function of a batch (N, *S, C), or a layer
    x : ndarray (N, *S, C)
    transform : Transform
        Of the input alone, such as ``Shift(1)``.

    Raises
    ------
    ShapeError
        If the transform changes the sample's shape, so that there is nothing to compare.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.3, figure 9.8.

    Examples
    --------
    >>> from convnd import ops
    >>> x = np.array([0.3, 0.1, 1.0, 0.2, 0.1, 0.0]).reshape(1, 6, 1)
    >>> sensitivity(lambda x: ops.max_pool(x, 3, stride=1), x, Shift(1))
    (1.0, 0.5)
    """
    moved = transform(x)
    before, after = np.asarray(f(x)), np.asarray(f(moved))
    if moved.shape != x.shape or before.shape != after.shape:
        raise ShapeError(
            f"transform must keep the shapes of x and of f(x). Received: {x.shape} to {moved.shape}, "
            f"{before.shape} to {after.shape}"
        )
    return float(np.mean(moved != x)), float(np.mean(after != before))
