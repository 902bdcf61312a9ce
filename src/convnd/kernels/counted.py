"""A convolution whose outputs' moments are counted while they are in the cache."""

from __future__ import annotations

from typing import Any

from ..window import Placement
from .checks import Array
from .conv import conv
from .pointwise import Doubles, moments
from .task import Counted


def conv_and_moments(
    x: Array, place: Placement, weight: Array, bias: Array | None = None, **options: Any
) -> tuple[Array, tuple[Doubles, Doubles]]:
    """:func:`conv`, and the mean and the biased variance of each of its channels over all positions, float64 (F,).

    The direct convolutions count them, but for the depthwise one, and so does Winograd's unless phases are its channels
    or its weight is large; where filters don't fill a vector, samples have few outputs, or another way does it, it is
    :func:`moments`. Threads have no say in which it is, so the bits are the same for any number of them.
    Source: Chan, Golub, LeVeque 1983, as for :func:`moments`; the two add in different orders.
    """
    counted: list[Counted] = []
    y = conv(x, place, weight, bias, counted=counted, **options)
    if len(y) == 0 or sum(positions for positions, _ in counted) != len(y):
        return y, moments(y)
    total, (mean, square) = counted[0]
    for positions, (other, more) in counted[1:]:
        share, apart = positions / (total + positions), other - mean
        mean, square, total = mean + apart * share, square + more + apart**2 * (share * total), total + positions
    return y, (mean, square / total)
