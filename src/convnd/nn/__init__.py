"""Layers and networks that name neither the rank nor the channels of their input.

A definition is plain data: ``config()`` gives it for JSON or TOML, :func:`from_config` makes it again, and ``repr``
is an expression in this namespace that does so too. ``build`` makes the parameters.

>>> import numpy as np
>>> from convnd import nn
>>> net = nn.Sequential(nn.Conv(8, 3, padding="same"), nn.BatchNorm(activation="relu"), nn.GlobalPool(), nn.Linear(2))
>>> [net.build(ndim=2, channels=3)(np.zeros((1, h, 9, 3), np.float32)).shape for h in (1, 50)]
[(1, 2), (1, 2)]
>>> nn.from_config(net.config())
Sequential(Conv(8, 3, padding='same'), BatchNorm(activation='relu'), GlobalPool(), Linear(2))
"""

from .config import from_config
from .conv import Conv, ConvTranspose, DepthwiseConv, Linear
from .graph import Add, Concat, Graph, Node, Sequential
from .layer import Layer, Maker
from .pointwise import Activation, BatchNorm, Dropout
from .pool import AvgPool, Flatten, GlobalPool, MaxPool, ProportionalPool
from .spec import Mode, Spec
from .stream import Stream
from .summary import Summary, summary
from .tiled import Bias, LocalConv, TiledConv

__all__ = [
    "Activation",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Bias",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "Dropout",
    "Flatten",
    "GlobalPool",
    "Graph",
    "Layer",
    "Linear",
    "LocalConv",
    "Maker",
    "MaxPool",
    "Mode",
    "Node",
    "ProportionalPool",
    "Sequential",
    "Spec",
    "Stream",
    "Summary",
    "TiledConv",
    "from_config",
    "summary",
]
