"""Convolutions whose kernel spans the last axis: one axis fewer, the same numbers, and the law."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from convnd import kernels, reference
from convnd.kernels import direct
from convnd.kernels.conv import chosen
from convnd.layout import Layout, Ragged
from convnd.window import Window

conv_module = importlib.import_module("convnd.kernels.conv")

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}
# Kernel, shapes, and the direct ways that the batch goes: all samples are spanned, some, none.
CASES = {
    "bands": ((3, 8), [(9, 8), (4, 8), (1, 8)], {"spanned"}),
    "single": ((3, 1), [(9, 1), (4, 1)], {"spanned"}),
    "both axes": ((4, 8), [(4, 8), (4, 8)], {"spanned"}),
    "three axes": ((2, 3, 5), [(4, 6, 5), (2, 4, 5)], {"spanned"}),
    "some": ((3, 4), [(5, 7), (6, 4), (3, 5), (7, 4)], {"spanned", "direct"}),
    "none": ((3, 4), [(5, 7), (6, 5)], {"direct"}),
}


@pytest.fixture(params=CASES)
def case(request, rng):
    kernel, shapes, ways = CASES[request.param]
    window = Window.of(len(kernel), kernel, padding=[(1, 1)] + [(0, 0)] * (len(kernel) - 1))
    return window, shapes, ways, rng


def all_three(x, g, w, b, window):
    place = window.on(x.layout)
    return place, (
        kernels.conv(x.values, place, w, b, activation="relu", algorithm="direct"),
        kernels.conv_transpose(g, place, w, np.ones(w.shape[-2], w.dtype), algorithm="direct"),
        kernels.conv_weight(x.values, g, place, algorithm="direct"),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (3, 5), (16, 40)])
def test_all_three_agree_with_the_reference_and_keep_the_law(case, dtype, channels, filters):
    window, shapes, ways, rng = case
    x = Ragged.pack([rng.standard_normal((*shape, channels)).astype(dtype) for shape in shapes])
    w = rng.standard_normal((*window.kernel, channels, filters)).astype(dtype)
    b = rng.standard_normal(filters).astype(dtype)
    place = window.on(x.layout)
    g = Ragged(rng.standard_normal((place.output.positions, filters)).astype(dtype), place.output)
    place, (y, back, weight) = all_three(x, g.values, w, b, window)
    if (channels, filters) == (16, 40):
        assert set(chosen(place)) == ways
    settings = {"padding": window.padding}
    want_weight, doubles = np.zeros(w.shape), [a.astype(np.float64) for a in (w, b)]
    for n, shape in enumerate(shapes):
        y1, back1, _ = all_three(x[[n]], g[[n]].values, w, b, window)[1]
        assert np.array_equal(y1, Ragged(y, place.output)[[n]].values)
        assert np.array_equal(back1, Ragged(back, x.layout)[[n]].values)
        xs, gs = (batch.unpack()[n].astype(np.float64) for batch in (x, g))
        want = np.maximum(reference.conv(xs, *doubles, **settings), 0).reshape(-1, filters)
        np.testing.assert_allclose(y1, want, rtol=0, atol=TOLERANCE[dtype] * 20)
        want = reference.conv_transpose(gs, doubles[0], like=shape, **settings).reshape(-1, channels) + 1
        np.testing.assert_allclose(back1, want, rtol=0, atol=TOLERANCE[dtype] * 20)
        want_weight += reference.conv_weight(xs, gs, window.kernel, **settings)
    np.testing.assert_allclose(weight, want_weight, rtol=0, atol=TOLERANCE[dtype] * 20)


@pytest.mark.parametrize("kind", ["forward", "input", "weight"])
@pytest.mark.parametrize(
    ("kernel", "stride", "shapes"),
    [
        ((3, 16), (1, 1), [(64, 16), (30, 16)]),
        ((3, 4, 4), (1, 1, 1), [(400, 4, 4), (310, 4, 4)]),
        ((4, 16), (2, 1), [(2600, 16), (4000, 16)]),
        ((3, 4), (1, 1), [(50, 4), (40, 9), (33, 4), (1, 4)]),
    ],
    ids=["bands", "both axes", "a stride", "some"],
)
def test_what_is_left_is_winograds_where_that_is_quicker(kernel, stride, shapes, kind, rng):
    padding = [(1, 1)] + [(0, 0)] * (len(kernel) - 1)
    window = Window.of(len(kernel), kernel, stride=stride, padding=padding)
    x = Ragged.pack([rng.standard_normal((*shape, 16)).astype(np.float32) for shape in shapes])
    w = rng.standard_normal((*kernel, 16, 64)).astype(np.float32)

    def result(batch, grads, algorithm):
        place = window.on(Layout(batch.layout.shapes))
        if kind == "forward":
            y = Ragged(kernels.conv(batch.values, place, w, algorithm=algorithm), place.output)
        elif kind == "input":
            y = Ragged(kernels.conv_transpose(grads.values, place, w, algorithm=algorithm), batch.layout)
        else:
            y = kernels.conv_weight(batch.values, grads.values, place, algorithm=algorithm)
        return y, chosen(place)

    target = window.on(x.layout).output
    g = Ragged(rng.standard_normal((target.positions, 64)).astype(np.float32), target)
    y, ways = result(x, g, "auto")
    plain, _ = result(x, g, "direct")
    assert "spanned" in ways
    numbers, plain_numbers = (y, plain) if kind == "weight" else (y.values, plain.values)
    assert not np.array_equal(numbers, plain_numbers)
    np.testing.assert_allclose(numbers, plain_numbers, rtol=0, atol=2e-5 * np.abs(plain_numbers).max())
    if kind != "weight":
        for n in range(len(shapes)):
            assert np.array_equal(result(x[[n]], g[[n]], "auto")[0].values, y[[n]].values)


@pytest.mark.parametrize(("channels", "filters"), [(3, 3), (16, 40)])
def test_bits_are_those_of_all_axes(case, channels, filters, monkeypatch):
    """So that the last tile of a sample, one wide, agrees with the whole."""
    window, shapes, _, rng = case
    x = Ragged.pack([rng.standard_normal((*shape, channels)) for shape in shapes])
    g = rng.standard_normal((window.on(x.layout).output.positions, filters))
    w, b = rng.standard_normal((*window.kernel, channels, filters)), rng.standard_normal(filters)
    forth, back, _ = all_three(x, g, w, b, window)[1]
    monkeypatch.setattr(conv_module, "IMPLEMENTATIONS", (direct,))
    conv_module._operation.cache_clear()
    place, (plain_forth, plain_back, _) = all_three(Ragged(x.values, Layout(shapes)), g, w, b, window)
    conv_module._operation.cache_clear()
    assert chosen(place) == ["direct"]
    assert np.array_equal(forth, plain_forth)
    assert np.array_equal(back, plain_back)


def test_what_is_packed_is_kept_apart(rng):
    window = Window.of(2, (3, 4), padding=[(1, 1), (0, 0)])
    w, packs = rng.standard_normal((3, 4, 16, 40)), {}
    for width in (4, 6, 4):
        x = rng.standard_normal((5 * width, 16))
        place = window.on(Layout([(5, width)]))
        assert np.array_equal(kernels.conv(x, place, w, packs=packs), kernels.conv(x, place, w))


@pytest.mark.parametrize(
    "settings",
    [{"groups": 2}, {"flip": True}],
    ids=lambda settings: next(iter(settings)),
)
def test_it_leaves_alone_what_it_cannot_do(settings, rng):
    groups = settings.get("groups", 1)
    place = Window.of(2, (3, 4)).on(Layout([(5, 4)]))
    x, w = rng.standard_normal((20, 16)), rng.standard_normal((3, 4, 16 // groups, 40))
    y = kernels.conv(x, place, w, **settings)
    assert "spanned" not in chosen(place)
    flipped = w[::-1, ::-1] if settings.get("flip") else w
    want = reference.conv(x.reshape(5, 4, 16), flipped, groups=groups).reshape(-1, 40)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-12)


def test_holes_and_padding_are_not_spanned(rng):
    for window, shape in ((Window.of(2, (3, 2), dilation=(1, 3)), (5, 4)), (Window.of(2, 3, padding=1), (5, 1))):
        place = window.on(Layout([shape]))
        x, w = rng.standard_normal((place.input.positions, 16)), rng.standard_normal((*window.kernel, 16, 40))
        y = kernels.conv(x, place, w)
        assert "spanned" not in chosen(place)
        settings = {"padding": window.padding, "dilation": window.dilation}
        want = reference.conv(x.reshape(*shape, 16), w, **settings).reshape(-1, 40)
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-12)
