"""Walking sprites: in which of six directions does it go? Colour clips of 10 to 40 frames, each of its own size.

Source: the game Widelands (www.widelands.org), Debian package widelands-data, GPL 2 or later.
``apt-get download widelands-data && dpkg -x widelands-data_*.deb FOLDER``.

In usr/share/games/widelands/data every worker, ship and animal has a folder with an ``init.lua``. Among its
``spritesheets`` are directional ones (walk, walkload, sail): tables with ``frames``, ``rows``, ``columns`` and ``fps``.
For each direction (ne, e, se, sw, w, nw) ``<name>_<direction>_1.png`` holds all frames in a grid, row by row from the
top left, the last cells empty; ``basename`` and ``directory`` say where else it lies. Sheets for other zooms (_0.5, _2,
_4) and the masks of the player's colour (_pc) are passed over, and so are animations of one picture a frame (the
duck's).

A clip is (time, height, width, 3), laid on grey where it is transparent. Its class is the direction, its group the
unit: no unit is in training and test both. Of clips with the same pictures the first is taken (the wisent is the ox);
where they are said to go in different directions (the bunny's) none is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.data.prepare.items import Item
from convnd.data.prepare.splits import assign_splits
from convnd.data.sources import need
from convnd.errors import ConvndError, DataError

DATA = "usr/share/games/widelands/data"
DIRECTIONS = ("ne", "e", "se", "sw", "w", "nw")
# A table of Lua in one level, such as walk = { fps = 10, hotspot = { 14, 29 } }, and an entry of one.
TABLE = re.compile(r"(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
ENTRY = re.compile(r"(\w+)\s*=\s*\"?([\w.]+)")
FOLDER = re.compile(r"\bdirectory\s*=\s*dirname\s*\.\.\s*\"([^\"]*)\"")
GREY = 128
SOURCE = "Widelands 1.1 (Debian package widelands-data). The Widelands Development Team, www.widelands.org"


@dataclass(frozen=True)
class Sheet:
    """The pictures of one clip, and what it is."""

    path: Path
    unit: str
    animation: str
    direction: str
    frames: int
    rows: int
    columns: int
    rate: float

    @property
    def name(self) -> str:
        return f"{self.unit}/{self.animation}_{self.direction}"


def find_sheets(folder: Path) -> Iterator[Sheet]:
    """The directional sprite sheets of all units, in their order by name."""
    for script in sorted(folder.rglob("init.lua")):
        text = re.sub(r"--[^\n]*", "", script.read_text(encoding="utf-8", errors="replace"))
        unit = script.parent.relative_to(folder).as_posix()
        for animation, body in TABLE.findall(text):
            said = dict(ENTRY.findall(body))
            if said.get("directional") != "true" or not {"frames", "rows", "columns"} <= set(said):
                continue
            try:
                counts, rate = [int(said[key]) for key in ("frames", "rows", "columns")], float(said.get("fps", 4))
            except ValueError:
                raise DataError(f"{script}: {animation}: frames, rows, columns and fps must be numbers") from None
            below = FOLDER.search(body)
            place = script.parent / (below[1] if below else "") / said.get("basename", animation)
            for direction in DIRECTIONS:
                path = place.with_name(f"{place.name}_{direction}_1.png")
                yield Sheet(path, unit, animation, direction, *counts, rate=rate)


def read_clip(sheet: Sheet) -> NDArray[np.uint8]:
    """The frames (time, height, width, 3), laid on grey."""
    image = need("PIL.Image", "images")
    try:
        with image.open(sheet.path) as picture:
            grid = np.asarray(picture.convert("RGBA"))
    except FileNotFoundError:
        raise DataError("there is no such sheet") from None
    except (OSError, SyntaxError) as error:
        raise DataError(f"it can't be read: {error}") from None
    height, width = grid.shape[0] // sheet.rows, grid.shape[1] // sheet.columns
    if (height * sheet.rows, width * sheet.columns) != grid.shape[:2] or sheet.frames > sheet.rows * sheet.columns:
        raise DataError(
            f"{sheet.frames} frames in {sheet.rows} rows and {sheet.columns} columns don't fit {grid.shape[:2]} pixels"
        )
    cells = grid.reshape(sheet.rows, height, sheet.columns, width, 4).swapaxes(1, 2).reshape(-1, height, width, 4)
    clip = cells[: sheet.frames].astype(np.uint16)
    colour, alpha = clip[..., :3], clip[..., 3:]
    # Rounded to the nearest.
    laid: NDArray[Any] = (colour * alpha + GREY * (255 - alpha) + 127) // 255
    return laid.astype(np.uint8)


def read_clips(folder: Path) -> tuple[list[tuple[Sheet, NDArray[np.uint8]]], dict[str, list[str]]]:
    """The clips that differ, and the names of those left out, by reason."""
    alike: dict[tuple[Any, ...], list[tuple[Sheet, NDArray[np.uint8]]]] = {}
    failed: dict[str, list[str]] = defaultdict(list)
    for sheet in find_sheets(folder):
        try:
            clip = read_clip(sheet)
        except DataError as error:
            failed[str(error)].append(sheet.name)
        else:
            alike.setdefault((clip.shape, sha256(clip.tobytes()).digest()), []).append((sheet, clip))
    clips = []
    for same in alike.values():
        if len({sheet.direction for sheet, _ in same}) > 1:
            failed["its pictures stand for several directions"] += [sheet.name for sheet, _ in same]
        else:
            clips.append(same[0])
            failed["its pictures are those of another"] += [sheet.name for sheet, _ in same[1:]]
    return clips, failed


def prepare(folder: Path, out: Path, test: float, seed: int) -> dict[str, list[str]]:
    """Write the data file. What was left out, by reason."""
    root = folder / DATA if (folder / DATA).is_dir() else folder
    clips, failed = read_clips(root)
    if not clips:
        raise DataError(f"{folder} holds no directional sprite sheets of Widelands (tribes/.../init.lua)")
    items = [Item(sheet.name, sheet.path, label=sheet.direction, group=sheet.unit) for sheet, _ in clips]
    divided = assign_splits(items, {"test": test}, seed, by_group=True)
    with data.create(
        out,
        ndim=3,
        channels=3,
        dtype="uint8",
        classes=DIRECTIONS,
        axes=[{"name": "time", "unit": "s"}, {"name": "height"}, {"name": "width"}],
        channel_names=["red", "green", "blue"],
        scale=1 / 255,
        source=SOURCE,
        licence="GPL-2.0-or-later",
        recipe={
            **{"kind": "video", "rate": None, "size": None, "start": 0.0, "stop": None, "colour": "rgb"},
            **{"spacing": None, "scale": 1 / 255, "test": test, "seed": seed},
        },
        resume=True,
    ) as writer:
        for (sheet, clip), item in zip(clips, divided, strict=True):
            if item.name not in writer.done:
                file = sheet.path.relative_to(root).as_posix()
                said = {"label": item.label, "split": item.split, "name": item.name, "group": item.group, "file": file}
                writer.append(clip, spacing=[1 / sheet.rate, 1.0, 1.0], **said)
    return failed


@click.command(help="SOURCE: the folder that widelands-data was unpacked to. The group of a clip is its unit.")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--test", default=0.2, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the units whose clips make the split test.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of that draw.")
def main(source: Path, out: Path, test: float, seed: int) -> None:  # fmt: skip
    try:
        for reason, names in prepare(source, out, test, seed).items():
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                click.echo(f"left out: {names[0]}{more}: {reason}", err=True)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
