"""Images of any size: grey or colour, 8 or 16 bits, with masks of class numbers beside them."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, DataError
from ..sources import need
from .arrays import load_array
from .items import Report
from .kind import DEFLATES, Kind, Loaded, Look, Options, Plan, Recipe, check_claim, check_held, majority
from .pipeline import Common, prepare_files

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".avif"),
)
# Only these are tried, whatever a file's ending: Pillow knows formats that run other programs (EPS), or that have no
# mark by which they could be told.
FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "GIF", "WEBP", "PPM", "AVIF")
# Formats whose pixels are stored as they were given, and not scaled.
EXACT = ("PNG", "TIFF", "BMP", "GIF")
# The most pixels that a byte of a file can stand for: 1 bit each, packed by deflate, LZW or Huffman's code; or not at
# all. Others (WebP, AVIF, CCITT's in TIFF) have no limit that would tell.
PIXELS_A_BYTE = {"PNG": 8 * DEFLATES, "GIF": 2600, "JPEG": 4096, "MPO": 4096, "PPM": 8}
DOUBTED = 1 << 24
# Pixels become arrays so many bytes at a time.
STRIP = 4 << 20
COLOURS = ("keep", "grey", "rgb")
SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
GREY = ("1", "L", "LA", "I", "F", *SIXTEEN)
SCALES = {"uint8": 1 / 255, "uint16": 1 / 65535, "float32": None}
# How Pillow spreads grey values of few bits over 0 ... 255: class numbers in a mask are what was stored.
SPREAD = {"L;2": 85, "L;4": 17}


def prepare_images(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    colour: str = "keep",
    alpha: bool = False,
    background: str = "white",
    side: int | None = None,
    **common: Unpack[Common],
) -> Report:
    """Make a data file of the images in a folder: (row, column, channels), each of its own size.

    Pixels are stored as uint8 and read as physical values in [0, 1] (1/255 of them); as uint16 (1/65535) where any
    image is 16-bit grey; as float32, as they are, where the images are of floats (TIFF). Colour of 16 bits is read
    with 8, as Pillow reads it. An image turned by its EXIF orientation is turned; palettes, CMYK and the like become
    RGB without colour management. Of several frames or pages the first is taken. Needs the extra ``images``.

    Parameters
    ----------
    source : path
        Folder; PNG, JPEG, TIFF, BMP, GIF, WebP, PBM, PGM, PPM and AVIF files in it and below are taken,
        sorted by name.
    colour : "keep", "grey" or "rgb"
        "keep": grey where all images are grey, else RGB. Grey is 0.299 R + 0.587 G + 0.114 B.
    alpha : bool
        Keep how opaque a pixel is as one more channel, of full opacity where an image says nothing. Without it
        transparent images are laid on the background.
    background : str
        That colour: a name or "#rrggbb", as Pillow's ImageColor has it.
    side : int, optional
        Reduce larger images until their longer side has so many pixels: a pixel is the mean of those it covers, and
        a mask's the one in its middle.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``labels_from``, ``classes``, ``label_values``, ``ignore``,
        ``split``, ``seed``, ``by_group``, ``workers``, ``strict``, ``resume``, ``progress``, ``looking``, ``largest``,
        ``origin``, ``licence``; see :func:`convnd.data.prepare.pipeline.prepare_files`. ``labels_from`` takes masks of
        the image's size: PNG, TIFF, BMP, GIF or ``.npy``. A class is the number stored at a pixel: its grey value or
        its index in the palette, never its colour.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; Pillow missing.

    Examples
    --------
    >>> from PIL import Image
    >>> for name, size in {"cat/a": (20, 30), "dog/b": (32, 16)}.items():
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", size, "red").save(name + ".png")
    >>> report = prepare_images(".", "animals.h5")
    >>> report.samples, report.failed
    (2, [])
    """
    if colour not in COLOURS:
        raise ArgumentError(f"colour must be one of {', '.join(COLOURS)}. Received: colour={colour!r}")
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
        raise ArgumentError(f"side must be an int of at least 1 (pixels). Received: side={side!r}")
    options = {"colour": colour, "alpha": bool(alpha), "background": _rgb(background), "side": side}
    return prepare_files(KIND, source, out, options, **common)


def _rgb(colour: str) -> list[int]:
    try:
        return list(need("PIL.ImageColor", "images").getrgb(colour)[:3])
    except (ValueError, AttributeError, TypeError):
        raise ArgumentError(
            f'background must be a colour, such as "white" or "#ff8000". Received: background={colour!r}'
        ) from None


def look(path: Path, options: Options) -> Look:
    """Grey or colour, and the dtype that holds its pixels."""
    with _opened(path, options) as image:
        return Look({"colour": image.mode not in GREY, "dtype": _dtype(image)})


@contextmanager
def _opened(path: Path, given: Mapping[str, Any]) -> Iterator[Any]:
    """The image, its pixels not read yet, of a size that may be read."""
    if not path.stat().st_size:
        raise DataError("it is empty")
    pillow = need("PIL.Image", "images")
    pillow.init()
    limit = pillow.MAX_IMAGE_PIXELS
    # The limit here is ``largest``. Pillow's own is one of pixels, at which it warns and goes on.
    pillow.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formats = [name for name in FORMATS if name in pillow.OPEN]
            # As a file: what has a name Pillow may map into memory, and read a turned TIFF with rows for columns.
            with path.open("rb") as file, pillow.open(file, formats=formats) as image:
                bands = 1 if image.mode == "P" else len(image.getbands())
                check_claim((image.height, image.width, bands), np.dtype(_dtype(image)).itemsize, given)
                _check_pixels(image, path.stat().st_size)
                yield image
    except need("PIL", "images").UnidentifiedImageError:
        raise DataError(f"it isn't a sound image of the formats that are read: {', '.join(FORMATS)}") from None
    except (SyntaxError, EOFError, IndexError, struct.error) as error:
        raise DataError(f"it is truncated or damaged: {error}") from None
    finally:
        pillow.MAX_IMAGE_PIXELS = limit


def _check_pixels(image: Any, size: int) -> None:
    """Refuse what a file of that many bytes can't hold: Pillow makes room for all of it first."""
    raw = image.info.get("compression") in ("raw", 0)  # TIFF and BMP say so.
    most = 8 if raw else PIXELS_A_BYTE.get(image.format)
    # A GIF may leave most of a screen empty; what takes little memory isn't worth doubting.
    if most is not None and image.height * image.width > DOUBTED:
        check_held((image.height, image.width), image.height * image.width / most, size)


