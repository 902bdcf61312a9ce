"""Pooling kernels: against plain loops over the regions' tables, the specification and PyTorch."""

import dataclasses
import itertools

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd._core import threads
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.kernels import proportional_regions, window_regions
from convnd.layout import Layout
from convnd.window import Regions, Window

MODES = ("max", "mean", "sum", "mean_padded")
DTYPES = (np.float32, np.float64)

pytestmark = pytest.mark.usefixtures("level")


def tolerance(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-13}


def each_region(regions):
    """(output position, input positions in row-major order, first position of the sample) of every output of the batch,
    from first and count."""
    at, out, start = 0, 0, 0
    for n in range(len(regions.input)):
        shape, outputs = regions.input.shape(n), regions.output.shape(n)
        axes = []
        for size, step in zip(outputs, regions.step, strict=True):
            axes.append(
                [regions.first[at + q] + step * np.arange(regions.count[at + q]) for q in range(size)]
            )
            at += size
        for q in np.ndindex(outputs):
            ranges = [axis[i] for axis, i in zip(axes, q, strict=True)]
            points = list(itertools.product(*ranges))
            grid = np.array(points, dtype=np.int64).reshape(len(points), len(shape))
            flat = np.ravel_multi_index(tuple(grid.T), shape) if shape else np.zeros(1, dtype=np.int64)
            yield out, start + flat, start
            out += 1
        start += int(regions.input.sizes[n])


def divisor(regions, mode, positions):
    if mode == "mean":
        return max(1, positions)
    return np.prod(regions.window, dtype=float) if mode == "mean_padded" else 1.0


def plain_pool(x, regions, mode):
    out = np.zeros((regions.output.positions, x.shape[1]))
    index = np.zeros(out.shape, dtype=np.int32)
    for q, inputs, start in each_region(regions):
        values = x[inputs].astype(np.float64)
        if mode == "max":
            out[q], index[q] = values.max(axis=0), inputs[values.argmax(axis=0)] - start
        else:
            out[q] = values.sum(axis=0) / divisor(regions, mode, len(inputs))
    return out, index


def plain_grad(g, regions, mode, index):
    out = np.zeros((regions.input.positions, g.shape[1]))
    columns = np.arange(g.shape[1])
    for q, inputs, start in each_region(regions):
        if mode == "max":
            out[start + index[q], columns] += g[q]
        else:
            out[inputs] += g[q].astype(np.float64) / divisor(regions, mode, len(inputs))
    return out


def draw_window(rng, ndim):
    """Random regions of a window that leaves no region empty."""
    while True:
        layout = Layout(rng.integers(1, 9 if ndim < 3 else 6, size=(3, ndim)))
        kernel, stride, dilation = (rng.integers(1, high, size=ndim).tolist() for high in (4, 4, 3))
        padding = rng.choice(["valid", "same", "same_lower", "pairs"])
        if padding == "pairs":
            padding = rng.integers(0, 2, size=(ndim, 2)).tolist()
        try:
            place = Window.of(ndim, kernel, stride, padding, dilation, bool(rng.integers(2))).on(layout)
        except ShapeError:
            continue
        regions = window_regions(place)
        if regions.count.min() > 0:
            return regions


