"""Small data files for the tests of training and of the command line."""

from __future__ import annotations

import numpy as np

from convnd import data, nn


def classes_file(path, count=36, seed=0, groups=6):
    """Samples (S, 2) of two classes that differ in their second channel's mean, in the splits train and test."""
    rng = np.random.default_rng(seed)
    with data.create(path, ndim=1, channels=2, classes=["low", "high"], recipe={"kind": "series"}) as writer:
        for number in range(count):
            label = number % 2
            values = rng.standard_normal((int(rng.integers(5, 12)), 2)).astype(np.float32)
            values[:, 1] += 1.5 * label
            split = "test" if number % 3 == 2 else "train"
            writer.append(values, label=label, split=split, name=f"s{number}", group=f"g{number % groups}")
    return path


def labels_file(path, count=12, seed=0):
    """Images of random sizes with one bright rectangle: its pixels are class 1; a border of 255 is ignored."""
    rng = np.random.default_rng(seed)
    with data.create(
        path, ndim=2, channels=1, target="ragged", classes=["background", "thing"], ignore=255
    ) as writer:
        for number in range(count):
            shape = rng.integers(6, 11, size=2)
            labels = np.zeros(shape, np.uint8)
            labels[2 : shape[0] - 2, 1 : shape[1] // 2] = 1
            values = rng.standard_normal((*shape, 1)).astype(np.float32) * 0.3 + 2 * (labels == 1)[..., None]
            labels[0] = 255
            writer.append(values.astype(np.float32), target=labels, split="test" if number % 4 == 3 else "train")
    return path


def numbers_file(path, count=24, seed=0):
    """Samples (S, 1) whose target is (their mean, its negative)."""
    rng = np.random.default_rng(seed)
    with data.create(path, ndim=1, channels=1, target="numbers", target_channels=2) as writer:
        for number in range(count):
            mean = rng.normal()
            values = (mean + 0.1 * rng.standard_normal((int(rng.integers(4, 9)), 1))).astype(np.float32)
            writer.append(values, target=[mean, -mean], split="test" if number % 4 == 3 else "train")
    return path


def small_net(filters=4, outputs=2):
    """Every kind of state a run can have: parameters, running statistics, random masks."""
    return nn.Sequential(
        nn.Conv(filters, 3, padding="same"),
        nn.BatchNorm(activation="relu"),
        nn.Dropout(0.25),
        nn.GlobalPool(),
        nn.Linear(outputs),
    )
