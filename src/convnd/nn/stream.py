"""A network on a sequence that never ends: chunk by chunk along the first axis, with bounded memory.

Every layer keeps the inputs that outputs to come still need, and gives what is complete. So the results of all chunks,
one after the other, are the result of the whole. A layer needs no code of its own for that: it says that it is
pointwise, or which window slides (:meth:`Layer.sliding`), and runs on the stretch of inputs that the outputs at hand
read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, ShapeError
from ..layout import Layout
from ..tensor import Array, check_dtype, no_grad
from ..window import Window
from .conv import ConvTranspose
from .graph import INPUT, Graph
from .layer import Layer
from .local import padded, run, unwrapped
from .spec import Spec, located

Pairs = tuple[tuple[int, int], ...]
Piece = Array | None  # (N, T, *S, C); None where nothing is complete


class Stream:
    """What :meth:`convnd.nn.Layer.stream` gives: ``push`` chunks (N, T, *S, C) of any lengths T, then ``finish``.

    ``push`` returns the outputs that are complete, (N, T', *S', F), T' possibly 0; ``finish`` those that reach over the
    end. Together they are ``net(whole)``: to the last bit where convolutions run ``algorithm="direct"``, else to
    rounding, since "auto" chooses by the size of what it gets. Inference only. What is kept between chunks is bounded
    by the windows' extents, whatever the length. A causal network (``padding="causal"``) gives an output as soon as
    its input is there; others wait for what their windows read ahead.

    Layers that look at the whole sequence are refused, with the reason: pools of all positions, "same" padding with a
    stride, whose place depends on the length.

    Source: Oord et al., "WaveNet", 2016; Paine et al., "Fast WaveNet generation algorithm", 2016: the same queues.

    Examples
    --------
    >>> import numpy as np
    >>> from convnd import nn
    >>> net = nn.Sequential(nn.Conv(4, 3, padding="causal"), nn.Conv(1, 2, stride=2, padding="causal")).build(1, 1)
    >>> whole = np.random.default_rng(0).normal(size=(1, 9, 1)).astype(np.float32)
    >>> stream = net.stream()
    >>> parts = [stream.push(whole[:, :4]), stream.push(whole[:, 4:5]), stream.push(whole[:, 5:]), stream.finish()]
    >>> [part.shape[1] for part in parts], np.allclose(np.concatenate(parts, axis=1), net(whole))
    ([2, 1, 2, 0], True)
    """

    def __init__(self, net: Layer) -> None:
        if not net.built:
            raise ArgumentError(f"call build(ndim, channels) before stream(). Received: an unbuilt {net!r}")
        self._net = net
        self._step = _step(net)
        self._first: tuple[int, ...] | None = None  # (N, *S, C) of the first chunk
        self._empty: Array | None = None
        self._finished = False

    def push(self, chunk: Array) -> Array:
        """The outputs that are complete with this chunk, (N, T', *S', F).

        Raises
        ------
        ShapeError
            A chunk without axes, or of other samples, sizes (but the first axis) or channels than the first one.
        Nothing has changed then.
    DtypeError
        Another dtype than the first one's, or not float32 or float64.
        ArgumentError
            After :meth:`finish`.
        """
        if self._finished:
            raise ArgumentError("push after finish: start another stream(). Received: a chunk")
        chunk = np.asarray(chunk)
        if chunk.ndim < 3:
            raise ShapeError(f"a chunk must be (samples, T, *shape, channels). Received: shape {chunk.shape}")
        rest = (chunk.shape[0], *chunk.shape[2:])
        if self._empty is None:
            self._empty = self._nothing(chunk)  # which refuses what can't be streamed
            self._first = rest
        elif chunk.dtype != self._empty.dtype:
            raise DtypeError(
                f"chunks must agree in dtype: {self._empty.dtype} of the first one. Received: {chunk.dtype}"
            )
        elif rest != self._first:
            raise ShapeError(
                f"chunks must agree on all but the first axis: {self._first} of the first one. Received: {rest}"
            )
        with no_grad():
            return self._given(self._step.push([chunk if chunk.shape[1] else None]))

    def finish(self) -> Array:
        """The outputs that reach over the end; the stream is over then."""
        if self._first is None:
            raise ArgumentError("finish before any chunk: push at least one. Received: no chunk")
        if self._finished:
            raise ArgumentError("the stream is over: start another stream(). Received: finish")
        self._finished = True
        with no_grad():
            return self._given(self._step.finish([None]))

    def _given(self, piece: Piece) -> Array:
        assert self._empty is not None
        return self._empty if piece is None else piece

    def _nothing(self, chunk: Array) -> Array:
        """An output of no positions."""
        check_dtype(chunk, "chunk")
        shape = self._step.shape([(None, *chunk.shape[2:])])
        return np.zeros((chunk.shape[0], 0, *shape[1:]), dtype=chunk.dtype)


Shape = tuple[Any, ...]  # (None, *S, C): the length of the first axis isn't known


class _Step:
    """A layer in a stream."""

    def push(self, pieces: list[Piece]) -> Piece:
        """What is complete once these have come."""
        raise NotImplementedError

    def finish(self, pieces: list[Piece]) -> Piece:
        """The rest, with the last that has come."""
        return self.push(pieces)

    def shape(self, shapes: list[Shape]) -> Shape:
        """The shape rule: (None, *S, C) of each input to that of the result."""
        raise NotImplementedError


class _Pointwise(_Step):
    """Positions on their own; several inputs wait for each other."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._waiting: list[Piece] = []

    def push(self, pieces: list[Piece]) -> Piece:
        waiting = [_joined(a, b) for a, b in zip(self._waiting or [None] * len(pieces), pieces, strict=True)]
        ready = min(0 if piece is None else piece.shape[1] for piece in waiting)
        self._waiting = [_tail(piece, ready) for piece in waiting]
        if ready == 0:
            return None
        return run(self._layer, *(piece[:, :ready] for piece in waiting if piece is not None))

    def shape(self, shapes: list[Shape]) -> Shape:
        channels = [shape[-1] for shape in shapes]
        probe = [np.zeros((1, 1, *shape[1:-1], c), self._dtype()) for shape, c in zip(shapes, channels, strict=True)]
        return (None, *run(self._layer, *probe).shape[2:])

    def _dtype(self) -> Any:
        return next((p.values.dtype for p in self._layer.params.values()), np.dtype(np.float32))


