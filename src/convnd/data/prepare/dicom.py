"""A DICOM series: the slices in a folder, sorted along their normal, as one volume."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..sources import need
from .items import ending_of
from .kind import check_claim
from .scans import Scan, shifted_dtype
from .walk import refuse_link

# The standard's own names have no ending.
SUFFIXES = (".dcm", ".dicom", ".ima", "")
DIRECTORY, DEFLATED = "1.2.840.10008.1.3.10", "1.2.840.10008.1.2.1.99"
HEADER = (
    *("SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
)
# What all slices of a volume must share.
SHARED = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("PixelSpacing", "ImageOrientationPatient"),
)
# How much of their distance neighbouring slices may be nearer or further apart.
UNEVEN = 0.05
TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Slice:
    """A slice's header, and its place along the normal in mm."""

    path: Path
    header: Any
    place: float


def is_dicom(path: Path) -> bool:
    """Whether a file that could be a slice is one to look at: it says so by its ending, or by its first bytes."""
    if ending_of(path.name, SUFFIXES):
        return True
    if path.name == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def open_series(path: Path, given: Mapping[str, Any]) -> Scan:
    """The series in a folder, axes (along a row, along a column, along the normal), without its pixels. Or one slice.

    One folder is one series: refused are two, slices of different sizes or orientations, two slices at one place, and
    distances that differ, such as where one is missing. A tilted gantry isn't undone.
    """
    slices = _slices(_headers(path))
    first = slices[0].header
    shape = (int(first.Columns), int(first.Rows), len(slices))
    dtype = _dtype([slice_.header for slice_ in slices])
    check_claim(shape, np.dtype(dtype).itemsize, given)
    return Scan(shape, 1, dtype, _affine(slices), lambda: _voxels(slices, shape, dtype))


