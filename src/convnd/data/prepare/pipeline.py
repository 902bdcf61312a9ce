"""The pipeline that prepares all kinds: find, look at headers, plan, then load in workers and write in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from ...errors import ArgumentError, ConvndError, DataError
from ..sources import need
from ..writer import Writer, create
from .crew import Crew, usable_cpus
from .find import find_items
from .items import Item, Report, stem_of
from .kind import LARGEST, Fault, Kind, Look, Plan
from .splits import assign_splits, check_shares, class_names
from .tasks import HeaderJob, LoadJob, Sample, Wanted, load_job, look_job, survey_job

Progress = Callable[[int, int, str], None]
# Small files go to a worker together: so many, or of so many bytes.
JOB_FILES, JOB_BYTES = 32, 1 << 20
# Below this many files a worker, starting one takes longer than it saves.
FILES_A_WORKER = 32


class Common(TypedDict, total=False):
    """The arguments that all kinds share: those of :func:`prepare_files`."""

    label_from: str | os.PathLike[str] | None
    pattern: str | None
    labels_from: str | os.PathLike[str] | None
    classes: Sequence[str] | int | None
    label_values: Sequence[int] | None
    ignore: int | None
    split: Mapping[str, float] | None
    seed: int
    by_group: bool
    workers: int | None
    strict: bool
    resume: bool
    progress: Progress | None
    looking: Progress | None
    largest: int
    origin: str | None
    licence: str | None


def prepare_files(
    kind: Kind,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Mapping[str, Any],
    *,
    label_from: str | os.PathLike[str] | None = "folder",
    pattern: str | None = None,
    labels_from: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | int | None = None,
    label_values: Sequence[int] | None = None,
    ignore: int | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    by_group: bool = False,
    workers: int | None = None,
    strict: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    looking: Progress | None = None,
    largest: int = LARGEST,
    origin: str | None = None,
    licence: str | None = None,
) -> Report:
    """Make a data file of the files below a folder.

    The file has the same bytes for any number of workers, and after any interruption that was continued. Workers are
    programs of their own: a script that calls this needs no ``if __name__ == "__main__"``. Memory: what
    ``create`` takes, 64 MiB of results that wait for their turn, and in every worker the sample at hand.

    Parameters
    ----------
    kind : Kind
    source : path
        A folder: files of the kind's endings in it and below are taken, sorted by name. Hidden ones aren't; links that
        lead out of it are reported. Or one file.
    out : path
        The data file to make.
    options : dict
        The kind's own options.
    label_from : "folder", "name", a CSV file, or None
        Class of a sample: the name of the folder it lies in; the group ``label`` of ``pattern``; the column ``label``
        of a manifest, a table with the columns path (from ``source``), label, split, weight, group, labels (a file of
        labels per position), of which only path must be there; or none.
    pattern : str, optional
        Regular expression searched for in the path below ``source``; its groups ``label``, ``split`` and ``group`` are
        used, e.g. ``(?P<label>[0-9])_(?P<group>[a-z]+)_``.
    labels_from : folder, or a name with ``{stem}``
        Labels per position (masks, label tracks), a file for every sample: in a folder whose files are named as the
        samples are but for the ending, or beside the sample, ``"{stem}_mask.png"``. Then there is no class a sample.
    classes : list of str, or int, optional
        Names of the classes in their order, or how many there are. Without it class names are the labels that occur,
        sorted; labels per position stay without names.
    label_values : list of int, optional
        What stands for class 0, 1, ... in files of labels per position: ``[0, 255]`` for masks of black and white.
    ignore : int, optional
        The label (after ``label_values``) that means "no label".
    split : dict, optional
        Shares of splits beside "train", e.g. ``{"test": 0.2, "val": 0.1}``, drawn at random with ``seed``, the same
        share in every class. A split from pattern, manifest or the files themselves comes first.
    by_group : bool
        Tear no group (speaker, patient) apart. The groups come from the pattern or the manifest.
    workers : int, optional
        Processes that read files; 1 reads in this one. By default one for every processor, fewer for few files.
    strict : bool
        Stop at the first file that can't be used, instead of reporting all of them at the end.
    resume : bool
        Continue where an interrupted preparation stopped. What is done isn't loaded again.
    progress, looking : callable, optional
        Called as ``progress(samples done, samples in all, name)``; ``looking`` in the same way while headers are read.
    largest : int
        The most bytes a sample may take in memory. A header that claims more is refused before anything is allocated.
    origin, licence : str, optional
        Where the data come from, with the attribution due, and their licence: stored in the file.

    Returns
    -------
    Report
        ``.path``, ``.samples``, and ``.failed``: a list of (path, reason).

    Raises
    ------
    ArgumentError
        An argument outside its rule.
    DataError
        No usable file; a manifest with a fault; with ``strict`` the first file that can't be used; a package missing; a
        worker that was killed.
    """
    names = [str(number) for number in range(_whole("classes", classes))] if isinstance(classes, int) else classes
    count = usable_cpus() if workers is None else _whole("workers", workers)
    options = {**options, "largest": _whole("largest", largest)}
    check_shares(split)
    for module, extra in kind.packages:
        need(module, extra)
    report = Report(Path(out), strict=strict)
    items, failed = find_items(Path(source), kind, label_from, pattern, labels_from)
    for failure in failed:
        report.fail(failure.path, failure.reason)
    if workers is None:
        count = min(count, 1 + len(items) // FILES_A_WORKER)
    with Crew(count) as crew:
        found = _look(crew, kind, items, options, report, looking)
        plan = kind.plan([look for _, look in found], options)
        samples = _samples(found, kind, plan, report)
        division = {"split": check_shares(split), "seed": seed, "by_group": by_group}
        samples = _divide(samples, division)
        target = _target(plan, samples, names, label_values)
        recipe = _settle(crew, kind, plan, samples, options["largest"]) | {"kind": kind.name, "scale": plan.scale}
        if target["target"] == "ragged":
            recipe["classes"] = target["classes"]
        with create(
            out,
            ndim=plan.ndim,
            channels=plan.channels,
            dtype=plan.dtype,
            axes=plan.axes,
            channel_names=plan.channel_names,
            scale=plan.scale,
            ignore=ignore,
            source=origin,
            licence=licence,
            recipe=recipe | {"division": division},
            resume=resume,
            **target,
        ) as writer:
            _check_done(writer, samples)
            jobs = _load_jobs(kind, samples, recipe | {"largest": options["largest"]}, label_values, writer)
            _write(writer, samples, crew.map(load_job, jobs, str), report, progress, target["target"])
    return report


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be an int of at least 1. Received: {name}={value!r}")
    return value


def _look(
    crew: Crew,
    kind: Kind,
    items: Sequence[Item],
    options: Mapping[str, Any],
    report: Report,
    looking: Progress | None,
) -> list[tuple[Item, Look]]:
    """The files that can be opened, with what their headers say."""
    jobs = [
        HeaderJob(kind, tuple((item.name, item.path) for item in items[first : first + JOB_FILES]), options)
        for first in range(0, len(items), JOB_FILES)
    ]
    found = []
    for number, (item, look) in enumerate(zip(items, crew.map(look_job, jobs, str), strict=True), start=1):
        if isinstance(look, Fault):
            report.fail(item.name, look.reason)
        else:
            found.append((item, replace(look, name=item.name)))
        if looking is not None:
            looking(number, len(items), item.name)
    if not found:
        first = report.failed[-len(items)]
        raise DataError(f"none of the {len(items)} files could be read. The first, {first.path}: {first.reason}")
    return found


def _samples(found: Sequence[tuple[Item, Look]], kind: Kind, plan: Plan, report: Report) -> list[Sample]:
    """The samples in the files: one, or those that a file says it holds."""
    samples: list[Sample] = []
    for item, look in found:
        refused = plan.refused.get(item.name)
        if refused is None and look.entries is not None and item.labels is not None:
            refused = "it holds many samples, and a file of labels beside it is for one"
        if refused is not None:
            report.fail(item.name, refused)
        elif look.entries is None:
            samples.append(Sample(item, item))
        else:
            stem = stem_of(item.name, kind.suffixes)
            for place, entry in enumerate(look.entries):
                said = {key: getattr(entry, key) for key in ("label", "split", "weight", "group")}
                known = {key: value for key, value in said.items() if value is not None}
                samples.append(Sample(item, replace(item, name=f"{stem}/{entry.key}", **known), place, entry.key))
    labelled = any(sample.item.label is not None for sample in samples)
    for sample in samples:
        if labelled and sample.item.label is None:
            report.fail(sample.item.name, "it has no label, and others have")
    samples = [sample for sample in samples if not labelled or sample.item.label is not None]
    if not samples:
        first = report.failed[-1]
        raise DataError(f"none of the {len(found)} files can be used. The last, {first.path}: {first.reason}")
    return samples


def _divide(samples: Sequence[Sample], division: Mapping[str, Any]) -> list[Sample]:
    items = [sample.item for sample in samples]
    divided = assign_splits(items, division["split"], division["seed"], division["by_group"])
    return [replace(sample, item=item) for sample, item in zip(samples, divided, strict=True)]


def _settle(crew: Crew, kind: Kind, plan: Plan, samples: Sequence[Sample], largest: int) -> dict[str, Any]:
    """The recipe, with what it takes from the training split."""
    if kind.settle is None:
        return dict(plan.recipe)
    training = [sample for sample in samples if sample.item.split == "train"]
    given = plan.recipe | {"largest": largest}
    jobs = [LoadJob(kind, files, given, None) for files in _together(training)]
    return kind.settle(plan.recipe, crew.map(survey_job, jobs, str))


def _target(
    plan: Plan, samples: Sequence[Sample], classes: Sequence[str] | None, label_values: Sequence[int] | None
) -> dict[str, Any]:
    """What ``create`` is to know of the targets."""
    items = [sample.item for sample in samples]
    if any(item.labels is not None for item in items):
        if classes is None and label_values is not None:
            classes = [str(value) for value in label_values]
        return {
            "target": "ragged",
            "classes": None if classes is None else list(classes),
            "target_ndim": plan.ndim if plan.target_ndim is None else plan.target_ndim,
            "target_dtype": "int32" if classes is None else None,
        }
    if label_values is not None:
        raise ArgumentError(f"label_values goes with labels per position. Received: label_values={label_values!r}")
    if plan.target == "numbers":
        return {"target": "numbers", "classes": None}
    names = classes or plan.classes or class_names(items)
    if all(item.label is None for item in items):
        names = None
    return {"target": None if names is None else "class", "classes": None if names is None else list(names)}


def _check_done(writer: Writer, samples: Sequence[Sample]) -> None:
    strange = writer.done - {sample.item.name for sample in samples}
    if strange:
        raise DataError(
            f"{writer.path}.parts holds {min(strange)!r} from before, which isn't in the source any more. Delete that "
            "folder to start anew"
        )


def _load_jobs(
    kind: Kind, samples: Sequence[Sample], recipe: Mapping[str, Any], values: Sequence[int] | None, writer: Writer
) -> list[LoadJob]:
    """What isn't in yet."""
    missing = [sample for sample in samples if sample.item.name not in writer.done]
    return [LoadJob(kind, files, recipe, None if values is None else tuple(values)) for files in _together(missing)]


