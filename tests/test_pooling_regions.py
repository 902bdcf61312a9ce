"""Pools of channels, by scales, by largest values and by boxes: the specification, PyTorch, the law, gradients."""

import numpy as np
import pytest

from convnd import ops, reference
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.ops.channel_pooling import channel_numbers
from convnd.tensor import Tensor
from convnd.testing import check_gradient, check_law

MODES = ["max", "mean", "sum"]
RANKS = [0, 1, 2, 3, 4]


def leaf(x):
    return Tensor(x, requires_grad=True)


def close(found, wanted, dtype=np.float64):
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def rounded(draw, ndim, channels=3, **options):
    """Samples in which equal values are common."""
    return [np.round(sample) for sample in draw(ndim, channels, **options)]


# Across channels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS)
def test_maxout_is_the_reference(draw, ndim, dtype):
    samples = rounded(draw, ndim, 12, dtype=dtype, count=3, low=1, high=5)
    for pieces in (1, 2, 3, 12):
        result = ops.maxout(Ragged.pack(samples), pieces)
        for found, sample in zip(result, samples, strict=True):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, reference.maxout(sample, pieces))


def test_maxout_is_a_maximum_of_affine_maps(rng):
    """Equation 6.37: a linear layer whose units stand in groups."""
    x, w, b = rng.standard_normal((5, 4)), rng.standard_normal((4, 6)), rng.standard_normal(6)
    close(ops.maxout(ops.linear(x, w, b), 3), (x @ w + b).reshape(5, 2, 3).max(axis=2))


def test_maxouts_gradient_goes_to_the_first_of_equals_and_nan_wins():
    x = leaf(np.array([[1.0, 2.0, 2.0, np.nan, 5.0, np.nan]]))
    y = ops.maxout(x, 3)
    np.testing.assert_array_equal(y.numpy(), [[2, np.nan]])
    y.backward(np.array([[1.0, 10.0]]))
    assert x.grad.tolist() == [[0, 1, 0, 10, 0, 0]]


def test_maxout_of_both_zeros_is_the_positive_one_wherever_it_stands(rng):
    x = np.where(rng.integers(0, 2, size=(1, 37, 6)), 0.0, -0.0)
    for pieces in (1, 2, 3):
        assert not np.signbit(ops.maxout(x, pieces)).any()


def test_figure_9_9_pooling_over_filters_learns_a_rotation(rng):
    """Filters for one feature in four poses, and the largest of them: the answer doesn't depend on the pose."""
    feature = rng.standard_normal((5, 5))
    filters = np.stack([np.rot90(feature, turns) for turns in range(4)], axis=-1)[..., None, :]
    answers = []
    for turns in range(4):
        x = np.rot90(feature, turns).reshape(1, 5, 5, 1)
        detectors = ops.conv(x, np.ascontiguousarray(filters))
        assert detectors.argmax() == turns
        answers.append(ops.maxout(detectors, 4).ravel())
    close(answers, np.full((4, 1), np.sum(feature**2)))
    assert ops.maxout(ops.conv(rng.standard_normal((1, 5, 5, 1)), np.ascontiguousarray(filters)), 4) < answers[0]


