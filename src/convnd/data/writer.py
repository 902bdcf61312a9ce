"""Write a data file sample by sample; what was appended survives a kill, and the file appears whole."""

from __future__ import annotations

import os
from collections.abc import KeysView, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ShapeError
from .disk import put_in_place
from .filters import compression_name
from .finish import write_hdf5
from .pieces import Pieces
from .schema import Info


def create(
    path: str | os.PathLike[str],
    *,
    ndim: int,
    channels: int,
    dtype: Any = "float32",
    target: str | None = "class",
    classes: Sequence[str] | None = None,
    ignore: int | None = None,
    target_channels: int = 1,
    target_ndim: int | None = None,
    target_dtype: Any = None,
    axes: Sequence[Any] | None = None,
    channel_names: Sequence[str] | None = None,
    scale: float | Sequence[float] | None = None,
    source: str | None = None,
    licence: str | None = None,
    recipe: dict[str, Any] | None = None,
    compress: bool | str | None = False,
    resume: bool = False,
) -> Writer:
    """A writer of a new data file, to be used in a ``with`` statement.

    Samples go into checked pieces in the folder ``<path>.parts``; leaving the ``with`` statement makes the
    HDF5 file from them and puts it in place with one rename. Until then a file that was at ``path``
    stays as it is. When the ``with`` statement is left by an error, or the process is killed,
    the pieces stay: ``create`` again with the same arguments and ``resume=True``, skip the samples whose names
    are in ``writer.done``, append the others in the same order. The finished file has the same bytes as
    if nothing had happened. Memory: the sample at hand and a few MiB, plus names and shapes.

    Parameters
    ----------
    ndim, channels : int
        Spatial axes (0 is legal) and channels of every sample, (*S, C).
    dtype : NumPy dtype
        Of the values, the source's own: any integer type, float32 or float64.
    target : "class", "numbers", "ragged" or None
        A class number a sample; ``target_channels`` numbers a sample; or an array (*S', target_channels) of any
        size a sample, such as voxel labels.
    classes : list of str, optional
        Class names. Labels must lie in 0 ... len(classes) - 1.
    ignore : int, optional
        The label that stands for "no label": legal although outside the classes.
    target_ndim, target_dtype : optional
        Of ragged targets: axes (default ``ndim``); dtype (default uint8 with up to 256 classes, int32 with
        more, float32 without classes).
    axes : list of dicts, optional
        One ``{"name": "time", "spacing": 1 / 8000, "unit": "s"}`` an axis; spacing and unit may be left out.
    scale : float, or one a channel, optional
        Physical value = stored value times scale. Readers hand out the product as float32.
    recipe : dict, optional
        JSON-able: how the samples were prepared, so that new ones can be prepared the same way.
    compress : bool or str
        True or "gzip": for files that travel; reading is several times slower. "lzf" packs less and is faster; "blosc",
        "blosc2", "bitshuffle", "bzip2", "lz4" and "zstd" are those of the package hdf5plugin, which readers need too.
    resume : bool
        Continue an unfinished write; where there is none, begin.

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        An unfinished write of other settings, or one that ``resume`` wasn't given for.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tones.h5")
    >>> with create(path, ndim=1, channels=1, dtype="int16", classes=["low", "high"]) as writer:
    ...     writer.append(np.zeros((5, 1), "int16"), label="low", name="a")
    ...     writer.append(np.ones((8, 1), "int16"), label=1, split="test", name="b")
    >>> from convnd.data import open
    >>> with open(path) as file:
    ...     file.splits, file["test"].targets.tolist(), file["test"][0].values.shape
    (('test', 'train'), [1], (8, 1))
    """
    info = Info.of(
        ndim=ndim,
        channels=channels,
        dtype=dtype,
        target=target,
        classes=classes,
        ignore=ignore,
        target_channels=target_channels,
        target_ndim=target_ndim,
        target_dtype=target_dtype,
        axes=axes,
        channel_names=channel_names,
        scale=scale,
        source=source,
        licence=licence,
        recipe=recipe,
    )
    return Writer(Path(path), info, compression_name(compress), bool(resume))


