"""``convnd train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import models
from ..data.summary import count_labels
from . import options

if TYPE_CHECKING:
    from ..data import Split
    from ..nn import Layer


@click.command(short_help="Train a network on a data file.")
@options.data
@click.option("--model", required=True, metavar="NAME|FILE.toml",
              help=f"A named network ({', '.join(models.names())}), or a file that describes one.")
@click.option("--set", "model_options", multiple=True, metavar="KEY=VALUE",
              help="An option of a named network, e.g. --set width=64. Can be given several times.")
@click.option("--out", required=True, type=options.FOLDER, help="The run folder: model, log and pictures.")
@click.option("--split", default="train", show_default=True, help="The split to learn from.")
@click.option("--validation", default="0.1", show_default=True, metavar="SHARE|SPLIT|none",
              help="What the best epoch is chosen on: a share of the training split, or a split of its own. "
              "Never the test split.")
@click.option("--by-group", is_flag=True, help="Hold out whole groups (speakers, patients) for validation.")
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1), help="Passes over the training data.")
@options.positions
@options.samples
@click.option("--oversize", default="error", show_default=True, type=click.Choice(["error", "alone"]),
              help="A sample above --positions: refuse it, or let it make a batch by itself.")
@click.option("--sizes", default="mixed", show_default=True, type=click.Choice(["mixed", "grouped"]),
              help="Batches of samples of any size, or of like size.")
@click.option("--optimizer", default="adamw", show_default=True, type=click.Choice(["adamw", "adam", "sgd"]))
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), help="Of sgd; 0.9 unless given.")
@click.option("--lr", default=1e-3, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Learning rate, the highest of the schedule.")
@click.option("--weight-decay", type=click.FloatRange(0), help="The optimiser's own default unless given.")
@click.option("--schedule", default="cosine", show_default=True,
              type=click.Choice(["cosine", "constant", "one_cycle"]), help="The learning rate over all epochs.")
@click.option("--warmup", type=click.FloatRange(0), metavar="EPOCHS", help="Epochs in which a cosine rises first.")
@click.option("--loss", type=click.Choice(["cross_entropy", "dice+ce", "mse"]),
              help="By default what fits the targets; dice+ce is for a class at every position.")
@click.option("--label-smoothing", default=0.0, show_default=True, type=click.FloatRange(0, 1, max_open=True))
@click.option("--class-weights", metavar="W,W,...|balanced",
              help="Of the cross-entropy: a number for each class, or balanced: every class weighs the same in total.")
@click.option("--clip", type=click.FloatRange(0, min_open=True), help="Largest norm of all gradients together.")
@click.option("--accumulate", default=1, show_default=True, type=click.IntRange(1), help="Batches that make one step.")
@click.option("--patience", type=click.IntRange(1), metavar="EPOCHS",
              help="Stop after so many epochs without improvement.")
@click.option("--monitor", type=click.Choice(["accuracy", "dice", "mse", "loss"]),
              help="The validation figure that decides which epoch is best.")
@click.option("--normalize", default="channel", show_default=True, type=click.Choice(["channel", "sample", "none"]),
              help="Inputs to mean 0 and deviation 1: by channel over the training data, or within each sample.")
@click.option("--augment", multiple=True, metavar="CHANGE",
              help="A random change of training samples, e.g. 'flip(axis=1)' or 'noise(snr=20)'. Can be given several "
              "times; they are done in order. See convnd.data.augment.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed gives the same bits.")
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped, to the same bits.")
@click.option("--force", is_flag=True, help="Replace a run that is in --out.")
@options.foreign
@options.threads
@options.quiet
@options.as_json
def train(data: tuple[Path, ...], as_json: bool, quiet: bool, **given: Any) -> None:  # fmt: skip
    """Train a network on the data file DATA and keep its best epoch. Several files count as one.

    The run folder then holds best.ckpt (the model), last.ckpt (where --resume goes on), log.jsonl (figures of every
    epoch), config.json, and with matplotlib curves.png and confusion.png. Ctrl-C stops after the step under way and
    saves the place.

    DATA may also be what others made: an HDF5 file whose samples are datasets of a group, or a dataset of variable
    length (--values), or a folder of .npy files. --labels says where the labels are.

    \b
    Examples:
      convnd train sounds.h5 --model small --out run
      convnd train sounds.h5 --model wave --epochs 40 --lr 0.002 --patience 8 --out run
      convnd train images.h5 --model small --augment 'flip(axis=1)' --augment 'affine(rotation=10)' --out run
      convnd train volumes.h5 --model unet --loss dice+ce --normalize sample --positions 500000 --out run
      convnd train sounds.h5 --model wave --epochs 40 --lr 0.002 --patience 8 --out run --resume
      convnd train theirs.h5 --values sounds --labels kinds --scale 3.0518e-5 --model wave --out run
      convnd train arrays/ --labels folder --ndim 2 --model small --out run
    """
    import convnd as cn

    if given["resume"] and given["force"]:
        raise click.UsageError("--resume goes on with the run in --out, --force replaces it: give one of them")
    how = options.take_how(given)
    with cn.data.open(options.one_or_all(data), **how) as file:
        split = file[given.pop("split")]
        net = network(given.pop("model"), outputs(split), given.pop("model_options"), split.info.symbols)
        run = cn.fit(net, split, progress=False if quiet else None, **_arguments(file, given))
    seconds, waited = (sum(line[name] for line in run.history) for name in ("seconds", "waited"))
    if as_json:
        options.emit(
            {
                "best_epoch": run.best_epoch,
                "epochs": len(run.history),
                "stopped": run.stopped,
                "validation": run.metrics,
                "seconds": round(seconds, 3),
                "waited": round(waited, 3),
                "paths": {name: str(path) for name, path in run.paths.items()},
            }
        )
        return
    if run.metrics is not None:
        click.echo(f"best epoch {run.best_epoch}, on the validation part: {options.metrics_text(run.metrics)}\n")
    for name, path in run.paths.items():
        click.echo(f"{name + ':':<11}{path}")
    click.echo(f"\n{seconds:.1f} s, of which training waited {waited:.2f} s for data ({waited / seconds:.1%})")


def _arguments(file: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The options as arguments of fit."""
    arguments = {**given, "overwrite": given["force"], "validation": _validation(file, given["validation"])}
    arguments["augment"] = list(given["augment"]) or None
    arguments["normalize"] = None if given["normalize"] == "none" else given["normalize"]
    for option in ("force", "momentum", "warmup"):
        arguments.pop(option)
    arguments["class_weights"] = _class_weights(given["class_weights"])
    if given["optimizer"] == "sgd":
        arguments["optimizer"] = {"name": "sgd", "momentum": 0.9 if given["momentum"] is None else given["momentum"]}
    elif given["momentum"] is not None:
        raise click.UsageError("--momentum goes with --optimizer sgd")
    if given["warmup"] is not None:
        if given["schedule"] != "cosine":
            raise click.UsageError("--warmup goes with --schedule cosine")
        arguments["schedule"] = {"name": "cosine", "warmup": given["warmup"]}
    return arguments


