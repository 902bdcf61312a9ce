"""Optional packages."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import DataError


class MissingPackage(DataError):
    """An optional package isn't installed: nothing that needs it can go on."""


def need(module: str, extra: str) -> Any:
    """An optional package, or an error that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingPackage(f"this needs the package {module}: pip install convnd[{extra}]") from None
