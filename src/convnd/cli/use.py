"""``convnd evaluate``, ``predict``, ``summary`` and ``config``: what comes after, and before, training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..errors import ArgumentError, ConvndError
from . import options, tiles

if TYPE_CHECKING:
    from ..train import Model

RUN = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("run", type=RUN)
@options.data
@click.option("--split", default="test", show_default=True, help="The split to measure on.")
@options.positions
@options.samples
@options.foreign
@options.threads
@options.quiet
@options.as_json
def evaluate(
    run: Path, data: tuple[Path, ...], split: str, positions: int | None, samples: int | None, quiet: bool,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Measure the trained network of the run folder RUN on a split of the data file DATA.

    Several files count as one. DATA may also be what others made, as in 'convnd train'; its samples are in the split
    train, unless a table of labels says otherwise.

    \b
    Examples:
      convnd evaluate run sounds.h5
      convnd evaluate run sounds.h5 --split train --json
      convnd evaluate run theirs.h5 --values sounds --labels kinds --split train
    """
    import convnd as cn

    model = cn.load(run)
    with cn.data.open(options.one_or_all(data), **options.take_how(given)) as file:
        metrics = cn.evaluate(
            model, file[split], positions=positions, samples=samples, progress=False if quiet else None
        )
    if as_json:
        options.emit(metrics)
    else:
        click.echo(options.metrics_text(metrics))


@click.command()
@click.argument("run", type=RUN)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--split", help="Of .h5 files: the split to predict; by default all samples.")
@click.option("--save", type=options.FOLDER, metavar="FOLDER",
              help="Write results at positions (label maps) as one .npy a sample into this folder.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write results at positions into this file: .npy for one sample, .h5 for any number (a dataset "
              "each: 0, 1, ...).")
@click.option("--tile", metavar="N[,N,...]", callback=tiles.read_tile,
              help="Make results at positions by blocks of N positions (or N,N,... along the axes), in memory bounded "
              "by the block: for what is larger than memory. The result is that of the whole.")
