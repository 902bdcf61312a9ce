"""``convnd demo``: the whole way once, on real speech that comes with the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from . import options

# Candidates are compared by cross-validation on the 270 training utterances alone; the test utterances have no part in
# it: benchmarks/japanese_vowels.py --choose.
MODEL: dict[str, Any] = {"width": 64}
SETTINGS: dict[str, Any] = {
    "epochs": 60, "samples": 16, "lr": 3e-3, "weight_decay": 0.05, "schedule": "one_cycle", "label_smoothing": 0.1,
}  # fmt: skip


@click.command()
@click.option("--out", default="convnd-demo", show_default=True, type=options.FOLDER,
              help="The run folder; an earlier demo in it is replaced.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed gives the same bits.")
@options.threads
@options.quiet
@options.as_json
def demo(out: Path, seed: int, quiet: bool, as_json: bool) -> None:  # fmt: skip
    """Train a network that tells nine speakers apart by one vowel, and measure it on utterances it never heard.

    The data are 640 utterances of 7 to 29 frames (Japanese Vowels, Kudo et al. 1999), each at its own length: none is
    padded or cut.

    \b
    Example:
      convnd demo
    """
    import convnd as cn

    started = time.perf_counter()
    with cn.data.open(cn.data.japanese_vowels()) as file:
        train, test = file["train"], file["test"]
        shapes = file.layout.shapes
        if not as_json:
            click.echo(
                f"Japanese Vowels: {len(file)} utterances of {len(file.info.classes or ())} speakers, "
                f"{shapes.min()} to {shapes.max()} frames of {file.info.channels} channels.\n"
                f"Training on {len(train)}; the other {len(test)} are kept for the test."
            )
        net = cn.models.get("small", len(file.info.classes or ()), **MODEL)
        run = cn.fit(
            net, train, validation=None, out=out, overwrite=True, seed=seed,
            progress=False if quiet else None, **SETTINGS,
        )  # fmt: skip
        metrics = cn.evaluate(run.model, test)
    run.paths |= _picture(out, metrics)
    seconds = time.perf_counter() - started
    paths = {name: str(path) for name, path in run.paths.items()}
    if as_json:
        options.emit({"accuracy": metrics["accuracy"], "seconds": round(seconds, 2), "seed": seed, "paths": paths})
        return
    wrong = round((1 - metrics["accuracy"]) * metrics["samples"])
    click.echo(
        f"\nTest accuracy {metrics['accuracy']:.2%}: {wrong} of {metrics['samples']} utterances wrong. "
        f"{seconds:.1f} s.\n"
    )
    what = {
        "best": "the model: cn.load or 'convnd predict' takes its folder", "log": "figures of every epoch",
        "curves": "learning curves", "confusion": "who was taken for whom in the test",
    }  # fmt: skip
    click.echo(options.table([["  " + paths[name], text] for name, text in what.items() if name in paths], left=2))
    click.echo(f"\nNext: convnd evaluate {out} DATA.h5, or 'convnd train --help' for data of your own.")


def _picture(out: Path, metrics: dict[str, Any]) -> dict[str, Path]:
    """The confusion matrix of the test, where matplotlib is installed."""
    from .. import plots

    if not plots.available():
        return {}
    names, path = list(metrics["classes"]), out / "confusion.png"
    return {"confusion": plots.confusion_matrix(path, metrics["confusion"], names, "test utterances")}
