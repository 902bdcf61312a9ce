"""Separable kernels: their vectors against NumPy's SVD and made-up sums, their convolutions against whole kernels."""

import json

import numpy as np
import pytest

from convnd import nn, ops
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

PADDINGS = ["valid", "same", "same_lower", "causal", "full", 1]


def made_up(rng, sizes, rank, more=()):
    """A sum of outer products by einsum."""
    letters = "abcdef"[: len(sizes)]
    vectors = [rng.standard_normal((rank, size, *more)) for size in sizes]
    terms = ",".join(f"r{letter}..." for letter in letters)
    return np.einsum(f"{terms}->{letters}...", *vectors)


# The decomposition


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(5,), (3, 4), (3, 5, 4), (3, 2, 4, 3), (2, 3, 2, 3, 2)], ids=str)
def test_a_separable_kernel_comes_apart_exactly(rng, sizes, dtype):
    kernel = made_up(rng, sizes, 1).astype(dtype)
    parts = ops.separate(kernel)
    assert [vector.shape for vector in parts.vectors] == [(1, size) for size in sizes]
    assert all(vector.dtype == dtype for vector in parts.vectors)
    exact = 1e-6 if dtype == np.float32 else 1e-13
    assert parts.error < exact
    np.testing.assert_allclose(parts.kernel(), kernel, atol=exact * np.abs(kernel).max() * 10)
    assert parts.speedup == pytest.approx(np.prod(sizes) / np.sum(sizes))
    lengths = [np.linalg.norm(vector) for vector in parts.vectors]
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_on_two_axes_it_is_the_truncated_svd(rng, rank):
    kernel = rng.standard_normal((4, 6))
    parts = ops.separate(kernel, rank)
    u, s, vt = np.linalg.svd(kernel, full_matrices=False)
    np.testing.assert_allclose(parts.kernel(), (u[:, :rank] * s[:rank]) @ vt[:rank], atol=1e-12)
    wanted = np.sqrt(np.sum(s[rank:] ** 2) / np.sum(s**2))
    assert float(parts.error) == pytest.approx(wanted, abs=1e-12)
    assert parts.speedup == pytest.approx(24 / (rank * 10))