def check(rng, regions, mode, channels, dtype):
    # Few different values, so that equals are common.
    x = rng.integers(-3, 4, size=(regions.input.positions, channels)).astype(dtype)
    out, index = kernels.pool(x, regions, mode)
    wanted, winners = plain_pool(x, regions, mode)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, wanted, **tolerance(dtype))
    if mode == "max":
        assert index.dtype == np.int32
        np.testing.assert_array_equal(index, winners)
        alone, nothing = kernels.pool(x, regions, mode, indexed=False)
        assert nothing is None
        np.testing.assert_array_equal(alone, out)
    else:
        assert index is None
    if mode == "sum":
        squares = kernels.pool(x, regions, "squares")[0]
        np.testing.assert_allclose(squares, plain_pool(x.astype(np.float64) ** 2, regions, mode)[0], **tolerance(dtype))
        with pytest.raises(ArgumentError, match="mode must be one of max, mean, sum, mean_padded"):
            kernels.pool_grad(squares, regions, "squares")
    g = rng.standard_normal(out.shape).astype(dtype)
    back = kernels.pool_grad(g, regions, mode, index)
    np.testing.assert_allclose(back, plain_grad(g, regions, mode, winners), **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_windows(rng, ndim, mode, dtype):
    for channels in (1, 3, 8, 19, 37, 70):
        check(rng, draw_window(rng, ndim), mode, channels, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shapes", "kernel", "stride", "padding", "dilation"),
    [
        ([[300], [71], [500]], 71, 5, "same", 1),
        ([[40, 23], [14, 31]], (9, 10), (2, 3), "same", 1),
        ([[19, 20, 8], [9, 9, 30]], (5, 4, 4), (1, 2, 3), "valid", (2, 1, 2)),
    ],
)
def test_windows_of_many_positions(rng, shapes, kernel, stride, padding, dilation, dtype):
    """Their maxima's gradients are put where they belong, by pieces of a sample that windows cross."""
    layout = Layout(shapes)
    regions = window_regions(Window.of(layout.ndim, kernel, stride, padding, dilation).on(layout))
    for channels in (1, 19, 32):
        check(rng, regions, "max", channels, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES[:3])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_proportional(rng, ndim, mode, dtype):
    for channels in (1, 3, 8, 37):
        layout = Layout(rng.integers(1, 7, size=(3, ndim)))
        for bins in (rng.integers(1, 5, size=ndim), np.ones(ndim, dtype=int), [1] * (ndim - 1) + [3]):
            check(rng, proportional_regions(layout, tuple(int(b) for b in bins)), mode, channels, dtype)


def check_normalised(rng, regions, channels, dtype, activation):
    """One pass does what two do, to the last bit."""
    x = rng.integers(-3, 4, size=(regions.input.positions, channels)).astype(dtype)
    scale, shift, b, c = rng.standard_normal((4, channels)).astype(dtype)
    out, index, winner = kernels.scale_shift_pool(x, regions, scale, shift, activation)
    between = kernels.scale_shift(x, scale, shift, activation)
    wanted, winners = kernels.pool(between, regions, "max")
    np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(index, winners)
    np.testing.assert_array_equal(kernels.scale_shift(winner, scale, shift, activation), out)
    g = rng.standard_normal(out.shape).astype(dtype)
    found = kernels.scale_shift_pool_grad(g, x, regions, index, scale, shift, b, c, activation)
    back = kernels.pool_grad(g, regions, "max", index)
    np.testing.assert_array_equal(found, kernels.batch_norm_grad(back, x, scale, shift, b, c, activation))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_normalised_maxima(rng, dtype, activation):
    for ndim in (1, 2, 3):
        for channels in (1, 3, 8, 19, 70):
            check_normalised(rng, draw_window(rng, ndim), channels, dtype, activation)
    layout = Layout(rng.integers(1, 7, size=(3, 2)))
    check_normalised(rng, proportional_regions(layout, (1, 2)), 9, dtype, activation)


def test_normalised_nan_wins():
    x = np.array([[1.0, np.nan], [np.nan, 0.0], [2.0, 3.0]])
    regions = window_regions(Window.of(1, 3).on(Layout([[3]])))
    out, index, winner = kernels.scale_shift_pool(x, regions, np.ones(2), np.zeros(2), "relu")
    assert np.isnan(out).all()
    assert np.isnan(winner).all()
    assert index.tolist() == [[1, 0]]


@pytest.mark.parametrize("mode", MODES[:3])
def test_no_axes(rng, mode):
    check(rng, proportional_regions(Layout.dense(5, ()), ()), mode, 3, np.float64)


def test_many_axes(rng):
    check(rng, proportional_regions(Layout([[2, 1, 2, 1, 3, 1, 2, 1], [1] * 8]), (1,) * 8), "max", 2, np.float32)


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_the_specification(rng, draw, mode):
    samples = draw(2, 5)
    layout = Layout([s.shape[:-1] for s in samples])
    x = np.concatenate([s.reshape(-1, 5) for s in samples])
    out, _ = kernels.pool(x, window_regions(Window.of(2, 3, 2, "same", 2).on(layout)), mode)
    wanted = [reference.pool(s, 3, mode, stride=2, padding="same", dilation=2).reshape(-1, 5) for s in samples]
    np.testing.assert_allclose(out, np.concatenate(wanted), rtol=1e-13)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_law(rng, mode, dtype):
    layout = Layout(rng.integers(3, 30, size=(6, 2)))
    window = Window.of(2, 3, 2, "same")
    x = rng.standard_normal((layout.positions, 11)).astype(dtype)
    regions = window_regions(window.on(layout))
    out, index = kernels.pool(x, regions, mode)
    g = rng.standard_normal(out.shape).astype(dtype)
    back = kernels.pool_grad(g, regions, mode, index)
    for n in range(len(layout)):
        own = window_regions(window.on(layout.take([n])))
        ins, outs = slice(*layout.offsets[n : n + 2]), slice(*regions.output.offsets[n : n + 2])
        alone, alone_index = kernels.pool(x[ins], own, mode)
        np.testing.assert_array_equal(alone, out[outs])
        np.testing.assert_array_equal(kernels.pool_grad(g[outs], own, mode, alone_index), back[ins])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 40])
