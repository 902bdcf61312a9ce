"""Arguments of layers, normalised at construction, while the rank and the channels aren't known yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..layout import Layout
from ..ops._operands import FUSED
from ..ops.pointwise import ACTIVATIONS as POINTWISE
from ..window import Window, padding_rule, per_axis

ACTIVATIONS = (*POINTWISE, "softmax", "log_softmax")


def axis_ints(value: Any, name: str, least: int = 1) -> int | tuple[int, ...]:
    """A per-axis argument while the rank isn't known yet: an int, or a tuple of them."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value):
        return per_axis(value, len(value), name, least)
    return per_axis(value, 1, name, least)[0]


def count(value: Any, name: str, least: int = 1) -> int:
    """An int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} must be an int of at least {least}. Received: {name}={value!r}")
    return int(value)


def flag(value: Any, name: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be true or false. Received: {name}={value!r}")
    return bool(value)


def share(value: Any, name: str) -> float:
    """A number from 0 up to, not including, 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
        raise ArgumentError(f"{name} must be a number in [0, 1). Received: {name}={value!r}")
    return float(value)


def one_of(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of the names in ``choices``."""
    if value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(choices)}. Received: {name}={value!r}")
    return str(value)


def fused(activation: Any) -> str | None:
    """The name of an activation that other layers apply to their results, or None."""
    if activation is None:
        return None
    if activation in ACTIVATIONS and activation not in FUSED:
        raise ArgumentError(
            f"activation={activation!r} can't be fused: follow the layer with Activation({activation!r}). "
            f"Fused are: {', '.join(FUSED)}"
        )
    return one_of(activation, "activation", FUSED)


def padding_argument(padding: Any) -> Any:
    """A padding while the rank isn't known yet: a name, an int, or a (low, high) pair an axis."""
    if isinstance(padding, (list, tuple)):
        return padding_rule(padding, len(padding))
    rule = padding_rule(padding, 1)
    return rule if isinstance(rule, str) else rule[0][0]


def shape_after(window: Window, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape that a window leaves of one sample."""
    return None if shape is None else window.on(Layout.dense(1, shape)).output.shape(0)


def product(values: tuple[int, ...]) -> int:
    """The product as a Python int, which never overflows."""
    result = 1
    for value in values:
        result *= value
    return result
