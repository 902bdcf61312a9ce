"""Vectors for integers, as an operation and as a network's first layer."""

import json

import numpy as np
import pytest

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law


def draws(rng, ndim, count=5, rows=7, dtype=np.int64):
    """Integer samples (*S, 1), the last as large as the first."""
    shapes = [tuple(rng.integers(2, 6, ndim)) for _ in range(count - 1)]
    return [rng.integers(0, rows, (*shape, 1)).astype(dtype) for shape in [*shapes, shapes[0]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ints", [np.int8, np.uint16, np.int64, np.uint64])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_it_is_the_reference_on_each_sample(rng, ndim, ints, dtype):
    samples, table = draws(rng, ndim, dtype=ints), rng.standard_normal((7, 3)).astype(dtype)
    result = ops.embedding(Ragged.pack(samples), table)
    assert isinstance(result, Ragged)
    for found, sample in zip(result, samples, strict=True):
        assert found.tobytes() == reference.embedding(sample[..., 0], table).tobytes()
    dense = np.stack([samples[0][..., 0], samples[-1][..., 0]])
    y = ops.embedding(dense, table)
    assert type(y) is np.ndarray
    assert y.shape == (*dense.shape, 3)
    assert y.tobytes() == ops.embedding(Ragged.pack([samples[0], samples[-1]]), table).values.tobytes()
    check_law(lambda x: ops.embedding(x if isinstance(x, Ragged) else x[..., 0], table), samples)


def test_the_gradient_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    numbers, table = rng.integers(0, 9, (4, 6, 5)), rng.standard_normal((11, 3))
    u = rng.standard_normal((4, 6, 5, 3))
    t = torch.from_numpy(table.copy()).requires_grad_()
    wanted = torch.nn.functional.embedding(torch.from_numpy(numbers), t)
    (wanted * torch.from_numpy(u)).sum().backward()
    p = Tensor.parameter(table)
    y = ops.embedding(numbers, p)
    assert isinstance(y, Tensor)
    assert y.kind == "dense"
    y.backward(u)
    np.testing.assert_array_equal(y.numpy(), wanted.detach().numpy())
    np.testing.assert_allclose(p.grad, t.grad.numpy(), atol=1e-13)
    assert not p.grad[9:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_is_summed_in_the_order_of_positions(rng, dtype):
    """The same bits dense and ragged, and in float64 for float32 too."""
    numbers, u = rng.integers(0, 4, (6, 50)), rng.standard_normal((6, 50, 3)).astype(dtype)
    grads = []
    for given, g in (
        (numbers, u),
        (Ragged.pack(list(numbers[..., None])), Ragged.pack(list(u))),
    ):
        p = Tensor.parameter(np.zeros((4, 3), dtype))
        ops.embedding(given, p).backward(g)
        grads.append(p.grad)
    assert grads[0].tobytes() == grads[1].tobytes()
    for row in range(4):
        total = np.zeros(3)
        for one in u[numbers == row]:
            total += one
        np.testing.assert_array_equal(grads[0][row], total.astype(dtype))


def test_numeric_gradient(rng):
    numbers, table = Ragged.pack(draws(rng, 2)), Tensor.parameter(rng.standard_normal((7, 3)))
    w = Tensor.parameter(rng.standard_normal((2, 2, 3, 2)))
    check_gradient(lambda table, w: ops.conv(ops.embedding(numbers, table), w, activation="tanh"), [table, w])


@pytest.mark.parametrize("ndim", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layer_takes_whole_numbers_in_one_channel(rng, ndim, dtype):
    samples = draws(rng, ndim)
    layer = nn.Embedding(7, 3).build(ndim, 1, seed=2, dtype=dtype)
    x = Ragged.pack([sample.astype(dtype) for sample in samples])
    y = layer(x)
    assert y.values.dtype == dtype
    assert y.values.tobytes() == ops.embedding(Ragged.pack(samples), layer.params["table"].values).values.tobytes()
    check_law(layer, x.unpack())
    spec = layer.output(nn.Spec(ndim, 1, (4,) * ndim))
    assert (spec.ndim, spec.channels, spec.shape) == (ndim, 3, (4,) * ndim)


def test_a_network_learns_its_table(rng):
    net = nn.Sequential(nn.Embedding(6, 4), nn.Conv(3, 3, padding="same", activation="tanh"), nn.GlobalPool())
    net.build(1, 1, dtype="float64")
    assert nn.from_config(json.loads(json.dumps(net.config()))).config() == net.config()
    assert repr(net[0]) == "Embedding(6, 4)"
    assert nn.summary(net, (9, 1)).rows[0].parameters == 24
    x = Ragged.pack([rng.integers(0, 6, (size, 1)).astype(np.float64) for size in (5, 9)])
    check_gradient(lambda *_: net(Tensor(x)), net.parameters())


def test_the_table_starts_as_a_standard_normal():
    values = nn.Embedding(4000, 8).build(1, 1, seed=1).params["table"].values
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


TABLE = np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.embedding(np.array([[0, 1], [3, 0]]), TABLE), ArgumentError, "sample 1: numbers .* Received: 3"),
        (lambda: ops.embedding(np.array([[-1]]), TABLE), ArgumentError, "at least 0 and below 3, .* Received: -1"),
        (
            lambda: ops.embedding(Ragged(np.array([[0], [0], [9]]), Layout([[2], [1]])), TABLE),
            ArgumentError,
            "sample 1: numbers must be",
        ),
        (lambda: ops.embedding(np.ones((2, 3)), TABLE), DtypeError, r"cast them: numbers.astype\(np.int64\)"),
        (lambda: ops.embedding(np.ones((2, 3), bool), TABLE), DtypeError, "numbers must be integers"),
        (lambda: ops.embedding(Tensor(np.ones((2, 3))), TABLE), DtypeError, "Received: a Tensor, which holds floats"),
        (lambda: ops.embedding(np.array(1), TABLE), ShapeError, r"\(samples, \*shape\) or a Ragged"),
        (
            lambda: ops.embedding(Ragged(np.zeros((3, 2), int), Layout([[3]])), TABLE),
            ShapeError,
            "one channel. Received: <Ragged of 1 samples, 2 channels",
        ),
        (lambda: ops.embedding(np.array([0]), np.ones(3)), ShapeError, r"table must be \(K, C\)"),
        (lambda: ops.embedding(np.array([0]), np.ones((2, 2), int)), DtypeError, "table must be float32 or float64"),
        (lambda: nn.Embedding(4, 2).build(1, 2), ShapeError, "Embedding takes one channel of whole numbers"),
        (lambda: nn.Embedding(2**25, 2), ArgumentError, "rows must be at most 16777216"),
        (lambda: nn.Embedding(0, 2), ArgumentError, "rows must be an int of at least 1"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("wrong", [4.0, -1.0, 0.5, np.nan, np.inf])
def test_the_layer_refuses_what_is_no_number_of_its_table(wrong):
    layer = nn.Embedding(4, 2).build(1, 1)
    x = np.zeros((3, 5, 1), np.float32)
    x[2, 1] = wrong
    with pytest.raises(ArgumentError, match=rf"sample 2: Embedding takes whole numbers .* below 4. Received: {wrong}"):
        layer(x)
    with pytest.raises(DtypeError, match=r"x.astype\(np.float32\)"):
        layer(np.zeros((3, 5, 1), int))
