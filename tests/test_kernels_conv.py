"""The compiled convolutions against the specification, on every instruction set and over random draws."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd._core import isa
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.window import Window

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-13}


@pytest.fixture
def threads():
    """threads(n) makes OpenMP give n threads, whatever the machine has."""
    with ExitStack() as stack:

        def use(n):
            stack.enter_context(threadpool_limits(limits=n, user_api="openmp"))
            assert kernels.get_num_threads() == n

        yield use


class Draw:
    """A random convolution: window, batch, groups and operands."""

    def __init__(self, rng, ndim, dtype):
        while True:
            self.layout = Layout(rng.integers(1, {1: 40, 2: 13, 3: 7, 4: 4}[ndim], (rng.integers(1, 4), ndim)))
            self.settings = {
                "stride": tuple(rng.integers(1, 4, ndim).tolist()),
                "dilation": tuple(rng.integers(1, 4, ndim).tolist()),
                "padding": [
                    "valid", "same", "same_lower", "causal", "full", 1,
                    tuple((int(low), int(high)) for low, high in rng.integers(0, 4, (ndim, 2))),
                ][rng.integers(7)],
            }
            self.kernel = tuple(rng.integers(1, {1: 9, 2: 5, 3: 4, 4: 3}[ndim], ndim).tolist())
            try:
                self.place = Window.of(ndim, self.kernel, **self.settings).on(self.layout)
            except ShapeError:
                continue
            break
        self.groups = int(rng.choice([1, 1, 2, 3]))
        channels, filters = rng.choice([1, 2, 5, 16, 17]), rng.choice([1, 3, 7, 9, 16, 20])
        if rng.random() < 0.25:  # depthwise
            self.groups, channels, filters = int(rng.integers(2, 40)), 1, 1
        self.x = rng.standard_normal((self.layout.positions, channels * self.groups)).astype(dtype)
        self.weight = rng.standard_normal((*self.kernel, channels, filters * self.groups)).astype(dtype)
        self.bias = rng.standard_normal(filters * self.groups).astype(dtype)
        self.grad = rng.standard_normal((self.place.output.positions, filters * self.groups)).astype(dtype)

    def sample(self, values, layout, number):
        offsets = layout.offsets
        return values[offsets[number] : offsets[number + 1]].reshape(*layout.shape(number), -1)


def close(got, want, dtype):
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * scale * 10)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_three_agree_with_the_reference(level, ndim, dtype, rng):
    for _ in range({1: 12, 2: 6, 3: 4, 4: 3}[ndim]):
        d = Draw(rng, ndim, dtype)
        y = kernels.conv(d.x, d.place, d.weight, d.bias, groups=d.groups)
        gx = kernels.conv_transpose(d.grad, d.place, d.weight, groups=d.groups)
        gw = kernels.conv_weight(d.x, d.grad, d.place, groups=d.groups)
        want_weight = np.zeros(d.weight.shape)
        for n in range(len(d.layout)):
            x, g = d.sample(d.x, d.layout, n), d.sample(d.grad, d.place.output, n)
            wanted = reference.conv(x, d.weight, d.bias, groups=d.groups, **d.settings)
            close(d.sample(y, d.place.output, n), wanted, dtype)
            wanted = reference.conv_transpose(g, d.weight, groups=d.groups, like=d.layout.shape(n), **d.settings)
            close(d.sample(gx, d.layout, n), wanted, dtype)
            want_weight += reference.conv_weight(x, g, d.kernel, groups=d.groups, **d.settings)
        close(gw, want_weight, dtype)


@pytest.mark.parametrize("ndim", [1, 2, 3, 4, 5])
def test_adjoint_identities(level, ndim, rng):
    """<conv(x, w), g> = <x, conv_transpose(g, w)> = <w, conv_weight(x, g)>."""
    for _ in range(6):
        d = Draw(rng, min(ndim, 4), np.float64)
        if ndim == 5:
            d.layout = Layout(rng.integers(3, 5, (2, 5)))
            d.place = Window.of(5, 2, 1, "same").on(d.layout)
            d.groups = 1
            d.x, d.weight = rng.standard_normal((d.layout.positions, 2)), rng.standard_normal((2,) * 5 + (2, 3))
            d.grad = rng.standard_normal((d.place.output.positions, 3))
        left = float((kernels.conv(d.x, d.place, d.weight, groups=d.groups) * d.grad).sum())
        scale = np.abs(d.x).sum() * np.abs(d.weight).max()
        right = float((d.x * kernels.conv_transpose(d.grad, d.place, d.weight, groups=d.groups)).sum())
        assert abs(left - right) <= 1e-12 * scale
        right = float((d.weight * kernels.conv_weight(d.x, d.grad, d.place, groups=d.groups)).sum())
        assert abs(left - right) <= 1e-12 * scale


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_law_a_sample_alone_and_in_a_batch(level, ndim, rng):
    for _ in range(5):
        d = Draw(rng, ndim, np.float32)
        y = kernels.conv(d.x, d.place, d.weight, d.bias, groups=d.groups, activation="relu")
        gx = kernels.conv_transpose(d.grad, d.place, d.weight, groups=d.groups)
        for n in range(len(d.layout)):
            alone = d.place.window.on(d.layout.take([n]))
            x, g = d.sample(d.x, d.layout, n), d.sample(d.grad, d.place.output, n)
            x, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
            got = kernels.conv(x, alone, d.weight, d.bias, groups=d.groups, activation="relu")
            assert np.array_equal(got, d.sample(y, d.place.output, n).reshape(got.shape))
            got = kernels.conv_transpose(g, alone, d.weight, groups=d.groups)
            assert np.array_equal(got, d.sample(gx, d.layout, n).reshape(got.shape))


@pytest.mark.parametrize("filters", [1, 2, 3, 4])
def test_vectors_along_positions_give_the_bits_of_vectors_along_filters(level, filters, rng):
    place = Window.of(2, (3, 5), 1, "same").on(Layout([[6, 203], [5, 9], [7, 3]]))
    x = rng.standard_normal((place.input.positions, 1)).astype(np.float32)
    w = rng.standard_normal((3, 5, 1, 20)).astype(np.float32)
    bias = rng.standard_normal(20).astype(np.float32)
    for name in (None, "relu"):
        all_filters = kernels.conv(x, place, w, bias, activation=name, algorithm="direct")
        few = kernels.conv(x, place, np.ascontiguousarray(w[..., :filters]), bias[:filters], activation=name)
        assert np.array_equal(few, all_filters[:, :filters])


@pytest.mark.parametrize(("kernel", "stride"), [((1, 1), 2), ((2, 2), 3), ((1, 3), (2, 1)), ((1, 1, 1), 2)])
def test_phases_that_no_tap_reaches(level, kernel, stride, rng):
    """The input's gradient of strides above the kernel's size, with several rows in each phase."""
    shape = (8, 9, 6)[: len(kernel)]
    place = Window.of(len(kernel), kernel, stride).on(Layout([shape]))
    g, w = rng.standard_normal((place.output.positions, 40)), rng.standard_normal((*kernel, 16, 40))
    want = reference.conv_transpose(g.reshape(*place.output.shape(0), 40), w, like=shape, stride=stride)
    np.testing.assert_allclose(kernels.conv_transpose(g, place, w), want.reshape(-1, 16), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shapes", "kernel", "settings"),
    [
        ([(17, 203), (5, 9), (2, 90), (1, 70)], (3, 5), {"padding": "same"}),
        ([(9, 100), (12, 77)], (5, 1), {}),
        ([(9, 100), (14, 77)], (2, 3), {"dilation": (1, 2)}),
        ([(20, 100), (14, 77)], (3, 3), {"dilation": (2, 1)}),
        ([(20, 100), (14, 77)], (3, 3), {"stride": (2, 1)}),
        ([(4, 9, 80), (3, 7, 66)], (2, 3, 4), {"padding": 1}),
        ([(4, 9, 80)], (1, 4, 2), {"stride": (2, 1, 1)}),
        ([(2, 3, 7, 70)], (2, 2, 2, 2), {}),
    ],
    ids=["plane", "column", "dilated row", "dilated column", "stride", "volume", "flat", "four axes"],
)
def test_rows_below_each_other_have_the_bits_of_one(level, shapes, kernel, settings, dtype, rng):
    """One channel and one filter: an input serves several rows."""
    place = Window.of(len(kernel), kernel, **settings).on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, 1)).astype(dtype)
    g = rng.standard_normal((place.output.positions, 1)).astype(dtype)
    w, bias = rng.standard_normal((*kernel, 1, 20)).astype(dtype), rng.standard_normal(20).astype(dtype)
    one = np.ascontiguousarray(w[..., :1])
    for name in (None, "relu"):
        y = kernels.conv(x, place, one, bias[:1], activation=name)
        many = kernels.conv(x, place, w, bias, activation=name, algorithm="direct")
        assert np.array_equal(y, many[:, :1])
    back = kernels.conv_transpose(g, place, one)
    many = np.ascontiguousarray(np.repeat(one, 20, axis=-2))
    assert np.array_equal(back, kernels.conv_transpose(g, place, many, algorithm="direct")[:, :1])


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_groups(level, size, dtype, rng):
    """As each group by itself, forward and transposed, with panels that are full and not."""
    for groups in (2, 5, 9):
        place = Window.of(2, (3, 2), (1, 2), "same").on(Layout([[7, 15], [4, 3]]))
        x = rng.standard_normal((place.input.positions, groups * size)).astype(dtype)
        w = rng.standard_normal((3, 2, size, groups * size)).astype(dtype)
        bias = rng.standard_normal(groups * size).astype(dtype)
        g = rng.standard_normal((place.output.positions, groups * size)).astype(dtype)
        y = kernels.conv(x, place, w, bias, groups=groups, activation="relu")
        gx = kernels.conv_transpose(g, place, w, groups=groups)
        for part in (slice(first, first + size) for first in range(0, groups * size, size)):
            alone = kernels.conv(x[:, part], place, w[..., part], bias[part], activation="relu", algorithm="direct")
            close(y[:, part], alone, dtype)
            close(gx[:, part], kernels.conv_transpose(g[:, part], place, w[..., part]), dtype)


@pytest.mark.parametrize("filters", [1, 3, 5])
def test_few_filters_of_many_channels_with_bias_and_activation(level, filters, rng):
    place = Window.of(2, 3, 1, "same").on(Layout([[9, 40], [4, 7]]))
    x = rng.standard_normal((place.input.positions, 32))
    w, bias = rng.standard_normal((3, 3, 32, filters)), rng.standard_normal(filters)
    plain = kernels.conv(x, place, w, bias)
    for name, wanted in (("relu", np.maximum(plain, 0)), ("tanh", np.tanh(plain))):
        np.testing.assert_allclose(kernels.conv(x, place, w, bias, activation=name), wanted, rtol=0, atol=1e-15)
    np.testing.assert_allclose(kernels.conv(x, place, w) + bias, plain, rtol=0, atol=1e-12)


LARGE = [  # (shapes, channels, filters, kernel, settings): large enough to run parallel
    ([[4000], [1], [2777]], 16, 24, (9,), {"padding": "same"}),
    ([[120, 91], [73, 70]], 20, 33, (3, 3), {"padding": "same", "stride": 2}),
    ([[20, 17, 18], [9, 30, 12]], 8, 16, (3, 3, 3), {"padding": 1}),
    ([[2090], [64], [6000]], 32, 32, (1,), {}),
    ([[4000], [15], [6001]], 1, 32, (40,), {"stride": 4, "padding": "same"}),
    ([[80, 70], [70, 40]], 48, 48, (5, 5), {"padding": "same", "groups": 12}),
    ([[80, 91], [173, 70]], 64, 3, (5, 5), {"padding": "same"}),
    ([[80, 70], [70, 40]], 48, 48, (5, 5), {"padding": "same", "groups": 48}),
]


@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{len(case[3])}d-{case[3][0]}")
def test_the_same_bits_for_any_number_of_threads(level, case, rng, threads):
    shapes, channels, filters, kernel, settings = case
    settings = dict(settings)
    groups = settings.pop("groups", 1)
    place = Window.of(len(kernel), kernel, **settings).on(Layout(shapes))
    x = rng.standard_normal((place.input.positions, channels)).astype(np.float32)
    w = rng.standard_normal((*kernel, channels // groups, filters)).astype(np.float32)
    g = rng.standard_normal((place.output.positions, filters)).astype(np.float32)
    results = []
    for n in (1, 2, 5):
        threads(n)
        results.append((
            kernels.conv(x, place, w, groups=groups),
            kernels.conv_transpose(g, place, w, groups=groups),
            kernels.conv_weight(x, g, place, groups=groups),
        ))
    for other in results[1:]:
        for one, many in zip(results[0], other, strict=True):
            assert np.array_equal(one, many)


@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{len(case[3])}d-{case[3][0]}")
def test_law_on_draws_that_run_parallel(case, rng, threads):
    """Samples in another order, and each alone, have the bits they have in the batch."""
    shapes, channels, filters, kernel, settings = case
    settings = dict(settings)
    groups = settings.pop("groups", 1)
    window = Window.of(len(kernel), kernel, **settings)
    place = window.on(Layout(shapes))
    x = Ragged(rng.standard_normal((place.input.positions, channels)).astype(np.float32), place.input)
    w = rng.standard_normal((*kernel, channels // groups, filters)).astype(np.float32)
    threads(2)
    y = Ragged(kernels.conv(x.values, place, w, groups=groups), place.output)
    for chosen in [[0], [len(shapes) - 1], list(range(len(shapes)))[::-1]]:
        part = x[chosen]
        got = kernels.conv(part.values, window.on(part.layout), w, groups=groups)
        assert np.array_equal(got, y[chosen].values)


def test_threads_are_really_used():
    """The test above means nothing where every run is serial."""
    code = (
        "import os, numpy as np\n"
        "from convnd import kernels\n"
        "from convnd.layout import Layout\n"
        "from convnd.window import Window\n"
        "place = Window.of(1, 9, 1, 'same').on(Layout([[4000]]))\n"
        "x, w = np.ones((4000, 16), 'f'), np.ones((9, 16, 24), 'f')\n"
        "kernels.conv(x, place, w)\n"
        "print(len(os.listdir('/proc/self/task')))\n"
    )
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("counting a process's threads needs /proc")
    def count(n):
        env = {**os.environ, "OMP_NUM_THREADS": str(n), "OPENBLAS_NUM_THREADS": "1"}
        return int(subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout)
    assert count(3) == count(1) + 2


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "elu"])
@pytest.mark.parametrize("filters", [3, 8, 16, 21])
def test_fused_activation_is_that_of_the_plain_result(level, activation, filters, rng):
    place = Window.of(1, 5, 1, "same").on(Layout([[3], [20]]))
    x = rng.standard_normal((23, 4)).astype(np.float32)
    w = rng.standard_normal((5, 4, filters)).astype(np.float32)
    plain = kernels.conv(x, place, w)
    fused = kernels.conv(x, place, w, activation=activation)
    assert np.array_equal(fused, kernels.activate(plain, activation))
    assert not np.array_equal(fused, plain)


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "algorithm"),
    [(3, 32, 1, "direct"), (8, 48, 1, "direct"), (4, 64, 2, "direct"), (3, 40, 1, "direct"), (4, 80, 2, "direct"),
     (64, 64, 16, "direct"), (64, 64, 8, "direct"), (40, 40, 10, "direct"), (8, 48, 1, "winograd"),
     (32, 64, 2, "winograd"), (3, 40, 1, "winograd")],
)  # fmt: skip
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_results_that_go_past_the_caches_have_the_bits_of_those_that_dont(
    level, channels, filters, groups, algorithm, activation, rng, threads
):
    long, short = 40_003, 517  # together above the 4 MB from which they do
    x = rng.standard_normal((long + short, channels)).astype(np.float32)
    weight = rng.standard_normal((3, channels // groups, filters)).astype(np.float32)
    bias = rng.standard_normal(filters).astype(np.float32)
    window = Window.of(1, 3, padding="same")
    settings = {"groups": groups, "activation": activation, "algorithm": algorithm}
    threads(2)
    whole = kernels.conv(x, window.on(Layout([[long], [short]])), weight, bias, **settings)
    assert whole.nbytes > 4 << 20
    alone = kernels.conv(x[long:], window.on(Layout([[short]])), weight, bias, **settings)
    assert (whole[long:] == alone).all()
    part = kernels.conv(x[: short + 1], window.on(Layout([[short + 1]])), weight, bias, **settings)
    same = short if algorithm == "direct" else short - 8  # the last tile's outputs meet other inputs
    assert (whole[:same] == part[:same]).all()


def test_flip_is_the_flipped_weight(rng):
    place = Window.of(2, (3, 2), 2, "same").on(Layout([[5, 6]]))
    x, w = rng.standard_normal((30, 4)), rng.standard_normal((3, 2, 4, 5))
    g = rng.standard_normal((place.output.positions, 5))
    flipped = np.flip(w, (0, 1))
    assert np.array_equal(kernels.conv(x, place, w, flip=True), kernels.conv(x, place, flipped))
    assert np.array_equal(kernels.conv_transpose(g, place, w, flip=True), kernels.conv_transpose(g, place, flipped))
    plain = kernels.conv_weight(x, g, place)
    assert np.array_equal(kernels.conv_weight(x, g, place, flip=True), np.flip(plain, (0, 1)))


def test_packs_are_reused_and_follow_the_instruction_set(rng):
    place = Window.of(1, 3).on(Layout([[9]]))
    x, w = rng.standard_normal((9, 2)), rng.standard_normal((3, 2, 4))
    packs = {}
    first = kernels.conv(x, place, w, packs=packs)
    assert len(packs) == 1
    w[:] = 0  # unseen: whoever changes a weight empties its packs
    assert np.array_equal(kernels.conv(x, place, w, packs=packs), first)
    assert not kernels.conv(x, place, w, packs={}).any()


def test_denormals_are_flushed_and_the_callers_state_is_put_back(level):
    tiny = np.full((40, 1), 1e-40, dtype=np.float32)
    place = Window.of(1, 3).on(Layout([[40]]))
    y = kernels.conv(tiny, place, np.full((3, 1, 1), 0.5, dtype=np.float32))
    assert not y.any()
    assert (tiny * np.float32(0.5)).all()


def test_a_fork_after_a_parallel_region_runs():
    code = (
        "import os, sys, numpy as np\n"
        "from convnd import kernels\n"
        "from convnd.layout import Layout\n"
        "from convnd.window import Window\n"
        "place = Window.of(1, 9, 1, 'same').on(Layout([[40000]]))\n"
        "x, w = np.ones((40000, 16), 'f'), np.ones((9, 16, 24), 'f')\n"
        "before = kernels.conv(x, place, w)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if np.array_equal(kernels.conv(x, place, w), before) else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, timeout=60).returncode == 0


def test_empty_batches_have_empty_results_and_zero_gradients(level):
    for kernel in (1, 3):
        place = Window.of(1, kernel).on(Layout(np.zeros((0, 1), dtype=np.int64)))
        x, w = np.empty((0, 2), np.float32), np.ones((kernel, 2, 4), np.float32)
        assert kernels.conv(x, place, w).shape == (0, 4)
        assert kernels.conv_transpose(np.empty((0, 4), np.float32), place, w).shape == (0, 2)
        gradient = kernels.conv_weight(x, np.empty((0, 4), np.float32), place)
        assert gradient.shape == w.shape
        assert not gradient.any()


def test_a_stride_above_the_size_costs_only_the_size():
    """The input gradient runs phase by phase; phases without positions are not visited."""
    place = Window.of(3, 1, 10**6).on(Layout([[4, 5, 6]]))
    gradient = kernels.conv_transpose(np.ones((1, 1)), place, np.full((1, 1, 1, 1, 1), 2.0))
    assert gradient.shape == (120, 1)
    assert gradient[0] == 2
    assert not gradient[1:].any()


def test_more_axes_than_the_core_holds_are_refused():
    place = Window.of(17, 1).on(Layout([[1] * 17]))
    with pytest.raises(ShapeError, match="at most 16 spatial axes"):
        kernels.conv(np.ones((1, 1)), place, np.ones((1,) * 19))
    place = Window.of(16, 2, 1, "same").on(Layout([[2] + [1] * 15]))
    assert np.array_equal(kernels.conv(np.ones((2, 1)), place, np.ones((2,) * 16 + (1, 1))), [[2], [1]])


def test_isa_is_chosen_by_the_environment():
    env = {**os.environ, "CONVND_ISA": isa.built()[0]}
    code = "from convnd._core import isa; print(isa.current())"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stdout.strip() == isa.built()[0]
    run = subprocess.run([sys.executable, "-c", code], env={**env, "CONVND_ISA": "vax"}, capture_output=True, text=True)
    assert run.returncode != 0
    assert "CONVND_ISA" in run.stderr
    assert "vax" in run.stderr


def test_bad_arguments_are_named(rng):
    place = Window.of(1, 3).on(Layout([[9]]))
    x, w = rng.standard_normal((9, 4)), rng.standard_normal((3, 4, 6))
    with pytest.raises(DtypeError, match=r"weight\.astype\('float64'\)"):
        kernels.conv(x, place, w.astype(np.float32))
    with pytest.raises(DtypeError, match=r"int64"):
        kernels.conv(x.astype(np.int64), place, w)
    with pytest.raises(ShapeError, match=r"x must have 4 channels.*Received: 3"):
        kernels.conv(x[:, :3], place, w)
    with pytest.raises(ShapeError, match=r"kernel \(3,\)"):
        kernels.conv(x, place, w[:2])
    with pytest.raises(ArgumentError, match="groups=4"):
        kernels.conv(x, place, w, groups=4)
    with pytest.raises(ShapeError, match=r"bias must have shape \(6,\)"):
        kernels.conv(x, place, w, np.zeros(5))
    with pytest.raises(ArgumentError, match="gelu"):
        kernels.conv(x, place, w, activation="gelu")
    with pytest.raises(ShapeError, match="sample 1 is too short"):
        Window.of(1, 3).on(Layout([[9], [2]]))
