"""Arrays in, arrays out: the sole importer of the compiled core.

``x`` is (P, C): all positions of all samples, channels last. Dtype, contiguity and shape are checked here; past
this point everything is trusted. Nothing here knows Tensor or the tape.
"""

from .axes import take_axes
from .conv import chosen, conv, conv_transpose, conv_weight
from .pointwise import (
    activate,
    activate_grad,
    batch_norm_grad,
    batch_norm_sums,
    centred,
    centred_grad,
    column_sum,
    dropout_mask,
    layer_norm,
    leaky,
    log_softmax,
    log_softmax_grad,
    moments,
    sample_moments,
    sample_sums,
    scale_shift,
    softmax,
    softmax_grad,
    standardise,
    standardise_grad,
)
from .pool import pool, pool_grad, scale_shift_pool, scale_shift_pool_grad
from .system import config, get_num_threads, multiply_adds, set_num_threads, show_config
from .tiled import tiled_conv, tiled_conv_transpose, tiled_conv_weight
from .update import adam, descent

__all__ = [
    "activate",
    "activate_grad",
    "adam",
    "batch_norm_grad",
    "batch_norm_sums",
    "centred",
    "centred_grad",
    "chosen",
    "column_sum",
    "config",
    "conv",
    "conv_transpose",
    "conv_weight",
    "descent",
    "dropout_mask",
    "get_num_threads",
    "layer_norm",
    "leaky",
    "log_softmax",
    "log_softmax_grad",
    "moments",
    "multiply_adds",
    "pool",
    "pool_grad",
    "sample_moments",
    "sample_sums",
    "scale_shift",
    "scale_shift_pool",
    "scale_shift_pool_grad",
    "set_num_threads",
    "show_config",
    "softmax",
    "softmax_grad",
    "standardise",
    "standardise_grad",
    "take_axes",
    "tiled_conv",
    "tiled_conv_transpose",
    "tiled_conv_weight",
]
