"""Videos: clips of any length and any size, grey or in colour."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, DataError
from ..sources import need
from .clips import Stamped, frames_at, frames_between, read_frames, read_header
from .items import Report
from .kind import LARGEST, Kind, Loaded, Look, Options, Plan, Recipe, check_claim, in_bytes
from .masks import SUFFIXES as MASKS
from .masks import read_masks
from .pipeline import Common, prepare_files

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".ogv", ".wmv", ".flv",
    ".3gp", ".gif",
)  # fmt: skip
COLOURS = {"rgb": ("red", "green", "blue"), "grey": ("grey",)}
FORMS = {"rgb": "rgb24", "grey": "gray"}
# The first room for frames; it doubles when it is full. Headers may claim what they like.
ROOM = 32 << 20


def prepare_video(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rate: float | None = None,
    size: int | tuple[int, int] | None = None,
    start: float = 0,
    stop: float | None = None,
    colour: str = "rgb",
    **common: Unpack[Common],
) -> Report:
    """Make a data file of the videos in a folder: samples (time, height, width, channels), uint8.

    Clips keep their length and their size; they read as values in [0, 1]. Sound is passed over. Needs the extra
    ``video``.

    Frames are turned as the file says they are to be shown (what phones write). Pixels are taken as square,
    interlaced frames as they are, transparency as opaque.

    Parameters
    ----------
    source : path
        Folder; MP4, MOV, MKV, WebM, AVI, MPEG, MPEG-TS, OGV, WMV, FLV, 3GP and GIF files in it and below are taken,
        sorted by name.
    rate : float, optional
        Frames a second: of the times 0, 1 / rate, ... the frame with the nearest time stamp, whatever the file's own
        rate is and whether it is constant. Without it every frame is kept; where the files' rates differ, each
        sample has its own spacing in time, the mean distance of its frames.
    size : int, or (int, int), optional
        The longest side, or height and width, are at most so many pixels: larger frames are made smaller (FFmpeg's
        scaler, "area"), with the same factor on both sides. Nothing is made larger.
    start, stop : float, optional
        The range of time to take of every clip, in seconds since its first frame: start <= t < stop.
    colour : "rgb" or "grey"
        Grey is one channel, the luma.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``labels_from``, ``classes``, ``label_values``, ``ignore``,
        ``split``, ``seed``, ``by_group``, ``workers``, ``strict``, ``resume``, ``progress``, ``looking``, ``largest``,
        ``origin``, ``licence``; see :func:`convnd.data.prepare.pipeline.prepare_files`. ``labels_from`` takes a mask
        for every frame of the file, as large as the frame is shown: a ``.npy`` or ``.npz`` array (time, height,
        width), a folder of PNG, TIFF, BMP, GIF or ``.npy`` masks in the order of their names (2 before 10), or a grey
        video in a coding that keeps numbers (FFV1, PNG, raw). Those of the frames that are taken are stored, reduced
        to the nearest pixel.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason). A file that ends earlier than its header
        says, or has a frame that can't be decoded whole, is a failure; formats without a header (GIF, MPEG-TS) don't
        show that they were cut.

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; PyAV missing.

    Examples
    --------
    >>> import av
    >>> for name in ("walk/a", "run/b"):
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     with av.open(name + ".mkv", "w") as file:
    ...         stream = file.add_stream("ffv1", rate=10)
    ...         stream.width, stream.height, stream.pix_fmt = 8, 6, "bgr0"
    ...         for _ in range(4):
    ...             file.mux(stream.encode(av.VideoFrame(8, 6, "bgr0")))
    ...         file.mux(stream.encode())
    >>> report = prepare_video(".", "clips.h5")
    >>> report.samples, report.failed
    (2, [])
    """
    if colour not in COLOURS:
        raise ArgumentError(f"colour must be {' or '.join(COLOURS)}. Received: colour={colour!r}")
    options: dict[str, Any] = {
        "rate": None if rate is None else _number("rate", rate, "frames a second"),
        "size": _check_size(size),
        "start": 0.0 if start == 0 else _number("start", start, "seconds"),
        "stop": None if stop is None else _number("stop", stop, "seconds"),
        "colour": colour,
    }
    if options["stop"] is not None and options["stop"] <= options["start"]:
        raise ArgumentError(f"stop must be later than start. Received: start={start!r}, stop={stop!r}")
    return prepare_files(KIND, source, out, options, **common)


def _number(name: str, value: Any, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ArgumentError(f"{name} must be a number above 0 ({unit}). Received: {name}={value!r}")
    return float(value)


def _check_size(size: Any) -> int | list[int] | None:
    sides = list(size) if isinstance(size, (tuple, list)) else [size]
    wrong = any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides)
    if size is not None and (wrong or (len(sides) != 2 and sides != [size])):
        raise ArgumentError(
            f"size must be an int of at least 1, the longest side, or two: height and width. Received: size={size!r}"
        )
    return sides if isinstance(size, (tuple, list)) else size


def look(path: Path, options: Options) -> Look:
    """The rate of the frames. What they would take in memory is refused if it is too much."""
    header = read_header(path, options)
    height, width = _fit(header.height, header.width, options["size"])
    seconds, rate = header.seconds or Fraction(0), _exact(options["rate"]) or header.rate or Fraction(0)
    if options["stop"] is not None:
        seconds = min(seconds, _exact(options["stop"]) or seconds)
    count = max(1, math.ceil((seconds - Fraction(options["start"])) * rate))
    check_claim((count, height, width, len(COLOURS[options["colour"]])), 1, options)
    return Look({"rate": None if header.rate is None else float(header.rate)})


def _exact(value: float | None) -> Fraction | None:
    """29.97 as people write it, not as it is in binary."""
    return None if value is None else Fraction(str(value))


def _fit(height: int, width: int, size: Any) -> tuple[int, int]:
    """The height and width within the limit."""
    if size is None:
        return height, width
    most = (size, size) if isinstance(size, int) else size
    factor = min(Fraction(1), Fraction(most[0], height), Fraction(most[1], width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """How these clips, and new ones after them, become samples."""
    rates = {look.facts["rate"] for look in looks}
    rate = options["rate"] or (rates.pop() if len(rates) == 1 else None)
    spacing = None if rate is None else 1 / rate
    names = COLOURS[options["colour"]]
    keys = ("rate", "size", "start", "stop", "colour")
    return Plan(
        recipe={**{key: options[key] for key in keys}, "spacing": spacing},
        ndim=3,
        channels=len(names),
        dtype="uint8",
        axes=[{"name": "time", "spacing": spacing, "unit": "s"}, {"name": "height"}, {"name": "width"}],
        channel_names=names,
        scale=1 / 255,
    )


def load(path: Path, recipe: Recipe) -> Iterator[Loaded]:
    """One sample: the frames (time, height, width, channels)."""
    shape = _Shape(recipe)
    frames = read_frames(path, recipe, _exact(recipe["start"]) or Fraction(0))
    values, distance = _gather(_chosen(frames, recipe), shape, recipe)
    if values is None:
        until = "its end" if recipe["stop"] is None else f"{recipe['stop']:g} s"
        raise DataError(f"it has no frames from {recipe['start']:g} s to {until}")
    if recipe.get("spacing") is not None:
        distance = None
    elif distance is None:
        own = read_header(path, recipe).rate
        distance = None if own is None else float(1 / own)
    yield Loaded(values, None if distance is None else [distance, 1.0, 1.0], {"path": path, "size": shape.shown})


def _chosen(frames: Iterator[Stamped], recipe: Recipe) -> Iterator[Stamped]:
    """Those of the recipe's rate and range."""
    start, stop = _exact(recipe["start"]) or Fraction(0), _exact(recipe["stop"])
    rate = _exact(recipe["rate"])
    return frames_between(frames, start, stop) if rate is None else frames_at(frames, rate, start, stop)


