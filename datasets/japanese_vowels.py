"""Japanese Vowels: nine speakers say /ae/; who is it? 640 utterances, 12 channels, 7 to 29 frames.

Source: M. Kudo, J. Toyama, M. Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions",
Pattern Recognition Letters 20 (1999) 1103-1111. UCI Machine Learning Repository, doi:10.24432/C5NS47, CC BY 4.0.
The files JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts come with the package aeon (and from
timeseriesclassification.com): ``pip download --no-deps aeon``.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import click

from convnd import data
from convnd.data.prepare.timeseries import read_cases, read_header
from convnd.errors import ConvndError, DataError

FILES = {"train": "JapaneseVowels_TRAIN.ts", "test": "JapaneseVowels_TEST.ts"}
SOURCE = (
    "Japanese Vowels. M. Kudo, J. Toyama, M. Shimbo: Multidimensional Curve Classification Using Passing-Through "
    "Regions. Pattern Recognition Letters 20 (1999) 1103-1111. UCI Machine Learning Repository, doi:10.24432/C5NS47. "
    "Converted to HDF5, values rounded to float32."
)


def prepare(folder: Path, out: Path) -> None:
    """Write the data file from the folder that holds the two .ts files."""
    missing = [name for name in FILES.values() if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} doesn't hold {' and '.join(missing)}")
    with data.create(
        out,
        ndim=1,
        channels=12,
        classes=read_header(folder / FILES["train"]).classes,
        axes=[{"name": "time", "spacing": 0.0064, "unit": "s"}],
        channel_names=[f"LPC cepstrum {number}" for number in range(1, 13)],
        source=SOURCE,
        licence="CC BY 4.0",
        recipe={"kind": "series", "dtype": "float32", "scale": None},
        compress=True,
        resume=True,
    ) as writer:
        for split, file in FILES.items():
            for number, (values, label) in enumerate(read_cases(folder / file)):
                name = f"{split}/{number}"
                if name not in writer.done:
                    writer.append(values.astype("float32"), label=label, split=split, name=name, file=file)


@click.command(
    help="SOURCE: the folder with JapaneseVowels_TRAIN.ts and _TEST.ts, or the wheel of aeon that holds them."
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(source: Path, out: Path) -> None:
    try:
        if source.is_dir():
            prepare(source, out)
        else:
            with tempfile.TemporaryDirectory() as folder:
                prepare(_unpack(source, Path(folder)), out)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


def _unpack(wheel: Path, folder: Path) -> Path:
    """The two files out of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] in FILES.values():
                    (folder / name.rpartition("/")[2]).write_bytes(archive.read(name))
    except zipfile.BadZipFile:
        raise DataError(f"{wheel} is neither a folder nor a wheel") from None
    return folder


if __name__ == "__main__":
    main()
