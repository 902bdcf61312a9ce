"""Whole training steps on samples of different sizes: convnd beside what people do with PyTorch today.

- pad to the largest: every sample is as large as the largest of all;
- sort by size and pad: batches of samples of like size, padded to the largest of each (no longer random);
- one by one: no padding, the gradients of a batch's samples added up (batch normalisation sees one sample).

The rank of the data chooses the network: one for raw waveforms (1D), one for volumes (3D). All begin with the same
weights and train with Adam, in turn, some batches of each at a time. Padding and reordering happen outside the time
taken. PyTorch has the better of its two memory layouts, found out beforehand for each way. Where the data has no class
for a sample (labels of voxels), made-up ones do: the work doesn't depend on them.

    python benchmarks/training_steps.py digits.h5 --batches 20
    python benchmarks/training_steps.py hippocampus.h5 --samples 8 --batches 2 --breakdown
"""

from __future__ import annotations

from statistics import median
from typing import Any

import click
import common
import numpy as np

import convnd as cn
from convnd import nn
from convnd.bench.training import Breakdown, Step, Stopwatch, our_step, torch_compiled, torch_input, torch_step
from convnd.bench.twin import torch_twin
from convnd.cli.options import DATA, as_json, table, threads

PADDED, SORTED, ALONE = "PyTorch, pad to the largest", "PyTorch, sort by size and pad", "PyTorch, one by one"
COMPILED = ", compiled"
CLASSES = 10


def block(filters: int, kernel: int, stride: int = 1, padding: int = 1) -> list[nn.Layer]:
    conv = nn.Conv(filters, kernel, stride=stride, padding=padding, bias=False)
    return [conv, nn.BatchNorm(activation="relu")]


def wave_net(classes: int) -> nn.Sequential:
    """Four convolutions (the first 80 wide, stride 4), the first three with a pool by 4; then the mean."""
    return nn.Sequential(
        *block(64, 80, stride=4, padding=0), nn.MaxPool(4),
        *block(64, 3), nn.MaxPool(4),
        *block(128, 3), nn.MaxPool(4),
        *block(256, 3), nn.GlobalPool(), nn.Linear(classes),
    )  # fmt: skip


def volume_net(classes: int) -> nn.Sequential:
    """Two convolutions at full size, a pool by 2, two more; then the mean."""
    return nn.Sequential(
        *block(16, 3), *block(32, 3), nn.MaxPool(2),
        *block(64, 3), *block(64, 3), nn.GlobalPool(), nn.Linear(classes),
    )  # fmt: skip


NETS = {1: wave_net, 3: volume_net}


def by_size(split: Any, samples: int, limit: int | None) -> list[Any]:
    """Batches of samples of like size, in the order of their size."""
    order = np.argsort(split.layout.sizes, kind="stable")
    groups = [order[first : first + samples] for first in range(0, len(order), samples)]
    return [split.read(split.numbers[group]) for group in common.spread(groups, limit)]


def labelled(batches: list[Any], classes: int) -> list[Any]:
    """The batches, with a class for every sample."""
    for batch in batches:
        if not isinstance(batch.targets, np.ndarray):
            object.__setattr__(batch, "targets", batch.numbers % classes)
    return batches


def first_losses(build: Any, batch: Any, lr: float) -> tuple[float, float]:
    """Of convnd and of PyTorch, on parts of a batch that are of one size: where no way has padding, all agree."""
    import torch

    size = batch.x.layout.shapes.min(axis=0)
    alike = [sample[tuple(slice(length) for length in size)] for sample in batch.x.unpack()]
    ours = our_step(build(), lr)(cn.Ragged.pack(alike), batch.targets)
    net = torch_twin(build(), common.FIRST)
    theirs = torch_step(net, lr)(torch_input(alike, common.FIRST), torch.from_numpy(batch.targets))
    return ours, theirs


