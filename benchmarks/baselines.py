"""What a linear classifier makes of plain features: the figure beside a network's.

Features of whole samples, which know nothing of where things are, go into scikit-learn's logistic regression. Its C and
the variant of the features are chosen by five-fold cross-validation on the training split alone (groups stay whole
where the file has them); the test split is measured once, with what was chosen.

    python benchmarks/baselines.py clipart.h5 histogram
    python benchmarks/baselines.py reviews.h5 words
    python benchmarks/baselines.py prompts.h5 spectrum
    python benchmarks/baselines.py appliances.h5 series
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.cli.options import DATA, as_json
from convnd.data.sources import need
from convnd.errors import ConvndError, DataError

FOLDS = 5
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # candidates for C where features have deviation 1
STRENGTHS_OF_WORDS = (0.1, 1.0, 10.0, 100.0)
FRAME, HOP = 256, 128  # of a spectrum, in samples
POINTS = 64  # of a series

Array = NDArray[np.float64]
# All samples of the file -> a name and a row of features for each, for every variant to choose from.
Features = Callable[[Sequence[NDArray[Any]]], Iterator[tuple[str, Any]]]


def histogram(samples: Sequence[NDArray[Any]]) -> Iterator[tuple[str, Array]]:
    """Roots of the shares of a sample's positions in boxes of the colour cube (values of 0 to 1)."""
    for bins in (4, 8):
        yield f"{bins} bins a channel", np.sqrt(np.stack([_shares(sample, bins) for sample in samples]))


def _shares(sample: NDArray[Any], bins: int) -> Array:
    channels = sample.shape[-1]
    place = np.clip((sample.reshape(-1, channels) * bins).astype(int), 0, bins - 1)
    box = np.ravel_multi_index(tuple(place.T), (bins,) * channels)
    return np.bincount(box, minlength=bins**channels) / len(box)


def words(samples: Sequence[NDArray[Any]]) -> Iterator[tuple[str, Any]]:
    """Which words and which sequences of words a text has (sparse)."""
    text = need("sklearn.feature_extraction.text", "test")
    texts = [" ".join(str(int(number)) for number in sample.ravel()) for sample in samples]
    for longest in (1, 2, 3):
        counter = text.CountVectorizer(token_pattern=r"\S+", ngram_range=(1, longest), binary=True, dtype=np.float64)
        yield f"1 to {longest} words", counter.fit_transform(texts)


def spectrum(samples: Sequence[NDArray[Any]]) -> Iterator[tuple[str, Array]]:
    """Mean and deviation over time of the logarithm of the power spectrum, 129 frequencies a channel."""
    found = [_spectrum(sample) for sample in samples]
    means, deviations = (np.stack(rows) for rows in zip(*found, strict=True))
    yield "means", means
    yield "means and deviations", np.concatenate([means, deviations], axis=1)


