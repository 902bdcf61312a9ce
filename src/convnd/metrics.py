"""Metrics, gathered batch by batch: what is kept grows with the classes, never with the data.

Each has the same four verbs: ``add`` a batch, ``result`` (everything), ``brief`` (the loss and the one
figure to watch) and ``state``/``load``, by which a run stopped in the middle of an epoch goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .layout import Layout

HIGHER_IS_BETTER = {"accuracy", "dice"}


class Metric(Protocol):
    """Running sums over batches."""

    headline: str

    def add(
        self, output: NDArray[Any], target: NDArray[Any], layout: Layout, loss: float, weight: float | None = None
    ) -> None:
        """Count one batch: ``output`` (P, K), ``target`` (P,) or (P, K), ``layout`` of both, the mean loss.

        ``weight`` is what the loss is a mean of; the positions that count unless given.
        """

    def result(self) -> dict[str, Any]:
        """Every figure, JSON-able; a figure that nothing defines is None."""

    def brief(self) -> dict[str, float | None]:
        """The loss and the headline figure."""

    def state(self) -> dict[str, Any]:
        """The running sums, JSON-able and exact."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""


class MeanLoss:
    """The mean of batches' mean losses, each weighted by what it is a mean of."""

    def __init__(self) -> None:
        self.total, self.weight = 0.0, 0.0

    def add(self, loss: float, weight: float) -> None:
        self.total += loss * weight
        self.weight += weight

    @property
    def value(self) -> float | None:
        return self.total / self.weight if self.weight else None


class ClassMetric:
    """Accuracy, confusion and, for a class at every position, Dice.

    The Dice coefficient of class c in one sample is 2 |T_c and P_c| / (|T_c| + |P_c|) with T_c the
    positions that are c and P_c those called c (Dice 1945, doi:10.2307/1932409). It is averaged over
    the samples in which either is not empty. ``dice`` is its mean over the classes, without one that is
    called "background".

    Examples
    --------
    >>> metric = ClassMetric(["no", "yes"])
    >>> metric.add(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), np.array([0, 1, 1]), Layout.dense(3, ()), 0.5)
    >>> round(metric.result()["accuracy"], 3), metric.result()["confusion"]
    (0.667, [[1, 0], [1, 1]])
    """

    def __init__(self, names: Sequence[str], *, per_position: bool = False, ignore: int | None = None) -> None:
        self.names = list(names)
        self.per_position = per_position
        self.ignore = ignore
        self.headline = "dice" if per_position else "accuracy"
        count = len(self.names)
        self.loss = MeanLoss()
        self.samples = 0
        self.confusion = np.zeros((count, count), np.int64)
        self.dice_sum = np.zeros(count)
        self.dice_count = np.zeros(count, np.int64)

    def add(
        self, output: NDArray[Any], target: NDArray[Any], layout: Layout, loss: float, weight: float | None = None
    ) -> None:
        count = len(self.names)
        sample = np.repeat(np.arange(len(layout)), layout.sizes)
        label, guess = target.reshape(-1).astype(np.int64), output.argmax(axis=1)
        if self.ignore is not None:
            kept = label != self.ignore
            sample, label, guess = sample[kept], label[kept], guess[kept]
        self.samples += len(layout)
        self.loss.add(loss, len(label) if weight is None else weight)
        self.confusion += np.bincount(label * count + guess, minlength=count * count).reshape(count, count)
        if self.per_position:
            self._add_dice(sample * count + label, sample * count + guess, len(layout))

    def _add_dice(self, true: NDArray[np.int64], called: NDArray[np.int64], samples: int) -> None:
        """Count the classes of each sample, given as numbers sample * classes + class at every position."""
        cells = samples * len(self.names)
        both, either = (
            np.bincount(numbers, minlength=cells).reshape(samples, -1)
            for numbers in (true[true == called], np.concatenate([true, called]))
        )
        self.dice_sum += np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0).sum(axis=0)
        self.dice_count += (either > 0).sum(axis=0)

    def result(self) -> dict[str, Any]:
        right, true, called = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        classes: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(self.names):
            classes[name] = {
                "precision": _share(right[number], called[number]),
                "recall": _share(right[number], true[number]),
                "f1": _share(2 * right[number], true[number] + called[number]),
                "count": int(true[number]),
            }
            if self.per_position:
                classes[name]["dice"] = _share(self.dice_sum[number], self.dice_count[number])
        return {
            **self.brief(),
            "accuracy": _share(right.sum(), true.sum()),
            "samples": self.samples,
            "classes": classes,
            "confusion": self.confusion.tolist(),
        }

    def brief(self) -> dict[str, float | None]:
        if not self.per_position:
            return {"loss": self.loss.value, "accuracy": _share(np.trace(self.confusion), self.confusion.sum())}
        dice = [
            _share(self.dice_sum[number], self.dice_count[number])
            for number, name in enumerate(self.names)
            if name.lower() != "background"
        ]
        known = [value for value in dice if value is not None]
        return {"loss": self.loss.value, "dice": _share(sum(known), len(known))}

    def state(self) -> dict[str, Any]:
        return {
            "loss": [self.loss.total, self.loss.weight],
            "samples": self.samples,
            "confusion": self.confusion.tolist(),
            "dice": [self.dice_sum.tolist(), self.dice_count.tolist()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.loss.total, self.loss.weight = state["loss"]
        self.samples = state["samples"]
        self.confusion = np.array(state["confusion"], np.int64)
        self.dice_sum, self.dice_count = np.array(state["dice"][0]), np.array(state["dice"][1], np.int64)


class NumberMetric:
    """Mean squared and mean absolute error of numbers, over all samples or positions and columns.

    Examples
    --------
    >>> metric = NumberMetric()
    >>> metric.add(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]), Layout.dense(2, ()), 2.0)
    >>> metric.result()
    {'loss': 2.0, 'mse': 2.0, 'mae': 1.0, 'samples': 2}
    """

    headline = "mse"

    def __init__(self) -> None:
        self.loss = MeanLoss()
        self.samples, self.count = 0, 0
        self.squares, self.absolutes = 0.0, 0.0

    def add(
        self, output: NDArray[Any], target: NDArray[Any], layout: Layout, loss: float, weight: float | None = None
    ) -> None:
        error = output.astype(np.float64) - target.reshape(output.shape)
        self.samples += len(layout)
        self.count += error.size
        self.squares += float((error * error).sum())
        self.absolutes += float(np.abs(error).sum())
        self.loss.add(loss, len(output) if weight is None else weight)

    def result(self) -> dict[str, Any]:
        return {**self.brief(), "mae": _share(self.absolutes, self.count), "samples": self.samples}

    def brief(self) -> dict[str, float | None]:
        return {"loss": self.loss.value, "mse": _share(self.squares, self.count)}

    def state(self) -> dict[str, Any]:
        return {
            "loss": [self.loss.total, self.loss.weight],
            "samples": self.samples,
            "sums": [self.count, self.squares, self.absolutes],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.loss.total, self.loss.weight = state["loss"]
        self.samples = state["samples"]
        self.count, self.squares, self.absolutes = state["sums"]


def better(new: float | None, old: float | None, name: str) -> bool:
    """Whether a figure of this name improved on the best so far."""
    if new is None or math.isnan(new):
        return False
    if old is None or math.isnan(old):
        return True
    return new > old if name in HIGHER_IS_BETTER else new < old


def _share(part: Any, whole: Any) -> float | None:
    """part / whole, None of nothing."""
    return float(part) / float(whole) if whole else None
