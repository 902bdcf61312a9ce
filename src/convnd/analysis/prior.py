"""Convolution and pooling as priors on the weights of a fully connected layer (section 9.4).

A convolution is the fully connected layer whose weights are held to a subspace: those outside of the window are 0, and
those that meet by the same tap are equal. As a prior that is infinitely strong. A weak one has a finite strength, and
pulls the weights towards the subspace instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..errors import ArgumentError, ShapeError
from ..kernels import proportional_regions, window_regions
from ..layout import Ints
from ..nn.arguments import product
from ..nn.layer import Layer
from ..ops._operands import fixed
from ..ops.pooling import pooled_regions
from ..tensor import Array, Tensor, check_same_dtype, record
from ..window import Window, per_axis
from .connections import Entries, given_spec, meetings, one_sample, weight_entries

MOST_ENTRIES = 2**27  # of a matrix: a GiB of int64


@dataclass(frozen=True, eq=False)
class FullyConnected:
    """The fully connected layer that a convolution or a mean is, and what its prior allows.

    ``y.ravel() = activation(x.ravel() @ weight + bias)`` for a sample x (*S, C), positions with the last axis fastest.

    Attributes
    ----------
    weight, bias : (inputs, outputs), and (outputs,) or None
        In the dtype of the layer.
    mask : bool (inputs, outputs)
        False where a weight is forbidden, that is, held to 0.
    tied : int64 (inputs, outputs)
        The number of the layer's weight, in ``weight.ravel()`` of its own, that an entry is tied to. -1 where there is
        none: forbidden entries, and the constants of a pool.
    bias_tied : int64 (outputs,) or None
        The same for the bias.
    kernel_shape : of the layer's own weight; (0,) where it has none.
    activation : str or None
    """

    input: tuple[int, ...]
    output: tuple[int, ...]
    weight: Array
    bias: Array | None
    mask: NDArray[np.bool_]
    tied: Ints
    bias_tied: Ints | None
    kernel_shape: tuple[int, ...]
    activation: str | None

    @cached_property
    def _groups(self) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Flat numbers of the tied entries, the weights they are tied to, and how many entries each weight has."""
        where = np.flatnonzero(self.tied >= 0)
        weight = self.tied.reshape(-1)[where]
        return where, weight, np.bincount(weight, minlength=product(self.kernel_shape)).astype(np.float64)

    def linear(self) -> nn.Linear:
        """A new Linear with these weights, to be trained behind a Flatten; nothing holds it to the prior by itself."""
        inputs, outputs = self.weight.shape
        layer = nn.Linear(outputs, bias=self.bias is not None, activation=self.activation, init=0)
        layer.build(0, inputs, dtype=str(self.weight.dtype))
        layer.params["weight"].assign(self.weight)
        if self.bias is not None:
            layer.params["bias"].assign(self.bias)
        return layer

    def tie(self, gradient: Array) -> Array:
        """A gradient of the weight, as the prior lets it pass: 0 where it is forbidden or constant, elsewhere the SUM
        over all entries that are tied together. A step along it moves each of them as the layer's own weight moves."""
        where, number, counts = self._groups
        given = self._checked(gradient, "gradient")
        result = np.zeros_like(given)
        result.reshape(-1)[where] = _sums(given.reshape(-1)[where], number, len(counts))[number]
        return result

    def hold(self, layer: nn.Linear) -> None:
        """Between ``backward`` and the optimiser's step: put :meth:`tie` of its gradients into a ``linear()``.

        With any optimiser that treats each entry alone (SGD with momentum, Adam) and starts from ``weight``, the steps
        are then those of the layer itself.
        """
        weight = layer.params["weight"]
        if weight.grad is not None:
            weight.grad = self.tie(weight.grad)
        bias = layer.params.get("bias")
        if bias is not None and bias.grad is not None and self.bias_tied is not None:
            sums = _sums(bias.grad, self.bias_tied, self.output[-1])
            bias.grad = sums[self.bias_tied].astype(bias.grad.dtype)

    def kernel(self, weight: Array) -> Array:
        """The layer's own weight that is nearest to a fully connected one: the mean over each tied group.

        A tap that meets no input at all gets 0.
        """
        where, number, counts = self._groups
        given = self._checked(weight, "weight")
        sums = _sums(given.reshape(-1)[where], number, len(counts))
        mean = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        return mean.astype(given.dtype).reshape(self.kernel_shape)

    def project(self, weight: Array) -> Array:
        """The nearest weight that the prior allows, in the sense of least squares."""
        where, number, _ = self._groups
        given = self._checked(weight, "weight")
        nearest = np.where(self.mask & (self.tied < 0), self.weight, np.zeros((), given.dtype))
        nearest.reshape(-1)[where] = self.kernel(given).reshape(-1)[number]
        return nearest

    def _checked(self, given: Array, name: str) -> Array:
        array = np.asarray(given, order="C")
        if array.shape != self.weight.shape:
            raise ShapeError(f"{name} must have shape {self.weight.shape}. Received: {name} of shape {array.shape}")
        check_same_dtype(array, name, self.weight, "the layer")
        return array


