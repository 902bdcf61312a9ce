"""The direct convolution: any rank, window, groups and channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._core import conv as core
from .._core import conv_weight as core_weight
from .._core import isa, panels
from .checks import Array, empty
from .task import Mask, Task

algorithm = "direct"


def refuses(task: Task) -> str | None:
    """Nothing."""
    return None


def takes(task: Task) -> bool | Mask:
    """Everything that is left."""
    return True


def run(task: Task) -> None:
    """Run the core's drivers."""
    source, target, geometry = task.source, task.target, task.geometry
    if task.kind == "weight":
        core_weight.conv_weight(
            task.x, task.grad, source.shapes, target.shapes, task.low, source.offsets, target.offsets, geometry,
            task.groups, task.out,
        )
        return
    run_conv(task)


def run_conv(task: Task, dot: bool = False) -> None:
    """A forward or transposed convolution; with ``dot``, lanes are channels of x and no filters."""
    source, target = task.source, task.target
    bias = np.empty(0, dtype=task.x.dtype) if task.bias is None else task.bias
    core.conv(
        task.x, source.shapes, target.shapes, task.low, source.offsets, target.offsets, task.geometry,
        task.kind == "transposed", packed_weight(task, dot), bias, task.groups, dot, task.activation, task.out,
    )


def packed_weight(task: Task, dot: bool = False) -> Array:
    """The task's weight in panels, kept in its packs."""
    weight, geometry, transposed = task.weight, task.geometry, task.kind == "transposed"
    assert weight is not None
    key = (transposed, task.flip, task.groups, dot, geometry.tobytes() if transposed else b"", isa.current())
    found: Array | None = None if task.packs is None else task.packs.get(key)
    if found is not None:
        return found
    flat = np.ascontiguousarray(weight).reshape(math.prod(weight.shape[:-2]), *weight.shape[-2:])
    arguments: tuple[Any, ...] = (flat, geometry, transposed, task.flip, task.groups, dot)
    packed: Array = empty(1, panels.pack(*arguments, np.empty(0, dtype=weight.dtype)), weight.dtype)[0]
    panels.pack(*arguments, packed)
    if task.packs is not None:
        task.packs[key] = packed
    return packed
