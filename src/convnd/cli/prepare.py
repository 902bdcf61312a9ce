"""``convnd prepare``: from files to a data file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import options


@click.group()
def prepare() -> None:
    """Turn recordings, tables and the like into one HDF5 file that the other commands read.

    Files keep their own length: nothing is cropped or padded. Stopped half way, the same command goes on from there.

    \b
    Examples:
      convnd prepare audio FOLDER sounds.h5 --test 0.2
      convnd prepare audio FOLDER mel.h5 --features mel --split test=0.2 --split val=0.1
      convnd prepare images FOLDER shapes.h5 --colour grey
      convnd prepare volumes imagesTr scans.h5 --labels-from labelsTr
      convnd prepare series GunPoint_TRAIN.ts gunpoint.h5
      convnd prepare video FOLDER clips.h5 --rate 10 --size 112
      convnd prepare text reviews.csv reviews.h5 --text-column review
    """


def _shares(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in given:
        name, _, share = text.partition("=")
        if not name or name in shares:
            raise click.BadParameter(f"give every split one name and one share. Received: {text}")
        try:
            shares[name] = float(share)
        except ValueError:
            raise click.BadParameter(f"give a name and a share, such as val=0.1. Received: {text}") from None
    return shares


def _classes(ctx: click.Context, parameter: click.Parameter, given: str | None) -> list[str] | int | None:
    if given is None:
        return None
    return int(given) if given.isdigit() else [name.strip() for name in given.split(",")]


def _numbers(ctx: click.Context, parameter: click.Parameter, given: str | None) -> list[int] | None:
    try:
        return None if given is None else [int(number) for number in given.split(",")]
    except ValueError:
        raise click.BadParameter(f"give whole numbers, such as 0,255. Received: {given}") from None


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every kind of source takes."""
    decorators: list[Callable[..., Any]] = [
        click.argument("source", type=click.Path(exists=True, path_type=Path)),
        click.argument("out", type=click.Path(dir_okay=False, path_type=Path)),
        click.option("--label-from", default="folder", show_default=True, metavar="folder|name|none|FILE.csv",
                     help="Where a file's class comes from: its folder's name, the group 'label' of --pattern, "
                     "nowhere, or a table with the columns path, label, split, weight, group."),
        click.option("--pattern", metavar="REGEX", help="Searched for in each path; its named groups label, split "
                     "and group are used, e.g. '(?P<label>[0-9])_(?P<group>[a-z]+)_'."),
        click.option("--labels-from", metavar="FOLDER|NAME", help="Labels per position (masks, label tracks): a folder "
                     "of files named as the samples are, or a name beside them such as '{stem}_mask.png'."),
        click.option("--classes", callback=_classes, metavar="A,B,...|N",
                     help="The classes' names in their order, or how many there are."),
        click.option("--label-values", callback=_numbers, metavar="N,N,...",
                     help="What stands for class 0, 1, ... in files of labels per position, e.g. 0,255."),
        click.option("--ignore", type=int, metavar="LABEL", help="The label that means 'no label'."),
        click.option("--test", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="SHARE",
                     help="Share of the files to set aside, drawn at random, as the test split."),
        click.option("--split", multiple=True, callback=_shares, metavar="NAME=SHARE",
                     help="Share of another split, e.g. val=0.1; may be given several times."),
        click.option("--by-group", is_flag=True, help="Never put one group (speaker, patient) into two splits."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of that draw."),
        click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes that read files; by default as "
                     "many as there are processors. The file is the same for any number."),
        click.option("--strict", is_flag=True, help="Stop at the first file that can't be used."),
        click.option("--largest", default=4.0, show_default=True, type=click.FloatRange(0, min_open=True),
                     metavar="GIB", help="Refuse files that claim to be larger than this in memory."),
        click.option("--origin", metavar="TEXT", help="Where the data come from; kept in the file."),
        click.option("--licence", metavar="TEXT", help="Their licence; kept in the file."),
        options.quiet,
        options.as_json,
    ]  # fmt: skip
    for option in reversed(decorators):
        command = option(command)
    return command


@prepare.command()
@common
@click.option("--rate", type=click.IntRange(1), metavar="HZ",
              help="Resample to this rate; by default all files must agree.")
@click.option("--mono/--all-channels", default=True, show_default=True, help="Average the channels, or keep them.")
@click.option("--features", type=click.Choice(["waveform", "stft", "mel", "mfcc", "cqt"]), default="waveform",
              show_default=True, help="What a sample is made of: the waveform, or features in dB computed by librosa.")
@click.option("--hop", type=click.IntRange(1), metavar="N", help="Samples between frames; by default window / 4.")
@click.option("--bins", type=click.IntRange(1), metavar="N", help="stft: points of the transform; mel: bands (64); "
              "mfcc: coefficients (20); cqt: bins an octave (12).")
