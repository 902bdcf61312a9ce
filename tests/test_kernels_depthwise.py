"""Depthwise convolutions against the specification and PyTorch, on every instruction set and over random draws."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd.errors import ShapeError
from convnd.kernels import depthwise
from convnd.layout import Layout
from convnd.window import Window

TOLERANCE = {np.float32: 2e-4, np.float64: 1e-12}


class Draw:
    """A random depthwise convolution: window, batch and operands."""

    def __init__(self, rng, ndim, dtype):
        most, wide = {1: (60, 20), 2: (14, 8), 3: (8, 5), 4: (5, 4)}[ndim]
        while True:
            self.layout = Layout(rng.integers(1, most, (rng.integers(1, 4), ndim)))
            self.kernel = tuple(rng.integers(1, wide, ndim).tolist())
            self.settings = {
                "stride": tuple(rng.integers(1, 4, ndim).tolist()) if rng.random() < 0.5 else 1,
                "dilation": tuple(rng.integers(1, 5, ndim).tolist()) if rng.random() < 0.5 else 1,
                "padding": [
                    "valid", "same", "same_lower", "causal", "full", 1,
                    tuple((int(low), int(high)) for low, high in rng.integers(0, 4, (ndim, 2))),
                ][rng.integers(7)],
            }
            try:
                self.place = Window.of(ndim, self.kernel, **self.settings).on(self.layout)
            except ShapeError:
                continue
            break
        # Around multiples of every vector's lanes.
        self.channels = int(rng.choice([2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 31, 32, 33, 48, 57]))
        self.flip = bool(rng.random() < 0.2)
        self.x = rng.standard_normal((self.layout.positions, self.channels)).astype(dtype)
        self.weight = rng.standard_normal((*self.kernel, 1, self.channels)).astype(dtype)
        self.bias = rng.standard_normal(self.channels).astype(dtype)
        self.grad = rng.standard_normal((self.place.output.positions, self.channels)).astype(dtype)

    def run(self, place=None, x=None, grad=None):
        """Output, input gradient and weight gradient."""
        place, x, grad = place or self.place, self.x if x is None else x, self.grad if grad is None else grad
        options = {"groups": self.channels, "flip": self.flip}
        return (
            kernels.conv(x, place, self.weight, self.bias, activation="leaky_relu", **options),
            kernels.conv_transpose(grad, place, self.weight, **options),
            kernels.conv_weight(x, grad, place, **options),
        )

    def sample(self, values, layout, number):
        offsets = layout.offsets
        return values[offsets[number] : offsets[number + 1]].reshape(*layout.shape(number), -1)


def close(got, want, dtype):
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * max(1.0, float(np.abs(want).max(initial=0))))


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_three_agree_with_the_reference(level, ndim, dtype, rng):
    for _ in range({1: 8, 2: 8, 3: 5, 4: 3}[ndim]):
        d = Draw(rng, ndim, dtype)
        y, gx, gw = d.run()
        weight = np.zeros(d.weight.shape)
        settings = {"groups": d.channels, "flip": d.flip, **d.settings}
        for n in range(len(d.layout)):
            x, g = d.sample(d.x, d.layout, n), d.sample(d.grad, d.place.output, n)
            want = reference.conv(x, d.weight, d.bias, **settings)
            close(d.sample(y, d.place.output, n), np.where(want > 0, want, 0.01 * want), dtype)
            want = reference.conv_transpose(g, d.weight, like=d.layout.shape(n), **settings)
            close(d.sample(gx, d.layout, n), want, dtype)
            weight += reference.conv_weight(x, g, d.kernel, **settings)
        close(gw, weight, dtype)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_adjoint_identities(level, ndim, rng):
    """<conv(x, w), g> = <x, conv_transpose(g, w)> = <w, conv_weight(x, g)>."""
    for _ in range(6):
        d = Draw(rng, ndim, np.float64)
        options = {"groups": d.channels, "flip": d.flip}
        left = (kernels.conv(d.x, d.place, d.weight, **options) * d.grad).sum()
        scale = np.abs(d.x).sum() * np.abs(d.weight).max()
        assert abs(left - (d.x * kernels.conv_transpose(d.grad, d.place, d.weight, **options)).sum()) <= 1e-12 * scale
        assert abs(left - (d.weight * kernels.conv_weight(d.x, d.grad, d.place, **options)).sum()) <= 1e-12 * scale


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_law_a_sample_alone_and_in_a_batch(level, ndim, rng):
    for _ in range(6):
        d = Draw(rng, ndim, np.float32)
        y, gx, _ = d.run()
        for n in range(len(d.layout)):
            alone = d.place.window.on(d.layout.take([n]))
            x, g = d.sample(d.x, d.layout, n), d.sample(d.grad, d.place.output, n)
            got = d.run(alone, x.reshape(-1, d.channels), g.reshape(-1, d.channels))
            assert np.array_equal(got[0], d.sample(y, d.place.output, n).reshape(got[0].shape))
            assert np.array_equal(got[1], d.sample(gx, d.layout, n).reshape(got[1].shape))


def test_a_channel_alone_has_its_bits(level, rng):
    """An output is one chain of multiply-adds, whatever panel its channel is in."""
    place = Window.of(2, (3, 4), 1, "same").on(Layout([[9, 21]]))
    x, w = rng.standard_normal((189, 37)).astype(np.float32), rng.standard_normal((3, 4, 1, 37)).astype(np.float32)
    y, gx = kernels.conv(x, place, w, groups=37), kernels.conv_transpose(x, place, w, groups=37)
    for first, last in ((0, 2), (0, 8), (3, 12), (20, 37), (35, 37)):
        some, kept = np.ascontiguousarray(x[:, first:last]), {"groups": last - first}
        weight = np.ascontiguousarray(w[..., first:last])
        assert np.array_equal(kernels.conv(some, place, weight, **kept), y[:, first:last])
        assert np.array_equal(kernels.conv_transpose(some, place, weight, **kept), gx[:, first:last])


LARGE = [  # (shapes, channels, kernel, settings): large enough to run parallel
    ([[4000], [1], [2777]], 40, (31,), {"padding": "same"}),
    ([[300, 91], [173, 70]], 33, (5, 5), {"padding": "same", "stride": 2}),
    ([[20, 17, 18], [19, 30, 12]], 48, (3, 3, 3), {"padding": 1}),
    ([[90, 91], [73, 70]], 24, (3, 5), {"padding": "same", "dilation": (2, 3)}),
]


@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{len(case[2])}d-{case[2][0]}")
def test_the_same_bits_for_any_number_of_threads(level, case, rng):
    shapes, channels, kernel, settings = case
    place = Window.of(len(kernel), kernel, **settings).on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, channels)).astype(np.float32)
    w = rng.standard_normal((*kernel, 1, channels)).astype(np.float32)
    g = rng.standard_normal((place.output.positions, channels)).astype(np.float32)
    results = []
    for n in (1, 2, 5):
        with threadpool_limits(limits=n, user_api="openmp"):
            assert kernels.get_num_threads() == n
            results.append((
                kernels.conv(x, place, w, groups=channels), kernels.conv_transpose(g, place, w, groups=channels),
                kernels.conv_weight(x, g, place, groups=channels),
            ))
    for other in results[1:]:
        for one, many in zip(results[0], other, strict=True):
            assert np.array_equal(one, many)


def test_taps_outside_a_sample_never_count(level):
    """Not even as zero times an infinite weight."""
    place = Window.of(2, (3, 3), 1, 1).on(Layout([[1, 9]]))
    weight = np.full((3, 3, 1, 24), np.inf, np.float32)
    weight[1, 1] = 2
    x = np.zeros((9, 24), np.float32)
    x[4] = 1
    weight[1, 0] = weight[1, 2] = 3
    y = kernels.conv(x, place, weight, groups=24)
    assert y[3:6].tolist() == [[3] * 24, [2] * 24, [3] * 24]
    assert not y[[0, 1, 2, 6, 7, 8]].any()
    assert np.array_equal(kernels.conv_transpose(x, place, weight, groups=24), y)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_agrees_with_pytorch(ndim, rng):
    torch = pytest.importorskip("torch")
    function = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[ndim - 1]
    size, kernel = {1: (301,), 2: (28, 31), 3: (9, 10, 11)}[ndim], {1: (31,), 2: (5, 4), 3: (3, 2, 4)}[ndim]
    for stride, dilation, padding in ((1, 1, 1), (2, 1, 2), (1, 2, 0), (2, 2, 3)):
        place = Window.of(ndim, kernel, stride, padding, dilation).on(Layout.dense(2, size))
        x, w = rng.standard_normal((2, *size, 36)), rng.standard_normal((*kernel, 1, 36))
        there = [torch.from_numpy(np.moveaxis(x, -1, 1)), torch.from_numpy(np.moveaxis(w, (-1, -2), (0, 1)))]
        for tensor in there:
            tensor.requires_grad_()
        y = function(*there, None, stride, padding, dilation, 36)
        g = rng.standard_normal((place.output.positions, 36))
        y.backward(torch.from_numpy(np.moveaxis(g.reshape(2, *y.shape[2:], 36), -1, 1)))
        flat = x.reshape(-1, 36)
        want = np.moveaxis(y.detach().numpy(), 1, -1).reshape(-1, 36)
        close(kernels.conv(flat, place, w, groups=36), want, np.float64)
        want = np.moveaxis(there[0].grad.numpy(), 1, -1).reshape(-1, 36)
        close(kernels.conv_transpose(g, place, w, groups=36), want, np.float64)
        want = np.moveaxis(there[1].grad.numpy(), (0, 1), (-1, -2))
        close(kernels.conv_weight(flat, g, place, groups=36), want, np.float64)


def test_depthwise_is_taken_from_two_channels_on(rng, monkeypatch):
    calls = []
    run = depthwise.run
    monkeypatch.setattr(depthwise, "run", lambda task: calls.append(task.kind) or run(task))
    for groups, channels, filters in ((4, 4, 4), (1, 1, 1), (2, 4, 4)):
        place = Window.of(1, 3).on(Layout([[9]]))
        w = rng.standard_normal((3, channels // groups, filters))
        y = kernels.conv(rng.standard_normal((9, channels)), place, w, groups=groups)
        kernels.conv_transpose(y, place, w, groups=groups)
        kernels.conv_weight(rng.standard_normal((9, channels)), y, place, groups=groups)
    assert calls == ["forward", "transposed", "weight"]


def test_more_shares_than_columns(rng):
    """A sample of two rows and so many channels that its columns are shared out, and some shares get none."""
    channels = 50_000
    place = Window.of(2, (1, 3), (1, 2), [(0, 0), (1, 1)]).on(Layout([[2, 12]]))
    grad = rng.standard_normal((place.output.positions, channels)).astype(np.float32)
    weight = rng.standard_normal((1, 3, 1, channels)).astype(np.float32)
    back = kernels.conv_transpose(grad, place, weight, groups=channels).reshape(2, 6, 2, channels)
    g, (w0, w1, w2) = grad.reshape(2, 6, channels), weight[0, :, 0]
    np.testing.assert_allclose(back[:, :, 0], g * w1, rtol=1e-6)
    after = np.concatenate([g[:, 1:] * w0, np.zeros((2, 1, channels), np.float32)], axis=1)
    np.testing.assert_allclose(back[:, :, 1], g * w2 + after, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_tall_tiles_and_results_that_go_past_the_caches(stride, rng):
    channels, taps, size = 48, 7, 24_000 * stride
    place = Window.of(1, taps, stride, 3).on(Layout([[size]]))
    x = rng.standard_normal((size, channels)).astype(np.float32)
    w = rng.standard_normal((taps, 1, channels)).astype(np.float32)
    padded = np.pad(x.astype(np.float64), [(3, 3), (0, 0)])
    wanted = sum(padded[j : j + size : stride] * w[j].astype(np.float64) for j in range(taps))
    np.testing.assert_allclose(kernels.conv(x, place, w, groups=channels), wanted, rtol=1e-4, atol=1e-4)
