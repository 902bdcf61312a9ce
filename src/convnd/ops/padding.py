"""Padding and cropping: the same sample in a larger or a smaller box.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit. Cropping and padding with zeros are
each other's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout
from ..tensor import Array, Batch, Tensor, X, record
from ..window import axis_lengths, padding_rule, refuse_empty
from ._axes import AxisMap, first_sample, like_layout
from ._operands import batch, give_back, layout_of

PAD_MODES = ("constant", "reflect", "replicate", "circular")
ALIGNMENTS = ("centre", "start")


def pad(x: X, padding: Any, mode: str = "constant", value: float = 0.0) -> X:
    """Positions added around every sample.

    On an axis of S positions, output q reads input p = q - low; where that doesn't exist, it is

    ============  ==============================================================  ===================
    "constant"    ``value``                                                       0 0 [1 2 3] 0 0
    "reflect"     read from the mirror image, the edge not repeated               3 2 [1 2 3] 2 1
    "replicate"   read from the edge, p clipped to 0 ... S - 1 (NumPy's "edge")   1 1 [1 2 3] 3 3
    "circular"    read from the other end, p mod S (NumPy's "wrap")               2 3 [1 2 3] 1 2
    ============  ==============================================================  ===================

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    padding : an int, one int or (low, high) pair an axis
        How many positions before and after.
    mode : "constant", "reflect", "replicate" or "circular"
    value : float
        Of the new positions, with "constant" alone.

    Returns
    -------
    The kind of ``x``, with S + low + high positions on an axis.

    Raises
    ------
    ShapeError
        If a sample has fewer positions than its padding reads: low and high are at most S - 1 with "reflect" and at
        most S with "circular". The message names the sample.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.5.

    Examples
    --------
    >>> x = np.arange(1.0, 4.0).reshape(1, 3, 1)
    >>> pad(x, ((2, 1),), "reflect").ravel().tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    >>> pad(x, 1, value=-1.0).ravel().tolist()
    [-1.0, 1.0, 2.0, 3.0, -1.0]
    """
    t = batch(x)
    layout = layout_of(t)
    pairs = pair_per_axis(padding, layout.ndim, "padding")
    key = ("pad", check_mode(mode, value), pairs)
    maps: list[AxisMap] | None = layout.memo.find(key)
    if maps is None:
        maps = _maps(layout, *_sides(layout, pairs), mode)
        layout.memo.keep(key, maps)
    return give_back(_pad(t, maps, mode, value), x)


def pad_like(x: X, like: Batch | Layout, *, at: str = "centre", mode: str = "constant", value: float = 0.0) -> X:
    """Every sample padded to the shape that it has in another batch.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
    like : batch or Layout
        Of as many samples and axes; no sample is smaller there.
    at : "centre" or "start"
        Where the sample comes to lie. In the centre of an odd rest, the odd position is at the end.
    mode, value
        As for :func:`pad`.

    Raises
    ------
    ShapeError
        If a sample is larger than in ``like``; the message names it.

    Examples
    --------
    >>> x = np.ones((1, 2, 1))
    >>> pad_like(x, np.zeros((1, 5, 1))).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    >>> pad_like(x, np.zeros((1, 5, 1)), at="start").ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    t = batch(x)
    layout, wanted = layout_of(t), like_layout(like, t)
    key = ("pad_like", check_mode(mode, value), at, wanted)
    maps: list[AxisMap] | None = layout.memo.find(key)
    if maps is None:
        maps = _maps(layout, *_rest(wanted, layout, at, "larger than in like", layout, wanted), mode)
        layout.memo.keep(key, maps)
    return give_back(_pad(t, maps, mode, value), x)


def crop(x: X, cropping: Any) -> X:
    """Positions taken off around every sample: S - low - high are left of S.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64.
    cropping : an int, one int or (low, high) pair an axis
        How many positions before and after.

    Raises
    ------
    ShapeError
        If nothing is left of a sample; the message names it.

    Examples
    --------
    >>> crop(np.arange(5.0).reshape(1, 5, 1), ((1, 2),)).ravel().tolist()
    [1.0, 2.0]
    """
    t = batch(x)
    layout = layout_of(t)
    pairs = pair_per_axis(cropping, layout.ndim, "cropping")
    key = ("crop", pairs)
    found: AxisMap | None = layout.memo.find(key)
    if found is None:
        found = AxisMap.crop(layout, cropped(layout, pairs), _sides(layout, pairs)[0])
        layout.memo.keep(key, found)
    return give_back(_crop(t, found), x)


def crop_like(x: X, like: Batch | Layout, *, at: str = "centre") -> X:
    """Every sample cropped to the shape that it has in another batch.

    Parameters
    ----------
    x : ndarray (N, *S, C), Ragged or Tensor
    like : batch or Layout
        Of as many samples and axes; no sample is larger there.
    at : "centre" or "start"
        What is kept. If an odd number of positions goes, the odd one goes at the end.

    Raises
    ------
    ShapeError
        If a sample is smaller than in ``like``; the message names it.

    References
    ----------
    Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015.

    Examples
    --------
    >>> crop_like(np.arange(5.0).reshape(1, 5, 1), np.zeros((1, 2, 1))).ravel().tolist()
    [1.0, 2.0]
    """
    t = batch(x)
    layout, wanted = layout_of(t), like_layout(like, t)
    key = ("crop_like", at, wanted)
    found: AxisMap | None = layout.memo.find(key)
    if found is None:
        found = AxisMap.crop(layout, wanted, _rest(layout, wanted, at, "smaller than in like", layout, wanted)[0])
        layout.memo.keep(key, found)
    return give_back(_crop(t, found), x)


def _crop(x: Tensor, of: AxisMap) -> Tensor:
    return record(of.gather(x.values), of.output, x.kind, (x,), lambda g: (of.put(g, 0.0),))


def cropped(layout: Layout, pairs: tuple[tuple[int, int], ...]) -> Layout:
    """What is left after (low, high) positions of each axis are gone."""
    refuse_empty(layout)
    shapes = layout.shapes - np.array([low + high for low, high in pairs], dtype=np.int64)
    if shapes.size and shapes.min() < 1:
        sample, axis = first_sample(shapes < 1)
        raise ShapeError(
            f"sample {sample}: cropping={pairs!r} leaves nothing of axis {axis}. "
            f"Received: sample of shape {layout.shape(sample)}"
        )
    return Layout.own(shapes)


def _pad(x: Tensor, maps: list[AxisMap], mode: str, value: float) -> Tensor:
    if mode == "constant":
        (back,) = maps
        return record(back.put(x.values, float(value)), back.input, x.kind, (x,), lambda g: (back.gather(g),))
    y, output = x.values, layout_of(x)
    for each in maps:
        y, output = each.gather(y), each.output

    def grad_fn(g: Array) -> tuple[Array]:
        for each in reversed(maps):
            g = each.gather_grad(g)
        return (g,)

    return record(y, output, x.kind, (x,), grad_fn)


def _maps(layout: Layout, low: Ints, high: Ints, mode: str) -> list[AxisMap]:
    """What padding reads: the crop that undoes it with "constant"; else the positions, one axis after the other.

    All axes at once would do as well; but the gradient then lists the outputs that might hold a position, between the
    first and the last, and at an edge of a circle that is everything on an axis.
    """
    refuse_empty(layout)
    if mode == "constant":
        return [AxisMap.crop(Layout.own(layout.shapes + low + high), layout, low)]
    _check_reach(layout, low, high, mode)
    maps: list[AxisMap] = []
    for axis in range(layout.ndim):
        if not (low[:, axis].any() or high[:, axis].any()):
            continue
        shapes = layout.shapes.copy()
        shapes[:, axis] += low[:, axis] + high[:, axis]
        output = Layout.own(shapes)
        rows, q = axis_lengths(output)
        here = rows % layout.ndim == axis
        source = q.copy()
        source[here] = SOURCES[mode](
            (q - low.reshape(-1)[rows])[here], layout.shapes.reshape(-1)[rows[here]]
        )
        maps.append(AxisMap(layout, output, source, (axis,)))
        layout = output
    return maps


def _reflect(p: Ints, size: Ints) -> Ints:
    p = np.abs(p)
    return np.where(p < size, p, 2 * (size - 1) - p)


def _replicate(p: Ints, size: Ints) -> Ints:
    return np.clip(p, 0, size - 1)


def _circular(p: Ints, size: Ints) -> Ints:
    return p % size


SOURCES: dict[str, Callable[[Ints, Ints], Ints]] = {
    "reflect": _reflect,
    "replicate": _replicate,
    "circular": _circular,
}


def _check_reach(layout: Layout, low: Ints, high: Ints, mode: str) -> None:
    if mode == "replicate":
        return
    wrong = np.maximum(low, high) > layout.shapes - (mode == "reflect")
    if wrong.any():
        sample, axis = first_sample(wrong)
        most = int(layout.shapes[sample, axis]) - (mode == "reflect")
        raise ShapeError(
            f"sample {sample}: mode={mode!r} can pad axis {axis} by at most {most}, as there are no more positions to "
            f"read. Received: padding {(int(low[sample, axis]), int(high[sample, axis]))}, "
            f"sample of shape {layout.shape(sample)}"
        )


def check_mode(mode: Any, value: Any) -> str:
    """The mode of a padding, if its value goes with it."""
    if mode not in PAD_MODES:
        raise ArgumentError(f"mode must be one of {', '.join(PAD_MODES)}. Received: mode={mode!r}")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise ArgumentError(f"value must be a number. Received: value={value!r}")
    if mode != "constant" and value != 0:
        raise ArgumentError(f'value goes with mode="constant" alone. Received: value={value!r}, mode={mode!r}')
    return str(mode)


def check_alignment(at: Any) -> str:
    """Where a sample lies in a larger one."""
    if at not in ALIGNMENTS:
        raise ArgumentError(f"at must be one of {', '.join(ALIGNMENTS)}. Received: at={at!r}")
    return str(at)


def pair_per_axis(value: Any, ndim: int, name: str) -> tuple[tuple[int, int], ...]:
    """A (low, high) pair for each axis, none negative, from an int, or one int or pair an axis."""
    try:
        pairs = padding_rule(value, ndim)
    except ArgumentError:
        pairs = ""
    if isinstance(pairs, str) or isinstance(value, bool):
        raise ArgumentError(
            f"{name} must be an int, one int an axis, or a (low, high) pair an axis, none negative; there are {ndim} "
            f"axes. Received: {name}={value!r}"
        )
    return pairs


def _sides(layout: Layout, pairs: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints]:
    """The same (low, high) pairs for all samples, as two (N, ndim)."""
    low, high = np.array(pairs, dtype=np.int64).reshape(layout.ndim, 2).T
    return np.broadcast_to(low, layout.shapes.shape), np.broadcast_to(high, layout.shapes.shape)


def _rest(large: Layout, small: Layout, at: str, what: str, x: Layout, like: Layout) -> tuple[Ints, Ints]:
    """Positions by which ``large`` exceeds ``small``, before and after: both (N, ndim). One is that of ``x``."""
    check_alignment(at)
    rest = large.shapes - small.shapes
    if rest.size and rest.min() < 0:
        sample, _ = first_sample(rest < 0)
        raise ShapeError(
            f"sample {sample} is {what}, where its shape is {like.shape(sample)}. "
            f"Received: sample of shape {x.shape(sample)}"
        )
    low = rest // 2 if at == "centre" else np.zeros_like(rest)
    return low, rest - low
