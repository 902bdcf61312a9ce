"""The result of a run: a network with what it needs to meet raw samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import Checkpoint
from ..data import Normaliser
from ..errors import ArgumentError, DataError, ShapeError, TrainingError
from ..layout import Layout, Ragged
from ..nn import Layer, from_config
from ..nn.predict import Progress
from . import tiling
from .folder import BEST, LAST
from .names import renamed

PIECE = 1 << 20  # positions that go through the network at a time; results don't depend on it
Samples = NDArray[Any] | Ragged | Sequence[NDArray[Any]]


class Model:
    """A trained network, ready for raw samples: it normalises them as in training.

    Made by :func:`convnd.load` and found as ``run.model``. Samples are what batches of the training's file held, the
    physical values; integers are taken as the file's stored numbers and multiplied by its scale.

    Attributes
    ----------
    net : Layer
    normaliser : Normaliser or None
    classes : list of str
        Empty where the targets are numbers.
    config : dict
        The run's network, settings and data, as in its config.json.

    Examples
    --------
    >>> import convnd as cn
    >>> net = cn.nn.Sequential(cn.nn.GlobalPool(), cn.nn.Linear(2)).build(ndim=1, channels=3)
    >>> config = {"data": {"ndim": 1, "channels": 3}, "objective": {"kind": "class", "classes": ["no", "yes"]}}
    >>> model = Model(net, None, config)
    >>> model([np.zeros((5, 3)), np.zeros((9, 3))]).values.shape
    (2, 2)
    >>> model.predict([np.zeros((5, 3)), np.zeros((9, 3))])
    ['no', 'no']
    """

    def __init__(self, net: Layer, normaliser: Normaliser | None, config: dict[str, Any]) -> None:
        self.net, self.normaliser, self.config = net, normaliser, config

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Model:
        """The model of a run folder or a checkpoint file: see :func:`convnd.load`."""
        path = Path(path)
        if not path.is_file():
            found = [path / name for name in (BEST, LAST) if (path / name).is_file()]
            if not found:
                raise TrainingError(f"{path} is not a run folder: there is neither {BEST} nor {LAST} in it")
            path = found[0]
        checkpoint = Checkpoint.read(path)
        config = checkpoint.meta["config"]
        data, state = config["data"], config["normaliser"]
        net = from_config(config["network"])
        net.build(data["ndim"], data["channels"], shape=data["shape"], dtype=config["dtype"])
        net.load_state(checkpoint.part("net"))
        return cls(net, None if state is None else Normaliser.from_state(state), config)

    @property
    def kind(self) -> str:
        """The kind of target: "class", "labels", "numbers" or "fields" (see :mod:`convnd.train.objective`)."""
        return str(self.config["objective"]["kind"])

    @property
    def classes(self) -> list[str]:
        return list(self.config["objective"]["classes"])

    def __call__(self, x: Samples) -> Any:
        """The network's output for raw samples: scores before the softmax, or numbers.

        Parameters
        ----------
        x : ndarray (N, *S, C), Ragged, or a list of arrays (*S_i, C)

        Returns
        -------
        ndarray for an ndarray, else Ragged. A sample's result doesn't depend on the others.

        Raises
        ------
        ShapeError
            Samples of another rank or number of channels than in training.
        DtypeError
            Values that aren't real numbers.
        DataError
            Values that aren't finite.
        """
        samples = self._samples(x)
        pieces = [self._run(samples, first, last) for first, last in _cut(samples.layout)]
        layout = Layout(np.concatenate([piece.layout.shapes for piece in pieces]))
        output = Ragged(np.concatenate([piece.values for piece in pieces]), layout)
        if isinstance(x, np.ndarray):
            return output.values.reshape(len(layout), *layout.shape(0), output.values.shape[1])
        return output

    def probabilities(self, x: Samples) -> Any:
        """The classes' probabilities: (N, K) for one class a sample, else in the kind of ``x`` at every position."""
        if not self.classes:
            raise ArgumentError("probabilities are of classes, and this model gives numbers: call predict")
        scores = self(x)
        if self.kind == "class":
            return _softmax(scores.values if isinstance(scores, Ragged) else scores)
        return Ragged(_softmax(scores.values), scores.layout) if isinstance(scores, Ragged) else _softmax(scores)

    def predict(self, x: Any, tile: Any = None, out: Any = None, progress: Progress | None = None) -> Any:
        """The answer for every sample.

        Answers at positions (a class, or numbers) can be made tile by tile, so that neither the sample nor the
        network's activations have to fit in memory: see :func:`convnd.nn.predict.predict`. They are those of the whole
        sample: to the bit where convolutions are direct, else those of scores that agree to 1e-5. A normaliser by
        sample reads the sample twice before, for the statistics of all of it.

        Parameters
        ----------
        x : ndarray (N, *S, C), Ragged, or a list of arrays (*S_i, C)
            With a tile an array may be anything with a shape and slices that are arrays (an h5py dataset, a
            ``np.memmap``), of which a tile's part is read at a time; the axis of channels may be missing where there is
            one and samples come in a list. Integers are the file's stored numbers, as everywhere.
        tile : int or one int an axis, optional
            Positions of the answer made at a time.
        out : array, or a list of arrays for a list or a Ragged, optional
            Where answers at positions go, of their shapes: ndarrays, h5py datasets, or what slices can be assigned to.
        progress : callable, optional
            Called as ``progress(done, total)`` after each tile, in positions of the answers.

        Returns
        -------
        The class names (a list of N texts); for a class at every position the class numbers, an int64 array (N, *S) for
        an ndarray and else a list of arrays (*S_i); for numbers (N, K), or one output array a sample. ``out`` if given.

        Raises
        ------
        ArgumentError
            A tile for a network that looks at the whole sample (global pooling and the like): the message names the
            layer and the reason.
        ShapeError, DtypeError, DataError
            As a call does; and an ``out`` of another shape.

        Examples
        --------
        >>> import convnd as cn
        >>> net = cn.nn.Sequential(cn.nn.Conv(2, 5, padding="same")).build(ndim=2, channels=1)
        >>> config = {"data": {"ndim": 2, "channels": 1},
        ...           "objective": {"kind": "labels", "classes": ["no", "yes"], "outputs": 2}}
        >>> model = Model(net, Normaliser("sample"), config)
        >>> image = np.random.default_rng(0).normal(size=(90, 70, 1))
        >>> np.array_equal(model.predict([image], tile=32)[0], model.predict([image])[0])
        True
        """
        if tile is not None or out is not None or progress is not None:
            return tiling.predict(self, x, tile, out, progress)
        output = self(x)
        if self.kind == "class":
            best = (output.values if isinstance(output, Ragged) else output).argmax(axis=-1)
            return [self.classes[number] for number in best.reshape(-1).tolist()]
        if self.kind == "numbers":
            return output.values if isinstance(output, Ragged) else output
        if self.kind == "fields":
            return output.unpack() if isinstance(output, Ragged) else output
        if isinstance(output, Ragged):
            return [sample.argmax(axis=-1) for sample in output]
        return output.argmax(axis=-1)

    def _samples(self, x: Samples) -> Ragged:
        """Raw samples as one float32 batch, checked against the training's data."""
        if isinstance(x, np.ndarray):
            if x.ndim < 2:
                raise ShapeError(f"x must be an array (samples, *shape, channels). Received: shape {x.shape}")
            layout = Layout.dense(len(x), x.shape[1:-1])
            x = Ragged(x.reshape(layout.positions, x.shape[-1]), layout)
        elif not isinstance(x, Ragged):
            x = Ragged.pack(x)
        data = self.config["data"]
        if not len(x):
            raise ArgumentError("x must hold at least one sample. Received: none")
        if x.layout.ndim != data["ndim"] or x.values.shape[1] != data["channels"]:
            raise ShapeError(
                f"the model takes samples of {data['ndim']} axes and {data['channels']} channels. "
                f"Received: {x.layout.ndim} axes and {x.values.shape[1]} channels"
            )
        values = tiling.physical(x.values, data.get("scale"))
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            sample = int(np.searchsorted(x.layout.offsets, np.argmin(finite), side="right")) - 1
            raise DataError(f"sample {sample}: values must be finite, in float32. Received: NaN or infinity")
        return Ragged(values, x.layout)

    def _run(self, samples: Ragged, first: int, last: int) -> Ragged:
        x = samples[first:last]
        with renamed(lambda place: f"sample {first + place}", len(x)):
            output: Ragged = self.net(x if self.normaliser is None else self.normaliser.apply(x))
        return output

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes else self.kind
        return f"<Model: {what}, {sum(p.values.size for p in self.net.parameters()):,} parameters>"


def _cut(layout: Layout) -> list[tuple[int, int]]:
    """Runs of samples of at most PIECE positions, or of one sample."""
    cuts, first, offsets = [], 0, layout.offsets
    while first < len(layout):
        last = int(np.searchsorted(offsets, offsets[first] + PIECE, side="right")) - 1
        last = min(max(last, first + 1), len(layout))
        cuts.append((first, last))
        first = last
    return cuts


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
