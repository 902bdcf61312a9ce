"""Recordings to data files, on files the tests write."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import soundfile

from convnd import data
from convnd.data import audio
from convnd.errors import ArgumentError, DataError


def tone(length, seed=0, channels=1, dtype="int16"):
    wave = np.random.default_rng(seed).integers(-20000, 20000, (length, channels), dtype="int16")
    return wave if dtype == "int16" else (wave / 32768).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    """12 recordings of 2 speakers and 3 words, named and in folders by word."""
    for number in range(12):
        path = tmp_path / "in" / ["no", "up", "yes"][number % 3] / f"{'ab'[number % 2]}_{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(50 + number, number), 8000, subtype="PCM_16")
    return tmp_path / "in"


def test_labels_from_folders(folder, tmp_path):
    seen = []
    report = data.prepare_audio(folder, tmp_path / "a.h5", progress=lambda *step: seen.append(step))
    assert (report.samples, report.failed) == (12, [])
    assert seen[-1][:2] == (12, 12)
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("no", "up", "yes")
        assert file.info.dtype == "int16"
        assert file.info.axes == (data.Axis("time", 1 / 8000, "s"),)
        train = file["train"]
        assert train.names[:2] == ["no/a_0.wav", "no/a_6.wav"]
        for sample in train:
            number = int(sample.meta["name"].split("_")[1][:-4])
            assert sample.target == number % 3
            np.testing.assert_array_equal(sample.values, (tone(50 + number, number) / 32768).astype("float32"))


def test_labels_groups_and_splits_from_names(folder, tmp_path):
    pattern = r"(?P<label>[a-z]+)/(?P<group>[ab])_"
    report = data.prepare_audio(
        folder, tmp_path / "a.h5", label_from="name", pattern=pattern, split={"test": 0.5}, by_group=True, seed=1
    )
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        assert len(file["test"]) == len(file["train"]) == 6
        assert set(file["test"].groups) | set(file["train"].groups) == {"a", "b"}
        assert len(set(file["test"].groups)) == 1
    data.prepare_audio(folder, tmp_path / "b.h5", split={"test": 1 / 4, "validation": 1 / 4})
    counts = {name: part["classes"] for name, part in data.info(tmp_path / "b.h5")["splits"].items()}
    assert counts["test"] == counts["validation"] == {"no": 1, "up": 1, "yes": 1}
    assert counts["train"] == {"no": 2, "up": 2, "yes": 2}


def test_a_manifest(folder, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label,split,group\nno/a_0.wav,10,test,x\nup/b_1.wav,9,,y\nup/missing.wav,9,,y\n")
    report = data.prepare_audio(folder, tmp_path / "a.h5", label_from=manifest)
    assert [(failure.path, "missing.wav" in failure.reason) for failure in report.failed] == [("up/missing.wav", True)]
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("9", "10")  # As numbers, not as texts.
        assert (file["test"].names, file["train"].names) == (["no/a_0.wav"], ["up/b_1.wav"])
        assert file["test"].groups.tolist() == ["x"]
    manifest.write_text("file,label\nno/a_0.wav,no\n")
    with pytest.raises(DataError, match="a manifest needs a line of column names, path among them"):
        data.prepare_audio(folder, tmp_path / "b.h5", label_from=manifest)
    manifest.write_text("path,label\nno/a_0.wav,no\nup/b_1.wav,\n")
    with pytest.raises(DataError, match=r"up/b_1.wav has no label, and others have"):
        data.prepare_audio(folder, tmp_path / "b.h5", label_from=manifest)


def test_bad_files_are_reported(folder, tmp_path):
    (folder / "no" / "b_bad.wav").write_bytes(b"not audio at all")
    soundfile.write(folder / "up" / "empty.wav", np.zeros((0, 1), "int16"), 8000)
    soundfile.write(folder / "outside.wav", tone(9), 8000)
    (folder / "no" / "notes.txt").write_text("left alone")
    report = data.prepare_audio(folder, tmp_path / "a.h5")
    assert report.samples == 12
    reasons = {failure.path: failure.reason for failure in report.failed}
    assert set(reasons) == {"no/b_bad.wav", "up/empty.wav", "outside.wav"}
    assert "at least one position" in reasons["up/empty.wav"]
    assert "in no folder" in reasons["outside.wav"]
    with pytest.raises(DataError, match=r"no/b_bad.wav"):
        data.prepare_audio(folder, tmp_path / "b.h5", strict=True)


def test_rates(folder, tmp_path):
    soundfile.write(folder / "yes" / "fast.wav", tone(1000), 16000)
    with pytest.raises(DataError, match=r"rates: no/a_0\.wav has 8000 Hz, yes/fast\.wav has 16000 Hz"):
        data.prepare_audio(folder, tmp_path / "a.h5")
    with pytest.raises(ArgumentError, match="rate must be"):
        data.prepare_audio(folder, tmp_path / "a.h5", rate=0)


def test_resampling(tmp_path):
    """A tone stays that tone: half the samples, the same sine."""
    pytest.importorskip("soxr")
    folder = tmp_path / "in" / "x"
    folder.mkdir(parents=True)
    time = np.arange(16000) / 16000
    soundfile.write(folder / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time), 16000, subtype="PCM_16")
    data.prepare_audio(folder.parent, tmp_path / "a.h5", rate=8000)
    with data.open(tmp_path / "a.h5") as file:
        values = file["train"][0].values[:, 0]
        assert len(values) == 8000
        expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
        assert np.abs(values - expected)[200:-200].max() < 2e-3
        name, again = next(data.load_inputs(folder / "a.wav", file.info.recipe))
        assert name == "a.wav"
        np.testing.assert_array_equal(again[:, 0], values)


def test_channels_and_float_recordings(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", tone(40, channels=2, dtype="float32"), 8000, subtype="FLOAT")
    soundfile.write(folder / "b.wav", tone(30, channels=1), 8000, subtype="PCM_16")
    data.prepare_audio(folder, tmp_path / "mono.h5", label_from=None)
    with data.open(tmp_path / "mono.h5") as file:
        assert (file.info.dtype, file.info.target, file.info.scale) == ("float32", None, None)
        mixed = tone(40, channels=2, dtype="float32").mean(axis=1)
        np.testing.assert_allclose(file["train"][0].values[:, 0], mixed, atol=1e-6)
        np.testing.assert_allclose(file["train"][1].values, tone(30) / 32768, atol=1e-7)
    report = data.prepare_audio(folder, tmp_path / "stereo.h5", label_from=None, mono=False)
    assert [failure.path for failure in report.failed] == ["b.wav"]
    assert "then 2 channels" in report.failed[0].reason
    soundfile.write(folder / "a.wav", tone(40, channels=2), 8000, subtype="PCM_16")
    data.prepare_audio(folder, tmp_path / "short.h5", label_from=None)
    with data.open(tmp_path / "short.h5") as file:
        mixed = np.rint(tone(40, channels=2).mean(axis=1)) / 32768
        np.testing.assert_array_equal(file["train"][0].values[:, 0], mixed.astype("float32"))
        for index, name in enumerate(["a.wav", "b.wav"]):
            ((_, again),) = data.load_inputs(folder / name, file.info.recipe)
            np.testing.assert_array_equal(again, file["train"][index].values)


def test_an_interrupted_preparation_goes_on(folder, tmp_path):
    data.prepare_audio(folder, tmp_path / "whole.h5")

    def interrupt(done, total, name):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.prepare_audio(folder, tmp_path / "a.h5", progress=interrupt)
    assert not (tmp_path / "a.h5").exists()
    data.prepare_audio(folder, tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"label_from": "name"}, ArgumentError, r"needs a pattern with a group \(\?P<label>"),
        ({"label_from": "name", "pattern": "(?P<label>"}, ArgumentError, "isn't a regular expression"),
        (
            {"label_from": "name", "pattern": r"(?P<label>\d+)x"},
            DataError,
            r"no usable files.*doesn't match the pattern",
        ),
        ({"split": {"test": 1.5}}, ArgumentError, "split must give shares"),
        ({"split": {"train": 0.5}}, ArgumentError, "split must give shares"),
        ({"by_group": True, "split": {"test": 0.5}}, ArgumentError, "by_group=True needs a group"),
        ({"label_from": "missing.csv"}, DataError, "manifest can't be read"),
    ],
)
def test_arguments(folder, tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        data.prepare_audio(folder, tmp_path / "a.h5", **given)
    assert not (tmp_path / "a.h5").exists()


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(DataError, match="isn't a folder"):
        data.prepare_audio(tmp_path / "missing", tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"no usable files ending in .wav"):
        data.prepare_audio(tmp_path, tmp_path / "a.h5")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"none of the 1 files is audio. The first, a.wav"):
        data.prepare_audio(tmp_path, tmp_path / "a.h5", label_from=None)


def test_a_missing_extra_is_named(folder, tmp_path, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest):
        if name == "soundfile":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.delitem(__import__("sys").modules, "soundfile")
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(audio.need.__globals__["importlib"], "import_module", refuse)
    with pytest.raises(DataError, match=r"needs the package soundfile: pip install convnd\[audio\]"):
        data.prepare_audio(folder, tmp_path / "a.h5")
