"""Convolutions by Fourier transforms against the specification and SciPy, and the law."""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
import pytest
from test_kernels_conv import Draw
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd._core import spectrum_product
from convnd.errors import ArgumentError
from convnd.kernels import fft, spectral_plan
from convnd.kernels.conv import chosen
from convnd.kernels.task import Operation, Problem, Side, Task
from convnd.layout import Layout, Ragged
from convnd.window import Window

# Relative to the largest number: an FFT spreads rounding over a block.
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}
FORCED = {"algorithm": "fft"}


@pytest.fixture(params=["a thread each", "together"])
def small_blocks(request, monkeypatch):
    """Samples fall into several blocks: a thread takes some to their results, or all take the steps of two together."""
    def shorter(least, most):
        return found(least, min(most, least))

    found = spectral_plan.sizes_from
    monkeypatch.setattr(spectral_plan, "sizes_from", shorter)
    monkeypatch.setattr(fft, "CHUNK_BYTES", 2**14)
    if request.param == "together":
        monkeypatch.setattr(spectrum_product, "convolve", lambda *_: False)
    spectral_plan.plan.cache_clear()
    yield
    spectral_plan.plan.cache_clear()


def close(got, want, dtype):
    assert got.dtype == dtype
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * scale)


def all_three(d, flip=False, packs=None, **activation):
    settings = {"groups": d.groups, "flip": flip, **FORCED}
    return (
        kernels.conv(d.x, d.place, d.weight, d.bias, packs=packs, **settings, **activation),
        kernels.conv_transpose(d.grad, d.place, d.weight, packs=packs, **settings),
        kernels.conv_weight(d.x, d.grad, d.place, **settings),
    )


def check_against_reference(d, dtype):
    y, gx, gw = all_three(d)
    want_weight = np.zeros(d.weight.shape)
    for n in range(len(d.layout)):
        x, g = (d.sample(a, lay, n).astype(np.float64) for a, lay in ((d.x, d.layout), (d.grad, d.place.output)))
        w, b = d.weight.astype(np.float64), d.bias.astype(np.float64)
        want = reference.conv(x, w, b, groups=d.groups, **d.settings)
        close(d.sample(y, d.place.output, n), want, dtype)
        want = reference.conv_transpose(g, w, groups=d.groups, like=d.layout.shape(n), **d.settings)
        close(d.sample(gx, d.layout, n), want, dtype)
        want_weight += reference.conv_weight(x, g, d.kernel, groups=d.groups, **d.settings)
    close(gw, want_weight, dtype)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_three_agree_with_the_reference(level, ndim, dtype, rng):
    for _ in range({1: 12, 2: 8, 3: 5, 4: 4}[ndim]):
        check_against_reference(Draw(rng, ndim, dtype), dtype)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_samples_of_many_blocks_agree_with_the_reference(small_blocks, ndim, rng):
    for _ in range(6):
        check_against_reference(Draw(rng, ndim, np.float64), np.float64)


