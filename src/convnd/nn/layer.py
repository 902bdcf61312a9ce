"""What every layer is: parameters made once, a shape rule, a call, a state and a config.

A layer says four things, and the rest follows here for all of them:

* ``output(*inputs)``: the shape rule, from :class:`Spec` to :class:`Spec`, without any array;
* ``make(given, new)``: which parameters and buffers it has for that input;
* ``forward(*inputs, mode=...)``: what it computes on Tensors;
* ``cost(*inputs, output)``: its multiply-adds on one sample.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from ..errors import ArgumentError, DtypeError, ShapeError
from ..random import Key
from ..tensor import Array, Batch, Tensor, no_grad
from ..window import Window
from .init import Initial, draw
from .spec import Mode, Spec, join

if TYPE_CHECKING:
    from .stream import Stream

RESERVED = frozenset({"type", "name", "inputs", "like", "frozen", "of"})  # keys of configs with a meaning of their own


@dataclass(frozen=True)
class Place:
    """One place of a layer in a network. A shared layer has several."""

    path: str
    layer: Layer
    inputs: tuple[Spec, ...]
    output: Spec


class Maker:
    """Collects what ``make`` asks for; each value is drawn from (seed, path of the layer, name) alone."""

    def __init__(self, seed: int, path: str, dtype: str, trainable: bool) -> None:
        self.params: dict[str, Tensor] = {}
        self.buffers: dict[str, Array] = {}
        self._seed, self._path, self._dtype, self._trainable = seed, path, dtype, trainable

    def parameter(self, name: str, shape: tuple[int, ...], init: Initial, fans: tuple[int, int] = (1, 1)) -> None:
        """A new parameter; ``fans`` are the terms of one output's sum and the outputs that one input reaches."""
        values = draw(init, shape, fans, self._seed, join(self._path, name)).astype(self._dtype)
        self.params[name] = Tensor.parameter(values, requires_grad=self._trainable)

    def buffer(self, name: str, shape: tuple[int, ...], value: float) -> None:
        """A new buffer: saved with the parameters, never trained."""
        self.buffers[name] = np.full(shape, value, dtype=self._dtype)


