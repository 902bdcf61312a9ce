"""Every public operation keeps what docs/operations.md says of it."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from operations import CHANNELS, OPERATIONS, SIZE, table

from convnd import Ragged, Tensor, nn, ops
from convnd.bench.cases import CASES
from convnd.testing import check_gradient, check_law

HERE = Path(__file__).parent
ENTRIES = sorted(OPERATIONS)
WITH_RANKS = [name for name in ENTRIES if OPERATIONS[name].ranks is True]


def test_every_public_operation_has_an_entry():
    functions = {name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    assert functions == set(OPERATIONS)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_true(name):
    """The layer exists, the test names the operation and its library, the benchmark has the case, a reason is words."""
    op = OPERATIONS[name]
    assert op.layer in nn.Layer.types or op.layer.startswith("no layer: ")
    library, _, file = op.oracle.partition(": ")
    if file.startswith("test_"):
        text = (HERE / file).read_text()
        module = {"PyTorch": "torch", "NumPy": "np.", "SciPy": "scipy", "JAX": "jax"}[library]
        assert module in text
        assert name in text or op.layer in text
    else:
        assert " " in op.oracle
    assert op.bench in {case.name for case in CASES} or " " in op.bench
    assert all(answer is True or " " in answer for answer in (op.ragged, op.gradient, op.ranks))
    documented = inspect.getdoc(getattr(ops, name))
    assert documented is not None
    assert ">>> " in documented


def drawn(ndim, dtype, rng, one_shape=False, count=4):
    shapes = np.full((count, ndim), SIZE) if one_shape else rng.integers(3, 6, size=(count, ndim))
    shapes[-1] = shapes[0]
    return [rng.standard_normal((*shape, CHANNELS)).astype(dtype) for shape in shapes]


def made(name, ndim, dtype, rng):
    """The call with parameters drawn in a dtype."""
    return OPERATIONS[name].make(ndim, lambda *shape: rng.standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("name", [name for name in WITH_RANKS if OPERATIONS[name].ragged is True])
def test_the_law_in_every_rank(name, ndim, rng):
    call, parameters = made(name, ndim, np.float32, rng)
    check_law(lambda x: call(x, *parameters), drawn(ndim, np.float32, rng))


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("name", [name for name in WITH_RANKS if OPERATIONS[name].gradient is True])
def test_gradients_in_every_rank(name, ndim, rng):
    one_shape = OPERATIONS[name].ragged == "it is for samples of one shape"
    call, parameters = made(name, ndim, np.float64, rng)
    xs = drawn(ndim, np.float64, rng, one_shape, count=2)
    x = Tensor(Ragged.pack(xs), requires_grad=name != "embedding")
    tensors = [Tensor.parameter(value) for value in parameters]
    given = tensors if name == "embedding" else [x, *tensors]

    def function(*tensors):
        return call(x, *tensors) if name == "embedding" else call(*tensors)

    check_gradient(function, given, draws=1, tolerance=2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", WITH_RANKS)
def test_a_result_has_the_dtype_and_the_kind_of_its_operand(name, dtype, rng):
    if name == "conv_weight":
        return  # gives a weight
    one_shape = OPERATIONS[name].ragged == "it is for samples of one shape"
    call, parameters = made(name, 2, dtype, rng)
    xs = drawn(2, dtype, rng, one_shape=True)
    dense, ragged = call(np.stack(xs), *parameters), call(Ragged.pack(xs), *parameters)
    assert isinstance(dense, np.ndarray)
    assert isinstance(ragged, Ragged)
    assert dense.dtype == ragged.values.dtype == dtype
    np.testing.assert_array_equal(dense.reshape(ragged.values.shape), ragged.values)
    assert one_shape or isinstance(call(Ragged.pack(drawn(2, dtype, rng)), *parameters), Ragged)


def test_the_page_is_up_to_date():
    page = HERE.parent / "docs" / "operations.md"
    assert page.read_text() == table(), "run: python tests/operations.py > docs/operations.md"
