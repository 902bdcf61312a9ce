"""Norms of a sample, of a neighbourhood and of a weight: the specification, PyTorch, the law, gradients, messages."""

import copy
import json

import numpy as np
import pytest
from scipy import ndimage

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

RANKS = [0, 1, 2, 3, 4]


def leaf(x):
    return Tensor(x, requires_grad=True)


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def norms(gamma, beta, ndim):
    """name -> (operation on a batch, the specification of one sample)."""
    table = {
        "layer": (lambda x: ops.layer_norm(x, gamma, beta), lambda x: reference.layer_norm(x, gamma, beta)),
        "groups": (
            lambda x: ops.group_norm(x, 2, gamma, beta, eps=1e-3),
            lambda x: reference.group_norm(x, 2, gamma, beta, eps=1e-3),
        ),
        "one group": (
            lambda x: ops.group_norm(x, 1, gamma, beta),
            lambda x: reference.group_norm(x, 1, gamma, beta),
        ),
        "response": (
            lambda x: ops.local_response_norm(x, 3, alpha=0.7, beta=0.6, k=1.5),
            lambda x: reference.local_response_norm(x, 3, alpha=0.7, beta=0.6, k=1.5),
        ),
        "wide response": (
            lambda x: ops.local_response_norm(x, 14, alpha=2.0),
            lambda x: reference.local_response_norm(x, 14, alpha=2.0),
        ),
        "contrast": (
            lambda x: ops.local_contrast_norm(x, 3),
            lambda x: reference.local_contrast_norm(x, 3),
        ),
        "wide contrast": (
            lambda x: ops.local_contrast_norm(x, [5, 3, 1, 7][:ndim], sigma=1.3, eps=0.6),
            lambda x: reference.local_contrast_norm(x, [5, 3, 1, 7][:ndim], sigma=1.3, eps=0.6),
        ),
    }
    if ndim:  # with no axes every channel would be alone
        table["instance"] = (
            lambda x: ops.instance_norm(x, gamma, beta),
            lambda x: reference.instance_norm(x, gamma, beta),
        )
    return table


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
def test_they_are_the_reference_on_each_sample(rng, draw, ndim, dtype):
    samples = [5 * s + 2 for s in draw(ndim, 6, dtype, count=3, low=1 + (ndim == 1), high=4 if ndim > 2 else 6)]
    gamma, beta = rng.standard_normal((2, 6)).astype(dtype)
    if ndim:
        samples[0] = rng.standard_normal((2, *[1] * (ndim - 1), 6)).astype(dtype)  # smaller than any window
    tolerance = 1e-12 if dtype == np.float64 else 3e-6
    for name, (op, wanted) in norms(gamma, beta, ndim).items():
        result = op(Ragged.pack(samples))
        assert result.values.dtype == dtype
        for found, sample in zip(result, samples, strict=True):
            np.testing.assert_allclose(found, wanted(sample), rtol=tolerance, atol=10 * tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
def test_the_law_holds_for_values_and_gradients_to_the_input(rng, draw, ndim, dtype):
    gamma, beta = rng.standard_normal((2, 6)).astype(dtype)
    samples = draw(ndim, 6, dtype, count=6, low=2, high={0: 4, 1: 300, 2: 20}.get(ndim, 5))
    for name, (op, _) in norms(gamma, beta, ndim).items():

        def gradient(x, op=op):
            t = leaf(x)
            y = op(t)
            y.backward((y * y).numpy())
            return t.grad

        for what, function in (("values", op), ("gradient", gradient)):
            try:
                check_law(function, samples)
            except AssertionError as error:
                raise AssertionError(f"{name}, {what}: {error}") from None


@pytest.mark.parametrize("channels", [2, 7, 8, 17, 130])
def test_the_law_holds_for_any_number_of_channels(rng, channels):
    """Sums over channels are pairwise from 8 terms on: whatever is batched with what."""
    samples = [rng.standard_normal((size, channels)).astype(np.float32) for size in (700, 3, 41, 700)]
    for op in (ops.layer_norm, lambda x: ops.group_norm(x, 1), lambda x: ops.local_response_norm(x, 5, alpha=1.0)):
        check_law(op, samples)
    check_law(lambda x: ops.local_contrast_norm(x, 5), samples)


def test_a_large_mean_costs_no_digits(rng):
    """Statistics are in float64, from float32 numbers whose mean is large beside their spread."""
    x = (rng.standard_normal((2, 50, 40, 4)) + 3000).astype(np.float32)
    wanted = ops.instance_norm(x.astype(np.float64))
    np.testing.assert_allclose(ops.instance_norm(x), wanted, atol=1e-6)
    np.testing.assert_allclose(ops.group_norm(x, 2), ops.group_norm(x.astype(np.float64), 2), atol=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_values_and_gradients_are_pytorchs(rng, affine):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x, (gamma, beta) = 2 * rng.standard_normal((3, 5, 4, 6)) + 1, rng.standard_normal((2, 6))
    u = rng.standard_normal(x.shape)
    cases = {
        "layer": (lambda x, g, b: ops.layer_norm(x, g, b), lambda x, g, b: f.layer_norm(x, (6,), g, b), False),
        "instance": (
            lambda x, g, b: ops.instance_norm(x, g, b),
            lambda x, g, b: f.instance_norm(x, weight=g, bias=b),
            True,
        ),
        "group": (lambda x, g, b: ops.group_norm(x, 3, g, b), lambda x, g, b: f.group_norm(x, 3, g, b), True),
        "one group": (lambda x, g, b: ops.group_norm(x, 1, g, b), lambda x, g, b: f.group_norm(x, 1, g, b), True),
    }
    for size in (1, 2, 3, 5, 9):
        options = {"alpha": 0.3, "beta": 0.75, "k": 2.0}
        cases[f"response {size}"] = (
            lambda x, g, b, size=size: ops.local_response_norm(x, size, alpha=0.3, beta=0.75, k=2.0),
            lambda x, g, b, size=size, options=options: f.local_response_norm(x, size, **options),
            True,
        )
    for name, (ours, theirs, first) in cases.items():
        t = torch.from_numpy(channels_first(x) if first else x.copy()).requires_grad_()
        tg, tb = (torch.from_numpy(v.copy()).requires_grad_() for v in (gamma, beta))
        wanted = theirs(t, *((tg, tb) if affine else (None, None)))
        (wanted * torch.from_numpy(channels_first(u) if first else u)).sum().backward()
        c, cg, cb = leaf(x), Tensor.parameter(gamma), Tensor.parameter(beta)
        y = ours(c, *((cg, cb) if affine else (None, None)))
        y.backward(u)
        for found, other in ((y.numpy(), wanted.detach().numpy()), (c.grad, t.grad.numpy())):
            np.testing.assert_allclose(channels_first(found) if first else found, other, atol=1e-11, err_msg=name)
        if affine and "response" not in name:
            np.testing.assert_allclose(cg.grad, tg.grad.numpy(), atol=1e-11, err_msg=name)
            np.testing.assert_allclose(cb.grad, tb.grad.numpy(), atol=1e-11, err_msg=name)


def test_response_normalisation_is_alexnets_by_its_numbers(rng):
    """k = 2, n = 5, alpha = 1e-4, beta = 0.75, where alpha isn't divided by n."""
    x = 100 * rng.standard_normal((1, 1, 1, 7))
    y = ops.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2)
    for i in range(7):
        total = sum(x[0, 0, 0, j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))
        np.testing.assert_allclose(y[0, 0, 0, i], x[0, 0, 0, i] / (2 + 1e-4 * total) ** 0.75)


def test_contrast_normalisation_is_scipys_filters(rng):
    """The Gaussian of SciPy, over the sample and over ones, whose quotient is the mean over true positions."""
    x = rng.standard_normal((11, 9, 3)) + 2

    def around(field):
        blurred = [
            ndimage.gaussian_filter(a, 1.5, mode="constant", truncate=3 / 1.5) for a in (field, np.ones_like(field))
        ]
        return (blurred[0] / blurred[1])[..., None]

    v = x - around(x.mean(-1))
    s = np.sqrt(around((v * v).mean(-1)))
    y = ops.local_contrast_norm(x[None], 7, sigma=1.5)[0]
    np.testing.assert_allclose(y, v / np.maximum(s, s.mean()), atol=1e-12)


def test_contrast_normalisation_takes_light_and_gain_away(rng):
    x = rng.standard_normal((1, 12, 10, 3))
    y = ops.local_contrast_norm(x, 5)
    np.testing.assert_allclose(ops.local_contrast_norm(7 * x + 100, 5), y, atol=1e-10)
    flat = ops.local_contrast_norm(np.full((1, 12, 10, 3), 0.3, np.float32), 5)
    assert np.abs(flat).max() < 1e-6  # where nothing varies, rounding isn't blown up


@pytest.mark.parametrize("ndim", RANKS)
def test_gradients(rng, draw, ndim):
    x = leaf(Ragged.pack(draw(ndim, 6, count=3, low=2, high=5)))
    g, b = Tensor.parameter(rng.standard_normal(6)), Tensor.parameter(rng.standard_normal(6))
    check_gradient(lambda x, g, b: ops.layer_norm(x, g, b), [x, g, b], draws=1)
    check_gradient(lambda x, g, b: ops.group_norm(x, 3, g, b), [x, g, b], draws=1)
    check_gradient(lambda x, g: ops.group_norm(x, 1, g), [x, g], draws=1)
    check_gradient(lambda x, b: ops.group_norm(x, 2, None, b), [x, b], draws=1)
    if ndim:
        check_gradient(lambda x, g, b: ops.instance_norm(x, g, b), [x, g, b], draws=1)
    for size in (1, 2, 5, 20):
        check_gradient(lambda x, n=size: ops.local_response_norm(x, n, alpha=0.8, beta=1.2), [x], draws=1)
    for eps in (1e-4, 0.7, 3.0):  # below every divisor, among them, above them all
        check_gradient(lambda x, e=eps: ops.local_contrast_norm(x, 3, sigma=0.8, eps=e), [x], draws=1)


def test_gradients_where_nothing_varies_are_finite():
    x = leaf(np.full((2, 5, 4, 3), 0.5))
    for op in (lambda x: ops.local_contrast_norm(x, 3), ops.layer_norm, ops.instance_norm):
        x.grad = None
        y = op(x)
        y.backward(np.ones(x.numpy().shape))
        assert np.isfinite(y.values).all()
        assert np.isfinite(x.grad).all()


def test_what_needs_no_gradient_gets_none(rng):
    x, g, b = Tensor(rng.standard_normal((2, 4, 3))), Tensor.parameter(np.ones(3)), Tensor.parameter(np.ones(3), False)
    y = ops.layer_norm(x, g, b)
    y.backward(np.ones((2, 4, 3)))
    assert x.grad is None
    assert b.grad is None
    assert g.grad.shape == (3,)


def test_weight_norm_is_the_reference_and_pytorchs(rng):
    torch = pytest.importorskip("torch")
    for shape in ((7, 5), (3, 2, 4, 6), (1, 1)):
        v, g, u = rng.standard_normal(shape), rng.standard_normal(shape[-1]), rng.standard_normal(shape)
        pv, pg = Tensor.parameter(v), Tensor.parameter(g)
        w = ops.weight_norm(pv, pg)
        np.testing.assert_allclose(w.values, reference.weight_norm(v, g), atol=1e-13)
        assert ops.weight_norm(v, g).tobytes() == w.values.tobytes()
        w.backward(u)
        tv = torch.from_numpy(np.ascontiguousarray(np.moveaxis(v, -1, 0))).requires_grad_()
        tg = torch.from_numpy(g.reshape(-1, *[1] * (v.ndim - 1))).requires_grad_()
        wanted = torch._weight_norm(tv, tg, 0)
        (wanted * torch.from_numpy(np.ascontiguousarray(np.moveaxis(u, -1, 0)))).sum().backward()
        np.testing.assert_allclose(np.moveaxis(w.values, -1, 0), wanted.detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(np.moveaxis(pv.grad, -1, 0), tv.grad.numpy(), atol=1e-12)
        np.testing.assert_allclose(pg.grad, tg.grad.numpy().reshape(-1), atol=1e-12)


def test_gradients_of_weight_norm_through_a_convolution(rng, draw):
    x = leaf(Ragged.pack(draw(2, 2, count=3, low=4, high=6)))
    v, g = Tensor.parameter(rng.standard_normal((3, 2, 2, 4))), Tensor.parameter(rng.standard_normal(4))
    check_gradient(lambda x, v, g: ops.conv(x, ops.weight_norm(v, g), activation="tanh"), [x, v, g], draws=1)


# Layers

LAYERS = [
    nn.LayerNorm(eps=1e-3),
    nn.InstanceNorm(affine=False),
    nn.GroupNorm(2),
    nn.LocalResponseNorm(5, alpha=1.0, beta=0.5, k=2.0),
    nn.LocalContrastNorm(5),
    nn.LocalContrastNorm((5, 3), sigma=(1.5, 1), eps=0.1),
    nn.WeightNorm(nn.Conv(6, 3, padding="same", groups=2, activation="tanh")),
    nn.WeightNorm(nn.DepthwiseConv(3, bias=False)),
    nn.WeightNorm(nn.Linear(5, init="orthogonal")),
    nn.SqueezeExcite(2, activation="tanh"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_round_trip_fit_their_shape_rule_and_keep_the_law(rng, draw, layer):
    config = json.loads(json.dumps(layer.config()))
    for again in (nn.from_config(config), eval(repr(layer), dict(vars(nn)))):
        assert repr(again) == repr(layer)
        assert again.config() == layer.config()
    layer = copy.deepcopy(layer).build(2, 4, shape=(7, 8))
    x = rng.standard_normal((2, 7, 8, 4)).astype(np.float32)
    spec = layer.output(nn.Spec(2, 4, (7, 8)))
    assert layer(x).shape == (2, *spec.shape, spec.channels)
    assert layer(x, training=True).tobytes() == layer(x).tobytes()
    check_law(layer, draw(2, 4, np.float32, low=5, high=9))
    places = nn.summary(nn.Sequential(copy.deepcopy(layer)), (7, 8, 4))
    assert places.parameters == sum(p.values.size for p in layer.parameters())
    assert places.multiply_adds > 0


@pytest.mark.parametrize("ndim", [1, 3])
def test_a_definition_serves_every_rank_and_its_gradient_is_right(ndim):
    rng = np.random.default_rng(ndim)
    net = nn.Sequential(
        nn.WeightNorm(nn.Conv(4, 3, padding="same", activation="tanh")),
        nn.GroupNorm(2),
        nn.SqueezeExcite(2, activation="tanh"),
        nn.LocalResponseNorm(3, alpha=1.0),
        nn.InstanceNorm(),
        nn.LayerNorm(),
        nn.LocalContrastNorm(3),
        nn.GlobalPool(),
        nn.WeightNorm(nn.Linear(2)),
    ).build(ndim, 2, seed=3, dtype="float64")
    for parameter in net.parameters():
        parameter.values[...] += 0.1 * rng.standard_normal(parameter.values.shape)
        parameter.changed()
    x = leaf(Ragged.pack([rng.standard_normal((*[size] * ndim, 2)) for size in (4, 3)]))
    check_gradient(lambda x, *_: net(x), [x, *net.parameters()], draws=1)


def test_a_weight_normalised_layer_starts_as_the_layer_does(rng):
    x = rng.standard_normal((2, 6, 4)).astype(np.float32)
    norm = nn.WeightNorm(nn.Conv(5, 3, activation="relu")).build(1, 4, seed=7)
    v, g = norm.params["v"].values, norm.params["g"].values
    np.testing.assert_allclose(g, np.sqrt((v**2).sum((0, 1))), rtol=1e-6)
    plain = nn.Conv(5, 3, activation="relu").build(1, 4)
    plain.load_state({"weight": v, "bias": norm.params["bias"].values})
    np.testing.assert_allclose(norm(x), plain(x), atol=1e-5)
    norm.freeze()
    t = leaf(x)
    norm(t).backward(np.ones((2, 4, 5), np.float32))
    assert norm.params["v"].grad is None
    assert t.grad is not None


def test_squeeze_and_excitation_is_its_parts(rng, draw):
    layer = nn.SqueezeExcite(2).build(2, 6, dtype="float64")
    own = {name: p.values for name, p in layer.params.items()}
    assert {name: v.shape for name, v in own.items()} == {"w1": (6, 3), "b1": (3,), "w2": (3, 6), "b2": (6,)}
    for sample, found in zip(samples := draw(2, 6), layer(Ragged.pack(samples)), strict=True):
        z = sample.mean((0, 1))
        s = 1 / (1 + np.exp(-(np.maximum(z @ own["w1"] + own["b1"], 0) @ own["w2"] + own["b2"])))
        np.testing.assert_allclose(found, sample * s, atol=1e-12)
    assert nn.SqueezeExcite().features(8) == 1


# Messages

X = np.ones((2, 6, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.layer_norm(X, np.ones(3)), ShapeError, r"gamma must have shape \(4,\). Received: gamma of shape"),
        (lambda: ops.layer_norm(X, beta=np.ones(4, np.float32)), DtypeError, "beta must have the dtype of x"),
        (lambda: ops.layer_norm(X, eps=0), ArgumentError, "eps must be positive. Received: eps=0"),
        (lambda: ops.layer_norm(X[..., :1]), ShapeError, "at least 2 channels. Received: 1 channel"),
        (
            lambda: ops.layer_norm(Ragged(np.ones((3, 2)), Layout([[3], [0]]))),
            ShapeError,
            "sample 1 has no positions",
        ),
        (
            lambda: ops.instance_norm(Ragged(np.ones((4, 2)), Layout([[3], [1]]))),
            ShapeError,
            "sample 1: instance_norm needs at least 2 values .* one position with 2 channels in 2 groups has 1",
        ),
        (
            lambda: ops.instance_norm(Ragged(np.ones((3, 2)), Layout([[3], [0]]))),
            ShapeError,
            "sample 1 has no positions",
        ),
        (lambda: ops.group_norm(X, 3), ShapeError, "groups must divide the 4 channels of x. Received: groups=3"),
        (lambda: ops.group_norm(X, 0), ArgumentError, "groups must be an int of at least 1. Received: groups=0"),
        (lambda: ops.group_norm(np.ones((2, 4)), 4), ShapeError, "sample 0: group_norm needs at least 2 values"),
        (lambda: ops.local_response_norm(X, 0), ArgumentError, "size must be an int of at least 1. Received: size=0"),
        (lambda: ops.local_response_norm(X, 3, k=0), ArgumentError, "k must be positive. Received: k=0"),
        (lambda: ops.local_response_norm(X, 3, alpha=-1), ArgumentError, "alpha must be positive"),
        (lambda: ops.local_contrast_norm(X, 4), ArgumentError, "size must be odd, .* Received: size=4"),
        (lambda: ops.local_contrast_norm(X, (3, 3)), ArgumentError, "size must be an int of at least 1, or 1 of them"),
        (lambda: ops.local_contrast_norm(X, 3, sigma=0), ArgumentError, "sigma must be a positive number, or 1"),
        (lambda: ops.local_contrast_norm(X, 3, sigma=(1, 2)), ArgumentError, r"Received: sigma=\(1, 2\)"),
        (lambda: ops.local_contrast_norm(X, 3, eps=0), ArgumentError, "eps must be positive"),
        (
            lambda: ops.local_contrast_norm(Ragged(np.ones((3, 2)), Layout([[3], [0]]))),
            ShapeError,
            "sample 1 has no positions",
        ),
        (lambda: ops.weight_norm(np.ones(3), np.ones(3)), ShapeError, "v must be a weight whose last axis counts"),
        (lambda: ops.weight_norm(np.ones((2, 3)), np.ones(2)), ShapeError, r"g must have shape \(3,\). Received: g of"),
        (lambda: ops.weight_norm(np.ones((2, 3)), np.ones(3, np.float32)), DtypeError, "g must have the dtype of v"),
        (
            lambda: ops.weight_norm(np.array([[1.0, 0.0]]), np.ones(2)),
            ArgumentError,
            "v must have a direction in every filter. Received: filter 1 is zero",
        ),
        (lambda: nn.GroupNorm(3).build(1, 4), ShapeError, "groups=3 must divide the channels. Received: 4 channels"),
        (lambda: nn.LayerNorm(eps=-1), ArgumentError, "eps must be a positive number. Received: eps=-1"),
        (lambda: nn.LocalContrastNorm((3, 4)), ArgumentError, r"size must be odd, .* Received: size=\(3, 4\)"),
        (lambda: nn.LocalContrastNorm(3, sigma="wide"), ArgumentError, "sigma must be a positive number"),
        (
            lambda: nn.LocalContrastNorm(3, (1, 2)).output(nn.Spec(1, 1)),
            ArgumentError,
            r"sigma must be one number, or one an axis \(1\). Received: sigma=\(1.0, 2.0\)",
        ),
        (lambda: nn.WeightNorm(nn.MaxPool(2)), ArgumentError, r"layer must be a Conv, .* Received: layer=MaxPool\(2\)"),
        (lambda: nn.WeightNorm(nn.Linear(2).freeze()), ArgumentError, "not frozen"),
        (lambda: nn.SqueezeExcite(0), ArgumentError, "reduction must be an int of at least 1"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
