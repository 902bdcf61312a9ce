"""Tensors past 2^31 elements: whether results are right where a 32-bit count would overflow.

    python benchmarks/large.py

Two samples of 8 channels lie one after the other: a waveform of 2^28 + 1544 positions, so past 2^31 elements within a
sample, and a short one that begins past them. A convolution, its two gradients and pools are compared with
``convnd.reference`` on pieces cut from the beginning, from around the 2^31st element, and from the end of both samples.
Pools take the samples as images of rows: the tables of a pool have an entry for each position of an axis.
``--positions 100000`` tries it on a small scale.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import convnd as cn
from convnd import ops, reference

Array = NDArray[Any]

CHANNELS, FILTERS = 8, 4
KERNEL, STRIDE, POOL = 5, 4, 8
ROW = 1000  # positions; a multiple of POOL
SHORT = 2 * ROW  # positions of the second sample
PIECE = 50  # outputs compared at each place
PERIOD = 1_000_003  # positions after which the random numbers repeat: prime, so no power of two does
LIMIT = 2**31
LONG = (LIMIT // CHANNELS // ROW + 2) * ROW  # positions of the first sample
TOLERANCE = 1e-5  # of the largest value

Result = tuple[str, int, float]  # what, elements of the large array, largest relative error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--positions", default=LONG, show_default=True, metavar="N", help="Of the long sample.")
def main(positions: int) -> int:
    """Compare operations on tensors past 2^31 elements with the reference."""
    began, code = time.perf_counter(), 0
    for name, elements, error in checks(positions):
        right = error <= TOLERANCE
        code = code if right else 1
        word = "right" if right else "WRONG"
        click.echo(f"{name:16} {elements / LIMIT:9.6f} x 2^31 elements   error {error:.1e}   {word}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    click.echo(f"{time.perf_counter() - began:.0f} s, {most:.1f} GB at most")
    return code


def checks(positions: int) -> Iterator[Result]:
    """The operations one after the other, with one large array at a time."""
    if positions % ROW:
        raise click.UsageError(f"--positions must be a multiple of {ROW}.")
    layout, rows = cn.Layout([[positions], [SHORT]]), cn.Layout([[positions // ROW, ROW], [SHORT // ROW, ROW]])
    weight = normal((KERNEL, CHANNELS, FILTERS), 1)
    x = repeated(layout.positions, CHANNELS, 2)
    y = ops.conv(cn.Ragged(x, layout), weight, stride=STRIDE)
    error = forward_error(x, y, KERNEL, STRIDE, lambda cut: reference.conv(cut, weight, stride=STRIDE))
    yield "convolution", x.size, error
    small = y.layout
    del y
    for mode, pool in (("mean", ops.avg_pool), ("max", ops.max_pool)):
        pooled = pool(cn.Ragged(x, rows), (1, POOL))
        error = forward_error(x, pooled, POOL, POOL, partial(reference.pool, size=POOL, mode=mode))
        yield f"{mode} pool", x.size, error
        del pooled
    yield "weight gradient", x.size, weight_error(x, layout, small)
    del x
    grad = repeated(small.positions, FILTERS, 3)
    dx = ops.conv_transpose(cn.Ragged(grad, small), weight, stride=STRIDE, like=layout)
    yield "input gradient", dx.values.size, input_error(grad, small, dx, weight)


def normal(shape: tuple[int, ...], seed: int) -> Array:
    """Random numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def repeated(positions: int, channels: int, seed: int) -> Array:
    """(positions, channels) random numbers, the same after each period."""
    values = np.empty((positions, channels), np.float32)
    block = normal((min(PERIOD, positions), channels), seed)
    for start in range(0, positions, PERIOD):
        part = values[start : start + PERIOD]
        part[:] = block[: len(part)]
    return values


def pieces(layout: cn.Layout, step: int) -> Iterator[tuple[int, int]]:
    """(sample, first output) of what is compared; ``step`` positions of 8 channels are an output's."""
    for sample in range(len(layout)):
        count = int(layout.sizes[sample])
        middle = LIMIT // CHANNELS // step - PIECE // 2
        for first in sorted({0, middle, count - PIECE}):
            if 0 <= first <= count - PIECE:
                yield sample, first


def relative(got: Array, wanted: Array) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def forward_error(x: Array, y: cn.Ragged, kernel: int, stride: int, compute: Callable[[Array], Array]) -> float:
    """Pieces of y against ``compute`` on the inputs that they depend on."""
    starts = np.array([0, len(x) - SHORT])
    found = []
    for sample, first in pieces(y.layout, stride):
        begin = starts[sample] + first * stride
        cut = x[begin : begin + (PIECE - 1) * stride + kernel]
        got = y.values[y.layout.offsets[sample] + first :][:PIECE]
        found.append(relative(got, compute(cut.astype(np.float64))))
    return max(found)


def weight_error(x: Array, layout: cn.Layout, small: cn.Layout) -> float:
    """With a gradient of y that is zero but in the pieces, the sum over all positions is that over the pieces."""
    grad = np.zeros((small.positions, FILTERS), np.float32)
    wanted = np.zeros((KERNEL, CHANNELS, FILTERS))
    for number, (sample, first) in enumerate(pieces(small, STRIDE)):
        piece = normal((PIECE, FILTERS), 10 + number)
        grad[small.offsets[sample] + first :][:PIECE] = piece
        cut = x[layout.offsets[sample] + first * STRIDE :][: (PIECE - 1) * STRIDE + KERNEL]
        wanted += reference.conv_weight(cut.astype(np.float64), piece.astype(np.float64), KERNEL, stride=STRIDE)
    got = ops.conv_weight(cn.Ragged(x, layout), cn.Ragged(grad, small), KERNEL, stride=STRIDE)
    return relative(np.asarray(got), wanted)


def input_error(grad: Array, small: cn.Layout, dx: cn.Ragged, weight: Array) -> float:
    """Pieces of the gradient of x, without the ends to which outputs outside of the piece add."""
    found = []
    for sample, first in pieces(small, STRIDE):
        cut = grad[small.offsets[sample] + first :][:PIECE].astype(np.float64)
        wanted = reference.conv_transpose(cut, weight.astype(np.float64), stride=STRIDE)[KERNEL:-KERNEL]
        got = dx.values[dx.layout.offsets[sample] + first * STRIDE + KERNEL :][: len(wanted)]
        found.append(relative(got, wanted))
    return max(found)


if __name__ == "__main__":
    sys.exit(main(standalone_mode=False))
