"""What every layer promises: build, call, state, freeze, config, repr, pickle."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from convnd import Ragged, Tensor, nn
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.random import Key

LAYERS = [
    nn.Conv(6, 3),
    nn.Conv(6, (3, 2), stride=(2, 1), padding=((1, 2), (0, 1)), dilation=(1, 2), groups=2, bias=False),
    nn.Conv(6, 3, padding="same", activation="tanh", init="orthogonal"),
    nn.Conv(4, 1, padding=1, init=0.25),
    nn.DepthwiseConv(3, multiplier=2, padding="causal", activation="elu"),
    nn.ConvTranspose(4, (2, 3), stride=(2, 3), output_padding=(1, 0), groups=2),
    nn.TiledConv(6, (3, 2), tile=(2, 3), stride=(1, 2), padding="same", bias="channel", activation="relu"),
    nn.LocalConv(6, 2, dilation=2, groups=2, bias="none"),
    nn.Bias((2, 1)),
    nn.Bias("shape"),
    nn.MaskedConv(3, 2, [[1, 0, 1]] * 4),
    nn.SeparableConv(6, 3),
    nn.DepthwiseSeparableConv(6, 3),
    nn.WeightNorm(nn.Conv(6, 3)),
    nn.Linear(5, activation="sigmoid", bias=False, init="lecun_uniform"),
    nn.BatchNorm(momentum=0.5, eps=1e-3, activation="relu"),
    nn.LayerNorm(),
    nn.InstanceNorm(affine=False),
    nn.GroupNorm(2),
    nn.LocalResponseNorm(5),
    nn.LocalContrastNorm(5),
    nn.SqueezeExcite(2),
    nn.MaxPool((2, 3), stride=1, padding="same", ceil_mode=True),
    nn.AvgPool(2, padding=(1, 0), dilation=2),
    nn.AvgPool(3, ceil_mode=True),
    nn.LpPool(2, 3.0),
    nn.WeightedPool(3, stride=2),
    nn.PoolChannels([0, 2], 2),
    nn.Maxout(2),
    nn.ProportionalPool((2, 3), mode="mean"),
    nn.SpatialPyramidPool((1, 2)),
    nn.QuadrantPool(),
    nn.KMaxPool(3),
    nn.Pad(1),
    nn.Crop(1),
    nn.Resize(5),
    nn.ChannelShuffle(2),
    nn.GlobalPool("max"),
    nn.Flatten(),
    nn.Activation("gelu"),
    nn.PReLU(),
    nn.Dropout(0.25),
    nn.SpatialDropout(0.25),
    nn.DropBlock(3, 0.25),
]
# Several inputs, or inputs of a kind of their own: they have tests of their own.
OTHERS = {
    "Add", "Concat", "Multiply", "ScaleChannels", "CropLike", "PadLike", "MaxUnpool", "RoiPool", "Embedding",
    "StochasticPool", "Graph", "Sequential",
}  # fmt: skip


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv(6, 3, padding="same", bias=False),
        nn.BatchNorm(activation="relu"),
        nn.MaxPool(2, padding="same"),
        nn.DepthwiseConv(3, padding="same"),
        nn.Dropout(0.5),
        nn.ProportionalPool(2),
        nn.Flatten(),
        nn.Linear(3),
    )


def batch(rng: np.random.Generator, *shapes: tuple[int, ...], channels: int = 4, dtype: Any = np.float32) -> Ragged:
    return Ragged.pack([rng.standard_normal((*shape, channels)).astype(dtype) for shape in shapes])


def test_the_list_above_has_every_layer() -> None:
    ours = {name for name, kind in nn.Layer.types.items() if kind.__module__.startswith("convnd.")}
    assert ours == {type(layer).__name__ for layer in LAYERS} | OTHERS


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: repr(layer))
def test_config_and_repr_make_the_same_layer_again(layer: nn.Layer) -> None:
    config = json.loads(json.dumps(layer.config()))
    for again in (nn.from_config(config), eval(repr(layer), dict(vars(nn)))):
        assert type(again) is type(layer)
        assert again.config() == layer.config()
        assert repr(again) == repr(layer)
        assert vars(again).keys() == vars(layer).keys()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: repr(layer))
def test_the_shape_rule_is_what_comes_out(layer: nn.Layer) -> None:
    layer = copy.deepcopy(layer).build(2, 4, shape=(7, 8))
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 4)).astype(np.float32)
    spec = layer.output(nn.Spec(2, 4, (7, 8)))
    assert spec.shape is not None
    assert len(spec.shape) == spec.ndim
    assert layer(x).shape == (2, *spec.shape, spec.channels)


def test_a_call_gives_back_the_kind_it_was_given() -> None:
    net = network().build(1, 4)
    rng = np.random.default_rng(0)
    ragged = batch(rng, (5,), (9,))
    assert isinstance(net(ragged), Ragged)
    assert isinstance(net(ragged.unpack()[0][None]), np.ndarray)
    result = net(Tensor(ragged))
    assert isinstance(result, Tensor)
    assert result.kind == "ragged"
    assert result.requires_grad
    assert isinstance(net(np.ones((2, 5, 4), np.float32), training=True, rng=Key(0)), np.ndarray)


def test_build_is_done_once_and_says_what_differs() -> None:
    net = network()
    assert net.build(2, 4, seed=1) is net
    state = net.state()
    net.build(2, 4, seed=2)
    assert all((state[name] == value).all() for name, value in net.state().items())
    with pytest.raises(ShapeError, match=r"conv1: Conv was built for ndim=2, channels=4. Received: ndim=1, channels=4"):
        net.build(1, 4)
    with pytest.raises(ShapeError, match=r"built for ndim=2, channels=4. Received: ndim=2, channels=5"):
        net(np.zeros((1, 6, 6, 5), np.float32))


def test_a_failed_build_makes_nothing() -> None:
    shared = nn.Linear(3)
    net = nn.Sequential(nn.Linear(5), shared, nn.Linear(5), nn.Linear(4), shared)
    with pytest.raises(ShapeError, match=r"linear5: Linear was built for channels=5. Received: channels=4"):
        net.build(1, 2)
    assert not net.built
    assert net.parameters() == []
    assert shared.input is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ndim": -1, "channels": 2}, "ndim must be an int of at least 0. Received: ndim=-1"),
        ({"ndim": 1, "channels": 0}, "channels must be an int of at least 1. Received: channels=0"),
        ({"ndim": 1.0, "channels": 1}, "ndim must be an int"),
        ({"ndim": 2, "channels": 2, "shape": (3,)}, "shape must be an int of at least 1, or 2 of them"),
        ({"ndim": 1, "channels": 2, "dtype": "float16"}, "dtype must be float32 or float64. Received: dtype='float16'"),
        ({"ndim": 1, "channels": 2, "dtype": "wide"}, r"dtype must be float32 or float64. Received: dtype='wide'"),
    ],
)
def test_build_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, DtypeError), match=message):
        nn.Conv(2, 3).build(**arguments)


def test_an_unbuilt_layer_says_so() -> None:
    for unbuilt in (nn.Conv(2, 3), nn.Sequential(nn.GlobalPool(), nn.Linear(2))):
        with pytest.raises(ArgumentError, match=r"call build\(ndim, channels\) before the layer itself. Received: an "):
            unbuilt(np.zeros((1, 5, 1), np.float32))
        with pytest.raises(ArgumentError, match=r"before load_state"):
            unbuilt.load_state({})


def test_errors_name_the_layer() -> None:
    net = nn.Sequential(nn.Conv(2, 3), nn.Sequential(nn.MaxPool(2), nn.Conv(2, 9))).build(1, 1)
    with pytest.raises(ShapeError, match=r"^sequential1: conv1: sample 1 is too short for the window"):
        net(batch(np.random.default_rng(0), (40,), (18,), channels=1))
    with pytest.raises(ShapeError, match=r"^flatten1: Flatten needs the spatial shape"):
        nn.Sequential(nn.Flatten(), nn.Linear(1)).build(2, 1)


def test_flatten_into_linear_takes_the_shape() -> None:
    net = nn.Sequential(nn.Conv(2, 3), nn.Flatten(), nn.Linear(5)).build(2, 1, shape=(6, 7))
    assert net["linear1"].params["weight"].values.shape == (4 * 5 * 2, 5)
    with pytest.raises(ShapeError, match=r"linear1: Linear was built for channels=40. Received: channels=30"):
        net(np.zeros((1, 6 - 1, 7, 1), np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv(0, 3), "filters must be an int of at least 1. Received: filters=0"),
        (lambda: nn.Conv(4, 0), "kernel must be an int of at least 1"),
        (lambda: nn.Conv(4, ()), "kernel must be"),
        (lambda: nn.Conv(4, 3, padding="some"), "padding must be one of"),
        (lambda: nn.Conv(4, 3, groups=3), "groups must divide filters=4. Received: groups=3"),
        (lambda: nn.Conv(4, 3, activation="gelu"), r"follow the layer with Activation\('gelu'\)"),
        (lambda: nn.Conv(4, 3, activation="rleu"), "activation must be one of relu, .* Received: activation='rleu'"),
        (lambda: nn.Conv(4, 3, init="he"), "init must be a number or one of he_normal"),
        (lambda: nn.Linear(2.5), "features must be an int"),
        (lambda: nn.Dropout(1.0), r"rate must be a number in \[0, 1\). Received: rate=1.0"),
        (lambda: nn.BatchNorm(momentum=0), r"momentum must be a number in \(0, 1\]"),
        (lambda: nn.BatchNorm(eps=0), "eps must be a positive number"),
        (lambda: nn.ProportionalPool(3, mode="min"), "mode must be one of max, mean"),
        (lambda: nn.Activation("swish"), "function must be one of"),
        (lambda: nn.Sequential(), "layers must not be empty"),
        (lambda: nn.Sequential("relu"), r"layers\[0\] must be a convnd.nn.Layer. Received: 'relu'"),
    ],
)
def test_arguments_are_checked_at_construction(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_arguments_that_need_the_rank_or_channels_are_checked_at_build() -> None:
    with pytest.raises(ArgumentError, match=r"kernel must be an int of at least 1, or 3 of them"):
        nn.Conv(4, (3, 3)).build(3, 1)
    with pytest.raises(ShapeError, match=r"groups=2 must divide the channels. Received: 3 channels"):
        nn.Conv(4, 3, groups=2).build(1, 3)
    with pytest.raises(ShapeError, match=r"groups=2 must divide the channels. Received: 3 channels"):
        nn.ConvTranspose(4, 3, groups=2).build(1, 3)


def test_seeds_are_reproducible_and_follow_the_path() -> None:
    first, again, other = (network().build(1, 4, seed=seed).state() for seed in (3, 3, 4))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["conv1.weight"] != other["conv1.weight"]).all()
    longer = nn.Sequential(nn.Activation("tanh"), *network().layers, nn.Activation("relu"), nn.Linear(2))
    more = longer.build(1, 4, seed=3).state()
    assert all((first[name] == more[name]).all() for name in first)
    assert (first["linear1.weight"].ravel()[:6] != more["linear2.weight"].ravel()).all()


def test_layers_of_one_shape_start_apart() -> None:
    state = nn.Sequential(nn.Linear(3), nn.Linear(3), nn.Sequential(nn.Linear(3))).build(0, 3).state()
    weights = [value for name, value in state.items() if name.endswith("weight")]
    assert len({weight.tobytes() for weight in weights}) == 3


def test_float64_starts_from_the_same_values() -> None:
    single, double = (network().build(1, 4, dtype=dtype) for dtype in ("float32", "float64"))
    assert {value.dtype for value in double.state().values()} == {np.dtype("float64")}
    for name, value in double.state().items():
        assert (value.astype(np.float32) == single.state()[name]).all()
    with pytest.raises(
        DtypeError, match=r"^conv1: Conv was built in float64: cast the input, x.astype\(np.float64\). Rec"
    ):
        double(np.zeros((1, 8, 4), np.float32))


def test_state_round_trip() -> None:
    rng = np.random.default_rng(0)
    net, other = network().build(1, 4, seed=0), network().build(1, 4, seed=1)
    x = batch(rng, (5,), (9,))
    net(x, training=True, rng=Key(0))
    state = net.state()
    assert (state["batchnorm1.running_mean"] != 0).any()
    kept = state["conv1.weight"].copy()
    assert other.load_state(state) is other
    assert (other(x).values == net(x).values).all()
    state["conv1.weight"][:] = 0
    assert (net.state()["conv1.weight"] == kept).all()
    assert (other.state()["conv1.weight"] == kept).all()
    assert list(net.named_parameters()) == [
        "conv1.weight", "batchnorm1.gamma", "batchnorm1.beta", "depthwiseconv1.weight", "depthwiseconv1.bias",
        "linear1.weight", "linear1.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("linear1.bias"), ArgumentError, r"missing \['linear1.bias'\], unexpected \[\]"),
        (lambda s: s.update(more=s["linear1.bias"]), ArgumentError, r"missing \[\], unexpected \['more'\]"),
        (
            lambda s: s.update({"linear1.bias": np.zeros(4, np.float32)}),
            ShapeError,
            r"linear1.bias must have shape \(3,\). Received: \(4,\)",
        ),
        (
            lambda s: s.update({"batchnorm1.running_mean": np.zeros(6)}),
            DtypeError,
            r"batchnorm1.running_mean must be float32: cast it with .astype\('float32'\). Received: float64",
        ),
    ],
)
def test_load_state_is_strict_and_changes_nothing_on_an_error(change: Any, error: Any, message: str) -> None:
    net = network().build(1, 4, seed=0)
    before, state = net.state(), network().build(1, 4, seed=1).state()
    change(state)
    with pytest.raises(error, match=message):
        net.load_state(state)
    assert all((before[name] == value).all() for name, value in net.state().items())


def test_frozen_layers_stay_as_they_are() -> None:
    x = Tensor(batch(np.random.default_rng(0), (5,), (9,)))
    net = network()
    net["conv1"].freeze()  # before build
    net.build(1, 4)
    net["batchnorm1"].freeze()  # after
    before = net.state()
    net(x, training=True, rng=Key(0)).backward(Ragged(np.ones((2, 3), np.float32), net(x).layout))
    grads = {name for name, parameter in net.named_parameters().items() if parameter.grad is not None}
    assert grads == {"depthwiseconv1.weight", "depthwiseconv1.bias", "linear1.weight", "linear1.bias"}
    after = net.state()
    assert (after["batchnorm1.running_mean"] == before["batchnorm1.running_mean"]).all()
    for again in (nn.from_config(net.config()), eval(repr(net), dict(vars(nn))), pickle.loads(pickle.dumps(net))):
        frozen = [
            name for name, parameter in again.build(1, 4).named_parameters().items() if not parameter.requires_grad
        ]
        assert frozen == ["conv1.weight", "batchnorm1.gamma", "batchnorm1.beta"]
    assert all(parameter.requires_grad for parameter in net.unfreeze().parameters())
    assert net.config() == network().config()


def test_batch_norm_uses_true_positions_in_training_and_running_ones_after() -> None:
    x = batch(np.random.default_rng(0), (5,), (9,), dtype=np.float64)
    norm = nn.BatchNorm(momentum=1.0, eps=1e-12).build(1, 4, dtype="float64")
    y = norm(x, training=True).values
    np.testing.assert_allclose(y, (x.values - x.values.mean(0)) / x.values.std(0), rtol=1e-9)
    np.testing.assert_allclose(norm.buffers["running_mean"], x.values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(norm.buffers["running_var"], x.values.var(0, ddof=1), rtol=1e-12)
    after = (x.values - x.values.mean(0)) / x.values.std(0, ddof=1)
    np.testing.assert_allclose(norm(x).values, after, rtol=1e-9, atol=1e-12)


def test_dropout_draws_by_place_step_and_sample() -> None:
    x = np.ones((3, 50, 4), np.float32)
    drop = nn.Dropout(0.5)
    net = nn.Sequential(drop, drop)
    with pytest.raises(ArgumentError, match=r"^dropout1: Dropout in training needs rng"):
        net(x, training=True)
    assert (net(x) == x).all()
    once = drop(x, training=True, rng=Key(0, 1))
    assert set(np.unique(once)) == {0.0, 2.0}
    assert 0.4 < (once == 0).mean() < 0.6
    assert (once == drop(x, training=True, rng=Key(0, 1))).all()
    assert (once != drop(x, training=True, rng=Key(0, 2))).any()
    twice = net(x, training=True, rng=Key(0, 1))
    assert set(np.unique(twice)) == {0.0, 4.0}
    assert 0.15 < (twice != 0).mean() < 0.35
    known = drop(x, training=True, rng=Key(0, 1, samples=[7, 8, 9]))
    alone = drop(x[:1], training=True, rng=Key(0, 1, samples=[8]))
    assert (known[1:2] == alone).all()
    assert (known[0] != alone[0]).any()


def test_pickles_and_copies_compute_the_same() -> None:
    x = batch(np.random.default_rng(0), (5,), (9,))
    net = network().build(1, 4)
    net(x, training=True, rng=Key(0))
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert (again(x).values == net(x).values).all()
        again(x, training=True, rng=Key(1))
        assert (again(x).values != net(x).values).any()
    unbuilt = pickle.loads(pickle.dumps(network()))
    assert not unbuilt.built
    assert unbuilt.config() == network().config()


class Scale(nn.Layer):
    """A user's own layer."""

    fixed = ("channels",)

    def __init__(self, start: float = 1.0) -> None:
        self.start = start

    def output(self, *inputs: nn.Spec) -> nn.Spec:
        return inputs[0]

    def make(self, given: nn.Spec, new: nn.Maker) -> None:
        new.parameter("factor", (given.channels,), self.start)

    def forward(self, *inputs: Tensor, mode: nn.Mode) -> Tensor:
        return inputs[0] * self.params["factor"]


