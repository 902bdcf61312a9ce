"""Checks of the promises that convnd makes, for its own operations and for yours.

Each raises AssertionError and says what differs.

    >>> from convnd import ops
    >>> samples = [np.random.default_rng(n).normal(size=(4 + n, 2)) for n in range(4)]
    >>> check_law(lambda x: ops.conv(x, np.ones((3, 2, 1))), samples)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError
from .layout import Ragged
from .tensor import Array, Tensor, no_grad, record


def check_law(op: Callable[[Any], Any], samples: Sequence[Array], seed: int = 0) -> None:
    """Check op(batch) = concat(op(sample)), to the last bit: in order, permuted, split, and dense as ragged.

    Parameters
    ----------
    op : function of a batch (a Ragged, or an ndarray (N, *S, C)) that gives its kind back
    samples : arrays (*S_i, C)
        At least two, of one dtype; two of one shape let dense batches be checked as well.
    seed : int
        Of the permutation.
    """
    if len(samples) < 2:
        raise ArgumentError(f"samples must be at least two. Received: {len(samples)}")
    alone = [op(Ragged.pack([sample])).unpack()[0] for sample in samples]
    orders = {
        "in order": np.arange(len(samples)),
        "permuted": np.random.default_rng(seed).permutation(len(samples)),
        "reversed": np.arange(len(samples))[::-1],
    }
    for what, order in orders.items():
        _check_batch(op, samples, alone, order, f"the batch {what}")
    cut = len(samples) // 2
    for what, part in (("first", np.arange(cut)), ("second", np.arange(cut, len(samples)))):
        _check_batch(op, samples, alone, part, f"the {what} part of a split batch")
    for shape in sorted({sample.shape for sample in samples}):
        alike = [number for number, sample in enumerate(samples) if sample.shape == shape]
        result = op(np.stack([samples[number] for number in alike]))
        for number, found in zip(alike, result, strict=True):
            _check_bits(found, alone[number], f"sample {number} in a dense batch of {len(alike)}")


def _check_batch(
    op: Callable[[Any], Any], samples: Sequence[Array], alone: list[Array], order: NDArray[Any], what: str
) -> None:
    results = op(Ragged.pack([samples[number] for number in order])).unpack()
    for number, found in zip(order.tolist(), results, strict=True):
        _check_bits(found, alone[number], f"sample {number} in {what}")


def _check_bits(found: Array, wanted: Array, what: str) -> None:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise AssertionError(
            f"{what} gives {found.dtype} of shape {found.shape}; alone it gives {wanted.dtype} of shape {wanted.shape}"
        )
    if found.tobytes() != wanted.tobytes():
        different = int(np.sum(found != wanted))
        worst = float(np.max(np.abs(found - wanted)))
        raise AssertionError(
            f"{what} differs from the same sample alone in {different} of {found.size} values, by at most {worst:.3g}"
        )


def check_adjoint(
    forward: Callable[[Any], Any], adjoint: Callable[[Any], Any], x: Array, y: Array, tolerance: float = 1e-12
) -> None:
    """Check <forward(x), y> = <x, adjoint(y)>, relative to the size of the products that are summed.

    >>> check_adjoint(lambda x: 2 * x, lambda y: 2 * y, np.ones((1, 3, 1)), np.ones((1, 3, 1)))
    """
    left, right = np.asarray(forward(x)) * y, x * np.asarray(adjoint(y))
    scale = max(float(np.abs(left).sum()), float(np.abs(right).sum()), 1e-300)
    if abs(float(left.sum()) - float(right.sum())) > tolerance * scale:
        raise AssertionError(f"<forward(x), y> = {left.sum()!r}, but <x, adjoint(y)> = {right.sum()!r}")


def check_gradient(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    *,
    draws: int = 3,
    step: float = 1e-6,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> None:
    """Check the gradient of ``function(*tensors)`` to each tensor along random directions, by central differences.

    The result is projected on a random u, each tensor is moved along a random v:
    ``<grad, v>`` must be ``(<u, f(x + step v)> - <u, f(x - step v)>) / (2 step)``.

    Parameters
    ----------
    function : takes Tensors, gives a Tensor
    tensors : Tensors in float64 that require gradients
        Batches or parameters, also parameters that the function doesn't take but uses.
    tolerance : float
        Of the difference, relative to the larger of 1 and the sizes of both figures.

    Source: random projection as in HIPS autograd's test_util; differences: *Deep Learning*, section 11.5, eq. 11.6.

    >>> check_gradient(lambda x: x * x, [Tensor(np.array([[1.0, 2.0]]), requires_grad=True)])
    """
    for number, tensor in enumerate(tensors):
        if tensor.dtype != np.float64 or not tensor.requires_grad:
            raise ArgumentError(f"tensors[{number}] must be float64 and require a gradient. Received: {tensor!r}")
    rng = np.random.default_rng(seed)
    for draw in range(draws):
        for tensor in tensors:
            tensor.grad = None
        result = function(*tensors)
        u = rng.standard_normal(result.values.shape)
        _project(result, u).backward()
        for number, tensor in enumerate(tensors):
            v = rng.standard_normal(tensor.values.shape)
            gradient = _flat(tensor.grad)
            analytic = 0.0 if gradient is None else float(np.sum(gradient.reshape(v.shape) * v))
            ahead, behind = (_moved(function, tensors, tensor, sign * step * v, u) for sign in (1, -1))
            numeric = (ahead - behind) / (2 * step)
            if not abs(analytic - numeric) <= tolerance * max(1.0, abs(analytic), abs(numeric)):
                raise AssertionError(
                    f"draw {draw}, tensors[{number}]: the gradient gives {analytic!r}, differences give {numeric!r}"
                )


def _project(result: Tensor, u: Array) -> Tensor:
    value = np.asarray(np.sum(result.values * u))
    return record(value, None, "array", (result,), lambda g: (g * u,))


def _flat(grad: Any) -> Array | None:
    values: Array | None = grad.values if isinstance(grad, Ragged) else grad
    return values


def _moved(function: Callable[..., Tensor], tensors: Sequence[Tensor], moved: Tensor, by: Array, u: Array) -> float:
    """<u, function> with one tensor moved for the moment."""
    kept = moved.values.copy()
    try:
        moved.values += by
        moved.changed()
        with no_grad():
            return float(np.sum(function(*tensors).values * u))
    finally:
        moved.values[...] = kept
        moved.changed()
