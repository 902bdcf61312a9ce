"""The specification: every operation on ONE sample, in plain NumPy loops, for any rank.

Slow on purpose. Nothing here is clever, so that it can be read and believed; every kernel is tested
against it. Sums are in float64, results in the dtype of the input. A sample is an array (*S, C).
Only batch normalisation and the losses, which are about a batch, take a list of samples.

    >>> conv(np.arange(4.0).reshape(4, 1), np.ones((2, 1, 1))).ravel().tolist()
    [1.0, 3.0, 5.0]
"""

from .convolution import conv, conv_transpose, conv_weight, tiled_conv
from .norms import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_contrast_norm,
    local_response_norm,
    moments,
    weight_norm,
)
from .pointwise import ACTIVATIONS, activate, cross_entropy, drop_block, embedding, log_softmax, prelu, softmax
from .pooling import (
    global_pool,
    k_max_pool,
    lp_pool,
    max_pool_indices,
    max_unpool,
    maxout,
    pool,
    pool_channels,
    proportional_pool,
    roi_pool,
    spatial_pyramid_pool,
    stochastic_pool,
    weighted_pool,
)
from .structure import crop, pad, resize

__all__ = [
    "ACTIVATIONS",
    "activate",
    "batch_norm",
    "conv",
    "conv_transpose",
    "conv_weight",
    "crop",
    "cross_entropy",
    "drop_block",
    "embedding",
    "global_pool",
    "group_norm",
    "instance_norm",
    "k_max_pool",
    "layer_norm",
    "local_contrast_norm",
    "local_response_norm",
    "log_softmax",
    "lp_pool",
    "max_pool_indices",
    "max_unpool",
    "maxout",
    "moments",
    "pad",
    "pool",
    "pool_channels",
    "prelu",
    "proportional_pool",
    "resize",
    "roi_pool",
    "softmax",
    "spatial_pyramid_pool",
    "stochastic_pool",
    "tiled_conv",
    "weight_norm",
    "weighted_pool",
]
