"""Texts as whole numbers: words, characters or bytes, and the vocabulary that numbers them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = ("word", "char", "byte")
UNKNOWN = 0
CURLY = "\u2019"  # The apostrophe of typeset text.
# Beyond these planes there are no marks that stand on letters.
LAST_MARK = 0x1FFFF


def tokens(text: str, units: str) -> Iterator[str]:
    """The words or characters of a text, one after the other.

    Characters are those of the text's composed form (Unicode's NFC), blanks and all. Words are runs of letters, digits
    and the marks on them, in lower case; an apostrophe between two of them belongs to the word, and is stored as
    ``'``. So what is written without blanks between words (Chinese, Japanese, Thai) is better taken by characters.

    >>> list(tokens("Don\\u2019t STOP: it's the 2nd\\u00a0“Straße”!", "word"))
    ["don't", 'stop', "it's", 'the', '2nd', 'straße']
    >>> list(tokens("Cafe\\u0301", "char"))
    ['C', 'a', 'f', 'é']
    """
    if units == "char":
        return iter(unicodedata.normalize("NFC", text))
    text = unicodedata.normalize("NFC", text.lower()).replace(CURLY, "'")
    return (match[0] for match in _word().finditer(text))


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """Python's ``\\w`` has letters and digits, but not the vowel signs that many scripts put on letters."""
    marks = "".join(chr(code) for code in range(LAST_MARK) if unicodedata.category(chr(code))[0] == "M")
    part = f"[^\\W_](?:[^\\W_]|[{marks}])*"
    return re.compile(f"{part}(?:'{part})*")


def choose_vocabulary(counts: Mapping[str, int], most: int) -> list[str]:
    """The tokens that occur most often, the most frequent first; of equally frequent ones those first in the alphabet.

    >>> choose_vocabulary({"b": 2, "c": 1, "a": 2, "d": 5}, 3)
    ['d', 'a', 'b']
    """
    return sorted(counts, key=lambda token: (-counts[token], token))[:most]


def count_tokens(texts: Iterable[str], units: str) -> Counter[str]:
    """How often each token occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokens(text, units))
    return counts


def numbering(vocabulary: Sequence[str] | None) -> dict[str, int]:
    """The number of each token: its place in the vocabulary, counted from 1."""
    return _numbering(tuple(vocabulary or ()))


@lru_cache(maxsize=2)
def _numbering(vocabulary: tuple[str, ...]) -> dict[str, int]:
    return {token: place for place, token in enumerate(vocabulary, start=1)}


def as_numbers(text: str, units: str, known: Mapping[str, int], dtype: str) -> NDArray[Any]:
    """The numbers of a text's tokens, and 0 for those that have none.

    Bytes are those of the text in UTF-8, and are numbers as they are.

    >>> as_numbers("a rose is a rose", "word", numbering(["rose", "a"]), "uint16").tolist()
    [2, 1, 0, 2, 1]
    >>> as_numbers("né", "byte", {}, "uint8").tolist()
    [110, 195, 169]
    """
    if units == "byte":
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(dtype)
    return np.fromiter((known.get(token, UNKNOWN) for token in tokens(text, units)), dtype=dtype)
