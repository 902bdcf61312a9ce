"""Graphs: joins, order, sharing, configs, and the errors of those who wire them wrongly."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from convnd import Tensor, nn
from convnd.errors import ArgumentError, ConvndError, ShapeError

RNG = np.random.default_rng(0)


def forked() -> nn.Graph:
    """Listed out of order, with every kind of edge."""
    return nn.Graph(
        {
            "sum": nn.Node(nn.Add(), "a", "b", "a"),
            "a": nn.Node(nn.Conv(4, 3, padding="same"), "input"),
            "b": nn.Conv(4, 1),
            "small": nn.Node(nn.MaxPool(2, padding="same"), "sum"),
            "up": nn.Node(nn.ConvTranspose(3, 2, stride=2, padding="same"), "small", like="input"),
            "both": nn.Node(nn.Concat(), "up", "input", "sum"),
            "last": nn.Linear(2),
        }
    )


def test_a_graph_computes_what_its_edges_say() -> None:
    net = forked().build(1, 2)
    x = RNG.standard_normal((2, 7, 2)).astype(np.float32)
    a = net["a"](x)
    total = a + net["b"](a) + a
    up = net["up"](net["small"](total), x)
    assert up.shape == (2, 7, 3)
    expected = net["last"](np.concatenate([up, x, total], axis=-1))
    assert (net(x) == expected).all()


def test_config_repr_and_pickle_round_trip() -> None:
    net = forked().build(2, 2)
    x = RNG.standard_normal((2, 7, 5, 2)).astype(np.float32)
    again = nn.from_config(json.loads(json.dumps(net.config())))
    assert again.config() == net.config()
    assert repr(again) == repr(net)
    for other in (again, eval(repr(net), dict(vars(nn)))):
        assert (other.build(2, 2)(x) == net(x)).all()
    assert (pickle.loads(pickle.dumps(net))(x) == net(x)).all()


def pooled(*between: nn.Layer) -> nn.Sequential:
    return nn.Sequential(nn.Conv(4, 3), nn.BatchNorm(activation="relu"), *between, nn.MaxPool(2), nn.Linear(2))


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_takes_its_pool_along_to_the_same_bits(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.standard_normal((2, 7, 5, 3)).astype(np.float32)
    wanted = pooled(nn.Dropout(0.0)).build(2, 3, seed=1)(x, training=training)
    net = pooled().build(2, 3, seed=1)
    assert (pickle.loads(pickle.dumps(net))(x, training=training) == wanted).all()
    monkeypatch.delattr("convnd.ops.max_pool")  # as nobody asks for it
    assert (net(x, training=training) == wanted).all()


def test_a_pool_is_not_taken_along_where_others_need_what_is_between() -> None:
    norm, pool = nn.BatchNorm(), nn.Node(nn.MaxPool(2, padding="same"), "norm")
    x = RNG.standard_normal((2, 7, 3)).astype(np.float32)
    up = nn.Node(nn.ConvTranspose(3, 2, stride=2, padding="same"), "pool", like="norm")
    net = nn.Graph({"norm": norm, "pool": pool, "up": up, "sum": nn.Node(nn.Add(), "up", "norm")}).build(1, 3)
    assert (net(x) == net["up"](net["pool"](net["norm"](x)), x) + net["norm"](x)).all()
    both = nn.Graph({"norm": norm, "pool": pool, "sum": nn.Node(nn.Add(), "pool", "pool")}).build(1, 3)
    assert (both(x) == 2 * nn.MaxPool(2, padding="same")(net["norm"](x))).all()


def test_an_error_names_the_pool_that_was_taken_along() -> None:
    with pytest.raises(ShapeError, match="maxpool1: sample 0"):
        pooled().build(1, 3)(np.zeros((2, 3, 3), np.float32))


def test_a_subclass_of_batch_norm_is_asked_for_its_own_work_only() -> None:
    class _Twice(nn.BatchNorm):
        def forward(self, *inputs: Tensor, mode: Any) -> Any:
            return 2 * super().forward(*inputs, mode=mode)

    x = RNG.standard_normal((2, 6, 3)).astype(np.float32)
    net = nn.Sequential(_Twice(), nn.MaxPool(2)).build(1, 3)
    assert (net(x) == 2 * nn.Sequential(nn.BatchNorm(), nn.MaxPool(2)).build(1, 3)(x)).all()


def test_another_output_than_the_last() -> None:
    net = nn.Graph({"out": nn.Node(nn.Linear(3), "hidden"), "hidden": nn.Node(nn.Linear(4), "input")}, output="out")
    assert net.build(0, 2)(np.zeros((1, 2), np.float32)).shape == (1, 3)
    assert nn.from_config(net.config()).config() == net.config()
    assert eval(repr(net), dict(vars(nn))).config() == net.config()


def test_the_input_of_a_graph_is_only_a_name() -> None:
    net = nn.Graph({"sum": nn.Node(nn.Add(), "input", "input")})
    assert net(np.full((1, 3), 2.0)).tolist() == [[4.0, 4.0, 4.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Graph({}), "nodes must be a dict of name to Layer or Node, not empty"),
        (lambda: nn.Graph([nn.Linear(2)]), "nodes must be a dict"),
        (lambda: nn.Graph({"a": 3}), "a node's layer must be a convnd.nn.Layer. Received: layer=3"),
        (lambda: nn.Graph({"a.b": nn.Linear(2)}), "must be a string without dots"),
        (lambda: nn.Graph({"input": nn.Linear(2)}), "not \"input\". Received: 'input'"),
        (
            lambda: nn.Graph({"a": nn.Linear(2), "b": nn.Node(nn.Add(), "a", "c")}),
            "node 'b': its inputs are among input, a, b. Received: 'c'",
        ),
        (
            lambda: nn.Graph({"a": nn.Node(nn.Linear(2), "b"), "b": nn.Linear(2)}),
            "must not wait for one another in a cycle. Received: a, b",
        ),
        (lambda: nn.Graph({"a": nn.Node(nn.Add(), "a", "input")}), "in a cycle. Received: a"),
        (
            lambda: nn.Graph({"a": nn.Linear(2), "b": nn.Node(nn.Linear(2), "input")}),
            "every node must lead to the output 'b'. Received: a",
        ),
        (lambda: nn.Graph({"a": nn.Linear(2)}, output="z"), "output must be one of a. Received: output='z'"),
        (lambda: nn.Graph({"a": nn.Add()}), r"node 'a': Add takes at least 2 input\(s\). Received: 1"),
        (
            lambda: nn.Graph({"a": nn.Node(nn.Linear(2), "input", "input")}),
            r"node 'a': Linear takes 1 input\(s\). Received: 2",
        ),
        (
            lambda: nn.Graph({"a": nn.Node(nn.Linear(2), "input", like="input")}),
            r"node 'a': Linear takes 1 input\(s\). Received: 2",
        ),
        (lambda: nn.Node(nn.Linear(2), 1), "a node's inputs are names of nodes. Received: 1"),
        (lambda: forked()["z"], "a layer is chosen by its number or one of sum, a, .* Received: 'z'"),
    ],
)
def test_wiring_errors(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_joins_refuse_what_does_not_fit() -> None:
    net = nn.Graph({"a": nn.Conv(3, 3, padding="same"), "sum": nn.Node(nn.Add(), "a", "input")})
    with pytest.raises(
        ShapeError, match=r"^sum: Add needs inputs of one rank and as many channels. Received: ndim=1, ch"
    ):
        net.build(1, 2)
    net = nn.Graph({"a": nn.Conv(2, 3), "sum": nn.Node(nn.Concat(), "a", "input")})
    with pytest.raises(ShapeError, match=r"^sum: Concat needs inputs of one shape. .*shape=\(4,\).*shape=\(6,\)"):
        net.build(1, 2, shape=6)
    with pytest.raises(ShapeError, match=r"^sum: .*sample 0"):
        net.build(1, 2)(np.zeros((1, 6, 2), np.float32))
    net = nn.Graph({"a": nn.GlobalPool(), "sum": nn.Node(nn.Concat(), "a", "input")})
    with pytest.raises(ShapeError, match=r"^sum: Concat needs inputs of one rank"):
        net.build(1, 2)
    with pytest.raises(ArgumentError, match=r"Add takes at least 2 input\(s\). Received: 1"):
        nn.Add()(np.zeros((1, 2)))


def test_like_must_be_a_size_the_convolution_maps_back() -> None:
    net = nn.Graph(
        {
            "down": nn.MaxPool(3),
            "up": nn.Node(nn.ConvTranspose(2, 2, stride=2), like="input"),
        }
    ).build(1, 2)
    with pytest.raises(ShapeError, match=r"^up: sample 0: a convolution maps the wanted size \(9,\) to \(4,\)"):
        net(np.zeros((1, 9, 2), np.float32))


def shared_network() -> nn.Sequential:
    """One convolution at three places, two of them inside parts, and one part at two places."""
    conv = nn.Conv(3, 3, padding="same")
    part = nn.Graph({"c": conv, "sum": nn.Node(nn.Add(), "c", "input")})
    return nn.Sequential(part, nn.Activation("tanh"), conv, part, nn.GlobalPool(), nn.Linear(2))


def test_a_shared_layer_has_one_set_of_parameters() -> None:
    net = shared_network().build(1, 3)
    names = ["graph1.c.weight", "graph1.c.bias", "linear1.weight", "linear1.bias"]
    assert list(net.named_parameters()) == names
    assert list(net.state()) == names
    assert len({id(parameter) for parameter in net.parameters()}) == 4
    x = RNG.standard_normal((2, 6, 3)).astype(np.float32)
    expected = net(x)
    others = [
        nn.from_config(json.loads(json.dumps(net.config()))).build(1, 3),
        eval(repr(net), dict(vars(nn))).build(1, 3),
        pickle.loads(pickle.dumps(net)),
    ]
    for other in others:
        assert list(other.named_parameters()) == names
        assert repr(other) == repr(net)
        assert (other(x) == expected).all()
        other["conv1"].params["weight"].assign(np.zeros((3, 3, 3), np.float32))
        assert not other["graph1"]["c"].params["weight"].values.any()  # type: ignore[index]
        assert (other(x) != expected).any()


def test_gradients_of_a_shared_layer_are_those_of_all_its_places() -> None:
    x = RNG.standard_normal((2, 6, 3))
    net = shared_network().build(1, 3, dtype="float64")
    apart = nn.Sequential(
        *(
            nn.from_config(layer.config())
            for layer in (net.layers[0], net.layers[1], net.layers[2], net.layers[0], net.layers[4], net.layers[5])
        )
    ).build(1, 3, dtype="float64")
    own = net.state()
    copies = {"graph1.c": "graph1.c", "conv1": "graph1.c", "graph2.c": "graph1.c", "linear1": "linear1"}
    apart.load_state(
        {name: own[f"{copies[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"] for name in apart.state()}
    )
    assert (apart(x) == net(x)).all()
    for each in (net, apart):
        each(Tensor(x)).backward(np.ones((2, 2)))
    grads = {name: parameter.grad for name, parameter in apart.named_parameters().items()}
    total = sum(grads[f"{place}.weight"] for place in ("graph1.c", "conv1", "graph2.c"))
    np.testing.assert_allclose(net.named_parameters()["graph1.c.weight"].grad, total, rtol=1e-12)


def test_a_built_part_keeps_its_parameters() -> None:
    part = nn.Conv(3, 3).build(2, 1, seed=9)
    weight = part.params["weight"].values.copy()
    net = nn.Sequential(part, nn.Linear(2)).build(2, 1, seed=0)
    assert (net.state()["conv1.weight"] == weight).all()
    with pytest.raises(ShapeError, match=r"conv1: Conv was built for ndim=2, channels=1. Received: ndim=2, channels=2"):
        nn.Sequential(nn.Linear(2), part).build(2, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], 'config must be a table with a "type". Received'),
        ({"layers": []}, 'a table with a "type"'),
        ({"type": "Conf"}, "type must be one of .*Conv.* Received: type='Conf'"),
        ({"type": "Conv", "filters": 3}, "Conv needs 'kernel'"),
        ({"type": "Flatten", "axis": 3}, r"Flatten has the arguments \(none\). Received: 'axis'"),
        ({"type": "Linear", "features": 2, "frozen": 1}, "frozen must be true or false. Received: frozen=1"),
        ({"type": "Sequential"}, r'Sequential has the keys layers, "layers" a list'),
        ({"type": "Sequential", "layers": [], "output": 3}, r"Received: \['layers', 'output'\]"),
        (
            {"type": "Sequential", "layers": [{"type": "Flatten"}, {"type": "Linear", "features": 0}]},
            r"^layers\[1\]: features must be an int of at least 1",
        ),
        ({"type": "Sequential", "layers": [3]}, r"^layers\[0\]: a layer's config must be a table"),
        ({"type": "Sequential", "layers": [{"type": "Shared", "of": "conv1"}]}, r'Shared needs "of", the path of a l'),
        ({"type": "Graph", "nodes": [{"type": "Flatten"}]}, r'^nodes\[0\]: a node must be a table with a "name"'),
        (
            {"type": "Graph", "nodes": [{"type": "Flatten", "name": "a", "inputs": "b"}]},
            "inputs must be a list of names",
        ),
        (
            {"type": "Graph", "nodes": [{"type": "Flatten", "name": "a"}, {"type": "Flatten", "name": "a"}]},
            r'^nodes\[1\]: a node must be a table with a "name" of its own',
        ),
        (
            {"type": "Graph", "nodes": [{"type": "Add", "name": "a", "inputs": ["b", "c"]}]},
            "node 'a': its inputs are amo",
        ),
    ],
)
def test_configs_that_make_no_network_say_where(config: Any, message: str) -> None:
    with pytest.raises(ConvndError, match=message):
        nn.from_config(config)


WRONG = [None, True, -1, 0, 1.5, float("nan"), "x", "", [], [1], ["a"], [[1], 2], {}, {"type": "Linear"}]


def _spoiled(config: Any) -> Any:
    """The config with each of its values, at any depth, replaced by each wrong one."""
    items = list(config.items()) if isinstance(config, dict) else list(enumerate(config))
    for key, value in items:
        for other in WRONG:
            changed = dict(config) if isinstance(config, dict) else list(config)
            changed[key] = other
            yield changed
        if isinstance(value, (dict, list)):
            for inner in _spoiled(value):
                changed = dict(config) if isinstance(config, dict) else list(config)
                changed[key] = inner
                yield changed


@pytest.mark.parametrize("make", [forked, shared_network])
def test_a_spoiled_config_makes_a_network_or_one_of_our_errors(make: Any) -> None:
    refused = 0
    for config in _spoiled(make().config()):
        try:
            assert isinstance(nn.from_config(config), nn.Layer)
        except ConvndError:
            refused += 1
    assert refused > 100
