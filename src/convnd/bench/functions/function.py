"""What the bench knows of a function, and what the tables share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Takes = Literal["batch", "positive", "numbers", "weight"]


@dataclass(frozen=True)
class Weight:
    """What a function takes beside x: parameters, a second batch, boxes, keys."""

    shape: Callable[[Any], Shape]  # of a case
    made: Callable[[Array, Any], Array] = lambda drawn, case: drawn  # from normal numbers of that shape, for a case
    by_sample: bool = False  # it has an entry for each sample
    spatial: bool = False  # (*S, C) or (N, *S, C): libraries lay it out in memory as they do x
    learned: bool = False  # a parameter whose gradient is measured too


NOTHING = Weight(lambda case: (0,))
VECTOR = Weight(lambda case: (case.channels,))
SCALE_SHIFT = Weight(lambda case: (2, case.channels))
BATCH = Weight(lambda case: (case.batch, *case.size, case.channels), by_sample=True, spatial=True)


@dataclass(frozen=True)
class Function:
    """One of them. N samples of shape S with C channels become N of shape S' with F.

    ``takes`` says what x is: a "batch"; a "positive" one; "numbers", integers below C with one channel; or the "weight"
    of a layer, all of whose axes but the last are taken for S, with one sample.
    """

    words: str
    ours: Callable[[Any, Any], Any]  # (x, weight)
    torch: Callable[[Any, Any, Any], Any] | None  # (torch.nn.functional, x (N, C, *S), weight); None: it has no such
    exact: Callable[[Array, Array], Array]  # (N, *S, C) to (N, *S', F), float64
    shape: Callable[[Shape], Shape] = lambda shape: shape  # (*S, C) to (*S', F)
    weight: Weight = NOTHING
    takes: Takes = "batch"
    reads: str = "x"  # what the gradient of x needs beside that of the result: "x", "w", both, or nothing
    additive: bool = False  # weight (..., C, F): filter f is the sum over c of what x[..., c] and w[..., c, f] give
    rate: float = 0.0  # of a dropout: other libraries draw other numbers


def axes(change: Callable[[int], int]) -> Callable[[Shape], Shape]:
    """The shape of a result whose every axis changes so, with the channels as they are."""
    return lambda shape: (*map(change, shape[:-1]), shape[-1])


def channels(change: Callable[[int], int]) -> Callable[[Shape], Shape]:
    """The shape of a result with other channels."""
    return lambda shape: (*shape[:-1], change(shape[-1]))


def positions(x: Array) -> Shape:
    """The axes of (N, *S, C) that are positions."""
    return tuple(range(1, x.ndim - 1))


def along(matrix: Array, x: Array, axis: int) -> Array:
    """The product of a matrix and one axis of x."""
    product: Array = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return product


def torch_module() -> Any:
    """PyTorch, imported when first needed."""
    return importlib.import_module("torch")
