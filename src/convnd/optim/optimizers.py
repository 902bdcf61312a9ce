"""Optimisers: in-place updates of parameters by their gradients; and clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..errors import ArgumentError, ShapeError

Array = NDArray[Any]


class Parameter(Protocol):
    """What an optimiser needs of a parameter; a convnd Tensor without a layout has it."""

    values: Array
    requires_grad: bool

    @property
    def grad(self) -> Any: ...
    @grad.setter
    def grad(self, grad: Any) -> None: ...
    def changed(self) -> None: ...


class _Change(NamedTuple):
    """What one parameter's step takes; ``step`` counts from 1."""

    values: Array
    grad: Array
    moments: dict[str, Array]
    step: int


class Optimizer:
    """What the optimisers share: parameters, a learning rate that may be set at any time, and a state.

    ``state()`` is a flat dict of arrays: "lr", "steps" (of each parameter) and the moments of each
    parameter by its number. Loading it into an optimiser of the same kind and parameters continues to
    the same bits.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ArgumentError("parameters must hold at least one parameter. Received: none; is the network built?")
        for number, parameter in enumerate(self.parameters):
            if not callable(getattr(parameter, "changed", None)):
                raise ArgumentError(f"parameters must be Tensors. Received: parameters[{number}]={parameter!r}")
        if len({id(parameter) for parameter in self.parameters}) != len(self.parameters):
            raise ArgumentError("parameters must hold each parameter once. Received: one of them twice")
        self.lr = lr
        self.weight_decay = _at_least("weight_decay", weight_decay, 0)
        self._steps = np.zeros(len(self.parameters), dtype=np.int64)  # of each: one may thaw later than others
        self._moments: list[dict[str, Array]] = [{} for _ in self.parameters]

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = _at_least("lr", lr, 0)

    def step(self) -> None:
        """Change every parameter that isn't frozen and has a gradient."""
        changes, numbers = [], []
        for number, parameter in enumerate(self.parameters):
            grad = parameter.grad
            if not parameter.requires_grad or grad is None:
                continue
            moments = self._moments[number]
            for slot in self.slots:
                if slot not in moments:
                    moments[slot] = np.zeros_like(parameter.values)
            changes.append(_Change(parameter.values, grad, moments, int(self._steps[number]) + 1))
            numbers.append(number)
        if not changes:
            return
        self._update(changes)
        self._steps[numbers] += 1
        for number in numbers:
            self.parameters[number].changed()

    def _update(self, changes: Sequence[_Change]) -> None:
        """Change values and moments in place, never gradients."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all that the next steps depend on, beside the parameters and their gradients."""
        arrays: dict[str, NDArray[Any]] = {"lr": np.asarray(self.lr), "steps": self._steps.copy()}
        for number, moments in enumerate(self._moments):
            arrays |= {f"{number}.{slot}": array.copy() for slot, array in moments.items()}
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from ``state()`` of an optimiser of the same kind and parameters; another changes nothing."""
        for name, shape in (("lr", ()), ("steps", (len(self.parameters),))):
            if name not in state or np.shape(state[name]) != shape:
                raise ArgumentError(f"state must hold {name!r} of shape {shape}. Received: {sorted(state)}")
        loaded: list[dict[str, Array]] = [{} for _ in self.parameters]
        for name, array in state.items():
            if name in ("lr", "steps"):
                continue
            number, _, slot = name.partition(".")
            if not number.isdigit() or int(number) >= len(loaded) or slot not in self.slots:
                raise ArgumentError(
                    f"state must be of {type(self).__name__} with {len(loaded)} parameters. Received: an entry {name!r}"
                )
            own = self.parameters[int(number)].values
            if np.shape(array) != own.shape or np.asarray(array).dtype != own.dtype:
                raise ShapeError(
                    f"state[{name!r}] must be {own.dtype} of shape {own.shape}. "
                    f"Received: {np.asarray(array).dtype} of shape {np.shape(array)}"
                )
            loaded[int(number)][slot] = np.array(array, order="C")
        self.lr = float(state["lr"])
        self._steps = np.array(state["steps"], dtype=np.int64)
        self._moments = loaded


class SGD(Optimizer):
    """Stochastic gradient descent: ``v = momentum v + grad; p -= lr v``; Nesterov's steps by ``grad + momentum v``.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    momentum : float
        At least 0 and below 1.
    nesterov : bool
        Needs a momentum.
    weight_decay : float
        ``weight_decay * p`` is added to the gradient.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Sutskever, Martens, Dahl, Hinton,
    "On the importance of initialization and momentum in deep learning", ICML 2013 (in the form PyTorch gives it).

    Examples
    --------
    >>> from convnd import Tensor
    >>> p = Tensor.parameter(np.array([1.0]))
    >>> p.grad = np.array([2.0])
    >>> SGD([p], lr=0.25, momentum=0.9).step()
    >>> p.values.tolist()
    [0.5]
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum = _share("momentum", momentum)
        if nesterov and not momentum:
            raise ArgumentError("nesterov needs a momentum above 0. Received: nesterov=True, momentum=0")
        self.nesterov = bool(nesterov)
        self.slots = ("momentum",) if momentum else ()

    def _update(self, changes: Sequence[_Change]) -> None:
        kernels.descent(
            [(change.values, change.grad, change.moments.get("momentum")) for change in changes],
            rate=self.lr, momentum=self.momentum, nesterov=self.nesterov, pull=self.weight_decay,
        )  # fmt: skip


