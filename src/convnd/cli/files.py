"""``convnd info`` and ``check``: data files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@options.data
@options.foreign
@options.as_json
def info(data: tuple[Path, ...], as_json: bool, **given: Any) -> None:
    """Show what the data file DATA holds: samples, sizes, splits, classes, where it comes from.

    Several files count as one. DATA may also be what others made: an HDF5 file whose samples are datasets of a group,
    or a dataset of variable length (--values), or a folder of .npy files.

    \b
    Examples:
      convnd info sounds.h5
      convnd info theirs.h5 --values sounds --labels kinds
    """
    from ..data import info as describe

    facts = describe(options.one_or_all(data), **options.take_how(given))
    if as_json:
        options.emit(facts)
        return
    rows = [
        ("samples", f"{facts['samples']:,}, {facts['positions']:,} positions, {facts['bytes'] / 2**20:.1f} MiB"),
        ("axes", _axes(facts)),
        ("channels", _channels(facts)),
        ("target", _target(facts)),
    ]
    rows += [(f"split {name}", f"{split['samples']:,} samples{_counts(split)}") for name, split in
             facts["splits"].items()]  # fmt: skip
    rows += [(key, str(facts[key])) for key in ("groups", "source", "licence") if facts.get(key)]
    rows.append(("checksums", _checksums(facts["checksums"])))
    click.echo(f"{facts['path']}\n{options.table(rows, left=2)}")
    if len(facts["sizes"]["counts"]) > 1:
        click.echo(f"\npositions a sample\n{_histogram(facts['sizes'])}")


def _counts(split: dict[str, Any]) -> str:
    """How often each class occurs: samples, or positions."""
    counts = split.get("classes", split.get("class_positions", {}))
    parts = [f"{label}: {count:,}" for label, count in list(counts.items())[:12]]
    if split.get("ignored"):
        parts.append(f"without a label: {split['ignored']:,}")
    return f" ({', '.join(parts)}{' positions' if 'class_positions' in split else ''})" if parts else ""


def _channels(facts: dict[str, Any]) -> str:
    return f"{facts['channels']} of {facts['dtype']}{_scaled(facts['scale'])}{_listed(facts['channel_names'])}"


def _scaled(scale: Any) -> str:
    if scale is None:
        return ""
    return ", each times its own scale" if isinstance(scale, list) else f" times {scale:g}"


def _checksums(facts: dict[str, Any]) -> str:
    if not facts["with"]:
        return f"none on {', '.join(facts['without'])}"
    if facts["without"]:
        return f"none on {', '.join(facts['without'])}; the other {facts['with']} datasets have one"
    return f"on all {facts['with']} datasets ('convnd check' compares them)"


def _histogram(sizes: dict[str, list[int]], width: int = 40) -> str:
    """A bar for each range of sizes."""
    edges, most = sizes["edges"], max(sizes["counts"])
    rows = []
    for low, end, count in zip(edges, edges[1:], sizes["counts"], strict=False):
        between = f"{low:,}" if end == low + 1 else f"{low:,} to {end - 1:,}"
        # What is there at all shows.
        rows.append((between, "#" * max(round(width * count / most), 1 if count else 0), f"{count:,}"))
    return options.table(rows, left=2)


def _axes(facts: dict[str, Any]) -> str:
    axes = facts["axes"] or [{"name": f"axis {number}"} for number in range(facts["ndim"])]
    sizes = zip(axes, *(facts["shapes"][key] for key in ("min", "median", "max")), strict=True)
    return "; ".join(
        f"{axis['name']}: {least} to {most}, median {middle:g}{_unit(axis)}" for axis, least, middle, most in sizes
    ) or "none"  # fmt: skip


def _unit(axis: dict[str, Any]) -> str:
    """The distance of neighbouring positions."""
    spacing, unit = axis.get("spacing"), axis.get("unit")
    if spacing is None:
        return f" (in {unit})" if unit else ""
    return f" (step {spacing:.6g}{' ' + unit if unit else ''})"


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
@options.data
@options.foreign
@options.as_json
def check(data: tuple[Path, ...], as_json: bool, **given: Any) -> None:
    """Read every sample of the data file DATA and report what is wrong with it.

    Exit code 0 if the file is sound, 1 if not. Several files count as one. DATA may also be what others made, as in
    'convnd info'.

    \b
    Examples:
      convnd check sounds.h5
      convnd check arrays/ --labels folder
    """
    from ..data import open as open_file

    with open_file(options.one_or_all(data), **options.take_how(given)) as opened:
        path, samples, defects = opened.path, len(opened), opened.check()
    if as_json:
        options.emit({"path": str(path), "samples": samples, "sound": not defects, "defects": defects})
    else:
        for defect in defects:
            click.echo(defect)
        click.echo(f"{path}: {samples} samples, " + (f"{len(defects)} defects" if defects else "all sound"))
    if defects:
        raise click.exceptions.Exit(1)
