"""What convolution is, in figures: its matrix, what its outputs see, what it costs, how it moves, what it assumes.

The ideas of sections 9.1, 9.2 and 9.4 of the *Deep Learning* book, to be run.

>>> import numpy as np
>>> from convnd import analysis, nn
>>> analysis.costs((280, 320, 1), (1, 2))["convolution"].operations
267960
>>> analysis.receptive_fields(nn.Sequential(nn.Conv(8, 3), nn.Conv(8, 3), nn.Conv(8, 3)), (9, 1)).output.size
(7,)
"""

from .efficiency import Cost, Costs, costs
from .equivariance import Flip, Rotate, Scale, Shift, Transform, equivariance_error, sensitivity
from .gradient import confirm_receptive_fields, seen_by_gradient
from .matrix import toeplitz
from .prior import FullyConnected, as_dense, convolution_prior
from .receptive import Field, Fields, receptive_fields

__all__ = [
    "Cost",
    "Costs",
    "Field",
    "Fields",
    "Flip",
    "FullyConnected",
    "Rotate",
    "Scale",
    "Shift",
    "Transform",
    "as_dense",
    "confirm_receptive_fields",
    "convolution_prior",
    "costs",
    "equivariance_error",
    "receptive_fields",
    "seen_by_gradient",
    "sensitivity",
    "toeplitz",
]
