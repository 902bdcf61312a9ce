"""Kernels at one position, and sums over all: against NumPy in more digits, SciPy, PyTorch and the specification."""

import math

import numpy as np
import pytest
from scipy import special
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd._core import threads
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.kernels.moves import turned
from convnd.layout import Layout

DTYPES = (np.float32, np.float64)
CHANNELS = (1, 2, 3, 7, 8, 12, 17, 33, 64, 65, 129, 600)

pytestmark = pytest.mark.usefixtures("level")


# Numbers that are enough to run on several threads, whatever is done with them.
ENOUGH = 600_000


def on_threads(count, function):
    """The result on so many threads."""
    with threadpool_limits(count, user_api="openmp"):
        kernels.set_num_threads(count)
        assert kernels.get_num_threads() == count
        try:
            return function()
        finally:
            threads.set_num_threads(0)


def same_on_threads(function):
    one = on_threads(1, function)
    for count in (2, 3):
        np.testing.assert_array_equal(on_threads(count, function), one)


# ---------------------------------------------------------------------------------------------------------- activations


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def normal(x):
    """The normal distribution's cumulative function; its density."""
    # By erfcx, as erfc and ndtr blow up the rounding of x / sqrt(2) in the tail.
    wide = x.astype(np.longdouble)
    gauss = np.exp(-wide * wide / 2)
    tail = special.erfcx(np.abs(wide / np.sqrt(np.longdouble(2))).astype(np.float64)) * gauss / 2
    return np.where(x < 0, tail, 1 - tail), gauss / math.sqrt(2 * math.pi)


VALUES = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, x / 100),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * normal(x)[0],
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
SLOPES = {  # of the input
    "relu": lambda x: (x > 0) * 1.0,
    "leaky_relu": lambda x: np.where(x > 0, 1, 0.01),
    "sigmoid": lambda x: sigmoid(x) * sigmoid(-x),
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "elu": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    "gelu": lambda x: normal(x)[0] + x * normal(x)[1],
    "silu": lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x),
    "softplus": sigmoid,
}
FUSED = ("relu", "leaky_relu", "sigmoid", "tanh", "elu")
RELATIVE = {np.float32: 1e-6, np.float64: 1e-14}