@click.option("--window", type=click.IntRange(1), metavar="N", help="Samples in a frame; by default 32 ms and up.")
def audio(**given: Any) -> None:  # fmt: skip
    """Prepare the recordings in the folder SOURCE (WAV, FLAC, Ogg, MP3, AIFF) as the data file OUT.

    \b
    Examples:
      convnd prepare audio FOLDER sounds.h5                       (FOLDER/dog/1.wav, FOLDER/cat/2.wav)
      convnd prepare audio FOLDER digits.h5 --label-from name \\
          --pattern '(?P<label>[0-9])_(?P<group>[a-z]+)_' --test 0.2 --by-group
      convnd prepare audio FOLDER mel.h5 --features mel --bins 40 --rate 16000
      convnd prepare audio FOLDER events.h5 --labels-from '{stem}.txt' --classes none,call,song
    """
    from ..data import prepare_audio

    run(prepare_audio, **given)


@prepare.command()
@common
@click.option("--colour", type=click.Choice(["keep", "grey", "rgb"]), default="keep", show_default=True,
              help="keep: grey where all images are grey, else RGB.")
@click.option("--alpha", is_flag=True, help="Keep opacity as a channel, instead of laying images on the background.")
@click.option("--background", default="white", show_default=True, metavar="COLOUR",
              help="What transparent images are laid on: a name or #rrggbb.")
@click.option("--side", type=click.IntRange(1), metavar="PIXELS", help="Reduce larger images until their longer side "
              "has so many pixels.")
def images(**given: Any) -> None:  # fmt: skip
    """Prepare the images in the folder SOURCE (PNG, JPEG, TIFF, BMP, GIF, WebP) as the data file OUT.

    \b
    Examples:
      convnd prepare images FOLDER animals.h5 --test 0.2          (FOLDER/cat/1.png, FOLDER/dog/2.jpg)
      convnd prepare images FOLDER small.h5 --colour grey --side 128
      convnd prepare images photos cells.h5 --labels-from masks --classes background,cell --label-values 0,255
    """
    from ..data import prepare_images

    run(prepare_images, **given)


def _spacing(ctx: click.Context, parameter: click.Parameter, given: str | None) -> float | list[float] | None:
    try:
        numbers = None if given is None else [float(number) for number in given.split(",")]
    except ValueError:
        raise click.BadParameter(f"give one number or three, such as 1,1,2.5. Received: {given}") from None
    return numbers[0] if numbers is not None and len(numbers) == 1 else numbers


@prepare.command()
@common
@click.option("--orientation", type=click.Choice(["ras", "stored"]), default="ras", show_default=True,
              help="ras: axes go right, anterior and superior, by reordering and flipping. stored: left as they are.")
@click.option("--spacing", callback=_spacing, metavar="MM[,MM,MM]",
              help="Resample to this distance of voxels: values linearly, labels by the nearest.")
def volumes(**given: Any) -> None:  # fmt: skip
    """Prepare the volumes in the folder SOURCE (NIfTI, MGH, .npy, folders of DICOM slices) as the data file OUT.

    \b
    Examples:
      convnd prepare volumes FOLDER scans.h5 --test 0.2           (FOLDER/well/1.nii.gz, FOLDER/ill/2.nii.gz)
      convnd prepare volumes imagesTr scans.h5 --labels-from labelsTr --classes background,anterior,posterior
      convnd prepare volumes FOLDER scans.h5 --spacing 1          (FOLDER/ill/patient1/*.dcm)
    """
    from ..data import prepare_volumes

    run(prepare_volumes, **given)


@prepare.command()
@common
def series(**given: Any) -> None:
    """Prepare time series as the data file OUT.

    SOURCE is a .ts file of the UEA & UCR archive, a folder of them, or a folder of tables (.csv, .tsv, .txt: a row a
    time, a column a channel), arrays (.npy, .npz) or motion capture (.bvh), one sample a file.

    \b
    Examples:
      convnd prepare series JapaneseVowels/ vowels.h5
      convnd prepare series FOLDER gestures.h5 --test 0.2        (FOLDER/wave/1.csv, FOLDER/push/2.csv)
      convnd prepare series FOLDER motions.h5 --split test=0.2   (FOLDER/walk/1.bvh, FOLDER/box/2.bvh)
    """
    from ..data import prepare_series

    run(prepare_series, **given)


def _size(ctx: click.Context, parameter: click.Parameter, given: str | None) -> int | tuple[int, ...] | None:
    try:
        sides = () if given is None else tuple(int(side) for side in given.lower().split("x"))
    except ValueError:
        raise click.BadParameter(
            f"give the longest side or height and width, such as 112 or 120x160. Received: {given}"
        ) from None
    return sides if len(sides) > 1 else sides[0] if sides else None


