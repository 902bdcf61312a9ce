"""Dropout of whole channels and of blocks: by literal draws, in any batch, with the mask as gradient."""

import json

import numpy as np
import pytest

from convnd import nn, ops, reference
from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.random import Key
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

MASK = 2**64 - 1


def draw_number(key, number):
    """SplitMix64, in Python's integers."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def literal_beginnings(shape, channels, size, rate, key):
    """Where blocks begin in one sample, and the sizes they have in it, by the paper's words."""
    block = [min(b, s) for b, s in zip(size, shape, strict=True)]
    gamma = rate
    for b, s in zip(block, shape, strict=True):
        gamma *= s / (b * (s - b + 1))
    begins = np.zeros((*shape, channels), bool)
    for number, (*p, c) in enumerate(np.ndindex(*shape, channels)):
        inside = all(start + b <= s for start, b, s in zip(p, block, shape, strict=True))
        begins[(*p, c)] = inside and draw_number(key, number) < gamma * 2.0**64
    return begins, block


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("ndim", "size"), [(0, 3), (1, 1), (1, 4), (2, 3), (2, (1, 9)), (3, (2, 1, 3)), (4, 2)], ids=str
)
def test_drop_block_is_the_reference_on_each_sample(draw, ndim, size, dtype):
    samples = draw(ndim, 3, dtype, count=4, low=1, high={1: 20, 2: 9}.get(ndim, 5))
    key = Key(3, samples=[9, 4, 2, 7])
    result = ops.drop_block(Ragged.pack(samples), size, 0.4, key)
    per_axis = (size,) * ndim if isinstance(size, int) else size
    dropped = 0
    for found, sample, own in zip(result, samples, key.per_sample(4).tolist(), strict=True):
        begins, block = literal_beginnings(sample.shape[:-1], 3, per_axis, 0.4, own)
        wanted = reference.drop_block(sample, begins, block)
        np.testing.assert_allclose(found, wanted, rtol=1e-6 if dtype == np.float32 else 1e-15)
        dropped += (wanted == 0).sum()
    assert dropped


def test_the_draws_are_dropouts(rng):
    """With blocks of one position, the same positions are dropped as by dropout with the same key."""
    x = Ragged.pack([rng.standard_normal((size, 3)) for size in (50, 1, 30)])
    blocks, single = ops.drop_block(x, 1, 0.3, Key(8)), ops.dropout(x, 0.3, Key(8))
    assert ((blocks.values == 0) == (single.values == 0)).all()


@pytest.mark.parametrize(("shape", "size"), [((400,), 7), ((60, 50), 5), ((14, 13, 12), (3, 1, 4))])
def test_about_the_rate_is_dropped_in_blocks(shape, size):
    x = np.ones((40, *shape, 2))
    y = ops.drop_block(x, size, 0.2, Key(1))
    kept = (y != 0).mean()
    assert 0.80 <= kept < 0.83  # a little above 1 - rate, as blocks overlap
    axes = tuple(range(1, y.ndim))
    np.testing.assert_allclose(y.mean(axes), 1)  # the mean of every sample, to rounding
    if len(shape) == 1:
        edges = np.diff(np.pad(y[..., 0] == 0, ((0, 0), (1, 1))).astype(int))
        lengths = np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1]
        assert lengths.min() == size


def test_a_sample_that_goes_whole_is_zero():
    y = ops.drop_block(np.ones((300, 2, 1)), 5, 0.9, Key(0))  # one block can begin, and it is the sample
    gone = (y == 0).all((1, 2))
    assert 0.85 < gone.mean() < 0.95
    assert (y[~gone] == 1).all()


def test_spatial_dropout_takes_whole_channels(rng):
    x = Ragged.pack([rng.standard_normal((*shape, 400)) for shape in ((3, 5), (1, 1), (4, 2))])
    y = ops.spatial_dropout(x, 0.3, Key(5))
    for sample, found in zip(x, y, strict=True):
        factor = found / sample
        np.testing.assert_allclose(factor, np.broadcast_to(factor[:1, :1], factor.shape), rtol=1e-12)
        assert 0.2 < (factor[0, 0] == 0).mean() < 0.4
        np.testing.assert_allclose(factor[factor != 0], 1 / 0.7)
    assert ((y[0].values[0] == 0) != (y[1].values[0] == 0)).any()  # samples draw apart
    flat = x.values[:6].copy()
    assert ops.spatial_dropout(flat, 0.3, Key(5)).tobytes() == ops.dropout(flat, 0.3, Key(5)).tobytes()


def test_spatial_dropout_keeps_the_mean():
    assert abs(ops.spatial_dropout(np.ones((200, 2, 100)), 0.25, Key(2)).mean() - 1) < 0.02


