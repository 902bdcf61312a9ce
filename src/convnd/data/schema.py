"""The HDF5 schema "convnd 1": what a file holds, and the description that its attributes carry.

========================  ==========================================================================
``/values``               (P, C): all positions of all samples one after the other, the source's dtype
``/shapes``               (N, ndim) int64: the samples' spatial shapes
``/targets``              class numbers (N,) int64; or numbers (N, K) float64; or ragged (P', K)
``/target_shapes``        (N, axes) int64, with ragged targets only
``/splits/<name>``        sample numbers, int64, ascending
``/meta/<column>``        one entry a sample: name, group, weight, file, spacing, affine; those that were given
attributes of ``/``       schema, kind of target, class names, axes, scale, recipe, source, licence, ...
========================  ==========================================================================

Every dataset carries a Fletcher-32 checksum, and the file is written in HDF5's 1.10 format, whose
headers and indices (attributes among them) carry checksums of their own: no flipped bit is read as data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import h5py
import numpy as np

from ..errors import ArgumentError, DataError

FAMILY, VERSION = "convnd", 1
SCHEMA = f"{FAMILY} {VERSION}"
TARGETS = ("class", "numbers", "ragged", None)
META = ("name", "group", "weight", "file", "spacing", "affine")


@dataclass(frozen=True)
class Axis:
    """A spatial axis: its name, and the distance of neighbouring positions in ``unit``."""

    name: str
    spacing: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Info:
    """What a file says about itself.

    Attributes
    ----------
    schema : str
        ``"convnd 1"``.
    ndim, channels : int
        Spatial axes and channels of every sample.
    dtype : str
        Of the stored values (the source's own), e.g. ``"int16"``.
    target : "class", "numbers", "ragged" or None
        A class number a sample, K numbers a sample, or a ragged (P', K) with shapes of its own.
    target_dtype, target_channels, target_ndim : str or None, int, int
        Stored dtype, K, and spatial axes of the target (0 unless ragged).
    classes : tuple of str, or None
        Class names; class c is ``classes[c]``.
    ignore : int or None
        The label that stands for "no label".
    axes, channel_names : tuples
        Names, spacing and units where the source gave them, else empty.
    scale : float, tuple of float (one a channel) or None
        Physical value = stored value times scale.
    recipe : dict or None
        How inputs were prepared, so that new ones can be prepared the same way.
    source, licence : str or None
        Where the data come from, with the attribution due, and under which licence.
    """

    ndim: int
    channels: int
    dtype: str
    target: str | None
    target_dtype: str | None = None
    target_channels: int = 1
    target_ndim: int = 0
    classes: tuple[str, ...] | None = None
    ignore: int | None = None
    axes: tuple[Axis, ...] = ()
    channel_names: tuple[str, ...] = ()
    scale: float | tuple[float, ...] | None = None
    recipe: dict[str, Any] | None = None
    source: str | None = None
    licence: str | None = None
    schema: str = SCHEMA

    @property
    def labels(self) -> bool:
        """Whether targets are class numbers, of a sample or of its positions."""
        return self.target_dtype is not None and np.dtype(self.target_dtype).kind in "iu"

    @property
    def symbols(self) -> int | None:
        """Where values are whole numbers that stand for something (words): how many there are, from 0 up. Else None."""
        return (self.recipe or {}).get("symbols")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def of(cls, **given: Any) -> Info:
        """From arguments as users give them, each checked and normalised."""
        ndim = _whole("ndim", given["ndim"], 0)
        channels = _whole("channels", given["channels"], 1)
        target = given.get("target")
        if target not in TARGETS:
            raise ArgumentError(f'target must be "class", "numbers", "ragged" or None. Received: target={target!r}')
        classes = _names("classes", given.get("classes"))
        ignore = given.get("ignore")
        target_ndim = given.get("target_ndim")
        return cls(
            ndim=ndim,
            channels=channels,
            dtype=_dtype("dtype", given.get("dtype", "float32")),
            target=target,
            target_dtype=_target_dtype(target, given.get("target_dtype"), classes),
            target_channels=_whole("target_channels", given.get("target_channels", 1), 1),
            target_ndim=_whole("target_ndim", ndim if target_ndim is None else target_ndim, 0)
            if target == "ragged"
            else 0,
            classes=classes,
            ignore=None if ignore is None else _whole("ignore", ignore, None),
            axes=_axes(given.get("axes"), ndim),
            channel_names=_names("channel_names", given.get("channel_names"), channels) or (),
            scale=_scale(given.get("scale"), channels),
            recipe=_recipe(given.get("recipe")),
            source=_text("source", given.get("source")),
            licence=_text("licence", given.get("licence")),
        )


def _whole(name: str, value: Any, least: int | None) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or (least is not None and value < least):
        rule = "an int" if least is None else f"an int of at least {least}"
        raise ArgumentError(f"{name} must be {rule}. Received: {name}={value!r}")
    return int(value)


def _dtype(name: str, value: Any) -> str:
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise ArgumentError(f"{name} must be a NumPy dtype. Received: {name}={value!r}") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise ArgumentError(f"{name} must be an integer type, float32 or float64. Received: {name}={value!r}")
    return str(dtype.name)


def _target_dtype(target: str | None, given: Any, classes: tuple[str, ...] | None) -> str | None:
    fixed = {"class": "int64", "numbers": "float64", None: None}
    if target in fixed:
        if given is not None:
            raise ArgumentError(f'target_dtype goes with target="ragged" only. Received: target_dtype={given!r}')
        return fixed[target]
    if given is None:
        if classes is None:
            return "float32"
        return "uint8" if len(classes) <= 256 else "int32"
    return _dtype("target_dtype", given)


def _text(name: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and "\0" not in value):
        return value or None
    raise ArgumentError(f"{name} must be a text without NUL characters. Received: {name}={value!r}")


def _names(name: str, value: Any, count: int | None = None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise ArgumentError(f"{name} must be a list of texts. Received: {name}={value!r}")
    if not all(value) or any("\0" in item for item in value) or len(set(value)) != len(value) or not len(value):
        raise ArgumentError(f"{name} must be texts that differ, none empty. Received: {name}={value!r}")
    if count is not None and len(value) != count:
        raise ArgumentError(f"{name} must name all {count} of them. Received: {name}={value!r}")
    return tuple(value)


def _axes(value: Any, ndim: int) -> tuple[Axis, ...]:
    if value is None:
        return ()
    rule = 'axes must be one {"name": ..., "spacing": ..., "unit": ...} for each of the'
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or len(value) != ndim:
        raise ArgumentError(f"{rule} {ndim} axes. Received: axes={value!r}")
    try:
        axes = tuple(item if isinstance(item, Axis) else Axis(**item) for item in value)
        return tuple(Axis(a.name, None if a.spacing is None else float(a.spacing), a.unit or None) for a in axes)
    except (TypeError, ValueError):
        raise ArgumentError(f"{rule} {ndim} axes. Received: axes={value!r}") from None


def _scale(value: Any, channels: int) -> float | tuple[float, ...] | None:
    if value is None:
        return None
    scale = np.asarray(value)
    if (
        scale.dtype.kind not in "iuf"
        or scale.shape not in ((), (channels,))
        or not np.isfinite(scale).all()
        or not scale.all()
    ):
        raise ArgumentError(f"scale must be one finite number other than 0, or {channels}. Received: scale={value!r}")
    return float(scale) if scale.ndim == 0 else tuple(float(item) for item in scale)


def _recipe(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        plain = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"recipe must be plain JSON values ({error}). Received: recipe={value!r}") from None
    if not isinstance(plain, dict):
        raise ArgumentError(f"recipe must be a dict. Received: recipe={value!r}")
    return plain


def encode(text: str) -> bytes:
    """A text as the bytes stored; file names that aren't valid UTF-8 keep their bytes."""
    return text.encode("utf-8", "surrogateescape")


def decode(stored: bytes) -> str:
    """The text of stored bytes."""
    return bytes(stored).decode("utf-8", "surrogateescape")


def fixed_strings(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """Texts as fixed-length bytes: HDF5's variable-length strings carry no checksum."""
    encoded = [encode(text) for text in texts]
    return np.array(encoded, dtype=f"S{max(1, *(len(item) for item in encoded), 1)}")


def write_attributes(root: h5py.Group, info: Info) -> None:
    """The description as attributes of the root group; what is None is left out."""
    for key, value in asdict(info).items():
        if key == "axes":
            _write_axes(root, info.axes)
        elif isinstance(value, str):
            root.attrs[key] = np.bytes_(encode(value))
        elif isinstance(value, dict):
            root.attrs[key] = np.bytes_(json.dumps(value, sort_keys=True).encode())
        elif isinstance(value, tuple) and value:
            root.attrs[key] = fixed_strings(value) if isinstance(value[0], str) else np.asarray(value, dtype="<f8")
        elif isinstance(value, int):
            root.attrs.create(key, value, dtype="<i8")
        elif isinstance(value, float):
            root.attrs.create(key, value, dtype="<f8")


def _write_axes(root: h5py.Group, axes: tuple[Axis, ...]) -> None:
    if axes:
        root.attrs["axis_names"] = fixed_strings([axis.name for axis in axes])
        root.attrs["axis_units"] = fixed_strings([axis.unit or "" for axis in axes])
        root.attrs["axis_spacings"] = np.array(
            [math.nan if a.spacing is None else a.spacing for a in axes], dtype="<f8"
        )


def read_attributes(root: h5py.Group, path: Any) -> Info:
    """The description from the root's attributes; foreign and newer files are refused."""
    check_schema(root, path)
    stored = {key: root.attrs[key] for key in root.attrs}
    given: dict[str, Any] = {
        "ndim": int(stored["ndim"]),
        "channels": int(stored["channels"]),
        "dtype": decode(stored["dtype"]),
        "axes": _read_axes(stored),
    }
    for key in ("target", "target_dtype", "source", "licence", "schema"):
        given[key] = decode(stored[key]) if key in stored else None
    for key in ("target_channels", "target_ndim", "ignore"):
        given[key] = int(stored[key]) if key in stored else None
    for key in ("classes", "channel_names"):
        if key in stored:
            given[key] = tuple(decode(item) for item in stored[key])
    if "scale" in stored:
        scale = stored["scale"]
        given["scale"] = float(scale) if np.ndim(scale) == 0 else tuple(float(item) for item in scale)
    if "recipe" in stored:
        given["recipe"] = json.loads(decode(stored["recipe"]))
    return Info(**given)


def _read_axes(stored: dict[str, Any]) -> tuple[Axis, ...]:
    if "axis_names" not in stored:
        return ()
    rows = zip(stored["axis_names"], stored["axis_spacings"], stored["axis_units"], strict=True)
    return tuple(Axis(decode(n), None if math.isnan(s) else float(s), decode(u) or None) for n, s, u in rows)


def check_schema(root: h5py.Group, path: Any) -> None:
    """Refuse what isn't a convnd file, or was written by a later convnd."""
    text = root.attrs.get("schema")
    words = decode(text).split() if isinstance(text, bytes) else str(text).split()
    if len(words) != 2 or words[0] != FAMILY or not words[1].isdigit():
        raise DataError(
            f'{path}: an HDF5 file, but not one of convnd\'s (its attribute "schema" is {text!r}, not "{SCHEMA}"). '
            "Samples of others are read if you name what holds them: data.open(path, values=...), --values on the "
            "command line"
        )
    if int(words[1]) > VERSION:
        raise DataError(
            f'{path}: written in schema "{" ".join(words)}", newer than this convnd reads ("{SCHEMA}"): update convnd'
        )
