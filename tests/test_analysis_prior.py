"""Convolutions and pools as fully connected layers, and as priors on them (section 9.4 of Deep Learning)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from convnd import Tensor, loss, nn, optim
from convnd.analysis import FullyConnected, as_dense, convolution_prior
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.testing import check_gradient

CASES: list[tuple[nn.Layer, tuple[int, ...]]] = [
    (nn.Conv(3, 3), (6, 2)),
    (nn.Conv(2, 2, activation="tanh"), (4, 3, 1)),
    (nn.Conv(4, (2, 3), stride=(1, 2), padding="same", dilation=(2, 1), groups=2, bias=False), (4, 5, 2)),
    (nn.Conv(2, (2, 1, 2), padding="full"), (2, 3, 2, 1)),
    (nn.Conv(2, 5, padding=7, activation="relu"), (3, 2)),
    (nn.DepthwiseConv(3, padding="causal", multiplier=2), (5, 3)),
    (nn.ConvTranspose(2, 3, stride=2), (3, 3)),
    (nn.ConvTranspose(4, (2, 3), stride=(3, 1), padding=(0, 1), output_padding=(1, 0), groups=2), (3, 2, 2)),
    (nn.MaskedConv(4, 2, ((1, 0, 1, 1), (0, 1, 1, 0))), (4, 2)),
    (nn.MaskedConv(2, (2, 2), ((((1, 1),), ((1, 0),)), (((0, 1),), ((0, 0),))), padding="same"), (3, 3, 1)),
    (nn.Linear(3), (4, 2)),
    (nn.Linear(3, activation="sigmoid"), (5,)),
    (nn.AvgPool(2), (5, 2)),
    (nn.AvgPool(3, stride=2, padding="same", ceil_mode=True), (6, 4, 1)),
    (nn.AvgPool(2, dilation=2), (5, 3, 1)),
    (nn.GlobalPool(), (3, 2, 2)),
    (nn.GlobalPool("sum"), (4, 1)),
    (nn.ProportionalPool((2, 3), mode="mean"), (5, 4, 2)),
    (nn.ProportionalPool(3, mode="sum"), (2, 1)),
]
WEIGHTED = [case for case in CASES if case[0].fixed]


def built(layer: nn.Layer, shape: tuple[int, ...], seed: int = 0) -> nn.Layer:
    """A new one, with a bias that isn't 0."""
    new = nn.from_config(layer.config()).build(len(shape) - 1, shape[-1], seed=seed, dtype="float64")
    if "bias" in new.params:
        new.params["bias"].assign(np.random.default_rng(seed).standard_normal(new.params["bias"].values.shape))
    return new