@options.foreign_inputs
@options.threads
@options.quiet
@options.as_json
def predict(
    run: Path, files: tuple[Path, ...], split: str | None, save: Path | None, out: Path | None, tile: Any,
    quiet: bool, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Ask the trained network of the run folder RUN about new files.

    FILE is a recording or a table like those the data were prepared from (it is prepared in the same way), a .npy
    array (*S, channels) in physical values, or a data file (.h5). Others' HDF5 files are read with --values, as in
    'convnd train', and so is a folder of .npy files. A file that can't be used is named on standard error and the
    others go on; the exit code is then 1.

    \b
    Examples:
      convnd predict run new.wav other.wav
      convnd predict run new.wav --json
      convnd predict run scans.h5 --split test --save labels/
      convnd predict run large.npy --tile 128 --out labels.npy
    """
    import convnd as cn

    model = cn.load(run)
    if save is not None and out is not None:
        raise click.UsageError("--save and --out both say where results go: give one of them")
    tiles.check_options(model, tile, out)
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    answers: list[dict[str, Any]] = []
    with tiles.Kept(model, out, save) as kept:
        read = tiles.samples if tile is not None or out is not None else samples_of
        found = ((path, read(path, split, model, **options.take_how(dict(given)))) for path in files)
        failed = _predict(model, found, save, kept if read is tiles.samples else None, tile, answers, quiet, as_json)
    if as_json:
        options.emit(answers)
    if failed:
        raise click.exceptions.Exit(1)


def _predict(
    model: Model, found: Iterable[tuple[Path, Iterable[tuple[str, Any]]]], save: Path | None, kept: tiles.Kept | None,
    tile: Any, answers: list[dict[str, Any]], quiet: bool, as_json: bool,
) -> bool:  # fmt: skip
    """Answer file by file, and whether any of them can't be used. With ``kept`` samples are read as they are needed."""
    from ..train.names import renamed

    failed = False
    for path, samples in found:
        try:
            for name, values in samples:
                stem, facts = f"{path.stem}-{len(answers)}", {"file": str(path), "sample": name}
                with renamed([f"sample {name}"].__getitem__, 1):
                    if kept is None:
                        answer = _answer(model, values, save, stem)
                    else:
                        answer = tiles.answer(model, values, tile, kept, facts, stem, quiet)
                answers.append({**facts, **answer})
                if not as_json:
                    click.echo(_line(answers[-1]))
        except BrokenPipeError:  # of our output, not of the file
            raise
        except (ConvndError, OSError) as error:
            if tile is not None and isinstance(error, ArgumentError):  # the network's reason, whatever the file
                raise ConvndError(str(error)) from error
            failed = True
            text = str(error) if isinstance(error, ConvndError) else str(error.strerror or error)
            where = "" if text.startswith(f"{path}: ") else f"{path}: "
            click.echo(f"convnd: {where}{text}", err=True)
    return failed


def samples_of(path: Path, split: str | None, model: Model, **how: Any) -> Iterator[tuple[str, Any]]:
    """The samples in a file, each with its name."""
    from ..data import load_inputs

    file = tiles.collection(path, model, how)
    if file is None:
        for name, values in load_inputs(path, model.config["data"]["recipe"]):
            yield name, tiles.with_channels(values, model)
        return
    with file:
        for sample in file.samples if split is None else file[split]:
            yield str(sample.meta.get("name") or sample.number), sample.values


def _answer(model: Model, values: Any, save: Path | None, stem: str) -> dict[str, Any]:
    """What the model says about one sample, JSON-able."""
    if model.kind == "class":
        shares = model.probabilities([values])[0]
        best = model.classes[int(shares.argmax())]
        every = {name: round(float(share), 6) for name, share in zip(model.classes, shares, strict=True)}
        return {"class": best, "probability": every[best], "probabilities": every}
    result = model.predict([values])[0]
    if model.kind == "numbers":
        return {"numbers": [float(number) for number in result]}
    answer: dict[str, Any] = {"shape": list(result.shape)}
    if model.kind == "labels":
        counts = np.bincount(result.reshape(-1), minlength=len(model.classes))
        answer["positions"] = {name: int(count) for name, count in zip(model.classes, counts, strict=True)}
        result = result.astype(np.min_scalar_type(len(model.classes)))
    if save is not None:
        target = save / f"{stem}.npy"
        np.save(target, result)
        answer["saved"] = str(target)
    return answer


def _line(answer: dict[str, Any]) -> str:
    """An answer in one line: the file, the sample where it isn't the file's only one, the result."""
    name = answer["file"] if answer["sample"] == Path(answer["file"]).name else f"{answer['file']}: {answer['sample']}"
    if "class" in answer:
        return f"{name}\t{answer['class']}\t{answer['probability']:.4f}"
    if "numbers" in answer:
        return "\t".join([name, *(f"{number:.6g}" for number in answer["numbers"])])
    counts = ", ".join(f"{label}: {count}" for label, count in answer.get("positions", {}).items())
    return "\t".join([name, "x".join(map(str, answer["shape"])), *filter(None, [counts, answer.get("saved")])])


@click.command()
@click.argument("model")
@click.argument("shape")
@click.option("--classes", default=10, show_default=True, type=click.IntRange(1), help="Of a named network.")
@click.option("--set", "model_options", multiple=True, metavar="KEY=VALUE", help="An option of a named network.")
@options.as_json
def summary(model: str, shape: str, classes: int, model_options: tuple[str, ...], as_json: bool) -> None:
    """Show the layers, parameters and cost of a network for one sample.

    MODEL is a named network or a .toml file; SHAPE is the sample's sizes and, last, its channels.

    \b
    Examples:
      convnd summary small 28x28x1
      convnd summary net.toml 16000x1
    """
    from .. import nn
    from .train import network

    try:
        sizes = tuple(int(part) for part in shape.lower().split("x"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter(f"must be sizes and channels, such as 28x28x1. Received: {shape}", param_hint="SHAPE")
    found = nn.summary(network(model, classes, model_options), sizes)
    if as_json:
        options.emit(found.to_dict())
    else:
        click.echo(str(found))


@click.command()
@options.as_json
def config(as_json: bool) -> None:
    """Show convnd's version, the instruction set it chose, and its threads.

    \b
    Example:
      convnd config
    """
    from .. import __version__, kernels

    if as_json:
        options.emit({"version": __version__, **kernels.config()})
    else:
        kernels.show_config()