def _dtype(image: Any) -> str:
    """What holds its pixels. A mode of 32-bit integers holds 16 of them in formats that have no more."""
    if image.mode in SIXTEEN or (image.mode == "I" and image.format != "TIFF"):
        if "transparency" in image.info:
            raise DataError("it is 16-bit grey with a transparent value: save it with an alpha channel instead")
        return "uint16"
    if image.mode == "I":
        raise DataError("its pixels are 32-bit integers, of which nothing says what white is: save 16 bits, or floats")
    return "float32" if image.mode == "F" else "uint8"


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """How these images, and new ones after them, become samples."""
    floats = majority(look.facts["dtype"] == "float32" for look in looks)
    refused = {
        look.name: _other_numbers(not floats) for look in looks if (look.facts["dtype"] == "float32") is not floats
    }
    kept = [look.facts for look in looks if look.name not in refused]
    colour = options["colour"]
    if colour == "keep":
        colour = "rgb" if any(facts["colour"] for facts in kept) else "grey"
    # Of the names of the dtypes the widest comes first: float32, uint16, uint8.
    dtype = min(facts["dtype"] for facts in kept)
    names = ["red", "green", "blue"] if colour == "rgb" else ["grey"]
    names += ["alpha"] if options["alpha"] else []
    return Plan(
        recipe={
            "colour": colour,
            "alpha": options["alpha"],
            "background": options["background"],
            "side": options["side"],
            "dtype": dtype,
        },
        ndim=2,
        channels=len(names),
        dtype=dtype,
        axes=[{"name": "row"}, {"name": "column"}],
        channel_names=names,
        scale=SCALES[dtype],
        refused=refused,
    )


def _other_numbers(floats: bool) -> str:
    what = ("whole numbers from black to white", "floats of a range of their own")
    return f"its pixels are {what[floats]}, those of the others {what[not floats]}"


def load(path: Path, recipe: Recipe) -> Iterator[Loaded]:
    """One sample: the pixels (row, column, channels) of the recipe's dtype."""
    with _opened(path, recipe) as image:
        dtype = _dtype(image)
        if (dtype == "float32") != (recipe["dtype"] == "float32"):
            raise DataError(_other_numbers(dtype == "float32"))
        channels = (3 if recipe.get("colour") == "rgb" else 1) + bool(recipe.get("alpha"))
        check_claim((image.height, image.width, channels), np.dtype(recipe["dtype"]).itemsize, recipe)
        _read(image)
        size = (image.height, image.width)
        pixels = _eight(image, recipe) if dtype == "uint8" else _fine(image, dtype, channels, recipe)
    yield Loaded(_of_depth(pixels, recipe["dtype"]), facts={"size": size})


def _read(image: Any) -> None:
    """Have the pixels read, and turned as the image's EXIF orientation has it."""
    image.load()
    # An EXIF block that can't be read says nothing of the pixels, and they are there.
    with suppress(Exception):
        need("PIL.ImageOps", "images").exif_transpose(image, in_place=True)


