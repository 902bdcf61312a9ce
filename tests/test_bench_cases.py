"""The bench's cases: results of convnd and of every peer on small sizes, and what the checks notice."""

import math
from dataclasses import replace

import numpy as np
import pytest

from convnd import reference
from convnd.bench.cases import CASES, PASSES, BatchNorm, Conv, Layer, Operands, Pool, ProportionalPool, choose
from convnd.bench.check import EPS, errors
from convnd.bench.onnx_peers import OnnxRuntime, OpenVino
from convnd.bench.peers import PyTorch, ours
from convnd.bench.run import TOLERANCE
from convnd.errors import ArgumentError

SMALL = [case.small() for case in CASES]
TINY = Conv("tiny", 2, 3, (9, 7), 3, 2, 1, out=5)
ROWS = [pytest.param(case, which, id=f"{case.name}-{which}") for case in [*SMALL, TINY] for which in case.passes]


def whole(case, which, operands):
    """A pass in float64, all of it."""
    if isinstance(case, Conv):
        if case.transposed:
            swapped = {"forward": "input", "input": "forward", "weight": "weight"}[which]
            return whole_conv(case.adjoint, swapped, operands.grad, operands.weight, operands.x)
        return whole_conv(case, which, operands.x, operands.weight, operands.grad)
    x = operands.x.astype(float).reshape(case.batch, *case.size, -1)
    grad = operands.grad.astype(float).reshape(case.batch, *case.output, -1)
    if isinstance(case, Layer):
        own = LAYERS[case.function]
        return np.stack([own(sample, operands.weight.astype(float)) for sample in x])
    if isinstance(case, BatchNorm):
        return whole_norm(x, grad, *operands.weight.astype(float))[which]
    return whole_pool(case, x, grad)[which]


LAYERS = {  # sample by sample, by the specification
    "gelu": lambda x, w: reference.activate(x, "gelu"),
    "log_softmax": lambda x, w: reference.log_softmax(x),
    "layer_norm": lambda x, w: reference.layer_norm(x, *w),
    "instance_norm": lambda x, w: reference.instance_norm(x, *w),
    "group_norm": lambda x, w: reference.group_norm(x, 4, *w),
    "local_response_norm": lambda x, w: reference.local_response_norm(x, 5),
    "lp_pool": lambda x, w: reference.lp_pool(x, 2, 3.0),
    "pad": lambda x, w: reference.pad(x, [(1, 1)] * (x.ndim - 1), "reflect"),
    "resize": lambda x, w: reference.resize(x, [2 * n for n in x.shape[:-1]], mode="linear"),
    "tiled_conv": lambda x, w: reference.tiled_conv(x, w),
    "local_conv": lambda x, w: reference.tiled_conv(x, w),
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


def flat(case, which, operands, values):
    """As contenders give it: (P, C), or the weight's shape."""
    return values.reshape(operands.weight.shape if which == "weight" else (-1, values_channels(case, which)))


def values_channels(case, which):
    return case.filters if which == "forward" else case.channels


@pytest.mark.parametrize(("case", "which"), ROWS)
def test_ours_is_right_on_every_case(case, which):
    operands = Operands.draw(case)
    contender = ours(case, which, operands)
    got = contender.array(contender.call())
    wanted = flat(case, which, operands, whole(case, which, operands))
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    found = errors(case, which, operands, got)
    assert max(found.rms, found.largest) <= 1e-5
    assert errors(case, which, operands, wanted).largest < 1e-13  # the check agrees with the whole result


@pytest.mark.parametrize("peer", [PyTorch(), OnnxRuntime(), OpenVino()], ids=lambda peer: peer.name)
def test_peers_compute_the_same(peer):
    if not peer.installed():
        pytest.skip(f"{peer.name} isn't installed")
    done = set()
    for case, which in (row.values for row in ROWS):
        if peer.lacks(case, which):
            continue
        operands = Operands.draw(case)
        for contender in peer.contenders(case, which, operands, threads=1):
            got = contender.array(contender.call())
            wanted = flat(case, which, operands, whole(case, which, operands))
            assert np.abs(got - wanted).max() <= 2e-5 * np.abs(wanted).max(), (case.name, which, contender.name)
            done.add((type(case), which, case.rank))
    assert {(Conv, "forward", rank) for rank in (1, 2, 3)} <= done
    assert (BatchNorm, "input", 1) in done or peer.name != "PyTorch"


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


def test_the_two_errors_are_those():
    case = Pool("identity", 1, 2, (1,), 1)
    operands = Operands(np.array([[3.0, -4.0]], np.float32), np.zeros(0), np.ones((1, 2), np.float32))
    found = errors(case, "forward", operands, np.array([[3.0, -4.5]]))
    assert found.largest == pytest.approx(0.5 / 4)
    assert found.rms == pytest.approx(np.sqrt(0.5**2 / 2 / ((3**2 + 4**2) / 2)))


def test_cases_are_those_of_the_table():
    assert len({case.name for case in CASES}) == len(CASES) == 56
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


def test_choose_refuses_what_matches_nothing():
    assert choose([]) == list(CASES)
    assert [case.name for case in choose(["?d-first"])] == ["1d-first", "2d-first", "3d-first"]
    with pytest.raises(ArgumentError, match=r"no case matches '5d'. There are: 1d-first, "):
        choose(["5d"])


def test_draws_are_random_and_repeat():
    first, again = Operands.draw(TINY), Operands.draw(TINY)
    assert all((getattr(first, name) == getattr(again, name)).all() for name in ("x", "weight", "grad"))
    assert abs(float(first.x.std()) - 1) < 0.2
    assert first.x.dtype == np.float32
