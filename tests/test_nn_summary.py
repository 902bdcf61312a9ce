"""The summary's figures against those worked out by hand."""

from __future__ import annotations

import json

import pytest

import convnd as cn
from convnd import nn
from convnd.errors import ShapeError


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv(8, 5, activation="relu"),  # 28 - 4 = 24
        nn.MaxPool(2),
        nn.Conv(16, 3, stride=2, padding="same", groups=2, bias=False),  # ceil(12 / 2) = 6
        nn.BatchNorm(),
        nn.ConvTranspose(4, 2, stride=2),  # 12
        nn.DepthwiseConv(3, padding="same"),
        nn.ProportionalPool(3),
        nn.Flatten(),
        nn.Linear(10),
    )


EXPECTED = [  # output, parameters, multiply-adds, values kept
    ("conv1", (24, 24, 8), 25 * 8 + 8, 24 * 24 * 25 * 8, 24 * 24 * 8),
    ("maxpool1", (12, 12, 8), 0, 0, 12 * 12 * 8),
    ("conv2", (6, 6, 16), 9 * 4 * 16, 36 * 9 * 4 * 16, 36 * 16),
    ("batchnorm1", (6, 6, 16), 32, 36 * 16, 36 * 16),
    ("convtranspose1", (12, 12, 4), 4 * 16 * 4 + 4, 36 * 4 * 16 * 4, 144 * 4),
    ("depthwiseconv1", (12, 12, 4), 9 * 4 + 4, 144 * 9 * 4, 144 * 4),
    ("proportionalpool1", (3, 3, 4), 0, 0, 36),
    ("flatten1", (36,), 0, 0, 0),
    ("linear1", (10,), 370, 360, 10),
]


@pytest.mark.parametrize("built", [False, True])
def test_figures_worked_out_by_hand(built: bool) -> None:
    net = network()
    if built:
        net.build(2, 1)
    table = cn.summary(net, (28, 28, 1))
    rows = [(row.path, row.output, row.parameters, row.multiply_adds, row.bytes // 4) for row in table.rows]
    assert rows == EXPECTED
    assert table.parameters == table.trainable == sum(row[2] for row in EXPECTED)
    assert table.multiply_adds == sum(row[3] for row in EXPECTED)
    assert table.bytes == 4 * sum(row[4] for row in EXPECTED)
    assert net.built == built


def test_parameters_are_those_that_build_makes() -> None:
    for name in cn.models.names():
        net = cn.models.get(name, classes=5, **({} if name == "lenet" else {"width": 4} if name != "small" else {}))
        channels = 1 if name == "sentence" else 2
        table = cn.summary(net, (33, channels))
        net.build(1, channels)
        assert table.parameters == sum(parameter.values.size for parameter in net.parameters()), name


def test_shared_and_frozen_parameters() -> None:
    layer = nn.Linear(4)
    table = cn.summary(nn.Sequential(layer, nn.Activation("relu"), layer, nn.Linear(2).freeze()), (7, 4))
    assert [row.parameters for row in table.rows] == [20, 0, 0, 10]
    assert [row.multiply_adds for row in table.rows] == [7 * 16, 0, 7 * 16, 7 * 8]
    assert (table.parameters, table.trainable) == (30, 20)
    assert str(table).endswith("trainable parameters: 20")


def test_plain_data_and_large_figures() -> None:
    table = nn.summary(nn.Conv(1024, 11, padding="same"), (4096, 4096, 4096, 1024))
    assert table.multiply_adds == 4096**3 * 11**3 * 1024**2  # beyond 64 bits
    assert table.bytes == 4096**3 * 1024 * 4
    data = json.loads(json.dumps(table.to_dict()))
    assert data["rows"][0]["output"] == [4096, 4096, 4096, 1024]
    assert data["parameters"] == table.parameters


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"shape must be a tuple \(\*spatial, channels\). Received: shape=28"):
        nn.summary(network(), 28)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"conv1: sample 0 is too short"):
        nn.summary(network(), (4, 4, 1))
    with pytest.raises(ShapeError, match=r"Conv was built for ndim=2, channels=1. Received: ndim=1, channels=1"):
        nn.summary(network().build(2, 1), (28, 1))
