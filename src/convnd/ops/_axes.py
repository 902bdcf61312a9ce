"""What operations on the shape of samples have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..axes import AxisTaps
from ..errors import ArgumentError, ShapeError
from ..layout import Layout
from ..tensor import Array, Tensor, record
from ..window import refuse_empty
from ._operands import layout_like, layout_of


def take(x: Tensor, taps: AxisTaps, fill: float = 0.0) -> Tensor:
    """What every output position reads, and ``fill`` where it reads nothing."""

    def grad_fn(g: Array) -> tuple[Array]:
        return (kernels.take_axes(g, taps.back),)

    return record(kernels.take_axes(x.values, taps, fill), taps.output, x.kind, (x,), grad_fn)


def like_layout(like: Any, x: Tensor) -> Layout:
    """The layout of another batch, whose samples ``x`` is to be like in shape."""
    layout, wanted = layout_of(x), layout_like(like)
    if wanted is None:
        raise ArgumentError("like must be a batch or a Layout. Received: like=None")
    if wanted.ndim != layout.ndim or len(wanted) != len(layout):
        raise ShapeError(
            f"like must have {len(layout)} samples of {layout.ndim} axes, as x has. "
            f"Received: {len(wanted)} samples of {wanted.ndim} axes"
        )
    if x.kind == "dense" and not wanted.uniform:
        raise ShapeError(
            "like must have samples of one shape, since x is a dense array: make x a Ragged. "
            f"Received: like of shapes {wanted.shapes.tolist()[:3]}"
        )
    refuse_empty(layout)
    refuse_empty(wanted)
    return wanted


def first_sample(wrong: NDArray[np.bool_]) -> tuple[int, int]:
    """The first (sample, axis) of (N, ndim) that is marked."""
    sample, axis = (int(i) for i in np.argwhere(wrong)[0])
    return sample, axis
