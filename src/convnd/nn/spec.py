"""What passes between layers beside the data: shapes before a call, the mode during it, and names in errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import ConvndError, ShapeError
from ..random import Key
from ..window import per_axis
from .arguments import count, product


@dataclass(frozen=True)
class Spec:
    """What one layer hands to the next: rank, channels, and the spatial shape where it is known."""

    ndim: int
    channels: int
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, ndim: Any, channels: Any, shape: Any = None) -> Spec:
        """A Spec from arguments as users give them."""
        rank = count(ndim, "ndim", least=0)
        return cls(rank, count(channels, "channels"), None if shape is None else per_axis(shape, rank, "shape"))

    @property
    def positions(self) -> int:
        """Positions of one sample. The shape must be known."""
        if self.shape is None:
            raise ShapeError("the spatial shape isn't known here: give build(..., shape=...)")
        return product(self.shape)

    def __str__(self) -> str:
        known = "" if self.shape is None else f", shape={self.shape}"
        return f"ndim={self.ndim}, channels={self.channels}{known}"


class Mode(NamedTuple):
    """How a call runs: training or not, the key of its random numbers, where in the network it is, and whether a layer
    that follows wants the moments of the result: a layer that makes it may count them meanwhile."""

    training: bool = False
    rng: Key | None = None
    path: str = ""
    moments: bool = False

    def inside(self, name: str, moments: bool = False) -> Mode:
        """The mode of the child ``name``."""
        return Mode(self.training, self.rng, join(self.path, name), moments)


def join(path: str, name: str) -> str:
    """The path of ``name`` inside ``path``."""
    return f"{path}.{name}" if path else name


class located:
    """A context that puts the name of a layer before the message of any of our errors raised inside.

    A class, since it runs at every layer of every call, and a generator's context takes several times as long.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConvndError):
            raise type(error)(f"{self.name}: {error}") from error
