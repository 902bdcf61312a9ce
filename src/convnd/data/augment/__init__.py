"""Augmentation: random changes of samples on their way from a file to a network.

Each is a frozen dataclass and a pure function of a sample and a random generator; see :class:`Augmentation`. Give one,
or a list, to ``split.batches(augment=...)`` or ``fit(..., augment=...)``, as objects or as texts: ``"flip(axis=1)"``.

=====================================  ======================================================================
:class:`Flip`                          mirror axes
:class:`RandomCrop`                    a random box
:class:`Shift`                         whole positions along axes
:class:`Affine`, :class:`Elastic`      rotation, scale, shear, translation; smooth deformation (scipy.ndimage)
:class:`Gain`, :class:`Noise`          a factor; white noise by its deviation or its signal-to-noise ratio
:class:`Mask`                          blank stretches of an axis; :class:`TimeMask`, :class:`FrequencyMask`
:class:`Compose`                       one after the other
=====================================  ======================================================================
"""

from .base import Augmentation
from .compose import Compose, composed, from_config, from_text
from .positions import Flip, RandomCrop, Shift
from .values import FrequencyMask, Gain, Mask, Noise, TimeMask
from .warp import Affine, Elastic

__all__ = [
    "Affine",
    "Augmentation",
    "Compose",
    "Elastic",
    "Flip",
    "FrequencyMask",
    "Gain",
    "Mask",
    "Noise",
    "RandomCrop",
    "Shift",
    "TimeMask",
    "composed",
    "from_config",
    "from_text",
]
