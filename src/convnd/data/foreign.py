"""Other people's files, read as they are: samples in arrays of their own, and labels beside them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError, ShapeError
from ..layout import Ints, Layout
from .arrays import Arrays, GroupArrays, NpyArrays, VlenArrays
from .collection import Collection, Run
from .handle import DAMAGE, Handle
from .labels import Labels, labels_of
from .schema import Info
from .vlen import Entries, vlen_dtype

SCHEMA = "foreign"


class Foreign(Collection):
    """Samples that lie in arrays of their own, in files that others made. Made by ``open``.

    Such files carry no checksums, unless their maker asked for them: what can't be read is an error that names the
    sample, and a change that leaves them readable isn't noticed.
    """

    def __init__(
        self, path: Path, values: Arrays, labels: Labels | Arrays | None, *, how: dict[str, Any], ndim: int | None,
        classes: Sequence[str] | None, scale: Any, handle: Handle | None = None, meta: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if not len(values):
            raise DataError(f"{values.where} holds no samples")
        self.path, self.how, self.values = path, how, values
        self._handle, self._meta = handle, meta or {}
        shapes, ndim, channels = _positions(values, ndim)
        self.layout = Layout(shapes)
        empty = np.flatnonzero(self.layout.sizes == 0)
        if len(empty):
            raise DataError(f"{values.who(int(empty[0]))}: a sample must have at least one position")
        self._maps: Arrays | None = None
        target: dict[str, Any] = {"target": None}
        self._targets: NDArray[Any] | None = None
        if isinstance(labels, Arrays):
            self._maps = labels
            self._target_shapes, target = _maps(labels, ndim, self.layout)
        elif labels is not None:
            self._targets, target = labels.targets, {"target": labels.kind, "target_channels": labels.channels}
            classes = labels.classes if classes is None else classes
        self.info: Info = replace(
            Info.of(ndim=ndim, channels=channels, dtype=_stored(values.dtype), classes=classes, scale=scale, **target),
            schema=SCHEMA,
        )
        names = self._meta.get("split")
        self.splits = ("train",) if names is None else tuple(sorted(set(names)))

    def files(self) -> list[Path]:
        return self.values.paths if isinstance(self.values, NpyArrays) else [self.path]

    @property
    def identity(self) -> str:
        return f"{self.path.resolve()}:{self.values.where}"

    @cached_property
    def target_layout(self) -> Layout:
        """Shapes of the ragged targets."""
        return Layout(self._target_shapes)

    @cached_property
    def targets(self) -> NDArray[Any] | None:
        """Class numbers (N,) int64, or numbers (N, K) float64; None where there are none or they are ragged."""
        return self._targets

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Names, and what a table of labels says of group and weight."""
        columns = {key: column for key, column in self._meta.items() if key in ("group", "weight")}
        return {"name": np.array(self.values.names, dtype=object)} | columns

    def split_numbers(self, name: str) -> Ints:
        names = self._meta.get("split")
        if names is None:
            return np.arange(len(self), dtype=np.int64)
        return np.flatnonzero(names == name).astype(np.int64)

    def read_stored(self, first: int, last: int, out: NDArray[Any]) -> None:
        self._read(self.values, self.layout, first, last, out)

    def read_runs(self, runs: Sequence[Run]) -> None:
        with self._handle.lock if self._handle is not None else nullcontext():
            super().read_runs(runs)

    def read_targets(self, first: int, last: int, out: NDArray[Any]) -> None:
        assert self._maps is not None
        self._read(self._maps, self.target_layout, first, last, out)

    def _read(self, arrays: Arrays, layout: Layout, first: int, last: int, out: NDArray[Any]) -> None:
        start = int(layout.offsets[first])
        for number in range(first, last + 1):
            rows = out[int(layout.offsets[number]) - start : int(layout.offsets[number + 1]) - start]
            try:
                array = arrays.read(number)
                if array.size != rows.size:
                    raise DataError(f"it has changed: it held {arrays.shapes[number]}, now {array.shape}")
                rows[...] = array.reshape(rows.shape)
            except DAMAGE as error:
                raise DataError(f"{self.path}: {self.who(number)} can't be read ({error})") from error

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.path, self.how)

    def __repr__(self) -> str:
        return f"<{len(self)} samples of others in {self.values.where!r}, splits {', '.join(self.splits)}>"


