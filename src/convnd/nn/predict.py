"""A network's results for samples of any size: block by block, from memory or a file to memory or a file.

:meth:`Layer.predict` is this module's :func:`predict`. How a block comes about stands in ``tiles`` (a network) and
``local`` (a layer); here is where samples come from and where results go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, ConvndError, DtypeError, ShapeError
from ..layout import Layout, Ragged
from ..tensor import Array, Tensor, check_dtype, no_grad
from ..window import per_axis
from .arguments import product
from .boxes import Box, lengths
from .layer import Layer, Place
from .spec import Spec
from .tiles import Tiles

RECEPTIVE = "receptive field"
Progress = Callable[[int, int], None]


def predict(
    net: Layer,
    x: Any,
    tile: Any = None,
    overlap: Any = RECEPTIVE,
    out: Any = None,
    progress: Progress | None = None,
) -> Any:
    """The results of a network in inference, tile by tile: for samples whose activations don't fit in memory.

    With ``overlap="receptive field"`` a tile is computed from exactly what it sees, with padding at the sample's true
    borders alone. The result is that of the whole: to the last bit where convolutions are direct ones
    (``algorithm="direct"``, or where "auto" takes that), else to 1e-5 (relative, root mean square, float32), since
    "auto" chooses by the size of what it gets. A sample no larger than the tile has the very bits of ``net(x)``. Memory
    is bounded by the tile and what it sees; input and output may be in files. What tiles see of one another is computed
    again for each of them, so take the largest tile that fits.

    Parameters
    ----------
    net : Layer
        A built one.
    x : ndarray (N, *S, C), Ragged, a list of samples, or one sample
        A sample is (*S, C), or (*S,) where there is one channel. It and a batch (N, *S, C) may be anything with a
        ``shape`` that slices give arrays of, such as an h5py dataset or a ``np.memmap``: it is read box by box, and
        what is read is cast to the network's dtype. Arrays in memory have that dtype already.
    tile : int or one int an axis, optional
        Positions of the RESULT computed at a time. None: each sample as a whole.
    overlap : "receptive field", or an int or one int an axis
        A number of the input's positions looked at around a tile, in place of all that it sees: quicker, and
        APPROXIMATE. What lies further counts as zeros.
    out : ndarray, h5py dataset or another array that slices are assigned to, optional
        Where the result goes, of its shape, floats; the axis of channels may be missing where there is one. For a list
        of samples it is a list. It can't be ``x``, which is read again at each tile's borders.
    progress : callable, optional
        Called as ``progress(done, total)`` after each tile, in positions of the result.

    Returns
    -------
    ``out`` if given, else an ndarray (N, *S', F) for a batch, (*S', F) for one sample, a list of these for a list, a
    Ragged for a Ragged.

    Raises
    ------
    ArgumentError
        With a tile, a network with a layer that needs the whole sample: global and proportional pooling, norms by a
        sample's statistics, flattening. The message names the layer and the reason.
    ShapeError, DtypeError
        If ``x`` doesn't fit the network, or ``out`` the result.

    Examples
    --------
    >>> from convnd import nn
    >>> net = nn.Sequential(nn.Conv(8, 3, padding="same"), nn.MaxPool(2), nn.Conv(2, 3)).build(ndim=3, channels=1)
    >>> volume = np.random.default_rng(0).normal(size=(40, 31, 20)).astype("float32")
    >>> scores = predict(net, volume, tile=8)
    >>> scores.shape, np.allclose(scores, net(volume[None, ..., None])[0], atol=1e-5)
    ((18, 13, 8, 2), True)

    From one HDF5 file to another, whatever the volume's size:

    >>> import h5py
    >>> with h5py.File("in.h5", "w") as source, h5py.File("out.h5", "w") as results:
    ...     source["volume"] = volume
    ...     scores = results.create_dataset("scores", (18, 13, 8, 2), "float32")
    ...     _ = net.predict(source["volume"], tile=8, out=scores)
    ...     np.allclose(scores[...], net(volume[None, ..., None])[0], atol=1e-5)
    True
    """
    _check(net, x, tile, overlap, out, progress)
    form, sources = _sources(x, _rank(net))
    if form in ("batch", "ragged") and (not sources or (tile is None and not sources[0].stored)):
        return _at_once(net, x, out, progress)
    specs = []
    for number, source in enumerate(sources):
        with _named(number, len(sources)):
            specs.append(_result(net, source.spec))
    dtypes = [_dtype(net, source) for source in sources]
    result, targets = _targets(form, x, specs, dtypes, out)
    total, done = sum(spec.positions for spec in specs), 0
    work = _Work(net, tile, overlap)
    for number, (source, spec, dtype, target) in enumerate(zip(sources, specs, dtypes, targets, strict=True)):
        with _named(number, len(sources)):
            for block, values in work.blocks(source, spec, dtype):
                target.write(block, values)
                done += product(lengths(block))
                if progress is not None:
                    progress(done, total)
    return result


class _Source(NamedTuple):
    """A sample that is read box by box: ``data[at]``, (*S, C) or (*S,)."""

    data: Any
    at: tuple[int, ...]
    spec: Spec
    bare: bool  # without an axis of channels
    stored: bool  # not an array in memory

    @classmethod
    def of(cls, data: Any, at: tuple[int, ...], bare: bool) -> _Source:
        shape = tuple(int(size) for size in data.shape[len(at) :])
        spec = Spec(len(shape), 1, shape) if bare else Spec(len(shape) - 1, shape[-1], shape[:-1])
        return cls(data, at, spec, bare, not isinstance(data, np.ndarray) or isinstance(data, np.memmap))

    def read(self, box: Box, dtype: np.dtype[Any]) -> Array:
        """A box of it, (1, *box, C)."""
        values = np.asarray(self.data[(*self.at, *(slice(start, stop) for start, stop in box))])
        if self.stored:
            if values.dtype.kind not in "biuf":
                raise DtypeError(f"x must hold real numbers. Received: dtype {values.dtype}")
            values = values.astype(dtype, copy=False)
        return values[None, ..., None] if self.bare else values[None]


class _Target(NamedTuple):
    """Where a sample's result goes."""

    data: Any
    at: tuple[int, ...]
    bare: bool

    def write(self, box: Box, values: Array) -> None:
        """A block of it, (1, *box, F)."""
        own = values[0, ..., 0] if self.bare else values[0]
        self.data[(*self.at, *(slice(start, stop) for start, stop in box))] = own


