"""Networks that give one vector of class scores (logits) a sample."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..nn.arguments import count


def small(classes: int, width: int = 32, bins: int = 4, dropout: float = 0.2) -> nn.Layer:
    """A small classifier for short samples of any length: two convolution blocks, then bins in proportion.

    Two times [convolution 3 wide, batch normalisation, ReLU], with a pool by 2 between; then as many bins on every
    axis as ``bins``, dropout and a linear layer. "same" padding, so that samples of one position pass.

    Parameters
    ----------
    classes : int
    width : int
        Filters of the first block; the second has twice as many.
    bins : int
        Of the proportional pool (the maximum of each), which is what makes the length free.
    dropout : float

    Examples
    --------
    >>> import numpy as np
    >>> net = small(9).build(ndim=1, channels=12)
    >>> net(np.zeros((2, 1, 12), np.float32)).shape
    (2, 9)

    The blocks follow Ioffe & Szegedy, "Batch normalization", ICML 2015; the bins He et al., "Spatial pyramid pooling",
    ECCV 2014.
    """
    return nn.Sequential(
        *_block(width, 3),
        nn.MaxPool(2, padding="same"),
        *_block(2 * width, 3),
        nn.ProportionalPool(bins),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(classes),
    )


def lenet(classes: int, bins: int = 4) -> nn.Layer:
    """LeNet-5 with ReLU and max pooling: convolutions of 6 and 16 filters 5 wide, linear layers of 120 and 84.

    Convolutions are padded ("same"), and ``bins`` bins in proportion to the size stand where LeNet-5 has its second
    pool (which leaves 5 x 5), so that samples of any size pass.

    Parameters
    ----------
    classes : int
    bins : int
        Positions on every axis that the linear layers see.

    Examples
    --------
    >>> import numpy as np
    >>> lenet(10).build(ndim=2, channels=1)(np.zeros((1, 28, 28, 1), np.float32)).shape
    (1, 10)

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proceedings of the IEEE
    86, 1998, section II.B.
    """
    return nn.Sequential(
        nn.Conv(6, 5, padding="same", activation="relu"),
        nn.MaxPool(2, padding="same"),
        nn.Conv(16, 5, padding="same", activation="relu"),
        nn.ProportionalPool(bins),
        nn.Flatten(),
        nn.Linear(120, activation="relu", init="he_normal"),
        nn.Linear(84, activation="relu", init="he_normal"),
        nn.Linear(classes),
    )


def wave(classes: int, width: int = 64, first_kernel: int = 80, first_stride: int = 4) -> nn.Layer:
    """M5 for raw waveforms: four convolution blocks with pools by 4, the mean over time, a linear layer.

    Convolutions of ``width``, ``width``, 2 and 4 ``width`` filters, each with batch normalisation, ReLU and a max pool
    by 4; the last block goes into the mean over all positions. "same" padding, so that short clips pass. At
    16 kHz one of the last positions stands for 1024 samples, 64 ms.

    Parameters
    ----------
    classes : int
    width : int
        64 here; M5 has 128.
    first_kernel, first_stride : int
        Of the first convolution, which learns a filter bank; 80 samples are 10 ms at 8 kHz.

    Examples
    --------
    >>> import numpy as np
    >>> wave(10, width=8).build(ndim=1, channels=1)(np.zeros((1, 2000, 1), np.float32)).shape
    (1, 10)

    Dai, Dai, Qu, Li & Das, "Very deep convolutional neural networks for raw waveforms", ICASSP 2017, table 1.
    """
    return nn.Sequential(
        *_block(width, first_kernel, stride=first_stride),
        nn.MaxPool(4, padding="same"),
        *_block(width, 3),
        nn.MaxPool(4, padding="same"),
        *_block(2 * width, 3),
        nn.MaxPool(4, padding="same"),
        *_block(4 * width, 3),
        nn.MaxPool(4, padding="same"),
        nn.GlobalPool("mean"),
        nn.Linear(classes),
    )


def allconv(classes: int, width: int = 96, dropout: float = 0.5) -> nn.Layer:
    """All-CNN-C: convolutions alone, those of stride 2 in the place of pools, and the mean of the class maps.

    Nine convolutions, each but the last with ReLU, "same" padding: width, width, width at stride 2; twice as wide,
    again, again at stride 2; again, again of size 1, and the classes of size 1. Dropout after each step down.

    Parameters
    ----------
    classes : int
    width : int
        96 in the paper.
    dropout : float

    Examples
    --------
    >>> import numpy as np
    >>> allconv(10, width=8).build(ndim=2, channels=3)(np.zeros((1, 32, 32, 3), np.float32)).shape
    (1, 10)

    Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for simplicity: the all convolutional net", ICLR workshop
    2015, tables 1 and 2.
    """

    def conv(filters: int, kernel: int, stride: int = 1, activation: str | None = "relu") -> nn.Layer:
        return nn.Conv(filters, kernel, stride=stride, padding="same", activation=activation)

    return nn.Sequential(
        conv(width, 3),
        conv(width, 3),
        conv(width, 3, stride=2),
        nn.Dropout(dropout),
        conv(2 * width, 3),
        conv(2 * width, 3),
        conv(2 * width, 3, stride=2),
        nn.Dropout(dropout),
        conv(2 * width, 3),
        conv(2 * width, 1),
        conv(classes, 1, activation=None),
        nn.GlobalPool("mean"),
    )


def resnet(classes: int, width: int = 16, blocks: int = 3) -> nn.Layer:
    """The small residual network of the CIFAR experiments: three stages of blocks with skips, the global mean.

    A first convolution; stages of width, 2 width and 4 width filters, ``blocks`` blocks each, the later two starting at
    stride 2; 6 blocks + 2 weighted layers in all. A skip that changes size is a convolution of size 1 (option B).

    Parameters
    ----------
    classes : int
    width : int
        Filters of the first stage.
    blocks : int
        Of each stage: 3 give ResNet-20.

    Examples
    --------
    >>> import numpy as np
    >>> resnet(10, width=4, blocks=1).build(ndim=2, channels=3)(np.zeros((1, 9, 7, 3), np.float32)).shape
    (1, 10)

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2.
    """
    blocks = count(blocks, "blocks")
    stages = [
        _residual(filters, stride=2 if stage and not block else 1, project=bool(stage) and not block)
        for stage, filters in enumerate((width, 2 * width, 4 * width))
        for block in range(blocks)
    ]
    return nn.Sequential(*_block(width, 3), *stages, nn.GlobalPool("mean"), nn.Linear(classes))


def _block(filters: int, kernel: Any, stride: int = 1) -> list[nn.Layer]:
    """Convolution, batch normalisation (whose shift makes a bias idle), ReLU."""
    conv = nn.Conv(filters, kernel, stride=stride, padding="same", bias=False)
    return [conv, nn.BatchNorm(activation="relu")]


def _residual(filters: int, stride: int, project: bool) -> nn.Layer:
    """Two convolutions beside a skip (the paper's figure 2)."""
    nodes: dict[str, nn.Layer | nn.Node] = {
        "conv1": nn.Conv(filters, 3, stride=stride, padding="same", bias=False),
        "norm1": nn.BatchNorm(activation="relu"),
        "conv2": nn.Conv(filters, 3, padding="same", bias=False),
        "norm2": nn.BatchNorm(),
    }
    skip = "input"
    if project:
        skip = "skip_norm"
        nodes["skip"] = nn.Node(nn.Conv(filters, 1, stride=stride, padding="same", bias=False), "input")
        nodes["skip_norm"] = nn.BatchNorm()
    nodes["sum"] = nn.Node(nn.Add(), "norm2", skip)
    nodes["relu"] = nn.Activation("relu")
    return nn.Graph(nodes)
