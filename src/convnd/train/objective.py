"""What a network is trained for, chosen from the kind of the data's targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import loss as losses
from ..data import SCHEMA, Batch, Info, Split
from ..errors import ArgumentError, DataError, ShapeError
from ..layout import Layout, Ragged
from ..metrics import ClassMetric, Metric, NumberMetric
from ..nn import Layer, Spec
from ..tensor import Tensor

Loss = Callable[[Tensor, Batch], Tensor]
KINDS = {
    "class": "a class for every sample",
    "labels": "a class at every position",
    "numbers": "numbers for every sample",
    "fields": "numbers at every position",
}
LOSSES = {
    "class": ("cross_entropy",),
    "labels": ("cross_entropy", "dice+ce"),
    "numbers": ("mse",),
    "fields": ("mse",),
}


class Objective:
    """The loss of a batch and the metric to gather, for one kind of target.

    Parameters
    ----------
    kind : "class", "labels" (a class at every position), "numbers" or "fields" (numbers at every position)
    outputs : int
        Channels the network must give: classes, or numbers.
    names : list of str
        The classes' names, empty for numbers.
    ignore : int or None
        The label that does not count.
    loss : "cross_entropy", "dice+ce", "mse", a function of (output Tensor, batch) that gives a Tensor of one
        number, or None for the first that fits the kind.
    label_smoothing, class_weights
        Of the cross-entropy; see :func:`convnd.loss.cross_entropy`.
    """

    def __init__(
        self,
        kind: str,
        outputs: int,
        names: Sequence[str] = (),
        ignore: int | None = None,
        *,
        loss: str | Loss | None = None,
        label_smoothing: float = 0.0,
        class_weights: ArrayLike | None = None,
    ) -> None:
        self.kind, self.outputs, self.ignore = kind, outputs, ignore
        self.names = list(names) or ([str(c) for c in range(outputs)] if self.classifies else [])
        self.function = LOSSES[kind][0] if loss is None else loss
        if isinstance(self.function, str) and self.function not in LOSSES[kind]:
            raise ArgumentError(
                f"loss must be {' or '.join(LOSSES[kind])} for {KINDS[kind]}, or a function. Received: loss={loss!r}"
            )
        if not isinstance(label_smoothing, (int, float)) or not 0 <= label_smoothing < 1:
            raise ArgumentError(f"label_smoothing must be at least 0 and below 1. Received: {label_smoothing!r}")
        if not self.classifies and (label_smoothing or class_weights is not None):
            raise ArgumentError("label_smoothing and class_weights go with classes; this data's targets are numbers")
        self.label_smoothing = float(label_smoothing)
        self.class_weights = None if class_weights is None else _class_weights(class_weights, outputs)

    @classmethod
    def of(
        cls,
        split: Split,
        net: Layer,
        shape: tuple[int, ...] | None,
        class_weights: ArrayLike | None = None,
        **options: Any,
    ) -> Objective:
        """For a split's targets and a network, which must fit each other. ``class_weights`` may be "balanced"."""
        info = split.info
        kind = kind_of(info)
        output = net.trace((Spec.of(info.ndim, info.channels, shape),), "", [])
        wanted = len(info.classes) if info.classes else None
        if kind in ("numbers", "fields"):
            wanted = info.target_channels
        if wanted is not None and output.channels != wanted:
            what = "classes" if kind in ("class", "labels") else "numbers"
            raise ShapeError(
                f"the network's last layer gives {output.channels} channels, but the data has {wanted} {what}"
            )
        axes = info.target_ndim if kind in ("labels", "fields") else 0
        if output.ndim != axes:
            hint = "; end it with nn.GlobalPool(), or nn.Flatten() after bins, and nn.Linear" if axes == 0 else ""
            raise ShapeError(
                f"the target is {KINDS[kind]}, but the network's result has {output.ndim} spatial axes where the "
                f"target has {axes}{hint}"
            )
        if isinstance(class_weights, str) and kind in ("class", "labels"):
            class_weights = _balanced(class_weights, split, output.channels)
        return cls(kind, output.channels, info.classes or (), info.ignore, class_weights=class_weights, **options)

    @property
    def classifies(self) -> bool:
        return self.kind in ("class", "labels")

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean loss of a batch, one number with a way back."""
        if not isinstance(self.function, str):
            value = self.function(output, batch)
            if not isinstance(value, Tensor) or value.values.size != 1:
                raise ArgumentError(f"a loss function must give a Tensor of one number. Received: {value!r}")
            return value
        self._fit_layouts(output, batch)
        target: Any = batch.targets
        if not self.classifies:
            if isinstance(target, Ragged):
                target = Ragged(target.values.astype(output.dtype, copy=False), target.layout)
            else:
                target = np.asarray(target).astype(output.dtype, copy=False)
            return losses.mse(output, target, sample_weights=batch.weights)
        mean = losses.cross_entropy(
            output,
            target,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            ignore=self.ignore,
            sample_weights=batch.weights,
        )
        if self.function == "dice+ce":
            return mean + losses.dice(output, target, ignore=self.ignore)
        return mean

    def _fit_layouts(self, output: Tensor, batch: Batch) -> None:
        """Targets at positions must lie where the outputs do."""
        if not isinstance(batch.targets, Ragged) or output.layout is None or batch.targets.layout == output.layout:
            return
        for place, (got, want) in enumerate(zip(output.layout.shapes, batch.targets.layout.shapes, strict=True)):
            if tuple(got) != tuple(want):
                raise ShapeError(
                    f"sample {place}: the network gives positions {tuple(got.tolist())}, its target has "
                    f"{tuple(want.tolist())}"
                )

    def metric(self) -> Metric:
        """A new, empty metric of this kind."""
        if self.classifies:
            return ClassMetric(self.names, per_position=self.kind == "labels", ignore=self.ignore)
        return NumberMetric()

    def count(self, metric: Metric, output: Tensor, batch: Batch, loss: float) -> float:
        """Add a batch to the metric; the weight of its mean loss among others, which is what it is a mean of."""
        target = batch.targets.values if isinstance(batch.targets, Ragged) else batch.targets
        assert target is not None  # a file without targets was refused
        assert output.layout is not None
        weight = self._weight(target, output.layout, batch)
        metric.add(output.values, target, output.layout, loss, weight)
        return weight

    def _weight(self, target: NDArray[Any], layout: Layout, batch: Batch) -> float:
        """The divisor of a batch's mean: its positions, those that count, each times its weights."""
        if not isinstance(self.function, str):
            return float(layout.positions)
        weight = np.ones(layout.positions)
        if batch.weights is not None:
            weight = np.repeat(batch.weights.astype(np.float64), layout.sizes)
        if self.classifies:
            labels = target.reshape(-1)
            counted = labels != self.ignore if self.ignore is not None else np.ones(len(labels), dtype=bool)
            weight, labels = weight[counted], labels[counted]
            if self.class_weights is not None:
                weight = weight * self.class_weights[labels]
        return float(weight.sum())

    def config(self) -> dict[str, Any]:
        """What was chosen, as plain data. A function of one's own is known by its name only."""
        function = self.function
        name = function if isinstance(function, str) else getattr(function, "__qualname__", type(function).__qualname__)
        return {
            "kind": self.kind,
            "outputs": self.outputs,
            "classes": self.names,
            "ignore": self.ignore,
            "loss": name,
            "label_smoothing": self.label_smoothing,
            "class_weights": None if self.class_weights is None else self.class_weights.tolist(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """From :meth:`config`. In the place of a function of one's own stands the usual loss of the kind."""
        known = config["loss"] in LOSSES[config["kind"]]
        return cls(
            config["kind"],
            config["outputs"],
            config["classes"],
            config["ignore"],
            loss=config["loss"] if known else None,
            label_smoothing=config["label_smoothing"],
            class_weights=config["class_weights"],
        )


def _class_weights(given: ArrayLike, classes: int) -> NDArray[np.float64]:
    """One weight a class, checked."""
    try:
        weights = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"class_weights must be numbers or 'balanced'. Received: {given!r}") from None
    if weights.shape != (classes,):
        raise ArgumentError(
            f"class_weights must hold one weight for each of the {classes} classes. Received: shape {weights.shape}"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ArgumentError(
            f"class_weights must be finite, not negative, and one of them above 0. Received: {weights.tolist()}"
        )
    return weights


def _balanced(name: str, split: Split, classes: int) -> NDArray[np.float64]:
    """For each class the mean count of a class divided by its own, so that all weigh the same; 1 if it never occurs.

    King & Zeng, "Logistic regression in rare events data", Political Analysis 9, 2001, section 4.
    """
    if name != "balanced":
        raise ArgumentError(f"class_weights must be numbers or 'balanced'. Received: class_weights={name!r}")
    counts = np.zeros(classes, np.int64)
    for labels in _labels(split):
        # A label out of range is the loss's to refuse: it knows the sample.
        counts += np.bincount(labels[(labels >= 0) & (labels < classes) & (labels != split.info.ignore)],
                              minlength=classes)  # fmt: skip
    return np.where(counts > 0, counts.sum() / (classes * np.maximum(counts, 1)), 1.0)


def _labels(split: Split) -> Iterator[NDArray[np.int64]]:
    """All labels of a split, a part at a time."""
    if split.targets is not None:
        yield split.targets.reshape(-1)
        return
    for batch in split.batches(positions=1 << 20, shuffle=False, oversize="alone"):
        assert isinstance(batch.targets, Ragged)
        yield batch.targets.values.reshape(-1)


def kind_of(info: Info) -> str:
    """The kind of a file's targets; a file without targets has none."""
    if info.target is None:
        where = "; labels=... or --labels says where others' files have them" if info.schema != SCHEMA else ""
        raise DataError(f"this data has no targets, so there is nothing to train for or to measure{where}")
    if info.target == "ragged":
        return "labels" if info.labels else "fields"
    return info.target
