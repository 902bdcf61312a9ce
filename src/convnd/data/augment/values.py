"""Augmentations that change values and leave positions where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArgumentError
from .base import Augmentation, Result, Values
from .rules import interval, number, whole


@dataclass(frozen=True)
class Gain(Augmentation):
    """Multiply a sample by one factor from ``low`` to ``high``, its logarithm uniform: loudness, contrast, brightness.

    It acts before a run's normaliser; one that normalises every sample by itself (``normalize="sample"``) undoes it.

    Parameters
    ----------
    low, high : float
        Above 0.
    by_channel : bool
        Draw a factor for each channel: colour, microphones.

    Examples
    --------
    >>> Gain(2.0, 2.0)(np.ones((2, 1), "float32"), 0, np.random.default_rng(0))[0].tolist()
    [[2.0], [2.0]]
    """

    low: float = 0.5
    high: float = 2.0
    by_channel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        number("low", self.low, 0, above=True)
        number("high", self.high, self.low)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        draws = rng.random(values.shape[-1] if self.by_channel else 1)
        factors = self.low * (self.high / self.low) ** draws
        return values * factors.astype(np.float32), target


@dataclass(frozen=True)
class Noise(Augmentation):
    """Add white Gaussian noise.

    Parameters
    ----------
    sigma : float, or a pair (low, high)
        Its standard deviation, in the units of the values.
    snr : float, or a pair (low, high)
        Instead: the signal-to-noise ratio in decibels, 10 log10 of the sample's mean square over the noise's.
        A pair is drawn from for every sample.

    Examples
    --------
    >>> x = np.full((100_000, 1), 3, "float32")
    >>> y, _ = Noise(snr=20)(x, 0, np.random.default_rng(0))
    >>> round(float(np.std(y - x)), 2)
    0.3
    """

    sigma: float | tuple[float, float] | None = None
    snr: float | tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.sigma is None) == (self.snr is None):
            raise ArgumentError(
                f"Noise takes sigma= or snr=, one of them. Received: sigma={self.sigma!r}, snr={self.snr!r}"
            )
        if self.sigma is not None:
            interval("sigma", self.sigma, 0)
        if self.snr is not None:
            interval("snr", self.snr, -300, 300)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        if self.snr is None:
            sigma = rng.uniform(*interval("sigma", self.sigma, 0))
        else:
            power = float(np.mean(np.square(values, dtype=np.float64)))
            sigma = np.sqrt(power) * 10 ** (-rng.uniform(*interval("snr", self.snr, -300, 300)) / 20)
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        noise *= np.float32(sigma)
        noise += values
        return noise, target


@dataclass(frozen=True)
class Mask(Augmentation):
    """Blank stretches of an axis: SpecAugment's masks, along any axis.

    The width is drawn from 0 ... ``size``, and is at most ``share`` of the axis; then the start, so that the stretch
    lies within. Targets stay: what is hidden is to be told from the rest.

    Source: D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
    Interspeech 2019.

    Parameters
    ----------
    size : int
        Most positions a mask covers.
    axis : int or "channels"
        The spatial axis; "channels" blanks neighbouring channels, such as the bands of a series of spectra.
    count : int
        Masks, which may overlap.
    share : float
        Most of the axis that one mask covers.
    fill : float or "mean"
        What is put there; "mean" is each channel's mean over the sample.

    Examples
    --------
    >>> Mask(3, fill=0.0)(np.ones((6, 1), "float32"), 0, np.random.default_rng(0))[0][:, 0].tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    """

    size: int
    axis: int | str | None = 0
    count: int = 1
    share: float = 0.5
    fill: float | str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("size", self.size, 1)
        whole("count", self.count, 1)
        number("share", self.share, 0, 1, above=True)
        if self.fill != "mean":
            number("fill", self.fill, -np.inf)
        if self.axis not in ("channels", None) and (isinstance(self.axis, bool) or not isinstance(self.axis, int)):
            raise ArgumentError(f'axis must be an int or "channels". Received: axis={self.axis!r}')

    def check_rank(self, ndim: int) -> None:
        self._axis(ndim)

    def _axis(self, ndim: int) -> int:
        """The axis of an array (*S, C)."""
        axis = self.axis
        if axis is None:
            axis = 1 if ndim > 1 else "channels"
        if axis == "channels":
            return ndim
        if not -ndim <= int(axis) < ndim:
            raise ArgumentError(f"axis must be one of the {ndim} of a sample. Received: axis={axis!r}")
        return int(axis) % ndim

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        axis = self._axis(values.ndim - 1)
        length = values.shape[axis]
        fill: Any = self.fill
        if fill == "mean":
            fill = values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64).astype(np.float32)
        masked = values.copy()
        for _ in range(self.count):
            width = int(rng.integers(0, min(self.size, int(self.share * length)), endpoint=True))
            start = int(rng.integers(0, length - width, endpoint=True))
            stretch = (slice(None),) * axis + (slice(start, start + width),)
            masked[stretch] = fill[start : start + width] if np.ndim(fill) and axis == values.ndim - 1 else fill
        return masked, target


@dataclass(frozen=True)
class TimeMask(Mask):
    """:class:`Mask` along the first axis."""


@dataclass(frozen=True)
class FrequencyMask(Mask):
    """:class:`Mask` along the second axis of spectrograms (time, frequency), or the channels of series."""

    axis: int | str | None = None
