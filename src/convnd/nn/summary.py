"""What a network costs: shapes, parameters, multiply-adds and memory, layer by layer, without running it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError
from .arguments import product
from .init import Initial
from .layer import Layer, Maker, Place, plan
from .pool import Flatten
from .spec import Spec


@dataclass(frozen=True)
class Row:
    """One place of a layer. ``parameters`` are counted at the first place of a shared layer."""

    path: str
    type: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    bytes: int


@dataclass(frozen=True)
class Summary:
    """The table that ``str`` prints, its rows and totals, for ONE sample of the shape given.

    ``multiply_adds`` counts the products of convolutions, linear layers and normalisation, with those of padded
    positions; ``bytes`` is the memory of every layer's result, which training keeps for the gradient.
    """

    input: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        head = ("layer", "type", "output", "parameters", "multiply-adds", "memory")
        body = [("input", "", _shape(self.input), "", "", "")]
        body += [
            (row.path, row.type, _shape(row.output), f"{row.parameters:,}", f"{row.multiply_adds:,}", _size(row.bytes))
            for row in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", _size(self.bytes))
        widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [_line(head, widths), rule, *(_line(cells, widths) for cells in body), rule, _line(total, widths)]
        if self.trainable != self.parameters:
            lines.append(f"trainable parameters: {self.trainable:,}")
        return "\n".join(lines)


def summary(net: Layer, shape: tuple[int, ...]) -> Summary:
    """Shapes, parameters, multiply-adds and activation memory of a network on one sample.

    Parameters
    ----------
    net : Layer
        Built or not; it isn't changed.
    shape : tuple of ints
        (*S, C), the sample's spatial shape and its channels.

    Raises
    ------
    ShapeError
        If the sample doesn't fit the network.

    Examples
    --------
    >>> from convnd import nn
    >>> print(nn.summary(nn.Sequential(nn.Conv(4, 3), nn.GlobalPool(), nn.Linear(2)), (28, 28, 1)))
    layer        type        output       parameters  multiply-adds    memory
    -------------------------------------------------------------------------
    input                    28 x 28 x 1
    conv1        Conv        26 x 26 x 4          40         24,336  10.6 KiB
    globalpool1  GlobalPool  4                     0              0      16 B
    linear1      Linear      2                    10              8       8 B
    -------------------------------------------------------------------------
    total                                         50         24,344  10.6 KiB
    """
    if not isinstance(shape, (tuple, list)) or not shape:
        raise ShapeError(f"shape must be a tuple (*spatial, channels). Received: shape={shape!r}")
    given = Spec.of(len(shape) - 1, shape[-1], tuple(shape[:-1]))
    places, unbuilt = plan(net, given, _Sizes.of)
    sizes = _sizes(net) | {id(layer): new for layer, _, new in unbuilt if isinstance(new, _Sizes)}
    counted: set[int] = set()
    rows = tuple(_row(place, sizes, counted, _itemsize(net)) for place in places if not any(place.layer.children()))
    return Summary(
        input=(*(given.shape or ()), given.channels),
        rows=rows,
        parameters=sum(row.parameters for row in rows),
        trainable=sum(sizes[id(layer)].trainable for _, layer in net.walk()),
        multiply_adds=sum(row.multiply_adds for row in rows),
        bytes=sum(row.bytes for row in rows),
    )


class _Sizes(Maker):
    """Counts parameters, where a Maker makes them."""

    def __init__(self, frozen: bool = False) -> None:
        self.total = self.trainable = 0
        self._frozen = frozen

    @classmethod
    def of(cls, layer: Layer, path: str) -> _Sizes:
        return cls(layer.frozen)

    def parameter(self, name: str, shape: tuple[int, ...], init: Initial, fans: tuple[int, int] = (1, 1)) -> None:
        self.add(product(shape), not self._frozen)

    def buffer(self, name: str, shape: tuple[int, ...], value: float) -> None:
        """Not a parameter."""

    def add(self, size: int, trainable: bool) -> None:
        """Count ``size`` parameters."""
        self.total += size
        self.trainable += size if trainable else 0


def _sizes(net: Layer) -> dict[int, _Sizes]:
    """The sizes of the layers that are built."""
    sizes: dict[int, _Sizes] = {}
    for _, layer in net.walk():
        sizes[id(layer)] = _Sizes()
        for parameter in layer.params.values():
            sizes[id(layer)].add(parameter.values.size, parameter.requires_grad)
    return sizes


def _row(place: Place, sizes: dict[int, _Sizes], counted: set[int], itemsize: int) -> Row:
    layer, output = place.layer, place.output
    parameters = 0 if id(layer) in counted else sizes[id(layer)].total
    counted.add(id(layer))
    return Row(
        path=place.path or type(layer).__name__.lower(),
        type=type(layer).__name__,
        output=(*(output.shape or ()), output.channels),
        parameters=parameters,
        multiply_adds=layer.cost(*place.inputs, output=output),
        bytes=0 if isinstance(layer, Flatten) else output.positions * output.channels * itemsize,
    )


def _itemsize(net: Layer) -> int:
    """Bytes of one value: results have the dtype of the parameters."""
    return next((parameter.dtype.itemsize for parameter in net.parameters()), np.dtype(np.float32).itemsize)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Text to the left, figures to the right."""
    parts = [
        cell.ljust(width) if column < 3 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()
