"""Tiled and locally connected convolutions, and biases that are shared like them."""

import numpy as np
import pytest

import convnd as cn
from convnd import kernels, nn, ops, reference
from convnd.errors import DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law
from convnd.window import Window

CASES = {  # tile, kernel, channels, filters, what else
    "two in turn": ((2,), (3,), 3, 5, {}),
    "many filters": ((3,), (2,), 17, 40, {"padding": "same"}),
    "a stride": ((2,), (4,), 2, 3, {"stride": 3, "padding": 2}),
    "stride and dilation": ((3,), (5,), 2, 3, {"stride": 4, "dilation": 6, "padding": "full"}),
    "a tile larger than the sample": ((50,), (3,), 1, 2, {"padding": "causal"}),
    "two axes": ((2, 3), (3, 2), 4, 6, {"padding": 1}),
    "one axis tiled": ((1, 4), (2, 3), 2, 3, {"stride": (2, 1), "padding": "same_lower"}),
    "groups": ((2, 2), (2, 2), 6, 4, {"groups": 2, "dilation": (2, 1), "padding": "same"}),
    "three axes": ((2, 1, 3), (2, 2, 2), 2, 3, {"stride": (1, 2, 2), "padding": "same"}),
    "four axes": ((2, 1, 2, 1), (1, 2, 2, 1), 2, 2, {"padding": 1}),
    "no axes": ((), (), 4, 3, {}),
}


def draw(case, rng, dtype=np.float64, samples=3):
    tile, kernel, channels, filters, settings = CASES[case]
    settings = dict(settings)
    rank, groups = len(tile), settings.get("groups", 1)
    most = {0: 1, 1: 40, 2: 12, 3: 7, 4: 5}[rank]
    shapes = rng.integers(5 if rank < 3 else 3, most + 1, size=(samples, rank)) if rank else np.zeros((samples, 0), int)
    if rank == 1:
        shapes = np.maximum(shapes, 30 if case == "stride and dilation" else 5)
    xs = [rng.standard_normal((*shape, channels)).astype(dtype) for shape in shapes]
    weight = rng.standard_normal((*tile, *kernel, channels // groups, filters)).astype(dtype)
    return xs, weight, settings


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_the_reference(case, dtype, rng, level):
    xs, weight, settings = draw(case, rng, dtype)
    rank = xs[0].ndim - 1
    biases = [None, rng.standard_normal(weight.shape[-1]), rng.standard_normal((*[2] * rank, weight.shape[-1]))]
    for bias in biases:
        own = None if bias is None else bias.astype(dtype)
        found = ops.tiled_conv(Ragged.pack(xs), weight, own, **settings).unpack()
        for x, y in zip(xs, found, strict=True):
            want = reference.tiled_conv(x, weight, own, **settings)
            np.testing.assert_allclose(y, want, rtol=0, atol=(2e-5 if dtype == np.float32 else 1e-13) * 30)


@pytest.mark.parametrize("case", CASES)
def test_the_law(case, rng, level):
    xs, weight, settings = draw(case, rng, np.float32, samples=4)
    check_law(lambda x: ops.tiled_conv(x, weight, activation="relu", **settings), [*xs, xs[0] * 2])


@pytest.mark.parametrize("case", CASES)
def test_adjoint_and_weight_gradient_are_of_the_same_form(case, rng, level):
    """<conv(x, w), g> = <x, transpose(g, w)> = <w, weight(x, g)>."""
    xs, weight, settings = draw(case, rng)
    groups, x = settings.pop("groups", 1), Ragged.pack(xs)
    rank = x.layout.ndim
    place = Window.of(rank, weight.shape[rank : 2 * rank], **settings).on(x.layout)
    y = kernels.tiled_conv(x.values, place, weight, groups=groups)
    g = rng.standard_normal(y.shape)
    back = kernels.tiled_conv_transpose(g, place, weight, groups=groups)
    to_w = kernels.tiled_conv_weight(x.values, g, place, weight.shape[:rank], groups=groups)
    form = np.vdot(y, g)
    np.testing.assert_allclose(np.vdot(x.values, back), form, rtol=1e-10)
    np.testing.assert_allclose(np.vdot(weight, to_w), form, rtol=1e-10)


@pytest.mark.parametrize("case", ["two axes", "groups", "stride and dilation"])
def test_gradients_are_numeric_ones(case, rng):
    xs, weight, settings = draw(case, rng, samples=2)
    rank = xs[0].ndim - 1
    bias = rng.standard_normal((*[3] * rank, weight.shape[-1]))
    tensors = [Tensor(Ragged.pack(xs), requires_grad=True), Tensor.parameter(weight), Tensor.parameter(bias)]
    check_gradient(lambda x, w, b: ops.tiled_conv(x, w, b, activation="tanh", **settings), tensors)


@pytest.mark.parametrize("case", CASES)
def test_threads_never_change_a_bit(case, rng):
    xs, weight, settings = draw(case, rng, np.float32)
    x, before, found = cn.Tensor(Ragged.pack(xs * 40), requires_grad=True), cn.get_num_threads(), []
    for threads in (1, 2, 5):
        cn.set_num_threads(threads)
        w = cn.Tensor.parameter(weight)
        y = ops.tiled_conv(x, w, **settings)
        x.grad = None
        y.backward(y)
        found.append((y.values.tobytes(), x.grad.values.tobytes(), w.grad.tobytes()))
    cn.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2, "padding": "same"}, {"dilation": 2}, {"groups": 2}])
