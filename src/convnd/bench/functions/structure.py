"""Padding, cropping and resizing; batches joined, multiplied and taken apart; channels in another order."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import ops
from ...layout import Layout
from .function import BATCH, Array, Function, Weight, along, axes, channels, positions, torch_module

GROUPS = 4  # of a shuffle


def _like(x: Any, by: int) -> Layout:
    """The layout with so many positions more on every axis."""
    count, *size = x.layout.box
    return Layout.dense(count, [each + by for each in size])


def _crop(x: Array, weight: Array) -> Array:
    return x[:, *[slice(1, -1)] * (x.ndim - 2)]


def _edges(x: Array) -> list[tuple[int, int]]:
    """One position on both sides of every axis."""
    return [(0, 0), *[(1, 1)] * (x.ndim - 2), (0, 0)]


def _doubled(x: Array, weight: Array) -> Array:
    """Linear interpolation, axis by axis: output q reads at (q + 1/2) / 2 - 1/2."""
    for axis in positions(x):
        size = x.shape[axis]
        at = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
        x = along(np.maximum(1 - np.abs(at[:, None] - np.arange(size)), 0), x, axis)
    return x


def _exchanged(x: Array, weight: Array) -> Array:
    return np.roll(x, x.shape[-1] // 2, axis=-1)


def _our_exchange(x: Any, weight: Any) -> Any:
    return ops.concat(ops.split(x, [x.channels // 2] * 2)[::-1])


def _torch_exchange(f: Any, x: Any, weight: Any) -> Any:
    return torch_module().cat(x.split(x.shape[1] // 2, 1)[::-1], 1)


def _shuffled(x: Array, weight: Array) -> Array:
    return x.reshape(*x.shape[:-1], GROUPS, -1).swapaxes(-1, -2).reshape(x.shape)


def _scaled(x: Array, factor: Array) -> Array:
    y: Array = x * factor.reshape(len(x), *[1] * (x.ndim - 2), -1)
    return y


STRUCTURE: dict[str, Function] = {
    "add": Function(
        "+ another", lambda x, w: ops.add([x, w]), lambda f, x, w: x + w, np.add, weight=BATCH, reads=""
    ),
    "multiply": Function(
        "x another", lambda x, w: ops.multiply([x, w]), lambda f, x, w: x * w, np.multiply, weight=BATCH, reads="w"
    ),
    "scale_channels": Function(
        "channels scaled by the sample", ops.scale_channels, lambda f, x, w: x * w[(..., *[None] * (x.ndim - 2))],
        _scaled, weight=Weight(lambda case: (case.batch, case.channels), by_sample=True), reads="w",
    ),
    "concat": Function(
        "joined to another", lambda x, w: ops.concat([x, w]), lambda f, x, w: torch_module().cat((x, w), 1),
        lambda x, w: np.concatenate([x, w], axis=-1), channels(lambda n: 2 * n), weight=BATCH, reads="",
    ),
    "split": Function("halves exchanged", _our_exchange, _torch_exchange, _exchanged, reads=""),
    "channel_shuffle": Function(
        "channels shuffled, 4 groups", lambda x, w: ops.channel_shuffle(x, GROUPS),
        lambda f, x, w: torch_module().channel_shuffle(x, GROUPS), _shuffled, reads="",
    ),
    "crop": Function(
        "cropped by 1", lambda x, w: ops.crop(x, 1), lambda f, x, w: f.pad(x, (-1, -1, -1, -1)), _crop,
        axes(lambda n: n - 2), reads="",
    ),
    "crop_like": Function(
        "cropped to another's size", lambda x, w: ops.crop_like(x, _like(x, -2)),
        lambda f, x, w: f.pad(x, (-1, -1, -1, -1)), _crop, axes(lambda n: n - 2), reads="",
    ),
    "pad": Function(
        "reflected by 1", lambda x, w: ops.pad(x, 1, "reflect"), lambda f, x, w: f.pad(x, (1, 1, 1, 1), "reflect"),
        lambda x, w: np.pad(x, _edges(x), "reflect"), axes(lambda n: n + 2), reads="",
    ),
    "pad_like": Function(
        "zeros to another's size", lambda x, w: ops.pad_like(x, _like(x, 2)), lambda f, x, w: f.pad(x, (1, 1, 1, 1)),
        lambda x, w: np.pad(x, _edges(x)), axes(lambda n: n + 2), reads="",
    ),
    "flatten": Function(
        "flattened", lambda x, w: ops.flatten(x), lambda f, x, w: x.movedim(1, -1).flatten(1),
        lambda x, w: x.reshape(len(x), -1), lambda shape: (prod(shape),), reads="",
    ),
    "resize": Function(
        "twice as large, linear", lambda x, w: ops.resize(x, scale=2, mode="linear"),
        lambda f, x, w: f.interpolate(x, scale_factor=2, mode="bilinear"), _doubled, axes(lambda n: 2 * n), reads="",
    ),
}  # fmt: skip