@click.command()
@click.argument("data", type=DATA)
@common.samples
@common.lr
@common.seed
@common.cut
@click.option("--rounds", default=3, show_default=True, help="How often all batches go by; the median round counts.")
@click.option("--compiled", is_flag=True, help="torch.compile as well, for the ways that pad.")
@click.option("--alone", is_flag=True, help="convnd only.")
@click.option("--breakdown", is_flag=True, help="Where convnd's time goes, kernel by kernel.")
@threads
@as_json
def main(
    data: Any, samples: int, lr: float, seed: int, limit: int | None, rounds: int, compiled: bool, alone: bool,
    breakdown: bool, as_json: bool,
) -> None:  # fmt: skip
    """Rates on DATA, a file of rank 1 or 3 made by a script of datasets/."""
    common.share_threads()
    with cn.data.open(data) as file:
        train, ndim = file["train"], file.info.ndim
        if ndim not in NETS:
            raise click.UsageError(f"DATA must be of rank 1 or 3. Received: rank {ndim}")
        classes = len(file.info.classes or ()) if file.info.target == "class" else CLASSES
        random = labelled(common.read(train, limit, samples=samples, seed=seed)[0], classes)
        alike = labelled(by_size(train, samples, limit), classes)
        largest = train.layout.shapes.max(axis=0)

    def build() -> Any:
        return NETS[ndim](classes).build(ndim=ndim, channels=1, seed=seed)

    torch_ways: dict[str, tuple[list[Any], common.Prepare]] = {
        PADDED: (random, lambda batch, layout: torch_input(batch.x.unpack(), layout, largest)),
        SORTED: (alike, lambda batch, layout: torch_input(batch.x.unpack(), layout)),
        ALONE: (random, lambda batch, layout: [torch_input([one], layout) for one in batch.x.unpack()]),
    }
    common.warm_up(build, random, lr)
    ways: dict[str, tuple[Step, list[Any]]] = {"convnd": (our_step(build(), lr), common.pairs_of(random))}
    positions = {"convnd": sum(batch.x.layout.positions for batch in random)}
    layouts = {}
    for name, (batches, prepare) in torch_ways.items() if not alone else ():
        layout = common.best_layout(build, batches, prepare, lr)
        pairs = common.torch_pairs_of(batches, prepare, layout)
        nets = {name: torch_twin(build(), layout)}
        if compiled and name != ALONE:
            nets[name + COMPILED] = torch_compiled(torch_twin(build(), layout), pairs, lr)
        for way, model in nets.items():
            ways[way], layouts[way] = (torch_step(model, lr), pairs), layout
            positions[way] = sum(batch.x.layout.positions for batch in batches)
    watches = [Stopwatch(ways) for _ in range(rounds)]
    for watch in watches:
        watch.epoch(stretch=5, rest=common.pause())

    rows = [["", "million positions/s", "convnd is faster by", "first loss"]]
    result: dict[str, Any] = {"samples": samples, "batches": len(random)}
    rate = {name: positions[name] / median(watch.seconds[name] for watch in watches) for name in ways}
    for name in ways:
        losses = [loss for watch in watches for loss in watch.losses[name]]
        result[name] = {"positions_per_second": rate[name], "layout": layouts.get(name), "losses": losses}
        faster = "" if name == "convnd" else f"{rate['convnd'] / rate[name]:.2f}"
        title = f"{name} ({layouts[name]})" if name in layouts else name
        rows.append([title, f"{rate[name] / 1e6:.3f}", faster, f"{losses[0]:.3f}"])
    if not alone:
        result["same_size"] = ours, theirs = first_losses(build, random[0], lr)
        rows.append(["first loss on samples cut to one size: convnd, PyTorch", "", f"{ours:.5f}", f"{theirs:.5f}"])
    title = f"{data.name}: {len(random)} batches of {samples} samples, the median of {rounds} rounds"
    common.show(title, result, rows, as_json)
    if breakdown:
        step, batches = ways["convnd"]
        with Breakdown() as parts:
            for x, labels in batches:
                step(x, labels)
        click.echo("\n" + table([["kernel", "ms a step", "share"], *parts.rows(len(batches))]))


if __name__ == "__main__":
    main()
