"""Runs: what they learn, log and choose, what they refuse, and that validation stays inside the training split."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from training_files import classes_file, labels_file, numbers_file, small_net

import convnd as cn
from convnd import data, nn, plots
from convnd.checkpoint import Checkpoint
from convnd.errors import ArgumentError, ConvndError, DataError, DtypeError, ShapeError, TrainingError
from convnd.layout import Ragged


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return classes_file(tmp_path_factory.mktemp("data") / "classes.h5")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes longer than these runs; the test that looks at pictures undoes this."""
    monkeypatch.setattr("convnd.plots.available", lambda: False)


@pytest.fixture
def train(path):
    with data.open(path) as file:
        yield file["train"]


def fit(train, net=None, **options):
    given = {"epochs": 2, "samples": 6, "lr": 0.02, "validation": 0.25, "progress": False}
    return cn.fit(net or small_net(), train, **given | options)


def log_lines(out):
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


# What a run gives


def test_a_run_learns_logs_and_saves(train, tmp_path, monkeypatch):
    monkeypatch.undo()
    run = fit(train, out=tmp_path / "run", epochs=12)
    assert run.metrics["accuracy"] > 0.9
    lines = log_lines(tmp_path / "run")
    assert lines == run.history
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert {"step", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds", "best"} <= line.keys()
        assert line["positions_per_second"] > 0
        assert 0 <= line["waited"] <= line["seconds"]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert run.stopped == "epochs"
    assert {path.name for path in run.out.iterdir()} == {
        "config.json", "log.jsonl", "last.ckpt", "best.ckpt", "curves.png", "confusion.png",
    }  # fmt: skip
    for name in ("curves", "confusion"):
        assert run.paths[name].read_bytes().startswith(b"\x89PNG")


def test_what_training_waits_for(train, monkeypatch):
    """For the first batch all its time, for those that were read meanwhile none."""
    from convnd.data import batches

    read, reading = batches.read_batch, 0.25

    def slowly(*given):
        time.sleep(reading)
        return read(*given)

    def loss(output, batch):
        time.sleep(1.5 * reading)
        return cn.loss.cross_entropy(output, batch.targets)

    monkeypatch.setattr(batches, "read_batch", slowly)
    line = fit(train, epochs=1, samples=6, loss=loss, validation=None).history[0]
    assert reading <= line["waited"] < 3 * reading  # 4 batches
    assert line["waited"] + 4 * 1.5 * reading <= line["seconds"]


def test_batches_of_like_size(train, monkeypatch):
    """Training has them, validation is in order; one that no batches have is refused."""
    from convnd.data import Split

    seen, batches = [], Split.batches
    monkeypatch.setattr(Split, "batches", lambda *split, **given: seen.append(given) or batches(*split, **given))
    run = fit(train, epochs=1, sizes="grouped")
    assert [options.get("sizes") for options in seen if "epoch" in options] == ["grouped"]
    assert not any(options["shuffle"] for options in seen if "sizes" not in options)
    assert run.model.config["settings"]["sizes"] == "grouped"
    with pytest.raises(ArgumentError, match=r'sizes must be "mixed" or "grouped". Received: sizes=\'small\''):
        fit(train, sizes="small")


def test_without_matplotlib_a_line_says_so(train, tmp_path, capsys):
    run = fit(train, out=tmp_path / "run", progress=None)
    assert "curves" not in run.paths
    assert capsys.readouterr().err.count("pip install convnd[plot]") == 1


def test_plain_lines_where_there_is_no_terminal(train, capsys):
    fit(train, progress=None)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert "val_accuracy" in lines[0]


def test_the_same_arguments_give_the_same_bits(train):
    threads = cn.get_num_threads()
    try:
        states = []
        for count in (1, 2):
            cn.set_num_threads(count)
            states.append(fit(train).model.net.state())
    finally:
        cn.set_num_threads(threads)
    other = fit(train, seed=1).model.net.state()
    for name, value in states[0].items():
        assert value.tobytes() == states[1][name].tobytes()
    assert any(value.tobytes() != other[name].tobytes() for name, value in states[0].items())


def test_the_best_epoch_is_kept(train, tmp_path):
    states = []
    net = small_net()
    run = fit(
        train, net, epochs=8, lr=0.3, schedule="constant", out=tmp_path / "run",
        on_epoch=lambda line: states.append(net.state()),
    )  # fmt: skip
    expected = max(run.history, key=lambda line: (line["val_accuracy"], -line["val_loss"], -line["epoch"]))["epoch"]
    assert run.best_epoch == expected
    loaded = cn.load(tmp_path / "run").net.state()
    for name, value in states[expected - 1].items():
        assert value.tobytes() == net.state()[name].tobytes() == loaded[name].tobytes()
    watched = fit(train, epochs=8, lr=0.3, schedule="constant", monitor="loss")
    assert watched.best_epoch == min(run.history, key=lambda line: line["val_loss"])["epoch"]


def test_patience_stops_early(train):
    run = fit(train, epochs=60, lr=0.05, schedule="constant", patience=3)
    assert run.stopped == "patience"
    assert len(run.history) == run.best_epoch + 3 < 60


def test_without_validation_the_last_epoch_is_the_best(train):
    run = fit(train, validation=None, epochs=3)
    assert run.best_epoch == 3
    assert run.metrics is None
    assert "val_loss" not in run.history[0]


def test_schedules_count_in_epochs(train):
    rates = [line["lr"] for line in fit(train, epochs=4, schedule={"name": "step_decay", "every": 2}).history]
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002])
    assert [line["lr"] for line in fit(train, schedule="constant").history] == [0.02, 0.02]
    warm = [line["lr"] for line in fit(train, epochs=4, schedule={"name": "cosine", "warmup": 2}).history]
    assert warm[0] < warm[1] > warm[2] > warm[3]