def _eight(image: Any, recipe: Mapping[str, Any]) -> NDArray[Any]:
    """Pixels of 8 bits as the recipe's channels."""
    transparent, alpha = image.has_transparency_data, bool(recipe.get("alpha"))
    mode = "RGBA" if transparent else "L" if image.mode in ("1", "L") else "RGB"
    wanted = ("RGB" if recipe.get("colour") == "rgb" else "L") + "A" * alpha
    if _is_larger(image, recipe):
        image = _reduced(_of_mode(image, mode), recipe)
    pixels = np.empty((image.height, image.width, len(wanted)), dtype=np.uint8)
    for rows, part in _strips(image):
        part = _of_mode(part, mode)
        if transparent and not alpha:
            part = _on_ground(part, recipe)
        pixels[rows] = np.asarray(_of_mode(part, wanted)).reshape(*pixels[rows].shape)
    return pixels


def _strips(image: Any) -> Iterator[tuple[slice, Any]]:
    """Some rows after the other: what Pillow and NumPy make of an image on its way are several copies."""
    step = max(1, STRIP // (4 * image.width))
    for top in range(0, image.height, step):
        rows = slice(top, min(top + step, image.height))
        yield rows, image if step >= image.height else image.crop((0, rows.start, image.width, rows.stop))


def _on_ground(image: Any, recipe: Mapping[str, Any]) -> Any:
    """A transparent image laid on the background."""
    ground = need("PIL.Image", "images").new("RGB", image.size, tuple(recipe.get("background", (255, 255, 255))))
    ground.paste(image, mask=image)
    return ground


def _of_mode(image: Any, mode: str) -> Any:
    return image if image.mode == mode else image.convert(mode)


def _fine(image: Any, dtype: str, channels: int, recipe: Mapping[str, Any]) -> NDArray[Any]:
    """Grey pixels of 16 bits or floats as the recipe's channels: equal ones, and full opacity."""
    if _is_larger(image, recipe):
        # Pillow has no means of 16-bit pixels; floats hold them exactly.
        grey = need("PIL.Image", "images").fromarray(np.asarray(image).astype(dtype).astype(np.float32))
        image = _reduced(grey, recipe)
    full = np.empty((image.height, image.width, channels), dtype=dtype)
    for rows, part in _strips(image):
        pixels = np.asarray(part)
        rounded = pixels.dtype.kind == "f" and dtype != "float32"
        full[rows] = (np.rint(pixels) if rounded else pixels)[..., None]
    if recipe.get("alpha"):
        full[..., -1] = 1 if dtype == "float32" else 65535
    return full


def _is_larger(image: Any, recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe reduces it."""
    side = recipe.get("side")
    return bool(side) and max(image.size) > side


def _reduced(image: Any, recipe: Mapping[str, Any]) -> Any:
    """A larger image, its longer side as long as the recipe has it."""
    side, longest = recipe["side"], max(image.size)
    size = [max((2 * length * side + longest) // (2 * longest), 1) for length in image.size]
    return image.resize(size, need("PIL.Image", "images").Resampling.BOX)


def _of_depth(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """From 8 bits to 16 or back, white to white."""
    if pixels.dtype == dtype:
        return pixels
    if dtype == "uint16":
        wide = pixels.astype(np.uint16)
        wide *= np.uint16(257)
        return wide
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def load_labels(path: Path, recipe: Recipe, loaded: Loaded) -> NDArray[Any]:
    """A class number for every pixel."""
    mask = read_mask(path, recipe)
    size = loaded.facts["size"]
    if mask.shape != size:
        raise DataError(f"its size (rows, columns) is {mask.shape}, the image's {size}")
    places = [middles(old, new) for old, new in zip(size, loaded.values.shape[:2], strict=True)]
    return mask[np.ix_(*places)]


def read_mask(path: Path, recipe: Mapping[str, Any]) -> NDArray[Any]:
    """The numbers stored in a mask, (row, column)."""
    if path.suffix.lower() == ".npy":
        return load_array(path, recipe)
    with _opened(path, recipe) as image:
        if image.format not in EXACT:
            raise DataError(
                f"a mask must be of a format that keeps numbers: {', '.join(EXACT)}. Received: {image.format}"
            )
        if image.mode not in ("1", "L", "P", *SIXTEEN):
            raise DataError(
                f"a mask must hold one class number or palette index a pixel. Received: pixels of mode {image.mode}"
            )
        spread = SPREAD.get(_stored_mode(image), 1)
        _read(image)
        mask: NDArray[Any] = np.array(image)
        return mask // spread if spread > 1 else mask


def _stored_mode(image: Any) -> str:
    """How the file has its pixels, where Pillow says so."""
    first = image.tile[0][3] if image.tile else ""
    return str(first if isinstance(first, str) else first[0])


def middles(old: int, new: int) -> NDArray[np.int64]:
    """For each of ``new`` equal parts of ``old`` positions the one in its middle."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


KIND = Kind(
    name="images",
    suffixes=SUFFIXES,
    look=look,
    plan=plan,
    load=load,
    load_labels=load_labels,
    label_suffixes=(".png", ".tif", ".tiff", ".bmp", ".gif", ".npy"),
    packages=(("PIL", "images"),),
)
