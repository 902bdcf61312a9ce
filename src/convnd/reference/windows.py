"""Where windows fall on one sample: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layout import Layout
from ..window import Placement, Window

Array = NDArray[Any]
Index = tuple[int, ...]


def place_of(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool = False) -> Placement:
    """A window on one sample."""
    window = Window.of(x.ndim - 1, kernel, stride, padding, dilation, ceil_mode)
    return window.on(Layout([x.shape[:-1]]))


def pairs(place: Placement) -> Iterator[tuple[Index, Index, Index]]:
    """Every (output, tap, input) that meet: input = output stride + tap dilation - low, where it exists."""
    window, size, low = place.window, place.input.shape(0), place.low[0].tolist()
    for q in np.ndindex(place.output.shape(0)):
        for j in np.ndindex(window.kernel):
            p = tuple(
                qi * s + ji * d - lo
                for qi, s, ji, d, lo in zip(q, window.stride, j, window.dilation, low, strict=True)
            )
            if all(0 <= pi < si for pi, si in zip(p, size, strict=True)):
                yield q, j, p
