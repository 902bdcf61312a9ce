"""Named networks, for samples of any rank, and networks read from a file.

Each is a function of the number of classes and a few options that gives an unbuilt layer.

>>> import numpy as np
>>> from convnd import models
>>> models.names()
['allconv', 'lenet', 'resnet', 'sentence', 'small', 'unet', 'wave']
>>> models.get("small", classes=9).build(ndim=1, channels=12)(np.zeros((1, 7, 12), np.float32)).shape
(1, 9)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError
from ..nn import Layer
from .classify import allconv, lenet, resnet, small, wave
from .segment import unet
from .sentence import sentence
from .toml import from_toml

_MODELS: dict[str, Callable[..., Layer]] = {
    model.__name__: model for model in (allconv, lenet, resnet, sentence, small, unet, wave)
}

__all__ = ["allconv", "from_toml", "get", "lenet", "names", "options_of", "resnet", "sentence", "small", "unet", "wave"]


def names() -> list[str]:
    """The names :func:`get` knows."""
    return sorted(_MODELS)


def options_of(name: str) -> list[str]:
    """The options that :func:`get` takes for the network of that name.

    >>> options_of("unet")
    ['width', 'depth']
    """
    return [option for option in inspect.signature(_MODELS[name]).parameters if option != "classes"]


def get(name: str, classes: int, **options: Any) -> Layer:
    """The network of that name, unbuilt.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    classes : int
        Scores it gives.
    options
        Arguments of the function of that name in :mod:`convnd.models`.

    Raises
    ------
    ArgumentError
        A name or an option that doesn't exist; the message lists those that do.

    Examples
    --------
    >>> len(get("resnet", classes=10, width=8, blocks=1)) > 0
    True
    """
    if name not in _MODELS:
        raise ArgumentError(f"model must be one of {', '.join(names())}. Received: {name!r}")
    known = ["classes", *options_of(name)]
    for option in options:
        if option not in known:
            raise ArgumentError(f"model {name!r} has the options {', '.join(known)}. Received: {option!r}")
    return _MODELS[name](classes, **options)
