"""Receptive fields: known figures, and the rules against gradients."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import pytest

from convnd import nn
from convnd.analysis import Field, confirm_receptive_fields, gradient, receptive_fields, rules, seen_by_gradient
from convnd.errors import ArgumentError, ShapeError


def figures(field: Field) -> tuple[Any, Any, Any]:
    return field.size, field.stride, field.offset


def test_figure_9_4_deeper_units_see_more() -> None:
    net = nn.Sequential(nn.Conv(1, 3, padding="same"), nn.Conv(1, 3, padding="same"))
    fields = receptive_fields(net, (5, 1))
    assert figures(fields["conv1"]) == ((3,), (1,), (-1,))
    assert figures(fields["conv2"]) == ((5,), (1,), (-2,))
    assert fields["conv1"].inputs((2,)) == (slice(1, 4),)
    assert fields["conv2"].inputs((2,)) == (slice(0, 5),)
    assert fields["conv2"].inputs((0,)) == (slice(0, 3),)


def test_alexnet() -> None:
    """The figures of Araujo, Norris and Sim, Distill 2019, for AlexNet v2: size 195, stride 32."""
    net = nn.Sequential(
        nn.Conv(8, 11, stride=4), nn.MaxPool(3, stride=2), nn.Conv(8, 5, padding="same"), nn.MaxPool(3, stride=2),
        nn.Conv(8, 3, padding="same"), nn.Conv(8, 3, padding="same"), nn.Conv(8, 3, padding="same"),
        nn.MaxPool(3, stride=2),
    )  # fmt: skip
    rows = [(row.field.size[0], row.field.stride[0]) for row in receptive_fields(net, (224, 224, 3))]
    assert rows == [(11, 4), (19, 8), (51, 8), (67, 16), (99, 16), (131, 16), (163, 16), (195, 32)]


def test_each_axis_has_its_own() -> None:
    net = nn.Sequential(nn.Conv(2, (3, 1, 2), stride=(2, 1, 3), dilation=(1, 1, 4), padding=((1, 0), (0, 0), (2, 2))))
    assert figures(receptive_fields(net, (9, 4, 20, 1)).output) == ((3, 1, 5), (2, 1, 3), (-1, 0, -2))


def test_global_pooling_and_flatten_see_the_whole_sample() -> None:
    for last in (nn.GlobalPool("max"), nn.Flatten(), nn.ProportionalPool(1)):
        fields = confirm_receptive_fields(nn.Sequential(nn.Conv(2, 3, padding="same"), last), (11, 6, 1))
        assert fields.output.size == (11, 6)
        assert fields.output.offset == (0, 0)
    fields = confirm_receptive_fields(nn.Sequential(nn.GlobalPool(), nn.Linear(3), nn.Activation("softmax")), (7, 2))
    assert figures(fields["linear1"]) == ((7,), (0,), (0,))
    assert fields.output.inputs(()) == (slice(0, 7),)
    # What a stride passes over, nobody sees.
    skipping = confirm_receptive_fields(nn.Sequential(nn.Conv(1, 2, stride=3), nn.GlobalPool()), (9, 1))
    assert skipping.output.size == (8,)


def test_bins_in_proportion_see_their_share() -> None:
    rng = np.random.default_rng(0)
    for size, bins in rng.integers(1, 30, (60, 2)).tolist():
        field = receptive_fields(nn.ProportionalPool(bins), (size, 1)).output
        assert field.stride == (Fraction(size, bins) if bins > 1 else 0,)
        for q in range(bins):
            start = field.offset[0] + q * field.stride[0]
            assert field.inputs((q,)) == (slice(ceil(start), floor(start + field.size[0] - 1) + 1),)
            assert field.inputs((q,)) == (slice(q * size // bins, -(-(q + 1) * size // bins)),)


def layers(rng: np.random.Generator, ndim: int) -> list[nn.Layer]:
    """A random network that keeps the rank."""

    def ints(least: int, most: int) -> tuple[int, ...]:
        return tuple(rng.integers(least, most + 1, ndim).tolist())

    kinds = [
        lambda: nn.Conv(2, ints(1, 3), stride=ints(1, 2), padding="same", dilation=ints(1, 2), activation="relu"),
        lambda: nn.Conv(2, ints(1, 3), padding=ints(0, 1), bias=False),
        lambda: nn.DepthwiseConv(ints(1, 3), padding="causal"),
        lambda: nn.MaxPool(ints(1, 2), padding="same", ceil_mode=True),
        lambda: nn.AvgPool(ints(1, 3), stride=1, padding="same_lower"),
        lambda: nn.BatchNorm(activation="tanh"),
        lambda: nn.Dropout(0.5),
        lambda: nn.Activation("gelu"),
        lambda: nn.ConvTranspose(2, ints(1, 3), stride=ints(1, 3), padding="same"),
        lambda: nn.ConvTranspose(2, ints(2, 3), stride=ints(1, 3), dilation=ints(1, 2)),
        lambda: nn.ProportionalPool(ints(2, 7), mode="mean"),
        lambda: nn.Resize(size=ints(1, 9), mode=("nearest", "nearest_exact", "linear")[rng.integers(3)]),
        lambda: nn.Resize(scale=(0.6, 1.5, 3.0, 2 / 3)[rng.integers(4)], mode=("nearest", "linear")[rng.integers(2)]),
        lambda: nn.Resize(size=ints(1, 9), mode="linear", align_corners=True),
        lambda: nn.Pad(tuple((a, b) for a, b in zip(ints(0, 1), ints(0, 2), strict=True)), "constant", 2.0),
        lambda: nn.Sequential(nn.Pad(1, ("replicate", "circular")[rng.integers(2)]), nn.Crop(ints(0, 1))),
        lambda: nn.SeparableConv(2, ints(1, 3), stride=ints(1, 2), padding="causal"),
        lambda: nn.DepthwiseSeparableConv(3, ints(1, 3), padding="same"),
        lambda: nn.WeightNorm(nn.Conv(2, ints(1, 3), padding="same_lower")),
        lambda: nn.LpPool(ints(1, 3), stride=1, padding="same"),
        lambda: nn.WeightedPool(ints(1, 3), sigma=0.05, stride=1, padding="same"),
        lambda: nn.StochasticPool(ints(1, 2), padding="same"),
        lambda: nn.PoolChannels([0], ints(1, 3), stride=1, padding="same"),
        lambda: nn.PReLU(),
        lambda: nn.LayerNorm(),
        lambda: nn.LocalResponseNorm(3),
        lambda: nn.ChannelShuffle(1),
    ]
    return [kinds[number]() for number in rng.integers(len(kinds), size=int(rng.integers(1, 6)))]


def network(rng: np.random.Generator, ndim: int, most: int) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A random network and a sample's shape that is large enough for it."""
    while True:
        net = nn.Sequential(*layers(rng, ndim))
        shape = (*rng.integers(3, most, ndim).tolist(), 1)
        with contextlib.suppress(ShapeError):
            net.output(nn.Spec(ndim, 1, shape[:-1]))
            return net, shape


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_rules_against_gradients(ndim: int) -> None:
    rng = np.random.default_rng(ndim)
    for _ in range(60 if ndim < 3 else 10):
        confirm_receptive_fields(*network(rng, ndim, 9 if ndim < 3 else 6))