def _headers(path: Path) -> list[tuple[Path, Any]]:
    """The files that hold images, with their headers."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    headers = []
    for file in files:
        if file.name.startswith(".") or ending_of(file.name, SUFFIXES) is None or not file.is_file():
            continue
        if file.is_symlink() and path.is_dir() and refuse_link(path, file) is not None:
            raise DataError(f"its slice {file.name} is a link that leads out of the folder, or to nothing")
        if is_dicom(file):
            header = _header(file)
            if header is not None:
                headers.append((file, header))
    if not headers:
        raise DataError("none of its files is a DICOM image")
    return headers


def _header(file: Path) -> Any:
    """A slice's header; None where the file is of DICOM but no image: a directory, a report."""
    pydicom = need("pydicom", "medical")
    with _reading(file):
        meta = pydicom.filereader.read_file_meta_info(file)
        if meta.get("MediaStorageSOPClassUID") == DIRECTORY:
            return None
        # It would be unpacked as a whole, to whatever size.
        if meta.get("TransferSyntaxUID") == DEFLATED:
            raise DataError(f"its slice {file.name} is deflated, which isn't read")
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(HEADER))
        if "Rows" not in header or "Columns" not in header:
            return None
        _check_slice(file, header)
        return header


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Whatever pydicom has against a file, in words."""
    invalid = need("pydicom.errors", "medical").InvalidDicomError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except (invalid, EOFError):
        what = "isn't a DICOM file, or is cut off" if file.stat().st_size else "is empty"
        raise DataError(f"its slice {file.name} {what}") from None
    except OSError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"its slice {file.name} can't be read: {text}") from None


def _check_slice(file: Path, header: Any) -> None:
    """One frame of one channel, that says where it is."""
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise DataError(f"its file {file.name} holds many frames, which isn't read: convert it to NIfTI")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"its slice {file.name} is in colour")
    if any(header.get(name) is None for name in ("BitsAllocated", "BitsStored", "PixelRepresentation")):
        raise DataError(f"its slice {file.name} doesn't say what its pixels are")
    for name, count in {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}.items():
        numbers = _numbers(header, name)
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise DataError(f"its slice {file.name} says no {name}, so it has no place in a volume")


def _numbers(header: Any, name: str) -> NDArray[np.float64]:
    return np.array([float(number) for number in header.get(name) or ()])


def _slices(headers: Sequence[tuple[Path, Any]]) -> list[Slice]:
    """Sorted along the normal, once they are seen to be of one volume."""
    _check_shared(headers)
    row, column = np.split(_numbers(headers[0][1], "ImageOrientationPatient"), 2)
    normal = np.cross(row, column)
    if not 0.99 < np.linalg.norm(normal) < 1.01:
        raise DataError("its slices' ImageOrientationPatient isn't that of a plane")
    slices = sorted(
        (Slice(file, header, float(normal @ _numbers(header, "ImagePositionPatient"))) for file, header in headers),
        key=lambda slice_: slice_.place,
    )
    _check_places(slices)
    return slices


def _check_shared(headers: Sequence[tuple[Path, Any]]) -> None:
    """All of one series, one size and one orientation."""
    series: dict[str, Path] = {}
    for file, header in headers:
        series.setdefault(str(header.get("SeriesInstanceUID")), file)
    if len(series) > 1:
        names = " and ".join(file.name for file in list(series.values())[:2])
        raise DataError(f"it holds {len(series)} series ({names} are of different ones): a folder must hold one")
    first_file, first = headers[0]
    for file, header in headers[1:]:
        for name in SHARED:
            ours, theirs = (np.atleast_1d(np.array(one.get(name), dtype=np.float64)) for one in (first, header))
            if not np.allclose(ours, theirs, rtol=0, atol=1e-3):
                raise DataError(f"its slices differ in {name}: {first_file.name} and {file.name}")


def _check_places(slices: Sequence[Slice]) -> None:
    """One slice a place, at equal distances."""
    if len(slices) == 1:
        return
    gaps = np.diff([slice_.place for slice_ in slices])
    usual = float(np.median(gaps))
    for gap, one, other in zip(gaps, slices, slices[1:], strict=False):
        between = f"{one.path.name} and {other.path.name}"
        if gap <= UNEVEN * usual or gap < 1e-3:
            raise DataError(f"two of its slices lie at the same place, {one.place:.6g} mm: {between}")
    for gap, one, other in zip(gaps, slices, slices[1:], strict=False):
        between = f"{one.path.name} and {other.path.name}"
        if abs(gap - usual) > UNEVEN * usual:
            what = "slices are missing" if gap > 1.5 * usual else "its slices aren't evenly spaced"
            raise DataError(f"{what}: {between} are {gap:.4g} mm apart, most {usual:.4g} mm")


def _affine(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """From (column number, row number, slice number) to mm right, anterior and superior."""
    first = slices[0].header
    row, column = np.split(_numbers(first, "ImageOrientationPatient"), 2)
    # Their distance: of the rows, then of the columns.
    down, along = _numbers(first, "PixelSpacing")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * along, column * down
    affine[:3, 2] = np.cross(row, column) * _step(slices)
    affine[:3, 3] = _numbers(first, "ImagePositionPatient")
    affine[:3] = TO_RAS @ affine[:3]
    return affine


def _step(slices: Sequence[Slice]) -> float:
    """The distance of neighbouring slices; of a single one what it says of itself."""
    if len(slices) > 1:
        return (slices[-1].place - slices[0].place) / (len(slices) - 1)
    said = [slices[0].header.get(name) for name in ("SpacingBetweenSlices", "SliceThickness")]
    return next((float(number) for number in said if number and float(number) > 0), 1.0)


def _rescale(header: Any) -> tuple[float, float]:
    slope, intercept = (header.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _dtype(headers: Sequence[Any]) -> str:
    """Integers where rescaling leaves them whole in every slice, else float32."""
    shifts = {intercept for slope, intercept in map(_rescale, headers) if slope == 1 and intercept == int(intercept)}
    lossless = all(slope == 1 and intercept in shifts for slope, intercept in map(_rescale, headers))
    if not lossless or any("ModalityLUTSequence" in header for header in headers):
        return "float32"
    bits, signed = int(headers[0].BitsStored), bool(headers[0].PixelRepresentation)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return shifted_dtype(low + int(min(shifts)), high + int(max(shifts)))


def _voxels(slices: Sequence[Slice], shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """Values in physical units, (column, row, slice, 1)."""
    volume: NDArray[Any] | None = None
    for number, slice_ in enumerate(slices):
        values = _pixels(slice_.path, dtype)
        if values.shape != (shape[1], shape[0]):
            raise DataError(f"its slice {slice_.path.name} holds pixels of shape {values.shape}, not what it claims")
        if volume is None:
            volume = np.empty((*shape, 1), dtype=dtype)
        volume[:, :, number, 0] = values.T
    assert volume is not None
    return volume


def _pixels(file: Path, dtype: str) -> NDArray[Any]:
    """A slice's values (row, column), rescaled."""
    pydicom = need("pydicom", "medical")
    with _reading(file):
        header = pydicom.dcmread(file)
        stored = header.pixel_array
        if dtype == "float32":
            return np.asarray(need("pydicom.pixels", "medical").apply_modality_lut(stored, header), dtype=np.float32)
        # pydicom clears the bits beyond BitsStored, so the dtype holds what comes.
        result: NDArray[Any] = (stored.astype(np.int64) + int(_rescale(header)[1])).astype(dtype)
        return result