def test_accumulated_gradients_are_those_of_the_large_batch(train):
    def net():
        return nn.Sequential(nn.Conv(3, 3, padding="same"), nn.GlobalPool(), nn.Linear(2))

    options = {"validation": None, "optimizer": "sgd", "schedule": "constant", "lr": 0.1}
    large = fit(train, net(), samples=8, **options).model.net.state()
    small = fit(train, net(), samples=4, accumulate=2, **options).model.net.state()
    for name, value in large.items():
        np.testing.assert_allclose(small[name], value, rtol=1e-4, atol=1e-6)


def test_means_over_classes_of_unlike_weight_accumulate_as_one_batch(train):
    def net():
        return nn.Sequential(nn.Conv(3, 3, padding="same"), nn.GlobalPool(), nn.Linear(2))

    options = {"validation": None, "optimizer": "sgd", "schedule": "constant", "lr": 0.1, "class_weights": [1.0, 50.0]}
    whole = fit(train, net(), samples=100, **options)
    parts = fit(train, net(), samples=3, accumulate=100, **options)
    for name, value in whole.model.net.state().items():
        np.testing.assert_allclose(parts.model.net.state()[name], value, rtol=1e-4, atol=1e-6)
    assert parts.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-6)
    losses = [cn.evaluate(whole.model, train, samples=n)["loss"] for n in (100, 5)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_balanced_class_weights(train):
    part = train.subset(np.flatnonzero((train.targets == 0) | (np.arange(len(train)) % 4 == 1)))
    counts = np.bincount(part.targets)
    run = fit(part, class_weights="balanced", validation=None, epochs=1)
    np.testing.assert_allclose(run.model.config["objective"]["class_weights"], len(part) / (2 * counts))


def test_balanced_class_weights_of_positions(tmp_path):
    with data.open(labels_file(tmp_path / "labels.h5")) as file:
        labels = np.concatenate([sample.target.reshape(-1) for sample in file["train"]])
        counts = np.bincount(labels[labels != 255])
        net = nn.Conv(2, 3, padding="same")
        run = fit(file["train"], net, class_weights="balanced", validation=None, epochs=1)
    np.testing.assert_allclose(run.model.config["objective"]["class_weights"], counts.sum() / (2 * counts))


def test_a_validation_part_in_which_nothing_counts(tmp_path):
    with data.create(tmp_path / "x.h5", ndim=1, channels=1, target="ragged", classes=["a", "b"], ignore=9) as writer:
        for number in range(8):
            label = 9 if number == 7 else number % 2
            writer.append(np.ones((4, 1), np.float32), target=np.full(4, label, np.uint8))
    with data.open(tmp_path / "x.h5") as file:
        train, held_out = file["train"].subset(slice(0, 7)), file["train"].subset(slice(7, 8))
        with pytest.raises(DataError, match="no label that counts"):
            fit(train, nn.Conv(2, 1), validation=held_out)


def test_pictures_that_cannot_be_drawn_cost_no_run(train, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("convnd.train.fitting.draw", full)
    assert set(fit(train, out=tmp_path).paths) == {"config", "log", "last", "best"}


def test_class_names_are_no_formulas(tmp_path):
    pytest.importorskip("matplotlib")
    assert plots.confusion_matrix(tmp_path / "x.png", [[1, 0], [2, 3]], ["$^$", "b"], "title").stat().st_size > 1000


def test_clip_bounds_a_step(train):
    net = small_net().build(1, 2, seed=0)
    before = net.state()
    fit(train, net, samples=100, epochs=1, validation=None, optimizer="sgd", lr=1.0, schedule="constant", clip=1e-3)
    moved = sum(float(((net.state()[name] - before[name]) ** 2).sum()) for name in net.named_parameters())
    assert 0 < np.sqrt(moved) < 1.01e-3


def test_frozen_layers_stay(train):
    net = small_net().build(1, 2, seed=0)
    net.layers[0].freeze()
    before = net.state()
    fit(train, net)
    frozen = [name for name, p in net.named_parameters().items() if not p.requires_grad]
    assert frozen
    for name, value in net.state().items():
        assert (value.tobytes() == before[name].tobytes()) == (name in frozen)


# Validation


@pytest.mark.parametrize(
    ("share", "by_group", "seed"), [(0.1, False, 0), (0.3, True, 1), (0.5, False, 2), (0.2, True, 3)]
)
def test_nothing_outside_the_training_split_is_read(path, monkeypatch, share, by_group, seed):
    """Whatever the share and seed, every sample read for training and validation is of the training split."""
    read = []
    original = data.batches.read_batch
    monkeypatch.setattr(
        data.batches, "read_batch", lambda file, numbers, *more: read.append(numbers) or original(file, numbers, *more)
    )
    with data.open(path) as file:
        train, test = file["train"], file["test"]
        fit(train, validation=share, by_group=by_group, seed=seed, epochs=1)
        seen = set(np.concatenate(read).tolist())
        assert seen == set(train.numbers.tolist())
        assert not seen & set(test.numbers.tolist())


def test_the_validation_part_is_stratified_and_apart(train, monkeypatch):
    parts = {}
    original = nn.Layer.__call__

    def spy(self, x, *others, training=False, rng=None):
        parts.setdefault(training, []).append(x)
        return original(self, x, *others, training=training, rng=rng)

    monkeypatch.setattr(nn.Layer, "__call__", spy)
    fit(train, epochs=1, validation=0.25, normalize=None)
    samples = {
        kind: {sample.tobytes() for x in xs for sample in x.numpy().unpack()} for kind, xs in parts.items()
    }  # the network's calls on whole batches
    assert not samples[True] & samples[False]
    held_out = [sample.target for sample in train if sample.values.tobytes() in samples[False]]
    assert len(held_out) == round(0.25 * len(train))
    assert held_out.count(0) == held_out.count(1)


def test_the_test_split_is_refused_for_validation(path):
    with data.open(path) as file:
        with pytest.raises(ArgumentError, match="must not be the test split"):
            fit(file["train"], validation=file["test"])
        with pytest.raises(ArgumentError, match=r"no samples of train\. Received: both hold sample 0"):
            fit(file["train"], validation=file["train"].subset([0, 1]))
        run = fit(file["train"].subset(slice(0, 18)), validation=file["train"].subset(slice(18, None)))
        assert run.metrics["samples"] == len(file["train"]) - 18


# What stops a run


class Spoiled:
    """The usual loss, and NaN from one call on."""

    def __init__(self, after):
        self.calls, self.after = 0, after

    def __call__(self, output, batch):
        self.calls += 1
        loss = cn.loss.cross_entropy(output, batch.targets)
        return loss * float("nan") if self.calls > self.after else loss


def test_a_loss_that_is_nan_stops_with_the_last_good_checkpoint(train, tmp_path):
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 2, step 6\..*learning rate.*last\.ckpt") as stopped:
        fit(train, out=tmp_path / "run", validation=None, loss=Spoiled(5), epochs=5)
    assert "lr=0.02" in str(stopped.value)
    last = Checkpoint.read(tmp_path / "run" / "last.ckpt")
    assert last.meta["epoch"] == 2
    assert all(np.isfinite(value).all() for value in last.part("net").values())
    assert len(log_lines(tmp_path / "run")) == 1


def test_a_run_that_diverges_says_why(train):
    with pytest.raises(TrainingError, match="learning rate that is too high"), np.errstate(all="ignore"):
        fit(train, lr=1e38, optimizer="sgd", schedule="constant", epochs=5)


def test_values_that_are_not_finite_are_named(train, monkeypatch):
    original = data.batches.read_batch

    def spoil(file, numbers, *more):
        batch = original(file, numbers, *more)
        for place, number in enumerate(numbers):
            if number == 7:
                batch.x.values[batch.x.layout.offsets[place] + 1, 0] = np.inf
        return batch

    monkeypatch.setattr(data.batches, "read_batch", spoil)
    with pytest.raises(TrainingError, match=r"sample 7 \('s7'\) holds values that are not finite"):
        fit(train, normalize=None, validation=None)


def test_a_full_disk_leaves_the_earlier_checkpoint(train, tmp_path, monkeypatch):
    out = tmp_path / "run"
    original, full = os.fsync, []

    def fsync(handle):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    def after_first(line):
        full.append(line)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TrainingError, match="could not be written: No space left on device"):
        fit(train, out=out, epochs=4, on_epoch=after_first)
    monkeypatch.undo()
    assert Checkpoint.read(out / "last.ckpt").meta["epoch"] == 2
    assert not list(out.glob("*.part"))
    resumed = fit(train, out=out, epochs=4, resume=True)
    assert log_lines(out) == resumed.history
    assert len(resumed.history) == 4


# The run folder


def test_a_folder_with_another_run_is_refused(train, path, tmp_path):
    out = tmp_path / "run"
    fit(train, out=out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(train, out=out)
    with pytest.raises(TrainingError, match=r"network\.layers\[0\]\.filters is 4 there, 5 now"):
        fit(train, small_net(filters=5), out=out, resume=True)
    with pytest.raises(TrainingError, match=r"settings\.optimizer\.lr is 0\.02 there, 0\.1 now"):
        fit(train, out=out, resume=True, lr=0.1)
    with pytest.raises(TrainingError, match=r"holds another run: data\.train\.samples is 18 there, 15 now"):
        fit(train.subset(slice(0, 20)), out=out, resume=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert len(fit(train, out=out, overwrite=True, epochs=1).history) == 1
    assert len(log_lines(out)) == 1


def test_a_foreign_folder_is_left_alone(train, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(TrainingError, match=r"neither empty nor a run of convnd: it holds thesis\.tex"):
            fit(train, out=tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't be used"):
        fit(train, out=tmp_path / "file")


def test_a_folder_whose_config_is_damaged(train, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TrainingError, match=r"config\.json can't be read"):
        fit(train, out=tmp_path, resume=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match="was not written by convnd"):
        fit(train, out=tmp_path, resume=True)


# Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an int of at least 1. Received: epochs=0"),
        ({"positions": 2.5}, "positions must be an int"),
        ({"accumulate": True}, "accumulate must be an int"),
        ({"optimizer": "adagrad"}, "optimizer must be one of sgd, adam, adamw"),
        ({"optimizer": {"name": "sgd", "speed": 3}}, "speed"),
        ({"schedule": "magic"}, "schedule must be one of"),
        ({"schedule": {"name": "cosine", "lr": 3}}, "lr is an argument of fit"),
        ({"lr": -1.0}, "lr must be"),
        ({"clip": 0}, "clip must be a positive number"),
        ({"patience": 0}, "patience must be an int"),
        ({"normalize": "batch"}, "normalize must be"),
        ({"monitor": "dice"}, "monitor must be 'accuracy' or 'loss'"),
        ({"loss": "mse"}, "loss must be cross_entropy for a class for every sample"),
        ({"label_smoothing": 1.0}, "label_smoothing must be"),
        ({"class_weights": [1.0]}, "one weight for each of the 2 classes"),
        ({"class_weights": [1.0, float("nan")]}, "class_weights must be finite, not negative"),
        ({"class_weights": [0.0, 0.0]}, "one of them above 0"),
        ({"class_weights": "even"}, "class_weights must be numbers or 'balanced'"),
        ({"seed": 1.5}, "seed must be an int of at least 0"),
        ({"schedule": {"name": "cosine", "warmup": float("nan")}}, "warmup must be a number of epochs"),
        ({"schedule": {"name": "cosine", "steps": 3}}, "steps follow from epochs"),
        ({"validation": 1.5}, "fraction must lie between 0 and 1"),
        ({"positions": 3}, "above the budget positions=3"),
    ],
)
def test_arguments_outside_their_rules(train, tmp_path, options, message):
    with pytest.raises(ConvndError, match=message):
        fit(train, out=tmp_path / "run", **({"samples": None} if "positions" in options else {}) | options)
    assert not (tmp_path / "run").exists()


def test_a_sample_above_the_budget_makes_a_batch_by_itself_where_asked(train):
    budget = int(train.layout.sizes.max()) - 1
    with pytest.raises(DataError, match=f"above the budget positions={budget}.*--oversize alone"):
        fit(train, samples=None, positions=budget)
    run = fit(train, samples=None, positions=budget, oversize="alone", epochs=1)
    assert len(run.history) == 1


def test_networks_that_do_not_fit_the_data(train):
    with pytest.raises(ShapeError, match="gives 3 channels, but the data has 2 classes"):
        fit(train, small_net(outputs=3))
    with pytest.raises(ShapeError, match=r"has 1 spatial axes where the target has 0; end it with nn\.GlobalPool"):
        fit(train, nn.Sequential(nn.Conv(2, 3)))
    with pytest.raises(ArgumentError, match="must be a split of a data file"):
        fit(np.zeros((3, 4, 2)))
    model = fit(train, epochs=1).model
    with pytest.raises(ArgumentError, match=r"net must be a convnd\.nn\.Layer; a Model's is its \.net"):
        fit(train, model)


def test_networks_and_losses_that_cannot_be_trained(train):
    with pytest.raises(ArgumentError, match="nothing to train: all of its parameters are frozen"):
        fit(train, small_net().freeze())
    with pytest.raises(ArgumentError, match="nothing to train: it has no parameters"):
        fit(train, nn.GlobalPool())
    with pytest.raises(DtypeError, match="net must be built in float32"):
        fit(train, small_net().build(1, 2, dtype="float64"))
    for wrong in (3.0, np.zeros(()), cn.Tensor(np.zeros((2, 2), np.float32))):
        with pytest.raises(ArgumentError, match="a loss function must give a Tensor of one number"):
            fit(train, loss=lambda output, batch, wrong=wrong: wrong)


def test_a_sample_that_does_not_fit_the_network_is_named_as_in_its_file(train):
    net = nn.Sequential(nn.Conv(2, 6), nn.GlobalPool())  # samples are 5 to 11 long
    short = [int(n) for n, size in zip(train.numbers, train.layout.sizes, strict=True) if size < 6]
    names = "|".join(f"sample {number} \\('s{number}'\\) is too short" for number in short)
    with pytest.raises(ShapeError, match=rf"classes\.h5: conv1: ({names})"):
        fit(train, net, validation=None)
    with pytest.raises(ShapeError, match=rf"classes\.h5: conv1: ({names})"):
        cn.evaluate(net.build(1, 2), train)


def test_a_model_names_samples_and_refuses_what_is_not_finite(train, monkeypatch):
    model = fit(train, nn.Sequential(nn.Conv(2, 3), nn.GlobalPool()), epochs=1).model
    bad = np.zeros((5, 2))
    bad[3, 1] = np.inf
    with pytest.raises(DataError, match="sample 1: values must be finite"):
        model([np.zeros((5, 2)), bad])
    monkeypatch.setattr("convnd.train.model.PIECE", 8)
    with pytest.raises(ShapeError, match="sample 2 is too short"):
        model([np.zeros((7, 2)), np.zeros((7, 2)), np.zeros((2, 2))])


def test_settings_of_numpy_and_tuples_resume(train, tmp_path):
    adam = {"name": "adam", "betas": (0.9, np.float32(0.5))}
    options = {"seed": np.int64(3), "lr": np.float32(0.01), "optimizer": adam}
    fit(train, out=tmp_path, epochs=1, **options)
    assert len(fit(train, out=tmp_path, epochs=2, resume=True, **options).history) == 2


def test_data_without_targets(tmp_path):
    with data.create(tmp_path / "x.h5", ndim=1, channels=1, target=None) as writer:
        for _ in range(8):
            writer.append(np.zeros((3, 1), np.float32))
    with data.open(tmp_path / "x.h5") as file, pytest.raises(DataError, match="no targets"):
        fit(file["train"], nn.Sequential(nn.GlobalPool(), nn.Linear(1)))


# Other targets


def test_segmentation(tmp_path):
    with data.open(labels_file(tmp_path / "labels.h5")) as file:
        net = nn.Sequential(nn.Conv(6, 3, padding="same", activation="relu"), nn.Conv(2, 3, padding="same"))
        run = fit(file["train"], net, loss="dice+ce", epochs=15, samples=3, out=tmp_path / "run")
        metrics = cn.evaluate(run.model, file["test"])
        assert run.model.config["settings"]["monitor"] == "dice"
        assert metrics["dice"] > 0.8
        dice = []
        for sample in file["test"]:
            guess, truth = run.model.predict([sample.values])[0], sample.target[..., 0]
            assert guess.shape == truth.shape
            inside = truth != 255
            a, b = (guess == 1) & inside, (truth == 1) & inside
            dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert metrics["dice"] == pytest.approx(np.mean(dice))
        bad = nn.Sequential(nn.Conv(2, 3))
        with pytest.raises(ShapeError, match=r"labels\.h5: sample \d+ .*: the network gives positions"):
            fit(file["train"], bad, epochs=1)


def test_numbers(tmp_path):
    with data.open(numbers_file(tmp_path / "numbers.h5")) as file:
        run = fit(file["train"], nn.Sequential(nn.GlobalPool(), nn.Linear(2)), epochs=60, lr=0.1, normalize="channel")
        metrics = cn.evaluate(run.model, file["test"])
        predicted = run.model.predict([sample.values for sample in file["test"]])
        target = np.array([sample.target for sample in file["test"]])
        assert metrics["mse"] == pytest.approx(((predicted - target) ** 2).mean(), rel=1e-5)
        assert metrics["mse"] < 0.05
        with pytest.raises(ArgumentError, match="probabilities are of classes"):
            run.model.probabilities([np.zeros((3, 1))])


# Evaluate, load, call


@pytest.fixture(scope="module")
def trained(path, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with data.open(path) as file:
        fit(file["train"], out=out, epochs=4, label_smoothing=0.1)
    return out


def test_evaluate_agrees_with_predictions_counted_by_hand(trained, path):
    from scipy.special import log_softmax

    model = cn.load(trained)
    with data.open(path) as file:
        test = file["test"]
        metrics = cn.evaluate(model, test)
        truth = test.targets
        scores = np.concatenate([model([sample.values]).values for sample in test])
        for options in ({"positions": 12}, {"samples": 1}, {"samples": 1000}):
            again = cn.evaluate(model, test, **options)
            assert again["confusion"] == metrics["confusion"]
            assert again["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
    assert metrics["accuracy"] == (scores.argmax(1) == truth).mean()
    log_p = log_softmax(scores.astype(float), axis=1)
    smooth = 0.9 * np.eye(2)[truth] + 0.05
    assert metrics["loss"] == pytest.approx(-(smooth * log_p).sum(1).mean(), rel=1e-5)
    json.dumps(metrics, allow_nan=False)


def test_evaluate_a_bare_network(trained, path):
    model = cn.load(trained)
    with data.open(path) as file:
        whole = cn.evaluate(model, file["test"])
        bare = cn.evaluate(model.net, file["test"], normalize=model.normaliser)
        assert bare["confusion"] == whole["confusion"]
        with pytest.raises(DataError, match="no samples"):
            cn.evaluate(model, file["test"].subset([]))
        with pytest.raises(ArgumentError, match="brings its own"):
            cn.evaluate(model, file["test"], normalize=model.normaliser)


def test_evaluate_refuses_another_task(trained, tmp_path):
    model = cn.load(trained)
    with data.open(numbers_file(tmp_path / "n.h5")) as file, pytest.raises(DataError, match="trained on channels=2"):
        cn.evaluate(model, file["test"])
    with data.create(tmp_path / "o.h5", ndim=1, channels=2, classes=["high", "low"]) as writer:
        writer.append(np.zeros((5, 2), np.float32), label=0)
    with data.open(tmp_path / "o.h5") as file, pytest.raises(DataError, match="or in another order"):
        cn.evaluate(model, file["train"])


def test_a_model_takes_samples_in_every_form(trained, rng):
    model = cn.load(trained)
    samples = [rng.standard_normal((n, 2)).astype(np.float32) for n in (5, 9, 5)]
    ragged = model(Ragged.pack(samples))
    listed = model(samples)
    assert ragged.values.tobytes() == listed.values.tobytes()
    assert ragged.values[:1].tobytes() == model(samples[0][None]).tobytes()
    assert model(np.stack([samples[0], samples[2]])).tobytes() == listed.values[[0, 2]].tobytes()
    shares = model.probabilities(samples)
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    assert model.predict(samples) == [model.classes[i] for i in shares.argmax(1)]
    whole = model.net(model.normaliser.apply(Ragged.pack(samples)))
    assert whole.values.tobytes() == listed.values.tobytes()


def test_a_model_cuts_large_batches_without_a_trace(trained, rng, monkeypatch):
    model = cn.load(trained)
    samples = [rng.standard_normal((int(n), 2)) for n in rng.integers(3, 20, 30)]
    whole = model(samples).values
    monkeypatch.setattr("convnd.train.model.PIECE", 25)
    assert model(samples).values.tobytes() == whole.tobytes()


def test_stored_integers_are_scaled_as_in_the_file(tmp_path, rng):
    raw = [rng.integers(-3000, 3000, (8, 1)).astype(np.int16) for _ in range(8)]
    with data.create(tmp_path / "x.h5", ndim=1, channels=1, classes=["a", "b"], dtype="int16", scale=2**-15) as writer:
        for number, values in enumerate(raw):
            writer.append(values, label=number % 2)
    with data.open(tmp_path / "x.h5") as file:
        model = fit(file["train"], nn.Sequential(nn.GlobalPool(), nn.Linear(2)), validation=None).model
        physical = [sample.values for sample in file["train"]]
    assert model(raw).values.tobytes() == model(physical).values.tobytes()


def test_what_a_model_refuses(trained, tmp_path):
    model = cn.load(trained)
    for x, message in (
        (np.zeros((2, 5, 3)), "2 channels. Received: 1 axes and 3 channels"),
        (np.zeros((2, 5, 5, 2)), "Received: 2 axes"),
        (np.zeros(3), "must be an array"),
        (np.zeros((2, 5, 2), complex), "must be real numbers"),
        ([], "must not be empty"),
    ):
        with pytest.raises(ConvndError, match=message):
            model(x)
    with pytest.raises(TrainingError, match="is not a run folder"):
        cn.load(tmp_path)


def test_a_checkpoint_alone_carries_the_model(trained, tmp_path, rng):
    (tmp_path / "model.ckpt").write_bytes((trained / "best.ckpt").read_bytes())
    x = rng.standard_normal((2, 7, 2))
    model = cn.load(tmp_path / "model.ckpt")
    assert model(x).tobytes() == cn.load(trained)(x).tobytes()
    assert model.classes == ["low", "high"]
    assert model.config["data"]["recipe"] == {"kind": "series"}