def test_what_is_seen_lies_within_the_rule_and_fills_it_inside() -> None:
    rng = np.random.default_rng(5)
    fractions = 0
    for _ in range(300):
        net, (size, _) = network(rng, 1, 30)
        field = receptive_fields(net, (size, 1)).output
        (width,), (stride,), (offset,) = figures(field)
        kinds = {type(layer) for _, layer in net.walk()}
        plain = kinds.isdisjoint({nn.ConvTranspose, nn.ProportionalPool, nn.Resize})
        padded = nn.Pad in kinds  # what it repeats at one end may come from the other
        fractions += not plain
        for q in range(len(field.first[0])):
            seen = field.inputs((q,))[0]
            start, end = offset + q * stride, offset + q * stride + width
            if seen.start < seen.stop and not padded:
                assert max(start, 0) <= seen.start < seen.stop <= end
            if plain and not padded and start >= 0 and end <= size:
                assert (seen.start, seen.stop) == (start, end)
        if plain:
            assert all(isinstance(value, int) for value in (width, stride, offset))
    assert 50 < fractions < 250


def test_a_transposed_convolution_divides_the_stride() -> None:
    field = receptive_fields(nn.ConvTranspose(1, 4, stride=2, padding=1), (5, 1)).output
    assert figures(field) == ((Fraction(5, 2),), (Fraction(1, 2),), (Fraction(-1),))
    assert [field.inputs((q,))[0] for q in range(4)] == [slice(0, 1), slice(0, 2), slice(0, 2), slice(1, 3)]
    holes = confirm_receptive_fields(nn.ConvTranspose(1, 1, stride=3), (2, 1)).output
    assert [holes.inputs((q,))[0] for q in range(4)] == [slice(0, 1), slice(0, 0), slice(0, 0), slice(1, 2)]


