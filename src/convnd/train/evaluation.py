"""Measure a network on a split, in one streaming pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, cast

from ..data import Batch, Normaliser, Split
from ..errors import ArgumentError, DataError
from ..metrics import Metric
from ..nn import Layer
from ..tensor import Tensor, no_grad
from .budget import default_positions, split_shape
from .model import Model
from .names import in_file, not_finite
from .objective import Objective, kind_of
from .progress import Progress, choose


def evaluate(
    net: Layer | Model,
    split: Split,
    *,
    normalize: Normaliser | None = None,
    positions: int | None = None,
    samples: int | None = None,
    progress: bool | Progress | None = False,
) -> dict[str, Any]:
    """Measure a network on a split.

    Parameters
    ----------
    net : Layer or Model
        A Model (:func:`convnd.load`, ``run.model``) brings its normaliser, classes and loss. A bare network gets
        ``normalize``, and the loss that fits the split's targets.
    split : Split
        Read once, from beginning to end, in batches.
    normalize : Normaliser, optional
        For a bare network that was trained with one.
    positions, samples : int, optional
        Most positions and samples in a batch; a larger sample is a batch of its own. The figures don't depend on them,
        but for the last bits of the loss (and the Dice part of "dice+ce", a mean over the samples of each batch).
    progress : bool
        Whether to show a bar or lines.

    Returns
    -------
    dict, JSON-able
        ``loss`` and ``samples``; for classes ``accuracy``, ``classes`` (precision, recall, F1 and count of each) and
        ``confusion`` (a row for each true class, a column for each predicted one); for classes at positions ``dice``
        too, averaged over samples (see :class:`convnd.metrics.ClassMetric`); for numbers ``mse`` and ``mae``.

    Raises
    ------
    DataError
        A split without samples or without targets; values that are not finite, or that make the loss infinite.
    ShapeError
        A network that doesn't fit the data, or a sample that doesn't fit the network.

    Examples
    --------
    >>> import convnd as cn
    >>> with cn.data.open(cn.data.japanese_vowels()) as file:
    ...     net = cn.models.get("small", classes=9).build(ndim=1, channels=12, seed=0)
    ...     figures = cn.evaluate(net, file["test"])
    >>> figures["samples"], len(figures["confusion"])
    (370, 9)
    """
    if not isinstance(split, Split):
        raise ArgumentError(f"split must be a split of a data file, such as data['test']. Received: {split!r}")
    if isinstance(net, Model):
        if normalize is not None:
            raise ArgumentError("normalize goes with a bare network; a Model brings its own")
        objective = Objective.from_config(net.config["objective"])
        _same_task(net, objective, split)
        layer, normaliser = net.net, net.normaliser
    else:
        if not isinstance(net, Layer):
            raise ArgumentError(f"net must be a convnd.nn.Layer or a Model. Received: net={net!r}")
        layer, normaliser = net, normalize
        objective = Objective.of(split, net, split_shape(split))
    shown = choose(progress, len(split), 0, 1)
    try:
        result = measure(layer, split, objective, normaliser, positions, samples, shown).result()
    finally:
        shown.close()
    if result["loss"] is not None and not math.isfinite(result["loss"]):
        raise DataError(f"{split.file.path}: the loss is {result['loss']}: the network's outputs overflow on this data")
    return result


def measure(
    net: Layer,
    split: Split,
    objective: Objective,
    normaliser: Normaliser | None,
    positions: int | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
    between: Callable[[], None] | None = None,
) -> Metric:
    """The metric of a whole split; ``between`` is called after every batch."""
    if not len(split):
        raise DataError(f"the split {split.name!r} has no samples to measure on")
    metric = objective.metric()
    if positions is None and samples is None:
        positions = default_positions(split)
    batches = split.batches(positions, samples, shuffle=False, oversize="alone")
    stream = cast("Generator[Batch, None, None]", iter(batches))
    try:
        for batch in stream:
            x = batch.x if normaliser is None else normaliser.apply(batch.x)
            with no_grad(), in_file(split, batch):
                output = net(Tensor(x))
                loss = float(objective.loss(output, batch))
            if not math.isfinite(loss) and (error := not_finite(split, batch)):
                raise error
            objective.count(metric, output, batch, loss)
            if progress is not None:
                progress.batch(len(batch), 1, metric.brief()["loss"] or 0.0)
            if between is not None:
                between()
    finally:
        stream.close()
    return metric


def _same_task(model: Model, objective: Objective, split: Split) -> None:
    """Refuse a file whose samples or classes are not those of the training."""
    info, trained, path = split.info, model.config["data"], split.file.path
    for name, received in (("ndim", info.ndim), ("channels", info.channels)):
        if trained[name] != received:
            raise DataError(f"{path}: the model was trained on {name}={trained[name]}. Received: {name}={received}")
    if (kind := kind_of(info)) != objective.kind:
        raise DataError(f"{path}: the model was trained for targets of kind {objective.kind!r}. Received: {kind!r}")
    if info.classes and objective.classifies and list(info.classes) != objective.names:
        raise DataError(
            f"{path}: its classes are not those the model was trained on, or in another order. "
            f"Received: {', '.join(info.classes[:8])}; trained on: {', '.join(objective.names[:8])}"
        )
