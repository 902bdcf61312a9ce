"""Networks that give class scores (logits) at every position."""

from __future__ import annotations

from .. import nn
from ..nn.arguments import count


def unet(classes: int, width: int = 16, depth: int = 3) -> nn.Layer:
    """U-Net: an encoder that halves, a decoder that doubles, and skips between them at every size.

    At each of ``depth`` levels and at the bottom two convolutions 3 wide, each with batch normalisation and ReLU. Each
    level down halves the size (a max pool by 2, rounding up) and doubles the filters; on the way up a transposed
    convolution takes the very size of its encoder, at odd sizes too, and their channels are joined. "same" padding: the
    result has the sample's own size, whatever it is.

    Parameters
    ----------
    classes : int
    width : int
        Filters of the first level; 64 in the paper.
    depth : int
        Times the size is halved; 4 in the paper.

    Examples
    --------
    >>> import numpy as np
    >>> net = unet(3, width=4, depth=2).build(ndim=3, channels=1)
    >>> net(np.zeros((1, 7, 9, 5, 1), np.float32)).shape
    (1, 7, 9, 5, 3)

    Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015;
    in 3D: Çiçek, Abdulkadir, Lienkamp, Brox & Ronneberger, MICCAI 2016, from which batch normalisation is taken.
    """
    depth = count(depth, "depth")
    nodes: dict[str, nn.Layer | nn.Node] = {}
    for level in range(depth):
        nodes[f"encoder{level}"] = _twice(width * 2**level)
        nodes[f"down{level}"] = nn.MaxPool(2, padding="same")
    nodes["bottom"] = _twice(width * 2**depth)
    before = "bottom"
    for level in reversed(range(depth)):
        filters, encoder = width * 2**level, f"encoder{level}"
        up = nn.ConvTranspose(filters, 2, stride=2, padding="same")
        nodes[f"up{level}"] = nn.Node(up, before, like=encoder)
        nodes[f"join{level}"] = nn.Node(nn.Concat(), encoder, f"up{level}")
        nodes[f"decoder{level}"] = _twice(filters)
        before = f"decoder{level}"
    nodes["scores"] = nn.Linear(classes)
    return nn.Graph(nodes)


def _twice(filters: int) -> nn.Layer:
    layers: list[nn.Layer] = []
    for _ in range(2):
        layers += [nn.Conv(filters, 3, padding="same", bias=False), nn.BatchNorm(activation="relu")]
    return nn.Sequential(*layers)
