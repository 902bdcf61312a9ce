"""BVH, Biovision's motion capture files: a skeleton of joints with channels, then a line of numbers for every frame.

Format: M. Meredith and S. Maddock, Motion Capture File Formats Explained, University of Sheffield CS-01-11, 2001.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .kind import check_claim
from .lines import limited_lines

# No skeleton comes near; a file that isn't BVH is noticed before it has been read whole.
MOST_LINES = 100_000


@dataclass(frozen=True)
class Motion:
    """What stands before the frames: channel names such as ``Hips.Xposition``, frames, and a frame's seconds."""

    channels: tuple[str, ...]
    frames: int
    frame_time: float


def bvh_header(path: Path, given: Mapping[str, Any]) -> Motion:
    """The skeleton's channels, the number of frames and their time."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return _header(_lines(file, given), path, given)


def read_bvh(path: Path, given: Mapping[str, Any]) -> tuple[NDArray[np.float32], Motion]:
    """All frames (time, channels), positions in the file's unit and rotations in degrees, and the header."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = _lines(file, given)
        motion = _header(lines, path, given)
        values = np.empty((motion.frames, len(motion.channels)), dtype=np.float32)
        count = 0
        # Files with a line more than they claim are about; as other readers do, this one keeps to the claim.
        for number, line in islice(lines, motion.frames):
            words = line.split()
            if len(words) != len(motion.channels):
                raise DataError(f"line {number} has {len(words)} numbers, the joints {len(motion.channels)} channels")
            values[count] = [_number(word, number) for word in words]
            count += 1
    if count < motion.frames:
        raise DataError(f"it claims {motion.frames} frames and holds {count}: it is truncated")
    return values, motion


def _lines(file: IO[str], given: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    return ((number, line.strip()) for number, line in enumerate(limited_lines(file, given), start=1) if line.strip())


def _header(lines: Iterator[tuple[int, str]], path: Path, given: Mapping[str, Any]) -> Motion:
    channels = _skeleton(lines)
    frames = _field(lines, "frames")
    frame_time = _field(lines, "frame time")
    if not 1 <= frames < np.inf or frames != int(frames):
        raise DataError(f"a motion needs at least one frame. Received: Frames: {frames:g}")
    if not 0 < frame_time < np.inf:
        raise DataError(f"Frame Time must be seconds above 0. Received: {frame_time:g}")
    motion = Motion(channels, int(frames), frame_time)
    check_claim((motion.frames, len(channels)), 4, given)
    # A number takes a digit and a blank at least.
    if motion.frames * len(channels) * 2 - 1 > path.stat().st_size:
        raise DataError(f"it claims {motion.frames} frames, which a file of its size can't hold: it is truncated")
    return motion


def _skeleton(lines: Iterator[tuple[int, str]]) -> tuple[str, ...]:
    """Channel names in the order of the frames' numbers, up to the line MOTION."""
    channels: dict[str, None] = {}
    joints: list[str] = []
    for number, line in lines:
        words = line.split()
        key = words[0].upper()
        if number == 1 and key != "HIERARCHY":
            break
        if key == "MOTION":
            if joints:
                raise DataError(f"line {number}: the joint {joints[-1]} has no closing brace")
            if not channels:
                raise DataError("its skeleton has no channels")
            return tuple(channels)
        if key in ("ROOT", "JOINT", "END"):
            joints.append(line[len(words[0]) :].strip().removesuffix("{").strip())
        elif key == "}":
            if not joints:
                raise DataError(f"line {number}: a closing brace too many")
            joints.pop()
        elif key == "CHANNELS":
            _add_channels(channels, joints, words, number)
        elif key not in ("HIERARCHY", "OFFSET", "{"):
            raise DataError(f"line {number}: {words[0]!r} is no word of a skeleton")
        if number > MOST_LINES:
            break
    raise DataError("it isn't a BVH file: those begin with HIERARCHY and have a line MOTION")


def _add_channels(channels: dict[str, None], joints: list[str], words: list[str], number: int) -> None:
    names = words[2:]
    if not joints or len(words) < 2 or words[1] != str(len(names)):
        raise DataError(f"line {number}: CHANNELS must give their number, and as many names, within a joint")
    for name in names:
        full = f"{joints[-1]}.{name}"
        if full in channels:
            raise DataError(f"line {number}: the channel {full} is there twice")
        channels[full] = None


def _field(lines: Iterator[tuple[int, str]], name: str) -> float:
    number, line = next(lines, (0, ""))
    key, _, text = line.partition(":")
    if " ".join(key.lower().split()) != name:
        raise DataError(f"a line {name.title()}: must follow MOTION. Received: {line[:60]!r}")
    return _number(text.strip(), number)


def _number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"line {line}: {text[:40]!r} is not a number") from None