class _Work:
    """A network's blocks, sample by sample. Samples of one shape that follow one another share their plan."""

    def __init__(self, net: Layer, tile: Any, overlap: Any) -> None:
        self._net, self._tile, self._overlap = net, tile, overlap
        self._given: Spec | None = None

    def blocks(self, source: _Source, spec: Spec, dtype: np.dtype[Any]) -> Iterator[tuple[Box, Array]]:
        """Boxes of a sample's result, and their values (1, *box, F)."""
        whole = tuple((0, size) for size in spec.shape or ())
        tile = tuple(stop for _, stop in whole)
        if self._tile is not None:
            if self._given != source.spec:
                self._tiles, self._given = Tiles(self._net, source.spec), source.spec
            tile = per_axis(self._tile, spec.ndim, "tile")
        if all(step >= stop for step, (_, stop) in zip(tile, whole, strict=True)):
            yield whole, self._net(source.read(tuple((0, size) for size in source.spec.shape or ()), dtype))
            return
        overlap = None if self._overlap == RECEPTIVE else per_axis(self._overlap, spec.ndim, "overlap", least=0)
        for block in self._tiles.blocks(tile):
            with no_grad():
                values = self._tiles.run(block, lambda box: source.read(box, dtype), overlap)
            yield block, values


def _check(net: Layer, x: Any, tile: Any, overlap: Any, out: Any, progress: Any) -> None:
    if not net.built:
        raise ArgumentError(f"call build(ndim, channels) before predict(). Received: an unbuilt {net!r}")
    if isinstance(x, Tensor):
        raise ArgumentError(f"predict takes arrays and keeps no tape: call the network on a Tensor. Received: {x!r}")
    if isinstance(overlap, str) and overlap != RECEPTIVE:
        raise ArgumentError(f'overlap must be "{RECEPTIVE}", or positions. Received: overlap={overlap!r}')
    if tile is None and not isinstance(overlap, str):
        raise ArgumentError(f"overlap goes with a tile. Received: overlap={overlap!r}, tile=None")
    if isinstance(x, Ragged) and out is not None:
        raise ArgumentError(f"out goes with arrays: give x.unpack(), and a list. Received: out={type(out).__name__}")
    if progress is not None and not callable(progress):
        raise ArgumentError(f"progress must be a function (done, total). Received: progress={progress!r}")


def _rank(net: Layer) -> int | None:
    """Spatial axes of the samples that a network was built for; None where it takes any."""
    return net.input.ndim if net.input is not None and "ndim" in net.fixed else None


def _sources(x: Any, ndim: int | None) -> tuple[str, list[_Source]]:
    """The form of ``x``, and its samples."""
    if isinstance(x, Ragged):
        check_dtype(x.values, "x")
        return "ragged", [_Source.of(sample, (), bare=False) for sample in x]
    if isinstance(x, (list, tuple)):
        return "list", [_one(sample, f"x[{number}]", ndim) for number, sample in enumerate(x)]
    _check_array(x, "x")
    rank = len(x.shape)
    if ndim is not None and rank in (ndim, ndim + 1):
        return "one", [_one(x, "x", ndim)]
    if rank < 2 or rank != (rank if ndim is None else ndim + 2):
        raise ShapeError(
            f"x must be samples{'' if ndim is None else f' of {ndim} axes'}: (N, *S, C), (*S, C), or (*S,) where there "
            f"is one channel. Received: shape {tuple(x.shape)}"
        )
    return "batch", [_Source.of(x, (number,), bare=False) for number in range(x.shape[0])]


