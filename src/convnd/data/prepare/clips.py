"""Video files through PyAV: what their headers say, and their frames with the times at which they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..sources import need
from .kind import LARGEST, check_claim, in_bytes

# The formats that hold video, as FFmpeg names them. Others that it knows (play lists, numbered pictures) lead to other
# files, or make video of any text.
FORMATS = "matroska,mov,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,nut,mxf,h264,hevc,m4v,yuv4mpegpipe"
# How much of the time that the header states may be missing at the end: seconds, and a share. Headers round.
MISSING, MISSING_SHARE = Fraction(1, 2), Fraction(1, 50)
# A range that begins later than this is looked for by the file's index.
NEAR = 2
Stamped = tuple[Fraction, Any]


@dataclass(frozen=True)
class Header:
    """What a header claims. Rate in frames a second, None where it doesn't say; so are seconds. The coding's name."""

    height: int
    width: int
    rate: Fraction | None
    seconds: Fraction | None
    codec: str


@contextmanager
def open_clip(path: Path, given: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The open file and its first video stream; pictures of an album aren't one."""
    av = need("av", "video")
    most = str(min(int(given.get("largest", LARGEST)), 2**31 - 1))
    if not path.stat().st_size:
        raise DataError("it is empty")
    try:
        # As a Python file: a name with a colon in it would be a protocol to FFmpeg, and names needn't be text.
        with path.open("rb") as file, av.open(
            file, options={"format_whitelist": FORMATS, "max_pixels": most}, metadata_errors="replace"
        ) as container:
            cover = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams:
                raise DataError("it holds no video" + (", only sound" if container.streams.audio else ""))
            context = streams[0].codec_context
            if context is None:
                raise DataError("it is coded in a way that FFmpeg doesn't read here")
            context.thread_count = 1  # Workers share the processors.
            context.options = {"max_pixels": most}
            yield container, streams[0]
    except av.error.FFmpegError as error:
        raise DataError(f"it isn't a video that FFmpeg reads, or is truncated or damaged: {error.strerror}") from None


def read_header(path: Path, given: Mapping[str, Any]) -> Header:
    """The claims of a file. Frames too large to be decoded are refused."""
    with open_clip(path, given) as (container, stream):
        context = stream.codec_context
        if context.width < 1 or context.height < 1:
            raise DataError(
                "it is truncated or damaged, since it doesn't say how large its frames are; or they are larger than "
                f"the {in_bytes(int(given.get('largest', LARGEST)))} that a sample may take (largest=)"
            )
        check_claim((1, context.height, context.width), 1, given)
        return Header(
            context.height, context.width, _rate(stream), _seconds(container, stream), str(context.codec.name)
        )


def _rate(stream: Any) -> Fraction | None:
    return stream.average_rate or stream.guessed_rate or None


def _seconds(container: Any, stream: Any) -> Fraction | None:
    """How long the header says that the video is."""
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    # Matroska writes a track's own length as text, and in front.
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)\s*", stream.metadata.get("DURATION", ""))
    if tag is not None:
        return (int(tag[1]) * 60 + int(tag[2])) * 60 + Fraction(tag[3])
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, 1_000_000)
    return None


def read_frames(path: Path, given: Mapping[str, Any], start: Fraction) -> Iterator[Stamped]:
    """Frames in the order in which they are shown, each with its seconds since the file's first frame.

    From the first frame on, or from one that is shown at ``start`` or before. A last one, without a frame, is the end.
    A file that ends much earlier than its header says is refused there, and so are frames that are damaged.
    """
    with open_clip(path, given) as (container, stream):
        frames = _stamped(container, stream)
        first = next(frames, None)
        if first is None:
            raise DataError("it holds no frames")
        origin = first[0]
        if start > NEAR and first[1].pts is not None:
            later = _sought(container, stream, origin + start)
            found = next(later, None)
            if found is not None and found[0] <= origin + start:
                yield from _shown(found, later, origin, stream, _seconds(container, stream))
                return
    # From the beginning, where that is wanted or the index leads too far.
    with open_clip(path, given) as (container, stream):
        frames = _stamped(container, stream)
        yield from _shown(next(frames), frames, origin, stream, _seconds(container, stream))


def _sought(container: Any, stream: Any, time: Fraction) -> Iterator[Stamped]:
    """Frames from the last key frame before a time, if the file can be read from there."""
    try:
        container.seek(int(time / stream.time_base), stream=stream)
    except need("av", "video").error.FFmpegError:
        return
    yield from _stamped(container, stream)


def _stamped(container: Any, stream: Any) -> Iterator[Stamped]:
    """What the decoder gives, by the file's own clock. A frame without a time comes one step after the one before."""
    # AVI has no times of showing, and what FFmpeg makes up for them goes back and forth; those of decoding are as even.
    coded = container.format.name == "avi"
    step = 1 / (_rate(stream) or Fraction(25))
    time = -step
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DataError(f"it is truncated or damaged after {_plain(time + step)} s")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise DataError(f"it is damaged: the frame at {_plain(time + step)} s can't be decoded whole")
            stamp = frame.dts if coded or frame.pts is None else frame.pts
            time = time + step if stamp is None else Fraction(stamp * stream.time_base)
            yield time, frame


def _plain(time: Fraction) -> str:
    return f"{float(max(time, Fraction(0))):.3f}"


def _shown(
    first: Stamped, later: Iterator[Stamped], origin: Fraction, stream: Any, claimed: Fraction | None
) -> Iterator[Stamped]:
    """From ``origin`` on, in order; then the end."""
    time, frame = first[0] - origin, first[1]
    yield time, frame
    for stamp, frame in later:
        time = max(time, stamp - origin)  # A clock that goes back stands still.
        yield time, frame
    end = time + (Fraction((frame.duration or 0) * stream.time_base) or 1 / (_rate(stream) or Fraction(25)))
    if claimed is not None and claimed - end > max(MISSING, claimed * MISSING_SHARE):
        raise DataError(f"it is truncated: it ends after {_plain(end)} s, and its header says {_plain(claimed)} s")
    yield end, None


def frames_between(frames: Iterator[Stamped], start: Fraction, stop: Fraction | None) -> Iterator[Stamped]:
    """All frames with ``start <= time < stop``."""
    for time, frame in frames:
        if stop is not None and time >= stop:
            return
        if frame is not None and time >= start:
            yield time, frame


def frames_at(frames: Iterator[Stamped], rate: Fraction, start: Fraction, stop: Fraction | None) -> Iterator[Stamped]:
    """For the times start, start + 1 / rate, ... before ``stop`` and the end: the frame nearest in time.

    Of two as near the earlier. The last frame stays until the end, which is its time and its duration.
    """
    wanted = start
    held: Stamped | None = None
    for time, frame in frames:
        # The end is no frame, so until then the last one is nearest.
        while held is not None and (wanted < time if frame is None else wanted - held[0] <= time - wanted):
            if stop is not None and wanted >= stop:
                return
            yield wanted, held[1]
            wanted += 1 / rate
        held = time, frame
