"""What a call costs: operations so small that hardly any of their time goes into numbers.

    python -m convnd.bench.call

NumPy's product of two 4 x 4 matrices takes turns with them: what calling anything costs on this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..layout import Ragged
from ..tensor import Tensor
from .measure import Times, in_turn

NUMPY = "numpy.dot"


def calls() -> dict[str, Callable[[], Any]]:
    """The operations by name: 8 positions of 4 channels, to 8 filters, in float32."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    x, weight, bias, matrix, square = draw(1, 8, 4), draw(3, 4, 8), draw(8), draw(4, 8), draw(4, 4)
    ragged = Ragged.pack([draw(5, 4), draw(3, 4)])
    image, kernel = draw(1, 4, 4, 4), draw(3, 3, 4, 8)
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    fixed, fixed_bias, fixed_matrix = (Tensor.parameter(value, False) for value in (weight, bias, matrix))
    learnt, learnt_bias = Tensor.parameter(weight), Tensor.parameter(bias)
    t, r = Tensor(x), Tensor(ragged)
    grad = np.ones((1, 8, 8), np.float32)
    return {
        NUMPY: lambda: np.dot(square, square),
        "conv": lambda: ops.conv(t, fixed, fixed_bias, padding="same"),
        "conv, ragged": lambda: ops.conv(r, fixed, fixed_bias, padding="same"),
        "conv, arrays": lambda: ops.conv(x, weight, bias, padding="same"),
        "conv, 2-D arrays": lambda: ops.conv(image, kernel, bias, padding="same"),
        "conv_transpose, arrays": lambda: ops.conv_transpose(grad, weight, padding="same"),
        "conv_weight, arrays": lambda: ops.conv_weight(x, grad, 3, padding="same"),
        "conv, recorded": lambda: ops.conv(t, learnt, learnt_bias, padding="same"),
        "conv and its gradients": lambda: ops.conv(t, learnt, learnt_bias, padding="same").backward(grad),
        "linear": lambda: ops.linear(t, fixed_matrix),
        "linear, arrays": lambda: ops.linear(x, matrix),
        "max_pool": lambda: ops.max_pool(t, 2),
        "global_pool": lambda: ops.global_pool(t),
        "batch_norm": lambda: ops.batch_norm(t, ones, zeros, zeros, ones),
        "relu": lambda: ops.relu(t),
        "softmax": lambda: ops.softmax(t),
    }


def measure(seconds: float = 10.0) -> dict[str, Times]:
    """What each call takes, in turn, for about so many seconds in all."""
    found = calls()
    for call in found.values():
        call()  # what is worked out once
    return in_turn(found, seconds=seconds)


def table(times: dict[str, Times]) -> str:
    """A line a call: microseconds, median and least, and how many of NumPy's calls that is."""
    numpy = times[NUMPY].median
    lines = [f"{'one call':24}  {'median':>9}  {'least':>9}  {'x ' + NUMPY:>11}"]
    lines += [
        f"{name:24}  {1e6 * found.median:6.1f} us  {1e6 * found.least:6.1f} us  {found.median / numpy:11.1f}"
        for name, found in times.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
