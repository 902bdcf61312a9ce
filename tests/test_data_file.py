"""Data files: what goes in comes out, and what can't go in is refused by name."""

from __future__ import annotations

import pickle
import threading

import h5py
import numpy as np
import pytest

from convnd import data
from convnd.errors import ArgumentError, DataError, ShapeError

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")


def draw_values(rng, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def draw_samples(rng, ndim, channels, dtype, count):
    return [draw_values(rng, (*rng.integers(1, 7, ndim), channels), dtype) for _ in range(count)]


def write_series(path, lengths, **given):
    """A file of one-channel series whose values tell the sample and the position."""
    with data.create(path, ndim=1, channels=1, target=None, **given) as writer:
        for number, length in enumerate(lengths):
            writer.append((1000 * number + np.arange(length, dtype="float32"))[:, None])
    return path


@pytest.mark.parametrize("seed", range(20))
def test_samples_come_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    ndim, channels, dtype = seed % 5, int(rng.integers(1, 5)), DTYPES[seed % len(DTYPES)]
    scale = [None, 0.25, tuple(rng.uniform(0.1, 2, channels))][seed % 3]
    samples = draw_samples(rng, ndim, channels, dtype, 30)
    splits = rng.choice(["train", "test", "other"], 30)
    labels = rng.integers(0, 4, 30)
    names = [f"näme {number}" for number in range(30)]
    path = tmp_path / "a.h5"
    with data.create(
        path, ndim=ndim, channels=channels, dtype=dtype, classes=list("abcd"), scale=scale, compress=bool(seed % 2)
    ) as writer:
        for sample, split, label, name in zip(samples, splits, labels, names, strict=True):
            writer.append(sample, label=int(label), split=str(split), name=name, group=name[-1], weight=label / 2)
    with data.open(path) as file:
        assert file.check() == []
        assert file.splits == ("other", "test", "train")
        for split in file.splits:
            numbers = np.flatnonzero(splits == split)
            assert file[split].numbers.tolist() == numbers.tolist()
            assert file[split].targets.tolist() == labels[numbers].tolist()
            assert file[split].names == [names[n] for n in numbers]
            assert file[split].weights.tolist() == (labels[numbers] / 2).tolist()
            for index, number in enumerate(numbers):
                sample = file[split][index]
                factor = np.float64(1) if scale is None else np.asarray(scale)
                assert sample.values.dtype == np.float32
                np.testing.assert_array_equal(sample.values, (samples[number] * factor).astype("float32"))
                assert (sample.target, sample.number) == (labels[number], number)
                assert sample.meta == {"name": names[number], "group": names[number][-1], "weight": labels[number] / 2}
    with h5py.File(path) as root:  # Stored as the source had it.
        assert root["values"].dtype == dtype
        np.testing.assert_array_equal(root["values"][()], np.concatenate([s.reshape(-1, channels) for s in samples]))
        root.visititems(lambda name, item: check_sums(item))


def check_sums(item):
    assert not isinstance(item, h5py.Dataset) or item.fletcher32 or not item.size
    assert not isinstance(item, h5py.Dataset) or h5py.check_string_dtype(item.dtype) is None or item.dtype.kind == "S"


@pytest.mark.parametrize(
    ("target_dtype", "classes", "read_as"), [(None, ["a", "b", "c"], "int64"), ("float64", None, "float32")]
)
def test_ragged_targets_come_back(tmp_path, target_dtype, classes, read_as):
    rng = np.random.default_rng(0)
    samples = draw_samples(rng, 2, 3, "float32", 12)
    targets = [rng.integers(0, 3, (*rng.integers(1, 5, 3), 2)).astype(target_dtype or "uint8") for _ in samples]
    with data.create(
        tmp_path / "a.h5",
        ndim=2,
        channels=3,
        target="ragged",
        target_ndim=3,
        target_channels=2,
        target_dtype=target_dtype,
        classes=classes,
    ) as writer:
        for sample, target in zip(samples, targets, strict=True):
            writer.append(sample, target=target)
    with data.open(tmp_path / "a.h5") as file:
        for batch in file["train"].batches(positions=50, seed=3):
            assert batch.targets.values.dtype == read_as
            for number, target in zip(batch.numbers, batch.targets, strict=True):
                np.testing.assert_array_equal(target, targets[number])
        np.testing.assert_array_equal(file["train"][4].target, targets[4])
        assert file.check() == []


def test_labels_of_positions_may_leave_out_the_channel(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=2, channels=1, target="ragged", classes=["a", "b"], ignore=255) as writer:
        writer.append(np.zeros((2, 3, 1), "float32"), target=np.array([[0, 1, 255], [1, 0, 0]]))
        with pytest.raises(DataError, match=r"labels must be 0 up to 1, or 255 .* Received: 2"):
            writer.append(np.zeros((1, 1, 1), "float32"), target=[[2]])
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"][0].target[..., 0].tolist() == [[0, 1, 255], [1, 0, 0]]


def test_number_targets_come_back(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=0, channels=2, target="numbers", target_channels=3) as writer:
        for number in range(5):
            writer.append(np.float32([number, 1]), target=[number / 3, 0, -1])
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"].targets[2].tolist() == [2 / 3, 0, -1]
        batch = next(iter(file["train"].batches(samples=5, shuffle=False)))
        assert batch.x.layout.ndim == 0
        assert batch.targets.dtype == np.float32
        np.testing.assert_array_equal(batch.targets[:, 0], np.float32(np.arange(5) / 3))


AFFINE = [[0, 1.5, 7], [-2.25, 0, 1e9], [0, 0, 1]]


def test_description_comes_back(tmp_path):
    axes = [{"name": "time", "spacing": 0.5, "unit": "s"}, {"name": "bin"}]
    given = {
        "channel_names": ["left", "right"],
        "scale": [0.5, 2.0],
        "recipe": {"kind": "x", "list": [1, None]},
        "source": "Müller, „Töne“",
        "licence": "CC0",
        "ignore": -1,
        "classes": ["ja", "nein"],
    }
    with data.create(tmp_path / "a.h5", ndim=2, channels=2, dtype="int16", axes=axes, **given) as writer:
        writer.append(np.ones((2, 2, 2), "int16"), label=-1, spacing=[1, 2], file="f", affine=AFFINE)
        writer.append(np.ones((2, 2, 2), "int16"), label=0)
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.schema == "convnd 1"
        assert file.info.axes == (data.Axis("time", 0.5, "s"), data.Axis("bin"))
        for key, value in given.items():
            assert file.info.to_dict()[key] == value, key
        assert file["train"][0].meta["spacing"].tolist() == [1, 2]
        assert file["train"][0].meta["affine"].tolist() == AFFINE
        assert np.isnan(file["train"][1].meta["affine"]).all()
        assert pickle.loads(pickle.dumps(file.info)) == file.info
    facts = data.info(tmp_path / "a.h5")
    assert facts["shapes"] == {"min": [2, 2], "median": [2, 2], "max": [2, 2]}
    assert facts["splits"] == {"train": {"samples": 2, "positions": 8, "classes": {"ja": 1, "nein": 0}}}


GOOD = np.ones((4, 2), "float32")
REFUSED = [
    ({"values": np.ones((4, 3), "float32"), "label": 0}, ShapeError, r"then 2 channels. Received: .*\(4, 3\)"),
    ({"values": np.ones((4, 4, 2), "float32"), "label": 0}, ShapeError, r"1 spatial axes"),
    ({"values": np.ones((0, 2), "float32"), "label": 0}, DataError, "at least one position"),
    ({"values": np.ones((4, 2)), "label": 0}, DataError, r'must be float32.*Received: float64 .*\.astype\("float32"\)'),
    ({"values": np.ones((4, 2), "complex64"), "label": 0}, DataError, "Received: complex64"),
    ({"values": np.float32([[1, 2], [3, np.nan]]), "label": 0}, DataError, r"finite. Received: nan at \(1, 1\)"),
    ({"values": np.float32([[1, 2], [np.inf, 3]]), "label": 0}, DataError, r"finite. Received: inf at \(1, 0\)"),
    ({"values": GOOD, "label": 2}, DataError, "labels must be 0 up to 1. Received: 2"),
    ({"values": GOOD, "label": -1}, DataError, "labels must be 0 up to 1. Received: -1"),
    ({"values": GOOD, "label": "c"}, DataError, "one of the classes"),
    ({"values": GOOD, "label": 0.5}, DataError, "class number or name. Received: 0.5"),
    ({"values": GOOD}, DataError, "needs label"),
    ({"values": GOOD, "target": [1.0]}, DataError, "needs label"),
    ({"values": GOOD, "label": 0, "name": "first"}, DataError, "names must differ"),
    ({"values": GOOD, "label": 0, "name": ""}, DataError, "name must be a text"),
    ({"values": GOOD, "label": 0, "split": "a/b"}, DataError, "split must be a name"),
    ({"values": GOOD, "label": 0, "weight": -1.0}, DataError, "weight must be"),
    ({"values": GOOD, "label": 0, "weight": float("nan")}, DataError, "weight must be"),
    ({"values": GOOD, "label": 0, "spacing": [1, 2]}, DataError, "spacing must be 1 numbers"),
    ({"values": GOOD, "label": 0, "affine": [[1]]}, DataError, r"affine must be a matrix \(2, 2\) that ends in"),
    ({"values": GOOD, "label": 0, "affine": [[1, 0], [1, 1]]}, DataError, r"that ends in \[0.0, 1.0\]. Received"),
    ({"values": GOOD, "label": 0, "affine": [[np.nan, 0], [0, 1]]}, DataError, "affine must be a matrix"),
    ({"values": GOOD, "label": 0, "affine": "no"}, DataError, "affine must be a matrix"),
]


@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_a_refused_sample_changes_nothing(tmp_path, given, error, message):
    with data.create(tmp_path / "a.h5", ndim=1, channels=2, classes=["a", "b"]) as writer:
        writer.append(GOOD, label="a", name="first")
        with pytest.raises(error, match=message) as caught:
            writer.append(**{"name": "bad"} | given)
        if "name" not in given:
            assert "'bad'" in str(caught.value)
        writer.append(2 * GOOD, label="b", name="last")
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"].names == ["first", "last"]
        np.testing.assert_array_equal(file["train"][1].values, 2 * GOOD)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ndim": -1}, "ndim must be an int of at least 0. Received: ndim=-1"),
        ({"channels": 0}, "channels must be"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"dtype": "nonsense"}, "dtype must be"),
        ({"target": "classes"}, "target must be"),
        ({"classes": ["a", "a"]}, "classes must be texts that differ"),
        ({"classes": "ab"}, "classes must be a list"),
        ({"axes": [{"name": "a"}, {"name": "b"}]}, "axes must be"),
        ({"axes": [{"title": "a"}]}, "axes must be"),
        ({"channel_names": ["a"]}, "channel_names must name all 2"),
        ({"scale": 0.0}, "scale must be"),
        ({"scale": [1, 2, 3]}, "scale must be"),
        ({"recipe": {"a": object()}}, "recipe must be plain JSON"),
        ({"target_dtype": "uint8"}, "target_dtype goes with"),
    ],
)
def test_arguments_of_create(tmp_path, given, message):
    with pytest.raises(ArgumentError, match=message):
        data.create(tmp_path / "a.h5", **{"ndim": 1, "channels": 2} | given)
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        data.create(tmp_path / "missing" / "a.h5", ndim=1, channels=1)
    with pytest.raises(DataError, match="is a folder"):
        data.create(tmp_path, ndim=1, channels=1)


