"""Training: :func:`fit` a network, :func:`evaluate` it; what comes out is a :class:`Model`."""

from .evaluation import evaluate
from .fitting import Run, fit
from .model import Model

__all__ = ["Model", "Run", "evaluate", "fit"]
