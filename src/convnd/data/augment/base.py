"""What an augmentation is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...layout import Ints
from .rules import number

Values = NDArray[np.float32]
Result = tuple[Values, Any]


@dataclass(frozen=True)
class Augmentation:
    """A random change of a sample: a pure function of the sample and a random generator.

    ``augment(values, target, rng)`` takes float32 values (*S, C), the target (a class number, numbers, or an
    array (*S, K) that says something of every position) and a :class:`numpy.random.Generator`, and
    gives the new values and the target that goes with them. What moves positions moves an array of targets with
    them; classes and numbers stay as they are. The arrays given are never changed; the new ones may be views of them.

    Write your own as a frozen dataclass with a method ``change``. Its fields are recorded in a run's config.json,
    so that a run is resumed with the same ones only.

    Parameters
    ----------
    p : float
        The probability that a sample is changed at all.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Invert(Augmentation):
    ...     def change(self, values, target, rng):
    ...         return -values, target
    >>> Invert(p=0.5).config()
    {'type': 'Invert', 'p': 0.5}
    >>> Invert()(np.ones((2, 1), "float32"), 3, np.random.default_rng(0))
    (array([[-1.], [-1.]], dtype=float32), 3)
    """

    moves: ClassVar[bool] = False
    """Whether positions move, so that a target of every position must move with them."""
    known: ClassVar[dict[str, type[Augmentation]]] = {}
    """Every augmentation by its plain name."""

    p: float = field(default=1.0, kw_only=True)

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            Augmentation.known[plain_name(cls.__name__)] = cls

    def __post_init__(self) -> None:
        """Refuse arguments outside their rules."""
        number("p", self.p, 0, 1)

    def __call__(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        self.check(values, target)
        if self.p < 1 and rng.random() >= self.p:
            return values, target
        return self.change(values, target, rng)

    def change(self, values: Values, target: Any, rng: np.random.Generator) -> Result:
        """The changed sample."""
        raise NotImplementedError(f"{type(self).__name__} needs a method change(values, target, rng)")

    def bound(self, shapes: Ints) -> Ints:
        """The largest spatial shapes (N, ndim) that samples of these shapes may get; a rank it isn't for is refused."""
        self.check_rank(shapes.shape[1])
        largest = self.largest(shapes)
        return largest if self.p == 1 else np.maximum(shapes, largest)

    def largest(self, shapes: Ints) -> Ints:
        """The shapes that changed samples may get at most."""
        return shapes

    def check(self, values: Values, target: Any) -> None:
        """Refuse a rank that it isn't for, and a target with axes of its own that can't move with the sample."""
        self.check_rank(values.ndim - 1)
        if self.moves and on_positions(target) and target.shape[:-1] != values.shape[:-1]:
            raise DataError(
                f"{type(self).__name__} moves positions, so a target must be one of the sample, or lie on its "
                f"positions, {values.shape[:-1]}. Received: a target on positions {target.shape[:-1]}"
            )

    def check_rank(self, ndim: int) -> None:
        """Refuse samples of a number of spatial axes that it isn't for."""

    def config(self) -> dict[str, Any]:
        """JSON-able: the type and every field; :func:`from_config` takes it back."""
        return {"type": type(self).__name__} | {one.name: _jsonable(getattr(self, one.name)) for one in fields(self)}


def plain_name(name: str) -> str:
    """A name as it is looked up: without underscores, in small letters."""
    return name.replace("_", "").lower()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Augmentation):
        return value.config()
    if isinstance(value, (tuple, list)):
        return [_jsonable(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def on_positions(target: Any) -> bool:
    """Whether a target has axes of its own: it says something of every position."""
    return isinstance(target, np.ndarray) and target.ndim > 1