OPTIONS = [{}, {"stride": 1, "padding": "same"}, {"padding": 1, "stride": 2}, {"padding": "full", "stride": 1},
           {"dilation": 2, "padding": "same_lower"}, {"ceil_mode": True, "stride": 2}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", RANKS)
def test_pool_channels_is_the_reference(draw, ndim, mode):
    samples = draw(ndim, 4, count=3, low=4 if ndim < 4 else 3, high=7 if ndim < 4 else 5)
    size = [3 if axis == 1 else 2 for axis in range(ndim)]
    for options in OPTIONS if ndim else [{}]:
        for channels, numbers in ((slice(1, 3), [1, 2]), ([-1, 0], [3, 0]), (range(4), [0, 1, 2, 3])):
            result = ops.pool_channels(Ragged.pack(samples), channels, size, mode, **options)
            for found, sample in zip(result, samples, strict=True):
                close(found, reference.pool_channels(sample, numbers, size, mode, **options))


@pytest.mark.parametrize("mode", MODES)
def test_channels_that_are_neighbours_are_pooled_where_they_lie(rng, mode):
    x = rng.standard_normal((2, 9, 8, 70)).astype(np.float32)
    x[..., [2, 40]] = np.nan
    options = {"stride": 2, "padding": 1}
    for numbers in (range(3, 40), [*range(3, 20), *range(41, 60)]):
        numbers = list(numbers)
        t = Tensor(x, requires_grad=True)
        y = ops.pool_channels(t, numbers, 3, mode, **options)
        wanted = np.stack([reference.pool_channels(sample, numbers, 3, mode, **options) for sample in x])
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-6)
        g = rng.standard_normal(wanted.shape).astype(np.float32)
        y.backward(g)
        every = Tensor(np.nan_to_num(x), requires_grad=True)  # among others, one by one
        scattered = [number for number in range(70) if number in numbers or number % 2]
        ops.pool_channels(every, scattered, 3, mode, **options).backward(g)
        np.testing.assert_array_equal(t.grad[..., numbers], every.grad[..., numbers])


def test_channels_that_are_not_pooled_pass(rng):
    x = rng.standard_normal((2, 7, 6, 4))
    y = ops.pool_channels(x, [1], 3, stride=1, padding="same")
    np.testing.assert_array_equal(y[..., [0, 2, 3]], x[..., [0, 2, 3]])
    np.testing.assert_array_equal(y[..., [1]], ops.max_pool(x[..., [1]], 3, stride=1, padding="same"))
    y = ops.pool_channels(x, [1], 3, stride=2, padding=1)
    np.testing.assert_array_equal(y[..., 0], x[:, ::2, ::2, 0][:, : y.shape[1], : y.shape[2]])
    assert channel_numbers(slice(None, None, 2), 5).tolist() == [0, 2, 4]


# By scales


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", RANKS)
def test_pyramids_and_quadrants_are_the_reference(draw, ndim, mode):
    samples = draw(ndim, 3, count=3, low=1, high=7 if ndim < 4 else 4)
    batch = Ragged.pack(samples)
    levels = (1, 2, 4) if ndim < 3 else (2, 1)
    result = ops.spatial_pyramid_pool(batch, levels, mode)
    assert result.layout == Layout.dense(3, ())
    for found, sample in zip(result.values, samples, strict=True):
        close(found, reference.spatial_pyramid_pool(sample, levels, mode))
    for found, sample in zip(ops.quadrant_pool(batch, mode), samples, strict=True):
        close(found, reference.proportional_pool(sample, [2] * ndim, mode))


def test_a_level_may_name_its_bins_by_axis(rng):
    x = rng.standard_normal((2, 5, 7, 3))
    y = ops.spatial_pyramid_pool(x, [(1, 3), 2])
    np.testing.assert_array_equal(y[:, :9], ops.proportional_pool(x, (1, 3)).reshape(2, 9))
    np.testing.assert_array_equal(y[:, 9:], ops.proportional_pool(x, 2).reshape(2, 12))


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_pyramids_are_pytorchs_adaptive_pools(rng, mode):
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, f"adaptive_{'max' if mode == 'max' else 'avg'}_pool2d")
    for _ in range(5):
        x = rng.standard_normal((2, *rng.integers(3, 12, 2), 3))
        t = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
        wanted = [function(t, bins).movedim(1, -1).reshape(2, -1).numpy() for bins in (1, 2, 4)]
        close(ops.spatial_pyramid_pool(x, mode=mode), np.concatenate(wanted, axis=1))


