"""What the training benchmarks share: batches in memory, PyTorch's better layout, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import click

import convnd as cn
from convnd import kernels
from convnd.bench.command import describe
from convnd.bench.measure import REST
from convnd.bench.peers import FIRST, LAST, PyTorch
from convnd.bench.training import Step, Stopwatch, our_step, torch_step
from convnd.bench.twin import torch_twin
from convnd.cli.options import table

Prepare = Callable[[Any, str], Any]  # (a batch of convnd.data, PyTorch's layout) -> what its model takes
WARM_UP = 2  # steps, on networks that are thrown away

samples = click.option("--samples", default=32, show_default=True, metavar="N", help="Samples in a batch.")
epochs = click.option("--epochs", default=1, show_default=True, metavar="N")
lr = click.option("--lr", default=1e-3, show_default=True, help="Adam's learning rate.")
seed = click.option("--seed", default=0, show_default=True)
cut = click.option(
    "--batches", "limit", type=click.IntRange(1), metavar="N",
    help="Only so many batches of an epoch; times are then those of the whole epoch by proportion.",
)  # fmt: skip


def spread(batches: Sequence[Any], limit: int | None) -> list[Any]:
    """At most ``limit`` batches, evenly spread over all of them."""
    count = len(batches)
    wanted = count if limit is None else min(limit, count)
    return [batches[number * count // wanted] for number in range(wanted)]


def read(split: Any, limit: int | None, **order: Any) -> tuple[list[Any], float]:
    """An epoch's batches, in memory, and the epoch's length in units of what was read."""
    batches = split.batches(**order)
    kept = list(islice(batches, limit))
    return kept, len(batches) / len(kept)


def pairs_of(batches: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(inputs, labels) as convnd takes them."""
    return [(batch.x, batch.targets) for batch in batches]


def torch_pairs_of(batches: Sequence[Any], prepare: Prepare, layout: str) -> list[tuple[Any, Any]]:
    """(inputs, labels) as PyTorch takes them. Padding and reordering happen here, outside the time taken."""
    import torch

    return [(prepare(batch, layout), torch.from_numpy(batch.targets)) for batch in batches]


def best_layout(build: Callable[[], Any], batches: Sequence[Any], prepare: Prepare, lr: float) -> str:
    """The memory layout in which PyTorch is quicker, on some steps of networks that are thrown away."""
    steps: dict[str, Step] = {layout: torch_step(torch_twin(build(), layout), lr) for layout in (FIRST, LAST)}
    some = spread(batches, 2 * WARM_UP)
    pairs = {layout: torch_pairs_of(some, prepare, layout) for layout in steps}
    for part in (slice(WARM_UP), slice(WARM_UP, None)):
        watch = Stopwatch({layout: (steps[layout], pairs[layout][part]) for layout in steps})
        watch.epoch(stretch=1)
    return min(watch.seconds, key=lambda layout: watch.seconds[layout])


def warm_up(build: Callable[[], Any], batches: Sequence[Any], lr: float) -> None:
    """The same steps for convnd."""
    step = our_step(build(), lr)
    for x, labels in pairs_of(spread(batches, 2 * WARM_UP)):
        step(x, labels)


def pause() -> float:
    """Seconds of rest between contenders: see convnd.bench.measure."""
    return REST if kernels.get_num_threads() > 1 else 0.0


def show(title: str, result: dict[str, Any], rows: Sequence[Sequence[str]], as_json: bool) -> None:
    """The result for a script, or the machine and the table for people."""
    machine = describe([PyTorch()])
    if as_json:
        click.echo(json.dumps({"machine": machine, **result}, indent=2))
        return
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    click.echo(f"{title}\n{machine['processor']}, {machine['isa']}, {machine['threads']} thread(s); {versions}\n")
    click.echo(table(rows))


def share_threads() -> None:
    """Give PyTorch as many threads as convnd has."""
    import torch

    torch.set_num_threads(cn.get_num_threads())
