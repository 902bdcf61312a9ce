"""Texts as sequences of whole numbers, for networks that begin with an embedding."""

from __future__ import annotations

import codecs
import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from ...errors import ArgumentError, DataError
from .items import Report
from .kind import LARGEST, Entry, Fault, Kind, Loaded, Look, Options, Plan, Recipe, check_claim
from .lines import GROWTH, limited_lines
from .pipeline import Common, prepare_files
from .words import UNITS, as_numbers, choose_vocabulary, count_tokens, numbering

TABLES = (".csv", ".tsv")
VOCABULARY = 10_000
MOST = 2**24 - 1  # As float32 holds, which is what batches are.


def prepare_text(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    units: str = "word",
    vocabulary: int | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    numbers: bool = False,
    encoding: str = "utf-8",
    quotes: bool = True,
    **common: Unpack[Common],
) -> Report:
    """Make a data file of texts: samples (position, 1), whole numbers for :class:`convnd.nn.Embedding`.

    A number is a token's place in the vocabulary, counted from 1; 0 stands for every token that isn't in it. There is
    no number for padding: nothing is padded. The vocabulary is made of the training split alone, and kept in the
    file's recipe with everything else, so new texts get the same numbers. ``file.info.symbols`` is how many numbers
    there are, the rows that an embedding needs.

    =========  ==========================================================================================
    ``units``  what a position is
    =========  ==========================================================================================
    word       runs of letters, digits and marks in lower case, with the apostrophes inside; no punctuation
    char       characters, in composed form (NFC): blanks, punctuation and all
    byte       bytes in UTF-8, as they are: 256 numbers, no vocabulary
    =========  ==========================================================================================

    Parameters
    ----------
    source : path
        A folder of ``.txt`` files, a sample a file; or a table (``.csv`` or ``.tsv``, or a folder of them), a sample a
        row. The separator is a tab, a semicolon or a comma, whichever its first line has. A table's columns ``split``,
        ``group`` and ``weight``, if there are any, are taken as those of a manifest.
    vocabulary : int, optional
        The most frequent tokens that get a number, by default 10,000; of equally frequent ones the first in the
        alphabet.
    text_column, label_column : str, optional
        Names of a table's columns, by default ``text`` and, if there is one, ``label``. Or their numbers, counted
        from 1, for tables whose first line is a row.
    numbers : bool
        Labels are numbers to predict, not classes.
    encoding : str
        Of the files, as Python names it.
    quotes : bool
        Texts in a table may stand in quotation marks (two of them stand for one). False takes quotation marks as text,
        as in many ``.tsv`` files.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``classes``, ``split``, ``seed``, ``by_group``, ``workers``,
        ``strict``, ``resume``, ``progress``, ``looking``, ``largest``, ``origin``, ``licence``; see
        :func:`convnd.data.prepare.pipeline.prepare_files`. ``label_from`` is for ``.txt`` files; tables bring their
        own labels. Labels per position aren't taken.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason). A text without a token is a failure.

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; no training text to make a vocabulary of.

    Examples
    --------
    >>> _ = Path("films.csv").write_text("text,label\\nA good film!,good\\nNot a good film,bad\\n")
    >>> report = prepare_text("films.csv", "films.h5", vocabulary=2)
    >>> report.samples, report.failed
    (2, [])
    >>> from convnd.data import open
    >>> with open("films.h5") as file:
    ...     file.info.symbols, file.info.recipe["vocabulary"], file["train"][1].values[:, 0].tolist()
    (3, ['a', 'film'], [0.0, 1.0, 0.0, 2.0])
    """
    if units not in UNITS:
        raise ArgumentError(f"units must be one of {', '.join(UNITS)}. Received: units={units!r}")
    if units == "byte" and vocabulary is not None:
        raise ArgumentError(f"units='byte' takes no vocabulary. Received: vocabulary={vocabulary!r}")
    most = VOCABULARY if vocabulary is None else vocabulary
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST:
        raise ArgumentError(f"vocabulary must be an int of 1 to {MOST}. Received: vocabulary={vocabulary!r}")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ArgumentError(
            f"encoding must be one that Python knows, such as utf-8. Received: encoding={encoding!r}"
        ) from None
    options = {
        "units": units,
        "most": most,
        "text_column": text_column,
        "label_column": label_column,
        "numbers": bool(numbers),
        "encoding": encoding,
        "quotes": bool(quotes),
    }
    return prepare_files(KIND, source, out, options, **common)


