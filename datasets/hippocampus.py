"""Hippocampus: T1 MRI volumes, each of its own shape, and the anterior and posterior hippocampus voxel by voxel.

Source: M. Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022), Task04;
A. L. Simpson et al., arXiv:1902.09063 (2019). CC BY-SA 4.0. A folder with imagesTr and labelsTr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.data.sources import need
from convnd.errors import ConvndError, DataError

CLASSES = ("background", "anterior", "posterior")
SOURCE = (
    "Medical Segmentation Decathlon, Task04 Hippocampus. M. Antonelli et al.: The Medical Segmentation Decathlon. "
    "Nature Communications 13, 4128 (2022)."
)
# Every fifth of the sorted volumes is a test volume.
TEST_EVERY = 5


def read_volume(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """The voxels (x, y, z), scaled as the header says, and their spacing in mm."""
    nibabel = need("nibabel", "medical")
    try:
        image = nibabel.load(path)
        return np.asanyarray(image.dataobj), tuple(float(size) for size in image.header.get_zooms()[:3])
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from error


def read_pair(image: Path, mask: Path) -> tuple[NDArray[Any], NDArray[Any], tuple[float, ...]]:
    """Intensities float32 (x, y, z, 1), labels uint8 (x, y, z, 1), spacing."""
    if not mask.is_file():
        raise DataError(f"{image}: there are no labels {mask}")
    values, spacing = read_volume(image)
    labels, _ = read_volume(mask)
    if labels.shape != values.shape:
        raise DataError(f"{image}: shape {values.shape}, its labels have {labels.shape}")
    whole = labels.astype(np.uint8)
    if not np.array_equal(whole, labels):
        raise DataError(f"{mask}: labels must be whole numbers of 0 to 255")
    return values.astype(np.float32)[..., None], whole[..., None], spacing


def prepare(folder: Path, out: Path) -> None:
    """Write the data file from the task's folder."""
    images = sorted(path for path in (folder / "imagesTr").glob("*.nii.gz") if not path.name.startswith("."))
    if not images:
        raise DataError(f"{folder} holds no imagesTr/*.nii.gz")
    with data.create(
        out,
        ndim=3,
        channels=1,
        dtype="float32",
        target="ragged",
        classes=CLASSES,
        axes=[{"name": name, "unit": "mm"} for name in ("x", "y", "z")],
        source=SOURCE,
        licence="CC BY-SA 4.0",
        recipe={"kind": "volumes", "dtype": "float32", "scale": None},
        resume=True,
    ) as writer:
        for number, path in enumerate(images, start=1):
            name = path.name.removesuffix(".nii.gz")
            if name not in writer.done:
                values, labels, spacing = read_pair(path, folder / "labelsTr" / path.name)
                split = "train" if number % TEST_EVERY else "test"
                writer.append(values, target=labels, split=split, name=name, spacing=spacing)


@click.command(help="SOURCE: the folder of the task, with imagesTr and labelsTr. Every fifth volume goes into test.")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(source: Path, out: Path) -> None:
    try:
        prepare(source, out)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
