"""The grid of a volume's voxels: turned to the axes of the body, and resampled to other distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..sources import need

Affine = NDArray[np.float64]
# Which axis goes where, and which way round, as nibabel has it: (axes, 2).
Turn = NDArray[np.float64]


def check_affine(affine: Any) -> Affine:
    """From voxel numbers to mm, (4, 4); refused where it leads nowhere."""
    matrix = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix[:3, :3]) < 3:
        raise DataError("its affine, from voxels to mm, is singular or not finite: it says neither axes nor spacing")
    return matrix


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Distances of neighbouring voxels along the three axes."""
    return tuple(float(length) for length in np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))


def turn_to_ras(affine: Affine) -> Turn:
    """How the axes are to be ordered and flipped so that they go right, anterior and superior, as nearly as may be."""
    turn: Turn = need("nibabel.orientations", "medical").io_orientation(affine)
    return turn


def turned(values: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """The voxels (x, y, z, ...) of a volume turned: no value changes."""
    result: NDArray[Any] = need("nibabel.orientations", "medical").apply_orientation(values, turn)
    return result


def turned_affine(affine: Affine, turn: Turn, shape: Sequence[int]) -> Affine:
    """The affine of a volume of that shape, turned."""
    result: Affine = affine @ need("nibabel.orientations", "medical").inv_ornt_aff(turn, shape)
    return result


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis at the wanted spacing: what covers the same length, to the nearest whole one.

    >>> resampled_shape((10, 10, 3), (1.0, 1.0, 5.0), (2.0, 0.5, 1.0))
    (5, 20, 15)
    """
    # As Python's numbers: they don't overflow, whatever a header says.
    return tuple(max(round(int(n) * old / new), 1) for n, old, new in zip(shape, spacing, wanted, strict=True))


def resampled(
    values: NDArray[Any], spacing: Sequence[float], wanted: Sequence[float], order: int, dtype: Any
) -> NDArray[Any]:
    """The voxels (x, y, z, channels) at the wanted spacing, the volume's middle where it was.

    ``order`` 1 interpolates linearly, 0 takes the nearest voxel; beyond the outermost centres the border's values go
    on. Nothing is smoothed before.
    """
    transform = need("scipy.ndimage", "medical").affine_transform
    steps, start, shape = _steps(values.shape[:3], spacing, wanted)
    result = np.empty((*shape, values.shape[3]), dtype=dtype)
    for channel in range(values.shape[3]):
        result[..., channel] = transform(
            values[..., channel], steps, start, shape, output=dtype, order=order, mode="nearest"
        )
    return result


def resampled_affine(affine: Affine, shape: Sequence[int], wanted: Sequence[float]) -> Affine:
    """The affine of a volume of that shape, resampled."""
    steps, start, _ = _steps(shape, spacing_of(affine), wanted)
    old = np.diag([*steps, 1.0])
    old[:3, 3] = start
    result: Affine = affine @ old
    return result


def _steps(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, ...]]:
    """In old voxels: from one new voxel to the next, and where the first lies; and how many there are."""
    count = resampled_shape(shape, spacing, wanted)
    steps = np.asarray(wanted, dtype=np.float64) / np.asarray(spacing, dtype=np.float64)
    return steps, (np.array(shape) - 1) / 2 - (np.array(count) - 1) / 2 * steps, count


def check_same_place(one: Affine, other: Affine, shape: Sequence[int]) -> None:
    """Refuse a volume whose corners lie more than half a voxel from those of another of its shape."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    offsets = (one - other)[:3, :3] @ corners.T + (one - other)[:3, 3:]
    apart = np.sqrt((offsets**2).sum(axis=0)).max()
    if apart > min(spacing_of(other)) / 2:
        raise DataError(
            f"by its affine it lies elsewhere than the volume: their corners are {apart:.3g} mm apart. If their voxels "
            'belong together all the same, keep both as stored (orientation="stored")'
        )