class Adam(Optimizer):
    """Adam: ``p -= lr m' / (sqrt(v') + eps)``, m' and v' the bias-corrected means of the gradient and of its square.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    betas : two floats
        How much of the two means stays at each step; at least 0 and below 1.
    eps : float
    weight_decay : float
        ``weight_decay * p`` is added to the gradient. :class:`AdamW` is usually the better choice.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.

    Examples
    --------
    >>> from convnd import Tensor
    >>> p = Tensor.parameter(np.array([1.0]))
    >>> p.grad = np.array([3.0])
    >>> Adam([p], lr=0.1).step()
    >>> p.values.round(6).tolist()
    [0.9]
    """

    slots = ("mean", "square")
    decoupled = False  # whether weight decay passes the gradient's means by

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if len(betas) != 2:
            raise ArgumentError(f"betas must be two numbers. Received: betas={betas!r}")
        self.betas = (_share("betas[0]", betas[0]), _share("betas[1]", betas[1]))
        self.eps = _at_least("eps", eps, 0)

    def _update(self, changes: Sequence[_Change]) -> None:
        first, second = self.betas
        decay = self.weight_decay
        pull, shrink = (0.0, self.lr * decay) if self.decoupled else (decay, 0.0)
        kernels.adam(
            [(change.values, change.grad, change.moments["mean"], change.moments["square"]) for change in changes],
            [(self.lr / (1 - first**change.step), math.sqrt(1 - second**change.step)) for change in changes],
            betas=self.betas, eps=self.eps, pull=pull, shrink=shrink,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p -= lr weight_decay p`` beside Adam's own step.

    Parameters are those of :class:`Adam`; ``weight_decay`` is 0.01 unless given.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> from convnd import Tensor
    >>> p = Tensor.parameter(np.array([1.0]))
    >>> p.grad = np.array([3.0])
    >>> AdamW([p], lr=0.1, weight_decay=0.5).step()
    >>> p.values.round(6).tolist()
    [0.85]
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)


def clip_grad_norm(parameters: Iterable[Parameter], limit: float) -> float:
    """Scale all gradients, in place, so that their common Euclidean norm is at most ``limit``; return what it was.

    The norm is over all parameters as if they were one vector, in float64. A norm that isn't finite is
    returned and nothing is scaled: the caller decides.

    References
    ----------
    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013; *Deep Learning*,
    section 10.11.1.

    Examples
    --------
    >>> from convnd import Tensor
    >>> p = Tensor.parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm([p], 1.0), p.grad.tolist()
    (5.0, [0.6000000000000001, 0.8])
    """
    if not limit > 0:
        raise ArgumentError(f"limit must be positive. Received: limit={limit!r}")
    grads = [parameter.grad for parameter in parameters if parameter.requires_grad and parameter.grad is not None]
    norm = math.sqrt(math.fsum(float(np.sum(np.square(grad, dtype=np.float64))) for grad in grads))
    if math.isfinite(norm) and norm > limit:
        for grad in grads:
            grad *= limit / norm
    return norm


def _at_least(name: str, value: float, least: float) -> float:
    if not isinstance(value, (int, float, np.floating, np.integer)) or not least <= value < math.inf:
        raise ArgumentError(f"{name} must be a finite number of at least {least}. Received: {name}={value!r}")
    return float(value)


def _share(name: str, value: float) -> float:
    if not isinstance(value, (int, float, np.floating)) or not 0 <= value < 1:
        raise ArgumentError(f"{name} must be at least 0 and below 1. Received: {name}={value!r}")
    return float(value)
