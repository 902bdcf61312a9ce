"""Keys of the counter-based generator: what is drawn depends on names, never on order.

A draw is a function of (seed, step, layer, sample, position). A :class:`Key` holds the first of
these, is folded with the place of a layer, and gives one number a sample; the kernel mixes in the
position. Mixing is SplitMix64's finaliser: Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014; counter-based generation follows Salmon, Moraes, Dror, Shaw, "Parallel
random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError, ShapeError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(state: int, word: int) -> int:
    """Mix one 64-bit word into a 64-bit state."""
    z = ((state ^ word) + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _mix_array(state: int, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """:func:`mix` of each word into one state; unsigned arithmetic wraps as the mask does."""
    z = (words ^ np.uint64(state)) + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def _word(value: int | str) -> int:
    if isinstance(value, str):
        return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")
    return int(value) & _MASK


class Key:
    """A place in the tree of random draws. Immutable; equal keys draw the same.

    Parameters
    ----------
    seed : int
        Of the run.
    step : int
        Of training.
    samples : int array (N,), optional
        The samples' identity numbers, so that a sample draws the same in whatever batch it is. Without
        them, a sample is known by its place in the batch.

    Examples
    --------
    >>> key = Key(seed=0, step=3).fold("block1").fold(2)
    >>> key == Key(seed=0, step=3).fold("block1").fold(2)
    True
    >>> float(key.generator().random()) == float(key.generator().random())
    True
    """

    __slots__ = ("samples", "state")

    state: int
    samples: NDArray[np.int64] | None

    def __init__(self, seed: int, step: int = 0, samples: ArrayLike | None = None) -> None:
        for name, value in (("seed", seed), ("step", step)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise ArgumentError(f"{name} must be an int. Received: {name}={value!r}")
        numbers = None
        if samples is not None:
            given = np.asarray(samples)
            if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
                raise ArgumentError(f"samples must be a vector of ints. Received: {given.dtype} of shape {given.shape}")
            numbers = given.astype(np.int64)
        # The whole seed counts, also beyond 64 bits; a second word keeps (0, 1) and (1, 0) apart.
        self._fill(mix(mix(_word(f"seed {int(seed)}"), 1), _word(step)), numbers)

    def _fill(self, state: int, samples: NDArray[np.int64] | None) -> None:
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "samples", samples)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Key can't be changed; fold() makes another")

    def fold(self, value: int | str) -> Key:
        """The key of a part of this place: a layer's number or name, a second draw.

        >>> Key(0).fold("a") == Key(0).fold("b")
        False
        """
        if not isinstance(value, (int, np.integer, str)) or isinstance(value, bool):
            raise ArgumentError(f"fold takes an int or a str. Received: {value!r}")
        kind = 3 if isinstance(value, str) else 2  # "1" and 1 are two places
        key = Key.__new__(Key)
        key._fill(mix(mix(self.state, kind), _word(value)), self.samples)
        return key

    def per_sample(self, count: int) -> NDArray[np.uint64]:
        """One key a sample, uint64 (count,): from its identity number, or else its place in the batch."""
        numbers = np.arange(count, dtype=np.int64) if self.samples is None else self.samples
        if len(numbers) != count:
            raise ShapeError(f"this key knows {len(numbers)} samples, but the batch has {count}")
        return _mix_array(self.state, numbers.astype(np.uint64))

    def generator(self) -> np.random.Generator:
        """A NumPy generator (Philox) that starts at this key."""
        return np.random.Generator(np.random.Philox(key=self.state))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        same = (self.samples is None) == (other.samples is None)
        return self.state == other.state and same and np.array_equal(self.samples, other.samples)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash(self.state)

    def __repr__(self) -> str:
        known = "" if self.samples is None else f", {len(self.samples)} samples"
        return f"<Key {self.state:016x}{known}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.state, self.samples)


def _rebuild(state: int, samples: NDArray[np.int64] | None) -> Key:
    key = Key.__new__(Key)
    key._fill(state, samples)
    return key
