"""Every public operation: what it takes, and where it is checked. Run as a script, it prints docs/operations.md.

tests/test_operations.py runs every entry in ranks 1 to 4: the law on samples of different sizes, gradients in float64,
both dtypes; and it fails where a public operation has no entry, or an entry no oracle or benchmark and no reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convnd import Layout, Ragged, Tensor, ops
from convnd.bench.cases import CASES
from convnd.random import Key

Call = Callable[..., Any]  # (x, *parameters) -> result
CHANNELS = 4


@dataclass(frozen=True)
class Operation:
    """An operation's entry. A text instead of True is the reason why not."""

    make: Callable[[int, Any], tuple[Call, list[Any]]]  # (rank, draw) -> the call and its parameters
    layer: str  # or why there is none
    oracle: str  # "library: test file", or why there is none
    bench: str  # a case of convnd.bench, or why there is none
    ragged: bool | str = True
    gradient: bool | str = True
    ranks: bool | str = True


def plain(call: Call) -> Callable[[int, Any], tuple[Call, list[Any]]]:
    """Without parameters."""
    return lambda ndim, draw: (call, [])


def layout(x: Any) -> Layout:
    """Of any kind of batch."""
    if isinstance(x, np.ndarray):
        return Layout.dense(len(x), x.shape[1:-1])
    found: Layout = x.layout
    return found


def changed(x: Any, by: int) -> Layout:
    """The layout with so many positions more on every axis."""
    return Layout(layout(x).shapes + by)


