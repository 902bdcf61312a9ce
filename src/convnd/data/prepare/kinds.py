"""The kinds of data there are. A kind's module is imported when the kind is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import DataError
from .kind import Kind

KINDS = ("audio", "images", "volumes", "video", "series", "text")


def find_kind(name: Any) -> Kind:
    """The kind of that name: ``KIND`` of the module that is named as it is."""
    if name in KINDS:
        full = f"{__package__}.{name}"
        try:
            kind: Kind = importlib.import_module(full).KIND
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
        else:
            return kind
    raise DataError(f"there is no way to prepare data of kind {name!r}")
