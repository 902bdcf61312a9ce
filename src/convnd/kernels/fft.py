"""Convolution by Fourier transforms, for long windows: any rank, padding, stride, dilation and groups.

A sample is cut into blocks that overlap by the window's extent (overlap-save), on all axes at once, from its own first
output on. A block's spectrum times the weight's is the spectrum of its outputs:

    forward      y = conv(x, w):         Y = X conj(W)
    transposed   the convolution of x, spread by the stride and padded to match, with the weight reversed
    weight       dw, sums over blocks:   DW = X conj(G), and one transform back

A stride computes all outputs of a block and keeps some. Where blocks lie and how large they are follows from the
window, the channels and the sample's own shape, and blocks never meet; a weight's gradient adds them in a fixed tree.

Some blocks go from input to output in each thread's scratch, depthwise ones a column of channels at a time; few or
large ones, and a weight gradient's, are transformed CHUNK_BYTES, or one, at a time by all threads. The weight's
matrices are kept in its packs. A wrong number (NaN, infinity) spreads over its block, and errors are relative to a
block's largest numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import isa, spectrum, spectrum_depthwise, spectrum_product
from ..layout import Ints
from . import rowwise, winograd
from .checks import Array, empty
from .spectral_plan import Channels, Size, never, plan
from .task import Mask, Side, Task

Doubles = NDArray[np.float64]

algorithm = "fft"

CHUNK_BYTES = 4 * 2**20
PARTS = 8  # of a depthwise weight gradient's blocks, that their number doesn't depend on the threads
MOST_BYTES = 2**31  # of a weight's matrices
LEAST_TAPS = 5  # of some axis: Winograd's convolution and the direct one are faster where none has as many


@dataclass(frozen=True, slots=True)
class Axes:
    """The window of a task, an entry for each axis: outputs are `down` apart among inputs spread `up` apart."""

    kernel: Size
    dilation: Size
    extent: Size
    up: Size
    down: Size

    @classmethod
    def of(cls, task: Task) -> Axes:
        known: Axes | None = task.operation.memo.get(cls)
        if known is None:
            known = task.operation.memo[cls] = cls._of(task)
        return known

    @classmethod
    def _of(cls, task: Task) -> Axes:
        kernel, stride, dilation = (tuple(row) for row in task.geometry.tolist())
        extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        ones = (1,) * len(kernel)
        up, down = (stride, ones) if task.kind == "transposed" else (ones, stride)
        return cls(kernel, dilation, extent, up, down)


def refuses(task: Task) -> str | None:
    """Weights whose matrices would take too much memory."""
    points = math.prod(max(2, e) for e in Axes.of(task).extent)
    if points * _channels(task).matrix * task.x.itemsize > MOST_BYTES:
        return f"fft would need more than {MOST_BYTES >> 20} MiB for the spectra of the weight"
    return None


def takes(task: Task) -> bool | Mask:
    """Samples for which it costs less than the direct convolution, and than Winograd's, of all axes or row by row."""
    axes = Axes.of(task)
    taps, of_weight = math.prod(axes.kernel), task.kind == "weight"
    if max(axes.kernel) < LEAST_TAPS or never(axes.extent, axes.down, taps, _channels(task), of_weight):
        return False
    gain = np.empty(len(task.low))
    for outputs, samples in _alike(task.target.shapes):
        _, cost, direct = _plan(task, outputs)
        gain[samples] = direct / cost
    mask: Mask = gain * task.problem.met.prod(axis=1) > 1
    if winograd.refuses(task) is None:
        mask &= gain * winograd.rows_met(task) > winograd.gain(task)
    if rowwise.refuses(task) is None:
        mask &= gain * winograd.rows_met(task) > rowwise.gain(task) * rowwise.share_of_fft(task)
    return mask


def run(task: Task) -> None:
    """Samples with blocks of one size at a time."""
    sizes = np.empty_like(task.target.shapes)
    for outputs, samples in _alike(task.target.shapes):
        sizes[samples] = _plan(task, outputs)[0]
    if task.kind == "weight":
        task.out[:] = 0
    for size, samples in _alike(sizes):
        if task.kind == "weight":
            _add_weight(task, size, samples)
        else:
            _convolve(task, size, samples)


