"""Hippocampus: T1 MRI volumes, each of its own shape, and the anterior and posterior hippocampus voxel by voxel.

Source: M. Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022), Task04;
A. L. Simpson et al., arXiv:1902.09063 (2019). CC BY-SA 4.0. A folder with imagesTr and labelsTr.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from numpy.typing import NDArray

from convnd import data
from convnd.data.prepare import volumes
from convnd.data.prepare.kind import Loaded
from convnd.data.sources import MissingPackage
from convnd.errors import ConvndError, DataError

CLASSES = ("background", "anterior", "posterior")
SOURCE = (
    "Medical Segmentation Decathlon, Task04 Hippocampus. M. Antonelli et al.: The Medical Segmentation Decathlon. "
    "Nature Communications 13, 4128 (2022)."
)
RECIPE = {"kind": "volumes", "orientation": "ras", "spacing": None, "dtype": "float32", "scale": None}
# Every fifth of the sorted volumes is a test volume.
TEST_EVERY = 5
Result = TypeVar("Result")


def read_pair(image: Path, mask: Path) -> tuple[Loaded, NDArray[Any]]:
    """A volume (x, y, z, 1) with its spacing in mm, and its labels (x, y, z): both go right, anterior and superior."""
    if not mask.is_file():
        raise DataError(f"{image}: there are no labels {mask}")
    volume = _read(image, lambda: next(volumes.load(image, RECIPE)))
    return volume, _read(mask, lambda: volumes.load_labels(mask, RECIPE, volume))


def _read(path: Path, reader: Callable[[], Result]) -> Result:
    try:
        return reader()
    except MissingPackage:
        raise
    except (DataError, OSError) as error:
        raise DataError(f"{path} can't be read: {error}") from error


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
        recipe=RECIPE,
        resume=True,
    ) as writer:
        for number, path in enumerate(images, start=1):
            name = path.name.removesuffix(".nii.gz")
            if name not in writer.done:
                volume, labels = read_pair(path, folder / "labelsTr" / path.name)
                split = "train" if number % TEST_EVERY else "test"
                where = {"spacing": volume.spacing, "affine": volume.affine}
                writer.append(volume.values, target=labels, split=split, name=name, **where)


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
