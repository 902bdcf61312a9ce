"""Layout and Ragged: the data model."""

import pickle

import numpy as np
import pytest

from convnd.errors import ArgumentError, ShapeError
from convnd.layout import Layout, Ragged, position_numbers


@pytest.mark.parametrize("shapes", [[[3], [5]], [[2, 3], [4, 1], [1, 1]], [[2, 2, 2, 2]], [[0, 4], [3, 2]]])
def test_offsets_are_running_products(shapes):
    layout = Layout(shapes)
    assert layout.sizes.tolist() == [int(np.prod(shape)) for shape in shapes]
    assert layout.offsets.tolist() == [0, *np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()]
    assert layout.positions == layout.offsets[-1]
    assert (layout.ndim, len(layout)) == (len(shapes[0]), len(shapes))


def test_no_axes_means_one_position_a_sample():
    layout = Layout.dense(4, ())
    assert (layout.ndim, layout.positions, layout.uniform) == (0, 4, True)
    assert layout.offsets.tolist() == [0, 1, 2, 3, 4]


def test_shapes_are_a_copy_that_cannot_change():
    given = np.array([[3], [5]])
    layout = Layout(given)
    given[0] = 9
    assert layout.shapes.tolist() == [[3], [5]]
    with pytest.raises(ValueError, match="read-only"):
        layout.shapes[0] = 1


def test_equality_hash_and_pickle():
    a, b = Layout([[3, 2], [5, 1]]), Layout([[3, 2], [5, 1]])
    assert a == b
    assert hash(a) == hash(b)
    assert a != Layout([[3, 2], [5, 2]])
    assert a != Layout([[6], [5]])
    again = pickle.loads(pickle.dumps(a))
    assert again == a
    assert again.offsets.tolist() == a.offsets.tolist()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([3, 5], "2-D array"), ([[1.5]], "integers"), ([[3], [-1]], "sample 1: sizes must not be negative")],
)
def test_layout_refuses(shapes, message):
    with pytest.raises(ShapeError, match=message):
        Layout(shapes)


def test_pack_and_unpack_round_trip(draw):
    samples = draw(2, 3)
    for packed, sample in zip(Ragged.pack(samples).unpack(), samples, strict=True):
        np.testing.assert_array_equal(packed, sample)


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(1, 3), slice(None, None, -1), slice(-2, None), slice(3, 1), [2, 0, 2], [-1, 1], np.array([4, 3]), []],
    ids=str,
)
def test_ragged_chooses_as_a_list_does(draw, key):
    samples = draw(2, 3)
    numbers = np.arange(len(samples))[key] if not isinstance(key, list) or key else np.zeros(0, int)
    chosen = Ragged.pack(samples)[key].unpack()
    assert len(chosen) == np.size(numbers)
    for found, number in zip(chosen, np.atleast_1d(numbers), strict=True):
        np.testing.assert_array_equal(found, samples[number])


def test_ragged_takes_a_mask(draw):
    samples = draw(1, 2)
    chosen = Ragged.pack(samples)[np.array([True, False, False, True, False])].unpack()
    np.testing.assert_array_equal(chosen[1], samples[3])
    assert len(chosen) == 2


def test_consecutive_samples_are_a_view(draw):
    ragged = Ragged.pack(draw(1, 2))
    assert isinstance(position_numbers(ragged.layout, np.array([1, 2])), slice)
    assert np.shares_memory(ragged[1:3].values, ragged.values)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (5, IndexError, "sample 5 is out of range: 5 samples"),
        ([-6], IndexError, "sample -6"),
        ([0.5], ArgumentError, "int, a slice"),
        ([[0]], ArgumentError, "int, a slice"),
        ([True], ShapeError, "one entry a sample"),
    ],
)
def test_ragged_refuses_keys(draw, key, error, message):
    with pytest.raises(error, match=message):
        Ragged.pack(draw(1, 2))[key]


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([], ArgumentError, "must not be empty"),
        ([np.ones((3, 2)), np.ones((3, 1))], ShapeError, "sample 1: .* channels"),
        ([np.ones((3, 2)), np.ones((3, 3, 2))], ShapeError, "sample 1"),
        ([np.ones((3, 2)), np.ones((3, 2), np.float32)], ShapeError, "sample 1: .* dtype"),
    ],
)
def test_pack_refuses(samples, error, message):
    with pytest.raises(error, match=message):
        Ragged.pack(samples)


def test_values_must_fit_the_layout():
    with pytest.raises(ShapeError, match=r"with 8 positions\. Received: shape \(7, 2\)"):
        Ragged(np.ones((7, 2)), Layout([[3], [5]]))
