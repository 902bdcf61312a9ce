"""Recordings to data files, on files the tests write."""

from __future__ import annotations

import builtins
import re
import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from convnd import data
from convnd.data import sources
from convnd.data.prepare import audio
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
    assert [tuple(vars(failure).values()) for failure in report.failed] == [("up/missing.wav", "there is no such file")]
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
    with pytest.raises(DataError, match=r"outside.wav: it lies in no folder"):
        data.prepare_audio(folder, tmp_path / "b.h5", strict=True)
    (folder / "outside.wav").unlink()
    with pytest.raises(DataError, match=r"no/b_bad.wav: Format not recognised"):
        data.prepare_audio(folder, tmp_path / "b.h5", strict=True)


def test_rates(folder, tmp_path):
    soundfile.write(folder / "yes" / "fast.wav", tone(1000), 16000)
    with pytest.raises(DataError, match=r"rates: no/a_0\.wav has 8000 Hz, yes/fast\.wav has 16000 Hz"):
        data.prepare_audio(folder, tmp_path / "a.h5")
    with pytest.raises(ArgumentError, match="rate must be"):
        data.prepare_audio(folder, tmp_path / "a.h5", rate=0)


def test_resampling(tmp_path):
    """A tone stays that tone: half the samples, the same sine."""
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
    assert report.failed[0].reason == "it has 1 channels, and most files have 2"
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
    with pytest.raises(DataError, match="there is no such file or folder"):
        data.prepare_audio(tmp_path / "missing", tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"no usable files ending in .wav"):
        data.prepare_audio(tmp_path, tmp_path / "a.h5")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"none of the 1 files could be read. The first, a.wav"):
        data.prepare_audio(tmp_path, tmp_path / "a.h5", label_from=None)


def test_a_missing_extra_is_named(folder, tmp_path, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest):
        if name == "soundfile":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.delitem(__import__("sys").modules, "soundfile")
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(sources.importlib, "import_module", refuse)
    with pytest.raises(DataError, match=r"needs the package soundfile: pip install convnd\[audio\]"):
        data.prepare_audio(folder, tmp_path / "a.h5")


# Faults of files.


def one(folder, name="a.wav", wave=None, **given):
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, tone(4000) if wave is None else wave, given.pop("rate", 8000), **given)
    return folder / name


def reasons(report):
    return {failure.path: failure.reason for failure in report.failed}


def test_files_that_are_no_recordings(tmp_path):
    folder = tmp_path / "in"
    sound = one(folder, "ü ö.wav").read_bytes()
    (folder / "empty.wav").write_bytes(b"")
    (folder / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (folder / "cut.wav").write_bytes(sound[:40])
    (folder / "sound.txt").write_bytes(sound)  # Another ending: not looked for.
    (folder / "flac.wav").write_bytes(one(tmp_path, "x.flac").read_bytes())  # Read by what it holds.
    one(folder, "nothing.wav", np.zeros((0, 1), "int16"))
    wave = tone(50, dtype="float32")
    wave[7] = np.nan
    one(folder, "nan.wav", wave, subtype="FLOAT")
    report = data.prepare_audio(folder, tmp_path / "a.h5", label_from=None)
    assert report.samples == 2
    found = reasons(report)
    assert set(found) == {"empty.wav", "picture.wav", "cut.wav", "nothing.wav", "nan.wav"}
    assert found["empty.wav"] == "it is empty"
    assert found["picture.wav"] == "Format not recognised."
    assert found["nothing.wav"] == "it holds no samples: a sample must have at least one position"
    assert "values must be finite. Received: nan at (7, 0)" in found["nan.wav"]
    report = data.prepare_audio(folder, tmp_path / "b.h5", label_from=None, features="mel")
    assert reasons(report)["nan.wav"] == "values must be finite, and its waveform isn't"


def absurd_flac(path):
    """A FLAC file whose header claims 2^36 - 1 samples."""
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26], "big") | ((1 << 36) - 1)
    content[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
def test_recordings_that_were_cut(tmp_path, suffix):
    """Not taken for shorter ones: what says how long it is must be so long."""
    for name in ("a", "b", "c"):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"in/{name}.{suffix}", tone(20_001), 8000)
    cut = tmp_path / f"in/b.{suffix}"
    for left in (0.9, 0.5, 0.1):
        content = (tmp_path / f"in/a.{suffix}").read_bytes()
        cut.write_bytes(content[: int(left * len(content))])
        report = data.prepare_audio(tmp_path / "in", tmp_path / f"{left}.h5", label_from=None)
        assert report.samples == 2
        assert set(reasons(report)) == {cut.name}
        if suffix != "flac":
            rule = r"it was cut: it says that it has (\d+) bytes of samples, and \d+ are there"
            said = re.match(rule, reasons(report)[cut.name])
            assert int(said[1]) - 40_002 in (0, 8)  # AIFF counts two numbers in front of them.


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFEFFC, 0x7F000008, 40_003, 40_002])
@pytest.mark.parametrize("suffix", ["wav", "aiff"])
def test_recordings_from_a_pipe_don_t_know_their_length(tmp_path, claim, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(20_001), 8000)
    content = bytearray((tmp_path / f"a.{suffix}").read_bytes())
    place = content.index(b"data" if suffix == "wav" else b"SSND") + 4
    claim += 8 * (suffix == "aiff" and claim < 50_000)
    content[place : place + 4] = claim.to_bytes(4, "little" if suffix == "wav" else "big")
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assert data.prepare_audio(tmp_path, tmp_path / "a.h5", label_from=None).samples == 1
    with data.open(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.samples[0].values, (tone(20_001) / 32768).astype("float32"))


