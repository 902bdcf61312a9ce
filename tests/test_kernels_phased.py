"""Strides as channels: Winograd's convolution of phases has the same numbers, keeps the law, is taken where it pays."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from convnd import kernels, reference
from convnd.errors import ShapeError
from convnd.kernels import phased, rowwise
from convnd.kernels.conv import chosen
from convnd.layout import Layout, Ragged
from convnd.window import Window

conv_module = importlib.import_module("convnd.kernels.conv")

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}  # of the sum of the magnitudes of a sum's weights


@pytest.fixture(autouse=True)
def _only_this(monkeypatch):
    """Told to, it does all that it doesn't refuse."""
    monkeypatch.setattr(conv_module, "IMPLEMENTATIONS", (phased,))
    conv_module._operation.cache_clear()
    yield
    conv_module._operation.cache_clear()


def draw_window(rng, ndim):
    """A window with a stride on some axis and at most five taps a phase, and a batch that it fits."""
    while True:
        kernel, stride = rng.integers(1, 8, ndim), rng.integers(1, 4, ndim)
        stride = np.minimum(kernel, stride)
        dilation = np.where(stride > 1, 1, rng.integers(1, 3, ndim))
        taps = -(-kernel // stride)
        if (stride == 1).all() or taps.max() > 5 or (taps == 1).all() or np.prod(taps + 1) > 200:
            continue
        padding = rng.integers(0, 3, (ndim, 2)).tolist()
        window = Window.of(ndim, kernel.tolist(), stride.tolist(), padding, dilation.tolist())
        try:
            return window, window.on(Layout(rng.integers(1, 24 if ndim < 3 else 12, (3, ndim))))
        except ShapeError:
            continue


def all_three(x, g, w, b, place, flip):
    return (
        kernels.conv(x, place, w, b[: w.shape[-1]], activation="relu", flip=flip, algorithm="winograd"),
        kernels.conv_transpose(g, place, w, b[: w.shape[-2]], flip=flip, algorithm="winograd"),
        kernels.conv_weight(x, g, place, flip=flip, algorithm="winograd"),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_all_three_agree_with_the_reference_and_keep_the_law(rng, ndim, dtype):
    for draw in range(12 if ndim < 3 else 4):
        window, place = draw_window(rng, ndim)
        channels, filters, flip = int(rng.integers(1, 20)), int(rng.integers(1, 40)), bool(draw % 2)
        if draw % 3 == 0:  # whole vectors
            channels = 16 * int(rng.integers(1, 4))
        x = rng.standard_normal((place.input.positions, channels)).astype(dtype)
        g = rng.standard_normal((place.output.positions, filters)).astype(dtype)
        w = rng.standard_normal((*window.kernel, channels, filters)).astype(dtype)
        b = rng.standard_normal(64).astype(dtype)
        forth, back, weight = all_three(x, g, w, b, place, flip)
        assert chosen(place) == ["phased"]
        want_weight, of_taps = np.zeros(w.shape), np.abs(w).sum(axis=tuple(range(ndim)))  # (C, F)
        turned = np.flip(w, range(ndim)) if flip else w
        doubles = turned.astype(np.float64), b[:filters].astype(np.float64)
        settings = {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
        xs, gs = Ragged(x, place.input), Ragged(g, place.output)
        for n, shape in enumerate(place.input.shapes.tolist()):
            own = window.on(place.input.take([n]))
            one = all_three(xs[[n]].values, gs[[n]].values, w, b, own, flip)
            assert np.array_equal(one[0], Ragged(forth, place.output)[[n]].values)
            assert np.array_equal(one[1], Ragged(back, place.input)[[n]].values)
            sample, grad = (each.unpack()[n].astype(np.float64) for each in (xs, gs))
            want = np.maximum(reference.conv(sample, *doubles, **settings), 0).reshape(-1, filters)
            np.testing.assert_allclose(one[0], want, rtol=0, atol=TOLERANCE[dtype] * of_taps.sum(axis=-2).max())
            want = reference.conv_transpose(grad, doubles[0], like=tuple(shape), **settings).reshape(-1, channels)
            atol = TOLERANCE[dtype] * of_taps.sum(axis=-1).max()
            np.testing.assert_allclose(one[1], want + b[:channels], rtol=0, atol=atol)
            want_weight += reference.conv_weight(sample, grad, window.kernel, **settings)
        if flip:
            want_weight = np.flip(want_weight, range(ndim))
        atol = TOLERANCE[dtype] * np.abs(g).sum(axis=0).max()
        np.testing.assert_allclose(weight, want_weight, rtol=0, atol=atol)


def test_some_samples_at_a_time(rng, monkeypatch):
    """What is copied at once shows in no bit of a result, and in a weight's gradient by rounding alone."""
    place = Window.of(2, 4, 2, [(1, 1)] * 2).on(Layout(rng.integers(4, 20, (9, 2))))
    x, g = (rng.standard_normal((layout.positions, 6)) for layout in (place.input, place.output))
    w, b = rng.standard_normal((4, 4, 6, 6)), rng.standard_normal(6)  # fewer channels than fill a line: they are copied
    forth, back, weight = all_three(x, g, w, b, place, False)
    monkeypatch.setattr(phased, "BYTES", 1)
    again = place.window.on(Layout(place.input.shapes))
    pieces = all_three(x, g, w, b, again, False)
    plans = [plan for plan in again.memo.values() if isinstance(plan, conv_module.Plan)]
    assert [len(phased._pieces(plan.problem)) for plan in plans] == [9, 9, 9]
    assert np.array_equal(pieces[0], forth)
    assert np.array_equal(pieces[1], back)
    np.testing.assert_allclose(pieces[2], weight, rtol=0, atol=1e-11)


def test_what_no_output_reads_shows_nowhere(rng):
    """An input behind the last window: whatever it is; its gradient is zero, and the bias on the way back."""
    place = Window.of(2, (5, 4), 2).on(Layout([(20, 15), (9, 8)]))
    x, g = (rng.standard_normal((layout.positions, 16)) for layout in (place.input, place.output))
    w, b = rng.standard_normal((5, 4, 16, 16)), rng.standard_normal(16)
    forth, back, weight = all_three(x, g, w, b, place, False)
    first = Ragged(x, place.input).unpack()[0]
    unread = np.zeros((20, 15), bool)
    unread[19], unread[:, 14] = True, True
    first[unread] = np.inf
    again = all_three(np.concatenate([first.reshape(-1, 16), x[300:]]), g, w, b, place, False)
    assert np.array_equal(again[0], forth)
    assert np.array_equal(again[2], weight)
    assert (back[:300][unread.reshape(-1)] == b).all()
    alone = kernels.conv_transpose(g, place, w, algorithm="winograd")
    assert not alone[:300][unread.reshape(-1)].any()
    active = kernels.conv_transpose(g, place, w, b, activation="relu", algorithm="winograd")
    assert (active[:300][unread.reshape(-1)] == np.maximum(b, 0)).all()


def test_any_number_of_threads_gives_the_same_bits(rng):
    place = Window.of(2, 5, 2, [(2, 2)] * 2).on(Layout(rng.integers(20, 60, (4, 2))))
    x, g = (rng.standard_normal((layout.positions, 16)).astype(np.float32) for layout in (place.input, place.output))
    w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 5, 16, 16), 16))
    results = []
    before = kernels.get_num_threads()
    for count in (1, 2, 5):
        kernels.set_num_threads(count)
        results.append(all_three(x, g, w, b, place, False))
    kernels.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)


