"""Padding and cropping: the same sample in a larger or a smaller box.

All of it is defined on one sample: op(batch) = concat(op(sample)), to the last bit. Cropping and padding with zeros are
each other's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..axes import AxisTaps, Reads
from ..errors import ArgumentError, ShapeError
from ..layout import Ints, Layout
from ..tensor import Batch, X
from ..window import axis_lengths, padding_rule, refuse_empty
from ._axes import first_sample, like_layout, take
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
    return give_back(take(t, pad_taps(layout_of(t), padding, mode, value), float(value)), x)


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
    taps = pad_like_taps(layout_of(t), like_layout(like, t), at, mode, value)
    return give_back(take(t, taps, float(value)), x)


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
    return give_back(take(t, crop_taps(layout_of(t), cropping)), x)


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
    return give_back(take(t, crop_like_taps(layout_of(t), like_layout(like, t), at)), x)


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


def pad_taps(layout: Layout, padding: Any, mode: str = "constant", value: float = 0.0) -> AxisTaps:
    """What :func:`pad` reads, kept with the layout."""
    pairs = pair_per_axis(padding, layout.ndim, "padding")
    key = ("pad", check_mode(mode, value), pairs)
    return _kept(layout, key, lambda: _pad_taps(layout, *_sides(layout, pairs), mode))


def pad_like_taps(layout: Layout, wanted: Layout, at: str, mode: str = "constant", value: float = 0.0) -> AxisTaps:
    """What :func:`pad_like` reads, kept with the layout."""
    key = ("pad_like", check_mode(mode, value), at, wanted)
    what = "larger than in like"
    return _kept(layout, key, lambda: _pad_taps(layout, *_rest(wanted, layout, at, what, layout, wanted), mode))


def crop_taps(layout: Layout, cropping: Any) -> AxisTaps:
    """What :func:`crop` reads, kept with the layout."""
    pairs = pair_per_axis(cropping, layout.ndim, "cropping")
    return _kept(
        layout, ("crop", pairs), lambda: _crop_taps(layout, cropped(layout, pairs), _sides(layout, pairs)[0])
    )


def crop_like_taps(layout: Layout, wanted: Layout, at: str) -> AxisTaps:
    """What :func:`crop_like` reads, kept with the layout."""
    key, what = ("crop_like", at, wanted), "smaller than in like"
    return _kept(layout, key, lambda: _crop_taps(layout, wanted, _rest(layout, wanted, at, what, layout, wanted)[0]))


def _kept(layout: Layout, key: Any, make: Callable[[], AxisTaps]) -> AxisTaps:
    taps: AxisTaps | None = layout.memo.find(key)
    if taps is None:
        taps = make()
        layout.memo.keep(key, taps)
    return taps


def _crop_taps(layout: Layout, output: Layout, low: Ints) -> AxisTaps:
    """Output q of an axis reads input q + low."""
    return AxisTaps.of(layout, output, lambda input, output: _moved(output, low, lambda p, rows: (p, p >= 0)))


def _pad_taps(layout: Layout, low: Ints, high: Ints, mode: str) -> AxisTaps:
    """What padding reads: nothing outside of the sample with "constant"."""
    refuse_empty(layout)
    if mode != "constant":
        _check_reach(layout, low, high, mode)

    def reads(input: Layout, output: Layout) -> Reads:
        sizes = input.shapes.reshape(-1)

        def source(p: Ints, rows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
            size = sizes[rows]
            if mode == "constant":
                return p, (p >= 0) & (p < size)
            return SOURCES[mode](p, size), np.ones(len(p), dtype=np.bool_)

        return _moved(output, -low, source)

    return AxisTaps.of(layout, Layout.own(layout.shapes + low + high), reads)


def _moved(output: Layout, by: Ints, source: Callable[[Ints, Ints], tuple[Ints, NDArray[np.bool_]]]) -> Reads:
    """One tap for each place q of ``output``: ``source`` gives it, and whether it exists, from q + by and the row."""
    rows, q = axis_lengths(output)
    place, exists = source(q + by.reshape(-1)[rows], rows)
    return place[:, None], exists[:, None].astype(np.float64)


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