def test_absurd_claims_are_refused_before_anything_is_allocated(tmp_path):
    absurd_flac(one(tmp_path / "in", "huge.flac"))
    one(tmp_path / "in", "a.flac")
    tracemalloc.start()
    report = data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", label_from=None, workers=1)
    recipe = {"kind": "audio", "rate": 8000, "dtype": "int16", "mono": True}
    with pytest.raises(DataError, match=r"huge.flac: it claims the size \(68719476735, 1\), 256 GiB in memory"):
        list(data.load_inputs(tmp_path / "in" / "huge.flac", recipe))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20
    assert report.samples == 1
    assert "it claims the size (68719476735, 1)" in reasons(report)["huge.flac"]
    report = data.prepare_audio(tmp_path / "in", tmp_path / "b.h5", label_from=None, largest=16_000)
    assert set(reasons(report)) == {"huge.flac"}
    with pytest.raises(DataError, match=r"none of the 2 files could be read.*it claims the size \(4000, 1\)"):
        data.prepare_audio(tmp_path / "in", tmp_path / "c.h5", label_from=None, largest=15_999)
    # Resampling upwards makes more of it.
    with pytest.raises(DataError, match=r"it claims the size \(8000, 1\)"):
        data.prepare_audio(tmp_path / "in", tmp_path / "c.h5", label_from=None, largest=16_000, rate=16000)


def test_most_files_settle_the_number_of_channels(tmp_path):
    for name, channels in {"a": 1, "b": 2, "c": 2}.items():
        one(tmp_path / "in", f"{name}.wav", tone(40, channels=channels))
    report = data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", label_from=None, mono=False)
    assert reasons(report) == {"a.wav": "it has 1 channels, and most files have 2"}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_long_recordings_are_mixed_block_by_block(tmp_path, monkeypatch, subtype):
    path = one(tmp_path, "a.wav", tone(100, channels=3, dtype="float32"), subtype=subtype)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1, keepdims=True)
    monkeypatch.setattr(audio, "BLOCK", 7)
    recipe = {"kind": "audio", "rate": 8000, "mono": True, "dtype": "float32"}
    ((_, values),) = data.load_inputs(path, recipe)
    np.testing.assert_array_equal(values, expected)
    ((_, values),) = data.load_inputs(path, recipe | {"dtype": "int16", "scale": 1 / 32768})
    np.testing.assert_array_equal(values, np.rint(expected * 32768) / np.float32(32768))
    ((_, values),) = data.load_inputs(path, recipe | {"rate": 4000})
    np.testing.assert_array_equal(values, soxr.resample(expected, 8000, 4000, quality="HQ"))


def test_finer_recordings_are_rounded_into_an_old_recipe(tmp_path):
    """A float recording, for a network whose data were 16 bits."""
    path = one(tmp_path, "a.wav", tone(90, dtype="float32"), subtype="FLOAT")
    recipe = {"kind": "audio", "rate": 8000, "mono": True, "dtype": "int16", "scale": 1 / 32768}
    ((_, values),) = data.load_inputs(path, recipe)
    np.testing.assert_array_equal(values, tone(90) / np.float32(32768))
    wave = tone(90, dtype="float32")
    wave[3] = np.inf
    one(tmp_path, "a.wav", wave, subtype="FLOAT")
    with pytest.raises(DataError, match=r"a\.wav: values must be finite"):
        list(data.load_inputs(path, recipe))


# Features.


def decibels(amplitude):
    return 20 * np.log10(np.maximum(amplitude, 1e-5))