def test_what_is_packed_is_kept_until_the_weight_changes(rng):
    place = Window.of(2, 4, 2).on(Layout([(9, 12)]))
    x, w, packs = rng.standard_normal((108, 8)), rng.standard_normal((4, 4, 8, 8)), {}
    first = kernels.conv(x, place, w, algorithm="winograd", packs=packs)
    flipped = kernels.conv(x, place, w, algorithm="winograd", packs=packs, flip=True)
    wanted = kernels.conv(x, place, np.ascontiguousarray(w[::-1, ::-1]), algorithm="winograd")
    assert not np.array_equal(first, flipped)
    np.testing.assert_array_equal(flipped, wanted)
    w[:] = 0
    assert np.array_equal(kernels.conv(x, place, w, algorithm="winograd", packs=packs), first)
    assert not kernels.conv(x, place, w, algorithm="winograd", packs={}).any()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kernel": 16, "stride": 2}, "1 to 7 taps"),
        ({"kernel": 3}, "phases are of strides"),
        ({"kernel": 3, "stride": 2, "dilation": 2}, "phases are of strides"),
        ({"kernel": 4, "stride": 2, "groups": 2}, "phases are of strides"),
        ({"kernel": 2, "stride": 2}, "2 on some"),
        ({"kernel": 2, "stride": 3}, "phases are of strides"),
    ],
)
def test_what_it_refuses(rng, settings, reason):
    groups = settings.pop("groups", 1)
    place = Window.of(1, **settings).on(Layout([(40,)]))
    w = rng.standard_normal((settings["kernel"], 4 // groups, 4))
    with pytest.raises(ValueError, match=reason):
        kernels.conv(rng.standard_normal((40, 4)), place, w, groups=groups, algorithm="winograd")


@pytest.mark.parametrize(
    ("kernel", "stride", "channels", "filters", "taken"),
    [(4, 2, 128, 128, True), (5, 2, 64, 128, True), (3, 2, 64, 64, False), (4, 2, 64, 3, False), (4, 2, 1, 16, False)],
)
def test_auto_takes_it_where_it_pays(rng, monkeypatch, kernel, stride, channels, filters, taken):
    monkeypatch.undo()
    monkeypatch.setattr(rowwise, "takes", lambda _: False)  # which comes first
    conv_module._operation.cache_clear()
    place = Window.of(2, kernel, stride, [(1, 1)] * 2).on(Layout([(56, 56)]))
    x = rng.standard_normal((56 * 56, channels)).astype(np.float32)
    w = rng.standard_normal((kernel, kernel, channels, filters)).astype(np.float32)
    kernels.conv(x, place, w)
    assert (chosen(place) == ["phased"]) == taken