def arguments(rng, dtype, most):
    """Every magnitude, dense around the points where one formula takes over from another."""
    joints = np.array([0.125, 0.25, 0.0625, 0.5, 1.0, 3.0, 3.75]) * np.array([[1.0], [math.sqrt(2)]])
    x = np.concatenate([
        np.linspace(-most, most, 4001),
        rng.standard_normal(4000),
        10.0 ** rng.uniform(-30, 0, 2000) * rng.choice([-1, 1], 2000),
        (joints[..., None] * (1 + np.arange(-3, 4) * np.finfo(dtype).eps)).ravel(),
        [0.0],
    ])
    return np.concatenate([x, -x[-99:]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VALUES)
def test_activations_are_accurate(rng, name, dtype):
    # Below exp(-most) the results leave the range of normal numbers, and are flushed to 0.
    most = {("gelu", np.float32): 12.5, ("gelu", np.float64): 36}.get((name, dtype), 85 if dtype == np.float32 else 700)
    x = arguments(rng, dtype, most)
    exact = VALUES[name](x.astype(np.longdouble))
    y = kernels.activate(x, name)
    assert y.dtype == dtype
    np.testing.assert_array_less(np.abs(y - exact), RELATIVE[dtype] * np.abs(exact) + np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_are_accurate(rng, name, dtype):
    x = arguments(rng, dtype, 30)
    g = rng.standard_normal(x.shape).astype(dtype)
    exact = SLOPES[name](x.astype(np.float64))
    if name in FUSED:
        # From the output, as it was rounded: a tail's slope is known only to the output's last digit.
        found = kernels.activate_grad(VALUES[name](x.astype(np.float64)).astype(dtype), g, name)
    else:
        found = kernels.activate_grad(x, g, name)
    # In the limit the terms of a slope cancel, so the error is in proportion to 1, the largest slope.
    np.testing.assert_allclose(found, g * exact, rtol=0, atol=8 * RELATIVE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(dtype):
    inf, nan, big = np.inf, np.nan, float(np.finfo(dtype).max)
    x = np.array([-inf, -big, -1e6, big, inf, nan], dtype=dtype)
    limits = {
        "relu": [0, 0, 0, big, inf, nan],
        "leaky_relu": [-inf, dtype(-big) * dtype(0.01), dtype(-1e4), big, inf, nan],
        "sigmoid": [0, 0, 0, 1, 1, nan],
        "tanh": [-1, -1, -1, 1, 1, nan],
        "elu": [-1, -1, -1, big, inf, nan],
        "gelu": [0, 0, 0, big, inf, nan],
        "silu": [0, 0, 0, big, inf, nan],
        "softplus": [0, 0, 0, big, inf, nan],
    }
    for name, wanted in limits.items():
        np.testing.assert_allclose(kernels.activate(x, name), np.array(wanted, dtype=dtype), rtol=1e-6, err_msg=name)
    for name in ("gelu", "silu", "softplus"):
        slopes = kernels.activate_grad(x, np.ones_like(x), name)
        np.testing.assert_array_equal(slopes, [0, 0, 0, 1, 1, nan], err_msg=name)
    # A slope of 0 stops an infinite gradient; NaN outputs are never taken for 0.
    y = np.array([0, 1, nan], dtype=dtype)
    np.testing.assert_array_equal(kernels.activate_grad(y, np.array([inf, inf, 3], dtype=dtype), "relu"), [0, inf, 3])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VALUES)
def test_denormals_and_small_numbers(name, dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 4, -tiny / 4, tiny, -tiny, 0.0, -0.0], dtype=dtype)
    exact = VALUES[name](x.astype(np.longdouble))
    np.testing.assert_allclose(kernels.activate(x, name), exact.astype(np.float64), rtol=1e-6, atol=tiny)


def test_the_callers_denormals_are_put_back():
    kernels.activate(np.ones((3, 3), dtype=np.float32), "tanh")
    assert np.float32(1e-40) * np.float32(0.5) != 0


@pytest.mark.parametrize("name", VALUES)
def test_pytorch_agrees_on_activations(rng, name):
    torch = pytest.importorskip("torch")
    x, g = rng.standard_normal((2, 50, 7))
    t = torch.from_numpy(x).requires_grad_()
    wanted = getattr(torch.nn.functional, name)(t) if name not in ("sigmoid", "tanh") else getattr(torch, name)(t)
    y = kernels.activate(x, name)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-12)
    (back,) = torch.autograd.grad(wanted, t, torch.from_numpy(g))
    found = kernels.activate_grad(y if name in FUSED else x, g, name)
    np.testing.assert_allclose(found, back.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VALUES)
def test_a_number_never_depends_on_its_neighbours(rng, name, dtype):
    x = rng.standard_normal(ENOUGH + 1).astype(dtype)
    y, g = kernels.activate(x, name), kernels.activate_grad(x, x, name)
    for start, stop in ((0, 1), (3, 20), (ENOUGH - 10, ENOUGH + 1), (5, 40_000)):
        np.testing.assert_array_equal(kernels.activate(x[start:stop], name), y[start:stop])
        np.testing.assert_array_equal(kernels.activate_grad(x[start:stop], x[start:stop], name), g[start:stop])
    same_on_threads(lambda: kernels.activate(x, name))
    same_on_threads(lambda: kernels.activate_grad(x, x, name))


def test_shapes_are_kept(rng):
    x = rng.standard_normal((3, 4, 5))
    np.testing.assert_array_equal(kernels.activate(x, "relu"), np.maximum(x, 0))
    np.testing.assert_array_equal(kernels.activate(x.T, "relu"), np.maximum(x.T, 0))
    assert kernels.activate(np.zeros((0, 3)), "tanh").shape == (0, 3)
    assert kernels.activate(np.array(-1.0), "relu").shape == ()


