"""From the files people have to data files: one pipeline, and a module for each kind of data.

``kind`` is what a kind says about itself; ``pipeline`` does the rest with ``find`` (and ``walk``, ``manifest``,
``beside``), ``splits``, ``crew`` (and ``worker``, ``frames``, ``tasks``). Kinds: ``audio`` (with ``features``) and
``series`` (with ``tables``, ``arrays``, ``timeseries``, ``bvh``), which take label ``tracks``; ``images``; ``volumes``
(with ``scans``, ``dicom``, ``grid``); ``video`` (with ``clips``); ``text`` (with ``words``). ``inputs`` prepares new
files by a data file's recipe.
"""

from .audio import prepare_audio
from .images import prepare_images
from .inputs import load_inputs
from .items import Failure, Report
from .series import prepare_series
from .text import prepare_text
from .video import prepare_video
from .volumes import prepare_volumes

__all__ = [
    "Failure",
    "Report",
    "load_inputs",
    "prepare_audio",
    "prepare_images",
    "prepare_series",
    "prepare_text",
    "prepare_video",
    "prepare_volumes",
]