@pytest.mark.parametrize("norm", [nn.InstanceNorm(), nn.GroupNorm(2), nn.SqueezeExcite(), nn.LocalContrastNorm(3)])
def test_statistics_of_a_sample_see_all_of_it(norm: nn.Layer) -> None:
    fields = confirm_receptive_fields(nn.Sequential(nn.Conv(4, 3), norm, nn.Conv(2, 3)), (12, 2))
    assert figures(fields.output) == ((12,), (0,), (0,))
    assert fields.output.inputs((3,)) == (slice(0, 12),)


def test_layers_that_join_other_shapes() -> None:
    net = nn.Graph(
        {
            "encoder": nn.Conv(2, 3),
            "down": nn.Sequential(nn.MaxPool(2), nn.Conv(2, 3, padding="same")),
            "larger": nn.Node(nn.Resize(mode="linear"), "down", like="encoder"),
            "cropped": nn.Node(nn.CropLike(), "input", "larger"),
            "join": nn.Node(nn.Concat(), "larger", "cropped"),
            "gate": nn.Conv(1, 1, activation="sigmoid"),
            "gated": nn.Node(nn.Multiply(), "encoder", "gate"),
            "padded": nn.Node(nn.PadLike("start"), "gated", "input"),
            "padded_too": nn.Node(nn.PadLike(), "gated", "input"),
            "sum": nn.Node(nn.Add(), "padded", "padded_too"),
        }
    )
    confirm_receptive_fields(net, (13, 8, 1))
    for at in ("centre", "start"):
        odd = nn.Graph({"conv": nn.Conv(1, (4, 2)), "cut": nn.Node(nn.CropLike(at), "input", "conv")})
        confirm_receptive_fields(odd, (9, 8, 1))
        wide = nn.Graph({"conv": nn.Conv(1, (4, 2)), "pad": nn.Node(nn.PadLike(at), "conv", "input")})
        confirm_receptive_fields(wide, (9, 8, 1))
    excite = nn.Graph(
        {
            "conv": nn.Conv(2, 3),
            "means": nn.GlobalPool(),
            "weights": nn.Linear(2, activation="sigmoid"),
            "scaled": nn.Node(nn.ScaleChannels(), "conv", "weights"),
        }
    )
    field = confirm_receptive_fields(excite, (7, 1)).output
    assert field.stride == (0,)
    assert field.inputs((4,)) == (slice(0, 7),)
    words = nn.Sequential(nn.Embedding(9, 3), nn.Conv(8, 3), nn.Maxout(2), nn.SpatialPyramidPool((1, 2)))
    assert confirm_receptive_fields(words, (9, 1)).output.size == (9,)
    quarters = confirm_receptive_fields(nn.QuadrantPool(), (7, 4, 1)).output
    assert quarters.inputs((0, 1)) == (slice(0, 4), slice(2, 4))


def test_every_layer_has_a_rule_or_a_reason() -> None:
    """A new kind of layer gets its place in convnd.analysis.rules."""
    ours = [kind for kind in nn.Layer.types.values() if kind.__module__.startswith("convnd.")]
    windows = tuple(kinds for kinds, _ in rules._RULES)
    known = (*rules.POINTWISE, *rules.JOINS, *rules.WHOLE, *rules.BY_VALUE, *windows, nn.Graph, nn.WeightNorm)
    flat = tuple(np.concatenate([np.atleast_1d(np.array(kinds, dtype=object)) for kinds in known]))
    assert [kind.__name__ for kind in ours if not issubclass(kind, flat)] == []


