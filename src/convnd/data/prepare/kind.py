"""What a kind of data (audio, images, volumes, ...) says about itself, so that one pipeline can prepare them all.

A kind is a module of this folder with a ``KIND``. Its functions are module-level ones: they run in worker processes,
which get them, and all that goes in and comes out, by pickle. The pipeline does the rest: finds the files and their
labels, splits, runs workers, writes in order, continues after a kill, reports what failed. In this order it calls

1. ``look(path, options)`` on every file, in workers: a cheap reading of its header;
2. ``plan(looks, options)`` once, in the calling process: from all headers to the recipe and what the data file is to
be; then a kind with a ``settle`` adds to the recipe what follows from the training split;
3. ``load(path, recipe)`` on every file that isn't in yet, in workers: the samples as they are to be stored;
4. ``load_labels(path, recipe, loaded)`` after it, where there is a file of labels per position beside the sample.

New inputs for a trained network (``load_inputs``) go through 3 alone: the recipe is all that ``load`` may depend on.

Whatever ``look``, ``load`` and ``load_labels`` raise is reported as that file's failure, with the exception's text as
the reason, so raise :class:`~convnd.errors.DataError` with a reason that helps ("it has no samples"); don't repeat the
path. Three things go through and stop the work: a missing package (``need``), ``KeyboardInterrupt``, and what ``plan``
raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

Value = TypeVar("Value")
# A kind's own options, by name: plain JSON values. "largest" (bytes) is in there for every kind.
Options = Mapping[str, Any]
# Plain JSON values: how a file becomes samples. "largest" is added to it for every kind when it is loaded by.
Recipe = Mapping[str, Any]

# The most bytes that one sample may take in memory, unless the user says otherwise.
LARGEST = 4 << 30
# What deflate makes of zeros: packed bytes can't hold more than this times their number.
DEFLATES = 1040


@dataclass(frozen=True)
class Entry:
    """One of many samples in a file: its name within the file (``"0"``), and what the file itself says of it.

    What is None is taken from the file's own item (its folder, its name, its line in a manifest).
    """

    key: str
    label: str | None = None
    split: str | None = None
    weight: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class Look:
    """What a file's header says.

    Attributes
    ----------
    facts : dict
        Whatever ``plan`` wants to know: small, and picklable. Not stored.
    entries : tuple of Entry, or None
        The samples of a file that holds many, in the order in which ``load`` yields them; they are named
        ``<the file's name without its suffix>/<key>``. None: the file is one sample, named as the file is.
    name : str
        The file's name below the source folder, for messages. The pipeline fills it in before ``plan`` sees it.
    """

    facts: Mapping[str, Any]
    entries: tuple[Entry, ...] | None = None
    name: str = ""


@dataclass(frozen=True)
class Plan:
    """What the data file is to be: arguments of :func:`convnd.data.create`, and the recipe.

    Attributes
    ----------
    recipe : dict
        Plain JSON; all that ``load`` needs. It must hold every default that was filled in (a rate, a size), so that it
        means the same for new files. The pipeline adds ``kind``, ``scale``, ``classes`` where labels per position
        have names, and how the samples were divided.
    ndim, channels, dtype, axes, channel_names, scale
        As :func:`convnd.data.create` takes them.
    target : None or "numbers"
        None: the target follows from what is known of the samples: class labels, labels per position, or nothing.
        "numbers": a sample's label is one number to predict.
    classes : list of str, optional
        Names of all classes, where the files list them; else they are the labels that occur, sorted.
    target_ndim : int, optional
        Axes of labels per position, where that isn't ``ndim``.
    refused : dict
        Files that don't fit the others: their ``Look.name``, and why. They are reported and never loaded.
    """

    recipe: dict[str, Any]
    ndim: int
    channels: int
    dtype: str
    axes: Sequence[Mapping[str, Any]] | None = None
    channel_names: Sequence[str] | None = None
    scale: float | Sequence[float] | None = None
    target: str | None = None
    classes: Sequence[str] | None = None
    target_ndim: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """One sample as it is to be stored.

    Attributes
    ----------
    values : array (*S, C)
        Of the plan's dtype (or one that converts to it without loss), C channels, before ``scale``. The writer refuses,
        and the report names, samples of another rank or another number of channels, without positions, or not finite.
    spacing : ndim floats, optional
        Its own distance between neighbouring positions, where that differs from sample to sample.
    affine : (ndim + 1, ndim + 1) floats, optional
        Where it lies: from positions to places in the axes' unit.
    facts : dict
        What ``load_labels`` of this kind wants to know about how it was loaded (the frames before resampling, an
        affine).
    key : str, optional
        Of a file that holds many samples: the ``Entry.key`` of this one.
    """

    values: NDArray[Any]
    spacing: Sequence[float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    affine: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Fault:
    """In the place of a sample that can't be had, from a ``load`` whose file holds others that can."""

    reason: str


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes
    ----------
    name : str
        As in ``convnd prepare <name>`` and in the recipe.
    suffixes : tuple of str
        Lower-case endings of files that are taken, with the dot; ``".nii.gz"`` may be one.
    look : function (path, options) -> Look
        Reads a header, never the data. Refuses a claim of an absurd size before anything is allocated
        (:func:`check_claim`); refuses a file whose content isn't what its ending says.
    plan : function (looks, options) -> Plan
        At least one look, in the files' order. The options are checked before anything is read, by ``prepare_<kind>``;
        what depends on the files (a default, a rate they must share) is settled here.
    load : function (path, recipe) -> iterator of Loaded or Fault
        One sample; or those of ``Look.entries``, in that order. Checks claims again: files change, and new inputs never
        went through ``look``. Must give the same bits in any process and for any number of threads.
    load_labels : function (path, recipe, loaded) -> integer array, optional
        Labels per position from the file ``path``, fitted to the sample ``loaded``: (*S',) of ``target_ndim`` axes.
    stored : function (path, recipe) -> array or None, optional
        The sample as an array that stays on the disk (a ``np.memmap``), where ``load`` would give its very numbers;
        else None. Checks that the file holds what its header claims.
    label_suffixes : tuple of str
        Endings of files that ``load_labels`` reads, the preferred one first; ``""`` is that of folders.
    folders : tuple of str
        Endings of files that are one sample all together: a folder that holds any is the sample, and ``path`` is
        the folder (a DICOM series). ``look`` may give several entries for it.
    belongs : function (path) -> bool, optional
        Whether a file that ends in one of ``folders`` counts: where names have no ending, only its content can tell.
    labelled : tuple of str
        Endings of files that bring labels of their own (in ``Look.entries``), so none is asked of folder or name.
    survey : function (path, numbers, recipe) -> object, optional
        What a file's samples of the training split (their places in it) say together: small, and picklable. Called in
        workers, with ``plan``'s recipe; a file that raises is passed over here, since ``load`` will report it.
    settle : function (recipe, surveys) -> dict, optional
        ``plan``'s recipe with what it takes from the training split alone (a vocabulary), of all files' surveys in
        the files' order.
    packages : tuple of (module, extra)
        Packages that every file of this kind needs, each with the extra of convnd that installs it.
    """

    name: str
    suffixes: tuple[str, ...]
    look: Callable[[Path, Options], Look]
    plan: Callable[[Sequence[Look], Options], Plan]
    load: Callable[[Path, Recipe], Iterator[Loaded | Fault]]
    load_labels: Callable[[Path, Recipe, Loaded], NDArray[Any]] | None = None
    stored: Callable[[Path, Recipe], NDArray[Any] | None] | None = None
    label_suffixes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    belongs: Callable[[Path], bool] | None = None
    labelled: tuple[str, ...] = ()
    survey: Callable[[Path, Sequence[int], Recipe], Any] | None = None
    settle: Callable[[Recipe, Iterable[Any]], dict[str, Any]] | None = None
    packages: tuple[tuple[str, str], ...] = ()


def check_claim(shape: Iterable[int], itemsize: int, given: Mapping[str, Any]) -> int:
    """The bytes that a header claims. Refused where it is more than ``given["largest"]``: before any allocation.

    ``given`` is the options or the recipe. Python's whole numbers don't overflow, whatever a header says.

    >>> check_claim((1000, 2), 4, {"largest": 1 << 20})
    8000
    >>> check_claim((10**15, 1), 2, {"largest": 1 << 20})
    Traceback (most recent call last):
    ...
    convnd.errors.DataError: it claims the size (1000000000000000, 1), 1.82e+03 TiB in memory, and the most ...
    """
    sizes = tuple(int(size) for size in shape)
    claimed = int(itemsize)
    for size in sizes:
        if size < 0:
            raise DataError(f"it claims the size {sizes}, which no file can have")
        claimed *= size
    largest = int(given.get("largest", LARGEST))
    if claimed > largest:
        raise DataError(
            f"it claims the size {sizes}, {in_bytes(claimed)} in memory, and the most a sample may take is "
            f"{in_bytes(largest)}. If that is what it holds, raise the limit (largest=)"
        )
    return claimed


def check_held(shape: Sequence[int], needed: float, size: int) -> None:
    """Refuse what a file of ``size`` bytes can't hold: however well the claimed shape is packed, it needs more.

    >>> check_held((60000, 60000), 60000 * 60000 / 8256, 120)
    Traceback (most recent call last):
    ...
    convnd.errors.DataError: it claims the size (60000, 60000), and a file of 120 bytes can't hold that: it is ...
    """
    if needed > size:
        raise DataError(
            f"it claims the size {tuple(int(length) for length in shape)}, and a file of {size} bytes can't hold that: "
            "it is truncated or damaged"
        )


def in_bytes(count: int) -> str:
    """A number of bytes for people.

    >>> in_bytes(1000), in_bytes(3 << 29), in_bytes(10**20)
    ('1000 bytes', '1.5 GiB', '9.09e+07 TiB')
    """
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.3g} {unit}"
    return f"{count} bytes"


def majority(values: Iterable[Value]) -> Value:
    """The value that occurs most often; of equally frequent ones, the first. One odd file then counts little."""
    return Counter(values).most_common(1)[0][0]


def by_value(labels: NDArray[Any], values: Sequence[int] | None) -> NDArray[Any]:
    """Class numbers: each label's place in ``values`` (a mask of 0 and 255 with ``[0, 255]``); the labels if None."""
    labels = np.asarray(labels)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels per position must be whole numbers. Received: {labels.dtype}")
    if values is None:
        return labels
    known = np.asarray(values)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], labels).clip(max=len(known) - 1)
    numbers: NDArray[Any] = order[place]
    wrong = known[numbers] != labels
    if wrong.any():
        raise DataError(f"the label {labels[wrong].reshape(-1)[0]} isn't among the label values {list(values)}")
    return numbers
