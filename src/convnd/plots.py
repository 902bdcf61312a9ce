"""Pictures after a run, drawn where matplotlib is installed (the ``plot`` extra).

Figures are made as objects on the Agg canvas: pyplot, its global state and any window stay untouched.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_INSTALLED = "no pictures: matplotlib is not installed (pip install convnd[plot])"


def available() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def learning_curves(path: str | Path, history: Sequence[Mapping[str, Any]], headline: str, best_epoch: int) -> Path:
    """Loss and headline metric of every epoch, training beside validation, as a PNG."""
    figure = _figure(9.0, 3.6)
    epochs = [line["epoch"] for line in history]
    names = ["loss"] if headline == "loss" else ["loss", headline]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            values = [line.get(key) for line in history]
            if any(value is not None for value in values):
                shown = [math.nan if value is None else value for value in values]
                axes.plot(epochs, shown, marker="." if len(epochs) < 40 else None, label=label)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best epoch ({best_epoch})")
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.legend()
    return _save(figure, path)


def confusion_matrix(path: str | Path, confusion: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Path:
    """How often each true class (row) was given each name (column), as a PNG. Colour: share of the row."""
    count = len(names)
    side = min(max(3.2, 1.8 + 0.42 * count), 14.0)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    shares = [[cell / max(sum(row), 1) for cell in row] for row in confusion]
    picture = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    figure.colorbar(picture, ax=axes, label="share of the true class")
    labels = [name.replace("$", r"\$") for name in names]  # which would begin a formula
    axes.set_xticks(range(count), labels, rotation=90 if count > 4 else 0)
    axes.set_yticks(range(count), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    if count <= 20:
        for i, row in enumerate(confusion):
            for j, cell in enumerate(row):
                if cell:
                    colour = "white" if shares[i][j] > 0.5 else "black"
                    axes.text(j, i, _short(cell), ha="center", va="center", color=colour)
    return _save(figure, path)


def ratios(
    path: str | Path, bars: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str, noise: float
) -> Path:
    """Horizontal bars of (ratio, low, high), a column of them for each group and a line for each name, as a PNG.

    A bar begins at 1, the other's speed, and a line on it goes from low to high. The colour says where low is below
    ``noise``. A column's title has its geometric mean.
    """
    names = list(dict.fromkeys(name for found in bars.values() for name in found))
    figure = _figure(2.2 + 3.6 * len(bars), 1.6 + 0.24 * len(names))
    columns = figure.subplots(1, len(bars), sharey=True, squeeze=False)[0]
    edge = max(high for found in bars.values() for _, _, high in found.values())
    least = min(low for found in bars.values() for _, low, _ in found.values())
    for axes, (group, found) in zip(columns, bars.items(), strict=True):
        rows = [names.index(name) for name in found]
        values = list(found.values())
        colours = ["tab:orange" if low < noise else "tab:blue" for _, low, _ in values]
        # Bars start from 1, to the right where ours is ahead.
        axes.barh(rows, [value - 1 for value, _, _ in values], left=1, color=colours, height=0.7)
        axes.hlines(rows, [low for _, low, _ in values], [high for _, _, high in values], color="0.25", linewidth=1)
        for row, (value, _, high) in zip(rows, values, strict=True):
            axes.annotate(f"{value:.2f}", (max(high, 1), row), (3, 0), textcoords="offset points", va="center", size=7)
        axes.axvline(1, color="black", linewidth=1)
        mean = math.exp(sum(math.log(value) for value, _, _ in values) / len(values))
        axes.axvline(mean, color="tab:green", linestyle=":")
        axes.set_xscale("log")
        axes.set_xlim(min(0.8, 0.9 * least), 1.6 * max(edge, 1))
        ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if 0.9 * least <= tick <= 1.6 * edge]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        axes.set_title(f"{group}: geometric mean {mean:.2f}", fontsize=10)
    columns[0].set_yticks(range(len(names)), names, fontsize=8)
    columns[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel("times as fast as the best peer", fontsize=9)
    figure.suptitle(title, fontsize=9)
    return _save(figure, path)


def _short(count: int) -> str:
    """A count in few characters: voxels come in millions."""
    for limit, unit in ((10**7, "M"), (10**4, "k")):
        if count >= limit:
            return f"{count / (limit // 10):.0f}{unit}"
    return str(count)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> Path:
    figure.savefig(path)
    return Path(path)
