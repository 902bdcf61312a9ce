"""HDF5's compressions by name: those it brings, and those of hdf5plugin where that is installed."""

from __future__ import annotations

import importlib
from typing import Any

import h5py

from ..errors import ArgumentError, DataError

# By our name: hdf5plugin's class, and HDF5's number. Those that are lossless.
PLUGINS = {
    "blosc": ("Blosc", 32001),
    "blosc2": ("Blosc2", 32026),
    "bitshuffle": ("Bitshuffle", 32008),
    "bzip2": ("BZip2", 307),
    "lz4": ("LZ4", 32004),
    "zstd": ("Zstd", 32015),
}
# Those that don't sort the bytes of numbers by significance themselves, which lets numbers shrink.
UNSORTED = ("bzip2", "lz4", "zstd")
NAMES = ("gzip", "lzf", *PLUGINS)
INSTALL = "pip install convnd[compression]"


def compression_name(compress: Any) -> str | None:
    """The compression that ``compress=`` asks for: None, or one of the names; it must be there to write."""
    if compress is None or compress is False:
        return None
    if compress is True:
        return "gzip"
    if compress not in NAMES:
        raise ArgumentError(f"compress must be True, False or one of {', '.join(NAMES)}. Received: {compress!r}")
    if compress in PLUGINS and not _plugin():
        raise DataError(f"compress={compress!r} needs the package hdf5plugin: {INSTALL}")
    return str(compress)


def creation_arguments(compress: str | None) -> dict[str, Any]:
    """What h5py's ``create_dataset`` takes for a compression."""
    if compress is None:
        return {}
    if compress == "gzip":
        return {"compression": "gzip", "compression_opts": 9, "shuffle": True}
    if compress == "lzf":
        return {"compression": "lzf", "shuffle": True}
    name, _ = PLUGINS[compress]
    return {**getattr(_plugin(), name)(), "shuffle": compress in UNSORTED}


def check_filters(dataset: h5py.Dataset, path: Any) -> None:
    """Refuse a dataset whose filters are not there, with the way to get them."""
    plist = dataset.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        kind, _, _, label = plist.get_filter(number)
        if h5py.h5z.filter_avail(kind) or (_plugin() and h5py.h5z.filter_avail(kind)):
            continue
        name = next((name for name, (_, code) in PLUGINS.items() if code == kind), label.decode(errors="replace"))
        how = "" if _plugin() else f": it comes with the package hdf5plugin ({INSTALL})"
        raise DataError(f"{path}: its {dataset.name} needs HDF5's filter {kind} ({name}), which isn't installed{how}")


def _plugin() -> Any:
    """hdf5plugin, whose import makes its filters known to HDF5; None if it isn't installed."""
    try:
        return importlib.import_module("hdf5plugin")
    except ImportError:
        return None
