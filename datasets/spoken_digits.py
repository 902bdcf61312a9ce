"""Free Spoken Digit Dataset: ten digits by six speakers at 8 kHz, 0.14 to 2.3 s: raw waveforms, or log-mel bands.

Source: Z. Jackson et al., "Free Spoken Digit Dataset" (2018), doi:10.5281/zenodo.1342401, CC BY-SA 4.0.
A folder of ``{digit}_{speaker}_{index}.wav``; by the set's own convention indices 0 to 4 are the test set.
"""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.data.prepare import features as spectra
from convnd.data.prepare.kind import LARGEST
from convnd.errors import ConvndError, DataError

RATE = 8000
SCALE = 1 / 32768
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")
CLASSES = tuple(str(digit) for digit in range(10))
SOURCE = "Free Spoken Digit Dataset. Z. Jackson et al. (2018). doi:10.5281/zenodo.1342401"


def read_wave(path: Path) -> NDArray[Any]:
    """The waveform (time, 1), int16."""
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getframerate(), file.getsampwidth(), file.getnchannels())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path} isn't a WAV file, or is damaged: {error}") from None
    if form != (RATE, 2, 1):
        raise DataError(f"{path} must have {RATE} Hz, 2 bytes a sample and 1 channel. Received: {form}")
    return np.frombuffer(content, dtype="<i2").reshape(-1, 1)


def choose_split(index: int, test: str) -> str:
    """The split of a clip: with test "5-9", the official test clips stay apart from training and from "test"."""
    if test == "0-4":
        return "test" if index < 5 else "train"
    return "official_test" if index < 5 else "test" if index < 10 else "train"


def describe(features: str) -> dict[str, Any]:
    """What the data file is to be, and the recipe that ``convnd predict`` prepares new recordings by."""
    recipe = {"kind": "audio", "rate": RATE, "mono": True}
    if features == "waveform":
        return {
            "ndim": 1, "dtype": "int16", "scale": SCALE, "axes": [{"name": "time", "spacing": 1 / RATE, "unit": "s"}],
            "recipe": recipe | {"dtype": "int16", "scale": SCALE},
        }  # fmt: skip
    recipe |= {"dtype": "float32", **spectra.feature_recipe(features, RATE, dict.fromkeys(("hop", "bins", "window")))}
    return {"ndim": 2, "dtype": "float32", "axes": spectra.feature_axes(recipe), "recipe": recipe}


def values_of(wave: NDArray[Any], recipe: dict[str, Any]) -> NDArray[Any]:
    """A sample as stored: the waveform (time, 1), or its features (time, bands, 1)."""
    if "features" not in recipe:
        return wave
    return spectra.features_of(wave.astype(np.float32) * np.float32(SCALE), recipe | {"largest": LARGEST})


def prepare(folder: Path, out: Path, test: str, features: str = "waveform") -> None:
    """Write the data file from the folder of recordings."""
    found = [(match, path) for path in sorted(folder.glob("*.wav")) if (match := NAME.fullmatch(path.name))]
    if not found:
        raise DataError(f"{folder} holds no files named {{digit}}_{{speaker}}_{{index}}.wav")
    made = describe(features)
    with data.create(
        out, channels=1, classes=CLASSES, source=SOURCE, licence="CC BY-SA 4.0", resume=True, **made
    ) as writer:
        for match, path in found:
            if path.name not in writer.done:
                split = choose_split(int(match["index"]), test)
                values = values_of(read_wave(path), made["recipe"])
                writer.append(values, label=match["digit"], split=split, name=path.name, group=match["speaker"])


@click.command(help="SOURCE: the folder of {digit}_{speaker}_{index}.wav. The group of a clip is its speaker.")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--test",
    type=click.Choice(["5-9", "0-4"]),
    default="5-9",
    show_default=True,
    help="Indices of the clips, of every digit and speaker, that make the split test. 0-4 is the set's own convention; "
    "with 5-9 clips 0-4, where there are any, go into a split official_test. All others go into train.",
)
@click.option(
    "--features",
    type=click.Choice(["waveform", "mel"]),
    default="waveform",
    show_default=True,
    help="mel: 64 log-mel bands in dB of windows of 32 ms, a quarter of that apart (by librosa).",
)
def main(source: Path, out: Path, test: str, features: str) -> None:
    try:
        prepare(source, out, test, features)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