def test_nan_wins_and_infinities_are_values(dtype, channels):
    column = np.array([1, np.nan, 5, np.nan, -np.inf, -np.inf, np.inf, 2, np.inf, -0.0, 0.0, -1])
    x = np.repeat(column[:, None], channels, axis=1).astype(dtype)
    regions = window_regions(Window.of(1, 3, 3).on(Layout([[12]])))
    out, index = kernels.pool(x, regions, "max")
    np.testing.assert_array_equal(kernels.pool(x, regions, "max", indexed=False)[0], out)
    np.testing.assert_array_equal(out[:, 0], [np.nan, np.nan, np.inf, 0])
    np.testing.assert_array_equal(index, np.repeat([[1], [3], [6], [9]], channels, axis=1))
    assert np.array_equal(out, np.repeat(out[:, :1], channels, axis=1), equal_nan=True)
    least, number = kernels.pool(x[4:6], proportional_regions(Layout([[2]]), (1,)), "max")
    assert (least == -np.inf).all()
    assert (number == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_next_door_changes_no_bit(dtype):
    """Numbers too small for full precision are zeros in either loop."""
    x = np.full((8, 3), np.finfo(dtype).smallest_subnormal, dtype)
    x[4:] = np.nan
    whole, alone = Layout([[4], [4]]), Layout([[4]])
    both, _ = kernels.pool(x, window_regions(Window.of(1, 2, 2).on(whole)), "max")
    one, _ = kernels.pool(x[:4], window_regions(Window.of(1, 2, 2).on(alone)), "max")
    assert both[:2].tobytes() == one.tobytes()


def test_a_region_without_positions():
    regions = window_regions(Window.of(1, 2, 2).on(Layout([[6]])))
    regions = dataclasses.replace(regions, outputs=np.stack([regions.first, [2, 0, 2]]))
    x = np.arange(6.0).reshape(6, 1)
    assert kernels.pool(x, regions, "mean")[0].ravel().tolist() == [0.5, 0, 4.5]
    out, index = kernels.pool(x, regions, "max")
    assert out.ravel().tolist() == [1, -np.inf, 5]
    assert index.ravel().tolist() == [1, -1, 5]
    assert kernels.pool_grad(np.ones((3, 1)), regions, "mean").ravel().tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5]


@pytest.mark.parametrize("shape", [(300_000,), (500, 600), (64, 64, 64), (5, 64, 64, 20)])
def test_long_means_stay_accurate(rng, shape):
    x = (1000 + rng.standard_normal((int(np.prod(shape)), 3))).astype(np.float32)
    out, _ = kernels.pool(x, proportional_regions(Layout([shape]), (1,) * len(shape)), "mean")
    np.testing.assert_allclose(out[0], x.mean(axis=0, dtype=np.float64), rtol=1e-6)


LARGE = [
    (Layout([[40, 50], [90, 70], [1, 3]]), Window.of(2, 3, 2, "same")),
    (Layout([[5000], [900]]), Window.of(1, 4, 1, "causal", 3)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", range(len(LARGE) + 2))
def test_any_number_of_threads_gives_the_same_bits(rng, mode, case):
    if case < len(LARGE):
        layout, window = LARGE[case]
        regions = window_regions(window.on(layout))
    else:   # few outputs over many numbers are cut by channels
        layout = Layout([[60, 70]]) if case == len(LARGE) else Layout([[3000], [2000], [40]])
        regions = proportional_regions(layout, (1,) * layout.ndim)
    if mode == "mean_padded" and regions.window is None:
        mode = "mean"
    x = rng.standard_normal((layout.positions, 131)).astype(np.float32)
    found = []
    for count in (1, 2, 3):
        with threadpool_limits(count, user_api="openmp"):
            kernels.set_num_threads(count)
            assert kernels.get_num_threads() == count
            out, index = kernels.pool(x, regions, mode)
            results = [out, kernels.pool_grad(out, regions, mode, index)]
            if mode == "max":
                results += kernels.scale_shift_pool(x, regions, x[0], x[1], "relu")
                results.append(kernels.scale_shift_pool_grad(out, x, regions, index, *x[:4], "relu"))
            found.append(results)
    threads.set_num_threads(0)
    for results in found[1:]:
        for result, wanted in zip(results, found[0], strict=True):
            np.testing.assert_array_equal(result, wanted)


def channels_first(x, shape):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x.reshape(*shape, -1), -1, 0)))[None]


