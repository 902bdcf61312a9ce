"""The arguments of augmentations, each rule in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError


def number(name: str, value: Any, low: float, high: float = np.inf, above: bool = False) -> None:
    """Refuse what isn't a number from ``low`` (or ``above`` it) up to ``high``."""
    plain = isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and np.isfinite(value)
    if not plain or not (low < value if above else low <= value) or not value <= high:
        least = "that is finite" if low == -np.inf else f"above {low}" if above else f"of at least {low}"
        most = "" if high == np.inf else f" and at most {high}"
        raise ArgumentError(f"{name} must be a number {least}{most}. Received: {name}={value!r}")


def interval(name: str, value: Any, low: float, high: float = np.inf, above: bool = False) -> tuple[float, float]:
    """A pair (low, high) in order, from one number or two."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ArgumentError(f"{name} must be one number or a pair (low, high). Received: {name}={value!r}")
    for one in pair:
        number(name, one, low, high, above)
    if pair[0] > pair[1]:
        raise ArgumentError(f"{name} must be a pair (low, high) with low <= high. Received: {name}={value!r}")
    return pair


def whole(name: str, value: Any, least: int) -> None:
    """Refuse what isn't an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} must be an int of at least {least}. Received: {name}={value!r}")


def one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse an unknown choice."""
    if value not in known:
        raise ArgumentError(f"{name} must be one of {', '.join(known)}. Received: {name}={value!r}")


def axis_list(axis: Any) -> tuple[int, ...] | None:
    """Axes as given: None stands for all."""
    if axis is None:
        return None
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if not axes or not all(isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in axes):
        raise ArgumentError(f"axis must be an int, several, or None for all. Received: axis={axis!r}")
    return axes


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Spatial axes 0 ... ndim - 1 of a sample; negative ones count from the last."""
    axes = axis_list(axis)
    if axes is None:
        return tuple(range(ndim))
    if not all(-ndim <= one < ndim for one in axes) or len({one % ndim for one in axes}) < len(axes):
        raise ArgumentError(f"axis must name different axes of the {ndim} of a sample. Received: axis={axis!r}")
    return tuple(one % ndim for one in axes)
