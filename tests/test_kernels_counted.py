"""Moments that a convolution counts while it has its outputs in the cache: right, with the same bits on any threads."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from convnd import kernels, nn, ops
from convnd.errors import ShapeError
from convnd.kernels import counted as module
from convnd.layout import Layout
from convnd.window import Window

RELATIVE = {np.float32: 2e-6, np.float64: 1e-13}


@pytest.fixture
def never(monkeypatch):
    """The outputs aren't read again."""

    def refuse(x):
        raise AssertionError("the outputs were read again")

    monkeypatch.setattr(module, "moments", refuse)


def operands(rng, layout, kernel, channels, filters, groups=1, dtype=np.float32, **settings):
    place = Window.of(layout.ndim, kernel, **settings).on(layout)
    x = rng.standard_normal((layout.positions, channels)).astype(dtype)
    weight = rng.standard_normal((*place.window.kernel, channels // groups, filters)).astype(dtype)
    return x, place, weight, rng.standard_normal(filters).astype(dtype)


def check(x, place, weight, bias, relative=2e-6, **options):
    """Against float64 sums of the very outputs; returns what was counted."""
    y, (mean, variance) = kernels.conv_and_moments(x, place, weight, bias, **options)
    np.testing.assert_array_equal(y, kernels.conv(x, place, weight, bias, **options))
    assert mean.dtype == variance.dtype == np.float64
    exact = y.astype(np.float64)
    largest = np.sqrt((exact**2).mean(axis=0).max())
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=relative, atol=relative * largest)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=10 * relative, atol=relative * largest**2)
    return mean, variance


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(12))
def test_random_draws(seed, dtype, algorithm, level):
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 5))
    shapes = rng.integers(1, {1: 60, 2: 14, 3: 8, 4: 5}[ndim], (rng.integers(1, 5), ndim))
    groups = int(rng.choice([1, 1, 2, 4]))
    channels, filters = groups * int(rng.integers(1, 20)), groups * int(rng.integers(1, 40))
    kernel = tuple(rng.integers(1, {1: 6, 2: 5, 3: 4, 4: 4}[ndim], ndim).tolist())
    if max(kernel) == 1 and algorithm == "winograd":
        kernel = (3,) * ndim
    stride = 1 if algorithm == "winograd" else int(rng.integers(1, 3))
    settings = {"stride": stride, "dilation": int(rng.integers(1, 3)), "padding": "same"}
    given = operands(rng, Layout(shapes), kernel, channels, filters, groups, dtype, **settings)
    activation = [None, "relu"][rng.integers(2)]
    check(*given, RELATIVE[dtype], groups=groups, algorithm=algorithm, activation=activation)


