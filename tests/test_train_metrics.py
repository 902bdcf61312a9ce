"""Metrics against definitions written out by hand, and exact continuation of their sums."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convnd.layout import Layout
from convnd.metrics import ClassMetric, NumberMetric, better


def one_hot(guess, classes):
    return np.eye(classes, dtype=np.float32)[guess]


def test_classes_against_definitions(rng):
    truth, guess = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    metric = ClassMetric(["a", "b", "c"])
    for part in np.split(np.arange(200), [50, 53, 160]):
        metric.add(one_hot(guess[part], 3), truth[part], Layout.dense(len(part), ()), float(len(part)))
    result = metric.result()
    assert result["accuracy"] == pytest.approx((truth == guess).mean())
    assert result["samples"] == 200
    assert result["confusion"] == [[int(((truth == i) & (guess == j)).sum()) for j in range(3)] for i in range(3)]
    assert result["loss"] == pytest.approx((50 * 50 + 3 * 3 + 107 * 107 + 40 * 40) / 200)
    for c, name in enumerate("abc"):
        hit = ((truth == c) & (guess == c)).sum()
        precision, recall = hit / (guess == c).sum(), hit / (truth == c).sum()
        assert result["classes"][name]["precision"] == pytest.approx(precision)
        assert result["classes"][name]["recall"] == pytest.approx(recall)
        assert result["classes"][name]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
        assert result["classes"][name]["count"] == (truth == c).sum()


def test_dice_is_a_mean_over_samples_and_skips_what_is_nowhere(rng):
    layout = Layout([[4, 5], [3, 3], [6, 2]])
    truth, guess = rng.integers(0, 3, layout.positions), rng.integers(0, 3, layout.positions)
    inside = slice(layout.offsets[1], layout.offsets[2])
    truth[inside][truth[inside] == 2] = 0  # class 2 is neither there nor called in the second sample
    guess[inside][guess[inside] == 2] = 1
    truth[:4] = 9
    metric = ClassMetric(["background", "x", "y"], per_position=True, ignore=9)
    metric.add(one_hot(guess, 3), truth[:, None], layout, 0.0)
    expected = {}
    for c, name in enumerate(["background", "x", "y"]):
        values = []
        for a, b in zip(layout.offsets[:-1], layout.offsets[1:], strict=True):
            kept = truth[a:b] != 9
            t, p = truth[a:b][kept] == c, guess[a:b][kept] == c
            if t.sum() + p.sum():
                values.append(2 * (t & p).sum() / (t.sum() + p.sum()))
        expected[name] = np.mean(values)
    result = metric.result()
    assert {name: result["classes"][name]["dice"] for name in expected} == pytest.approx(expected)
    assert result["dice"] == pytest.approx((expected["x"] + expected["y"]) / 2)
    assert result["accuracy"] == pytest.approx((truth == guess)[4:].mean())


def test_numbers_against_definitions(rng):
    out, target = rng.standard_normal((2, 30, 4))
    metric = NumberMetric()
    metric.add(out[:10], target[:10], Layout.dense(10, ()), 1.0)
    metric.add(out[10:], target[10:], Layout.dense(20, ()), 4.0)
    result = metric.result()
    assert result["mse"] == pytest.approx(((out - target) ** 2).mean())
    assert result["mae"] == pytest.approx(np.abs(out - target).mean())
    assert result["loss"] == pytest.approx(3.0)


@pytest.mark.parametrize("make", [lambda: ClassMetric(["a", "b"], per_position=True), NumberMetric])
def test_a_metric_goes_on_from_its_state_to_the_same_bits(rng, make):
    layout = Layout([[7], [6]])
    batches = [(rng.standard_normal((13, 2)), rng.standard_normal()) for _ in range(6)]

    def add(metric, batch):
        out, loss = batch
        target = (out[:, :1] > 0.3).astype(int) if isinstance(metric, ClassMetric) else out * 0.9
        metric.add(out, target, layout, float(loss))

    whole, first, second = make(), make(), make()
    for batch in batches:
        add(whole, batch)
    for batch in batches[:2]:
        add(first, batch)
    second.load(json.loads(json.dumps(first.state())))
    for batch in batches[2:]:
        add(second, batch)
    assert second.result() == whole.result()


def test_nothing_measured_is_none_not_nan():
    assert ClassMetric(["a", "b"]).result()["accuracy"] is None
    assert NumberMetric().result()["mse"] is None


def test_which_figure_is_better():
    assert better(0.9, 0.8, "accuracy")
    assert better(0.8, 0.9, "loss")
    assert better(0.1, None, "dice")
    assert not better(0.8, 0.8, "mse")
    assert not better(float("nan"), 0.5, "loss")
    assert not better(None, 0.5, "loss")


def test_many_classes_take_little_memory():
    classes, samples = 3000, 200  # a table of classes by classes for each sample would be 14 GB
    metric = ClassMetric([str(c) for c in range(classes)])
    truth = np.arange(samples)
    metric.add(np.eye(classes)[truth], truth, Layout.dense(samples, ()), 0.5)
    assert metric.brief() == {"loss": 0.5, "accuracy": 1.0}


def test_a_loss_is_weighted_by_what_it_is_a_mean_of():
    metric = NumberMetric()
    for loss, weight in ((1.0, 3.0), (5.0, 1.0)):
        metric.add(np.zeros((2, 1)), np.zeros((2, 1)), Layout.dense(2, ()), loss, weight)
    assert metric.brief()["loss"] == 2.0
