"""The run folder: what it holds, and who may write into it.

    config.json   the network, the settings, the data and its recipe
    log.jsonl     one JSON object an epoch
    last.ckpt     where the run is: everything that ``resume`` needs
    best.ckpt     the best epoch's parameters, normaliser and metrics
    *.png         learning curves and confusion matrix
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint, write_json, write_whole
from ..errors import TrainingError

CONFIG, LOG, LAST, BEST, CURVES, CONFUSION = (
    "config.json", "log.jsonl", "last.ckpt", "best.ckpt", "curves.png", "confusion.png",
)  # fmt: skip
OURS = (CONFIG, LOG, LAST, BEST, CURVES, CONFUSION)
# A run may be continued for more epochs or with another patience: these decide when it ends, not what it is.
MAY_CHANGE = ("settings.epochs", "settings.patience", "convnd")


class Folder:
    """A run's folder, claimed for one run."""

    def __init__(
        self, path: str | os.PathLike[str], config: Mapping[str, Any], *, resume: bool, overwrite: bool
    ) -> None:
        self.path = Path(path)
        self.config = config
        self.resumed: Checkpoint | None = None
        try:
            self._claim(resume, overwrite)
        except OSError as error:
            raise TrainingError(f"the run folder {self.path} can't be used: {error.strerror or error}") from error

    def _claim(self, resume: bool, overwrite: bool) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if self.file(CONFIG).exists():
            if resume:
                self._resume()
            elif not overwrite:
                raise TrainingError(
                    f"{self.path} holds a run already. resume=True (--resume) continues it, overwrite=True (--force) "
                    "replaces it; or choose another folder"
                )
        elif foreign := sorted(p.name for p in self.path.iterdir() if p.name[0] != "." and p.suffix != ".part"):
            raise TrainingError(
                f"{self.path} is neither empty nor a run of convnd: it holds {', '.join(foreign[:3])}. "
                "Choose a new or an empty folder"
            )
        if self.resumed is None:
            for name in OURS:
                for stale in (self.file(name), self.file(name + ".part")):
                    stale.unlink(missing_ok=True)
        write_json(self.file(CONFIG), self.config)

    def _resume(self) -> None:
        earlier = read_config(self.path)
        if differences := list(_differences(earlier, self.config)):
            raise TrainingError(f"{self.path} holds another run: " + "; ".join(differences[:5]))
        if self.file(LAST).exists():
            self.resumed = Checkpoint.read(self.file(LAST))
            self._rewrite_log(self.resumed.meta["history"])

    def file(self, name: str) -> Path:
        return self.path / name

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl, flushed."""
        try:
            with open(self.file(LOG), "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.file(LOG)} could not be written: {error.strerror}") from error

    def _rewrite_log(self, history: list[dict[str, Any]]) -> None:
        """The log up to the checkpoint: a run killed after it may have logged more than it kept."""
        write_whole(self.file(LOG), [(json.dumps(line, allow_nan=False) + "\n").encode() for line in history])


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"{folder} is not a run folder: there is no {path}") from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} can't be read: {error}") from error
    if not isinstance(config, dict) or not {"network", "settings", "data"} <= config.keys():
        raise TrainingError(f"{path} was not written by convnd: network, settings or data is missing")
    return config


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """What differs between two configurations, each by its path."""
    if name in MAY_CHANGE:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _differences(was, now, f"{name}[{number}]")
    elif old != new:
        yield f"{name} is {_shown(old)} there, {_shown(new)} now"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