def _again(path: Path, how: dict[str, Any]) -> Foreign:
    return open_foreign(path, **how)


def open_foreign(
    path: Path, *, values: str | None = None, labels: Any = None, shapes: str | None = None, ndim: int | None = None,
    classes: Sequence[str] | None = None, scale: Any = None,
) -> Foreign:  # fmt: skip
    """Other people's files as ``open`` is given them."""
    how = {"values": values, "labels": labels, "shapes": shapes, "ndim": ndim, "classes": classes, "scale": scale}
    common = {"how": how, "ndim": ndim, "classes": classes, "scale": scale}
    if path.is_dir():
        if values is not None or shapes is not None:
            raise ArgumentError(f"values and shapes name datasets of an HDF5 file. Received: the folder {path}")
        return _open_folder(path, labels, common)
    if values is None:
        raise ArgumentError(f"values must name the group or the dataset of {path} that holds the samples")
    handle = Handle(path)
    try:
        return _open_hdf5(handle, values, labels, shapes, common)
    except BaseException:
        handle.close()
        raise


def _open_hdf5(handle: Handle, values: str, labels: Any, shapes: str | None, common: dict[str, Any]) -> Foreign:
    arrays = _arrays(handle, values, shapes)
    return Foreign(handle.path, arrays, _labels(handle, arrays, labels, common["classes"]), handle=handle, **common)


def _arrays(handle: Handle, name: str, shapes: str | None) -> Arrays:
    found = _find(handle, name)
    if isinstance(found, h5py.Group):
        if shapes is not None:
            raise ArgumentError(f"shapes goes with a dataset of variable length. Received: the group /{name}")
        return GroupArrays(handle, name)
    table = None
    if shapes is not None:
        _find(handle, shapes)
        with handle.reading(f"/{shapes}"):
            table = handle.read(shapes)
        if table.ndim != 2 or table.dtype.kind not in "iu" or (table < 0).any():
            raise DataError(
                f"{handle.path}: /{shapes} must hold a shape for each sample, whole numbers (samples, axes). Received: "
                f"{table.dtype} of shape {table.shape}"
            )
    return VlenArrays(handle, name, table)


def _labels(handle: Handle, arrays: Arrays, labels: Any, classes: Sequence[str] | None) -> Labels | Arrays | None:
    if labels is None:
        return None
    if not isinstance(labels, str):
        return labels_of(labels, arrays, classes)
    if labels.startswith("@"):
        if not isinstance(arrays, GroupArrays):
            raise ArgumentError(f"an attribute labels the datasets of a group. Received: labels={labels!r}")
        return labels_of(arrays.attribute(labels[1:]), arrays, classes)
    found = _find(handle, labels)
    if isinstance(found, h5py.Group):
        with handle.reading(f"/{labels}"):
            present = [found[name] for name in arrays.names if name in found]
            scalars = [one[()] for one in present if isinstance(one, h5py.Dataset) and one.shape == ()]
        if scalars and len(scalars) == len(arrays):
            return labels_of(scalars, arrays, classes)
        return GroupArrays(handle, labels, arrays.names)
    with handle.reading(f"/{labels}"):
        base = vlen_dtype(found)
        if base is None:
            return labels_of(handle.read(labels), arrays, classes)
        if base.kind == "S":
            return labels_of(Entries(handle, labels).texts(), arrays, classes)
    return VlenArrays(handle, labels)


def _find(handle: Handle, name: str) -> Any:
    with handle.reading(f"/{name}"):
        if not isinstance(name, str) or name.strip("/") == "" or name not in handle.root:
            known = ", ".join(handle.root.keys()) or "nothing"
            raise DataError(f"{handle.path} has no {name!r}. It holds: {known}")
        return handle.root[name]


