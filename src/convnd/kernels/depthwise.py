"""Depthwise convolutions: as many filters as channels, each of its own channel."""

from __future__ import annotations

import math

import numpy as np

from .._core import depthwise as core
from .._core import depthwise_weight as core_weight
from .._core import isa
from .checks import Array, empty
from .task import Mask, Task

algorithm = "direct"


def refuses(task: Task) -> str | None:
    """Groups of more than one channel, or of more than one filter."""
    if task.channels == task.filters == task.groups:
        return None
    return "a depthwise convolution has as many groups as channels and filters"


def takes(task: Task) -> bool | Mask:
    """Every one; a single channel is no group."""
    return task.groups > 1


def run(task: Task) -> None:
    """Run the core's drivers."""
    if task.kind == "weight":
        run_weight(task)
        return
    source, target, geometry = task.source, task.target, task.geometry
    bias = np.empty(0, dtype=task.x.dtype) if task.bias is None else task.bias
    core.conv(
        task.x, source.shapes, target.shapes, task.low, source.offsets, target.offsets, geometry,
        task.kind == "transposed", _packed(task), bias, task.activation, task.out,
    )


def run_weight(task: Task) -> None:
    """A weight gradient, of small groups as well."""
    source, target = task.source, task.target
    core_weight.conv_weight(
        task.x, task.grad, source.shapes, target.shapes, task.low, source.offsets, target.offsets, task.geometry,
        task.out,
    )


def _packed(task: Task) -> Array:
    """The task's weight in panels of channels, kept in its packs."""
    weight, geometry, transposed = task.weight, task.geometry, task.kind == "transposed"
    assert weight is not None
    key = (algorithm, "depthwise", transposed, task.flip, geometry.tobytes() if transposed else b"", isa.current())
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    flat = np.ascontiguousarray(weight).reshape(math.prod(weight.shape[:-2]), *weight.shape[-2:])
    size = core.pack(flat, geometry, transposed, task.flip, np.empty(0, dtype=weight.dtype))
    packed: Array = empty(1, size, weight.dtype)[0]
    core.pack(flat, geometry, transposed, task.flip, packed)
    if task.packs is not None:
        task.packs[key] = packed
    return packed
