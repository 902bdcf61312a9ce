"""A network of convnd in PyTorch: the same layers, with copies of the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..nn import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalPool,
    Layer,
    Linear,
    MaxPool,
    Sequential,
)
from ..window import Window
from .functions import Array
from .peers import FIRST, LAST, memory_format, torch_module


def torch_twin(net: Sequential, layout: str = FIRST) -> Any:
    """The built network in PyTorch, layer by layer, with copies of its weights.

    Layers: Conv and pools with paddings that PyTorch has (the same on both sides), BatchNorm, Activation, GlobalPool,
    Flatten, Linear. ArgumentError names a layer that has no twin.
    """
    torch = torch_module()

    modules: list[Any] = []
    rank = _rank(net)
    flat = layout == LAST and rank == 1  # a row of an image
    for _, layer in net.children():
        modules += _modules(layer, rank, flat)
    model = torch.nn.Sequential(*modules)
    if rank + flat > 1:
        model = model.to(memory_format=memory_format(rank + flat, layout))
    return model.train()


def _rank(net: Layer) -> int:
    for _, layer in net.walk():
        if layer.input is not None:
            return layer.input.ndim
    raise ArgumentError(f"net must be built, and have parameters. Received: {net!r}")


def _modules(layer: Layer, rank: int, flat: bool) -> list[Any]:
    """The modules of a layer; ``flat`` puts an axis of one position before those it has."""
    nn = torch_module().nn

    axes = rank + flat
    if isinstance(layer, Conv):
        return [_conv(layer, rank, flat), *_activation(layer.activation)]
    if isinstance(layer, (MaxPool, AvgPool)):
        return [_pool(layer, rank, flat)]
    if isinstance(layer, BatchNorm):
        return [_batch_norm(layer, axes), *_activation(layer.activation)]
    if isinstance(layer, GlobalPool) and layer.mode in ("mean", "max"):
        pool = getattr(nn, f"Adaptive{'Avg' if layer.mode == 'mean' else 'Max'}Pool{axes}d")
        return [pool(1), nn.Flatten()]
    if isinstance(layer, Flatten):
        return [_channels_to_the_end(), nn.Flatten()]
    if isinstance(layer, Linear) and layer.input is not None and layer.input.ndim == 0:
        return [_linear(layer), *_activation(layer.activation)]
    if isinstance(layer, Activation):
        return _activation(layer.function)
    raise ArgumentError(f"PyTorch's twin knows no such layer. Received: {layer!r}")


def _conv(layer: Conv, rank: int, flat: bool) -> Any:
    nn = torch_module().nn

    window = layer.window(rank)
    values, channels = layer.params["weight"].values, layer.input.channels  # type: ignore[union-attr]
    conv = getattr(nn, f"Conv{rank + flat}d")(
        channels,
        values.shape[-1],
        _all(window.kernel, flat),
        _all(window.stride, flat),
        _pairs(layer, window, flat),
        _all(window.dilation, flat),
        layer.split(channels)[0],
        bias="bias" in layer.params,
    )
    moved = np.moveaxis(values, (-1, -2), (0, 1))
    _fill(conv.weight, moved[:, :, None] if flat else moved)
    if conv.bias is not None:
        _fill(conv.bias, layer.params["bias"].values)
    return conv


def _linear(layer: Linear) -> Any:
    values = layer.params["weight"].values
    linear = torch_module().nn.Linear(values.shape[0], values.shape[1], bias="bias" in layer.params)
    _fill(linear.weight, values.T)
    if linear.bias is not None:
        _fill(linear.bias, layer.params["bias"].values)
    return linear


def _pool(layer: MaxPool | AvgPool, rank: int, flat: bool) -> Any:
    stride = layer.size if layer.stride is None else layer.stride
    window = Window.of(rank, layer.size, stride, layer.padding, layer.dilation, name="size")
    extra: dict[str, Any] = {"dilation": _all(window.dilation, flat)}
    if isinstance(layer, AvgPool):
        if max(window.dilation) > 1:
            raise ArgumentError(f"PyTorch's average pool has no dilation. Received: {layer!r}")
        extra = {"count_include_pad": False}
    module = getattr(torch_module().nn, f"{type(layer).__name__}{rank + flat}d")
    return module(
        _all(window.kernel, flat),
        _all(window.stride, flat),
        _pairs(layer, window, flat),
        ceil_mode=layer.ceil_mode,
        **extra,
    )


def _batch_norm(layer: BatchNorm, axes: int) -> Any:
    nn = torch_module().nn

    gamma = layer.params["gamma"].values
    norm = getattr(nn, f"BatchNorm{max(axes, 1)}d")(len(gamma), eps=layer.eps, momentum=layer.momentum)
    _fill(norm.weight, gamma)
    _fill(norm.bias, layer.params["beta"].values)
    _fill(norm.running_mean, layer.buffers["running_mean"])
    _fill(norm.running_var, layer.buffers["running_var"])
    return norm


def _activation(name: str | None) -> list[Any]:
    nn = torch_module().nn

    if name is None:
        return []
    known: Mapping[str, Callable[[], Any]] = {
        "relu": lambda: nn.ReLU(inplace=True),
        "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "elu": nn.ELU,
        "gelu": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
    }
    if name not in known:
        raise ArgumentError(f"PyTorch's twin knows no such activation. Received: {name!r}")
    return [known[name]()]


def _channels_to_the_end() -> Any:
    """A module that orders (N, C, *S) as convnd flattens it: channels last."""
    module: Any = torch_module().nn.Module

    class ChannelsToTheEnd(module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.movedim(1, -1)

    return ChannelsToTheEnd()


def _pairs(layer: Layer, window: Window, flat: bool) -> tuple[int, ...]:
    """The padding of each axis, where it is the same on both sides whatever the size."""
    ends = window.padding
    if isinstance(ends, str):
        reach = [extent - 1 for extent in window.extent]
        if ends == "valid":
            ends = tuple((0, 0) for _ in reach)
        elif ends == "full":
            ends = tuple((most, most) for most in reach)
        elif ends == "same" and set(window.stride) == {1}:
            ends = tuple((most // 2, most - most // 2) for most in reach)
    if isinstance(ends, str) or any(low != high for low, high in ends):
        raise ArgumentError(f"PyTorch has no padding that differs from side to side. Received: {layer!r}")
    return _all([low for low, _ in ends], flat, there=0)


def _all(values: Iterable[int], flat: bool, there: int = 1) -> tuple[int, ...]:
    return (*((there,) if flat else ()), *values)


def _fill(parameter: Any, values: Array) -> None:
    torch = torch_module()

    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
