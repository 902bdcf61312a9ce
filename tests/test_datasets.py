"""The data sets' scripts on small files of the real forms."""

from __future__ import annotations

import gzip
import runpy
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from convnd import data

SCRIPTS = Path(__file__).parents[1] / "datasets"


def run(script, *arguments):
    command = runpy.run_path(str(SCRIPTS / script))["main"]
    return CliRunner().invoke(command, [*map(str, arguments)])


def make(script, *arguments):
    done = run(script, *arguments)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("wrote ")


def refuse(script, message, *arguments):
    """One line that says what is wrong, exit code 1."""
    done = run(script, *arguments)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert message in done.output


def test_the_embedded_file():
    facts = data.info(data.japanese_vowels())
    assert facts["licence"] == "CC BY 4.0"
    assert "M. Kudo, J. Toyama, M. Shimbo" in facts["source"]
    assert (facts["samples"], facts["channels"], facts["shapes"]["min"], facts["shapes"]["max"]) == (640, 12, [7], [29])
    assert set(facts["splits"]["train"]["classes"].values()) == {30}
    # The test set's counts by speaker, as the source publishes them.
    assert list(facts["splits"]["test"]["classes"].values()) == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    with data.open(data.japanese_vowels()) as file:
        assert file.check() == []
        first = file["train"][0].values
        assert first.shape == (20, 12)
        # The source's first line: frames 0 and 1 of coefficient 1.
        assert first[:2, 0].tolist() == [np.float32(1.860936), np.float32(1.891651)]


def test_japanese_vowels(tmp_path):
    case = ":".join(["1.5,2,3"] * 12)
    header = "@classLabel true 1 2\n@data\n"
    for part, labels in (("TRAIN", "121"), ("TEST", "2")):
        text = header + "".join(f"{case}:{label}\n" for label in labels)
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text(text)
    make("japanese_vowels.py", tmp_path, tmp_path / "a.h5")
    with zipfile.ZipFile(tmp_path / "aeon.whl", "w") as wheel:
        for part in ("TRAIN", "TEST"):
            wheel.write(tmp_path / f"JapaneseVowels_{part}.ts", f"aeon/datasets/data/x/JapaneseVowels_{part}.ts")
    make("japanese_vowels.py", tmp_path / "aeon.whl", tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"].targets.tolist() == [0, 1, 0]
        assert file["test"][0].values[:, 11].tolist() == [1.5, 2, 3]
    (tmp_path / "JapaneseVowels_TEST.ts").unlink()
    refuse("japanese_vowels.py", "doesn't hold JapaneseVowels_TEST.ts", tmp_path, tmp_path / "c.h5")
    refuse(
        "japanese_vowels.py", "neither a folder nor a wheel", tmp_path / "JapaneseVowels_TRAIN.ts", tmp_path / "c.h5"
    )


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


def test_fashion_mnist(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 28, 28), dtype="uint8")
    labels = np.uint8([0, 9, 3, 3, 2, 1, 8])
    for part, rows in (("train", slice(5)), ("t10k", slice(5, 7))):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[rows])))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[rows]))
    make("fashion_mnist.py", tmp_path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes[9] == "Ankle boot"
        assert [file["train"].targets.tolist(), file["test"].targets.tolist()] == [[0, 9, 3, 3, 2], [1, 8]]
        np.testing.assert_array_equal(file["test"][1].values[..., 0], (images[6] / 255).astype("float32"))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:1]))
    refuse("fashion_mnist.py", "2 images and 1 labels", tmp_path, tmp_path / "b.h5")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:2])[:-1])
    refuse("fashion_mnist.py", "truncated", tmp_path, tmp_path / "b.h5")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refuse("fashion_mnist.py", "doesn't hold train-labels-idx1-ubyte", tmp_path, tmp_path / "b.h5")


def write_clip(path, length, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.arange(length, dtype="<i2").tobytes())


def test_spoken_digits(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for digit in (0, 7):
        for speaker in ("ann", "bob"):
            for index in (3, 5, 9, 10, 48):
                write_clip(folder / f"{digit}_{speaker}_{index}.wav", 20 + index)
    (folder / "readme.txt").write_text("left alone")
    make("spoken_digits.py", folder, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        lengths = {name: sorted(set(file[name].layout.shapes[:, 0].tolist())) for name in file.splits}
        assert lengths == {"test": [25, 29], "train": [30, 68], "official_test": [23]}
        sample = file["train"][-1]
        assert (sample.target, sample.meta["group"]) == (7, "bob")
        np.testing.assert_array_equal(sample.values[:, 0], np.arange(68, dtype="float32") / 32768)
    make("spoken_digits.py", folder, tmp_path / "b.h5", "--test", "0-4")
    assert {name: len(data.open(tmp_path / "b.h5")[name]) for name in ("train", "test")} == {"train": 16, "test": 4}
    write_clip(folder / "1_ann_5.wav", 5, rate=16000)
    refuse("spoken_digits.py", "must have 8000 Hz, 2 bytes a sample and 1 channel", folder, tmp_path / "c.h5")
    (folder / "1_ann_5.wav").write_bytes(b"RIFF")
    refuse("spoken_digits.py", "isn't a WAV file", folder, tmp_path / "d.h5")
    refuse("spoken_digits.py", "holds no files named", tmp_path, tmp_path / "d.h5")


def test_hippocampus(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    affine = np.diag([1, 2, 0.5, 1])
    volumes, masks = [], []
    for number in range(6):
        shape = tuple(rng.integers(3, 7, 3))
        # As in the source: some volumes are bytes, some floats.
        volumes.append(rng.integers(0, 255, shape, dtype="uint8") if number % 2 else rng.random(shape, dtype="float32"))
        masks.append(rng.integers(0, 3, shape, dtype="uint8"))
        for folder, array in (("imagesTr", volumes[-1]), ("labelsTr", masks[-1])):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / folder / f"hippocampus_{number:03d}.nii.gz")
    make("hippocampus.py", tmp_path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert file["test"].names == ["hippocampus_004"]
        assert file["train"].numbers.tolist() == [0, 1, 2, 3, 5]
        for sample in file.samples:
            np.testing.assert_array_equal(sample.values[..., 0], volumes[sample.number].astype("float32"))
            np.testing.assert_array_equal(sample.target[..., 0], masks[sample.number])
            assert sample.meta["spacing"].tolist() == [1, 2, 0.5]
    nibabel.save(nibabel.Nifti1Image(masks[0][:2], affine), tmp_path / "labelsTr" / "hippocampus_002.nii.gz")
    refuse("hippocampus.py", "its labels have", tmp_path, tmp_path / "b.h5")
    (tmp_path / "labelsTr" / "hippocampus_001.nii.gz").unlink()
    refuse("hippocampus.py", "there are no labels", tmp_path, tmp_path / "c.h5")
    refuse("hippocampus.py", "holds no imagesTr", tmp_path / "imagesTr", tmp_path / "d.h5")


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_usage(script, tmp_path):
    helped = run(script, "--help")
    assert helped.exit_code == 0
    assert "SOURCE" in helped.output
    assert run(script, tmp_path / "missing", tmp_path / "a.h5").exit_code == 2


def test_as_a_script(tmp_path):
    command = [sys.executable, SCRIPTS / "fashion_mnist.py", tmp_path, tmp_path / "a.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path} doesn't hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz\n"
