"""Augmentations that move positions by fractions and interpolate: affine and elastic, in any rank, by scipy.ndimage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError
from ..sources import need
from .base import Augmentation, Result, Values, on_positions
from .rules import axes_of, axis_list, interval, number, one_of, whole

# By our names; SciPy's "wrap" repeats the last position, and "grid-wrap" doesn't.
MODES = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "constant"}
Resample = Any  # (array (*S), options of scipy.ndimage) -> array (*S)


@dataclass(frozen=True)
class Warp(Augmentation, abstract=True):
    """What :class:`Affine` and :class:`Elastic` share: where new values come from between positions and outside.

    Parameters
    ----------
    order : int
        Of the spline between positions: 0 the nearest, 1 linear, up to 5. Labels always take the nearest.
    mode : "nearest", "reflect", "wrap" or "constant"
        What is outside of a sample: the edge repeated, the sample mirrored, its other end, or ``fill`` (in a
        target of every position, ``fill_label``).
    """

    moves = True
    order: int = field(default=1, kw_only=True)
    mode: str = field(default="nearest", kw_only=True)
    fill: float = field(default=0.0, kw_only=True)
    fill_label: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("order", self.order, 0)
        number("order", self.order, 0, 5)
        one_of("mode", self.mode, tuple(MODES))

    def check_rank(self, ndim: int) -> None:
        if not ndim:
            raise ArgumentError(f"{type(self).__name__} needs samples with spatial axes. Received: samples of none")

    @abstractmethod
    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Resample:
        """One draw for a sample of that shape: the function that resamples one channel."""

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        resample = self.draw(values.shape[:-1], rng)
        values = self._each(resample, values, self.order, self.fill)
        if on_positions(target):
            labels = target.dtype.kind in "iu"
            target = self._each(resample, target, 0 if labels else self.order, self.fill_label)
        return values, target

    def _each(self, resample: Resample, array: NDArray[Any], order: int, fill: float) -> NDArray[Any]:
        """Every channel by itself."""
        made = np.empty_like(array, order="C")
        for channel in range(array.shape[-1]):
            made[..., channel] = resample(array[..., channel], order=order, mode=MODES[self.mode], cval=fill)
        return made


@dataclass(frozen=True)
class Affine(Warp):
    """Rotate, scale, shear and translate a sample about its centre; its size stays. In any rank.

    With R a product of rotations in the planes of all pairs of axes, and H = I + an upper triangle of shears, what was
    at x goes to c + t + R H s (x - c), where c is the centre.

    Parameters
    ----------
    rotation : float
        Degrees; the angle of each plane is drawn from -rotation ... rotation. Needs two axes.
    scale : a pair (low, high)
        What s is drawn from, its logarithm uniform: above 1 things become larger.
    shear : float
        Every shear is drawn from -shear ... shear, positions for each position of distance.
    translation : float
        t on each axis is drawn from -translation ... translation, as a share of the axis.
    axis : ints, or None
        The spatial axes this acts on (of a video, rotate 1 and 2: height and width); None stands for all.
    order, mode, fill, fill_label
        See :class:`Warp`.

    Examples
    --------
    >>> affine = Affine(rotation=10, scale=(0.9, 1.1), translation=0.1)
    >>> image, labels = np.zeros((30, 20, 3), "float32"), np.zeros((30, 20, 1), "int64")
    >>> [array.shape for array in affine(image, labels, np.random.default_rng(0))]
    [(30, 20, 3), (30, 20, 1)]
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    translation: float = 0.0
    axis: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        number("rotation", self.rotation, 0, 180)
        interval("scale", self.scale, 0, above=True)
        number("shear", self.shear, 0)
        number("translation", self.translation, 0)
        axis_list(self.axis)

    def check_rank(self, ndim: int) -> None:
        super().check_rank(ndim)
        if len(axes_of(self.axis, ndim)) < 2 and (self.rotation or self.shear):
            raise ArgumentError(
                f"rotation and shear need two axes. Received: rotation={self.rotation!r}, shear={self.shear!r} for "
                f"samples of {ndim} axes, axis={self.axis!r}"
            )

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Resample:
        ndimage = need("scipy.ndimage", "augment")
        matrix = np.eye(len(shape))
        shift = np.zeros(len(shape))
        axes = axes_of(self.axis, len(shape))
        low, high = interval("scale", self.scale, 0)
        factor = low * (high / low) ** rng.random()
        for axis in axes:
            matrix[axis, axis] = factor
            shift[axis] = shape[axis] * rng.uniform(-self.translation, self.translation)
        for one, other in combinations(axes, 2):
            matrix[one] += rng.uniform(-self.shear, self.shear) * matrix[other]
        for one, other in combinations(axes, 2):
            matrix = rotation_matrix(len(shape), one, other, rng.uniform(-self.rotation, self.rotation)) @ matrix
        # SciPy asks where each new position comes from.
        inverse = np.linalg.inv(matrix)
        centre = (np.array(shape) - 1) / 2
        offset = centre - inverse @ (centre + shift)

        def resample(array: NDArray[Any], **options: Any) -> Any:
            return ndimage.affine_transform(array, inverse, offset, **options)

        return resample


def rotation_matrix(ndim: int, one: int, other: int, degrees: float) -> NDArray[np.float64]:
    """The rotation by an angle in the plane of two axes, from the first to the second."""
    matrix = np.eye(ndim)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix[one, one], matrix[one, other], matrix[other, one], matrix[other, other] = cosine, -sine, sine, cosine
    return matrix


@dataclass(frozen=True)
class Elastic(Warp):
    """Deform a sample by a smooth random field of displacements; its size stays. In any rank.

    On every axis, numbers drawn from -1 ... 1 at each position are smoothed by a Gaussian of ``sigma`` positions and
    multiplied by ``alpha``: displacements, in positions, of a standard deviation of
    alpha / sqrt(3) / (2 sqrt(pi) sigma)^(axes / 2). Handwritten digits of 28 x 28 pixels take alpha=34, sigma=4.

    Memory: eight bytes a position for each axis, twice.

    Source: P. Y. Simard, D. Steinkraus, J. C. Platt, "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis", ICDAR 2003.

    Parameters
    ----------
    alpha, sigma : float
    axis : ints, or None
        The spatial axes along which things move; None stands for all.
    order, mode, fill, fill_label
        See :class:`Warp`.

    Examples
    --------
    >>> digit = np.zeros((28, 28, 1), "float32")
    >>> Elastic(34, 4)(digit, 7, np.random.default_rng(0))[0].shape
    (28, 28, 1)
    """

    alpha: float
    sigma: float
    axis: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, 0)
        number("sigma", self.sigma, 0, above=True)
        axis_list(self.axis)

    def check_rank(self, ndim: int) -> None:
        super().check_rank(ndim)
        axes_of(self.axis, ndim)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Resample:
        ndimage = need("scipy.ndimage", "augment")
        places = np.indices(shape, dtype=np.float64)
        for axis in axes_of(self.axis, len(shape)):
            field = rng.uniform(-1, 1, shape)
            places[axis] += self.alpha * ndimage.gaussian_filter(field, self.sigma)

        def resample(array: NDArray[Any], **options: Any) -> Any:
            return ndimage.map_coordinates(array, places, **options)

        return resample