# The largest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", RANKS[1:])
def test_k_max_pool_is_the_reference(draw, ndim, dtype):
    samples = rounded(draw, ndim, 3, dtype=dtype, count=4, low=3, high=8 if ndim < 3 else 5)
    for k in (1, 2, 3):
        result = ops.k_max_pool(Ragged.pack(samples), k)
        for found, sample in zip(result, samples, strict=True):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, reference.k_max_pool(sample, k))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_k_max_pool_is_pytorchs_topk_in_order(rng, ndim):
    torch = pytest.importorskip("torch")
    for _ in range(5):
        x = rng.standard_normal((2, *rng.integers(4, 9, ndim), 3))
        k = int(rng.integers(1, 5))
        t, own = torch.from_numpy(x).requires_grad_(), leaf(x)
        wanted = torch.gather(t, 1, torch.topk(t, k, dim=1).indices.sort(dim=1).values)
        y = ops.k_max_pool(own, k)
        np.testing.assert_array_equal(y.numpy(), wanted.detach().numpy())
        g = rng.standard_normal(y.numpy().shape)
        wanted.backward(torch.from_numpy(g))
        y.backward(g)
        np.testing.assert_array_equal(own.grad, t.grad.numpy())


def test_k_max_pool_of_equal_values_infinities_and_nan():
    x = leaf(np.array([2.0, 2, 1, 2, -np.inf]).reshape(1, 5, 1))
    y = ops.k_max_pool(x, 2)
    y.backward(np.array([1.0, 10.0]).reshape(1, 2, 1))
    assert x.grad.ravel().tolist() == [1, 10, 0, 0, 0]
    x = np.array([1.0, np.nan, -np.inf, np.inf, 3]).reshape(1, 5, 1)
    np.testing.assert_array_equal(ops.k_max_pool(x, 3).ravel(), [np.nan, np.inf, 3])
    np.testing.assert_array_equal(ops.k_max_pool(x, 5), x)
    np.testing.assert_array_equal(ops.k_max_pool(x, 1), ops.max_pool(x, 5))


# Boxes


def boxes_of(rng, samples):
    """A Ragged of random boxes for each sample, for one of them none."""
    lists = []
    for number, sample in enumerate(samples):
        shape = np.array(sample.shape[:-1])
        begin = rng.integers(0, shape, size=(0 if number == 1 else rng.integers(1, 6), len(shape)))
        end = rng.integers(begin + 1, shape + 1)
        lists.append(np.stack([begin, end], axis=-1).reshape(len(begin), 2 * len(shape)))
    return Ragged.pack(lists)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", RANKS[1:])
def test_roi_pool_is_the_reference(rng, draw, ndim, mode, dtype):
    samples = draw(ndim, 3, dtype, count=3, low=2, high=7 if ndim < 4 else 4)
    boxes = boxes_of(rng, samples)
    bins = [1, 3, 2, 1][:ndim]
    result = ops.roi_pool(Ragged.pack(samples), boxes, bins, mode)
    wanted = [reference.roi_pool(x, b, bins, mode) for x, b in zip(samples, boxes, strict=True) if len(b)]
    assert result.layout == Layout.dense(len(boxes.values), bins)
    close(np.concatenate([y.reshape(-1, 3) for y in wanted]), result.values, dtype)
    parts = [ops.roi_pool(Ragged.pack([x]), Ragged.pack([b]), bins, mode).values
             for x, b in zip(samples, boxes, strict=True)]
    assert np.concatenate(parts).tobytes() == result.values.tobytes()  # the law


def test_a_box_around_a_sample_is_proportional_pooling(draw):
    batch = Ragged.pack(draw(2, 3))
    boxes = np.stack([np.zeros_like(batch.layout.shapes), batch.layout.shapes], axis=-1).reshape(len(batch), 1, 4)
    for mode in MODES:
        result = ops.roi_pool(batch, boxes, (2, 3), mode)
        np.testing.assert_array_equal(result.values, ops.proportional_pool(batch, (2, 3), mode).values)


@pytest.mark.parametrize("mode", MODES)
def test_roi_pools_gradient_where_boxes_overlap(rng, draw, mode):
    samples = draw(2, 3, count=3)
    boxes = boxes_of(rng, samples)
    x = leaf(Ragged.pack(samples))
    check_gradient(lambda x: ops.roi_pool(x, boxes, (2, 3), mode), [x], draws=1)
    x = leaf(np.arange(6.0).reshape(1, 6, 1))
    ops.roi_pool(x, np.array([[[0, 4], [2, 6], [2, 4]]]), 1, "sum").backward(np.array([1, 10, 100.0]).reshape(3, 1, 1))
    assert x.grad.ravel().tolist() == [1, 1, 111, 111, 10, 10]