def _class_weights(text: str | None) -> list[float] | str | None:
    """A number for each class, or the name of a rule."""
    if text is None or text == "balanced":
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"must be numbers with commas between them, or balanced. Received: {text}", param_hint="--class-weights"
        ) from None


def _validation(file: Any, text: str) -> Any:
    """A share, a split, or None."""
    if text == "none":
        return None
    if text in file:
        return file[text]
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(
            f"must be a share between 0 and 1, none, or one of the splits {', '.join(file)}. Received: {text}",
            param_hint="--validation",
        )
    return share


def outputs(split: Split) -> int:
    """Channels that a network for this split's targets must give."""
    info = split.info
    if info.classes:
        return len(info.classes)
    if info.target == "class" and split.targets is not None and len(split):
        return int(split.targets.max()) + 1
    if info.labels:
        return max(len(count_labels(split)[0]), 1)
    return info.target_channels


def network(name: str, classes: int, settings: tuple[str, ...] = (), symbols: int | None = None) -> Layer:
    """The unbuilt network that --model and --set name; for data of symbols one whose embedding has a row for each."""
    if name.endswith(".toml"):
        if settings:
            raise click.UsageError("--set goes with a named network; change the TOML file instead")
        return models.from_toml(name)
    if name not in models.names():
        raise click.BadParameter(
            f"must be one of {', '.join(models.names())}, or a file that ends in .toml. Received: {name}",
            param_hint="--model",
        )
    chosen = dict(_setting(text) for text in settings)
    if symbols is not None:
        if "rows" not in models.options_of(name):
            fitting = ", ".join(other for other in models.names() if "rows" in models.options_of(other))
            raise click.BadParameter(
                f"this data's values are numbers that stand for words, so the network must begin with an embedding: "
                f"{fitting}, or a file that ends in .toml. Received: {name}",
                param_hint="--model",
            )
        chosen = {"rows": symbols} | chosen
    return models.get(name, classes, **chosen)


def _setting(text: str) -> tuple[str, Any]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise click.BadParameter(f"must be KEY=VALUE. Received: {text}", param_hint="--set")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
