"""Train a network: arguments in, a run out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, optim, plots
from ..data import Normaliser, Split
from ..data.augment import Augmentation, composed
from ..errors import ArgumentError
from ..nn import Layer
from .arguments import (
    OPTIMIZERS,
    check_split,
    check_trainable,
    describe,
    divide,
    make_normaliser,
    make_optimizer,
    make_schedule,
    monitored,
    named,
    positive,
    whole,
)
from .budget import default_positions, split_shape
from .evaluation import measure
from .folder import BEST, CONFIG, CONFUSION, CURVES, LAST, LOG, Folder
from .model import Model
from .objective import Loss, Objective
from .progress import Progress
from .trainer import Line, Trainer


@dataclass
class Run:
    """What :func:`fit` gives back.

    Attributes
    ----------
    history : list of dict
        The lines of log.jsonl, one an epoch: its figures; ``seconds``, with the validation's; ``waited``, the seconds
        of these that training stood still until there was a next batch.
    best_epoch : int
        The epoch whose parameters ``model`` has.
    model : Model
        Ready to call on raw samples.
    metrics : dict or None
        The best epoch's figures on the validation part, as from :func:`evaluate`; None without validation.
    stopped : str
        Why it ended: "epochs" or "patience".
    out : Path or None
    paths : dict
        The files in ``out`` by name: config, log, last, best, and where matplotlib is installed curves and confusion.
    """

    history: list[Line]
    best_epoch: int
    model: Model
    metrics: dict[str, Any] | None
    stopped: str
    out: Path | None = None
    paths: dict[str, Path] = field(default_factory=dict)


def fit(
    net: Layer,
    train: Split,
    *,
    validation: float | Split | None = 0.1,
    by_group: bool = False,
    epochs: int = 20,
    out: str | os.PathLike[str] | None = None,
    positions: int | None = None,
    samples: int | None = None,
    oversize: str = "error",
    sizes: str = "mixed",
    optimizer: str | Mapping[str, Any] = "adamw",
    lr: float = 1e-3,
    weight_decay: float | None = None,
    schedule: str | Mapping[str, Any] = "cosine",
    loss: str | Loss | None = None,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | str | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    seed: int = 0,
    normalize: str | Normaliser | None = "channel",
    augment: Augmentation | str | Sequence[Augmentation | str] | None = None,
    monitor: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: Callable[[Line], Any] | None = None,
    progress: bool | Progress | None = None,
) -> Run:
    """Train a network on a split, and choose its best epoch on a part of that split.

    The same arguments give the same network to the bit, for any number of threads, in one go or interrupted and
    resumed as often as you like.

    Parameters
    ----------
    net : Layer
        Built for the data here if it isn't yet; one that is starts from the parameters it has. Afterwards it has those
        of the best epoch.
    train : Split
        What is learned from, such as ``data["train"]``.
    validation : float, Split or None
        The share of ``train`` that is held out to choose the best epoch (the same in every class), or a split of its
        own; never the test split. None trains on everything: the last epoch is then the best.
    by_group : bool
        Hold out whole groups (speakers, patients), so that none is in both parts.
    epochs : int
        Passes over the training part.
    out : path, optional
        The run folder: config.json, log.jsonl, last.ckpt, best.ckpt, curves.png, confusion.png. Without it nothing is
        written and an interrupted run is lost.
    positions, samples : int, optional
        Most positions (time steps, pixels, voxels) and most samples in a batch: memory follows ``positions``. If
        neither is given, there is room for 32 samples of mean size.
    oversize : "error" or "alone"
        A sample of more than ``positions`` is refused by name, or makes a batch by itself, which takes more memory.
    sizes : "mixed" or "grouped"
        Batches of samples of any size, or of like size: see :class:`convnd.data.batches.Batches`. Validation is read
        in order.
    optimizer : "adamw", "adam", "sgd", or a dict
        A dict adds arguments, e.g. ``{"name": "sgd", "momentum": 0.9, "nesterov": True}``; see :mod:`convnd.optim`.
    lr : float
        Learning rate, the highest of the schedule.
    weight_decay : float, optional
        The optimiser's own default unless given.
    schedule : "cosine", "constant", "one_cycle", or a dict
        Over all epochs. A dict adds numbers, e.g. ``{"name": "cosine", "warmup": 1}`` or ``{"name": "step_decay",
        "every": 10}``; ``warmup`` and ``every`` are in epochs. See :mod:`convnd.optim`.
    loss : "cross_entropy", "dice+ce", "mse" or a function, optional
        From the kind of target: cross-entropy for classes, of samples or of positions ("dice+ce" adds the soft Dice
        loss to it); mean squared error for numbers. A function takes (output Tensor, batch) and gives a Tensor of one
        number.
    label_smoothing : float
        Of the cross-entropy.
    class_weights : numbers (K,) or "balanced", optional
        Of the cross-entropy. "balanced" divides by how often a class occurs in the training part.
    clip : float, optional
        The largest norm of all gradients together.
    accumulate : int
        Batches whose gradients make one step.
    patience : int, optional
        Stop after so many epochs without improvement.
    seed : int
        Of the initial parameters, the validation part, the order of samples, the random layers and the augmentation.
    normalize : "channel", "sample", None or a Normaliser
        "channel" is fitted on the training part; see :class:`convnd.data.Normaliser`. Numbers that stand for words
        (``info.symbols``) stay as they are.
    augment : Augmentation, text, or a list of them, optional
        Random changes of the training part's samples, before they are normalised: see :mod:`convnd.data.augment`. The
        budgets of a batch hold for the largest that samples may be afterwards. Validation sees samples as they are.
    monitor : str, optional
        The validation figure that decides: "accuracy", "dice" (where they apply; the default), "mse" or "loss". Of
        epochs that tie, the one with the smaller loss.
    resume : bool
        Go on from ``out/last.ckpt``; start if there is none. ``epochs`` and ``patience`` may be others than before.
    overwrite : bool
        Replace a run that is in ``out``.
    on_epoch : function, optional
        Called with every line of the log, after the checkpoint was written.
    progress : bool or Progress, optional
        A bar where standard error is a terminal and plain lines elsewhere; False is silent.

    Returns
    -------
    Run

    Raises
    ------
    TrainingError
        A loss that isn't finite (``last.ckpt`` stays the last good one); a folder with another run; a full disk
        (what was saved before stays whole).
    ArgumentError, DataError, ShapeError
        Arguments outside their rules, data without targets, a network that doesn't fit the data.
    KeyboardInterrupt
        After Ctrl-C: the step under way is finished and saved first. A second Ctrl-C stops at once.

    Examples
    --------
    >>> import numpy as np
    >>> import convnd as cn
    >>> with cn.data.open(cn.data.japanese_vowels()) as file:
    ...     net = cn.models.get("small", classes=9, width=8)
    ...     run = cn.fit(net, file["train"], epochs=2, lr=0.01, progress=False)
    >>> [line["epoch"] for line in run.history], run.model.predict([np.zeros((7, 12))])[0] in run.model.classes
    ([1, 2], True)
    """
    if not isinstance(net, Layer):
        raise ArgumentError(f"net must be a convnd.nn.Layer; a Model's is its .net. Received: net={net!r}")
    seed = whole("seed", seed, least=0)
    check_split("train", train)
    part, held_out = divide(train, validation, by_group, seed)
    shape = split_shape(part)
    net.build(part.info.ndim, part.info.channels, seed=seed, shape=shape)
    check_trainable(net)
    objective = Objective.of(
        part, net, shape, loss=loss, label_smoothing=label_smoothing, class_weights=class_weights
    )
    change = None if augment is None else composed(augment)
    if positions is None and samples is None:
        positions = default_positions(part, change, held_out)
    settings: dict[str, Any] = {
        "epochs": whole("epochs", epochs),
        "positions": None if positions is None else whole("positions", positions),
        "samples": None if samples is None else whole("samples", samples),
        "oversize": oversize,
        "sizes": sizes,
        "optimizer": named("optimizer", optimizer, OPTIMIZERS, lr=lr, weight_decay=weight_decay),
        "schedule": named("schedule", schedule, optim.SCHEDULES, lr=lr),
        "clip": None if clip is None else positive("clip", clip),
        "accumulate": whole("accumulate", accumulate),
        "patience": None if patience is None else whole("patience", patience),
        "seed": seed,
        "normalize": normalize if isinstance(normalize, str) or normalize is None else "given",
        "augment": None if change is None else change.config(),
        "monitor": monitored(monitor, objective),
    }
    optimiser = make_optimizer(net, settings["optimizer"])
    rate = make_schedule(settings["schedule"], settings["epochs"], len(part))
    for checked, given in ((part, change), (held_out, None)):
        if checked is not None:  # refuses a sample above the budget
            checked.batches(
                settings["positions"], settings["samples"], seed=seed, oversize=oversize, augment=given, sizes=sizes
            )
    normaliser = make_normaliser(normalize, part)
    config = {
        "convnd": __version__,
        "network": net.config(),
        "dtype": str(net.parameters()[0].dtype),
        "objective": objective.config(),
        "settings": settings,
        "data": describe(part, held_out, shape),
        "normaliser": None if normaliser is None else normaliser.state(),
    }
    folder = None if out is None else Folder(out, config, resume=resume, overwrite=overwrite)
    trainer = Trainer(net, part, held_out, objective, optimiser, rate, normaliser, change, config, folder, on_epoch)
    trainer.run(progress)
    trainer.load_best()
    return _finish(trainer, Model(net, normaliser, config))


def _finish(trainer: Trainer, model: Model) -> Run:
    """The best epoch's figures, and the pictures."""
    place, folder = trainer.place, trainer.folder
    metrics = None
    if trainer.validation is not None:
        budget = {name: trainer.settings[name] for name in ("positions", "samples")}
        metrics = measure(
            trainer.net, trainer.validation, trainer.objective, trainer.normaliser, **budget
        ).result()
    run = Run(place.history, place.best_epoch, model, metrics, place.stopped or "epochs")
    if folder is not None:
        run.out = folder.path
        run.paths = {name: folder.file(file) for name, file in
                     (("config", CONFIG), ("log", LOG), ("last", LAST), ("best", BEST))}  # fmt: skip
        try:
            run.paths |= draw(folder.path, run, trainer.progress)
        except (OSError, ImportError) as error:  # a full disk, a broken matplotlib: the run itself is safe
            trainer.progress.line(f"no pictures: {error}")
    return run


def draw(out: Path, run: Run, progress: Progress) -> dict[str, Path]:
    """The pictures of a run, where matplotlib is installed; otherwise one line that says so."""
    if not plots.available():
        progress.line(plots.NOT_INSTALLED)
        return {}
    headline = run.model.config["settings"]["monitor"]
    paths = {"curves": plots.learning_curves(out / CURVES, run.history, headline, run.best_epoch)}
    if run.metrics is not None and "confusion" in run.metrics:
        paths["confusion"] = plots.confusion_matrix(
            out / CONFUSION, run.metrics["confusion"], run.model.classes, "validation part, best epoch"
        )
    return paths
