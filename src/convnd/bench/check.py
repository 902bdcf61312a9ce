"""What a case should give, in float64, at a few places: the definition, gathered with NumPy.

It shares no code with the kernels: taps are looked up output by output (or input by input), so that a wrong window
can't hide. Places are the corners, where padding matters, and random ones. Gradients of functions are central
differences of their definition: *Deep Learning*, section 11.5, eq. 11.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from ..layout import Ints
from .functions import Array, Shape
from .layers import BatchNorm, Case, Conv, Layer, Operands, Pass, Pool, ProportionalPool

PLACES = 48  # random positions, beside the corners
COLUMNS = 16  # (channel, filter) pairs of the weight gradient, at each of as many taps
EPS = 1e-5  # of batch norm, everybody's default
STEP = 1e-6  # of central differences
FEW = 12  # random entries of a gradient that are compared with differences,
MOST = 4  # and as many where x is largest: pools give their gradient to these
DEVIATIONS = 6  # by which the share of what a dropout keeps may be off
SWAPPED: dict[Pass, Pass] = {"forward": "input", "input": "forward", "weight": "weight"}

Pooling = Pool | ProportionalPool


@dataclass(frozen=True)
class Errors:
    """How far a result is from the float64 one, at the places looked at."""

    largest: float  # difference, relative to the largest value
    rms: float  # root of the mean squared difference, relative to that of the values


def errors(case: Case, which: Pass, operands: Operands, result: Array, own_draws: bool = False) -> Errors:
    """Compare a result with the float64 one.

    ``result`` is (P_out, F), (P_in, C) or of the weight's shape, for the pass "forward", "input" or "weight".
    ``own_draws``: it was drawn by other numbers than ours.
    """
    if isinstance(case, Conv) and case.transposed:  # the pass of the convolution that computes the same
        swapped = Operands(operands.grad, operands.weight, operands.x)
        return errors(case.adjoint, SWAPPED[which], swapped, result)
    if isinstance(case, Layer) and own_draws:
        wanted, got = _dropped(case, operands.x if which == "forward" else operands.grad, result), result
    elif isinstance(case, Layer) and which != "forward":
        entries, wanted = _differences(case, which, operands)
        got = result.reshape(-1)[entries]
    elif isinstance(case, Conv) and which == "weight":
        taps, columns = _weight_places(case)
        wanted = _weight_grad(case, operands, taps, columns)
        got = result.reshape(-1, *operands.weight.shape[-2:])[taps[:, None], columns[:, 0], columns[:, 1]]
    else:
        size = case.output if which == "forward" else case.size
        places = _positions(case.batch, size)
        wanted = _exact(case, which, operands, places)
        got = result.reshape(case.batch, *size, -1)[tuple(places.T)]
    if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        return Errors(float("inf"), float("inf"))
    off = got - wanted
    size, scale = np.sqrt(np.square(wanted).mean()), np.abs(wanted).max()
    rms = np.sqrt(np.square(off).mean())
    return Errors(float(np.abs(off).max() / (scale or 1.0)), float(rms / (size or 1.0)))


def _exact(case: Case, which: Pass, operands: Operands, places: Ints) -> Array:
    """The forward pass or the input gradient at some places, (places, channels) in float64."""
    if isinstance(case, Conv):
        return (_forward if which == "forward" else _input_grad)(case, operands, places)
    values: Array
    if isinstance(case, BatchNorm):
        values = _norm(case, which, operands)[tuple(places.T)]
        return values
    if isinstance(case, Layer):
        x, weight = _doubles(_samples(operands.x, case.batch, case.size)), _doubles(operands.weight)
        values = case.called.exact(x, weight)[tuple(places.T)]
        return values
    assert isinstance(case, Pooling)
    return (_pooled if which == "forward" else _pooled_grad)(case, operands, places)


def _positions(batch: int, size: Shape, random: int = PLACES) -> Ints:
    """(n, 1 + rank): sample and position of the places looked at, the corners and so many random ones."""
    rng = np.random.default_rng(1)
    ends = [sorted({0, count - 1}) for count in (batch, *size)]
    inside = np.stack([rng.integers(count, size=random) for count in (batch, *size)], axis=1)
    return np.concatenate([np.array(list(product(*ends)), dtype=np.int64), inside])


# ---------------------------------------------------------------------------------------------------------- convolution


def _forward(case: Conv, operands: Operands, places: Ints) -> Array:
    """y[n, q, f] = sum over j, c of x[n, q s + j d - p, c] w[j, c, f]."""
    x, weight = _samples(operands.x, case.batch, case.size), _by_group(case, operands.weight)
    stride, dilation = case.window.stride, np.array(case.window.dilation)
    total = np.zeros((len(places), case.groups, weight.shape[-1]))
    for number, tap in enumerate(np.ndindex(case.window.kernel)):
        reads = places[:, 1:] * stride + np.array(tap) * dilation - case.pads
        inside = ((reads >= 0) & (reads < case.size)).all(axis=1)
        rows = x[(places[inside, 0], *reads[inside].T)].astype(np.float64)
        total[inside] += np.einsum("ngc,gcf->ngf", rows.reshape(len(rows), *weight.shape[1:3]), weight[number])
    return total.reshape(len(places), -1)


def _input_grad(case: Conv, operands: Operands, places: Ints) -> Array:
    """dx[n, i, c] = sum over f and the (j, q) with q s + j d - p = i of g[n, q, f] w[j, c, f]."""
    grad, weight = _samples(operands.grad, case.batch, case.output), _by_group(case, operands.weight)
    stride, dilation = case.window.stride, np.array(case.window.dilation)
    total = np.zeros((len(places), case.groups, weight.shape[-2]))
    for number, tap in enumerate(np.ndindex(case.window.kernel)):
        ahead = places[:, 1:] + case.pads - np.array(tap) * dilation
        reads = ahead // stride
        inside = ((ahead % stride == 0) & (reads >= 0) & (reads < case.output)).all(axis=1)
        rows = grad[(places[inside, 0], *reads[inside].T)].astype(np.float64)
        total[inside] += np.einsum("ngf,gcf->ngc", rows.reshape(len(rows), *weight.shape[1::2]), weight[number])
    return total.reshape(len(places), -1)


def _weight_grad(case: Conv, operands: Operands, taps: Ints, columns: Ints) -> Array:
    """dw[j, c, f] = sum over n, q of x[n, q s + j d - p, c] g[n, q, f], at some taps j and pairs (c, f)."""
    x, grad = _samples(operands.x, case.batch, case.size), _samples(operands.grad, case.batch, case.output)
    window = case.window
    group = columns[:, 1] // (case.filters // case.groups)
    x = x[..., columns[:, 0] + group * (case.channels // case.groups)]
    grad = grad[..., columns[:, 1]]
    total = np.zeros((len(taps), len(columns)))
    for number, tap in enumerate(np.stack(np.unravel_index(taps, window.kernel), axis=1)):
        reads, gives = [slice(None)], [slice(None)]
        for axis, j in enumerate(tap.tolist()):
            stride, shift = window.stride[axis], j * window.dilation[axis] - case.pads[axis]
            first = max(0, -(shift // stride))
            last = max(min(case.output[axis] - 1, (case.size[axis] - 1 - shift) // stride), first - 1)
            reads.append(slice(first * stride + shift, last * stride + shift + 1, stride))
            gives.append(slice(first, last + 1))
        both = x[tuple(reads)].astype(np.float64) * grad[tuple(gives)]
        total[number] = both.reshape(-1, len(columns)).sum(axis=0)
    return total


def _weight_places(case: Conv) -> tuple[Ints, Ints]:
    """Some taps, the first and the last among them, and some (channel in its group, filter) pairs."""
    rng = np.random.default_rng(1)
    count = int(np.prod(case.window.kernel))
    taps = np.unique(np.append(rng.integers(count, size=4), [0, count - 1]))
    pairs = [rng.integers(most, size=COLUMNS) for most in (case.channels // case.groups, case.filters)]
    return taps, np.stack(pairs, axis=1)


def _doubles(values: Array) -> Array:
    """In float64; integers as they are."""
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _samples(values: Array, batch: int, size: Shape) -> Array:
    return values.reshape(batch, *size, values.shape[1])


def _by_group(case: Conv, weight: Array) -> Array:
    """(taps, groups, C / groups, F / groups), float64."""
    split = weight.reshape(-1, weight.shape[-2], case.groups, case.filters // case.groups)
    return np.moveaxis(split, 2, 1).astype(np.float64)


# -------------------------------------------------------------------------------------------------------------- pooling


def _range(case: Pooling, axis: int, q: int) -> range:
    """The positions of an axis that output q covers."""
    size = case.size[axis]
    if isinstance(case, ProportionalPool):
        return range(q * size // case.bins, -(-(q + 1) * size // case.bins))
    window = case.window
    first = q * window.stride[axis] - case.pads[axis]
    taps = range(first, first + window.extent[axis], window.dilation[axis])
    return range(next(i for i in taps if i >= 0), min(taps.stop, size), taps.step)


def _region(case: Pooling, x: Array, sample: int, q: Shape) -> tuple[Array, list[range]]:
    """(positions, C): what output q covers; and the ranges it covers on each axis."""
    ranges = [_range(case, axis, each) for axis, each in enumerate(q)]
    return x[(sample, *np.ix_(*ranges))].reshape(-1, case.channels).astype(np.float64), ranges


def _pooled(case: Pooling, operands: Operands, places: Ints) -> Array:
    x = _samples(operands.x, case.batch, case.size)
    values = [_region(case, x, sample, tuple(q))[0] for sample, *q in places.tolist()]
    return np.stack([value.max(axis=0) if case.mode == "max" else value.mean(axis=0) for value in values])


def _pooled_grad(case: Pooling, operands: Operands, places: Ints) -> Array:
    """The sum over outputs that cover the place: of g / positions, or of g where the place is the first largest."""
    x, grad = _samples(operands.x, case.batch, case.size), _samples(operands.grad, case.batch, case.output)
    total = np.zeros((len(places), case.channels))
    for number, (sample, *place) in enumerate(places.tolist()):
        for q in _covering(case, place):
            values, ranges = _region(case, x, sample, q)
            share: Array = np.full(case.channels, 1 / len(values))
            if case.mode == "max":
                inside = [each.index(i) for each, i in zip(ranges, place, strict=True)]
                share = values.argmax(axis=0) == np.ravel_multi_index(inside, [len(each) for each in ranges])
            total[number] += grad[(sample, *q)] * share
    return total


def _covering(case: Pooling, place: list[int]) -> Iterator[Shape]:
    """The outputs that cover a position."""
    return product(
        *([q for q in range(case.output[axis]) if i in _range(case, axis, q)] for axis, i in enumerate(place))
    )


# ----------------------------------------------------------------------------------------------------------- batch norm


def _norm(case: BatchNorm, which: Pass, operands: Operands) -> Array:
    """relu(gamma z + beta), z = (x - mean) / sqrt(var + eps); or the gradient to x, with h the one to gamma z + beta:
    gamma / sqrt(var + eps) (h - mean(h) - z mean(h z))."""
    gamma, beta = operands.weight.astype(np.float64)
    x = operands.x.astype(np.float64)
    inverse = 1 / np.sqrt(x.var(axis=0) + EPS)
    z = (x - x.mean(axis=0)) * inverse
    y = gamma * z + beta
    if which == "forward":
        return _samples(np.maximum(y, 0), case.batch, case.size)
    h = operands.grad.astype(np.float64) * (y > 0)
    return _samples(gamma * inverse * (h - h.mean(axis=0) - z * (h * z).mean(axis=0)), case.batch, case.size)


# ------------------------------------------------------------------------------------------------------------ functions


@lru_cache(maxsize=1)
def _differences(case: Layer, which: Pass, operands: Operands) -> tuple[Ints, Array]:
    """The entries of a gradient that are compared, by their number, and what they should be.

    It is kept, as contenders of a row come one after the other.
    """
    x, weight = _doubles(_samples(operands.x, case.batch, case.size)), _doubles(operands.weight)
    grad = _doubles(_samples(operands.grad, case.batch, case.output))
    if which == "weight":
        entries = _weight_entries(weight.size)
        return entries, np.array([_weight_slope(case, x, weight, grad, number) for number in entries.tolist()])
    entries = _entries(case, operands.x)
    return entries, np.array([_slope(case, x, weight, grad, number) for number in entries.tolist()])


def _entries(case: Layer, x: Array) -> Ints:
    """Numbers of entries of x: one at each corner, some random ones, and the largest."""
    places = _positions(case.batch, case.size, FEW)
    channels = np.random.default_rng(2).integers(case.channels, size=len(places))
    some = np.ravel_multi_index((*places.T, channels), (case.batch, *case.size, case.channels))
    return np.concatenate([some, np.argsort(x, axis=None)[-MOST:]])


def _weight_entries(count: int) -> Ints:
    return np.append(np.random.default_rng(2).integers(count, size=FEW), [0, count - 1])


def _slope(case: Layer, x: Array, weight: Array, grad: Array, number: int) -> float:
    """d/dx[n, p, c] = sum over the result of sample n of g (f(x + e) - f(x - e)) / 2e."""
    sample, *place = (int(index) for index in np.unravel_index(number, x.shape))
    both = np.stack([x[sample]] * 2)
    both[(0, *place)] += STEP
    both[(1, *place)] -= STEP
    if case.called.weight.by_sample:
        weight = weight[[sample, sample]]
    if case.called.additive:  # the other channels' part is the same in both
        both, weight = both[..., place[-1:]], weight[..., place[-1:], :]
    ahead, behind = case.called.exact(both, weight)
    return float(((ahead - behind) * grad[sample]).sum() / (2 * STEP))


def _weight_slope(case: Layer, x: Array, weight: Array, grad: Array, number: int) -> float:
    """d/dw[i] = sum over the batch's result of g (f(w + e) - f(w - e)) / 2e."""
    place = tuple(int(index) for index in np.unravel_index(number, weight.shape))
    if case.called.additive:  # this filter, and what it has of this channel
        channel, one = place[-2:]
        x, weight, grad = x[..., [channel]], weight[..., [channel], :][..., [one]], grad[..., [one]]
        place = (*place[:-2], 0, 0)
    results = []
    for step in (STEP, -STEP):
        moved = weight.copy()
        moved[place] += step
        results.append(case.called.exact(x, moved))
    ahead, behind = results
    return float(((ahead - behind) * grad).sum() / (2 * STEP))


def _dropped(case: Layer, given: Array, result: Array) -> Array:
    """What a dropout should give that has dropped what is zero in its result; inf where that is too much or too little.

    The least that is drawn is one number for each channel of a sample.
    """
    rate, kept = case.called.rate, result != 0
    deviation = np.sqrt(rate * (1 - rate) / (case.batch * case.channels))
    if abs(kept.mean() - (1 - rate)) > DEVIATIONS * deviation:
        return np.full(result.shape, np.inf)
    wanted: Array = given.astype(np.float64) * kept / (1 - rate)
    return wanted
