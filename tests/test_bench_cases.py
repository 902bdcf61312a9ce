"""The bench's cases: results of convnd and of every peer on small sizes, and what the checks notice."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from test_dropout import draw_number, literal_beginnings

from convnd import Tensor, reference
from convnd.bench.cases import CASES, PASSES, BatchNorm, Conv, Layer, Operands, Pool, ProportionalPool, choose
from convnd.bench.check import EPS, errors
from convnd.bench.functions import FUNCTIONS
from convnd.bench.onnx_peers import OnnxRuntime, OpenVino
from convnd.bench.peers import PyTorch, ours, way_back
from convnd.bench.run import TOLERANCE
from convnd.errors import ArgumentError

SMALL = [case.small() for case in CASES]
TINY = Conv("tiny", 2, 3, (9, 7), 3, 2, 1, out=5)
STEP = 1e-6  # of central differences
ROWS = [pytest.param(case, which, id=f"{case.name}-{which}") for case in [*SMALL, TINY] for which in case.passes]


@functools.cache
def drawn(case):
    return Operands.draw(case)


@functools.cache
def whole(case, which):
    """A pass in float64, all of it, as contenders give it: (P, C), or the weight's shape."""
    operands = drawn(case)
    values = whole_pass(case, which, operands)
    shape = operands.weight.shape if which == "weight" else (-1, case.filters if which == "forward" else case.channels)
    return values.reshape(shape)


def whole_pass(case, which, operands):
    if isinstance(case, Conv):
        if case.transposed:
            swapped = {"forward": "input", "input": "forward", "weight": "weight"}[which]
            return whole_conv(case.adjoint, swapped, operands.grad, operands.weight, operands.x)
        return whole_conv(case, which, operands.x, operands.weight, operands.grad)
    x = operands.x.astype(float).reshape(case.batch, *case.size, -1)
    grad = operands.grad.astype(float).reshape(case.batch, *case.output, -1)
    if isinstance(case, Layer):
        return whole_layer(case, which, x, operands.weight, grad)
    if isinstance(case, BatchNorm):
        return whole_norm(x, grad, *operands.weight.astype(float))[which]
    return whole_pool(case, x, grad)[which]


def whole_layer(case, which, x, weight, grad):
    """Sample by sample, by the specification; its gradients by differences, entry by entry."""
    own = LAYERS[case.function]
    if weight.dtype.kind == "f":
        weight = weight.astype(float)
    if which == "weight":
        return differences(lambda values: np.stack([own(sample, values) for sample in x]), weight, grad)
    entries = weight if case.called.weight.by_sample else [weight] * len(x)
    pairs = list(zip(x, entries, strict=True))
    if which == "forward":
        return np.stack([own(*pair) for pair in pairs])
    return np.stack([
        differences(lambda values, entry=entry: own(values, entry), sample, g)
        for (sample, entry), g in zip(pairs, grad, strict=True)
    ])  # fmt: skip


def differences(function, at, grad):
    """The gradient of <grad, function> by central differences."""
    slopes, moved = np.empty(at.shape), at.copy()
    for place in np.ndindex(at.shape):
        results = []
        for step in (STEP, -STEP):
            moved[place] = at[place] + step
            results.append(np.array(function(moved)).reshape(grad.shape))
        moved[place] = at[place]
        slopes[place] = ((results[0] - results[1]) * grad).sum() / (2 * STEP)
    return slopes


@functools.cache
def numbers(key, shape):
    """The draws of a sample with this key as shares of 2^64."""
    return np.array([draw_number(key, number) / 2**64 for number in range(math.prod(shape))]).reshape(shape)


def kept(key, shape, rate):
    return (numbers(int(key), shape) >= rate) / (1 - rate)


def drop_block(x, key):
    *shape, channels = x.shape
    return reference.drop_block(x, *literal_beginnings(shape, channels, [7] * len(shape), 0.1, int(key)))


