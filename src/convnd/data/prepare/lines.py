"""Lines of text files, none of them longer than a sample may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

from ...errors import DataError
from .kind import LARGEST, in_bytes

# What a text takes in memory on its way to numbers, in times of its characters.
GROWTH = 16


def limited_lines(file: IO[str], given: Mapping[str, Any]) -> Iterator[str]:
    """The lines of an open file. One that is too long to be a sample's is refused before it is read to its end.

    >>> import io
    >>> list(limited_lines(io.StringIO("1,2\\n3,4\\n"), {"largest": 100}))
    ['1,2\\n', '3,4\\n']
    >>> list(limited_lines(io.StringIO("1,2,3,4,5\\n"), {"largest": 100}))
    Traceback (most recent call last):
    ...
    convnd.errors.DataError: line 1 is longer than 6 characters, which would take more than the 100 bytes ...
    """
    largest = int(given.get("largest", LARGEST))
    most = largest // GROWTH
    number = 1
    while line := file.readline(most + 1):
        if len(line) > most:
            raise DataError(
                f"line {number} is longer than {most} characters, which would take more than the {in_bytes(largest)} "
                "that a sample may take. If that is what it holds, raise the limit (largest=)"
            )
        yield line
        number += 1
