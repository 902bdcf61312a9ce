"""Tensor and the tape: reverse-mode differentiation over arrays of positions and channels.

A recorded result remembers its parents and one function that maps its gradient to theirs. Going
back visits results from the newest to the oldest, so a result's gradient is complete before it is
passed on, and the order of every sum is fixed.

The idea of a tape of vector-Jacobian products follows Maclaurin, Duvenaud and Adams, "Autograd:
Effortless gradients in NumPy", AutoML workshop at ICML 2015; in the *Deep Learning* book it is the
back-propagation of section 6.5.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar
from numbers import Real
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import kernels
from .errors import ArgumentError, DtypeError, ShapeError
from .kernels.checks import in_rows
from .layout import Layout, Ragged, position_numbers, sample_numbers

Array = NDArray[Any]
Kind = Literal["dense", "ragged", "array"]
GradFn = Callable[[Array], Sequence[Array | None]]

_recording: ContextVar[bool] = ContextVar("convnd_recording", default=True)
_serial = itertools.count()
_accumulate_lock = threading.Lock()  # two threads may go back to one parameter


class no_grad(ContextDecorator):
    """Record nothing inside: a context, or a decorator. It holds for the calling thread alone.

    >>> x = Tensor(np.ones((1, 2)), requires_grad=True)
    >>> with no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """

    # A class, since it surrounds calls of layers, and a generator's context takes several times as long.

    __slots__ = ("_token",)

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # for each call of what it decorates

    def __enter__(self) -> None:
        self._token = _recording.set(False)

    def __exit__(self, *failure: object) -> None:
        _recording.reset(self._token)


def is_recording() -> bool:
    """Whether the calling thread records, that is, isn't inside :func:`no_grad`."""
    return _recording.get()


DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check_dtype(array: Array, name: str) -> None:
    """Refuse what isn't float32 or float64, and name the cast."""
    if array.dtype not in DTYPES:
        raise DtypeError(
            f"{name} must be float32 or float64; cast it: {name}.astype(np.float32). Received: dtype {array.dtype}"
        )


def check_same_dtype(array: Array, name: str, other: Array, other_name: str) -> None:
    """Refuse operands of two dtypes, and name the cast."""
    if array.dtype != other.dtype:
        raise DtypeError(
            f"{name} must have the dtype of {other_name}, {other.dtype}; cast it: {name}.astype(np.{other.dtype}). "
            f"Received: dtype {array.dtype}"
        )


class _Node:
    """How one result was made: its parents, their versions then, and the way back to them."""

    __slots__ = ("grad_fn", "parents", "serial", "versions")

    def __init__(self, parents: tuple[Tensor, ...], grad_fn: GradFn) -> None:
        self.parents = parents
        self.versions = tuple(parent.version for parent in parents)
        self.grad_fn: GradFn | None = grad_fn
        self.serial = next(_serial)

    def free(self) -> None:
        self.grad_fn = None
        self.parents = ()