def _sums(values: Array, number: Ints, count: int) -> NDArray[np.float64]:
    """The sum, in float64, over all values of one number."""
    return np.bincount(number, values, minlength=count).astype(np.float64)  # which it is already, unless there are none


def as_dense(layer: Layer, shape: Any) -> FullyConnected:
    """A built convolution or averaging pool as the fully connected layer it is on samples of one shape.

    Parameters
    ----------
    layer : Layer
        A Conv, DepthwiseConv, MaskedConv, ConvTranspose or Linear, built; or an AvgPool, GlobalPool or ProportionalPool
        of means or sums.
        A pool has no weights of its own: its matrix is float64, all of it constant, and no step changes it.
    shape : tuple of ints
        (*S, C), the sample's spatial shape and its channels.

    Returns
    -------
    FullyConnected
        Its weight matrix, the mask of forbidden weights and the tied groups.

    Raises
    ------
    ArgumentError
        For a layer that isn't linear in its input, such as max pooling: no weight matrix gives the largest of its
        inputs, so it is no prior on the weights of ONE fully connected layer. And for a matrix of more than 2**27
        entries; :func:`toeplitz` leaves out the zeros.
    ShapeError
        If the sample doesn't fit the layer.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.4.

    Examples
    --------
    >>> from convnd import nn
    >>> full = as_dense(nn.Conv(1, 2).build(ndim=1, channels=1), (4, 1))
    >>> full.mask.astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]
    >>> full.tied.tolist()
    [[0, -1, -1], [1, 0, -1], [-1, 1, 0], [-1, -1, 1]]
    """
    if not isinstance(layer, Layer):
        raise ArgumentError(f"layer must be a convnd.nn.Layer. Received: {layer!r}")
    given = given_spec(shape)
    _refuse(layer)
    if not layer.built:
        raise ArgumentError(f"call build(ndim, channels) before as_dense. Received: an unbuilt {layer!r}")
    if layer.input is not None:
        layer.check_input(given, layer.input)
    output = layer.output(given)
    inputs, outputs = given.positions * given.channels, output.positions * output.channels
    if inputs * outputs > MOST_ENTRIES:
        raise ArgumentError(
            f"the matrix must have at most {MOST_ENTRIES:,} entries (toeplitz leaves out its zeros). "
            f"Received: {inputs:,} inputs and {outputs:,} outputs"
        )
    inside, outside = given.shape or (), output.shape or ()
    ends = (*inside, given.channels), (*outside, output.channels)
    if layer.params:
        return _of_weights(layer, ends)
    return _of_pool(layer, ends, output.positions)


# Exactly these: what a subclass computes with its weights may be something else.
LINEAR = (
    nn.AvgPool, nn.Conv, nn.ConvTranspose, nn.DepthwiseConv, nn.GlobalPool, nn.Linear, nn.MaskedConv,
    nn.ProportionalPool,
)  # fmt: skip


