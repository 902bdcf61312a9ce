"""Fashion-MNIST: 70,000 grey images of clothing, 28 x 28, ten classes.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv:1708.07747 (2017). MIT licence. The IDX files come with Debian's package dataset-fashion-mnist,
in /usr/share/datasets/fashion-mnist.

With ``--crop`` every image is cut to its object, so that sizes vary (new images must then be cut alike before a network
trained on these is asked about them).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.errors import ConvndError, DataError

PARTS = {"train": "train", "test": "t10k"}
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SOURCE = (
    "Fashion-MNIST. H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms. arXiv:1708.07747 (2017). Copyright (c) 2017 Zalando SE."
)


def read_idx(folder: Path, name: str, axes: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, plain or gzipped: two zeros, 8, the number of axes, their sizes, the bytes."""
    path = next((folder / file for file in (name, name + ".gz") if (folder / file).is_file()), None)
    if path is None:
        raise DataError(f"{folder} doesn't hold {name} or {name}.gz")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if content[:4] != bytes((0, 0, 8, axes)):
        raise DataError(f"{path} isn't an IDX file of unsigned bytes with {axes} axes (it begins with {content[:4]!r})")
    start = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) != start + int(np.prod(shape)):
        raise DataError(f"{path} is truncated: it says {shape}, and has {len(content) - start} bytes")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def crop_to_object(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the rows and columns around the object that are all zero; one pixel of an image that is zero all over."""
    if not image.any():
        return image[:1, :1]
    box = [np.flatnonzero(image.any(axis=1 - axis)) for axis in (0, 1)]
    return image[tuple(slice(found[0], found[-1] + 1) for found in box)]


def prepare(folder: Path, out: Path, crop: bool = False) -> None:
    """Write the data file from the folder that holds the four IDX files."""
    with data.create(
        out,
        ndim=2,
        channels=1,
        dtype="uint8",
        classes=CLASSES,
        axes=[{"name": "row"}, {"name": "column"}],
        scale=1 / 255,
        source=SOURCE,
        licence="MIT",
        recipe={"kind": "images", "dtype": "uint8", "scale": 1 / 255, **({"crop": "object"} if crop else {})},
        resume=True,
    ) as writer:
        for split, part in PARTS.items():
            images = read_idx(folder, f"{part}-images-idx3-ubyte", 3)
            labels = read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
            if len(images) != len(labels):
                raise DataError(f"{folder}: {len(images)} images and {len(labels)} labels in {part}")
            _append(writer, split, images, labels, crop)


def _append(writer: data.Writer, split: str, images: NDArray[Any], labels: NDArray[Any], crop: bool) -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{split}/{number}"
        if name not in writer.done:
            kept = crop_to_object(image) if crop else image
            writer.append(kept[..., None], label=int(label), split=split, name=name)


@click.command(help="SOURCE: the folder with the four IDX files (train-images-idx3-ubyte[.gz], ...).")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--crop", is_flag=True, help="Cut each image to its object (margins that are all zero go): sizes vary.")
def main(source: Path, out: Path, crop: bool) -> None:
    try:
        prepare(source, out, crop)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