class Layer:
    """Base of all layers. A definition names neither the rank nor the channels of its input.

    Calling a layer follows the law, op(batch) = concat(op(sample)), except where its class says otherwise. A
    built layer may be called from several threads at once in inference; training changes it.

    Examples
    --------
    >>> import numpy as np
    >>> from convnd import nn
    >>> layer = nn.Conv(4, 3).build(ndim=2, channels=1, seed=0)
    >>> layer(np.zeros((2, 8, 9, 1), np.float32)).shape
    (2, 6, 7, 4)
    """

    fixed: ClassVar[tuple[str, ...]] = ()
    """Which fields of its input's Spec the parameters hold a layer to. Empty: it has none and needs no build."""

    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    """The least and the largest number of inputs; None where there is no largest."""

    pointwise: ClassVar[bool] = False
    """Whether, in inference, a position of the result follows from that position of the inputs alone."""

    takes_along: ClassVar[tuple[type[Layer], ...]] = ()
    """Kinds of layers whose work ``forward(..., then=layer)`` does as well, in one go and to the same bits. A network
    asks for that where such a layer is all that follows. A subclass doesn't inherit it: its ``forward`` may differ."""

    types: ClassVar[dict[str, type[Layer]]] = {}
    """Every layer class by its name in configs. A subclass enters itself; a leading underscore keeps it out."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__name__.startswith("_"):
            return
        clash = RESERVED.intersection(inspect.signature(cls.__init__).parameters)
        if clash:
            raise ArgumentError(f"a layer's arguments can't be called {sorted(RESERVED)}. Received: {sorted(clash)}")
        taken = Layer.types.get(cls.__name__)
        if taken is not None and taken.__module__ != cls.__module__:
            raise ArgumentError(f"a layer type of that name exists in {taken.__module__}. Received: {cls.__name__}")
        Layer.types[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.params = {}
        self.buffers = {}
        self.input = None
        self._frozen = False
        return self

    def __init__(self) -> None:
        """No arguments, unless a subclass has some: it keeps each as an attribute of the same name."""

    params: dict[str, Tensor]
    buffers: dict[str, Array]
    input: Spec | None
    """What the layer was built for; None before, and for layers that need no build."""
    _frozen: bool

    # What a layer says about itself.

    def output(self, *inputs: Spec) -> Spec:
        """The shape rule: what comes out for these inputs. Errors name what doesn't fit."""
        raise NotImplementedError(f"{type(self).__name__} has no shape rule")

    def make(self, given: Spec, new: Maker) -> None:
        """Ask ``new`` for the parameters and buffers that an input like ``given`` needs."""

    def forward(self, *inputs: Tensor, mode: Mode) -> Batch:
        """The computation, on Tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def wants_moments(self, mode: Mode) -> bool:
        """Whether it will ask for the moments of its input over the batch."""
        return False

    def cost(self, *inputs: Spec, output: Spec) -> int:
        """Multiply-adds on one sample whose shapes are known."""
        return 0

    def sliding(self, ndim: int) -> Window | None:
        """The window that slides along every axis, of a layer that is one and has its argument ``padding``."""
        return None

    def stream(self) -> Stream:
        """The network on a sequence that comes chunk by chunk along the first axis: see :class:`convnd.nn.Stream`."""
        from .stream import Stream

        return Stream(self)

    def predict(
        self, x: Any, tile: Any = None, overlap: Any = "receptive field", out: Any = None, progress: Any = None
    ) -> Any:
        """The results in inference, of samples in memory or in files, a tile of the result at a time where they are too
        large as a whole: to the bit what the whole gives, with direct convolutions. See :mod:`convnd.nn.predict`."""
        from .predict import predict

        return predict(self, x, tile, overlap, out, progress)

    # Build.

    @property
    def built(self) -> bool:
        """Whether the layer can be called."""
        return not self.fixed or self.input is not None

    def build(self, ndim: int, channels: int, seed: int = 0, shape: Any = None, dtype: str = "float32") -> Self:
        """Make the parameters for inputs of this rank and these channels, once; again changes nothing.

        Parameters
        ----------
        ndim, channels : int
            Of the input.
        seed : int
            Initial values follow from (seed, path of the parameter): a layer added elsewhere doesn't change them.
        shape : int or tuple of ints, optional
            The samples' spatial shape, needed only by what depends on it (flatten into linear).
        dtype : "float32" or "float64"

        Returns
        -------
        The layer itself. On an error nothing has been made.

        Raises
        ------
        ShapeError
            Layers that don't fit together, or a layer that was built for something else.
        """
        given, name = Spec.of(ndim, channels, shape), _dtype_name(dtype)
        made = plan(self, given, lambda layer, path: Maker(seed, path, name, trainable=not layer.frozen))[1]
        for layer, spec, new in made:
            layer.params, layer.buffers, layer.input = new.params, new.buffers, spec
        return self

    def check_input(self, spec: Spec, known: Spec, path: str = "") -> None:
        """Raise a ShapeError if the parameters made for ``known`` don't fit ``spec``."""
        if any(getattr(spec, field) != getattr(known, field) for field in self.fixed):
            wanted = ", ".join(f"{field}={getattr(known, field)}" for field in self.fixed)
            received = ", ".join(f"{field}={getattr(spec, field)}" for field in self.fixed)
            at = f"{path}: " if path else ""
            raise ShapeError(f"{at}{type(self).__name__} was built for {wanted}. Received: {received}")

    def check_arity(self, received: int) -> None:
        """Raise an ArgumentError if the layer doesn't take this many inputs."""
        least, most = self.arity
        if received < least or (most is not None and received > most):
            rule = f"at least {least}" if most is None else f"{least}" if most == least else f"{least} to {most}"
            raise ArgumentError(f"{type(self).__name__} takes {rule} input(s). Received: {received}")

    def trace(self, inputs: tuple[Spec, ...], path: str, places: list[Place]) -> Spec:
        """Apply the shape rule, noting in ``places`` every place passed, children first."""
        result = self.output(*inputs)
        places.append(Place(path, self, inputs, result))
        return result

    # Call.

    def __call__(self, x: Batch, *others: Batch, training: bool = False, rng: Key | None = None) -> Any:
        """The layer on a batch: an ndarray (N, *S, C), a Ragged or a Tensor; the result is of that kind.

        Parameters
        ----------
        x : ndarray, Ragged or Tensor
            float32 or float64, as the parameters. Gradients flow where it is a Tensor.
        others : the same
            Further inputs of the layers that have several (joins, ``ConvTranspose``).
        training : bool
            Whether batch normalisation uses the batch's own statistics, and dropout drops.
        rng : Key, optional
            Random layers draw from it and from their place in the network; they need it in training.
        """
        mode = Mode(bool(training), rng)
        recorded = isinstance(x, Tensor)
        inputs = [x if isinstance(x, Tensor) else Tensor(x)]
        for other in others:
            recorded = recorded or isinstance(other, Tensor)
            inputs.append(other if isinstance(other, Tensor) else Tensor(other))
        if recorded:
            return self.run(*inputs, mode=mode)
        with no_grad():
            return self.run(*inputs, mode=mode).numpy()

    def run(self, *inputs: Tensor, mode: Mode, then: Layer | None = None) -> Tensor:
        """``forward``, after a check that the layer is built and the input is what it was built for."""
        if not self.built:
            raise ArgumentError(f"call build(ndim, channels) before the layer itself. Received: an unbuilt {self!r}")
        least, most = self.arity
        if not len(inputs) == least == most:
            self.check_arity(len(inputs))
        x, known = inputs[0], self.input
        if known is not None and x.layout is not None:
            ndim, channels = x.layout.ndim, x.values.shape[-1]
            if ndim != known.ndim or channels != known.channels or "shape" in self.fixed:
                self.check_input(Spec(ndim, channels), known)
        dtype = x.values.dtype
        for parameter in self.params.values():
            own = parameter.values.dtype
            if own != dtype:
                raise DtypeError(
                    f"{type(self).__name__} was built in {own}: cast the input, x.astype(np.{own}). "
                    f"Received: dtype {dtype}"
                )
            break  # all are alike
        along = {} if then is None else {"then": then}
        return cast(Tensor, self.forward(*inputs, mode=mode, **along))

    # Parameters and state.

    def children(self) -> Iterator[tuple[str, Layer]]:
        """(name, layer) of the layers inside, as listed."""
        yield from ()

    def walk(self, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Layer]]:
        """(path, layer) of this layer and all inside it, a shared one at its first place only."""
        seen = set() if seen is None else seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield path, self
        for name, child in self.children():
            yield from child.walk(join(path, name), seen)

    def parameters(self) -> list[Tensor]:
        """All parameters, each shared one once, frozen ones too."""
        return list(self.named_parameters().values())

    def named_parameters(self) -> dict[str, Tensor]:
        """All parameters by their path, such as "conv1.weight"."""
        return {join(path, name): value for path, layer in self.walk() for name, value in layer.params.items()}

    def state(self) -> dict[str, Array]:
        """Copies of all parameters and buffers (running statistics) by their path."""
        state: dict[str, Array] = {}
        for path, layer in self.walk():
            state |= {join(path, name): value.values.copy() for name, value in layer.params.items()}
            state |= {join(path, name): value.copy() for name, value in layer.buffers.items()}
        return state

    def load_state(self, state: dict[str, Array]) -> Self:
        """Take the values of :meth:`state` of a network of the same definition. On an error nothing has changed.

        Raises
        ------
        ArgumentError
            Names that are missing or not expected, or an unbuilt layer.
        ShapeError, DtypeError
            A value whose shape or dtype is another.
        """
        if not self.built:
            raise ArgumentError(f"call build(ndim, channels) before load_state. Received: an unbuilt {self!r}")
        own = self.state()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unexpected:
            raise ArgumentError(
                f"the state must have the names of this network's. Received: missing {missing}, unexpected {unexpected}"
            )
        for name, value in own.items():
            _check_value(name, np.asarray(state[name]), value)
        for path, layer in self.walk():
            for name, parameter in layer.params.items():
                parameter.assign(np.array(state[join(path, name)]))
            for name in layer.buffers:
                layer.buffers[name] = np.array(state[join(path, name)])
        return self

    @property
    def frozen(self) -> bool:
        """Whether :meth:`freeze` was called on it, or on a network around it, last."""
        return self._frozen

    def freeze(self) -> Self:
        """Keep every parameter of this layer as it is: no gradients, and batch normalisation keeps its statistics."""
        return self._set_frozen(True)

    def unfreeze(self) -> Self:
        """Undo :meth:`freeze`."""
        return self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> Self:
        for _, layer in self.walk():
            layer._frozen = frozen
            for parameter in layer.params.values():
                parameter.requires_grad = not frozen
        return self

    # Config.

    def config(self) -> dict[str, Any]:
        """The definition as plain data for JSON or TOML; :func:`from_config` makes the layer again (unbuilt)."""
        from .config import to_config

        return to_config(self)

    def __repr__(self) -> str:
        from .config import to_source

        return to_source(self)