# ----------------------------------------------------------------------------------------------------------- by channel


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_scale_shift(rng, channels, dtype):
    x = rng.standard_normal((41, channels)).astype(dtype)
    a, b = rng.standard_normal((2, channels)).astype(dtype)
    exact = x.astype(np.float64) * a + b
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(kernels.scale_shift(x, a, b), exact, rtol=4 * eps, atol=4 * eps)
    for name in FUSED:
        np.testing.assert_array_equal(
            kernels.scale_shift(x, a, b, activation=name), kernels.activate(kernels.scale_shift(x, a, b), name)
        )
    whole = kernels.scale_shift(x, a, b)
    for start, stop in ((0, 1), (7, 9), (3, 41)):
        np.testing.assert_array_equal(kernels.scale_shift(x[start:stop], a, b), whole[start:stop])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_batch_norm_grad(rng, channels, dtype):
    g, x = rng.standard_normal((2, 41, channels)).astype(dtype)
    scale, shift, b, c = rng.standard_normal((4, channels)).astype(dtype)
    eps = np.finfo(dtype).eps
    for name in (None, *FUSED):
        slopes = g if name is None else kernels.activate_grad(kernels.scale_shift(x, scale, shift, name), g, name)
        exact = slopes.astype(np.float64) * scale + x.astype(np.float64) * b + c
        whole = kernels.batch_norm_grad(g, x, scale, shift, b, c, name)
        np.testing.assert_allclose(whole, exact, rtol=4 * eps, atol=20 * eps)
        again = kernels.batch_norm_grad(g[3:9], x[3:9], scale, shift, b, c, name)
        np.testing.assert_array_equal(again, whole[3:9])


@pytest.mark.parametrize("channels", [3, 64, 129])
def test_by_channel_on_threads(rng, channels):
    g, x = rng.standard_normal((2, ENOUGH // channels, channels)).astype(np.float32)
    a, b, c, d = rng.standard_normal((4, channels)).astype(np.float32)
    same_on_threads(lambda: kernels.scale_shift(x, a, b, activation="tanh"))
    same_on_threads(lambda: kernels.batch_norm_grad(g, x, a, b, c, d, "relu"))


# -------------------------------------------------------------------------------------------------------- over channels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_softmax(rng, channels, dtype):
    x = (5 * rng.standard_normal((29, channels)) + 1000 * rng.standard_normal((29, 1))).astype(dtype)
    exact = special.log_softmax(x.astype(np.float64), axis=1)
    limit = 2 * RELATIVE[dtype]
    np.testing.assert_allclose(kernels.softmax(x), np.exp(exact), rtol=limit)
    np.testing.assert_allclose(kernels.log_softmax(x), exact, rtol=limit, atol=limit)
    np.testing.assert_allclose(kernels.log_softmax(x), reference.log_softmax(x), rtol=limit, atol=limit)
    for start, stop in ((0, 1), (4, 7), (3, 29)):
        np.testing.assert_array_equal(kernels.softmax(x[start:stop]), kernels.softmax(x)[start:stop])
        np.testing.assert_array_equal(kernels.log_softmax(x[start:stop]), kernels.log_softmax(x)[start:stop])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 5, 21])
