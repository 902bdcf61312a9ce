"""Normalise inputs by mean and standard deviation, fitted on training data by streaming."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError, ShapeError
from ..layout import Ragged

if TYPE_CHECKING:
    from .split import Split

MODES = ("channel", "sample")
# Numbers looked at at a time; the sums' bits depend on it, so it is not a setting.
PART = 1 << 20


class Normaliser:
    """(x - mean) / std by channel.

    ``mode="channel"``: mean and standard deviation of each channel over all positions of a training split.
    ``mode="sample"``: of each channel over the positions of the sample itself, for data such as MRI whose
    intensities have no common unit; nothing is fitted. A channel that is constant is divided by 1.

    Both hold the law: a sample's result doesn't depend on what else is in the batch.

    Examples
    --------
    >>> from convnd.data import japanese_vowels, open
    >>> with open(japanese_vowels()) as file:
    ...     normaliser = Normaliser.fit(file["train"])
    ...     x = next(iter(file["train"].batches(positions=10_000))).x
    >>> y = normaliser.apply(x).values
    >>> bool(abs(y.mean(axis=0)).max() < 1e-5), bool(abs(y.std(axis=0) - 1).max() < 1e-5)
    (True, True)
    """

    def __init__(
        self, mode: str, mean: NDArray[np.float64] | None = None, std: NDArray[np.float64] | None = None
    ) -> None:
        if mode not in MODES:
            raise ArgumentError(f"mode must be one of {', '.join(MODES)}. Received: mode={mode!r}")
        self.mode = mode
        self.mean = mean
        self.std = std

    @classmethod
    def fit(cls, split: Split, mode: str = "channel") -> Normaliser:
        """Fitted on a split, read once from start to end in float64 sums.

        Parts are combined by the rule of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm
        for Computing Sample Variances", 1979): with means m, sums of squared deviations M and counts n,
        M = M_a + M_b + (m_b - m_a)^2 n_a n_b / n. Always in the same order, so to the same bits.
        """
        if mode != "channel":
            return cls(mode)
        if not len(split):
            raise DataError("a normaliser can't be fitted on a split without samples")
        count, mean, square = 0, np.zeros(split.info.channels), np.zeros(split.info.channels)
        for part in _parts(split):
            fresh = part.mean(axis=0)
            deviation = ((part - fresh) ** 2).sum(axis=0)
            total = count + len(part)
            shift = fresh - mean
            square += deviation + shift**2 * (count * len(part) / total)
            mean = mean + shift * (len(part) / total)
            count = total
        std = np.sqrt(square / count)
        return cls(mode, mean, np.where(std > 0, std, 1.0))

    def apply(self, x: Ragged) -> Ragged:
        """The normalised batch, of the dtype of ``x``."""
        if self.mode == "sample":
            values = [self.change(sample)(sample.reshape(-1, sample.shape[-1])) for sample in x]
            return Ragged(np.concatenate(values) if values else x.values, x.layout)
        return Ragged(self._by_channel(x.values), x.layout)

    def change(self, sample: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """What :meth:`apply` makes of a sample's values, as a function of any of them, (..., C): to the same bits.

        With ``mode="sample"`` the sample, (*S, C) or anything with such a shape and slices that are arrays, is read
        twice from its beginning to its end, a part at a time; otherwise it isn't looked at.
        """
        if self.mode == "channel":
            return self._by_channel
        mean, std = _moments(sample)

        def by_sample(values: NDArray[Any]) -> NDArray[Any]:
            whitened: NDArray[Any] = ((values - mean) / std).astype(values.dtype)
            return whitened

        return by_sample

    def _by_channel(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.mean is None or self.std is None:
            raise ArgumentError('a normaliser of mode="channel" must be fitted first: Normaliser.fit(split)')
        if values.shape[-1] != len(self.mean):
            raise ShapeError(f"this normaliser was fitted on {len(self.mean)} channels. Received: {values.shape[-1]}")
        result: NDArray[Any] = values - self.mean.astype(values.dtype)
        result *= (1 / self.std).astype(values.dtype)
        return result

    def state(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_state` takes it back without loss."""
        fitted = self.mean is not None and self.std is not None
        return {
            "mode": self.mode,
            "mean": self.mean.tolist() if fitted and self.mean is not None else None,
            "std": self.std.tolist() if fitted and self.std is not None else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Normaliser:
        """The normaliser of a state."""
        arrays = [None if state[key] is None else np.asarray(state[key], dtype=np.float64) for key in ("mean", "std")]
        return cls(state["mode"], *arrays)

    def __repr__(self) -> str:
        return f"<Normaliser by {self.mode}{'' if self.mean is None else f', {len(self.mean)} channels'}>"


def _moments(sample: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel of a sample (*S, C); sums in float64, in parts that follow from its shape."""
    *shape, channels = (int(size) for size in sample.shape)
    boxes, count = list(_runs(shape, max(1, PART // channels))), math.prod(shape)

    def total(of: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float64]:
        parts = (np.ascontiguousarray(sample[box]).reshape(-1, channels) for box in boxes)
        sums: NDArray[np.float64] = sum((of(part).sum(axis=0, dtype=np.float64) for part in parts), np.zeros(channels))
        return sums

    mean = total(lambda part: part) / count
    std = np.sqrt(total(lambda part: (part - mean) ** 2) / count)
    return mean, np.where(std > 0, std, 1.0)


def _runs(shape: list[int], limit: int) -> Iterator[tuple[slice, ...]]:
    """Boxes that make up a sample, in order: each at most so many positions, which follow one another in memory."""
    whole, inner = len(shape), 1  # axes from this one on aren't cut, and their positions
    while whole and inner * shape[whole - 1] <= limit:
        whole, inner = whole - 1, inner * shape[whole - 1]
    rest = tuple(slice(0, size) for size in shape[whole:])
    if not whole:
        yield rest
        return
    size, step = shape[whole - 1], limit // inner
    for before in np.ndindex(*shape[: whole - 1]):
        for start in range(0, size, step):
            yield (*(slice(at, at + 1) for at in before), slice(start, min(start + step, size)), *rest)


def _parts(split: Split) -> Iterator[NDArray[np.float64]]:
    """The split's positions in its own order, in parts that are cut at samples where these are small enough."""
    limit = max(1, PART // split.info.channels)
    for batch in split.batches(positions=limit, shuffle=False, oversize="alone", prefetch=0):
        for begin in range(0, batch.x.layout.positions, limit):
            yield batch.x.values[begin : begin + limit].astype(np.float64)
