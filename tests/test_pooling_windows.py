"""Pools by windows: p-norm, weighted mean, stochastic, indices and unpooling. The specification, PyTorch, the law."""

import numpy as np
import pytest

from convnd import kernels, ops, reference
from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.ops.window_pooling import gaussian, uniforms
from convnd.random import Key
from convnd.tensor import Tensor, no_grad
from convnd.testing import check_gradient, check_law

OPTIONS = {
    "plain": {},
    "overlapping": {"stride": 1},
    "padded": {"padding": 1, "stride": 2},
    "same": {"padding": "same"},
    "full": {"padding": "full", "stride": 1},
    "causal": {"padding": "causal", "stride": 1},
    "dilated": {"dilation": 2, "stride": 1, "padding": 1},
    "ceil": {"ceil_mode": True, "stride": 2},
}
RANKS = [0, 1, 2, 3, 4]

named = pytest.mark.parametrize(("name", "options"), list(OPTIONS.items()), ids=list(OPTIONS))


def leaf(x):
    return Tensor(x, requires_grad=True)


def samples_of(draw, ndim, channels=3, dtype=np.float64, count=3):
    if ndim == 4:  # the reference is slow
        return draw(ndim, channels, dtype, count=2, low=3, high=5)
    return draw(ndim, channels, dtype, count=count, low=4, high=7)


def size_of(ndim):
    return [3 if axis == 1 else 2 for axis in range(ndim)]


def options_of(options, ndim):
    """Names and ints go with any rank; "full" and "causal" need an axis."""
    return options if ndim else {}


def close(found, wanted, dtype=np.float64):
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


# Against the specification


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
@named
def test_all_are_the_reference_on_each_sample(draw, ndim, name, options, dtype):
    samples = samples_of(draw, ndim, dtype=dtype)
    options, size = options_of(options, ndim), size_of(ndim)
    batch = Ragged.pack(samples)
    rectified = Ragged(np.maximum(batch.values, 0), batch.layout)
    for p in (1, 2, 3.5):
        for found, sample in zip(ops.lp_pool(batch, size, p, **options), samples, strict=True):
            assert found.dtype == dtype
            close(found, reference.lp_pool(sample, size, p, **options), dtype)
    for found, sample in zip(ops.weighted_pool(batch, size, 0.4, **options), samples, strict=True):
        assert found.dtype == dtype
        close(found, reference.weighted_pool(sample, size, 0.4, **options), dtype)
    key = Key(4)
    drawn = ops.stochastic_pool(rectified, size, training=True, key=key, **options)
    numbers = Ragged(uniforms(key.per_sample(len(samples)), drawn.layout, 3), drawn.layout)
    expected = ops.stochastic_pool(rectified, size, **options)
    for found, mean, u, sample in zip(drawn, expected, numbers, rectified, strict=True):
        assert found.dtype == mean.dtype == dtype
        np.testing.assert_array_equal(found, reference.stochastic_pool(sample, size, u, **options))
        close(mean, reference.stochastic_pool(sample, size, **options), dtype)


@pytest.mark.parametrize("ndim", RANKS)
@named
def test_indices_are_where_the_maxima_stand(rng, draw, ndim, name, options):
    options, size = options_of(options, ndim), size_of(ndim)
    samples = [np.round(sample) for sample in samples_of(draw, ndim)]  # equals are common
    y, indices = ops.max_pool(Ragged.pack(samples), size, return_indices=True, **options)
    assert indices.values.dtype == np.int64
    assert indices.layout == y.layout
    g = Ragged(rng.standard_normal(y.values.shape), y.layout)
    back = ops.max_unpool(g, indices, like=Ragged.pack(samples))
    for found, index, sample, part, up in zip(y, indices, samples, g, back, strict=True):
        wanted = reference.max_pool_indices(sample, size, **options)
        np.testing.assert_array_equal(index, wanted)
        np.testing.assert_array_equal(np.take_along_axis(sample.reshape(-1, 3), wanted.reshape(-1, 3), 0),
                                      found.reshape(-1, 3))
        close(up, reference.max_unpool(part, wanted, sample.shape[:-1]))