def test_no_samples_make_no_file(tmp_path):
    with pytest.raises(DataError, match="no samples"), data.create(tmp_path / "a.h5", ndim=1, channels=1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = write_series(tmp_path / "a.h5", [3, 4])
    before = path.read_bytes()
    with data.create(path, ndim=1, channels=1, target=None) as writer:
        writer.append(np.zeros((5, 1), "float32"))
        writer.flush()
        assert path.read_bytes() == before
        reader = path.open("rb")
    with reader:
        assert reader.read() == before  # Replaced by a rename: who had the old file open reads it on.
    assert data.open(path).layout.shapes.tolist() == [[5]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def test_what_splits_give(tmp_path):
    file = data.open(write_series(tmp_path / "a.h5", range(1, 11)))
    split = file["train"]
    assert [split[-1].number, split.subset([2, -1]).numbers.tolist()] == [9, [2, 9]]
    assert split.subset(slice(None, None, 4)).layout.shapes[:, 0].tolist() == [1, 5, 9]
    assert [sample.number for sample in split.subset([3, 1])] == [3, 1]
    with pytest.raises(IndexError, match="out of range"):
        split[10]
    with pytest.raises(ArgumentError, match="one sample is chosen by an int"):
        split[1:3]
    with pytest.raises(DataError, match=r"no split 'test'. It has: train"):
        file["test"]
    copy = pickle.loads(pickle.dumps(split.subset([4, 2])))
    np.testing.assert_array_equal(copy[0].values, split[4].values)
    file.close()
    assert split[0].values.tolist() == [[0]]  # Opens again.


def test_threads_read_together(tmp_path):
    file = data.open(write_series(tmp_path / "a.h5", [50] * 40))
    wrong = []

    def read(start):
        numbers = [*range(start, 40), *range(start)]
        wrong.extend(number for number in numbers if file["train"][number].values[7, 0] != 1000 * number + 7)

    threads = [threading.Thread(target=read, args=(start,)) for start in (0, 13, 27)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def write_labelled(path, labels, groups=None):
    with data.create(path, ndim=0, channels=1) as writer:
        for index, label in enumerate(labels):
            writer.append(
                np.zeros(1, "float32"), label=int(label), group=None if groups is None else str(groups[index])
            )
    return data.open(path)["train"]


def test_divide_keeps_the_classes_shares(tmp_path):
    split = write_labelled(tmp_path / "a.h5", [0] * 40 + [1] * 20 + [2] * 10 + [3] * 3)
    rest, part = split.divide(0.25, seed=5)
    assert np.bincount(part.targets).tolist() in ([10, 5, 2, 1], [10, 5, 3, 0], [10, 5, 3, 1])
    assert len(part) == 18
    assert sorted([*rest.numbers, *part.numbers]) == list(range(73))
    assert part.numbers.tolist() == split.divide(0.25, seed=5)[1].numbers.tolist()
    assert part.numbers.tolist() != split.divide(0.25, seed=6)[1].numbers.tolist()
    _, any_class = split.divide(0.25, seed=5, stratify=False)
    assert len(any_class) == 18


def test_divide_by_group_tears_none_apart(tmp_path):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 12, 200)
    split = write_labelled(tmp_path / "a.h5", rng.integers(0, 3, 200), groups)
    for seed in range(5):
        rest, part = split.divide(0.3, seed=seed, by_group=True)
        assert not set(rest.groups) & set(part.groups)
        assert 0.15 < len(part) / 200 < 0.45
    one = split.subset(np.flatnonzero(split.groups == "1"))
    with pytest.raises(DataError, match="leaves one of the two parts empty"):
        one.divide(0.5, by_group=True)
    with pytest.raises(ArgumentError, match="fraction must lie between"):
        split.divide(1.0)
    with pytest.raises(DataError, match="no groups"):
        write_labelled(tmp_path / "b.h5", [0, 1]).divide(0.5, by_group=True)
    with pytest.raises(DataError, match="leaves one of the two parts empty"):
        split.divide(0.001)
