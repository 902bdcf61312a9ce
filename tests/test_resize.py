"""Resizing: against the specification and PyTorch; the law; gradients; the layer; errors."""

import json

import numpy as np
import pytest

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

MODES = {
    "nearest": {},
    "nearest_exact": {"mode": "nearest_exact"},
    "linear": {"mode": "linear"},
    "corners": {"mode": "linear", "align_corners": True},
}
modes = pytest.mark.parametrize("options", MODES.values(), ids=MODES)
RANKS = [0, 1, 2, 3, 4]
ranks = pytest.mark.parametrize("ndim", RANKS)


def leaf(x):
    return Tensor(x, requires_grad=True)


def sizes_for(rng, ndim, most=7):
    return tuple(int(size) for size in rng.integers(1, most + 1, ndim))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@modes
@ranks
def test_resize_is_the_reference_on_each_sample(rng, draw, ndim, options, dtype):
    samples = draw(ndim, 2, dtype, count=4, low=1, high=6)
    batch = Ragged.pack(samples)
    wanted = [sizes_for(rng, ndim, 7 if ndim < 4 else 4) for _ in samples]
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    calls = [
        (ops.resize(batch, like=Layout(np.array(wanted).reshape(4, ndim)), **options), wanted, None),
        (ops.resize(batch, wanted[0], **options), [wanted[0]] * 4, None),
    ]
    scale = tuple(rng.uniform(1, 2, ndim).tolist())
    sizes = [tuple(int(s * k) for s, k in zip(sample.shape[:-1], scale, strict=True)) for sample in samples]
    calls.append((ops.resize(batch, scale=scale, **options), sizes, scale))
    for result, shapes, by in calls:
        for found, sample, shape in zip(result, samples, shapes, strict=True):
            assert found.dtype == dtype
            np.testing.assert_allclose(
                found, reference.resize(sample, shape, scale=by, **{"mode": "nearest"} | options), atol=10 * tolerance
            )


def interpolate(torch, x, ndim, options, **arguments):
    mode = options.get("mode", "nearest").replace("_", "-")
    if mode == "linear":
        mode = ["linear", "bilinear", "trilinear"][ndim - 1]
        arguments["align_corners"] = options.get("align_corners", False)
    return torch.nn.functional.interpolate(x, mode=mode, **arguments)


