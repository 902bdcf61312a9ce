"""Labels of other people's samples, one a sample: names, class numbers or numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .arrays import Arrays


@dataclass(frozen=True, eq=False)
class Labels:
    """One target a sample.

    Attributes
    ----------
    kind : "class" or "numbers"
    targets : int64 array (N,) or float64 array (N, K)
    channels : int
        K; 1 for classes.
    classes : list of str, or None
        Their names, where labels are names.
    """

    kind: str
    targets: NDArray[Any]
    channels: int = 1
    classes: list[str] | None = None


def labels_of(given: Any, samples: Arrays, classes: Sequence[str] | None) -> Labels:
    """Texts are names of classes; whole numbers (N,) are class numbers; floats (N,) or (N, K) are numbers."""
    array = np.asarray(given)
    if len(array) != len(samples) or array.ndim not in (1, 2):
        raise DataError(f"labels of {samples.where} must be {len(samples)}, one a sample. Received: {array.shape}")
    if array.dtype.kind in "OSU" and array.ndim == 1:
        return _named([_text(entry) for entry in array.tolist()], samples, classes)
    if array.dtype.kind in "biu" and array.ndim == 1:
        numbers = array.astype(np.int64)
        wrong = (numbers < 0) | (numbers >= (len(classes) if classes is not None else np.inf))
        if wrong.any():
            most = "" if classes is None else f" and below {len(classes)}"
            number = int(np.argmax(wrong))
            received = numbers[number]
            raise DataError(f"{samples.who(number)}: a class number must be at least 0{most}. Received: {received}")
        return Labels("class", _frozen(numbers))
    if array.dtype.kind not in "biuf":
        raise DataError(f"labels of {samples.where} must be texts or numbers. Received: {array.dtype}")
    rows = array.astype(np.float64).reshape(len(array), -1)
    if not np.isfinite(rows).all():
        number = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise DataError(f"{samples.who(number)}: its label must be finite. Received: {rows[number].tolist()}")
    return Labels("numbers", _frozen(rows), rows.shape[1])


def _named(texts: list[str], samples: Arrays, classes: Sequence[str] | None) -> Labels:
    numeric = all(re.fullmatch(r"-?\d+", text) for text in texts)
    known = list(classes) if classes is not None else sorted(set(texts), key=int if numeric else None)
    places = {name: place for place, name in enumerate(known)}
    for number, text in enumerate(texts):
        if text not in places:
            raise DataError(f"{samples.who(number)}: its label must be one of {', '.join(known)}. Received: {text!r}")
    return Labels("class", _frozen(np.array([places[text] for text in texts], dtype=np.int64)), classes=known)


def _text(entry: Any) -> str:
    return entry.decode("utf-8", "surrogateescape") if isinstance(entry, bytes) else str(entry)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
