"""Spoken digits from raw waveforms of 1,149 to 18,262 samples: convnd beside what people do with PyTorch today.

- pad to the largest: every clip is as long as the longest of all;
- sort by size and pad: batches of clips of like size, padded to the longest of each (no longer random);
- one by one: no padding, the gradients of a batch's clips added up (batch normalisation sees one clip).

All begin with the same weights and train with Adam, in turn, some batches of each at a time. Padding and reordering the
data is outside the time taken. PyTorch has the better of its two memory layouts, found out beforehand for each way.

    python benchmarks/spoken_digits.py digits.h5 --batches 20
"""

from __future__ import annotations

from typing import Any

import click
import common
import numpy as np

import convnd as cn
from convnd import nn
from convnd.bench.training import Step, Stopwatch, our_step, torch_input, torch_step
from convnd.bench.twin import torch_twin
from convnd.cli.options import DATA, as_json, threads

PADDED, SORTED, ALONE = "PyTorch, pad to the largest", "PyTorch, sort by size and pad", "PyTorch, one by one"


def wave_net(classes: int) -> nn.Sequential:
    """Four convolutions (the first 80 wide, stride 4) with batch normalisation, ReLU and a pool by 4; then the mean."""

    def block(filters: int, kernel: int, stride: int = 1, padding: int = 1) -> list[nn.Layer]:
        conv = nn.Conv(filters, kernel, stride=stride, padding=padding, bias=False)
        return [conv, nn.BatchNorm(activation="relu")]

    return nn.Sequential(
        *block(64, 80, stride=4, padding=0), nn.MaxPool(4),
        *block(64, 3), nn.MaxPool(4),
        *block(128, 3), nn.MaxPool(4),
        *block(256, 3), nn.GlobalPool(), nn.Linear(classes),
    )  # fmt: skip


def by_size(split: Any, samples: int, limit: int | None) -> list[Any]:
    """Batches of clips of like size, in the order of their size."""
    order = np.argsort(split.layout.sizes, kind="stable")
    groups = [order[first : first + samples] for first in range(0, len(order), samples)]
    return [split.read(split.numbers[group]) for group in common.spread(groups, limit)]


@click.command()
@click.argument("data", type=DATA)
@common.samples
@common.lr
@common.seed
@common.cut
@threads
@as_json
def main(data: Any, samples: int, lr: float, seed: int, limit: int | None, as_json: bool) -> None:
    """Epoch times on DATA, made by datasets/spoken_digits.py."""
    common.share_threads()
    with cn.data.open(data) as file:
        train = file["train"]
        random, whole = common.read(train, limit, samples=samples, seed=seed)
        alike = by_size(train, samples, limit)
        classes = len(file.info.classes)
        largest = train.layout.shapes.max(axis=0)

    def build() -> Any:
        return wave_net(classes).build(ndim=1, channels=1, seed=seed)

    torch_ways: dict[str, tuple[list[Any], common.Prepare]] = {
        PADDED: (random, lambda batch, layout: torch_input(batch.x.unpack(), layout, largest)),
        SORTED: (alike, lambda batch, layout: torch_input(batch.x.unpack(), layout)),
        ALONE: (random, lambda batch, layout: [torch_input([clip], layout) for clip in batch.x]),
    }
    common.warm_up(build, random, lr)
    ways: dict[str, tuple[Step, list[Any]]] = {"convnd": (our_step(build(), lr), common.pairs_of(random))}
    positions = {"convnd": sum(batch.x.layout.positions for batch in random)}
    layouts = {}
    for name, (batches, prepare) in torch_ways.items():
        layouts[name] = layout = common.best_layout(build, batches, prepare, lr)
        ways[name] = (torch_step(torch_twin(build(), layout), lr), common.torch_pairs_of(batches, prepare, layout))
        positions[name] = sum(batch.x.layout.positions for batch in batches)
    watch = Stopwatch(ways)
    watch.epoch(stretch=5, rest=common.pause())

    rows = [["", "s an epoch", "million positions/s", "convnd is faster by", "first loss", "last loss"]]
    result: dict[str, Any] = {"samples": samples, "batches": len(random)}
    for name in ways:
        seconds, losses = watch.seconds[name], watch.losses[name]
        result[name] = {
            "seconds": seconds * whole,
            "positions_per_second": positions[name] / seconds,
            "layout": layouts.get(name),
            "losses": losses,
        }
        faster = "" if name == "convnd" else f"{seconds / watch.seconds['convnd']:.2f}"
        title = f"{name} ({layouts[name]})" if name in layouts else name
        rate = f"{positions[name] / seconds / 1e6:.3f}"
        rows.append([title, f"{seconds * whole:.1f}", rate, faster, f"{losses[0]:.3f}", f"{losses[-1]:.3f}"])
    title = f"Spoken digits, raw waveforms, {len(random)} batches of {samples}; an epoch is {whole:.2f} times as long"
    common.show(title, result, rows, as_json)


if __name__ == "__main__":
    main()
