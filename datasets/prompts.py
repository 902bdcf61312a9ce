"""Telephone prompts: which of five languages is this? 2,780 spoken prompts and tones at 8 kHz, 0.2 to 86 s.

Source: the Asterisk core sounds, Debian packages asterisk-core-sounds-{en,es,fr,it,ru}-wav: English and Spanish by
Allison Smith, French by June Wallack, Italian by Carlo Flora, Russian by Maxim Topal (ivrvoice.ru); CC BY-SA 3.0, the
Russian ones CC BY 3.0. One voice a language, and one for two of them, so this tells voices as much as languages.

``apt-get download asterisk-core-sounds-{en,es,fr,it,ru}-wav``, then ``dpkg -x`` each into one folder (or into several
below one): there are usr/share/asterisk/sounds/<language>_<country>_<sex>_<voice>/<prompt>.wav. Prompts are named alike
in all languages: a prompt is a group, and no group is in training and test both. The folders ``silence`` (50 files
without sound) are passed over. One prompt, ``is`` in Russian, has no samples at all; it is reported.
"""

from __future__ import annotations

import csv
import re
import tempfile
from pathlib import Path

import click

from convnd import data
from convnd.errors import ConvndError, DataError

NAME = re.compile(r"(?:.*/)?(?P<language>[a-z]{2})_[A-Z]{2}_[^/]+/(?P<prompt>[^/]+(?:/[^/]+)*)\.wav")
CLASSES = ["en", "es", "fr", "it", "ru"]
SILENT = "silence/"
SOURCE = (
    "Asterisk core sounds 1.6.1, www.asterisk.org. Voices: Allison Smith (en, es), June Wallack (fr), Carlo Flora "
    "(it), Maxim Topal (ru)"
)


def find_prompts(folder: Path) -> list[tuple[str, str, str]]:
    """Path below the folder, language, and prompt."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    matches = [(name, NAME.fullmatch(name)) for name in names]
    found = [(name, match["language"], match["prompt"]) for name, match in matches if match]
    return [row for row in found if row[1] in CLASSES and not row[2].startswith(SILENT)]


@click.command(help="SOURCE: the folder that the packages were unpacked to. The group of a sample is its prompt.")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--test", default=0.2, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the prompts that is drawn as the split test, in all languages.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of that draw.")
@click.option("--features", default="waveform", show_default=True, type=click.Choice(["waveform", "mel", "mfcc"]))
def main(source: Path, out: Path, test: float, seed: int, features: str) -> None:  # fmt: skip
    try:
        prompts = find_prompts(source)
        if not prompts:
            raise DataError(f"{source} holds no sounds/<language>_<country>_<sex>_<voice>/<prompt>.wav")
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder, "prompts.csv")
            with manifest.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("path", "label", "group"), *prompts])
            report = data.prepare_audio(
                source,
                out,
                features=features,
                label_from=manifest,
                classes=CLASSES,
                split={"test": test},
                seed=seed,
                by_group=True,
                origin=SOURCE,
                licence="CC BY-SA 3.0; the Russian prompts CC BY 3.0",
            )
        for failure in report.failed:
            click.echo(f"left out: {failure.path}: {failure.reason}", err=True)
    except (ConvndError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
