"""Objects through a pipe between two processes: pickled, with the bytes of arrays beside the pickle, uncopied."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

HEAD = struct.Struct("<QQ")


def send(pipe: IO[bytes], content: Any) -> None:
    """Write one object."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [len(view) for view in views]
    pipe.write(HEAD.pack(len(body), len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes))
    pipe.write(body)
    for view in views:
        pipe.write(view)
    pipe.flush()


def receive(pipe: IO[bytes], admit: Callable[[int], object] | None = None) -> Any:
    """Read one object; EOFError where the other side is gone. ``admit`` is told its bytes before they are read."""
    body_size, count = HEAD.unpack(_read(pipe, HEAD.size))
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    if admit is not None:
        admit(body_size + sum(sizes))
    body = _read(pipe, body_size)
    return pickle.loads(body, buffers=[_read(pipe, size) for size in sizes])


def _read(pipe: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, place = memoryview(data), 0
    while place < size:
        # The pipes are buffered files, which have readinto; IO[bytes] doesn't say so.
        count = pipe.readinto(view[place:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the other process is gone")
        place += count
    return data
