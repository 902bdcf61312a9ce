"""The data layer: HDF5 files of samples of any size, streamed in batches under a memory budget.

``create`` writes a file, ``open`` reads one, ``info`` describes one; ``file["train"].batches(...)`` streams it;
``Normaliser`` normalises. ``prepare_audio`` and ``prepare_series`` make files of what is on the disk, and
``load_inputs`` prepares new inputs in the same way.
"""

from .audio import prepare_audio
from .batches import Batch, Batches
from .embedded import japanese_vowels
from .inputs import load_inputs
from .normalise import Normaliser
from .reader import File, open
from .schema import SCHEMA, Axis, Info
from .series import prepare_series
from .sources import Report
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
    "Report",
    "Sample",
    "Split",
    "Writer",
    "create",
    "info",
    "japanese_vowels",
    "load_inputs",
    "open",
    "prepare_audio",
    "prepare_series",
]
