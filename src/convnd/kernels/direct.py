"""The direct convolution: any rank, window, groups and channels."""

from __future__ import annotations

import numpy as np

from .._core import conv as core
from .._core import conv_weight as core_weight
from .._core import isa, panels
from .checks import Array, empty
from .task import Mask, Operation, Task

algorithm = "direct"

SWAP = 0.5  # what it costs to make vectors of channels, in filters


def refuses(task: Task) -> str | None:
    """Nothing."""
    return None


def takes(task: Task) -> bool | Mask:
    """Everything that is left."""
    return True


def run(task: Task) -> None:
    """Run the core's drivers."""
    if task.kind == "weight":
        run_weight(task)
    else:
        run_conv(task)


def run_conv(task: Task, lanes: str = "filters") -> None:
    """A forward or transposed convolution; ``lanes`` says what they are: one of ``panels.LANES``."""
    packed = packed_weight(task, lanes)
    moments = task.room_for_moments(task.filters if lanes == "groups" else task.filters // task.groups)
    counts = core.conv(
        task.problem.core, task.x, packed, task.bias, panels.LANES[lanes], task.activation, task.out, moments
    )
    task.count(moments if counts else None)


def run_weight(task: Task) -> None:
    """A weight gradient.

    The core's vectors are filters. Where channels fill vectors better, stride 1, it is given x for the gradient and the
    gradient for x: w[t, c, f] = sum_q x[q + t d - low, c] grad[q, f] = sum_p grad[p - (t d - low), f] x[p, c], a weight
    gradient whose taps run backwards.
    """
    source, target, geometry, low = task.source, task.target, task.geometry, task.low
    x, grad, out = task.x, task.grad, task.out
    assert grad is not None
    swapped = swaps(task.operation)
    if swapped:
        x, grad, source, target = grad, x, target, source
        low = np.ascontiguousarray((geometry[0] - 1) * geometry[2] - low)
        out = np.empty((out.shape[0], out.shape[2], out.shape[1]), dtype=out.dtype)
    core_weight.conv_weight(
        x, grad, source.shapes, target.shapes, low, source.offsets, target.offsets, geometry, task.groups, out
    )
    if swapped:
        task.out[:] = out[::-1].transpose(0, 2, 1)


def swaps(operation: Operation) -> bool:
    """Whether a weight gradient's vectors are of channels, which fill them better than filters."""
    channels, filters, lanes = operation.channels, operation.filters, isa.lanes(operation.dtype.itemsize)
    if operation.groups > 1 or (operation.geometry[1] > 1).any():
        return False
    return bool((filters + SWAP) * -(-channels // lanes) < channels * -(-filters // lanes))


def packed_weight(task: Task, lanes: str) -> Array:
    """The task's weight in panels, kept in its packs."""
    problem = task.problem
    key = (lanes, *task.operation.pack_key)
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    kind, weight = panels.LANES[lanes], np.ascontiguousarray(task.weight)
    sizes = task.operation.memo.setdefault("packed sizes", {})
    if lanes not in sizes:
        sizes[lanes] = panels.size(problem.core, kind)
    packed: Array = empty(1, sizes[lanes], weight.dtype)[0]
    panels.pack(problem.core, weight, task.flip, kind, packed)
    if task.packs is not None:
        task.packs[key] = packed
    return packed
