"""Masks of videos: a class number for every pixel of every frame, from an array, a folder of images, or a video."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..sources import need
from . import arrays, images
from .clips import read_frames, read_header
from .items import ending_of
from .walk import refuse_link

# The last is that of a folder.
SUFFIXES = (".npy", ".npz", ".mkv", ".avi", ".mov", ".mp4", "")
# Codings that keep numbers. Others round them, and between grey of 8 bits and YUV numbers are scaled.
EXACT = ("ffv1", "png", "apng", "rawvideo", "qtrle", "huffyuv", "ffvhuff", "utvideo")
Numbered = Iterator[tuple[int, NDArray[Any]]]


def read_masks(
    path: Path, given: Mapping[str, Any], count: int, chosen: Sequence[int], size: Sequence[int], reduced: Sequence[int]
) -> NDArray[Any]:
    """The masks (time, height, width) of some frames of a clip, by number and in order; one may be there repeatedly.

    Parameters
    ----------
    path : path
        Masks of all frames: ``.npy`` or ``.npz`` (time, height, width); a folder of images or ``.npy`` files, by their
        names, of which numbers count as numbers; or a video of grey frames in a coding that keeps numbers.
    count : int
        Frames of the clip, each of which has a mask.
    size, reduced : (int, int)
        Height and width of a mask, and of what is to come of it: the number in the middle of what a pixel covers.
    """
    places = [images.middles(old, new) for old, new in zip(size, reduced, strict=True)]
    result: NDArray[Any] | None = None
    at = 0
    for number, mask in _reader(path)(path, given, count, sorted(set(chosen))):
        if mask.shape != tuple(size):
            raise DataError(f"the size (height, width) of mask {number} is {mask.shape}, the frames' {tuple(size)}")
        if result is None:
            result = np.empty((len(chosen), *reduced), dtype=mask.dtype)
        if mask.dtype != result.dtype:
            raise DataError(f"its masks are of {result.dtype} and {mask.dtype}: all must have one dtype")
        small = mask[np.ix_(*places)]
        while at < len(chosen) and chosen[at] == number:
            result[at] = small
            at += 1
    assert result is not None
    assert at == len(chosen)
    return result


def _reader(path: Path) -> Callable[[Path, Mapping[str, Any], int, Sequence[int]], Numbered]:
    if path.is_dir():
        return _in_folder
    return _in_array if path.suffix.lower() in arrays.SUFFIXES else _in_clip


def _check_count(found: int, count: int) -> None:
    if found != count:
        raise DataError(f"it must hold a mask for each of the clip's {count} frames. Received: {found}")


def _in_array(path: Path, given: Mapping[str, Any], count: int, wanted: Sequence[int]) -> Numbered:
    masks = arrays.load_array(path, given)
    if masks.ndim == 4 and masks.shape[3] == 1:
        masks = masks[..., 0]
    if masks.ndim != 3:
        raise DataError(f"masks have three axes: time, height and width. Received: the shape {masks.shape}")
    _check_count(len(masks), count)
    yield from ((number, masks[number]) for number in wanted)


def _in_folder(path: Path, given: Mapping[str, Any], count: int, wanted: Sequence[int]) -> Numbered:
    endings = images.KIND.label_suffixes
    files = [file for file in path.iterdir() if ending_of(file.name, endings) and not file.name.startswith(".")]
    files.sort(key=_in_counting_order)
    _check_count(len(files), count)
    for number in wanted:
        refused = refuse_link(path, files[number])
        if refused is not None:
            raise DataError(f"{files[number].name}: {refused}")
        try:
            yield number, images.read_mask(files[number], given)
        except (DataError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DataError(f"{files[number].name}: {reason}") from None


def _in_counting_order(file: Path) -> list[Any]:
    """2 before 10, however many zeros stand before them."""
    parts = re.split(r"(\d+)", file.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _in_clip(path: Path, given: Mapping[str, Any], count: int, wanted: Sequence[int]) -> Numbered:
    codec = read_header(path, given).codec
    if codec not in EXACT:
        raise DataError(
            f"a video of masks must be of a coding that keeps numbers: {', '.join(EXACT)}. Received: {codec}"
        )
    places = set(wanted)
    number = 0
    for _, frame in read_frames(path, given, Fraction(0)):
        if frame is None:
            break
        if number in places:
            yield number, _numbers(frame)
        number += 1
    _check_count(number, count)


def _numbers(frame: Any) -> NDArray[Any]:
    """A frame's grey values, upright."""
    form = need("av", "video").VideoFormat(frame.format.name)
    if len(form.components) == 1 and not form.has_palette:
        mask = np.asarray(frame.to_ndarray())
    elif form.is_rgb and all(component.bits <= 8 for component in form.components):
        pixels = frame.to_ndarray(format="rgb24")
        mask = pixels[..., 0]
        if (pixels != mask[..., None]).any():
            raise DataError("a mask must be grey, its value the class number. Received: colours")
    else:
        raise DataError(f"a mask must be grey of one value a pixel. Received: frames of {frame.format.name}")
    turned: NDArray[Any] = np.rot90(mask, round(frame.rotation / 90) % 4)
    return turned
