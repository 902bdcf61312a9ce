"""Losses, against the specification, PyTorch, and differences."""

import numpy as np
import pytest

from convnd import loss, reference
from convnd.errors import ArgumentError, DataError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor
from convnd.testing import check_gradient

OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.2},
    "weighted": {"class_weights": np.array([0.5, 2.0, 0.0, 1.5])},
    "ignoring": {"ignore": 1},
    "ignoring a stranger": {"ignore": 255},
    "by sample": {"sample_weights": np.array([1.0, 0.0, 3.0])},
    "all": {
        "label_smoothing": 0.1,
        "class_weights": np.array([0.5, 2.0, 1.0, 1.5]),
        "ignore": 255,
        "sample_weights": np.array([1.0, 0.5, 3.0]),
    },
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def segmentation(rng, options):
    samples = [rng.standard_normal((*shape, 4)) for shape in ((2, 3), (4, 1), (3, 3))]
    labels = [rng.integers(0, 4, (*sample.shape[:-1], 1)) for sample in samples]
    if "ignore" in options:
        labels[1][0], labels[2][1, 1] = options["ignore"], options["ignore"]
    return samples, labels


@options
def test_cross_entropy_is_the_reference_on_ragged_positions(rng, options):
    samples, labels = segmentation(rng, options)
    x = Tensor(Ragged.pack(samples), requires_grad=True)
    targets = Ragged.pack(labels)
    wanted = reference.cross_entropy(samples, labels, **options)
    assert float(loss.cross_entropy(x, targets, **options)) == pytest.approx(wanted, rel=1e-12)
    assert float(loss.cross_entropy(x, targets.values[:, 0], **options)) == pytest.approx(wanted, rel=1e-12)
    check_gradient(lambda x: loss.cross_entropy(x, targets, **options), [x])


@options
def test_cross_entropy_is_the_reference_on_samples(rng, options):
    scores, labels = rng.standard_normal((3, 4)), np.array([2, options.get("ignore", 3), 0])
    wanted = reference.cross_entropy(list(scores[:, None]), list(labels), **options)
    assert float(loss.cross_entropy(scores, labels, **options)) == pytest.approx(wanted, rel=1e-12)
    single = loss.cross_entropy(scores.astype(np.float32), labels, **options)
    assert single.dtype == np.float32
    assert float(single) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in OPTIONS if "sample_weights" not in OPTIONS[name]])
def test_cross_entropy_is_pytorchs(rng, name):
    torch = pytest.importorskip("torch")
    options = OPTIONS[name]
    x, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    labels[2] = options.get("ignore", 2)
    t = torch.from_numpy(x.copy()).requires_grad_()
    weights = torch.from_numpy(options["class_weights"]) if "class_weights" in options else None
    wanted = torch.nn.functional.cross_entropy(
        t,
        torch.from_numpy(labels),
        weights,
        ignore_index=options.get("ignore", -100),
        label_smoothing=options.get("label_smoothing", 0.0),
    )
    wanted.backward()
    c = Tensor(x, requires_grad=True)
    found = loss.cross_entropy(c, labels, **options)
    found.backward()
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-12)
    np.testing.assert_allclose(c.grad, t.grad.numpy(), atol=1e-14)


def test_cross_entropy_of_extreme_scores_is_finite():
    x = Tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32), requires_grad=True)
    found = loss.cross_entropy(x, [1, 1])
    found.backward()
    assert float(found) == 1e4
    np.testing.assert_allclose(x.grad, [[0.5, -0.5], [0.0, 0.0]])


def test_nothing_counted_is_no_loss():
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    found = loss.cross_entropy(x, [7, 7], ignore=7, label_smoothing=0.1)
    found.backward()
    assert float(found) == 0
    assert not x.grad.any()


def test_dense_and_ragged_have_the_same_bits(rng):
    x = rng.standard_normal((3, 5, 4)).astype(np.float32)
    labels = rng.integers(0, 4, (3, 5))
    for function in (loss.cross_entropy, loss.dice):
        losses, grads = [], []
        for given, targets in (
            (x, labels),
            (x, labels[..., None]),
            (Ragged.pack(list(x)), Ragged.pack(list(labels[..., None]))),
        ):
            t = Tensor(given, requires_grad=True)
            found = function(t, targets)
            found.backward()
            losses.append(found.values.tobytes())
            grads.append((t.grad if isinstance(t.grad, np.ndarray) else t.grad.values).tobytes())
        assert len(set(losses)) == len(set(grads)) == 1


def test_losses_add_up(rng):
    x = Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    check_gradient(
        lambda x: 0.3 * loss.cross_entropy(x, [0, 1, 2]) + loss.mse(x, np.zeros((3, 4))) / 2 - loss.dice(x, [3, 1, 2]),
        [x],
    )