CASES = {
    "run of taps": ((1, 5000), 1, 64, {"kernel": 80, "stride": 4}, "direct"),
    "edges": ((1, 300), 24, 40, {"kernel": 3, "padding": 1}, "direct"),
    "past the caches": ((2, 12000), 16, 64, {"kernel": 2}, "direct"),
    "past the caches, two panels": ((1, 12000), 1, 96, {"kernel": 3, "padding": 1}, "direct"),
    "single positions": ((1, 40, 30), 32, 192, {"kernel": 1}, "direct"),
    "a spanned axis": ((2, 30, 16), 16, 48, {"kernel": (3, 16), "padding": (1, 0)}, "auto"),
    "small groups": ((2, 20, 20), 128, 128, {"kernel": 3, "padding": 1, "groups": 32}, "auto"),
    "lines": ((2, 500), 64, 64, {"kernel": 3, "padding": 1}, "winograd"),
    "planes": ((2, 21, 18), 32, 48, {"kernel": 3, "padding": 1}, "winograd"),
    "boxes": ((1, 9, 8, 11), 16, 32, {"kernel": 3, "padding": 1}, "winograd"),
    "tiles of three": ((1, 22, 23), 16, 32, {"kernel": 4, "padding": 1}, "winograd"),
    "groups": ((1, 18, 17), 64, 64, {"kernel": 3, "padding": 1, "groups": 2}, "winograd"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("not_row_by_row")
def test_each_way_on_threads(name, never):
    (batch, *size), channels, filters, settings, algorithm = CASES[name]
    settings = dict(settings)
    groups, kernel = settings.pop("groups", 1), settings.pop("kernel")
    rng = np.random.default_rng(1)
    given = operands(rng, Layout.dense(batch, tuple(size)), kernel, channels, filters, groups, **settings)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads, user_api="openmp"):
            found.append(check(*given, groups=groups, algorithm=algorithm))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_samples_that_go_different_ways(rng):
    """Ragged: some by Winograd, in tiles of two sizes, and some directly."""
    layout = Layout(np.array([[2], [50], [1], [700], [3]]))
    given = operands(rng, layout, 3, 64, 64, padding=1)
    check(*given)
    assert len(kernels.chosen(given[1])) > 1


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_far_from_zero(rng, algorithm, never):
    """Where the sum of squares minus the square of the sum would have no digit left."""
    x, place, weight, bias = operands(rng, Layout.dense(2, (60, 70)), 3, 16, 32, padding=1)
    y, (mean, variance) = kernels.conv_and_moments(x, place, weight / 12, bias + 10_000, algorithm=algorithm)
    np.testing.assert_allclose(mean, y.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(variance, y.astype(np.float64).var(axis=0), rtol=1e-5)
    y, (mean, variance) = kernels.conv_and_moments(x, place, weight * 0, bias + 12345.678, algorithm=algorithm)
    np.testing.assert_allclose(mean, y[0].astype(np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, 0, atol=1e-12)


def test_nan_reaches_its_channel_alone(rng, never):
    x, place, weight, bias = operands(rng, Layout.dense(1, (200,)), 3, 8, 40, padding=1)
    weight[1, 2, 5] = np.nan
    for algorithm in ("direct", "winograd"):
        for found in kernels.conv_and_moments(x, place, weight, bias, algorithm=algorithm)[1]:
            assert np.flatnonzero(np.isnan(found)).tolist() == [5]


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "size", "kernel"),
    [
        (64, 64, 64, 50, 3),
        (16, 16, 1, 2000, 129),
        (8, 2, 1, 50, 3),
        (256, 256, 1, 50, 3),
        (48, 12, 4, 50, 1),
        (8, 64, 1, 4, 1),
    ],
    ids=["depthwise", "fft", "few filters", "large weight", "narrow groups", "short samples"],
)
def test_other_ways_are_read_again(rng, channels, filters, groups, size, kernel):
    given = operands(rng, Layout.dense(2, (size,)), kernel, channels, filters, groups, padding=kernel // 2)
    found = check(*given, groups=groups)
    np.testing.assert_array_equal(found, kernels.moments(kernels.conv(*given, groups=groups)))


def test_no_position():
    place = Window.of(1, 1).on(Layout(np.zeros((0, 1), np.int64)))
    with pytest.raises(ShapeError, match="at least one position"):
        kernels.conv_and_moments(np.zeros((0, 2)), place, np.zeros((1, 2, 3)))


# ---------------------------------------------------------------------------------------------------- above the kernels


def test_batch_norm_takes_them(rng, never, monkeypatch):
    weight = nn.Conv(32, 3, bias=False).build(ndim=1, channels=4).params["weight"]
    y = ops.conv(rng.standard_normal((2, 30, 4)).astype(np.float32), weight, moments=True)
    monkeypatch.setattr(kernels, "moments", lambda x: pytest.fail("the outputs were read again"))
    mean, variance = np.zeros((2, 32), np.float32)
    one, zero = np.ones(32, np.float32), np.zeros(32, np.float32)
    ops.batch_norm(y, one, zero, mean, variance, training=True, momentum=1.0)
    exact = y.numpy().astype(np.float64).reshape(-1, 32)
    np.testing.assert_allclose(mean, exact.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0, ddof=1), rtol=1e-5)


def test_networks_ask_for_them(rng, monkeypatch):
    """In training, unless the normalisation is frozen; and what is learned is the same but for rounding."""
    asked = []
    whole = kernels.conv_and_moments

    def counting(*given, **options):
        asked.append(given[2].shape)
        return whole(*given, **options)

    monkeypatch.setattr(kernels, "conv_and_moments", counting)
    x = rng.standard_normal((3, 40, 2)).astype(np.float32)

    def net():
        return nn.Sequential(
            nn.Conv(32, 5, bias=False), nn.BatchNorm(activation="relu"), nn.MaxPool(2),
            nn.Conv(16, 3), nn.BatchNorm(), nn.Conv(4, 3), nn.Activation("gelu"),
        ).build(ndim=1, channels=2, seed=0)  # fmt: skip

    one = net()
    one(x)
    assert asked == []
    result = one(x, training=True)
    assert asked == [(5, 2, 32), (3, 32, 16)]
    other = net()
    values = x
    for layer in other.layers:
        values = layer(values, training=True)
    assert len(asked) == 2
    np.testing.assert_allclose(result, values, rtol=1e-4, atol=1e-5)
    for name, buffer in one.state().items():
        np.testing.assert_allclose(buffer, other.state()[name], rtol=1e-5, atol=1e-6)
    one.layers[1].freeze()
    one(x, training=True)
    assert asked[2:] == [(3, 32, 16)]


def test_a_result_read_by_others_too(rng):
    """A skip around the normalisation: moments are the same whoever else reads the result."""
    block = nn.Graph({
        "conv": nn.Conv(16, 3, padding="same"),
        "norm": nn.BatchNorm(),
        "sum": nn.Node(nn.Add(), "norm", "conv"),
    }).build(ndim=2, channels=3, seed=0)
    x = rng.standard_normal((2, 9, 8, 3)).astype(np.float32)
    y = block["conv"](x)
    exact = y.astype(np.float64).reshape(-1, 16)
    normal = (y - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    np.testing.assert_allclose(block(x, training=True), normal + y, rtol=1e-4, atol=1e-5)
