"""Recordings: waveforms of any length, of one sampling rate, or features of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, DataError
from ..sources import need
from . import features as spectra
from .items import Report
from .kind import Kind, Loaded, Look, Options, Plan, Recipe, check_claim, check_held, majority
from .pipeline import Common, prepare_files
from .tracks import SUFFIXES as TRACKS
from .tracks import read_track

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".opus", ".w64", ".rf64", ".caf")
# Formats whose samples are int16 without loss.
SHORT = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW")
SCALE = 1 / 32768
# Containers whose chunks have a name and a size: the byte order of the sizes, and the chunk that has the samples.
CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"), b"RIFX": ("big", b"data"), b"FORM": ("big", b"SSND"),
}  # fmt: skip
# From here on a size says that whoever wrote the file to a pipe didn't know: SoX writes 0x7F000000 and more. And bytes
# that may be missing: some writers count what fills the chunk up.
UNKNOWN_SIZE, PADDING = 0x7E000000, 8
# Frames that are mixed or made floats at a time.
BLOCK = 1 << 18
# No coding makes fewer bytes of silence: a FLAC frame of 65,535 samples has 11.
SAMPLES_A_BYTE = 6000


def prepare_audio(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rate: int | None = None,
    mono: bool = True,
    features: str = "waveform",
    hop: int | None = None,
    bins: int | None = None,
    window: int | None = None,
    **common: Unpack[Common],
) -> Report:
    """Make a data file of the recordings in a folder.

    Waveforms keep their length. Where all sources have at most 16 bits, samples are stored as int16 and read
    as physical values in [-1, 1); otherwise as float32. Needs the extra ``audio``.

    Features are librosa's, computed of the waveform at ``rate`` and stored as float32. Frames are centred: frame t is
    around sample ``t * hop``, and there are ``1 + samples // hop`` of them, however short the recording.

    ============  =======================  ==================================================================
    ``features``  a sample                 what
    ============  =======================  ==================================================================
    waveform      (time, channels)         the samples
    stft          (time, frequency, ...)   ``amplitude_to_db(abs(stft), ref=1, top_db=None)``, bins // 2 + 1 high
    mel           (time, bins, channels)   ``power_to_db(melspectrogram, ref=1, top_db=None)``
    mfcc          (time, bins * channels)  ``librosa.feature.mfcc``: coefficients are channels on one axis, time
    cqt           (time, pitch, channels)  ``amplitude_to_db(abs(cqt), ref=1, top_db=None)`` from C1 (32.7 Hz) up
    ============  =======================  ==================================================================

    dB are relative to a full-scale amplitude of 1, with a floor of -100 dB, not to a recording's own maximum: equal
    sounds have equal values in every recording.

    Parameters
    ----------
    source : path
        Folder; WAV, FLAC, Ogg, MP3, AIFF, AU, Opus, W64, RF64 and CAF files in it and below are taken, sorted by name.
    rate : int, optional
        Sampling rate in Hz; other rates are resampled (soxr, "HQ"). Without it all must have the same.
    mono : bool
        Average the channels. Otherwise files must have as many channels as most of them.
    features : "waveform", "stft", "mel", "mfcc" or "cqt"
    hop : int, optional
        Samples from one frame to the next; by default a quarter of the window.
    bins : int, optional
        stft: points of the transform (by default the window's); mel: bands (64); mfcc: coefficients (20); cqt: bins an
        octave (12), for as many octaves as the rate has, 7 at most.
    window : int, optional
        Length of the Hann window in samples; by default the power of two from 32 ms up (512 at 16 kHz). A constant-Q
        transform has windows of its own.
    **common
        What all kinds take: ``label_from``, ``pattern``, ``labels_from``, ``classes``, ``label_values``, ``ignore``,
        ``split``, ``seed``, ``by_group``, ``workers``, ``strict``, ``resume``, ``progress``, ``looking``, ``largest``,
        ``origin``, ``licence``; see :func:`convnd.data.prepare.pipeline.prepare_files`. ``labels_from`` takes label
        tracks: ``.npy`` and ``.csv`` with a class number a sample or a frame, or ``.csv`` and Audacity's ``.txt`` with
        start and end in seconds and a class; positions in no interval have class 0.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; rates that differ without ``rate``; soundfile, soxr or librosa missing.

    Examples
    --------
    >>> import soundfile
    >>> for name in ("hum/a", "hum/b", "buzz/c"):
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     soundfile.write(name + ".wav", np.zeros(800, "int16"), 8000)
    >>> report = prepare_audio(".", "sounds.h5")
    >>> report.samples, report.failed
    (3, [])
    """
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise ArgumentError(f"rate must be an int of at least 1 (Hz). Received: rate={rate!r}")
    spectra.check_features(features, hop, bins, window)
    options = {"rate": rate, "mono": bool(mono), "features": features, "hop": hop, "bins": bins, "window": window}
    if features != "waveform":
        need("librosa", "audio")
    return prepare_files(KIND, source, out, options, **common)


def look(path: Path, options: Options) -> Look:
    """Rate, channels, frames and coding of a recording."""
    if not path.stat().st_size:
        raise DataError("it is empty")
    with _opened(path, options) as file:
        return Look({"rate": file.samplerate, "channels": file.channels, "short": file.subtype in SHORT})


@contextmanager
def _opened(path: Path, given: Mapping[str, Any]) -> Iterator[Any]:
    """The open sound file, with at least one sample and not too many."""
    soundfile = need("soundfile", "audio")
    try:
        # As bytes: names needn't be text.
        with soundfile.SoundFile(os.fsencode(path)) as file:
            claimed = (file.frames, file.channels)
            check_claim(claimed, 4, given)
            check_held(claimed, file.frames / SAMPLES_A_BYTE, path.stat().st_size)
            if not file.frames:
                raise DataError("it holds no samples: a sample must have at least one position")
            _refuse_cut(path)
            yield file
    except soundfile.LibsndfileError as error:
        raise DataError(error.error_string) from None


def _refuse_cut(path: Path) -> None:
    """WAV and AIFF say how long they are, and libsndfile takes them for shorter if they end before."""
    held = path.stat().st_size
    with path.open("rb") as file:
        order, wanted = CHUNKED.get(file.read(12)[:4], ("little", b""))
        while wanted and len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], order)
            if head[:4] == wanted:
                there = held - file.tell()
                if there + PADDING <= size < UNKNOWN_SIZE:
                    raise DataError(f"it was cut: it says that it has {size} bytes of samples, and {there} are there")
                return
            file.seek(size + size % 2, os.SEEK_CUR)


def plan(looks: Sequence[Look], options: Options) -> Plan:
    """How these recordings, and new ones after them, become samples."""
    rate = options["rate"] or _common_rate(looks)
    channels = 1 if options["mono"] else majority(look.facts["channels"] for look in looks)
    refused = {} if options["mono"] else _refuse_channels(looks, channels)
    name = options["features"]
    short = name == "waveform" and all(look.facts["short"] for look in looks if look.name not in refused)
    recipe = {
        "rate": rate,
        "mono": options["mono"],
        "dtype": "int16" if short else "float32",
        **spectra.feature_recipe(name, rate, options),
    }
    return Plan(
        recipe=recipe,
        ndim=spectra.FEATURES[name],
        channels=spectra.feature_channels(recipe, channels),
        dtype=recipe["dtype"],
        axes=spectra.feature_axes(recipe),
        channel_names=spectra.feature_names(recipe, channels),
        scale=SCALE if short else None,
        refused=refused,
    )


def _common_rate(looks: Sequence[Look]) -> int:
    rate: int = looks[0].facts["rate"]
    for look in looks:
        if look.facts["rate"] != rate:
            raise DataError(
                f"the recordings have different sampling rates: {looks[0].name} has {rate} Hz, {look.name} has "
                f"{look.facts['rate']} Hz. Give the one to resample to: rate={rate}"
            )
    return rate


def _refuse_channels(looks: Sequence[Look], channels: int) -> dict[str, str]:
    return {
        look.name: f"it has {look.facts['channels']} channels, and most files have {channels}"
        for look in looks
        if look.facts["channels"] != channels
    }


def load(path: Path, recipe: Recipe) -> Iterator[Loaded]:
    """One sample: the waveform as stored, (time, channels) of the recipe's dtype, or its features."""
    wave, frames = _read(path, recipe)
    facts = {"frames": frames, "samples": len(wave)}
    if recipe.get("features", "waveform") != "waveform":
        if not np.isfinite(wave).all():
            raise DataError("values must be finite, and its waveform isn't")
        wave = spectra.features_of(wave, recipe)
    yield Loaded(wave, facts=facts)


def _read(path: Path, recipe: Recipe) -> tuple[NDArray[Any], int]:
    """The waveform, (time, channels) of the recipe's dtype at its rate, and the frames that the file has."""
    with _opened(path, recipe) as file:
        short = recipe["dtype"] == "int16"
        # libsndfile cuts what has more bits than 16 off; it is rounded here instead.
        exact = short and file.subtype in SHORT
        rate, channels = file.samplerate, file.channels
        # At once: soundfile seeks after each read, and MP3 decodes a little differently from there.
        wave = file.read(dtype="int16" if exact else "float32", always_2d=True)
        if file.format == "FLAC" and len(wave) < file.frames:
            raise DataError(f"it was cut: it says that it has {file.frames} frames, and {len(wave)} are there")
    frames, mixed = len(wave), recipe["mono"] and channels > 1
    if not frames:
        raise DataError("it holds no samples: a sample must have at least one position")
    if mixed or (exact and rate != recipe["rate"]):
        wave = _as_floats(wave, mixed)
    if rate != recipe["rate"]:
        check_claim((-(-frames * recipe["rate"] // rate), wave.shape[1]), 4, recipe)
        wave = need("soxr", "audio").resample(wave, rate, recipe["rate"], quality="HQ").reshape(-1, wave.shape[1])
    if short and wave.dtype != np.int16:
        if not np.isfinite(wave).all():
            raise DataError("values must be finite, and its waveform isn't")
        wave /= np.float32(SCALE)
        np.rint(wave, out=wave)
        wave = wave.clip(-32768, 32767, out=wave).astype(np.int16)
    return wave, frames


def _as_floats(wave: NDArray[Any], mixed: bool) -> NDArray[np.float32]:
    """Physical values, the channels averaged if they are to be: a block at a time, so that nothing else is as large."""
    result = np.empty((len(wave), 1 if mixed else wave.shape[1]), dtype=np.float32)
    for start in range(0, len(wave), BLOCK):
        block = wave[start : start + BLOCK]
        if block.dtype == np.int16:
            block = block.astype(np.float32) * np.float32(SCALE)
        result[start : start + BLOCK] = block.mean(axis=1, keepdims=True) if mixed else block
    return result


def load_labels(path: Path, recipe: Recipe, loaded: Loaded) -> NDArray[Any]:
    """A class number for every position in time; with features of two axes (time, 1)."""
    count = loaded.values.shape[0]
    samples = loaded.facts["samples"]
    # Where each position lies, in samples from the start: a frame's is its centre.
    places = np.arange(count) * recipe.get("hop", 1)
    track = read_track(path, recipe, places / recipe["rate"], (loaded.facts["frames"], samples, count))
    # A track of another length than the positions' goes through the whole recording all the same.
    labels = track[np.minimum(places * len(track) // samples, len(track) - 1)] if len(track) != count else track
    return labels.reshape(-1, *[1] * (loaded.values.ndim - 2))


KIND = Kind(
    name="audio",
    suffixes=SUFFIXES,
    look=look,
    plan=plan,
    load=load,
    load_labels=load_labels,
    label_suffixes=TRACKS,
    packages=(("soundfile", "audio"),),
)


