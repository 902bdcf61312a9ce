"""README's commands for the shell, word for word, on small files of the names that stand beside them."""

from __future__ import annotations

import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
from PIL import Image
from test_prepare_video import draw, write

from convnd import cli, data

README = Path(__file__).parent.parent / "README.md"
LINES = README.read_text().split("for files of your own:\n\n```sh\n")[1].split("```")[0].splitlines()


def sounds(folder):
    for number in range(12):
        wave = np.sin(np.arange(3000 + 100 * number) * (0.1 + number % 2)) * 20000
        path = folder / f"sounds/{['dog', 'cat'][number % 2]}/{number}.{['wav', 'flac'][number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.astype("int16"), 8000)
    soundfile.write(folder / "new.wav", wave.astype("int16"), 8000)


def photos(folder):
    for number, name in enumerate(["cat/1.png", "dog/2.jpg"]):
        (folder / "photos" / name).parent.mkdir(parents=True)
        Image.fromarray(draw(1, 150 + number, 170)[0]).save(folder / "photos" / name)


def scans(folder):
    rng = np.random.default_rng(0)
    for name, most in {"scans": 900, "masks": 3}.items():
        (folder / name).mkdir()
        for number in range(1, 5):
            volume = rng.integers(0, most, (12, 10 + number, 9), dtype="int16")
            nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 1, 2, 1])), folder / name / f"{number}.nii.gz")
    np.save(folder / "large.npy", np.zeros((14, 13, 12), "int16"))
    assert cli.run(["prepare", "volumes", "scans", "first.h5", "--labels-from", "masks", "--classes", "3", "-q"]) == 0
    words = ["--model", "unet", "--set", "width=4", "--set", "depth=1", "--epochs", "1", "--out", "scans-run", "-q"]
    words += ["--validation", "none"]
    assert cli.run(["train", "first.h5", *words]) == 0


def clips(folder):
    write(folder / "clips/walk/1.mp4", draw(12, 120, 160), codec="mpeg4", pixels="yuv420p")
    write(folder / "clips/run/2.mov", draw(12, 120, 160), codec="mpeg4", pixels="yuv420p")


def moves(folder):
    for number, name in enumerate(["wave/1.csv", "push/2.csv"]):
        (folder / "moves" / name).parent.mkdir(parents=True)
        (folder / "moves" / name).write_text("x,y\n" + "1,2\n" * (5 + number))
    (folder / "mails.csv").write_text("text,label\nBuy this now!,spam\nSee you tomorrow,ham\n")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for make in (sounds, photos, scans, clips, moves):
        make(tmp_path)
    return tmp_path


def test_the_commands_run(workplace, capsys):
    for line in LINES:
        words = shlex.split(line, comments=True)
        assert words[0] == "convnd"
        more = ["--epochs", "2", "-q"] if words[1] == "train" else []
        assert cli.run([*words[1:], *more]) == 0, capsys.readouterr().err
    assert len(LINES) == 10
    samples = {"sounds": 12, "photos": 2, "scans": 4, "clips": 2, "moves": 2, "mails": 2}
    assert {name: data.info(f"{name}.h5")["samples"] for name in samples} == samples
    assert data.info("clips.h5")["shapes"]["max"] == [12, 84, 112]
    assert data.info("photos.h5")["shapes"]["max"][1] == 128
    assert np.load("labels.npy").shape[:3] == (14, 13, 12)
