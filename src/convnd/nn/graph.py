"""Networks: layers joined by name in a Graph, or one after the other in a Sequential."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import ops
from ..errors import ArgumentError, ShapeError
from ..tensor import Batch, Tensor
from .layer import Layer, Place
from .spec import Mode, Spec, join, located

INPUT = "input"


class Node:
    """A layer's place in a :class:`Graph`, and what feeds it.

    Parameters
    ----------
    layer : Layer
    inputs : str
        Names of nodes, or "input" for the graph's own. None given: the node listed before.
    like : str, optional
        For :class:`ConvTranspose`: the node whose size the result takes.

    Examples
    --------
    >>> from convnd import nn
    >>> nn.Node(nn.Add(), "deep", "input")
    Node(Add(), 'deep', 'input')
    """

    __slots__ = ("inputs", "layer", "like")

    def __init__(self, layer: Layer, *inputs: str, like: str | None = None) -> None:
        if not isinstance(layer, Layer):
            raise ArgumentError(f"a node's layer must be a convnd.nn.Layer. Received: layer={layer!r}")
        for name in (*inputs, *([] if like is None else [like])):
            if not isinstance(name, str):
                raise ArgumentError(f"a node's inputs are names of nodes. Received: {name!r}")
        self.layer = layer
        self.inputs = tuple(inputs)
        self.like = like

    @property
    def feeds(self) -> tuple[str, ...]:
        """All that the node waits for: its inputs, then ``like``."""
        return self.inputs if self.like is None else (*self.inputs, self.like)

    def __repr__(self) -> str:
        like = [] if self.like is None else [f"like={self.like!r}"]
        return f"Node({', '.join([repr(self.layer), *map(repr, self.inputs), *like])})"


class Graph(Layer):
    """Layers joined by name: skips, branches, encoders that decoders meet again.

    Parameters
    ----------
    nodes : dict of name to Layer or Node
        A bare layer is fed by the node listed before it, the first by the graph's input. The same layer object at
        several nodes has one set of parameters.
    output : str, optional
        The node whose result is the graph's: the last one listed unless named.

    Raises
    ------
    ArgumentError
        Names that don't exist, cycles, nodes that don't lead to the output, a wrong number of inputs.

    Examples
    --------
    A residual block, and a decoder that meets its encoder at any size:

    >>> import numpy as np
    >>> from convnd import nn
    >>> block = nn.Graph({
    ...     "conv": nn.Conv(4, 3, padding="same", activation="relu"),
    ...     "sum": nn.Node(nn.Add(), "conv", "input"),
    ... })
    >>> block.build(ndim=3, channels=4)(np.zeros((1, 5, 6, 7, 4), np.float32)).shape
    (1, 5, 6, 7, 4)
    >>> unet = nn.Graph({
    ...     "encoder": nn.Conv(8, 3, padding="same"),
    ...     "down": nn.MaxPool(2, padding="same"),
    ...     "up": nn.Node(nn.ConvTranspose(8, 2, stride=2, padding="same"), "down", like="encoder"),
    ...     "join": nn.Node(nn.Concat(), "encoder", "up"),
    ... })
    >>> unet.build(ndim=1, channels=1)(np.zeros((1, 9, 1), np.float32)).shape
    (1, 9, 16)
    """

    def __init__(self, nodes: Mapping[str, Layer | Node], output: str | None = None) -> None:
        if not isinstance(nodes, Mapping) or not nodes:
            raise ArgumentError(f"nodes must be a dict of name to Layer or Node, not empty. Received: nodes={nodes!r}")
        self.nodes: dict[str, Node] = {}
        before = INPUT
        for name, given in nodes.items():
            _check_name(name)
            node = given if isinstance(given, Node) else Node(given)
            self.nodes[name] = node if node.inputs else Node(node.layer, before, like=node.like)
            before = name
        self.output_node = before if output is None else output
        self._check_feeds()
        self.order = _order(self.nodes)
        self._check_all_used()
        self._before = self._taken_along()
        self._normed = self._normed_by()
        put_off = set(self._before.values())
        self._runs = [name for name in self.order if name not in put_off]
        last = {feed: name for name in self._runs for feed in self._feeds(name)}
        self._spent = {name: [feed for feed, user in last.items() if user == name] for name in self._runs}

    def _check_feeds(self) -> None:
        known = (INPUT, *self.nodes)
        for name, node in self.nodes.items():
            for feed in node.feeds:
                if feed not in known:
                    raise ArgumentError(f"node {name!r}: its inputs are among {', '.join(known)}. Received: {feed!r}")
            with located(f"node {name!r}"):
                node.layer.check_arity(len(node.feeds))
        if not isinstance(self.output_node, str) or self.output_node not in self.nodes:
            raise ArgumentError(f"output must be one of {', '.join(self.nodes)}. Received: output={self.output_node!r}")

    def _check_all_used(self) -> None:
        used = {self.output_node}
        for name in reversed(self.order):
            if name in used:
                used.update(self.nodes[name].feeds)
        idle = [name for name in self.nodes if name not in used]
        if idle:
            raise ArgumentError(f"every node must lead to the output {self.output_node!r}. Received: {', '.join(idle)}")

    def _taken_along(self) -> dict[str, str]:
        """The nodes whose work the layer before them does as well: their name -> the name of the node before."""
        users = Counter(feed for node in self.nodes.values() for feed in node.feeds)
        users[self.output_node] += 1
        pairs = {}
        for name, node in self.nodes.items():
            before = node.feeds[0] if node.feeds[0] != INPUT else None
            if before is None or len(node.feeds) > 1 or users[before] > 1:
                continue
            kind = type(self.nodes[before].layer)
            if type(node.layer) in kind.__dict__.get("takes_along", ()):
                pairs[name] = before
        return pairs

    def _normed_by(self) -> dict[str, list[Layer]]:
        """The nodes whose result's moments other layers may want, and these layers."""
        readers: dict[str, list[Layer]] = {}
        for node in self.nodes.values():
            if type(node.layer).wants_moments is not Layer.wants_moments:
                readers.setdefault(node.feeds[0], []).append(node.layer)
        return readers

    def _feeds(self, name: str) -> tuple[str, ...]:
        """What has to be there before a node is run, together with the one before it where that takes it along."""
        return self.nodes[self._before.get(name, name)].feeds

    @property
    def fixed(self) -> tuple[str, ...]:  # type: ignore[override]
        """A network with parameters holds to the rank and the channels it was built for."""
        return ("ndim", "channels") if any(node.layer.fixed for node in self.nodes.values()) else ()

    @property
    def built(self) -> bool:
        """Whether every layer in it is built."""
        return all(node.layer.built for node in self.nodes.values())

    def children(self) -> Iterator[tuple[str, Layer]]:
        for name, node in self.nodes.items():
            yield name, node.layer

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, key: str | int) -> Layer:
        """The layer at a node, by name or by its number in the listing."""
        try:
            name = key if isinstance(key, str) else list(self.nodes)[key]
            return self.nodes[name].layer
        except (KeyError, IndexError, TypeError):
            raise ArgumentError(
                f"a layer is chosen by its number or one of {', '.join(self.nodes)}. Received: {key!r}"
            ) from None

    def output(self, *inputs: Spec) -> Spec:
        return self.trace(inputs, "", [])

    def trace(self, inputs: tuple[Spec, ...], path: str, places: list[Place]) -> Spec:
        specs = {INPUT: inputs[0]}
        for name in self.order:
            node = self.nodes[name]
            with located(name):
                specs[name] = node.layer.trace(tuple(specs[feed] for feed in node.feeds), join(path, name), places)
        result = specs[self.output_node]
        places.append(Place(path, self, inputs, result))
        return result

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        values = {INPUT: inputs[0]}
        for name in self._runs:
            layer, own = self.nodes[self._before.get(name, name)].layer, self.nodes[name].layer
            then = None if layer is own else own
            moments = name in self._normed and any(norm.wants_moments(mode) for norm in self._normed[name])
            fed = [values[feed] for feed in self._feeds(name)]
            with located(name):
                values[name] = layer.run(*fed, mode=mode.inside(name, moments), then=then)
            for feed in self._spent[name]:
                del values[feed]
        return values[self.output_node]


