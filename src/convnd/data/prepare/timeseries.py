"""The ``.ts`` text format of the UEA & UCR time-series archive, as aeon and sktime read it.

Lines that begin with ``@`` describe, ``#`` and ``%`` comment; behind ``@data`` each line is a case: its channels
separated by ``:``, the values of a channel by ``,``, and its class or number last. Channels of a case are equally
long; cases needn't be. Format: https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .lines import limited_lines


@dataclass
class Header:
    """What the ``@`` lines say."""

    classes: tuple[str, ...] | None = None
    numbers: bool = False
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether a case ends with a class or a number."""
        return self.classes is not None or self.numbers


def read_header(path: Path, given: Mapping[str, Any] | None = None) -> Header:
    """The header of a file. ``given["largest"]`` limits its lines."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return _header(limited_lines(file, given or {}), path)[0]


def read_cases(path: Path) -> Iterator[tuple[NDArray[np.float64], str | None]]:
    """The cases of a file one by one: values (time, channels), and the class or number as its text.

    A missing value (``?``) is NaN. A malformed line raises DataError with its number.
    """
    for line, header, where in case_lines(path):
        yield parse_case(line, header, where)


def case_lines(path: Path, given: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Header, str]]:
    """The lines that are cases, each with the file's header and how messages name it."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = limited_lines(file, given or {})
        header, number = _header(lines, path)
        for line in lines:
            number += 1
            if line.strip() and line[0] not in "#%":
                yield line.strip(), header, f"{path}, line {number}"


def _header(lines: Iterator[str], path: Path) -> tuple[Header, int]:
    header = Header()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or line[0] in "#%":
            continue
        key = words[0].lower()
        if not key.startswith("@"):
            raise DataError(f"{path}, line {number}: a .ts file has lines that begin with @ before its @data")
        if key == "@data":
            return header, number
        stated = words[1:2] in (["true"], ["True"])
        if key == "@timestamps" and stated:
            raise DataError(f"{path}: time stamps (@timeStamps true) aren't supported; values at regular times are")
        if key == "@classlabel" and stated:
            header.classes = tuple(words[2:])
        if key == "@targetlabel" and stated:
            header.numbers = True
        header.fields[key[1:]] = " ".join(words[1:])
    raise DataError(f"{path}: no @data line, so it isn't a .ts file, or it is truncated")


def parse_case(line: str, header: Header, where: str) -> tuple[NDArray[np.float64], str | None]:
    """One case from its line."""
    channels = line.split(":")
    label = channels.pop().strip() if header.labelled else None
    try:
        series = [np.array([_number(text) for text in channel.split(",")]) for channel in channels]
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if not series or len({len(values) for values in series}) != 1:
        raise DataError(
            f"{where}: channels must be equally long. Received: lengths {[len(values) for values in series]}"
        )
    return np.stack(series, axis=1), label


def _number(text: str) -> float:
    return float("nan") if text.strip() == "?" else float(text)