def look(path: Path, options: Options) -> Look:
    """A table's rows with their labels; of a text nothing but its size."""
    size = path.stat().st_size
    if not size:
        raise DataError("it is empty")
    if path.suffix.lower() not in TABLES:
        check_claim((size,), GROWTH, options)
        return Look({})
    with _rows(path, options) as (names, rows):
        label = _column(names, options["label_column"], "label", needed=options["label_column"] is not None)
        place = _column(names, options["text_column"], "text", needed=True) or 0
        entries = []
        for number, (line, row) in enumerate(rows):
            _cell(row, place, line)
            entries.append(_entry(number, line, names, row, label))
    if not entries:
        raise DataError("the table has no rows")
    return Look({}, tuple(entries))


@contextmanager
def _rows(path: Path, given: Mapping[str, Any]) -> Iterator[tuple[list[str] | None, Iterator[tuple[int, list[str]]]]]:
    """The names in a table's first line, if its columns go by names, and its rows with their line numbers."""
    try:
        with path.open(newline="", encoding=_decoder(given["encoding"])) as file:
            first = next(limited_lines(file, given), "")
            file.seek(0)
            delimiter = next((mark for mark in "\t;," if mark in first), ",")
            # strict: a quotation mark that isn't one would swallow the rows behind it.
            rule: Any = csv.QUOTE_MINIMAL if given["quotes"] else csv.QUOTE_NONE
            reader = csv.reader(limited_lines(file, given), delimiter=delimiter, quoting=rule, strict=True)
            # Of cells, which are 131,072 characters unless one says otherwise, to this whole process.
            usual = csv.field_size_limit(int(given.get("largest", LARGEST)) // GROWTH)
            try:
                yield _named(reader, str(given["text_column"]).isdigit())
            except csv.Error as error:
                hint = "; if quotation marks are text here, say so (quotes=False)" if given["quotes"] else ""
                raise DataError(f"line {reader.line_num}: {error}{hint}") from None
            finally:
                csv.field_size_limit(usual)
    except UnicodeDecodeError as error:
        raise _not_text(error, given) from None


def _named(reader: Any, numbered: bool) -> tuple[list[str] | None, Iterator[tuple[int, list[str]]]]:
    names = None if numbered else [name.strip() for name in next(reader, [])]

    def rows() -> Iterator[tuple[int, list[str]]]:
        width = None if names is None else len(names)
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                raise DataError(f"line {reader.line_num} has {len(row)} columns, and the first has {width}")
            if row:
                yield reader.line_num, row

    return names, rows()


def _decoder(encoding: str) -> str:
    """UTF-8 with or without a mark at the beginning."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _not_text(error: UnicodeDecodeError, given: Mapping[str, Any]) -> DataError:
    return DataError(
        f"it isn't text in {given['encoding']}: {error.reason} at byte {error.start}. If it is text, name its encoding "
        "(encoding=)"
    )


def _column(names: Sequence[str] | None, wanted: str | None, default: str, needed: bool) -> int | None:
    """The place of a column that is asked for by its name or its number."""
    name = default if wanted is None else wanted
    if names is None:
        if wanted is None:
            return None
        if not name.isdigit() or name == "0":
            raise DataError(f"columns must all be given by name, or all by number from 1. Received: {name!r}")
        return int(name) - 1
    if name in names:
        return names.index(name)
    if needed:
        raise DataError(f"there is no column {name!r}: its first line names {', '.join(names) or 'none'}")
    return None


def _entry(number: int, line: int, names: Sequence[str] | None, row: Sequence[str], label: int | None) -> Entry:
    """What a row says of itself."""
    known = {key: row[names.index(key)].strip() for key in ("split", "group", "weight") if names and key in names}
    split = known.get("split") or None
    if split is not None and ("/" in split or split == "."):
        raise DataError(f'line {line}: split must be a name without "/". Received: {split!r}')
    try:
        weight = float(known["weight"]) if known.get("weight") else None
    except ValueError:
        raise DataError(f"line {line}: weight must be a number. Received: {known['weight']!r}") from None
    said = None if label is None else _cell(row, label, line).strip() or None
    return Entry(str(number), said, split, weight, known.get("group") or None)


def _cell(row: Sequence[str], place: int, line: int) -> str:
    if place >= len(row):
        raise DataError(f"line {line} has {len(row)} columns, and column {place + 1} is asked for")
    return row[place]


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """One channel of whole numbers."""
    units, most = options["units"], options["most"]
    dtype = "uint8" if units == "byte" else "uint16" if most < 1 << 16 else "int32"
    return Plan(
        recipe={
            **{key: options[key] for key in ("units", "text_column", "encoding", "quotes")},
            "dtype": dtype,
            "most": most,
        },
        ndim=1,
        channels=1,
        dtype=dtype,
        axes=[{"name": units}],
        channel_names=["number"],
        target="numbers" if options["numbers"] else None,
    )


def survey(path: Path, numbers: Sequence[int], recipe: Recipe) -> Counter[str]:
    """How often each token occurs in some of a file's texts."""
    wanted = set(numbers)
    texts = (text for number, (_, text) in enumerate(_texts(path, recipe)) if number in wanted)
    return Counter() if recipe["units"] == "byte" else count_tokens(texts, recipe["units"])


def settle(recipe: Recipe, surveys: Iterable[Counter[str]]) -> dict[str, Any]:
    """The recipe with its vocabulary."""
    settled = {key: value for key, value in recipe.items() if key != "most"}
    if recipe["units"] == "byte":
        return settled | {"vocabulary": None, "symbols": 256}
    counts: Counter[str] = Counter()
    for found in surveys:
        counts.update(found)
    if not counts:
        raise DataError("there is no training text to make a vocabulary of")
    vocabulary = choose_vocabulary(counts, recipe["most"])
    return settled | {"vocabulary": vocabulary, "symbols": len(vocabulary) + 1}


def load(path: Path, recipe: Recipe) -> Iterator[Loaded | Fault]:
    """The text in a file, or those of a table."""
    known = numbering(recipe["vocabulary"])
    for key, text in _texts(path, recipe):
        values = as_numbers(text, recipe["units"], known, recipe["dtype"])
        if len(values):
            yield Loaded(values[:, None], key=key)
        else:
            yield Fault(f"it holds no {recipe['units']}s" if text.strip() else "its text is empty")


def _texts(path: Path, recipe: Recipe) -> Iterator[tuple[str | None, str]]:
    """The texts in a file, each with its key if there may be many."""
    if path.suffix.lower() in TABLES:
        with _rows(path, recipe) as (names, rows):
            place = _column(names, recipe["text_column"], "text", needed=True) or 0
            for number, (line, row) in enumerate(rows):
                yield str(number), _cell(row, place, line)
        return
    check_claim((path.stat().st_size,), GROWTH, recipe)
    try:
        yield None, path.read_text(encoding=_decoder(recipe["encoding"]))
    except UnicodeDecodeError as error:
        raise _not_text(error, recipe) from None


KIND = Kind(
    name="text",
    suffixes=(".txt", *TABLES),
    look=look,
    plan=plan,
    load=load,
    labelled=TABLES,
    survey=survey,
    settle=settle,
)
