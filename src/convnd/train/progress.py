"""What a run says while it works: a bar on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Told of every batch and every epoch."""

    def batch(self, samples: int, epoch: int, loss: float) -> None:
        """A batch of so many samples is done; ``loss`` is the epoch's mean so far."""

    def line(self, text: str) -> None:
        """Something to say in a line of its own."""

    def close(self) -> None:
        """The run is over, however it ended."""


class Silent:
    """Says nothing."""

    def batch(self, samples: int, epoch: int, loss: float) -> None: ...

    def line(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """Lines only: for files, pipes and notebooks."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Silent):
    """One bar for the whole run, so that its estimate is the run's; lines are printed above it."""

    def __init__(self, stream: TextIO, length: int, done: int, epochs: int) -> None:
        import click

        self.stream, self.epochs = stream, epochs
        self.bar: Any = click.progressbar(
            length=length, file=stream, item_show_func=lambda item: item, width=24, update_min_steps=1
        )
        self.bar.__enter__()
        self.bar.update(done)

    def batch(self, samples: int, epoch: int, loss: float) -> None:
        self.bar.update(samples, f"epoch {epoch}/{self.epochs}  loss {loss:.4f}")

    def line(self, text: str) -> None:
        # Back to the line's start and erase the bar: the next batch draws it again below.
        print(f"\r\x1b[K{text}", file=self.stream, flush=True)

    def close(self) -> None:
        self.bar.__exit__(None, None, None)


def choose(progress: bool | Progress | None, length: int, done: int, epochs: int) -> Progress:
    """The caller's own; none for False; else a bar where standard error is a terminal, lines elsewhere."""
    if progress is False:
        return Silent()
    if progress is not None and progress is not True:
        return progress
    stream = sys.stderr
    return Bar(stream, length, done, epochs) if stream.isatty() else Lines(stream)


def epoch_line(line: Mapping[str, Any], epochs: int) -> str:
    """An epoch's figures for people."""
    parts = [f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"]
    for name, value in line.items():
        if isinstance(value, float) and name not in ("seconds", "waited", "lr"):
            parts.append(f"{name} {value:.4f}")
    parts.append(f"lr {line['lr']:.2g}")
    parts.append(f"{line['seconds']:.1f} s")
    if line["best"] and "val_loss" in line:
        parts.append("best so far")
    return "  ".join(parts)
