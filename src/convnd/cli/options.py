"""Options that several commands share, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DATA = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for scripts.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Don't show progress.")
data = click.argument("data", nargs=-1, required=True, type=DATA)
positions = click.option(
    "--positions", type=click.IntRange(1), metavar="N",
    help="Most positions (time steps, pixels, voxels) in a batch, all samples together: memory follows it. "
    "By default, room for 32 samples of mean size.",
)  # fmt: skip
samples = click.option("--samples", type=click.IntRange(1), metavar="N", help="Most samples in a batch.")


def _read_list(kind: Callable[[str], Any], what: str) -> Callable[..., Any]:
    """Reads what is written with commas between."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[Any] | None:
        try:
            return None if text is None else [kind(part) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"must be {what} with commas between them. Received: {text}") from None

    return read


_labels = click.option(
    "--labels", metavar="NAME|PATH",
    help="Of others' files: the dataset or group of labels, or @ATTRIBUTE; beside a folder: folder, FILE.csv, or a "
    "folder of .npy files with labels of every position.",
)  # fmt: skip
_classes = click.option("--classes", metavar="NAME,NAME,...", callback=_read_list(str, "names"),
                       help="Of others' files: names of the classes.")  # fmt: skip
_values = click.option(
    "--values", metavar="NAME",
    help="Of others' HDF5 files: the group whose datasets are the samples, or the dataset of variable length.",
)  # fmt: skip
_shapes = click.option("--shapes", metavar="NAME", help="With variable length: the dataset of the samples' shapes.")
_ndim = click.option("--ndim", type=click.IntRange(0), metavar="N",
                     help="Of others' files: how many axes are spatial; 1 where samples have only one.")  # fmt: skip
_scale = click.option("--scale", metavar="X[,X,...]", callback=_read_list(float, "numbers"),
                      help="Of others' files: physical value = stored value times this; one, or one a channel."
                      )  # fmt: skip


def foreign(command: Command) -> Command:
    """The options of :func:`convnd.data.open` for files that others made."""
    return _values(_labels(_classes(_shapes(_ndim(_scale(command))))))


def foreign_inputs(command: Command) -> Command:
    """Those of them that inputs for a model need: it knows the axes."""
    return _values(_shapes(_scale(command)))


def take_how(given: dict[str, Any]) -> dict[str, Any]:
    """Out of a command's options, those of :func:`foreign`: as :func:`convnd.data.open` takes them."""
    how = {name: given.pop(name, None) for name in ("values", "labels", "classes", "shapes", "ndim", "scale")}
    if how["scale"] is not None and len(how["scale"]) == 1:
        how["scale"] = how["scale"][0]
    return {name: value for name, value in how.items() if value is not None}


def one_or_all(paths: Sequence[Path]) -> Path | list[Path]:
    """What :func:`convnd.data.open` takes: a path, or several."""
    return paths[0] if len(paths) == 1 else list(paths)


def _set_threads(ctx: click.Context, parameter: click.Parameter, count: int | None) -> None:
    if count is not None:
        from convnd import set_num_threads

        set_num_threads(count)


threads = click.option(
    "--threads", type=click.IntRange(1), metavar="N", callback=_set_threads, expose_value=False,
    help="Threads to use; by default all cores. Results are the same for any number.",
)  # fmt: skip


def emit(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """A result as JSON on standard output."""
    click.echo(json.dumps(result, indent=2, allow_nan=False, default=str))


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows in columns; the first ``left`` columns are texts, the others figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [cell.ljust(width) if column < left else cell.rjust(width)
         for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in lines)


def figure(value: float | None) -> str:
    """A figure for people; a dash for one that nothing defines."""
    return "-" if value is None else f"{value:.4f}"


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Metrics for people: the totals in a line, then a row for every class."""
    totals = [f"{name} {figure(value)}" for name, value in metrics.items() if value is None or isinstance(value, float)]
    text = f"{metrics['samples']} samples   " + "   ".join(totals)
    classes = metrics.get("classes")
    if not classes:
        return text
    columns = list(next(iter(classes.values())))
    rows = [["class", *columns]]
    rows += [
        [name, *(str(facts[key]) if key == "count" else figure(facts[key]) for key in columns)]
        for name, facts in classes.items()
    ]
    return f"{text}\n\n{table(rows)}"
