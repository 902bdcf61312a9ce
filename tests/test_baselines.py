"""The linear baselines beside the networks' figures: features against literal loops, the choice, the measurement."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from convnd import data


@pytest.fixture
def baselines(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    module = importlib.import_module("baselines")
    monkeypatch.setattr(module, "FOLDS", 3)  # for time alone
    monkeypatch.setattr(module, "STRENGTHS", (0.1, 10.0))
    monkeypatch.setattr(module, "STRENGTHS_OF_WORDS", (1.0, 100.0))
    return module


def write(path, samples, labels, *, groups=None, ndim=1, channels=1, dtype="float32", **said):
    """Two of three samples for training, in groups if there are any."""
    with data.create(path, ndim=ndim, channels=channels, dtype=dtype, classes=["a", "b"], **said) as writer:
        for number, (values, label) in enumerate(zip(samples, labels, strict=True)):
            about = {} if groups is None else {"group": str(groups[number])}
            writer.append(values, label=int(label), split="test" if number % 3 == 2 else "train", **about)
    return path


def run(baselines, *arguments):
    return CliRunner().invoke(baselines.main, [*map(str, arguments)])


def figures(baselines, path, kind):
    done = run(baselines, path, kind, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_histogram(baselines, rng, tmp_path):
    """A class of red and one of blue pictures, each with greys that know no class."""
    labels = np.arange(36) % 2
    sizes = rng.integers(3, 9, (36, 2))
    samples = [np.repeat(rng.integers(0, 3, (*size, 1)) * 100, 3, axis=-1).astype(np.uint8) for size in sizes]
    for sample, label in zip(samples, labels, strict=True):
        sample[: len(sample) // 2 + 1] = (250, 5, 5) if label else (5, 5, 250)
    path = write(tmp_path / "a.h5", samples, labels, ndim=2, channels=3, dtype="uint8", scale=1 / 255)
    assert figures(baselines, path, "histogram")["accuracy"] == 1
    with data.open(path) as file:
        values, classes, count, groups = baselines.read(file, "histogram")
        assert (len(values), count, groups) == (36, 24, None)
        assert classes.tolist() == [*file["train"].targets, *file["test"].targets]
        found = dict(baselines.histogram(values))
        assert [rows.shape for rows in found.values()] == [(36, 64), (36, 512)]
        box = np.zeros((4, 4, 4))
        for pixel in values[5].reshape(-1, 3):
            box[tuple(min(3, math.floor(4 * value)) for value in pixel)] += 1
        np.testing.assert_allclose(found["4 bins a channel"][5] ** 2, box.ravel() / box.sum(), rtol=1e-12)


def test_words(baselines, rng, tmp_path):
    """The class is whether 1 is followed by 2: single words don't tell, pairs do."""
    labels = np.arange(120) % 2
    samples = []
    for label in labels:
        noise = rng.integers(3, 6, 5).tolist()
        samples.append(np.array([*noise, *((1, 2) if label else (2, 1))], np.uint16)[:, None])
    path = write(tmp_path / "a.h5", samples, labels, groups=np.arange(120) // 4, dtype="uint16")
    found = figures(baselines, path, "words")
    assert found["accuracy"] == 1
    assert found["features"] in ("1 to 2 words", "1 to 3 words")
    with data.open(path) as file:
        values, _, count, groups = baselines.read(file, "words")
        assert (count, len(groups), len(set(groups))) == (80, 80, 30)
        rows = dict(baselines.words(values))["1 to 2 words"]
        text = values[7].ravel().astype(int).tolist()
        assert rows[7].sum() == len({*text, *itertools.pairwise(text)})
        assert rows.max() == 1


def test_spectrum_and_series(baselines, rng, tmp_path):
    """Sines of two frequencies, of every length from a part of a frame on."""
    labels = np.arange(48) % 2
    lengths = rng.integers(60, 900, len(labels))
    samples = [
        np.sin((0.2 + 0.4 * label) * np.arange(length) + rng.uniform(0, 6))[:, None].astype(np.float32)
        for label, length in zip(labels, lengths, strict=True)
    ]
    path = write(tmp_path / "a.h5", samples, labels)
    assert figures(baselines, path, "spectrum")["accuracy"] == 1
    done = run(baselines, path, "series")
    assert done.exit_code == 0
    assert done.stdout.startswith("series (points")
    assert done.stdout.count("\n") == 1
    assert "logistic regression, C " in done.stdout
    assert ": cross-validation " in done.stdout
    assert ", test accuracy " in done.stdout
    wave = rng.standard_normal((300, 2))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 255)
    whole = dict(baselines.spectrum([wave, wave[:20]]))
    powers = [abs(sum(window[n] * wave[n, 1] * np.exp(-2j * np.pi * 9 * n / 256) for n in range(256))) ** 2]
    assert whole["means and deviations"].shape == (2, 2 * 2 * 129)
    assert whole["means"][0, 129 + 9] == pytest.approx(math.log(powers[0] + 1e-8))
    assert whole["means and deviations"][0, 258:].tolist() == [0] * 258  # 300 samples are one frame
    points = dict(baselines.series([wave]))["points"].reshape(64, 2)
    at = 17 * 299 / 63
    below = math.floor(at)
    assert points[17, 1] == pytest.approx(wave[below, 1] + (at - below) * (wave[below + 1, 1] - wave[below, 1]))


def test_the_test_split_has_no_part_in_the_choice(baselines, rng, tmp_path):
    """With other test samples the same candidate wins by the same figure."""
    labels = rng.integers(0, 2, 60)
    samples = [(rng.standard_normal((40, 1)) + 0.3 * label).astype(np.float32) for label in labels]
    others = [7 - sample if number % 3 == 2 else sample for number, sample in enumerate(samples)]
    first = figures(baselines, write(tmp_path / "a.h5", samples, labels), "series")
    second = figures(baselines, write(tmp_path / "b.h5", others, labels), "series")
    assert first["cross_validated"] == second["cross_validated"]
    assert (first["features"], first["settings"]) == (second["features"], second["settings"])
    assert first["accuracy"] != second["accuracy"]


def refused(baselines, message, *arguments):
    done = run(baselines, *arguments)
    assert (done.exit_code, done.output) == (1, f"Error: {message}\n")


def test_what_is_refused(baselines, tmp_path, monkeypatch):
    flat = write(tmp_path / "flat.h5", [np.full((3, 3, 1), 2, np.float32)] * 6, [0, 1] * 3, ndim=2)
    refused(baselines, "words needs samples of rank 1. Received: rank 2", flat, "words")
    refused(baselines, "histogram needs values of 0 to 1. Received: 2 to 2", flat, "histogram")
    with data.create(tmp_path / "numbers.h5", ndim=1, channels=1, target="numbers", target_channels=1) as writer:
        writer.append(np.zeros((4, 1), np.float32), target=[1.0], split="train")
    message = "a baseline needs a class for every sample. Received: a file with target 'numbers'"
    refused(baselines, message, tmp_path / "numbers.h5", "series")
    line = write(tmp_path / "line.h5", [np.zeros((4, 1), np.float32)] * 6, [0, 1] * 3)
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused(baselines, "this needs the package sklearn.model_selection: pip install convnd[test]", line, "series")
