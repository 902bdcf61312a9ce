"""Batches of augmented samples: what becomes of a sample depends on seed, epoch and its number, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from convnd import data
from convnd.data.augment import Augmentation, Compose, Elastic, Flip, Gain, Noise, RandomCrop, Shift
from convnd.data.batch import sample_rng
from convnd.errors import DataError, ShapeError

CHAIN = Compose([Flip(), Shift(2), RandomCrop(share=(0.5, 1.0)), Gain(0.5, 2.0), Noise(sigma=0.1)])
KINDS = ("class", "numbers", "ragged", None)


def write(path, target, count=60):
    """Images of 1 to 12 pixels a side; a label map is a function of the values, which are whole numbers."""
    rng = np.random.default_rng(5)
    given = {"classes": list("abcd")} if target in ("class", "ragged") else {}
    with data.create(path, ndim=2, channels=2, dtype="int16", scale=0.5, target=target, **given) as writer:
        for number in range(count):
            values = rng.integers(-50, 50, (*rng.integers(1, 13, 2), 2)).astype("int16")
            label = {
                "class": {"label": number % 4}, "numbers": {"target": [number / 4]},
                "ragged": {"target": np.abs(values[..., 0]) % 4}, None: {},
            }[target]  # fmt: skip
            writer.append(values, split="train" if number % 3 else "test", weight=1 + number, **label)
    return path


@pytest.fixture(scope="module", params=KINDS, ids=str)
def file(request, tmp_path_factory):
    with data.open(write(tmp_path_factory.mktemp("augmented") / "a.h5", request.param)) as file:
        yield file


def by_number(batches):
    """What became of each sample: bytes of its values, its target, its weight."""
    found = {}
    for batch in batches:
        assert batch.x.values.dtype == np.float32
        targets = batch.targets if batch.targets is not None else [None] * len(batch)
        for number, values, target, weight in zip(batch.numbers.tolist(), batch.x, targets, batch.weights, strict=True):
            assert number not in found
            told = None if target is None else np.asarray(target).tobytes()
            found[number] = (values.tobytes(), values.shape, told, float(weight))
    return found


DRAWS = [
    {"samples": 1}, {"samples": 7}, {"positions": 200}, {"positions": 10**6}, {"positions": 150, "sizes": "grouped"},
    {"samples": 5, "shuffle": False}, {"samples": 4, "prefetch": 0}, {"samples": 4, "prefetch": 5, "workers": 4},
    {"positions": 40, "oversize": "alone"},
]  # fmt: skip


def test_a_sample_does_not_depend_on_its_batch(file):
    split = file["train"]
    wanted = by_number(split.batches(samples=3, seed=4, epoch=2, augment=CHAIN))
    assert sorted(wanted) == split.numbers.tolist()
    for given in DRAWS:
        assert by_number(split.batches(**given, seed=4, epoch=2, augment=CHAIN)) == wanted, given
    alone = split.subset([5, 0])  # Nor on the rest of its split.
    found = by_number(alone.batches(samples=2, seed=4, epoch=2, augment=CHAIN))
    assert found == {number: wanted[number] for number in alone.numbers.tolist()}
    others = by_number(file.samples.batches(samples=9, seed=4, epoch=2, augment=CHAIN))
    assert {number: others[number] for number in wanted} == wanted
    for seed, epoch in ((4, 3), (5, 2), (2, 4)):
        other = by_number(split.batches(samples=3, seed=seed, epoch=epoch, augment=CHAIN))
        assert sum(other[number][0] != wanted[number][0] for number in wanted) > 0.9 * len(wanted)


def test_a_sample_is_what_its_generator_makes_of_it(file):
    for batch in file["train"].batches(samples=6, seed=3, epoch=7, augment=CHAIN):
        for place, number in enumerate(batch.numbers.tolist()):
            sample = file.samples[number]
            values, target = CHAIN(sample.values, sample.target, sample_rng(3, 7, number))
            np.testing.assert_array_equal(batch.x.unpack()[place], values)
            if file.info.target == "ragged":
                np.testing.assert_array_equal(batch.targets.unpack()[place], target)
            elif target is not None:
                assert np.array_equal(batch.targets[place], target)


def test_the_generators_of_samples_differ():
    draws = {(s, e, n): sample_rng(s, e, n).random(4).tobytes() for s in range(4) for e in range(4) for n in range(40)}
    assert len(set(draws.values())) == len(draws)


@pytest.mark.parametrize("given", [{"samples": 4}, {"positions": 120, "sizes": "grouped"}], ids=str)
def test_start_continues_in_the_middle(file, given):
    whole = [by_number([batch]) for batch in file["train"].batches(**given, augment=CHAIN, seed=1)]
    for start in {1, len(whole) // 2, len(whole) - 1}:
        rest = file["train"].batches(**given, augment=CHAIN, seed=1, start=start)
        assert [by_number([batch]) for batch in rest] == whole[start:]


def test_label_maps_stay_on_their_positions(tmp_path):
    """The label of a position is a function of its value, before and after."""
    change = Compose([Flip(), Shift(3, axis=None), Elastic(30, 2, order=0), RandomCrop(6)])
    with data.open(write(tmp_path / "a.h5", "ragged")) as file:
        for batch in file["train"].batches(samples=8, augment=change):
            assert batch.targets.layout == batch.x.layout
            assert batch.targets.values.dtype == np.int64
            np.testing.assert_array_equal(batch.targets.values[:, 0], np.abs(batch.x.values[:, 0] * 2).astype(int) % 4)


def test_budgets_hold_for_what_samples_may_be_afterwards(file):
    split = file["train"]
    cropped = np.minimum(split.layout.shapes, 4).prod(axis=1)
    batches = split.batches(positions=32, augment=RandomCrop(4))  # No sample is refused for what is cut off.
    assert len(batches) < len(split.batches(positions=160)) * 2
    for batch in batches:
        assert batch.x.layout.positions <= 32
        assert (batch.x.layout.shapes <= 4).all()
    assert sum(int(batch.x.layout.positions) for batch in batches) == cropped.sum()
    with pytest.raises(DataError, match=r"of shape \(4, 4\) has 16 positions, above the budget positions=15"):
        split.batches(positions=15, augment=RandomCrop(4))
    with pytest.raises(DataError, match="above the budget positions=32"):
        split.batches(positions=32, augment=RandomCrop(4, p=0.9))  # Some samples stay whole.


def test_texts_and_lists_are_taken(file):
    split = file["train"]
    wanted = by_number(split.batches(samples=4, augment=Compose([Flip(axis=0), Gain()])))
    assert by_number(split.batches(samples=4, augment=["flip(axis=0)", Gain()])) == wanted
    one = by_number(split.batches(samples=4, augment=Flip(axis=0)))
    assert by_number(split.batches(samples=4, augment="flip(axis=0)")) == one
    assert by_number(split.batches(samples=4, augment=[])) == by_number(split.batches(samples=4))


@dataclass(frozen=True)
class Denoise(Augmentation):
    """The sample as it is becomes the target, as a view; what is read next comes into the same memory."""

    def change(self, values, target, rng):
        return values + rng.standard_normal(values.shape, np.float32), values


def test_a_target_may_be_a_view_of_the_sample(tmp_path, rng):
    samples = [rng.standard_normal((200_000, 1), np.float32) for _ in range(6)]
    with data.create(tmp_path / "a.h5", ndim=1, channels=1, target="ragged", target_channels=1) as writer:
        for sample in samples:
            writer.append(sample, target=sample * 0)
    for shuffle in (False, "blocks"):
        with data.open(tmp_path / "a.h5") as file:
            (batch,) = file["train"].batches(samples=6, shuffle=shuffle, augment=Denoise())
        for number, target in zip(batch.numbers, batch.targets, strict=True):
            assert np.array_equal(target, samples[number])


@dataclass(frozen=True)
class Bad(Augmentation):
    how: str = ""

    def change(self, values, target, rng):
        return {
            "float64": lambda: values.astype("float64"),
            "empty": lambda: values[:0],
            "channels": lambda: values[..., :1],
            "rank": lambda: values[0],
            "none": lambda: None,
            "larger": lambda: np.concatenate([values, values]),
        }[self.how](), target


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("float64", "must give float32 values of 2 spatial axes, then 2 channels, and at least one position. "
                    "Received: float64 of shape"),
        ("empty", r"at least one position. Received: float32 of shape \(0,"),
        ("channels", "then 2 channels"),
        ("rank", "of 2 spatial axes"),
        ("none", "Received: <class 'NoneType'>"),
        ("larger", "must not make a sample larger than its bound says"),
    ],
)  # fmt: skip
def test_what_is_no_sample_is_refused_by_name(file, how, message):
    with pytest.raises(ShapeError, match=message) as caught:
        list(file["train"].batches(samples=4, shuffle=False, augment=Bad(how)))
    assert "a.h5: sample 1 ('1'): an augmentation must " in str(caught.value)


def test_targets_on_other_positions_are_named(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=2, channels=1, target="ragged", target_ndim=1, classes=["a"]) as writer:
        writer.append(np.zeros((4, 3, 1), "float32"), target=np.zeros(4, int), name="first")
    with data.open(tmp_path / "a.h5") as file:
        with pytest.raises(DataError, match=r"a.h5: sample 0 \('first'\): Flip moves positions"):
            list(file["train"].batches(samples=1, augment=Flip()))
        batch = next(iter(file["train"].batches(samples=1, augment=Gain())))
        assert batch.targets.layout.shapes.tolist() == [[4]]
