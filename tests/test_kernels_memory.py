"""Output buffers: used again, also by sizes that differ a little; bounded by what was in use."""

from __future__ import annotations

import numpy as np
import pytest

from convnd._core import memory

MEGA = 2**20


def address(buffer):
    return np.frombuffer(buffer, np.uint8).ctypes.data


@pytest.fixture(autouse=True)
def _none_waiting():
    memory.trim()
    yield
    memory.trim()


@pytest.mark.parametrize("size", [1, 4096, 5 * MEGA + 3])
def test_buffers_are_aligned_and_as_large_as_asked(size):
    held = [memory.Buffer(size) for _ in range(3)]
    for buffer in held:
        assert len(memoryview(buffer)) == size
        assert address(buffer) % 64 == 0
    assert len({address(buffer) for buffer in held}) == 3


def test_room_is_little_more_than_asked(rng):
    """A quarter more at most, from 32 KB on, and whole pages below."""
    edges = [k << n for n in range(12, 24) for k in range(4, 9)]
    for size in [1, 4095, *edges, *(e + 1 for e in edges), *(e - 1 for e in edges), *rng.integers(1, 64 * MEGA, 200)]:
        before = memory.usage()[0]
        buffer = memory.Buffer(int(size))
        room = memory.usage()[0] - before
        assert size <= room <= max(size * 1.25, size + 4095)
        del buffer
        memory.trim()


def test_blocks_in_use_never_overlap(rng):
    """Buffers that come and go in any order keep what is written to them."""
    held = {}
    for number in range(2000):
        if held and rng.random() < 0.5:
            key = list(held)[int(rng.integers(len(held)))]
            assert (held.pop(key) == key % 251).all()
        array = np.frombuffer(memory.Buffer(int(rng.integers(1, 200_000))), np.uint8)
        array[:] = number % 251
        held[number] = array
        if len(held) > 30:
            held.pop(min(held))


def test_what_waits_longest_goes_first():
    unit = MEGA
    while unit < memory.usage()[0]:  # other tests' results count as well
        unit *= 2
    small, large = memory.Buffer(unit), memory.Buffer(8 * unit)
    del large
    one, other = (memory.Buffer(3 * unit) for _ in range(2))
    assert memory.usage()[2] == 8 * unit
    del one  # 1 + 3 units in use and 8 + 3 that wait are more than half above the 9 that were in use at once
    assert memory.usage()[2] == 3 * unit
    del small, other


@pytest.mark.parametrize("again", [8 * MEGA, 8 * MEGA - 5, 6 * MEGA, 4 * MEGA])
def test_a_freed_block_serves_sizes_a_little_below(again):
    buffer = memory.Buffer(8 * MEGA)
    first = address(buffer)
    del buffer
    assert address(memory.Buffer(again)) == first


@pytest.mark.parametrize("other", [3 * MEGA, 9 * MEGA])
def test_a_freed_block_waits_for_others(other):
    buffer = memory.Buffer(8 * MEGA)
    held = memory.Buffer(32 * MEGA)  # so that one more block may wait
    del buffer
    waiting = memory.usage()[2]
    more = memory.Buffer(other)
    assert memory.usage()[2] == waiting
    del held, more


def test_the_best_fit_is_taken():
    small, large = memory.Buffer(8 * MEGA), memory.Buffer(11 * MEGA)
    first = address(small)
    del small, large
    assert address(memory.Buffer(8 * MEGA - 1)) == first


def test_what_waits_is_bounded(rng):
    """Held and waiting together are at most half more than what was in use at once, over any sizes."""
    for _ in range(50):
        held = [memory.Buffer(int(size)) for size in rng.integers(1, 4 * MEGA, size=8)]
        del held
        in_use, most, waiting = memory.usage()
        assert in_use + waiting <= most + most // 2
