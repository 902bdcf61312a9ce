"""New inputs for a trained network, prepared as its training data were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..sources import MissingPackage
from .arrays import load_array, map_array
from .items import ending_of
from .kind import LARGEST, Fault, Kind, Loaded
from .kinds import find_kind
from .tasks import reason


def load_inputs(
    path: str | os.PathLike[str], recipe: Mapping[str, Any] | None, *, largest: int = LARGEST
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The samples in a file, each as (name, float32 values (*S, C)), prepared by a data file's recipe.

    ``recipe`` is ``file.info.recipe``: the numbers are those that the data file would hold. A file of many samples
    (a ``.ts`` archive) gives them all. A ``.npy`` file holding (*S, C) in physical values is taken with any recipe or
    none, unless the recipe's kind is made of such files itself. ``largest`` is the most bytes a sample may take.

    Raises
    ------
    DataError
        No such file, one that can't be read, a value that isn't finite, or a kind with no way to prepare new files.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: there is no such file")
    given = {**(recipe or {}), "largest": largest}
    for name, values in _samples(file, given):
        if not values.size or not np.isfinite(values).all():
            raise DataError(f"{file}: {name}: values must be finite, and at least one. Received: shape {values.shape}")
        yield name, values


def stored_input(path: str | os.PathLike[str], recipe: Mapping[str, Any] | None) -> NDArray[Any] | None:
    """The one sample of a .npy file, left on the disk: cast to float32, it is what :func:`load_inputs` reads.

    None where that would prepare it first, or for another kind of file. Nothing is said of its values: they aren't
    read.
    """
    file, given = Path(path), recipe or {}
    if file.suffix.lower() != ".npy" or not file.is_file():
        return None
    kind = _kind_for(file, given)
    if kind is not None and kind.stored is None:
        return None
    try:
        array = map_array(file, given) if kind is None or kind.stored is None else kind.stored(file, given)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file}: {error}") from error
    if array is not None and (array.ndim < 1 or not array.size):
        raise DataError(f"{file}: must hold numbers, (*S, C). Received: {array.dtype} of shape {array.shape}")
    return array


def _samples(file: Path, recipe: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    kind = _kind_for(file, recipe)
    if kind is None:
        yield file.name, _array(file, recipe)
        return
    for loaded in _loaded(kind, file, recipe):
        name = file.name if loaded.key is None else f"{file.stem}/{loaded.key}"
        yield name, _physical(loaded.values, recipe.get("scale"))


def _kind_for(file: Path, recipe: Mapping[str, Any]) -> Kind | None:
    """The recipe's kind; None where the file is a plain array."""
    plain = file.suffix.lower() == ".npy"
    try:
        kind = find_kind(recipe.get("kind"))
    except DataError:
        if plain:
            return None
        raise DataError(
            f"{file}: data of kind {recipe.get('kind')!r} take new inputs as .npy files, (*S, C) in physical values"
        ) from None
    return None if plain and ending_of(file.name, kind.suffixes) is None else kind


def _loaded(kind: Kind, file: Path, recipe: Mapping[str, Any]) -> Iterator[Loaded]:
    try:
        for loaded in kind.load(file, recipe):
            if isinstance(loaded, Fault):
                raise DataError(loaded.reason)
            yield loaded
    except MissingPackage:
        raise
    except Exception as error:
        raise DataError(f"{file}: {reason(error)}") from error


def _physical(stored: NDArray[Any], scale: Any) -> NDArray[np.float32]:
    """As a reader hands it out: times the scale in float64, rounded once."""
    values = np.empty(stored.shape, dtype=np.float32)
    if scale is None:
        values[...] = stored
    else:
        np.multiply(stored, np.asarray(scale, dtype=np.float64), out=values, casting="unsafe")
    return values


def _array(file: Path, recipe: Mapping[str, Any]) -> NDArray[np.float32]:
    try:
        array = load_array(file, recipe)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file}: {error}") from error
    if array.ndim < 1:
        raise DataError(f"{file}: must hold numbers, (*S, C). Received: {array.dtype} of shape {array.shape}")
    return array.astype(np.float32)
