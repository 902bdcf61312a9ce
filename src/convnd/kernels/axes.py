"""Padding, cropping and resampling."""

from __future__ import annotations

from .._core import axes as core
from ..axes import AxisTaps
from .checks import Array, check_rank, empty, floats, rows


def take_axes(x: Array, taps: AxisTaps, fill: float = 0.0) -> Array:
    """The weighted sum of what each output position reads, (P_out, C); ``fill`` where it reads nothing.

    One chain of multiply-adds over the last axis, of sums over the others, each in the order of the taps. A single tap
    of weight 1 is a copy.
    """
    floats(x=x)
    x = rows("x", x, taps.input.positions)
    check_rank(taps.input.ndim)
    out = empty(taps.output.positions, x.shape[1], x.dtype)
    if taps.input.ndim == 0:
        out[...] = x
    elif x.size and out.size and len(taps.index):
        core.take(
            x, taps.input.shapes, taps.output.shapes, taps.input.offsets, taps.output.offsets, taps.starts, taps.first,
            taps.index, taps.weight, float(fill), out,
        )  # fmt: skip
    else:
        out.fill(fill)
    return out
