"""The layers of the pooling family: what they say of themselves, and that they are the operations."""

import json

import numpy as np
import pytest

from convnd import Ragged, Tensor, nn, ops
from convnd.errors import ArgumentError, ShapeError
from convnd.random import Key
from convnd.testing import check_gradient

WINDOW = {"stride": 1, "padding": "same", "dilation": 2}
LAYERS = [
    (nn.LpPool(2), ops.lp_pool, {"size": 2}),
    (nn.LpPool((2, 3), p=3, ceil_mode=True), ops.lp_pool, {"size": (2, 3), "p": 3, "ceil_mode": True}),
    (nn.WeightedPool(3, sigma=0.5, **WINDOW), ops.weighted_pool, {"size": 3, "sigma": 0.5, **WINDOW}),
    (nn.StochasticPool(2, stride=(1, 2)), ops.stochastic_pool, {"size": 2, "stride": (1, 2)}),
    (nn.Maxout(2), ops.maxout, {"pieces": 2}),
    (
        nn.PoolChannels([0, -1], 2, mode="mean", padding=1),
        ops.pool_channels,
        {"channels": [0, -1], "size": 2, "mode": "mean", "padding": 1},
    ),
    (nn.SpatialPyramidPool(), ops.spatial_pyramid_pool, {}),
    (
        nn.SpatialPyramidPool([(1, 3), 2], mode="mean"),
        ops.spatial_pyramid_pool,
        {"levels": [(1, 3), 2], "mode": "mean"},
    ),
    (nn.QuadrantPool("max"), ops.quadrant_pool, {"mode": "max"}),
    (nn.KMaxPool(3), ops.k_max_pool, {"k": 3}),
]
PAIRS = [nn.MaxUnpool(2, stride=1, padding="same"), nn.RoiPool((2, 1), mode="mean")]


def ids(value):
    return repr(value) if isinstance(value, nn.Layer) else ""


@pytest.mark.parametrize("layer", [layer for layer, _, _ in LAYERS] + PAIRS, ids=repr)
def test_config_and_repr_make_the_same_layer_again(layer):
    config = json.loads(json.dumps(layer.config()))
    for again in (nn.from_config(config), eval(repr(layer), dict(vars(nn)))):
        assert type(again) is type(layer)
        assert again.config() == layer.config()
        assert vars(again).keys() == vars(layer).keys()
    assert type(layer).__name__ in nn.__all__


@pytest.mark.parametrize(("layer", "op", "arguments"), LAYERS, ids=ids)
def test_a_layer_is_its_operation_and_its_shape_rule_holds(rng, layer, op, arguments):
    x = rng.uniform(0, 1, size=(2, 7, 8, 4))
    wanted = op(x, **arguments)
    found = layer(x)
    assert found.tobytes() == wanted.tobytes()
    spec = layer.output(nn.Spec(2, 4, (7, 8)))
    assert found.shape == (2, *spec.shape, spec.channels)
    assert layer.output(nn.Spec(2, 4)).channels == spec.channels
    ragged = Ragged.pack([x[0], x[1, :5]])
    assert layer(ragged).values.tobytes() == op(ragged, **arguments).values.tobytes()
    assert layer.cost(nn.Spec(2, 4, (7, 8)), output=spec) >= 0


def test_stochastic_pool_draws_in_training_by_place_step_and_sample(rng):
    x = rng.uniform(0, 1, size=(2, 40, 4))
    net = nn.Sequential(nn.StochasticPool(2), nn.StochasticPool(2))
    first = nn.Sequential(nn.StochasticPool(2))

    def drawn(net, key):
        return net(x, training=True, rng=key)

    np.testing.assert_array_equal(drawn(first, Key(1)), drawn(first, Key(1)))
    assert (drawn(first, Key(1)) != drawn(first, Key(1, step=1))).any()
    assert (drawn(first, Key(1)) != first(x)).all()
    named = ops.stochastic_pool(x, 2, training=True, key=Key(1).fold("stochasticpool1"))
    np.testing.assert_array_equal(drawn(first, Key(1)), named)
    named = ops.stochastic_pool(named, 2, training=True, key=Key(1).fold("stochasticpool2"))
    np.testing.assert_array_equal(drawn(net, Key(1)), named)
    with pytest.raises(ArgumentError, match="stochasticpool1: StochasticPool in training needs rng"):
        drawn(first, None)


def test_unpooling_meets_its_encoder_at_any_size(rng):
    net = nn.Graph({
        "pool": nn.MaxPool(2, padding="same"),
        "code": nn.Conv(3, 3, padding="same", activation="tanh"),
        "unpool": nn.Node(nn.MaxUnpool(2, padding="same"), "code", "input"),
        "out": nn.Conv(3, 3, padding="same"),
    }).build(ndim=2, channels=3, dtype="float64")
    batch = Ragged.pack([rng.standard_normal((*shape, 3)) for shape in ((5, 6), (4, 7))])
    assert net(batch).layout == batch.layout
    x = Tensor(batch, requires_grad=True)
    check_gradient(lambda x: net(x), [x], draws=1)
    y, indices = ops.max_pool(batch, 2, padding="same", return_indices=True)
    unpool = nn.MaxUnpool(2, padding="same")
    np.testing.assert_array_equal(unpool(y, batch).values, ops.max_unpool(y, indices, like=batch).values)
    again = nn.from_config(net.config()).build(ndim=2, channels=3, dtype="float64")
    np.testing.assert_array_equal(again(batch).values, net(batch).values)


