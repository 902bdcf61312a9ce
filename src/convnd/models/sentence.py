"""A network for texts: sequences of whole numbers of any length."""

from __future__ import annotations

from collections.abc import Sequence

from .. import nn
from ..errors import ArgumentError
from ..nn.arguments import count


def sentence(
    classes: int,
    rows: int = 10_001,
    features: int = 64,
    width: int = 64,
    kernels: Sequence[int] = (2,),
    bins: int = 1,
    mode: str = "mean",
    dropout: float = 0.3,
) -> nn.Layer:
    """A classifier for texts as whole numbers: an embedding, convolutions side by side, bins in proportion.

    Convolutions over the embedded words, one of each width in ``kernels`` ("same" padding, tanh), and beside them the
    words themselves; each is pooled into ``bins`` bins in proportion to the text's length; then dropout and a
    linear layer. A text of one word passes. The input has one channel of whole numbers, as ``convnd prepare text``
    makes it.

    Parameters
    ----------
    classes : int
    rows : int
        Numbers there are (``data.info.symbols``); ``convnd train`` sets it.
    features : int
        Of the embedding.
    width : int
        Filters of each convolution.
    kernels : ints
        Their widths in words.
    bins : int
        Of the proportional pool.
    mode : "mean" or "max"
        Of the pool. "max" with ``bins=1`` is max over time, as in the source.
    dropout : float
        Of the embedded words, and before the linear layer.

    Examples
    --------
    >>> import numpy as np
    >>> net = sentence(2, rows=50).build(ndim=1, channels=1)
    >>> net(np.zeros((3, 1, 1), np.float32)).shape
    (3, 2)

    Kim, "Convolutional neural networks for sentence classification", EMNLP 2014; the pool in bins is He et al.,
    "Spatial pyramid pooling", ECCV 2014; the mean of the words Iyyer, Manjunatha, Boyd-Graber & Daumé, "Deep unordered
    composition rivals syntactic methods for text classification", ACL 2015.
    """
    widths = [count(kernel, "kernels") for kernel in kernels]
    if len(set(widths)) < len(widths):
        raise ArgumentError(f"kernels must differ. Received: kernels={kernels!r}")
    # A rare word keeps what it started with, which should be nothing rather than noise. Maxima need the noise: among
    # equal words only the first would learn.
    init = "zeros" if mode == "mean" else "glorot_normal"
    nodes: dict[str, nn.Layer | nn.Node] = {
        "words": nn.Embedding(rows, features, init=init),
        "seen": nn.Dropout(dropout),
        "alone": nn.ProportionalPool(bins, mode),
    }
    for kernel in widths:
        nodes[f"conv{kernel}"] = nn.Node(nn.Conv(width, kernel, padding="same", activation="tanh"), "seen")
        nodes[f"pool{kernel}"] = nn.ProportionalPool(bins, mode)
    if widths:
        nodes["join"] = nn.Node(nn.Concat(), "alone", *[f"pool{kernel}" for kernel in widths])
    nodes["flat"] = nn.Flatten()
    nodes["kept"] = nn.Dropout(dropout)
    nodes["scores"] = nn.Linear(classes)
    return nn.Graph(nodes)