class Block(nn.Graph):
    """A user's own composite."""

    def __init__(self, filters: int) -> None:
        self.filters = filters
        super().__init__({"conv": nn.Conv(filters, 3, padding="same"), "scale": Scale(2.0)})


def test_own_layers_take_part_in_everything() -> None:
    inner = Block(3)
    net = nn.Sequential(inner, Scale(), inner).build(1, 3)
    assert list(net.named_parameters()) == [
        "block1.conv.weight",
        "block1.conv.bias",
        "block1.scale.factor",
        "scale1.factor",
    ]
    assert net.config()["layers"] == [
        {"type": "Block", "filters": 3},
        {"type": "Scale", "start": 1.0},
        {"type": "Shared", "of": "block1"},
    ]
    again = nn.from_config(net.config()).build(1, 3)
    assert again.state().keys() == net.state().keys()
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    assert (again(x) == net(x)).all()
    assert (pickle.loads(pickle.dumps(net))(x) == net(x)).all()


def test_type_names_and_argument_names_that_are_taken() -> None:
    with pytest.raises(ArgumentError, match=r"exists in convnd.nn.conv. Received: Conv"):
        type("Conv", (nn.Layer,), {"__module__": "mine"})
    with pytest.raises(ArgumentError, match=r"arguments can't be called .* Received: \['name'\]"):
        type("Named", (nn.Layer,), {"__init__": lambda self, name: None})