@pytest.mark.parametrize("sizes", [(3, 3, 3), (4, 3, 5), (3, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("rank", [2, 3])
def test_a_sum_of_outer_products_comes_apart(rng, sizes, rank):
    parts = ops.separate(made_up(rng, sizes, rank), rank)
    assert parts.error < 1e-4


def test_the_error_is_that_of_the_kernel_it_makes(rng):
    for sizes in ((3, 4), (3, 3, 3), (2, 3, 2, 3)):
        kernel = rng.standard_normal(sizes)
        errors = []
        for rank in (1, 2, 3):
            parts = ops.separate(kernel, rank)
            missing = np.linalg.norm(kernel - parts.kernel()) / np.linalg.norm(kernel)
            assert float(parts.error) == pytest.approx(missing, abs=1e-9)
            errors.append(missing)
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > errors[-1]


def test_one_term_on_three_axes_is_close_to_the_best(rng):
    """No change of the vectors makes it better: the gradient of the squared error vanishes."""
    kernel = rng.standard_normal((3, 4, 5))
    parts = ops.separate(kernel)
    missing = kernel - parts.kernel()
    a, b, c = (vector[0] for vector in parts.vectors)
    for gradient in (
        np.einsum("abc,b,c->a", missing, b, c),
        np.einsum("abc,a,c->b", missing, a, c),
        np.einsum("abc,a,b->c", missing, a, b),
    ):
        np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_a_weight_has_vectors_for_each_channel_and_filter(rng):
    weight = rng.standard_normal((3, 3, 3, 2, 2)).astype(np.float32)
    parts = ops.separate(weight, 2, ndim=3)
    assert [vector.shape for vector in parts.vectors] == [(2, 3, 2, 2)] * 3
    assert parts.error.shape == (2, 2)
    assert parts.kernel().shape == weight.shape
    for c, f in np.ndindex(2, 2):
        alone = ops.separate(weight[..., c, f], 2)
        assert float(alone.error) == pytest.approx(float(parts.error[c, f]), abs=1e-6)


def test_a_kernel_of_zeros_and_a_line(rng):
    parts = ops.separate(np.zeros((3, 3, 3)), 2)
    assert parts.error == 0
    assert not parts.kernel().any()
    line = rng.standard_normal(7)
    np.testing.assert_allclose(ops.separate(line, 3).kernel(), line)


def test_gaussians_and_sobels_are_separable_and_discs_are_not():
    q = np.arange(-3.0, 4.0)
    blur = np.exp(-(q[:, None, None] ** 2 + q[:, None] ** 2 + q**2) / 4)
    assert ops.separate(blur).error < 1e-12
    assert ops.separate(blur).speedup == 343 / 21
    disc = (q[:, None] ** 2 + q**2 <= 9).astype(float)
    errors = [float(ops.separate(disc, rank).error) for rank in (1, 2, 3, 4)]
    assert errors[0] > 0.2
    assert errors[-1] < 1e-12


# Convolutions


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_axis_by_axis_is_the_whole_kernel(rng, draw, ndim, padding):
    batch = Ragged.pack(draw(ndim, 2, count=2, low=4, high=6))
    sizes = [3, 2, 3, 2][:ndim]
    for rank, options in ((1, {}), (2, {"stride": 2, "flip": True}), (2, {"dilation": 2})):
        parts = ops.separate(made_up(rng, sizes, rank), rank)
        whole = np.repeat(parts.kernel()[..., None, None], 2, axis=-1)
        wanted = ops.conv(batch, whole, groups=2, padding=padding, **options)
        found = ops.separable_conv(batch, parts.vectors, padding=padding, **options)
        assert found.layout == wanted.layout
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-11)


def test_channels_can_have_vectors_of_their_own(rng):
    weight = made_up(rng, (3, 4), 2, (1, 5))
    x = rng.standard_normal((2, 6, 7, 5))
    found = ops.separable_conv(x, ops.separate(weight, 2, ndim=2).vectors, padding=((1, 0), (2, 1)), stride=(2, 1))
    wanted = ops.conv(x, weight, groups=5, padding=((1, 0), (2, 1)), stride=(2, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_separable_conv_is_scipys_gaussian_filter(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.standard_normal((6, 7, 8))
    q = np.arange(-4.0, 5.0)
    vector = np.exp(-0.5 * q**2) / np.exp(-0.5 * q**2).sum()
    wanted = ndimage.gaussian_filter(x, 1.0, mode="constant", truncate=4.0)
    found = ops.separable_conv(x[None, ..., None], [vector[None]] * 3, padding="same")
    np.testing.assert_allclose(found[0, ..., 0], wanted, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_law(rng, draw, ndim, dtype):
    vectors = [rng.standard_normal((2, 3)).astype(dtype) for _ in range(ndim)]
    check_law(lambda x: ops.separable_conv(x, vectors, padding="same"), draw(ndim, 3, dtype, count=6, high=12))


def test_gradients(rng, draw):
    x = Tensor(Ragged.pack(draw(2, 2, count=3)), requires_grad=True)
    vectors = [rng.standard_normal((2, 3)), rng.standard_normal((2, 2))]
    check_gradient(lambda x: ops.separable_conv(x, vectors, padding=1, stride=2), [x])


# Layers


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_a_separable_layer_is_a_convolution_with_outer_products(rng, draw, ndim, padding):
    if ndim == 0:
        padding = "valid"
    kernel = [3, 2, 3, 2][:ndim] or 1
    options = {"stride": 2, "padding": padding, "groups": 2, "activation": "tanh"}
    layer = nn.SeparableConv(6, kernel, **options).build(ndim, 4, dtype="float64")
    layer.params["bias"].assign(rng.standard_normal(6))
    weight = layer.params["weight"].values
    for axis in range(1, ndim):
        weight = weight * layer.params[f"axis{axis}"].values
    plain = nn.Conv(6, kernel, **options).build(ndim, 4, dtype="float64")
    plain.load_state({"weight": weight, "bias": layer.params["bias"].values})
    batch = Ragged.pack(draw(ndim, 4, count=3, low=5, high=7))
    found, wanted = layer(batch), plain(batch)
    assert found.layout == wanted.layout
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-12)


def test_gradients_of_a_separable_layer(rng, draw):
    layer = nn.SeparableConv(3, (3, 2, 2), padding="same", activation="tanh").build(3, 2, dtype="float64")
    x = Tensor(Ragged.pack(draw(3, 2, count=2, high=5)), requires_grad=True)
    check_gradient(lambda x, *_: layer(x), [x, *layer.parameters()], draws=1)
    assert list(layer.named_parameters()) == ["weight", "axis1", "axis2", "bias"]


def test_variance_is_kept_along_the_axes():
    x = np.random.default_rng(0).standard_normal((2, 12, 12, 12, 32)).astype(np.float32)
    separable = nn.SeparableConv(64, 5, bias=False).build(3, 32)(x)
    apart = nn.DepthwiseSeparableConv(64, 5, bias=False).build(3, 32)(x)
    assert 1 < separable.var() < 4  # "he_normal" makes 2, for the relu that follows
    assert 1 < apart.var() < 4


def test_depthwise_separable_is_the_two_in_turn(rng):
    layer = nn.DepthwiseSeparableConv(5, 3, stride=2, padding="same", multiplier=2, activation="elu").build(2, 3)
    x = rng.standard_normal((2, 7, 8, 3)).astype(np.float32)
    own = layer.params | {name: p.values for name, p in layer.named_parameters().items()}
    y = ops.conv(x, own["depthwise.weight"], stride=2, padding="same", groups=3)
    y = ops.conv(y, own["pointwise.weight"], own["pointwise.bias"], activation="elu")
    np.testing.assert_array_equal(layer(x), y)


LAYERS = [
    nn.SeparableConv(6, 3),
    nn.SeparableConv(6, (3, 2), stride=(2, 1), padding=((1, 2), (0, 1)), dilation=(1, 2), groups=2, bias=False),
    nn.SeparableConv(4, 2, padding="causal", activation="relu", init=0.5),
    nn.DepthwiseSeparableConv(6, 3),
    nn.DepthwiseSeparableConv(6, (3, 2), stride=2, padding="same", multiplier=2, bias=False, activation="relu"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_make_themselves_again_and_know_their_shape_and_cost(rng, layer):
    layer.build(2, 4)
    x = rng.standard_normal((2, 7, 8, 4)).astype(np.float32)
    spec = layer.output(nn.Spec(2, 4, (7, 8)))
    assert layer(x).shape == (2, *spec.shape, spec.channels)
    for again in (nn.from_config(json.loads(json.dumps(layer.config()))), eval(repr(layer), dict(vars(nn)))):
        assert again.config() == layer.config()
        np.testing.assert_array_equal(again.build(2, 4)(x), layer(x))
    counted = nn.summary(layer, (7, 8, 4))
    assert counted.parameters == sum(p.values.size for p in layer.parameters())


def test_costs_are_the_books():
    """Section 9.8: w d in place of w^d."""
    given = nn.Spec(3, 1, (10, 10, 10))
    layer, plain = (kind(1, 5, padding="same") for kind in (nn.SeparableConv, nn.Conv))
    assert plain.cost(given, output=given) == 1000 * 5**3
    assert layer.cost(given, output=given) == 1000 * 5 * 3
    halved = nn.SeparableConv(2, 2, stride=2)
    output = halved.output(nn.Spec(2, 3, (8, 6)))
    assert halved.cost(nn.Spec(2, 3, (8, 6)), output=output) == 4 * 6 * 2 * 3 * 2 + 4 * 3 * 2 * 2


# Errors

X = np.ones((2, 6, 4))
ERRORS = [
    (lambda: ops.separate(np.ones((3, 3)), 0), ArgumentError, "rank must be an int of at least 1. Received: rank=0"),
    (lambda: ops.separate(np.ones((3, 3)), ndim=1), ShapeError, r"taps on 1 axes. Received: kernel of shape \(3, 3"),
    (lambda: ops.separate(np.float64(1.0)), ShapeError, r"Received: kernel of shape \(\), ndim=None"),
    (lambda: ops.separate(np.ones((3, 0))), ShapeError, r"Received: kernel of shape \(3, 0\)"),
    (lambda: ops.separate(np.ones((3, 3), int)), DtypeError, r"kernel\.astype\(np\.float32\)"),
    (lambda: ops.separable_conv(X, []), ShapeError, "a list of 1 arrays, one an axis of x. Received: 0"),
    (lambda: ops.separable_conv(X, [np.ones(3)]), ShapeError, r"vectors\[0\] must be \(rank, k\) .*shape \(3,\)"),
    (lambda: ops.separable_conv(X, [np.ones((1, 3, 1, 3))]), ShapeError, r"or \(rank, k, 1, 4\), .*\(1, 3, 1, 3\)"),
    (
        lambda: ops.separable_conv(X[..., None], [np.ones((2, 3)), np.ones((1, 3))]),
        ShapeError,
        r"vectors\[1\] must be .* rank 2 of vectors\[0\]. Received: shape \(1, 3\)",
    ),
    (lambda: ops.separable_conv(X, [np.ones((1, 3), np.float32)]), DtypeError, r"vectors\[0\]\.astype\(np\.float64\)"),
    (lambda: ops.separable_conv(X, [np.ones((1, 9))]), ShapeError, "sample 0 is too short for the window"),
    (lambda: nn.SeparableConv(2, (3, 3)).build(1, 1), ArgumentError, "kernel must be an int of at least 1, or 1"),
    (lambda: nn.DepthwiseSeparableConv(0, 3), ArgumentError, "filters must be an int of at least 1"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()
