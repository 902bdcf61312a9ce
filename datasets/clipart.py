"""Open Clip Art: drawings of every size in colour, by what they show.

Source: Open Clip Art Library 0.18, http://www.openclipart.org, by its many contributors; public domain. The PNG files
come with Debian's package openclipart-png, in /usr/share/openclipart/png.

A drawing's class is the folder at the top that it lies in. Folders with fewer than 100 drawings are left out, and so
are "unsorted" and "special", which say nothing of what is drawn; 11 remain, from computer (1,797) to office (107).
Symbolic links, by which a drawing lies in several folders, are passed over, and files of equal content are taken once:
6,361 drawings of 3 x 2 to 20,990 x 29,700 pixels, laid on white and reduced to 128 pixels on their longer side. The
test split is a fifth of every class, drawn at random. The largest drawing takes 5 GiB of memory.
"""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections import defaultdict
from pathlib import Path

import click

from convnd import data
from convnd.errors import ConvndError, DataError

# Folders that don't say what is drawn.
NO_CLASS = ("special", "unsorted")
SOURCE = "Open Clip Art Library 0.18 (openclipart.org), by its contributors; Debian package openclipart-png."


def find_drawings(folder: Path, least: int) -> dict[str, list[Path]]:
    """The drawings of each class, sorted, those of equal content once."""
    found: dict[str, list[Path]] = defaultdict(list)
    seen: set[bytes] = set()
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder)
        if path.is_symlink() or not path.is_file() or len(name.parts) < 2 or name.parts[0] in NO_CLASS:
            continue
        content = hashlib.sha256(path.read_bytes()).digest()
        if content not in seen:
            seen.add(content)
            found[name.parts[0]].append(name)
    classes = {label: names for label, names in sorted(found.items()) if len(names) >= least}
    if not classes:
        raise DataError(f"{folder} holds no folder of at least {least} PNG files")
    return classes


def prepare(folder: Path, out: Path, side: int, least: int, seed: int) -> None:
    """Write the data file from the folder of folders."""
    classes = find_drawings(folder, least)
    with tempfile.TemporaryDirectory() as place:
        manifest = Path(place, "drawings.csv")
        with manifest.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "label"])
            rows.writerows((name.as_posix(), label) for label, names in classes.items() for name in names)
        data.prepare_images(
            folder,
            out,
            colour="rgb",
            side=side,
            label_from=manifest,
            classes=list(classes),
            split={"test": 0.2},
            seed=seed,
            strict=True,
            origin=SOURCE,
            licence="public domain",
        )


@click.command(help="SOURCE: the folder whose folders are the classes, /usr/share/openclipart/png.")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--side", default=128, show_default=True, type=click.IntRange(1), metavar="PIXELS",
              help="Reduce larger drawings until their longer side has so many pixels.")
@click.option("--least", default=100, show_default=True, type=click.IntRange(1), metavar="N",
              help="Leave out classes of fewer drawings.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the draw of the test split.")
def main(source: Path, out: Path, side: int, least: int, seed: int) -> None:  # fmt: skip
    try:
        prepare(source, out, side, least, seed)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