def _alike(shapes: Ints) -> Iterator[tuple[Size, Ints]]:
    """Each shape there is, in ascending order, and the samples that have it."""
    if (shapes == shapes[0]).all():
        yield tuple(shapes[0].tolist()), np.arange(len(shapes))
        return
    distinct, number = np.unique(shapes, axis=0, return_inverse=True)
    for i, shape in enumerate(distinct):
        yield tuple(shape.tolist()), np.flatnonzero(number.reshape(-1) == i)


def _channels(task: Task) -> Channels:
    lanes, tap = isa.lanes(task.x.itemsize), winograd.direct_products(task)
    return Channels(task.channels, task.filters, task.groups, lanes, isa.units(), tap)


def _plan(task: Task, outputs: Size) -> tuple[Size, float, float]:
    axes, taps = Axes.of(task), math.prod(Axes.of(task).kernel)
    return plan(outputs, axes.extent, axes.down, taps, _channels(task), task.x.itemsize, task.kind == "weight")


# ------------------------------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of blocks: each one's sample, and its first output on each axis."""

    sample: Ints
    output: Ints

    @classmethod
    def of(cls, task: Task, size: Size, samples: Ints) -> Blocks:
        axes = Axes.of(task)
        outputs = (np.array(size) - axes.extent) // axes.down + 1  # of a block
        counts = -(-task.target.shapes[samples] // outputs)
        total = counts.prod(axis=1)
        number = np.repeat(np.arange(len(samples)), total)
        within = np.arange(len(number)) - np.repeat(np.cumsum(total) - total, total)
        place: Ints = np.empty((len(number), len(size)), dtype=np.int64)
        for axis in reversed(range(len(size))):
            place[:, axis] = within % counts[number, axis]
            within //= counts[number, axis]
        return cls(samples[number], place * np.asarray(outputs, dtype=np.int64))

    def chunks(self, rows: int) -> Iterator[Blocks]:
        for start in range(0, len(self.sample), rows):
            yield Blocks(self.sample[start : start + rows], self.output[start : start + rows])

    def on(self, side: Side, first: Ints) -> tuple[Ints, Ints, Ints]:
        """What the core asks for: the samples' offsets and shapes, and a block's first point."""
        return side.offsets[self.sample], side.shapes[self.sample], np.ascontiguousarray(first)


def _input_blocks(task: Task, axes: Axes, size: Size, blocks: Blocks) -> tuple[Ints, ...]:
    """What the core asks for to fill blocks from x."""
    low = task.low[blocks.sample]
    if task.kind == "transposed":
        low = np.array(axes.extent) - 1 - low
    box = np.array([size, axes.up, size], dtype=np.int64)
    return *blocks.on(task.source, blocks.output * axes.down - low), box


def _output_blocks(task: Task, axes: Axes, size: Size, blocks: Blocks) -> tuple[Ints, ...]:
    """And to empty them on the target, or to fill them from there."""
    outputs = (np.array(size) - axes.extent) // axes.down + 1
    box = np.array([size, axes.down, outputs * axes.down], dtype=np.int64)
    return *blocks.on(task.target, blocks.output * axes.down), box


def _chunks(task: Task, size: Size, samples: Ints, channels: Channels) -> Iterator[Blocks]:
    """All blocks, as many at a time as CHUNK_BYTES hold."""
    width = channels.z_width + channels.v_width
    return Blocks.of(task, size, samples).chunks(max(1, CHUNK_BYTES // (math.prod(size) * width * task.x.itemsize)))


# --------------------------------------------------------------------------------------------------------- transforms


@lru_cache(maxsize=256)
def _transform(size: Size, dtype: Any) -> tuple[Ints, Array]:
    """The radices of the transforms along all axes, and the factors between their passes."""
    radices: list[int] = [1]
    factors = [np.zeros(0)]
    for left in size:
        while left > 1:
            radix = next(r for r in (4, 2, 3) if left % r == 0)
            power = np.outer(np.arange(left // radix), np.arange(1, radix))
            root = np.exp(2j * np.pi * power / left)
            factors.append(np.stack([root.real, root.imag], axis=-1).ravel())
            radices.append(radix)
            left //= radix
    factors.append(np.zeros(1))
    return np.array(radices[1:] or radices, dtype=np.int64), np.concatenate(factors).astype(dtype)


def _transformed(x: Array, width: int, size: Size) -> Array:
    """The transform of x (rows, points of so many numbers), in place."""
    spectrum.transform(x, width, np.array(size, dtype=np.int64), *_transform(size, x.dtype))
    return x


def _rows(count: int, width: int, size: Size, dtype: Any) -> Array:
    """Room for blocks; one point more than they take (see the core's spectrum)."""
    return empty(count, (math.prod(size) + 1) * width, dtype)


@lru_cache(maxsize=256)
def _negative(size: Size) -> Ints:
    """The number of frequency -k for each k, axis by axis modulo its size."""
    numbers = np.arange(math.prod(size), dtype=np.int64).reshape(size)
    return np.ascontiguousarray(numbers[np.ix_(*(-np.arange(n) % n for n in size))]).reshape(-1)


def _taps(axes: Axes, size: Size, sign: int) -> tuple[Any, ...]:
    """Where the taps of the window lie in a block, counted forwards or backwards from its first point."""
    return np.ix_(
        *(sign * np.arange(k) * d % n for k, d, n in zip(axes.kernel, axes.dilation, size, strict=True))
    )


# ------------------------------------------------------------------------------------------------- forward, transposed


def _convolve(task: Task, size: Size, samples: Ints) -> None:
    axes, channels = Axes.of(task), _channels(task)
    packed = _matrices(task, axes, channels, size)
    ends = _scale_shift(task, channels, math.prod(size))
    if channels.depthwise:
        blocks = Blocks.of(task, size, samples)
        spectrum_depthwise.convolve(
            task.x, *_input_blocks(task, axes, size, blocks), *_output_blocks(task, axes, size, blocks),
            *_transform(size, task.x.dtype), _negative(size), packed, ends, task.activation, task.out,
        )
        return
    blocks, transform = Blocks.of(task, size, samples), _transform(size, task.x.dtype)
    if spectrum_product.convolve(
        task.x, *_input_blocks(task, axes, size, blocks), *_output_blocks(task, axes, size, blocks), *transform,
        _negative(size), packed, channels.parts, channels.groups, channels.depth, channels.z_width, ends,
        task.activation, task.out,
    ):  # fmt: skip
        return
    for blocks in _chunks(task, size, samples, channels):
        z = _rows(len(blocks.sample), channels.z_width, size, task.x.dtype)
        v = _rows(len(z), channels.v_width, size, z.dtype)
        inputs = _input_blocks(task, axes, size, blocks)
        spectrum.spectra(task.x, *inputs, *transform, channels.parts, channels.z_width, z)
        spectrum_product.multiply(
            z, channels.z_width, packed, _negative(size), channels.groups, channels.depth, channels.v_width, v
        )
        spectrum.empty(
            _transformed(v, channels.v_width, size), *_output_blocks(task, axes, size, blocks), channels.parts, ends,
            task.activation, task.out,
        )


def _scale_shift(task: Task, channels: Channels, points: int) -> Array:
    """What the results are multiplied by, and the bias, as blocks hold channels."""
    ends = np.zeros((2, channels.parts, channels.v_width // channels.parts), dtype=task.x.dtype)
    ends[0] = 1 / points
    if task.bias is not None:
        ends[1, :, : task.filters // channels.parts] = task.bias.reshape(channels.parts, -1)
    return ends.reshape(2, -1)


def _matrices(task: Task, axes: Axes, channels: Channels, size: Size) -> Array:
    """The matrices of the weight's spectra, kept in its packs."""
    key = ("fft", task.kind, task.flip, task.groups, task.geometry.tobytes(), size, isa.current())
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    assert task.weight is not None
    weight = task.weight
    if task.flip != (task.kind == "transposed"):
        weight = np.flip(weight, tuple(range(len(size))))
    make = _depthwise_matrices if channels.depthwise else _dense_matrices
    packed = make(weight, task.kind == "transposed", axes, channels, size)
    if task.packs is not None:
        task.packs[key] = packed
    return packed


def _dense_matrices(weight: Array, transposed: bool, axes: Axes, channels: Channels, size: Size) -> Array:
    rank = len(size)
    # (*kernel, groups, channels, filters), in the transposed one's own sense.
    weight = weight.reshape(*axes.kernel, weight.shape[-2], channels.groups, -1)
    weight = weight.transpose(*range(rank), rank + 1, *((rank + 2, rank) if transposed else (rank, rank + 2)))
    rows = channels.groups * channels.depth
    spectra = empty(math.prod(size) * rows, channels.v_width // channels.groups, weight.dtype)
    spectra[:] = 0
    boxes = spectra.reshape(*size, channels.groups, channels.depth, -1)
    # x[q + j] meets w[j], so the weight lies backwards.
    boxes[(*_taps(axes, size, -1), ..., slice(channels.width))] = weight
    _transformed(spectra.reshape(1, -1), rows * spectra.shape[1], size)
    packed: Array = empty(1, math.prod(size) * channels.matrix, spectra.dtype)[0]
    spectrum_product.matrices(
        spectra, packed, _negative(size), channels.groups, channels.depth, channels.z_width, False
    )
    return packed


def _depthwise_matrices(weight: Array, transposed: bool, axes: Axes, channels: Channels, size: Size) -> Array:
    """For each column, frequency and pair A and B of V[-k] = A Z[-k] + B conj Z[k]."""
    filters = weight.shape[-1]
    spectra = np.zeros((math.prod(size), channels.v_width), dtype=weight.dtype)
    boxes = spectra.reshape(*size, -1)
    boxes[(*_taps(axes, size, -1), slice(filters))] = weight.reshape(*axes.kernel, filters)
    _transformed(spectra.reshape(1, -1), channels.v_width, size)
    u = np.moveaxis(spectra.reshape(math.prod(size), -1, 2, channels.lanes), 2, 0)
    (n_re, n_im), (k_re, k_im) = u[:, _negative(size)], u
    parts = (
        n_re + n_im + k_re + k_im, n_im - n_re + k_re - k_im,
        n_re - n_im + k_re - k_im, n_re + n_im - k_re - k_im,
    )
    packed: Array = np.ascontiguousarray(np.stack(parts, axis=2).swapaxes(0, 1)).reshape(-1)
    packed /= 4
    return packed


# ---------------------------------------------------------------------------------------------------- weight gradient


def _add_weight(task: Task, size: Size, samples: Ints) -> None:
    """Add what these samples give."""
    axes, channels = Axes.of(task), _channels(task)
    spectra = (_depthwise_sums if channels.depthwise else _dense_sums)(task, size, samples, axes, channels)
    taps = spectra.reshape(*size, *spectra.shape[1:])[_taps(axes, size, 1)]
    task.out[:] += (taps / taps.dtype.type(math.prod(size))).reshape(task.out.shape)


def _dense_sums(task: Task, size: Size, samples: Ints, axes: Axes, channels: Channels) -> Array:
    """(points, channels of a group, filters), transformed back."""
    points, transform = math.prod(size), _transform(size, task.x.dtype)
    sums = empty(1, points * channels.matrix, task.x.dtype)[0]
    for number, blocks in enumerate(_chunks(task, size, samples, channels)):
        z = _rows(len(blocks.sample), channels.z_width, size, sums.dtype)
        h = _rows(len(z), channels.v_width, size, sums.dtype)
        inputs, outputs = _input_blocks(task, axes, size, blocks), _output_blocks(task, axes, size, blocks)
        spectrum.spectra(task.x, *inputs, *transform, channels.parts, channels.z_width, z)
        spectrum.spectra(task.grad, *outputs, *transform, channels.parts, channels.v_width, h)
        spectrum_product.correlate(
            z, channels.z_width, h, channels.v_width, _negative(size), channels.groups, channels.depth, sums,
            number == 0,
        )  # fmt: skip
    spectra = empty(points * channels.groups * channels.depth, channels.v_width // channels.groups, sums.dtype)
    spectrum_product.matrices(
        spectra, sums, _negative(size), channels.groups, channels.depth, channels.z_width, True
    )
    _transformed(spectra.reshape(1, -1), spectra.size // points, size)
    spectra = spectra.reshape(points, channels.groups, channels.depth, -1)[..., : channels.width]
    return spectra.swapaxes(1, 2).reshape(points, channels.depth, -1)


def _depthwise_sums(task: Task, size: Size, samples: Ints, axes: Axes, channels: Channels) -> Array:
    blocks = Blocks.of(task, size, samples)
    column = 2 * channels.lanes
    parts = min(PARTS, len(blocks.sample))
    sums = np.zeros((parts, channels.v_width // column, math.prod(size), column), dtype=task.x.dtype)
    spectrum_depthwise.correlate(
        task.x, *_input_blocks(task, axes, size, blocks), task.grad, *_output_blocks(task, axes, size, blocks),
        *_transform(size, sums.dtype), _negative(size), sums,
    )
    total: Array = np.add.reduce(sums, axis=0).reshape(sums.shape[1], -1)
    spectra = _transformed(total, column, size).reshape(-1, math.prod(size), column).swapaxes(0, 1)
    return spectra.reshape(math.prod(size), 1, -1)[..., : task.filters]
