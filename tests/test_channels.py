"""Channels split, multiplied, shuffled, connected by a table: by loops, PyTorch, the law, gradients, layers, errors."""

import json

import numpy as np
import pytest

from convnd import nn, ops, optim
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor, record
from convnd.testing import check_gradient, check_law

ranks = pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])


def leaf(x):
    return Tensor(x, requires_grad=True)


# Against loops, other libraries, the law


@ranks
def test_split_is_undone_by_concat(rng, draw, ndim):
    batch = Ragged.pack(draw(ndim, 7))
    parts = ops.split(batch, (1, 4, 2))
    assert [part.values.shape[1] for part in parts] == [1, 4, 2]
    np.testing.assert_array_equal(parts[1].values, batch.values[:, 1:5])
    np.testing.assert_array_equal(ops.concat(parts).values, batch.values)
    dense = ops.split(rng.standard_normal((2, *(3,) * ndim, 7)), np.array([5, 2]))
    assert [part.shape[-1] for part in dense] == [5, 2]


@ranks
def test_multiply_is_a_product_at_every_position(rng, draw, ndim):
    samples = draw(ndim, 3)
    a, b, c = (Ragged.pack([rng.standard_normal((*s.shape[:-1], k)) for s in samples]) for k in (3, 1, 3))
    np.testing.assert_array_equal(ops.multiply([a, b, c]).values, a.values * b.values * c.values)
    np.testing.assert_array_equal(ops.multiply([b, a]).values, b.values * a.values)
    np.testing.assert_array_equal(ops.multiply([a]).values, a.values)


@ranks
def test_scale_channels_is_a_loop_over_samples(rng, draw, ndim):
    samples = draw(ndim, 3, np.float32)
    factor = rng.standard_normal((len(samples), 3)).astype(np.float32)
    found = ops.scale_channels(Ragged.pack(samples), factor)
    for y, x, f in zip(found, samples, factor, strict=True):
        np.testing.assert_array_equal(y, x * f)


