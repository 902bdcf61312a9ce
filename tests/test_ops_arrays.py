"""Convolutions of plain arrays: a call that was right before takes a shorter way, to the same bits and errors."""

import numpy as np
import pytest

from convnd import ops
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.tensor import Tensor


def test_arrays_that_were_right_before_skip_no_check_and_no_bit(rng, monkeypatch):
    """The second call with arrays of the same shapes takes a shorter way."""
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 9, 7, 4), (3, 3, 2, 6), (6,)))
    g, m = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 9, 7, 6), (4, 6)))
    back = rng.standard_normal(4).astype(np.float32)
    window = {"padding": "same", "groups": 2}
    calls = {
        "conv": lambda x: ops.conv(x, w, b, activation="relu", **window),
        "conv_transpose": lambda x: ops.conv_transpose(g, w, back, flip=True, **window) + 0 * np.sum(x),
        "conv_weight": lambda x: ops.conv_weight(x, g, 3, **window),
        "linear": lambda x: ops.linear(x, m, b, activation="tanh"),
    }
    for call in calls.values():
        first = call(x)
        for again in (x, np.asfortranarray(x), x[:, ::-1][:, ::-1]):
            np.testing.assert_array_equal(call(again), first)
        assert type(first) is np.ndarray
    np.testing.assert_array_equal(
        ops.conv_transpose(Tensor(g), w, back, flip=True, **window).numpy(), calls["conv_transpose"](x)
    )
    np.testing.assert_array_equal(ops.conv_weight(Tensor(x), g, 3, **window).numpy(), calls["conv_weight"](x))
    np.testing.assert_array_equal(ops.linear(Tensor(x), m, b, activation="tanh").numpy(), calls["linear"](x))
    np.testing.assert_array_equal(ops.conv(Tensor(x), w, b, activation="relu", **window).numpy(), calls["conv"](x))
    with monkeypatch.context() as patch:
        patch.setattr("convnd.ops.convolution.batch", None)  # nobody asks for tensors again
        for call in calls.values():
            call(x)
    for _ in range(2):
        none = ops.conv_weight(x[:0], g[:0], 3, **window)
        assert none.shape == (3, 3, 2, 6)
        assert not none.any()
        assert ops.conv(x[:0], w, b, **window).size == 0
        assert ops.linear(x[:0], m).size == 0
        assert ops.conv_weight(x, g, 3, padding="same", groups=np.uint8(2)).shape == (3, 3, 2, 6)
        assert ops.conv_transpose(g, w, stride=2, padding=1, output_padding=1, groups=2).shape == (2, 18, 14, 4)
        assert ops.conv_transpose(g, w, stride=2, padding=1, groups=2, like=np.zeros((2, 17, 14, 1))).shape[1] == 17
    for wrong, error in (
        (lambda: ops.conv(x, w, b[:5], **window), ShapeError),
        (lambda: ops.conv(x, w.astype(np.float64), b, **window), DtypeError),
        (lambda: ops.conv(x, w, b, padding="same", groups=2.0), ShapeError),
        (lambda: ops.conv(x[..., :3], w, b, **window), ShapeError),
        (lambda: ops.conv(x, w, b, activation="gelu", **window), ArgumentError),
        (lambda: ops.conv_transpose(g, w, b, **window), ShapeError),
        (lambda: ops.conv_weight(x, g[:, 1:], 3, **window), ShapeError),
        (lambda: ops.conv_weight(x, g, 3, padding="same", groups=4), ShapeError),
        (lambda: ops.linear(x, m[:3], b), ShapeError),
        (lambda: ops.linear(x, m, b, activation="gelu"), ArgumentError),
    ):
        with pytest.raises(error):
            wrong()
