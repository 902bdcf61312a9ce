"""One node of ONNX by convnd's operations: for the tests only. Arrays of ONNX are (N, C, *S), ours (N, *S, C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convnd import ops

Array = np.ndarray
Attributes = dict[str, Any]


class NotOurs(Exception):
    """What convnd doesn't do, and why."""


def last(x: Array) -> Array:
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(y: Array) -> Array:
    """Channels first."""
    return np.moveaxis(y, -1, 1)


def window(attributes: Attributes, rank: int) -> dict[str, Any]:
    """stride, padding and dilation of a node."""
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    pads = attributes.get("pads", [0] * 2 * rank)
    explicit = tuple(zip(pads[:rank], pads[rank:], strict=True))
    padding: Any = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}.get(auto, explicit)
    return {
        "stride": attributes.get("strides", [1] * rank),
        "padding": padding,
        "dilation": attributes.get("dilations", [1] * rank),
    }


def conv(a: Attributes, x: Array, w: Array, b: Array | None = None) -> list[Array]:
    weight = np.moveaxis(w, (0, 1), (-1, -2))
    return [first(ops.conv(last(x), weight, b, groups=a.get("group", 1), **window(a, x.ndim - 2)))]


def conv_transpose(a: Attributes, x: Array, w: Array, b: Array | None = None) -> list[Array]:
    rank = x.ndim - 2
    settings = window(a, rank)
    extra = list(a.get("output_padding", [0] * rank))
    kernel = np.array(w.shape[2:])
    extent = np.array(settings["dilation"]) * (kernel - 1) + 1
    whole = (np.array(x.shape[2:]) - 1) * settings["stride"] + extent
    if "output_shape" in a or isinstance(settings["padding"], str):
        same = np.array(x.shape[2:]) * settings["stride"]
        total = whole + extra - np.array(a.get("output_shape", same))[-rank:]
        if (total < 0).any():  # zeros behind what the windows reach
            extra, total = [int(max(0, -t)) for t in total], np.maximum(total, 0)
        half = total // 2
        low = total - half if settings["padding"] == "same_lower" else half
        settings["padding"] = tuple((int(n), int(t - n)) for n, t in zip(low, total, strict=True))
    weight = np.moveaxis(w, (0, 1), (-1, -2))
    groups = a.get("group", 1)
    if groups > 1:  # (C, M / g, *k) counts the filters of a group
        weight = np.ascontiguousarray(weight)
    return [first(ops.conv_transpose(last(x), weight, b, groups=groups, output_padding=extra, **settings))]


def max_pool(a: Attributes, x: Array, wants_indices: bool = False) -> list[Array]:
    rank, dtype = x.ndim - 2, x.dtype
    settings = {**window(a, rank), "ceil_mode": bool(a.get("ceil_mode", 0))}
    y, index = ops.max_pool(last(x.astype(np.float32)), a["kernel_shape"], return_indices=True, **settings)
    if a.get("storage_order", 0):  # column-major numbers
        at = np.unravel_index(index, x.shape[2:])
        index = np.ravel_multi_index(at[::-1], x.shape[2:][::-1])
    size = int(np.prod(x.shape[2:]))
    lines = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2] + (1,) * rank)
    return [first(y).astype(dtype), first(index) + lines * size]


def average_pool(a: Attributes, x: Array) -> list[Array]:
    rank = x.ndim - 2
    settings = {**window(a, rank), "ceil_mode": bool(a.get("ceil_mode", 0))}
    settings["count_include_pad"] = bool(a.get("count_include_pad", 0))
    return [first(ops.avg_pool(last(x), a["kernel_shape"], **settings))]


def lp_pool(a: Attributes, x: Array) -> list[Array]:
    settings = {**window(a, x.ndim - 2), "ceil_mode": bool(a.get("ceil_mode", 0))}
    return [first(ops.lp_pool(last(x), a["kernel_shape"], a.get("p", 2), **settings))]


def global_pool(mode: str) -> Callable[..., list[Array]]:
    def run(a: Attributes, x: Array) -> list[Array]:
        y = ops.global_pool(last(x), mode)
        return [y.reshape(*y.shape, *[1] * (x.ndim - 2))]

    return run


