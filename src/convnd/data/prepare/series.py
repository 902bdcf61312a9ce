"""Time series: tables of numbers, NumPy arrays, the archives' ``.ts`` files, and BVH motion capture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from . import arrays, tables
from .bvh import bvh_header, read_bvh
from .items import Report
from .kind import Entry, Fault, Kind, Loaded, Look, Options, Plan, Recipe, check_claim, majority
from .pipeline import Common, prepare_files
from .timeseries import case_lines, parse_case, read_header
from .tracks import SUFFIXES as TRACKS
from .tracks import read_track

ARCHIVE, MOTION = ".ts", ".bvh"


def prepare_series(source: str | os.PathLike[str], out: str | os.PathLike[str], **common: Unpack[Common]) -> Report:
    """Make a data file of time series, each (time, channels) of its own length.

    Parameters
    ----------
    source : path
        A ``.ts`` file, or a folder of them (each a set of labelled cases; ``..._TRAIN.ts`` and ``..._TEST.ts``
        become those splits); other files beside them are passed over. Or a folder of files that hold one sample each:
        ``.csv``, ``.tsv``, ``.txt`` (a row a time, a column a channel, a first line of names or not), ``.npy``,
        ``.npz`` (the array ``values``, or the only one), ``.bvh`` (motion capture: a channel for each of a joint's,
        ``Hips.Xposition``, and the frame time as the time axis' spacing).
        Text becomes float32; arrays keep their dtype, or become one that holds all files' without loss.
        Files must have as many channels as most of them, and columns with names the same names.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``labels_from``, ``classes``, ``label_values``, ``ignore``,
        ``split``, ``seed``, ``by_group``, ``workers``, ``strict``, ``resume``, ``progress``, ``looking``, ``largest``,
        ``origin``, ``licence``; see :func:`convnd.data.prepare.pipeline.prepare_files`. ``.ts`` files bring their own
        labels (classes, or a number). ``labels_from`` takes label tracks, as for
        :func:`~convnd.data.prepare.audio.prepare_audio`.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Examples
    --------
    >>> for name, rows in {"wave/a.csv": "x,y\\n1,2\\n3,4\\n", "push/b.csv": "x,y\\n5,6\\n"}.items():
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     _ = Path(name).write_text(rows)
    >>> report = prepare_series(".", "gestures.h5")
    >>> report.samples, report.failed
    (2, [])
    """
    folder = Path(source)
    archives = folder.is_dir() and any(path.suffix.lower() == ARCHIVE for path in folder.iterdir())
    # What lies beside archives are their descriptions, and the same cases in other formats.
    kind = replace(KIND, suffixes=(ARCHIVE,)) if archives else KIND
    return prepare_files(kind, source, out, {}, **common)


def look(path: Path, options: Options) -> Look:
    """Channels, their names, dtype and spacing in time; of a ``.ts`` file its cases."""
    suffix = path.suffix.lower()
    if suffix == ARCHIVE:
        return _look_archive(path, options)
    if suffix == MOTION:
        motion = bvh_header(path, options)
        return _facts(len(motion.channels), "float32", motion.channels, motion.frame_time)
    if suffix in arrays.SUFFIXES:
        shape, dtype = arrays.array_header(path, options)
        _check_axes(shape)
        return _facts(shape[1] if len(shape) == 2 else 1, _stored_dtype(dtype))
    if suffix in tables.SUFFIXES:
        # It could be one line, whose cells take ten times its size.
        check_claim((path.stat().st_size,), 10, options)
        channels, names = tables.table_header(path)
        return _facts(channels, "float32", names)
    raise DataError(f"a series is read from {', '.join(KIND.suffixes)}")


def _facts(channels: int, dtype: str, names: Sequence[str] | None = None, spacing: float | None = None) -> Look:
    columns = None if names is None else tuple(names)
    return Look({"channels": channels, "dtype": dtype, "columns": columns, "spacing": spacing, "header": None})


def _look_archive(path: Path, options: Options) -> Look:
    """The cases with their labels; their numbers are not parsed."""
    header = read_header(path, options)
    ending = path.stem.rpartition("_")[2].lower()
    split = ending if ending in ("train", "test") else None
    entries = []
    channels = 0
    for number, (line, _, _) in enumerate(case_lines(path, options)):
        label = line.rpartition(":")[2].strip() if header.labelled else None
        channels = channels or line.count(":") + (0 if header.labelled else 1)
        entries.append(Entry(str(number), label, split))
    if not entries:
        raise DataError("there are no cases behind @data")
    facts = {**_facts(channels, "float32").facts, "header": (header.numbers, header.classes)}
    return Look(facts, tuple(entries))


def _check_axes(shape: Sequence[int]) -> None:
    if len(shape) not in (1, 2):
        raise DataError(
            f"a series must have one time axis and then channels. Received: an array of shape {tuple(shape)}"
        )


def _stored_dtype(dtype: np.dtype[Any]) -> str:
    """The dtype as a data file can hold it."""
    if dtype.kind == "b":
        return "uint8"
    if dtype.kind == "f":
        return "float32" if dtype.itemsize < 8 else "float64"
    return str(dtype.name)


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """One number of channels, one set of names, one dtype that holds all."""
    channels = majority(look.facts["channels"] for look in looks)
    refused = {
        look.name: f"it has {look.facts['channels']} channels, and most files have {channels}"
        for look in looks
        if look.facts["channels"] != channels
    }
    named = [look for look in looks if look.name not in refused and look.facts["columns"]]
    columns = majority(look.facts["columns"] for look in named) if named else None
    refused |= {
        look.name: _other_columns(look.facts["columns"], columns) for look in named if look.facts["columns"] != columns
    }
    headers = [look.facts["header"] for look in looks if look.facts["header"] and look.name not in refused]
    refused |= _refuse_targets(looks, headers)
    kept = [look.facts for look in looks if look.name not in refused]
    spacings = {facts["spacing"] for facts in kept}
    spacing = spacings.pop() if len(spacings) == 1 else None
    timed = spacing is not None or len(spacings) > 1
    dtype = np.result_type(*{facts["dtype"] for facts in kept}).name
    return Plan(
        recipe={"dtype": dtype, "columns": None if columns is None else list(columns), "spacing": spacing},
        ndim=1,
        channels=channels,
        dtype=dtype,
        axes=[{"name": "time", "spacing": spacing, "unit": "s"} if timed else {"name": "time"}],
        channel_names=columns,
        target="numbers" if headers and headers[0][0] else None,
        classes=_listed_classes(headers),
        refused=refused,
    )


def _other_columns(found: Sequence[str], wanted: Sequence[str] | None) -> str:
    place = next(index for index, pair in enumerate(zip(found, wanted or (), strict=True)) if pair[0] != pair[1])
    return f"its column {place + 1} is named {found[place]!r}, in most files {(wanted or ())[place]!r}"


def _refuse_targets(looks: Sequence[Look], headers: Sequence[tuple[bool, Any]]) -> dict[str, str]:
    """Archives with numbers to predict where the first has classes, or the other way round."""
    if not headers:
        return {}
    numbers = headers[0][0]
    what = {True: "numbers to predict", False: "classes or nothing"}
    return {
        look.name: f"its cases have {what[not numbers]}, and those of the first file {what[numbers]}"
        for look in looks
        if look.facts["header"] and look.facts["header"][0] != numbers
    }


def _listed_classes(headers: Sequence[tuple[bool, Any]]) -> list[str] | None:
    """All classes that the archives list, in their order; None if they list none."""
    listed = dict.fromkeys(name for _, classes in headers for name in classes or ())
    return list(listed) or None


def load(path: Path, recipe: Recipe) -> Iterator[Loaded | Fault]:
    """The sample in a file, or the cases of a ``.ts`` file."""
    suffix = path.suffix.lower()
    if suffix == ARCHIVE:
        yield from _load_archive(path, recipe)
        return
    spacing = None
    if suffix == MOTION:
        read, motion = read_bvh(path, recipe)
        values: NDArray[Any] = read
        names: Sequence[str] | None = motion.channels
        spacing = motion.frame_time
    elif suffix in arrays.SUFFIXES:
        values, names = arrays.load_array(path, recipe), None
    elif suffix in tables.SUFFIXES:
        check_claim((path.stat().st_size,), 10, recipe)
        values, names = tables.read_table(path)
    else:
        raise DataError(f"a series is read from {', '.join(KIND.suffixes)}")
    _check_axes(values.shape)
    columns = recipe.get("columns")
    if columns is not None and names is not None and list(names) != columns and len(names) == len(columns):
        raise DataError(_other_columns(names, columns))
    own = [spacing] if spacing is not None and recipe.get("spacing") is None else None
    yield Loaded(_fitted(values, recipe), own, {"spacing": spacing})


def _fitted(values: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    """Of the recipe's dtype, where that holds it without loss; (time, channels)."""
    dtype = np.dtype(recipe.get("dtype", "float32"))
    stored = values.astype(_stored_dtype(values.dtype), copy=False)
    stored = stored.astype(dtype, copy=False) if np.can_cast(stored.dtype, dtype, "safe") else stored
    return stored[:, None] if stored.ndim == 1 else stored


def _load_archive(path: Path, recipe: Recipe) -> Iterator[Loaded | Fault]:
    for number, (line, header, where) in enumerate(case_lines(path, recipe)):
        try:
            values, _ = parse_case(line, header, where)
        except DataError as error:
            yield Fault(str(error))
        else:
            yield Loaded(values.astype(np.float32), key=str(number))


def load_labels(path: Path, recipe: Recipe, loaded: Loaded) -> NDArray[Any]:
    """A class number for every time."""
    count, spacing = len(loaded.values), loaded.facts["spacing"]
    times = None if spacing is None else np.arange(count) * spacing
    return read_track(path, recipe, times, (count,))


KIND = Kind(
    name="series",
    suffixes=(*tables.SUFFIXES, *arrays.SUFFIXES, ARCHIVE, MOTION),
    look=look,
    plan=plan,
    load=load,
    load_labels=load_labels,
    label_suffixes=TRACKS,
    labelled=(ARCHIVE,),
)
