"""The weight gradient's ways through memory, each against the specification in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from convnd import kernels, reference
from convnd.layout import Layout
from convnd.window import Window

CASES = {  # shapes, channels, filters, kernel, settings
    "rows of any taps": ([[37, 41], [9, 80]], 3, 20, (5, 4), {"padding": "same"}),
    "a waveform": ([[2100], [87], [300]], 1, 21, (80,), {"stride": 4}),
    "tap by tap": ([[14, 14], [7, 9], [30, 3]], 40, 37, (3, 3), {"padding": 1}),
    "many samples in a unit": ([[5, 4]] * 9 + [[3, 3]] * 8, 12, 16, (3, 3), {"padding": "same"}),
    "pieces on three axes": ([[7, 9, 11], [4, 20, 6]], 9, 17, (3, 2, 3), {"padding": "full"}),
    "gradient in place": ([[600], [41]], 24, 16, (3,), {"padding": "same"}),
    "one vector in place": ([[23, 31]], 5, 8, (3, 3), {"padding": 1, "dilation": 2}),
    "taps far apart": ([[1500], [900]], 16, 24, (3,), {"padding": "same", "dilation": 400}),
    "rows far apart": ([[60, 8]], 4, 9, (3, 2), {"padding": "full", "dilation": (25, 1)}),
    "inputs skipped": ([[40, 45], [21, 33]], 18, 12, (1, 1), {"stride": 3}),
    "few filters": ([[40, 30], [5, 5]], 33, 3, (3, 3), {"padding": (1, 0)}),
    "filters that fill vectors less than channels": ([[40], [7]], 64, 20, (3,), {"padding": 1}),
    "few filters, dilated": ([[300], [19]], 16, 1, (4,), {"padding": "causal", "dilation": 3}),
    "few filters, strided": ([[300], [19]], 16, 2, (4,), {"padding": 2, "stride": 2}),
    "one to one": ([[70, 90], [3, 20]], 1, 1, (2, 3), {"padding": "same"}),
    "one to one, strided": ([[5000], [40]], 1, 1, (9,), {"padding": 3, "stride": 3, "dilation": 2}),
    "one to one, inputs skipped": ([[40, 45], [21, 33]], 1, 1, (1, 1), {"stride": 3}),
    "one to one, rows skipped": ([[40, 45], [21, 33]], 1, 1, (1, 1), {"stride": (2, 1)}),
    "groups of few": ([[28, 28]], 24, 24, (3, 3), {"padding": 1, "groups": 6}),
    "groups of two": ([[17, 11], [2, 40]], 22, 22, (3, 7), {"padding": (1, 3), "groups": 11}),
    "groups of four, dilated": ([[30, 19]], 20, 20, (2, 3), {"padding": "same", "dilation": (1, 4), "groups": 5}),
    "groups of eight, strided": ([[200], [9]], 40, 40, (5,), {"padding": 1, "stride": 2, "groups": 5}),
    "groups of many": ([[50], [33]], 24, 54, (5,), {"padding": 2, "groups": 2}),
    "windows apart": ([[9, 8, 7], [4, 13, 2], [2, 2, 2]], 17, 24, (2, 2, 2), {"stride": 2}),
    "windows apart, with gaps": ([[40, 31], [11, 9]], 12, 40, (2, 3), {"stride": (4, 5), "dilation": (3, 2)}),
    "windows apart, in groups": ([[300], [41]], 32, 64, (4,), {"stride": 4, "groups": 2}),
    "windows apart, beyond the edge": ([[21, 30]], 9, 16, (2, 2), {"stride": 2, "padding": (1, 0)}),
    "windows apart, four axes": ([[4, 6, 5, 4]], 8, 16, (2, 1, 2, 2), {"stride": 2}),
    "put side by side": ([[30, 23], [11, 40], [1, 1]], 45, 648, (1, 1), {}),
    "put side by side, a power of two": ([[700], [1], [33]], 256, 400, (1,), {}),
    "put side by side, both in place": ([[30, 23], [11, 9]], 40, 256, (1, 1), {}),
    "put side by side, windows apart": ([[40, 9], [3, 2], [17, 12]], 20, 640, (2, 2), {"stride": 2}),
    "put side by side, from a box": ([[9, 6], [20, 17]], 19, 648, (2, 3), {"stride": (1, 2), "padding": 1}),
    "put side by side, taps without outputs": ([[1, 1], [1, 1]], 9, 648, (3, 3), {"padding": 1}),
    "a large weight": ([[9, 6]], 130, 150, (3, 3), {"padding": 1}),
    "padding beyond the window": ([[6, 7]], 10, 11, (2, 2), {"padding": 4}),
}


def draw(case, rng, dtype, work=0):
    """Operands of a case, repeated up to so many multiply-adds."""
    shapes, channels, filters, kernel, settings = CASES[case]
    settings = dict(settings)
    groups = settings.pop("groups", 1)
    window = Window.of(len(kernel), kernel, **settings)
    place = window.on(Layout(shapes))
    each = place.output.positions * int(np.prod(kernel)) * channels // groups * filters
    place = window.on(Layout(shapes * (1 + work // each)))
    x = rng.standard_normal((place.input.positions, channels)).astype(dtype)
    g = rng.standard_normal((place.output.positions, filters)).astype(dtype)
    return x, g, place, groups, settings


def wanted(x, g, place, groups, settings):
    total = 0
    for n in range(len(place.input)):
        at, to = place.input.offsets, place.output.offsets
        total = total + reference.conv_weight(
            x[at[n] : at[n + 1]].reshape(*place.input.shape(n), -1).astype(np.float64),
            g[to[n] : to[n + 1]].reshape(*place.output.shape(n), -1).astype(np.float64),
            place.window.kernel, groups=groups, **settings,
        )
    return total


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_the_reference(level, case, dtype, rng):
    x, g, place, groups, settings = draw(case, rng, dtype)
    got = kernels.conv_weight(x, g, place, groups=groups, algorithm="direct")
    want = wanted(x, g, place, groups, settings)
    error = np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))
    assert error < (1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_for_any_number_of_threads(case, rng):
    x, g, place, groups, _ = draw(case, rng, np.float32, work=8_000_000)  # enough to run parallel
    results = []
    for threads in (1, 3):
        with threadpool_limits(limits=threads, user_api="openmp"):
            results.append(kernels.conv_weight(x, g, place, groups=groups, algorithm="direct"))
    assert np.array_equal(*results)


def test_what_lies_outside_a_sample_is_not_read(rng):
    """Neighbours in the batch are right beside a sample's edges: a tap that reads them would show."""
    place = Window.of(2, 3, padding=1).on(Layout([[6, 5], [4, 7], [6, 5]]))
    x, g = rng.standard_normal((place.input.positions, 9)), rng.standard_normal((place.output.positions, 10))
    x[30:58] = 1e200
    g[30:58] = 0
    alone = Window.of(2, 3, padding=1).on(Layout([[6, 5], [6, 5]]))
    keep = np.r_[:30, 58:88]
    want = kernels.conv_weight(x[keep], g[keep], alone, algorithm="direct")
    got = kernels.conv_weight(x, g, place, algorithm="direct")
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_extra_memory_is_bounded():
    """At most 4 MB beside the result, on input large enough to show a copy of it."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("a process's peak memory is read from /proc")
    code = (
        "import numpy as np\n"
        "from convnd import kernels\n"
        "from convnd.layout import Layout\n"
        "from convnd.window import Window\n"
        "def peak():\n"
        "    return next(int(s.split()[1]) for s in open('/proc/self/status') if s.startswith('VmHWM'))\n"
        "place = Window.of(2, 3, padding=1).on(Layout([[256, 256]] * 4))\n"
        "x, g = np.ones((262144, 64), 'f'), np.ones((262144, 64), 'f')\n"
        "small = Window.of(2, 3, padding=1).on(Layout([[4, 4]]))\n"
        "kernels.conv_weight(x[:16], g[:16], small, algorithm='direct')\n"
        "before = peak()\n"
        "kernels.conv_weight(x, g, place, algorithm='direct')\n"
        "print(peak() - before)\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert int(run.stdout) < 4096