def max_unpool(a: Attributes, x: Array, index: Array, shape: Array | None = None) -> list[Array]:
    rank = x.ndim - 2
    stride = np.array(a.get("strides", [1] * rank))
    pads = np.array(a.get("pads", [0] * 2 * rank)).reshape(2, rank).sum(axis=0)
    usual = (np.array(x.shape[2:]) - 1) * stride - pads + a["kernel_shape"]
    size = int(np.prod(usual))
    at = last(index % size)
    y = first(ops.max_unpool(last(x), at, like=np.zeros((x.shape[0], *usual, 1), x.dtype)))
    if shape is None or tuple(shape[2:]) == tuple(usual):
        return [y]
    wide = np.zeros(tuple(map(int, shape)), x.dtype)  # the rest is zeros
    wide[(..., *(slice(int(n)) for n in usual))] = y
    return [wide]


def batch_norm(a: Attributes, x: Array, scale: Array, b: Array, mean: Array, var: Array) -> list[Array]:
    eps, training = a.get("epsilon", 1e-5), bool(a.get("training_mode", 0))
    mean, var = mean.astype(x.dtype).copy(), var.astype(x.dtype).copy()
    momentum = 1 - a.get("momentum", 0.9)
    before = var.copy()
    y = ops.batch_norm(last(x), scale, b, mean, var, training=training, momentum=momentum, eps=eps)
    if not training:
        return [first(y)]
    # ONNX keeps the biased variance, we (as PyTorch) the unbiased one.
    count = x.size // x.shape[1]
    batch = (var - (1 - momentum) * before) / momentum * (count - 1) / count
    return [first(y), mean, (1 - momentum) * before + momentum * batch]


def instance_norm(a: Attributes, x: Array, scale: Array, b: Array) -> list[Array]:
    return [first(ops.instance_norm(last(x), scale, b, eps=a.get("epsilon", 1e-5)))]


def group_norm(a: Attributes, x: Array, scale: Array, b: Array) -> list[Array]:
    return [first(ops.group_norm(last(x), a["num_groups"], scale, b, eps=a.get("epsilon", 1e-5)))]


def layer_norm(a: Attributes, x: Array, scale: Array, b: Array | None = None) -> list[Array]:
    axis, eps = a.get("axis", -1) % x.ndim, a.get("epsilon", 1e-5)
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1)
    shift = None if b is None else b.ravel()
    y = ops.layer_norm(flat, scale.ravel(), shift, eps=eps).reshape(x.shape)
    mean = flat.mean(axis=1)
    spread = 1 / np.sqrt(flat.var(axis=1) + np.float32(eps))
    kept = (*x.shape[:axis], *[1] * (x.ndim - axis))
    return [y, mean.reshape(kept), spread.reshape(kept)]


def response_norm(a: Attributes, x: Array) -> list[Array]:
    size = a["size"]
    if size % 2 == 0:
        raise NotOurs("an even size reaches further to the other side")
    settings = {"alpha": a.get("alpha", 1e-4), "beta": a.get("beta", 0.75), "k": a.get("bias", 1.0)}
    return [first(ops.local_response_norm(last(x), size, **settings))]


def pad(a: Attributes, x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> list[Array]:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        a.get("mode", b"constant").decode()
    ]
    chosen = list(range(x.ndim)) if axes is None else [int(axis) % x.ndim for axis in axes]
    pairs = [(0, 0)] * x.ndim
    for number, axis in enumerate(chosen):
        pairs[axis] = (int(pads[number]), int(pads[number + len(chosen)]))
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float32)
    number = 0.0 if value is None else float(np.ravel(value)[0])
    return [ops.pad(x[None, ..., None], tuple(pairs), mode, number)[0, ..., 0]]


def resize(
    a: Attributes, x: Array, roi: Any = None, scales: Array | None = None, sizes: Array | None = None
) -> list[Array]:
    mode, where = a.get("mode", b"nearest").decode(), a.get("coordinate_transformation_mode", b"half_pixel").decode()
    if mode == "cubic":
        raise NotOurs("cubic interpolation")
    if a.get("antialias", 0):
        raise NotOurs("antialiasing: pool or blur before resizing")
    if where == "tf_crop_and_resize":
        raise NotOurs("cropping in one go: crop, then resize")
    if a.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise NotOurs("sizes that follow from a policy: work them out")
    axes = [int(axis) % x.ndim for axis in a.get("axes", range(x.ndim))]
    factors = np.ones(x.ndim)
    target = np.array(x.shape)
    if scales is not None and scales.size:
        factors[axes] = scales
        target = np.floor(target * factors).astype(int)
    elif sizes is not None:
        target[axes] = sizes
        factors = target / np.array(x.shape)
    if (target[:2] != x.shape[:2]).any():
        raise NotOurs("resizing samples or channels")
    if not np.allclose(target, np.array(x.shape) * factors):
        raise NotOurs("a scale that isn't the ratio of the sizes: coordinates follow from the sizes here")
    whole = np.allclose(factors, np.round(factors))
    if mode == "nearest":
        rule = a.get("nearest_mode", b"round_prefer_floor").decode()
        floor = where == "asymmetric" and rule == "floor"
        centre = whole and where == "half_pixel" and rule.startswith("round")  # the same for whole factors
        if not (floor or centre or np.array_equal(target, x.shape)):
            raise NotOurs(f"nearest at {where} coordinates with {rule}: ours is floor(q S / T)")
        return [first(ops.resize(last(x), tuple(map(int, target[2:])), mode="nearest"))]
    if where == "asymmetric" or (where == "pytorch_half_pixel" and (target[2:] == 1).any()):
        raise NotOurs(f"linear at {where} coordinates: ours are half_pixel and align_corners")
    if where == "half_pixel_symmetric":
        raise NotOurs("linear at half_pixel_symmetric coordinates: ours are half_pixel and align_corners")
    corners = where == "align_corners"
    return [first(ops.resize(last(x), tuple(map(int, target[2:])), mode="linear", align_corners=corners))]


