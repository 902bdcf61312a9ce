"""Receptive fields by gradient: which inputs one output really depends on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..nn import AvgPool, Linear, PoolChannels, from_config
from ..nn.layer import Layer
from ..nn.pool import _Pool
from ..nn.spec import Mode, Spec
from ..tensor import Array, Tensor, record
from ..window import per_axis
from .connections import given_spec
from .receptive import Fields, Row, receptive_fields
from .rules import POINTWISE, WHOLE, refuse_by_value, unwrapped, walk

# Of a gradient that counts as one. All that really flows is a count of ways, or one over a pool's positions; what isn't
# there may come out of Fourier transforms as a rounding error.
LEAST = 1e-7


def seen_by_gradient(net: Layer, shape: tuple[int, ...], positions: Any, layer: str | None = None) -> Array:
    """Which inputs have a gradient other than 0 for one output, whatever the rule of the receptive field says.

    The gradient of the outputs at a position, all channels of it, is followed back through a copy of the network in
    which nothing can cancel or block it: all weights are 1, activations and the like are left out, and the mean stands
    for the largest value, as any of a window's values may be the largest. What normalises by a sample's statistics
    passes a gradient to all of the sample. After each layer the gradient is set to 1 where there is any, so depth can't
    wear it out.

    Parameters
    ----------
    net : Layer
        Built or not; it isn't changed.
    shape : tuple of ints
        (*S, C), the sample's spatial shape and its channels.
    positions : sequence of N positions
        Each one int an axis of the output, () where it has none.
    layer : str, optional
        The path of the layer whose output is asked about, as :func:`receptive_fields` lists it; the net's unless given.

    Returns
    -------
    bool (N, *S)

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, sections 6.5 and 9.2; Luo, Li, Urtasun, Zemel, "Understanding the
    effective receptive field in deep convolutional neural networks", NIPS 2016, section 2.

    Examples
    --------
    >>> from convnd import nn
    >>> net = nn.Sequential(nn.Conv(4, 3, activation="relu"), nn.Conv(1, 2, dilation=3))
    >>> seen_by_gradient(net, (9, 1), [(0,), (3,)]).astype(int).tolist()
    [[1, 1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1, 1]]
    """
    given = given_spec(shape)
    positions = [tuple(np.atleast_1d(position).tolist()) for position in positions]
    if not positions:
        raise ArgumentError("positions must hold at least one position. Received: none")
    x = Tensor(np.ones((len(positions), *(given.shape or ()), given.channels)), requires_grad=True)
    outputs: dict[str, Tensor] = {}

    def leaf(part: Layer, inputs: tuple[Tensor, ...], path: str) -> Tensor:
        result = _transparent(part, tuple(_level(t) for t in inputs))
        outputs[path or type(part).__name__.lower()] = result
        return result

    result = walk(net, (x,), "", leaf)
    if layer is not None and layer not in outputs:
        raise ArgumentError(f"layer must be one of {', '.join(outputs)}. Received: layer={layer!r}")
    result = result if layer is None else outputs[layer]
    _level(result).backward(_seed(result, positions))
    return np.asarray((np.abs(x.grad) > LEAST).any(axis=-1))


def confirm_receptive_fields(net: Layer, shape: tuple[int, ...]) -> Fields:
    """:func:`receptive_fields`, after a check of every layer's rule against gradients.

    For the first, the middle and the last output along the axes of every layer, the inputs with a gradient must reach
    from end to end of what the rule says, and no further. (Dilation and strides may leave gaps in between.)

    Raises
    ------
    AssertionError
        If they don't; it names the layer and the output.

    Examples
    --------
    >>> from convnd import nn
    >>> confirm_receptive_fields(nn.Sequential(nn.Conv(2, 3), nn.AvgPool(2)), (12, 1)).output.size
    (4,)
    """
    fields = receptive_fields(net, shape)
    for row in fields:
        sizes = row.output[:-1]
        positions = sorted({tuple(of(size) for size in sizes) for of in (_first, _middle, _last)})
        seen = seen_by_gradient(net, shape, positions, row.path)
        for position, mask in zip(positions, seen, strict=True):
            _check(row, position, mask)
    return fields


def _first(size: int) -> int:
    return 0


def _middle(size: int) -> int:
    return size // 2


def _last(size: int) -> int:
    return size - 1


def _check(row: Row, position: tuple[int, ...], mask: Array) -> None:
    rule = row.field.inputs(position)
    where = np.argwhere(mask)
    ends = zip(where.min(axis=0).tolist(), where.max(axis=0).tolist(), strict=True) if len(where) else ()
    found = tuple(slice(a, b + 1) for a, b in ends) if len(where) else (slice(0, 0),) * mask.ndim
    if found != rule:
        raise AssertionError(
            f"{row.path}: the output at {position} should see {_ranges(rule)}, its gradient reaches {_ranges(found)}"
        )


def _ranges(slices: tuple[slice, ...]) -> str:
    return " x ".join(f"[{s.start}, {s.stop})" for s in slices)


def _seed(result: Tensor, positions: list[tuple[int, ...]]) -> Array:
    values: Array = np.zeros_like(result.numpy())
    shape = values.shape[1:-1]
    for number, position in enumerate(positions):
        at = per_axis(position, len(shape), "position", least=0)
        if any(q >= size for q, size in zip(at, shape, strict=True)):
            raise ArgumentError(f"position must lie in the output, of shape {shape}. Received: {position!r}")
        values[(number, *at)] = 1
    return values


def _level(x: Tensor) -> Tensor:
    """Ones; and on the way back, ones wherever there is a gradient."""
    return record(np.ones_like(x.values), x.layout, x.kind, (x,), lambda g: ((np.abs(g) > LEAST).astype(g.dtype),))


def _transparent(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
    """What a layer would give if any path through it carried a positive gradient."""
    layer = unwrapped(layer)
    refuse_by_value(layer)
    x = inputs[0]
    layout = x.layout
    assert layout is not None
    spec = Spec(layout.ndim, x.channels, layout.shape(0))
    if isinstance(layer, POINTWISE):
        channels = layer.output(spec).channels
        if channels == x.channels:
            return x
        layer = Linear(channels)
    if isinstance(layer, WHOLE) and layer.output(spec).ndim:
        return record(x.values, layout, x.kind, (x,), lambda g: (_all_of_a_sample(g, len(layout)),))
    if isinstance(layer, _Pool) and not isinstance(layer, PoolChannels):
        layer = AvgPool(**layer.arguments())
    config = layer.config()
    config.pop("activation", None)
    if config.get("mode") == "max":
        config["mode"] = "mean"
    twin = from_config(config)
    if not twin.built:
        twin.build(spec.ndim, spec.channels, shape=spec.shape, dtype="float64").freeze()
    for name, parameter in twin.named_parameters().items():
        parameter.assign(np.full_like(parameter.values, 0 if name == "bias" else 1))
    return twin.run(*inputs, mode=Mode())


def _all_of_a_sample(g: Array, samples: int) -> Array:
    """Ones wherever a sample has any gradient."""
    some = np.abs(g).reshape(samples, -1).max(axis=1) > LEAST
    return np.repeat(some, len(g) // samples)[:, None] * np.ones_like(g)