def spectrum(wave, size, window, hop):
    """A spectrogram by loops: centred frames, a periodic Hann window, zeros outside."""
    hann = np.zeros(size)
    start = (size - window) // 2
    hann[start : start + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.concatenate([np.zeros(size // 2), wave, np.zeros(size)])
    frames = [padded[hop * t : hop * t + size] * hann for t in range(1 + len(wave) // hop)]
    return np.abs(np.fft.rfft(frames, axis=1))


@pytest.mark.parametrize("length", [1, 7, 300, 4000])
def test_spectrograms_are_what_they_are_by_definition(tmp_path, length):
    path = one(tmp_path / "in", wave=tone(length))
    given = {"features": "stft", "window": 200, "hop": 50, "bins": 256, "label_from": None}
    data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", **given)
    with data.open(tmp_path / "a.h5") as file:
        expected = decibels(spectrum(tone(length)[:, 0] / 32768, 256, 200, 50))
        sample = file["train"][0]
        assert sample.values.shape == (1 + length // 50, 129, 1)
        np.testing.assert_allclose(sample.values[..., 0], expected, atol=0.02)
        assert file.info.axes == (data.Axis("time", 50 / 8000, "s"), data.Axis("frequency", 8000 / 256, "Hz"))
        assert (file.info.dtype, file.info.scale) == ("float32", None)
        ((_, again),) = data.load_inputs(path, file.info.recipe)
        np.testing.assert_array_equal(again, sample.values)


def expected_features(wave, name):
    """As a user of librosa would call it, with the defaults of a rate of 8000 Hz."""
    given = {"y": wave, "sr": 8000, "n_fft": 256, "hop_length": 64}
    if name == "mel":
        return librosa.power_to_db(librosa.feature.melspectrogram(n_mels=64, **given), top_db=None)
    if name == "mfcc":
        return librosa.feature.mfcc(n_mfcc=20, **given)
    if name == "stft":
        return librosa.amplitude_to_db(np.abs(librosa.stft(wave, n_fft=256, hop_length=64)), top_db=None)
    return librosa.amplitude_to_db(np.abs(librosa.cqt(wave, sr=8000, hop_length=64, n_bins=72)), top_db=None)


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("stft", (63, 129, 2), [("time", 0.008, "s"), ("frequency", 31.25, "Hz")]),
        ("mel", (63, 64, 2), [("time", 0.008, "s"), ("mel band", None, None)]),
        ("mfcc", (63, 40), [("time", 0.008, "s")]),
        ("cqt", (63, 72, 2), [("time", 0.008, "s"), ("pitch", 1.0, "semitone")]),
    ],
)
def test_features_are_librosas(tmp_path, name, shape, axes):
    wave = tone(4000, channels=2)
    path = one(tmp_path / "in", wave=wave)
    data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", features=name, mono=False, label_from=None)
    with data.open(tmp_path / "a.h5") as file:
        sample = file["train"][0].values
        assert sample.shape == shape
        assert file.info.axes == tuple(data.Axis(*axis) for axis in axes)
        for channel in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of a signal shorter than the longest window.
                expected = expected_features(wave[:, channel] / np.float32(32768), name).T
            found = sample[:, 20 * channel : 20 * channel + 20] if name == "mfcc" else sample[..., channel]
            np.testing.assert_allclose(found, expected, atol=1e-3)
        ((_, again),) = data.load_inputs(path, file.info.recipe)
        np.testing.assert_array_equal(again, sample)


def test_features_at_another_rate_with_other_settings(tmp_path):
    path = one(tmp_path / "in", rate=16000)
    given = {"features": "mfcc", "rate": 8000, "hop": 100, "window": 400, "bins": 13, "label_from": None}
    data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", **given)
    with data.open(tmp_path / "a.h5") as file:
        recipe = file.info.recipe
        assert {key: recipe[key] for key in ("features", "rate", "hop", "window", "bins", "bands")} == {
            "features": "mfcc", "rate": 8000, "hop": 100, "window": 400, "bins": 13, "bands": 128
        }  # fmt: skip
        assert file.info.channel_names == tuple(f"mfcc {number}" for number in range(13))
        assert file["train"][0].values.shape == (1 + 2000 // 100, 13)
        ((_, again),) = data.load_inputs(path, recipe)
        np.testing.assert_array_equal(again, file["train"][0].values)


@pytest.mark.parametrize("name", ["stft", "mel", "mfcc", "cqt"])
@pytest.mark.parametrize("length", [1, 63, 64, 300])
def test_recordings_shorter_than_a_window(tmp_path, name, length):
    one(tmp_path / "in", wave=tone(length))
    report = data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", features=name, label_from=None)
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        assert len(file["train"][0].values) == 1 + length // 64
        assert np.isfinite(file["train"][0].values).all()


def test_silence_is_the_floor(tmp_path):
    one(tmp_path / "in", wave=np.zeros((500, 1), "int16"))
    for name in ("stft", "mel", "cqt"):
        data.prepare_audio(tmp_path / "in", tmp_path / f"{name}.h5", features=name, label_from=None)
        with data.open(tmp_path / f"{name}.h5") as file:
            np.testing.assert_allclose(file["train"][0].values, -100, atol=1e-4)


def test_features_have_the_same_bytes_for_any_number_of_workers(tmp_path):
    for number in range(3):
        one(tmp_path / "in", f"{number}.wav", tone(3000 + 100 * number, number))
    for workers in (1, 2):
        given = {"features": "mfcc", "label_from": None, "workers": workers}
        data.prepare_audio(tmp_path / "in", tmp_path / f"{workers}.h5", **given)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": "wavelet"}, "features must be one of waveform, stft, mel, mfcc, cqt. Received: .*wavelet"),
        ({"hop": 3}, "features='waveform' takes no hop. Received: hop=3"),
        ({"features": "cqt", "window": 3}, "features='cqt' takes no window. Received: window=3"),
        ({"features": "mel", "bins": 0}, "bins must be an int of at least 1. Received: bins=0"),
        ({"features": "mel", "window": 2.5}, "window must be an int of at least 1. Received: window=2.5"),
        ({"features": "stft", "hop": True}, "hop must be an int of at least 1. Received: hop=True"),
        ({"features": "stft", "bins": 5, "window": 6}, "must be at least the window. Received: bins=5, window=6"),
        ({"features": "mel", "bins": 400}, "400 mel bands are too many for a window of 256 samples at 8000 Hz"),
        ({"features": "mfcc", "bins": 300}, "300 mel bands are too many for a window of 256 samples at 8000 Hz"),
        ({"features": "cqt", "rate": 100}, "a constant-Q transform from 32.7 Hz needs a rate above. Received: 100 Hz"),
    ],
)
def test_arguments_of_features(tmp_path, given, message):
    one(tmp_path / "in")
    with pytest.raises(ArgumentError, match=message):
        data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", label_from=None, **given)


# Label tracks.


@pytest.mark.parametrize("features", ["waveform", "mel", "mfcc"])
def test_label_tracks_in_seconds(tmp_path, features):
    """Audacity's text: tabs, seconds, a name."""
    one(tmp_path / "in")
    (tmp_path / "in" / "a.txt").write_text("0.1\t0.2\tcall\n0.15\t0.3\tsong\n0.4\t9\tcall\n")
    given = {"features": features, "classes": ["none", "call", "song"], "labels_from": "{stem}.txt"}
    data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", **given)
    with data.open(tmp_path / "a.h5") as file:
        values, target = file["train"][0].values, file["train"][0].target
        assert target.shape == (len(values), *[1] * (values.ndim - 2), 1)
        times = np.arange(len(values)) * file.info.axes[0].spacing
        expected = [2 if 0.15 <= t < 0.3 else 1 if 0.1 <= t < 0.2 or t >= 0.4 else 0 for t in times]
        assert target.reshape(-1).tolist() == expected
        assert set(expected) == {0, 1, 2}


def test_label_tracks_of_numbers(tmp_path):
    """A class number a sample as recorded, a sample as resampled, or a frame."""
    one(tmp_path / "in", rate=16000)
    labels = np.arange(4000) // 1000
    np.save(tmp_path / "in" / "a.npy", labels)
    given = {"rate": 8000, "labels_from": "{stem}.npy", "classes": 4}
    data.prepare_audio(tmp_path / "in", tmp_path / "a.h5", **given)
    data.prepare_audio(tmp_path / "in", tmp_path / "mel.h5", features="mel", **given)
    for name, hop, count in (("a", 1, 2000), ("mel", 64, 1 + 2000 // 64)):
        with data.open(tmp_path / f"{name}.h5") as file:
            expected = [labels[min(2 * hop * t, 3999)] for t in range(count)]
            assert file["train"][0].target.reshape(-1).tolist() == expected
    np.save(tmp_path / "in" / "a.npy", labels[:32])
    data.prepare_audio(tmp_path / "in", tmp_path / "b.h5", features="mel", **given)
    np.save(tmp_path / "in" / "a.npy", labels[:33])
    with pytest.raises(DataError, match=r"it must hold 4000 or 2000 or 32 class numbers, as the sample has .* 33"):
        data.prepare_audio(tmp_path / "in", tmp_path / "c.h5", features="mel", **given)
