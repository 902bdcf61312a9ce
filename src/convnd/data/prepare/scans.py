"""A volume of any format: its header, and its voxels when they are asked for. NIfTI and MGH by nibabel, .npy."""

from __future__ import annotations

import errno
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..sources import need
from .arrays import array_header, load_array, map_array
from .grid import Affine, check_affine
from .kind import DEFLATES, check_claim

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".npy")
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64")


@dataclass(frozen=True)
class Scan:
    """A volume that isn't read yet.

    Attributes
    ----------
    shape : tuple of int
        Voxels along the three axes.
    channels : int
    dtype : str
        What holds its values without loss where they are integers; else float32.
    affine : float64 (4, 4), optional
        From voxel numbers to mm right, anterior and superior; None where nothing says.
    read : function () -> array (*shape, channels)
    """

    shape: tuple[int, ...]
    channels: int
    dtype: str
    affine: Affine | None
    read: Callable[[], NDArray[Any]]


def shifted_dtype(low: int, high: int) -> str:
    """The first integer dtype that holds a range.

    >>> shifted_dtype(0, 255), shifted_dtype(-1024, 3071), shifted_dtype(0, 65535), shifted_dtype(-1024, 64511)
    ('uint8', 'int16', 'uint16', 'int32')
    """
    for dtype in INTEGERS:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return "float32"


def open_array(path: Path, given: Mapping[str, Any]) -> Scan:
    """A NumPy array, (x, y, z) or (x, y, z, channels)."""
    shape, dtype = array_header(path, given)
    sizes, channels = _split_shape(shape)
    stored = dtype.name if dtype.kind in "iu" else "uint8" if dtype.kind == "b" else "float32"
    return Scan(sizes, channels, stored, None, lambda: load_array(path, given).reshape(*sizes, channels))


def map_volume(path: Path, given: Mapping[str, Any]) -> NDArray[Any]:
    """A NumPy array as :func:`open_array` reads it, (x, y, z, channels), left on the disk."""
    array = map_array(path, given)
    sizes, channels = _split_shape(array.shape)
    return array.reshape(*sizes, channels)


def _split_shape(shape: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Voxels along the axes, and channels: the fourth axis, or a vector's fifth."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) == 5 and sizes[3] == 1:
        sizes = (*sizes[:3], sizes[4])
    if len(sizes) not in (3, 4) or min(sizes) < 1:
        raise DataError(f"a volume has three axes, and perhaps a fourth of channels. Received: the shape {sizes}")
    return sizes[:3], sizes[3] if len(sizes) == 4 else 1


def open_nibabel(path: Path, given: Mapping[str, Any]) -> Scan:
    """A NIfTI or MGH file."""
    size = path.stat().st_size
    if not size:
        raise DataError("it is empty")
    with _opened(path) as (image, _):
        sizes, channels = _split_shape(image.shape)
        disk = image.get_data_dtype()
        claimed = check_claim((*sizes, channels), disk.itemsize, given)
        if claimed > (size * DEFLATES if _is_packed(path) else size - int(getattr(image.dataobj, "offset", 0))):
            raise DataError(
                f"it claims the size {(*sizes, channels)}, {claimed} bytes, and a file of {size} can't hold them: it "
                "is truncated or damaged"
            )
        dtype = _dtype(disk, *_scaling(image))
        check_claim((*sizes, channels), np.dtype(dtype).itemsize, given)
        affine = check_affine(image.affine)
        affine[:3] *= _unit(image)
        return Scan(sizes, channels, dtype, affine, lambda: _voxels(path, dtype, (*sizes, channels)))


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".mgz")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The image, its voxels not read yet, and the stream that they come from."""
    nibabel = need("nibabel", "medical")
    try:
        with (gzip.open if _is_packed(path) else open)(path, "rb") as stream:
            yield _form(path, stream).from_stream(stream), stream
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise DataError(f"it isn't a sound volume: {' '.join(str(error).split())}") from None
    except (EOFError, zlib.error, OverflowError, OSError) as error:
        # A place in the file that no file can have is one that its header claims.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DataError(f"it is truncated or damaged: {str(error).replace(str(path), 'it')}") from None


def _form(path: Path, stream: Any) -> Any:
    """nibabel's class for a file."""
    nibabel = need("nibabel", "medical")
    if path.suffix.lower() in (".mgz", ".mgh"):
        return nibabel.MGHImage
    start = stream.read(540)
    stream.seek(0)
    for form in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        if form.header_class.may_contain_header(start):
            return form
    raise DataError("it isn't a NIfTI file")


def _scaling(image: Any) -> tuple[float, float]:
    slope, intercept = (getattr(image.dataobj, name, default) for name, default in (("slope", 1), ("inter", 0)))
    return float(slope), float(intercept)


def _dtype(disk: np.dtype[Any], slope: float, intercept: float) -> str:
    if disk.kind not in "biuf":
        raise DataError(f"its voxels must be numbers. Received: {disk}")
    if disk.kind == "f" or slope != 1 or intercept != int(intercept):
        return "float32"
    if not intercept:
        return disk.name
    return shifted_dtype(*(int(limit) + int(intercept) for limit in (np.iinfo(disk).min, np.iinfo(disk).max)))


def _unit(image: Any) -> float:
    """mm in the unit of the affine."""
    units = getattr(image.header, "get_xyzt_units", lambda: ("mm", "sec"))()
    return MILLIMETRES.get(units[0], 1.0)


def _voxels(path: Path, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """The values, of the dtype."""
    with _opened(path) as (image, stream):
        if np.dtype(dtype).kind == "f":
            values = np.asanyarray(image.dataobj)
        else:
            values = image.dataobj.get_unscaled()
            intercept = int(_scaling(image)[1])
            values = values.astype(np.int64) + intercept if intercept else values
        # The checksum of what is packed is compared at its end.
        while _is_packed(path) and stream.read(1 << 20):
            pass
        with np.errstate(over="ignore", invalid="ignore"):  # The writer finds what isn't finite.
            result: NDArray[Any] = values.astype(dtype, copy=False).reshape(shape)
        return result
