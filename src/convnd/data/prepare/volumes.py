"""Volumes of any size: NIfTI, MGH, DICOM series and NumPy arrays, with labels voxel by voxel beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, DataError
from ..sources import need
from . import dicom, grid
from .items import Report, ending_of
from .kind import Kind, Loaded, Look, Options, Plan, Recipe, check_claim, majority
from .pipeline import Common, prepare_files
from .scans import SUFFIXES, Scan, map_volume, open_array, open_nibabel

ORIENTATIONS = {"ras": ("x", "y", "z"), "stored": ("i", "j", "k")}


def prepare_volumes(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    orientation: str = "ras",
    spacing: float | Sequence[float] | None = None,
    **common: Unpack[Common],
) -> Report:
    """Make a data file of the volumes in a folder: (x, y, z, channels), each of its own size and spacing in mm.

    Integers stay integers of the files' own dtype where nothing scales them (or a whole number is added: Hounsfield
    units); otherwise values are stored as float32. ``sample.meta["affine"]`` takes a sample's voxels (as they are
    stored) to mm right, anterior and superior. Needs the extra ``medical``.

    Parameters
    ----------
    source : path
        Folder. Taken, sorted by name, are NIfTI (``.nii``, ``.nii.gz``), MGH (``.mgh``, ``.mgz``) and ``.npy`` files in
        it and below, (x, y, z) or (x, y, z, channels); and every folder that holds slices of a DICOM series
        (``.dcm``, ``.dicom``, ``.ima``, or without an ending), one series a folder.
    orientation : "ras" or "stored"
        "ras": axes are reordered and flipped so that they go right, anterior and superior, as nearly as may be without
        interpolation. "stored": left as they are; those of DICOM go along a row, along a column and along the normal.
        Arrays have no orientation, and are left.
    spacing : float, or three floats, optional
        Resample to this distance of voxels in mm along the (reordered) axes: values linearly, labels by the nearest
        voxel, the volume's middle staying where it is. Nothing is smoothed before. Values become float32.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``labels_from``, ``classes``, ``label_values``, ``ignore``,
        ``split``, ``seed``, ``by_group``, ``workers``, ``strict``, ``resume``, ``progress``, ``looking``, ``largest``,
        ``origin``, ``licence``; see :func:`convnd.data.prepare.pipeline.prepare_files`. ``labels_from`` takes volumes
        of class numbers, NIfTI, MGH or ``.npy``, of the volume's size and in its place (a series' are named as its
        folder is); they are reordered and resampled with it.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; nibabel, pydicom or scipy missing.

    Examples
    --------
    >>> for name, size in {"well/a": (4, 5, 6), "ill/b": (5, 5, 3)}.items():
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     np.save(name + ".npy", np.zeros(size, "int16"))
    >>> report = prepare_volumes(".", "volumes.h5")
    >>> report.samples, report.failed
    (2, [])
    """
    if orientation not in ORIENTATIONS:
        raise ArgumentError(
            f"orientation must be one of {', '.join(ORIENTATIONS)}. Received: orientation={orientation!r}"
        )
    options = {"orientation": orientation, "spacing": _spacing(spacing)}
    if spacing is not None:
        need("scipy.ndimage", "medical")
    return prepare_files(KIND, source, out, options, **common)


def _spacing(given: Any) -> list[float] | None:
    """Three numbers, or None."""
    if given is None:
        return None
    numbers = [given] * 3 if isinstance(given, (int, float)) else list(given) if isinstance(given, Sequence) else []
    wrong = any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers)
    if len(numbers) != 3 or wrong or not all(0 < number < np.inf for number in numbers):
        raise ArgumentError(f"spacing must be one or three numbers above 0 (mm). Received: spacing={given!r}")
    return [float(number) for number in numbers]


def look(path: Path, options: Options) -> Look:
    """Channels, and the dtype that holds the values."""
    scan = _open(path, options)
    _new_spacing(scan, options)
    return Look({"channels": scan.channels, "dtype": scan.dtype, "spaced": scan.affine is not None})


def _open(path: Path, given: Mapping[str, Any]) -> Scan:
    """The volume in a file or a folder, by what its name ends in."""
    suffix = None if path.is_dir() else ending_of(path.name, SUFFIXES)
    if suffix is None:
        return dicom.open_series(path, given)
    return open_array(path, given) if suffix == ".npy" else open_nibabel(path, given)


def _new_spacing(scan: Scan, given: Mapping[str, Any]) -> Sequence[float] | None:
    """The spacing to resample to, along the axes as they are to be; None where they have it. Its size is checked."""
    wanted: Sequence[float] | None = given.get("spacing")
    if wanted is None:
        return None
    if scan.affine is None:
        raise DataError("it says nothing of the spacing of its voxels, so it can't be resampled")
    shape, affine = _upright(scan, _turn(scan, given))
    own = grid.spacing_of(affine)
    if np.allclose(own, wanted, rtol=1e-4, atol=0):
        return None
    check_claim((*grid.resampled_shape(shape, own, wanted), scan.channels), 4, given)
    return wanted


def _turn(scan: Scan, given: Mapping[str, Any]) -> grid.Turn | None:
    """How a volume is to be turned; None where it is to stay as it is."""
    if scan.affine is None or given.get("orientation", "stored") == "stored":
        return None
    return grid.turn_to_ras(scan.affine)


def _upright(scan: Scan, turn: grid.Turn | None) -> tuple[tuple[int, ...], Any]:
    """Shape and affine of a volume turned."""
    if turn is None or scan.affine is None:
        return scan.shape, scan.affine
    shape = tuple(grid.turned(np.broadcast_to(np.int8(0), scan.shape), turn).shape)
    return shape, grid.turned_affine(scan.affine, turn, scan.shape)


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """One number of channels, one dtype that holds all."""
    channels = majority(look.facts["channels"] for look in looks)
    refused = {
        look.name: f"it has {look.facts['channels']} channels, and most volumes have {channels}"
        for look in looks
        if look.facts["channels"] != channels
    }
    kept = [look.facts for look in looks if look.name not in refused]
    dtype = "float32" if options["spacing"] else _common_dtype({facts["dtype"] for facts in kept})
    unit = {"unit": "mm"} if any(facts["spaced"] for facts in kept) else {}
    names = ORIENTATIONS[options["orientation"]]
    spacings = [{"spacing": number} for number in options["spacing"] or ()] or [{}] * 3
    return Plan(
        recipe={"orientation": options["orientation"], "spacing": options["spacing"], "dtype": dtype},
        ndim=3,
        channels=channels,
        dtype=dtype,
        axes=[{"name": name, **spacing, **unit} for name, spacing in zip(names, spacings, strict=True)],
        refused=refused,
    )


def _common_dtype(dtypes: set[str]) -> str:
    """The integers that hold all; float32 where there are other numbers, or no integers do."""
    name: str = "float32" if "float32" in dtypes else np.result_type(*dtypes).name
    return "float32" if name.startswith("float") else name


def load(path: Path, recipe: Recipe) -> Iterator[Loaded]:
    """One sample: the voxels (x, y, z, channels), turned and resampled as the recipe says."""
    scan = _open(path, recipe)
    wanted = _new_spacing(scan, recipe)
    turn = _turn(scan, recipe)
    shape, affine = _upright(scan, turn)
    values = scan.read()
    if turn is not None:
        values = grid.turned(values, turn)
    spacing = None if affine is None else grid.spacing_of(affine)
    if wanted is not None and spacing is not None:
        values = grid.resampled(values, spacing, wanted, order=1, dtype=np.float32)
    facts = {"shape": shape, "affine": affine, "turn": turn, "spacing": spacing, "wanted": wanted}
    lies = affine if affine is None or wanted is None else grid.resampled_affine(affine, shape, wanted)
    # Voxels of one spacing for all are the axes', not the sample's.
    yield Loaded(_fitted(values, recipe), None if recipe.get("spacing") else spacing, facts, affine=lies)


def _fitted(values: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    """Of the recipe's dtype, where that holds it without loss or is float32."""
    dtype = np.dtype(recipe.get("dtype", "float32"))
    fits = dtype == np.float32 or np.can_cast(values.dtype, dtype, "safe")
    with np.errstate(over="ignore"):  # The writer finds what isn't finite.
        return values.astype(dtype, copy=False) if fits else values


