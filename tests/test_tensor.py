"""Tensor, the tape, parameters."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

from convnd import ops
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.layout import Layout, Ragged
from convnd.tensor import Tensor, is_recording, no_grad, record
from convnd.testing import check_gradient


def leaf(array):
    return Tensor(array, requires_grad=True)


# Kinds


def test_dense_values_are_shared_and_keep_their_kind(rng):
    x = rng.standard_normal((3, 4, 5, 2))
    t = leaf(x)
    assert np.shares_memory(t.values, x)
    assert (t.values.shape, t.kind, len(t), t.channels) == ((60, 2), "dense", 3, 2)
    assert t.layout == Layout.dense(3, (4, 5))
    np.testing.assert_array_equal(t.numpy(), x)
    (t * 2.0).backward(np.ones_like(x))
    assert isinstance(t.grad, np.ndarray)
    assert t.grad.shape == x.shape


def test_ragged_stays_ragged_even_where_sizes_agree(rng):
    r = Ragged.pack([rng.standard_normal((4, 2)) for _ in range(3)])
    t = leaf(r)
    y = t + 1.0
    y.backward(y.numpy())
    assert isinstance(y.numpy(), Ragged)
    assert isinstance(t.grad, Ragged)
    np.testing.assert_array_equal(t.grad.values, r.values + 1)


def test_a_strided_array_is_laid_out_channels_last(rng):
    x = rng.standard_normal((2, 3, 4)).transpose(0, 2, 1)
    t = Tensor(x)
    assert t.values.flags.c_contiguous
    np.testing.assert_array_equal(t.numpy(), x)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, bool, complex, ">f4"])
def test_only_two_dtypes(dtype):
    with pytest.raises(DtypeError, match=r"x must be float32 or float64; cast it: x\.astype\(np\.float32\)"):
        Tensor(np.ones((1, 2, 1)).astype(dtype))


def test_an_array_needs_samples_and_channels():
    with pytest.raises(ShapeError, match=r"\(samples, \*shape, channels\)"):
        Tensor(np.ones(3))


def test_an_empty_batch_is_legal():
    t = leaf(np.zeros((0, 3)))
    (t * 2.0).backward(np.zeros((0, 3)))
    assert t.grad.shape == (0, 3)


# Arithmetic


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, y, v, s: x + y * v - s,
        lambda x, y, v, s: (x - y) / v + s * x,
        lambda x, y, v, s: 2.0 / (x * x + 3.0) - (1 - y) / s,
        lambda x, y, v, s: v / (x * x + 1.0) + s / (y * y + 2.0) - v * s,
        lambda x, y, v, s: -x * x + np.array([1.0, 2.0, 3.0]) * y + np.float64(2.0) * v,
    ],
)
def test_arithmetic_gradients(rng, function, ragged):
    make = (
        (lambda: Ragged.pack([rng.standard_normal((n, 3)) for n in (2, 4)]))
        if ragged
        else (lambda: rng.standard_normal((2, 4, 3)))
    )
    vector, scalar = Tensor.parameter(rng.uniform(1, 2, 3)), Tensor.parameter(np.array(1.5))
    check_gradient(function, [leaf(make()), leaf(make()), vector, scalar])


def test_arithmetic_is_numpys_to_the_bit(rng):
    x, y = rng.standard_normal((2, 2, 5, 3)).astype(np.float32)
    v = rng.standard_normal(3).astype(np.float32)
    t, u = Tensor(x), Tensor(y)
    for found, wanted in (
        (t + u, x + y), (t - v, x - v), (v - t, v - x), (t * 3, x * np.float32(3)), (2 / t, np.float32(2) / x),
        (-t, -x), (t / u, x / y), (y * t, y * x),
    ):  # fmt: skip
        assert isinstance(found, Tensor)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (np.ones((2, 4, 3)), ShapeError, r"\+ needs operands of one layout"),
        (np.ones((2, 5, 1)), ShapeError, "as many channels"),
        (np.ones(4), ShapeError, "a vector of as many channels"),
        (np.ones(3, np.float32), DtypeError, r"astype\(np\.float64\)"),
        (np.ones(3, int), DtypeError, "the operand must be float32 or float64"),
    ],
)
def test_arithmetic_refuses(other, error, message):
    with pytest.raises(error, match=message):
        Tensor(np.ones((2, 5, 3))) + other


# The way back


def test_gradients_accumulate_until_they_are_dropped():
    p = Tensor.parameter(np.array([2.0, 3.0]))
    for _ in range(3):
        (p * p).backward(np.ones(2))
    assert p.grad.tolist() == [12.0, 18.0]
    p.grad = None
    (p * 1.0).backward(np.ones(2))
    assert p.grad.tolist() == [1.0, 1.0]


def test_a_leaf_used_along_many_paths_gets_their_sum():
    x = leaf(np.array([[3.0]]))
    y = x * x
    (y * y + y * x + x).backward()  # x^4 + x^3 + x
    assert float(x.grad.item()) == 4 * 27 + 3 * 9 + 1


def test_leaves_never_share_a_gradient():
    a, b = leaf(np.ones((1, 2))), leaf(np.ones((1, 2)))
    (a + b).backward(np.ones((1, 2)))
    a.grad *= 5.0
    assert b.grad.tolist() == [[1.0, 1.0]]


def test_a_long_chain_needs_no_recursion():
    x = leaf(np.ones((1, 1)))
    y = x
    for _ in range(5000):
        y = y + 1.0
    y.backward()
    assert float(x.grad.item()) == 1.0


def test_one_number_needs_no_grad_and_more_do():
    x = leaf(np.ones((1, 2)))
    with pytest.raises(ArgumentError, match=r"backward needs grad.*values of shape \(1, 2\)"):
        (x * 2.0).backward()
    with pytest.raises(ShapeError, match=r"the tensor's shape \(1, 2\)"):
        (x * 2.0).backward(np.ones(2))
    with pytest.raises(DtypeError, match=r"grad\.astype\(np\.float64\)"):
        (x * 2.0).backward(np.ones((1, 2), np.float32))
    with pytest.raises(ShapeError, match="Ragged of the tensor's layout"):
        (leaf(Ragged.pack([np.ones((2, 1))])) * 2.0).backward(np.ones((2, 1)))
    assert x.grad is None


def test_values_are_let_go_on_the_way_back():
    """Going back, the memory of a result is free before its operands' gradients are asked for."""
    x = leaf(np.ones((1, 1)))
    alive = []

    def step(parent):
        grad_fn = lambda g: alive.append(count()) or (g,)  # noqa: E731
        result = record(parent.values + 1, parent.layout, parent.kind, (parent,), grad_fn)
        held.append(weakref.ref(result))
        return result

    held = []
    count = lambda: sum(ref() is not None for ref in held)  # noqa: E731
    y = x
    for _ in range(5):
        y = step(y)
    y.backward()
    assert alive == [5, 5, 4, 3, 2]  # the caller holds the last one to the end


