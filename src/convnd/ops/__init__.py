"""Differentiable functions on batches of any rank and any sizes.

Each takes an ndarray (N, *S, C), a Ragged or a Tensor and returns that kind; a Tensor if any operand
is one. Spatial operations are defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from .convolution import conv, conv_transpose, conv_weight, linear
from .norm import batch_norm
from .pointwise import (
    activate,
    dropout,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .pooling import avg_pool, global_pool, max_pool, proportional_pool
from .structure import add, concat, flatten
from .tiled import local_conv, tiled_bias, tiled_conv

__all__ = [
    "activate",
    "add",
    "avg_pool",
    "batch_norm",
    "concat",
    "conv",
    "conv_transpose",
    "conv_weight",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "global_pool",
    "leaky_relu",
    "linear",
    "local_conv",
    "log_softmax",
    "max_pool",
    "proportional_pool",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
    "tiled_bias",
    "tiled_conv",
]
