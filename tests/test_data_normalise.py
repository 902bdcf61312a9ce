"""Normalisers against NumPy on the whole data, and the law."""

from __future__ import annotations

import json

import numpy as np
import pytest

import convnd as cn
from convnd import data
from convnd.data import normalise
from convnd.errors import ArgumentError, DataError, ShapeError


@pytest.fixture
def split(tmp_path):
    rng = np.random.default_rng(0)
    with data.create(tmp_path / "a.h5", ndim=2, channels=3, dtype="float32", target=None) as writer:
        for number in range(60):
            shape = (*rng.integers(1, 12, 2), 3)
            values = rng.standard_normal(shape) * [1, 1e-3, 7] + [1e4, 2, -3]
            writer.append(values.astype("float32"), split="test" if number % 7 == 0 else "train")
    with data.open(tmp_path / "a.h5") as file:
        yield file["train"]


def all_values(split):
    return np.concatenate([sample.values.reshape(-1, sample.values.shape[-1]) for sample in split]).astype("float64")


@pytest.mark.parametrize("part", [1 << 20, 100, 3])
def test_mean_and_deviation_of_all_positions(split, monkeypatch, part):
    """The parts in which the file is read don't show, however small; nor does an offset 10,000 times the deviation."""
    monkeypatch.setattr(normalise, "PART", part)
    fitted = data.Normaliser.fit(split)
    values = all_values(split)
    np.testing.assert_allclose(fitted.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.std, values.std(axis=0), rtol=1e-10)
    again = data.Normaliser.fit(split)
    assert fitted.state() == again.state()


def test_applied_by_channel(split):
    fitted = data.Normaliser.fit(split)
    batch = next(iter(split.batches(samples=20, shuffle=False)))
    result = fitted.apply(batch.x)
    assert result.values.dtype == np.float32
    assert result.layout == batch.x.layout
    values = batch.x.values.astype("float64")
    # float32 inputs of 1e4 carry an error of 1e-3 themselves: the mean's rounding to float32.
    np.testing.assert_allclose(result.values, (values - fitted.mean) / fitted.std, rtol=1e-4, atol=1e-3)


def test_applied_by_sample(split):
    by_sample = data.Normaliser.fit(split, mode="sample")
    for sample in split:
        result = by_sample.apply(cn.Ragged.pack([sample.values])).values
        values = sample.values.reshape(-1, 3).astype("float64")
        std = values.std(axis=0)
        expected = (values - values.mean(axis=0)) / np.where(std > 0, std, 1)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["channel", "sample"])
def test_the_law(split, mode):
    """A sample's result doesn't depend on the batch it is in, to the last bit."""
    fitted = data.Normaliser.fit(split, mode=mode)
    batch = next(iter(split.batches(samples=30, seed=1))).x
    together = fitted.apply(batch).unpack()
    for index, result in enumerate(together):
        alone = fitted.apply(cn.Ragged.pack([batch.unpack()[index].copy()]))
        assert alone.values.tobytes() == result.tobytes()


@pytest.mark.parametrize("mode", ["channel", "sample"])
def test_the_state_goes_through_json(split, mode):
    fitted = data.Normaliser.fit(split, mode=mode)
    back = data.Normaliser.from_state(json.loads(json.dumps(fitted.state())))
    batch = next(iter(split.batches(samples=5)))
    assert back.apply(batch.x).values.tobytes() == fitted.apply(batch.x).values.tobytes()
    assert back.state() == fitted.state()


def test_constant_channels_are_not_divided_by_zero(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=1, channels=2, target=None) as writer:
        writer.append(np.float32([[5, 1], [5, 2], [5, 3]]))
    with data.open(tmp_path / "a.h5") as file:
        for mode in ("channel", "sample"):
            result = data.Normaliser.fit(file["train"], mode).apply(next(iter(file["train"].batches(samples=1))).x)
            assert result.values[:, 0].tolist() == [0, 0, 0]
            np.testing.assert_allclose(result.values[:, 1], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


def test_errors(split):
    with pytest.raises(ArgumentError, match=r"mode must be one of channel, sample. Received: mode='batch'"):
        data.Normaliser.fit(split, mode="batch")
    with pytest.raises(DataError, match="without samples"):
        data.Normaliser.fit(split.subset([]))
    with pytest.raises(ShapeError, match=r"fitted on 3 channels. Received: 2"):
        data.Normaliser.fit(split).apply(cn.Ragged.pack([np.zeros((2, 2), "float32")]))
    with pytest.raises(ArgumentError, match="fitted first"):
        data.Normaliser("channel").apply(cn.Ragged.pack([np.zeros((2, 2), "float32")]))
