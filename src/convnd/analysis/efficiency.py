"""What one linear operation costs as a convolution, and as the layers that could do its work (section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ArgumentError, ShapeError
from ..kernels import window_regions
from ..nn.arguments import count, product
from ..nn.spec import Spec
from ..window import Window, per_axis
from .connections import check_groups, given_spec, one_sample


@dataclass(frozen=True)
class Cost:
    """One way of doing it: the numbers that describe it, its products, and the book's floating point operations."""

    name: str
    parameters: int
    multiply_adds: int
    operations: int


@dataclass(frozen=True)
class Costs:
    """The table that ``str`` prints, for ONE sample; a row by its name: ``costs["convolution"]``."""

    input: tuple[int, ...]
    output: tuple[int, ...]
    rows: tuple[Cost, ...]

    def __getitem__(self, name: str) -> Cost:
        for row in self.rows:
            if row.name == name:
                return row
        raise ArgumentError(f"a row is one of {', '.join(row.name for row in self.rows)}. Received: {name!r}")

    def __iter__(self) -> Iterator[Cost]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        head = ("", "parameters", "multiply-adds", "operations")
        body = [(row.name, *(f"{n:,}" for n in (row.parameters, row.multiply_adds, row.operations))) for row in self]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [
            "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) for cells in (head, *body)
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def costs(
    shape: tuple[int, ...],
    kernel: Any,
    filters: int = 1,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    tile: Any = 2,
) -> Costs:
    """Parameters, multiply-adds and operations of a convolution, and of other layers with its inputs and outputs.

    The rows, for k taps, C input channels, F filters, P output positions:

    ======================== ================================ ==========================================================
    convolution              k C / groups F                   one kernel for all positions
    tiled                    tile k C / groups F              kernels that take turns
    locally connected        P k C / groups F                 a kernel of its own at each position
    sparse matrix            one for each product             the convolution's matrix without its zeros
    fully connected          inputs outputs                   the matrix with its zeros
    depthwise-separable      k C + C / groups F               a kernel a channel, then 1 x 1: a smaller family
    ======================== ================================ ==========================================================

    A weighted sum of n terms takes n multiplications and n - 1 additions, so a convolution's output takes 2 n - 1
    operations. The matrix with its zeros is multiplied as the book has it, each sum starting at zero: 2 operations an
    entry. Products with padding aren't counted anywhere, since no operation here does them (``summary`` counts them).

    Parameters
    ----------
    shape : tuple of ints
        (*S, C), the sample's spatial shape and its channels.
    kernel : int, or one an axis
    filters : int
    stride, padding, dilation, groups
        As :func:`convnd.ops.conv` has them. Biases aren't counted.
    tile : int, or one an axis
        Kernels of the tiled convolution along each axis.

    Raises
    ------
    ShapeError
        If the sample is too short for the window, or groups don't divide channels and filters.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.2 and figure 9.6.

    Examples
    --------
    The book's edge detector: each pixel less its left neighbour.

    >>> print(costs((280, 320, 1), (1, 2)))
                            parameters  multiply-adds      operations
    -----------------------------------------------------------------
    convolution                      2        178,640         267,960
    tiled                            8        178,640         267,960
    locally connected          178,640        178,640         267,960
    sparse matrix              178,640        178,640         267,960
    fully connected      8,003,072,000  8,003,072,000  16,006,144,000
    depthwise-separable              3        267,960         357,280
    """
    given = given_spec(shape)
    filters = count(filters, "filters")
    groups = check_groups(groups, filters)
    if given.channels % groups:
        raise ShapeError(f"groups must divide the {given.channels} channels. Received: groups={groups}")
    tiles = product(per_axis(tile, given.ndim, "tile"))
    window = Window.of(given.ndim, kernel, stride, padding, dilation)
    return _table(given, window, filters, groups, tiles)


def _table(given: Spec, window: Window, filters: int, groups: int, tiles: int) -> Costs:
    place = window.on(one_sample(given.shape or ()))
    outputs, reading, met = _counts(place)
    channels, terms, taps = given.channels, given.channels // groups, product(window.kernel)
    shared = taps * terms * filters
    products = met * terms * filters
    entries = given.positions * channels * outputs * filters
    once = _sums(products, reading * filters)
    pointwise = outputs * terms * filters
    apart = _sums(met * channels, reading * channels) + _sums(pointwise, outputs * filters)
    rows = (
        Cost("convolution", shared, products, once),
        Cost("tiled", tiles * shared, products, once),
        Cost("locally connected", outputs * shared, products, once),
        Cost("sparse matrix", products, products, once),
        Cost("fully connected", entries, entries, 2 * entries),
        Cost("depthwise-separable", taps * channels + terms * filters, met * channels + pointwise, apart),
    )
    return Costs((*place.input.shape(0), channels), (*place.output.shape(0), filters), rows)


def _counts(place: Any) -> tuple[int, int, int]:
    """Output positions, those that read any input at all, and (output, tap) that meet an input."""
    regions = window_regions(place)
    reading = met = 1
    start = 0
    for outputs in place.output.shape(0):
        taps = regions.count[start : start + outputs]
        start += outputs
        reading *= int((taps > 0).sum())
        met *= int(taps.sum())
    return product(place.output.shape(0)), reading, met


def _sums(products: int, sums: int) -> int:
    """Multiplications and additions of so many products in so many sums."""
    return products + products - sums
