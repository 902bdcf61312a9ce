"""Appliances (PLAID): which of 11 appliances draws this current? 1,074 recordings of one channel, 100 to 1,344 long.

Source: J. Gao, S. Giri, E. C. Kara, M. Bergés, "PLAID: a public dataset of high-resolution electrical appliance
measurements for load identification research", BuildSys 2014 (plaidplug.com); as a classification problem of the UEA &
UCR archive edited by P. Schäfer and U. Leser, which states no licence. The files PLAID_TRAIN.ts and PLAID_TEST.ts come
with the package sktime (and from timeseriesclassification.com): ``pip download --no-deps sktime==1.2.0``.

Training and test are as the archive gives them: 537 and 537. It doesn't say at which rate its series are; the
recordings were made at 30 kHz.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import click

from convnd import data
from convnd.data.prepare.timeseries import read_cases
from convnd.errors import ConvndError, DataError

FILES = {"train": "PLAID_TRAIN.ts", "test": "PLAID_TEST.ts"}
# In the order of the archive's numbers 0 to 10.
CLASSES = [
    "air conditioner", "compact fluorescent lamp", "fan", "fridge", "hairdryer", "heater", "incandescent light bulb",
    "laptop", "microwave", "vacuum", "washing machine",
]  # fmt: skip
SOURCE = (
    "PLAID. J. Gao, S. Giri, E. C. Kara, M. Bergés: PLAID: a public dataset of high-resolution electrical appliance "
    "measurements for load identification research. BuildSys 2014. From the UEA & UCR archive (P. Schäfer, U. Leser)."
)


def prepare(folder: Path, out: Path) -> None:
    """Write the data file from the folder that holds the two .ts files."""
    missing = [name for name in FILES.values() if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} doesn't hold {' and '.join(missing)}")
    with data.create(
        out,
        ndim=1,
        channels=1,
        classes=CLASSES,
        axes=[{"name": "time"}],
        channel_names=["current"],
        source=SOURCE,
        recipe={"kind": "series", "dtype": "float32", "columns": None, "spacing": None, "scale": None},
        resume=True,
    ) as writer:
        for split, file in FILES.items():
            for number, (values, label) in enumerate(read_cases(folder / file)):
                name = f"{split}/{number}"
                if name not in writer.done:
                    place = int(label) if label is not None and label.isdigit() else -1
                    writer.append(values.astype("float32"), label=place, split=split, name=name, file=file)


@click.command(help="SOURCE: the folder with PLAID_TRAIN.ts and PLAID_TEST.ts, or the wheel of sktime that holds them.")
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
