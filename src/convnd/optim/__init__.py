"""Optimisers, learning-rate schedules, and clipping.

An optimiser changes its parameters in place and says so (``changed()``), so packed copies are
dropped. Parameters that are frozen or have no gradient are left as they are. Gradients add up until
``zero_grad()``: to accumulate over several batches, step only after the last.

    >>> import numpy as np
    >>> from convnd import Tensor
    >>> p = Tensor.parameter(np.array([1.0]))
    >>> optimiser = SGD([p], lr=0.1)
    >>> loss = 0.5 * p * p
    >>> loss.backward()
    >>> optimiser.step()
    >>> p.values.tolist()
    [0.9]
"""

from .optimizers import SGD, Adam, AdamW, Optimizer, clip_grad_norm
from .schedules import SCHEDULES, constant, cosine, one_cycle, schedule, step_decay

__all__ = [
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "clip_grad_norm",
    "constant",
    "cosine",
    "one_cycle",
    "schedule",
    "step_decay",
]
