"""Whole networks: the law, every rank from one definition, numeric gradients, parity with PyTorch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from convnd import Ragged, Tensor, models, nn
from convnd.random import Key


def everything(classes: int = 3) -> nn.Layer:
    """One small network with every kind of layer, for samples of any rank and size."""
    return nn.Graph(
        {
            "stem": nn.Conv(4, 3, padding="same", bias=False),
            "norm": nn.BatchNorm(activation="elu"),
            "pool": nn.MaxPool(2, padding="same"),
            "deep": nn.Sequential(
                nn.DepthwiseConv(3, padding="causal", dilation=2), nn.Conv(6, 1, groups=2), nn.Activation("silu")
            ),
            "up": nn.Node(nn.ConvTranspose(4, 2, stride=2, padding="same", activation="tanh"), "deep", like="stem"),
            "sum": nn.Node(nn.Add(), "up", "norm"),
            "wide": nn.Node(nn.Concat(), "sum", "input"),
            "mean": nn.AvgPool(3, stride=2, padding="same"),
            "bins": nn.ProportionalPool(2, mode="max"),
            "drop": nn.Dropout(0.3),
            "flat": nn.Flatten(),
            "all": nn.Node(nn.GlobalPool("mean"), "wide"),
            "both": nn.Node(nn.Concat(), "flat", "all"),
            "scores": nn.Linear(classes),
        }
    )


def samples(ndim: int, sizes: tuple[int, ...], channels: int = 2, dtype: Any = np.float32) -> Ragged:
    """Samples whose axes differ from one another and from sample to sample."""
    rng = np.random.default_rng(ndim)
    shapes = [tuple(max(1, size - axis) for axis in range(ndim)) for size in sizes]
    return Ragged.pack([rng.standard_normal((*shape, channels)).astype(dtype) for shape in shapes])


def trained(net: nn.Layer, x: Ragged) -> nn.Layer:
    """Built, with running statistics that aren't those of a new network."""
    net.build(x.layout.ndim, x.values.shape[1], seed=1, dtype=str(x.values.dtype))
    net(x, training=True, rng=Key(0))
    return net


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [everything, lambda: models.unet(3, width=2, depth=2)], ids=["everything", "unet"])
def test_the_law_holds_through_a_whole_network(make: Any, ndim: int) -> None:
    x = samples(ndim, (7, 3, 1, 6, 3) if ndim < 3 else (4, 3, 1, 3))
    net = trained(make(), x)
    together = net(x)
    for number, result in enumerate(together):
        assert (net(x[number]).values == result.reshape(-1, 3)).all(), "ragged, alone"
        assert (net(x.unpack()[number][None]) == result).all(), "dense, alone"
    order = np.random.default_rng(0).permutation(len(x))
    assert (net(x[order]).values == together[order].values).all(), "permuted"
    twice = np.stack([x.unpack()[1]] * 2)
    assert (net(twice) == np.stack([list(together)[1]] * 2)).all(), "dense"


def test_several_threads_may_call_a_network_at_once() -> None:
    x = samples(2, (9, 4, 7, 8))
    net = trained(everything(), x)
    expected = net(x).values
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: net(x).values, range(32)))
    assert all((result == expected).all() for result in results)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_a_whole_network_are_numeric_differences(ndim: int, training: bool) -> None:
    """Along a random direction of each parameter and of the input, by central differences in float64."""
    x = samples(ndim, (5, 3, 4), dtype=np.float64)
    net = trained(everything(), x)
    rng = np.random.default_rng(7)
    g = rng.standard_normal((3, 3))

    def loss() -> float:
        return float((net(given, training=training, rng=Key(5)).numpy().values * g).sum())

    given = Tensor(x, requires_grad=True)
    result = net(given, training=training, rng=Key(5))
    result.backward(Ragged(g, result.layout))
    tensors = {"input": given, **net.named_parameters()}
    assert len(tensors) == 12
    for name, tensor in tensors.items():
        direction = rng.standard_normal(tensor.values.shape)
        grad = tensor.grad.values if isinstance(tensor.grad, Ragged) else tensor.grad
        numeric = _slope(tensor, direction, loss)
        np.testing.assert_allclose((grad * direction).sum(), numeric, rtol=2e-6, atol=1e-8, err_msg=name)


