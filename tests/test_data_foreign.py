"""Other people's files: groups of datasets, datasets of variable length, folders of .npy files."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

import convnd as cn
from convnd import data
from convnd.errors import ArgumentError, DataError, ShapeError

COUNT = 25


def arrays(ndim=1, channels=None, dtype="int16", seed=0):
    """Arrays (*S) or (*S, C) of different sizes."""
    rng = np.random.default_rng(seed)
    last = () if channels is None else (channels,)
    return [(rng.standard_normal((*rng.integers(1, 9, ndim), *last)) * 100).astype(dtype) for _ in range(COUNT)]


def write_group(path, samples, names=None, labels=None, **options):
    with h5py.File(path, "w") as root:
        for number, sample in enumerate(samples):
            root.create_dataset(f"sounds/{number if names is None else names[number]}", data=sample, **options)
        if labels is not None:
            root["labels"] = labels
    return path


def write_vlen(path, samples, labels=None, shapes=None):
    with h5py.File(path, "w") as root:
        dataset = root.create_dataset("sounds", (len(samples),), h5py.vlen_dtype(samples[0].dtype))
        for number, sample in enumerate(samples):
            dataset[number] = sample.ravel()
        for name, content in (("labels", labels), ("shapes", shapes)):
            if content is not None:
                root[name] = content
    return path


def write_npy(folder, samples, names=None):
    for number, sample in enumerate(samples):
        path = folder / (f"{number:03d}.npy" if names is None else names[number])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, sample)
    return folder


def assert_holds(opened, samples, channels=1, scale=1.0):
    """Every way to a sample gives it, in float32."""
    ndim = opened.info.ndim
    wanted = [(array.reshape(*array.shape[:ndim], channels) * np.float64(scale)).astype("float32") for array in samples]
    assert len(opened) == len(samples)
    assert opened.splits == ("train",)
    assert opened.info.channels == channels
    split = opened["train"]
    for number, sample in enumerate(wanted):
        np.testing.assert_array_equal(split[number].values, sample)
    grouped = {"positions": 60, "oversize": "alone", "sizes": "grouped"}
    for given in ({"samples": 4}, grouped, {"samples": COUNT, "prefetch": 0}):
        seen = []
        for batch in split.batches(**given, seed=1):
            for number, values in zip(batch.numbers.tolist(), batch.x, strict=True):
                np.testing.assert_array_equal(values, wanted[number])
                seen.append(number)
        assert sorted(seen) == list(range(len(samples)))
    rest, part = split.divide(0.2, seed=1)
    assert sorted([*rest.numbers, *part.numbers]) == list(range(len(samples)))
    np.testing.assert_array_equal(split.subset([3, 1])[0].values, wanted[3])
    assert opened.check() == []
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copy[2].values, wanted[2])


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", ">i4", "float16", "bool"])
def test_a_group_of_series(tmp_path, dtype):
    samples = arrays(dtype=dtype)
    path = write_group(tmp_path / "a.h5", samples)
    with data.open(path, values="sounds", scale=0.25) as opened:
        assert_holds(opened, samples, scale=0.25)
        assert opened.samples.names == [str(number) for number in range(COUNT)]  # By number: 2 before 10.


@pytest.mark.parametrize(("ndim", "channels"), [(1, 3), (2, None), (2, 3), (3, None), (0, 4)])
def test_a_group_of_any_rank(tmp_path, ndim, channels):
    samples = arrays(ndim, channels, "float32")
    path = write_group(tmp_path / "a.h5", samples, compression="gzip" if ndim else None, chunks=True if ndim else None,
                       fletcher32=bool(ndim))  # fmt: skip
    with data.open(path, values="/sounds/", ndim=ndim) as opened:
        assert_holds(opened, samples, channels or 1)


@pytest.mark.parametrize("given", [{}, {"shapes": "shapes"}])
def test_a_dataset_of_variable_length(tmp_path, given):
    samples = arrays(1, None, "int16")
    path = write_vlen(tmp_path / "a.h5", samples, shapes=[sample.shape for sample in samples])
    with data.open(path, values="sounds", scale=[0.5], **given) as opened:
        assert_holds(opened, samples, scale=0.5)
        assert opened.samples.names[3] == "3"


def test_a_dataset_of_variable_length_with_shapes(tmp_path):
    samples = arrays(2, 3, "uint8")
    path = write_vlen(tmp_path / "a.h5", samples, shapes=np.array([sample.shape for sample in samples]))
    with data.open(path, values="sounds", shapes="shapes", ndim=2) as opened:
        assert_holds(opened, samples, 3)


@pytest.mark.parametrize("options", [{"chunks": (7,)}, {"chunks": (7,), "compression": "gzip", "shuffle": True},
                                     {"chunks": (40,), "maxshape": (None,)}, {}], ids=str)  # fmt: skip
@pytest.mark.parametrize("scale", [1, 3000])
def test_datasets_of_variable_length_as_h5py_stores_them(tmp_path, options, scale):
    """In chunks, filtered, in one heap or in many, written in any order and written again."""
    samples = [np.resize(sample, len(sample) * scale) for sample in arrays(1, None, "float64")]
    with h5py.File(tmp_path / "a.h5", "w") as root:
        dataset = root.create_dataset("sounds", (COUNT,), h5py.vlen_dtype("float64"), **options)
        for number in np.random.default_rng(0).permutation(COUNT).tolist() * 2:
            dataset[number] = samples[number]
    with data.open(tmp_path / "a.h5", values="sounds") as opened:
        assert_holds(opened, samples)


@pytest.mark.parametrize(("ndim", "channels"), [(1, None), (2, 3), (3, None)])
def test_a_folder(tmp_path, ndim, channels):
    samples = arrays(ndim, channels, "float64")
    samples[4] = np.asfortranarray(samples[4])
    folder = write_npy(tmp_path / "npy", samples)
    (folder / "readme.txt").write_text("other files are passed over")
    with data.open(folder, ndim=ndim) as opened:
        assert_holds(opened, samples, channels or 1)
        assert opened.samples.names[:2] == ["000.npy", "001.npy"]


NAMES = [f"{'dog' if number % 3 else 'cat'}" for number in range(COUNT)]


def labelled(tmp_path, kind, labels):
    """One file of a kind, with labels in it."""
    samples = arrays()
    if kind == "group":
        return data.open(write_group(tmp_path / "a.h5", samples, labels=labels), values="sounds", labels="labels")
    if kind == "vlen":
        return data.open(write_vlen(tmp_path / "a.h5", samples, labels=labels), values="sounds", labels="labels")
    return data.open(write_npy(tmp_path / "npy", samples), labels=labels)


@pytest.mark.parametrize("kind", ["group", "vlen"])
@pytest.mark.parametrize("labels", [NAMES, np.array(NAMES, "S"), np.arange(COUNT) % 3 == 0], ids=["str", "S", "bool"])
def test_labels_that_are_names_or_numbers(tmp_path, kind, labels):
    opened = labelled(tmp_path, kind, labels)
    boolean = isinstance(labels, np.ndarray) and labels.dtype == bool
    assert opened.info.classes == (None if boolean else ("cat", "dog"))
    wanted = [int((name == "cat") if boolean else (name == "dog")) for name in NAMES]
    assert opened.samples.targets.tolist() == wanted
    for batch in opened["train"].batches(samples=4):
        assert batch.targets.tolist() == [wanted[number] for number in batch.numbers]


def test_labels_that_are_floats_are_to_be_predicted(tmp_path):
    opened = labelled(tmp_path, "group", np.arange(COUNT) / 4)
    assert (opened.info.target, opened.info.target_channels) == ("numbers", 1)
    assert opened["train"][3].target.tolist() == [0.75]
    opened.close()
    opened = labelled(tmp_path, "vlen", np.ones((COUNT, 2)) * np.arange(COUNT)[:, None])
    assert opened["train"][3].target.tolist() == [3, 3]


def test_labels_in_attributes_scalars_and_arrays(tmp_path):
    path = write_group(tmp_path / "a.h5", arrays())
    with h5py.File(path, "a") as root:
        for number in range(COUNT):
            root[f"sounds/{number}"].attrs["kind"] = NAMES[number]
            root[f"kinds/{number}"] = NAMES[number]
            root[f"more/{number}"] = np.int8(number % 3)
    wanted = [int(name == "dog") for name in NAMES]
    for labels in ("@kind", "kinds", NAMES):
        with data.open(path, values="sounds", labels=labels) as opened:
            assert opened.samples.targets.tolist() == wanted
    with data.open(path, values="sounds", labels="more", classes=list("abc")) as opened:
        assert opened.samples.targets.tolist() == [number % 3 for number in range(COUNT)]
        assert opened.info.classes == ("a", "b", "c")
    with data.open(path, values="sounds", labels="@kind", classes=["dog", "cat", "cow"]) as opened:
        assert opened.samples.targets.tolist() == [1 - number for number in wanted]
    with data.open(path, values="sounds", labels=[str(10 - number % 2) for number in range(COUNT)]) as opened:
        assert opened.info.classes == ("9", "10")  # Sorted as numbers.


@pytest.mark.parametrize("channels", [None, 2])
def test_labels_of_every_position(tmp_path, channels):
    samples = arrays(2, 3, "float32")
    last = () if channels is None else (channels,)
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 4, (*sample.shape[:2], *last)).astype("uint8") for sample in samples]
    path = write_group(tmp_path / "a.h5", samples)
    with h5py.File(path, "a") as root:
        for number, labels in enumerate(maps):
            root[f"maps/{number}"] = labels
    folder = write_npy(tmp_path / "images", samples)
    write_npy(tmp_path / "masks", maps)
    for opened in (
        data.open(path, values="sounds", labels="maps", ndim=2, classes=list("abcd")),
        data.open(folder, labels=tmp_path / "masks", ndim=2, classes=list("abcd")),
    ):
        assert opened.check() == []
        for batch in opened["train"].batches(samples=6, seed=2):
            assert batch.targets.values.dtype == np.int64
            for number, labels in zip(batch.numbers, batch.targets, strict=True):
                np.testing.assert_array_equal(labels, maps[number].reshape(*maps[number].shape[:2], -1))
        opened.close()


def test_labels_of_variable_length(tmp_path):
    samples = arrays()
    path = write_vlen(tmp_path / "a.h5", samples)
    with h5py.File(path, "a") as root:
        steps = root.create_dataset("steps", (COUNT,), h5py.vlen_dtype("float32"))
        for number, sample in enumerate(samples):
            steps[number] = sample / 2
    with data.open(path, values="sounds", labels="steps") as opened:
        assert (opened.info.target, opened.info.labels) == ("ragged", False)
        np.testing.assert_array_equal(opened["train"][4].target[:, 0], (samples[4] / 2).astype("float32"))


def test_a_folder_with_a_class_a_folder_or_a_table(tmp_path):
    samples = arrays()
    names = [f"{NAMES[number]}/{number:03d}.npy" for number in range(COUNT)]
    folder = write_npy(tmp_path / "npy", samples, names)
    with data.open(folder, labels="folder") as opened:
        assert opened.info.classes == ("cat", "dog")
        assert [opened.info.classes[target] for target in opened.samples.targets] == [
            name.split("/")[0] for name in opened.samples.names
        ]
    lines = ["path,label,split,group,weight"]
    lines += [f"{name},k{number % 3},{'test' if number % 5 == 0 else 'train'},g{number % 2},{number}"
              for number, name in enumerate(names)]  # fmt: skip
    for table in (tmp_path / "labels.csv", folder / "labels.csv"):
        table.write_text("\n".join(lines))
        with data.open(folder, labels=table if table.parent == tmp_path else "labels.csv") as opened:
            assert opened.splits == ("test", "train")
            assert opened.samples.names == names  # In the table's order.
            assert opened["test"].numbers.tolist() == [0, 5, 10, 15, 20]
            assert opened.samples.targets.tolist() == [number % 3 for number in range(COUNT)]
            assert opened["test"].groups.tolist() == ["g0", "g1", "g0", "g1", "g0"]
            assert opened["test"].weights.tolist() == [0, 5, 10, 15, 20]
            np.testing.assert_array_equal(opened["test"][1].values[:, 0], samples[5])


def test_augmented_joined_and_trained_on(tmp_path):
    first = write_group(tmp_path / "a.h5", arrays(seed=1), labels=NAMES)
    second = write_group(tmp_path / "b.h5", arrays(seed=2), labels=NAMES[::-1])
    net = cn.nn.Sequential(cn.nn.GlobalPool(), cn.nn.Linear(2))
    with data.open([first, second], values="sounds", labels="labels") as both:
        assert len(both["train"]) == 2 * COUNT
        assert both.samples.names[COUNT] == "b.h5:0"
        run = cn.fit(net, both["train"], epochs=2, progress=False, augment=["flip", "random_crop(4)"])
        assert len(run.history) == 2
        assert cn.evaluate(run.model, both["train"])["samples"] == 2 * COUNT


def damaged(path, edit):
    with h5py.File(path, "a") as root:
        edit(root)
    return path


FAULTS = [
    (lambda root: None, {"values": "songs"}, "has no 'songs'. It holds: labels, sounds"),
    (lambda root: None, {"values": "labels"}, r"/labels must be a group of datasets, or a dataset \(samples,\) of var"),
    (lambda root: root.create_group("empty"), {"values": "empty"}, "/empty holds no samples"),
    (lambda root: root.create_group("sounds/more"), {}, "/sounds: more is a group, and each sample must be a dataset"),
    (lambda root: root.__setitem__("sounds/x", "text"), {}, "/sounds: x: must hold numbers. Received: object"),
    (lambda root: root.__setitem__("sounds/x", np.zeros(3, "f4")), {}, "x: must be int16, as 0 is. Received: float32"),
    (lambda root: root.__setitem__("sounds/x", np.zeros((3, 2), "i2")), {}, r"x: all samples must have 1 axes, as 0"),
    (lambda root: root.__setitem__("sounds/x", np.zeros(0, "i2")), {}, "x: a sample must have at least one position"),
    (lambda root: None, {"labels": "kinds"}, "has no 'kinds'"),
    (lambda root: root.__setitem__("kinds", np.zeros(4, int)), {"labels": "kinds"},
     r"must be 25, one a sample. Received: \(4,\)"),
    (lambda root: root.__setitem__("kinds", np.arange(25) - 1), {"labels": "kinds"},
     "0: a class number must be at least 0. Received: -1"),
    (lambda root: root.__setitem__("kinds", np.arange(25)), {"labels": "kinds", "classes": ["a", "b"]},
     "2: a class number must be at least 0 and below 2. Received: 2"),
    (lambda root: None, {"labels": "labels", "classes": ["cat"]}, "1: its label must be one of cat. Received: 'dog'"),
    (lambda root: root.__setitem__("kinds", np.full(25, np.nan)), {"labels": "kinds"}, "0: its label must be finite"),
    (lambda root: None, {"labels": np.zeros(25, "c8")}, "must be texts or numbers. Received: complex64"),
    (lambda root: None, {"labels": "@kind"}, "0 has no attribute 'kind', which is to be its label"),
    (lambda root: root.create_group("maps"), {"labels": "maps"}, "/maps must hold 0, as the values do"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "given", "message"), FAULTS, ids=[row[2] for row in FAULTS])
def test_faults_of_groups(tmp_path, edit, given, message):
    path = damaged(write_group(tmp_path / "a.h5", arrays(), labels=NAMES), edit)
    with pytest.raises((DataError, ShapeError), match=rf"a\.h5.*{message}"):
        data.open(path, **{"values": "sounds"} | given)


def test_faults_of_variable_length(tmp_path):
    path = write_vlen(tmp_path / "a.h5", arrays(), shapes=[[1]] * 24)
    with pytest.raises(DataError, match=r"shapes must have 25 rows\. Received: 24"):
        data.open(path, values="sounds", shapes="shapes")
    path = write_vlen(tmp_path / "a.h5", arrays(), shapes=np.full((25, 1), 3))
    with data.open(path, values="sounds", shapes="shapes") as opened:
        message = r"sample \d+ \('\d+'\) can't be read \(.*numbers don't make the shape \(3,\)"
        with pytest.raises(DataError, match=message):
            list(opened["train"].batches(samples=25))
        assert 10 < len(opened.check()) <= 25
    path = write_vlen(tmp_path / "a.h5", arrays(), shapes=np.full((25, 1), -3))
    with pytest.raises(DataError, match="/shapes must hold a shape for each sample, whole numbers"):
        data.open(path, values="sounds", shapes="shapes")


def test_arguments(tmp_path):
    path = write_group(tmp_path / "a.h5", arrays(2, 3))
    own = tmp_path / "own.h5"
    with data.create(own, ndim=1, channels=1, target=None) as writer:
        writer.append(np.zeros((3, 1), "float32"))
    folder = write_npy(tmp_path / "npy", arrays())
    for given, message in [
        ((path,), r"not one of convnd's .* Samples of others are read if you name what holds them: data.open"),
        ((own, {"labels": "x"}), "labels goes with files that others made"),
        ((own, {"ndim": 1}), "ndim goes with files that others made"),
        ((folder, {"values": "x"}), "values and shapes name datasets of an HDF5 file. Received: the folder"),
        ((path, {"values": "sounds"}), "how many of the 3 axes of a sample are spatial: 3 of one channel, or 2 and"),
        ((path, {"values": "sounds", "ndim": 1}), "ndim must say .* Received: ndim=1"),
        ((path, {"values": "sounds", "ndim": 2, "shapes": "x"}), "shapes goes with a dataset of variable length"),
        ((path, {"values": "sounds", "ndim": 2, "scale": 0.0}), "scale must be one finite number other than 0"),
        ((folder, {"labels": "missing.csv"}), "labels_from must be a folder"),
        ((tmp_path / "nothing.h5", {"values": "x"}), "there is no such file"),
        ((folder / "000.npy", {"values": "x"}), "isn't an HDF5 file"),
    ]:
        with pytest.raises((ArgumentError, DataError), match=message):
            data.open(given[0], **(given[1] if len(given) > 1 else {}))
    vlen = write_vlen(tmp_path / "v.h5", arrays())
    with pytest.raises(ArgumentError, match=r"an attribute labels the datasets of a group\. Received: labels='@x'"):
        data.open(vlen, values="sounds", labels="@x")
    two = [np.zeros((3, 2), "int16"), np.zeros((3, 3), "int16")]
    with pytest.raises(ShapeError, match=r"1: all samples must have 2 channels \(the last axis\), as 0 has"):
        data.open(write_group(tmp_path / "c.h5", two), values="sounds", ndim=1)


def test_faults_of_folders(tmp_path):
    folder = write_npy(tmp_path / "npy", arrays())
    sound = (folder / "007.npy").read_bytes()
    for content, message in [
        (b"", "007.npy: it is empty"),
        (sound[:-1], "007.npy: it claims an array of shape"),
        (b"RIFF" + sound[4:], "007.npy: it isn't a sound .npy file"),
        (sound.replace(b"'<i2'", b"'|O2'"), "007.npy: "),
    ]:
        (folder / "007.npy").write_bytes(content)
        with pytest.raises(DataError, match=message):
            data.open(folder)
    (folder / "007.npy").write_bytes(sound)
    (folder / "out.npy").symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(DataError, match=r"out\.npy: it is a link to nothing"):
        data.open(folder)
    (folder / "out.npy").unlink()
    with data.open(folder) as opened:
        np.save(folder / "003.npy", np.zeros(100, "int16"))
        with pytest.raises(DataError, match=r"sample 3 \('003.npy'\) can't be read \(it has changed: it held"):
            opened["train"][3]


def test_absurd_claims_are_refused_before_anything_is_allocated(tmp_path):
    import resource

    path = write_group(tmp_path / "a.h5", arrays())
    with h5py.File(path, "a") as root:
        root.create_dataset("sounds/x", (10**12,), "int16", chunks=(1000,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"a.h5: /sounds/x claims 2000000000000 bytes .*, and 0 are stored"):
        data.open(path, values="sounds")
    with h5py.File(path, "a") as root:
        del root["sounds/x"]
        root.create_dataset("sounds/x", (10**12,), "int16", chunks=(1000,), compression="gzip")[:5] = 1
    with pytest.raises(DataError, match=r"/sounds/x claims 2000000000000 bytes .* \d+ are stored: the file wasn't"):
        data.open(path, values="sounds")
    vlen = write_vlen(tmp_path / "v.h5", arrays())
    content = vlen.read_bytes()
    with data.open(vlen, values="sounds") as opened:
        place = opened.values.entries.places[3] - 8  # The size of an object in the heap.
    changed = content[:place] + (10**15).to_bytes(8, "little") + content[place + 8 :]
    vlen.write_bytes(changed)
    with pytest.raises(DataError, match=r"v\.h5: /sounds can't be read: .*the heap at \d+ is damaged"):
        data.open(vlen, values="sounds")
    vlen.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"v\.h5"):
        data.open(vlen, values="sounds")
    folder = write_npy(tmp_path / "npy", arrays())
    content = (folder / "007.npy").read_bytes()
    start, end = content.index(b"'shape': ("), content.index(b",)")
    claim = content[:start] + b"'shape': (99999999999999" + content[end:]
    (folder / "007.npy").write_bytes(claim.replace(b" " * 13, b"", 1) if b" " * 13 in claim else claim)
    with pytest.raises(DataError, match=r"007.npy"):
        data.open(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 20_000  # KiB


def flips(path, count, seed=0):
    content = path.read_bytes()
    for place in np.random.default_rng(seed).choice(len(content), count, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(place) % 8
        path.write_bytes(changed)
        yield
    path.write_bytes(content)


def test_damage_gives_clear_errors(tmp_path):
    """Every file is read, or refused with an error that names it; never another exception, never a crash."""
    samples = arrays()
    group = write_group(tmp_path / "group.h5", samples, chunks=True, fletcher32=True, labels=NAMES)
    vlen = write_vlen(tmp_path / "vlen.h5", samples, labels=np.arange(COUNT))
    refused = 0
    for path in (group, vlen):
        for _ in flips(path, 60):
            try:
                with data.open(path, values="sounds", labels="labels") as opened:
                    for batch in opened["train"].batches(samples=5, prefetch=0):
                        assert batch.x.layout.ndim == 1
            except (DataError, ShapeError, ArgumentError) as error:
                refused += 1
                assert path.name in str(error) or "text" in str(error), str(error)  # noqa: PT017
        content = path.read_bytes()
        for length in np.linspace(1, len(content) - 1, 15).astype(int):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=path.name):
                data.open(path, values="sounds", labels="labels").check()
        path.write_bytes(content)
    assert refused > 10