def place_name(kind: str, kinds: Counter[str]) -> str:
    """The name in a Sequential of the next layer of this kind; ``kinds`` counts those before it."""
    kind = kind.lower()
    kinds[kind] += 1
    # A kind that ends in a digit would otherwise make another kind's name.
    return f"{kind}_{kinds[kind]}" if kind[-1:].isdigit() else f"{kind}{kinds[kind]}"


class Sequential(Graph):
    """Layers one after the other: the simplest graph.

    Its layers are named by their kind and count, "conv1", "batchnorm1", "conv2", so that adding a layer of another
    kind renames no parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from convnd import nn
    >>> net = nn.Sequential(nn.Conv(8, 3, activation="relu"), nn.GlobalPool(), nn.Linear(2)).build(ndim=2, channels=1)
    >>> list(net.named_parameters())
    ['conv1.weight', 'conv1.bias', 'linear1.weight', 'linear1.bias']
    >>> net(np.zeros((4, 9, 7, 1), np.float32)).shape
    (4, 2)
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ArgumentError("layers must not be empty. Received: Sequential()")
        kinds: Counter[str] = Counter()
        nodes: dict[str, Layer | Node] = {}
        for number, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise ArgumentError(f"layers[{number}] must be a convnd.nn.Layer. Received: {layer!r}")
            nodes[place_name(type(layer).__name__, kinds)] = layer
        super().__init__(nodes)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order."""
        return tuple(node.layer for node in self.nodes.values())

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)


