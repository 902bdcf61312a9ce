"""The cost of a call is stated for every kind of operation, and remembered work stays bounded."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from convnd import ops
from convnd.bench import call
from convnd.errors import ConvndError
from convnd.layout import Layout, Ragged


def test_every_call_has_a_line():
    times = call.measure(seconds=0.0)
    assert list(times) == list(call.calls())
    lines = call.table(times).splitlines()
    assert len(lines) == len(times) + 1
    assert all(" us " in line for line in lines[1:])


def test_calls_after_the_first_check_as_the_first_does():
    """What is remembered of a right call doesn't let a wrong one through."""
    x, w = np.ones((1, 8, 4)), np.ones((3, 4, 8))
    for arguments in ({}, {"groups": 1}, {"stride": 1}, {"activation": "relu"}):
        ops.conv(x, w, **arguments)
    wrong = [
        {"groups": True}, {"groups": 1.0}, {"groups": [1]}, {"stride": 1.0}, {"stride": True}, {"activation": "gelu"},
        {"algorithm": "none"}, {"bias": np.ones(7)}, {"bias": np.ones(8, np.float32)}, {"dilation": 1.0},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(ConvndError):
            ops.conv(x, w, **arguments)
    with pytest.raises(ConvndError):
        ops.conv(x.astype(np.float32), w)
    with pytest.raises(ConvndError):
        ops.conv(x, np.ones((3, 3, 8)))


def test_lists_and_arrays_are_options_too(rng):
    """What can't be a key is checked at each call."""
    x, w = rng.standard_normal((2, 8, 9, 4)), rng.standard_normal((3, 2, 4, 8))
    for stride in ([2, 1], np.array([2, 1]), (2, 1)):
        for _ in range(2):
            assert np.array_equal(ops.conv(x, w, stride=stride), ops.conv(x, w, stride=(2, 1)))
    for _ in range(2):
        with pytest.raises(ConvndError):
            ops.conv(x, w, stride=[2, 0])


def test_another_view_of_the_same_shape_gives_the_same(rng):
    """Plans go by shape and dtype; an array's strides are looked at in each call."""
    x, w, b = rng.standard_normal((2, 8, 4)), rng.standard_normal((3, 4, 8)), rng.standard_normal(8)
    expected = ops.conv(x, w, b)
    strided = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, w, b)]
    assert np.array_equal(ops.conv(*strided), expected)
    assert np.array_equal(ops.conv(np.asfortranarray(x), np.asfortranarray(w), b), expected)


def test_layouts_that_are_gone_are_forgotten(rng):
    """Sizes that change on every call: what is remembered goes with its layout."""
    w, many = rng.standard_normal((3, 1, 2)), 2000

    def run(first: int) -> None:
        for size in range(first, first + many):
            layout = Layout([[5 + size % 7], [4 + size]])
            ops.linear(ops.conv(Ragged(np.zeros((layout.positions, 1)), layout), w, padding="same"), np.ones((2, 1)))

    run(0)
    gc.collect()
    tracemalloc.start()
    run(0)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 50 * many
