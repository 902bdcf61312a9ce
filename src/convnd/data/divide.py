"""Choose a share of the samples at random: the same for the same seed, on every machine and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..layout import Ints

Mask = NDArray[np.bool_]


def shuffled(count: int, *seeds: int) -> Ints:
    """The numbers 0 ... count - 1 in random order.

    Sorted by raw draws of PCG64, which NumPy promises to keep; the order its ``permutation`` gives may change.
    """
    return np.argsort(draws(count, *seeds), kind="stable").astype(np.int64)


def draws(count: int, *seeds: int) -> NDArray[np.uint64]:
    """Random 64-bit numbers that follow from the seeds."""
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ArgumentError(f"seed and epoch must be ints of at least 0. Received: {seed!r}")
    raw: NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence([int(seed) for seed in seeds])).random_raw(count)
    return raw


def choose_samples(strata: NDArray[Any], fraction: float, seed: int) -> Mask:
    """A share of the samples of every stratum. The total is the nearest whole number to the share of all."""
    kinds, stratum = np.unique(strata, return_inverse=True)
    quota = _whole_shares(np.bincount(stratum, minlength=len(kinds)), fraction)
    order = shuffled(len(strata), seed)
    # Sorted by stratum, each in random order: its first `quota` samples are the part.
    order = order[np.argsort(stratum[order], kind="stable")]
    counts = np.bincount(stratum, minlength=len(kinds))
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(strata), dtype=bool)
    chosen[order[rank < np.repeat(quota, counts)]] = True
    return chosen


def _whole_shares(counts: Ints, fraction: float) -> Ints:
    """counts * fraction in whole numbers, by the largest remainders."""
    exact = counts * fraction
    shares = np.floor(exact).astype(np.int64)
    missing = round(float(counts.sum() * fraction)) - int(shares.sum())
    if missing > 0:
        shares[np.argsort(shares - exact, kind="stable")[:missing]] += 1
    whole: Ints = np.minimum(shares, counts)
    return whole


def choose_groups(strata: NDArray[Any], groups: NDArray[Any], fraction: float, seed: int) -> Mask:
    """Whole groups, drawn in random order, each taken if that brings the strata's counts nearer to their share."""
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    kinds, stratum = np.unique(strata, return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (group, stratum), 1)
    missing = counts.sum(axis=0) * fraction
    taken = np.zeros(len(names), dtype=bool)
    order = shuffled(len(names), seed)
    for candidate in order:
        if np.linalg.norm(missing - counts[candidate]) < np.linalg.norm(missing):
            taken[candidate] = True
            missing = missing - counts[candidate]
    if not taken.any():
        # Every group is larger than the share: the one that overshoots least.
        taken[order[np.argmin(np.linalg.norm(missing - counts[order], axis=1))]] = True
    return taken[group]