def stored(path: Path, recipe: Recipe) -> NDArray[Any] | None:
    """A .npy file's volume, which nothing turns or resamples, left on the disk."""
    if ending_of(path.name, SUFFIXES) != ".npy" or recipe.get("spacing") is not None:
        return None
    return map_volume(path, recipe)


def load_labels(path: Path, recipe: Recipe, loaded: Loaded) -> NDArray[Any]:
    """A class number for every voxel."""
    facts = loaded.facts
    scan = _open(path, recipe)
    if scan.channels != 1:
        raise DataError(f"a voxel must have one label. Received: {scan.channels} channels")
    labels = _whole(scan.read())
    placed = scan.affine is not None and facts["affine"] is not None
    # Without an affine the labels are stored as the volume is.
    turn = _turn(scan, recipe) if placed else facts["turn"]
    if turn is not None:
        labels = grid.turned(labels, turn)
    if labels.shape[:3] != facts["shape"]:
        raise DataError(f"its size is {labels.shape[:3]}, the volume's {facts['shape']}")
    if placed and recipe.get("orientation", "stored") != "stored":
        grid.check_same_place(_upright(scan, turn)[1], facts["affine"], facts["shape"])
    if facts["wanted"] is not None:
        labels = grid.resampled(labels, facts["spacing"], facts["wanted"], order=0, dtype=labels.dtype)
    return labels[..., 0]


def _whole(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers, which they may be in a file of floats."""
    if labels.dtype.kind != "f":
        return labels
    numbers = labels.astype(np.int32) if np.isfinite(labels).all() and (abs(labels) < 1 << 30).all() else None
    if numbers is None or not np.array_equal(numbers, labels):
        raise DataError("labels must be whole numbers")
    return numbers


KIND = Kind(
    name="volumes",
    suffixes=SUFFIXES,
    look=look,
    plan=plan,
    load=load,
    load_labels=load_labels,
    stored=stored,
    label_suffixes=(".nii.gz", ".nii", ".mgz", ".mgh", ".npy"),
    folders=dicom.SUFFIXES,
    belongs=dicom.is_dicom,
)
