"""The data layer: HDF5 files of samples of any size, streamed in batches under a memory budget.

``create`` writes a file, ``open`` reads one, ``info`` describes one; ``file["train"].batches(...)`` streams it;
``Normaliser`` normalises.
"""

from .batches import Batch, Batches
from .embedded import japanese_vowels
from .normalise import Normaliser
from .reader import File, open
from .schema import SCHEMA, Axis, Info
from .split import Sample, Split
from .summary import info
from .writer import Writer, create

__all__ = [
    "SCHEMA",
    "Axis",
    "Batch",
    "Batches",
    "File",
    "Info",
    "Normaliser",
    "Sample",
    "Split",
    "Writer",
    "create",
    "info",
    "japanese_vowels",
    "open",
]
