"""What an operation costs: the book's figures, and counts by loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convnd as cn
from convnd import nn
from convnd.analysis import Cost, costs
from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout
from convnd.window import Window


def test_the_books_edge_detector() -> None:
    """Section 9.2 and figure 9.6 of Deep Learning."""
    table = costs((280, 320, 1), (1, 2))
    assert table.output == (280, 319, 1)
    convolution, matrix, sparse = (table[name] for name in ("convolution", "fully connected", "sparse matrix"))
    assert convolution.parameters == 2
    assert matrix.parameters == 319 * 280 * 320 * 280 == 8_003_072_000
    assert convolution.operations == 319 * 280 * 3 == 267_960
    assert matrix.operations == 16_006_144_000
    assert sparse.parameters == 2 * 319 * 280 == 178_640
    assert sparse.operations == convolution.operations
    # "four billion times more efficient for representing", "roughly 60,000 times more efficient computationally"
    assert matrix.parameters / convolution.parameters == pytest.approx(4e9, rel=0.01)
    assert matrix.operations / convolution.operations == pytest.approx(60_000, rel=0.01)
    assert table["locally connected"] == Cost("locally connected", 178_640, 178_640, 267_960)


def by_loops(shape: tuple[int, ...], kernel: tuple[int, ...], filters: int, options: dict[str, Any]) -> dict[str, Any]:
    """(parameters, multiply-adds, operations) of each row, one output after the other."""
    channels, groups = shape[-1], options.pop("groups")
    tile = options.pop("tile")
    place = Window.of(len(kernel), kernel, **options).on(Layout([shape[:-1]]))
    terms, taps, outputs = channels // groups, int(np.prod(kernel)), place.output.positions
    products = operations = apart = apart_products = 0
    for q in np.ndindex(place.output.shape(0)):
        met = 0
        for j in np.ndindex(kernel):
            p = np.multiply(q, place.window.stride) + np.multiply(j, place.window.dilation) - place.low[0]
            met += bool(np.all(p >= 0) and np.all(p < shape[:-1]))
        terms_of_sum = met * terms
        products += filters * terms_of_sum
        operations += filters * (terms_of_sum + max(terms_of_sum - 1, 0))
        apart_products += channels * met + filters * terms
        apart += channels * (met + max(met - 1, 0)) + filters * (2 * terms - 1)
    one = taps * terms * filters
    inputs = int(np.prod(shape))
    return {
        "convolution": (one, products, operations),
        "tiled": (int(np.prod(tile)) * one, products, operations),
        "locally connected": (outputs * one, products, operations),
        "sparse matrix": (products, products, operations),
        "fully connected": (inputs * outputs * filters,) * 2 + (2 * inputs * outputs * filters,),
        "depthwise-separable": (taps * channels + terms * filters, apart_products, apart),
    }


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_counts_by_loops(ndim: int) -> None:
    rng = np.random.default_rng(ndim)
    for _ in range(12):
        groups = int(rng.integers(1, 4))
        channels, filters = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
        kernel, stride, dilation, tile = (tuple(rng.integers(1, 4, ndim).tolist()) for _ in range(4))
        padding = ("valid", "same", "causal", "full", tuple((4, 1) for _ in range(ndim)))[rng.integers(5)]
        shape = (*(int(n) for n in rng.integers(7, 9, ndim)), channels)
        options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, "tile": tile}
        table = costs(shape, kernel, filters, **options)
        wanted = by_loops(shape, kernel, filters, dict(options))
        assert {row.name: (row.parameters, row.multiply_adds, row.operations) for row in table} == wanted


def test_they_are_the_matrix_and_the_layers() -> None:
    pytest.importorskip("scipy")
    options: dict[str, Any] = {"stride": 2, "padding": "same", "groups": 2}
    table = costs((9, 8, 4), 3, 6, **options)
    matrix = cn.toeplitz(np.ones((3, 3, 2, 6)), (9, 8), **options)
    assert table["sparse matrix"].parameters == matrix.nnz
    assert table["fully connected"].parameters == matrix.shape[0] * matrix.shape[1]
    assert costs((9, 8, 4), 3, 6)["convolution"].multiply_adds == nn.summary(nn.Conv(6, 3), (9, 8, 4)).multiply_adds
    apart = nn.summary(nn.Sequential(nn.DepthwiseConv(3, bias=False), nn.Conv(6, 1, bias=False)), (9, 8, 4))
    row = costs((9, 8, 4), 3, 6)["depthwise-separable"]
    assert (row.parameters, row.multiply_adds) == (apart.parameters, apart.multiply_adds)


def test_the_table() -> None:
    table = costs((5, 1), 2)
    assert str(table).splitlines()[2].split() == ["convolution", "2", "8", "12"]
    assert table.to_dict()["rows"][0] == {"name": "convolution", "parameters": 2, "multiply_adds": 8, "operations": 12}
    with pytest.raises(ArgumentError, match=r"a row is one of convolution, tiled, .* Received: 'dense'"):
        table["dense"]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (((2, 1), 3), {}, ShapeError, "sample 0 is too short for the window"),
        (((5, 3), 3, 4), {"groups": 2}, ShapeError, "groups must divide the 3 channels. Received: groups=2"),
        (((5, 4), 3, 3), {"groups": 2}, ShapeError, "groups must divide the 3 filters"),
        (((5, 4), 3, 0), {}, ArgumentError, "filters must be an int of at least 1"),
        ((5, 3), {}, ShapeError, r"shape must be a tuple \(\*spatial, channels\). Received: shape=5"),
        (((5, 1), 3), {"tile": 0}, ArgumentError, "tile must be an int of at least 1"),
    ],
)
def test_errors(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        costs(*arguments, **options)
