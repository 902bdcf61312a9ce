"""Optimisers' steps on arrays: against NumPy in float64, on threads, and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from convnd import kernels
from convnd.errors import ArgumentError, DtypeError, ShapeError

ADAM = {"betas": (0.9, 0.99), "eps": 1e-8, "pull": 0.2, "shrink": 0.05}
STEP = (0.01, 0.7)  # rate and root


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (5, 7, 11)])
def test_adam(rng, shape, dtype):
    values, grad, mean = rng.standard_normal((3, *shape)).astype(dtype)
    square = rng.random(shape).astype(dtype)
    p, g, m, s = (np.asarray(array, np.float64) for array in (values, grad, mean, square))
    t = g + 0.2 * p
    m, s = 0.9 * m + 0.1 * t, 0.99 * s + 0.01 * t * t
    p = p - 0.05 * p - 0.01 * m / (np.sqrt(s) / 0.7 + 1e-8)
    changed = [np.array(array) for array in (values, mean, square)]
    kernels.adam([(changed[0], grad, *changed[1:])], [STEP], **ADAM)
    for found, wanted in zip(changed, (p, m, s), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent(rng, momentum, nesterov):
    values, grad, velocity = rng.standard_normal((3, 5, 7))
    g = grad + 0.1 * values
    v = momentum * velocity + g
    step = g + momentum * v if nesterov else v
    own = velocity.copy() if momentum else None
    found = values.copy()
    kernels.descent([(found, grad, own)], rate=0.3, momentum=momentum, nesterov=nesterov, pull=0.1)
    np.testing.assert_allclose(found, values - 0.3 * (step if momentum else g), rtol=1e-14, atol=1e-14)
    if own is not None:
        np.testing.assert_allclose(own, v, rtol=1e-14, atol=1e-14)


def test_many_at_once(rng):
    """Each with its own step, shape and dtype; as one by one, to the bit. A gradient's numbers may lie apart."""
    shapes = [(40, 50), (3,), (0, 4), (70_000,), ()]
    dtypes = [np.float32, np.float64, np.float32, np.float32, np.float64]
    changes = [tuple(rng.random((4, *shape)).astype(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)]
    changes = [(values, np.array(grad, order="F"), *state) for values, grad, *state in changes]
    steps = [(0.01 * n, 1 / n) for n in range(1, 6)]
    together, alone = ([tuple(np.array(a) for a in change) for change in changes] for _ in range(2))
    kernels.adam(together, steps, **ADAM)
    kernels.descent([change[:3] for change in together], rate=0.1, momentum=0.9)
    for change, step in zip(alone, steps, strict=True):
        kernels.adam([change], [step], **ADAM)
        kernels.descent([change[:3]], rate=0.1, momentum=0.9)
    for one, two, (values, *_) in zip(together, alone, changes, strict=True):
        assert values.size == 0 or not np.array_equal(one[0], values)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    kernels.adam([], [], **ADAM)


def test_values_that_share_memory_change_one_after_the_other(rng):
    values, grad = rng.random(3), rng.random(3)
    wanted = values - 0.1 * grad - 0.1 * grad
    kernels.descent([(values, grad, None), (values[:], grad, None)], rate=0.1)
    np.testing.assert_allclose(values, wanted, rtol=1e-15)


def test_any_number_of_threads_gives_the_same_bits(rng):
    start = rng.random((4, 1_000_003)).astype(np.float32)
    found = []
    for count in (1, 2):
        kernels.set_num_threads(count)
        arrays = start.copy()
        kernels.adam([tuple(arrays)], [STEP], **ADAM)
        kernels.descent([tuple(arrays[:3])], rate=0.1, momentum=0.9)
        found.append(arrays)
    np.testing.assert_array_equal(*found)


X = np.zeros((2, 3))
FIXED = np.zeros((2, 3))
FIXED.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.adam([(X, X[:1], X, X)], [STEP], **ADAM), ShapeError, r"grad must have .* values, \(2, 3\)"),
        (lambda: kernels.adam([(X, X, X, X.T)], [STEP], **ADAM), ShapeError, "square must have the shape of values"),
        (lambda: kernels.descent([(X, X, X.astype("f"))], rate=1.0), DtypeError, "velocity and values must have one"),
        (lambda: kernels.descent([(np.zeros((3, 2)).T, X, X)], rate=1.0), ShapeError, "values, changed in place"),
        (lambda: kernels.descent([(FIXED, X, None)], rate=1.0), ArgumentError, "values, changed .* writeable"),
        (lambda: kernels.adam([(X, X, X, X)], [], **ADAM), ArgumentError, "steps must be as many as changes, 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
