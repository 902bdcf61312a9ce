"""The random numbers of convnd, by their specification."""

from __future__ import annotations

from math import prod

import numpy as np

from ...random import Key
from .function import Array, Shape, Weight

KEY = Key(seed=1)
KEYS = Weight(lambda case: (case.batch,), lambda drawn, case: KEY.per_sample(case.batch), by_sample=True)


def draws(keys: Array, shape: Shape) -> Array:
    """uint64 (N, *S, C) from one key a sample: the number of (p, c) is draw p C + c of SplitMix64 at the key.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    number = np.arange(1, prod(shape) + 1, dtype=np.uint64).reshape(shape)
    z = keys.reshape(-1, *[1] * len(shape)) + number * np.uint64(0x9E3779B97F4A7C15)  # it wraps, as the generator does
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: Array = z ^ (z >> np.uint64(31))
    return drawn


def chance(keys: Array, shape: Shape, probability: float) -> Array:
    """Whether each (p, c) is drawn, bool (N, *S, C)."""
    drawn: Array = draws(keys, shape) < np.uint64(probability * 2.0**64)
    return drawn


def uniforms(keys: Array, shape: Shape) -> Array:
    """The draws as numbers in [0, 1): their upper 53 bits."""
    uniform: Array = (draws(keys, shape) >> np.uint64(11)) * 2.0**-53
    return uniform
