"""The layers that are measured: one list, which feeds the timings and a test of their results."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import ArgumentError
from .functions import Array
from .layers import PASSES, BatchNorm, Case, Conv, Layer, Operands, Pass, Pool, ProportionalPool

__all__ = [
    "CASES", "PASSES", "Array", "BatchNorm", "Case", "Conv", "Layer", "Operands", "Pass", "Pool", "ProportionalPool",
    "choose",
]  # fmt: skip

CUBE = (32, 32, 32)
IMAGE = (56, 56)
CASES: tuple[Case, ...] = (
    Conv("1d-first", 16, 1, (16000,), 80, 4, out=64),
    Conv("1d-k3", 16, 64, (4000,), 3, padding=1, out=64),
    Conv("1d-k9", 16, 128, (1000,), 9, padding=4, out=128),
    Conv("1d-long", 4, 16, (16000,), 512, out=16),
    Conv("1d-depthwise", 16, 256, (1000,), 31, padding=15, out=256, groups=256),
    Conv("1d-wavenet", 4, 64, (16000,), 2, dilation=64, out=64),
    Conv("1d-single", 1, 32, (600,), 3, padding=1, out=32),
    Conv("1d-skeleton", 32, 60, (100,), 5, padding=2, out=128),
    Conv("2d-wide", 8, 64, (56, 56), 3, padding=1, out=64),
    Conv("2d-middle", 8, 128, (28, 28), 3, padding=1, out=128),
    Conv("2d-deep", 8, 256, (14, 14), 3, padding=1, out=256),
    Conv("2d-end", 8, 512, (7, 7), 3, padding=1, out=512),
    Conv("2d-k5", 8, 64, (56, 56), 5, padding=2, out=64),
    Conv("2d-first", 8, 3, (224, 224), 7, 2, 3, out=64),
    Conv("2d-last", 4, 64, (128, 128), 3, padding=1, out=3),
    Conv("2d-spectrogram", 16, 1, (128, 64), 3, padding=1, out=16),
    Conv("2d-bands", 16, 16, (64, 32), (3, 32), padding=(1, 0), out=128),
    Conv("2d-1x1", 8, 128, (28, 28), 1, out=128),
    Conv("2d-expand", 8, 32, (56, 56), 1, out=192),
    Conv("2d-depthwise", 8, 128, (56, 56), 3, padding=1, out=128, groups=128),
    Conv("2d-depthwise-s2", 8, 144, (28, 28), 5, 2, 2, out=144, groups=144),
    Conv("2d-grouped", 8, 128, (28, 28), 3, padding=1, out=128, groups=32),
    Conv("2d-dilated", 4, 64, (64, 64), 3, padding=2, dilation=2, out=64),
    Conv("2d-transposed", 8, 64, (28, 28), 4, 2, 1, out=32, transposed=True),
    Conv("2d-edges", 1, 1, (280, 320), (1, 2)),
    Conv("2d-filter", 1, 1, (1024, 1024), 5, padding=2),
    Conv("3d-k3", 2, 32, CUBE, 3, padding=1, out=32),
    Conv("3d-wide", 1, 64, CUBE, 3, padding=1, out=64),
    Conv("3d-narrow", 2, 16, CUBE, 3, padding=1, out=32),
    Conv("3d-stride", 2, 32, CUBE, 3, 2, 1, out=64),
    Conv("3d-first", 2, 1, (64, 64, 64), 3, padding=1, out=16),
    Conv("3d-video", 1, 3, (16, 112, 112), (3, 7, 7), (1, 2, 2), (1, 3, 3), out=32),
    Conv("3d-time", 1, 64, (16, 56, 56), (3, 1, 1), padding=(1, 0, 0), out=64),
    Conv("3d-depthwise", 2, 32, CUBE, 3, padding=1, out=32, groups=32),
    Conv("3d-dilated", 1, 21, (64, 64, 64), 3, padding=2, dilation=2, out=21),
    Conv("3d-transposed", 1, 32, CUBE, 2, 2, out=16, transposed=True),
    Conv("4d-k3", 1, 8, (12, 12, 12, 12), 3, padding=1, out=8),
    Pool("2d-max", 8, 64, (56, 56), 3, 2, 1, mode="max"),
    Pool("2d-mean", 8, 64, (56, 56), 2, 2, mode="mean"),
    Pool("3d-max", 2, 32, CUBE, 3, 2, 1, mode="max"),
    Pool("3d-mean", 2, 32, CUBE, 2, 2, mode="mean"),
    ProportionalPool("2d-proportional", 8, 64, (56, 56), 6, mode="max"),
    ProportionalPool("3d-proportional", 2, 32, CUBE, 6, mode="mean"),
    BatchNorm("1d-norm", 16, 64, (4000,)),
    BatchNorm("2d-norm", 8, 64, (56, 56)),
    BatchNorm("3d-norm", 2, 32, CUBE),
    Layer("2d-relu", 8, 64, IMAGE, "relu"),
    Layer("2d-leaky-relu", 8, 64, IMAGE, "leaky_relu"),
    Layer("2d-sigmoid", 8, 64, IMAGE, "sigmoid"),
    Layer("2d-tanh", 8, 64, IMAGE, "tanh"),
    Layer("2d-elu", 8, 64, IMAGE, "elu"),
    Layer("2d-selu", 8, 64, IMAGE, "selu"),
    Layer("2d-gelu", 8, 64, IMAGE, "gelu"),
    Layer("2d-silu", 8, 64, IMAGE, "silu"),
    Layer("2d-softplus", 8, 64, IMAGE, "softplus"),
    Layer("2d-hard-sigmoid", 8, 64, IMAGE, "hardsigmoid"),
    Layer("2d-hard-swish", 8, 64, IMAGE, "hardswish"),
    Layer("2d-absolute", 8, 64, IMAGE, "absolute"),
    Layer("2d-prelu", 8, 64, IMAGE, "prelu"),
    Layer("2d-softmax", 8, 64, IMAGE, "softmax"),
    Layer("2d-log-softmax", 8, 64, IMAGE, "log_softmax"),
    Layer("2d-dropout", 8, 64, IMAGE, "dropout"),
    Layer("2d-spatial-dropout", 8, 64, IMAGE, "spatial_dropout"),
    Layer("2d-drop-block", 8, 64, IMAGE, "drop_block"),
    Layer("2d-layer-norm", 8, 64, IMAGE, "layer_norm"),
    Layer("2d-instance-norm", 8, 64, IMAGE, "instance_norm"),
    Layer("2d-group-norm", 8, 64, IMAGE, "group_norm"),
    Layer("2d-response-norm", 8, 64, IMAGE, "local_response_norm"),
    Layer("2d-contrast-norm", 8, 64, IMAGE, "local_contrast_norm"),
    Layer("2d-lp-pool", 8, 64, IMAGE, "lp_pool"),
    Layer("2d-weighted-pool", 8, 64, IMAGE, "weighted_pool"),
    Layer("2d-stochastic-pool", 8, 64, IMAGE, "stochastic_pool"),
    Layer("2d-expected-pool", 8, 64, IMAGE, "expected_pool"),
    Layer("2d-pool-channels", 8, 64, IMAGE, "pool_channels"),
    Layer("2d-quadrants", 8, 64, IMAGE, "quadrant_pool"),
    Layer("2d-roi", 8, 64, IMAGE, "roi_pool"),
    Layer("2d-pyramid", 8, 64, IMAGE, "spatial_pyramid_pool"),
    Layer("2d-maxout", 8, 64, IMAGE, "maxout"),
    Layer("2d-unpool", 8, 64, (28, 28), "max_unpool"),
    Layer("1d-k-max", 32, 128, (100,), "k_max_pool"),
    Layer("2d-add", 8, 64, IMAGE, "add"),
    Layer("2d-multiply", 8, 64, IMAGE, "multiply"),
    Layer("2d-scale-channels", 8, 64, IMAGE, "scale_channels"),
    Layer("2d-concat", 8, 64, IMAGE, "concat"),
    Layer("2d-split", 8, 64, IMAGE, "split"),
    Layer("2d-shuffle", 8, 64, IMAGE, "channel_shuffle"),
    Layer("2d-crop", 8, 64, IMAGE, "crop"),
    Layer("2d-crop-like", 8, 64, IMAGE, "crop_like"),
    Layer("2d-pad", 8, 64, IMAGE, "pad"),
    Layer("2d-pad-like", 8, 64, IMAGE, "pad_like"),
    Layer("2d-flatten", 8, 512, (7, 7), "flatten"),
    Layer("2d-resize", 8, 64, (28, 28), "resize"),
    Layer("2d-separable", 8, 64, IMAGE, "separable_conv"),
    Layer("2d-tiled", 8, 64, IMAGE, "tiled_conv", 64),
    Layer("2d-local", 16, 32, (28, 28), "local_conv", 32),
    Layer("2d-tiled-bias", 8, 64, IMAGE, "tiled_bias"),
    Layer("1d-embedding", 32, 10000, (100,), "embedding"),
    Layer("2d-mask-weight", 1, 256, (3, 3, 256), "mask_weight"),
    Layer("2d-weight-norm", 1, 256, (3, 3, 256), "weight_norm"),
)


def choose(patterns: Sequence[str], cases: Sequence[Case] = CASES) -> list[Case]:
    """The cases whose name matches any of the patterns ("3d-*", or a part of a name), in the list's order.

    A whole name chooses that case alone. No pattern chooses all.

    >>> [case.name for case in choose(["1x1", "3d-*k3", "2d-max"])]
    ['2d-1x1', '3d-k3', '2d-max']
    """
    names = {case.name for case in cases}

    def matches(case: Case, pattern: str) -> bool:
        return fnmatchcase(case.name, pattern) or (pattern in case.name and pattern not in names)

    for pattern in patterns:
        if not any(matches(case, pattern) for case in cases):
            raise ArgumentError(f"no case matches {pattern!r}. There are: {', '.join(case.name for case in cases)}")
    return [case for case in cases if not patterns or any(matches(case, pattern) for pattern in patterns)]
