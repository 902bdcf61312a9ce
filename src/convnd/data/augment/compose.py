"""Several augmentations as one, and how one is told from a text or from its configuration."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...layout import Ints
from .base import Augmentation, Result, Values, plain_name


@dataclass(frozen=True)
class Compose(Augmentation):
    """Several augmentations, one after the other.

    Parameters
    ----------
    steps : sequence of Augmentation or text
        Texts as :func:`from_text` reads them.
    p : float
        The probability that they are done, all together.

    Examples
    --------
    >>> Compose(["flip(axis=1)", "gain(0.8, 1.25)"])
    Compose(p=1.0, steps=(Flip(p=0.5, axis=1), Gain(p=1.0, low=0.8, high=1.25, by_channel=False)))
    """

    steps: Sequence[Augmentation | str]

    def __post_init__(self) -> None:
        super().__post_init__()
        given = (self.steps,) if isinstance(self.steps, (str, Augmentation)) else self.steps
        rule = "augment must be an Augmentation, its text, or a list of them"
        if not isinstance(given, Iterable):
            raise ArgumentError(f"{rule}. Received: {self.steps!r}")
        steps = tuple(from_text(step) if isinstance(step, str) else step for step in given)
        for step in steps:
            if not isinstance(step, Augmentation):
                raise ArgumentError(f"{rule}. Received: {step!r}")
        object.__setattr__(self, "steps", steps)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        for step in self._steps():
            values, target = step(values, target, rng)
        return values, target

    def largest(self, shapes: Ints) -> Ints:
        for step in self._steps():
            shapes = step.bound(shapes)
        return shapes

    def _steps(self) -> tuple[Augmentation, ...]:
        return self.steps  # type: ignore[return-value]  # texts were read when it was made


def composed(given: Any) -> Augmentation:
    """An augmentation as users give it: one, its text, or a list of them."""
    if isinstance(given, Augmentation):
        return given
    made = Compose(given)
    steps = made._steps()
    return steps[0] if len(steps) == 1 else made


def from_config(config: Mapping[str, Any]) -> Augmentation:
    """The augmentation of a configuration.

    Examples
    --------
    >>> from_config({"type": "Flip", "axis": 0, "p": 0.5})
    Flip(p=0.5, axis=0)
    """
    options = {key: _tupled(value) for key, value in config.items() if key != "type"}
    if "steps" in options:
        options["steps"] = [from_config(step) for step in options["steps"]]
    return _make(str(config.get("type")), [], options)


def from_text(text: str) -> Augmentation:
    """An augmentation written as a call: ``flip(axis=1)``, ``random_crop(16000)``, ``Gain(0.5, 2, p=0.3)``.

    Raises
    ------
    ArgumentError
        A text that isn't such a call, an unknown name or argument.

    Examples
    --------
    >>> from_text("noise(snr=(10, 30))")
    Noise(p=1.0, sigma=None, snr=(10, 30))
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name):
            raise ValueError
        options = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
        given = [ast.literal_eval(one) for one in call.args]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ArgumentError(
            "an augmentation is written as a name or a call with plain values, such as flip(axis=1). "
            f"Received: {text!r}"
        ) from None
    return _make(call.func.id, given, options)


def _make(name: str, given: Sequence[Any], options: Mapping[str, Any]) -> Augmentation:
    kind = Augmentation.known.get(plain_name(name))
    if kind is None:
        known = ", ".join(sorted(Augmentation.known))
        raise ArgumentError(f"an augmentation must be one of {known}. Received: {name!r}")
    try:
        return kind(*given, **options)
    except TypeError as error:
        raise ArgumentError(f"{name}: {str(error).removeprefix(f'{kind.__name__}.__init__() ')}") from None


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