class _Sliding(_Step):
    """A window: outputs [done, ...) read inputs from done stride - low on."""

    def __init__(self, layer: Layer, name: str) -> None:
        self._layer = layer
        self._kept: Piece = None
        self._start = self._seen = self._done = 0  # of what is kept; inputs so far; outputs so far
        self._name = name

    def _axis(self, window: Window) -> tuple[int, int, int, int]:
        """Stride, extent and padding of the first axis."""
        stride, extent = window.stride[0], window.extent[0]
        if window.fixed_padding.shape[1] == 0:
            if stride > 1:
                raise ShapeError(
                    f"{self._name}: padding={window.padding!r} with a stride depends on the length of the whole: use "
                    f'"causal", which doesn\'t. Received: stride {stride} on the first axis'
                )
            total = extent - 1
            low = (total + 1) // 2 if window.padding == "same_lower" else total // 2
            return stride, extent, low, total - low
        low, high = (int(pad) for pad in window.fixed_padding[:, 0])
        if max(low, high) >= extent:
            raise ShapeError(
                f"{self._name}: a stream's padding must be less than the window's extent {extent}. "
                f"Received: {(low, high)} on the first axis"
            )
        return stride, extent, low, high

    def push(self, pieces: list[Piece]) -> Piece:
        (piece,) = pieces
        if piece is None:
            return None
        self._seen += piece.shape[1]
        self._kept = _joined(self._kept, piece)
        window = self._window(piece.ndim - 2)
        stride, extent, low, _ = self._axis(window)
        return self._outputs((self._seen - extent + low) // stride + 1)

    def finish(self, pieces: list[Piece]) -> Piece:
        (piece,) = pieces
        first = self.push([piece])
        if self._kept is None and self._seen == 0:
            return first
        assert self._kept is not None
        window = self._window(self._kept.ndim - 2)
        _, _, low, high = self._axis(window)
        sizes = (window.kernel[0],), (window.stride[0],), (window.dilation[0],)
        along = Window(*sizes, ((low, high),), window.ceil_mode)  # the first axis
        return _joined(first, self._outputs(along.on(Layout.dense(1, (self._seen,))).output.shape(0)[0]))

    def _window(self, ndim: int) -> Window:
        window = self._layer.sliding(ndim)
        assert window is not None
        return window

    def _outputs(self, end: int) -> Piece:
        """Outputs up to this one, and only what later ones need is kept."""
        if end <= self._done:
            return None
        assert self._kept is not None
        window = self._window(self._kept.ndim - 2)
        stride, extent, low, _ = self._axis(window)
        first, last = self._done * stride - low, (end - 1) * stride - low + extent
        ends = (max(0, -first), max(0, last - self._seen))
        read = self._kept[:, max(first, 0) - self._start : last - self._start]
        layer = padded(self._layer, (ends, *_other_pads(window, read.shape[2:-1])))
        result = run(layer, np.ascontiguousarray(read))
        self._done = end
        keep = max(0, end * stride - low)
        self._kept = self._kept[:, max(0, keep - self._start) :].copy()
        self._start = max(self._start, min(keep, self._seen))
        return result

    def shape(self, shapes: list[Shape]) -> Shape:
        (shape,) = shapes
        _, extent, low, _ = self._axis(self._window(len(shape) - 1))
        length = max(1, extent - low)
        spec = _spec(self._layer, (length, *shape[1:-1]), shape[-1])
        return (None, *(spec.shape or ())[1:], spec.channels)


class _Transposed(_Step):
    """A transposed convolution: a position is complete when no later input reaches it."""

    def __init__(self, layer: ConvTranspose) -> None:
        self._layer = layer
        self._kept: Piece = None
        self._start = self._seen = self._done = 0

    def push(self, pieces: list[Piece]) -> Piece:
        (piece,) = pieces
        if piece is None:
            return None
        self._seen += piece.shape[1]
        self._kept = _joined(self._kept, piece)
        place, window = self._place(piece)
        return self._outputs(self._seen * window.stride[0] - int(place.low[0, 0]))

    def finish(self, pieces: list[Piece]) -> Piece:
        (piece,) = pieces
        first = self.push([piece])
        if self._kept is None:
            return first
        return _joined(first, self._outputs(self._place(self._kept)[0].input.shape(0)[0]))

    def _place(self, piece: Array) -> tuple[Any, Window]:
        window = self._layer.window(piece.ndim - 2)
        shape = (self._seen, *piece.shape[2:-1])
        return window.transposed_on(Layout.dense(1, shape), self._layer.output_padding), window

    def _outputs(self, end: int) -> Piece:
        assert self._kept is not None
        end = max(end, 0)
        if end <= self._done:
            return None
        place, window = self._place(self._kept)
        low, stride, extent = int(place.low[0, 0]), window.stride[0], window.extent[0]
        layer = padded(self._layer, ((0, 0), *_other_pads(window, place.input.shape(0)[1:])))
        first = self._start * stride - low  # the position of the first output of what is kept
        room = (self._kept.shape[1] - 1) * stride + extent
        extra = np.broadcast_to(np.asarray(layer.output_padding), window.ndim).tolist()
        layer.output_padding = (max(0, end - first - room), *extra[1:])
        whole = run(layer, np.ascontiguousarray(self._kept))
        result = whole[:, self._done - first : end - first]
        self._done = end
        # The first input that reaches the next position.
        keep = min(max(self._start, -(-(end + low - (extent - 1)) // stride)), self._seen)
        self._kept = self._kept[:, keep - self._start :].copy()
        self._start = keep
        return np.ascontiguousarray(result)

    def shape(self, shapes: list[Shape]) -> Shape:
        (shape,) = shapes
        spec = _spec(self._layer, (4, *shape[1:-1]), shape[-1])
        return (None, *(spec.shape or ())[1:], spec.channels)


class _Network(_Step):
    """A graph: each node's step, in order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._steps: dict[str, _Step] = {}
        for name in graph.order:
            node = graph.nodes[name]
            with located(name):
                if node.like is not None:
                    raise ArgumentError("a result that takes another one's size (like=) can't be streamed")
                self._steps[name] = _step(node.layer)

    def push(self, pieces: list[Piece]) -> Piece:
        return self._through(pieces, "push")

    def finish(self, pieces: list[Piece]) -> Piece:
        return self._through(pieces, "finish")

    def _through(self, pieces: list[Piece], what: str) -> Piece:
        values = {INPUT: pieces[0]}
        for name, step in self._steps.items():
            with located(name):
                values[name] = getattr(step, what)([values[feed] for feed in self._graph.nodes[name].feeds])
        return values[self._graph.output_node]

    def shape(self, shapes: list[Shape]) -> Shape:
        known = {INPUT: shapes[0]}
        for name, step in self._steps.items():
            with located(name):
                known[name] = step.shape([known[feed] for feed in self._graph.nodes[name].feeds])
        return known[self._graph.output_node]


def _step(layer: Layer) -> _Step:
    if isinstance(layer, Graph):
        return _Network(layer)
    layer = unwrapped(layer)
    if layer.pointwise:
        return _Pointwise(layer)
    if isinstance(layer, ConvTranspose):
        return _Transposed(layer)
    if layer.arity == (1, 1) and layer.sliding(1 if layer.input is None else layer.input.ndim) is not None:
        return _Sliding(layer, type(layer).__name__)
    raise ArgumentError(
        f"{type(layer).__name__} can't be streamed: its results depend on the whole sequence. Put it behind the stream"
    )


def _spec(layer: Layer, shape: tuple[int, ...], channels: int) -> Spec:
    return layer.output(Spec(len(shape), channels, shape))


def _joined(a: Piece, b: Piece) -> Piece:
    if a is None or b is None:
        return b if a is None else a
    return np.concatenate([a, b], axis=1)


def _tail(piece: Piece, start: int) -> Piece:
    return None if piece is None or piece.shape[1] == start else piece[:, start:].copy()


def _other_pads(window: Window, shape: tuple[int, ...]) -> Pairs:
    """(low, high) of every axis but the first, for samples of this shape on them."""
    fixed = window.fixed_padding
    pairs = [(int(low), int(high)) for low, high in fixed.T[1:]]
    for axis in range(max(1, fixed.shape[1]), window.ndim):
        size, stride, extent = shape[axis - 1], window.stride[axis], window.extent[axis]
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        low = (total + 1) // 2 if window.padding == "same_lower" else total // 2
        pairs.append((low, total - low))
    return tuple(pairs)