def plan(
    net: Layer, given: Spec, maker: Callable[[Layer, str], Maker]
) -> tuple[list[Place], list[tuple[Layer, Spec, Maker]]]:
    """Every place that an input passes, a network after its parts; and what each unbuilt layer is to be made of.

    The whole of the network is checked, shared layers at all their places, and nothing is changed.
    """
    places: list[Place] = []
    net.trace((given,), "", places)
    paths = {id(layer): path for path, layer in net.walk()}
    made: dict[int, tuple[Layer, Spec, Maker]] = {}
    for place in places:
        layer, spec = place.layer, place.inputs[0]
        known = made[id(layer)][1] if id(layer) in made else layer.input
        if known is not None:
            layer.check_input(spec, known, place.path)
        elif layer.fixed:
            new = maker(layer, paths[id(layer)])
            layer.make(spec, new)
            made[id(layer)] = (layer, spec, new)
    return places, list(made.values())


def _dtype_name(dtype: Any) -> str:
    """ "float32" or "float64", from whatever NumPy takes for it."""
    try:
        name = str(np.dtype(dtype))
    except TypeError:
        name = ""
    if name not in ("float32", "float64"):
        raise DtypeError(f"dtype must be float32 or float64. Received: dtype={dtype!r}")
    return name


def _check_value(name: str, value: Array, own: Array) -> None:
    if value.shape != own.shape:
        raise ShapeError(f"{name} must have shape {own.shape}. Received: {value.shape}")
    if value.dtype != own.dtype:
        raise DtypeError(
            f"{name} must be {own.dtype}: cast it with .astype({str(own.dtype)!r}). Received: {value.dtype}"
        )