def channels_last(t):
    return np.moveaxis(t[0].numpy(), 0, -1).reshape(-1, t.shape[1])


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1)])
def test_pytorch_agrees_on_windows(rng, ndim, ceil_mode, size, stride, padding):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    shape = tuple(rng.integers(6, 9, ndim))
    regions = window_regions(Window.of(ndim, size, stride, padding, 1, ceil_mode).on(Layout([shape])))
    x = rng.standard_normal((int(np.prod(shape)), 5))
    t = channels_first(x, shape).requires_grad_()
    for mode in ("max", "mean", "mean_padded"):
        if mode == "mean_padded" and ceil_mode:
            continue    # PyTorch doesn't count the part of a window beyond the padding
        options = {} if mode == "max" else {"count_include_pad": mode == "mean_padded"}
        function = getattr(f, f"{'max' if mode == 'max' else 'avg'}_pool{ndim}d")
        wanted = function(t, size, stride, padding, ceil_mode=ceil_mode, **options)
        out, index = kernels.pool(x, regions, mode)
        np.testing.assert_allclose(out, channels_last(wanted.detach()), rtol=1e-13)
        g = rng.standard_normal(out.shape)
        (back,) = torch.autograd.grad(wanted, t, channels_first(g, regions.output.shape(0)))
        found = kernels.pool_grad(g, regions, mode, index)
        np.testing.assert_allclose(found, channels_last(back), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("bins", [1, 3, 7])
def test_pytorch_agrees_on_proportional_bins(rng, ndim, bins):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    shape = tuple(rng.integers(4, 9, ndim))
    regions = proportional_regions(Layout([shape]), (bins,) * ndim)
    x = rng.standard_normal((int(np.prod(shape)), 5))
    t = channels_first(x, shape).requires_grad_()
    for mode in ("max", "mean"):
        wanted = getattr(f, f"adaptive_{'max' if mode == 'max' else 'avg'}_pool{ndim}d")(t, bins)
        out, index = kernels.pool(x, regions, mode)
        np.testing.assert_allclose(out, channels_last(wanted.detach()), rtol=1e-13)
        g = rng.standard_normal(out.shape)
        (back,) = torch.autograd.grad(wanted, t, channels_first(g, regions.output.shape(0)))
        found = kernels.pool_grad(g, regions, mode, index)
        np.testing.assert_allclose(found, channels_last(back), rtol=1e-12, atol=1e-14)


def test_nothing_to_do():
    empty = window_regions(Window.of(2, 2).on(Layout(np.zeros((0, 2)))))
    out, index = kernels.pool(np.zeros((0, 3), dtype=np.float32), empty, "max")
    assert out.shape == index.shape == (0, 3)
    assert kernels.pool_grad(out, empty, "max", index).shape == (0, 3)
    regions = proportional_regions(Layout([[4]]), (2,))
    assert kernels.pool(np.zeros((4, 0)), regions, "mean")[0].shape == (2, 0)


REGIONS: Regions = proportional_regions(Layout([[4]]), (2,))
X = np.zeros((4, 3))
G = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.pool(X, REGIONS, "min"), ArgumentError, "mode must be one of max, mean.*'min'"),
        (lambda: kernels.pool(X, REGIONS, "mean_padded"), ArgumentError, "needs the regions of a window"),
        (lambda: kernels.pool(X[:3], REGIONS, "max"), ShapeError, r"x must have shape \(4 positions.*\(3, 3\)"),
        (lambda: kernels.pool(X.astype(int), REGIONS, "max"), DtypeError, "x must be float32 or float64.*int64"),
        (lambda: kernels.pool_grad(X, REGIONS, "mean"), ShapeError, r"grad must have shape \(2 positions"),
        (lambda: kernels.pool_grad(G, REGIONS, "max"), ShapeError, "index must be what pool gave.*None"),
        (lambda: kernels.pool_grad(G, REGIONS, "max", G), ShapeError, "index must be what pool gave.*float64"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
