"""Winograd's convolution row by row: the same numbers, the law, the same bits on any threads, the choice."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from convnd import kernels, reference
from convnd.errors import ArgumentError
from convnd.kernels import rowwise
from convnd.kernels.conv import chosen
from convnd.layout import Layout, Ragged
from convnd.window import Window

conv_module = importlib.import_module("convnd.kernels.conv")

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}  # of the sum of the magnitudes of a sum's weights
CASES = {  # channels, filters, settings, shapes
    "a waveform": (1, 64, {"kernel": 80, "stride": 4}, [[700], [81], [2000], [80]]),
    "a waveform, padded": (2, 21, {"kernel": 31, "padding": 15}, [[200], [1], [17], [900]]),
    "dilation": (5, 16, {"kernel": 3, "dilation": 7, "padding": 7}, [[100], [3], [40], [9]]),
    "vectors of channels": (32, 40, {"kernel": 5, "padding": 2}, [[90], [7], [1], [400]]),
    "taps that aren't there": (3, 33, {"kernel": 7, "stride": 2, "padding": 3}, [[30, 33], [9, 60], [1, 5], [14, 2]]),
    "a plane": (1, 16, {"kernel": 3, "padding": 1}, [[40, 37], [3, 100], [1, 1], [8, 8]]),
    "different axes": (4, 20, {"kernel": (3, 4), "stride": (2, 1), "dilation": (2, 1)}, [[20, 30], [9, 12], [30, 5]]),
    "few filters": (3, 2, {"kernel": 5, "padding": 2}, [[12, 40], [5, 5]]),
    "a volume": (2, 17, {"kernel": 3, "padding": 1}, [[6, 7, 20], [1, 3, 9], [9, 4, 4]]),
    "video": (3, 32, {"kernel": (3, 5, 7), "stride": (1, 2, 2), "padding": (1, 2, 3)}, [[4, 15, 20], [6, 9, 31]]),
    "four axes": (2, 16, {"kernel": 2}, [[4, 3, 5, 12], [2, 2, 2, 2]]),
}


@pytest.fixture
def only_this(monkeypatch):
    """Told to, it does all that it doesn't refuse."""
    monkeypatch.setattr(conv_module, "IMPLEMENTATIONS", (rowwise,))
    conv_module._operation.cache_clear()
    yield
    conv_module._operation.cache_clear()


def operands(case, rng, dtype):
    channels, filters, settings, shapes = CASES[case]
    window = Window.of(len(shapes[0]), **settings)
    place = window.on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, channels)).astype(dtype)
    g = rng.standard_normal((place.output.positions, filters)).astype(dtype)
    w = rng.standard_normal((*window.kernel, channels, filters)).astype(dtype)
    return place, x, g, w, rng.standard_normal(filters).astype(dtype)


