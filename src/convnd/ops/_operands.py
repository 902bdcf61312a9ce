"""How operations take their operands and give their results back."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Layout
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
