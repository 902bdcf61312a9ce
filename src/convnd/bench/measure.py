"""Times: contenders in turn in one process, medians, ratios; and the machine's peak of multiply-adds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import kernels

LEAST = 3  # rounds, however slow
MOST = 200
TURN = 0.002  # seconds of a turn at least, by as many calls as that takes: a clock is too coarse for one small call
CONFIDENCE = 0.95
# After a parallel region OpenMP's workers spin for some milliseconds. With two runtimes in one process (ours
# and a peer's) the next contender would share its cores with them.
REST = 0.02
# A worker that slept meanwhile may be woken on the core of the thread that waits for it, and stays there for some ticks
# of the system's clock. So a turn after a rest begins with calls that aren't counted.
WAKE = 0.02


@dataclass(frozen=True)
class Times:
    """Seconds of a contender's calls, round by round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure of the tables."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """The quickest."""
        return min(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one contender is as another: a median, and an interval that holds the true one."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Times, theirs: Times) -> Ratio:
        """From the ratio of each round, in which both met the same machine.

        The interval's ends are order statistics: the k-th smallest and largest of n, with the largest k for which the
        median of the distribution, whatever it is, lies between them at least 95% of the time, by the binomial
        distribution. Below 6 rounds no k does; then they are the smallest and the largest: 1 - 2^(1 - n), 75% of 3.
        Source: David and Nagaraja, *Order Statistics*, 3rd edition, section 7.1.
        """
        ratios = sorted(their / our for our, their in zip(ours.seconds, theirs.seconds, strict=True))
        cut = _cut(len(ratios))
        return cls(statistics.median(ratios), ratios[cut], ratios[-1 - cut])


def _cut(count: int) -> int:
    """How many of so many values may lie outside of the interval on each side."""
    tail, cut = 0.5**count, 0
    while cut + 1 < count / 2:
        tail += math.comb(count, cut + 1) * 0.5**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        cut += 1
    return cut


def clock() -> Callable[[], float]:
    """What times are taken by: one thread by the processor's time, which other processes don't add to; several by the
    wall clock."""
    return time.process_time if kernels.get_num_threads() == 1 else time.perf_counter


def in_turn(
    calls: Mapping[str, Callable[[], Any]], rounds: int | None = None, seconds: float = 2.0, rest: float = 0.0
) -> dict[str, Times]:
    """Time every call, warmed up by the caller, in rounds in which each has a turn, starting with another each time.

    A slow moment of the machine then meets all of them. ``rounds`` of them; or as many as fit into about ``seconds`` in
    all, at least 3. A turn is one call, or as many as make 2 ms. Before each there are ``rest`` seconds of sleep, and
    20 ms of calls that aren't counted.
    """
    names, now = list(calls), clock()
    taken: dict[str, list[float]] = {name: [] for name in names}
    counts = {name: max(1, math.ceil(TURN / max(_call(call, now), 1e-6))) for name, call in calls.items()}
    started = time.perf_counter()
    for number in range(rounds if rounds is not None else MOST):
        if rounds is None and number >= LEAST and time.perf_counter() - started > seconds:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if rest:
                time.sleep(rest)
                _wake(calls[name])
            taken[name].append(_turn(calls[name], counts[name], now))
    return {name: Times(tuple(turns)) for name, turns in taken.items()}


def _wake(call: Callable[[], Any]) -> None:
    until = time.perf_counter() + WAKE
    while time.perf_counter() < until:
        call()


def _call(call: Callable[[], Any], now: Callable[[], float]) -> float:
    """Seconds of a call: of a short one the least of three, since the first finds the caches cold."""
    first = _turn(call, 1, now)
    return first if first >= TURN else min(first, _turn(call, 1, now), _turn(call, 1, now))


def _turn(call: Callable[[], Any], count: int, now: Callable[[], float]) -> float:
    """Seconds of a call, the mean of so many in a row."""
    began = now()
    for _ in range(count):
        call()
    return (now() - began) / count


def peak(dtype: DTypeLike = np.float32, seconds: float = 0.3) -> float:
    """The machine's multiply-add peak, in FLOP/s, with the instruction set and the number of threads in use.

    The best of some runs of a loop that touches registers only: independent chains of x a + b, as many as keep every
    unit busy. A multiplication and an addition count as two.
    """
    count, rounds, best, now = 0, 1 << 20, 0.0, clock()
    until = time.perf_counter() + seconds
    while count < LEAST or time.perf_counter() < until:
        began = now()
        flops = 2 * kernels.multiply_adds(dtype, rounds)
        best = max(best, flops / (now() - began))
        count += 1
    return best
