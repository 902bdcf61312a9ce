"""One sample of a data file, read box by box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .convert import convert
from .handle import DAMAGE
from .reader import File, read_rows

HULL = 1 << 22  # numbers read at a time, of which a box is cut


class Rows:
    """A sample (*S, C) of a data file: ``rows[box]`` are its physical values there, float32, and only they are read.

    A box is a slice for every spatial axis, with its start and stop.

    Examples
    --------
    >>> from convnd.data import japanese_vowels, open
    >>> with open(japanese_vowels()) as file:
    ...     rows = Rows(file, 7)
    ...     rows.shape, bool((rows[slice(3, 5),] == file.samples[7].values[3:5]).all())
    ((18, 12), True)
    """

    def __init__(self, file: File, number: int) -> None:
        self._file, self._number, self._handle = file, number, file._handle
        self.shape = (*file.layout.shape(number), file.info.channels)

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.float32]:
        stored = np.empty((*(part.stop - part.start for part in box), self.shape[-1]), self._file.info.dtype)
        try:
            with self._handle.lock:
                self._read(box, int(self._file.layout.offsets[self._number]), stored)
        except DAMAGE as error:
            raise DataError(f"{self._file.path}: {self._file.who(self._number)} can't be read ({error})") from error
        values = np.empty(stored.shape, np.float32)
        convert(stored, values, self._file.factor)
        return values

    def _read(self, box: tuple[slice, ...], start: int, out: NDArray[Any]) -> None:
        """The rows of a box of the last ``len(box)`` axes, whose first position is row ``start``, into ``out``."""
        dataset, shape = self._handle.dataset("values"), self.shape[len(self.shape) - 1 - len(box) : -1]
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(box))]
        first = sum(part.start * stride for part, stride in zip(box, strides, strict=True))
        count = 1 + sum((part.stop - 1 - part.start) * stride for part, stride in zip(box, strides, strict=True))
        if len(box) > 1 and count * self.shape[-1] > HULL:
            for place, index in enumerate(range(box[0].start, box[0].stop)):
                self._read(box[1:], start + index * strides[0], out[place])
            return
        rows = np.empty((count, self.shape[-1]), out.dtype)
        read_rows(dataset, start + first, start + first + count, rows)
        steps = (*(stride * rows.strides[0] for stride in strides), rows.strides[1])
        out[...] = np.lib.stride_tricks.as_strided(rows, out.shape, steps)