def test_softmax_of_extremes(dtype, channels):
    torch = pytest.importorskip("torch")
    rows = np.zeros((7, channels))
    rows[0, 1] = -np.inf
    rows[1, 0] = np.inf
    rows[2, 2] = np.nan
    rows[3] = -np.inf
    rows[4, 0] = 1e30
    rows[5] = -1e30
    rows[6, -1] = -1000
    x = rows.astype(dtype)
    t = torch.from_numpy(x)
    np.testing.assert_allclose(kernels.softmax(x), torch.softmax(t, 1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(kernels.log_softmax(x), torch.log_softmax(t, 1).numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_softmax_gradients(rng, channels, dtype):
    x, g = rng.standard_normal((2, 29, channels)).astype(dtype)
    limit = {"rtol": 0, "atol": 20 * math.sqrt(channels) * RELATIVE[dtype]}
    y = special.softmax(x.astype(np.float64), axis=1)
    exact = y * (g - (g * y).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(kernels.softmax_grad(y.astype(dtype), g), exact, **limit)
    exact = g - y * g.sum(axis=1, keepdims=True, dtype=np.float64)
    found = kernels.log_softmax_grad(np.log(y).astype(dtype), g)
    np.testing.assert_allclose(found, exact, **limit)
    np.testing.assert_array_equal(kernels.log_softmax_grad(np.log(y[3:9]).astype(dtype), g[3:9]), found[3:9])


@pytest.mark.parametrize("channels", [3, 64])
def test_over_channels_on_threads(rng, channels):
    x, g = rng.standard_normal((2, ENOUGH // channels, channels)).astype(np.float32)
    same_on_threads(lambda: kernels.softmax(x))
    same_on_threads(lambda: kernels.log_softmax_grad(x, g))


# ------------------------------------------------------------------------------------------------------- over positions


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("positions", [1, 2, 37, 300, 1000])
def test_sums(rng, positions, channels, dtype):
    g, x = rng.standard_normal((2, positions, channels)).astype(dtype)
    x += 3
    limit = {"rtol": 10 * RELATIVE[dtype], "atol": 20 * RELATIVE[dtype] * math.sqrt(positions)}
    found = kernels.column_sum(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, x.sum(axis=0, dtype=np.float64), **limit)
    found = kernels.column_squares(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, (x.astype(np.float64) ** 2).sum(axis=0), rtol=10 * RELATIVE[dtype])
    mean, variance = kernels.moments(x)
    assert mean.dtype == variance.dtype == np.float64
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), **limit)
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis=0), **limit)
    scale, shift = rng.standard_normal((2, channels)).astype(dtype)
    for name in (None, *FUSED):
        slopes = g if name is None else kernels.activate_grad(kernels.scale_shift(x, scale, shift, name), g, name)
        total, product = kernels.batch_norm_sums(g, x, mean, scale, shift, name)
        assert total.dtype == product.dtype == np.float64
        np.testing.assert_allclose(total, slopes.sum(axis=0, dtype=np.float64), **limit)
        exact = (slopes.astype(np.float64) * (x.astype(np.float64) - mean)).sum(axis=0)
        np.testing.assert_allclose(product, exact, **limit)


@pytest.mark.parametrize("channels", [1, 3, 64])
def test_moments_far_from_zero(rng, channels):
    """Where the sum of squares minus the square of the sum would have no digit left."""
    x = (10_000 + rng.standard_normal((100_000, channels))).astype(np.float32)
    mean, variance = kernels.moments(x)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis=0), rtol=1e-5)
    same = np.full((5000, channels), 12345.678, dtype=np.float32)
    mean, variance = kernels.moments(same)
    np.testing.assert_allclose(mean, same[0].astype(np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, 0, atol=1e-12)
    g = rng.standard_normal(x.shape).astype(np.float32)
    mean = x.mean(axis=0, dtype=np.float64)
    exact = (g * (x.astype(np.float64) - mean)).sum(axis=0)
    one = np.ones(channels, np.float32)
    np.testing.assert_allclose(kernels.batch_norm_sums(g, x, mean, one, one)[1], exact, rtol=1e-4, atol=1e-2)


def test_moments_are_the_specifications(rng, draw):
    samples = draw(2, 5)
    found = kernels.moments(np.concatenate([s.reshape(-1, 5) for s in samples]))
    np.testing.assert_allclose(found, reference.moments(samples), rtol=1e-13)


@pytest.mark.parametrize("channels", [1, 3, 64, 129, 1100])
def test_sums_on_threads(rng, channels):
    g, x = rng.standard_normal((2, ENOUGH // channels, channels)).astype(np.float32)
    mean = np.zeros(channels)
    scale, shift = rng.standard_normal((2, channels)).astype(np.float32)
    same_on_threads(lambda: kernels.column_sum(x))
    same_on_threads(lambda: kernels.column_squares(x))
    same_on_threads(lambda: kernels.moments(x))
    same_on_threads(lambda: kernels.batch_norm_sums(g, x, mean, scale, shift, "relu"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_turned(rng, dtype):
    for shape in ((3, 5, 7), (2, 2, 64, 33), (1, 128, 256), (9, 1, 4), (2, 0, 3), (0, 4, 4)):
        x = rng.standard_normal(shape).astype(dtype)
        np.testing.assert_array_equal(turned(x), x.swapaxes(-1, -2))
        np.testing.assert_array_equal(turned(x[..., ::-1]), x[..., ::-1].swapaxes(-1, -2))
    x = rng.standard_normal((8, ENOUGH // 64, 32)).astype(dtype)
    same_on_threads(lambda: turned(x))


def test_sums_of_nothing():
    none = np.zeros((0, 3))
    assert kernels.column_sum(none).tolist() == [0, 0, 0]
    assert kernels.batch_norm_sums(none, none, *np.zeros((3, 3)))[1].tolist() == [0, 0, 0]
    assert kernels.column_sum(np.zeros((3, 0))).shape == (0,)


def test_nan_reaches_its_channel_alone():
    x = np.ones((500, 5), dtype=np.float32)
    x[77, 2] = np.nan
    for found in (kernels.column_sum(x), *kernels.moments(x)):
        assert np.isnan(found).tolist() == [False, False, True, False, False]


# ---------------------------------------------------------------------------------------------------------------- draws

M64 = (1 << 64) - 1


def split_mix(key, i):
    """Draw number i of SplitMix64 from `key`, in Python's own integers."""
    z = (key + (i + 1) * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_mask(rng, dtype):
    assert split_mix(0, 0) == 0xE220A8397B1DCDAF  # the generator's published first output
    layout = Layout([[3, 4], [5, 2], [0, 7], [1, 1]])
    keys = rng.integers(0, 2**64, size=4, dtype=np.uint64)
    rate = 0.3
    mask = kernels.dropout_mask(keys, layout, 5, rate, dtype)
    wanted = [
        0 if split_mix(int(key), i) < rate * 2**64 else 1 / (1 - rate)
        for key, size in zip(keys, layout.sizes, strict=True)
        for i in range(size * 5)
    ]
    assert mask.dtype == dtype
    np.testing.assert_allclose(mask.ravel(), wanted, rtol=1e-7)


def test_dropout_draws_as_often_as_asked(rng):
    layout = Layout([[300, 200], [40, 10]])
    keys = np.array([1, 2], dtype=np.uint64)
    for rate in (0.0, 0.1, 0.5, 0.9):
        mask = kernels.dropout_mask(keys, layout, 4, rate, np.float32)
        count, n = int((mask == 0).sum()), mask.size
        assert abs(count - rate * n) <= 5 * math.sqrt(n * rate * (1 - rate))
    same_on_threads(lambda: kernels.dropout_mask(keys, layout, 4, 0.5, np.float32))
    alone = kernels.dropout_mask(keys[1:], layout.take([1]), 4, 0.9, np.float32)
    np.testing.assert_array_equal(alone, mask[60_000:])


# --------------------------------------------------------------------------------------------------------------- errors

X = np.zeros((4, 3))
V = np.zeros(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.activate(X, "swish"), ArgumentError, "activation must be None or one of relu.*'swish'"),
        (lambda: kernels.activate(X.astype(int), "relu"), DtypeError, "x must be float32 or float64.*int64"),
        (lambda: kernels.activate_grad(X, X[:3], "relu"), ShapeError, r"grad must have the shape of y, \(4, 3\)"),
        (lambda: kernels.scale_shift(X, V[:2], V), ShapeError, r"scale must have shape \(3,\).*\(2,\)"),
        (lambda: kernels.scale_shift(X, V, V, activation="gelu"), ArgumentError, "'gelu'"),
        (lambda: kernels.scale_shift(X, V.astype("f"), V), DtypeError, "scale and x must have one dtype"),
        (lambda: kernels.batch_norm_grad(X, X, V, V, V, V[:1]), ShapeError, r"c must have shape \(3,\)"),
        (lambda: kernels.batch_norm_sums(X[:2], X, V, V, V), ShapeError, "grad must have the shape of x"),
        (lambda: kernels.batch_norm_sums(X, X, V[:2], V, V), ShapeError, r"mean must have shape \(3,\)"),
        (lambda: kernels.moments(X[:0]), ShapeError, "at least one position"),
        (lambda: kernels.column_sum(V), ShapeError, r"x must have shape \(3 positions, channels\)"),
        (lambda: kernels.softmax_grad(X, V), ShapeError, "grad must have the shape of y"),
        (lambda: kernels.dropout_mask(np.zeros(1, np.uint64), Layout([[2]]), 3, 1.0, "f4"), ArgumentError, "rate=1.0"),
        (lambda: kernels.dropout_mask(np.zeros(2, np.uint64), Layout([[2]]), 3, 0.1, "f4"), ShapeError, "one a sample"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
