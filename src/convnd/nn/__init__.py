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

from .attention import SqueezeExcite
from .config import from_config
from .conv import Conv, ConvTranspose, DepthwiseConv, Linear
from .embedding import Embedding
from .graph import Add, Concat, Graph, Node, Sequential
from .layer import Layer, Maker
from .norm import GroupNorm, InstanceNorm, LayerNorm, LocalContrastNorm, LocalResponseNorm, WeightNorm
from .pointwise import Activation, BatchNorm, DropBlock, Dropout, PReLU, SpatialDropout
from .pool import AvgPool, Flatten, GlobalPool, MaxPool, ProportionalPool
from .pool_kinds import (
    KMaxPool,
    LpPool,
    Maxout,
    MaxUnpool,
    PoolChannels,
    QuadrantPool,
    RoiPool,
    SpatialPyramidPool,
    StochasticPool,
    WeightedPool,
)
from .separable import DepthwiseSeparableConv, SeparableConv
from .spec import Mode, Spec
from .stream import Stream
from .structure import (
    ChannelShuffle,
    Crop,
    CropLike,
    MaskedConv,
    Multiply,
    Pad,
    PadLike,
    Resize,
    ScaleChannels,
)
from .summary import Summary, summary
from .tiled import Bias, LocalConv, TiledConv

__all__ = [
    "Activation",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Bias",
    "ChannelShuffle",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Crop",
    "CropLike",
    "DepthwiseConv",
    "DepthwiseSeparableConv",
    "DropBlock",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalPool",
    "Graph",
    "GroupNorm",
    "InstanceNorm",
    "KMaxPool",
    "Layer",
    "LayerNorm",
    "Linear",
    "LocalContrastNorm",
    "LocalConv",
    "LocalResponseNorm",
    "LpPool",
    "Maker",
    "MaskedConv",
    "MaxPool",
    "MaxUnpool",
    "Maxout",
    "Mode",
    "Multiply",
    "Node",
    "PReLU",
    "Pad",
    "PadLike",
    "PoolChannels",
    "ProportionalPool",
    "QuadrantPool",
    "Resize",
    "RoiPool",
    "ScaleChannels",
    "SeparableConv",
    "Sequential",
    "SpatialDropout",
    "SpatialPyramidPool",
    "Spec",
    "SqueezeExcite",
    "StochasticPool",
    "Stream",
    "Summary",
    "TiledConv",
    "WeightNorm",
    "WeightedPool",
    "from_config",
    "summary",
]
