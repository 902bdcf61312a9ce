"""The arguments of :func:`convnd.fit`, each checked and normalised once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import optim
from ..data import Normaliser, Split
from ..errors import ArgumentError, DataError, DtypeError
from ..nn import Layer
from .objective import Objective

OPTIMIZERS: dict[str, type[optim.Optimizer]] = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}
EPOCH_UNITS = ("warmup", "every")  # a schedule's numbers that count steps; fit takes them in epochs


def check_split(name: str, split: Any) -> None:
    if not isinstance(split, Split):
        raise ArgumentError(f"{name} must be a split of a data file, such as data['train']. Received: {name}={split!r}")
    if not len(split):
        raise DataError(f"{name} has no samples")


def check_trainable(net: Layer) -> None:
    """Refuse a built network that no step could change, or that doesn't take what batches hold."""
    parameters = net.parameters()
    if not any(parameter.requires_grad for parameter in parameters):
        why = "all of its parameters are frozen" if parameters else "it has no parameters"
        raise ArgumentError(f"net has nothing to train: {why}. Received: net={net!r}")
    if parameters[0].dtype != np.float32:
        raise DtypeError(f"net must be built in float32, as batches are. Received: a net in {parameters[0].dtype}")


def divide(train: Split, validation: float | Split | None, by_group: bool, seed: int) -> tuple[Split, Split | None]:
    """The part to learn from, and the part to choose the best epoch on."""
    if isinstance(validation, Split):
        check_split("validation", validation)
        if validation.name == "test":
            raise ArgumentError(
                "validation must not be the test split: choosing the best epoch on it would make its figures "
                "worthless. Give a share of the training split, e.g. validation=0.1"
            )
        shared = set(validation.file.origins(validation.numbers)) & set(train.file.origins(train.numbers))
        if shared:
            number = min(shared)[1]
            raise ArgumentError(f"validation must hold no samples of train. Received: both hold sample {number}")
        return train, validation
    if validation is None or validation == 0:
        return train, None
    return train.divide(validation, seed=seed, by_group=by_group)


def whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} must be an int of at least {least}. Received: {name}={value!r}")
    return int(value)


def positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise ArgumentError(f"{name} must be a positive number. Received: {name}={value!r}")
    return float(value)


def named(name: str, value: Any, known: Mapping[str, Any], **numbers: Any) -> dict[str, Any]:
    """A choice with its numbers, from a name or a dict with a name, and fit's own that are not None."""
    config = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    if config.get("name") not in known:
        raise ArgumentError(
            f"{name} must be one of {', '.join(known)}, or a dict with such a name. Received: {name}={value!r}"
        )
    if "lr" in config:
        raise ArgumentError(f"lr is an argument of fit of its own. Received: {name}={value!r}")
    config |= {key: number for key, number in numbers.items() if number is not None}
    return {key: _plain(value) for key, value in config.items()}


def _plain(value: Any) -> Any:
    """A setting as config.json gives it back: Python's numbers for NumPy's, lists for tuples."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def make_optimizer(net: Layer, config: Mapping[str, Any]) -> optim.Optimizer:
    options = {key: value for key, value in config.items() if key != "name"}
    try:
        return OPTIMIZERS[config["name"]](net.parameters(), **options)
    except TypeError as error:
        raise ArgumentError(f"optimizer {config['name']!r}: {error}") from error


def make_schedule(config: Mapping[str, Any], epochs: int, samples: int) -> Callable[[int], float]:
    """The schedule in samples: what it calls a step is a sample here, as epochs may differ in their batches."""
    numbers = dict(config)
    for key in EPOCH_UNITS:
        if isinstance(numbers.get(key), (int, float)):
            if not 0 <= numbers[key] < np.inf:
                raise ArgumentError(f"{key} must be a number of epochs, at least 0. Received: {key}={numbers[key]!r}")
            numbers[key] = int(numbers[key] * samples)
    if config["name"] in ("cosine", "one_cycle"):
        if "steps" in numbers:
            raise ArgumentError(f"a schedule's steps follow from epochs. Received: steps={numbers['steps']!r}")
        numbers["steps"] = epochs * samples
    return optim.schedule(numbers)


def monitored(monitor: str | None, objective: Objective) -> str:
    headline = objective.metric().headline
    if monitor not in (None, headline, "loss"):
        raise ArgumentError(f"monitor must be {headline!r} or 'loss' for this data. Received: monitor={monitor!r}")
    return monitor or headline


def make_normaliser(normalize: Any, part: Split) -> Normaliser | None:
    if normalize is None or isinstance(normalize, Normaliser):
        return normalize
    if normalize not in ("channel", "sample"):
        raise ArgumentError(
            f"normalize must be 'channel', 'sample', None or a Normaliser. Received: normalize={normalize!r}"
        )
    return None if part.info.symbols else Normaliser.fit(part, mode=normalize)


def describe(part: Split, held_out: Split | None, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """What the network was trained on: enough to prepare new inputs, and to know the data again on resuming."""
    info = part.info.to_dict()
    kept = ("ndim", "channels", "dtype", "target", "scale", "axes", "channel_names", "recipe", "source", "licence")
    return {
        **{name: info[name] for name in kept},
        "shape": None if shape is None else list(shape),
        "train": _fingerprint(part),
        "validation": None if held_out is None else _fingerprint(held_out),
    }


def _fingerprint(split: Split) -> dict[str, Any]:
    """A split's samples, shapes and targets in a few characters."""
    digest = hashlib.sha256(split.numbers.tobytes() + split.layout.shapes.tobytes())
    if split.targets is not None:
        digest.update(np.ascontiguousarray(split.targets).tobytes())
    return {"samples": len(split), "positions": split.layout.positions, "sha256": digest.hexdigest()[:16]}