def test_a_tile_of_one_is_a_convolution(settings, rng):
    x = Ragged.pack([rng.standard_normal((h, 9, 4)) for h in (6, 11)])
    weight = rng.standard_normal((3, 3, 4 // settings.get("groups", 1), 6))
    found = ops.tiled_conv(x, weight[None, None], **settings)
    np.testing.assert_allclose(found.values, ops.conv(x, weight, **settings).values, atol=1e-12)


def test_a_tile_as_large_as_the_output_is_locally_connected(rng):
    x, weight = rng.standard_normal((2, 6, 7, 3)), rng.standard_normal((4, 5, 3, 3, 3, 2))
    found = ops.local_conv(x, weight)
    np.testing.assert_array_equal(found, ops.tiled_conv(x, weight))
    for n, i, j in np.ndindex(2, 4, 5):  # eq. 9.9 by hand
        patch = x[n, i : i + 3, j : j + 3]
        np.testing.assert_allclose(found[n, i, j], np.einsum("abc,abcf->f", patch, weight[i, j]), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_a_batch_of_local_layers_has_the_bits_of_its_samples(channels, rng, level):
    """Where each sample has one output of a weight, the samples go through a tile together."""
    x = rng.standard_normal((17, 5, 6, channels)).astype(np.float32)
    weight = rng.standard_normal((5, 6, 3, 3, channels, 19)).astype(np.float32)
    whole = ops.local_conv(x, weight, padding=1)
    ragged = ops.local_conv(Ragged.pack(list(x)), weight, padding=1)
    np.testing.assert_array_equal(ragged.values.reshape(whole.shape), whole)
    for n, sample in enumerate(x):
        np.testing.assert_array_equal(ops.local_conv(sample[None], weight, padding=1)[0], whole[n])


def test_the_books_equation_counts_from_one():
    """Eq. 9.10: Z_ijk = sum over l, m, n of V_(l, j+m-1, k+n-1) K_(i, l, m, n, j % t + 1, k % t + 1), all from 1."""
    rng = np.random.default_rng(0)
    t, v, kernel = 3, rng.standard_normal((2, 8, 9)), rng.standard_normal((4, 2, 2, 2, 3, 3))
    z = np.zeros((4, 7, 8))
    for i, j, k in np.ndindex(z.shape):
        for channel, m, n in np.ndindex(2, 2, 2):
            book_j, book_k = j + 1, k + 1
            z[i, j, k] += v[channel, j + m, k + n] * kernel[i, channel, m, n, book_j % t, book_k % t]
    weight = kernel.transpose(4, 5, 2, 3, 1, 0)
    found = ops.tiled_conv(v.transpose(1, 2, 0)[None], np.roll(weight, -1, axis=(0, 1)))[0]
    np.testing.assert_allclose(found.transpose(2, 0, 1), z, atol=1e-12)


def test_local_conv_is_that_of_jax(rng):
    jax = pytest.importorskip("jax")
    for stride, padding, dilation in [(1, "VALID", 1), (2, "SAME", 1), (1, [(1, 2), (0, 1)], 2)]:
        x = rng.standard_normal((2, 9, 8, 3)).astype(np.float32)
        ours = padding.lower() if isinstance(padding, str) else padding
        place = Window.of(2, (3, 2), stride, ours, dilation).on(Layout.dense(2, (9, 8)))
        weight = rng.standard_normal((*place.output.shape(0), 3, 2, 3, 4)).astype(np.float32)
        # jax: (*output, C * taps, F), the channels slowest
        flat = weight.transpose(0, 1, 4, 2, 3, 5).reshape(*place.output.shape(0), -1, 4)
        want = jax.lax.conv_general_dilated_local(
            x, flat, (stride, stride), padding, (3, 2), rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        found = ops.local_conv(x, weight, stride=stride, padding=ours, dilation=dilation)
        np.testing.assert_allclose(found, np.asarray(want), atol=2e-5)


def test_biases_start_again_after_the_tile(rng):
    xs = [rng.standard_normal((h, w, 2)) for h, w in ((3, 4), (5, 2), (1, 1))]
    bias = rng.standard_normal((2, 3, 2))
    for x, y in zip(xs, ops.tiled_bias(Ragged.pack(xs), bias).unpack(), strict=True):
        for i, j in np.ndindex(x.shape[:2]):
            np.testing.assert_array_equal(y[i, j], x[i, j] + bias[i % 2, j % 3])
    for own in (bias, bias[0, 0]):
        check_gradient(ops.tiled_bias, [Tensor(Ragged.pack(xs), requires_grad=True), Tensor.parameter(own)])
    check_law(lambda x: ops.tiled_bias(x, bias), [*xs, xs[0]])


def test_what_has_no_meaning_is_refused_with_what_to_use_instead():
    mixed = Ragged.pack([np.ones((4, 1)), np.ones((5, 1))])
    with pytest.raises(ShapeError, match=r"sample 1 differs .* use conv or tiled_conv, or proportional_pool"):
        ops.local_conv(mixed, np.ones((3, 2, 1, 1)))
    with pytest.raises(ShapeError, match=r"output of a sample of shape \(4,\) has shape \(3,\)"):
        ops.local_conv(np.ones((1, 4, 1)), np.ones((4, 2, 1, 1)))
    with pytest.raises(ShapeError, match=r"\(\*tile, \*kernel, C / groups, F\)"):
        ops.tiled_conv(np.ones((1, 4, 1)), np.ones((2, 1, 1)))
    with pytest.raises(ShapeError, match="x has 1 channels"):
        ops.tiled_conv(np.ones((1, 4, 1)), np.ones((2, 2, 3, 1)))
    with pytest.raises(ShapeError, match="bias must be"):
        ops.tiled_conv(np.ones((1, 4, 1)), np.ones((2, 2, 1, 3)), np.ones((2, 2)))
    with pytest.raises(DtypeError, match="weight"):
        ops.tiled_conv(np.ones((1, 4, 1)), np.ones((2, 2, 1, 1), np.float32))
    with pytest.raises(ShapeError, match="sample 1 has no positions"):
        ops.tiled_conv(Ragged.pack([np.ones((4, 1)), np.ones((0, 1))]), np.ones((2, 2, 1, 1)))


def test_layers():
    rng = np.random.default_rng(0)
    x = Ragged.pack([rng.standard_normal((h, 7, 2)).astype(np.float32) for h in (5, 9)])
    net = nn.Sequential(nn.TiledConv(6, 3, tile=(2, 3), padding="same", activation="relu"), nn.Bias((2, 2)))
    assert net.build(2, 2)(x).values.shape == (14 * 7, 6)
    again = nn.from_config(net.config()).build(2, 2)
    np.testing.assert_array_equal(again(x).values, net(x).values)
    assert net[0].params["bias"].values.shape == (2, 3, 6)
    untied = nn.Bias("shape").build(1, 2, shape=4)
    assert untied(np.zeros((1, 4, 2), np.float32)).shape == (1, 4, 2)
    with pytest.raises(ShapeError, match=r"for other sizes use Bias.* Received: sample 1 of shape \(5,\)"):
        untied(Ragged.pack([np.zeros((4, 2), np.float32), np.zeros((5, 2), np.float32)]))


def test_a_locally_connected_layer_is_for_one_shape():
    layer = nn.LocalConv(4, 3, padding="same").build(2, 3, shape=(5, 6))
    assert layer.params["weight"].values.shape == (5, 6, 3, 3, 3, 4)
    assert layer.params["bias"].values.shape == (5, 6, 4)
    assert layer(np.zeros((2, 5, 6, 3), np.float32)).shape == (2, 5, 6, 4)
    assert cn.summary(nn.LocalConv(4, 3, padding="same"), (5, 6, 3)).multiply_adds == 5 * 6 * 9 * 3 * 4
    with pytest.raises(ShapeError, match=r"give build\(..., shape=...\)"):
        nn.LocalConv(4, 3).build(2, 3)
    with pytest.raises(ShapeError, match=r"built for samples of shape \(5, 6\)"):
        layer.build(2, 3, shape=(5, 7))
    with pytest.raises(ShapeError, match="output of a sample of shape"):
        layer(np.zeros((2, 5, 7, 3), np.float32))
    with pytest.raises(ShapeError, match="give build"):
        nn.Bias("shape").build(2, 3)
