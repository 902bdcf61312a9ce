"""Scaled and hard activations, magnitude and parametric rectification."""

import json

import numpy as np
import pytest

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

SIMPLE = ("selu", "hardsigmoid", "hardswish", "absolute")
KINKS = [-40.0, -4.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 4.0, 40.0]


def pytorchs(name):
    torch = pytest.importorskip("torch")
    return torch.abs if name == "absolute" else getattr(torch.nn.functional, name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SIMPLE)
def test_they_are_the_reference(rng, name, dtype):
    x = np.concatenate([4 * rng.standard_normal(200), KINKS]).astype(dtype).reshape(1, 42, 5)
    y = ops.activate(x, name)
    assert y.dtype == dtype
    tolerance = 3e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y, reference.activate(x, name), rtol=tolerance, atol=tolerance)
    assert getattr(ops, name)(x).tobytes() == y.tobytes()
    assert np.isnan(ops.activate(np.full((1, 1), np.nan, dtype), name)).all()


@pytest.mark.parametrize("name", SIMPLE)
def test_values_and_gradients_are_pytorchs_at_the_kinks_too(rng, name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([4 * rng.standard_normal(50), KINKS])
    t = torch.from_numpy(x.copy()).requires_grad_()
    wanted = pytorchs(name)(t)
    wanted.sum().backward()
    c = Tensor(x[None], requires_grad=True)
    y = ops.activate(c, name)
    y.backward(np.ones((1, len(x))))
    np.testing.assert_allclose(y.numpy()[0], wanted.detach().numpy(), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(c.grad[0], t.grad.numpy(), rtol=1e-7, atol=1e-14)  # PyTorch has a sixth in float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_the_law(draw, ndim, dtype):
    slope = np.array([0.1, 2.0, -1.0], dtype)
    for op in (*(lambda x, n=name: ops.activate(x, n) for name in SIMPLE), lambda x: ops.prelu(x, slope)):
        check_law(op, draw(ndim, 3, dtype, count=6))


@pytest.mark.parametrize("name", SIMPLE)
def test_gradients(rng, name):
    check_gradient(lambda x: ops.activate(x, name), [Tensor(3 * rng.standard_normal((2, 7, 3)), requires_grad=True)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prelu_is_the_reference_on_each_sample(rng, draw, dtype):
    samples = draw(2, 4, dtype)
    slope = rng.standard_normal(4).astype(dtype)
    for found, sample in zip(ops.prelu(Ragged.pack(samples), slope), samples, strict=True):
        np.testing.assert_array_equal(found, reference.prelu(sample, slope))


def test_prelu_is_pytorchs_at_the_kink_too(rng):
    torch = pytest.importorskip("torch")
    x, slope, u = rng.standard_normal((2, 6, 3)), rng.standard_normal(3), rng.standard_normal((2, 6, 3))
    x[:, ::3] = 0
    t = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
    ts = torch.from_numpy(slope.copy()).requires_grad_()
    wanted = torch.nn.functional.prelu(t, ts)
    (wanted * torch.from_numpy(np.ascontiguousarray(np.moveaxis(u, -1, 1)))).sum().backward()
    c, cs = Tensor(x, requires_grad=True), Tensor.parameter(slope)
    y = ops.prelu(c, cs)
    y.backward(u)
    np.testing.assert_array_equal(np.moveaxis(y.numpy(), -1, 1), wanted.detach().numpy())
    np.testing.assert_allclose(np.moveaxis(c.grad, -1, 1), t.grad.numpy(), atol=1e-14)
    np.testing.assert_allclose(cs.grad, ts.grad.numpy(), atol=1e-13)


def test_prelus_gradients(rng, draw):
    x, slope = Tensor(Ragged.pack(draw(2, 3)), requires_grad=True), Tensor.parameter(rng.standard_normal(3))
    check_gradient(ops.prelu, [x, slope])


def test_selu_keeps_mean_0_and_variance_1(rng):
    y = ops.selu(rng.standard_normal((1000, 200)))
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02


@pytest.mark.parametrize("name", SIMPLE)
def test_the_layer_takes_the_names(rng, name):
    layer = nn.Activation(name)
    assert nn.from_config(json.loads(json.dumps(layer.config()))).config() == layer.config()
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    assert layer(x).tobytes() == ops.activate(x, name).tobytes()
    with pytest.raises(ArgumentError, match=rf"follow the layer with Activation\('{name}'\)"):
        nn.Conv(2, 3, activation=name)


def test_prelu_layer(rng):
    layer = nn.PReLU(0.1).build(2, 3)
    assert eval(repr(layer), dict(vars(nn))).config() == layer.config() == {"type": "PReLU", "init": 0.1}
    assert repr(nn.PReLU()) == "PReLU()"
    x = rng.standard_normal((2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(x), np.where(x > 0, x, np.float32(0.1) * x))
    assert layer.params["slope"].values.tolist() == [np.float32(0.1)] * 3
    t = Tensor(x)
    layer(t).backward(np.ones_like(x))
    np.testing.assert_allclose(layer.params["slope"].grad, np.minimum(x, 0).sum((0, 1, 2)), rtol=1e-5)
    assert nn.summary(nn.PReLU(), (5, 4, 3)).parameters == 3


def test_messages():
    x = np.ones((2, 5, 3))
    with pytest.raises(ShapeError, match=r"slope must have shape \(3,\). Received: slope of shape \(1,\)"):
        ops.prelu(x, np.ones(1))
    with pytest.raises(DtypeError, match="slope must have the dtype of x"):
        ops.prelu(x, np.ones(3, np.float32))
    with pytest.raises(ArgumentError, match=r"name must be one of relu, .*, selu, hardsigmoid, hardswish, absolute"):
        ops.activate(x, "swish")