def test_what_follows_from_the_values_has_no_rule() -> None:
    for layer in (nn.KMaxPool(2), nn.Sequential(nn.Conv(1, 2), nn.KMaxPool(2))):
        for of in (receptive_fields, lambda net, shape: seen_by_gradient(net, shape, [(0,)])):
            with pytest.raises(ArgumentError, match="which positions a KMaxPool reads follows from the values"):
                of(layer, (9, 1))
    taps = nn.MaskedConv(1, 3, (((1,),), ((1,),), ((0,),)), padding="same")
    with pytest.raises(
        ArgumentError, match=r"a mask over taps .* Received: MaskedConv with a mask of shape \(3, 1, 1\)"
    ):
        receptive_fields(taps, (5, 1))
    assert seen_by_gradient(taps, (5, 1), [(2,)]).astype(int).tolist() == [[0, 1, 1, 0, 0]]
    channels = nn.MaskedConv(2, 3, ((1, 0), (1, 1)))
    assert confirm_receptive_fields(channels, (5, 2)).output.size == (3,)


def unet() -> nn.Graph:
    return nn.Graph(
        {
            "encoder": nn.Conv(2, 3, padding="same"),
            "down": nn.MaxPool(2, padding="same"),
            "inner": nn.Sequential(nn.Conv(4, 3, padding="same"), nn.BatchNorm(activation="relu")),
            "up": nn.Node(nn.ConvTranspose(2, 2, stride=2, padding="same"), "inner", like="encoder"),
            "join": nn.Node(nn.Concat(), "encoder", "up"),
            "head": nn.Conv(1, 1),
        }
    )


def test_graphs() -> None:
    fields = confirm_receptive_fields(unet(), (9, 7, 1))
    assert [row.path for row in fields] == ["encoder", "down", "inner.conv1", "inner.batchnorm1", "up", "join", "head"]
    assert figures(fields["inner.conv1"]) == ((8, 8), (2, 2), (-3, -3))
    assert fields.output.stride == (1, 1)
    cross = nn.Graph(
        {
            "across": nn.Node(nn.Conv(1, (1, 5), padding="same"), "input"),
            "down": nn.Node(nn.Conv(1, (3, 1), padding="same"), "input"),
            "sum": nn.Node(nn.Add(), "across", "down"),
        }
    )
    assert figures(confirm_receptive_fields(cross, (9, 9, 1)).output) == ((3, 5), (1, 1), (-1, -2))


def test_a_graph_whose_output_is_not_its_last_node_and_a_shared_layer() -> None:
    shared = nn.Conv(2, 3, padding="same")
    net = nn.Graph(
        {
            "sum": nn.Node(nn.Add(), "second", "input"),
            "first": nn.Node(shared, "input"),
            "second": nn.Node(shared, "first"),
        },
        output="sum",
    )
    fields = confirm_receptive_fields(net, (9, 2))
    assert fields.output.size == (5,)
    assert fields["first"].size == (3,)


def test_branches_of_other_strides_have_a_joint_hull() -> None:
    net = nn.Graph(
        {
            "ends": nn.Node(nn.Conv(1, 1, stride=7), "input"),
            "bins": nn.Node(nn.ProportionalPool(2, mode="mean"), "input"),
            "sum": nn.Node(nn.Add(), "ends", "bins"),
        }
    )
    field = confirm_receptive_fields(net, (8, 1)).output
    assert [field.inputs((q,)) for q in (0, 1)] == [(slice(0, 4),), (slice(4, 8),)]
    assert figures(field) == ((4,), (4,), (0,))  # 0 and 7 lie in [0, 4) and [4, 8)


def test_the_gradient_shows_gaps_that_the_ends_don_t() -> None:
    seen = seen_by_gradient(nn.Conv(3, 3, dilation=2), (7, 1), [(0,), (2,)])
    assert seen.astype(int).tolist() == [[1, 0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0, 1]]
    net = nn.Sequential(nn.Conv(1, (1, 3)), nn.MaxPool(2, stride=3))
    assert seen_by_gradient(net, (5, 8, 1), [(1, 1)])[0].sum() == 2 * 4
    assert seen_by_gradient(net, (5, 8, 1), [(1, 1)], "conv1").sum() == 3