def _one(x: Any, name: str, ndim: int | None) -> _Source:
    """One sample, (*S, C) or (*S,)."""
    _check_array(x, name)
    rank = len(x.shape)
    if rank < 1 or (ndim is not None and rank not in (ndim, ndim + 1)):
        axes = "its axes" if ndim is None else f"{ndim} axes"
        raise ShapeError(f"{name} must be a sample of {axes}, (*S, C) or (*S,). Received: shape {tuple(x.shape)}")
    return _Source.of(x, (), bare=rank == ndim)


def _check_array(x: Any, name: str) -> None:
    if not hasattr(x, "shape") or not hasattr(x, "__getitem__"):
        raise ArgumentError(
            f"{name} must be an array, or have a shape and slices that are arrays. Received: {type(x).__name__}"
        )
    if isinstance(x, np.ndarray) and not isinstance(x, np.memmap):
        check_dtype(x, name)


def _result(net: Layer, given: Spec) -> Spec:
    """The network's result for a sample, which is checked against what its layers were built for."""
    places: list[Place] = []
    result = net.trace((given,), "", places)
    for place in places:
        if place.layer.input is not None:
            place.layer.check_input(place.inputs[0], place.layer.input, place.path)
    return result


def _dtype(net: Layer, source: _Source) -> np.dtype[Any]:
    """That of the parameters, or of what comes in."""
    for parameter in net.parameters():
        return parameter.dtype
    own = getattr(source.data, "dtype", None)
    return own if own in (np.float32, np.float64) else np.dtype(np.float32)


def _at_once(net: Layer, x: Any, out: Any, progress: Progress | None) -> Any:
    """A batch in memory as a whole."""
    result = net(x if isinstance(x, (np.ndarray, Ragged)) else np.zeros(x.shape, _dtype(net, _Source.of(x, (), False))))
    if out is not None:
        _check_out(out, result.shape, "out", x)
        out[...] = result if len(out.shape) == result.ndim else result[..., 0]
    if progress is not None:
        positions = len(result.values) if isinstance(result, Ragged) else product(result.shape[:-1])
        progress(positions, positions)
    return result if out is None else out


def _targets(form: str, x: Any, specs: Sequence[Spec], dtypes: Sequence[Any], out: Any) -> tuple[Any, list[_Target]]:
    """What is given back, and the place in it of each sample's result."""
    shapes = [(*(spec.shape or ()), spec.channels) for spec in specs]
    if form == "ragged":
        layout = Layout(np.array([shape[:-1] for shape in shapes], np.int64).reshape(len(shapes), -1))
        ragged = Ragged(np.empty((layout.positions, shapes[0][-1]), dtypes[0]), layout)
        return ragged, [_Target(own, (), False) for own in ragged]
    if form == "list":
        if out is not None and (not isinstance(out, (list, tuple)) or len(out) != len(x)):
            raise ArgumentError(f"out must be a list of {len(x)}, as x is. Received: {type(out).__name__}")
        given = [None] * len(x) if out is None else out
        pairs = [
            _target(x[number], shape, dtype, given[number], f"out[{number}]")
            for number, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
        ]
        return [target.data for target in pairs] if out is None else out, pairs
    many = (len(shapes),) if form == "batch" else ()
    target = _target(x, (*many, *shapes[0]), dtypes[0], out, "out")
    return target.data, [target._replace(at=(number,)) for number in range(len(shapes))] if many else [target]


def _target(x: Any, shape: tuple[int, ...], dtype: Any, out: Any, name: str) -> _Target:
    """A new array, or ``out`` if it fits."""
    if out is None:
        return _Target(np.empty(shape, dtype), (), False)
    _check_out(out, shape, name, x)
    return _Target(out, (), len(out.shape) < len(shape))


def _check_out(out: Any, shape: tuple[int, ...], name: str, x: Any) -> None:
    """Refuse what can't take the result."""
    if not hasattr(out, "shape") or not hasattr(out, "__setitem__"):
        raise ArgumentError(f"{name} must be an array that slices can be assigned to. Received: {type(out).__name__}")
    found = tuple(out.shape)
    if found != shape and (shape[-1] > 1 or found != shape[:-1]):
        raise ShapeError(f"{name} must have the result's shape {shape}. Received: shape {found}")
    dtype = getattr(out, "dtype", None)
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise DtypeError(f"{name} must hold floats, as the result does. Received: dtype {dtype}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ArgumentError(f"{name} must be writeable. Received: an array that isn't")
    if shared(x, out):
        raise ArgumentError(f"{name} must not be x, which is read again at the borders of tiles. Received: {out!r}")


def shared(x: Any, out: Any) -> bool:
    """Whether a result would be written to where its input is read."""
    if isinstance(x, np.ndarray) and isinstance(out, np.ndarray):
        return np.may_share_memory(x, out)
    own = getattr(x, "id", None)  # of an h5py dataset
    return x is out or (own is not None and own == getattr(out, "id", None))


@contextmanager
def _named(number: int, count: int) -> Iterator[None]:
    """Errors name a sample by its place among the others, though it goes through the network alone."""
    try:
        yield
    except ConvndError as error:
        if count == 1:
            raise
        raise type(error)(re.sub(r"\bsample 0\b", f"sample {number}", str(error))) from error