@prepare.command()
@common
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="FPS", help="Frames a second, the nearest in "
              "time; by default every frame of the file.")
@click.option("--size", callback=_size, metavar="PIXELS|HxW",
              help="Reduce frames until the longest side, or height and width, are at most that.")
@click.option("--start", default=0.0, type=click.FloatRange(0), metavar="SECONDS", help="Take each clip from here on,")
@click.option("--stop", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="and up to here.")
@click.option("--colour", type=click.Choice(["rgb", "grey"]), default="rgb", show_default=True)
def video(**given: Any) -> None:  # fmt: skip
    """Prepare the videos in the folder SOURCE (MP4, MOV, MKV, WebM, AVI, MPEG, GIF) as the data file OUT.

    \b
    Examples:
      convnd prepare video FOLDER clips.h5 --test 0.2             (FOLDER/walk/1.mp4, FOLDER/run/2.mov)
      convnd prepare video FOLDER clips.h5 --rate 10 --size 112 --colour grey
      convnd prepare video FOLDER clips.h5 --start 1 --stop 4
      convnd prepare video clips hands.h5 --labels-from masks --classes background,hand
    """
    from ..data import prepare_video

    run(prepare_video, **given)


@prepare.command()
@common
@click.option("--units", type=click.Choice(["word", "char", "byte"]), default="word", show_default=True,
              help="What a position is.")
@click.option("--vocabulary", type=click.IntRange(1), metavar="N",
              help="The most frequent words or characters of the training split that get a number; 10000 unless given.")
@click.option("--text-column", metavar="NAME|N", help="Of a table: its name, text unless given, or its number from 1 "
              "where the first line is a row.")
@click.option("--label-column", metavar="NAME|N", help="Of a table; label, if there is one, unless given.")
@click.option("--numbers", is_flag=True, help="Labels are numbers to predict, not classes.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of the files.")
@click.option("--quotes/--no-quotes", default=True, show_default=True,
              help="Whether quotation marks enclose cells of a table, or are text.")
def text(**given: Any) -> None:  # fmt: skip
    """Prepare texts as the data file OUT: whole numbers for a network that begins with an embedding.

    SOURCE is a folder of .txt files, one sample a file, or a .csv or .tsv file, one sample a row. New texts get the
    same numbers; 0 stands for what isn't in the vocabulary.

    \b
    Examples:
      convnd prepare text FOLDER mails.h5 --test 0.2              (FOLDER/spam/1.txt, FOLDER/ham/2.txt)
      convnd prepare text reviews.csv reviews.h5 --text-column review --label-column stars --numbers
      convnd prepare text names.tsv names.h5 --units char --no-quotes
      convnd train mails.h5 --model sentence --out run
    """
    from ..data import prepare_text

    run(prepare_text, **given)


class Bar:
    """Progress: a bar with a rate and the time left on a terminal, nothing elsewhere."""

    def __init__(self, label: str, what: str) -> None:
        self._label, self._what = label, what
        self._bar: Any = None

    def __call__(self, done: int, total: int, name: str) -> None:
        if self._bar is None:
            self._bar = click.progressbar(
                length=total,
                label=self._label,
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
                show_pos=True,
                item_show_func=self._rate,
            )
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos, done)
        if done == total:
            self.close()

    def _rate(self, done: Any) -> str | None:
        pace = self._bar.time_per_iteration if done else 0
        return f"{1 / pace:.1f} {self._what}/s" if pace else None

    def close(self) -> None:
        """Leave the line."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def run(
    function: Callable[..., Any],
    source: Path,
    out: Path,
    test: float | None,
    split: dict[str, float],
    largest: float,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Call a kind's ``prepare_...`` with the options given, and say what came of it."""
    if given["label_from"] == "none":
        given["label_from"] = None
    if test is not None:
        if "test" in split:
            raise click.UsageError("give the share of test once, by --test or by --split")
        split = {"test": test} | split
    bars = [] if quiet else [Bar("looking at headers", "files"), Bar("preparing", "samples")]
    shown = dict(zip(("looking", "progress"), bars, strict=False))
    try:
        report = function(source, out, split=split, largest=round(largest * 2**30), **shown, **given)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    finally:
        for bar in bars:
            bar.close()
    failed = [{"path": failure.path, "reason": failure.reason} for failure in report.failed]
    if as_json:
        options.emit({"path": str(report.path), "samples": report.samples, "failed": failed})
        return
    for failure in failed:
        click.echo(_printable(f"left out: {failure['path']}: {failure['reason']}"), err=True)
    left = f", {len(failed)} left out" if failed else ""
    click.echo(_printable(f"{report.path}: {report.samples} samples{left}"))


def _printable(text: str) -> str:
    """File names needn't be text: their odd bytes as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