def _of_weights(layer: Layer, ends: tuple[tuple[int, ...], tuple[int, ...]]) -> FullyConnected:
    weight = layer.params["weight"].values
    entries = _entries(layer, weight.shape, ends[0])
    if isinstance(layer, nn.MaskedConv):  # its mask forbids more
        allowed = np.broadcast_to(np.asarray(layer.mask, dtype=bool), weight.shape).reshape(-1)[entries.weight]
        entries = Entries(*(values[allowed] for values in entries))
    size = product(ends[0]), product(ends[1])
    tied = np.full(size, -1, dtype=np.int64)
    tied[entries.row, entries.column] = entries.weight
    matrix = np.zeros(size, dtype=weight.dtype)
    matrix[entries.row, entries.column] = weight.reshape(-1)[entries.weight]
    own = layer.params.get("bias")
    filters = ends[1][-1]
    bias_tied = None if own is None else np.tile(np.arange(filters, dtype=np.int64), size[1] // filters)
    bias = None if own is None or bias_tied is None else own.values[bias_tied]
    activation = getattr(layer, "activation", None)
    return FullyConnected(*ends, matrix, bias, tied >= 0, tied, bias_tied, weight.shape, activation)


def _entries(layer: Layer, shape: tuple[int, ...], given: tuple[int, ...]) -> Entries:
    """Where the layer's weight stands: rows are the layer's inputs, columns its outputs."""
    ndim, sample = len(given) - 1, one_sample(given[:-1])
    if isinstance(layer, nn.ConvTranspose):
        place = layer.window(ndim).transposed_on(sample, layer.output_padding)
        return weight_entries(meetings(window_regions(place)), shape, layer.groups)
    if isinstance(layer, nn.Conv):
        regions, groups = window_regions(layer.window(ndim).on(sample)), layer.split(given[-1])[0]
    else:  # Linear: a convolution of one tap
        regions, groups = window_regions(Window.of(ndim, 1).on(sample)), 1
    row, column, weight = weight_entries(meetings(regions), shape, groups)
    return Entries(column, row, weight)


def _of_pool(layer: Layer, ends: tuple[tuple[int, ...], tuple[int, ...]], outputs: int) -> FullyConnected:
    sample, ndim, channels = one_sample(ends[0][:-1]), len(ends[0]) - 1, ends[0][-1]
    if isinstance(layer, nn.AvgPool):
        regions = pooled_regions(sample, **layer.arguments())
    else:
        bins = per_axis(layer.bins, ndim, "bins") if isinstance(layer, nn.ProportionalPool) else (1,) * ndim
        regions = proportional_regions(sample, bins)
    met = meetings(regions)
    covered = np.bincount(met.output, minlength=outputs).astype(np.float64)
    share = np.ones_like(covered) if getattr(layer, "mode", "mean") == "sum" else 1 / covered
    c = np.arange(channels)
    matrix = np.zeros((product(ends[0]), product(ends[1])))
    matrix[np.add.outer(met.input * channels, c), np.add.outer(met.output * channels, c)] = share[met.output][:, None]
    tied = np.full(matrix.shape, -1, dtype=np.int64)
    return FullyConnected(*ends, matrix, None, matrix != 0, tied, None, (0,), None)


def _refuse(layer: Layer) -> None:
    if isinstance(layer, nn.MaxPool) or getattr(layer, "mode", None) == "max":
        raise ArgumentError(
            "max pooling isn't linear, so there is no weight matrix of a fully connected layer that does its work: "
            f"which input an output equals follows from the values. Received: {layer!r}"
        )
    if type(layer) not in LINEAR:
        raise ArgumentError(
            f"as_dense takes one layer at a time, of {', '.join(kind.__name__ for kind in LINEAR)}. Received: {layer!r}"
        )


def convolution_prior(weight: Array | Tensor, full: FullyConnected, strength: float) -> Tensor:
    """The weak prior: ``strength |weight - project(weight)|^2``, to be added to the loss of a fully connected layer.

    Up to a constant it is the negative logarithm of a Gaussian prior, whose precision off the convolutional subspace is
    2 strength; along the subspace it prefers nothing. Strength 0 leaves the fully connected layer as it is, and as it
    goes to infinity the trained weight goes to the convolution's, which :meth:`FullyConnected.hold` makes exact. The
    gradient is ``2 strength (weight - project(weight))``: learning rates must be below 1 / strength to come to rest.

    Parameters
    ----------
    weight : (inputs, outputs), array or parameter
    full : FullyConnected
        Of the layer in whose favour it is, from :func:`as_dense`.
    strength : float
        At least 0, finite.

    Returns
    -------
    Tensor of one number, in the dtype of the weight.

    References
    ----------
    Goodfellow, Bengio, Courville, *Deep Learning*, section 9.4; section 7.1.1 for the penalty as a prior.

    Examples
    --------
    >>> from convnd import nn
    >>> full = as_dense(nn.Conv(1, 1, init=3.0).build(ndim=1, channels=1, dtype="float64"), (2, 1))
    >>> float(convolution_prior(np.array([[3.0, 1.0], [0.0, 5.0]]), full, 10.0))
    30.0
    """
    if isinstance(strength, bool) or not isinstance(strength, (int, float, np.number)) or not 0 <= strength < np.inf:
        raise ArgumentError(
            "strength must be a number of at least 0, and finite (the infinitely strong prior is FullyConnected.hold). "
            f"Received: strength={strength!r}"
        )
    own = fixed(weight, "weight")
    off = own.values - full.project(own.values)
    factor = float(strength)
    value = np.asarray(factor * np.sum(np.square(off, dtype=np.float64)), dtype=off.dtype)

    def grad_fn(g: Array) -> tuple[Array]:
        return ((2 * factor * g * off).astype(off.dtype),)

    return record(value, None, "array", (own,), grad_fn)