def test_channel_shuffle_is_pytorchs(rng, draw):
    torch = pytest.importorskip("torch")
    for groups in (1, 2, 3, 6, 12):
        x = rng.standard_normal((2, 3, 4, 12))
        wanted = torch.nn.functional.channel_shuffle(torch.from_numpy(np.moveaxis(x, -1, 1).copy()), groups)
        np.testing.assert_array_equal(np.moveaxis(ops.channel_shuffle(x, groups), -1, 1), wanted.numpy())
        batch = Ragged.pack(draw(2, 12))
        back = ops.channel_shuffle(ops.channel_shuffle(batch, groups), 12 // groups)
        np.testing.assert_array_equal(back.values, batch.values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@ranks
def test_the_law(rng, draw, ndim, dtype):
    samples = draw(ndim, 4, dtype, count=6, high=6 if ndim > 2 else 20)
    check_law(lambda x: ops.channel_shuffle(x, 2), samples)
    check_law(lambda x: ops.concat(ops.split(x, (3, 1))[::-1]), samples)
    check_law(lambda x: ops.multiply([x, ops.split(x, (1, 3))[0]]), samples)
    check_law(lambda x: ops.scale_channels(x, ops.sigmoid(ops.global_pool(x))), samples)

    def gradients(x):
        t, f = leaf(x), leaf(ops.global_pool(x, "max"))
        one = ops.split(t, (1, 3))[0]
        y = ops.multiply([ops.scale_channels(t, f), one, t])
        y.backward((y * y).numpy())
        return ops.scale_channels(t.grad, f.grad)

    check_law(gradients, samples)


@ranks
def test_gradients(rng, draw, ndim):
    samples = draw(ndim, 4, count=3)
    x = leaf(Ragged.pack(samples))
    one = leaf(Ragged.pack([rng.standard_normal((*s.shape[:-1], 1)) for s in samples]))
    factor = leaf(rng.standard_normal((3, 4)))
    check_gradient(lambda x: ops.split(x, (1, 3))[1], [x])
    check_gradient(lambda x: ops.concat(ops.split(x, (1, 2, 1))), [x])
    six = leaf(Ragged.pack([rng.standard_normal((*s.shape[:-1], 6)) for s in samples]))
    check_gradient(lambda x: ops.channel_shuffle(x, 2), [six])
    check_gradient(lambda x, one: ops.multiply([x, one, x]), [x, one])
    check_gradient(lambda one: ops.multiply([one, one]), [one])
    check_gradient(ops.scale_channels, [x, factor])


def test_a_constant_operand_gets_no_gradient(rng):
    x, one = leaf(rng.standard_normal((2, 5, 3))), rng.standard_normal((2, 5, 1))
    y = ops.multiply([x, one])
    assert isinstance(y, Tensor)
    y.backward(np.ones((2, 5, 3)))
    np.testing.assert_array_equal(x.grad, np.broadcast_to(one, x.grad.shape))
    assert isinstance(ops.multiply([one, x]), Tensor)
    assert isinstance(ops.scale_channels(one, leaf(np.ones((2, 1)))), Tensor)


# Masks


def test_lenet5s_table_is_what_the_paper_says():
    """Six filters see 3 neighbours, six see 4, three see two pairs of neighbours with one between, one sees all."""
    table = np.array(ops.LENET5_C3)
    ring = [{(first + i) % 6 for i in range(count)} for count in (3, 4) for first in range(6)]
    pairs = [{first, first + 1, (first + 3) % 6, (first + 4) % 6} for first in range(3)]
    assert [set(np.flatnonzero(column)) for column in table.T] == [*ring, *pairs, set(range(6))]
    assert 25 * table.sum() + 16 == 1516


@pytest.mark.parametrize("whole", [False, True])
def test_a_mask_leaves_the_allowed_weights_alone(rng, whole):
    w = Tensor.parameter(rng.standard_normal((3, 2, 4, 5)))
    mask = rng.integers(0, 2, w.values.shape if whole else (4, 5)).astype(bool)
    masked = ops.mask_weight(w, mask)
    np.testing.assert_array_equal(masked.values, w.values * mask)
    np.testing.assert_array_equal(ops.mask_weight(w.values, mask.tolist()), masked.values)
    x = leaf(rng.standard_normal((1, 5, 6, 4)))
    check_gradient(lambda x, w: ops.conv(x, ops.mask_weight(w, mask)), [x, w])
    w.grad = None
    ops.conv(x, ops.mask_weight(w, mask)).backward(np.ones((1, 3, 5, 5)))
    assert not w.grad[np.broadcast_to(~mask, w.values.shape)].any()
    assert w.grad[np.broadcast_to(mask, w.values.shape)].all()


def test_a_forbidden_weight_is_zero_whatever_it_holds():
    w = np.array([[np.nan, 1.0], [np.inf, 2.0]])
    np.testing.assert_array_equal(ops.mask_weight(w, [[0, 1], [0, 1]]), [[0, 1], [0, 2]])


def test_a_masked_layer_sees_what_its_table_says(rng):
    layer = nn.MaskedConv(16, 5, ops.LENET5_C3).build(2, 6, dtype="float64")
    x = rng.standard_normal((1, 8, 8, 6))
    y = layer(x)
    table = np.array(ops.LENET5_C3, bool)
    for c in range(6):
        other = x.copy()
        other[..., c] += 1
        np.testing.assert_array_equal((layer(other) != y).any((0, 1, 2)), table[c])
    plain = nn.Conv(16, 5).build(2, 6, dtype="float64")
    plain.load_state(layer.state())
    np.testing.assert_array_equal(plain(x), y)


def test_forbidden_weights_stay_zero_in_training(rng):
    layer = nn.MaskedConv(4, 3, [[1, 0, 1, 0], [0, 1, 1, 0]], padding="same").build(1, 2, dtype="float64")
    before = layer.params["weight"].values.copy()
    optimiser = optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        y = layer(Tensor(rng.standard_normal((2, 6, 2))))
        y.backward(y.numpy())
        optimiser.step()
        optimiser.zero_grad()
    weight = layer.params["weight"].values
    mask = np.broadcast_to(np.array(layer.mask, bool), weight.shape)
    assert not weight[~mask].any()
    assert (weight[mask] != before[mask]).all()


def test_initial_values_count_what_a_filter_sees():
    dense = nn.Conv(400, 5).build(2, 40).params["weight"].values
    mask = np.random.default_rng(0).random((40, 400)) < 0.25
    sparse = nn.MaskedConv(400, 5, mask.astype(int).tolist()).build(2, 40).params["weight"].values
    assert sparse[:, :, mask].std() / dense.std() == pytest.approx(2, rel=0.02)


# Layers

LAYERS = [
    nn.ChannelShuffle(2),
    nn.MaskedConv(3, 2, [[1, 0, 1]] * 4, padding="same", bias=False, activation="tanh"),
    nn.MaskedConv(4, (1, 2), np.tril(np.ones((1, 2, 2, 4))).tolist(), groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_make_themselves_again_and_know_their_shape(rng, layer):
    layer.build(2, 4)
    x = rng.standard_normal((2, 5, 6, 4)).astype(np.float32)
    spec = layer.output(nn.Spec(2, 4, (5, 6)))
    assert layer(x).shape == (2, *spec.shape, spec.channels)
    for again in (nn.from_config(json.loads(json.dumps(layer.config()))), eval(repr(layer), dict(vars(nn)))):
        assert again.config() == layer.config()
        np.testing.assert_array_equal(again.build(2, 4)(x), layer(x))
    nn.summary(layer, (5, 6, 4))


def test_gates_in_a_graph(rng, draw):
    net = nn.Graph(
        {
            "conv": nn.Conv(4, 3, padding="same"),
            "seen": nn.GlobalPool(),
            "weights": nn.Linear(4, activation="sigmoid"),
            "scaled": nn.Node(nn.ScaleChannels(), "conv", "weights"),
            "map": nn.Conv(1, 1, activation="sigmoid"),
            "gated": nn.Node(nn.Multiply(), "scaled", "map"),
        }
    )
    batch = Ragged.pack(draw(2, 3, np.float32))
    result = net.build(2, 3)(batch)
    assert result.layout == batch.layout
    assert net.output(nn.Spec(2, 3, (5, 6))) == nn.Spec(2, 4, (5, 6))
    assert (nn.from_config(net.config()).build(2, 3)(batch).values == result.values).all()
    assert nn.summary(net, (5, 6, 3)) is not None


# Errors

X = np.ones((2, 6, 4))
W = np.ones((3, 4, 2))
R = Ragged(np.ones((9, 4)), Layout([[6], [3]]))
ERRORS = [
    (lambda: ops.split(X, (1, 2)), ShapeError, r"sizes must sum to the 4 channels of x. Received: sizes=\(1, 2\)"),
    (lambda: ops.split(X, (4, 0)), ArgumentError, r"sizes must be ints of at least 1.*Received: sizes=\(4, 0\)"),
    (lambda: ops.split(X, 2), ArgumentError, "sizes must be ints .* Received: sizes=2"),
    (lambda: ops.multiply([]), ArgumentError, r"xs must be a list of at least one batch. Received: \[\]"),
    (lambda: ops.multiply([X, X[..., :2]]), ShapeError, r"xs\[1\] must have 1 channel, or the 4 .* Received: 2 ch"),
    (lambda: ops.multiply([X, X[:, :3]]), ShapeError, r"xs\[1\], sample 0: must have the shape \(6,\)"),
    (lambda: ops.multiply([X, X.astype(np.float32)]), DtypeError, r"xs\[1\]\.astype\(np\.float64\)"),
    (lambda: ops.scale_channels(R, np.ones((2, 3))), ShapeError, r"factor must be \(2, 4\), .* with 3 channels"),
    (lambda: ops.scale_channels(R, np.ones((3, 4))), ShapeError, r"factor must be \(2, 4\), .*Received: 3 samples"),
    (lambda: ops.scale_channels(X, X), ShapeError, "without spatial axes. Received: 2 samples of 1 axes"),
    (lambda: ops.scale_channels(X, np.ones((2, 4), np.float32)), DtypeError, r"factor\.astype\(np\.float64\)"),
    (lambda: ops.channel_shuffle(X, 3), ShapeError, "groups must divide the 4 channels of x. Received: groups=3"),
    (lambda: ops.channel_shuffle(X, 0), ArgumentError, "groups must be an int of at least 1. Received: groups=0"),
    (lambda: ops.mask_weight(W, [[1, 0]]), ShapeError, r"shape is \(3, 4, 2\). Received: mask of shape \(1, 2\)"),
    (lambda: ops.mask_weight(W, [1, 2]), ArgumentError, r"mask must be an array of 0 and 1.*Received: mask=\[1, 2\]"),
    (lambda: ops.mask_weight(W, [[1], [1, 0]]), ArgumentError, "mask must be an array of 0 and 1"),
    (lambda: nn.MaskedConv(3, 3, [[1, 0]]), ArgumentError, r"mask must have 3 columns, .*Received: \(1, 2\)"),
    (lambda: nn.MaskedConv(2, 3, [[1, 0]]).build(1, 2), ShapeError, r"\(3, 2, 2\). Received: \(1, 2\)"),
    (lambda: nn.ChannelShuffle(3).build(1, 4), ShapeError, "groups=3 must divide the channels. Received: 4 channels"),
    (lambda: nn.ScaleChannels().output(nn.Spec(1, 4), nn.Spec(0, 3)), ShapeError, "input's 4 channels. Received: ndim"),
    (lambda: nn.Multiply().output(nn.Spec(1, 4), nn.Spec(1, 3)), ShapeError, "as many channels or one. Received: nd"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


# Channels where they lie: rows that are apart


@pytest.mark.parametrize(("channels", "first", "end"), [(32, 16, 32), (64, 16, 48), (160, 128, 160), (7, 2, 6)])
def test_channels_are_shuffled_where_they_lie_at_the_end_of_memory(rng, channels, first, end):
    """Nothing is read behind the last row: a page that nobody may touch follows it."""
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 17 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(base + 16 * page), ctypes.c_size_t(page), 0) == 0
    try:
        rows = 16 * page // (4 * channels)
        x = np.frombuffer(area, np.float32, rows * channels, 16 * page - 4 * rows * channels)
        x = x.reshape(rows, channels)
        x[...] = rng.standard_normal(x.shape)
        part = ops.split(x, (first, end - first, *([channels - end] if end < channels else [])))[1]
        y = ops.channel_shuffle(part, 2)
        wanted = x[:, first:end].reshape(rows, 2, -1).swapaxes(1, 2).reshape(rows, -1)
        np.testing.assert_array_equal(y, wanted)
    finally:
        assert libc.mprotect(ctypes.c_void_p(base + 16 * page), ctypes.c_size_t(page), 3) == 0


def test_rows_at_odd_addresses_are_copied():
    """Fields of packed records: their rows are no whole number of elements apart."""
    packed = np.zeros(3, np.dtype([("a", "f4", (4,)), ("b", "u1")]))
    packed["a"] = np.arange(12).reshape(3, 4)
    x, wanted = packed["a"], np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(ops.relu(x), wanted)
    np.testing.assert_array_equal(ops.concat([x, x]), np.concatenate([wanted, wanted], axis=1))
    np.testing.assert_array_equal(ops.split(x, (1, 3))[1], wanted[:, 1:])
    np.testing.assert_array_equal(ops.channel_shuffle(x[::-1], 2), wanted[::-1][:, [0, 2, 1, 3]])


def test_a_factor_may_be_a_part(rng):
    x, factors = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 8))
    f = leaf(factors)
    y = ops.scale_channels(x, ops.split(f, (4, 4))[1])
    np.testing.assert_array_equal(y.numpy(), x * factors[:, None, 4:])
    y.backward(np.ones_like(x))
    np.testing.assert_allclose(f.grad, np.concatenate([np.zeros((2, 4)), x.sum(axis=1)], axis=1))


def test_split_of_parts_that_begin_within_a_line():
    """Large enough that results go past the caches, which takes whole lines."""
    x = leaf(np.ones((1, 40000, 32), np.float32))
    part = ops.split(x, (3, 16, 13))[1]
    (part * 2.0).backward(np.ones((1, 40000, 16), np.float32))
    assert np.array_equal(x.grad, np.repeat(np.float32([0, 2, 0]), (3, 16, 13)) * np.ones((1, 40000, 1), np.float32))


def test_split_refuses_gradients_of_another_dtype():
    x = leaf(np.ones((1, 4, 4), np.float32))
    part = ops.split(x, (2, 2))[0]
    wrong = record(part.values * 2, part.layout, part.kind, (part,), lambda g: (g * np.float64(2),))
    with pytest.raises(DtypeError, match="one dtype"):
        wrong.backward(np.ones((1, 4, 2), np.float32))