def test_unpooling_is_what_max_poolings_gradient_does(rng, draw):
    x = leaf(Ragged.pack(samples_of(draw, 2)))
    y, indices = ops.max_pool(x, 3, stride=1, return_indices=True)
    g = Ragged(rng.standard_normal(y.values.shape), y.layout)
    y.backward(g)
    np.testing.assert_allclose(ops.max_unpool(g, indices, like=x.layout).values, x.grad.values, atol=1e-14)


def test_lp_pool_between_sum_and_maximum(rng):
    x = rng.standard_normal((2, 12, 3))
    close(ops.lp_pool(x, 3, 1), 3 * ops.avg_pool(np.abs(x), 3))
    np.testing.assert_allclose(ops.lp_pool(x, 3, 1e5), ops.max_pool(np.abs(x), 3), rtol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [2, 3, 17, 300, 1e5])
def test_lp_pool_loses_neither_large_nor_small_values(rng, dtype, p):
    """Windows of every magnitude beside each other: each is as the same window near 1, value and gradient."""
    base = rng.uniform(0.5, 2, size=(6, 4)) * rng.choice([-1, 1], size=(6, 4))
    exponents = np.array([-40, -20, -1, 0, 20, 40]) if dtype == np.float32 else np.array([-400, -90, -1, 0, 90, 400])
    scale = 2.0 ** np.repeat(exponents, 4).reshape(1, 24, 1)
    x = leaf((base.reshape(1, 24, 1) * scale).astype(dtype))
    y = ops.lp_pool(x, 4, p)
    wanted = reference.lp_pool(base.reshape(24, 1).astype(dtype), 4, p)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y.numpy()[0] / scale[0, ::4], wanted, rtol=tolerance)
    y.backward(np.ones_like(y.numpy()))
    near = leaf(base.reshape(6, 4, 1))
    ops.lp_pool(near, 4, p).backward(np.ones((6, 1, 1)))
    # A p-th power magnifies the error of its base p times, and 1 / p is rounded before it multiplies a large logarithm.
    np.testing.assert_allclose(x.grad.ravel(), near.grad.ravel(), rtol=0, atol=(p + 60) * np.finfo(dtype).eps)


def test_lp_pools_extreme_windows_may_overlap_plain_ones():
    x = leaf(np.array([1e30, 3.0, 4.0, 1e-30, 2e-30, 0.0, 0.0]).reshape(1, 7, 1).astype(np.float32))
    y = ops.lp_pool(x, 2, stride=1)
    np.testing.assert_allclose(y.numpy().ravel(), [1e30, 5, 4, 5**0.5 * 1e-30, 2e-30, 0], rtol=1e-6)
    y.backward(np.ones((1, 6, 1), np.float32))
    root = 5**0.5
    np.testing.assert_allclose(x.grad.ravel(), [1, 0.6, 0.8 + 1, 1 / root, 2 / root + 1, 0, 0], rtol=1e-6)