DROPS = {
    "spatial": lambda x, key: ops.spatial_dropout(x, 0.4, key),
    "block": lambda x, key: ops.drop_block(x, 3, 0.4, key),
}


@pytest.mark.parametrize("name", DROPS)
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_the_law_by_the_samples_numbers(draw, name, ndim):
    """check_law batches samples at will, so what they are known by has to come from themselves: the first value."""
    samples = draw(ndim, 3, np.float32, count=6, low=2, high=6)
    for number, sample in enumerate(samples):
        sample.reshape(-1)[0] = number + 1

    def op(x):
        t = Tensor(x)
        firsts = t.values[t.layout.offsets[:-1], 0].astype(int)
        return DROPS[name](x, Key(1, samples=firsts))

    check_law(op, samples)


@pytest.mark.parametrize("name", DROPS)
def test_the_gradient_is_the_mask(rng, draw, name):
    x = Tensor(Ragged.pack(draw(2, 3, count=4, low=2, high=9)), requires_grad=True)
    check_gradient(lambda x: DROPS[name](x, Key(4)), [x])
    y = DROPS[name](x, Key(4))
    x.grad = None
    y.backward(Ragged(np.ones_like(x.values), x.layout))
    np.testing.assert_allclose(x.grad.values * x.values, y.values)
    assert (x.grad.values == 0).any()


@pytest.mark.parametrize("name", DROPS)
def test_the_key_decides(rng, name):
    x = np.ones((4, 9, 50))
    y = DROPS[name](x, Key(5))
    assert DROPS[name](x, Key(5)).tobytes() == y.tobytes()
    for other in (Key(6), Key(5, step=1), Key(5).fold("a")):
        assert ((DROPS[name](x, other) == 0) != (y == 0)).any()


def test_no_rate_is_no_change():
    x = np.ones((2, 5, 3))
    assert ops.spatial_dropout(x, 0, Key(0)) is x
    assert ops.drop_block(x, 2, 0, Key(0)) is x


@pytest.mark.parametrize("layer", [nn.SpatialDropout(0.25), nn.DropBlock(3, 0.25), nn.DropBlock((3, 2), 0.1)], ids=repr)
def test_layers(rng, layer):
    for again in (nn.from_config(json.loads(json.dumps(layer.config()))), eval(repr(layer), dict(vars(nn)))):
        assert repr(again) == repr(layer)
        assert again.config() == layer.config()
    x = rng.standard_normal((2, 7, 8, 4))
    assert layer.output(nn.Spec(2, 4, (7, 8))) == nn.Spec(2, 4, (7, 8))
    assert layer(x).tobytes() == x.tobytes()
    net = nn.Sequential(layer, type(layer)(**{k: v for k, v in layer.config().items() if k != "type"}))
    once, twice = (layer(x, training=True, rng=Key(0).fold(n)) for n in (1, 2))
    assert once.tobytes() != twice.tobytes()
    both = net(x, training=True, rng=Key(0))
    assert (both == 0).sum() > max((once == 0).sum(), 1)  # each place draws for itself
    with pytest.raises(ArgumentError, match=rf"{type(layer).__name__} in training needs rng"):
        layer(x, training=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.spatial_dropout(x, 1.0, Key(0)), ArgumentError, "rate must be at least 0 and below 1"),
        (lambda x: ops.spatial_dropout(x, 0.5, 7), ArgumentError, "key must be a convnd.random.Key. Received: key=7"),
        (
            lambda x: ops.spatial_dropout(Ragged(np.ones((3, 1)), Layout([[3], [0]])), 0.5, Key(0)),
            ShapeError,
            "sample 1 has no positions",
        ),
        (lambda x: ops.drop_block(x, 3, -0.1, Key(0)), ArgumentError, "rate must be .* Received: rate=-0.1"),
        (lambda x: ops.drop_block(x, 0, 0.1, Key(0)), ArgumentError, "size must be an int of at least 1, or 1 of"),
        (lambda x: ops.drop_block(x, (2, 2), 0.1, Key(0)), ArgumentError, "size must be an int of at least 1, or 1 of"),
        (
            lambda x: ops.drop_block(Ragged(np.ones((3, 1)), Layout([[3], [0]])), 2, 0.1, Key(0)),
            ShapeError,
            "sample 1 has no positions",
        ),
        (lambda x: ops.drop_block(x, 2, 0.1, Key(0, samples=[1])), ShapeError, "knows 1 samples, but the batch has 2"),
        (lambda x: nn.DropBlock(2, 1.0), ArgumentError, r"rate must be a number in \[0, 1\)"),
        (lambda x: nn.DropBlock((2, 2), 0.1).output(nn.Spec(1, 3)), ArgumentError, "size must be an int"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, 5, 3)))
