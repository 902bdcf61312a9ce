"""Initial values have the distributions that their sources state."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from convnd import nn
from convnd.nn.init import RULES, draw

SHAPE, FANS = (5, 40, 60), (200, 300)
DEVIATION = {"he": np.sqrt(2 / 200), "glorot": np.sqrt(2 / 500), "lecun": np.sqrt(1 / 200)}


@pytest.mark.parametrize("family", ["he", "glorot", "lecun"])
def test_distributions(family: str) -> None:
    deviation = DEVIATION[family]
    normal = draw(f"{family}_normal", SHAPE, FANS, 0, "w").ravel()
    uniform = draw(f"{family}_uniform", SHAPE, FANS, 0, "w").ravel()
    bound = np.sqrt(3) * deviation
    assert stats.kstest(normal, stats.norm(scale=deviation).cdf).pvalue > 0.01
    assert stats.kstest(uniform, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
    assert np.abs(uniform).max() <= bound


@pytest.mark.parametrize("shape", [(3, 4, 10), (2, 3, 9), (2, 2, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = draw("orthogonal", shape, (1, 1), 0, "w").reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_constants_and_independence() -> None:
    assert (draw("zeros", (3,), (1, 1), 0, "w") == 0).all()
    assert (draw("ones", (3,), (1, 1), 0, "w") == 1).all()
    assert (draw(-0.5, (3,), (1, 1), 0, "w") == -0.5).all()
    for name in set(RULES) - {"zeros", "ones"}:
        values = [draw(name, (6, 6), (6, 6), seed, path) for seed, path in ((0, "w"), (0, "v"), (1, "w"))]
        assert all((values[0] != other).all() for other in values[1:])


def test_layers_count_their_fans() -> None:
    """The deviation of each layer's weights tells the terms it counted."""
    cases = [
        (nn.Conv(400, 3, groups=2), 9 * 10),  # he: n_in = taps x channels of a group
        (nn.ConvTranspose(300, 4, stride=2), 4 * 20),  # 2 of 4 taps meet an output on each of two axes
        (nn.DepthwiseConv(5, multiplier=300), 25),
    ]
    for layer, terms in cases:
        weight = layer.build(2, 20).params["weight"].values
        np.testing.assert_allclose(weight.std(), np.sqrt(2 / terms), rtol=0.02, err_msg=repr(layer))
    weight = nn.Linear(300).build(0, 200).params["weight"].values
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / 500), rtol=0.02)
