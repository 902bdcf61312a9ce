"""``convnd prepare`` and ``info`` as people type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import numpy as np
import pytest

from convnd import cli, data
from convnd.cli.prepare import Bar
from convnd.data import pieces


@pytest.fixture
def convnd(tmp_path, monkeypatch, capsys):
    """convnd("info", "a.h5") runs the command in the test's folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = cli.run([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tables(put):
    """20 tables of 2 classes and 5 groups, 3 to 22 rows."""
    for number in range(20):
        rows = "".join(f"{number},{row}\n" for row in range(3 + number))
        put(f"{['on', 'off'][number % 2]}/g{number // 4}_{number:02}.csv", "left,right\n" + rows)


def test_splits_groups_workers_and_classes(convnd, tables, tmp_path):
    words = ["prepare", "series", "in", "a.h5", "--test", "0.2", "--split", "val=0.2", "--seed", "3", "--by-group"]
    words += ["--label-from", "name", "--pattern", r"(?P<label>\w+)/(?P<group>g\d)_", "--classes", "on, off"]
    words += ["--workers", "2"]
    assert convnd(*words) == (0, "a.h5: 20 samples\n", "")
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("on", "off")
        assert [len(file[name]) for name in ("test", "train", "val")] == [4, 12, 4]
        assert not set(file["test"].groups) & set(file["train"].groups)
    assert convnd(*words[:4], "--json", "-q", *words[4:])[0] == 0


def test_what_failed_is_a_line_a_file(convnd, put):
    put("a.csv", "1\n")
    put("b.csv", "x\n")
    code, out, error = convnd("prepare", "series", "in", "a.h5", "--label-from", "none")
    assert (code, out) == (0, "a.h5: 1 samples, 1 left out\n")
    assert error == "left out: b.csv: the table has no rows of numbers\n"
    code, out, error = convnd("prepare", "series", "in", "b.h5", "--label-from", "none", "--json")
    assert json.loads(out) == {
        "path": "b.h5", "samples": 1, "failed": [{"path": "b.csv", "reason": "the table has no rows of numbers"}]
    }  # fmt: skip
    assert convnd("prepare", "series", "in", "c.h5", "--label-from", "none", "--strict") == (
        1, "", "convnd: b.csv: the table has no rows of numbers\n"
    )  # fmt: skip


def test_names_that_are_no_text_are_shown(convnd, put, tmp_path):
    put("a.csv", "1\n")
    try:
        (tmp_path / "in" / os.fsdecode(b"\xff.csv")).write_text("x")
    except OSError:  # A file system that wants text (macOS).
        assert sys.platform != "linux"
        return
    error = convnd("prepare", "series", "in", "a.h5", "--label-from", "none")[2]
    assert error == "left out: \\udcff.csv: the table has no rows of numbers\n"


def test_label_tracks(convnd, put, tmp_path):
    put("a.csv", "1\n2\n3\n")
    put("a_l.csv", "0\n255\n9\n")
    words = ["--labels-from", "{stem}_l.csv", "--label-values", "0,255,9", "--ignore", "2", "--classes", "3"]
    assert convnd("prepare", "series", "in", "a.h5", *words)[0] == 0
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"][0].target[:, 0].tolist() == [0, 1, 2]
        assert (file.info.ignore, file.info.classes) == (2, ("0", "1", "2"))


def test_features(convnd, tmp_path):
    import soundfile

    (tmp_path / "in" / "x").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "x" / "a.wav", np.zeros(1000, "int16"), 8000)
    words = ["--features", "mel", "--hop", "100", "--bins", "30", "--window", "400", "--rate", "8000", "--all-channels"]
    assert convnd("prepare", "audio", "in", "a.h5", *words) == (0, "a.h5: 1 samples\n", "")
    assert data.info(tmp_path / "a.h5")["shapes"]["max"] == [11, 30]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--split", "val"], 2, "give a name and a share, such as val=0.1. Received: val"),
        (["--split", "val=x"], 2, "give a name and a share"),
        (["--split", "=0.1"], 2, "give every split one name and one share"),
        (["--split", "a=0.1", "--split", "a=0.2"], 2, "give every split one name and one share"),
        (["--split", "test=0.1", "--test", "0.1"], 2, "give the share of test once"),
        (["--split", "a=0.5", "--split", "b=0.5"], 2, "convnd: split must give shares between 0 and 1"),
        (["--label-values", "0,x"], 2, "give whole numbers, such as 0,255. Received: 0,x"),
        (["--workers", "0"], 2, "Invalid value for '--workers'"),
        (["--largest", "0.0000001"], 1, "none of the 20 files could be read. The first, off/g0_01.csv: it claims"),
        (["--labels-from", "nowhere"], 2, "convnd: labels_from must be a folder"),
        (["--label-from", "none.csv"], 1, "convnd: none.csv: this manifest can't be read"),
    ],
)
def test_wrong_usage_is_one_plain_line(convnd, tables, words, code, message):
    found, _, error = convnd("prepare", "series", "in", "a.h5", *words)
    assert found == code
    assert message in error
    assert "Traceback" not in error


