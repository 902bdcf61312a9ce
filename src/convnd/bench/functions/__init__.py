"""Operations that are measured as they are called: what convnd and PyTorch call, and their definition in float64.

``function`` says what an entry is; the others hold one table each, by theme; ``draws`` knows the random numbers.
"""

from .drops import DROPS
from .function import Array, Function, Shape, Weight, torch_module
from .norms import NORMS
from .pointwise import POINTWISE
from .pools import POOLS
from .structure import STRUCTURE
from .weighted import WEIGHTED

FUNCTIONS: dict[str, Function] = {**POINTWISE, **DROPS, **NORMS, **POOLS, **STRUCTURE, **WEIGHTED}

__all__ = ["FUNCTIONS", "Array", "Function", "Shape", "Weight", "torch_module"]