def test_rounding_of_fourier_transforms_is_no_gradient() -> None:
    """The core takes them for kernels like this one, and what comes back is rarely 0 where it should be."""
    seen = seen_by_gradient(nn.Sequential(nn.Conv(16, 129), nn.Conv(4, 2)), (2000, 16), [(500,), (1870,)])
    assert [np.flatnonzero(row)[[0, -1]].tolist() for row in seen] == [[500, 629], [1870, 1999]]
    assert seen.sum() == 2 * 130


def test_depth_does_not_wear_the_gradient_out() -> None:
    net = nn.Sequential(*(nn.Conv(8, 3, padding="same", activation="sigmoid") for _ in range(150)))
    assert confirm_ends(net, (400, 1), (200,)) == [50, 350]
    means = nn.Sequential(*(nn.AvgPool(3, stride=1, padding="same") for _ in range(60)))  # 3^-60 at the ends
    assert confirm_ends(means, (200, 1), (100,)) == [40, 160]


def confirm_ends(net: nn.Layer, shape: tuple[int, ...], position: tuple[int, ...]) -> list[int]:
    rule = receptive_fields(net, shape).output.inputs(position)[0]
    found: list[int] = np.flatnonzero(seen_by_gradient(net, shape, [position])[0])[[0, -1]].tolist()
    assert found == [rule.start, rule.stop - 1]
    return found


def test_a_wrong_rule_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    other = receptive_fields(nn.Sequential(nn.Conv(1, 3, padding="same_lower", stride=2)), (8, 1))
    monkeypatch.setattr(gradient, "receptive_fields", lambda net, shape: other)
    with pytest.raises(AssertionError, match=r"conv1: the output at \(0,\) should see \[0, 2\), .* reaches \[0, 3\)"):
        confirm_receptive_fields(nn.Sequential(nn.Conv(1, 3, padding="same", stride=2)), (8, 1))


def test_the_network_is_not_changed() -> None:
    net = nn.Sequential(nn.Conv(2, 3), nn.BatchNorm(), nn.MaxPool(2), nn.GlobalPool("max"))
    confirm_receptive_fields(net, (9, 1))
    assert not net.built
    net.build(1, 1, seed=3)
    before, config = net.state(), net.config()
    confirm_receptive_fields(net, (9, 1))
    assert net.config() == config
    assert all(np.array_equal(value, before[name]) for name, value in net.state().items())


def test_rank_zero() -> None:
    fields = confirm_receptive_fields(nn.Sequential(nn.Linear(3), nn.Activation("relu"), nn.Linear(2)), (4,))
    assert figures(fields.output) == ((), (), ())
    assert fields.output.inputs(()) == ()
    assert str(fields).splitlines()[2].split() == ["linear1", "Linear", "3", "-", "-", "-"]


class Mystery(nn.Layer):
    def output(self, *inputs: nn.Spec) -> nn.Spec:
        return inputs[0]


def test_errors() -> None:
    net = nn.Sequential(nn.Conv(1, 3), nn.MaxPool(2))
    with pytest.raises(ShapeError, match="conv1: sample 0 is too short"):
        receptive_fields(net, (2, 1))
    with pytest.raises(ShapeError, match="shape must be a tuple"):
        receptive_fields(net, 9)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="mystery1: there is no rule for the receptive field of a Mystery"):
        receptive_fields(nn.Sequential(Mystery()), (2, 1))
    fields = receptive_fields(net, (9, 1))
    with pytest.raises(ArgumentError, match=r"a layer is one of conv1, maxpool1. Received: 'conv2'"):
        fields["conv2"]
    with pytest.raises(ArgumentError, match=r"position must lie in the output, of shape \(3,\). Received: \(3,\)"):
        fields.output.inputs((3,))
    with pytest.raises(ArgumentError, match="position must be an int of at least 0"):
        fields.output.inputs((-1,))
    with pytest.raises(ArgumentError, match="position must lie in the output"):
        seen_by_gradient(net, (9, 1), [(3,)])
    with pytest.raises(ArgumentError, match="positions must hold at least one"):
        seen_by_gradient(net, (9, 1), [])
    with pytest.raises(ArgumentError, match=r"layer must be one of conv1, maxpool1. Received: layer='head'"):
        seen_by_gradient(net, (9, 1), [(0,)], "head")
