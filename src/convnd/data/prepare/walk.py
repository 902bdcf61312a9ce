"""The files below a folder: nothing outside it, whatever links say, and no end of it where links go round."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .items import Failure


def walk(root: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[Failure]]:
    """Names below ``root`` (with ``/``) of the files whose own name is ``wanted``, sorted; and what was refused.

    Hidden files and folders are passed over. A link to a file inside ``root`` counts as a file; a link to a folder
    inside is passed over, since that folder's files are found where they are. A link that leaves ``root``, that leads
    nowhere or goes round, and a folder that can't be listed, are refused.
    """
    found: list[str] = []
    failed: list[Failure] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = list(scan)
        except OSError as error:
            failed.append(Failure(folder.rstrip("/") or ".", f"this folder can't be listed: {error.strerror or error}"))
            continue
        for entry in entries:
            name = folder + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                # A folder needs no wanted name to be refused: what it would have brought isn't known.
                refused = refuse_link(root, root / name) if wanted(entry.name) or entry_is_folder(entry) else None
                if refused is not None:
                    failed.append(Failure(name, refused))
                elif wanted(entry.name) and entry.is_file():
                    found.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name + "/")
            elif wanted(entry.name) and entry.is_file(follow_symlinks=False):
                found.append(name)
    return sorted(found), sorted(failed, key=lambda failure: failure.path)


def entry_is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder; False for one that goes round."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def refuse_link(root: Path, path: Path) -> str | None:
    """Why a path below ``root`` must not be read, or None: it leaves ``root``, or its links lead nowhere."""
    try:
        real = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return "it is a link to nothing" if path.is_symlink() else "there is no such file"
    except OSError as error:
        return f"its links can't be followed: {error.strerror or error}"
    inside = os.path.realpath(root)
    if os.path.commonpath([inside, real]) != inside:
        return f"it leads out of the source folder, to {real}: copy it in, or give the folder that holds both"
    return None
