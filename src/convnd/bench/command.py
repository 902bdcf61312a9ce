"""``convnd bench``."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import __version__, kernels
from ..cli.options import as_json, emit, threads
from .cases import PASSES, Case, Pass, choose
from .measure import peak
from .peers import torch_installed, torch_module
from .run import Row, run

HEAD = ("case", "layer", "pass", "GFLOP/s", "best peer", "", "ratio", "of peak", "error")
WIDTHS = (12, 30, 7, 7, 9, 14, 5, 7, 7)
TEXTS = (0, 1, 2, 5)  # columns that are texts


@click.command(name="bench")
@click.option("--case", "patterns", multiple=True, metavar="PATTERN", help="Only these cases: '3d-*', 'first'.")
@click.option("--pass", "passes", multiple=True, type=click.Choice(PASSES), help="Only this pass; may be repeated.")
@click.option(
    "--repeats", type=click.IntRange(1), metavar="N",
    help="Runs of each; by default as many as fit into about two seconds a row, at least 3.",
)  # fmt: skip
@click.option("--no-peers", is_flag=True, help="Only convnd.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table, as docs/benchmarks.md has it.")
@threads
@as_json
def command(
    patterns: tuple[str, ...],
    passes: tuple[Pass, ...],
    repeats: int | None,
    no_peers: bool,
    markdown: bool,
    as_json: bool,
) -> int:
    """Measure the convolution kernels on this machine, beside PyTorch if it is installed.

    Each row is one layer and one pass: forward, gradient of the input, gradient of the weight, in float32. All
    contenders run in turn in this process; the figures are medians, in GFLOP/s of direct multiply-adds x 2. The error
    is the largest difference from a float64 result at some hundred places, relative to the largest value; a wrong
    result, ours or a peer's, ends in exit code 1. All rows with peers take about four minutes on two cores.

    \b
    Examples:
      convnd bench --case '2d-*' --pass forward
      convnd bench --threads 1 --markdown
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude one another.")
    cases = choose(patterns)
    peers = not no_peers and torch_installed()
    machine = describe(peers)
    if not as_json:
        _show_machine(machine, markdown)
        if not no_peers and not peers:
            click.echo("PyTorch isn't installed: no peers.\n")
        click.echo(_head(markdown))
    rows = []
    for row in _rows(cases, passes or PASSES, machine["peak_gflops"] * 1e9, peers, repeats):
        rows.append(row)
        if not as_json:
            click.echo(_line(cells(row), markdown))
    if as_json:
        emit({"machine": machine, "rows": [row.as_dict() for row in rows]})
    return _report_wrong(rows)


def _rows(
    cases: Sequence[Case], passes: Sequence[Pass], peak: float, peers: bool, repeats: int | None
) -> Iterator[Row]:
    for case in cases:
        for which in PASSES:
            if which in passes:
                yield run(case, which, peak, peers=peers, repeats=repeats)


def describe(peers: bool) -> dict[str, Any]:
    """The machine, its peak, and the versions that take part. Gives the peers our number of threads."""
    config = kernels.config()
    versions = {"convnd": __version__, "numpy": np.__version__}
    if peers:
        torch = torch_module()
        torch.set_num_threads(config["threads"])
        versions["torch"] = torch.__version__
    return {
        "processor": _processor(),
        "isa": config["isa"],
        "threads": config["threads"],
        "peak_gflops": peak() / 1e9,
        "versions": versions,
    }


def _processor() -> str:
    """The processor's name, as well as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _show_machine(machine: dict[str, Any], markdown: bool) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = (
        f"{machine['processor']}, {machine['isa']}, {machine['threads']} thread(s), "
        f"peak {machine['peak_gflops']:.0f} GFLOP/s; {versions}"
    )
    click.echo(f"{text}{'.' if markdown else ''}\n")


def cells(row: Row) -> list[str]:
    """A row of the table."""
    peer = row.best_peer
    return [
        row.case.name,
        row.case.layer,
        row.which,
        f"{row.gflops():.1f}",
        "-" if peer is None else f"{row.gflops(peer):.1f}",
        "-" if peer is None else peer.removeprefix("PyTorch "),
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.of_peak:.0%}",
        f"{row.errors['convnd']:.0e}",
    ]


def _head(markdown: bool) -> str:
    if not markdown:
        return _line(HEAD, markdown)
    rule = ["---" if column in TEXTS else "---:" for column in range(len(HEAD))]
    return f"{_line(HEAD, markdown)}\n|{'|'.join(rule)}|"


def _line(texts: Sequence[str], markdown: bool) -> str:
    if markdown:
        return f"| {' | '.join(texts)} |"
    padded = [
        text.ljust(width) if column in TEXTS else text.rjust(width)
        for column, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _report_wrong(rows: Sequence[Row]) -> int:
    """A line on standard error for every wrong result; the exit code."""
    code = 0
    for row in rows:
        for name in row.wrong():
            click.echo(f"convnd: {row.case.name} {row.which}: {name} is off by {row.errors[name]:.1e}", err=True)
            code = 1
    return code
