"""How the settings of `convnd demo` were chosen, and what they give.

`--choose` compares candidates by cross-validation on the 270 training utterances alone. `--seeds N` trains the demo's
own settings on all of them with N seeds and measures each on the 370 test utterances.

    python benchmarks/japanese_vowels.py --choose
    python benchmarks/japanese_vowels.py --seeds 20
"""

from __future__ import annotations

import itertools
import json
import time

import click
import numpy as np

import convnd as cn
from convnd.cli.demo import MODEL, SETTINGS

WIDTHS = (64,)
DROPOUTS = (0.2, 0.4)
BINS = (2, 4)
RATES = (1e-3, 3e-3)
FOLDS = 5


def train(split, seed, model, settings, validation=None):
    net = cn.models.get("small", 9, **model)
    return cn.fit(net, split, validation=validation, seed=seed, progress=False, **settings)


def folds(split, seed):
    """FOLDS times (training, held out), every class in equal parts."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(split), dtype=int)
    for label in np.unique(split.targets):
        members = rng.permutation(np.flatnonzero(split.targets == label))
        fold[members] = np.arange(len(members)) % FOLDS
    return [(split.subset(np.flatnonzero(fold != k)), split.subset(np.flatnonzero(fold == k))) for k in range(FOLDS)]


def cross_validate(split, model, settings, repeats):
    """Errors among all held-out utterances, and their mean loss."""
    wrong, losses = 0.0, []
    for repeat in range(repeats):
        for number, (rest, part) in enumerate(folds(split, repeat)):
            run = train(rest, 100 * repeat + number, model, settings)
            found = cn.evaluate(run.model, part)
            wrong += (1 - found["accuracy"]) * len(part)
            losses.append(found["loss"])
    return wrong / (repeats * len(split)), float(np.mean(losses))


@click.command()
@click.option("--choose", is_flag=True, help="Cross-validate the candidates on the training utterances.")
@click.option("--seeds", default=0, help="Train the demo's settings with this many seeds and test each.")
@click.option("--repeats", default=2, help="Times the cross-validation is repeated, with other folds.")
@click.option("--json", "as_json", is_flag=True)
def main(choose, seeds, repeats, as_json):
    """Cross-validation and seeds on JapaneseVowels."""
    with cn.data.open(cn.data.japanese_vowels()) as file:
        if choose:
            for width, dropout, bins, rate in itertools.product(WIDTHS, DROPOUTS, BINS, RATES):
                model, settings = {"width": width, "dropout": dropout, "bins": bins}, {**SETTINGS, "lr": rate}
                error, loss = cross_validate(file["train"], model, settings, repeats)
                print(json.dumps({**model, "lr": rate, "error": round(error, 4), "loss": round(loss, 4)}), flush=True)
        accuracies, times = [], []
        for seed in range(seeds):
            started = time.perf_counter()
            run = train(file["train"], seed, MODEL, SETTINGS)
            accuracies.append(cn.evaluate(run.model, file["test"])["accuracy"])
            times.append(time.perf_counter() - started)
            if not as_json:
                print(f"seed {seed}: {accuracies[-1]:.4f} in {times[-1]:.1f} s", flush=True)
        if seeds:
            result = {"mean": np.mean(accuracies), "minimum": np.min(accuracies), "longest_s": np.max(times)}
            print(json.dumps({name: round(float(value), 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
