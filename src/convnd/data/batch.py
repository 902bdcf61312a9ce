"""A batch in memory, and how it is read: as it is, or sample by sample through an augmentation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvndError, ShapeError
from ..layout import Ints, Layout, Ragged
from .convert import convert

if TYPE_CHECKING:
    from .augment import Augmentation
    from .buffers import Buffers
    from .collection import Collection

# How to get the stored values (P, C) of a sample that has been read, by its number.
Stored = Callable[[int], NDArray[Any]]

# Read in one go: much larger than what taking turns costs, much smaller than a batch.
STRETCH = 2 << 20  # bytes as stored


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples in memory.

    Attributes
    ----------
    x : Ragged
        float32 values, the stored ones times the file's scale.
    targets : int64 array (N,), float32 array (N, K), Ragged or None
        Class numbers, numbers, or ragged targets (int64 labels or float32 numbers).
    numbers : int64 array (N,)
        The samples' numbers in the file.
    weights : float32 array (N,) or None
        The samples' weights, where the file has them.
    """

    x: Ragged
    targets: NDArray[Any] | Ragged | None
    numbers: Ints
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.numbers)


def read_batch(
    data: Collection, numbers: Ints, buffers: Buffers | None = None, stored: Stored | None = None
) -> Batch:
    """Read samples by their numbers: one slice for each run of neighbours, unless their values are ``stored``."""
    layout = data.layout.take(numbers)
    runs = runs_of(numbers)
    values = _memory(layout.positions, data, buffers)
    if stored is None:
        _read_values(data, numbers, runs, layout, values)
    else:
        for number, (start, end) in zip(numbers.tolist(), pairwise(layout.offsets.tolist()), strict=True):
            convert(stored(number), values[start:end], data.factor)
    targets: NDArray[Any] | Ragged | None = _given_targets(data, numbers)
    if data.info.target == "ragged":
        targets = _read_targets(data, numbers, runs)
    return Batch(Ragged(values, layout), targets, numbers, _weights(data, numbers))


def _read_targets(data: Collection, numbers: Ints, runs: list[tuple[int, int]]) -> Ragged:
    """The ragged targets of a batch."""
    layout = data.target_layout.take(numbers)
    values = np.empty((layout.positions, data.info.target_channels), dtype=_target_dtype(data))
    for begin, end in runs:
        rows = values[layout.offsets[begin] : layout.offsets[end]]
        data.read_targets(int(numbers[begin]), int(numbers[end - 1]), rows)
    return Ragged(values, layout)


def _memory(positions: int, data: Collection, buffers: Buffers | None) -> NDArray[np.float32]:
    """Where the values (P, C) of a batch go."""
    if buffers is not None:
        return buffers.empty(positions)
    return np.empty((positions, data.info.channels), dtype=np.float32)


def _read_values(
    data: Collection, numbers: Ints, runs: list[tuple[int, int]], layout: Layout, values: NDArray[np.float32]
) -> None:
    """The values of a batch, stretch by stretch: where HDF5 reads, one thread does while another converts its own."""
    offsets = layout.offsets.tolist()
    if data.factor is None and np.dtype(data.info.dtype) == np.float32:
        _read_stretch(data, numbers, runs, offsets, values)
        return
    for first, last, raw in _read_stretches(data, numbers, runs, layout):
        convert(raw, values[offsets[first] : offsets[last]], data.factor)


