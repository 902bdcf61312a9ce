"""Learning rates as pure functions of the step, so that a resumed run takes the same ones.

A schedule is data: ``schedule({"name": "cosine", "lr": 0.1, "steps": 1000})`` gives the function. Steps
count from 0; past its last step a schedule stays where it ended.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ArgumentError

Schedule = Callable[[int], float]


def constant(step: int, *, lr: float) -> float:
    """``lr``, always.

    >>> constant(7, lr=0.1)
    0.1
    """
    return lr


def step_decay(step: int, *, lr: float, every: int, factor: float = 0.1) -> float:
    """``lr factor^floor(step / every)``.

    >>> step_decay(250, lr=1.0, every=100, factor=0.5)
    0.25
    """
    return lr * factor ** (step // every)


def cosine(step: int, *, lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> float:
    """A linear rise to ``lr`` over ``warmup`` steps, then half a cosine down to ``final`` at step ``steps``.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, eq. 5; warm-up:
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv:1706.02677, section 2.2.

    >>> [round(cosine(t, lr=1.0, steps=6, warmup=2), 3) for t in range(7)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    return _anneal(lr, final, (step - warmup) / max(steps - warmup, 1))


def one_cycle(
    step: int, *, lr: float, steps: int, rise: float = 0.3, start: float = 0.04, final: float = 1e-4
) -> float:
    """Half a cosine from ``start lr`` up to ``lr`` over the first ``rise`` of all steps, then one down to ``final lr``.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    arXiv:1708.07120.

    >>> [round(one_cycle(t, lr=1.0, steps=10, rise=0.5), 2) for t in (0, 5, 10)]
    [0.04, 1.0, 0.0]
    """
    top = rise * steps
    if step < top:
        return _anneal(start * lr, lr, step / top)
    return _anneal(lr, final * lr, (step - top) / max(steps - top, 1))


def _anneal(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "step_decay": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
_POSITIVE = ("steps", "every")


def schedule(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a JSON-able config names: "name" and that function's numbers.

    Names are "constant" (lr), "step_decay" (lr, every, factor), "cosine" (lr, steps, warmup, final) and
    "one_cycle" (lr, steps, rise, start, final).

    Raises
    ------
    ArgumentError
        For an unknown name, a number that is missing, unknown, negative or not finite.

    Examples
    --------
    >>> rate = schedule({"name": "step_decay", "lr": 0.1, "every": 10, "factor": 0.5})
    >>> rate(0), rate(10)
    (0.1, 0.05)
    """
    numbers = dict(config)
    name = numbers.pop("name", None)
    if name not in SCHEDULES:
        raise ArgumentError(f"a schedule's name must be one of {', '.join(SCHEDULES)}. Received: name={name!r}")
    function = SCHEDULES[name]
    options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    missing = [p.name for p in options if p.default is p.empty and p.name not in numbers]
    unknown = sorted(set(numbers) - {p.name for p in options})
    if missing or unknown:
        raise ArgumentError(
            f"schedule {name!r} takes {', '.join(p.name for p in options)}. Received: {', '.join(config)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
        )
    for key, value in numbers.items():
        least = 1 if key in _POSITIVE else 0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise ArgumentError(f"{key} must be a finite number of at least {least}. Received: {key}={value!r}")
    if numbers.get("rise", 0) > 1:
        raise ArgumentError(f"rise must be at most 1: it is a share of all steps. Received: rise={numbers['rise']!r}")
    return functools.partial(function, **numbers)
