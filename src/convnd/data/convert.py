"""Stored numbers of any dtype to float32 of physical values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def factor(dtype: str, scale: float | tuple[float, ...] | None) -> Any:
    """What stored numbers are multiplied by, or None.

    The product is computed in float64 and rounded once. By powers of two the product of a narrow integer is exact in
    float32 too, and takes half the time.
    """
    if scale is None:
        return None
    exact = np.atleast_1d(np.asarray(scale, dtype=np.float64))  # one number must not be cast by its value
    narrow = np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize <= 2
    mantissa, exponent = np.frexp(np.abs(exact))
    if narrow and (mantissa == 0.5).all() and (np.abs(exponent) < 100).all():
        return exact.astype(np.float32)
    return exact


def convert(raw: NDArray[Any], out: NDArray[Any], scale: Any) -> None:
    """Stored numbers into ``out``, times the :func:`factor`."""
    if scale is None:
        out[...] = raw
    else:
        np.multiply(raw, scale, out=out, casting="unsafe")
