"""Long strided kernels of few channels by Winograd: the same numbers, the law, who is read, the choice."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from convnd import kernels, reference
from convnd.errors import ArgumentError
from convnd.kernels import overlapped
from convnd.kernels.conv import chosen
from convnd.layout import Layout, Ragged
from convnd.window import Window

conv_module = importlib.import_module("convnd.kernels.conv")

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}  # of the sum of the magnitudes of a sum's weights
CASES = {  # channels, filters, kernel, stride, padding
    "a waveform": (1, 64, 80, 4, 0),
    "two microphones": (2, 24, 30, 3, 0),
    "padding": (1, 21, 16, 2, (5, 9)),
    "three taps of one stride": (3, 17, 12, 4, 0),
    "padding as long as the kernel": (1, 16, 15, 5, 15),
    "many taps": (1, 7, 49, 7, (0, 3)),
}


@pytest.fixture
def only_this(monkeypatch):
    """Told to, it does all that it doesn't refuse."""
    monkeypatch.setattr(conv_module, "IMPLEMENTATIONS", (overlapped,))
    conv_module._operation.cache_clear()
    yield
    conv_module._operation.cache_clear()


def operands(case, rng, dtype, lengths=(700, 81, 2000, 96, 333)):
    channels, filters, kernel, stride, padding = CASES[case]
    window = Window.of(1, kernel, stride, [padding if isinstance(padding, tuple) else (padding, padding)])
    place = window.on(Layout([[length] for length in lengths]))
    x = rng.standard_normal((place.input.positions, channels)).astype(dtype)
    g = rng.standard_normal((place.output.positions, filters)).astype(dtype)
    return window, place, x, g, rng.standard_normal((kernel, channels, filters)).astype(dtype)


def both(x, g, w, b, place):
    return (
        kernels.conv(x, place, w, b, activation="relu", algorithm="winograd"),
        kernels.conv_weight(x, g, place, algorithm="winograd"),
    )


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_and_keeps_the_law(level, case, dtype, rng):
    window, place, x, g, w = operands(case, rng, dtype)
    b = rng.standard_normal(w.shape[-1]).astype(dtype)
    forth, weight = both(x, g, w, b, place)
    assert chosen(place) == ["overlapped"]
    want_weight = np.zeros(w.shape)
    settings = {"stride": window.stride, "padding": window.padding}
    xs, gs = Ragged(x, place.input), Ragged(g, place.output)
    for n in range(len(place.input)):
        own = window.on(place.input.take([n]))
        alone = both(xs[[n]].values, gs[[n]].values, w, b, own)[0]
        assert np.array_equal(alone, Ragged(forth, place.output)[[n]].values)
        sample, grad = (each.unpack()[n].astype(np.float64) for each in (xs, gs))
        want = np.maximum(reference.conv(sample, w.astype(np.float64), b.astype(np.float64), **settings), 0)
        atol = TOLERANCE[dtype] * np.abs(w).sum(axis=(0, 1)).max()
        np.testing.assert_allclose(alone, want, rtol=0, atol=atol)
        want_weight += reference.conv_weight(sample, grad, window.kernel, **settings)
    np.testing.assert_allclose(weight, want_weight, rtol=0, atol=TOLERANCE[dtype] * np.abs(g).sum(axis=0).max())


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_threads_gives_the_same_bits(case, rng):
    _, place, x, g, w = operands(case, rng, np.float32, [9000, 4000, 100, 12000])
    b = np.zeros(w.shape[-1], np.float32)
    results = []
    for count in (1, 2, 5):
        kernels.set_num_threads(count)
        results.append(both(x, g, w, b, place))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("case", ["a waveform", "padding"])
def test_a_sample_that_is_infinite_changes_no_other(case, rng):
    """Nor does what lies behind a sample's last window change the sample."""
    _, place, x, g, w = operands(case, rng, np.float32, [700, 803, 2000])
    b = np.zeros(w.shape[-1], np.float32)
    forth = Ragged(both(x, g, w, b, place)[0], place.output).unpack()
    x[700:1503] = np.inf
    again = Ragged(both(x, g, w, b, place)[0], place.output).unpack()
    assert np.array_equal(forth[0], again[0])
    assert np.array_equal(forth[2], again[2])
    if case == "a waveform":  # 803 = 180 x 4 + 80 + 3
        x[700:1503] = 1
        want = Ragged(both(x, g, w, b, place)[0], place.output).unpack()
        x[1500:1503] = np.nan
        again = Ragged(both(x, g, w, b, place)[0], place.output).unpack()
        for one, two in zip(want, again, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.usefixtures("only_this")
def test_a_weight_is_packed_for_each_way_to_cut_it(rng):
    """The stride decides: 80 taps are 4 of 20 positions, or 2 of 40."""
    w, packs = rng.standard_normal((80, 1, 16)), {}
    for stride in (20, 40, 4, 20):
        place = Window.of(1, 80, stride).on(Layout([[2000], [300]]))
        x = rng.standard_normal((2300, 1))
        alone = kernels.conv(x, place, w, algorithm="winograd")
        assert np.array_equal(kernels.conv(x, place, w, algorithm="winograd", packs=packs), alone)


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize("case", ["a waveform", "padding"])
def test_counts_what_it_has(case, rng):
    """The moments are those of all outputs, of samples of any size."""
    _, place, x, _, w = operands(case, rng, np.float32, [5000, 700, 96, 3000])
    y, (mean, variance) = kernels.conv_and_moments(x, place, w, algorithm="winograd")
    np.testing.assert_allclose(mean, y.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-5)
    np.testing.assert_allclose(variance, y.var(axis=0, dtype=np.float64), rtol=1e-5)


def test_is_the_way_of_a_first_layer_where_that_was_measured(monkeypatch, rng):
    _, place, x, g, w = operands("a waveform", rng, np.float32, [16000])
    taken = (
        ("2x512", 64, False, True), ("2x512 Zen", 64, False, True), ("1x512", 64, False, False),
        ("2x256", 32, False, True),
    )  # fmt: skip
    for units, size, forth, back in taken:
        monkeypatch.setattr(overlapped.isa, "units", lambda units=units: units)
        monkeypatch.setattr(overlapped.isa, "lanes", lambda itemsize, size=size: size // itemsize)
        conv_module._operation.cache_clear()
        fresh = [place.window.on(Layout([[16000]])) for _ in range(2)]
        kernels.conv(x, fresh[0], w)
        kernels.conv_weight(x, g, fresh[1])
        assert [chosen(one) == ["overlapped"] for one in fresh] == [forth, back]
    conv_module._operation.cache_clear()


@pytest.mark.usefixtures("only_this")
@pytest.mark.parametrize(
    ("kernel", "stride", "channels"), [(79, 4, 1), (80, 1, 1), (80, 4, 16), (12, 3, 20), (8, 8, 1)]
)
def test_refuses_what_it_cannot_cut(kernel, stride, channels, rng):
    place = Window.of(1, kernel, stride).on(Layout([[200]]))
    x, w = rng.standard_normal((200, channels)).astype(np.float32), np.ones((kernel, channels, 8), np.float32)
    with pytest.raises(ArgumentError, match="winograd"):
        kernels.conv(x, place, w, algorithm="winograd")
