"""``convnd predict --tile`` and ``--out``: results at positions, from files to files, in memory bounded by the tile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .prepare import Bar

if TYPE_CHECKING:
    from ..data import Collection
    from ..train import Model

HDF5 = (".h5", ".hdf5")


def read_tile(ctx: click.Context, parameter: click.Parameter, text: str | None) -> int | tuple[int, ...] | None:
    """One number, or one an axis."""
    if text is None:
        return None
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise click.BadParameter(f"must be whole numbers above 0, with commas between them. Received: {text}")
    return sizes[0] if len(sizes) == 1 else sizes


def check_options(model: Model, tile: Any, out: Path | None) -> None:
    """What can be said before any file is read."""
    ndim = model.config["data"]["ndim"]
    if isinstance(tile, tuple) and len(tile) != ndim:
        raise click.BadParameter(
            f"must be one number, or one for each of the data's {ndim} axes. Received: {len(tile)}",
            param_hint="--tile",
        )
    if out is not None and tile is None and model.kind not in ("labels", "fields"):
        raise click.UsageError("--out is for results at positions, and this network gives one a sample; see --json")
    if out is not None and out.suffix.lower() not in (*HDF5, ".npy"):
        raise click.BadParameter(f"must end in .h5, .hdf5 or .npy. Received: {out}", param_hint="--out")


def collection(path: Path, model: Model, how: dict[str, Any]) -> Collection | None:
    """A data file, or what others made; None for a file that is prepared as the training's were."""
    from ..data import open as open_file

    if path.suffix.lower() in HDF5:
        return open_file(path, **how, **({"ndim": model.config["data"]["ndim"]} if "values" in how else {}))
    if path.is_dir() and model.config["data"]["recipe"] is None:
        return open_file(path, **how, ndim=model.config["data"]["ndim"])
    if how:
        raise ArgumentError(f"--{next(iter(how))} goes with files that others made: HDF5, or a folder of .npy files")
    return None


def with_channels(values: NDArray[Any], model: Model) -> NDArray[Any]:
    """An array (*S) of one channel as (*S, 1); others as they are."""
    data = model.config["data"]
    return values[..., None] if data["channels"] == 1 and values.ndim == data["ndim"] else values


def samples(path: Path, split: str | None, model: Model, **how: Any) -> Iterator[tuple[str, Any]]:
    """The samples in a file, each with its name; those of data files and .npy files stay on the disk."""
    from ..data import File, load_inputs
    from ..data.batch import read_values
    from ..data.prepare.inputs import stored_input
    from ..data.rows import Rows

    file = collection(path, model, how)
    if file is not None:
        with file:
            for number in (range(len(file)) if split is None else file[split].numbers.tolist()):
                name = file.meta["name"][number] if "name" in file.meta else ""
                yield str(name or number), Rows(file, number) if isinstance(file, File) else read_values(file, number)
        return
    array = stored_input(path, model.config["data"]["recipe"])
    if array is None:
        for name, values in load_inputs(path, model.config["data"]["recipe"]):
            yield name, with_channels(values, model)
    else:
        yield path.name, Floats(with_channels(array, model))


class Floats:
    """Physical values in an array on the disk, float32."""

    def __init__(self, data: NDArray[Any]) -> None:
        self._data, self.shape = data, data.shape

    def __getitem__(self, box: Any) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # what isn't finite is refused with the sample's name
            return np.asarray(self._data[box]).astype(np.float32)


class Answer:
    """A sample's answer as it comes: counted, and written where it is kept."""

    def __init__(self, shape: tuple[int, ...], classes: int, target: Any) -> None:
        self.shape, self.counts, self._target = shape, np.zeros(classes, np.int64), target

    def __setitem__(self, box: tuple[slice, ...], values: NDArray[Any]) -> None:
        if len(self.counts):
            self.counts += np.bincount(values.reshape(-1), minlength=len(self.counts))
        if self._target is not None:
            self._target[box] = values


def answer(
    model: Model, raw: Any, tile: Any, kept: Kept, facts: dict[str, Any], stem: str, quiet: bool
) -> dict[str, Any]:
    """What the model says at a sample's positions, JSON-able; the positions themselves go to ``kept``."""
    from ..train.tiling import result_shape

    shape = result_shape(model, raw)
    dtype = np.min_scalar_type(len(model.classes)) if model.kind == "labels" else np.dtype(np.float32)
    bar = None if quiet else Bar("predicting", "positions")
    found: dict[str, Any] = {"shape": list(shape)}
    try:
        with kept.place(facts, stem, shape, dtype) as (target, path):
            result = Answer(shape, len(model.classes) if model.kind == "labels" else 0, target)
            shown = None if bar is None else lambda done, total: bar(done, total, stem)
            model.predict([raw], tile=tile, out=[result], progress=shown)
    finally:
        if bar is not None:
            bar.close()
    if model.kind == "labels":
        found["positions"] = {name: int(n) for name, n in zip(model.classes, result.counts, strict=True)}
    return found if path is None else found | {"saved": str(path)}


class Kept:
    """Where results at positions go: one file ``out``, or a file a sample in the folder ``save``, or nowhere.

    What isn't complete never bears its file's name.
    """

    def __init__(self, model: Model, out: Path | None, save: Path | None) -> None:
        self._model, self._out, self._save = model, out, save
        self._hdf5: Any = None
        self._full = False

    def __enter__(self) -> Kept:
        if self._out is not None and self._out.suffix.lower() in HDF5:
            import h5py

            self._hdf5 = h5py.File(_part(self._out), "w")
            self._hdf5.attrs["classes"] = self._model.classes
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._hdf5 is None or self._out is None:
            return
        found = len(self._hdf5)
        self._hdf5.close()
        if kind is None and found:
            os.replace(_part(self._out), self._out)
        else:
            _part(self._out).unlink()

    @contextmanager
    def place(
        self, facts: dict[str, Any], stem: str, shape: tuple[int, ...], dtype: Any
    ) -> Iterator[tuple[Any, Path | None]]:
        """An array for one result, and the file that it will be in; nothing of it stays if it fails."""
        if self._hdf5 is not None:
            name = str(len(self._hdf5))
            data = self._hdf5.create_dataset(name, shape, dtype, chunks=True, fletcher32=True)
            data.attrs.update(facts)
            try:
                yield data, self._out
            except BaseException:
                del self._hdf5[name]
                raise
            return
        path = self._out if self._out is not None else None if self._save is None else self._save / f"{stem}.npy"
        if path is None:
            yield None, None
            return
        if self._out is not None and self._full:
            raise click.UsageError(f"{self._out} can hold one result: give --out FILE.h5, or --save FOLDER")
        part = _part(path)
        array = np.lib.format.open_memmap(part, "w+", dtype, shape)
        try:
            yield array, path
            array.flush()
        except BaseException:
            part.unlink()
            raise
        os.replace(part, path)
        self._full = True


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
