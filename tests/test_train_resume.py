"""A run that was interrupted, however and wherever, ends with the very bits of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from training_files import classes_file, small_net

import convnd as cn
from convnd import data
from convnd.checkpoint import Checkpoint
from convnd.errors import TrainingError

EPOCHS, BATCHES = 4, 5  # 18 samples in batches of 4
SETTINGS = {
    "epochs": EPOCHS, "samples": 4, "validation": 0.25, "lr": 0.05, "schedule": "one_cycle", "clip": 1.0,
    "label_smoothing": 0.1, "seed": 3, "progress": False,
    "augment": ["flip", "random_crop(share=(0.6, 1))", "noise(sigma=(0, 0.3))", "time_mask(2, p=0.5)"],
}  # fmt: skip
CLOCK = ("seconds", "waited", "positions_per_second")


class Loss:
    """The usual loss, which does something at one of its calls."""

    def __init__(self, at=0, action=None):
        self.calls, self.at, self.action = 0, at, action

    def __call__(self, output, batch):
        self.calls += 1
        if self.calls == self.at:
            self.action()
        return cn.loss.cross_entropy(output, batch.targets, label_smoothing=0.1)


def fit(path, out, loss=None, **options):
    with data.open(path) as file:
        return cn.fit(small_net(), file["train"], out=out, loss=loss or Loss(), **SETTINGS | options)


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnd.plots.available", lambda: False)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return classes_file(tmp_path_factory.mktemp("data") / "classes.h5")


@pytest.fixture(scope="module")
def whole(path, tmp_path_factory):
    """The runs that nothing interrupted, by accumulation."""
    folder = tmp_path_factory.mktemp("whole")
    for accumulate in (1, 2):
        fit(path, folder / str(accumulate), accumulate=accumulate)
    return folder


def assert_same_run(out, expected):
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = Checkpoint.read(Path(out) / name), Checkpoint.read(Path(expected) / name)
        assert ours.arrays.keys() == theirs.arrays.keys()
        for key, array in theirs.arrays.items():
            assert ours.arrays[key].tobytes() == array.tobytes(), key
    assert without_clock(out) == without_clock(expected)
    ours, theirs = (Checkpoint.read(Path(folder) / "last.ckpt").meta for folder in (out, expected))
    assert {key: ours[key] for key in ("epoch", "batch", "step", "best_epoch", "stopped")} == {
        key: theirs[key] for key in ("epoch", "batch", "step", "best_epoch", "stopped")
    }


def without_clock(out):
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


# 5 batches an epoch and 2 of validation (the loss is called there too): calls 1 to 5 are training, 6 validation.
@pytest.mark.parametrize("at", [1, 3, 5, 6, 9, 23])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_ctrl_c(path, whole, tmp_path, at, accumulate):
    with pytest.raises(KeyboardInterrupt, match=r"stopped in epoch \d after \d batches, saved in .*last\.ckpt"):
        fit(path, tmp_path, Loss(at, interrupt), accumulate=accumulate)
    stopped = Checkpoint.read(tmp_path / "last.ckpt")
    assert stopped.meta["stopped"] is None
    assert len(without_clock(tmp_path) if (tmp_path / "log.jsonl").exists() else []) == stopped.meta["epoch"] - 1
    cn.load(tmp_path)
    run = fit(path, tmp_path, accumulate=accumulate, resume=True)
    assert len(run.history) == EPOCHS
    assert_same_run(tmp_path, whole / str(accumulate))


def test_ctrl_c_again_and_again(path, whole, tmp_path):
    for at in (2, 3, 1, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            fit(path, tmp_path, Loss(at, interrupt), resume=True)
    fit(path, tmp_path, resume=True)
    assert_same_run(tmp_path, whole / "1")


def test_batches_of_like_size(path, whole, tmp_path):
    fit(path, tmp_path / "whole", sizes="grouped")
    assert without_clock(tmp_path / "whole") != without_clock(whole / "1")
    for at in (2, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            fit(path, tmp_path / "run", Loss(at, interrupt), sizes="grouped", resume=True)
    with pytest.raises(TrainingError, match=r'another run: settings.sizes is "grouped" there, "mixed" now'):
        fit(path, tmp_path / "run", resume=True)
    fit(path, tmp_path / "run", sizes="grouped", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_handler_of_ctrl_c_is_put_back(path, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(path, tmp_path, Loss(2, interrupt))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once(path, tmp_path):
    def twice():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(path, tmp_path, Loss(8, twice))
    assert not str(stopped.value)
    assert Checkpoint.read(tmp_path / "last.ckpt").meta["epoch"] == 2


@pytest.mark.parametrize("at", [2, 8, 14])
def test_an_error_in_the_middle(path, whole, tmp_path, at):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(path, tmp_path, Loss(at, fail))
    fit(path, tmp_path, resume=True)
    assert_same_run(tmp_path, whole / "1")


def test_an_error_in_on_epoch(path, whole, tmp_path):
    def fail(line):
        raise ZeroDivisionError

    for _ in range(EPOCHS - 1):
        with pytest.raises(ZeroDivisionError):
            fit(path, tmp_path, on_epoch=fail, resume=True)
    fit(path, tmp_path, resume=True)
    assert_same_run(tmp_path, whole / "1")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
import convnd.checkpoint, test_train_resume as t
at, where = int(sys.argv[3]), sys.argv[5]
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
if where == "step":
    t.fit(sys.argv[1], sys.argv[2], t.Loss(at, kill))
else:  # in the middle of writing a checkpoint: its parts are on the disk, the rename is not done
    replace, calls = os.replace, [0]
    def dying(old, new):
        calls[0] += 1
        if calls[0] == at:
            kill()
        replace(old, new)
    os.replace = dying
    t.fit(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize(("where", "at"), [("step", 9), ("rename", 3), ("rename", 4), ("rename", 5)])
def test_kill_9(path, whole, tmp_path, where, at):
    arguments = [str(path), str(tmp_path), str(at), str(Path(__file__).parent), where]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    fit(path, tmp_path, resume=True)
    assert_same_run(tmp_path, whole / "1")
    assert not list(tmp_path.glob("*.part"))


KILLS = int(os.environ.get("CONVND_KILLS", "20"))
# A forked process for each part of a run, killed from outside: wherever it is then, in a step, reading ahead, saving.
KILLED_AT_RANDOM = """
import json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import convnd.plots, convnd.train.trainer, test_train_resume as t
path, whole, out, kills = sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
convnd.plots.available = lambda: False
convnd.train.trainer.SAVE_EVERY = 0.02
def start(out):
    child = os.fork()
    if not child:
        t.fit_augmented(path, out)
        os._exit(0)
    return child
