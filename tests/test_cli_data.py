"""The command line on several files, on what others made, and what it says of labels and of waiting."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from command import convnd
from training_files import classes_file, labels_file

import convnd as cn
from convnd.data import summary

NET = 'type = "Sequential"\n[[layers]]\ntype = "Conv"\nfilters = 2\nkernel = 3\npadding = "same"\n'
QUICK = ["--epochs", "1", "--samples", "8", "--seed", "1", "-q"]
SMALL = ["--model", "small", "--set", "width=4"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("convnd.plots.available", lambda: False)


def sounds(count=20):
    """Series of two kinds, int16."""
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(int(rng.integers(8, 30))) * 900 + 4000 * (n % 2)).astype("int16")
            for n in range(count)]  # fmt: skip


KINDS = [("low", "high")[number % 2] for number in range(20)]


@pytest.fixture
def group(tmp_path):
    with h5py.File(tmp_path / "group.h5", "w") as root:
        for number, values in enumerate(sounds()):
            root.create_dataset(f"sounds/{number}", data=values).attrs["kind"] = KINDS[number]
        root["kinds"] = KINDS
    return tmp_path / "group.h5"


@pytest.fixture
def vlen(tmp_path):
    with h5py.File(tmp_path / "vlen.h5", "w") as root:
        dataset = root.create_dataset("sounds", (20,), h5py.vlen_dtype("int16"))
        for number, values in enumerate(sounds()):
            dataset[number] = values
        root["kinds"] = np.arange(20) % 2
        root["shapes"] = [[len(values), 1] for values in sounds()]
    return tmp_path / "vlen.h5"


@pytest.fixture
def folder(tmp_path):
    rows = ["path,label,split"]
    for number, values in enumerate(sounds()):
        path = tmp_path / "arrays" / KINDS[number] / f"{number:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
        rows.append(f"{KINDS[number]}/{number:02}.npy,{KINDS[number]},{'test' if number > 15 else 'train'}")
    (tmp_path / "arrays.csv").write_text("\n".join(rows))
    return tmp_path / "arrays"


def test_others_files_from_training_to_prediction(tmp_path, group, vlen, folder):
    """The same samples in four ways: the same run, the same figures, the same answers."""
    scale, classes = ["--scale", "0.001"], ["--classes", "high,low"]
    ways = [
        [group, "--values", "sounds", "--labels", "kinds"],
        [group, "--values", "sounds", "--labels", "@kind", *classes],
        [vlen, "--values", "sounds", "--labels", "kinds", "--classes", "low,high"],
        [folder, "--labels", "folder"],
    ]
    found = []
    for number, way in enumerate(ways):
        run = tmp_path / str(number)
        convnd("train", *way, *scale, *SMALL, "--out", run, *QUICK)
        metrics = json.loads(convnd("evaluate", run, *way, *scale, "--split", "train", "--json", "-q"))
        assert metrics["samples"] == 20
        assert sorted(metrics["classes"]) == ["high", "low"]
        inputs = [way[0], *scale, *(["--values", "sounds"] if way[0] != folder else [])]
        answers = json.loads(convnd("predict", run, *inputs, "--json"))
        assert len(answers) == 20
        found.append((metrics["loss"], answers[3]["probabilities"]))
        assert json.loads(convnd("check", *way, *scale, "--json"))["sound"] is True
    assert found[0] == found[1]
    assert sum(found[2][1].values()) == pytest.approx(1, abs=1e-5)
    with cn.data.open(group, values="sounds", labels="kinds", scale=0.001) as file:
        model = cn.load(tmp_path / "0")
        shares = dict(zip(model.classes, model.probabilities([file["train"][3].values])[0], strict=True))
    assert found[0][1] == {name: round(float(share), 6) for name, share in shares.items()}
    np.save(tmp_path / "one.npy", sounds()[3].astype("float32") * np.float32(0.001))  # (*S), of one channel
    one = json.loads(convnd("predict", tmp_path / "0", tmp_path / "one.npy", "--json"))
    assert one[0]["probabilities"] == pytest.approx(found[0][1], abs=1e-5)


def test_a_table_of_labels_and_splits(tmp_path, folder):
    table = ["--labels", tmp_path / "arrays.csv"]
    convnd("train", folder, *table, *SMALL, "--out", tmp_path / "run", *QUICK)
    assert json.loads(convnd("evaluate", tmp_path / "run", folder, *table, "--json", "-q"))["samples"] == 4
    facts = json.loads(convnd("info", folder, *table, "--json"))
    assert facts["splits"]["test"]["classes"] == {"high": 2, "low": 2}


def test_shapes_and_axes_of_others_files(vlen):
    facts = json.loads(convnd("info", vlen, "--values", "sounds", "--shapes", "shapes", "--ndim", "1", "--json"))
    assert (facts["ndim"], facts["channels"], facts["samples"]) == (1, 1, 20)
    facts = json.loads(convnd("info", vlen, "--values", "sounds", "--shapes", "shapes", "--ndim", "2", "--json"))
    assert (facts["ndim"], facts["shapes"]["max"][1]) == (2, 1)


def test_info_of_others_files(group, folder):
    facts = json.loads(convnd("info", group, "--values", "sounds", "--labels", "kinds", "--json"))
    assert facts["splits"]["train"]["classes"] == {"high": 10, "low": 10}
    assert facts["bytes"] == group.stat().st_size
    assert facts["checksums"]["with"] == 0
    shown = convnd("info", folder, "--labels", "folder")
    assert "20 samples (high: 10, low: 10)" in shown
    assert "none on .npy files" in shown
    facts = json.loads(convnd("info", folder, "--json"))
    assert facts["bytes"] == sum(path.stat().st_size for path in folder.rglob("*.npy"))


def test_maps_of_labels_beside_arrays(tmp_path):
    """Labels of every position; their number, where no names are given, is found by reading them."""
    rng = np.random.default_rng(1)
    for number in range(8):
        for name in ("images", "maps"):
            (tmp_path / name).mkdir(exist_ok=True)
        np.save(tmp_path / f"images/{number}.npy", rng.standard_normal((6, 7)).astype("float32"))
        np.save(tmp_path / f"maps/{number}.npy", rng.integers(0, 3, (6, 7)).astype("uint8"))
    images, run = tmp_path / "images", tmp_path / "run"
    how = [images, "--labels", tmp_path / "maps", "--ndim", "2"]
    counts = json.loads(convnd("info", *how, "--json"))["splits"]["train"]["class_positions"]
    maps = np.stack([np.load(tmp_path / f"maps/{number}.npy") for number in range(8)])
    assert counts == {str(label): int((maps == label).sum()) for label in range(3)}
    convnd("train", *how, "--model", "unet", "--set", "width=2", "--set", "depth=1", "--out", run, *QUICK)
    assert cn.load(run).classes == ["0", "1", "2"]
    for more in ([], ["--tile", "4"]):
        (tmp_path / "net.toml").write_text(NET.replace("filters = 2", "filters = 3"))
        convnd("train", *how, "--model", tmp_path / "net.toml", "--out", run, "--force", *QUICK)
        answers = json.loads(convnd("predict", run, images, *more, "--json", "-q"))
        assert [sum(answer["positions"].values()) for answer in answers] == [42] * 8


def test_several_files_as_one(tmp_path):
    paths = [classes_file(tmp_path / f"{number}.h5", seed=number) for number in range(2)]
    convnd("train", *paths, *SMALL, "--out", tmp_path / "run", *QUICK, "--validation", "none")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["data"]["train"]["samples"] == 48
    assert json.loads(convnd("evaluate", tmp_path / "run", *paths, "--json", "-q"))["samples"] == 24
    facts = json.loads(convnd("info", *paths, "--json"))
    assert facts["samples"] == 72
    assert facts["bytes"] == sum(path.stat().st_size for path in paths)
    assert facts["checksums"]["without"] == []
    assert facts["checksums"]["with"] == 2 * json.loads(convnd("info", paths[0], "--json"))["checksums"]["with"]
    assert "0.h5 + 1 more: 72 samples, all sound" in convnd("check", *paths)
    error = convnd("train", paths[0], paths[0], *SMALL, "--out", tmp_path / "no", *QUICK, code=1)
    assert "is given twice" in error


def test_sizes(tmp_path):
    data = classes_file(tmp_path / "a.h5")
    for given, kept in ([], "mixed"), (["--sizes", "grouped"], "grouped"):
        convnd("train", data, *SMALL, "--out", tmp_path / "run", "--force", *given, *QUICK)
        assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["sizes"] == kept
    error = convnd("train", data, *SMALL, "--out", tmp_path / "run", "--sizes", "sorted", code=2)
    assert "'sorted' is not one of 'mixed', 'grouped'" in error


def test_the_time_that_training_waits(tmp_path):
    data, out = classes_file(tmp_path / "a.h5"), tmp_path / "run"
    shown = convnd("train", data, *SMALL, "--out", out, *QUICK, "--epochs", "3")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    seconds, waited = (sum(line[name] for line in lines) for name in ("seconds", "waited"))
    said = f"{seconds:.1f} s, of which training waited {waited:.2f} s for data ({waited / seconds:.1%})"
    assert shown.splitlines()[-1] == said
    result = json.loads(convnd("train", data, *SMALL, "--out", out, "--force", *QUICK, "--json"))
    assert 0 <= result["waited"] <= result["seconds"]  # to the millisecond: a fast machine may not wait for one


# Labels of every position


@pytest.mark.parametrize("part", [7, 10**6])
def test_positions_of_each_class(tmp_path, monkeypatch, part):
    """Counted in parts of any size, split by split, without the positions that have no label."""
    path = labels_file(tmp_path / "a.h5")
    monkeypatch.setattr(summary, "PART", part)
    facts = cn.data.info(path)
    with cn.data.open(path) as file:
        for name in ("train", "test"):
            labels = np.concatenate([sample.target.ravel() for sample in file[name]])
            counts = facts["splits"][name]
            assert counts["class_positions"] == {"background": (labels == 0).sum(), "thing": (labels == 1).sum()}
            assert counts["ignored"] == (labels == 255).sum() > 0
            assert sum(counts["class_positions"].values()) + counts["ignored"] == counts["positions"]
            line = (f"({', '.join(f'{k}: {v:,}' for k, v in counts['class_positions'].items())}, "
                    f"without a label: {counts['ignored']:,} positions)")  # fmt: skip
            assert line in convnd("info", path)


def test_labels_are_not_read_at_once(tmp_path, monkeypatch):
    path = labels_file(tmp_path / "a.h5", count=40)
    monkeypatch.setattr(summary, "PART", 200)
    rows, read = [], cn.data.File.read_targets
    monkeypatch.setattr(cn.data.File, "read_targets", lambda *given: rows.append(len(given[-1])) or read(*given))
    facts = cn.data.info(path)
    assert max(rows) <= 200 < sum(rows) == facts["positions"]
    assert min(rows[:-2]) > 100 - 81  # No more often than the samples make necessary.


def test_classes_of_samples_are_counted_as_before(tmp_path):
    shown = convnd("info", classes_file(tmp_path / "a.h5"))
    assert "24 samples (low: 12, high: 12)" in shown
    assert "positions)" not in shown


# Mistakes


def mistakes(group, vlen, folder):
    return [
        (1, ["train", group, *SMALL], "if you name what holds them: data.open(path, values=...), --values on"),
        (1, ["info", group], "--values on the command line"),
        (1, ["check", vlen], "--values on the command line"),
        (1, ["train", group, "--values", "songs", *SMALL], "has no 'songs'. It holds: kinds, sounds"),
        (1, ["train", group, "--values", "sounds", *SMALL], "--labels says where others' files have them"),
        (1, ["train", group, "--values", "sounds", "--labels", "names", *SMALL], "has no 'names'"),
        (2, ["info", vlen, "--values", "sounds", "--shapes", "shapes"], "ndim must say how many of the 2 axes"),
        (2, ["info", group, "--values", "sounds", "--shapes", "kinds"], "shapes goes with a dataset of variable"),
        (2, ["info", folder, "--values", "sounds"], "values and shapes name datasets of an HDF5 file"),
        (2, ["info", group, "--values", "sounds", "--scale", "big"], "must be numbers with commas between them"),
        (2, ["info", group, "--values", "sounds", "--scale", "0"], "scale must be"),
        (1, ["info", group, "--values", "sounds", "--labels", "kinds", "--classes", "a,b"], "must be one of a, b"),
        (1, ["info", folder.parent / "arrays.csv"], "isn't an HDF5 file"),
    ]


def test_a_mistake_gets_one_plain_line(tmp_path, group, vlen, folder):
    for code, words, message in mistakes(group, vlen, folder):
        error = convnd(*words, *(["--out", tmp_path / "out"] if words[0] == "train" else []), code=code)
        assert message in " ".join(error.split()), words
        assert len([line for line in error.splitlines() if line.startswith(("convnd:", "Error:"))]) == 1
        assert not (tmp_path / "out").exists()


def test_options_that_go_with_others_files_only(tmp_path, folder):
    data = classes_file(tmp_path / "a.h5")
    error = convnd("train", data, "--labels", "kinds", *SMALL, "--out", tmp_path / "out", code=2)
    assert "labels goes with files that others made: a folder, or an HDF5 file and values=" in error
    convnd("train", folder, "--labels", "folder", *SMALL, "--out", tmp_path / "run", *QUICK)
    (array,) = folder.rglob("03.npy")
    for path, option, message in (
        (array, ["--scale", "2"], "--scale goes with files that others made"),
        (data, ["--scale", "2"], "scale goes with files that others made"),
    ):
        error = convnd("predict", tmp_path / "run", path, *option, code=1)
        assert message in error
        assert str(path) in error