def _slope(tensor: Tensor, direction: Any, loss: Any, step: float = 1e-6) -> float:
    start = tensor.values.copy()
    ends = []
    for sign in (1, -1):
        tensor.values[:] = start + sign * step * direction
        tensor.changed()
        ends.append(loss())
    tensor.values[:] = start
    tensor.changed()
    return (ends[0] - ends[1]) / (2 * step)


def _torch_pair(torch: Any) -> tuple[nn.Sequential, Any, dict[str, Any]]:
    """The same network here and in PyTorch, and which parameter is which."""
    t = torch.nn
    ours = nn.Sequential(
        nn.Conv(6, (3, 5), stride=(1, 2), padding=((1, 1), (2, 2)), bias=False),
        nn.BatchNorm(activation="relu"),
        nn.MaxPool(2),
        nn.Conv(8, 3, padding=2, dilation=2, groups=2, activation="tanh"),
        nn.ConvTranspose(4, (2, 3), stride=2, activation="sigmoid"),
        nn.AvgPool(3, stride=2),
        nn.ProportionalPool((3, 2), mode="mean"),
        nn.Flatten(),
        nn.Linear(5),
    )
    theirs = t.Sequential(
        t.Conv2d(2, 6, (3, 5), stride=(1, 2), padding=(1, 2), bias=False),
        t.BatchNorm2d(6),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(6, 8, 3, padding=2, dilation=2, groups=2),
        t.Tanh(),
        t.ConvTranspose2d(8, 4, (2, 3), stride=2),
        t.Sigmoid(),
        t.AvgPool2d(3, stride=2),
        t.AdaptiveAvgPool2d((3, 2)),
    ).double()
    linear = t.Linear(24, 5).double()
    names = {
        "conv1.weight": theirs[0].weight,
        "batchnorm1.gamma": theirs[1].weight,
        "batchnorm1.beta": theirs[1].bias,
        "batchnorm1.running_mean": theirs[1].running_mean,
        "batchnorm1.running_var": theirs[1].running_var,
        "conv2.weight": theirs[4].weight,
        "conv2.bias": theirs[4].bias,
        "convtranspose1.weight": theirs[6].weight,
        "convtranspose1.bias": theirs[6].bias,
        "linear1.weight": linear.weight,
        "linear1.bias": linear.bias,
    }
    run = lambda x: linear(theirs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1))  # noqa: E731
    run.parts = (theirs, linear)  # type: ignore[attr-defined]
    return ours, run, names


def _as_ours(value: Any) -> Any:
    """PyTorch's (out, in, *kernel) as (*kernel, in, out); for a transposed one, (in, out, *kernel), it fits as well."""
    array = value.detach().numpy()
    return array.T if array.ndim == 2 else np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 2 else array


@pytest.mark.parametrize("training", [False, True])
def test_parity_with_pytorch(training: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours, run, names = _torch_pair(torch)
    ours.build(2, 2, shape=(13, 18), dtype="float64")
    ours.load_state({name: _as_ours(value) for name, value in names.items()})
    for part in run.parts:
        part.train(training)
    x = np.random.default_rng(0).standard_normal((3, 13, 18, 2))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine, other = ours(a, training=training), run(b)
    np.testing.assert_allclose(mine.numpy(), other.detach().numpy(), rtol=1e-9, atol=1e-12)
    g = np.random.default_rng(1).standard_normal((3, 5))
    mine.backward(g)
    other.backward(torch.tensor(g))
    np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-8, atol=1e-12)
    for name, parameter in ours.named_parameters().items():
        np.testing.assert_allclose(parameter.grad, _as_ours(names[name].grad), rtol=1e-8, atol=1e-11, err_msg=name)
    for name in ("batchnorm1.running_mean", "batchnorm1.running_var"):
        np.testing.assert_allclose(ours.state()[name], names[name].numpy(), rtol=1e-10, err_msg=name)