@modes
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_values_and_gradients_are_pytorchs(rng, ndim, options):
    torch = pytest.importorskip("torch")
    for draw in range(6):
        x = rng.standard_normal((2, *rng.integers(1, 8, ndim), 3))
        if draw % 2:
            ours = theirs = {"size": sizes_for(rng, ndim, 9)}
        else:
            scale = tuple(rng.choice([1.0, 2.0, 3.0, 1.5, 1.25, 1.7], ndim).tolist())
            ours, theirs = {"scale": scale}, {"scale_factor": scale}
        tx = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
        wanted = interpolate(torch, tx, ndim, options, **theirs)
        wanted.square().sum().backward()
        cx = leaf(x)
        y = ops.resize(cx, **ours, **options)
        np.testing.assert_allclose(np.moveaxis(y.numpy(), -1, 1), wanted.detach().numpy(), atol=1e-6)
        y.backward(2 * y.numpy())
        np.testing.assert_allclose(np.moveaxis(cx.grad, -1, 1), tx.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_nearest_positions_are_exact_integers():
    """floor(q S / O) for all small sizes, where a rounded ratio would be one short now and then."""
    for size in range(1, 40):
        x = np.arange(float(size)).reshape(1, size, 1)
        for out in range(1, 60):
            q = np.arange(out)
            np.testing.assert_array_equal(ops.resize(x, out).ravel(), q * size // out)
            found = ops.resize(x, out, mode="nearest_exact").ravel()
            np.testing.assert_array_equal(found, (2 * q + 1) * size // (2 * out))


def test_linear_keeps_straight_lines(rng):
    x = (np.arange(5.0)[:, None] * 3 + np.arange(4.0) * 7 + 2)[None, ..., None]
    up = ops.resize(x, (9, 7), mode="linear", align_corners=True)
    np.testing.assert_allclose(up[0, ..., 0], np.arange(9)[:, None] * 1.5 + np.arange(7) * 3.5 + 2, atol=1e-13)
    inside = ops.resize(x, scale=2, mode="linear")[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(inside, np.arange(0.25, 4, 0.5)[:, None] * 3 + np.arange(0.25, 3, 0.5) * 7 + 2)


@modes
def test_a_size_of_its_own_changes_nothing(rng, draw, options):
    samples = draw(2, 3, np.float32, low=1)
    samples[0][0, 0, 0], samples[1][0, 0, 1] = np.inf, np.nan
    batch = Ragged.pack(samples)
    for same in (ops.resize(batch, like=batch, **options), ops.resize(batch, scale=1, **options)):
        np.testing.assert_array_equal(same.values, batch.values)


def test_an_axis_can_stay(rng, draw):
    batch = Ragged.pack(draw(2, 3))
    up = ops.resize(batch, scale=(1, 2))
    np.testing.assert_array_equal(up.layout.shapes, batch.layout.shapes * [1, 2])
    for found, sample in zip(up, batch, strict=True):
        np.testing.assert_array_equal(found, np.repeat(sample, 2, axis=1))


# The law and gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@modes
@ranks
def test_the_law(draw, ndim, options, dtype):
    samples = draw(ndim, 3, dtype, count=6, low=2, high=5 if ndim > 2 else 12)

    def bigger(x):
        layout = x.layout if isinstance(x, Ragged) else Layout.dense(len(x), x.shape[1:-1])
        return ops.resize(x, like=Layout(layout.shapes * 2 - layout.shapes % 3), **options)

    check_law(bigger, samples)
    check_law(lambda x: ops.resize(x, scale=1.6, **options), samples)
    check_law(lambda x: ops.resize(x, 4, **options), samples)


@modes
def test_the_law_holds_for_gradients(draw, options):
    def gradient(x):
        t = leaf(x)
        y = ops.resize(t, scale=(1.7, 0.6), **options)
        y.backward((y * y).numpy())
        return t.grad

    check_law(gradient, draw(2, 3, np.float32, count=6, low=3, high=9))


@modes
@ranks
def test_gradients(rng, draw, ndim, options):
    x = leaf(Ragged.pack(draw(ndim, 2, count=3, low=1, high=5)))
    like = Layout(rng.integers(1, 6, (3, ndim)))
    check_gradient(lambda x: ops.resize(x, like=like, **options), [x], draws=1)
    check_gradient(lambda x: ops.resize(x, 3, **options), [x], draws=1)
    check_gradient(lambda x: ops.resize(x, scale=2.5, **options), [x], draws=1)


def test_the_input_is_left_alone(rng):
    x = rng.standard_normal((2, 4, 5, 3))
    kept = x.copy()
    t = leaf(x)
    y = ops.resize(t, 7, mode="linear")
    g = rng.standard_normal(y.numpy().shape)
    same = g.copy()
    y.backward(g)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(g, same)


def test_an_empty_batch_goes_through():
    x = Ragged(np.zeros((0, 2)), Layout(np.zeros((0, 2), dtype=int)))
    for options in MODES.values():
        assert ops.resize(x, scale=2, **options).values.shape == (0, 2)


# The layer


@pytest.mark.parametrize(
    "layer",
    [
        nn.Resize(5),
        nn.Resize((3, 9), mode="nearest_exact"),
        nn.Resize(scale=2, mode="linear"),
        nn.Resize(scale=(1.5, 0.5), mode="linear", align_corners=True),
    ],
    ids=repr,
)
def test_the_layer_makes_itself_again_and_knows_its_shape(rng, layer):
    x = rng.standard_normal((2, 7, 8, 3))
    spec = layer.output(nn.Spec(2, 3, (7, 8)))
    assert layer(x).shape == (2, *spec.shape, spec.channels)
    for again in (nn.from_config(json.loads(json.dumps(layer.config()))), eval(repr(layer), dict(vars(nn)))):
        assert again.config() == layer.config()
        np.testing.assert_array_equal(again(x), layer(x))


def test_a_size_makes_the_shape_known():
    assert nn.Resize(5).output(nn.Spec(2, 3)) == nn.Spec(2, 3, (5, 5))
    assert nn.Resize(scale=2).output(nn.Spec(2, 3)) == nn.Spec(2, 3)
    net = nn.Sequential(nn.Resize(4), nn.Flatten(), nn.Linear(2)).build(2, 1)
    assert net(Ragged.pack([np.ones((3, 9, 1), np.float32), np.ones((6, 2, 1), np.float32)])).values.shape == (2, 2)


def test_a_decoder_meets_its_encoder(draw):
    net = nn.Graph(
        {
            "encoder": nn.Conv(4, 3, padding="same"),
            "down": nn.MaxPool(2, padding="same"),
            "up": nn.Node(nn.Resize(mode="linear"), "down", like="encoder"),
            "join": nn.Node(nn.Concat(), "encoder", "up"),
        }
    )
    batch = Ragged.pack(draw(3, 1, np.float32))
    assert net.build(3, 1)(batch).layout == batch.layout
    assert nn.from_config(net.config()).build(3, 1)(batch).values.tobytes() == net(batch).values.tobytes()


# Errors

X = np.ones((2, 4, 3))
R = Ragged(np.ones((9, 1)), Layout([[6], [3]]))
ERRORS = [
    (lambda: ops.resize(X), ArgumentError, "takes one of size, scale and like. Received: size=None, scale=None, like="),
    (lambda: ops.resize(X, 3, scale=2), ArgumentError, "takes one of size, scale and like. Received: size=3, scale=2"),
    (lambda: ops.resize(X, 3, like=X), ArgumentError, "one of size, scale and like. Received: .*like=a batch"),
    (lambda: ops.resize(X, 3, mode="cubic"), ArgumentError, "mode must be one of nearest, .* Received: mode='cubic'"),
    (lambda: ops.resize(X, 3, align_corners=True), ArgumentError, "align_corners .* Received: align_corners=True, m"),
    (lambda: ops.resize(X, 0), ArgumentError, "size must be an int of at least 1"),
    (lambda: ops.resize(X, (2, 2)), ArgumentError, r"size must be .*Received: size=\(2, 2\)"),
    (lambda: ops.resize(X, scale=0), ArgumentError, "scale must be a positive number, .* Received: scale=0"),
    (lambda: ops.resize(X, scale=np.inf), ArgumentError, "scale must be a positive number"),
    (lambda: ops.resize(X, scale=(2, 2)), ArgumentError, r"or 1 of them .*Received: scale=\(2, 2\)"),
    (lambda: ops.resize(X, scale="2"), ArgumentError, "scale must be a positive number, .* Received: scale='2'"),
    (lambda: ops.resize(R, scale=0.3), ShapeError, r"sample 1: scale=0.3 leaves nothing of axis 0. .*shape \(3,\)"),
    (lambda: ops.resize(R, like=X[:1]), ShapeError, "like must have 2 samples of 1 axes, as x has. Received: 1 s"),
    (lambda: ops.resize(X, like=R), ShapeError, "x is a dense array: make x a Ragged"),
    (lambda: ops.resize(np.ones((1, 0, 2)), 2), ShapeError, "sample 0 has no positions"),
    (lambda: nn.Resize(2, 2), ArgumentError, "takes one of size, scale and like"),
    (lambda: nn.Resize(scale=-1), ArgumentError, "scale must be a positive number"),
    (lambda: nn.Resize().output(nn.Spec(1, 1)), ArgumentError, "takes one of size, scale and like"),
    (lambda: nn.Resize(2).output(nn.Spec(1, 1), nn.Spec(1, 1)), ArgumentError, "takes one of size, scale and like"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()
