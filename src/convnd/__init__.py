"""convnd: convolutional networks on data of any rank and any size.

Samples that differ in size are batched without padding. A spatial operation is defined on one
sample, and op(batch) = concat(op(sample)), to the last bit.

>>> import numpy as np
>>> import convnd as cn
>>> recordings = cn.Ragged.pack([np.zeros((7, 12)), np.zeros((29, 12))])
>>> cn.ops.conv(recordings, np.zeros((3, 12, 8))).layout
Layout([[5], [27]])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import analysis, data, errors, loss, models, nn, ops, optim, random, testing
    from .analysis.matrix import toeplitz
    from .checkpoint import load
    from .kernels import get_num_threads, set_num_threads, show_config
    from .layout import Layout, Ragged
    from .nn.summary import summary
    from .tensor import Tensor, no_grad
    from .train import evaluate, fit

__version__ = "0.1.0"

# Where each public name comes from. All are imported when first used, so that `import convnd` is quick.
_MODULES = ("analysis", "data", "errors", "loss", "models", "nn", "ops", "optim", "random", "testing")
_NAMES = {
    "Layout": "layout",
    "Ragged": "layout",
    "Tensor": "tensor",
    "no_grad": "tensor",
    "show_config": "kernels",
    "set_num_threads": "kernels",
    "get_num_threads": "kernels",
    "summary": "nn",
    "fit": "train",
    "evaluate": "train",
    "load": "checkpoint",
    "toeplitz": "analysis",
}

__all__ = [
    "Layout",
    "Ragged",
    "Tensor",
    "__version__",
    "analysis",
    "data",
    "errors",
    "evaluate",
    "fit",
    "get_num_threads",
    "load",
    "loss",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "random",
    "set_num_threads",
    "show_config",
    "summary",
    "testing",
    "toeplitz",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