def halves(n):
    return (size // 2 for size in n)


def separable(x, weight):
    """With all the taps that the vectors make together."""
    kernel = functools.reduce(np.multiply.outer, weight[:, 0])
    padded, y = np.pad(x, [*[(2, 2)] * kernel.ndim, (0, 0)]), np.zeros_like(x)
    for tap in np.ndindex(kernel.shape):
        y += kernel[tap] * padded[tuple(slice(j, j + size) for j, size in zip(tap, x.shape[:-1], strict=True))]
    return y


def inner(x):
    return reference.crop(x, [1] * (x.ndim - 1), [size - 2 for size in x.shape[:-1]])


def ring(x, mode="constant"):
    return reference.pad(x, [(1, 1)] * (x.ndim - 1), mode)


def shuffled(x):
    """Channel i of group g comes to i groups + g."""
    y, within = np.empty_like(x), x.shape[-1] // 4
    for group in range(4):
        for i in range(within):
            y[..., i * 4 + group] = x[..., group * within + i]
    return y


LAYERS = {  # of a sample and what it takes beside, by the specification
    **{name: lambda x, w, name=name: reference.activate(x, name) for name in reference.ACTIVATIONS},
    "softmax": lambda x, w: reference.softmax(x),
    "log_softmax": lambda x, w: reference.log_softmax(x),
    "prelu": reference.prelu,
    "dropout": lambda x, key: x * kept(key, x.shape, 0.5),
    "spatial_dropout": lambda x, key: x * kept(key, x.shape[-1:], 0.5),
    "drop_block": drop_block,
    "layer_norm": lambda x, w: reference.layer_norm(x, *w),
    "instance_norm": lambda x, w: reference.instance_norm(x, *w),
    "group_norm": lambda x, w: reference.group_norm(x, 4, *w),
    "local_response_norm": lambda x, w: reference.local_response_norm(x, 5),
    "local_contrast_norm": lambda x, w: reference.local_contrast_norm(x, 9),
    "lp_pool": lambda x, w: reference.lp_pool(x, 2, 3.0),
    "weighted_pool": lambda x, w: reference.weighted_pool(x, 3, stride=2),
    "stochastic_pool": lambda x, key: reference.stochastic_pool(
        x, 2, numbers(int(key), (*halves(x.shape[:-1]), x.shape[-1]))
    ),
    "expected_pool": lambda x, w: reference.stochastic_pool(x, 2),
    "pool_channels": lambda x, w: reference.pool_channels(x, range(x.shape[-1] // 2), 3, stride=2, padding=1),
    "quadrant_pool": lambda x, w: reference.proportional_pool(x, [2] * (x.ndim - 1), "sum"),
    "roi_pool": lambda x, boxes: reference.roi_pool(x, boxes, [7] * (x.ndim - 1)),
    "spatial_pyramid_pool": lambda x, w: reference.spatial_pyramid_pool(x, (1, 2, 4)),
    "maxout": lambda x, w: reference.maxout(x, 2),
    "max_unpool": lambda x, indices: reference.max_unpool(x, indices, [2 * size for size in x.shape[:-1]]),
    "k_max_pool": lambda x, w: reference.k_max_pool(x, 4),
    "add": lambda x, other: x + other,
    "multiply": lambda x, other: x * other,
    "scale_channels": lambda x, factor: x * factor,
    "concat": lambda x, other: np.concatenate([x, other], axis=-1),
    "split": lambda x, w: np.concatenate([x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], axis=-1),
    "channel_shuffle": lambda x, w: shuffled(x),
    "crop": lambda x, w: inner(x),
    "crop_like": lambda x, w: inner(x),
    "pad": lambda x, w: ring(x, "reflect"),
    "pad_like": lambda x, w: ring(x),
    "flatten": lambda x, w: x.reshape(-1),
    "resize": lambda x, w: reference.resize(x, [2 * n for n in x.shape[:-1]], mode="linear"),
    "separable_conv": separable,
    "tiled_conv": reference.tiled_conv,
    "local_conv": reference.tiled_conv,
    "tiled_bias": lambda x, bias: x + bias,
    "embedding": lambda x, table: reference.embedding(x[..., 0], table),
    "mask_weight": lambda x, mask: x * mask,
    "weight_norm": reference.weight_norm,
}


def whole_conv(case, which, x, weight, grad):
    """The taps' matrix products, on a padded copy."""
    window, groups = case.window, case.groups
    taps = list(np.ndindex(window.kernel))
    edges = ((0, 0), *[(pad, pad) for pad in case.pads], (0, 0))
    x = np.pad(x.astype(float).reshape(case.batch, *case.size, -1), edges)
    grad = grad.astype(float).reshape(case.batch, *case.output, groups, -1)
    weight = weight.astype(float).reshape(len(taps), -1, groups, case.filters // groups)
    out, dx, dw = np.zeros_like(grad), np.zeros_like(x), np.zeros_like(weight)
    for number, tap in enumerate(taps):
        reads = (
            slice(None),
            *(
                slice(j * d, j * d + (count - 1) * s + 1, s)
                for j, d, s, count in zip(tap, window.dilation, window.stride, case.output, strict=True)
            ),
        )
        rows = x[reads].reshape(*grad.shape[:-2], groups, -1)
        out += np.einsum("...gc,cgf->...gf", rows, weight[number])
        dx[reads] += np.einsum("...gf,cgf->...gc", grad, weight[number]).reshape(x[reads].shape)
        dw[number] = np.einsum("pgc,pgf->cgf", rows.reshape(-1, *rows.shape[-2:]), grad.reshape(-1, *grad.shape[-2:]))
    inside = tuple(slice(pad, pad + size) for pad, size in zip(case.pads, case.size, strict=True))
    return {"forward": out, "input": dx[(slice(None), *inside)], "weight": dw}[which]


def whole_pool(case, x, grad):
    """Output by output: what it covers, and its gradient given back to that."""
    out, dx = np.zeros_like(grad), np.zeros_like(x)
    for q in np.ndindex(case.output):
        if isinstance(case, ProportionalPool):
            part = [
                slice(math.floor(i * size / case.bins), math.ceil((i + 1) * size / case.bins))
                for i, size in zip(q, case.size, strict=True)
            ]
        else:
            starts = [i * s - pad for i, s, pad in zip(q, case.window.stride, case.pads, strict=True)]
            part = [slice(max(0, a), a + k) for a, k in zip(starts, case.window.kernel, strict=True)]
        region = (slice(None), *part)
        axes = tuple(range(1, 1 + case.rank))
        values = x[region]
        out[(slice(None), *q)] = values.max(axis=axes) if case.mode == "max" else values.mean(axis=axes)
        share = values == values.max(axis=axes, keepdims=True) if case.mode == "max" else np.ones_like(values)
        back = grad[(slice(None), *q)].reshape(len(x), *[1] * case.rank, -1)
        dx[region] += back * share / share.sum(axis=axes, keepdims=True)
    return {"forward": out, "input": dx}


def whole_norm(x, grad, gamma, beta):
    """The gradient as the Jacobian's product: dx = J^T h, J = gamma / s (1 - 1/n - z z^T / n), channel by channel."""
    out, dx = np.zeros_like(x), np.zeros_like(x)
    count = x[..., 0].size
    for c in range(x.shape[-1]):
        values = x[..., c].ravel()
        deviation = np.sqrt(values.var() + EPS)
        z = (values - values.mean()) / deviation
        y = gamma[c] * z + beta[c]
        jacobian = gamma[c] / deviation * (np.eye(count) - 1 / count - np.outer(z, z) / count)
        out[..., c] = np.maximum(y, 0).reshape(x.shape[:-1])
        dx[..., c] = (jacobian @ (grad[..., c].ravel() * (y > 0))).reshape(x.shape[:-1])
    return {"forward": out, "input": dx}


@pytest.mark.parametrize(("case", "which"), ROWS)
def test_ours_is_right_on_every_case(case, which):
    operands = drawn(case)
    contender = ours(case, which, operands)
    got = contender.array(contender.call())
    wanted = whole(case, which)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert (contender.array(contender.call()) == got).all()  # as often as one likes
    found = errors(case, which, operands, got)
    assert max(found.rms, found.largest) <= 1e-5
    exact = 1e-7 if isinstance(case, Layer) and which != "forward" else 1e-13  # differences, or the definition
    assert errors(case, which, operands, wanted).largest < exact  # the check agrees with the whole result


@pytest.mark.parametrize("peer", [PyTorch(), OnnxRuntime(), OpenVino()], ids=lambda peer: peer.name)
def test_peers_compute_the_same(peer):
    if not peer.installed():
        pytest.skip(f"{peer.name} isn't installed")
    done = set()
    for case, which in (row.values for row in ROWS):
        if peer.lacks(case, which):
            continue
        operands, wanted = drawn(case), whole(case, which)
        for contender in peer.contenders(case, which, operands, threads=1):
            got = contender.array(contender.call())
            assert got.shape == wanted.shape
            if contender.own_draws:
                assert errors(case, which, operands, got, own_draws=True).largest < 1e-6
            else:
                assert np.abs(got - wanted).max() <= 2e-5 * np.abs(wanted).max(), (case.name, which, contender.name)
            done.add((type(case), which, case.rank))
    assert {(Conv, "forward", rank) for rank in (1, 2, 3)} <= done
    assert (BatchNorm, "input", 1) in done or peer.name != "PyTorch"


def test_every_function_is_measured_with_its_gradients():
    layers = [case for case in CASES if isinstance(case, Layer)]
    assert sorted(case.function for case in layers) == sorted(FUNCTIONS) == sorted(LAYERS)
    passes = {case.function: case.passes for case in layers}
    assert passes.pop("embedding") == ("forward", "weight")  # integers have no gradient
    learned = {name for name, own in passes.items() if own == PASSES}
    assert learned == {"tiled_conv", "local_conv", "tiled_bias", "prelu"}
    assert {own for name, own in passes.items() if name not in learned} == {("forward", "input")}


@pytest.mark.parametrize("name", ["2d-separable", "2d-pyramid", "2d-split", "2d-quadrants"])
def test_the_way_back_is_the_tapes(name, rng):
    (case,) = (one for one in SMALL if one.name == name)
    x = Tensor(rng.standard_normal((2, *case.size, case.channels)), requires_grad=True)
    weight = rng.standard_normal(case.weight_shape)
    grad = rng.standard_normal((2, *case.output, case.filters))
    back = way_back(case.called.ours(x, weight), x)
    found = [back(grad).copy() for _ in range(2)]
    case.called.ours(x, weight).backward(grad)
    for one in found:
        np.testing.assert_array_equal(one.reshape(x.grad.shape), x.grad)


@pytest.mark.parametrize("which", PASSES)
def test_the_check_notices_what_is_wrong(which):
    operands = Operands.draw(TINY)
    right = ours(TINY, which, operands).array(ours(TINY, which, operands).call())
    wrong = {
        "scaled": right * np.float32(1.001),
        "shifted": np.roll(right, 1, axis=0),
        "not a number": np.full_like(right, np.nan),
    }
    assert errors(TINY, which, operands, right).largest <= 2e-6
    for name, result in wrong.items():
        assert not errors(TINY, which, operands, result).largest <= TOLERANCE, name
    elsewhere = replace(TINY, padding=0, size=(11, 9))  # the same outputs, the window elsewhere
    assert elsewhere.output == TINY.output
    if which != "input":
        moved = np.pad(operands.x.reshape(2, 9, 7, 3), ((0, 0), (0, 2), (0, 2), (0, 0)))
        shifted = Operands(moved.reshape(-1, 3), operands.weight, operands.grad)
        assert errors(elsewhere, which, shifted, right).largest > 0.1


@pytest.mark.parametrize(
    ("name", "which"),
    [("2d-layer-norm", "input"), ("2d-pyramid", "input"), ("2d-tiled", "weight"), ("2d-prelu", "weight")],
)
def test_the_check_notices_wrong_gradients_of_functions(name, which):
    (case,) = (one for one in SMALL if one.name == name)
    right = whole(case, which)
    for wrong in (right * 1.001, np.roll(right, 1), np.zeros_like(right), np.full_like(right, np.nan)):
        assert not errors(case, which, drawn(case), wrong).largest <= TOLERANCE


@pytest.mark.parametrize("which", ["forward", "input"])
def test_a_dropout_by_other_draws_is_known_by_its_share(which, rng):
    case = replace(choose(["2d-dropout"])[0], size=(8, 8))
    operands = Operands.draw(case)
    given = operands.x if which == "forward" else operands.grad
    half, rarer = (rng.random(given.shape) < share for share in (0.5, 0.3))
    assert errors(case, which, operands, given * half * 2, True).largest < 1e-6
    for wrong in (given * 2, given * 0, given * half, given * rarer * 2):
        assert not errors(case, which, operands, wrong, True).largest <= TOLERANCE


def test_the_two_errors_are_those():
    case = Pool("identity", 1, 2, (1,), 1)
    operands = Operands(np.array([[3.0, -4.0]], np.float32), np.zeros(0), np.ones((1, 2), np.float32))
    found = errors(case, "forward", operands, np.array([[3.0, -4.5]]))
    assert found.largest == pytest.approx(0.5 / 4)
    assert found.rms == pytest.approx(np.sqrt(0.5**2 / 2 / ((3**2 + 4**2) / 2)))


def test_cases_are_those_of_the_table():
    assert len({case.name for case in CASES}) == len(CASES) == 99
    assert {case.rank for case in CASES} == {1, 2, 3, 4}
    assert {type(case) for case in CASES} == {Conv, Pool, ProportionalPool, BatchNorm, Layer}
    some = choose(["3d-dilated", "1d-depthwise", "3d-video", "2d-grouped", "3d-transposed"])
    assert [case.layer for case in some] == [
        "16 x 256 x 1000, depthwise k31 p15",
        "8 x 128->128 x 28x28, k3 p1 in 32 groups",
        "1 x 3->32 x 16x112x112, k(3,7,7) s(1,2,2) p(1,3,3)",
        "1 x 21->21 x 64x64x64, k3 p2 d2",
        "1 x 32->16 x 32x32x32, transposed k2 s2",
    ]
    assert [case.layer for case in choose(["2d-max", "proportional", "1d-norm"])] == [
        "8 x 64 x 56x56, max k3 s2 p1",
        "8 x 64 x 56x56, max of 6x6 bins",
        "2 x 32 x 32x32x32, mean of 6x6x6 bins",
        "16 x 64 x 4000, batch norm + ReLU",
    ]
    assert choose(["2d-transposed"])[0].output == (56, 56)


@pytest.mark.parametrize(("case", "small"), [*zip(CASES, SMALL, strict=True)], ids=[case.name for case in CASES])
def test_small_cases_are_of_the_same_kind(case, small):
    for name in ("name", "passes", "kernel", "stride", "padding", "dilation", "transposed", "mode", "bins"):
        assert getattr(case, name, None) == getattr(small, name, None)
    assert small.work("forward") < 1e8
    if isinstance(case, Conv):
        assert (case.groups == 1) == (small.groups == 1)
        assert (case.groups == case.channels) == (small.groups == small.channels)


def test_work_is_counted_by_hand():
    # 2 x 5 x 4 outputs, 9 taps, 3 channels, 5 filters, a multiplication and an addition each
    assert TINY.output == (5, 4)
    assert TINY.work("forward") == TINY.work("weight") == 2 * (2 * 5 * 4) * 9 * 3 * 5
    assert replace(TINY, channels=6, out=6, groups=6).work("input") == 2 * (2 * 5 * 4) * 9 * 6
    up = Conv("up", 2, 5, (5, 4), 3, 2, 1, out=3, transposed=True)
    assert (up.output, up.work("forward")) == ((9, 7), TINY.work("forward"))
    assert up.adjoint.weight_shape == up.weight_shape == (3, 3, 3, 5)
    pool = Pool("pool", 2, 3, (8, 6), 2, 2)
    assert pool.work("forward") == 4 * 2 * 3 * (48 + 12)
    assert BatchNorm("norm", 2, 3, (8,)).work("input") == 4 * 2 * 3 * 8 * 3


def test_work_of_functions_is_counted_by_hand():
    def counted(function, which, *shape):
        return Layer("case", *shape, function).work(which) / 4

    sizes = 2, 6, (8, 5)
    whole = 2 * 6 * 40
    assert counted("relu", "forward", *sizes) == 2 * whole
    assert counted("relu", "input", *sizes) == 3 * whole  # x says where the gradient passes
    assert counted("add", "forward", *sizes) == 3 * whole
    assert counted("add", "input", *sizes) == 2 * whole
    assert counted("multiply", "input", *sizes) == 3 * whole
    assert counted("concat", "input", *sizes) == 3 * whole  # the result's has twice the channels
    assert counted("lp_pool", "forward", *sizes) == whole + 2 * 6 * 8
    assert counted("prelu", "weight", *sizes) == 2 * whole + 6
    assert counted("tiled_bias", "weight", *sizes) == whole + 6 * 40
    assert counted("embedding", "weight", 2, 50, (7,)) == 14 + 14 * 128 + 50 * 128
    local = Layer("local", 2, 6, (8, 5), "local_conv", 4)
    outputs = 6 * 3
    assert local.work("input") / 4 == whole + 2 * outputs * 4 + outputs * 9 * 6 * 4


def test_choose_refuses_what_matches_nothing():
    assert choose([]) == list(CASES)
    assert [case.name for case in choose(["?d-first"])] == ["1d-first", "2d-first", "3d-first"]
    assert [case.name for case in choose(["2d-max"])] == ["2d-max"]  # nor what goes on, 2d-maxout
    with pytest.raises(ArgumentError, match=r"no case matches '5d'. There are: 1d-first, "):
        choose(["5d"])


def test_draws_are_random_and_repeat():
    first, again = Operands.draw(TINY), Operands.draw(TINY)
    assert all((getattr(first, name) == getattr(again, name)).all() for name in ("x", "weight", "grad"))
    assert abs(float(first.x.std()) - 1) < 0.2
    assert first.x.dtype == np.float32
