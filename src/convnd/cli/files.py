"""``convnd prepare``, ``info`` and ``check``: data files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import options


@click.group()
def prepare() -> None:
    """Turn recordings or tables into one HDF5 file that the other commands read.

    Files keep their own length: nothing is cropped or padded.

    \b
    Examples:
      convnd prepare audio FOLDER sounds.h5 --test 0.2
      convnd prepare series GunPoint_TRAIN.ts gunpoint.h5
    """


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every kind of source takes."""
    decorators: list[Callable[..., Any]] = [
        click.argument("source", type=click.Path(exists=True, path_type=Path)),
        click.argument("out", type=click.Path(dir_okay=False, path_type=Path)),
        click.option("--label-from", default="folder", show_default=True, metavar="folder|name|none|FILE.csv",
                     help="Where a file's class comes from: its folder's name, the group 'label' of --pattern, "
                     "nowhere, or a table with the columns path, label, split, group."),
        click.option("--pattern", metavar="REGEX", help="Searched for in each path; its named groups label, split "
                     "and group are used, e.g. '(?P<label>[0-9])_(?P<group>[a-z]+)_'."),
        click.option("--test", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="SHARE",
                     help="Share of the files to set aside, drawn at random, as the test split."),
        click.option("--by-group", is_flag=True, help="Never put one group (speaker, patient) into two splits."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of that draw."),
        click.option("--strict", is_flag=True, help="Stop at the first file that can't be used."),
        click.option("--origin", metavar="TEXT", help="Where the data come from; kept in the file."),
        click.option("--licence", metavar="TEXT", help="Their licence; kept in the file."),
        options.quiet,
        options.as_json,
    ]  # fmt: skip
    for option in reversed(decorators):
        command = option(command)
    return command


@prepare.command()
@_common
@click.option("--rate", type=click.IntRange(1), metavar="HZ",
              help="Resample to this rate; by default all files must agree.")
@click.option("--mono/--all-channels", default=True, show_default=True, help="Average the channels, or keep them.")
def audio(rate: int | None, mono: bool, **given: Any) -> None:  # fmt: skip
    """Prepare the recordings in the folder SOURCE (WAV, FLAC, Ogg, MP3, AIFF) as the data file OUT.

    \b
    Examples:
      convnd prepare audio FOLDER sounds.h5                       (FOLDER/dog/1.wav, FOLDER/cat/2.wav)
      convnd prepare audio FOLDER digits.h5 --label-from name \\
          --pattern '(?P<label>[0-9])_(?P<group>[a-z]+)_' --test 0.2 --by-group
    """
    from ..data import prepare_audio

    _prepare(prepare_audio, rate=rate, mono=mono, **given)


@prepare.command()
@_common
def series(**given: Any) -> None:
    """Prepare time series as the data file OUT.

    SOURCE is a .ts file of the UEA & UCR archive, a folder of them, or a folder of tables (.csv, .tsv, .txt: a row a
    time, a column a channel) or arrays (.npy, .npz), one sample a file.

    \b
    Examples:
      convnd prepare series JapaneseVowels/ vowels.h5
      convnd prepare series FOLDER gestures.h5 --test 0.2        (FOLDER/wave/1.csv, FOLDER/push/2.csv)
    """
    from ..data import prepare_series

    _prepare(prepare_series, **given)


class _Bar:
    """The progress of a preparation: a bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int, name: str) -> None:
        if self.bar is None:
            hidden = not sys.stderr.isatty()
            self.bar = click.progressbar(length=total, label="preparing", file=sys.stderr, hidden=hidden)
            self.bar.__enter__()
        self.bar.update(done - self.bar.pos)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)


def _prepare(
    function: Callable[..., Any], source: Path, out: Path, test: float | None, quiet: bool, as_json: bool, **given: Any
) -> None:
    if given["label_from"] == "none":
        given["label_from"] = None
    split = None if test is None else {"test": test}
    shown = None if quiet else _Bar()
    try:
        report = function(source, out, split=split, progress=shown, **given)
    finally:
        if shown is not None:
            shown.close()
    failed = [{"path": failure.path, "reason": failure.reason} for failure in report.failed]
    if as_json:
        options.emit({"path": str(report.path), "samples": report.samples, "failed": failed})
        return
    for failure in failed:
        click.echo(f"left out: {failure['path']}: {failure['reason']}", err=True)
    left = f", {len(failed)} files left out" if failed else ""
    click.echo(f"{report.path}: {report.samples} samples{left}")


@click.command()
@click.argument("file", type=options.DATA)
@options.as_json
def info(file: Path, as_json: bool) -> None:
    """Show what the data file FILE holds: samples, sizes, splits, classes, where it comes from.

    \b
    Example:
      convnd info sounds.h5
    """
    from ..data import info as describe

    facts = describe(file)
    if as_json:
        options.emit(facts)
        return
    rows = [
        ("samples", f"{facts['samples']:,}, {facts['positions']:,} positions, {facts['bytes'] / 2**20:.1f} MiB"),
        ("axes", _axes(facts)),
        ("channels", f"{facts['channels']} of {facts['dtype']}" + _listed(facts["channel_names"])),
        ("target", _target(facts)),
    ]
    for name, split in facts["splits"].items():
        counts = ", ".join(f"{label}: {count}" for label, count in list(split.get("classes", {}).items())[:12])
        rows.append((f"split {name}", f"{split['samples']:,} samples" + (f" ({counts})" if counts else "")))
    rows += [(key, str(facts[key])) for key in ("groups", "source", "licence") if facts.get(key)]
    click.echo(f"{file}\n{options.table(rows, left=2)}")


def _axes(facts: dict[str, Any]) -> str:
    names = [axis["name"] for axis in facts["axes"]] or [f"axis {number}" for number in range(facts["ndim"])]
    sizes = zip(names, *(facts["shapes"][key] for key in ("min", "median", "max")), strict=True)
    return "; ".join(f"{name}: {least} to {most}, median {middle:g}" for name, least, middle, most in sizes) or "none"


def _target(facts: dict[str, Any]) -> str:
    if facts["target"] is None:
        return "none"
    what = {"class": "a class a sample", "numbers": f"{facts['target_channels']} numbers a sample"}
    return what.get(facts["target"], f"{facts['target_dtype']} at every position") + _listed(facts["classes"])


def _listed(names: Any, most: int = 12) -> str:
    if not names:
        return ""
    return f" ({', '.join(list(names)[:most])}{', ...' if len(names) > most else ''})"


@click.command()
@click.argument("file", type=options.DATA)
@options.as_json
def check(file: Path, as_json: bool) -> None:
    """Read every sample of the data file FILE and report what is wrong with it.

    Exit code 0 if the file is sound, 1 if not.

    \b
    Example:
      convnd check sounds.h5
    """
    from ..data import open as open_file

    with open_file(file) as opened:
        samples, defects = len(opened), opened.check()
    if as_json:
        options.emit({"path": str(file), "samples": samples, "sound": not defects, "defects": defects})
    else:
        for defect in defects:
            click.echo(defect)
        click.echo(f"{file}: {samples} samples, " + (f"{len(defects)} defects" if defects else "all sound"))
    if defects:
        raise click.exceptions.Exit(1)