def test_a_forgotten_chain_goes_without_recursion():
    y = leaf(np.ones((1, 1)))
    for _ in range(50_000):
        y = -y
    del y  # deep ownership: this must not overflow the stack


def test_numpy_does_not_take_a_tensor_for_a_sequence():
    for call in (np.asarray, np.exp, Tensor.parameter):
        with pytest.raises(TypeError):
            call(leaf(np.ones((2, 3))))


def test_a_second_backward_is_an_error_and_changes_nothing():
    x = leaf(np.ones((1, 1)))
    shared = x * 2.0
    first, second = shared * 3.0, shared + x
    first.backward()
    for result in (first, second):
        with pytest.raises(ArgumentError, match="tape was freed by an earlier backward"):
            result.backward()
    assert x.grad.tolist() == [[6.0]]


def test_the_tape_frees_what_it_held():
    x = leaf(np.ones((1, 1)))
    middle = x * 2.0
    held = weakref.ref(middle)
    result = middle * 3.0
    del middle
    assert held() is not None
    result.backward()
    gc.collect()
    assert held() is None


def test_a_parameter_changed_too_early_is_noticed():
    p = Tensor.parameter(np.ones(2))
    y = p * 2.0
    p.assign(np.zeros(2))
    with pytest.raises(ArgumentError, match="changed after it was used"):
        y.backward(np.ones(2))
    assert p.grad is None


def test_nothing_recorded_nothing_to_go_back_on():
    frozen = Tensor.parameter(np.ones(2), requires_grad=False)
    y = Tensor(np.ones((1, 2))) * frozen
    assert not y.requires_grad
    with pytest.raises(ArgumentError, match="nothing was recorded"):
        y.backward(np.ones((1, 2)))


def test_a_frozen_parameter_gets_no_gradient():
    p, q = Tensor.parameter(np.ones(2)), Tensor.parameter(np.ones(2), requires_grad=False)
    (p * q).backward(np.ones(2))
    assert p.grad is not None
    assert q.grad is None


def test_grad_fn_is_not_asked_for_results_off_the_path():
    asked = []
    x = leaf(np.ones((1, 1)))
    record(x.values, x.layout, x.kind, (x,), lambda g: asked.append(1) or (g,))
    (x * 2.0).backward()
    assert not asked


def test_detach_cuts_the_path():
    x = leaf(np.full((1, 1), 3.0))
    (x * (x * x).detach()).backward()
    assert x.grad.tolist() == [[9.0]]


def test_check_gradient_finds_a_wrong_gradient():
    x, y = leaf(np.ones((1, 2))), leaf(np.ones((1, 2)))
    check_gradient(lambda x, y: x * y + 2.0 * y, [x, y])
    wrong = lambda x, y: record(x.values * y.values, x.layout, x.kind, (x, y), lambda g: (g * y.values, 1.001 * g))  # noqa: E731
    with pytest.raises(AssertionError, match=r"draw 0, tensors\[1\]: the gradient gives"):
        check_gradient(wrong, [x, y])
    with pytest.raises(ArgumentError, match="float64 and require a gradient"):
        check_gradient(lambda x: x, [Tensor(np.ones((1, 2)))])


