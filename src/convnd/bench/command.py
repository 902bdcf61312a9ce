"""``convnd bench``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import __version__, kernels, plots
from ..cli.options import as_json, emit, threads
from .cases import PASSES, Case, Pass, choose
from .measure import peak
from .peers import Peer
from .report import (
    NOISE,
    case_line,
    head,
    machine_text,
    markdown_head,
    markdown_line,
    pass_lines,
    summary,
    summary_lines,
)
from .run import PEERS, Row, installed, run

LEVELS = ("x86-64-v3",)


@click.command(name="bench")
@click.option("--case", "patterns", multiple=True, metavar="PATTERN", help="Only these cases: '3d-*', 'first'.")
@click.option("--pass", "passes", multiple=True, type=click.Choice(PASSES), help="Only this pass; may be repeated.")
@click.option(
    "--repeats", type=click.IntRange(1), metavar="N",
    help="Rounds; by default as many as --seconds have room for, at least 3.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.0), default=0.6, show_default=True, metavar="S",
    help="Measuring time of each contender in each row.",
)  # fmt: skip
@click.option("--no-peers", is_flag=True, help="Only convnd.")
@click.option(
    "--isa", type=click.Choice(LEVELS),
    help="Hold convnd and those peers that can be held to this instruction set. Starts the command afresh, because "
    "libraries choose theirs as they load.",
)  # fmt: skip
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png",
    help="Draw the ratios (needs the plot extra).",
)  # fmt: skip
@threads
@as_json
def command(
    patterns: tuple[str, ...],
    passes: tuple[Pass, ...],
    repeats: int | None,
    seconds: float,
    no_peers: bool,
    isa: str | None,
    markdown: bool,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Measure the kernels on this machine, beside PyTorch, ONNX Runtime and OpenVINO where they are installed.

    A row is one layer and one pass in float32: forward, gradient of the input, gradient of the weight. All contenders
    take turns in this process; the rate is that of the median call. The ratio is to the best peer, round by round:
    the median, and an interval that holds the true one at 95%. The error is the largest difference from a float64
    result at some hundred places relative to the largest value, and the root of its mean square relative to that of
    the values. Extra memory is beyond the operands, the result and one packed copy of the weight. A wrong result, ours
    or a peer's, ends in exit code 1. All rows with all peers take long:
    choose some with --case.

    \b
    Examples:
      convnd bench --case '2d-*' --pass forward
      convnd bench --threads 1 --markdown --plot ratios.png
      convnd bench --isa x86-64-v3
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude one another.")
    if plot is not None and not plots.available():
        raise click.UsageError(plots.NOT_INSTALLED)
    hold(isa)
    cases = choose(patterns)
    peers, absent = ([], {}) if no_peers else installed(isa)
    machine = describe(peers)
    if not as_json:
        click.echo(f"{machine_text(machine)}{'.' if markdown else ''}")
        for name, reason in absent.items():
            click.echo(f"without {name}: {reason}")
        click.echo(f"\n{markdown_head() if markdown else head()}")
    rows: list[Row] = []
    said: set[str] = set()
    for row in _rows(cases, passes or PASSES, machine["peak_gflops"] * 1e9, peers, repeats, seconds):
        if not as_json:
            _show(row, first=not rows or rows[-1].case is not row.case, markdown=markdown, said=said)
        rows.append(row)
    if as_json:
        emit({
            "machine": machine, "absent": absent, "rows": [row.as_dict() for row in rows], "summary": summary(rows)
        })  # fmt: skip
    else:
        click.echo("\n" + "\n".join(f"{'- ' if markdown else ''}{line}" for line in summary_lines(rows)))
    if plot is not None:
        _draw(plot, rows, machine)
    return _report_wrong(rows)


def hold(isa: str | None) -> None:
    """Start this program again with everything held to ``isa``, unless it is already."""
    if isa is None:
        return
    wanted = {"CONVND_ISA": isa}
    for peer in PEERS:
        wanted |= peer.held.get(isa, {})
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "convnd", *sys.argv[1:]], os.environ | wanted)


def _rows(
    cases: Sequence[Case],
    passes: Sequence[Pass],
    peak: float,
    peers: Sequence[Peer],
    repeats: int | None,
    seconds: float,
) -> Iterator[Row]:
    for case in cases:
        for which in case.passes:
            if which in passes:
                yield run(case, which, peak, peers=peers, rounds=repeats, seconds=seconds, memory=True)


def _show(row: Row, first: bool, markdown: bool, said: set[str]) -> None:
    if markdown:
        click.echo(markdown_line(row))
        return
    if first:
        click.echo(case_line(row.case))
    for line in pass_lines(row, said):
        click.echo(line)


def describe(peers: Sequence[Peer]) -> dict[str, Any]:
    """The machine, its peak, and the versions that take part."""
    config = kernels.config()
    return {
        "processor": _processor(),
        "isa": config["isa"],
        "threads": config["threads"],
        "peak_gflops": peak() / 1e9,
        "versions": {"convnd": __version__, "numpy": np.__version__} | {peer.name: peer.version() for peer in peers},
    }


def _processor() -> str:
    """The processor's name, as well as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _draw(path: Path, rows: Sequence[Row], machine: dict[str, Any]) -> None:
    compared = [(row, row.ratio) for row in rows if not row.measures_call]
    bars: dict[str, dict[str, tuple[float, float, float]]] = {which: {} for which in PASSES}
    for row, ratio in compared:
        if ratio is not None:
            bars[row.which][row.case.name] = (ratio.median, ratio.low, ratio.high)
    bars = {which: found for which, found in bars.items() if found}
    if not bars:
        raise click.UsageError("--plot draws ratios to peers, and no row has one.")
    plots.ratios(path, bars, f"convnd beside the best peer: {machine_text(machine)}", NOISE)


def _report_wrong(rows: Sequence[Row]) -> int:
    """A line on standard error for every wrong result; the exit code."""
    code = 0
    for row in rows:
        for name in row.wrong():
            off = row.errors[name].largest
            click.echo(f"convnd: {row.case.name} {row.which}: {name} is off by {off:.1e}", err=True)
            code = 1
    return code
