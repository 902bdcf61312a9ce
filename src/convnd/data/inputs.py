"""New inputs for a trained network, prepared as its training data were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .audio import load_audio
from .series import load_series


def load_inputs(
    path: str | os.PathLike[str], recipe: Mapping[str, Any] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The samples in a file, each as (name, float32 values (*S, C)), prepared by a data file's recipe.

    ``recipe`` is ``file.info.recipe``. By its kind: "audio" reads a recording (and resamples, averages channels, rounds
    as the data were); "series" reads what :func:`~convnd.data.series.prepare_series` does, many cases of a
    ``.ts`` file. A ``.npy`` file holding (*S, C) in physical values is taken with any recipe or none.

    Raises
    ------
    DataError
        No such file, one that can't be read, a value that isn't finite, or a kind with no way to prepare new files.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    kind = (recipe or {}).get("kind")
    for name, values in _load(file, kind, recipe or {}):
        if not values.size or not np.isfinite(values).all():
            raise DataError(f"{file}: {name}: values must be finite, and at least one. Received: shape {values.shape}")
        yield name, values


def _load(file: Path, kind: Any, recipe: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if kind == "audio" and file.suffix.lower() != ".npy":
        yield file.name, load_audio(file, recipe)
    elif kind == "series":
        yield from load_series(file, recipe)
    elif file.suffix.lower() == ".npy":
        yield file.name, _load_array(file)
    else:
        raise DataError(f"{file}: data of kind {kind!r} take new inputs as .npy files, (*S, C) in physical values")


def _load_array(file: Path) -> NDArray[np.float32]:
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file}: {error}") from error
    if array.dtype.kind not in "iuf" or array.ndim < 1:
        raise DataError(f"{file}: must hold numbers, (*S, C). Received: {array.dtype} of shape {array.shape}")
    values: NDArray[np.float32] = array.astype(np.float32)
    return values
