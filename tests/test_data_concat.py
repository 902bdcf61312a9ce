"""Several files as one: the samples of all, each told apart; and no mixture of what doesn't belong together."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

import convnd as cn
from convnd import data
from convnd.errors import ArgumentError, DataError, TrainingError

BASE = {"ndim": 1, "channels": 2, "dtype": "int16", "scale": 0.5, "classes": ["a", "b"], "source": "here"}


def write(path, count, first=0, split="train", name=None, label=True, **given):
    with data.create(path, **BASE | given) as writer:
        for number in range(first, first + count):
            shape = (1 + number % 7, *[2] * (writer.info.ndim - 1), writer.info.channels)
            values = np.full(shape, number, writer.info.dtype)
            told = {"label": number % 2} if label else {}
            extra = {"weight": 1 + number} if name == "weighed" else {}
            where = "test" if split == "both" and number % 4 == 0 else "train"
            named = None if name in (None, "weighed") else f"{name}{number}"
            writer.append(values, split=where, name=named, group=f"g{number % 3}", **told, **extra)
    return path


@pytest.fixture
def paths(tmp_path):
    return [write(tmp_path / "a.h5", 20, split="both"), write(tmp_path / "b.h5", 13, 20),
            write(tmp_path / "c.h5", 30, 33, split="both")]  # fmt: skip


def test_the_samples_of_all(paths):
    with data.open(paths) as whole:
        assert len(whole) == 63
        assert whole.splits == ("test", "train")
        assert whole["train"].numbers.tolist() == [n for n in range(63) if n % 4 or 20 <= n < 33]
        assert [sample.values[0, 0] for sample in whole.samples] == [number / 2 for number in range(63)]
        assert whole.samples.targets.tolist() == [number % 2 for number in range(63)]
        assert whole.samples.groups.tolist() == [f"g{number % 3}" for number in range(63)]
        assert whole.check() == []
        for given in ({"samples": 5}, {"positions": 60, "shuffle": False}, {"positions": 500}, {"samples": 63}):
            seen = []
            for batch in whole["train"].batches(**given, seed=2):
                for number, values, target in zip(batch.numbers, batch.x, batch.targets, strict=True):
                    np.testing.assert_array_equal(values, np.full((1 + number % 7, 2), number / 2))
                    assert target == number % 2
                    seen.append(int(number))
            assert sorted(seen) == whole["train"].numbers.tolist()
        rest, part = whole["train"].divide(0.3, by_group=True)
        assert not set(rest.groups) & set(part.groups)
        copy = pickle.loads(pickle.dumps(whole["test"]))
        assert [sample.number for sample in copy] == whole["test"].numbers.tolist()


def test_the_order_is_that_of_one_file(paths, tmp_path):
    """A pure function of the shapes: whether they lie in one file or in three."""
    one = data.open(write(tmp_path / "one.h5", 63))
    whole = data.open(paths)
    for given in ({"samples": 8}, {"positions": 50, "sizes": "grouped"}):
        found = whole.samples.batches(**given, seed=3).numbers()
        assert [b.tolist() for b in found] == [b.tolist() for b in one.samples.batches(**given, seed=3).numbers()]


def test_names_are_told_apart(paths, tmp_path):
    with data.open(paths) as whole:  # Named "0", "1", ... in each file.
        names = whole.samples.names
        assert (names[3], names[20], names[62]) == ("a.h5:3", "b.h5:0", "c.h5:29")
        assert whole.who(21) == f"sample 21 ('b.h5:1', number 1 of {paths[1]})"
    named = [write(tmp_path / "d.h5", 4, name="x"), write(tmp_path / "e.h5", 4, 4, name="x")]
    with data.open(named) as whole:
        assert whole.samples.names == [f"x{number}" for number in range(8)]
    (tmp_path / "other").mkdir()
    same = [write(tmp_path / "f.h5", 2), write(tmp_path / "other" / "f.h5", 2)]
    with data.open(same) as whole:
        assert whole.samples.names == [f"{path}:{number}" for path in same for number in range(2)]


def test_columns(tmp_path):
    parts = [write(tmp_path / "a.h5", 3), write(tmp_path / "b.h5", 2, name="weighed")]
    with data.open(parts) as whole:
        assert whole.samples.weights.tolist() == [1, 1, 1, 1, 2]
        assert whole.info.source == "here"
        batch = next(iter(whole.samples.batches(samples=5, shuffle=False)))
        assert batch.weights.tolist() == [1, 1, 1, 1, 2]
    parts[1] = write(tmp_path / "b.h5", 2, source="there", licence="CC0")
    with data.concat(data.open(path) for path in parts) as whole:
        assert (whole.info.source, whole.info.licence) == ("here; there", "CC0")
        assert "weight" not in whole.meta


@pytest.mark.parametrize("target", ["numbers", "ragged", None])
def test_other_targets(tmp_path, target):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for start, path in zip((0, 5), paths, strict=True):
        with data.create(path, ndim=1, channels=1, target=target) as writer:
            for number in range(start, start + 5):
                wanted = [number] if target == "numbers" else np.full((number + 1, 1), number, "float32")
                writer.append(np.full((2, 1), number, "float32"), target=None if target is None else wanted)
    with data.open(paths) as whole:
        for batch in whole["train"].batches(samples=4, seed=1):
            if target == "numbers":
                assert batch.targets.tolist() == [[float(number)] for number in batch.numbers]
            elif target == "ragged":
                for number, labels in zip(batch.numbers, batch.targets, strict=True):
                    np.testing.assert_array_equal(labels, np.full((number + 1, 1), number))
            else:
                assert batch.targets is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": 3}, "its channels is 3, there it is 2"),
        ({"ndim": 2}, "its ndim is 2, there it is 1"),
        ({"dtype": "float32"}, "its dtype is 'float32', there it is 'int16'"),
        ({"scale": 0.25}, "its scale is 0.25, there it is 0.5"),
        ({"scale": None}, "its scale is None, there it is 0.5"),
        ({"classes": ["b", "a"]}, r"its classes is \('b', 'a'\), there it is \('a', 'b'\)"),
        ({"ignore": 9}, "its ignore is 9, there it is None"),
        ({"target": None, "label": False}, "its target is None, there it is 'class'"),
        ({"axes": [{"name": "time"}]}, "its axes is"),
        ({"channel_names": ["l", "r"]}, "its channel_names is"),
        ({"recipe": {"rate": 8000}}, r"its recipe is {'rate': 8000}, there it is None"),
    ],
    ids=str,
)
def test_what_differs_is_refused_by_name(tmp_path, given, message):
    first, second = write(tmp_path / "a.h5", 2), write(tmp_path / "b.h5", 2, **given)
    with pytest.raises(DataError, match=rf"b\.h5 can't be joined to .*a\.h5: {message}"):
        data.open([first, second])


def test_the_same_samples_twice_are_refused(paths, tmp_path):
    with pytest.raises(DataError, match=r"a\.h5 is given twice"):
        data.open([paths[0], paths[1], paths[0]])
    (tmp_path / "link.h5").symlink_to(paths[0])
    with pytest.raises(DataError, match=r"a\.h5 is given twice"):
        data.open([paths[0], tmp_path / "link.h5"])
    with data.open(paths[:2]) as two, pytest.raises(DataError, match=r"b\.h5 is given twice"):
        data.concat([two, data.open(paths[1])])
    with pytest.raises(ArgumentError, match=r"at least one\. Received: none"):
        data.open([])
    with pytest.raises(ArgumentError, match=r"the parts must be open data files\. Received: 'a\.h5'"):
        data.concat(["a.h5"])


def test_damage_is_told_by_its_file(paths):
    with h5py.File(paths[1]) as root:
        chunk = root["values"].id.get_chunk_info(0)
    content = bytearray(paths[1].read_bytes())
    content[chunk.byte_offset + 3] ^= 8
    paths[1].write_bytes(content)
    with data.open(paths) as whole:
        with pytest.raises(DataError, match=r"b\.h5: sample \d+ \('\d+'\) is damaged"):
            list(whole["train"].batches(samples=63))
        assert [line.split(": ")[0].split("/")[-1] for line in whole.check()] == ["b.h5"] * 13


def test_training_on_several_files(paths, tmp_path):
    def fit(whole, **given):
        rest, held_out = whole["train"].divide(0.25, seed=1)
        net = cn.nn.Sequential(cn.nn.GlobalPool(), cn.nn.Linear(2))
        settings = {"epochs": 2, "samples": 8, "validation": held_out, "progress": False, "out": tmp_path / "run"}
        return cn.fit(net, rest, **settings | given)

    with data.open(paths) as whole, data.open(paths[0]) as part:
        run = fit(whole)
        assert run.metrics["samples"] == 13
        fit(whole, resume=True)
        # Some validation samples are in the training part, though through another file object.
        with pytest.raises(ArgumentError, match=r"no samples of train. Received: both hold sample \d"):
            fit(whole, validation=part["train"])
    with data.open(paths[::-1]) as other, pytest.raises(TrainingError, match=r"holds another run: data\.train"):
        fit(other, resume=True)