def test_mse_is_the_mean_of_squares(rng):
    samples, targets = ([rng.standard_normal((n, 2)) for n in (2, 5, 3)] for _ in range(2))
    x, t = Tensor(Ragged.pack(samples), requires_grad=True), Tensor(Ragged.pack(targets), requires_grad=True)
    errors = [(a - b) ** 2 for a, b in zip(samples, targets, strict=True)]
    assert float(loss.mse(x, t)) == pytest.approx(np.concatenate(errors).mean(), rel=1e-13)
    weights = np.array([1.0, 0.0, 2.0])
    wanted = (errors[0].sum() + 2 * errors[2].sum()) / (2 * (2 + 2 * 3))
    assert float(loss.mse(x, t, sample_weights=weights)) == pytest.approx(wanted, rel=1e-13)
    check_gradient(lambda x, t: loss.mse(x, t, sample_weights=weights), [x, t])


def test_dice_is_its_formula_on_each_sample(rng):
    samples, labels = segmentation(rng, {"ignore": 9})
    x = Tensor(Ragged.pack(samples), requires_grad=True)
    losses = []
    for sample, label in zip(samples, labels, strict=True):
        rows, truth = reference.softmax(sample).reshape(-1, 4), label.reshape(-1)
        for k in range(4):
            p, t = rows[truth != 9, k], (truth[truth != 9] == k).astype(float)
            losses.append(1 - (2 * (p * t).sum() + 0.5) / (p.sum() + t.sum() + 0.5))
    found = loss.dice(x, Ragged.pack(labels), ignore=9, smooth=0.5)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-12)
    check_gradient(lambda x: loss.dice(x, Ragged.pack(labels), ignore=9, smooth=0.5), [x])


R = Ragged(np.zeros((8, 3)), Layout([[3], [5]]))
ERRORS = [
    (
        lambda: loss.cross_entropy(np.zeros((3, 4)), [0, 4, 1]),
        DataError,
        r"sample 1: label 4 is out of range; .* 0 to 3",
    ),
    (lambda: loss.cross_entropy(np.zeros((3, 4)), [0, 1, -1]), DataError, "sample 2: label -1"),
    (lambda: loss.cross_entropy(R, [0, 1, 2, 0, 1, 9, 0, 0]), DataError, "sample 1, position 2: label 9"),
    (lambda: loss.dice(R, [0, 1, 2, 3, 1, 2, 0, 0]), DataError, "sample 1, position 0: label 3"),
    (lambda: loss.cross_entropy(R, [0, 1]), ShapeError, r"one label a position, 8 of them\. Received: shape \(2,\)"),
    (lambda: loss.cross_entropy(np.zeros((3, 4)), [0, 1]), ShapeError, "one label a sample, 3 of them"),
    (
        lambda: loss.cross_entropy(R, Ragged(np.zeros((8, 1), int), Layout([[4], [4]]))),
        ShapeError,
        "targets must have the layout of the logits",
    ),
    (lambda: loss.cross_entropy(np.zeros((2, 4)), [0.0, 1.0]), DtypeError, r"targets\.astype\(np\.int64\)"),
    (lambda: loss.cross_entropy(np.zeros((2, 4), int), [0, 1]), DtypeError, "float32 or float64"),
    (lambda: loss.cross_entropy(np.zeros((2, 4)), [0, 1], label_smoothing=2), ArgumentError, "label_smoothing must be"),
    (
        lambda: loss.cross_entropy(np.zeros((2, 4)), [0, 1], class_weights=[1.0]),
        ShapeError,
        r"one weight a class, \(4,\)",
    ),
    (lambda: loss.cross_entropy(np.zeros((2, 4)), [0, 1], sample_weights=[1, -1]), ArgumentError, "-1.0 for sample 1"),
    (lambda: loss.mse(np.zeros((2, 4)), np.zeros((2, 3))), ShapeError, "layout and channels of outputs"),
    (lambda: loss.mse(np.zeros((2, 4)), np.zeros((2, 4), np.float32)), DtypeError, r"targets\.astype\(np\.float64\)"),
    (lambda: loss.mse(np.zeros((2, 4)), np.zeros((2, 4), int)), DtypeError, "float32 or float64"),
    (lambda: loss.dice(R, np.zeros(8, int), smooth=0), ArgumentError, "smooth must be positive"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


def test_labels_of_classes_without_weight_count_nothing():
    logits = Tensor(np.array([[1.0, 2.0, 3.0]]), requires_grad=True)
    value = loss.cross_entropy(logits, [0], class_weights=[0.0, 1.0, 1.0], label_smoothing=0.3)
    assert float(value) == 0
    value.backward()
    assert not logits.grad.any()