class Writer:
    """Appends samples to a file that is being made. Made by :func:`create`."""

    def __init__(self, path: Path, info: Info, compress: str | None, resume: bool) -> None:
        if not path.parent.is_dir():
            raise DataError(f"{path}: there is no folder {path.parent} to write into")
        if path.is_dir():
            raise DataError(f"{path} is a folder. Received as the file to write")
        self.path = path
        self.info = info
        self._compress = compress
        self._pieces: Pieces | None = Pieces(
            path.with_name(path.name + ".parts"), info.to_dict() | {"compress": compress}, resume
        )

    @property
    def done(self) -> KeysView[str]:
        """Names of the samples that are in: a view that follows what is appended."""
        return self._open.names.keys()

    @property
    def _open(self) -> Pieces:
        if self._pieces is None:
            raise DataError(f"{self.path}: this writer is closed")
        return self._pieces

    def __len__(self) -> int:
        return len(self._open.names)

    def append(
        self,
        values: ArrayLike,
        *,
        label: int | str | None = None,
        target: ArrayLike | None = None,
        split: str | None = "train",
        name: str | None = None,
        group: str | None = None,
        weight: float | None = None,
        file: str | None = None,
        spacing: Sequence[float] | None = None,
        affine: ArrayLike | None = None,
    ) -> None:
        """Add one sample.

        Parameters
        ----------
        values : array (*S, C)
            At least one position, finite, of the file's dtype or one that converts to it without loss.
        label : int or str
            With ``target="class"``: the class number or name.
        target : array
            With ``target="numbers"``: (K,); with "ragged": (*S', K), or (*S',) where K is 1.
        split : str or None
            The split it belongs to.
        name : str, optional
            Unlike all others; by default the sample's number.
        group : str, optional
            What must not be torn apart by a division: a speaker, a patient.
        weight : float, optional
            At least 0; 1 where not given.
        file : str, optional
            Where it came from.
        spacing : ndim floats, optional
            Its own distance between neighbouring positions, where that differs from sample to sample.
        affine : (ndim + 1, ndim + 1) floats, optional
            Where it lies: the matrix that takes positions (counted from 0, and a 1) to places in the axes' unit.

        Raises
        ------
        ShapeError, DataError
            The message names the sample; nothing was written, and the writer goes on with the next.
        """
        pieces = self._open
        name = str(len(pieces.names)) if name is None else name
        who = f"sample {len(pieces.names)} ({name!r})"
        if name in pieces.names:
            raise DataError(f"{who}: a sample of that name is in already, and names must differ")
        array = _check_values(values, self.info, who)
        row: dict[str, Any] = {
            "name": _check_text("name", name, who),
            "shape": array.shape[:-1],
            "split": _check_split(split, who),
            "group": _check_text("group", group, who),
            "weight": _check_weight(weight, who),
            "file": _check_text("file", file, who),
            "spacing": _check_spacing(spacing, self.info.ndim, who),
            "affine": _check_affine(affine, self.info.ndim, who),
        }
        content = {"values": array}
        wanted = _check_target(label, target, self.info, who)
        if wanted is not None:
            content["targets"] = wanted
            row["target_shape"] = wanted.shape[:-1] if self.info.target == "ragged" else ()
        pieces.append(row, content)

    def flush(self) -> None:
        """Make all samples so far safe against a kill (also done every 16 MiB or 4096 samples)."""
        self._open.seal()

    def close(self) -> None:
        """Make the file and put it in place. On an error (a full disk) the pieces stay, to be continued."""
        if self._pieces is None:
            return
        pieces, self._pieces = self._pieces, None
        try:
            pieces.seal()
            if not pieces.names:
                pieces.remove()
                raise DataError(f"{self.path}: no samples were appended, so no file is made")
            temporary = pieces.folder / "finished.tmp"
            try:
                write_hdf5(temporary, self.info, pieces, self._compress)
                put_in_place(temporary, self.path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            pieces.remove()
        finally:
            pieces.release()

    def abandon(self) -> None:
        """Stop, and keep what was appended in its pieces, to be continued with ``resume=True``."""
        if self._pieces is not None:
            pieces, self._pieces = self._pieces, None
            try:
                pieces.seal()
                if not pieces.names:
                    pieces.remove()
            finally:
                pieces.release()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        # The error that ended the block is the one to report; what is sealed already stays.
        with suppress(OSError):
            self.abandon()


def _check_values(values: ArrayLike, info: Info, who: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != info.ndim + 1 or array.shape[-1] != info.channels:
        raise ShapeError(
            f"{who}: values must have {info.ndim} spatial axes and then {info.channels} channels. "
            f"Received: an array of shape {array.shape}"
        )
    if not array.size:
        raise DataError(f"{who}: a sample must have at least one position. Received: shape {array.shape}")
    return _check_numbers(array, info.dtype, "values", who)


def _check_numbers(array: NDArray[Any], dtype: str, what: str, who: str) -> NDArray[Any]:
    """The array in the stored dtype: no loss, no NaN, no infinity."""
    if array.dtype.kind not in "iuf" or not np.can_cast(array.dtype, dtype, "safe"):
        raise DataError(
            f"{who}: {what} must be {dtype}, or of a dtype that converts to it without loss. "
            f'Received: {array.dtype} (cast it with .astype("{dtype}"))'
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{who}: {what} must be finite. Received: {array[where]} at {where}")
    return np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))


def _check_target(label: Any, target: ArrayLike | None, info: Info, who: str) -> NDArray[Any] | None:
    """The target as stored, or None in a file without."""
    wanted = {"class": "label", "numbers": "target", "ragged": "target", None: "neither label nor target"}[info.target]
    given = [key for key, value in (("label", label), ("target", target)) if value is not None]
    if given != ([wanted] if info.target else []):
        raise DataError(
            f"{who}: in a file with target={info.target!r} a sample needs {wanted}. Received: {given or 'none'}"
        )
    if info.target is None:
        return None
    if info.target == "class":
        return np.array([_class_number(label, info, who)], dtype="<i8")
    array = np.asarray(target)
    if info.target == "numbers":
        if array.shape != (info.target_channels,):
            raise ShapeError(f"{who}: target must have shape {(info.target_channels,)}. Received: {array.shape}")
        return _check_numbers(array, "float64", "target", who)
    return _check_ragged(array, info, who)


def _check_ragged(array: NDArray[Any], info: Info, who: str) -> NDArray[Any]:
    if array.ndim == info.target_ndim and info.target_channels == 1:
        array = array[..., None]
    if array.ndim != info.target_ndim + 1 or array.shape[-1] != info.target_channels or not array.size:
        raise ShapeError(
            f"{who}: target must have {info.target_ndim} spatial axes, then {info.target_channels} channels, and "
            f"at least one position. Received: an array of shape {array.shape}"
        )
    if info.labels:
        check_labels(array, info, who)
        if array.dtype.kind in "iu":  # Checked against the classes; the container's width may be any.
            array = array.astype(info.target_dtype, copy=False) if _fits(array, str(info.target_dtype)) else array
    return _check_numbers(array, str(info.target_dtype), "target", who)


def _fits(array: NDArray[Any], dtype: str) -> bool:
    limits = np.iinfo(dtype)
    return bool(array.min() >= limits.min and array.max() <= limits.max)


def check_labels(labels: NDArray[Any], info: Info, who: str) -> None:
    """Labels are 0 ... classes - 1, or the one to ignore."""
    outside = labels < 0
    if info.classes is not None:
        outside |= labels >= len(info.classes)
    if info.ignore is not None:
        outside &= labels != info.ignore
    if outside.any():
        most = "" if info.classes is None else f" up to {len(info.classes) - 1}"
        extra = "" if info.ignore is None else f", or {info.ignore} (ignored)"
        raise DataError(
            f"{who}: labels must be 0{most or ' and up'}{extra}. Received: {labels[outside].reshape(-1)[0]}"
        )


def _class_number(label: Any, info: Info, who: str) -> int:
    if isinstance(label, str):
        if info.classes is None or label not in info.classes:
            raise DataError(f"{who}: label must be one of the classes {info.classes}. Received: {label!r}")
        return info.classes.index(label)
    if isinstance(label, (bool, np.bool_)) or not isinstance(label, (int, np.integer)):
        raise DataError(f"{who}: label must be a class number or name. Received: {label!r}")
    check_labels(np.asarray(label), info, who)
    return int(label)


def _check_text(what: str, value: Any, who: str) -> str | None:
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return value
    raise DataError(f"{who}: {what} must be a text, not empty and without NUL characters. Received: {value!r}")


def _check_split(split: Any, who: str) -> str | None:
    if split is not None and (not isinstance(split, str) or not split or "/" in split or "\0" in split or split == "."):
        raise DataError(f'{who}: split must be a name without "/", or None. Received: {split!r}')
    return split


def _check_weight(weight: Any, who: str) -> float | None:
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not 0 <= weight < np.inf:
        raise DataError(f"{who}: weight must be a finite number of at least 0. Received: {weight!r}")
    return float(weight)


def _check_spacing(spacing: Any, ndim: int, who: str) -> list[float] | None:
    if spacing is None:
        return None
    array = np.asarray(spacing)
    if array.shape != (ndim,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all() or (array <= 0).any():
        raise DataError(f"{who}: spacing must be {ndim} numbers above 0, one an axis. Received: {spacing!r}")
    return [float(item) for item in array]


def _check_affine(affine: Any, ndim: int, who: str) -> list[list[float]] | None:
    if affine is None:
        return None
    array = np.asarray(affine)
    last = [0.0] * ndim + [1.0]
    if array.shape != (ndim + 1,) * 2 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        array = np.zeros((1, 1))
    if array[-1].tolist() != last:
        raise DataError(f"{who}: affine must be a matrix {(ndim + 1,) * 2} that ends in {last}. Received: {affine!r}")
    return [[float(item) for item in row] for row in array]
