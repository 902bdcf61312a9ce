"""Times: contenders in turn in one process, medians; and the machine's peak of multiply-adds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import kernels
from ..layout import Layout
from ..window import Window

LEAST = 3  # rounds, however slow
MOST = 200
# After a parallel region OpenMP's workers spin for some milliseconds. With two runtimes in one process (ours
# and a peer's) the next contender would share its cores with them.
REST = 0.02


@dataclass(frozen=True)
class Times:
    """Seconds of a contender's runs."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure of the tables."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """The quickest run."""
        return min(self.seconds)


def in_turn(
    calls: Mapping[str, Callable[[], Any]], repeats: int | None = None, seconds: float = 2.0, rest: float = 0.0
) -> dict[str, Times]:
    """Time every call, warmed up by the caller, in rounds in which each runs once, starting with another each time.

    A slow moment of the machine then meets all of them. ``repeats`` rounds; or as many as fit into about ``seconds`` in
    all, at least 3. Before each run there are ``rest`` seconds of sleep.
    """
    names = list(calls)
    taken: dict[str, list[float]] = {name: [] for name in names}
    started = time.perf_counter()
    for number in range(repeats if repeats is not None else MOST):
        if repeats is None and number >= LEAST and time.perf_counter() - started > seconds:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if rest:
                time.sleep(rest)
            began = time.perf_counter()
            calls[name]()
            taken[name].append(time.perf_counter() - began)
    return {name: Times(tuple(runs)) for name, runs in taken.items()}


def peak(dtype: DTypeLike = np.float32, repeats: int | None = None) -> float:
    """The machine's multiply-add peak, in FLOP/s, with the instruction set and the number of threads in use.

    It is the best run of our own tile on operands that stay in the first-level cache, so that nothing but
    multiply-adds is in the way: one long row, few channels, and a panel of weights that many positions share. (With
    AVX2 that is 96% of what a loop in C that touches registers only reaches.)
    """
    best = 0.0
    rng = np.random.default_rng(0)
    positions = 8192 * kernels.get_num_threads()
    for channels, kernel, filters in ((16, 16, 16), (16, 8, 32), (64, 3, 32)):
        x = rng.standard_normal((positions, channels)).astype(dtype)
        weight = rng.standard_normal((kernel, channels, filters)).astype(dtype)
        place = Window.of(1, kernel).on(Layout.dense(1, (positions,)))
        packs: dict[Any, Any] = {}

        def call(x: Any = x, place: Any = place, weight: Any = weight, packs: Any = packs) -> None:
            kernels.conv(x, place, weight, packs=packs)

        call()
        flops = 2 * place.output.positions * weight.size
        best = max(best, flops / in_turn({"tile": call}, repeats, seconds=0.3)["tile"].least)
    return best
