"""Arrays in, arrays out: the sole importer of the compiled core.

``x`` is (P, C): all positions of all samples, channels last. Dtype, contiguity and shape are checked here; past
this point everything is trusted. Nothing here knows Tensor or the tape.
"""

from .conv import conv, conv_transpose, conv_weight
from .system import config, get_num_threads, set_num_threads, show_config

__all__ = [
    "config",
    "conv",
    "conv_transpose",
    "conv_weight",
    "get_num_threads",
    "set_num_threads",
    "show_config",
]
