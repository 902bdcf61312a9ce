"""Rows for people: lines on the terminal, a Markdown table, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .layers import PASSES, Case
from .run import OURS, Row, geometric_mean

HEAD = (
    "pass", "by", "rate", "peer's", "unit", "best peer", "ratio", "interval", "of peak", "extra MB", "error", "rms"
)  # fmt: skip
WIDTHS = (7, 9, 6, 6, 7, 13, 6, 11, 7, 8, 5, 5)
TEXTS = (0, 1, 4, 5)  # columns that are texts
CALL_MARK = "*"
NOISE = 0.97  # the lower end of a ratio's interval from which a row isn't behind
SHORT = {"PyTorch channels first": "PyTorch first", "PyTorch channels last": "PyTorch last"}


def machine_text(machine: dict[str, Any]) -> str:
    """The machine and who takes part, in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['isa']}, {machine['threads']} thread(s), "
        f"peak {machine['peak_gflops']:.0f} GFLOP/s; {versions}"
    )


def cells(row: Row) -> list[str]:
    """A row of the table."""
    peer, ratio = row.best_peer, row.ratio
    return [
        row.which,
        row.algorithm or "-",
        f"{row.rate():.1f}",
        "-" if peer is None else f"{row.rate(peer):.1f}",
        row.case.unit,
        "-" if peer is None else SHORT.get(peer, peer),
        "-" if ratio is None else f"{ratio.median:.2f}{CALL_MARK if row.measures_call else ''}",
        "-" if ratio is None else f"{ratio.low:.2f}-{ratio.high:.2f}",
        "-" if row.of_peak is None else f"{row.of_peak:.0%}",
        "-" if row.memory is None else f"{row.memory.extra / 1e6:.1f}",
        f"{row.errors[OURS].largest:.0e}",
        f"{row.errors[OURS].rms:.0e}",
    ]


def head() -> str:
    """The columns' names, as the terminal shows them."""
    return _line(HEAD)


def case_line(case: Case) -> str:
    """What stands above the passes of a case."""
    return f"{case.name}: {case.layer}"


def pass_lines(row: Row, said: set[str]) -> Iterator[str]:
    """A pass, and why peers don't take part in it, each reason once for all rows (kept in ``said``)."""
    yield _line(cells(row))
    for name, reason in row.absent.items():
        text = f"{name}: {reason}"
        if text not in said:
            said.add(text)
            yield f"        ({text})"


def _line(texts: Sequence[str]) -> str:
    padded = [
        text.ljust(width) if column in TEXTS else text.rjust(width)
        for column, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    ]
    return f"  {'  '.join(padded).rstrip()}"


def markdown_head() -> str:
    """The first two lines of a Markdown table."""
    names = ("case", "layer", *HEAD)
    rule = ["---" if column < 2 or column - 2 in TEXTS else "---:" for column in range(len(names))]
    return f"| {' | '.join(names)} |\n|{'|'.join(rule)}|"


def markdown_line(row: Row) -> str:
    """A row of it."""
    return f"| {' | '.join((row.case.name, row.case.layer, *cells(row)))} |"


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """By pass: how many rows have a peer, the geometric mean and the least of the ratios, and the rows behind.

    A row is behind unless the lower end of its interval is at least 0.97. Rows that measure the call count in none of
    it; their times are given instead.
    """
    found: dict[str, Any] = {}
    for which in PASSES:
        compared = [row for row in rows if row.which == which and row.ratio is not None and not row.measures_call]
        ratios = {row.case.name: row.ratio for row in compared if row.ratio is not None}
        if ratios:
            found[which] = {
                "rows": len(ratios),
                "geometric_mean": geometric_mean(ratio.median for ratio in ratios.values()),
                "least": min(ratio.median for ratio in ratios.values()),
                "behind": {name: ratio.median for name, ratio in ratios.items() if ratio.low < NOISE},
            }
    calls = {f"{row.case.name} {row.which}": 1e6 * row.times[OURS].median for row in rows if row.measures_call}
    return found | ({"microseconds_of_a_call": calls} if calls else {})


def summary_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The same in words."""
    found = summary(rows)
    for which in PASSES:
        if which in found:
            part = found[which]
            text = (
                f"{which}: {part['geometric_mean']:.2f} times as fast as the best peer, the geometric mean of "
                f"{part['rows']} rows; the least {part['least']:.2f}"
            )
            behind = ", ".join(f"{name} {ratio:.2f}" for name, ratio in part["behind"].items())
            yield f"{text}; behind: {behind}" if behind else f"{text}; none behind"
    for name, microseconds in found.get("microseconds_of_a_call", {}).items():
        yield f"{CALL_MARK} {name} measures a call: {microseconds:.1f} microseconds"
