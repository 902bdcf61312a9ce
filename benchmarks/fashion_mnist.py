"""Fashion-MNIST: one plain network of at most 100,000 parameters, trained with convnd and with PyTorch, side by side.

Both begin with the same weights and take the same batches in the same order with the same optimiser (Adam), in turn,
some batches of each at a time. Reading and reordering the data is outside the time taken.

    python benchmarks/fashion_mnist.py fashion.h5 --epochs 3
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import click
import common
import numpy as np

import convnd as cn
from convnd import models
from convnd.bench.training import Stopwatch, our_step, torch_input, torch_step
from convnd.bench.twin import torch_twin
from convnd.cli.options import DATA, as_json, threads

NET = Path(__file__).with_name("fashion_mnist.toml")


def dense(batch: Any, layout: str) -> Any:
    """A batch of images as PyTorch takes it."""
    return torch_input(batch.x.unpack(), layout)


def accuracy(net: Any, model: Any, test: Any, layout: str) -> dict[str, float]:
    """Share of right answers of both, over a split."""
    import torch

    right = dict.fromkeys(("convnd", "PyTorch"), 0)
    model.eval()
    for batch in test.batches(samples=500, shuffle=False):
        right["convnd"] += int((net(batch.x).values.argmax(axis=1) == batch.targets).sum())
        with torch.no_grad():
            answers = model(dense(batch, layout)).argmax(dim=1).numpy()
        right["PyTorch"] += int((answers == batch.targets).sum())
    model.train()
    return {name: count / len(test) for name, count in right.items()}


@click.command()
@click.argument("data", type=DATA)
@click.option("--model", type=DATA, help="A TOML file with another network (a Sequential of layers PyTorch has).")
@common.epochs
@common.samples
@common.lr
@common.seed
@common.cut
@threads
@as_json
def main(
    data: Any, model: Any, epochs: int, samples: int, lr: float, seed: int, limit: int | None, as_json: bool
) -> None:
    """Epoch times and test accuracy on DATA, made by datasets/fashion_mnist.py."""
    common.share_threads()
    with cn.data.open(data) as file:
        train, test = file["train"], file["test"]

        def build() -> Any:
            net = models.from_toml(model or NET)
            return net.build(ndim=2, channels=1, seed=seed, shape=train.layout.shape(0))

        first, _ = common.read(train, limit, samples=samples, seed=seed)
        layout = common.best_layout(build, first, dense, lr)
        common.warm_up(build, first, lr)
        net = build()
        twin = torch_twin(net, layout)
        steps = {"convnd": our_step(net, lr), "PyTorch": torch_step(twin, lr)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for epoch in range(epochs):
            batches, whole = common.read(train, limit, samples=samples, seed=seed, epoch=epoch)
            pairs = {
                "convnd": common.pairs_of(batches),
                "PyTorch": common.torch_pairs_of(batches, dense, layout),
            }
            watch = Stopwatch({name: (steps[name], pairs[name]) for name in steps})
            watch.epoch(rest=common.pause())
            for name in steps:
                seconds[name].append(watch.seconds[name] * whole)
        right = accuracy(net, twin, test, layout)
    parameters = sum(value.values.size for value in net.parameters())
    rows = [["", "s an epoch", "images/s", "last loss", "test accuracy"]]
    result: dict[str, Any] = {"parameters": parameters, "epochs": epochs, "batches": len(batches), "layout": layout}
    for name in steps:
        time = median(seconds[name])
        loss = float(np.mean(watch.losses[name][-20:]))
        result[name] = {"seconds": seconds[name], "loss": loss, "accuracy": right[name]}
        title = f"PyTorch ({layout})" if name == "PyTorch" else name
        rows.append([title, f"{time:.2f}", f"{len(train) / time:.0f}", f"{loss:.4f}", f"{right[name]:.2%}"])
    result["ratio"] = median(seconds["PyTorch"]) / median(seconds["convnd"])
    title = f"Fashion-MNIST, {parameters} parameters, {epochs} epoch(s) of {len(batches)} batches of {samples}"
    common.show(title, result, rows, as_json)


if __name__ == "__main__":
    main()