def elementwise(function: Callable[[Array], Array], **fixed: tuple[float, float]) -> Callable[..., list[Array]]:
    """A function of one number; attributes that are fixed here: (ONNX's default, ours)."""

    def run(a: Attributes, x: Array) -> list[Array]:
        for name, (usual, ours) in fixed.items():
            if not np.isclose(a.get(name, usual), ours):
                raise NotOurs(f"{name}={a.get(name, usual):g}: ours is {ours:g}")
        return [function(x.reshape(1, -1, 1)).reshape(x.shape)]

    return run


def along_axis(function: Callable[[Array], Array]) -> Callable[..., list[Array]]:
    def run(a: Attributes, x: Array) -> list[Array]:
        axis = a.get("axis", -1)
        moved = np.moveaxis(x, axis, -1)
        return [np.moveaxis(function(np.ascontiguousarray(moved)[None])[0], -1, axis)]

    return run


def leaky_relu(a: Attributes, x: Array) -> list[Array]:
    slope = np.array([a.get("alpha", 0.01)], x.dtype)
    return [ops.prelu(x.reshape(1, -1, 1), slope).reshape(x.shape)]


def prelu(a: Attributes, x: Array, slope: Array) -> list[Array]:
    if slope.shape == x.shape:
        flat = ops.prelu(x.reshape(1, 1, -1), slope.ravel())
        return [flat.reshape(x.shape)]
    slopes = np.broadcast_to(slope.reshape((1,) * (x.ndim - slope.ndim) + slope.shape), x.shape)
    return [ops.prelu(x.reshape(1, 1, -1), np.ascontiguousarray(slopes).ravel()).reshape(x.shape)]


def gelu(a: Attributes, x: Array) -> list[Array]:
    if a.get("approximate", b"none") != b"none":
        raise NotOurs("the approximation by tanh: ours is exact")
    return [ops.gelu(x.reshape(1, -1, 1)).reshape(x.shape)]


def nothing(reason: str) -> Callable[..., list[Array]]:
    def run(a: Attributes, *inputs: Array) -> list[Array]:
        raise NotOurs(reason)

    return run


NODES: dict[str, Callable[..., list[Array]]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_pool("mean"),
    "GlobalMaxPool": global_pool("max"),
    "MaxUnpool": max_unpool,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "LRN": response_norm,
    "Resize": resize,
    "Pad": pad,
    "Softmax": along_axis(ops.softmax),
    "LogSoftmax": along_axis(ops.log_softmax),
    "Relu": elementwise(ops.relu),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elementwise(ops.elu, alpha=(1.0, 1.0)),
    "Celu": elementwise(ops.elu, alpha=(1.0, 1.0)),
    "Selu": elementwise(ops.selu, alpha=(1.6732632, 1.6732632), gamma=(1.0507010, 1.0507010)),
    "Gelu": gelu,
    "Swish": elementwise(ops.silu, alpha=(1.0, 1.0)),
    "Sigmoid": elementwise(ops.sigmoid),
    "HardSigmoid": elementwise(ops.hardsigmoid, alpha=(0.2, 1 / 6), beta=(0.5, 0.5)),
    "HardSwish": elementwise(ops.hardswish),
    "Softplus": elementwise(ops.softplus),
    "Tanh": elementwise(ops.tanh),
    "Abs": elementwise(ops.absolute),
    "Mish": nothing("no such activation"),
    "ThresholdedRelu": nothing("no such activation"),
    "RoiAlign": nothing("bilinear samples in boxes: roi_pool pools whole positions"),
}
