"""Networks fed chunk by chunk."""

import tracemalloc

import numpy as np
import pytest

from convnd import nn
from convnd.errors import ArgumentError, DtypeError, ShapeError


def chunks(rng, length):
    """Lengths of chunks that make up ``length``, zeros among them."""
    lengths = []
    while sum(lengths) < length:
        lengths.append(min(int(rng.integers(0, 9)), length - sum(lengths)))
    return lengths


def streamed(net, x, lengths):
    stream, parts, at = net.stream(), [], 0
    for length in lengths:
        parts.append(stream.push(x[:, at : at + length]))
        at += length
    return [*parts, stream.finish()]


def direct(filters, kernel, **settings):
    return nn.Conv(filters, kernel, algorithm="direct", **settings)


def residual(ndim):
    return nn.Graph({
        "a": direct(4, 3, padding="causal", dilation=2, activation="relu"),
        "b": direct(4, 2, padding="causal"),
        "sum": nn.Node(nn.Add(), "b", "a"),
        "wide": nn.Node(direct(3, 5, padding="same"), "sum"),
        "both": nn.Node(nn.Concat(), "wide", "sum"),
    })


NETS = {
    "causal": lambda ndim: nn.Sequential(direct(5, 3, padding="causal"), direct(4, 2, dilation=4, padding="causal")),
    "strides": lambda ndim: nn.Sequential(
        direct(5, 3, padding="causal", stride=2), nn.BatchNorm(), nn.MaxPool(3, stride=2, padding="causal")
    ),
    "valid": lambda ndim: nn.Sequential(direct(5, 3, stride=2), nn.Activation("gelu"), nn.AvgPool(2), nn.Linear(3)),
    "read ahead": lambda ndim: nn.Sequential(direct(5, 4, padding="same"), direct(3, 4, padding="same_lower")),
    "full": lambda ndim: nn.Sequential(direct(3, 3, padding="full"), nn.MaxPool(2, ceil_mode=True)),
    "pairs": lambda ndim: nn.Sequential(direct(3, 5, padding=((3, 1),) * ndim, stride=3)),
    "branches": residual,
    "norms": lambda ndim: nn.Sequential(nn.WeightNorm(direct(5, 3, padding="causal")), nn.LayerNorm(), direct(2, 2)),
    "back": lambda ndim: nn.Sequential(
        direct(4, 2, stride=2, padding="causal"), nn.ConvTranspose(3, 3, stride=2), nn.Activation("tanh")
    ),
    "back, same": lambda ndim: nn.Sequential(nn.ConvTranspose(3, 4, stride=3, padding="same", dilation=2)),
    "back, more": lambda ndim: nn.Sequential(nn.ConvTranspose(3, 1, stride=2, output_padding=1)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_chunks_results_are_the_very_result_of_the_whole(name, ndim, rng):
    net = NETS[name](ndim).build(ndim, 2, seed=1)
    for length in (9, 12, 31):
        x = rng.standard_normal((2, length, *[9, 8][: ndim - 1], 2)).astype(np.float32)
        whole = net(x)
        for _ in range(4):
            parts = streamed(net, x, chunks(rng, length))
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
            assert all(part.shape[2:] == whole.shape[2:] for part in parts)


def test_a_causal_network_answers_at_once(rng):
    net = NETS["causal"](1).build(1, 2)
    x = rng.standard_normal((1, 20, 2)).astype(np.float32)
    parts = streamed(net, x, [1] * 20)
    assert [part.shape[1] for part in parts] == [1] * 20 + [0]


def test_auto_differs_by_rounding_alone(rng):
    net = nn.Sequential(nn.Conv(64, 3, padding="causal"), nn.Conv(64, 40, padding="causal")).build(1, 64)
    x = rng.standard_normal((1, 600, 64)).astype(np.float32)
    found = np.concatenate(streamed(net, x, [100, 7, 493]), axis=1)
    np.testing.assert_allclose(found, net(x), atol=2e-4)


def test_memory_is_bounded_by_the_windows(rng):
    net = NETS["causal"](1).build(1, 2)
    stream, chunk = net.stream(), rng.standard_normal((1, 200, 2)).astype(np.float32)

    def fed(times):
        tracemalloc.start()
        for _ in range(times):
            stream.push(chunk)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    fed(3)
    assert fed(300) < 1.5 * fed(3) + 20_000


def test_what_depends_on_the_whole_is_refused_with_the_reason():
    def stream(*layers):
        return nn.Sequential(*layers).build(1, 2, shape=8).stream()

    with pytest.raises(ArgumentError, match="globalpool1: GlobalPool can't be streamed: its results depend"):
        stream(nn.Conv(3, 3), nn.GlobalPool())
    with pytest.raises(ShapeError, match=r'conv1: .*padding=\'same\' with a stride depends on the length.*"causal"'):
        stream(nn.Conv(3, 3, padding="same", stride=2)).push(np.zeros((1, 4, 2), np.float32))
    with pytest.raises(ShapeError, match="padding must be less than the window's extent 2"):
        stream(nn.Conv(3, 2, padding=2)).push(np.zeros((1, 4, 2), np.float32))
    with pytest.raises(ArgumentError, match="before stream"):
        nn.Conv(3, 2).stream()


def test_wrong_use_is_named():
    net = NETS["causal"](2).build(2, 2)
    stream = net.stream()
    with pytest.raises(ArgumentError, match="finish before any chunk"):
        stream.finish()
    with pytest.raises(ShapeError, match="a chunk must be"):
        stream.push(np.zeros((4, 2), np.float32))
    stream.push(np.zeros((1, 4, 5, 2), np.float32))
    with pytest.raises(ShapeError, match=r"all but the first axis: \(1, 5, 2\).* Received: \(1, 6, 2\)"):
        stream.push(np.zeros((1, 4, 6, 2), np.float32))
    with pytest.raises(DtypeError, match=r"float32 of the first one\. Received: float64"):
        stream.push(np.zeros((1, 4, 5, 2)))
    assert stream.push(np.zeros((1, 4, 5, 2), np.float32)).shape == (1, 4, 5, 4)  # as if nothing had been
    stream.finish()
    with pytest.raises(ArgumentError, match="push after finish"):
        stream.push(np.zeros((1, 4, 5, 2), np.float32))
    with pytest.raises(ArgumentError, match="the stream is over"):
        stream.finish()
    short = nn.Sequential(nn.Conv(3, 5)).build(1, 2).stream()
    assert short.push(np.zeros((1, 3, 2), np.float32)).shape == (1, 0, 3)
    with pytest.raises(ShapeError, match="too short for the window"):
        short.finish()