def test_a_full_disk(convnd, tables, tmp_path, monkeypatch):
    def fill(file, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pieces, "write_all", fill)
    code, out, error = convnd("prepare", "series", "in", "a.h5", "--workers", "1")
    assert (code, out, error) == (1, "", "convnd: No space left on device\n")


class Terminal:
    """A standard error that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_bar_has_a_rate_and_the_time_left(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    clock = [0.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    bar = Bar("preparing", "samples")
    for done in range(1, 31):
        clock[0] += 1.0
        bar(done, 40, f"{done}.csv")
    assert "preparing" in terminal.text
    last = terminal.text.split("preparing")[-1]
    assert "30/40" in last
    assert "1.0 samples/s" in last
    assert "00:00:09" in last
    bar.close()
    bar.close()
    assert terminal.text.rstrip("\x1b[?25h").endswith("\n")


def test_a_worker_prints_nothing(tables, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "convnd", "prepare", "series", "in", "a.h5", "--workers", "2"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "a.h5: 20 samples\n", "")


def test_info(convnd, tables, tmp_path):
    words = ["--origin", "a shelf", "--licence", "CC0", "--test", "0.5", "--workers", "1"]
    assert convnd("prepare", "series", "in", "a.h5", *words)[0] == 0
    out = convnd("info", "a.h5")[1]
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}
    assert lines["samples"] == f"samples 20, 250 positions, {os.path.getsize(tmp_path / 'a.h5') / 2**20:.1f} MiB"
    assert lines["axes"] == "axes time: 3 to 22, median 12.5"
    assert lines["channels"] == "channels 2 of float32 (left, right)"
    assert lines["target"] == "target a class a sample (off, on)"
    assert lines["split test"] == "split test 10 samples (off: 5, on: 5)"
    assert (lines["source"], lines["licence"]) == ("source a shelf", "licence CC0")
    assert lines["checksums"].startswith("checksums on all ")
    bars = out.split("positions a sample\n")[1].splitlines()
    counts = [int(line.split()[-1]) for line in bars]
    assert sum(counts) == 20
    assert bars[0].split()[:3] == ["3", "to", "5"]
    assert all("#" in bar for bar in bars)
    facts = json.loads(convnd("info", "a.h5", "--json")[1])
    assert facts["sizes"] == {"edges": facts["sizes"]["edges"], "counts": counts}
    assert (facts["sizes"]["edges"][0], facts["sizes"]["edges"][-1]) == (3, 23)
    assert facts["checksums"]["without"] == []


def test_info_of_motions_and_of_one_size(convnd, put, tmp_path):
    axes = [{"name": "time", "spacing": 0.25, "unit": "s"}, {"name": "mel band", "unit": "mel"}]
    given = {"ndim": 2, "channels": 1, "dtype": "int16", "target": None, "scale": 0.5, "axes": axes}
    with data.create(tmp_path / "a.h5", **given) as writer:
        for _ in range(3):
            writer.append(np.zeros((4, 2, 1), "int16"))
    out = convnd("info", "a.h5")[1]
    assert "time: 4 to 4, median 4 (step 0.25 s); mel band: 2 to 2, median 2 (in mel)" in out
    assert "1 of int16 times 0.5" in out
    assert "positions a sample" not in out
    with data.create(tmp_path / "b.h5", ndim=1, channels=2, target=None, scale=[1.0, 2.0]) as writer:
        for size in [1] * 99 + [100_000]:
            writer.append(np.zeros((size, 2), "float32"))
    out = convnd("info", "b.h5")[1]
    assert "2 of float32, each times its own scale" in out
    bars = out.split("positions a sample\n")[1].splitlines()
    assert (bars[0].split()[-1], bars[-1].split()[-2:]) == ("99", ["#", "1"])


def test_info_names_what_has_no_checksum(convnd, tables, tmp_path):
    import h5py

    convnd("prepare", "series", "in", "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as root:
        shapes = root["shapes"][()]
        del root["shapes"]
        root["shapes"] = shapes
    assert "checksums none on shapes; the other " in " ".join(convnd("info", "a.h5")[1].split())


def test_help_shows_the_options():
    text = cli.cli.get_command(None, "prepare").commands["audio"].get_help(click.Context(click.Command("audio")))
    for word in ("--features", "--labels-from", "--workers", "--strict", "--split", "--largest", "--by-group"):
        assert word in text


def test_ctrl_c_says_how_to_go_on(convnd, tables, tmp_path, monkeypatch):
    append = data.Writer.append

    def stop(writer, values, **given):
        if len(writer) == 5:
            raise KeyboardInterrupt
        append(writer, values, **given)

    monkeypatch.setattr(data.Writer, "append", stop)
    words = ["prepare", "series", "in", "a.h5", "--workers", "1"]
    assert convnd(*words) == (1, "", "convnd: stopped; the same command goes on from here\n")
    monkeypatch.setattr(data.Writer, "append", append)
    assert convnd(*words) == (0, "a.h5: 20 samples\n", "")
