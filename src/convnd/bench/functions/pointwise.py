"""Functions of one position: activations and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from .function import Array, Function, Weight

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # of the paper


def _activation(
    words: str, ours: Callable[[Any], Any], torch: Callable[[Any, Any], Any], exact: Callable[[Array], Array]
) -> Function:
    """A function without a weight."""
    return Function(words, lambda x, w: ours(x), lambda f, x, w: torch(f, x), lambda x, w: exact(x))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


def _hardsigmoid(x: Array) -> Array:
    y: Array = np.clip(x + 3, 0, 6) / 6
    return y


def _normal_share(x: Array) -> Array:
    """The normal distribution's cumulative function."""
    share = [math.erf(v) for v in (x * math.sqrt(0.5)).ravel().tolist()]
    return (1 + np.array(share).reshape(x.shape)) / 2


def _log_softmax(x: Array) -> Array:
    moved = x - x.max(axis=-1, keepdims=True)
    y: Array = moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True))
    return y


POINTWISE: dict[str, Function] = {
    "relu": _activation("ReLU", ops.relu, lambda f, x: f.relu(x), lambda x: np.maximum(x, 0)),
    "leaky_relu": _activation(
        "leaky ReLU", ops.leaky_relu, lambda f, x: f.leaky_relu(x), lambda x: np.where(x > 0, x, 0.01 * x)
    ),
    "sigmoid": _activation("sigmoid", ops.sigmoid, lambda f, x: x.sigmoid(), _sigmoid),
    "tanh": _activation("tanh", ops.tanh, lambda f, x: x.tanh(), np.tanh),
    "elu": _activation("ELU", ops.elu, lambda f, x: f.elu(x), _elu),
    "selu": _activation(
        "SELU", ops.selu, lambda f, x: f.selu(x), lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * _elu(x))
    ),
    "gelu": _activation("GELU", ops.gelu, lambda f, x: f.gelu(x), lambda x: x * _normal_share(x)),
    "silu": _activation("SiLU", ops.silu, lambda f, x: f.silu(x), lambda x: x * _sigmoid(x)),
    "softplus": _activation(
        "softplus", ops.softplus, lambda f, x: f.softplus(x), lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    ),
    "hardsigmoid": _activation("hard sigmoid", ops.hardsigmoid, lambda f, x: f.hardsigmoid(x), _hardsigmoid),
    "hardswish": _activation(
        "hard swish", ops.hardswish, lambda f, x: f.hardswish(x), lambda x: x * _hardsigmoid(x)
    ),
    "absolute": _activation("absolute value", ops.absolute, lambda f, x: x.abs(), np.abs),
    "softmax": _activation(
        "softmax", ops.softmax, lambda f, x: f.softmax(x, 1), lambda x: np.exp(_log_softmax(x))
    ),
    "log_softmax": _activation("log softmax", ops.log_softmax, lambda f, x: f.log_softmax(x, 1), _log_softmax),
    "prelu": Function(
        "PReLU", ops.prelu, lambda f, x, w: f.prelu(x, w), lambda x, w: np.where(x > 0, x, w * x),
        weight=Weight(lambda case: (case.channels,), learned=True), reads="xw",
    ),
}  # fmt: skip