def everything(place, x, g, w, b):
    """Forward, the gradient of the weight, and without strides that of the input."""
    found = [kernels.conv(x, place, w, b, activation="relu"), kernels.conv_weight(x, g, place)]
    if set(place.window.stride) == {1}:
        found.append(kernels.conv_transpose(g, place, w))
    return found


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_and_keeps_the_law(level, case, dtype, rng):
    place, x, g, w, b = operands(case, rng, dtype)
    window = place.window
    forth, weight, *back = everything(place, x, g, w, b)
    assert chosen(place) == ["rowwise"]
    settings = {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
    xs, gs, want_weight = Ragged(x, place.input), Ragged(g, place.output), np.zeros(w.shape)
    exact = w.astype(np.float64)
    for n in range(len(place.input)):
        own = window.on(place.input.take([n]))
        alone = everything(own, xs[[n]].values, gs[[n]].values, w, b)
        assert np.array_equal(alone[0], Ragged(forth, place.output)[[n]].values)
        sample, grad = (each.unpack()[n].astype(np.float64) for each in (xs, gs))
        want = np.maximum(reference.conv(sample, exact, b.astype(np.float64), **settings), 0)
        sums = np.abs(w).reshape(-1, *w.shape[-2:]).sum(axis=0)
        np.testing.assert_allclose(
            alone[0].reshape(want.shape), want, rtol=0, atol=TOLERANCE[dtype] * sums.sum(axis=0).max()
        )
        if back:
            assert np.array_equal(alone[2], Ragged(back[0], place.input)[[n]].values)
            want = reference.conv_transpose(grad, exact, **settings, like=sample.shape[:-1])
            np.testing.assert_allclose(
                alone[2].reshape(want.shape), want, rtol=0, atol=TOLERANCE[dtype] * sums.sum(axis=1).max()
            )
        want_weight += reference.conv_weight(sample, grad, window.kernel, **settings)
    np.testing.assert_allclose(weight, want_weight, rtol=0, atol=TOLERANCE[dtype] * np.abs(g).sum(axis=0).max())


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize(
    ("settings", "channels", "filters", "shapes"),
    [
        ({"kernel": 80, "stride": 4}, 1, 64, [[9000], [4000], [100], [12000]]),
        ({"kernel": 7, "stride": 2, "padding": 3}, 3, 40, [[90, 80], [40, 200]]),
        ({"kernel": 3, "padding": 1}, 2, 16, [[20, 30, 40], [33, 20, 28]]),
        ({"kernel": 3, "padding": 1}, 16, 512, [[60, 60], [61, 40]]),  # past the caches
        ({"kernel": 3, "padding": 1}, 64, 32, [[12000], [9000]]),  # memory is asked for
        ({"kernel": 3, "padding": 1}, 32, 32, [[190, 190], [9, 200]]),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(settings, channels, filters, shapes, rng):
    place = Window.of(len(shapes[0]), **settings).on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, channels)).astype(np.float32)
    g = rng.standard_normal((place.output.positions, filters)).astype(np.float32)
    w = rng.standard_normal((*place.window.kernel, channels, filters)).astype(np.float32)
    b = rng.standard_normal(filters).astype(np.float32)
    results, counted = [], []
    for count in (1, 2, 5):
        kernels.set_num_threads(count)
        results.append(everything(place, x, g, w, b))
        counted.append(kernels.conv_and_moments(x, place, w, b)[1])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)
    for other in counted[1:]:
        np.testing.assert_array_equal(other, counted[0])
    y = kernels.conv(x, place, w, b)
    np.testing.assert_allclose(counted[0][0], y.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-5)
    np.testing.assert_allclose(counted[0][1], y.var(axis=0, dtype=np.float64), rtol=1e-5)


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("case", ["a waveform", "dilation", "a plane", "video", "vectors of channels"])
def test_a_sample_that_is_infinite_changes_no_other(case, rng):
    place, x, g, w, b = operands(case, rng, np.float32)
    b = np.zeros_like(b)
    forth = Ragged(everything(place, x, g, w, b)[0], place.output).unpack()
    first, end = place.input.offsets[1:3]
    x[first:end] = np.inf
    again = Ragged(everything(place, x, g, w, b)[0], place.output).unpack()
    for n, (one, two) in enumerate(zip(forth, again, strict=True)):
        assert n == 1 or np.array_equal(one, two)


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize(
    ("channels", "settings", "shapes"),
    [
        (1, {"kernel": 80, "stride": 4}, [[803], [12000], [9001], [20003]]),  # blocks are longer among others
        (1, {"kernel": 7}, [[500], [30000], [17000]]),
        (2, {"kernel": 3, "dilation": 5, "padding": 5}, [[700], [9000], [30000]]),
        (16, {"kernel": 3, "padding": 1}, [[30, 50], [150, 160], [40, 190]]),
        (3, {"kernel": 3, "padding": 1}, [[30, 50], [150, 160], [40, 190]]),
        (3, {"kernel": 7, "stride": 2, "padding": 3}, [[60, 51], [150, 160], [240, 190]]),
        (1, {"kernel": 3, "padding": 1}, [[10, 20, 31], [30, 33, 40], [8, 70, 64]]),
    ],
)
def test_a_sample_has_the_same_bits_among_many(level, channels, settings, shapes, rng):
    """Its blocks have other sizes then."""
    window = Window.of(len(shapes[0]), **settings)
    place = window.on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, channels)).astype(np.float32)
    w = rng.standard_normal((*window.kernel, channels, 20)).astype(np.float32)
    together = Ragged(kernels.conv(x, place, w), place.output)
    for n in range(len(shapes)):
        own = window.on(place.input.take([n]))
        alone = kernels.conv(Ragged(x, place.input)[[n]].values, own, w)
        assert np.array_equal(alone, together[[n]].values)


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize(
    ("settings", "shape", "unread"),
    [
        ({"kernel": 80, "stride": 4}, [803], [slice(800, 803)]),
        ({"kernel": 7, "stride": 3}, [12, 24], [slice(10, 12), slice(22, 24)]),
        ({"kernel": (3, 7), "stride": 2}, [12, 24], [slice(11, 12), slice(23, 24)]),
    ],
)
def test_what_no_output_reads_shows_nowhere(level, settings, shape, unread, rng):
    place = Window.of(len(shape), **settings).on(Layout([shape]))
    x = rng.standard_normal((*shape, 2)).astype(np.float32)
    g = rng.standard_normal((place.output.positions, 16)).astype(np.float32)
    w = rng.standard_normal((*place.window.kernel, 2, 16)).astype(np.float32)
    want = kernels.conv(x.reshape(-1, 2), place, w), kernels.conv_weight(x.reshape(-1, 2), g, place)
    for axis, where in enumerate(unread):
        x[(*[slice(None)] * axis, where)] = np.nan
    again = kernels.conv(x.reshape(-1, 2), place, w), kernels.conv_weight(x.reshape(-1, 2), g, place)
    for one, two in zip(want, again, strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("channels", [1, 16, 64])
def test_a_rectifier_keeps_nan(level, channels, rng):
    """By whatever way."""
    place = Window.of(2, 3).on(Layout([[20, 30]]))
    x, w = rng.standard_normal((600, channels)), rng.standard_normal((3, 3, channels, 16))
    x[301] = np.nan
    for algorithm in ("auto", "winograd", "direct"):
        assert np.isnan(kernels.conv(x, place, w, activation="relu", algorithm=algorithm)).any(axis=0).all()


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("filters", [5, 12, 16, 17, 40])
def test_counts_what_it_has(filters, rng):
    """The last panel's filters that the one before has as well count once."""
    place = Window.of(2, 3, padding=1).on(Layout([[40, 37], [3, 100], [1, 1]]))
    x = rng.standard_normal((place.input.positions, 2)).astype(np.float32)
    w = rng.standard_normal((3, 3, 2, filters)).astype(np.float32)
    y, (mean, variance) = kernels.conv_and_moments(x, place, w + 100)
    np.testing.assert_allclose(mean, y.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(variance, y.var(axis=0, dtype=np.float64), rtol=1e-5)


@pytest.mark.usefixtures("only_this")
def test_a_weight_is_packed_for_each_way_to_cut_it(rng):
    """Rows of 4 outputs are a tile of six frequencies, rows of 6 one of eight."""
    w, packs = rng.standard_normal((3, 3, 1, 16)), {}
    for width in (4, 6, 4):
        place = Window.of(2, 3, padding=1).on(Layout([[30, width]]))
        x = rng.standard_normal((30 * width, 1))
        alone = kernels.conv(x, place, w)
        assert np.array_equal(kernels.conv(x, place, w, packs=packs), alone)


@pytest.mark.usefixtures("only_this")
def test_flipped_kernels(rng):
    place = Window.of(2, (3, 4)).on(Layout([[9, 20]]))
    x, w = rng.standard_normal((180, 2)), rng.standard_normal((3, 4, 2, 16))
    g = rng.standard_normal((place.output.positions, 16))
    turned = np.ascontiguousarray(w[::-1, ::-1])
    assert np.array_equal(kernels.conv(x, place, w, flip=True), kernels.conv(x, place, turned))
    assert np.array_equal(kernels.conv_transpose(g, place, w, flip=True), kernels.conv_transpose(g, place, turned))


@pytest.mark.parametrize(
    ("channels", "filters", "settings", "shape", "taken"),
    [
        (1, 64, {"kernel": 80, "stride": 4}, [16000], ("2x512", "1x512", "2x256")),
        (3, 64, {"kernel": 7, "stride": 2, "padding": 3}, [224, 224], ("2x512", "1x512", "2x256")),
        (1, 16, {"kernel": 3, "padding": 1}, [64, 64, 64], ("1x512",)),
        (1, 16, {"kernel": 3, "padding": 1}, [128, 64], ()),
        (64, 64, {"kernel": 3, "padding": 1}, [56, 56], ()),
        (512, 512, {"kernel": 3, "padding": 1}, [7, 7], ()),
    ],
)
def test_is_the_way_of_first_layers_where_measured(channels, filters, settings, shape, taken, monkeypatch, rng):
    window = Window.of(len(shape), **settings)
    x = rng.standard_normal((int(np.prod(shape)), channels)).astype(np.float32)
    w = rng.standard_normal((*window.kernel, channels, filters)).astype(np.float32)
    lanes = {"2x512": 64, "1x512": 64, "2x256": 32}
    for units in ("2x512", "1x512", "2x256"):
        monkeypatch.setattr(rowwise.isa, "units", lambda units=units: units)
        monkeypatch.setattr(rowwise.isa, "lanes", lambda size, units=units: lanes[units] // size)
        conv_module._operation.cache_clear()
        place = window.on(Layout([shape]))
        kernels.conv(x, place, w)
        assert (chosen(place) == ["rowwise"]) == (units in taken)
    conv_module._operation.cache_clear()


@pytest.mark.parametrize("units", ["2x512", "1x512", "2x256"])
@pytest.mark.parametrize(("channels", "kernel", "shape"), [(128, 9, [1000]), (64, 5, [56, 56])])
def test_leaves_long_kernels_of_many_channels_to_transforms(channels, kernel, shape, units, monkeypatch, rng):
    own, size = rowwise.isa.lanes(4), 64 if units.endswith("512") else 32
    if own * 4 < size:
        pytest.skip("panels follow this machine's shorter vectors")
    monkeypatch.setattr(rowwise.isa, "units", lambda: units)
    monkeypatch.setattr(rowwise.isa, "lanes", lambda itemsize: size // itemsize)
    window = Window.of(len(shape), kernel, padding=kernel // 2)
    places = [window.on(Layout([shape])) for _ in range(2)]
    x = rng.standard_normal((int(np.prod(shape)), channels)).astype(np.float32)
    w = rng.standard_normal((*window.kernel, channels, channels)).astype(np.float32)
    conv_module._operation.cache_clear()
    kernels.conv(x, places[0], w)
    kernels.conv_transpose(x, places[1], w)
    conv_module._operation.cache_clear()
    assert [chosen(place) for place in places] == [["fft"], ["fft"]]


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize(
    ("settings", "groups", "reason"),
    [
        ({"kernel": (3, 1)}, 1, r"rows need 2 to 5 taps near each other, not \[3, 1\]"),
        ({"kernel": 3, "stride": 3}, 1, r"not \[3, 3\] with stride 3"),
        ({"kernel": 3, "dilation": (10000, 1), "padding": (10000, 0)}, 1, "near each other"),
        ({"kernel": 3}, 2, "in one group"),
        ({"kernel": (1, 3), "stride": (2, 1)}, 1, "no output reads"),
        ({"kernel": 3, "stride": (1, 2), "dilation": 2}, 1, "a stride beside dilation"),
    ],
)
def test_refuses(settings, groups, reason, rng):
    place = Window.of(2, **settings).on(Layout([[20, 20]]))
    x, w = rng.standard_normal((400, 4)), rng.standard_normal((*place.window.kernel, 4 // groups, 8))
    with pytest.raises(ArgumentError, match=reason):
        kernels.conv(x, place, w, groups=groups, algorithm="winograd")
    if place.window.stride == (1, 1) and groups == 1:
        return
    g = rng.standard_normal((place.output.positions, 8))
    with pytest.raises(ArgumentError, match="rows"):
        kernels.conv_transpose(g, place, w, groups=groups, algorithm="winograd")
