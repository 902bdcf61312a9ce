"""The loop: steps, epochs, and the place in them, which a checkpoint holds whole.

What a run computes is a function of its configuration alone: the order of the samples follows from
(seed, epoch), their augmentation from (seed, epoch, sample), random layers from (seed, step, sample). So a
run that stops anywhere between two steps and goes on from its checkpoint computes the very bits of
one that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from ..checkpoint import Checkpoint
from ..data import Batch, Normaliser, Split
from ..data.augment import Augmentation
from ..errors import DataError, TrainingError
from ..metrics import Metric, better
from ..nn import Layer
from ..optim import Optimizer, clip_grad_norm
from ..optim.schedules import Schedule
from ..random import Key
from ..tensor import Tensor
from .evaluation import measure
from .folder import BEST, LAST, Folder
from .interrupt import Interrupt
from .names import in_file, not_finite
from .objective import Objective
from .progress import Progress, choose, epoch_line

SAVE_EVERY = 600.0  # seconds after which a long epoch is saved in its middle
Line = dict[str, Any]


@dataclass
class Place:
    """Where a run is; with the network's and the optimiser's arrays, all that a checkpoint needs."""

    epoch: int = 1  # the one under way
    batch: int = 0  # batches done in it
    step: int = 0  # batches done since the beginning
    samples: int = 0  # seen in this epoch
    positions: int = 0  # seen in this epoch
    seconds: float = 0.0  # spent in this epoch
    waited: float = 0.0  # of these, until there was a next batch
    sums: dict[str, Any] | None = None  # the running metric of this epoch
    history: list[Line] = field(default_factory=list)
    best_epoch: int = 0
    best: list[float | None] = field(default_factory=lambda: [None, None])  # the figure watched, and the loss
    stopped: str | None = None  # why the run ended: "epochs" or "patience"


@dataclass
class Trainer:
    """A run, everything in it built and checked, ready to go on from its place."""

    net: Layer
    train: Split
    validation: Split | None
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    normaliser: Normaliser | None
    augment: Augmentation | None
    config: dict[str, Any]
    folder: Folder | None
    on_epoch: Callable[[Line], Any] | None = None
    place: Place = field(default_factory=Place)
    best_state: dict[str, Any] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.settings: dict[str, Any] = self.config["settings"]
        if self.folder is not None and self.folder.resumed is not None:
            self._restore(self.folder.resumed)

    def run(self, progress: bool | Progress | None) -> None:
        """Train until the epochs are done, patience is out, or Ctrl-C is heard."""
        epochs = self.settings["epochs"]
        self.place.stopped = self._why_stop()  # a resumed run may have been given more epochs
        done = (self.place.epoch - 1) * len(self.train) + self.place.samples
        self.progress = choose(progress, epochs * len(self.train), done, epochs)
        try:
            # Overflow is looked for, and reported by epoch and step: NumPy's warnings would only come before.
            with Interrupt() as self.interrupt, np.errstate(all="ignore"):
                while self.place.stopped is None:
                    self._epoch()
        finally:
            self.progress.close()

    # One epoch

    def _epoch(self) -> None:
        place = self.place
        metric = self.objective.metric()
        if place.sums is not None:
            metric.load(place.sums)
        self._steps(metric)
        training_seconds = place.seconds
        started = time.monotonic()
        line: Line = {"epoch": place.epoch, "step": place.step, **metric.brief()}
        if self.validation is not None:
            checked = measure(
                self.net, self.validation, self.objective, self.normaliser, **self._budget(), between=self._heed
            )
            line |= {f"val_{name}": value for name, value in checked.brief().items()}
            if line["val_loss"] is None:
                raise DataError("the validation part holds no label that counts: choose another, or validation=None")
            if not math.isfinite(line["val_loss"]):
                raise self._diverged(f"the validation loss is {line['val_loss']} after epoch {place.epoch}")
        line["lr"] = self.optimizer.lr
        line["seconds"] = round(place.seconds + time.monotonic() - started, 3)
        line["waited"] = round(place.waited, 3)
        line["positions_per_second"] = round(place.positions / max(training_seconds, 1e-9))
        self._finish_epoch(line)

    def _steps(self, metric: Metric) -> None:
        """The rest of the epoch's batches."""
        place, accumulate = self.place, self.settings["accumulate"]
        batches = self.train.batches(
            **self._budget(), oversize=self.settings["oversize"], seed=self.settings["seed"], epoch=place.epoch,
            start=place.batch, augment=self.augment, sizes=self.settings["sizes"],
        )
        stream = cast("Generator[Batch, None, None]", iter(batches))
        left, inside, weight = len(batches), 0, 0.0
        started = time.monotonic()
        try:
            for batch in self._timed(stream):
                if not inside:
                    self.optimizer.lr = self._rate()
                weight += self._gradients(batch, metric, alone=accumulate == 1)
                inside, left = inside + 1, left - 1
                place.batch, place.step = place.batch + 1, place.step + 1
                place.samples += len(batch)
                place.positions += batch.x.layout.positions
                self.progress.batch(len(batch), place.epoch, metric.brief()["loss"] or 0.0)
                if inside == accumulate or not left:
                    self._update(None if accumulate == 1 else weight)
                    inside, weight = 0, 0.0
                    now = time.monotonic()
                    place.seconds, started = place.seconds + now - started, now
                    place.sums = metric.state()
                    self._heed()
                    if now - self.saved_at > SAVE_EVERY:
                        self._save()
        finally:
            stream.close()

    def _timed(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of a stream, and how long the loop stands still for them."""
        while True:
            started = time.monotonic()
            batch = next(stream, None)
            if batch is None:
                return
            self.place.waited += time.monotonic() - started
            yield batch

    def _gradients(self, batch: Batch, metric: Metric, alone: bool) -> float:
        """Forward and back for one batch; what its mean loss is a mean of."""
        place, settings = self.place, self.settings
        x = batch.x if self.normaliser is None else self.normaliser.apply(batch.x)
        key = Key(settings["seed"], place.step, samples=batch.numbers)
        with in_file(self.train, batch):
            output = self.net(Tensor(x), training=True, rng=key)
            loss = self.objective.loss(output, batch)
        value = float(loss)
        if not math.isfinite(value):
            raise self._not_finite(value, batch)
        weight = self.objective.count(metric, output, batch, value)
        # Accumulated gradients are weighted as one large batch would: by what each mean is a mean of.
        (loss if alone else loss * weight).backward()
        return weight

    def _update(self, weight: float | None) -> None:
        """One step of the optimiser with the gradients gathered, and the weight they are to be divided by."""
        if weight:
            for parameter in self.optimizer.parameters:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad * parameter.values.dtype.type(1.0 / weight)
        if self.settings["clip"] is not None:
            clip_grad_norm(self.optimizer.parameters, self.settings["clip"])
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _rate(self) -> float:
        """The learning rate here. A schedule counts samples: the number of steps in an epoch may differ."""
        return self.schedule((self.place.epoch - 1) * len(self.train) + self.place.samples)

    def _budget(self) -> dict[str, Any]:
        return {name: self.settings[name] for name in ("positions", "samples")}

    # The end of an epoch

    def _finish_epoch(self, line: Line) -> None:
        place = self.place
        line["best"] = self._is_best(line)
        if line["best"]:
            place.best_epoch = place.epoch
        place.history.append(line)
        place.epoch += 1
        place.batch = place.samples = place.positions = 0
        place.seconds, place.waited, place.sums = 0.0, 0.0, None
        place.stopped = self._why_stop()
        self._keep(line)
        self.progress.line(epoch_line(line, self.settings["epochs"]))
        if self.on_epoch is not None:
            self.on_epoch(line)

    def _why_stop(self) -> str | None:
        """Whether the run is over, and why."""
        done, patience = self.place.epoch - 1, self.settings["patience"]
        if patience is not None and done - self.place.best_epoch >= patience:
            return "patience"
        return "epochs" if done >= self.settings["epochs"] else None

    def _is_best(self, line: Line) -> bool:
        """Whether the figure watched improved, or stayed while the loss improved; without validation: always.

        The first epoch is the best so far whatever its figures, so that there is always one to keep.
        """
        if self.validation is None:
            return True
        name = self.settings["monitor"]
        value, loss = line[f"val_{name}"], line["val_loss"]
        best, best_loss = self.place.best
        improved = better(value, best, name) or (value == best and better(loss, best_loss, "loss"))
        if improved or not self.place.best_epoch:
            self.place.best = [value, loss]
            return True
        return False

    def _keep(self, line: Line) -> None:
        """Put the epoch on the disk: the best, the log, and last the checkpoint that says it is done."""
        self._refuse_infinite_parameters()
        if self.folder is None:
            if line["best"]:
                self.best_state = self.net.state()
            return
        if line["best"]:
            meta = {"config": self.config, "epoch": line["epoch"], "line": line}
            Checkpoint(_prefixed("net", self.net.state()), meta).save(self.folder.file(BEST))
        self.folder.log(line)
        self._save()

    # Checkpoints

    def _save(self) -> None:
        if self.folder is None:
            return
        self._refuse_infinite_parameters()
        arrays = _prefixed("net", self.net.state()) | _prefixed("optimizer", self.optimizer.state())
        Checkpoint(arrays, {"config": self.config, **asdict(self.place)}).save(self.folder.file(LAST))
        self.saved_at = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        meta = checkpoint.meta
        self.net.load_state(checkpoint.part("net"))
        self.optimizer.load_state(checkpoint.part("optimizer"))
        self.place = Place(**{name: meta[name] for name in asdict(Place()) if name in meta})

    def load_best(self) -> None:
        """Give the network the parameters of the best epoch."""
        if self.folder is None:
            self.net.load_state(self.best_state)
        else:
            self.net.load_state(Checkpoint.read(self.folder.file(BEST)).part("net"))

    def _heed(self) -> None:
        """Stop here, with a checkpoint, if Ctrl-C was pressed."""
        if not self.interrupt.asked:
            return
        if self.folder is None:
            raise KeyboardInterrupt("stopped; the run has no folder, so nothing was saved")
        self._save()
        raise KeyboardInterrupt(
            f"stopped in epoch {self.place.epoch} after {self.place.batch} batches, saved in {self.folder.file(LAST)}: "
            "the same call with resume=True (--resume) goes on from here"
        )

    # Numbers that are none

    def _not_finite(self, value: float, batch: Batch) -> TrainingError:
        where = f"the loss is {value} in epoch {self.place.epoch}, step {self.place.step + 1}"
        if error := not_finite(self.train, batch):
            return TrainingError(f"{where}: {error}. {self._left()}")
        return self._diverged(where)

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what}. Usual causes: a learning rate that is too high (lr={self.settings['optimizer']['lr']}; try a "
            f"tenth, or clip=1), inputs far from unit size (normalize={self.settings['normalize']!r}), a loss of your "
            f"own that divides by zero. {self._left()}"
        )

    def _refuse_infinite_parameters(self) -> None:
        """A checkpoint with a NaN in it is worth nothing: keep the one before."""
        for name, parameter in self.net.named_parameters().items():
            if not np.isfinite(parameter.values).all():
                raise self._diverged(f"{name} is no longer finite after step {self.place.step}")

    def _left(self) -> str:
        if self.folder is None:
            return "Nothing was saved: the run has no folder"
        if self.folder.file(LAST).exists():
            return f"The last good checkpoint is {self.folder.file(LAST)}"
        return "It is the first epoch, so there is no checkpoint yet"


def _prefixed(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
