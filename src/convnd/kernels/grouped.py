"""Convolutions in many small groups: vectors over the filters of several groups."""

from __future__ import annotations

from .._core import isa
from . import depthwise, direct
from .task import Mask, Task

algorithm = "direct"
SIZES = (2, 4, 8)


def refuses(task: Task) -> str | None:
    """Groups of other sizes than the tiles have."""
    channels, filters = task.channels // task.groups, task.filters // task.groups
    if channels != filters or channels not in SIZES or channels >= isa.lanes(task.x.itemsize):
        return "small groups must have as many filters as channels, 2, 4 or 8, and less than a vector of them"
    return None


def takes(task: Task) -> bool | Mask:
    """From two groups on."""
    return task.groups > 1


def run(task: Task) -> None:
    """The direct driver, with other tiles; the depthwise one of a weight gradient."""
    if task.kind == "weight":
        depthwise.run_weight(task)
    else:
        direct.run_conv(task, "groups")
