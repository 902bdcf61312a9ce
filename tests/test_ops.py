"""Operations: against the specification, SciPy and PyTorch; the law; gradients; error messages."""

import numpy as np
import pytest
from scipy import signal

from convnd import ops, reference
from convnd.errors import ArgumentError, ConvndError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.random import Key
from convnd.tensor import Tensor, no_grad
from convnd.testing import check_adjoint, check_gradient, check_law

# One vocabulary of windows for all that is tested below: any rank, C = 4, F = 6.
CONVS = {
    "plain": {},
    "strided": {"stride": 2, "padding": 1},
    "dilated": {"dilation": 2, "padding": "same"},
    "grouped": {"groups": 2, "padding": "same_lower"},
    "depthwise": {"groups": 4, "padding": "full"},
    "causal": {"padding": "causal", "stride": 2},
    "flipped": {"flip": True, "padding": 2},
    "all at once": {"stride": 3, "dilation": 2, "groups": 2, "padding": "full", "flip": True},
}
POOLS = {
    "plain": {},
    "overlapping": {"stride": 1},
    "padded": {"padding": 1, "stride": 2},
    "same": {"padding": "same"},
    "dilated": {"dilation": 2, "stride": 1, "padding": 1},
    "ceil": {"ceil_mode": True, "stride": 2},
}
RANKS = [1, 2, 3, 4]
FILTERS = {"depthwise": 8}


def named(cases):
    return pytest.mark.parametrize(("name", "options"), list(cases.items()), ids=list(cases))


