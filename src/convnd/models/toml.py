"""Networks described in a TOML file."""

from __future__ import annotations

import os
import tomllib

from ..errors import ArgumentError, ConvndError
from ..nn import Layer, from_config


def from_toml(path: str | os.PathLike[str]) -> Layer:
    """The unbuilt network that a TOML file describes in the words of ``config()``.

    Parameters
    ----------
    path : str or path
        Of a file such as::

            type = "Sequential"

            [[layers]]
            type = "Conv"
            filters = 32
            kernel = 5
            activation = "relu"

            [[layers]]
            type = "GlobalPool"

            [[layers]]
            type = "Linear"
            features = 9

        See :func:`convnd.nn.from_config` for graphs and shared layers.

    Raises
    ------
    ArgumentError
        A file that can't be read, isn't TOML, or describes no network; the message names the file and the place.
    """
    try:
        with open(path, "rb") as file:
            config = tomllib.load(file)
    except OSError as error:
        raise ArgumentError(f"{os.fspath(path)}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{os.fspath(path)}: isn't TOML: {error}") from error
    try:
        return from_config(config)
    except ConvndError as error:
        raise ArgumentError(f"{os.fspath(path)}: {error}") from error
