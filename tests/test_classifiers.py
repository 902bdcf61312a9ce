"""The book's three ways to classify images of any size (section 9.3 and figure 9.11): which sizes each one takes."""

import numpy as np
import pytest

from convnd import Ragged, nn
from convnd.errors import ShapeError


def features():
    return [nn.Conv(6, 3, padding="same", activation="relu"), nn.MaxPool(2), nn.Conv(8, 3, padding="same")]


CLASSIFIERS = {
    "fixed": lambda: nn.Sequential(*features(), nn.Flatten(), nn.Linear(5)),
    "in proportion": lambda: nn.Sequential(*features(), nn.ProportionalPool(3), nn.Flatten(), nn.Linear(5)),
    "convolutional": lambda: nn.Sequential(*features(), nn.Conv(5, 1), nn.GlobalPool("mean")),
}


@pytest.mark.parametrize("name", ["in proportion", "convolutional"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_same_weights_run_on_every_size(name, ndim, rng):
    net = CLASSIFIERS[name]().build(ndim, 2, seed=0)
    samples = [rng.standard_normal((*rng.integers(6, 13, size=ndim), 2)).astype(np.float32) for _ in range(5)]
    together = net(Ragged.pack(samples))
    assert together.values.shape == (5, 5)
    for sample, scores in zip(samples, together.values, strict=True):
        np.testing.assert_array_equal(net(sample[None])[0], scores)


def test_flattening_fixes_the_size(rng):
    net = CLASSIFIERS["fixed"]().build(2, 2, shape=(8, 8))
    assert net(np.zeros((3, 8, 8, 2), np.float32)).shape == (3, 5)
    with pytest.raises(ShapeError, match="built for"):
        net(np.zeros((3, 10, 8, 2), np.float32))
    mixed = Ragged.pack([np.zeros((8, 8, 2), np.float32), np.zeros((8, 10, 2), np.float32)])
    with pytest.raises(ShapeError, match="use proportional_pool or global_pool first"):
        net(mixed)
