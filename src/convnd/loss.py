"""Losses: one number from a batch's outputs and what they should have been.

A loss is a mean over what counts in the batch, summed in float64 in one fixed order: the same bits
for any number of threads, and for dense or ragged input. Targets stand for samples where the outputs
have no spatial axes (after global pooling or flattening), else for positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import kernels
from .errors import ArgumentError, DataError, DtypeError, ShapeError
from .layout import Layout, Ragged
from .tensor import Array, Batch, Tensor, check_same_dtype, dense_shape, record
from .window import refuse_empty

Labels = NDArray[np.int64]


def cross_entropy(
    logits: Batch,
    targets: ArrayLike | Ragged,
    *,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
    ignore: int | None = None,
    sample_weights: ArrayLike | None = None,
) -> Tensor:
    """Softmax cross-entropy with the right class, as a mean over samples or positions.

    With K classes, t the one-hot label smoothed to ``(1 - e) onehot + e / K``, v the class weights and s
    the sample's weight: ``sum_p s (-sum_k v_k t_k log softmax(logits)_k) / sum_p s v_label``.

    Parameters
    ----------
    logits : ndarray (N, *S, K), Ragged or Tensor
        float32 or float64: scores before the softmax.
    targets : ints
        One label a sample (N,) where the logits have no spatial axes. Else one a position: a Ragged of
        the logits' layout, an array (N, *S) or (N, *S, 1), or all positions one after the other (P,).
    label_smoothing : float
        e, at least 0 and at most 1.
    class_weights : (K,), optional
    ignore : int, optional
        A label that doesn't count. If nothing counts, the loss is 0 and so is its gradient.
    sample_weights : (N,), optional

    Returns
    -------
    Tensor of one number, in the dtype of ``logits``.

    Raises
    ------
    DataError
        If a label is out of range; the message names the sample and the label.
    ShapeError
        If there aren't as many labels as samples or positions.
    DtypeError
        If the labels aren't integers.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 6.2.2.3; label smoothing: Szegedy et al., "Rethinking the
    Inception architecture for computer vision", CVPR 2016, section 7.

    Examples
    --------
    >>> logits = Tensor(np.array([[0.0, 0.0], [5.0, -5.0]]), requires_grad=True)
    >>> loss = cross_entropy(logits, [0, 0], ignore=1)
    >>> round(float(loss), 4)
    0.3466
    >>> loss.backward()
    >>> logits.grad.round(4).tolist()
    [[-0.25, 0.25], [-0.0, 0.0]]
    """
    x, layout = _outputs(logits, "logits")
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing must be at least 0 and at most 1. Received: {label_smoothing!r}")
    classes = x.channels
    labels = _labels(targets, layout, classes, ignore)
    of_class = _weights(class_weights, "class_weights", classes, "class")
    counted = labels != ignore if ignore is not None else np.ones(len(labels), dtype=bool)
    right = np.where(counted, labels, 0)
    weight = _position_weights(sample_weights, layout) * counted
    total = float(np.sum(weight * of_class[right]))
    share = weight / total if total else np.zeros_like(weight)  # of each position in the mean

    log_p = kernels.log_softmax(x.values)
    rows = np.arange(len(labels))
    hit = (1 - label_smoothing) * of_class  # v_k t_k of the right class, beside what smoothing adds to all
    spread = label_smoothing / classes * of_class
    losses = -hit[right] * log_p[rows, right]
    if label_smoothing:
        losses = losses - np.einsum("pk,k->p", log_p, spread)  # not BLAS, whose threads may change the bits
    value = np.sum(np.where(counted, losses, 0.0) * share)

    def grad_fn(g: Array) -> tuple[Array]:
        # d/dlogits of -sum_k u_k log p_k is p sum_k u_k - u, with u_k = v_k t_k.
        scale = share * float(g)
        gradient = kernels.softmax(x.values)
        gradient *= (scale * (hit[right] + spread.sum()))[:, None].astype(x.dtype)
        if label_smoothing:
            gradient -= np.multiply.outer(scale, spread).astype(x.dtype)
        gradient[rows, right] -= (scale * hit[right]).astype(x.dtype)
        return (gradient,)

    return record(np.asarray(value, dtype=x.dtype), None, "array", (x,), grad_fn)


def mse(outputs: Batch, targets: Batch, *, sample_weights: ArrayLike | None = None) -> Tensor:
    """Mean squared error over all values: ``sum_pc s (outputs - targets)^2 / (C sum_p s)``.

    Parameters
    ----------
    outputs : ndarray (N, *S, C), Ragged or Tensor
        float32 or float64: (N, C) for one vector a sample, else one a position.
    targets : batch of the same layout, channels and dtype
    sample_weights : (N,), optional
        s, the weight of every position of a sample.

    Returns
    -------
    Tensor of one number, in the dtype of ``outputs``.

    Raises
    ------
    ShapeError
        If layouts or channels differ.
    DtypeError
        If dtypes differ; the message names the cast.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 5.1.4, eq. 5.4.

    Examples
    --------
    >>> float(mse(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])))
    2.5
    """
    x, layout = _outputs(outputs, "outputs")
    t, other = _outputs(targets, "targets")
    check_same_dtype(t.values, "targets", x.values, "outputs")
    if layout != other or t.channels != x.channels:
        raise ShapeError(f"targets must have the layout and channels of outputs. Received: {t!r} for {x!r}")
    weight = _position_weights(sample_weights, layout)
    total = float(weight.sum()) * x.channels
    difference = x.values - t.values
    share = weight / total if total else weight
    value = np.sum(np.sum(np.square(difference, dtype=np.float64), axis=1) * share)

    def grad_fn(g: Array) -> tuple[Array, Array]:
        gradient = difference * (share * (2 * float(g)))[:, None].astype(x.dtype)
        return gradient, -gradient

    return record(np.asarray(value, dtype=x.dtype), None, "array", (x, t), grad_fn)


def dice(
    logits: Batch, targets: ArrayLike | Ragged, *, ignore: int | None = None, smooth: float = 1.0
) -> Tensor:
    """Soft Dice loss of a segmentation: the mean over samples and classes of 1 minus the overlap.

    With p the softmax of the logits and t the one-hot labels, summed over a sample's counted positions:
    ``1 - (2 sum p t + smooth) / (sum p + sum t + smooth)``.

    Parameters
    ----------
    logits, targets, ignore
        As for :func:`cross_entropy`.
    smooth : float
        Positive; keeps a class that is absent and not predicted at a loss of 0.

    Returns
    -------
    Tensor of one number, in the dtype of ``logits``.

    References
    ----------
    Milletari, Navab, Ahmadi, "V-Net: fully convolutional neural networks for volumetric medical image segmentation",
    3DV 2016; the form without squares: Drozdzal et al., "The importance of skip connections in biomedical image
    segmentation", DLMIA 2016.

    Examples
    --------
    >>> sure = np.array([[[9.0, -9.0], [-9.0, 9.0]]])
    >>> round(float(dice(sure, [[0, 1]])), 4), round(float(dice(sure, [[1, 0]])), 4)
    (0.0, 0.6667)
    """
    x, layout = _outputs(logits, "logits")
    if not smooth > 0:
        raise ArgumentError(f"smooth must be positive. Received: smooth={smooth!r}")
    refuse_empty(layout)
    labels = _labels(targets, layout, x.channels, ignore)
    counted = labels != ignore if ignore is not None else np.ones(len(labels), dtype=bool)
    p = kernels.softmax(x.values)
    truth = np.zeros(p.shape, dtype=p.dtype)
    truth[np.flatnonzero(counted), labels[counted]] = 1
    inside = p * counted[:, None]
    overlap = 2 * _sample_sums(inside * truth, layout) + smooth
    size = _sample_sums(inside, layout) + _sample_sums(truth, layout) + smooth
    cells = max(overlap.size, 1)
    value = np.sum(1 - overlap / size) / cells

    def grad_fn(g: Array) -> tuple[Array]:
        scale = float(g) / cells
        hit = np.repeat((-2 * scale / size).astype(x.dtype), layout.sizes, axis=0)
        level = np.repeat((scale * overlap / size**2).astype(x.dtype), layout.sizes, axis=0)
        to_p = (hit * truth + level) * counted[:, None]
        return (p * (to_p - np.sum(to_p * p, axis=1, keepdims=True)),)

    return record(np.asarray(value, dtype=x.dtype), None, "array", (x,), grad_fn)


def _outputs(x: Any, name: str) -> tuple[Tensor, Layout]:
    tensor = x if isinstance(x, Tensor) else Tensor(x)
    if tensor.layout is None:
        raise ArgumentError(f"{name} must have samples: it is a parameter or a loss. Received: {tensor!r}")
    return tensor, tensor.layout


def _labels(targets: Any, layout: Layout, classes: int, ignore: int | None) -> Labels:
    """The labels of all positions, (P,), each checked."""
    values = targets.values if isinstance(targets, (Ragged, Tensor)) else np.asarray(targets)
    if isinstance(targets, Ragged) and targets.layout != layout:
        raise ShapeError(f"targets must have the layout of the logits, {layout!r}. Received: {targets.layout!r}")
    if values.dtype.kind not in "iu" and values.size:
        raise DtypeError(
            "targets must be integers, class numbers; cast them: targets.astype(np.int64). "
            f"Received: dtype {values.dtype}"
        )
    count = layout.positions
    allowed = [(count,), (count, 1)]
    if layout.uniform:
        allowed += [(len(layout), *dense_shape(layout)), (len(layout), *dense_shape(layout), 1)]
    if values.shape not in allowed:
        what = "sample" if layout.ndim == 0 else "position"
        raise ShapeError(f"targets must hold one label a {what}, {count} of them. Received: shape {values.shape}")
    labels = values.reshape(-1).astype(np.int64)
    wrong = (labels < 0) | (labels >= classes)
    if ignore is not None:
        wrong &= labels != ignore
    if wrong.any():
        position = int(np.argmax(wrong))
        sample = int(np.searchsorted(layout.offsets, position, side="right")) - 1
        place = f"sample {sample}" + (f", position {position - int(layout.offsets[sample])}" if layout.ndim else "")
        raise DataError(
            f"{place}: label {labels[position]} is out of range; the logits have {classes} classes, 0 to {classes - 1}"
        )
    return labels


def _weights(given: ArrayLike | None, name: str, count: int, what: str) -> NDArray[np.float64]:
    if given is None:
        return np.ones(count)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (count,):
        raise ShapeError(f"{name} must hold one weight a {what}, ({count},). Received: shape {weights.shape}")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        worst = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise ArgumentError(f"{name} must be finite and not negative. Received: {weights[worst]} for {what} {worst}")
    return weights


def _position_weights(sample_weights: ArrayLike | None, layout: Layout) -> NDArray[np.float64]:
    weights = _weights(sample_weights, "sample_weights", len(layout), "sample")
    return np.repeat(weights, layout.sizes)


def _sample_sums(values: Array, layout: Layout) -> NDArray[np.float64]:
    """The sum over each sample's positions, (N, C), in float64; no sample is empty."""
    if not len(layout):
        return np.zeros((0, values.shape[1]))
    sums: NDArray[np.float64] = np.add.reduceat(values, layout.offsets[:-1], axis=0, dtype=np.float64)
    return sums