class Add(Layer):
    """The sum of its inputs, which have one shape and as many channels. Keeps the law.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, equation 1.
    """

    arity = (2, None)
    pointwise = True

    def output(self, *inputs: Spec) -> Spec:
        first = inputs[0]
        for spec in inputs[1:]:
            if (spec.ndim, spec.channels) != (first.ndim, first.channels):
                raise ShapeError(f"Add needs inputs of one rank and as many channels. Received: {_list(inputs)}")
        return _same_shape("Add", inputs, first.channels)

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.add(inputs)


class Concat(Layer):
    """The channels of its inputs, which have one shape, beside one another. Keeps the law.

    Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015; Huang et al., "Densely connected networks", CVPR 2017.
    """

    arity = (2, None)
    pointwise = True

    def output(self, *inputs: Spec) -> Spec:
        if any(spec.ndim != inputs[0].ndim for spec in inputs):
            raise ShapeError(f"Concat needs inputs of one rank. Received: {_list(inputs)}")
        return _same_shape("Concat", inputs, sum(spec.channels for spec in inputs))

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        return ops.concat(inputs)


def _same_shape(name: str, inputs: Sequence[Spec], channels: int) -> Spec:
    shapes = {spec.shape for spec in inputs if spec.shape is not None}
    if len(shapes) > 1:
        raise ShapeError(f"{name} needs inputs of one shape. Received: {_list(inputs)}")
    return Spec(inputs[0].ndim, channels, shapes.pop() if shapes else None)


def _list(inputs: Sequence[Spec]) -> str:
    return "; ".join(map(str, inputs))


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or "." in name or name == INPUT:
        raise ArgumentError(f'a node\'s name must be a string without dots, and not "input". Received: {name!r}')


def _order(nodes: dict[str, Node]) -> list[str]:
    """The nodes so that each comes after all that feed it; as listed, where that will do."""
    order: list[str] = []
    ready = {INPUT}
    waiting = dict(nodes)
    while waiting:
        name = next((name for name, node in waiting.items() if ready.issuperset(node.feeds)), None)
        if name is None:
            raise ArgumentError(f"nodes must not wait for one another in a cycle. Received: {', '.join(waiting)}")
        order.append(name)
        ready.add(name)
        del waiting[name]
    return order