begun = time.monotonic()
assert os.waitpid(start(whole), 0)[1] == 0
length, rng, runs, at = time.monotonic() - begun, np.random.default_rng(), [out + "/0"], []
while len(at) < kills:
    child = start(runs[-1])
    time.sleep(rng.uniform(0, 0.15 * length))
    os.kill(child, signal.SIGKILL)  # one that has ended, or is about to, isn't changed by it
    status = os.waitpid(child, 0)[1]
    if status == signal.SIGKILL:
        at.append(t.place_of(runs[-1]))
    else:  # it was done: another run for the kills that are left
        assert status == 0, status
        runs.append(f"{out}/{len(runs)}")
assert os.waitpid(start(runs[-1]), 0)[1] == 0
print(json.dumps([runs, at]))
"""


def fit_augmented(path, out):
    """Shuffled, read ahead in threads, each sample changed at random; masks and running statistics in the net."""
    augment = ["randomcrop(7)", "shift(2)", "gain(0.5, 2)", "noise(sigma=0.1)"]
    return fit(path, out, epochs=12, augment=augment, normalize="sample", resume=True)


def place_of(out):
    """Epoch and batch that a run would go on from."""
    last = Path(out) / "last.ckpt"
    if not last.exists():
        return [1, 0]
    meta = Checkpoint.read(last).meta
    return [meta["epoch"], meta["batch"]]


def test_killed_at_random_moments(tmp_path):
    path = classes_file(tmp_path / "classes.h5", count=150)
    arguments = [Path(__file__).parent, path, tmp_path / "whole", tmp_path / "killed", KILLS]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_RANDOM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs, at = json.loads(done.stdout)
    assert len(at) == KILLS
    assert len({tuple(place) for place in at}) > 2  # They came at different places of the run.
    for run in runs:
        assert_same_run(run, tmp_path / "whole")
    # What is compared depends on the augmentation and on the order.
    for other in ({"augment": None}, {"seed": 4}):
        fit(path, tmp_path / "other", epochs=1, normalize="sample", overwrite=True, **other)
        assert without_clock(tmp_path / "other")[0] != without_clock(tmp_path / "whole")[0]


def test_a_saved_place_in_a_long_epoch(path, whole, tmp_path, monkeypatch):
    """Long epochs are saved on the way, so that a kill costs minutes; here, after every step."""
    monkeypatch.setattr("convnd.train.trainer.SAVE_EVERY", 0.0)

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(path, tmp_path, Loss(11, fail))
    meta = Checkpoint.read(tmp_path / "last.ckpt").meta
    assert (meta["epoch"], meta["batch"], meta["step"]) == (2, 3, 8)  # call 11 is the fourth batch of epoch 2
    fit(path, tmp_path, resume=True)
    assert_same_run(tmp_path, whole / "1")


def test_resuming_a_finished_run_changes_nothing(path, whole, tmp_path):
    fit(path, tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()
    run = fit(path, tmp_path, resume=True)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert len(run.history) == EPOCHS
    assert_same_run(tmp_path, whole / "1")


def test_resuming_where_nothing_is_starts(path, whole, tmp_path):
    fit(path, tmp_path / "new", resume=True)
    assert_same_run(tmp_path / "new", whole / "1")


def test_a_finished_run_goes_on_for_more_epochs(path, tmp_path):
    options = {"schedule": "constant"}
    fit(path, tmp_path / "long", epochs=6, **options)
    fit(path, tmp_path / "short", epochs=2, **options)
    fit(path, tmp_path / "short", epochs=6, resume=True, **options)
    assert_same_run(tmp_path / "short", tmp_path / "long")


def test_a_damaged_checkpoint_is_refused(path, tmp_path):
    fit(path, tmp_path)
    content = bytearray((tmp_path / "last.ckpt").read_bytes())
    content[-5] ^= 4
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.ckpt is damaged"):
        fit(path, tmp_path, resume=True)
