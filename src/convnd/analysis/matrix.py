"""A convolution as the matrix it is."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..kernels import window_regions
from ..ops._operands import fixed
from ..tensor import Array, Tensor
from ..window import Window, per_axis
from .connections import check_groups, meetings, one_sample, weight_entries


def toeplitz(
    weight: Array | Tensor,
    shape: Any,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
) -> Any:
    """The matrix of a convolution on a sample of spatial shape S: ``toeplitz(w, S) @ x.ravel() = conv(x, w).ravel()``.

    Row (q, f) has weight[j, c, f] in column (q stride + j dilation - low, c), wherever that position exists. With one
    axis, one channel and stride 1 each row is the one above shifted by one: a Toeplitz matrix. With two axes it is
    doubly block Toeplitz (doubly block circulant in the book, if the sample were continued periodically). Its transpose
    is the transposed convolution.

    Parameters
    ----------
    weight : (*kernel, C / groups, F), array or parameter
        float32 or float64.
    shape : int or tuple of ints
        The sample's spatial shape S, without the channels.
    stride, padding, dilation, groups, flip
        As :func:`convnd.ops.conv` has them.

    Returns
    -------
    scipy.sparse.csr_array of (outputs * F, inputs * C), in the dtype of the weight: positions with the last axis
    fastest, channels last. Every weight under the window is stored, also one that is 0.

    Raises
    ------
    ShapeError
        If the weight isn't (*kernel, C / groups, F), or the sample is too short for the window.
    ImportError
        If scipy isn't installed: ``pip install "convnd[analysis]"``.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.1.

    Examples
    --------
    >>> toeplitz(np.array([1.0, -1.0]).reshape(2, 1, 1), 4).toarray().astype(int).tolist()
    [[1, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1]]
    """
    sparse = _sparse()
    w = fixed(weight, "weight").values
    if w.ndim < 2 or 0 in w.shape:
        raise ShapeError(f"weight must be (*kernel, C / groups, F). Received: weight of shape {w.shape}")
    ndim, terms, filters = w.ndim - 2, *w.shape[-2:]
    groups = check_groups(groups, filters)
    place = Window.of(ndim, w.shape[:-2], stride, padding, dilation).on(one_sample(per_axis(shape, ndim, "shape")))
    entries = weight_entries(meetings(window_regions(place)), w.shape, groups, flip)
    size = place.output.positions * filters, place.input.positions * terms * groups
    matrix = sparse.coo_array((w.reshape(-1)[entries.weight], (entries.row, entries.column)), shape=size).tocsr()
    matrix.sort_indices()
    return matrix


def _sparse() -> Any:
    try:
        from scipy import sparse
    except ImportError as error:
        raise ImportError('toeplitz needs scipy: pip install "convnd[analysis]"') from error
    return sparse
