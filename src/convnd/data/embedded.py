"""The data set that comes with the package."""

from __future__ import annotations

from pathlib import Path


def japanese_vowels() -> Path:
    """The file of Japanese Vowels: 640 utterances of nine speakers, 12 channels, 7 to 29 frames.

    Splits "train" (270) and "test" (370), class = speaker. The channels are LPC cepstrum coefficients.

    Source: M. Kudo, J. Toyama, M. Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions",
    Pattern Recognition Letters 20 (1999) 1103-1111; UCI Machine Learning Repository, CC BY 4.0.

    Examples
    --------
    >>> from convnd.data import open
    >>> with open(japanese_vowels()) as file:
    ...     print(file.info.licence)
    CC BY 4.0
    """
    return Path(__file__).with_name("japanese_vowels.h5")
