"""The matrix of a convolution: against the convolution, its transpose, and SciPy's Toeplitz matrices."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import convnd as cn
from convnd import ops
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout
from convnd.testing import check_adjoint

pytest.importorskip("scipy")

PADDINGS = ("valid", "same", "same_lower", "causal", "full", 1)


def draw(rng: np.random.Generator, ndim: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A sample (*S, C), a weight and options for it."""
    groups = int(rng.integers(1, 4))
    terms, filters = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    kernel, dilation, stride = (tuple(rng.integers(1, 4, ndim).tolist()) for _ in range(3))
    padding = PADDINGS[rng.integers(len(PADDINGS))]
    if rng.integers(3) == 0:
        padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 5, (ndim, 2)))
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    shape = tuple(e + int(rng.integers(0, 4)) for e in extents)
    options = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "flip": bool(rng.integers(2)),
    }  # fmt: skip
    return rng.standard_normal((*shape, terms * groups)), rng.standard_normal((*kernel, terms, filters)), options


@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_it_is_the_convolution_and_its_transpose_the_transposed_one(ndim: int) -> None:
    rng = np.random.default_rng(ndim)
    for _ in range(25 if ndim < 4 else 5):
        x, w, options = draw(rng, ndim)
        matrix = cn.toeplitz(w, x.shape[:-1], **options)
        y = ops.conv(x[None], w, **options)[0]
        assert matrix.shape == (y.size, x.size)
        np.testing.assert_allclose(matrix @ x.ravel(), y.ravel(), rtol=1e-12, atol=1e-12)
        g = rng.standard_normal(y.shape)
        back = ops.conv_transpose(g[None], w, like=Layout([x.shape[:-1]]), **options)
        np.testing.assert_allclose(matrix.T @ g.ravel(), back.ravel(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_convolution_and_matrix_are_adjoint(ndim: int) -> None:
    rng = np.random.default_rng(10 + ndim)
    for _ in range(5):
        x, w, options = draw(rng, ndim)
        matrix = cn.toeplitz(w, x.shape[:-1], **options)
        y = rng.standard_normal(ops.conv(x[None], w, **options).shape)
        check_adjoint(
            lambda u, w=w, options=options: ops.conv(u, w, **options),
            lambda v, matrix=matrix, x=x: (matrix.T @ v.ravel()).reshape(1, *x.shape),
            x[None],
            y,
        )


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_convolution_commutes_and_correlation_does_not(ndim: int) -> None:
    rng = np.random.default_rng(20 + ndim)
    a, b = (rng.standard_normal(tuple(rng.integers(2, 5, ndim))) for _ in range(2))

    def of(kernel: np.ndarray, sample: np.ndarray, flip: bool) -> Any:
        return cn.toeplitz(kernel[..., None, None], sample.shape, padding="full", flip=flip) @ sample.ravel()

    np.testing.assert_allclose(of(a, b, flip=True), of(b, a, flip=True), rtol=1e-12, atol=1e-14)
    assert not np.allclose(of(a, b, flip=False), of(b, a, flip=False))
    # What they are instead: each the other in reverse.
    np.testing.assert_allclose(of(a, b, flip=False), of(b, a, flip=False)[::-1], rtol=1e-12, atol=1e-14)


def test_one_axis_is_scipys_toeplitz_matrix() -> None:
    from scipy import linalg

    rng = np.random.default_rng(30)
    for size, taps in ((5, 2), (7, 7), (4, 1)):
        w = rng.standard_normal(taps)
        first_row, first_column = np.zeros(size), np.zeros(size - taps + 1)
        first_row[:taps], first_column[0] = w, w[0]
        ours = cn.toeplitz(w.reshape(-1, 1, 1), size)
        np.testing.assert_array_equal(ours.toarray(), linalg.toeplitz(first_column, first_row))
        full = cn.toeplitz(w.reshape(-1, 1, 1), size, padding="full", flip=True)
        np.testing.assert_array_equal(full.toarray(), linalg.convolution_matrix(w, size, "full"))


def test_two_axes_are_doubly_block_toeplitz() -> None:
    w = np.random.default_rng(31).standard_normal((2, 3, 1, 1))
    blocks = cn.toeplitz(w, (4, 5)).toarray().reshape(3, 3, 4, 5)
    for q1, q2, p1, p2 in np.ndindex(blocks.shape):
        j1, j2 = p1 - q1, p2 - q2
        inside = 0 <= j1 < 2 and 0 <= j2 < 3
        assert blocks[q1, q2, p1, p2] == (w[j1, j2, 0, 0] if inside else 0)


def test_it_stores_what_is_under_the_window_and_nothing_else() -> None:
    edges = cn.toeplitz(np.array([-1.0, 1.0], np.float32).reshape(1, 2, 1, 1), (280, 320))
    assert edges.nnz == 178_640
    assert edges.shape == (280 * 319, 280 * 320)
    assert edges.dtype == np.float32
    assert edges.format == "csr"
    assert edges.has_canonical_format
    assert cn.toeplitz(np.array([0.0, 1.0]).reshape(2, 1, 1), 4).nnz == 6
    assert cn.toeplitz(np.ones((3, 1, 1)), 4, padding="same").nnz == 10
    assert cn.toeplitz(np.ones((3, 1, 1)), 4, padding=(9,)).shape == (20, 4)


def test_a_parameter_will_do() -> None:
    layer = cn.nn.Conv(2, 3).build(ndim=1, channels=1, dtype="float64")
    x = np.random.default_rng(32).standard_normal((1, 6, 1))
    matrix = cn.toeplitz(layer.params["weight"], 6)
    np.testing.assert_allclose(matrix @ x.ravel(), layer(x).ravel(), rtol=1e-12)


@pytest.mark.parametrize(
    ("weight", "shape", "options", "error", "message"),
    [
        (np.ones(3), 4, {}, ShapeError, r"weight must be \(\*kernel, C / groups, F\)"),
        (np.ones((3, 1, 1), int), 4, {}, DtypeError, "weight must be float32 or float64"),
        (np.ones((3, 1, 1)), 2, {}, ShapeError, "sample 0 is too short for the window"),
        (np.ones((3, 1, 1)), (4, 4), {}, ArgumentError, "shape must be an int of at least 1, or 1 of them"),
        (np.ones((3, 1, 3)), 4, {"groups": 2}, ShapeError, "groups must divide the 3 filters. Received: groups=2"),
        (np.ones((3, 1, 3)), 4, {"groups": 0}, ArgumentError, "groups must be an int of at least 1"),
        (np.ones((3, 1, 1)), 4, {"padding": "some"}, ArgumentError, "padding must be one of"),
    ],
)
def test_errors(weight: Any, shape: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cn.toeplitz(weight, shape, **options)


def test_without_scipy_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r'pip install "convnd\[analysis\]"'):
        cn.toeplitz(np.ones((1, 1, 1)), 1)