class Tensor:
    """Values with a layout that remember how they were computed.

    Parameters
    ----------
    x : ndarray (N, *S, C) or Ragged
        float32 or float64. An array makes a "dense" tensor, a Ragged a "ragged" one; the tensor,
        its ``numpy()`` and its ``grad`` keep that kind. Contiguous values are shared, not copied.
    requires_grad : bool
        Whether :meth:`backward` of a result leaves a gradient here.

    Attributes
    ----------
    values : ndarray (P, C), all positions one after the other; a parameter's own shape.
    layout : Layout, or None for a parameter and for the one number of a loss.
    kind : "dense", "ragged", or "array" (no layout).
    version, packs : a parameter's count of changes, and what follows from its value (packed copies), dropped at each; a
        result's packs may hold the moments of its channels.

    Raises
    ------
    DtypeError
        If ``x`` isn't float32 or float64.
    ShapeError
        If ``x`` has no axis of samples or none of channels.

    Examples
    --------
    >>> x = Tensor(np.array([[1.0, 2.0]]), requires_grad=True)
    >>> y = x * x + 3 * x
    >>> y.backward(np.ones((1, 2)))
    >>> x.grad.tolist()
    [[5.0, 7.0]]
    """

    __slots__ = ("__weakref__", "_grad", "_node", "kind", "layout", "packs", "requires_grad", "values", "version")
    __array_ufunc__ = None  # so that ndarray + Tensor comes to Tensor.__radd__

    values: Array
    layout: Layout | None
    kind: Kind
    requires_grad: bool
    version: int
    packs: dict[Any, Any]

    def __init__(self, x: ArrayLike | Ragged, requires_grad: bool = False) -> None:
        if isinstance(x, Ragged):
            check_dtype(x.values, "x")
            self._fill(x.values, x.layout, "ragged", bool(requires_grad))
            return
        array = np.asarray(x)
        check_dtype(array, "x")
        shape = array.shape
        if len(shape) < 2:
            raise ShapeError(f"x must be (samples, *shape, channels) or a Ragged. Received: shape {shape}")
        layout = Layout.dense(shape[0], shape[1:-1])
        self._fill(array.reshape(layout.positions, shape[-1]), layout, "dense", bool(requires_grad))

    def _fill(self, values: Array, layout: Layout | None, kind: Kind, requires_grad: bool) -> None:
        self.values = values if values.flags.c_contiguous or in_rows(values) else np.ascontiguousarray(values)
        self.layout = layout
        self.kind = kind
        self.requires_grad = requires_grad
        self.version = 0
        self.packs = {}
        self._grad: Array | None = None
        self._node: _Node | None = None

    @classmethod
    def of(cls, values: Array, layout: Layout | None, kind: Kind, requires_grad: bool = False) -> Tensor:
        """A tensor from its parts, which are trusted: ``values`` (P, C), or any shape without a layout."""
        tensor = cls.__new__(cls)
        tensor._fill(values, layout, kind, requires_grad)
        return tensor

    @classmethod
    def parameter(cls, values: ArrayLike, requires_grad: bool = True) -> Tensor:
        """A parameter: a tensor of any shape without a layout, which owns a copy of ``values``.

        >>> p = Tensor.parameter(np.zeros((3, 1, 8), np.float32))
        >>> p.values.shape, p.layout, p.requires_grad
        ((3, 1, 8), None, True)
        """
        own = np.array(values, order="C", copy=True)
        check_dtype(own, "values")
        return cls.of(own, None, "array", requires_grad)

    # What it holds

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.values.dtype

    @property
    def channels(self) -> int:
        """The size of the last axis."""
        return int(self.values.shape[-1])

    def numpy(self) -> Any:
        """The values in the tensor's own kind: an ndarray (N, *S, C), a Ragged, or a parameter's array. No copy."""
        return self._in_kind(self.values)

    def detach(self) -> Tensor:
        """A tensor of the same values that remembers nothing and requires no gradient."""
        return Tensor.of(self.values, self.layout, self.kind)

    def _in_kind(self, values: Array) -> Any:
        if self.layout is None:
            return values
        if self.kind == "ragged":
            return Ragged(values, self.layout)
        return values.reshape((*self.layout.box, values.shape[1]))

    @property
    def grad(self) -> Any:
        """The gradient so far, in the tensor's own kind; None before the first :meth:`backward`."""
        return None if self._grad is None else self._in_kind(self._grad)

    @grad.setter
    def grad(self, grad: Any) -> None:
        self._grad = None if grad is None else self._from_kind(grad)

    def _from_kind(self, given: Any) -> Array:
        """The values of a gradient that came in the tensor's own kind."""
        if isinstance(given, Tensor):
            given = given.numpy()
        want = self.numpy()
        if isinstance(want, Ragged):
            if not isinstance(given, Ragged) or given.layout != want.layout:
                raise ShapeError(f"grad must be a Ragged of the tensor's layout. Received: {given!r}")
            given = given.values
            want = want.values
        given = np.asarray(given)
        if given.shape != want.shape:
            raise ShapeError(f"grad must have the tensor's shape {want.shape}. Received: shape {given.shape}")
        check_same_dtype(given, "grad", self.values, "the tensor")
        return np.asarray(given.reshape(self.values.shape), order="C")

    def __len__(self) -> int:
        if self.layout is None:
            raise TypeError("a tensor without a layout has no samples, so no len()")
        return len(self.layout)

    def __float__(self) -> float:
        if self.values.size != 1:
            raise TypeError(f"only a tensor of one number becomes a float. Received: {self!r}")
        return float(self.values.reshape(()))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        # Without this NumPy would take a tensor for a sequence of its samples; and the tape would be lost unseen.
        raise TypeError("a Tensor isn't turned into an array by itself; use .numpy() or .values")

    def __repr__(self) -> str:
        grad = ", requires_grad" if self.requires_grad else ""
        if self.layout is None:
            return f"<Tensor {self.values.shape}, {self.dtype}{grad}>"
        return f"<{self.kind} Tensor of {len(self)} samples, {self.channels} channels, {self.dtype}{grad}>"

    # What changes it

    def assign(self, values: ArrayLike) -> None:
        """Copy new values into a parameter, in place. The shape and dtype stay."""
        given = np.asarray(values)
        if given.shape != self.values.shape:
            raise ShapeError(
                f"values must have the parameter's shape {self.values.shape}. Received: shape {given.shape}"
            )
        check_same_dtype(given, "values", self.values, "the parameter")
        np.copyto(self.values, given)
        self.changed()

    def changed(self) -> None:
        """Say that ``values`` was changed in place: the version goes up, the packed copies are dropped."""
        self.version += 1
        self.packs = {}  # a new dict: a kernel in another thread may still be reading the old one

    def __getstate__(self) -> dict[str, Any]:
        # The tape and the gradient stay behind: what was recorded comes back as a plain value.
        return {
            "values": self.values,
            "layout": self.layout,
            "kind": self.kind,
            "requires_grad": self.requires_grad and self._node is None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fill(state["values"], state["layout"], state["kind"], state["requires_grad"])

    # The way back

    def backward(self, grad: Any = None) -> None:
        """Add the gradient of this result to ``.grad`` of every leaf that requires it, and free the tape.

        Parameters
        ----------
        grad : the gradient with respect to this result, in its own kind
            Not needed where the result is one number, such as a loss: it is 1 then.

        Raises
        ------
        ArgumentError
            If nothing was recorded, if the tape was freed by an earlier call, if ``grad`` is
            missing, or if a parameter was changed since it was used. No gradient is changed then.
        """
        if not self.requires_grad:
            raise ArgumentError(
                "backward needs a result that depends on a tensor with requires_grad=True, made outside no_grad; "
                "nothing was recorded"
            )
        if grad is None:
            if self.values.size != 1:
                raise ArgumentError(
                    "backward needs grad, the gradient with respect to this result, unless the result is one number. "
                    f"Received: no grad, values of shape {self.values.shape}"
                )
            seed = np.ones_like(self.values)
        else:
            seed = self._from_kind(grad)
        waiting: dict[int, Array] = {id(self): seed}
        results = _oldest_first(self)
        while results:
            result = results.pop()  # nothing but the caller holds it from here on, so its values can go
            gradient = waiting.pop(id(result), None)
            node = result._node
            if node is None:
                if gradient is not None:
                    result._accumulate(gradient)
                continue
            if gradient is not None and node.grad_fn is not None:
                for parent, part in zip(node.parents, node.grad_fn(gradient), strict=True):
                    if part is None or not parent.requires_grad:
                        continue
                    known = waiting.get(id(parent))
                    waiting[id(parent)] = np.asarray(part) if known is None else kernels.add(known, np.asarray(part))
            node.free()

    def _accumulate(self, gradient: Array) -> None:
        with _accumulate_lock:
            if self._grad is None:
                self._grad = gradient.copy()  # parts may be shared between leaves
            else:
                self._grad += gradient

    # Samples

    def __getitem__(self, key: Any) -> Tensor:
        """The chosen samples, as a batch of the same kind: by one int, a slice, ints, or a mask."""
        if self.layout is None:
            raise ArgumentError("a tensor without a layout has no samples to choose from")
        chosen = sample_numbers(key, len(self))
        rows = position_numbers(self.layout, chosen)

        def grad_fn(g: Array) -> tuple[Array]:
            whole = np.zeros_like(self.values)
            if isinstance(rows, slice) or len(np.unique(chosen)) == len(chosen):
                whole[rows] = g
            else:
                np.add.at(whole, rows, g)
            return (whole,)

        return record(self.values[rows], self.layout.take(chosen), self.kind, (self,), grad_fn)

    # Arithmetic

    def __add__(self, other: Any) -> Tensor:
        return _arithmetic("+", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _arithmetic("+", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _arithmetic("-", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _arithmetic("-", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _arithmetic("*", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _arithmetic("*", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _arithmetic("/", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _arithmetic("/", other, self)

    def __neg__(self) -> Tensor:
        return record(-self.values, self.layout, self.kind, (self,), lambda g: (-g,))


Batch = Array | Ragged | Tensor
X = TypeVar("X", bound=Batch)  # an operation gives back the kind it was given


def dense_shape(layout: Layout) -> tuple[int, ...]:
    """The spatial shape all samples of a dense batch have; zeros if there are none."""
    return layout.box[1:]


def record(values: Array, layout: Layout | None, kind: Kind, parents: Sequence[Tensor], grad_fn: GradFn) -> Tensor:
    """A result, with the way back if any parent requires a gradient and the thread records.

    ``grad_fn(g)`` takes the gradient of ``values`` and gives one array, of the parent's ``values``
    shape, or None for each parent. It may skip parents that don't require a gradient.
    """
    result = Tensor.of(np.asarray(values), layout, kind)
    for parent in parents:
        if parent.requires_grad and _recording.get():
            result.requires_grad = True
            result._node = _Node(tuple(parents), grad_fn)
            break
    return result


def _oldest_first(result: Tensor) -> list[Tensor]:
    """All that ``result`` was computed from: leaves, then recorded results from the oldest to the newest."""
    seen = {id(result): result}
    todo = [result]
    while todo:
        node = todo.pop()._node
        if node is None:
            continue
        if node.grad_fn is None:
            raise ArgumentError(
                "this result's tape was freed by an earlier backward(); compute the result again, or add the losses "
                "and go back once"
            )
        for parent, version in zip(node.parents, node.versions, strict=True):
            if parent.version != version:
                raise ArgumentError(
                    f"a parameter of shape {parent.values.shape} was changed after it was used; call backward() before "
                    "the optimiser's step"
                )
            if parent.requires_grad and id(parent) not in seen:
                seen[id(parent)] = parent
                todo.append(parent)
    return sorted(seen.values(), key=lambda t: -1 if t._node is None else t._node.serial)


# The function, and its gradients to the left and the right operand.
_ARITHMETIC: dict[str, tuple[Callable[..., Array], Callable[..., Array], Callable[..., Array]]] = {
    "+": (np.add, lambda g, x, y: g, lambda g, x, y: g),
    "-": (np.subtract, lambda g, x, y: g, lambda g, x, y: -g),
    "*": (np.multiply, lambda g, x, y: g * y, lambda g, x, y: g * x),
    "/": (np.true_divide, lambda g, x, y: g / y, lambda g, x, y: -g * x / (y * y)),
}


def _arithmetic(sign: str, left: Any, right: Any) -> Tensor:
    """``left sign right``: scalars, channel vectors and tensors of one layout."""
    model = left if isinstance(left, Tensor) else right
    a, b = _lift(left, model), _lift(right, model)
    _check_operands(sign, a, b)
    x, y = a.values, b.values
    whole = a if a.layout is not None or (b.layout is None and x.ndim >= y.ndim) else b

    function, to_left, to_right = _ARITHMETIC[sign]

    def grad_fn(g: Array) -> tuple[Array | None, Array | None]:
        return (
            _reduce_to(to_left(g, x, y), x) if a.requires_grad else None,
            _reduce_to(to_right(g, x, y), y) if b.requires_grad else None,
        )

    return record(function(x, y), whole.layout, whole.kind, (a, b), grad_fn)


def _lift(operand: Any, model: Tensor) -> Tensor:
    """An operand of arithmetic as a tensor: numbers, channel vectors (C,), batches."""
    if isinstance(operand, Tensor):
        return operand
    if isinstance(operand, Ragged):
        return Tensor(operand)
    if isinstance(operand, (Real, np.generic)):
        return Tensor.of(np.asarray(operand, dtype=model.dtype), None, "array")
    array = np.asarray(operand)
    check_dtype(array, "the operand")
    if array.ndim < 2 or model.layout is None:
        return Tensor.of(array, None, "array")
    return Tensor(array)


def _check_operands(sign: str, a: Tensor, b: Tensor) -> None:
    check_same_dtype(b.values, "the second operand", a.values, "the first")
    if a.layout is not None and b.layout is not None:
        if a.layout != b.layout or a.channels != b.channels:
            raise ShapeError(f"{sign} needs operands of one layout and as many channels. Received: {a!r} and {b!r}")
        return
    x, y = a.values, b.values
    for whole, part in ((a, y), (b, x)):
        if part.ndim == 0 or (part.shape == whole.values.shape and whole.layout is None):
            return
        if whole.layout is not None and part.shape == (whole.channels,):
            return
    raise ShapeError(
        f"{sign} takes a number, a vector of as many channels, or a tensor of the same layout. "
        f"Received: {a!r} and {b!r}"
    )


def _reduce_to(gradient: Array, operand: Array) -> Array:
    """Sum the gradient over what the operand was repeated along."""
    if gradient.shape == operand.shape:
        return gradient
    if operand.ndim == 0:
        return np.asarray(gradient.sum(dtype=np.float64), dtype=operand.dtype)
    total: Array = kernels.column_sum(np.asarray(gradient, order="C"))
    return total