def names(case: Any) -> str:
    return repr(case) if isinstance(case, nn.Layer) else ""


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=names)
def test_it_computes_what_the_layer_does(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    layer = built(layer, shape)
    full = as_dense(layer, shape)
    x = np.random.default_rng(1).standard_normal((3, *shape))
    y = layer(x)
    assert full.input == shape
    assert full.output == y.shape[1:]
    ours = nn.Sequential(nn.Flatten(), full.linear())(x)
    np.testing.assert_allclose(ours, y.reshape(3, -1), rtol=1e-12, atol=1e-13)
    assert not full.weight[~full.mask].any()


@pytest.mark.parametrize(("layer", "shape"), WEIGHTED, ids=names)
def test_mask_and_ties_are_what_the_layer_itself_shows(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    """With its weights at 1, 2, 3 ... and single inputs at 1, each output is the number of the weight between them."""
    layer = built(layer, shape)
    full = as_dense(layer, shape)
    probe = built(layer, shape)
    own = probe.params["weight"]
    own.assign(np.arange(1.0, own.values.size + 1).reshape(own.values.shape))
    if "bias" in probe.params:
        probe.params["bias"].assign(np.zeros_like(probe.params["bias"].values))
    probe.activation = None  # type: ignore[attr-defined]
    size = int(np.prod(shape))
    numbers = probe(np.eye(size).reshape(size, *shape)).reshape(size, -1)
    np.testing.assert_array_equal(full.tied, np.rint(numbers).astype(int) - 1)
    np.testing.assert_array_equal(full.mask, full.tied >= 0)
    if full.bias is not None:
        np.testing.assert_array_equal(full.bias, layer.params["bias"].values[full.bias_tied])
    own_weight = layer.params["weight"].values.ravel()
    np.testing.assert_array_equal(full.weight, np.where(full.mask, own_weight[full.tied], 0))


def optimizers(parameters: Any) -> list[optim.Optimizer]:
    return [
        optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        optim.Adam(parameters, lr=0.02),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["SGD", "Adam"])
@pytest.mark.parametrize(("layer", "shape"), WEIGHTED, ids=names)
def test_held_to_its_prior_it_takes_the_steps_of_the_layer(layer: nn.Layer, shape: tuple[int, ...], which: int) -> None:
    rng = np.random.default_rng(2)
    layer = built(layer, shape)
    full = as_dense(layer, shape)
    linear = full.linear()
    net = nn.Sequential(nn.Flatten(), linear)
    ours, theirs = optimizers(net.parameters())[which], optimizers(layer.parameters())[which]
    start = full.weight.copy()
    for _ in range(6):
        x = rng.standard_normal((4, *shape))
        target = rng.standard_normal((4, *full.output))
        y, z = layer(Tensor(x)), net(Tensor(x))
        y.backward((y.numpy() - target) / 4)
        z.backward((z.numpy() - target.reshape(4, -1)) / 4)
        full.hold(linear)
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
        now = as_dense(layer, shape)
        np.testing.assert_allclose(linear.params["weight"].values, now.weight, rtol=0, atol=1e-10)
        if now.bias is not None:
            np.testing.assert_allclose(linear.params["bias"].values, now.bias, rtol=0, atol=1e-10)
    assert np.abs(now.weight - start).max() > 0.01


def test_without_the_prior_the_steps_are_others() -> None:
    layer = built(nn.Conv(1, 2), (4, 1))
    full = as_dense(layer, (4, 1))
    linear = full.linear()
    x, g = np.random.default_rng(3).standard_normal((2, 4)), np.ones((2, 3))
    nn.Sequential(nn.Flatten(), linear)(Tensor(x[..., None])).backward(g)
    gradient = linear.params["weight"].grad
    tied = full.tie(gradient)
    assert np.abs(gradient - tied).max() > 0.1
    assert np.abs(gradient[~full.mask]).max() > 0.1
    assert not tied[~full.mask].any()
    layer(Tensor(x[..., None])).backward(g[..., None])
    np.testing.assert_allclose(tied[full.mask], layer.params["weight"].grad.ravel()[full.tied[full.mask]], rtol=1e-12)


def test_a_pool_allows_no_step_at_all() -> None:
    full = as_dense(nn.AvgPool(2), (6, 1))
    rng = np.random.default_rng(4)
    given = rng.standard_normal(full.weight.shape)
    assert not full.tie(given).any()
    np.testing.assert_array_equal(full.project(given), full.weight)
    linear = full.linear()
    nn.Sequential(nn.Flatten(), linear)(Tensor(rng.standard_normal((2, 6, 1)))).backward(np.ones((2, 3)))
    full.hold(linear)
    optim.SGD(linear.parameters(), lr=1.0).step()
    np.testing.assert_array_equal(linear.params["weight"].values, full.weight)


@pytest.mark.parametrize(("layer", "shape"), WEIGHTED, ids=names)
def test_the_projection_is_orthogonal(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    layer = built(layer, shape)
    full = as_dense(layer, shape)
    rng = np.random.default_rng(5)
    given = rng.standard_normal(full.weight.shape)
    nearest = full.project(given)
    np.testing.assert_allclose(full.project(nearest), nearest, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(full.project(full.weight), full.weight, rtol=1e-12, atol=1e-14)
    # What is left stands at right angles to every weight that is allowed.
    other = as_dense(built(layer, shape, seed=7), shape).weight
    assert abs(np.sum((given - nearest) * other)) < 1e-12 * np.abs(given).sum() * np.abs(other).max()
    met = np.bincount(full.tied[full.mask], minlength=layer.params["weight"].values.size).reshape(full.kernel_shape) > 0
    kernel = full.kernel(full.weight)
    assert kernel.shape == layer.params["weight"].values.shape
    np.testing.assert_allclose(kernel[met], layer.params["weight"].values[met], rtol=1e-12)
    assert not kernel[~met].any()


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=names)
def test_the_weak_priors_gradient(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    full = as_dense(built(layer, shape), shape)
    weight = Tensor.parameter(np.random.default_rng(6).standard_normal(full.weight.shape))
    off = weight.values - full.project(weight.values)
    penalty = convolution_prior(weight, full, 2.5)
    assert float(penalty) == pytest.approx(2.5 * float((off**2).sum()), rel=1e-12)
    check_gradient(lambda w: convolution_prior(w, full, 2.5), [weight])
    assert float(convolution_prior(full.weight, full, 1e6)) < 1e-20
    assert float(convolution_prior(weight, full, 0)) == 0


def train(full: FullyConnected, x: np.ndarray, target: np.ndarray, strength: float) -> np.ndarray:
    """The weight to which a fully connected layer comes, from the squared error and the weak prior on the tape."""
    from scipy import optimize

    linear = full.linear()
    net, weight = nn.Sequential(nn.Flatten(), linear), linear.params["weight"]
    inputs = Tensor(x)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight.assign(flat.reshape(weight.values.shape))
        weight.grad = None
        value = loss.mse(net(inputs), target.reshape(len(x), -1)) + convolution_prior(weight, full, strength)
        value.backward()
        return float(value), weight.grad.ravel()

    options = {"gtol": 1e-12, "ftol": 0, "maxiter": 3000}
    found = optimize.minimize(objective, weight.values.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(weight.values.shape)


def test_as_its_strength_grows_the_weak_prior_becomes_the_convolution() -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(8)
    shape = (5, 1)
    layer = nn.Conv(2, 2, bias=False).build(1, 1, dtype="float64")
    full = as_dense(layer, shape)
    x, target = rng.standard_normal((40, *shape)), rng.standard_normal((40, *full.output))

    # What the convolution comes to: least squares in its own weights.
    columns = np.stack([_output_of(layer, x, number) for number in range(4)], axis=1)
    best = np.linalg.lstsq(columns, target.ravel(), rcond=None)[0].reshape(full.kernel_shape)
    layer.params["weight"].assign(best)
    wanted = as_dense(layer, shape).weight

    strengths = [0.0, 0.1, 1.0, 10.0, 100.0, 1000.0]
    apart = [float(np.linalg.norm(train(full, x, target, strength) - wanted)) for strength in strengths]
    assert apart[0] > 0.3
    assert all(later < earlier for earlier, later in pairwise(apart))
    assert apart[-1] < 2e-4
    # Far along, ten times the strength leaves a tenth of the distance.
    assert apart[-2] / apart[-1] == pytest.approx(10, rel=0.02)


def _output_of(layer: nn.Layer, x: np.ndarray, number: int) -> np.ndarray:
    one = np.zeros(layer.params["weight"].values.size)
    one[number] = 1
    layer.params["weight"].assign(one.reshape(layer.params["weight"].values.shape))
    return np.asarray(layer(x)).ravel()


def test_float32_stays() -> None:
    full = as_dense(nn.Conv(2, 2).build(ndim=1, channels=1), (5, 1))
    assert full.weight.dtype == np.float32
    given = np.ones(full.weight.shape, np.float32)
    assert full.tie(given).dtype == full.project(given).dtype == full.kernel(given).dtype == np.float32
    penalty = convolution_prior(Tensor.parameter(given), full, 0.5)
    assert penalty.dtype == np.float32
    with pytest.raises(DtypeError, match="gradient must have the dtype of the layer, float32"):
        full.tie(given.astype(np.float64))


CONV = nn.Conv(1, 2).build(ndim=1, channels=1, dtype="float64")


@pytest.mark.parametrize(
    ("layer", "shape", "error", "message"),
    [
        (nn.MaxPool(2), (4, 1), ArgumentError, "max pooling isn't linear"),
        (nn.GlobalPool("max"), (4, 1), ArgumentError, "max pooling isn't linear"),
        (nn.ProportionalPool(2), (4, 1), ArgumentError, "max pooling isn't linear"),
        (nn.Sequential(nn.Conv(1, 2)), (4, 1), ArgumentError, r"one layer at a time, .* Received: Sequential"),
        (nn.BatchNorm(), (4, 1), ArgumentError, "as_dense takes one layer at a time, of AvgPool, Conv, "),
        (nn.SeparableConv(1, 2), (4, 1), ArgumentError, "as_dense takes one layer at a time"),
        (nn.LpPool(2), (4, 1), ArgumentError, "as_dense takes one layer at a time"),
        (nn.AvgPool(1, padding=2), (4, 1), ShapeError, "without a true position"),
        (nn.Conv(1, 2), (4, 1), ArgumentError, r"call build\(ndim, channels\) before as_dense"),
        (CONV, (4, 2), ShapeError, "Conv was built for ndim=1, channels=1. Received: ndim=1, channels=2"),
        (CONV, (1, 1), ShapeError, "sample 0 is too short"),
        (CONV, 4, ShapeError, r"shape must be a tuple \(\*spatial, channels\)"),
        (CONV, (100_000, 1), ArgumentError, r"at most 134,217,728 entries .* Received: 100,000 inputs and 99,999"),
        (np.ones(3), (4, 1), ArgumentError, "layer must be a convnd.nn.Layer"),
    ],
)
def test_errors(layer: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_dense(layer, shape)


def test_errors_of_what_it_gives() -> None:
    full = as_dense(CONV, (4, 1))
    with pytest.raises(ShapeError, match=r"gradient must have shape \(4, 3\). Received: gradient of shape \(3, 4\)"):
        full.tie(np.ones((3, 4)))
    with pytest.raises(ShapeError, match=r"weight must have shape \(4, 3\)"):
        convolution_prior(np.ones((3, 4)), full, 1.0)
    for strength in (-1.0, float("inf"), float("nan"), True):
        with pytest.raises(ArgumentError, match="strength must be a number of at least 0, and finite"):
            convolution_prior(np.ones((4, 3)), full, strength)
