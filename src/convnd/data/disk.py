"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` last through a power cut, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of a closed file last through a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file over ``path``: readers see the old file or the new one, never a part."""
    sync_file(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file whole, through a temporary neighbour."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