def _open_folder(path: Path, labels: Any, common: dict[str, Any]) -> Foreign:
    """.npy files below a folder. The files are found, and tables of labels read, as ``prepare`` does."""
    from .prepare.find import find_items
    from .prepare.kind import Kind

    kind = Kind("npy", (".npy",), _unused, _unused, _unused, load_labels=_unused, label_suffixes=(".npy",))
    text = None if labels is None else str(labels)
    table = text is not None and text != "folder" and (Path(text).is_file() or (path / text).is_file())
    maps = text is not None and text != "folder" and not table
    label_from = None if text is None or maps else text
    if table and not Path(str(text)).is_file():
        label_from = str(path / str(text))
    items, failed = find_items(path, kind, label_from, None, labels_from=text if maps else None)
    if failed:
        raise DataError(f"{path}: {failed[0].path}: {failed[0].reason}")
    arrays = NpyArrays(path, [item.path for item in items], [item.name for item in items])
    found: Labels | Arrays | None = None
    if all(item.labels is not None for item in items):
        found = NpyArrays(path, [Path(str(item.labels)) for item in items], arrays.names)
    elif all(item.label is not None for item in items):
        found = labels_of([item.label for item in items], arrays, common["classes"])
    meta: dict[str, Any] = {}
    if any(item.split is not None for item in items):
        meta["split"] = np.array([item.split or "train" for item in items], dtype=object)
    if any(item.group is not None for item in items):
        meta["group"] = np.array([item.group or "" for item in items], dtype=object)
    if any(item.weight is not None for item in items):
        meta["weight"] = np.array([1.0 if item.weight is None else item.weight for item in items])
    return Foreign(path, arrays, found, meta=meta, **common)


def _unused(*given: Any) -> Any:
    raise AssertionError("these files are found as prepare finds them, and read here")


def _stored(dtype: np.dtype[Any]) -> str:
    """The dtype that values are kept in on their way: one that files have, without loss."""
    if dtype.kind == "b":
        return "uint8"
    return "float32" if dtype == np.float16 else str(dtype.name)


def _positions(values: Arrays, ndim: int | None) -> tuple[Ints, int, int]:
    """(shapes (N, ndim), ndim, channels) of arrays, each (*S) of one channel or (*S, C)."""
    rank = len(values.shapes[0])
    for number, shape in enumerate(values.shapes):
        if len(shape) != rank:
            raise ShapeError(
                f"{values.who(number)}: all samples must have {rank} axes, as {values.names[0]} has. "
                f"Received: shape {shape}"
            )
    if ndim is None and rank == 1:
        ndim = 1
    if ndim is None or rank - ndim not in (0, 1):
        raise ArgumentError(
            f"ndim must say how many of the {rank} axes of a sample are spatial: {rank} of one channel, or {rank - 1} "
            f"and the last one is its channels. Received: ndim={ndim!r}"
        )
    shapes: Ints = np.array([shape[:ndim] for shape in values.shapes], dtype=np.int64).reshape(len(values), ndim)
    channels = {shape[ndim:] for shape in values.shapes}
    if len(channels) > 1:
        number = next(n for n, shape in enumerate(values.shapes) if shape[ndim:] != values.shapes[0][ndim:])
        raise ShapeError(
            f"{values.who(number)}: all samples must have {values.shapes[0][-1]} channels (the last axis), as "
            f"{values.names[0]} has. Received: shape {values.shapes[number]}"
        )
    return shapes, ndim, channels.pop()[0] if rank > ndim else 1


def _maps(labels: Arrays, ndim: int, layout: Layout) -> tuple[Ints, dict[str, Any]]:
    """Shapes of labels that are arrays, and what they are: labels (whole numbers) or numbers."""
    if len(labels) != len(layout):
        raise DataError(f"{labels.where} must hold {len(layout)} arrays, one a sample. Received: {len(labels)}")
    if len(labels.shapes[0]) <= ndim:  # (*S'), of one channel; also a series of labels for a sample of more axes
        shapes, axes, channels = _positions(labels, len(labels.shapes[0]))
    else:
        shapes, axes, channels = _positions(labels, ndim)
    dtype = _stored(labels.dtype)
    return shapes, {"target": "ragged", "target_ndim": axes, "target_channels": channels, "target_dtype": dtype}
