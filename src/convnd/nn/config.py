"""Definitions as data and as source: ``config()``, :func:`from_config` and ``repr``."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ArgumentError
from .arguments import flag
from .graph import Graph, Node, Sequential, place_name
from .layer import Layer
from .spec import join, located

SHARED = "Shared"


def from_config(config: Mapping[str, Any]) -> Layer:
    """The layer, unbuilt, that a ``config()`` describes.

    Parameters
    ----------
    config : mapping
        "type" and the layer's arguments; those left out have their defaults. A Sequential has "layers", a list; a
        Graph has "nodes", a list of layers with "name", "inputs" (default: the node before) and "like" beside their
        arguments, and "output". {"type": "Shared", "of": path} is the layer at ``path`` again, with its parameters.

    Raises
    ------
    ArgumentError
        A type or an argument that doesn't exist, is missing or has a wrong value; the message says where.

    Examples
    --------
    >>> from_config({"type": "Conv", "filters": 8, "kernel": [3, 5]})
    Conv(8, (3, 5))
    >>> from_config({"type": "Conv", "filter": 8})
    Traceback (most recent call last):
    convnd.errors.ArgumentError: Conv has the arguments filters, kernel, stride, padding, dilation, groups, bias, \
activation, init, algorithm. Received: 'filter'
    """
    return _from(config, "", {})


def to_config(layer: Layer) -> dict[str, Any]:
    """What :func:`from_config` makes this layer of."""
    return _to_config(layer, "", {})


def to_source(layer: Layer) -> str:
    """The expression that makes this layer, in the namespace of :mod:`convnd.nn`."""
    uses = Counter(_uses(layer))
    return _Source({key for key, times in uses.items() if times > 1}).of(layer)


def _argument_names(kind: type[Layer]) -> list[str]:
    return [parameter.name for parameter in _parameters(kind)]


def _parameters(kind: type[Layer]) -> list[inspect.Parameter]:
    return list(inspect.signature(kind.__init__).parameters.values())[1:]


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON and TOML have them."""
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _to_config(layer: Layer, path: str, seen: dict[int, str]) -> dict[str, Any]:
    if id(layer) in seen:
        return {"type": SHARED, "of": seen[id(layer)]}
    seen[id(layer)] = path
    config: dict[str, Any] = {"type": type(layer).__name__}
    if type(layer) is Sequential:
        config["layers"] = [_to_config(child, join(path, name), seen) for name, child in layer.children()]
    elif type(layer) is Graph:
        config["nodes"] = [_node_config(name, node, path, seen) for name, node in layer.nodes.items()]
        config["output"] = layer.output_node
    else:
        given = {name: _plain(getattr(layer, name)) for name in _argument_names(type(layer))}
        config |= {name: value for name, value in given.items() if value is not None}
        if layer.frozen and layer.fixed:
            config["frozen"] = True
        for inner, part in layer.walk(path):
            seen.setdefault(id(part), inner)
    return config


def _node_config(name: str, node: Node, path: str, seen: dict[int, str]) -> dict[str, Any]:
    config = {"name": name} | _to_config(node.layer, join(path, name), seen) | {"inputs": list(node.inputs)}
    return config if node.like is None else config | {"like": node.like}


def _from(config: Any, path: str, made: dict[str, Layer]) -> Layer:
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise ArgumentError(f'a layer\'s config must be a table with a "type". Received: {config!r}')
    kind, rest = config["type"], {key: value for key, value in config.items() if key != "type"}
    if kind == SHARED:
        if list(rest) != ["of"] or not isinstance(rest["of"], str) or rest["of"] not in made:
            raise ArgumentError(f'{SHARED} needs "of", the path of a layer listed before. Received: {rest}')
        return made[rest["of"]]
    layer = _make(kind, rest, path, made)
    for inner, part in layer.walk(path):
        made.setdefault(inner, part)
    return layer


def _make(kind: str, rest: dict[str, Any], path: str, made: dict[str, Layer]) -> Layer:
    if kind not in Layer.types:
        raise ArgumentError(f"type must be one of {', '.join(sorted(Layer.types))}, {SHARED}. Received: type={kind!r}")
    if kind == "Sequential":
        return _make_sequential(rest, path, made)
    if kind == "Graph":
        return _make_graph(rest, path, made)
    frozen = flag(rest.pop("frozen", False), "frozen")
    _check_arguments(kind, rest)
    layer = Layer.types[kind](**rest)
    return layer.freeze() if frozen else layer


