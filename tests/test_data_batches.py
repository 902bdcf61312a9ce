"""Batches: the budget, the order, and a background thread that changes nothing but the time."""

from __future__ import annotations

import itertools
import os
import threading
import time

import numpy as np
import pytest

from convnd import data
from convnd.data import batches as batches_module
from convnd.data import order as order_module
from convnd.data.pools import Pools
from convnd.data.prefetch import prefetched
from convnd.errors import ArgumentError, DataError


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """200 series of 1 to 90 positions; a value tells its sample and position."""
    path = tmp_path_factory.mktemp("batches") / "a.h5"
    rng = np.random.default_rng(7)
    with data.create(path, ndim=1, channels=2, dtype="int32", scale=0.5) as writer:
        for number, length in enumerate(rng.integers(1, 91, 200)):
            values = np.stack([1000 * number + np.arange(length), np.full(length, number)], axis=1).astype("int32")
            writer.append(values, label=number, split="train" if number % 5 else "test", weight=number)
    with data.open(path) as file:
        yield file


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that the file has some 50 blocks and a dozen pools where they are asked for."""
    monkeypatch.setattr(order_module, "BLOCK_BYTES", 1500)
    monkeypatch.setattr(order_module, "MIXED_BLOCKS", 4)


def expected(number, length):
    return np.float32([[(1000 * number + position) / 2, number / 2] for position in range(length)])


def as_bytes(batches):
    return [(b.numbers.tolist(), b.targets.tolist(), b.weights.tolist(), b.x.values.tobytes()) for b in batches]


DRAWS = [
    {"positions": 90},
    {"positions": 333, "seed": 4, "epoch": 2},
    {"samples": 7, "seed": 1},
    {"samples": 200},
    {"positions": 4000, "samples": 90, "seed": 9},
    {"positions": 5000, "shuffle": False},
    {"positions": 20, "oversize": "alone", "seed": 3},
    {"positions": 10**9},
    {"positions": 250, "sizes": "grouped", "seed": 2},
    {"samples": 9, "sizes": "grouped", "epoch": 3},
    {"positions": 30, "sizes": "grouped", "oversize": "alone"},
    {"positions": 250, "shuffle": "blocks"},
    {"samples": 9, "shuffle": "blocks", "seed": 3, "epoch": 1},
    {"samples": 1, "shuffle": "blocks", "seed": 2},
    {"positions": 10**9, "shuffle": "blocks"},
    {"positions": 30, "shuffle": "blocks", "oversize": "alone"},
    {"samples": 50, "shuffle": "samples", "seed": 5},
]


@pytest.mark.parametrize("given", DRAWS, ids=str)
@pytest.mark.parametrize("part", ["train", "test", "subset"])
def test_batches(file, given, part):
    """Every sample once, right values, within the budget; and as full as the order allows."""
    split = file["train"].subset(np.random.default_rng(0).permutation(160)[:100]) if part == "subset" else file[part]
    batches = split.batches(**given)
    budget, most = given.get("positions", 10**9), given.get("samples", 10**9)
    seen, sizes = [], []
    for batch in batches:
        assert batch.x.values.dtype == np.float32
        assert len(batch) <= most
        assert batch.x.layout.positions <= budget or (len(batch) == 1 and given.get("oversize") == "alone")
        for number, values in zip(batch.numbers, batch.x, strict=True):
            np.testing.assert_array_equal(values, expected(number, file.layout.sizes[number]))
        assert batch.targets.tolist() == batch.numbers.tolist() == batch.weights.tolist()
        seen += batch.numbers.tolist()
        sizes.append((batch.x.layout.positions, len(batch), int(batch.x.layout.sizes[0])))
    assert sorted(seen) == sorted(split.numbers.tolist())
    assert len(batches) == len(sizes)
    for (positions, samples, _), (_, _, following) in itertools.pairwise(sizes) if "sizes" not in given else ():
        assert positions + following > budget or samples == most
    if given.get("shuffle") is False:
        assert seen == split.numbers.tolist()


@pytest.mark.parametrize("given", DRAWS, ids=str)
def test_prefetch_and_start_change_nothing(file, given):
    whole = as_bytes(file["train"].batches(**given, prefetch=0))
    batches = file["train"].batches(**given, prefetch=3)
    assert as_bytes(batches) == whole
    assert as_bytes(file["train"].batches(**given, prefetch=5, workers=4)) == whole
    assert as_bytes(batches) == whole  # Once more.
    assert [numbers.tolist() for numbers in batches.numbers()] == [batch[0] for batch in whole]
    for start in {0, 1, len(whole) // 2, len(whole) - 1, len(whole), len(whole) + 3}:
        rest = file["train"].batches(**given, start=start)
        assert len(rest) == max(0, len(whole) - start)
        assert as_bytes(rest) == whole[start:]


def order(split, **given):
    return np.concatenate(split.batches(**given).numbers()).tolist()


@pytest.mark.parametrize("limit", [{"positions": 300}, {"samples": 100}])
def test_the_order_follows_from_seed_and_epoch(file, limit):
    split = file["train"]
    orders = {(seed, epoch): order(split, **limit, seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)}
    assert len({tuple(found) for found in orders.values()}) == 16
    assert order(split, **limit, seed=2, epoch=3) == orders[2, 3]
    assert order(split, **limit) == orders[0, 0]


def test_the_order_is_the_same_on_every_machine(file):
    """Frozen: a run resumed with another NumPy must go on in the same order."""
    assert order(file["test"], samples=5, seed=1, epoch=2)[:10] == [165, 25, 30, 110, 90, 75, 160, 180, 70, 45]


def spread(split, **given):
    """How far sizes lie apart in a batch, on average."""
    sizes = [split.file.layout.sizes[numbers] for numbers in split.batches(**given).numbers() if len(numbers) > 1]
    return np.mean([found.max() - found.min() for found in sizes])


def test_grouped_batches_hold_samples_of_like_size(file):
    split = file["train"]
    for seed in range(3):
        given = {"positions": 300, "seed": seed, "epoch": 1}
        assert spread(split, **given, sizes="grouped") < 0.25 * spread(split, **given)
    batches = split.batches(positions=300, sizes="grouped").numbers()
    assert all((np.diff(numbers) > 0).all() for numbers in batches)  # Neighbours are read as one.
    means = [split.file.layout.sizes[numbers].mean() for numbers in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5  # Batches are shuffled,
    ordered = split.batches(positions=300, sizes="grouped", shuffle=False).numbers()
    assert (np.diff([split.file.layout.sizes[numbers].mean() for numbers in ordered]) > 0).all()  # unless told not to.
    orders = {tuple(order(split, samples=9, sizes="grouped", seed=s, epoch=e)) for s in range(3) for e in range(3)}
    assert len(orders) == 9


def test_grouped_batches_are_drawn_from_all_over(tmp_path):
    """A file of 20,000 samples, sorted by size: batches of one size, in an order that chance makes; no long climb."""
    with data.create(tmp_path / "a.h5", ndim=1, channels=1, dtype="int8", target=None) as writer:
        for number in range(20_000):
            writer.append(np.zeros((1 + number // 1000, 1), "int8"))
    split = data.open(tmp_path / "a.h5")["train"]
    numbers = split.batches(samples=20, seed=0, sizes="grouped").numbers()
    assert len(numbers) <= 1000 + 16  # A pool of 64 batches may end in a shorter one.
    sizes = [split.layout.sizes[batch] for batch in numbers]
    assert np.mean([batch.min() == batch.max() for batch in sizes]) > 0.6
    means = np.array([batch.mean() for batch in sizes])
    pools = [means[start : start + 64] for start in range(0, 960, 64)]
    assert all(pool.min() <= 2 and pool.max() >= 19 for pool in pools)


def test_the_grouped_order_is_the_same_on_every_machine(file):
    found = order(file["test"], samples=5, seed=1, epoch=2, sizes="grouped")[:10]
    assert found == [30, 80, 95, 160, 165, 0, 55, 70, 155, 170]


def test_large_batches_of_small_samples_are_read_in_few_slices(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=0, channels=1, target=None) as writer:
        for number in range(5000):
            writer.append(np.float32([number]))
    split = data.open(tmp_path / "a.h5")["train"]
    numbers = split.batches(samples=320, seed=0).numbers()
    runs = [int((np.diff(batch) != 1).sum()) + 1 for batch in numbers]
    assert max(runs) <= 60  # Not 320; and drawn from many places, not from one:
    assert min(runs[:-1]) >= 25
    following = order(split, samples=320, seed=0, epoch=1)
    pairs = {pair for pair in itertools.pairwise(order(split, samples=320, seed=0)) if pair[1] == pair[0] + 1}
    again = {pair for pair in itertools.pairwise(following) if pair[1] == pair[0] + 1}
    assert pairs - again  # Blocks are cut at other places in another epoch.


def test_blocks_are_read_whole(file, monkeypatch):
    """Nearly all of what is read follows on something read; each sample is read once; few pools exist at a time."""
    split, runs, alive = file["train"], [], []
    read = file.read_runs

    def read_runs(wanted):
        runs.extend((first, last) for first, last, _ in wanted)
        read(wanted)

    monkeypatch.setattr(file, "read_runs", read_runs)
    monkeypatch.setattr(Pools, "_leave", lambda self, pool, leave=Pools._leave: (
        alive.append(len(self._found)), leave(self, pool))[1])  # fmt: skip
    numbers = [batch.numbers.tolist() for batch in split.batches(samples=6, shuffle="blocks", seed=1)]
    assert sorted(n for first, last in runs for n in range(first, last + 1) if n % 5) == split.numbers.tolist()
    assert max(alive) <= 4
    assert len(numbers) == 27
    # A batch isn't a block: neighbours are no more frequent than among four blocks of about eleven samples.
    near = [abs(a - b) == 1 for batch in numbers for a, b in itertools.pairwise(batch)]
    assert np.mean(near) < 0.12
    assert len({tuple(order(split, samples=6, shuffle="blocks", seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}) == 4


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_block_that_cannot_be_read(file, monkeypatch, prefetch):
    def read_runs(wanted):
        raise DataError("sample 3 is damaged")

    monkeypatch.setattr(file, "read_runs", read_runs)
    batches = file["train"].batches(samples=6, shuffle="blocks", prefetch=prefetch)
    for _ in range(2):
        with pytest.raises(DataError, match="sample 3 is damaged"):
            list(batches)
        assert prefetch_threads() == []


def test_large_splits_are_shuffled_by_blocks(file, monkeypatch):
    split = file["train"]
    by_sample, by_block = order(split, samples=6), order(split, samples=6, shuffle="blocks")
    assert by_sample == order(split, samples=6, shuffle="samples") != by_block
    monkeypatch.setattr(batches_module, "LARGE_BYTES", 8 * split.layout.positions)
    monkeypatch.setattr(batches_module, "BLOCK_BYTES", 3 * 8 * split.layout.positions // len(split))
    assert order(split, samples=6) == by_block
    assert order(split, samples=6, shuffle="samples") == by_sample
    assert order(split, samples=6, sizes="grouped") == order(split, samples=6, sizes="grouped", shuffle="samples")
    monkeypatch.setattr(batches_module, "BLOCK_BYTES", 8 * split.layout.positions // len(split))
    assert order(split, samples=6) == by_sample  # Blocks of few samples.


def test_the_order_by_blocks_is_the_same_on_every_machine(file):
    found = order(file["test"], samples=5, seed=1, epoch=2, shuffle="blocks")[:10]
    assert found == [165, 160, 180, 15, 170, 175, 10, 5, 185, 190]


def test_augmented_samples_come_from_blocks(file):
    given = {"samples": 9, "augment": "random_crop(share=0.5)", "seed": 4}
    batches = file["train"].batches(**given)
    whole = {n: x.tobytes() for batch in batches for n, x in zip(batch.numbers, batch.x, strict=True)}
    for batch in file["train"].batches(**given, shuffle="blocks"):
        for number, x in zip(batch.numbers, batch.x, strict=True):
            assert x.tobytes() == whole.pop(number)
    assert not whole


def test_shuffling_mixes_a_sorted_file(tmp_path):
    """A file sorted by class: a batch still has about the share of each class that chance would give it."""
    with data.create(tmp_path / "a.h5", ndim=1, channels=1) as writer:
        for number in range(2000):
            writer.append(np.zeros((1 + number % 7, 1), "float32"), label=number // 1000)
    split = data.open(tmp_path / "a.h5")["train"]
    shares = [batch.targets.mean() for batch in split.batches(samples=200, seed=0)]
    assert np.std(shares) < 0.5 / 32**0.5 * 1.5


def test_an_oversized_sample_is_named(file):
    split = file["train"]
    number = int(split.numbers[np.argmax(split.layout.sizes > 50)])
    size = int(file.layout.sizes[number])
    with pytest.raises(
        DataError, match=rf"sample {number} \('{number}'\) of shape \({size},\) has {size} positions, above"
    ):
        split.batches(positions=50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "need positions=, samples= or both"),
        ({"positions": 0}, "positions must be an int of at least 1. Received: positions=0"),
        ({"samples": 2.5}, "samples must be"),
        ({"samples": True}, "samples must be"),
        ({"samples": 1, "start": -1}, "start must be"),
        ({"samples": 1, "prefetch": -1}, "prefetch must be"),
        ({"samples": 1, "workers": 0}, "workers must be an int of at least 1"),
        ({"samples": 1, "sizes": "sorted"}, 'sizes must be "mixed" or "grouped". Received: sizes=\'sorted\''),
        ({"samples": 1, "augment": 3}, "augment must be an Augmentation, its text, or a list of them. Received: 3"),
        ({"samples": 1, "augment": "affine(rotation=3)"}, "rotation and shear need two axes"),
        ({"samples": 1, "shuffle": False, "seed": -1}, "seed and epoch must be"),
        ({"samples": 1, "oversize": "skip"}, "oversize must be"),
        ({"samples": 1, "shuffle": "files"}, "shuffle must be"),
        ({"samples": 1, "shuffle": 1}, "shuffle must be"),
        ({"samples": 1, "shuffle": "blocks", "sizes": "grouped"}, "goes with sizes"),
        ({"samples": 1, "seed": -1}, "seed and epoch must be"),
        ({"samples": 1, "epoch": 0.5}, "seed and epoch must be"),
    ],
)
def test_arguments_of_batches(file, given, message):
    with pytest.raises(ArgumentError, match=message):
        file["train"].batches(**given)


def test_few_items_exist_at_a_time():
    alive, most, lock = [0], [0], threading.Lock()

    class Item:
        def __init__(self):
            with lock:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self):
            with lock:
                alive[0] -= 1

    for ahead, workers in ((0, 1), (1, 1), (3, 1), (3, 3), (4, 2)):
        most[0] = 0
        for _item in prefetched(lambda index: Item(), 30, ahead, workers):
            time.sleep(0.002)
        assert ahead + 1 <= most[0] <= ahead + 2


def test_workers_make_items_side_by_side_and_in_order():
    """All three are at work at once: each waits for the others."""
    barrier = threading.Barrier(3, timeout=20)

    def make(index):
        barrier.wait()
        time.sleep(0.003 * (index % 3 == 0))  # The first of three is ready last.
        return index

    assert list(prefetched(make, 30, ahead=3, workers=3)) == list(range(30))


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("convnd-prefetch")]


def test_leaving_the_loop_stops_the_threads_of_blocks(file):
    for _batch in file["train"].batches(samples=1, prefetch=3, shuffle="blocks"):
        break
    assert prefetch_threads() == []


def test_leaving_the_loop_stops_the_threads(file):
    for workers, most in ((1, 1), (2, 2), (9, 3)):  # No more than batches are read ahead.
        for _batch in file["train"].batches(samples=1, prefetch=3, workers=workers):
            assert 1 <= len(prefetch_threads()) <= most
            break
        assert prefetch_threads() == []

    def interrupted():
        for _ in file["train"].batches(samples=1, prefetch=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    del caught
    assert prefetch_threads() == []


def test_errors_come_at_their_place():
    def make(index):
        if index == 3:
            raise DataError("sample 3 is damaged")
        return index

    for workers in (1, 4):
        items = prefetched(make, 10, 4, workers)
        assert list(itertools.islice(items, 3)) == [0, 1, 2]
        with pytest.raises(DataError, match="sample 3 is damaged"):
            next(items)
        assert prefetch_threads() == []


@pytest.mark.parametrize("shuffle", ["samples", "blocks"])
def test_a_forked_child_reads_on(file, shuffle):
    """In the middle of an epoch, with the parent's thread at work: no hang, and the same batches."""
    batches = file["train"].batches(positions=200, seed=1, prefetch=2, shuffle=shuffle)
    whole = as_bytes(batches)
    stream = iter(batches)
    first = as_bytes([next(stream)])
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = as_bytes(stream) == whole[1:] and as_bytes(batches) == whole
        finally:
            os._exit(0 if same else 1)
    limit = time.monotonic() + 20
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < limit:
        time.sleep(0.01)
    if status == (0, 0):
        os.kill(child, 9)
    assert status == (child, 0)
    assert first + as_bytes(stream) == whole
