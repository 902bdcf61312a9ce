"""Training on augmented samples: the training part alone, recorded, and the same again when resumed."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import pytest
from training_files import classes_file, labels_file, numbers_file, small_net

import convnd as cn
from convnd import data
from convnd.cli import run as run_command
from convnd.data.augment import Affine, Augmentation, Flip, Gain, Noise, RandomCrop
from convnd.errors import ArgumentError, DataError, TrainingError


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnd.plots.available", lambda: False)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return classes_file(tmp_path_factory.mktemp("data") / "classes.h5")


def fit(path, **options):
    with data.open(path) as file:
        settings = {"epochs": 2, "samples": 6, "validation": 0.25, "seed": 3, "progress": False}
        return cn.fit(small_net(), file["train"], **settings | options)


@dataclass(frozen=True)
class Blank(Augmentation):
    """Every value is 7."""

    def change(self, values, target, rng):
        return np.full_like(values, 7), target


def test_validation_sees_samples_as_they_are(path):
    seen = []

    def loss(output, batch):
        seen.append((len(batch), bool((batch.x.values == 7).all()), batch.numbers.tolist()))
        return cn.loss.cross_entropy(output, batch.targets)

    run = fit(path, augment=Blank(), loss=loss, normalize=None)
    with data.open(path) as file:
        train, held_out = file["train"].divide(0.25, seed=3)
    for _, blank, numbers in seen:
        assert set(numbers) <= set((train if blank else held_out).numbers.tolist())
    assert sum(count for count, blank, _ in seen if blank) == 2 * len(train)
    assert run.metrics["samples"] == len(held_out)


def test_the_normaliser_is_fitted_on_samples_as_they_are(path):
    states = [fit(path, augment=augment).model.normaliser.state() for augment in (None, Blank())]
    assert states[0] == states[1]


def test_it_is_recorded_and_makes_another_run(path, tmp_path):
    plain = fit(path)
    run = fit(path, augment=[Flip(), "noise(sigma=0.5)"], out=tmp_path / "run")
    again = fit(path, augment=[Flip(), Noise(sigma=0.5)])
    assert plain.model.config["settings"]["augment"] is None
    steps = [{"type": "Flip", "p": 0.5, "axis": None}, {"type": "Noise", "p": 1.0, "sigma": 0.5, "snr": None}]
    assert run.model.config["settings"]["augment"] == {"type": "Compose", "p": 1.0, "steps": steps}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"] == run.model.config["settings"]
    losses = [[line["loss"] for line in one.history] for one in (plain, run, again)]
    assert losses[1] == losses[2]
    assert losses[0] != losses[1]
    assert cn.load(tmp_path / "run").predict([np.ones((5, 2))])[0] in ("low", "high")


def test_another_augmentation_is_another_run(path, tmp_path):
    fit(path, augment=Gain(0.5, 2.0), out=tmp_path)
    fit(path, augment="gain(0.5, 2.0)", out=tmp_path, resume=True)
    for other, message in [
        (Gain(0.5, 3.0), "settings.augment.high is 2.0 there, 3.0 now"),
        (Flip(), 'settings.augment.type is "Gain" there, "Flip" now'),
        (None, 'settings.augment is {"type": "Gain", .* there, null now'),
    ]:
        with pytest.raises(TrainingError, match=f"holds another run: .*{message}"):
            fit(path, augment=other, out=tmp_path, resume=True)


def test_the_default_budget_is_that_of_what_samples_become(path):
    with data.open(path) as file:
        _, held_out = file["train"].divide(0.25, seed=3)
    run = fit(path, samples=None, augment=RandomCrop(2))
    wanted = max(32 * 2, int(held_out.layout.sizes.max()))
    assert run.model.config["settings"]["positions"] == wanted
    assert fit(path, samples=None).model.config["settings"]["positions"] > 2 * wanted
    # Samples of the validation part are not cut, and are refused as ever.
    with pytest.raises(DataError, match="positions, above the budget positions=4"):
        fit(path, samples=None, positions=4, augment=RandomCrop(2))
    assert fit(path, samples=None, positions=4, oversize="alone", augment=RandomCrop(2)).metrics


def test_label_maps_and_numbers(tmp_path):
    with data.open(labels_file(tmp_path / "labels.h5")) as file:
        net = cn.nn.Sequential(cn.nn.Conv(4, 3, padding="same", activation="relu"), cn.nn.Conv(2, 1))
        change = [Flip(), Affine(rotation=20, scale=(0.9, 1.1)), RandomCrop(5)]
        run = cn.fit(net, file["train"], epochs=2, validation=0.25, augment=change, progress=False)
        assert 0 <= run.metrics["dice"] <= 1
    with data.open(numbers_file(tmp_path / "numbers.h5")) as file:
        run = cn.fit(small_net(), file["train"], epochs=2, validation=0.25, augment="gain(0.9, 1.1)", progress=False)
        assert run.metrics["mse"] >= 0


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (3, "augment must be an Augmentation, its text, or a list of them. Received: 3"),
        ("flop", "an augmentation must be one of"),
        (Affine(rotation=3), "rotation and shear need two axes"),
        (["flip(axis=1)"], "axis must name different axes of the 1 of a sample. Received: axis=1"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_training(path, tmp_path, augment, message):
    with pytest.raises(ArgumentError, match=message):
        fit(path, augment=augment, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def convnd(*arguments):
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        code = run_command([str(argument) for argument in arguments])
    return code, error.getvalue()


def test_the_command(path, tmp_path):
    out = tmp_path / "run"
    quick = ["train", path, "--model", "small", "--epochs", "1", "--samples", "8", "-q", "--out", out]
    changes = ["--augment", "flip", "--augment", "noise(snr=(10, 30), p=0.5)"]
    assert convnd(*quick, *changes) == (0, "")
    config = json.loads((out / "config.json").read_text())["settings"]["augment"]
    assert [step["type"] for step in config["steps"]] == ["Flip", "Noise"]
    assert config["steps"][1]["snr"] == [10, 30]
    assert convnd(*quick, *changes, "--resume") == (0, "")
    code, error = convnd(*quick, "--resume")
    assert code == 1
    assert "settings.augment" in error
    code, error = convnd(*quick, "--force", "--augment", "flop(1)")
    assert code in (1, 2)
    assert error.startswith("convnd: an augmentation must be one of ") or "an augmentation must be one of" in error
    assert "Traceback" not in error
