"""Differentiable functions on batches of any rank and any sizes.

Each takes an ndarray (N, *S, C), a Ragged or a Tensor and returns that kind; a Tensor if any operand
is one. Spatial operations are defined on one sample: op(batch) = concat(op(sample)), to the last bit.
"""

from .channel_pooling import maxout, pool_channels
from .channels import LENET5_C3, channel_shuffle, mask_weight, multiply, scale_channels, split
from .convolution import conv, conv_transpose, conv_weight, linear
from .drop import drop_block, spatial_dropout
from .embedding import embedding
from .local_norm import local_contrast_norm, local_response_norm
from .norm import batch_norm
from .normalise import group_norm, instance_norm, layer_norm, weight_norm
from .padding import crop, crop_like, pad, pad_like
from .pointwise import (
    absolute,
    activate,
    dropout,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .pooling import avg_pool, global_pool, max_pool, max_unpool, proportional_pool
from .region_pooling import k_max_pool, quadrant_pool, roi_pool, spatial_pyramid_pool
from .resize import resize
from .separable import Separation, separable_conv, separate
from .structure import add, concat, flatten
from .tiled import local_conv, tiled_bias, tiled_conv
from .window_pooling import lp_pool, stochastic_pool, weighted_pool

__all__ = [
    "LENET5_C3",
    "Separation",
    "absolute",
    "activate",
    "add",
    "avg_pool",
    "batch_norm",
    "channel_shuffle",
    "concat",
    "conv",
    "conv_transpose",
    "conv_weight",
    "crop",
    "crop_like",
    "drop_block",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "gelu",
    "global_pool",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "instance_norm",
    "k_max_pool",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_contrast_norm",
    "local_conv",
    "local_response_norm",
    "log_softmax",
    "lp_pool",
    "mask_weight",
    "max_pool",
    "max_unpool",
    "maxout",
    "multiply",
    "pad",
    "pad_like",
    "pool_channels",
    "prelu",
    "proportional_pool",
    "quadrant_pool",
    "relu",
    "resize",
    "roi_pool",
    "scale_channels",
    "selu",
    "separable_conv",
    "separate",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "spatial_dropout",
    "spatial_pyramid_pool",
    "split",
    "stochastic_pool",
    "tanh",
    "tiled_bias",
    "tiled_conv",
    "weight_norm",
    "weighted_pool",
]
