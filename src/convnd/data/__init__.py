"""The data layer: HDF5 files of samples of any size, streamed in batches under a memory budget.

``create`` writes a file, ``open`` reads one, several as one, or what others made, ``info`` describes one;
``file["train"].batches(...)`` streams it, changed at random by ``augment``; ``Normaliser`` normalises.
``prepare_audio`` and its like make files of what is on the disk; ``load_inputs`` prepares new inputs in the same way.
"""

from . import augment
from .batch import Batch
from .batches import Batches
from .collection import Collection
from .concat import Concat, concat
from .embedded import japanese_vowels
from .normalise import Normaliser
from .opening import open
from .prepare import (
    Report,
    load_inputs,
    prepare_audio,
    prepare_images,
    prepare_series,
    prepare_text,
    prepare_video,
    prepare_volumes,
)
from .reader import File
from .schema import SCHEMA, Axis, Info
from .split import Sample, Split
from .summary import info
from .writer import Writer, create

__all__ = [
    "SCHEMA",
    "Axis",
    "Batch",
    "Batches",
    "Collection",
    "Concat",
    "File",
    "Info",
    "Normaliser",
    "Report",
    "Sample",
    "Split",
    "Writer",
    "augment",
    "concat",
    "create",
    "info",
    "japanese_vowels",
    "load_inputs",
    "open",
    "prepare_audio",
    "prepare_images",
    "prepare_series",
    "prepare_text",
    "prepare_video",
    "prepare_volumes",
]