def test_boxes_of_floats_and_no_boxes_at_all(rng):
    x = rng.standard_normal((2, 5, 6, 3))
    boxes = np.array([[[0, 3, 1, 6]], [[4, 5, 0, 1]]])
    wanted = ops.roi_pool(x, boxes, 2)
    assert wanted.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(ops.roi_pool(x, boxes.astype(np.float32), 2), wanted)
    y = ops.roi_pool(x, Tensor(boxes.astype(float), requires_grad=True), 2)
    assert isinstance(y, np.ndarray)  # boxes are where to look, no operand
    none = ops.roi_pool(leaf(Ragged.pack(list(x))), np.zeros((2, 0, 4)), 2)
    assert len(none) == 0
    none.backward(none.numpy())


# The law, gradients, kinds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_law(draw, ndim, dtype):
    samples = draw(ndim, 6, dtype, count=5, low=3, high=8)
    check_law(lambda x: ops.maxout(x, 3), samples)
    for mode in MODES:
        check_law(lambda x, m=mode: ops.pool_channels(x, [0, 2], 2, m, padding="same"), samples)
        check_law(lambda x, m=mode: ops.spatial_pyramid_pool(x, (1, 2), m), samples)
        check_law(lambda x, m=mode: ops.quadrant_pool(x, m), samples)
    check_law(lambda x: ops.k_max_pool(x, 3), samples)


def test_gradients(draw):
    samples = draw(2, 4, count=3)
    x = leaf(Ragged.pack(samples))
    check_gradient(lambda x: ops.maxout(x, 2), [x], draws=1)
    for options in OPTIONS:
        for mode in MODES:
            check_gradient(lambda x, m=mode, o=options: ops.pool_channels(x, [2, 0], 2, m, **o), [x], draws=1)
    for mode in MODES:
        check_gradient(lambda x, m=mode: ops.spatial_pyramid_pool(x, (1, 2, 4), m), [x], draws=1)
        check_gradient(lambda x, m=mode: ops.quadrant_pool(x, m), [x], draws=1)
    check_gradient(lambda x: ops.k_max_pool(x, 3), [x], draws=1)


