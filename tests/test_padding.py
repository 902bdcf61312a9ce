"""Padding and cropping: against the specification, NumPy and PyTorch; the law; gradients; layers; errors."""

import json

import numpy as np
import pytest

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_adjoint, check_gradient, check_law

MODES = ["constant", "reflect", "replicate", "circular"]
NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
RANKS = [0, 1, 2, 3, 4]
modes = pytest.mark.parametrize("mode", MODES)
ranks = pytest.mark.parametrize("ndim", RANKS)


def pairs_for(rng, ndim, most=2):
    return tuple((int(low), int(high)) for low, high in rng.integers(0, most + 1, (ndim, 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@modes
@ranks
def test_pad_is_the_reference_and_numpys_on_each_sample(rng, draw, ndim, mode, dtype):
    samples = draw(ndim, 3, dtype, low=3, high=6)
    for _ in range(3):
        pairs = pairs_for(rng, ndim)
        value = float(dtype(0.7)) if mode == "constant" else 0.0
        result = ops.pad(Ragged.pack(samples), pairs, mode, value)
        for found, sample in zip(result, samples, strict=True):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, reference.pad(sample, pairs, mode, value))
            more = {"constant_values": value} if mode == "constant" else {}
            np.testing.assert_array_equal(found, np.pad(sample, (*pairs, (0, 0)), NUMPY[mode], **more))


@modes
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_values_and_gradients_are_pytorchs(rng, ndim, mode):
    torch = pytest.importorskip("torch")
    for _ in range(4):
        x, pairs = rng.standard_normal((2, *rng.integers(4, 7, ndim), 3)), pairs_for(rng, ndim, 3)
        tx = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
        flat = [end for pair in reversed(pairs) for end in pair]
        wanted = torch.nn.functional.pad(tx, flat, mode)
        wanted.square().sum().backward()
        cx = Tensor(x, requires_grad=True)
        y = ops.pad(cx, pairs, mode)
        np.testing.assert_array_equal(np.moveaxis(y.numpy(), -1, 1), wanted.detach().numpy())
        y.backward(2 * y.numpy())
        np.testing.assert_allclose(np.moveaxis(cx.grad, -1, 1), tx.grad.numpy(), rtol=1e-13)


def test_the_most_that_a_sample_can_be_padded(rng):
    x = rng.standard_normal((1, 4, 2))
    for mode, most in (("reflect", 3), ("circular", 4)):
        np.testing.assert_array_equal(ops.pad(x, most, mode)[0], np.pad(x[0], ((most, most), (0, 0)), NUMPY[mode]))
    np.testing.assert_array_equal(ops.pad(x, 9, "replicate")[0], np.pad(x[0], ((9, 9), (0, 0)), "edge"))


@modes
def test_ints_and_pairs_say_the_same(rng, mode):
    x = rng.standard_normal((2, 5, 4, 1))
    whole = ops.pad(x, ((1, 1), (2, 2)), mode)
    np.testing.assert_array_equal(ops.pad(x, (1, 2), mode), whole)
    np.testing.assert_array_equal(ops.pad(x, [[1, 1], [2, 2]], mode), whole)
    np.testing.assert_array_equal(ops.pad(x, np.array([1, 2]), mode), whole)
    np.testing.assert_array_equal(ops.pad(x, 2, mode), ops.pad(x, ((2, 2), (2, 2)), mode))


def test_padding_then_a_valid_convolution_is_a_padded_one(rng, draw):
    batch, w = Ragged.pack(draw(2, 2)), rng.standard_normal((3, 3, 2, 4))
    padded = ops.conv(batch, w, padding=((1, 0), (2, 2)))
    found = ops.conv(ops.pad(batch, ((1, 0), (2, 2))), w)
    assert found.layout == padded.layout
    np.testing.assert_allclose(found.values, padded.values, atol=1e-13)


@ranks
def test_crop_is_the_reference_and_undoes_padding(rng, draw, ndim):
    samples = draw(ndim, 2, low=5, high=8)
    pairs = pairs_for(rng, ndim)
    batch = Ragged.pack(samples)
    for found, sample in zip(ops.crop(batch, pairs), samples, strict=True):
        left = [s - low - high for s, (low, high) in zip(sample.shape[:-1], pairs, strict=True)]
        np.testing.assert_array_equal(found, reference.crop(sample, [low for low, _ in pairs], left))
    for mode in MODES:
        back = ops.crop(ops.pad(batch, pairs, mode), pairs)
        assert back.layout == batch.layout
        np.testing.assert_array_equal(back.values, batch.values)


@pytest.mark.parametrize("at", ["centre", "start"])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_like_takes_the_size_of_each_sample(rng, draw, ndim, at):
    large = draw(ndim, 2, low=4, high=8)
    shapes = [tuple(int(rng.integers(1, s + 1)) for s in sample.shape[:-1]) for sample in large]
    small = [rng.standard_normal((*shape, 3)) for shape in shapes]
    big, little = Ragged.pack(large), Ragged.pack(small)
    cropped, padded = ops.crop_like(big, little, at=at), ops.pad_like(little, big.layout, at=at, value=2.5)
    assert cropped.layout == little.layout
    assert padded.layout == big.layout
    reflected = ops.pad_like(little, Tensor(big), at=at, mode="replicate")
    for number, (a, b) in enumerate(zip(large, small, strict=True)):
        rest = [s - t for s, t in zip(a.shape[:-1], b.shape[:-1], strict=True)]
        start = [r // 2 if at == "centre" else 0 for r in rest]
        pairs = [(low, r - low) for low, r in zip(start, rest, strict=True)]
        np.testing.assert_array_equal(cropped.unpack()[number], reference.crop(a, start, b.shape[:-1]))
        np.testing.assert_array_equal(padded.unpack()[number], reference.pad(b, pairs, value=2.5))
        np.testing.assert_array_equal(reflected.unpack()[number], reference.pad(b, pairs, "replicate"))


# The law, adjoints, gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@ranks
def test_the_law(draw, ndim, dtype):
    samples = draw(ndim, 3, dtype, count=6, low=3, high=5 if ndim > 2 else 12)
    for mode in MODES:
        check_law(lambda x, mode=mode: ops.pad(x, ((1, 2),) * ndim, mode), samples)
    check_law(lambda x: ops.crop(x, ((1, 0),) * ndim), samples)

    def like(x, change):
        layout = x.layout if isinstance(x, Ragged) else Layout.dense(len(x), x.shape[1:-1])
        return Layout(layout.shapes + change)

    check_law(lambda x: ops.pad_like(x, like(x, 3)), samples)
    check_law(lambda x: ops.crop_like(x, like(x, -1)), samples)


@modes
def test_the_law_holds_for_gradients(draw, mode):
    def gradient(x):
        t = Tensor(x, requires_grad=True)
        y = ops.pad(t, ((2, 1), (1, 2)), mode)
        y.backward((y * y).numpy())
        return t.grad

    check_law(gradient, draw(2, 3, np.float32, count=6, low=3, high=9))


@modes
@ranks
def test_gradients(rng, draw, ndim, mode):
    x = Tensor(Ragged.pack(draw(ndim, 2, count=3, low=4, high=6)), requires_grad=True)
    pairs = pairs_for(rng, ndim, 3)
    check_gradient(lambda x: ops.pad(x, pairs, mode), [x], draws=1)
    like = Layout(x.layout.shapes + 3)
    check_gradient(lambda x: ops.pad_like(x, like, mode=mode), [x], draws=1)
    check_gradient(lambda x: ops.crop_like(ops.crop(x, 1), Layout(x.layout.shapes - 3)), [x], draws=1)


def test_cropping_is_the_adjoint_of_padding_with_zeros(rng):
    x, pairs = rng.standard_normal((2, 4, 5, 3)), ((1, 2), (0, 3))
    y = rng.standard_normal((2, 7, 8, 3))
    check_adjoint(lambda v: ops.pad(v, pairs), lambda v: ops.crop(v, pairs), x, y, 1e-13)


def test_gradients_are_the_same_bits_dense_and_ragged(rng):
    x = rng.standard_normal((3, 5, 6, 2)).astype(np.float32)
    for mode in MODES:
        grads = []
        for given in (x, Ragged.pack([*x, rng.standard_normal((4, 4, 2)).astype(np.float32)])):
            t = Tensor(given, requires_grad=True)
            y = ops.pad(t, 2, mode)
            y.backward((y * y).numpy())
            grads.append(t.grad if isinstance(given, np.ndarray) else np.stack(t.grad.unpack()[:3]))
        assert grads[0].tobytes() == grads[1].tobytes()


def test_an_empty_batch_goes_through():
    x = Ragged(np.zeros((0, 2)), Layout(np.zeros((0, 2), dtype=int)))
    for mode in MODES:
        assert ops.pad(x, 1, mode).values.shape == (0, 2)
    assert len(ops.crop(x, 1)) == 0


# Layers

LAYERS = [
    nn.Pad(1),
    nn.Pad(((1, 2), (0, 3)), "reflect"),
    nn.Pad((1, 2), value=-1.5),
    nn.Crop(1),
    nn.Crop(((1, 2), (0, 1))),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_make_themselves_again_and_know_their_shape(rng, layer):
    x = rng.standard_normal((2, 7, 8, 3))
    spec = layer.output(nn.Spec(2, 3, (7, 8)))
    assert layer(x).shape == (2, *spec.shape, spec.channels)
    assert layer.output(nn.Spec(2, 3)) == nn.Spec(2, 3)
    for again in (nn.from_config(json.loads(json.dumps(layer.config()))), eval(repr(layer), dict(vars(nn)))):
        assert again.config() == layer.config()
        np.testing.assert_array_equal(again(x), layer(x))


def test_a_u_net_without_padding_crops_its_encoder(rng, draw):
    net = nn.Graph(
        {
            "encoder": nn.Conv(4, 3),
            "down": nn.MaxPool(2),
            "up": nn.ConvTranspose(4, 2, stride=2),
            "skip": nn.Node(nn.CropLike(), "encoder", "up"),
            "join": nn.Node(nn.Concat(), "skip", "up"),
            "whole": nn.Node(nn.PadLike(), "join", "input"),
        }
    )
    batch = Ragged.pack(draw(2, 1, np.float32, low=7, high=12))
    assert net.build(2, 1)(batch).layout == batch.layout
    again = nn.from_config(net.config()).build(2, 1)
    assert (again(batch).values == net(batch).values).all()
    assert net.output(nn.Spec(2, 1, (9, 8))) == nn.Spec(2, 8, (9, 8))


# Errors

X = np.ones((2, 4, 3))
R = Ragged(np.ones((9, 1)), Layout([[6], [3]]))
ERRORS = [
    (lambda: ops.pad(X, 4, "reflect"), ShapeError, r"sample 0: mode='reflect' can pad axis 0 by at most 3, .*\(4, 4\)"),
    (lambda: ops.pad(R, ((0, 4),), "circular"), ShapeError, r"sample 1: mode='circular' .* at most 3, .*shape \(3,\)"),
    (lambda: ops.pad(X, True), ArgumentError, "padding must be an int, .*Received: padding=True"),
    (lambda: ops.pad(X, "same"), ArgumentError, "padding must be an int, one int an axis, .*Received: padding='same'"),
    (lambda: ops.pad(X, (1, 2)), ArgumentError, r"there are 1 axes. Received: padding=\(1, 2\)"),
    (lambda: ops.pad(X, -1), ArgumentError, "none negative; there are 1 axes. Received: padding=-1"),
    (lambda: ops.pad(X, 1, "edge"), ArgumentError, "mode must be one of constant, reflect, .* Received: mode='edge'"),
    (lambda: ops.pad(X, 1, value="0"), ArgumentError, "value must be a number. Received: value='0'"),
    (lambda: ops.pad(X, 1, "reflect", 1.0), ArgumentError, r'value goes with mode="constant" alone. Received: va'),
    (lambda: ops.pad(np.ones((1, 0, 2)), 1), ShapeError, "sample 0 has no positions"),
    (lambda: ops.crop(R, 2), ShapeError, r"sample 1: cropping=\(\(2, 2\),\) leaves nothing of axis 0.*shape \(3,\)"),
    (lambda: ops.crop(X, "valid"), ArgumentError, "cropping must be an int, .*Received: cropping='valid'"),
    (lambda: ops.crop(X, (1, 1)), ArgumentError, "cropping must be .* there are 1 axes. Received: cropping="),
    (lambda: ops.crop_like(R, Layout([[6], [4]])), ShapeError, r"sample 1 is smaller than in like, .*\(4,\).*\(3,\)"),
    (lambda: ops.pad_like(R, Layout([[5], [4]])), ShapeError, r"sample 0 is larger than in like, .*\(5,\).*\(6,\)"),
    (lambda: ops.pad_like(R, X), ShapeError, r"sample 0 is larger than in like, where its shape is \(4,\)"),
    (lambda: ops.crop_like(R, np.ones((3, 2, 1))), ShapeError, "like must have 2 samples of 1 axes.*3 samples of 1"),
    (lambda: ops.crop_like(R, Layout([[1], [1]]), at="end"), ArgumentError, "at must be one of centre, start"),
    (lambda: ops.crop_like(R, None), ArgumentError, "like must be a batch or a Layout"),
    (lambda: ops.crop_like(X, Layout([[2], [3]])), ShapeError, "x is a dense array: make x a Ragged"),
    (lambda: nn.Pad("same"), ArgumentError, "padding must be an int"),
    (lambda: nn.Pad(1, "zeros"), ArgumentError, "mode must be one of"),
    (lambda: nn.CropLike("middle"), ArgumentError, "at must be one of"),
    (lambda: nn.Crop(4).output(nn.Spec(1, 1, (8,))), ShapeError, "leaves nothing of axis 0"),
    (lambda: nn.CropLike().output(nn.Spec(1, 1), nn.Spec(2, 1)), ShapeError, "the input's 1 axes. Received: 2"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()