def _read_stretches(
    data: Collection, numbers: Ints, runs: list[tuple[int, int]], layout: Layout
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """(first, last, stored values) of one stretch of a batch after the other, in memory that the next one takes."""
    stored, channels, offsets = np.dtype(data.info.dtype), data.info.channels, layout.offsets.tolist()
    stretches = list(_stretches(runs, offsets, STRETCH // (channels * stored.itemsize)))
    bounds = [(stretch[0][0], stretch[-1][1]) for stretch in stretches]
    most = max((offsets[last] - offsets[first] for first, last in bounds), default=0)
    scratch = np.empty((most, channels), dtype=stored)
    for (first, last), stretch in zip(bounds, stretches, strict=True):
        raw = scratch[: offsets[last] - offsets[first]]
        _read_stretch(data, numbers, stretch, offsets, raw)
        yield first, last, raw


def _read_stretch(
    data: Collection, numbers: Ints, stretch: list[tuple[int, int]], offsets: list[int], raw: NDArray[Any]
) -> None:
    """Runs of samples into ``raw``, which begins with the first of them."""
    start = offsets[stretch[0][0]] if stretch else 0
    wanted = [
        (int(numbers[begin]), int(numbers[end - 1]), raw[offsets[begin] - start : offsets[end] - start])
        for begin, end in stretch
    ]
    data.read_runs(wanted)


def read_stored(data: Collection, numbers: Ints, layout: Layout, raw: NDArray[Any]) -> None:
    """The values of samples as they are stored, stretch by stretch."""
    offsets = layout.offsets.tolist()
    for stretch in _stretches(runs_of(numbers), offsets, STRETCH // (raw.shape[1] * raw.itemsize)):
        _read_stretch(data, numbers, stretch, offsets, raw[offsets[stretch[0][0]] : offsets[stretch[-1][1]]])


def _stretches(runs: list[tuple[int, int]], offsets: list[int], room: int) -> Iterator[list[tuple[int, int]]]:
    """Runs, cut between samples and gathered to at most ``room`` positions, or one sample."""
    stretch: list[tuple[int, int]] = []
    limit = 0
    for begin, end in runs:
        while begin < end:
            if not stretch:
                limit = offsets[begin] + room
            cut = end if offsets[end] <= limit else bisect_right(offsets, limit) - 1
            if cut <= begin and stretch:
                yield stretch
                stretch = []
            else:
                cut = max(cut, begin + 1)
                stretch.append((begin, cut))
                begin = cut
    if stretch:
        yield stretch


def read_augmented(
    data: Collection, numbers: Ints, augment: Augmentation, seed: int, epoch: int, buffers: Buffers | None = None,
    stored: Stored | None = None,
) -> Batch:  # fmt: skip
    """Read samples and augment each.

    The random numbers of a sample follow from the seed, the epoch and its number in the file, never from the batch.
    Memory: the batch, a stretch of samples as they are stored, and the sample at hand as it is and augmented.
    """
    info = data.info
    bounds = Layout(augment.bound(data.layout.shapes[numbers]))
    values = _memory(bounds.positions, data, buffers)
    shapes = np.empty_like(bounds.shapes)
    targets = _given_targets(data, numbers)
    labels: list[NDArray[Any]] = []
    used = 0
    rows = map(stored, numbers.tolist()) if stored else _each_stored(data, numbers)
    for place, (number, raw) in enumerate(zip(numbers.tolist(), rows, strict=True)):
        sample = _converted(raw, data).reshape(*data.layout.shape(number), info.channels)
        given: Any = read_labels(data, number) if targets is None and info.target else None
        if targets is not None:
            given = int(targets[place]) if info.target == "class" else targets[place].copy()
        try:
            x, target = augment(sample, given, sample_rng(seed, epoch, number))
            _check(x, bounds, place, info.channels)
        except ConvndError as error:
            raise type(error)(f"{data.path}: {data.who(number)}: {error}") from error
        size = x.size // info.channels
        values[used : used + size] = x.reshape(size, info.channels)
        shapes[place], used = x.shape[:-1], used + size
        if targets is not None:
            targets[place] = target
        elif target is not None:
            labels.append(target.copy() if np.may_share_memory(target, raw) else target)
    ragged = Ragged.pack(labels) if labels else None
    weights = _weights(data, numbers)
    return Batch(Ragged(values[:used], Layout(shapes)), targets if ragged is None else ragged, numbers, weights)


def sample_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers that augment a sample in an epoch."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch], spawn_key=(number,))))


def _each_stored(data: Collection, numbers: Ints) -> Iterator[NDArray[Any]]:
    """The stored values (P, C) of each sample in turn. Each array is gone with the next one."""
    layout = data.layout.take(numbers)
    offsets = layout.offsets.tolist()
    for first, last, raw in _read_stretches(data, numbers, runs_of(numbers), layout):
        for place in range(first, last):
            yield raw[offsets[place] - offsets[first] : offsets[place + 1] - offsets[first]]


def _converted(raw: NDArray[Any], data: Collection) -> NDArray[np.float32]:
    """Stored values as float32, times the scale; themselves, where nothing is to be done."""
    if data.factor is None and raw.dtype == np.float32:
        return raw
    values = np.empty(raw.shape, dtype=np.float32)
    convert(raw, values, data.factor)
    return values


def read_values(data: Collection, number: int) -> NDArray[np.float32]:
    """One sample's values (*S, C)."""
    values = np.empty((int(data.layout.sizes[number]), data.info.channels), dtype=np.float32)
    data.read_values(number, number, values)
    return values.reshape(*data.layout.shape(number), data.info.channels)


def read_labels(data: Collection, number: int) -> NDArray[Any]:
    """One sample's ragged target (*S', K)."""
    layout, channels = data.target_layout, data.info.target_channels
    target: NDArray[Any] = np.empty((int(layout.sizes[number]), channels), dtype=_target_dtype(data))
    data.read_targets(number, number, target)
    return target.reshape(*layout.shape(number), channels)


def _check(x: Any, bounds: Layout, place: int, channels: int) -> None:
    """What an augmentation gives must be a sample, and not larger than it said."""
    good = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.ndim == bounds.ndim + 1 and x.size
    if not good or x.shape[-1] != channels:
        what = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else repr(type(x))
        raise ShapeError(
            f"an augmentation must give float32 values of {bounds.ndim} spatial axes, then {channels} channels, and at "
            f"least one position. Received: {what}"
        )
    if x.size // channels > bounds.sizes[place]:
        raise ShapeError(
            f"an augmentation must not make a sample larger than its bound says, {bounds.shape(place)}. "
            f"Received: shape {x.shape[:-1]}"
        )


def _target_dtype(data: Collection) -> type[np.generic]:
    return np.int64 if data.info.labels else np.float32


def _given_targets(data: Collection, numbers: Ints) -> NDArray[Any] | None:
    """One target a sample: class numbers or numbers."""
    if data.targets is None:
        return None
    chosen = data.targets[numbers]
    return chosen if data.info.target == "class" else chosen.astype(np.float32)


def _weights(data: Collection, numbers: Ints) -> NDArray[np.float32] | None:
    weights: NDArray[np.float32] | None = None
    if "weight" in data.meta:
        weights = data.meta["weight"][numbers].astype(np.float32)
    return weights


def runs_of(numbers: Ints) -> list[tuple[int, int]]:
    """(begin, end) of every run of consecutive numbers."""
    edges = np.flatnonzero(np.diff(numbers) != 1) + 1
    bounds = [0, *edges.tolist(), len(numbers)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]
