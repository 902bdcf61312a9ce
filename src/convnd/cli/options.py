"""Options that several commands share, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DATA = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for scripts.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Don't show progress.")
positions = click.option(
    "--positions", type=click.IntRange(1), metavar="N",
    help="Most positions (time steps, pixels, voxels) in a batch, all samples together: memory follows it. "
    "By default, room for 32 samples of mean size.",
)  # fmt: skip
samples = click.option("--samples", type=click.IntRange(1), metavar="N", help="Most samples in a batch.")


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