def _together(samples: Sequence[Sample]) -> list[tuple[Wanted, ...]]:
    """File by file, small files together."""
    files: dict[str, list[Sample]] = {}
    for sample in samples:
        files.setdefault(sample.file.name, []).append(sample)
    jobs: list[list[Wanted]] = []
    room = 0
    for wanted in files.values():
        file = wanted[0].file
        size = _bytes(file.path)
        if not jobs or room < size or len(jobs[-1]) == JOB_FILES:
            jobs.append([])
            room = JOB_BYTES
        room -= size
        jobs[-1].append(Wanted(file.name, file.path, file.labels, tuple(sample.place for sample in wanted)))
    return [tuple(job) for job in jobs]


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else JOB_BYTES
    except OSError:
        return JOB_BYTES


def _write(
    writer: Writer,
    samples: Sequence[Sample],
    results: Iterator[Any],
    report: Report,
    progress: Progress | None,
    target: str | None,
) -> None:
    """Append what comes, in the samples' order."""
    for number, sample in enumerate(samples, start=1):
        name = sample.item.name
        if name not in writer.done:
            result = next(results)
            reason = result.reason if isinstance(result, Fault) else _append(writer, sample, result, target)
            if reason is not None:
                report.fail(name, reason)
        if progress is not None:
            progress(number, len(samples), name)
    report.samples = len(writer)
    if not report.samples:
        first = report.failed[-len(samples)]
        raise DataError(f"none of the {len(samples)} samples could be read. The first, {first.path}: {first.reason}")


def _append(writer: Writer, sample: Sample, loaded: Any, target: str | None) -> str | None:
    """Append one sample. What is wrong with it, or None."""
    item = sample.item
    try:
        given: dict[str, Any] = {}
        if target == "numbers":
            given["target"] = [_number(item.label)]
        elif target == "ragged":
            given["target"] = loaded.target
        elif target == "class":
            given["label"] = item.label
        writer.append(
            loaded.values,
            split=item.split,
            name=item.name,
            group=item.group,
            weight=item.weight,
            spacing=loaded.spacing,
            affine=loaded.affine,
            file=None if sample.key is None else sample.file.name,
            **given,
        )
    except ConvndError as error:
        return str(error)
    return None


def _number(label: str | None) -> float:
    try:
        number = float(label or "")
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise DataError(f"the target must be a number. Received: {label!r}")
    return number
