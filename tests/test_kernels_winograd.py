"""Winograd's convolution against the specification, on every instruction set and over random draws."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from convnd import kernels, ops, reference
from convnd.errors import ArgumentError, ShapeError
from convnd.kernels import winograd
from convnd.kernels.task import Operation, Problem, Side, Task
from convnd.layout import Layout, Memo, Ragged
from convnd.testing import check_law
from convnd.window import Window

ERROR = {np.float32: 1e-5, np.float64: 2e-14}  # relative, root mean square


pytestmark = pytest.mark.usefixtures("not_row_by_row")


def by_threads(call):
    """What a call gives on one, two and three threads."""
    before, found = kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            found.append(call())
    finally:
        kernels.set_num_threads(before)
    return found


def beside_a_line(positions, channels, dtype):
    """As kernels.checks.empty, but not at the start of a line."""
    return np.empty(positions * channels + 1, dtype)[1:].reshape(positions, channels)


class Draw:
    """A random convolution of stride 1 with a kernel of at most 5 taps an axis, 7 on one alone."""

    def __init__(self, rng, ndim, dtype):
        while True:
            self.layout = Layout(rng.integers(1, {1: 40, 2: 14, 3: 8, 4: 4}[ndim], (rng.integers(1, 4), ndim)))
            self.kernel = tuple(rng.integers(1, {1: 8, 2: 6, 3: 5, 4: 4}[ndim], ndim).tolist())
            self.settings = {
                "dilation": tuple(rng.integers(1, 4, ndim).tolist()),
                "padding": [
                    "valid", "same", "same_lower", "causal", "full", 1,
                    tuple((int(low), int(high)) for low, high in rng.integers(0, 4, (ndim, 2))),
                ][rng.integers(7)],
            }
            try:
                self.place = Window.of(ndim, self.kernel, 1, **self.settings).on(self.layout)
            except ShapeError:
                continue
            if max(self.kernel) > 1:
                break
        self.options = {"groups": int(rng.choice([1, 1, 2, 3])), "flip": bool(rng.integers(2))}
        channels, filters = rng.choice([1, 2, 5, 17]), rng.choice([1, 7, 9, 20])
        groups = self.options["groups"]
        self.x = rng.standard_normal((self.layout.positions, channels * groups)).astype(dtype)
        self.weight = rng.standard_normal((*self.kernel, channels, filters * groups)).astype(dtype)
        self.bias = rng.standard_normal(filters * groups).astype(dtype)
        self.grad = rng.standard_normal((self.place.output.positions, filters * groups)).astype(dtype)

    def all_three(self, algorithm):
        options = {"algorithm": algorithm, **self.options}
        return (
            kernels.conv(self.x, self.place, self.weight, self.bias, **options),
            kernels.conv_transpose(self.grad, self.place, self.weight, **options),
            kernels.conv_weight(self.x, self.grad, self.place, **options),
        )


def error(got, want):
    want = np.asarray(want, dtype=np.float64)
    return float(np.sqrt(np.mean((got - want) ** 2) / max(np.mean(want**2), 1e-30)))


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_three_agree_with_the_reference(level, ndim, dtype, rng):
    for _ in range({1: 16, 2: 8, 3: 4, 4: 3}[ndim]):
        d = Draw(rng, ndim, dtype)
        y, gx, gw = d.all_three("winograd")
        want = [[], [], np.zeros(gw.shape)]
        for n in range(len(d.layout)):
            x = Ragged(d.x, d.layout).unpack()[n].astype(np.float64)
            g = Ragged(d.grad, d.place.output).unpack()[n].astype(np.float64)
            weight, settings = d.weight.astype(np.float64), {**d.options, **d.settings}
            want[0].append(reference.conv(x, weight, d.bias, **settings).reshape(-1, y.shape[1]))
            want[1].append(
                reference.conv_transpose(g, weight, like=d.layout.shape(n), **settings).reshape(-1, gx.shape[1])
            )
            want[2] += reference.conv_weight(x, g, d.kernel, **settings)
        assert error(y, np.concatenate(want[0])) < ERROR[dtype]
        assert error(gx, np.concatenate(want[1])) < ERROR[dtype]
        assert error(gw, want[2]) < ERROR[dtype]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_large_draws_agree_with_direct_in_double_precision(ndim, rng):
    """Large enough for several blocks and threads. The oracle is the direct algorithm in the other precision."""
    size, channels, filters = {1: (3000, 40, 33), 2: (60, 24, 20), 3: (21, 16, 9)}[ndim]
    layout = Layout([[size] * ndim, [size - 7] * ndim])
    place = Window.of(ndim, 3, 1, "same").on(layout)
    x, g = (rng.standard_normal((layout.positions, c)).astype(np.float32) for c in (channels, filters))
    w = rng.standard_normal((*(3,) * ndim, channels, filters)).astype(np.float32)
    operands = {"conv": (x, place, w), "conv_transpose": (g, place, w), "conv_weight": (x, g, place)}
    for name, arguments in operands.items():
        doubled = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
        want = getattr(kernels, name)(*doubled, algorithm="direct")
        got = getattr(kernels, name)(*arguments, algorithm="winograd")
        assert error(got, want) < {1: 1.2e-6, 2: 1.5e-6, 3: 4e-6}[ndim]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["winograd", "auto"])
def test_law(level, ndim, algorithm, rng):
    """Also where "auto" chooses by a sample's own size, and for axes of one or two outputs, whose tiles are smaller."""
    w = rng.standard_normal((*(3,) * ndim, 33, 34)).astype(np.float32)
    sizes = [(9, 14, 6), (1, 1, 1), (2, 9, 5), (9, 14, 6), (13, 2, 3)]
    samples = [rng.standard_normal((*size[:ndim], 33)).astype(np.float32) for size in sizes]
    check_law(lambda x: ops.conv(x, w, padding="same", algorithm=algorithm, activation="relu"), samples)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_same_bits_for_any_number_of_threads(kind, rng):
    d = Draw(rng, 2, np.float32)
    d.options["groups"], d.kernel = 1, (3, 3)
    d.layout = Layout([[70, 61], [33, 90]])
    d.place = Window.of(2, 3, 1, "same").on(d.layout)
    d.x, d.grad = (rng.standard_normal((d.layout.positions, c)).astype(np.float32) for c in (24, 20))
    d.weight, d.bias = rng.standard_normal((3, 3, 24, 20)).astype(np.float32), np.ones(20, np.float32)
    found = by_threads(lambda: d.all_three("winograd")[kind])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_weight_that_the_threads_share_out_their_tiles_for(level, rng):
    """Its frequencies take more than 1 MB: blocks depend on the threads, and no bit of a sample does."""
    layout = Layout([[29, 31], [7, 50], [1, 3]])
    place = Window.of(2, 3, 1, "same").on(layout)
    x = rng.standard_normal((layout.positions, 80)).astype(np.float32)
    w = rng.standard_normal((3, 3, 80, 100)).astype(np.float32)
    found = by_threads(lambda: kernels.conv(x, place, w, algorithm="winograd"))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    for n in range(len(layout)):
        own = place.window.on(layout.take([n]))
        one = kernels.conv(Ragged(x, layout)[[n]].values, own, w, algorithm="winograd")
        assert np.array_equal(one, Ragged(found[0], place.output)[[n]].values)
    np.testing.assert_allclose(found[0], kernels.conv(x, place, w, algorithm="direct"), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weight_gradient_in_chunks(level, dtype, rng):
    """So many tiles of so few channels that each chunk of them has sums of its own: the same bits, and right."""
    layout = Layout([[200, 190], [130, 150], [1, 40]])
    place = Window.of(2, 3, 1, "same").on(layout)
    x, g = (rng.standard_normal((layout.positions, c)).astype(dtype) for c in (8, 12))
    found = by_threads(lambda: kernels.conv_weight(x, g, place, algorithm="winograd"))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    wanted = kernels.conv_weight(x.astype(np.float64), g.astype(np.float64), place, algorithm="direct")
    error = np.abs(found[0] - wanted).max() / np.abs(wanted).max()
    assert error < (1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize(
    ("shapes", "settings"),
    [
        ([(30000,), (1,), (25000,)], {"kernel": (3,), "padding": "same"}),
        ([(30000,), (24000,)], {"kernel": (2,), "dilation": 200, "padding": "causal"}),
        ([(230, 120), (130, 200)], {"kernel": (3, 3), "padding": 1}),
        ([(230, 120), (130, 200)], {"kernel": (3, 3), "dilation": (1, 2)}),
        ([(230, 120), (130, 201)], {"kernel": (4, 5), "stride": 2, "padding": 1}),
        ([(7, 90, 90)], {"kernel": (3, 1, 1), "padding": (1, 0, 0)}),
        ([(16, 60, 60)], {"kernel": (3, 3, 3), "padding": 1}),
        ([(16, 60, 61)], {"kernel": (2, 3, 1), "stride": (1, 2, 1)}),
    ],
    ids=["line", "dilated line", "plane", "dilated plane", "phases", "another axis", "volume", "phases of an axis"],
)
def test_inputs_that_memory_is_asked_for_ahead(shapes, settings, rng):
    """What a block reads is asked for while the one before it is computed, from some MB on."""
    layout = Layout(shapes)
    place = Window.of(layout.ndim, **settings).on(layout)
    x = rng.standard_normal((layout.positions, 64)).astype(np.float32)
    weight = rng.standard_normal((*settings["kernel"], 64, 64)).astype(np.float32)
    grad = rng.standard_normal((place.output.positions, 64)).astype(np.float32)
    assert x.nbytes > 10 << 20
    for call in (
        lambda algorithm: kernels.conv(x, place, weight, algorithm=algorithm),
        lambda algorithm: kernels.conv_transpose(grad, place, weight, algorithm=algorithm),
        lambda algorithm: kernels.conv_weight(x, grad, place, algorithm=algorithm),
    ):
        got = by_threads(lambda call=call: call("winograd"))
        assert error(got[0], call("direct")) < ERROR[np.float32]
        assert np.array_equal(got[0], got[1])
        assert np.array_equal(got[0], got[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "shapes", "settings", "channels", "filters", "groups"),
    [
        ("forward", [(150, 161), (5, 6)], {"kernel": (3, 3), "padding": 1}, 16, 48, 1),
        ("forward", [(150, 161)], {"kernel": (3, 2)}, 16, 64, 2),
        ("forward", [(11000,), (13003,)], {"kernel": 5}, 8, 48, 1),
        ("forward", [(11000,), (13003,)], {"kernel": 3, "dilation": 7}, 16, 96, 2),
        ("transposed", [(21, 162, 16), (3, 4, 5)], {"kernel": (2, 4, 4), "stride": (1, 2, 2)}, 32, 8, 1),
        ("weight", [(6, 7), (5, 6)], {"kernel": (3, 3), "padding": 1}, 256, 512, 1),
        ("weight", [(6, 7)], {"kernel": (3, 3), "padding": 1}, 256, 500, 1),  # rows that aren't whole lines
        ("weight", [(6, 7)], {"kernel": (3, 3), "padding": 1}, 512, 608, 2),
        ("weight", [(300,), (33,)], {"kernel": 5}, 416, 512, 1),
        ("weight", [(4, 4, 5)], {"kernel": (3, 3, 3), "padding": 1}, 128, 304, 1),
    ],
)
def test_results_that_go_past_the_caches(
    kind, shapes, settings, channels, filters, groups, dtype, level, rng, monkeypatch
):
    """From some MB on; not where they don't lie at the start of a line, which no bit depends on."""
    layout = Layout(shapes)
    place = Window.of(layout.ndim, **settings).on(layout)
    x = rng.standard_normal((layout.positions, channels)).astype(dtype)
    weight = rng.standard_normal((*place.window.kernel, channels // groups, filters)).astype(dtype)
    grad = rng.standard_normal((place.output.positions, filters)).astype(dtype)

    def call(algorithm="winograd"):
        if kind == "weight":
            return kernels.conv_weight(x, grad, place, groups=groups, algorithm=algorithm)
        if kind == "forward":
            return kernels.conv(x, place, weight, groups=groups, algorithm=algorithm)
        return kernels.conv_transpose(grad, place, weight, groups=groups, algorithm=algorithm)

    got = by_threads(call)
    assert got[0].nbytes > 4 << 20
    assert error(got[0], call("direct")) < ERROR[dtype]
    assert np.array_equal(got[0], got[1])
    assert np.array_equal(got[0], got[2])
    monkeypatch.setattr(importlib.import_module("convnd.kernels.conv"), "empty", beside_a_line)
    assert np.array_equal(got[0], call())


@pytest.mark.parametrize("filters", [512, 520])  # of 520 the last panel may be half a line wide
@pytest.mark.parametrize("kind", ["forward", "transposed"])
def test_a_weight_whose_frequencies_go_past_the_caches(kind, filters, rng, monkeypatch):
    place = Window.of(2, 3, padding=1).on(Layout([[4, 5]]))
    weight = rng.standard_normal((3, 3, filters, filters)).astype(np.float32)
    x = rng.standard_normal((20, filters)).astype(np.float32)
    call = kernels.conv if kind == "forward" else kernels.conv_transpose
    got = call(x, place, weight, algorithm="winograd")
    wanted = call(x.astype(np.float64), place, weight.astype(np.float64), algorithm="direct")
    assert error(got, wanted) < ERROR[np.float32]
    monkeypatch.setattr(winograd, "empty", beside_a_line)
    assert np.array_equal(got, call(x, place, weight, algorithm="winograd"))


def test_a_mixed_batch_is_divided_by_the_samples_own_sizes(rng):
    """In the weight gradient too, whose parts are added."""
    layout = Layout([[40, 40], [1, 1], [2, 30], [40, 40]])
    place = Window.of(2, 3, 1, "same").on(layout)
    x, g = (rng.standard_normal((layout.positions, c)) for c in (32, 40))
    got = kernels.conv_weight(x, g, place)
    assert kernels.chosen(place) == ["direct", "winograd"]
    assert error(got, kernels.conv_weight(x, g, place, algorithm="direct")) < 1e-13


def test_it_never_takes_what_never_pays(rng):
    """What is found out once, for samples of any size, is what their own sizes say."""
    answers = []
    for _ in range(300):
        rank = int(rng.integers(1, 4))
        geometry = np.array([rng.integers(1, 6, rank), np.ones(rank, np.int64), rng.integers(1, 4, rank)])
        channels, filters = (int(c) for c in rng.integers(1, 100, 2))
        kind = ("forward", "transposed", "weight")[int(rng.integers(3))]
        operation = Operation(kind, geometry, channels, filters, 1, np.dtype(np.float32))
        shapes = rng.integers(1, 60, (20, rank))
        side = Side(shapes, np.zeros(21, np.int64))
        task = Task(Problem(operation, side, side, np.zeros_like(shapes)), np.empty(0), np.empty(0))
        if winograd.refuses(task) is None:
            answers.append(winograd.takes(task) is False)
            operation.memo[winograd._Costs] = replace(winograd._Costs.of(task), never=False)
            assert not answers[-1] or not np.any(winograd.takes(task))
    assert 0 < sum(answers) < len(answers)


def test_packed_frequencies_are_kept(rng):
    place = Window.of(2, 3, 1, "same").on(Layout.dense(2, (9, 9)))
    x, w, packs = rng.standard_normal((162, 16)), rng.standard_normal((3, 3, 16, 16)), {}
    first = kernels.conv(x, place, w, algorithm="winograd", packs=packs)
    assert len(packs) == 1
    w[:] = 0
    assert np.array_equal(kernels.conv(x, place, w, algorithm="winograd", packs=packs), first)
    assert not kernels.conv(x, place, w, algorithm="winograd", packs={}).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 2, "kernel": 1}, r"winograd needs stride 1, not \(2, 2\)"),
        ({"kernel": 7, "groups": 2}, r"1 to 5 taps on each axis and 2 on some, not \(7, 7\)"),
        ({"kernel": 1}, r"1 to 5 taps on each axis and 2 on some, not \(1,"),
    ],
)
def test_what_it_refuses(settings, message):
    kernel, groups = settings.get("kernel", 3), settings.get("groups", 1)
    with pytest.raises(ArgumentError, match=f"algorithm='winograd' can't do this convolution: .*{message}"):
        ops.conv(
            np.ones((1, 9, 9, 2)), np.ones((kernel, kernel, 2 // groups, 2)), stride=settings.get("stride", 1),
            groups=groups, algorithm="winograd",
        )


@pytest.mark.parametrize(("channels", "taken"), [(1, False), (2, False), (64, True), (256, True)])
def test_auto_takes_it_with_many_channels(channels, taken, rng):
    place = replace(Window.of(2, 3).on(Layout.dense(1, (28, 28))), memo=Memo())
    kernels.conv(rng.standard_normal((28 * 28, channels)), place, rng.standard_normal((3, 3, channels, 64)))
    assert (kernels.chosen(place) == ["winograd"]) == taken


def low_task(monkeypatch, shapes, kernel, filters, kind="forward", padding="same", channels=16, groups=1):
    monkeypatch.setattr(winograd.isa, "units", lambda: "2x512")
    monkeypatch.setattr(winograd.isa, "lanes", lambda size: 64 // size)
    place = Window.of(len(kernel), kernel, padding=padding).on(Layout(shapes))
    sides = [Side(layout.shapes, layout.offsets) for layout in (place.input, place.output)]
    operation = Operation(kind, place.window.rows[:3], channels, filters, groups, np.dtype(np.float32))
    problem = Problem(operation, *(sides[::-1] if kind == "transposed" else sides), place.low)
    x = np.zeros((int(problem.source.offsets[-1]), channels), np.float32)
    return Task(problem, x, x)


def tiles_of(source, target, low, kernel):
    """Direct tiles: a row's outputs that have all its taps, and others with those below that lack the same taps."""
    def lacking(at, axis):
        first = at - low[axis]
        return min(first, 0), max(first + kernel[axis] - source[axis], 0)

    tiles, last = set(), len(target) - 1
    for *planes, i, j in np.ndindex(*target):
        inner = lacking(j, last)
        tiles.add((*planes, i) if inner == (0, 0) else (*planes, j, inner, lacking(i, last - 1)))
    return len(tiles)


@pytest.mark.parametrize("kind", ["forward", "transposed"])
@pytest.mark.parametrize("padding", ["same", "valid", "full", "causal"])
def test_low_direct_tiles_wait(kind, padding, monkeypatch):
    for kernel in ((3, 3, 3), (2, 5, 3), (3, 1, 5)):
        # Sizes as rules see them.
        targets = np.array([[3, 4, 2], [6, 2, 3], [1, 8, 4], [2, 3, 8], [4, 8, 6], [3, 6, 4]])
        reach = np.array(kernel) - 1
        grows = {"same": 0, "causal": 0, "valid": reach, "full": -reach}[padding]
        sources = targets + (-1 if kind == "transposed" else 1) * grows
        some = (sources > 0).all(axis=1)
        shapes = (targets if kind == "transposed" else sources)[some]
        assert some.any()
        for filters, least in ((16, 4), (64, 2.5)):
            task = low_task(monkeypatch, shapes, kernel, filters, kind, padding)
            before = reach - task.low if kind == "transposed" else task.low
            wanted = [
                max(least * tiles_of(source, target, low, kernel) / np.prod(target), 1)
                for source, target, low in zip(task.source.shapes, task.target.shapes, before, strict=True)
            ]
            np.testing.assert_allclose(winograd.waiting(task), wanted)


def test_what_does_not_wait(monkeypatch):
    assert (winograd.waiting(low_task(monkeypatch, [[32, 32, 32]], (3, 3, 3), 64)) == 1).all()
    assert winograd.waiting(low_task(monkeypatch, [[3, 4, 2]], (3, 3, 3), 16, "weight")) == 1
    assert winograd.waiting(low_task(monkeypatch, [[4, 2]], (3, 3), 16)) == 1


def test_never_is_never(monkeypatch, rng):
    """What is left out from the start isn't expected to gain."""
    for _ in range(200):
        channels, filters = (2 * int(n) for n in rng.integers(1, 40, 2))
        shapes = rng.integers(1, 8, (5, 3))
        kernel = tuple(int(n) for n in rng.integers(1, 4, 3))
        kind = "forward" if rng.random() < 0.5 else "transposed"
        task = low_task(monkeypatch, shapes, kernel, filters, kind, channels=channels, groups=int(rng.integers(1, 3)))
        if max(kernel) > 1 and winograd._Costs.of(task).never:
            assert (winograd.gain(task) <= 1.0001).all()