def _check_arguments(kind: str, rest: dict[str, Any]) -> None:
    parameters = _parameters(Layer.types[kind])
    names = [parameter.name for parameter in parameters]
    for name in rest:
        if name not in names:
            raise ArgumentError(f"{kind} has the arguments {', '.join(names) or '(none)'}. Received: {name!r}")
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in rest:
            raise ArgumentError(f"{kind} needs {parameter.name!r}. Received: {rest}")


def _entries(kind: str, name: str, rest: dict[str, Any], allowed: tuple[str, ...]) -> list[Any]:
    unknown = [key for key in rest if key not in allowed]
    if unknown or not isinstance(rest.get(name), list):
        raise ArgumentError(f'{kind} has the keys {", ".join(allowed)}, "{name}" a list. Received: {sorted(rest)}')
    entries: list[Any] = rest[name]
    return entries


def _make_sequential(rest: dict[str, Any], path: str, made: dict[str, Layer]) -> Layer:
    layers: list[Layer] = []
    kinds: Counter[str] = Counter()
    for number, entry in enumerate(_entries("Sequential", "layers", rest, ("layers",))):
        with located(f"layers[{number}]"):
            layers.append(_from(entry, join(path, place_name(_kind(entry, made), kinds)), made))
    return Sequential(*layers)


def _kind(entry: Any, made: dict[str, Layer]) -> str:
    """The type of a layer, that of the other place for a shared one. What is wrong is for :func:`_from` to say."""
    if not isinstance(entry, Mapping):
        return ""
    if entry.get("type") == SHARED and str(entry.get("of")) in made:
        return type(made[str(entry["of"])]).__name__
    return str(entry.get("type"))


def _make_graph(rest: dict[str, Any], path: str, made: dict[str, Layer]) -> Layer:
    nodes: dict[str, Layer | Node] = {}
    for number, entry in enumerate(_entries("Graph", "nodes", rest, ("nodes", "output"))):
        with located(f"nodes[{number}]"):
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or name in nodes:
                raise ArgumentError(f'a node must be a table with a "name" of its own. Received: {entry!r}')
            inputs = entry.get("inputs", [])
            if not isinstance(inputs, list):
                raise ArgumentError(f"inputs must be a list of names. Received: inputs={inputs!r}")
            plain = {key: value for key, value in entry.items() if key not in ("name", "inputs", "like")}
            nodes[name] = Node(_from(plain, join(path, name), made), *inputs, like=entry.get("like"))
    return Graph(nodes, rest.get("output"))


def _uses(layer: Layer) -> Iterator[int]:
    """The id of every layer at each of its places, those inside a shared one once."""
    todo, expanded = [layer], set()
    while todo:
        current = todo.pop()
        yield id(current)
        if id(current) not in expanded and type(current) in (Sequential, Graph):
            expanded.add(id(current))
            todo.extend(child for _, child in current.children())


class _Source:
    """Writes expressions; a layer with several places is named at the first, as in Graph({"a": (shared1 := ...)})."""

    def __init__(self, shared: set[int]) -> None:
        self._shared = shared
        self._names: dict[int, str] = {}

    def of(self, layer: Layer) -> str:
        if id(layer) in self._names:
            return self._names[id(layer)]
        if id(layer) not in self._shared:
            return self._new(layer)
        name = self._names[id(layer)] = f"shared{len(self._names) + 1}"
        return f"({name} := {self._new(layer)})"

    def _new(self, layer: Layer) -> str:
        frozen = ".freeze()" if layer.frozen and layer.fixed else ""
        if type(layer) is Sequential:
            return f"Sequential({', '.join(self.of(child) for child in layer.layers)})"
        if type(layer) is Graph:
            return self._graph(layer)
        return f"{type(layer).__name__}({', '.join(_given(layer))}){frozen}"

    def _graph(self, graph: Graph) -> str:
        nodes, before = [], "input"
        for name, node in graph.nodes.items():
            plain = node.like is None and node.inputs == (before,)
            nodes.append(f"{name!r}: {self.of(node.layer) if plain else self._node(node)}")
            before = name
        output = "" if graph.output_node == before else f", output={graph.output_node!r}"
        return f"Graph({{{', '.join(nodes)}}}{output})"

    def _node(self, node: Node) -> str:
        like = [] if node.like is None else [f"like={node.like!r}"]
        return f"Node({', '.join([self.of(node.layer), *map(repr, node.inputs), *like])})"


def _given(layer: Layer) -> list[str]:
    """The arguments that aren't the default's, those without a default first and without their names."""
    given = []
    for parameter in _parameters(type(layer)):
        value = getattr(layer, parameter.name)
        if parameter.default is parameter.empty:
            given.append(repr(value))
        elif value != parameter.default:
            given.append(f"{parameter.name}={value!r}")
    return given
