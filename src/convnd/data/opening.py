"""Open data: one file, several as one, or files that others made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from ..errors import ArgumentError
from .collection import Collection
from .concat import concat
from .foreign import open_foreign
from .reader import File

PathLike = str | os.PathLike[str]


def open(
    path: PathLike | Sequence[PathLike],
    *,
    values: str | None = None,
    labels: PathLike | ArrayLike | None = None,
    shapes: str | None = None,
    ndim: int | None = None,
    classes: Sequence[str] | None = None,
    scale: float | Sequence[float] | None = None,
) -> Collection:
    """Open data for reading.

    A file of :func:`~convnd.data.create` needs only its path, and a list of paths makes one collection of several
    (:func:`~convnd.data.concat`). Files that others made are read as they are:

    =========================================  ============================================================
    an HDF5 file, ``values="audio"``           every dataset of the group /audio is a sample; or /audio is a
                                               dataset (N,) of variable length (h5py's ``vlen_dtype``)
    a folder                                   every .npy file below it is a sample
    =========================================  ============================================================

    A sample is an array (*S) of one channel or (*S, C). All are in the split "train", unless a table of labels says
    otherwise. Their files carry no checksums unless their maker asked for them.

    Parameters
    ----------
    path : path, or a list of paths
    values : str
        The group or dataset that holds the samples.
    labels : str or path, or an array
        In an HDF5 file: a dataset (N,) of names or class numbers, or (N, K) of floats; a group with a dataset for each
        sample, by the same names, or a second dataset of variable length: labels of every position; ``"@name"``, an
        attribute of each sample's dataset. A group's datasets are counted in the order of their names, as numbers
        where all are numbers. Beside a folder: ``"folder"`` names the class; a table (CSV) with the columns path,
        label and, if you like, split, group, weight; a folder of .npy files of the same names: labels of every
        position. Whole numbers are classes, floats are numbers to predict.
    shapes : str
        With variable length: a dataset (N, axes) of whole numbers, the shape of each flat entry.
    ndim : int
        How many axes are spatial; 1 where samples have only one.
    classes : list of str
        Names of classes; by default, the labels that occur, sorted.
    scale : float, or one a channel
        Physical value = stored value times scale.

    Raises
    ------
    DataError
        No such file; not HDF5; not convnd's and without ``values``; of a newer schema; truncated or damaged; claiming
        more than it holds. Several files that differ in what samples are.

    Examples
    --------
    >>> from convnd.data import japanese_vowels
    >>> with open(japanese_vowels()) as data:
    ...     print(data.splits, len(data["train"]), data.info.channels)
    ('test', 'train') 270 12
    >>> import h5py, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "theirs.h5")
    >>> with h5py.File(path, "w") as root:
    ...     root["sounds/a"], root["sounds/b"] = np.zeros(500, "int16"), np.zeros(300, "int16")
    ...     root["kinds"] = ["dog", "cat"]
    >>> with open(path, values="sounds", labels="kinds", scale=1 / 32768) as data:
    ...     data["train"].targets.tolist(), data.info.classes, data["train"][1].values.shape
    ([1, 0], ('cat', 'dog'), (300, 1))
    """
    how: dict[str, Any] = {
        "values": values, "labels": labels, "shapes": shapes, "ndim": ndim, "classes": classes, "scale": scale,
    }  # fmt: skip
    if not isinstance(path, (str, os.PathLike)):
        return concat([open(one, **how) for one in path])
    if values is not None or Path(path).is_dir():
        return open_foreign(Path(path), **how)
    given = [key for key, value in how.items() if value is not None]
    if given:
        raise ArgumentError(f"{given[0]} goes with files that others made: a folder, or an HDF5 file and values=")
    return File(path)
