"""Convolutions to few filters from many channels: vectors lie along the channels, as filters would not fill them."""

from __future__ import annotations

from .._core import isa
from . import direct
from .task import Mask, Operation, Task

algorithm = "direct"


def refuses(task: Task) -> str | None:
    """What has no whole vectors of channels, and weight gradients."""
    if task.kind == "weight":
        return "vectors along channels are for forward and transposed convolutions"
    lanes = isa.lanes(task.x.itemsize)
    if task.channels // task.groups % lanes:
        return f"vectors along channels need a multiple of {lanes} channels a group"
    return None


def takes(task: Task) -> bool | Mask:
    """Where a vector of filters would be less than three quarters full."""
    return fits(task.operation)


def fits(operation: Operation) -> bool:
    """Whether it would do this directly."""
    lanes, groups = isa.lanes(operation.dtype.itemsize), operation.groups
    return bool(operation.channels // groups % lanes == 0 and operation.filters // groups <= lanes * 3 // 4)


def run(task: Task) -> None:
    """The direct driver, with other tiles."""
    direct.run_conv(task, "channels")