# no_grad and threads


def test_no_grad_records_nothing_and_nests():
    x = leaf(np.ones((1, 2)))
    with no_grad():
        with no_grad():
            assert not (x * 2.0).requires_grad
        assert not is_recording()
    assert (x * 2.0).requires_grad


def test_no_grad_ends_with_an_error_and_decorates():
    @no_grad()
    def fail(depth):
        assert not is_recording()
        if depth:
            fail(depth - 1)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail(2)
    assert is_recording()


def test_one_no_grad_decorates_a_function_that_calls_itself():
    @no_grad()
    def down(n):
        assert not is_recording()
        return n if n == 0 else down(n - 1)

    assert down(3) == down(2) == 0
    assert is_recording()


def test_no_grad_is_of_one_thread():
    inside, seen, done = threading.Event(), [], threading.Event()

    def other():
        inside.wait(5)
        seen.append(is_recording())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        done.wait(5)
    thread.join()
    assert seen == [True]


def test_threads_that_share_a_parameter_lose_no_gradient():
    p = Tensor.parameter(np.zeros(2))

    def work():
        for _ in range(200):
            (p * 1.0).backward(np.ones(2))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert p.grad.tolist() == [800.0, 800.0]


# Parameters


def test_a_parameter_owns_its_values_and_counts_changes():
    given = np.zeros((3, 1, 2), np.float32)
    p = Tensor.parameter(given)
    given += 1
    assert not p.values.any()
    p.packs["kept"] = 1
    before, packs = p.values, p.packs
    p.assign(np.ones((3, 1, 2), np.float32))
    assert p.values is before
    assert (p.version, p.packs, packs) == (1, {}, {"kept": 1})  # whoever still reads the old packs isn't disturbed


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [(np.ones(3), ShapeError, r"the parameter's shape \(2,\)"), (np.ones(2, np.float32), DtypeError, "cast it")],
)
def test_assign_refuses(values, error, message):
    p = Tensor.parameter(np.zeros(2))
    with pytest.raises(error, match=message):
        p.assign(values)
    assert p.version == 0


def test_a_parameter_has_no_samples():
    p = Tensor.parameter(np.zeros(2))
    with pytest.raises(TypeError, match="no samples"):
        len(p)
    with pytest.raises(ArgumentError, match="no samples"):
        p[0]
    with pytest.raises(TypeError, match="only a tensor of one number"):
        float(p)


@pytest.mark.parametrize("again", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_tensors_are_copied_without_their_tape(again, rng):
    p = Tensor.parameter(rng.standard_normal((3, 2)))
    p.packs["kept"] = 1
    q = again(p)
    np.testing.assert_array_equal(q.values, p.values)
    assert (q.requires_grad, q.packs, q.grad) == (True, {}, None)
    assert not np.shares_memory(q.values, p.values)
    result = leaf(Ragged.pack([rng.standard_normal((n, 2)) for n in (2, 3)])) * 2.0
    plain = again(result)
    assert (plain.kind, plain.layout, plain.requires_grad) == ("ragged", result.layout, False)


# Samples


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("key", [1, -1, slice(1, 3), slice(None, None, -2), [3, 0], [2, 2, 0, 2], []], ids=str)
def test_choosing_samples(rng, key, ragged):
    samples = [rng.standard_normal((3 if not ragged else 2 + n, 2)) for n in range(4)]
    t = leaf(Ragged.pack(samples) if ragged else np.stack(samples))
    chosen = t[key]
    plain = Ragged.pack(samples)[key]
    assert chosen.kind == t.kind
    assert chosen.layout == plain.layout
    np.testing.assert_array_equal(chosen.values, plain.values)
    check_gradient(lambda x: x[key] * x[key], [t])


def test_choosing_by_one_int_keeps_the_axis_of_samples():
    assert Tensor(np.ones((4, 3, 2)))[1].numpy().shape == (1, 3, 2)


def test_a_whole_step_on_mixed_pieces(rng):
    """Slices of one batch through one shared weight: the gradients are those of the whole batch."""
    x, w = rng.standard_normal((4, 6, 2)), Tensor.parameter(rng.standard_normal((3, 2, 3)))
    t = leaf(x)
    ops.conv(t, w).backward(np.ones((4, 4, 3)))
    whole, to_x = w.grad.copy(), t.grad.copy()
    w.grad = t.grad = None
    for piece in (slice(0, 1), [3, 1], slice(2, 3)):
        y = ops.conv(t[piece], w)
        y.backward(np.ones(y.numpy().shape))
    np.testing.assert_allclose(w.grad, whole, rtol=1e-12)
    np.testing.assert_array_equal(t.grad, to_x)
