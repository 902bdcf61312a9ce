"""Prepare recordings: waveforms of any length, of one sampling rate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .sources import (
    UNREADABLE,
    Failure,
    Item,
    Progress,
    Report,
    assign_splits,
    class_names,
    find_items,
    need,
    write_items,
)
from .writer import create

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".opus")
# Formats whose samples are int16 without loss.
SHORT = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW")
SCALE = 1 / 32768


def prepare_audio(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rate: int | None = None,
    mono: bool = True,
    label_from: str | os.PathLike[str] | None = "folder",
    pattern: str | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    by_group: bool = False,
    strict: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    origin: str | None = None,
    licence: str | None = None,
) -> Report:
    """Make a data file of the recordings in a folder.

    Waveforms keep their length. Where all sources have at most 16 bits, samples are stored as int16 and read
    as physical values in [-1, 1); otherwise as float32. Needs the extra ``audio``.

    Parameters
    ----------
    source : path
        Folder; WAV, FLAC, Ogg, MP3, AIFF and AU files in it and below are taken, sorted by name.
    rate : int, optional
        Sampling rate in Hz; other rates are resampled (soxr, "HQ"). Without it all must have the same.
    mono : bool
        Average the channels. Otherwise all files must have as many channels as the first.
    label_from : "folder", "name", a CSV file, or None
        Class of a recording: the name of the folder it lies in; the group ``label`` of ``pattern``; the column
        ``label`` of a manifest with the columns path (from ``source``), label, split, group; or none.
    pattern : str, optional
        Regular expression searched for in the path below ``source``; its groups ``label``, ``split`` and
        ``group`` are used, e.g. ``(?P<label>[0-9])_(?P<group>[a-z]+)_``.
    split : dict, optional
        Shares of splits beside "train", e.g. ``{"test": 0.2}``, drawn at random with ``seed``, the same share
        in every class; with ``by_group`` no group is torn apart. A split from pattern or manifest comes first.
    strict : bool
        Stop at the first file that can't be used, instead of reporting all of them at the end.
    resume : bool
        Continue where an interrupted preparation stopped.
    progress : callable, optional
        Called as ``progress(files done, files in all, name)``.
    origin, licence : str, optional
        Where the recordings come from, with the attribution due, and their licence: stored in the file.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Raises
    ------
    DataError
        No usable file; rates that differ without ``rate``; soundfile or soxr missing.
    """
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise ArgumentError(f"rate must be an int of at least 1 (Hz). Received: rate={rate!r}")
    folder = Path(source)
    found, failed = find_items(folder, SUFFIXES, label_from, pattern)
    items = assign_splits(found, split, seed, by_group)
    report = Report(Path(out), failed=failed)
    usable, headers = _read_headers(items, report, strict)
    recipe = _recipe(usable, headers, rate, mono)
    channels = 1 if mono else headers[0].channels
    classes = class_names(usable)
    with create(
        out,
        ndim=1,
        channels=channels,
        dtype=recipe["dtype"],
        target=None if classes is None else "class",
        classes=classes,
        axes=[{"name": "time", "spacing": 1 / recipe["rate"], "unit": "s"}],
        scale=recipe["scale"],
        source=origin,
        licence=licence,
        recipe=recipe,
        resume=resume,
    ) as writer:
        write_items(writer, usable, lambda item: _stored(item.path, recipe), report, strict, progress)
    return report


def _read_headers(items: list[Item], report: Report, strict: bool) -> tuple[list[Item], list[Any]]:
    """The files that can be opened, and their headers."""
    soundfile = need("soundfile", "audio")
    usable, headers = [], []
    for item in items:
        try:
            headers.append(soundfile.info(str(item.path)))
            usable.append(item)
        except UNREADABLE as error:
            if strict:
                raise DataError(f"{item.name}: {error}") from error
            report.failed.append(Failure(item.name, str(error)))
    if not usable:
        raise DataError(
            f"none of the {len(items)} files is audio. The first, {items[0].name}: {report.failed[-1].reason}"
        )
    return usable, headers


def _recipe(items: list[Item], headers: list[Any], rate: int | None, mono: bool) -> dict[str, Any]:
    """How these recordings, and new ones after them, become samples."""
    if rate is None:
        rate = headers[0].samplerate
        for item, header in zip(items, headers, strict=True):
            if header.samplerate != rate:
                raise DataError(
                    f"the recordings have different sampling rates: {items[0].name} has {rate} Hz, {item.name} has "
                    f"{header.samplerate} Hz. Give the one to resample to: rate={rate}"
                )
    short = all(header.subtype in SHORT for header in headers)
    return {
        "kind": "audio",
        "rate": rate,
        "mono": mono,
        "dtype": "int16" if short else "float32",
        "scale": SCALE if short else None,
    }


def _stored(path: Path, recipe: Mapping[str, Any]) -> NDArray[Any]:
    """A recording as stored, (time, channels) of the recipe's dtype."""
    wave, rate = need("soundfile", "audio").read(str(path), dtype=recipe["dtype"], always_2d=True)
    if rate == recipe["rate"] and (wave.shape[1] == 1 or not recipe["mono"]):
        exact: NDArray[Any] = wave
        return exact
    factor = 1 / SCALE if recipe["dtype"] == "int16" else 1.0
    wave = wave.astype(np.float32) / np.float32(factor)
    if recipe["mono"]:
        wave = wave.mean(axis=1, keepdims=True)
    if rate != recipe["rate"] and len(wave):
        wave = need("soxr", "audio").resample(wave, rate, recipe["rate"], quality="HQ").reshape(-1, wave.shape[1])
    if recipe["dtype"] == "int16":
        wave = np.rint(wave * np.float32(factor)).clip(-32768, 32767)
    made: NDArray[Any] = wave.astype(recipe["dtype"])
    return made


def load_audio(path: Path, recipe: Mapping[str, Any]) -> NDArray[np.float32]:
    """A recording as a trained network is to see it: the same numbers as if it had come from a data file."""
    try:
        stored = _stored(path, recipe)
    except UNREADABLE as error:
        raise DataError(f"{path}: {error}") from error
    scaled = stored if recipe["scale"] is None else stored * np.float64(recipe["scale"])
    return scaled.astype(np.float32)
