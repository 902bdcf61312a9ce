"""What a case should give, in float64, at a few places: the sums of the definition, gathered with NumPy.

It shares no code with the kernels: taps are looked up output by output (or input by input), so that a wrong window
can't hide. Places are the corners, where padding matters, and random ones.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from ..layout import Ints
from .cases import Array, Case, Operands, Pass

PLACES = 48  # random positions, beside the corners
COLUMNS = 16  # (channel, filter) pairs of the weight gradient, at each of as many taps


def largest_error(case: Case, which: Pass, operands: Operands, result: Array) -> float:
    """The largest difference of a result from the float64 one at the places looked at, relative to its largest value.

    ``result`` is (P_out, F), (P_in, C) or of the weight's shape, for the pass "forward", "input" or "weight".
    """
    if which == "weight":
        taps, columns = _weight_places(case)
        wanted = _weight_grad(case, operands, taps, columns)
        got = result.reshape(-1, *operands.weight.shape[-2:])[taps[:, None], columns[:, 0], columns[:, 1]]
    else:
        size = case.output if which == "forward" else case.size
        places = _positions(case.batch, size)
        wanted = (_forward if which == "forward" else _input_grad)(case, operands, places)
        got = result.reshape(case.batch, *size, -1)[tuple(places.T)]
    if not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def _positions(batch: int, size: tuple[int, ...]) -> Ints:
    """(n, 1 + rank): sample and position of the places looked at."""
    rng = np.random.default_rng(1)
    ends = [sorted({0, count - 1}) for count in (batch, *size)]
    random = np.stack([rng.integers(count, size=PLACES) for count in (batch, *size)], axis=1)
    return np.concatenate([np.array(list(product(*ends)), dtype=np.int64), random])


def _forward(case: Case, operands: Operands, places: Ints) -> Array:
    """y[n, q, f] = sum over j, c of x[n, q s + j d - p, c] w[j, c, f]."""
    x, weight = _samples(operands.x, case.batch, case.size), _by_group(case, operands.weight)
    total = np.zeros((len(places), case.groups, weight.shape[-1]))
    for number, tap in enumerate(np.ndindex(case.kernel)):
        reads = places[:, 1:] * case.stride + np.array(tap) * case.dilation - case.padding
        inside = ((reads >= 0) & (reads < case.size)).all(axis=1)
        rows = x[(places[inside, 0], *reads[inside].T)].astype(np.float64)
        total[inside] += np.einsum(
            "ngc,gcf->ngf", rows.reshape(len(rows), case.groups, case.channels // case.groups), weight[number]
        )
    return total.reshape(len(places), -1)


def _input_grad(case: Case, operands: Operands, places: Ints) -> Array:
    """dx[n, i, c] = sum over f and the (j, q) with q s + j d - p = i of g[n, q, f] w[j, c, f]."""
    grad, weight = _samples(operands.grad, case.batch, case.output), _by_group(case, operands.weight)
    total = np.zeros((len(places), case.groups, weight.shape[-2]))
    for number, tap in enumerate(np.ndindex(case.kernel)):
        ahead = places[:, 1:] + case.padding - np.array(tap) * case.dilation
        reads = ahead // case.stride
        inside = ((ahead % case.stride == 0) & (reads >= 0) & (reads < case.output)).all(axis=1)
        rows = grad[(places[inside, 0], *reads[inside].T)].astype(np.float64)
        total[inside] += np.einsum(
            "ngf,gcf->ngc", rows.reshape(len(rows), case.groups, case.filters // case.groups), weight[number]
        )
    return total.reshape(len(places), -1)


def _weight_grad(case: Case, operands: Operands, taps: Ints, columns: Ints) -> Array:
    """dw[j, c, f] = sum over n, q of x[n, q s + j d - p, c] g[n, q, f], at some taps j and pairs (c, f)."""
    x, grad = _samples(operands.x, case.batch, case.size), _samples(operands.grad, case.batch, case.output)
    group = columns[:, 1] // (case.filters // case.groups)
    x = x[..., columns[:, 0] + group * (case.channels // case.groups)]
    grad = grad[..., columns[:, 1]]
    total = np.zeros((len(taps), len(columns)))
    for number, tap in enumerate(np.stack(np.unravel_index(taps, case.kernel), axis=1)):
        reads, gives = [slice(None)], [slice(None)]
        for j, size, outputs in zip(tap.tolist(), case.size, case.output, strict=True):
            shift = j * case.dilation - case.padding
            first = max(0, -(shift // case.stride))
            last = max(min(outputs - 1, (size - 1 - shift) // case.stride), first - 1)
            reads.append(slice(first * case.stride + shift, last * case.stride + shift + 1, case.stride))
            gives.append(slice(first, last + 1))
        both = x[tuple(reads)].astype(np.float64) * grad[tuple(gives)]
        total[number] = both.reshape(-1, len(columns)).sum(axis=0)
    return total


def _weight_places(case: Case) -> tuple[Ints, Ints]:
    """Some taps, the first and the last among them, and some (channel in its group, filter) pairs."""
    rng = np.random.default_rng(1)
    count = int(np.prod(case.kernel))
    taps = np.unique(np.append(rng.integers(count, size=4), [0, count - 1]))
    pairs = [rng.integers(most, size=COLUMNS) for most in (case.channels // case.groups, case.filters)]
    return taps, np.stack(pairs, axis=1)


def _samples(values: Array, batch: int, size: tuple[int, ...]) -> Array:
    return values.reshape(batch, *size, values.shape[1])


def _by_group(case: Case, weight: Array) -> Array:
    """(taps, groups, C / groups, F / groups), float64."""
    split = weight.reshape(-1, weight.shape[-2], case.groups, case.filters // case.groups)
    return np.moveaxis(split, 2, 1).astype(np.float64)