def weight_for(rng, ndim, name, options, dtype=np.float64, kernel=3):
    filters = FILTERS.get(name, 6)
    sizes = [kernel - (axis == 1) for axis in range(ndim)]
    weight = rng.standard_normal((*sizes, 4 // options.get("groups", 1), filters))
    return weight.astype(dtype), rng.standard_normal(filters).astype(dtype)


def leaf(x):
    return Tensor(x, requires_grad=True)


def close(found, wanted, dtype=np.float64):
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * 10)


# Against the specification


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
@named(CONVS)
def test_convolutions_are_the_reference_on_each_sample(rng, draw, ndim, name, options, dtype):
    largest = {1: 12, 2: 9, 3: 5, 4: 4}[ndim]  # the reference is slow
    samples = draw(ndim, 4, dtype, count=3 if ndim < 3 else 2, low=min(largest - 1, 5), high=largest)
    weight, bias = weight_for(rng, ndim, name, options, dtype, kernel=3 if ndim < 3 else 2)
    batch = Ragged.pack(samples)
    result = ops.conv(batch, weight, bias, **options)
    assert result.values.dtype == dtype
    outputs = [reference.conv(sample, weight, bias, **options) for sample in samples]
    for found, wanted in zip(result, outputs, strict=True):
        close(found, wanted, dtype)
    grads = Ragged.pack([rng.standard_normal(y.shape).astype(dtype) for y in outputs])
    back = ops.conv_transpose(grads, weight, like=batch, **options)
    total = 0
    for sample, g, found in zip(samples, grads, back, strict=True):
        close(found, reference.conv_transpose(g, weight, like=sample.shape[:-1], **options), dtype)
        total = total + reference.conv_weight(sample.astype(float), g.astype(float), weight.shape[:-2], **options)
    close(ops.conv_weight(batch, grads, weight.shape[:-2], **options), total, dtype)


@pytest.mark.parametrize("ndim", RANKS)
@named(POOLS)
def test_pools_are_the_reference_on_each_sample(draw, ndim, name, options):
    samples = draw(ndim, 3, np.float32, count=3, low=4 if ndim < 4 else 3, high=7 if ndim < 4 else 5)
    batch = Ragged.pack(samples)
    for result, arguments in (
        (ops.max_pool(batch, 2, **options), {}),
        (ops.avg_pool(batch, 2, **options), {"mode": "mean"}),
        (ops.avg_pool(batch, 2, count_include_pad=True, **options), {"mode": "mean", "count_include_pad": True}),
    ):
        for found, sample in zip(result, samples, strict=True):
            close(found, reference.pool(sample, 2, **arguments, **options), np.float32)


@pytest.mark.parametrize("mode", ["max", "mean", "sum"])
@pytest.mark.parametrize("ndim", RANKS)
def test_proportional_and_global_pools_are_the_reference(draw, ndim, mode):
    samples = draw(ndim, 3, count=3, low=1, high=7)
    batch = Ragged.pack(samples)
    for bins in (1, 3):
        for found, sample in zip(ops.proportional_pool(batch, bins, mode), samples, strict=True):
            close(found, reference.proportional_pool(sample, [bins] * ndim, mode))
    pooled = ops.global_pool(batch, mode)
    assert pooled.layout == Layout.dense(3, ())
    close(pooled.values, [reference.global_pool(sample, mode) for sample in samples])


def test_batch_norm_is_over_true_positions(rng, draw):
    samples = draw(2, 3)
    gamma, beta = rng.standard_normal((2, 3))
    mean, var = np.zeros(3), np.ones(3)
    result = ops.batch_norm(Ragged.pack(samples), gamma, beta, mean, var, training=True, momentum=0.3)
    for found, wanted in zip(result, reference.batch_norm(samples, gamma, beta), strict=True):
        close(found, wanted)
    rows = np.concatenate([sample.reshape(-1, 3) for sample in samples])
    close(mean, 0.3 * rows.mean(0))
    close(var, 0.7 + 0.3 * rows.var(0, ddof=1))


@pytest.mark.parametrize("name", ops.pointwise.ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_the_reference(rng, name, dtype):
    x = (rng.standard_normal((1, 40, 5)) * 4).astype(dtype)
    np.testing.assert_allclose(
        ops.activate(x, name), reference.activate(x, name), rtol=3e-6 if dtype == np.float32 else 1e-12, atol=1e-7
    )
    assert getattr(ops, name)(x).tobytes() == ops.activate(x, name).tobytes()


def test_softmax_is_the_reference(rng):
    x = rng.standard_normal((2, 5, 7)) * 50
    close(ops.softmax(x), reference.softmax(x))
    close(ops.log_softmax(x), reference.log_softmax(x))


def test_linear_is_a_matrix_product_at_every_position(rng):
    x, w, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((5, 7)), rng.standard_normal(7)
    close(ops.linear(x, w, b), x @ w + b)
    close(ops.linear(x, w, activation="tanh"), np.tanh(x @ w))
    close(ops.linear(x[:, 0, 0], w), x[:, 0, 0] @ w)
    assert ops.linear(x, w, b).tobytes() == ops.conv(x, w[None, None], b).tobytes()


# Outside oracles


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_conv_is_scipys_correlation(rng, ndim):
    x = rng.standard_normal((1, *rng.integers(5, 9, ndim), 1))
    w = rng.standard_normal((*[3] * ndim, 1, 1))
    for flip, oracle in ((False, signal.correlate), (True, signal.convolve)):
        for padding in ("valid", "full"):
            wanted = oracle(x[0, ..., 0], w[..., 0, 0], padding, method="direct")
            close(ops.conv(x, w, padding=padding, flip=flip)[0, ..., 0], wanted)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "padding", "groups"), [(1, 1, 0, 1), (2, 1, 1, 2), (1, 2, 2, 4)])