def _spectrum(sample: NDArray[Any]) -> tuple[Array, Array]:
    padded = np.pad(sample, ((0, max(0, FRAME - len(sample))), (0, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=0)[::HOP]
    powers = np.log(np.abs(np.fft.rfft(frames * np.hanning(FRAME))) ** 2 + 1e-8)
    return powers.mean(axis=0).ravel(), powers.std(axis=0).ravel()


def series(samples: Sequence[NDArray[Any]]) -> Iterator[tuple[str, Array]]:
    """64 points of each channel by linear interpolation, and with them the sizes of their Fourier transform."""
    points = np.stack([_points(sample) for sample in samples])
    sizes = np.abs(np.fft.rfft(points, axis=1))
    flat = points.reshape(len(points), -1)
    yield "points", flat
    yield "points and frequencies", np.concatenate([flat, np.log(sizes + 1e-3).reshape(len(points), -1)], axis=1)


def _points(sample: NDArray[Any]) -> Array:
    at = np.linspace(0, len(sample) - 1, POINTS)
    return np.stack([np.interp(at, np.arange(len(sample)), channel) for channel in sample.T], axis=1)


KINDS: dict[str, Features] = {kind.__name__: kind for kind in (histogram, words, spectrum, series)}
RANKS = {"words": 1, "spectrum": 1, "series": 1}


def read(file: Any, kind: str) -> tuple[list[NDArray[Any]], NDArray[Any], int, Any]:
    """Samples and classes, the training samples first; how many those are; and their groups, or None."""
    if file.info.target != "class":
        raise DataError(f"a baseline needs a class for every sample. Received: a file with target {file.info.target!r}")
    if file.info.ndim != RANKS.get(kind, file.info.ndim):
        raise DataError(f"{kind} needs samples of rank {RANKS[kind]}. Received: rank {file.info.ndim}")
    train, test = file["train"], file["test"]
    samples = [split[number].values for split in (train, test) for number in range(len(split))]
    if kind == "histogram":
        low, high = min(sample.min() for sample in samples), max(sample.max() for sample in samples)
        if low < 0 or high > 1:
            raise DataError(f"histogram needs values of 0 to 1. Received: {low:g} to {high:g}")
    groups = file.meta.get("group")
    return (
        samples,
        np.concatenate([train.targets, test.targets]),
        len(train),
        None if groups is None else np.asarray(groups)[train.numbers].astype(str),
    )


def measure(kind: str, samples: Sequence[NDArray[Any]], classes: NDArray[Any], count: int, groups: Any) -> Any:
    """The best of all candidates on the first ``count`` samples, by cross-validation, and its accuracy on the rest."""
    choice = need("sklearn.model_selection", "test")
    folds = choice.StratifiedKFold if groups is None else choice.StratifiedGroupKFold
    best: dict[str, Any] = {}
    for name, rows in KINDS[kind](samples):
        search = choice.GridSearchCV(_model(kind), _candidates(kind), cv=folds(FOLDS, shuffle=True, random_state=0))
        search.fit(rows[:count], classes[:count], groups=groups)
        if not best or search.best_score_ > best["search"].best_score_:
            best = {"features": name, "search": search, "rest": rows[count:]}
    search = best["search"]
    return {
        "features": best["features"],
        "settings": {key.rpartition("__")[2]: str(value) for key, value in search.best_params_.items()},
        "cross_validated": float(search.best_score_),
        "accuracy": float(search.score(best["rest"], classes[count:])),
    }


def _model(kind: str) -> Any:
    """Scaling, and the classifier. What scaling learns, it learns within each fold."""
    scaling = need("sklearn.preprocessing", "test").StandardScaler()
    if kind == "words":
        scaling = need("sklearn.feature_extraction.text", "test").TfidfTransformer()
    classifier = need("sklearn.linear_model", "test").LogisticRegression(max_iter=5000)
    return need("sklearn.pipeline", "test").Pipeline([("scaling", scaling), ("classifier", classifier)])


def _candidates(kind: str) -> Any:
    if kind != "words":
        return {"classifier__C": STRENGTHS}
    # As they are, and by their inverse frequency among the texts, each text at length 1.
    plain = {"scaling": ["passthrough"], "classifier__C": [C / 100 for C in STRENGTHS_OF_WORDS]}
    return [plain, {"scaling__sublinear_tf": [False], "classifier__C": STRENGTHS_OF_WORDS}]


@click.command()
@click.argument("file", type=DATA)
@click.argument("kind", type=click.Choice(list(KINDS)))
@as_json
def main(file: Any, kind: str, as_json: bool) -> None:
    """Test accuracy on FILE of logistic regression on features of one KIND."""
    try:
        with data.open(file) as opened:
            best = measure(kind, *read(opened, kind))
    except ConvndError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(best))
    else:
        settings = ", ".join(f"{name} {value}" for name, value in best["settings"].items())
        click.echo(
            f"{kind} ({best['features']}), logistic regression, {settings}: "
            f"cross-validation {best['cross_validated']:.2%}, test accuracy {best['accuracy']:.2%}"
        )


if __name__ == "__main__":
    sys.exit(main())
