"""Where pooling regions lie, worked out for all samples at once."""

from __future__ import annotations

import numpy as np

from .._core import regions as core
from ..layout import Ints, Layout
from ..window import Placement, Regions, refuse_empty


def _tables(layout: Layout) -> Ints:
    """Two numbers for each position of each axis, to fill."""
    return np.empty((2, int(layout.shapes.sum())), dtype=np.int64)


def window_regions(place: Placement) -> Regions:
    """The regions of a pooling window."""
    window, outputs, inputs = place.window, _tables(place.output), _tables(place.input)
    tap, low = np.empty(outputs.shape[1], dtype=np.int64), np.ascontiguousarray(place.low)
    core.window(place.input.shapes, place.output.shapes, low, window.rows, outputs, tap, inputs)
    return Regions(place.input, place.output, window.dilation, window.kernel, outputs, tap, inputs)


def proportional_regions(layout: Layout, bins: tuple[int, ...]) -> Regions:
    """Bin i of b on an axis of length S covers positions floor(i S / b) up to ceil((i + 1) S / b)."""
    refuse_empty(layout)
    output = Layout.dense(len(layout), bins)
    outputs, inputs = _tables(output), _tables(layout)
    core.proportional(layout.shapes, np.array(bins, dtype=np.int64), outputs, inputs)
    return Regions(layout, output, (1,) * layout.ndim, None, outputs, np.zeros_like(outputs[0]), inputs)