CALLS = {
    "maxout": lambda x: ops.maxout(x, 2),
    "pool_channels": lambda x: ops.pool_channels(x, [0], 2),
    "spatial_pyramid_pool": ops.spatial_pyramid_pool,
    "quadrant_pool": ops.quadrant_pool,
    "k_max_pool": lambda x: ops.k_max_pool(x, 2),
    "roi_pool": lambda x: ops.roi_pool(x, np.array([[[0, 3]], [[1, 6]]]), 2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_kinds(rng, call):
    x = rng.standard_normal((2, 6, 4))
    dense, ragged = call(x), call(Ragged.pack(list(x)))
    assert isinstance(dense, np.ndarray)
    assert isinstance(ragged, Ragged)
    assert dense.tobytes() == ragged.values.tobytes()
    assert isinstance(call(Tensor(x)), Tensor)
    assert call(Tensor(Ragged.pack(list(x)))).kind == "ragged"


def test_a_batch_without_samples_goes_through():
    x = np.zeros((0, 4, 2))
    assert ops.maxout(x, 2).size == 0
    assert ops.pool_channels(x, [0], 2).size == 0
    assert ops.spatial_pyramid_pool(x).size == 0
    assert ops.k_max_pool(x, 9).size == 0
    assert ops.roi_pool(x, np.zeros((0, 3, 2)), 2).size == 0


X = np.ones((2, 6, 4))
RAGGED = Ragged.pack([np.ones((6, 1)), np.ones((4, 1))])
EMPTY = Ragged(np.ones((3, 1)), Layout([[3], [0]]))
BOXES = np.array([[[0, 6]], [[0, 6]]])
ERRORS = [
    (lambda: ops.maxout(X, 3), ShapeError, r"pieces must divide the 4 channels of x\. Received: pieces=3"),
    (lambda: ops.maxout(X, 0), ArgumentError, "pieces must be an int of at least 1. Received: pieces=0"),
    (lambda: ops.maxout(X.astype(int), 2), DtypeError, "x must be float32 or float64"),
    (lambda: ops.pool_channels(X, [4], 2), ArgumentError, r"channels must exist: x has 4\. Received: channels=\[4\]"),
    (lambda: ops.pool_channels(X, [0, -4], 2), ArgumentError, "each once"),
    (lambda: ops.pool_channels(X, slice(0), 2), ArgumentError, "channels must name at least one channel"),
    (lambda: ops.pool_channels(X, [], 2), ArgumentError, "channels must name at least one channel"),
    (lambda: ops.pool_channels(X, [0.5], 2), ArgumentError, "channels must be a slice or a list of ints"),
    (lambda: ops.pool_channels(X, [True, False], 2), ArgumentError, "channels must be a slice or a list of ints"),
    (lambda: ops.pool_channels(X, [0], 2, "min"), ArgumentError, "mode must be one of max, mean, sum"),
    (lambda: ops.pool_channels(X, [0], 7), ShapeError, "sample 0 is too short for the window"),
    (lambda: ops.spatial_pyramid_pool(X, ()), ArgumentError, r"levels must be .*Received: levels=\(\)"),
    (lambda: ops.spatial_pyramid_pool(X, 3), ArgumentError, "levels must be a list"),
    (lambda: ops.spatial_pyramid_pool(X, (1, 0)), ArgumentError, "bins must be an int of at least 1"),
    (lambda: ops.quadrant_pool(X, "min"), ArgumentError, "mode must be one of"),
    (lambda: ops.quadrant_pool(EMPTY), ShapeError, "sample 1 has no positions"),
    (lambda: ops.k_max_pool(RAGGED, 5), ShapeError, r"sample 1: .* at least k=5 positions\. .* shape \(4,\)"),
    (lambda: ops.k_max_pool(X, 0), ArgumentError, "k must be an int of at least 1. Received: k=0"),
    (lambda: ops.k_max_pool(X[:, 0], 1), ShapeError, "samples without axes"),
    (lambda: ops.k_max_pool(EMPTY, 1), ShapeError, "sample 1 has no positions"),
    (lambda: ops.roi_pool(X, BOXES[0], 2), ShapeError, r"boxes must be .*an array of shape \(1, 2\)"),
    (lambda: ops.roi_pool(X, BOXES[:1], 2), ShapeError, "boxes must have 2 samples, as x has"),
    (lambda: ops.roi_pool(X, np.zeros((2, 1, 4)), 2), ShapeError, "with 2 numbers, two an axis"),
    (lambda: ops.roi_pool(X, BOXES + 0.5, 2), ArgumentError, r"sample 0: boxes\[0\] must be whole numbers"),
    (lambda: ops.roi_pool(X, BOXES * np.nan, 2), ArgumentError, "must be whole numbers"),
    (lambda: ops.roi_pool(X, BOXES, 2, "min"), ArgumentError, "mode must be one of"),
    (lambda: ops.roi_pool(X, BOXES, (2, 2)), ArgumentError, "bins must be"),
    (
        lambda: ops.roi_pool(RAGGED, np.array([[[0, 6], [0, 1]], [[0, 1], [2, 5]]]), 2),
        ShapeError,
        r"sample 1: boxes\[1\] must have 0 <= begin < end <= size on every axis\. Received: \[2, 5\]",
    ),
    (lambda: ops.roi_pool(X, np.array([[[3, 3]], [[0, 1]]]), 2), ShapeError, r"sample 0: boxes\[0\] must have"),
    (lambda: ops.roi_pool(X, np.array([[[-1, 3]], [[0, 1]]]), 2), ShapeError, r"sample 0: boxes\[0\] must have"),
    (lambda: ops.roi_pool(EMPTY, BOXES, 2), ShapeError, "sample 1 has no positions"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
