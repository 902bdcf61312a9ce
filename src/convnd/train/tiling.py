"""A trained model over raw samples of any size: read, normalised, run and answered tile by tile.

:meth:`Model.predict` with a ``tile`` is this module's :func:`predict`; the tiles are :mod:`convnd.nn.predict`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError, DtypeError, ShapeError
from ..layout import Ragged
from ..nn import Spec
from ..nn.predict import Progress, shared
from .names import renamed

if TYPE_CHECKING:
    from .model import Model


def predict(model: Model, x: Any, tile: Any, out: Any, progress: Progress | None) -> Any:
    """The answers at positions, sample by sample: see :meth:`Model.predict`."""
    raw = [Raw(model, sample, number) for number, sample in enumerate(_samples(x))]
    _check_kind(model, tile)
    shapes = []
    for number, sample in enumerate(raw):
        with renamed([f"sample {number}"].__getitem__, 1):
            shapes.append(_scores_shape(model, sample.shape))
    answers = [_answer_of(model, shape) for shape in shapes]
    made = _results(model, x, len(raw), answers) if out is None else out
    if shared(x, made):
        raise ArgumentError("out must not be x, which is read again at the borders of tiles. Received: the same array")
    targets = [
        _Answers(target, shape, model, number)
        for number, (target, shape) in enumerate(zip(_targets(made, x, len(raw)), shapes, strict=True))
    ]
    for sample in raw:
        sample.normalise()
    model.net.predict(raw, tile=tile, out=targets, progress=progress)
    return made


def physical(values: NDArray[Any], scale: Any) -> NDArray[np.float32]:
    """What the training's file would have handed out: stored integers times its scale, in float32."""
    if values.dtype.kind not in "iuf":
        raise DtypeError(f"samples must be real numbers. Received: dtype {values.dtype}")
    if values.dtype.kind in "iu" and scale is not None:
        values = values * np.asarray(scale, np.float64)
    with np.errstate(over="ignore"):  # what float32 can't hold is refused as not finite
        return values.astype(np.float32)


class Raw:
    """A raw sample that is read box by box: an array, or anything with a shape and slices that are arrays.

    ``raw[box]`` holds its physical values in float32, (*box, C), once :meth:`normalise` was called normalised.
    """

    def __init__(self, model: Model, data: Any, number: int) -> None:
        self._model, self._data, self._number = model, data, number
        self._change: Callable[[NDArray[Any]], NDArray[Any]] | None = None
        ndim, channels = model.config["data"]["ndim"], model.config["data"]["channels"]
        shape = tuple(int(size) for size in getattr(data, "shape", ()))
        self._bare = channels == 1 and len(shape) == ndim
        self.shape = (*shape, 1) if self._bare else shape
        if len(self.shape) != ndim + 1 or self.shape[-1] != channels:
            raise ShapeError(
                f"sample {number}: the model takes samples of {ndim} axes and {channels} channels. "
                f"Received: {_received(data, shape)}"
            )

    def normalise(self) -> None:
        """From now on hand out what the network was trained on. By sample: two readings of it."""
        normaliser = self._model.normaliser
        self._change = None if normaliser is None else normaliser.change(self)

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.float32]:
        values = physical(np.asarray(self._data[box]), self._model.config["data"].get("scale"))
        if not np.isfinite(values).all():
            raise DataError(f"sample {self._number}: values must be finite, in float32. Received: NaN or infinity")
        if self._bare:
            values = values[..., None]
        return values if self._change is None else self._change(values)


def _received(data: Any, shape: tuple[int, ...]) -> str:
    return f"shape {shape}" if hasattr(data, "shape") else type(data).__name__


def result_shape(model: Model, sample: Any) -> tuple[int, ...]:
    """Shape of a model's answer at positions, for a raw sample: (*S') of class numbers, else (*S', F)."""
    return _answer_of(model, _scores_shape(model, Raw(model, sample, 0).shape))


def _scores_shape(model: Model, shape: Sequence[int]) -> tuple[int, ...]:
    *sizes, channels = shape
    result = model.net.trace((Spec(len(sizes), channels, tuple(sizes)),), "", [])
    return (*(result.shape or ()), result.channels)


def _answer_of(model: Model, scores: tuple[int, ...]) -> tuple[int, ...]:
    return scores[:-1] if model.kind == "labels" else scores


def _check_kind(model: Model, tile: Any) -> None:
    """Answers that are no positions come from the whole sample: with a tile the network says which layer needs it."""
    if tile is None and model.kind not in ("labels", "fields"):
        raise ArgumentError(
            "out and progress go with answers at positions; this model gives one answer a sample: leave them out"
        )


def _samples(x: Any) -> list[Any]:
    """The samples of a batch; those of a stored one are read when they are asked for."""
    samples: list[Any]
    if isinstance(x, (list, tuple, Ragged)):
        samples = list(x)
    elif hasattr(x, "shape") and hasattr(x, "__getitem__"):
        samples = [_Member(x, number) for number in range(x.shape[0] if x.shape else 0)]
    else:
        raise ArgumentError(f"x must be an array, a Ragged or a list of samples. Received: {type(x).__name__}")
    if not samples:
        raise ArgumentError("x must hold at least one sample. Received: none")
    return samples


class _Member:
    """One entry of an array (N, *rest), to read from or write to by slices."""

    def __init__(self, data: Any, number: int) -> None:
        self._data, self._number, self.shape = data, number, tuple(data.shape[1:])

    def __getitem__(self, box: tuple[slice, ...]) -> Any:
        return self._data[(self._number, *box)]

    def __setitem__(self, box: tuple[slice, ...], values: Any) -> None:
        self._data[(self._number, *box)] = values


def _results(model: Model, x: Any, count: int, shapes: Sequence[tuple[int, ...]]) -> Any:
    """New arrays: one for an array, else one a sample."""
    dtype = np.int64 if model.kind == "labels" else np.float32
    if isinstance(x, (list, tuple, Ragged)):
        return [np.empty(shape, dtype) for shape in shapes]
    return np.empty((count, *shapes[0]), dtype)


def _targets(out: Any, x: Any, count: int) -> list[Any]:
    """Where each sample's answer goes."""
    if isinstance(x, (list, tuple, Ragged)):
        if not isinstance(out, (list, tuple)) or len(out) != count:
            raise ArgumentError(f"out must be a list of {count}, one for each sample. Received: {type(out).__name__}")
        return list(out)
    if not hasattr(out, "shape") or len(out.shape) < 1 or out.shape[0] != count:
        raise ShapeError(
            f"out must be an array of {count} answers. Received: {_received(out, getattr(out, 'shape', ()))}"
        )
    return [_Member(out, number) for number in range(count)]


class _Answers:
    """Where a network's results at positions go, (*S', F): scores as the number of the best class."""

    def __init__(self, target: Any, scores: tuple[int, ...], model: Model, number: int) -> None:
        self.shape, self._target, self._classes = scores, target, model.kind == "labels"
        wanted, found = _answer_of(model, scores), tuple(getattr(target, "shape", ()))
        if found != wanted or not hasattr(target, "__setitem__"):
            raise ShapeError(
                f"sample {number}: out must have the answer's shape {wanted}. Received: {_received(target, found)}"
            )

    def __setitem__(self, box: tuple[slice, ...], values: NDArray[Any]) -> None:
        self._target[box] = values.argmax(axis=-1) if self._classes else values
