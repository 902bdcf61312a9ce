"""Features of waveforms, by librosa: spectrograms, mel bands, cepstral coefficients, constant-Q transforms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ...errors import ArgumentError
from ..sources import need
from .kind import check_claim

# Spatial axes of a sample.
FEATURES = {"waveform": 1, "stft": 2, "mel": 2, "mfcc": 1, "cqt": 2}
BINS = {"mel": 64, "mfcc": 20, "cqt": 12}
MFCC_BANDS = 128
LOWEST = 32.70319566257483  # C1, librosa's default.
MOST_OCTAVES = 7
SECONDS = 0.032


def check_features(features: str, hop: int | None, bins: int | None, window: int | None) -> None:
    """What can be said of the arguments before any file is read."""
    if features not in FEATURES:
        raise ArgumentError(f"features must be one of {', '.join(FEATURES)}. Received: features={features!r}")
    for name, value in {"hop": hop, "bins": bins, "window": window}.items():
        if value is None:
            continue
        if features == "waveform" or (features == "cqt" and name == "window"):
            raise ArgumentError(f"features={features!r} takes no {name}. Received: {name}={value!r}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name} must be an int of at least 1. Received: {name}={value!r}")
    if features == "stft" and bins is not None and window is not None and bins < window:
        raise ArgumentError(
            f"bins (points of the transform) must be at least the window. Received: bins={bins}, window={window}"
        )


def feature_recipe(features: str, rate: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The features' settings with every default filled in."""
    if features == "waveform":
        return {"features": features}
    wanted = options["bins"] if features == "stft" and options["window"] is None else None
    window = options["window"] or wanted or 2 ** math.ceil(math.log2(rate * SECONDS))
    recipe = {"features": features, "hop": options["hop"] or max(1, window // 4)}
    if features == "cqt":
        octaves = min(MOST_OCTAVES, math.floor(math.log2(rate / 2 / LOWEST)))
        if octaves < 1:
            raise ArgumentError(f"a constant-Q transform from {LOWEST:.1f} Hz needs a rate above. Received: {rate} Hz")
        return recipe | {"bins": options["bins"] or BINS["cqt"], "octaves": octaves}
    bins = options["bins"] or BINS.get(features, window)
    recipe |= {"bins": bins, "window": window}
    if features == "mfcc":
        recipe["bands"] = max(bins, min(MFCC_BANDS, _most_bands(rate, window)))
    if features in ("mel", "mfcc"):
        _check_bands(recipe.get("bands", bins), rate, window)
    return recipe


def _filters_are_empty(bands: int, rate: int, window: int) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = need("librosa", "audio").filters.mel(sr=rate, n_fft=window, n_mels=bands)
    return bool((filters.max(axis=1) == 0).any())


def _most_bands(rate: int, window: int) -> int:
    """The most mel bands (a power of two) of which none is narrower than a bin of the transform."""
    bands = MFCC_BANDS
    while bands > 1 and _filters_are_empty(bands, rate, window):
        bands //= 2
    return bands


def _check_bands(bands: int, rate: int, window: int) -> None:
    if _filters_are_empty(bands, rate, window):
        raise ArgumentError(
            f"{bands} mel bands are too many for a window of {window} samples at {rate} Hz: some would hold no "
            f"frequency. Give fewer bins or a longer window"
        )


def feature_channels(recipe: Mapping[str, Any], channels: int) -> int:
    """Channels of a sample made from a waveform of so many."""
    return channels * int(recipe["bins"]) if recipe["features"] == "mfcc" else channels


def feature_names(recipe: Mapping[str, Any], channels: int) -> list[str] | None:
    """Names of a sample's channels, where they have some."""
    if recipe["features"] != "mfcc" or channels != 1:
        return None
    return [f"mfcc {number}" for number in range(recipe["bins"])]


def feature_axes(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The axes of a sample, with their spacing."""
    rate, features = recipe["rate"], recipe["features"]
    time = {"name": "time", "spacing": recipe.get("hop", 1) / rate, "unit": "s"}
    across = {
        "stft": {"name": "frequency", "spacing": rate / recipe["bins"], "unit": "Hz"} if features == "stft" else {},
        "mel": {"name": "mel band"},
        "cqt": {"name": "pitch", "spacing": 12 / recipe["bins"], "unit": "semitone"} if features == "cqt" else {},
    }
    return [time, across[features]] if features in across else [time]


def features_of(wave: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[np.float32]:
    """Features of a waveform (time, channels): (time, bins, channels), or with mfcc (time, channels * bins)."""
    height = {"stft": recipe["bins"] // 2 + 1, "cqt": recipe.get("octaves", 0) * recipe["bins"]}
    frames = 1 + len(wave) // recipe["hop"]
    check_claim((frames, height.get(recipe["features"], recipe["bins"]), wave.shape[1]), 8, recipe)
    # One thread: how many a library would take must not show in the bits.
    with warnings.catch_warnings(), _threads().limit(limits=1):
        # librosa warns of recordings shorter than a window, which it pads with silence.
        warnings.simplefilter("ignore")
        planes = [_COMPUTE[recipe["features"]](np.ascontiguousarray(channel), recipe).T for channel in wave.T]
    joined = np.concatenate(planes, axis=1) if recipe["features"] == "mfcc" else np.stack(planes, axis=-1)
    return np.ascontiguousarray(joined, dtype=np.float32)


@cache
def _threads() -> ThreadpoolController:
    need("librosa", "audio")  # First, so that the libraries it brings are known.
    return ThreadpoolController()


def _stft(wave: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    librosa = need("librosa", "audio")
    spectrum = librosa.stft(wave, n_fft=recipe["bins"], win_length=recipe["window"], hop_length=recipe["hop"])
    return _amplitude(spectrum)


def _mel(wave: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    librosa = need("librosa", "audio")
    power = librosa.feature.melspectrogram(
        y=wave, sr=recipe["rate"], n_fft=recipe["window"], hop_length=recipe["hop"], n_mels=recipe["bins"]
    )
    bands: NDArray[Any] = librosa.power_to_db(power, ref=1.0, top_db=None)
    return bands


def _mfcc(wave: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    coefficients: NDArray[Any] = need("librosa", "audio").feature.mfcc(
        y=wave,
        sr=recipe["rate"],
        n_mfcc=recipe["bins"],
        n_fft=recipe["window"],
        hop_length=recipe["hop"],
        n_mels=recipe["bands"],
    )
    return coefficients


def _cqt(wave: NDArray[Any], recipe: Mapping[str, Any]) -> NDArray[Any]:
    spectrum = need("librosa", "audio").cqt(
        wave,
        sr=recipe["rate"],
        hop_length=recipe["hop"],
        fmin=LOWEST,
        n_bins=recipe["octaves"] * recipe["bins"],
        bins_per_octave=recipe["bins"],
    )
    return _amplitude(spectrum)


def _amplitude(spectrum: NDArray[Any]) -> NDArray[Any]:
    level: NDArray[Any] = need("librosa", "audio").amplitude_to_db(np.abs(spectrum), ref=1.0, top_db=None)
    return level


_COMPUTE = {"stft": _stft, "mel": _mel, "mfcc": _mfcc, "cqt": _cqt}