def conv(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return lambda x, w, b: ops.conv(x, w, b, padding="same"), [draw(*[3] * ndim, CHANNELS, 5), draw(5)]


def conv_transpose(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return lambda x, w: ops.conv_transpose(x, w, stride=2), [draw(*[2] * ndim, 3, CHANNELS)]


def conv_weight(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    def call(x: Any) -> Any:
        grad = Tensor.of(np.ones((layout(x).positions, 2), x.values.dtype), layout(x), "ragged")
        return ops.conv_weight(x, grad, 3, padding="same")

    return call, []


def tiled_conv(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return lambda x, w: ops.tiled_conv(x, w, padding="same"), [draw(*[2] * ndim, *[2] * ndim, CHANNELS, 3)]


def local_conv(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return ops.local_conv, [draw(*[SIZE - 1] * ndim, *[2] * ndim, CHANNELS, 3)]


def separable_conv(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    vectors = [draw(2, 3) for _ in range(ndim)]  # constants
    return lambda x: ops.separable_conv(x, vectors, padding="same"), []


def norm(call: Call) -> Callable[[int, Any], tuple[Call, list[Any]]]:
    """With gamma and beta."""
    return lambda ndim, draw: (call, [draw(CHANNELS), draw(CHANNELS)])


def batch_norm(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    mean, var = draw(CHANNELS), abs(draw(CHANNELS)) + 1
    return lambda x, gamma, beta: ops.batch_norm(x, gamma, beta, mean, var), [draw(CHANNELS), draw(CHANNELS)]


def max_unpool(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    def call(x: Any) -> Any:
        y, index = ops.max_pool(x, 2, return_indices=True)
        return ops.max_unpool(y, index, like=layout(x))

    return call, []


def roi_pool(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    def call(x: Any) -> Any:
        ends = np.stack([np.zeros_like(layout(x).shapes) + 1, layout(x).shapes], axis=-1)
        boxes = Ragged(ends.reshape(len(ends), -1), Layout(np.ones((len(ends), 1), dtype=np.int64)))
        return ops.roi_pool(x, boxes, 2, "mean")

    return call, []


def scale_channels(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return lambda x: ops.scale_channels(x, ops.global_pool(x)), []


def embedding(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    def call(x: Any, table: Any) -> Any:
        if isinstance(x, np.ndarray):
            return ops.embedding((np.abs(x[..., 0]) * 3).astype(np.int64) % 5, table)
        numbers = (np.abs(x.values[:, :1]) * 3).astype(np.int64) % 5
        return ops.embedding(Ragged(numbers, layout(x)), table)

    return call, [draw(5, 3)]


def masked(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    mask = np.arange(CHANNELS * 3).reshape(CHANNELS, 3) % 2 == 0
    return lambda x, w: ops.conv(x, ops.mask_weight(w, mask)), [draw(*[2] * ndim, CHANNELS, 3)]


def weight_norm(ndim: int, draw: Any) -> tuple[Call, list[Any]]:
    return lambda x, v, g: ops.conv(x, ops.weight_norm(v, g)), [draw(*[2] * ndim, CHANNELS, 3), draw(3)]


SIZE = 4  # of the samples of operations that need one shape
KEY = Key(3)
RANDOM = "the mask is drawn by the sample's number in the batch"


def activation(name: str, bench: str, oracle: str = "PyTorch: test_parity.py") -> Operation:
    """A pointwise function."""
    return Operation(plain(lambda x: getattr(ops, name)(x)), "Activation", oracle, bench)


OPERATIONS: dict[str, Operation] = {
    "absolute": activation("absolute", "2d-absolute", "PyTorch: test_activations.py"),
    "activate": Operation(plain(lambda x: ops.activate(x, "gelu")), "Activation", "PyTorch: test_ops.py", "2d-relu"),
    "add": Operation(plain(lambda x: ops.add([x, x])), "Add", "PyTorch: test_nn_numeric.py", "2d-add"),
    "avg_pool": Operation(plain(lambda x: ops.avg_pool(x, 2)), "AvgPool", "PyTorch: test_ops.py", "2d-mean"),
    "batch_norm": Operation(batch_norm, "BatchNorm", "PyTorch: test_ops.py", "2d-norm"),
    "channel_shuffle": Operation(
        plain(lambda x: ops.channel_shuffle(x, 2)), "ChannelShuffle", "PyTorch: test_channels.py", "2d-shuffle"
    ),
    "concat": Operation(plain(lambda x: ops.concat([x, x])), "Concat", "NumPy: test_ops.py", "2d-concat"),
    "conv": Operation(conv, "Conv", "PyTorch: test_ops.py", "2d-wide"),
    "conv_transpose": Operation(conv_transpose, "ConvTranspose", "PyTorch: test_ops.py", "2d-transposed"),
    "conv_weight": Operation(
        conv_weight, "no layer: it is Conv's gradient", "PyTorch: test_reference.py", "2d-wide",
        ragged="it sums over the batch: on ragged batches, but not sample by sample",
    ),
    "crop": Operation(plain(lambda x: ops.crop(x, 1)), "Crop", "NumPy: test_padding.py", "2d-crop"),
    "crop_like": Operation(
        plain(lambda x: ops.crop_like(x, changed(x, -1))), "CropLike", "NumPy: test_padding.py", "2d-crop-like"
    ),
    "drop_block": Operation(
        plain(lambda x: ops.drop_block(x, 2, 0.2, KEY)), "DropBlock", "no library draws the same numbers",
        "2d-drop-block",
        ragged=RANDOM,
    ),
    "dropout": Operation(
        plain(lambda x: ops.dropout(x, 0.3, KEY)), "Dropout", "no library draws the same numbers", "2d-dropout",
        ragged=RANDOM,
    ),
    "elu": activation("elu", "2d-elu"),
    "embedding": Operation(embedding, "Embedding", "PyTorch: test_embedding.py", "1d-embedding"),
    "flatten": Operation(
        plain(ops.flatten), "Flatten", "NumPy: test_ops.py", "2d-flatten", ragged="it is for samples of one shape"
    ),
    "gelu": activation("gelu", "2d-gelu"),
    "global_pool": Operation(plain(ops.global_pool), "GlobalPool", "PyTorch: test_ops.py", "2d-proportional"),
    "group_norm": Operation(
        norm(lambda x, g, b: ops.group_norm(x, 2, g, b)), "GroupNorm", "PyTorch: test_norms.py", "2d-group-norm"
    ),
    "hardsigmoid": activation("hardsigmoid", "2d-hard-sigmoid", "PyTorch: test_activations.py"),
    "hardswish": activation("hardswish", "2d-hard-swish", "PyTorch: test_activations.py"),
    "instance_norm": Operation(norm(ops.instance_norm), "InstanceNorm", "PyTorch: test_norms.py", "2d-instance-norm"),
    "k_max_pool": Operation(
        plain(lambda x: ops.k_max_pool(x, 2)), "KMaxPool", "PyTorch: test_pooling_regions.py", "1d-k-max"
    ),
    "layer_norm": Operation(norm(ops.layer_norm), "LayerNorm", "PyTorch: test_norms.py", "2d-layer-norm"),
    "leaky_relu": activation("leaky_relu", "2d-leaky-relu"),
    "linear": Operation(
        lambda ndim, draw: (ops.linear, [draw(CHANNELS, 3), draw(3)]), "Linear", "PyTorch: test_nn_numeric.py", "2d-1x1"
    ),
    "local_contrast_norm": Operation(
        plain(lambda x: ops.local_contrast_norm(x, 3)), "LocalContrastNorm", "SciPy: test_norms.py", "2d-contrast-norm"
    ),
    "local_conv": Operation(
        local_conv, "LocalConv", "JAX: test_tiled.py", "2d-local",
        ragged="it is for samples of one shape",
    ),
    "local_response_norm": Operation(
        plain(lambda x: ops.local_response_norm(x, 3)), "LocalResponseNorm", "PyTorch: test_norms.py",
        "2d-response-norm",
    ),
    "log_softmax": activation("log_softmax", "2d-log-softmax"),
    "lp_pool": Operation(
        plain(lambda x: ops.lp_pool(x, 2, 3.0)), "LpPool", "PyTorch: test_pooling_windows.py", "2d-lp-pool"
    ),
    "mask_weight": Operation(masked, "MaskedConv", "NumPy: test_channels.py", "2d-mask-weight"),
    "max_pool": Operation(plain(lambda x: ops.max_pool(x, 2)), "MaxPool", "PyTorch: test_ops.py", "2d-max"),
    "max_unpool": Operation(max_unpool, "MaxUnpool", "PyTorch: test_pooling_windows.py", "2d-unpool"),
    "maxout": Operation(plain(lambda x: ops.maxout(x, 2)), "Maxout", "NumPy: test_pooling_regions.py", "2d-maxout"),
    "multiply": Operation(
        plain(lambda x: ops.multiply([x, x])), "Multiply", "NumPy: test_channels.py", "2d-multiply"
    ),
    "pad": Operation(plain(lambda x: ops.pad(x, 1, "reflect")), "Pad", "PyTorch: test_padding.py", "2d-pad"),
    "pad_like": Operation(
        plain(lambda x: ops.pad_like(x, changed(x, 1))), "PadLike", "NumPy: test_padding.py", "2d-pad-like"
    ),
    "pool_channels": Operation(
        plain(lambda x: ops.pool_channels(x, [0, 2], 2)), "PoolChannels", "NumPy: test_pooling_regions.py",
        "2d-pool-channels",
    ),
    "prelu": Operation(
        lambda ndim, draw: (ops.prelu, [draw(CHANNELS)]), "PReLU", "PyTorch: test_activations.py", "2d-prelu"
    ),
    "proportional_pool": Operation(
        plain(lambda x: ops.proportional_pool(x, 2)), "ProportionalPool", "PyTorch: test_ops.py", "2d-proportional"
    ),
    "quadrant_pool": Operation(
        plain(ops.quadrant_pool), "QuadrantPool", "NumPy: test_pooling_regions.py", "2d-quadrants"
    ),
    "relu": activation("relu", "2d-relu"),
    "resize": Operation(
        plain(lambda x: ops.resize(x, scale=1.5, mode="linear")), "Resize", "PyTorch: test_resize.py", "2d-resize"
    ),
    "roi_pool": Operation(roi_pool, "RoiPool", "NumPy: test_pooling_regions.py", "2d-roi"),
    "scale_channels": Operation(scale_channels, "ScaleChannels", "NumPy: test_channels.py", "2d-scale-channels"),
    "selu": activation("selu", "2d-selu", "PyTorch: test_activations.py"),
    "separable_conv": Operation(separable_conv, "SeparableConv", "NumPy: test_separable.py", "2d-separable"),
    "separate": Operation(
        plain(lambda x: x), "no layer: it takes a kernel apart", "NumPy: test_separable.py",
        "it runs once, before training",
        ragged="it takes a kernel, no batch", gradient="it finds the best vectors; they are trained afterwards",
        ranks="kernels of every rank: test_separable.py",
    ),
    "sigmoid": activation("sigmoid", "2d-sigmoid"),
    "silu": activation("silu", "2d-silu"),
    "softmax": activation("softmax", "2d-softmax"),
    "softplus": activation("softplus", "2d-softplus"),
    "spatial_dropout": Operation(
        plain(lambda x: ops.spatial_dropout(x, 0.3, KEY)), "SpatialDropout", "no library draws the same numbers",
        "2d-spatial-dropout",
        ragged=RANDOM,
    ),
    "spatial_pyramid_pool": Operation(
        plain(lambda x: ops.spatial_pyramid_pool(x, (1, 2))), "SpatialPyramidPool", "PyTorch: test_pooling_regions.py",
        "2d-pyramid",
    ),
    "split": Operation(
        plain(lambda x: ops.concat(ops.split(x, [1, 3])[::-1])), "no layer: a network's parts have one result each",
        "NumPy: test_channels.py", "2d-split",
    ),
    "stochastic_pool": Operation(
        plain(lambda x: ops.stochastic_pool(ops.relu(x), 2)), "StochasticPool", "NumPy: test_pooling_windows.py",
        "2d-stochastic-pool",
    ),
    "tanh": activation("tanh", "2d-tanh"),
    "tiled_bias": Operation(
        lambda ndim, draw: (ops.tiled_bias, [draw(*[2] * ndim, CHANNELS)]), "Bias", "NumPy: test_tiled.py",
        "2d-tiled-bias",
    ),
    "tiled_conv": Operation(
        tiled_conv, "TiledConv", "NumPy: test_tiled.py", "2d-tiled"
    ),
    "weight_norm": Operation(weight_norm, "WeightNorm", "PyTorch: test_norms.py", "2d-weight-norm"),
    "weighted_pool": Operation(
        plain(lambda x: ops.weighted_pool(x, 3)), "WeightedPool", "NumPy: test_pooling_windows.py", "2d-weighted-pool"
    ),
}

HEAD = """# Operations

Every function of `convnd.ops`: each takes an ndarray, a Ragged or a Tensor. Made by `python tests/operations.py`;
`tests/test_operations.py` runs every "yes" of it, in ranks 1 to 4, and holds this page to the code.

Ragged: op(batch) = concat(op(sample)) to the last bit on samples of different sizes. Oracle: the library that values
are compared with, and the test. Benchmark: the case of `convnd bench`.

| operation | layer | ranks 1-4 | ragged | gradient | float64 | oracle | benchmark |
|---|---|---|---|---|---|---|---|
"""


def table() -> str:
    """docs/operations.md."""

    def cell(answer: bool | str) -> str:
        return "yes" if answer is True else f"n/a: {answer}"

    names = {case.name for case in CASES}
    lines = []
    for name, op in sorted(OPERATIONS.items()):
        layer = f"n/a: {op.layer.removeprefix('no layer: ')}" if op.layer.startswith("no layer") else f"`nn.{op.layer}`"
        oracle = op.oracle if ": test_" in op.oracle else f"n/a: {op.oracle}"
        bench = f"`{op.bench}`" if op.bench in names else f"n/a: {op.bench}"
        cells = [f"`{name}`", layer, cell(op.ranks), cell(op.ragged), cell(op.gradient), "yes", oracle, bench]
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