def test_unpoolings_shape_rule():
    unpool, pooled = nn.MaxUnpool(2), nn.Spec(1, 3, (7,))
    assert unpool.output(nn.Spec(1, 3, (3,)), pooled) == pooled
    for wrong in (nn.Spec(1, 3, (4,)), nn.Spec(1, 4, (3,)), nn.Spec(2, 3)):
        with pytest.raises(ShapeError, match=r"MaxUnpool takes values shaped as .*shape=\(3,\)\. Received"):
            unpool.output(wrong, pooled)


def test_roi_pool_takes_boxes_as_a_batch(rng):
    x = rng.standard_normal((2, 5, 6, 3)).astype(np.float32)
    boxes = Ragged.pack([np.array([[0, 3, 1, 6], [1, 5, 0, 2]], np.float32), np.zeros((0, 4), np.float32)])
    layer = nn.RoiPool((2, 3))
    y = layer(Tensor(x, requires_grad=True), boxes)
    np.testing.assert_array_equal(y.numpy(), ops.roi_pool(x, boxes, (2, 3)))
    assert layer.output(nn.Spec(2, 3, (5, 6)), nn.Spec(1, 4)) == nn.Spec(2, 3, (2, 3))
    with pytest.raises(ShapeError, match=r"boxes of rank 1 and 4 channels, two an axis\. Received: ndim=1, channels=5"):
        layer.output(nn.Spec(2, 3), nn.Spec(1, 5))


def test_a_maxout_network_learns_through_its_pools(rng):
    """A step against the gradient lowers the loss: conv, maxout, every kind of pool, a linear layer."""
    net = nn.Sequential(
        nn.Conv(8, 3, padding="same"), nn.Maxout(2), nn.LpPool(2), nn.Conv(4, 3, padding="same", activation="relu"),
        nn.StochasticPool(2), nn.WeightedPool(2, stride=1, padding="same"), nn.PoolChannels([0, 1], 2, stride=1),
        nn.KMaxPool(3), nn.SpatialPyramidPool((1, 2)), nn.Linear(1),
    ).build(ndim=1, channels=2, dtype="float64", seed=3)
    x = Ragged.pack([rng.standard_normal((size, 2)) for size in (20, 31, 26)])

    def loss():
        return net(Tensor(x)).values.sum()

    before = loss()
    y = net(Tensor(x))
    y.backward(Ragged(np.ones((3, 1)), y.layout))
    slopes = 0.0
    for parameter in net.parameters():
        slopes += np.sum(parameter.grad**2)
        parameter.assign(parameter.values - 1e-6 * parameter.grad)
    np.testing.assert_allclose((before - loss()) / 1e-6, slopes, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LpPool(2, p=0.5), r"p must be a finite number of at least 1\. Received: p=0\.5"),
        (lambda: nn.LpPool(0), "size must be an int of at least 1"),
        (lambda: nn.WeightedPool(2, sigma=0), r"sigma must be a positive number\. Received: sigma=0"),
        (lambda: nn.WeightedPool(2, sigma=float("nan")), "sigma must be a positive number"),
        (lambda: nn.Maxout(0), "pieces must be an int of at least 1"),
        (lambda: nn.PoolChannels([], 2), "channels must be a list of at least one int"),
        (lambda: nn.PoolChannels([0.5], 2), "channels must be an int"),
        (lambda: nn.PoolChannels([3], 2).build(1, 2), r"channels must exist: x has 2"),
        (lambda: nn.PoolChannels([0], 2, mode="min"), "mode must be one of max, mean, sum"),
        (lambda: nn.SpatialPyramidPool([]), "levels must be a list of at least one"),
        (lambda: nn.SpatialPyramidPool([0]), "levels must be an int of at least 1"),
        (lambda: nn.QuadrantPool("min"), "mode must be one of"),
        (lambda: nn.KMaxPool(0), "k must be an int of at least 1"),
        (lambda: nn.KMaxPool(3).build(1, 2, shape=2), r"a first axis of at least k=3 positions\. Received"),
        (lambda: nn.KMaxPool(3).build(0, 2), "a first axis of at least k=3 positions"),
        (lambda: nn.Maxout(3).build(1, 4), r"pieces=3 must divide the channels of the input\. Received: .*channels=4"),
        (lambda: nn.RoiPool(0), "bins must be an int of at least 1"),
    ],
)
def test_arguments(make, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()