@pytest.mark.parametrize("kernel", [64, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_kernels_agree_with_scipy(kernel, dtype, rng):
    signal = pytest.importorskip("scipy.signal")
    x, w = rng.standard_normal((3000, 3)).astype(dtype), rng.standard_normal((kernel, 3, 2)).astype(dtype)
    place = Window.of(1, kernel, 1, "valid").on(Layout([[3000]]))
    got = kernels.conv(x, place, w, **FORCED)
    want = np.stack([
        sum(signal.correlate(x[:, c].astype(float), w[:, c, f].astype(float), "valid", "direct") for c in range(3))
        for f in range(2)
    ], axis=1)
    assert math.sqrt(((got - want) ** 2).mean() / (want**2).mean()) < (1e-6 if dtype == np.float32 else 2e-15)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_adjoint_identities(small_blocks, ndim, rng):
    """<conv(x, w), g> = <x, conv_transpose(g, w)> = <w, conv_weight(x, g)>, flipped too."""
    for flip in (False, True, False, True):
        d = Draw(rng, ndim, np.float64)
        d.bias[:] = 0
        y, gx, gw = all_three(d, flip)
        left, scale = float((y * d.grad).sum()), np.abs(d.x).sum() * np.abs(d.weight).max()
        assert abs(left - float((d.x * gx).sum())) <= 1e-12 * scale
        assert abs(left - float((d.weight * gw).sum())) <= 1e-12 * scale


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_law_a_sample_alone_and_in_a_batch(level, small_blocks, ndim, dtype, rng):
    for _ in range(5):
        d = Draw(rng, ndim, dtype)
        y, gx, _ = all_three(d, activation="relu")
        for n in range(len(d.layout)):
            alone = d.place.window.on(d.layout.take([n]))
            x, g = d.sample(d.x, d.layout, n), d.sample(d.grad, d.place.output, n)
            x, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
            got = kernels.conv(x, alone, d.weight, d.bias, groups=d.groups, activation="relu", **FORCED)
            assert np.array_equal(got, d.sample(y, d.place.output, n).reshape(got.shape))
            got = kernels.conv_transpose(g, alone, d.weight, groups=d.groups, **FORCED)
            assert np.array_equal(got, d.sample(gx, d.layout, n).reshape(got.shape))


LARGE = [
    ([[9000], [700], [5100]], 16, 20, (200,), {}),
    ([[9000], [700], [5100]], 40, 40, (200,), {"groups": 40}),
    ([[90, 80], [70, 120]], 8, 10, (15, 11), {"padding": "same"}),
]


@pytest.mark.parametrize("case", LARGE, ids=["dense", "depthwise", "2d"])
@pytest.mark.parametrize("algorithm", ["fft", "auto"])
def test_the_same_bits_for_any_number_of_threads_and_any_batch(case, algorithm, rng):
    shapes, channels, filters, kernel, settings = case
    settings = dict(settings)
    groups = settings.pop("groups", 1)
    window = Window.of(len(kernel), kernel, **settings)
    place = window.on(Layout(shapes))
    x = Ragged(rng.standard_normal((place.input.positions, channels)).astype(np.float32), place.input)
    g = rng.standard_normal((place.output.positions, filters)).astype(np.float32)
    w = rng.standard_normal((*kernel, channels // groups, filters)).astype(np.float32)
    shared = {"groups": groups, "algorithm": algorithm}
    results = []
    with ExitStack() as stack:
        for n in (1, 2, 5):
            stack.enter_context(threadpool_limits(limits=n, user_api="openmp"))
            assert kernels.get_num_threads() == n
            results.append((
                kernels.conv(x.values, place, w, **shared),
                kernels.conv_transpose(g, place, w, **shared),
                kernels.conv_weight(x.values, g, place, **shared),
            ))
    for other in results[1:]:
        for one, many in zip(results[0], other, strict=True):
            assert np.array_equal(one, many)
    y = Ragged(results[0][0], place.output)
    for samples in [[0], [len(shapes) - 1], list(range(len(shapes)))[::-1]]:
        part = x[samples]
        got = kernels.conv(part.values, window.on(part.layout), w, **shared)
        assert np.array_equal(got, y[samples].values)


def long_task(shapes, channels, filters, kernel, groups=1):
    """A task that isn't run: only its shapes count."""
    place = Window.of(len(kernel), kernel).on(Layout(shapes))
    x = np.empty((place.input.positions, channels), np.float32)
    geometry = np.array([kernel, (1,) * len(kernel), (1,) * len(kernel)])
    source, target = (Side(lay.shapes, lay.offsets) for lay in (place.input, place.output))
    operation = Operation("forward", geometry, channels, filters, groups, x.dtype)
    return Task(Problem(operation, source, target, place.low), x, x)


def test_it_never_takes_what_never_pays(rng):
    """What is found out once, for samples of any size, is what their own sizes would say."""
    answers = set()
    for _ in range(200):
        rank = int(rng.integers(1, 4))
        kernel = tuple(int(k) for k in rng.integers(1, (200, 24, 12)[rank - 1], rank))
        step = tuple(int(s) for s in rng.integers(1, 4, rank))
        inputs, outputs = (int(c) for c in 2 ** rng.integers(0, 8, 2))
        channels = spectral_plan.Channels(inputs, outputs, 1, 8, "2x256", inputs * max(8, outputs))
        if spectral_plan.never(kernel, step, math.prod(kernel), channels):
            for most in (8, 100, 5000):
                outputs = tuple(int(n) for n in rng.integers(1, most, rank))
                _, cost, direct = spectral_plan.plan(outputs, kernel, step, math.prod(kernel), channels, 4)
                assert cost >= direct
            answers.add(True)
        else:
            answers.add(False)
    assert answers == {True, False}


def test_auto_takes_long_kernels_of_long_samples_only():
    assert fft.takes(long_task([[16000]], 16, 16, (512,))).all()
    assert not np.any(fft.takes(long_task([[16000]], 64, 64, (3,))))
    assert not np.any(fft.takes(long_task([[56, 56]], 64, 64, (3, 3))))
    assert not np.any(fft.takes(long_task([[16, 16, 16]], 32, 32, (3, 3, 3))))
    # A single output is a dot product, whatever the kernel.
    assert fft.takes(long_task([[512], [16000]], 16, 16, (512,))).tolist() == [False, True]


def test_packs_are_reused(rng):
    d = Draw(rng, 2, np.float32)
    packs = {}
    first = all_three(d, packs=packs)
    count = len(packs)
    assert count >= 2
    d.weight[:] = 0  # unseen: whoever changes a weight empties its packs
    again = all_three(d, packs=packs)
    assert len(packs) == count
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_a_weight_whose_spectra_take_too_much_memory_is_refused(monkeypatch):
    assert fft.refuses(long_task([[600]], 64, 64, (512,))) is None
    monkeypatch.setattr(fft, "MOST_BYTES", 2**20)
    place = Window.of(1, 512).on(Layout([[600]]))
    x, w = np.ones((600, 64), np.float32), np.ones((512, 64, 64), np.float32)
    with pytest.raises(ArgumentError, match=r"algorithm='fft' can't do this convolution: fft would need more than"):
        kernels.conv(x, place, w, **FORCED)


def test_many_axes_plan_quickly(rng):
    place = Window.of(9, 2, 1, "same").on(Layout([[2] * 9]))
    x, w = rng.standard_normal((2**9, 1)), rng.standard_normal((2,) * 9 + (1, 1))
    np.testing.assert_allclose(
        kernels.conv(x, place, w, **FORCED), kernels.conv(x, place, w, algorithm="direct"), atol=1e-12
    )


@pytest.mark.usefixtures("not_row_by_row")
def test_auto_counts_the_taps_that_meet_inputs(rng):
    """Back from an output that is one wide, each input has one tap of 32 on that axis."""
    ways = {}
    for width in (33, 96):
        place = Window.of(2, (3, 32), padding=[(1, 1), (0, 0)]).on(Layout([(55, width)]))
        g, w = rng.standard_normal((place.output.positions, 64)), rng.standard_normal((3, 32, 16, 64))
        kernels.conv_transpose(g, place, w)
        ways[width] = chosen(place)
    assert ways == {33: ["direct"], 96: ["fft"]}