def _gather(
    frames: Iterator[Stamped], shape: _Shape, recipe: Mapping[str, Any]
) -> tuple[NDArray[np.uint8] | None, float | None]:
    """The frames in one array, and the mean distance of their times; None where there are none, or only one."""
    largest = int(recipe.get("largest", LARGEST))
    values: NDArray[np.uint8] | None = None
    count, times, last = 0, [Fraction(0), Fraction(0)], None
    for time, frame in frames:
        if frame is not last:
            pixels = shape(frame)
            last = frame
        if values is None:
            values = np.empty((max(1, ROOM // pixels.size), *pixels.shape), dtype=np.uint8)
            times[0] = time
        if (count + 1) * pixels.size > largest:
            raise DataError(
                f"it has more than {count} frames of {pixels.shape[0]} x {pixels.shape[1]}, and the most a sample may "
                f"take is {in_bytes(largest)}. Take a range of time or a smaller size, or raise the limit (largest=)"
            )
        if count == len(values):
            values.resize((2 * count, *pixels.shape), refcheck=False)
        values[count] = pixels
        count, times[1] = count + 1, time
    if values is None:
        return None, None
    values.resize((count, *values.shape[1:]), refcheck=False)
    return values, float((times[1] - times[0]) / (count - 1)) if count > 1 else None


class _Shape:
    """Frames to pixels (height, width, channels): upright, within the limit, all as large as the first.

    ``shown`` is the first one's height and width, upright and before the limit.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._size, self._form = recipe["size"], FORMS[recipe["colour"]]
        self._scaler = need("av.video.reformatter", "video").VideoReformatter()
        self._turns: int | None = None
        self._given: dict[str, int] = {}
        self.shown = (0, 0)

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        if self._turns is None:
            self._turns = round(frame.rotation / 90) % 4
            size = self._size
            if self._turns % 2 and isinstance(size, (tuple, list)):
                size = size[::-1]
            height, width = _fit(frame.height, frame.width, size)
            self.shown = (frame.width, frame.height) if self._turns % 2 else (frame.height, frame.width)
            self._given = {"width": width, "height": height}
        pixels = self._scaler.reformat(frame, format=self._form, interpolation="AREA", **self._given).to_ndarray()
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        turned: NDArray[np.uint8] = np.rot90(pixels, self._turns)
        return turned


def load_labels(path: Path, recipe: Recipe, loaded: Loaded) -> NDArray[Any]:
    """A class number for every pixel of every frame."""
    # The number of each frame in its file, by the way that the frames themselves went.
    times = [time for time, _ in read_frames(loaded.facts["path"], recipe, Fraction(0))]
    count = len(times) - 1
    stamps: list[Stamped] = [*zip(times, range(count), strict=False), (times[count], None)]
    numbers = [number for _, number in _chosen(iter(stamps), recipe)]
    return read_masks(path, recipe, count, numbers, loaded.facts["size"], loaded.values.shape[1:3])


KIND = Kind(
    name="video",
    suffixes=SUFFIXES,
    look=look,
    plan=plan,
    load=load,
    load_labels=load_labels,
    label_suffixes=MASKS,
    packages=(("av", "video"),),
)