def test_lp_pools_extreme_windows_leave_other_channels_alone():
    x = leaf(np.array([[3e30, 0.0, 3.0], [4e30, 0.0, 4.0]], np.float32)[None])
    y = ops.lp_pool(x, 2)
    y.backward(np.ones((1, 1, 3), np.float32))
    np.testing.assert_allclose(y.numpy()[0, 0], [5e30, 0, 5], rtol=1e-6)
    np.testing.assert_allclose(x.grad[0], [[0.6, 0, 0.6], [0.8, 0, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2, 5])
def test_lp_pools_gradient_is_zero_where_the_norm_is(p):
    x = leaf(np.zeros((1, 6, 2)))
    y = ops.lp_pool(x, 2, p)
    y.backward(np.ones((1, 3, 2)))
    assert not y.numpy().any()
    assert not x.grad.any()


def test_nan_and_infinity_stay_in_their_windows():
    x = np.array([1.0, np.nan, 3.0, 4.0, np.inf, 1.0]).reshape(1, 6, 1)
    np.testing.assert_allclose(ops.lp_pool(x, 2).ravel(), [np.nan, 5, np.inf])
    t = leaf(x)
    ops.lp_pool(t, 2).backward(np.ones((1, 3, 1)))
    np.testing.assert_allclose(t.grad[0, 2:4, 0], [0.6, 0.8])


def test_weighted_pool_keeps_a_constant_and_leans_to_the_centre(rng):
    for options in OPTIONS.values():
        close(ops.weighted_pool(np.full((2, 7, 6, 3), 2.5), (3, 2), **options), 2.5)
    x = rng.standard_normal((2, 9, 3))
    close(ops.weighted_pool(x, 3, 1e9, padding="same"), ops.avg_pool(x, 3, padding="same"))
    close(ops.weighted_pool(x, 3, 0.02), x[:, 1::3])
    weight = gaussian((3, 4), 0.25)
    assert weight.shape == (3, 4)
    close(weight, weight[::-1, ::-1])
    close(weight[1, 1], np.exp(-((0.5 / 1) ** 2) / 2))
    close(weight[0, 1], np.exp(-((1 / 0.75) ** 2 + 0.5**2) / 2))


def test_weighted_pool_knows_each_sigma_on_a_layout_it_has_seen(rng):
    x = Ragged.pack([rng.standard_normal((5, 2)), rng.standard_normal((7, 2))])
    for sigma in (0.2, 1.0, 0.2):
        for found, sample in zip(ops.weighted_pool(x, 3, sigma, padding="same"), x, strict=True):
            close(found, reference.weighted_pool(sample, 3, sigma, padding="same"))


def test_weighted_pool_of_wide_windows_is_exact_at_the_border(rng):
    """Where only the light end of a window is in the sample, no error of the heavy middle may get in."""
    x = rng.standard_normal((600, 16)).astype(np.float32)
    weight = gaussian((301,), 0.1)
    wanted = np.stack([np.convolve(x[:, c].astype(float), weight) for c in range(16)], axis=1)
    wanted /= np.convolve(np.ones(600), weight)[:, None]
    np.testing.assert_allclose(ops.weighted_pool(x[None], 301, 0.1, stride=1, padding="full")[0], wanted, atol=2e-6)


# Stochastic pooling


def test_draws_come_in_proportion_and_their_mean_is_the_expectation():
    x = np.tile(np.array([0.0, 1.0, 3.0, 6.0]).reshape(1, 4, 1), (1, 5000, 2))
    y = ops.stochastic_pool(x, 4, training=True, key=Key(9))
    for value, share in ((0, 0), (1, 0.1), (3, 0.3), (6, 0.6)):
        assert abs(np.mean(y == value) - share) <= 5 * np.sqrt(share * (1 - share) / y.size)
    assert abs(y.mean() - ops.stochastic_pool(x, 4)[0, 0, 0]) < 5 * y.std() / np.sqrt(y.size)
    assert np.corrcoef(y[0].T)[0, 1] < 0.05  # channels draw on their own


@pytest.mark.parametrize("value", [5e-324, 1e-300, 1.0, 1e300])
def test_what_is_zero_is_never_drawn_beside_what_is_not(value):
    """Also where u times the sum is rounded to 0 or to the sum itself."""
    x = np.tile(np.array([0.0, value, 0.0]).reshape(1, 3, 1), (1, 300, 1))
    assert (ops.stochastic_pool(x, 3, training=True, key=Key(6)) == value).all()


def test_where_all_are_zero_each_position_is_as_likely():
    x = leaf(np.zeros((1, 12000, 1)))
    y = ops.stochastic_pool(x, 3, training=True, key=Key(1))
    y.backward(np.ones((1, 4000, 1)))
    assert not y.numpy().any()
    assert x.grad.sum() == 4000
    assert (abs(x.grad.reshape(-1, 3).mean(axis=0) - 1 / 3) < 5 * np.sqrt(2 / 9 / 4000)).all()
    ops.stochastic_pool(x, 3).backward(np.ones((1, 4000, 1)))
    close(x.grad.sum(), 8000)
    close(x.grad.reshape(-1, 3) % 1, 1 / 3)


def test_a_sample_draws_the_same_in_any_batch(draw):
    samples = [np.abs(sample) for sample in samples_of(draw, 2, count=4)]

    def pool(chosen):
        key = Key(3, step=2, samples=chosen)
        batch = Ragged.pack([samples[n] for n in chosen])
        return ops.stochastic_pool(batch, 2, training=True, key=key).unpack()

    whole, part = pool([0, 1, 2, 3]), pool([3, 1])
    np.testing.assert_array_equal(part[0], whole[3])
    np.testing.assert_array_equal(part[1], whole[1])
    other = ops.stochastic_pool(Ragged.pack(samples), 2, training=True, key=Key(3, step=3, samples=[0, 1, 2, 3]))
    assert (other.values != np.concatenate([y.reshape(-1, 3) for y in whole])).any()


def test_uniforms_are_the_draws_of_dropout():
    layout, keys = Layout([[5, 3], [2, 4]]), Key(7).per_sample(2)
    numbers = uniforms(keys, layout, 6)
    assert ((numbers >= 0) & (numbers < 1)).all()
    for rate in (0.2, 0.7):
        np.testing.assert_array_equal(numbers < rate, kernels.dropout_mask(keys, layout, 6, rate, np.float64) == 0)


def test_small_and_large_activations_are_drawn_and_averaged():
    for scale in (1e-30, 1e30):
        x = np.full((1, 4, 1), scale, np.float32)
        np.testing.assert_allclose(ops.stochastic_pool(x, 2), np.full((1, 2, 1), scale), rtol=1e-6)
        assert (ops.stochastic_pool(x, 2, training=True, key=Key(0)) == np.float32(scale)).all()


# The law and the gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_law(draw, ndim, dtype):
    samples = draw(ndim, 5, dtype, count=5, low=3, high=8)
    rectified = [np.maximum(sample, 0) for sample in samples]
    for options in ({}, {"stride": 1, "padding": "same"}, {"dilation": 2, "padding": "same", "stride": 2}):
        for p in (1, 2, 3, 2.7, 40):
            check_law(lambda x, p=p, o=options: ops.lp_pool(x, 3, p, **o), samples)
        check_law(lambda x, o=options: ops.weighted_pool(x, 3, **o), samples)
        check_law(lambda x, o=options: ops.stochastic_pool(x, 3, **o), rectified)
        check_law(lambda x, o=options: ops.max_pool(x, 3, return_indices=True, **o)[1], samples)
        check_law(
            lambda x, o=options: ops.max_unpool(*ops.max_pool(x, 3, return_indices=True, **o), like=x), samples
        )


def check_gradients_law(op, samples):
    """The gradient of a batch is that of its samples one by one, to the last bit."""
    batch = leaf(Ragged.pack(samples))
    y = op(batch)
    g = Ragged(np.random.default_rng(1).standard_normal(y.values.shape).astype(y.dtype), y.layout)
    y.backward(g)
    for found, sample, part in zip(batch.grad, samples, g, strict=True):
        alone = leaf(Ragged.pack([sample]))
        op(alone).backward(Ragged.pack([part]))
        assert found.tobytes() == alone.grad.values.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_keep_the_law(draw, dtype):
    samples = draw(2, 3, dtype)
    for p in (1, 2, 40):
        check_gradients_law(lambda x, p=p: ops.lp_pool(x, 3, p, stride=1), samples)
    check_gradients_law(lambda x: ops.weighted_pool(x, 3, stride=1), samples)
    check_gradients_law(lambda x: ops.stochastic_pool(x, 3, stride=1), [np.maximum(s, 0) for s in samples])


@named
def test_gradients(draw, name, options):
    batch = Ragged.pack(samples_of(draw, 2))
    x = leaf(batch)
    for p in (1, 2, 3.3):
        check_gradient(lambda x, p=p: ops.lp_pool(x, 2, p, **options), [x], draws=1)
    check_gradient(lambda x: ops.weighted_pool(x, (2, 3), 0.3, **options), [x], draws=1)
    positive = leaf(Ragged(np.abs(batch.values), batch.layout))
    check_gradient(lambda x: ops.stochastic_pool(x, 2, **options), [positive], draws=1)
    check_gradient(lambda x: ops.stochastic_pool(x, 2, training=True, key=Key(2), **options), [positive], draws=1)
    with no_grad():
        _, indices = ops.max_pool(x, 2, return_indices=True, **options)
    check_gradient(lambda x: ops.max_pool(x, 2, return_indices=True, **options)[0], [x], draws=1)
    y = leaf(Ragged(np.random.default_rng(0).standard_normal(indices.values.shape), indices.layout))
    check_gradient(lambda y: ops.max_unpool(y, indices, like=x), [y], draws=1)


def test_lp_pools_gradient_for_large_p(draw):
    x = leaf(Ragged.pack([sample + 0.01 * np.sign(sample) for sample in samples_of(draw, 1)]))
    for p in (20, 400):
        check_gradient(lambda x, p=p: ops.lp_pool(x, 3, p, stride=1), [x], draws=1, step=1e-8, tolerance=1e-5)


# PyTorch


def torch_of(x):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def channels_last(t):
    return np.moveaxis(t.detach().numpy(), 1, -1)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_lp_pool_is_pytorchs(rng, ndim):
    torch = pytest.importorskip("torch")
    for _ in range(8):
        size, stride, p = int(rng.integers(1, 4)), int(rng.integers(1, 4)), float(rng.choice([1, 2, 3, 4.5]))
        # PyTorch takes powers of x itself, so an odd p needs what isn't negative.
        x = np.abs(rng.standard_normal((2, *rng.integers(3, 8, ndim), 3)))
        t, own = torch_of(x).requires_grad_(), leaf(x)
        wanted = getattr(torch.nn.functional, f"lp_pool{ndim}d")(t, p, size, stride)
        y = ops.lp_pool(own, size, p, stride=stride)
        np.testing.assert_allclose(y.numpy(), channels_last(wanted), rtol=1e-11)
        g = rng.standard_normal(y.numpy().shape)
        wanted.backward(torch_of(g))
        y.backward(g)
        np.testing.assert_allclose(own.grad, channels_last(t.grad), atol=1e-11)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_indices_and_unpooling_are_pytorchs(rng, ndim):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    for _ in range(8):
        size, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        options = {"stride": int(rng.integers(1, 4)), "padding": int(rng.integers(0, size // 2 + 1)),
                   "dilation": dilation, "ceil_mode": bool(rng.integers(2))}
        x = rng.standard_normal((2, *rng.integers(6, 9, ndim), 3))
        wanted, index = getattr(f, f"max_pool{ndim}d")(torch_of(x), size, return_indices=True, **options)
        y, indices = ops.max_pool(x, size, return_indices=True, **options)
        np.testing.assert_array_equal(y, channels_last(wanted))
        np.testing.assert_array_equal(indices, channels_last(index))
        # PyTorch leaves it open which of two values wins, and its unpooling knows no dilation.
        if size <= options["stride"] and dilation == 1 and not options["padding"]:
            up = getattr(f, f"max_unpool{ndim}d")(wanted, index, size, options["stride"], output_size=x.shape[1:-1])
            np.testing.assert_array_equal(ops.max_unpool(y, indices, like=x), channels_last(up))
    y, indices = ops.max_pool(x, 2, return_indices=True)
    up = getattr(f, f"max_unpool{ndim}d")(torch_of(y), torch_of(indices), 2, output_size=x.shape[1:-1])
    np.testing.assert_array_equal(ops.max_unpool(y, indices, like=x), channels_last(up))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_windows_of_any_kind_are_pytorchs(rng, ndim):
    """ceil_mode, count_include_pad, dilation, overlap: values and gradients over random draws."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    seen = set()
    for _ in range(25):
        size = int(rng.integers(1, 4))
        shared = {"stride": int(rng.integers(1, 5)), "padding": int(rng.integers(0, size // 2 + 1)),
                  "ceil_mode": bool(rng.integers(2))}
        x = rng.standard_normal((2, *rng.integers(5, 9, ndim), 2))
        dilation, counted = int(rng.integers(1, 3)), bool(rng.integers(2))
        t = torch_of(x).requires_grad_()
        cases = [(getattr(f, f"max_pool{ndim}d")(t, size, dilation=dilation, **shared),
                  lambda x, s=size, d=dilation, o=shared: ops.max_pool(x, s, dilation=d, **o))]
        cases.append((getattr(f, f"avg_pool{ndim}d")(t, size, count_include_pad=counted, **shared),
                      lambda x, s=size, c=counted, o=shared: ops.avg_pool(x, s, count_include_pad=c, **o)))
        for wanted, op in cases:
            own = leaf(x)
            y = op(own)
            np.testing.assert_allclose(y.numpy(), channels_last(wanted), rtol=1e-12, atol=1e-14)
            g = rng.standard_normal(y.numpy().shape)
            (back,) = torch.autograd.grad(wanted, t, torch_of(g), retain_graph=True)
            y.backward(g)
            np.testing.assert_allclose(own.grad, channels_last(back), rtol=1e-12, atol=1e-14)
        seen.add((shared["ceil_mode"], counted, dilation, shared["stride"] < size, shared["padding"] > 0))
    assert len(seen) > 10


# The book and the slides


def test_figure_9_8_max_pooling_hardly_notices_a_shift():
    """The figure shows the middle of a stage: four detectors and the pools of width 3, stride 1, around them.

    Of [.3 .1 1 .2 .1 0] it sees .1 1 .2 .1, and pools 1 1 1 .2: those are the "valid" windows of the six. After a shift
    to the right by one, the detectors are .3 .1 1 .2 and the pools .3 1 1 1.
    """
    x = np.array([0.3, 0.1, 1, 0.2, 0.1, 0]).reshape(1, 6, 1)
    shifted = np.concatenate([np.zeros((1, 1, 1)), x[:, :-1]], axis=1)
    assert (x != shifted).all()
    before, after = (ops.max_pool(values, 3, stride=1).ravel() for values in (x, shifted))
    assert before.tolist() == [1, 1, 1, 0.2]
    assert after.tolist() == [0.3, 1, 1, 1]
    assert (before != after).sum() == 2


def shift_sensitivity(op, x, axis=0):
    """The share of outputs that change as a sample (*S, C) goes round by one position."""
    before, after = (op(values[None]) for values in (x, np.roll(x, 1, axis)))
    return float(np.mean(before != after))


def test_wider_maxima_are_less_sensitive_to_shifts(rng):
    x = rng.standard_normal((3000, 1))
    shares = [shift_sensitivity(lambda x, k=k: ops.max_pool(x, k, stride=1), x) for k in (1, 3, 9)]
    assert shares[0] == 1
    # A window of k and the same one shifted hold k + 1 values; their maxima differ if the largest is at an end.
    np.testing.assert_allclose(shares, [2 / (k + 1) for k in (1, 3, 9)], atol=0.04)
    assert shift_sensitivity(lambda x: ops.avg_pool(x, 3, stride=1), x) == 1


def test_the_slides_example_of_max_pooling():
    x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]]).reshape(1, 4, 4, 1)
    y, indices = ops.max_pool(x, 2, stride=2, return_indices=True)
    assert y[0, ..., 0].tolist() == [[6, 8], [3, 4]]
    assert indices[0, ..., 0].tolist() == [[5, 7], [8, 15]]
    assert ops.max_unpool(y, indices, like=x)[0, ..., 0].tolist() == [
        [0, 0, 0, 0], [0, 6, 0, 8], [3, 0, 0, 0], [0, 0, 0, 4]]


# Kinds and errors


def test_kinds(rng):
    x = np.abs(rng.standard_normal((2, 6, 3)))
    ragged = Ragged.pack(list(x))
    for op in (ops.lp_pool, ops.weighted_pool, ops.stochastic_pool):
        assert isinstance(op(x, 2), np.ndarray)
        assert isinstance(op(ragged, 2), Ragged)
        assert op(Tensor(ragged), 2).kind == "ragged"
        assert op(x, 2).tobytes() == op(ragged, 2).values.tobytes()
    for given, kind in ((x, np.ndarray), (ragged, Ragged)):
        y, indices = ops.max_pool(given, 2, return_indices=True)
        assert isinstance(y, kind)
        assert isinstance(indices, kind)
        t, of_tensor = ops.max_pool(Tensor(given), 2, return_indices=True)
        assert isinstance(t, Tensor)
        assert isinstance(of_tensor, kind)
        assert isinstance(ops.max_unpool(t, of_tensor, like=given), Tensor)
        assert isinstance(ops.max_unpool(y, indices, like=Layout([[6], [6]])), kind)


def test_a_batch_without_samples_goes_through():
    x = np.zeros((0, 4, 2))
    assert ops.lp_pool(x, 2).shape[0] == 0
    assert ops.stochastic_pool(x, 2, training=True, key=Key(0)).shape[0] == 0
    y, indices = ops.max_pool(x, 2, return_indices=True)
    assert ops.max_unpool(y, indices, like=x).shape[0] == 0


X = np.ones((2, 6, 4))
RAGGED = Ragged.pack([np.ones((6, 1)), np.ones((4, 1))])
ERRORS = [
    (lambda: ops.lp_pool(X, 2, 0.5), ArgumentError, r"p must be a finite number of at least 1\. Received: p=0\.5"),
    (lambda: ops.lp_pool(X, 2, np.inf), ArgumentError, "p must be a finite number"),
    (lambda: ops.lp_pool(X, 7), ShapeError, "sample 0 is too short"),
    (lambda: ops.weighted_pool(X, 2, 0), ArgumentError, r"sigma must be a positive number\. Received: sigma=0"),
    (
        lambda: ops.weighted_pool(X.astype(np.float32), 5, 0.01, padding="full", stride=1),
        ArgumentError,
        r"sigma is too small for the window: in sample 0 .*Received: sigma=0\.01, a window of size \(5,\)",
    ),
    (lambda: ops.weighted_pool(X, 2, padding=3), ShapeError, "sample 0: padding=3 leaves a window"),
    (lambda: ops.stochastic_pool(X, 2, training=True), ArgumentError, r"key must be .*Received: key=None"),
    (
        lambda: ops.stochastic_pool(Ragged(np.where(np.arange(10) == 8, -2.0, 1)[:, None], RAGGED.layout), 2),
        ArgumentError,
        r"sample 1: stochastic pooling takes finite values of at least 0.*Received: -2\.0",
    ),
    (lambda: ops.stochastic_pool(X * np.nan, 2), ArgumentError, "sample 0: .*Received: nan"),
    (lambda: ops.max_unpool(X, X.astype(int)[:1], like=X), ShapeError, "indices must have the layout of y"),
    (lambda: ops.max_unpool(X, X, like=X), ArgumentError, r"indices must be integers\. Received: dtype float64"),
    (lambda: ops.max_unpool(X, np.ones(2, int), like=X), ShapeError, "indices must be .*an array of shape"),
    (lambda: ops.max_unpool(X, X.astype(int), like=X[:1]), ShapeError, "like must have the 2 samples of y"),
    (lambda: ops.max_unpool(X, X.astype(int), like=RAGGED), ShapeError, "like must have samples of one shape"),
    (
        lambda: ops.max_unpool(RAGGED, Ragged(np.full((10, 1), 4), RAGGED.layout), like=RAGGED),
        ShapeError,
        r"sample 1: indices must be at least 0 and below its 4 positions\. Received: index 4",
    ),
    (lambda: ops.max_unpool(X, -X.astype(int), like=X), ShapeError, "Received: index -1"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_way_back_has_indices_of_its_own():
    y, indices = leaf(np.ones((1, 2, 1))), np.array([0, 3]).reshape(1, 2, 1)
    x = ops.max_unpool(y, indices, like=np.zeros((1, 4, 1)))
    indices[...] = 10**12
    x.backward(np.arange(4.0).reshape(1, 4, 1))
    assert y.grad.ravel().tolist() == [0, 3]


def test_an_expectation_of_large_values_has_a_gradient():
    x = leaf(np.array([2e38, 2e38], np.float32).reshape(1, 2, 1))
    ops.stochastic_pool(x, 2).backward(np.ones((1, 1, 1), np.float32))
    assert x.grad.ravel().tolist() == [0.5, 0.5]


def test_what_no_window_holds_has_no_gradient_whatever_else_is_in_the_batch():
    values = np.array([[1, 2, 1e30], [1e30, 1e30, 1]], np.float32)[..., None]
    grads = []
    for some in (values[:1], values):
        x = leaf(some)
        ops.lp_pool(x, 2, 3.0).backward(np.ones((len(some), 1, 1), np.float32))
        grads.append(x.grad)
    assert grads[0][0, 2] == 0
    assert grads[0][0].tobytes() == grads[1][0].tobytes()
