"""The layer that takes whole numbers: one vector for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..layout import Ragged
from ..tensor import Batch, Tensor
from .arguments import count
from .init import initial
from .layer import Layer, Maker
from .spec import Mode, Spec

EXACT = 2**24  # float32 holds every whole number up to here


class Embedding(Layer):
    """A vector that is learned for each whole number: the first layer of networks on text or other symbols.

    A network passes floats from layer to layer, and batches of data are floats: the input has one channel, and its
    values are whole numbers from 0 up to, not including, ``rows``. (:func:`convnd.ops.embedding` takes integers.) No
    gradient goes to them. Keeps the law.

    Parameters
    ----------
    rows : int
        Numbers there are, at most 2**24, up to which float32 is exact.
    features : int
        Channels of the result.
    init : str or number
        Of the table, a name in :mod:`convnd.nn.init`, each feature a sum of one term: by default N(0, 1).

    Parameters made: table (rows, features).

    Examples
    --------
    >>> import numpy as np
    >>> layer = Embedding(10, 4).build(ndim=1, channels=1)
    >>> numbers = np.array([[2, 7, 2]])
    >>> y = layer(numbers[..., None].astype(np.float32))
    >>> y.shape, bool((y[0, 0] == y[0, 2]).all())
    ((1, 3, 4), True)

    Bengio, Ducharme, Vincent & Jauvin, "A neural probabilistic language model", JMLR 3, 2003; the book's section
    12.4.2.
    """

    fixed = ("channels",)
    pointwise = True

    def __init__(self, rows: int, features: int, init: Any = "lecun_normal") -> None:
        self.rows = count(rows, "rows")
        if self.rows > EXACT:
            raise ArgumentError(f"rows must be at most {EXACT}, up to which float32 is exact. Received: rows={rows!r}")
        self.features = count(features, "features")
        self.init = initial(init)

    def output(self, *inputs: Spec) -> Spec:
        (x,) = inputs
        if x.channels != 1:
            raise ShapeError(f"Embedding takes one channel of whole numbers. Received: {x.channels} channels")
        return Spec(x.ndim, self.features, x.shape)

    def make(self, given: Spec, new: Maker) -> None:
        new.parameter("table", (self.rows, self.features), self.init, (1, self.features))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        numbers = _whole(inputs[0], self.rows)
        result: Batch = ops.embedding(numbers, self.params["table"])
        return result


def _whole(x: Tensor, rows: int) -> Any:
    """The numbers of a batch with one channel, as :func:`ops.embedding` takes them, in the kind of x."""
    values, layout = x.values[:, 0], x.layout
    assert layout is not None
    wrong = ~((values >= 0) & (values < rows) & (values == np.rint(values)))  # NaN too
    if wrong.any():
        position = int(np.argmax(wrong))
        sample = int(np.searchsorted(layout.offsets, position, side="right")) - 1
        raise ArgumentError(
            f"sample {sample}: Embedding takes whole numbers of at least 0 and below {rows}. "
            f"Received: {values[position]}"
        )
    numbers = values.astype(np.int64)
    return Ragged(numbers[:, None], layout) if x.kind == "ragged" else numbers.reshape(layout.box)
