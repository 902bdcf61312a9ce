"""How operations take their operands and give their results back."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Layout, Ragged
from ..tensor import Tensor, X, check_dtype, check_same_dtype
from ..window import Window

FUSED = ("relu", "leaky_relu", "sigmoid", "tanh", "elu")


_known_window = functools.lru_cache(maxsize=1024, typed=True)(Window.of)


def window(
    ndim: int,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool = False,
    name: str = "kernel_size",
) -> Window:
    """:meth:`Window.of`, remembered: a training step asks for the same few windows over and over."""
    arguments = (ndim, kernel, stride, padding, dilation, ceil_mode, name)
    try:
        return _known_window(*arguments)
    except TypeError:  # lists and arrays can't be keys
        return Window.of(*arguments)


def batch(x: Any, name: str = "x") -> Tensor:
    """An ndarray (N, *S, C), a Ragged or a Tensor with a layout, as a Tensor."""
    if isinstance(x, Tensor):
        if x.layout is None:
            raise ArgumentError(f"{name} must have samples: it is a parameter or a loss. Received: {x!r}")
        return x
    return Tensor(x)


def layout_of(x: Tensor) -> Layout:
    """The layout of a tensor that :func:`batch` let through."""
    assert x.layout is not None
    return x.layout


def fixed(value: Any, name: str) -> Tensor:
    """A weight, a bias or the like: an array or a parameter, as a Tensor without a layout."""
    if isinstance(value, Tensor):
        if value.layout is not None:
            raise ArgumentError(f"{name} must be an array or a parameter, without samples. Received: {value!r}")
        return value
    array = np.asarray(value)
    check_dtype(array, name)
    return Tensor.of(array, None, "array")


def parameter(value: Any, name: str, x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """:func:`fixed`, of the dtype of ``x`` and the given shape."""
    own = fixed(value, name)
    check_same_dtype(own.values, name, x.values, "x")
    if shape is not None and own.values.shape != shape:
        raise ShapeError(f"{name} must have shape {shape}. Received: {name} of shape {own.values.shape}")
    return own


def give_back(result: Tensor, x: X, *others: Any) -> X:
    """The result as a Tensor if any operand was one, else in its own kind, which is that of ``x``."""
    given: Any = result
    if not isinstance(x, Tensor):
        for operand in others:
            if isinstance(operand, Tensor):
                break
        else:
            given = result.numpy()
    own: X = given
    return own


def check_fused(activation: str | None) -> None:
    """Refuse an activation that can't be fused: only those whose derivative follows from the output can."""
    if activation is not None and activation not in FUSED:
        raise ArgumentError(
            f"activation must be None or one of {', '.join(FUSED)}. Received: activation={activation!r}"
        )


def check_alike(tensors: list[Tensor]) -> None:
    """Refuse operands ``xs`` of several layouts or dtypes."""
    first = layout_of(tensors[0])
    for number, t in enumerate(tensors):
        check_same_dtype(t.values, f"xs[{number}]", tensors[0].values, "xs[0]")
        layout = layout_of(t)
        if layout == first:
            continue
        if len(layout) != len(first) or layout.ndim != first.ndim:
            raise ShapeError(
                f"xs[{number}] must have the {len(first)} samples of {first.ndim} axes of xs[0]. "
                f"Received: {len(layout)} samples of {layout.ndim} axes"
            )
        sample = int(np.argmax((layout.shapes != first.shapes).any(axis=1)))
        raise ShapeError(
            f"xs[{number}], sample {sample}: must have the shape {first.shape(sample)} it has in xs[0]. "
            f"Received: {layout.shape(sample)}"
        )


def layout_like(like: Any) -> Layout | None:
    """The layout of a batch whose size a result takes; None stays None."""
    if like is None or isinstance(like, Layout):
        return like
    if isinstance(like, Tensor):
        return layout_of(batch(like, "like"))
    if isinstance(like, Ragged):
        return like.layout
    array = np.asarray(like)
    if array.ndim < 2:
        raise ShapeError(f"like must be a batch (samples, *shape, channels) or a Layout. Received: shape {array.shape}")
    return Layout.dense(array.shape[0], array.shape[1:-1])
