"""The command line from outside: help, results, JSON, exit codes, and a plain line for every mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import convnd
from training_files import classes_file, labels_file, numbers_file

import convnd as cn
from convnd.checkpoint import Checkpoint
from convnd.cli import COMMANDS, cli

QUICK = ["--epochs", "2", "--samples", "8", "--seed", "1", "-q"]


def outside(*arguments, **options):
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "convnd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


@pytest.fixture(autouse=True)
def threads():
    before = cn.get_num_threads()
    yield
    cn.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Drawing takes longer than these runs; the demo's test draws."""
    if request.function is not test_demo:
        monkeypatch.setattr("convnd.plots.available", lambda: False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return classes_file(tmp_path_factory.mktemp("data") / "classes.h5")


@pytest.fixture(scope="module")
def run(data):
    out = data.parent / "run"
    convnd("train", data, "--model", "small", "--set", "width=8", "--out", out, *QUICK)
    return out


def test_class_weights(data, tmp_path):
    for text, weights in (("1,3.5", [1.0, 3.5]), ("balanced", [1.0, 1.0])):
        convnd("train", data, "--model", "small", "--out", tmp_path, "--force", "--class-weights", text, *QUICK)
        kept = json.loads((tmp_path / "config.json").read_text())["objective"]["class_weights"]
        np.testing.assert_allclose(kept, weights, rtol=0.3)
    error = convnd("train", data, "--model", "small", "--out", tmp_path, "--class-weights", "1,x", code=2)
    assert "must be numbers with commas between them, or balanced. Received: 1,x" in error


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_list_of_commands(flag):
    shown = convnd(flag)
    for name in cli.list_commands(None):
        assert f"  {name} " in shown
    assert "convnd demo" in shown


def test_every_command_explains_itself_with_an_example():
    names = [[name] for name in cli.list_commands(None)] + [["prepare", "audio"], ["prepare", "series"]]
    assert {"demo", "prepare", "info", "check", "train", "evaluate", "predict", "summary", "config"} <= set(COMMANDS)
    for name in names:
        shown = convnd(*name, "--help")
        assert shown.startswith("Usage: convnd " + " ".join(name))
        assert "Example" in shown
        assert f"convnd {' '.join(name)}" in shown.split("Example")[1]


def test_help_from_outside():
    done = outside("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == convnd("--help")


def test_help_does_not_import_what_it_does_not_need():
    program = (
        "import sys; from convnd.cli import run; assert run(['--help']) == 0; "
        "print([m for m in ('h5py', 'convnd.train', 'convnd.models', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# The way once


def test_train_evaluate_predict(data, run, tmp_path):
    shown = convnd("evaluate", run, data, "-q")
    assert "12 samples" in shown
    metrics = json.loads(convnd("evaluate", run, data, "--json", "-q", "--threads", "1"))
    assert metrics["samples"] == 12
    assert list(metrics["classes"]) == ["low", "high"]
    assert json.loads(convnd("evaluate", run, data, "--split", "train", "--json", "-q"))["samples"] == 24
    np.save(tmp_path / "x.npy", np.ones((7, 2), np.float32))
    line = convnd("predict", run, tmp_path / "x.npy").splitlines()[0].split("\t")
    assert line[0] == str(tmp_path / "x.npy")
    assert line[1] in ("low", "high")
    answers = json.loads(convnd("predict", run, tmp_path / "x.npy", data, "--split", "test", "--json"))
    assert len(answers) == 13
    assert answers[0]["class"] == line[1]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    with_h5py = h5py.File(data)["splits/test"][()]
    assert [answer["sample"] for answer in answers[1:]] == [f"s{number}" for number in with_h5py]


def test_train_as_json_and_its_log(data, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", data, "--model", "small", "--set", "width=4", "--out", out, *QUICK, "--json"]
    result = json.loads(convnd(*arguments))
    assert result["epochs"] == 2
    assert result["best_epoch"] in (1, 2)
    assert result["validation"]["samples"] == 2
    for path in result["paths"].values():
        assert os.path.getsize(path)
    lines = [json.loads(line) for line in Path(result["paths"]["log"]).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert "holds a run already" in convnd(*arguments, code=1)
    assert json.loads(convnd(*arguments, "--resume")) == result
    assert json.loads(convnd(*arguments, "--force"))["validation"] == result["validation"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_a_bar_on_a_terminal(data, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    command = ["train", data, "--model", "small", "--set", "width=4", "--out", tmp_path / "run", "--epochs", "2"]
    shown = b""
    command = [sys.executable, "-m", "convnd", *map(str, command)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as run:
        os.close(theirs)
        with suppress(OSError):  # which is how Linux says that the other side hung up
            while part := os.read(ours, 1 << 16):
                shown += part
        run.communicate()
    os.close(ours)
    assert run.returncode == 0
    text = shown.decode()
    assert "100%" in text
    assert "epoch 2/2  loss" in text
    assert text.count("val_loss") == 2


def test_train_a_network_from_a_file(data, tmp_path):
    (tmp_path / "net.toml").write_text(
        'type = "Sequential"\n[[layers]]\ntype = "Conv"\nfilters = 3\nkernel = 3\nactivation = "relu"\n'
        '[[layers]]\ntype = "GlobalPool"\n[[layers]]\ntype = "Linear"\nfeatures = 2\n'
    )
    convnd(
        "train", data, "--model", tmp_path / "net.toml", "--out", tmp_path / "run", *QUICK, "--validation", "none",
        "--optimizer", "sgd", "--warmup", "1", "--threads", "1",
    )  # fmt: skip
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["network"]["layers"][0]["filters"] == 3
    assert config["settings"]["optimizer"] == {"name": "sgd", "momentum": 0.9, "lr": 0.001}
    assert config["settings"]["schedule"] == {"name": "cosine", "warmup": 1.0, "lr": 0.001}
    assert config["data"]["validation"] is None


def test_segmentation_and_numbers(tmp_path):
    labels, numbers = labels_file(tmp_path / "labels.h5"), numbers_file(tmp_path / "numbers.h5")
    (tmp_path / "net.toml").write_text(
        'type = "Sequential"\n[[layers]]\ntype = "Conv"\nfilters = 2\nkernel = 3\npadding = "same"\n'
    )
    convnd("train", labels, "--model", tmp_path / "net.toml", "--out", tmp_path / "l", "--loss", "dice+ce", *QUICK)
    assert "dice" in json.loads(convnd("evaluate", tmp_path / "l", labels, "--json", "-q"))
    saved = tmp_path / "maps"
    answers = json.loads(convnd("predict", tmp_path / "l", labels, "--split", "test", "--save", saved, "--json"))
    for answer in answers:
        label_map = np.load(answer["saved"])
        assert list(label_map.shape) == answer["shape"]
        assert (label_map == 1).sum() == answer["positions"]["thing"]
    convnd("train", numbers, "--model", "small", "--set", "width=4", "--out", tmp_path / "n", *QUICK)
    answers = json.loads(convnd("predict", tmp_path / "n", numbers, "--json"))
    assert len(answers[0]["numbers"]) == 2


def write_wave(path, frequency, count, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = (8000 * np.sin(2 * np.pi * frequency * np.arange(count) / rate)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(tone.tobytes())


def test_from_a_folder_of_recordings_to_a_prediction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        write_wave(tmp_path / f"sounds/low/{number}.wav", 200, 900 + 40 * number)
        write_wave(tmp_path / f"sounds/high/{number}.wav", 1500, 800 + 50 * number)
    (tmp_path / "sounds/low/broken.wav").write_text("not a recording")
    prepared = convnd("prepare", "audio", "sounds", "sounds.h5", "--test", "0.25", "--json", "-q")
    report = json.loads(prepared)
    assert report["samples"] == 16
    assert report["failed"][0]["path"] == "low/broken.wav"
    facts = json.loads(convnd("info", "sounds.h5", "--json"))
    assert (facts["splits"]["train"]["samples"], facts["splits"]["test"]["samples"]) == (12, 4)
    assert "time: 800 to 1180" in convnd("info", "sounds.h5")
    convnd("train", "sounds.h5", "--model", "small", "--set", "width=8", "--epochs", "1", "--out", "run", "-q")
    answers = json.loads(convnd("predict", "run", "sounds/low/0.wav", "sounds/high/0.wav", "--json"))
    from_file = json.loads(convnd("predict", "run", "sounds.h5", "--json"))
    known = {answer["sample"]: answer["probabilities"] for answer in from_file}
    assert [answer["probabilities"] for answer in answers] == [known["low/0.wav"], known["high/0.wav"]]


def test_series(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("push", "wave"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(3):
            rows = "\n".join(f"{number + row},{row}" for row in range(4 + number))
            (tmp_path / "in" / label / f"{number}.csv").write_text(f"x,y\n{rows}\n")
    assert "6 samples" in convnd("prepare", "series", "in", "out.h5")
    assert json.loads(convnd("check", "out.h5", "--json"))["sound"] is True


def test_a_damaged_data_file_is_found(data, tmp_path):
    content = bytearray(data.read_bytes())
    with h5py.File(data) as file:
        place = file["values"].id.get_chunk_info(0).byte_offset
    content[place + 9] ^= 1
    (tmp_path / "x.h5").write_bytes(content)
    assert "sound" in convnd("check", data)
    done = outside("check", tmp_path / "x.h5")
    assert done.returncode == 1
    assert "damaged" in done.stdout
    error = convnd("train", tmp_path / "x.h5", "--model", "small", "--out", tmp_path / "run", *QUICK, code=1)
    assert "is damaged" in error


def test_summary_and_config():
    assert "multiply-adds" in convnd("summary", "small", "28x28x1")
    result = json.loads(convnd("summary", "small", "16x12", "--classes", "9", "--set", "width=64", "--json"))
    assert result["input"] == [16, 12]
    assert result["rows"][-1]["output"] == [9]
    assert "thread" in convnd("config").lower()
    assert convnd("--version").startswith("convnd ")


def test_demo(tmp_path, monkeypatch):
    """The command as it is, its settings cut to two epochs: training it fully is the benchmark's work."""
    from convnd.cli import demo

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(demo.SETTINGS, "epochs", 2)
    monkeypatch.setitem(demo.MODEL, "width", 8)
    result = json.loads(convnd("demo", "-q", "--json"))
    assert 0.3 < result["accuracy"] <= 1
    assert result["seconds"] > 0
    for path in result["paths"].values():
        assert (tmp_path / path).stat().st_size
    assert {"curves", "confusion", "best"} <= result["paths"].keys()
    shown = convnd("demo", "-q", "--seed", "1")
    assert "Test accuracy" in shown
    assert "convnd-demo/best.ckpt" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["convnd-demo"]


# Stopping


def start(*arguments):
    command = [sys.executable, "-m", "convnd", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c_saves_and_resume_ends_alike(data, tmp_path):
    settings = ["--model", "small", "--set", "width=4", "--epochs", "60", "--samples", "4", "-q"]
    log = tmp_path / "run/log.jsonl"
    with start("train", data, *settings, "--out", tmp_path / "run") as process:
        while process.poll() is None and not log.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    assert error.startswith("convnd: stopped in epoch")
    assert "--resume" in error
    assert len(error.splitlines()) == 1
    convnd("evaluate", tmp_path / "run", data, "-q")
    convnd("train", data, *settings, "--out", tmp_path / "run", "--resume")
    convnd("train", data, *settings, "--out", tmp_path / "whole")
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = Checkpoint.read(tmp_path / "run" / name), Checkpoint.read(tmp_path / "whole" / name)
        assert all(ours.arrays[key].tobytes() == array.tobytes() for key, array in theirs.arrays.items())


def test_output_that_nobody_reads(data, run):
    with start("predict", run, data) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


# Mistakes


MISTAKES = [
    (2, ["trian"], "No such command 'trian'"),
    (2, ["train"], "Missing argument 'DATA...'"),
    (2, ["train", "DATA"], "Missing option '--model'"),
    (2, ["train", "none.h5", "--model", "small", "--out", "o"], "does not exist"),
    (2, ["train", "DATA", "--model", "huge", "--out", "o"], "must be one of"),
    (2, ["train", "DATA", "--model", "none.toml", "--out", "o"], "can't be read"),
    (2, ["train", "DATA", "--model", "TEXT.toml", "--out", "o"], "isn't TOML"),
    (2, ["train", "DATA", "--model", "small", "--set", "depth=3", "--out", "o"], "has the options"),
    (2, ["train", "DATA", "--model", "small", "--set", "width", "--out", "o"], "must be KEY=VALUE"),
    (2, ["train", "DATA", "--model", "small", "--lr", "-1", "--out", "o"], "--lr"),
    (2, ["train", "DATA", "--model", "small", "--epochs", "0", "--out", "o"], "--epochs"),
    (2, ["train", "DATA", "--model", "small", "--resume", "--force", "--out", "o"], "give one of them"),
    (2, ["train", "DATA", "--model", "small", "--validation", "test", "--out", "o"], "must not be the test split"),
    (2, ["train", "DATA", "--model", "small", "--validation", "much", "--out", "o"], "must be a share"),
    (2, ["train", "DATA", "--model", "small", "--momentum", "0.5", "--out", "o"], "goes with --optimizer sgd"),
    (2, ["train", "DATA", "--model", "small", "--monitor", "dice", "--out", "o"], "monitor must be"),
    (1, ["train", "DATA", "--model", "small", "--split", "dev", "--out", "o"], "has no split 'dev'"),
    (1, ["train", "TEXT", "--model", "small", "--out", "o"], "isn't an HDF5 file"),
    (1, ["train", "DATA", "--model", "small", "--positions", "2", "--out", "o"], "above the budget"),
    (1, ["train", "DATA", "--model", "small", "--out", "FOREIGN"], "neither empty nor a run"),
    (2, ["train", "DATA", "--model", "small", "--out", "TEXT"], "is a file"),
    (1, ["train", "DATA", "--model", "unet", "--out", "o"], "spatial axes"),
    (1, ["train", "DATA", "--model", "small", "--optimizer", "sgd", "--lr", "1e38", "--out", "o"], "learning rate"),
    (2, ["info", "none.h5"], "does not exist"),
    (1, ["info", "TEXT"], "isn't an HDF5 file"),
    (1, ["check", "TEXT"], "isn't an HDF5 file"),
    (2, ["evaluate", "none", "DATA"], "does not exist"),
    (1, ["evaluate", "FOREIGN", "DATA"], "is not a run folder"),
    (1, ["evaluate", "TEXT", "DATA"], "not a convnd checkpoint"),
    (1, ["evaluate", "RUN", "DATA", "--split", "dev"], "has no split 'dev'"),
    (1, ["predict", "RUN", "none.npy"], "there is no such file"),
    (1, ["predict", "RUN", "TEXT"], "series is read from"),
    (1, ["predict", "RUN", "WIDE.npy"], "2 channels"),
    (2, ["predict", "RUN"], "Missing argument"),
    (2, ["summary", "small", "big"], "such as 28x28x1"),
    (2, ["summary", "small", "0x1"], "such as 28x28x1"),
    (1, ["prepare", "audio", "FOREIGN", "x.h5"], "holds no usable files"),
    (2, ["prepare", "audio", "none", "x.h5"], "does not exist"),
    (2, ["prepare", "audio", "FOREIGN", "x.h5", "--pattern", "("], "isn't a regular expression"),
    (2, ["prepare", "odours", "FOREIGN", "x.h5"], "No such command 'odours'"),
]


@pytest.fixture
def workplace(data, run, tmp_path, monkeypatch):
    """A folder with things that are not what they seem; the words of MISTAKES that stand for paths."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/thesis.tex").write_text("years")
    (tmp_path / "text").write_text("not what you think\n")
    (tmp_path / "text.toml").write_text("= = =")
    np.save(tmp_path / "wide.npy", np.zeros((4, 5)))
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    yield {
        "DATA": data, "RUN": run, "FOREIGN": "foreign", "TEXT": "text", "TEXT.toml": "text.toml",
        "WIDE.npy": "wide.npy",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "o") == before


@pytest.mark.parametrize(("code", "words", "message"), MISTAKES, ids=[" ".join(words) for _, words, _ in MISTAKES])
def test_a_mistake_gets_one_plain_line(workplace, code, words, message):
    error = convnd(*(workplace.get(word, word) for word in words), code=code)
    assert message in " ".join(error.split())
    assert len([line for line in error.splitlines() if line.startswith(("convnd:", "Error:"))]) == 1


@pytest.mark.parametrize("number", [0, 3, 17, 21, 22, 30])
def test_mistakes_from_outside(workplace, number):
    code, words, message = MISTAKES[number]
    done = outside(*(workplace.get(word, word) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_an_unforeseen_error_is_not_hidden(monkeypatch, capsys):
    """Only mistakes become lines; a defect of ours keeps its traceback."""
    from convnd import cli as command_line

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(command_line.cli, "main", broken)
    with pytest.raises(ZeroDivisionError):
        command_line.run([])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError("3 GiB"), 1, "convnd: not enough memory; a smaller --positions takes less. 3 GiB"),
        (PermissionError(13, "Permission denied", "x.h5"), 1, "convnd: x.h5: Permission denied"),
        (KeyboardInterrupt(), 1, "convnd: stopped"),
    ],
)
def test_errors_of_the_system(monkeypatch, capsys, error, code, line):
    from convnd import cli as command_line

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(command_line.cli, "main", broken)
    assert command_line.run([]) == code
    assert capsys.readouterr().err == line + "\n"