def test_values_and_gradients_are_pytorchs(rng, ndim, stride, dilation, padding, groups):
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"conv{ndim}d")
    x, w = rng.standard_normal((2, *[7] * ndim, 4)), rng.standard_normal((*[3] * ndim, 4 // groups, 8))
    b = rng.standard_normal(8)
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    tx = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
    tw = torch.from_numpy(np.ascontiguousarray(np.moveaxis(w, (-1, -2), (0, 1)))).requires_grad_()
    tb = torch.from_numpy(b.copy()).requires_grad_()
    wanted = torch.nn.functional.elu(function(tx, tw, tb, **options))
    wanted.square().sum().backward()

    cx, cw, cb = leaf(x), Tensor.parameter(w), Tensor.parameter(b)
    y = ops.conv(cx, cw, cb, activation="elu", **options)
    y.backward(2 * y.numpy())
    np.testing.assert_allclose(np.moveaxis(y.numpy(), -1, 1), wanted.detach().numpy(), atol=1e-11)
    np.testing.assert_allclose(np.moveaxis(cx.grad, -1, 1), tx.grad.numpy(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(np.moveaxis(cw.grad, (-1, -2), (0, 1)), tw.grad.numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cb.grad, tb.grad.numpy(), rtol=1e-9)


def test_batch_norm_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    x, gamma, beta = rng.standard_normal((3, 4, 5, 2)), rng.standard_normal(2), rng.standard_normal(2)
    tx = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
    mean, var = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    tg, tb = torch.from_numpy(gamma.copy()).requires_grad_(), torch.from_numpy(beta.copy()).requires_grad_()
    for training in (True, False):
        cx, cg, cb = leaf(x), Tensor.parameter(gamma), Tensor.parameter(beta)
        running = mean.numpy().copy(), var.numpy().copy()
        wanted = torch.nn.functional.batch_norm(tx, mean, var, tg, tb, training=training)
        y = ops.batch_norm(cx, cg, cb, *running, training=training)
        np.testing.assert_allclose(np.moveaxis(y.numpy(), -1, 1), wanted.detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(running[0], mean.numpy(), atol=1e-14)
        np.testing.assert_allclose(running[1], var.numpy(), atol=1e-14)
        for t in (tx, tg, tb):
            t.grad = None
        (wanted**3).sum().backward()
        y.backward(3 * y.numpy() ** 2)
        np.testing.assert_allclose(np.moveaxis(cx.grad, -1, 1), tx.grad.numpy(), atol=1e-10)
        np.testing.assert_allclose(cg.grad, tg.grad.numpy(), atol=1e-10)
        np.testing.assert_allclose(cb.grad, tb.grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_batch_norm_takes_a_pool_along(rng, draw, training, activation):
    """To the last bit; in the gradients the batch is summed in another order."""
    samples = draw(2, 3, low=4, high=9)
    gamma, beta = rng.standard_normal((2, 3))
    for pool in ({"size": 2}, {"size": 3, "stride": 2, "padding": "same"}, {"size": (2, 3), "ceil_mode": True}):
        found = []
        for together in (True, False):
            x, g, b = leaf(Ragged.pack(samples)), Tensor.parameter(gamma), Tensor.parameter(beta)
            running = np.full(3, 0.2), np.full(3, 1.3)
            more = {"training": training, "activation": activation}
            if together:
                y = ops.batch_norm(x, g, b, *running, pool=pool, **more)
            else:
                y = ops.max_pool(ops.batch_norm(x, g, b, *running, **more), **pool)
            y.backward(Ragged(y.values**2, y.layout))
            found.append((y, running, (x.grad.values, g.grad, b.grad)))
        (y, running, grads), (wanted, wanted_running, wanted_grads) = found
        assert y.layout == wanted.layout
        np.testing.assert_array_equal(y.values, wanted.values)
        np.testing.assert_array_equal(running, wanted_running)
        for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
            np.testing.assert_allclose(grad, wanted_grad, rtol=1e-10, atol=1e-12)


# The law


def law_cases(rng, ndim, dtype):
    w, b = weight_for(rng, ndim, "", {}, dtype)
    gamma, beta, mean = rng.standard_normal((3, 4)).astype(dtype)
    var = rng.uniform(1, 2, 4).astype(dtype)
    yield "conv", lambda x: ops.conv(x, w, b, padding="same", activation="tanh")
    yield "strided conv", lambda x: ops.conv(x, w, b, padding=1, stride=2, activation="relu")
    yield "1x1 conv", lambda x: ops.conv(x, np.ascontiguousarray(w[(slice(0, 1),) * ndim]), b)
    yield "conv_transpose", lambda x: ops.conv_transpose(x, w.swapaxes(-1, -2), b, stride=2, output_padding=1)
    yield "linear", lambda x: ops.linear(x, w[(0,) * ndim], b, activation="sigmoid")
    yield "max_pool", lambda x: ops.max_pool(x, 2, padding="same")
    yield "avg_pool", lambda x: ops.avg_pool(x, 3, stride=2, padding=1)
    yield "proportional max", lambda x: ops.proportional_pool(x, 3)
    yield "proportional mean", lambda x: ops.proportional_pool(x, 2, "mean")
    yield "global mean", lambda x: ops.global_pool(x, "mean")
    yield "global sum", lambda x: ops.global_pool(x, "sum")
    yield "batch_norm", lambda x: ops.batch_norm(x, gamma, beta, mean, var, activation="elu")
    pool = {"size": 2, "padding": "same"}
    yield "batch_norm and pool", lambda x: ops.batch_norm(x, gamma, beta, mean, var, activation="relu", pool=pool)
    for name in ops.pointwise.ACTIVATIONS:
        yield name, lambda x, name=name: ops.activate(x, name)
    yield "softmax", ops.softmax
    yield "log_softmax", ops.log_softmax
    yield "flatten", lambda x: ops.flatten(ops.proportional_pool(x, 2))
    yield "concat", lambda x: ops.concat([x, ops.relu(x)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
def test_the_law(rng, draw, ndim, dtype):
    samples = draw(ndim, 4, dtype, count=6, low=3, high=6 if ndim > 2 else 30)
    for name, op in law_cases(rng, ndim, dtype):
        try:
            check_law(op, samples)
        except AssertionError as error:
            raise AssertionError(f"{name}, {ndim} axes, {np.dtype(dtype)}: {error}") from None


def test_the_law_holds_for_gradients_to_the_input(rng, draw):
    w, b = weight_for(rng, 2, "", {}, np.float32)

    def gradient(x):
        t = leaf(x)
        y = ops.softmax(ops.max_pool(ops.conv(t, w, b, padding="same", activation="relu"), 2))
        y.backward((y * y).numpy())
        return t.grad

    check_law(gradient, draw(2, 4, np.float32, count=6, low=3, high=9))


def test_weight_gradients_are_the_same_bits_dense_and_ragged(rng):
    x, g = rng.standard_normal((5, 9, 8, 4)).astype(np.float32), rng.standard_normal((5, 7, 6, 3)).astype(np.float32)
    dense = ops.conv_weight(x, g, 3)
    assert dense.tobytes() == ops.conv_weight(Ragged.pack(list(x)), Ragged.pack(list(g)), 3).tobytes()


def test_check_law_finds_what_breaks_it(draw):
    samples = draw(1, 2)
    with pytest.raises(AssertionError, match=r"sample \d in the batch"):
        check_law(lambda x: Ragged(x.values - x.values.mean(0), x.layout), samples)


# Adjoints and gradients


@pytest.mark.parametrize("ndim", RANKS)
@named(CONVS)
def test_adjoint_identities(rng, ndim, name, options):
    x = rng.standard_normal((2, *rng.integers(4, 8 if ndim < 4 else 6, ndim), 4))
    w, _ = weight_for(rng, ndim, name, options, kernel=3 if ndim < 4 else 2)
    g = rng.standard_normal(ops.conv(x, w, **options).shape)
    check_adjoint(
        lambda v: ops.conv(v, w, **options), lambda v: ops.conv_transpose(v, w, like=x, **options), x, g, 1e-13
    )
    check_adjoint(
        lambda v: ops.conv(x, v, **options), lambda v: ops.conv_weight(x, v, w.shape[:-2], **options), w, g, 1e-13
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@named(CONVS)
def test_gradients_of_the_three_primitives(rng, draw, ndim, name, options):
    x = leaf(Ragged.pack(draw(ndim, 4, count=2, low=5 if ndim < 3 else 4, high=7 if ndim < 3 else 5)))
    weight, bias = weight_for(rng, ndim, name, options, kernel=3 if ndim < 3 else 2)
    w, b = Tensor.parameter(weight), Tensor.parameter(bias)
    check_gradient(lambda x, w, b: ops.conv(x, w, b, activation="tanh", **options), [x, w, b], draws=1)
    g = leaf(ops.conv(x, w, **options).numpy())
    c = Tensor.parameter(rng.standard_normal(4))
    check_gradient(
        lambda g, w, c: ops.conv_transpose(g, w, c, like=x, activation="sigmoid", **options), [g, w, c], draws=1
    )
    check_gradient(lambda x, g: ops.conv_weight(x, g, weight.shape[:-2], **options), [x, g], draws=1)


def test_gradients_of_gradients_are_convolutions_again(rng):
    """conv_weight as an operation: its result is a weight that another convolution uses."""
    x, g = leaf(rng.standard_normal((1, 6, 2))), leaf(rng.standard_normal((1, 4, 3)))
    check_gradient(lambda x, g: ops.conv(x, ops.conv_weight(x, g, 3)), [x, g])


@named(POOLS)
def test_gradients_of_pools(rng, draw, name, options):
    x = leaf(Ragged.pack(draw(2, 3, count=3, low=4, high=7)))
    check_gradient(lambda x: ops.max_pool(x, 2, **options), [x], draws=1)
    for counted in (False, True):
        check_gradient(lambda x, c=counted: ops.avg_pool(x, 2, count_include_pad=c, **options), [x], draws=1)


@pytest.mark.parametrize("mode", ["max", "mean", "sum"])
def test_gradients_of_proportional_and_global_pools(draw, mode):
    x = leaf(Ragged.pack(draw(2, 3, count=3, low=1, high=7)))
    check_gradient(lambda x: ops.proportional_pool(x, (2, 4), mode), [x], draws=1)
    check_gradient(lambda x: ops.global_pool(x, mode), [x], draws=1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("pool", [None, {"size": 2}])
def test_gradients_of_batch_norm(rng, draw, training, activation, pool):
    x = leaf(Ragged.pack(draw(1, 3)))
    gamma, beta = Tensor.parameter(rng.standard_normal(3)), Tensor.parameter(rng.standard_normal(3))

    def function(x, gamma, beta):
        mean, var = np.full(3, 0.2), np.full(3, 1.3)
        return ops.batch_norm(x, gamma, beta, mean, var, training=training, activation=activation, pool=pool)

    check_gradient(function, [x, gamma, beta])


@pytest.mark.parametrize("name", [*ops.pointwise.ACTIVATIONS, "softmax", "log_softmax", "flatten"])
def test_gradients_of_pointwise_operations(rng, name):
    check_gradient(getattr(ops, name), [leaf(rng.standard_normal((2, 6, 4)))])


def test_gradients_of_joining_and_linear(rng, draw):
    samples = draw(2, 2)
    x, y = leaf(Ragged.pack(samples)), leaf(Ragged.pack([s + 1 for s in samples]))
    w, b = Tensor.parameter(rng.standard_normal((6, 3))), Tensor.parameter(rng.standard_normal(3))
    check_gradient(
        lambda x, y, w, b: ops.linear(ops.concat([x, ops.add([x, y, x * y]), y]), w, b, activation="sigmoid"),
        [x, y, w, b],
    )


def test_a_weight_used_twice_gets_both_gradients(rng):
    x, w = leaf(rng.standard_normal((2, 9, 2))), Tensor.parameter(rng.standard_normal((3, 2, 2)))
    check_gradient(lambda x, w: ops.conv(ops.conv(x, w, activation="tanh"), w, flip=True), [x, w])


def test_a_flipped_weight_follows_its_changes(rng):
    x, w = rng.standard_normal((1, 6, 1)), Tensor.parameter(rng.standard_normal((3, 1, 1)))
    ops.conv(x, w, flip=True)
    w.assign(2 * w.values)
    close(ops.conv(x, w, flip=True).numpy(), ops.conv(x, w.values[::-1]))


def test_a_decoder_meets_its_encoder_at_odd_sizes(rng):
    """A small U-Net over volumes of odd and mixed sizes: down, up with like=, and a skip."""
    x = Ragged.pack([rng.standard_normal((*shape, 1)) for shape in ((5, 6, 7), (4, 4, 3))])
    down, up = (
        Tensor.parameter(rng.standard_normal((2, 2, 2, 1, 3))),
        Tensor.parameter(rng.standard_normal((2, 2, 2, 2, 3))),
    )

    def net(x, down, up):
        low = ops.conv(x, down, stride=2, padding="same", activation="tanh")
        return ops.concat([ops.conv_transpose(low, up, stride=2, padding="same", like=x), x])

    t = leaf(x)
    assert net(t, down, up).layout == x.layout
    check_gradient(net, [t, down, up], draws=1)


# Dropout


def test_dropout_keeps_the_mean_and_the_key_decides(rng):
    x = np.ones((50, 40, 8))
    y = ops.dropout(x, 0.3, Key(5))
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert abs(np.mean(y == 0) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)
    assert ops.dropout(x, 0.3, Key(5)).tobytes() == y.tobytes()
    for other in (Key(6), Key(5, 1), Key(5).fold("layer")):
        assert abs(np.mean((ops.dropout(x, 0.3, other) == 0) == (y == 0)) - 0.58) < 0.02  # independent draws
    assert ops.dropout(x, 0, Key(5)) is x


def test_dropout_knows_a_sample_in_any_batch(draw):
    samples = [np.ones_like(sample) for sample in draw(2, 3)]
    whole = ops.dropout(Ragged.pack(samples), 0.5, Key(1, samples=[7, 3, 9, 1, 4]))
    part = ops.dropout(Ragged.pack([samples[3], samples[1]]), 0.5, Key(1, samples=[1, 3]))
    np.testing.assert_array_equal(part.unpack()[0], whole.unpack()[3])
    np.testing.assert_array_equal(part.unpack()[1], whole.unpack()[1])


def test_dropouts_gradient_is_its_mask():
    x = leaf(np.ones((2, 5, 4)))
    y = ops.dropout(x, 0.5, Key(0))
    y.backward(np.ones((2, 5, 4)))
    np.testing.assert_array_equal(x.grad, y.numpy())


# Kinds and the tape


def test_a_result_has_its_operands_kind(rng):
    x, w = rng.standard_normal((2, 5, 1)), rng.standard_normal((3, 1, 2))
    assert isinstance(ops.conv(x, w), np.ndarray)
    assert isinstance(ops.conv(Ragged.pack(list(x)), w), Ragged)
    assert isinstance(ops.conv(x, Tensor.parameter(w)), Tensor)
    ragged = ops.conv(Ragged.pack(list(x)), Tensor.parameter(w))
    assert isinstance(ragged, Tensor)
    assert isinstance(ragged.numpy(), Ragged)
    assert isinstance(ops.conv_transpose(ops.conv(x, w), w, like=Tensor(x)), np.ndarray)  # like is a size, no operand
    assert isinstance(ops.conv_weight(x, ops.conv(x, w), 3), np.ndarray)
    assert isinstance(ops.conv_weight(Tensor(x), ops.conv(x, w), 3), Tensor)


def test_nothing_is_recorded_without_need(rng):
    x, w = Tensor(rng.standard_normal((2, 5, 1))), Tensor.parameter(rng.standard_normal((3, 1, 2)), requires_grad=False)
    assert not ops.max_pool(ops.conv(x, w), 2).requires_grad
    w.requires_grad = True
    with no_grad():
        assert not ops.conv(x, w).requires_grad
    assert ops.conv(x, w).requires_grad


def test_an_empty_batch_goes_through(rng):
    x = np.zeros((0, 2))
    assert ops.linear(x, rng.standard_normal((2, 3))).shape == (0, 3)
    assert ops.relu(x).shape == (0, 2)


# Errors

X = np.ones((2, 6, 4))
W = np.ones((3, 4, 2))
ERRORS = [
    (
        lambda: ops.conv(np.ones((2, 6, 4), int), W),
        DtypeError,
        r"x must be .*x\.astype\(np\.float32\)\. Received: dtype int64",
    ),
    (
        lambda: ops.conv(X.astype(np.float32), W),
        DtypeError,
        r"weight must have the dtype of x, float32; cast it: weight\.astype",
    ),
    (lambda: ops.conv(X, W, np.ones(2, np.float32)), DtypeError, r"bias\.astype\(np\.float64\)"),
    (lambda: ops.conv(X, W[:, :3]), ShapeError, "x has 4 channels, but weight of shape .* takes 3"),
    (lambda: ops.conv(X, W[None]), ShapeError, r"a kernel of 1 axes.*Received: weight of shape \(1, 3, 4, 2\)"),
    (lambda: ops.conv(X, W, np.ones(3)), ShapeError, r"bias must have shape \(2,\)\. Received: .*\(3,\)"),
    (lambda: ops.conv(X, W, groups=3), ShapeError, "takes 12"),
    (
        lambda: ops.conv(X, np.ones((3, 1, 2)), groups=4),
        ShapeError,
        "must divide the 4 input channels and the 2 filters",
    ),
    (lambda: ops.conv(X, W, groups=0), ArgumentError, "groups must be an int of at least 1. Received: groups=0"),
    (lambda: ops.conv(X, np.ones((7, 4, 2))), ShapeError, "sample 0 is too short for the window"),
    (lambda: ops.conv(X, W, stride=(1, 1)), ArgumentError, r"stride must .* Received: stride=\(1, 1\)"),
    (lambda: ops.conv(X, W, padding="half"), ArgumentError, "padding must be one of"),
    (lambda: ops.conv(X, W, activation="gelu"), ArgumentError, "activation must be None or one of relu, .*'gelu'"),
    (lambda: ops.conv(X, W, algorithm="fast"), ArgumentError, "algorithm must be one of auto, direct, winograd, fft"),
    (lambda: ops.conv(Tensor.parameter(X), W), ArgumentError, "x must have samples"),
    (lambda: ops.conv(X, Tensor(W)), ArgumentError, "weight must be an array or a parameter"),
    (lambda: ops.conv(np.ones((2, 0, 4)), W, padding="same"), ShapeError, "sample 0 has no positions"),
    (lambda: ops.conv_transpose(X, W), ShapeError, "x has 4 channels, but weight of shape .* takes 2"),
    (lambda: ops.conv_transpose(X[..., :2], W, like=np.ones(3)), ShapeError, "like must be a batch"),
    (lambda: ops.conv_transpose(X[..., :2], W, like=X), ShapeError, "not back to the input's"),
    (lambda: ops.conv_weight(X, X, 3), ShapeError, "grad must have the convolution's output layout"),
    (lambda: ops.conv_weight(X, X.astype(np.float32), 3), DtypeError, r"grad\.astype\(np\.float64\)"),
    (lambda: ops.linear(X, W), ShapeError, r"weight must be \(4, F\)"),
    (lambda: ops.max_pool(X, 0), ArgumentError, "size must be an int of at least 1"),
    (
        lambda: ops.max_pool(X, 2, padding=3),
        ShapeError,
        "sample 0: padding=3 leaves a window .* without a true position",
    ),
    (lambda: ops.proportional_pool(X, (2, 2)), ArgumentError, "bins must be"),
    (
        lambda: ops.proportional_pool(X, 2, "median"),
        ArgumentError,
        "mode must be one of max, mean, sum. Received: mode='median'",
    ),
    (lambda: ops.global_pool(Ragged(np.ones((3, 1)), Layout([[3], [0]]))), ShapeError, "sample 1 has no positions"),
    (
        lambda: ops.flatten(Ragged.pack([np.ones((3, 1)), np.ones((4, 1))])),
        ShapeError,
        "sample 1 differs from sample 0",
    ),
    (lambda: ops.concat([]), ArgumentError, "at least one batch"),
    (lambda: ops.concat([X, X[:, 1:]]), ShapeError, r"xs\[1\], sample 0: must have the shape \(6,\)"),
    (lambda: ops.concat([X, X[:1]]), ShapeError, r"xs\[1\] must have the 2 samples"),
    (lambda: ops.concat([X, X.astype(np.float32)]), DtypeError, r"xs\[1\] must have the dtype of xs\[0\]"),
    (lambda: ops.add([X, X[..., :1]]), ShapeError, r"xs\[1\] must have the 4 channels"),
    (lambda: ops.activate(X, "swish"), ArgumentError, "name must be one of relu"),
    (lambda: ops.dropout(X, 1.0, Key(0)), ArgumentError, "rate must be at least 0 and below 1"),
    (lambda: ops.dropout(X, 0.5, 7), ArgumentError, "key must be a convnd.random.Key"),
    (lambda: ops.dropout(X, 0.5, Key(0, samples=[1])), ShapeError, "knows 1 samples, but the batch has 2"),
    (
        lambda: ops.batch_norm(X[:1, :1], np.ones(4), np.ones(4), np.ones(4), np.ones(4), training=True),
        ShapeError,
        "at least 2 positions",
    ),
    (
        lambda: ops.batch_norm(X, np.ones(3), np.ones(4), np.ones(4), np.ones(4)),
        ShapeError,
        r"gamma must have shape \(4,\)",
    ),
    (
        lambda: ops.batch_norm(X, np.ones(4), np.ones(4), [1.0] * 4, np.ones(4)),
        ShapeError,
        "running_mean must be an ndarray",
    ),
    (
        lambda: ops.batch_norm(X, np.ones(4), np.ones(4), np.ones(4), np.ones(4), eps=0),
        ArgumentError,
        "eps must be positive",
    ),
    (
        lambda: ops.batch_norm(X, np.ones(4), np.ones(4), np.ones(4), np.ones(4), pool={"stride": 2}),
        ArgumentError,
        "pool must have size, and else only stride",
    ),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, ConvndError)
