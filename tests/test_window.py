"""Shape arithmetic, against brute force that walks the padded axis."""

import itertools
import math

import numpy as np
import pytest

from convnd.errors import ArgumentError, ShapeError
from convnd.kernels import proportional_regions, window_regions
from convnd.layout import Layout
from convnd.window import Window

SETTINGS = list(itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2)))  # kernel, stride, dilation


def walk(size, kernel, stride, dilation, low, high):
    """Where windows start on an axis with padding: as long as the whole window fits."""
    extent = dilation * (kernel - 1) + 1
    return [start for start in range(-low, size + high - extent + 1) if (start + low) % stride == 0]


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SETTINGS)
@pytest.mark.parametrize("pair", [(0, 0), (2, 1), (0, 3)])
def test_explicit_padding(kernel, stride, dilation, pair):
    sizes = np.arange(9, 20).reshape(-1, 1)
    place = Window.of(1, kernel, stride, (pair,), dilation).on(Layout(sizes))
    wanted = [len(walk(int(size), kernel, stride, dilation, *pair)) for size in sizes[:, 0]]
    assert place.output.shapes[:, 0].tolist() == wanted
    assert (place.low == pair[0]).all()


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SETTINGS)
def test_same_covers_every_stride_and_puts_the_odd_one_last(kernel, stride, dilation):
    sizes = np.arange(1, 20).reshape(-1, 1)
    layout = Layout(sizes)
    upper = Window.of(1, kernel, stride, "same", dilation).on(layout)
    lower = Window.of(1, kernel, stride, "same_lower", dilation).on(layout)
    for row, size in enumerate(sizes[:, 0].tolist()):
        output = -(-size // stride)
        total = max((output - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        assert upper.output.shape(row) == lower.output.shape(row) == (output,)
        assert upper.low[row, 0] == total // 2
        assert lower.low[row, 0] == total - total // 2


def test_causal_reads_the_past_alone_on_the_first_axis():
    place = Window.of(2, 3, 1, "causal", 2).on(Layout([[7, 6], [4, 9]]))
    assert place.output == place.input
    assert place.low.tolist() == [[4, 2], [4, 2]]  # the last tap of the first axis is the output's own position


def test_full_is_every_overlap():
    place = Window.of(1, 3, 1, "full", 2).on(Layout([[5]]))
    assert place.output.shape(0) == (5 + 4,)


def test_a_placement_is_kept_by_its_layout():
    layout = Layout([[5, 6]])
    assert Window.of(2, 3).on(layout) is Window.of(2, (3, 3)).on(layout)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SETTINGS)
@pytest.mark.parametrize("padding", ["valid", "same", "full", ((1, 2),)], ids=str)
def test_transposed_inverts_the_convolution(kernel, stride, dilation, padding):
    window = Window.of(1, kernel, stride, padding, dilation)
    inputs = Layout(np.arange(9, 25).reshape(-1, 1))
    outputs = window.on(inputs).output
    place = window.transposed_on(outputs, like=inputs)
    assert place.input == inputs
    assert place.output == outputs
    back = window.transposed_on(outputs).input
    if padding == "same":
        assert (back.shapes == outputs.shapes * stride).all()
    assert window.on(back).output == outputs


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), SETTINGS)
def test_regions_cover_what_the_formula_says(kernel, stride, dilation, ceil_mode):
    layout = Layout(np.arange(9, 16).reshape(-1, 1))
    pad = min(1, kernel // 2)
    place = Window.of(1, kernel, stride, pad, dilation, ceil_mode).on(layout)
    regions = window_regions(place)
    at_output = at_input = 0
    for size, outputs in zip(layout.shapes[:, 0].tolist(), place.output.shapes[:, 0].tolist(), strict=True):
        covered = [
            [p for p in (q * stride + j * dilation - pad for j in range(kernel)) if 0 <= p < size]
            for q in range(outputs)
        ]
        for q, positions in enumerate(covered):
            first, count, tap = (int(t[at_output + q]) for t in (regions.first, regions.count, regions.tap))
            assert [first + i * dilation for i in range(count)] == positions
            assert first == q * stride + tap * dilation - pad
        for p in range(size):
            begin, end = int(regions.begin[at_input + p]), int(regions.end[at_input + p])
            holders = [q for q, positions in enumerate(covered) if p in positions]
            assert all(begin <= q < end for q in holders)
            reach = p + pad
            assert begin == max(0, math.ceil((reach - (kernel - 1) * dilation) / stride))
            assert end == min(outputs, reach // stride + 1)
        at_output += outputs
        at_input += size


@pytest.mark.parametrize("kernel", [(1,), (3,), (4, 2), (2, 3, 1)])
def test_regions_of_windows_side_by_side(kernel, rng):
    layout = Layout(rng.integers(4, 12, (9, len(kernel))))
    place = Window.of(len(kernel), kernel, kernel).on(layout)
    regions = window_regions(place)
    sizes, outputs = layout.shapes.reshape(-1).tolist(), place.output.shapes.reshape(-1).tolist()
    k = [kernel[row % len(kernel)] for row in range(len(sizes))]
    assert outputs == [size // each for size, each in zip(sizes, k, strict=True)]
    rows = list(zip(sizes, outputs, k, strict=True))
    assert regions.first.tolist() == [q * each for _, n, each in rows for q in range(n)]
    assert regions.count.tolist() == [each for _, n, each in rows for _ in range(n)]
    assert not regions.tap.any()
    held = [[q for q in range(n) if q * each <= p < (q + 1) * each] for size, n, each in rows for p in range(size)]
    assert [list(range(*ends)) for ends in zip(regions.begin, regions.end, strict=True)] == held


@pytest.mark.parametrize("bins", [1, 2, 3, 4, 7])
def test_proportional_regions(bins):
    layout = Layout(np.arange(1, 12).reshape(-1, 1))
    regions = proportional_regions(layout, (bins,))
    starts = 0
    for row, size in enumerate(layout.shapes[:, 0].tolist()):
        covered = [list(range(i * size // bins, -(-(i + 1) * size // bins))) for i in range(bins)]
        firsts = regions.first[row * bins : (row + 1) * bins].tolist()
        counts = regions.count[row * bins : (row + 1) * bins].tolist()
        assert [list(range(f, f + c)) for f, c in zip(firsts, counts, strict=True)] == covered
        assert sorted({p for positions in covered for p in positions}) == list(range(size))
        for p in range(size):
            holders = [q for q, positions in enumerate(covered) if p in positions]
            assert holders == list(range(int(regions.begin[starts + p]), int(regions.end[starts + p])))
        starts += size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 0}, "kernel_size must be an int of at least 1, or 2"),
        ({"kernel": (3, 3, 3)}, "kernel_size .* Received: kernel_size=\\(3, 3, 3\\)"),
        ({"kernel": 3, "stride": 1.5}, "stride must"),
        ({"kernel": 3, "dilation": "2"}, "dilation must"),
        ({"kernel": 3, "padding": "half"}, "padding must be one of valid"),
        ({"kernel": 3, "padding": -1}, "padding must be"),
        ({"kernel": 3, "padding": ((1, 2),)}, "there are 2 axes"),
    ],
)
def test_window_refuses(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Window.of(2, **arguments)


def test_errors_name_the_sample():
    with pytest.raises(
        ShapeError, match="sample 1 is too short for the window: axis 0 has 2 positions, the window spans 3"
    ):
        Window.of(1, 3).on(Layout([[5], [2]]))
    with pytest.raises(ShapeError, match="sample 2 has no positions"):
        Window.of(1, 3, padding="same").on(Layout([[5], [2], [0]]))
    with pytest.raises(
        ShapeError, match=r"sample 0: a convolution maps the wanted size \(9,\) to \(5,\), not back to the"
    ):
        Window.of(1, 2, 2, "same").transposed_on(Layout([[4]]), like=Layout([[9]]))
    with pytest.raises(ArgumentError, match="output_padding must be below"):
        Window.of(1, 3, 2).transposed_on(Layout([[4]]), output_padding=2)
