"""Who takes part: convnd, and PyTorch in both memory layouts. (``onnx_peers`` has the others.)"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import kernels, ops
from ..kernels.checks import contiguous
from ..tensor import Tensor, _oldest_first, no_grad
from .check import EPS
from .functions import Array, Shape
from .functions import torch_module as torch_module  # others have it from here
from .layers import BatchNorm, Case, Conv, Layer, Operands, Pass, Pool, ProportionalPool

FIRST, LAST = "channels first", "channels last"
# oneDNN's weight gradient has no path for so wide a kernel in this layout: above a minute for one run, some 70 times
# that of the other layout.
LEFT_OUT = {("1d-long", "weight", LAST)}


@dataclass(frozen=True)
class Contender:
    """A name, the computation that is timed, and how its result becomes an array in convnd's order."""

    name: str
    call: Callable[[], Any]
    array: Callable[[Any], Array]
    keeps: Any = None  # what the computation needs and doesn't hold itself
    own_draws: bool = False  # its random numbers aren't ours


class Peer(ABC):
    """Another library that computes the same."""

    name: ClassVar[str]
    module: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()  # that it needs besides
    held: ClassVar[dict[str, dict[str, str]]] = {}  # environment that holds it to an instruction set of ours

    def installed(self) -> bool:
        """Whether all it needs can be imported."""
        return all(importlib.util.find_spec(name) is not None for name in (self.module, *self.modules))

    def load(self) -> Any:
        """Its module, imported when first needed. It is no dependency, so its types aren't either."""
        return importlib.import_module(self.module)

    def version(self) -> str:
        """Of the library."""
        return str(self.load().__version__)

    @abstractmethod
    def lacks(self, case: Case, which: Pass) -> str | None:
        """Why it can't take part in a row, or None."""

    @abstractmethod
    def contenders(self, case: Case, which: Pass, operands: Operands, threads: int) -> list[Contender]:
        """The ways in which it computes a row."""


# --------------------------------------------------------------------------------------------------------------- convnd


def ours(case: Case, which: Pass, operands: Operands) -> Contender:
    """convnd: a layer's forward pass, or the gradient functions that the tape has recorded for it.

    Packed weights stay with the weight from run to run, as with any parameter.
    """
    x, weight = _given(case, which, operands), _own_weight(case, which, operands)
    layer = _layer(case, weight)
    if which == "forward":

        def forward() -> Tensor:
            with no_grad():
                return layer(x)

        return Contender("convnd", forward, lambda result: _rows(result.values))
    back = way_back(layer(x), x if which == "input" else weight)
    return Contender("convnd", lambda: back(operands.grad), _rows if which == "input" else np.asarray)


def _given(case: Case, which: Pass, operands: Operands) -> Any:
    """x as the operation takes it."""
    takes = case.called.takes if isinstance(case, Layer) else "batch"
    x = operands.x.reshape(case.batch, *case.size, -1)
    if takes == "numbers":
        return x[..., 0]
    if takes == "weight":
        return Tensor.parameter(x[0], requires_grad=which == "input")
    return Tensor(x, requires_grad=which == "input")


def _own_weight(case: Case, which: Pass, operands: Operands) -> Any:
    """The weight: a parameter where it is learned, else the array."""
    if isinstance(case, Conv) or (isinstance(case, Layer) and case.called.weight.learned):
        return Tensor.parameter(operands.weight, requires_grad=which == "weight")
    return operands.weight


def _rows(values: Array) -> Array:
    """(P, C), also of a weight."""
    return values.reshape(-1, values.shape[-1])


def way_back(result: Tensor, leaf: Tensor) -> Callable[[Array], Array]:
    """The gradient functions that the tape holds between a leaf and a result, one after the other, newest first.

    backward() does the same, but frees the tape as it passes.
    """
    tensors = _oldest_first(result)[::-1]  # the leaf is the last, being the only one
    assert tensors[-1] is leaf
    numbers = {id(tensor): number for number, tensor in enumerate(tensors)}
    steps: list[tuple[Callable[[Array], Any], list[tuple[int, int]]]] = []
    for tensor in tensors[:-1]:
        node = tensor._node
        assert node is not None
        assert node.grad_fn is not None
        parents = [(place, numbers[id(one)]) for place, one in enumerate(node.parents) if one.requires_grad]
        steps.append((node.grad_fn, parents))

    def back(grad: Array) -> Array:
        waiting: list[Any] = [None] * len(tensors)
        waiting[0] = grad.reshape(result.values.shape)
        for number, (grad_fn, parents) in enumerate(steps):
            parts = grad_fn(waiting[number])
            waiting[number] = None
            for place, to in parents:
                part = parts[place]
                if part is not None:
                    waiting[to] = part if waiting[to] is None else kernels.add(waiting[to], part)
        return contiguous(waiting[-1])

    return back


def _layer(case: Case, weight: Any) -> Callable[[Any], Tensor]:
    if isinstance(case, Conv):
        conv = ops.conv_transpose if case.transposed else ops.conv
        slide: dict[str, Any] = {name: getattr(case, name) for name in ("stride", "padding", "dilation", "groups")}
        return lambda x: conv(x, weight, **slide)
    if isinstance(case, Pool):
        pool = ops.max_pool if case.mode == "max" else ops.avg_pool
        return lambda x: pool(x, case.kernel, stride=case.stride, padding=case.padding)
    if isinstance(case, ProportionalPool):
        return lambda x: ops.proportional_pool(x, case.bins, case.mode)
    if isinstance(case, Layer):
        function = case.called.ours
        return lambda x: function(x, weight)
    assert isinstance(case, BatchNorm)
    (gamma, beta), mean = weight, np.zeros(case.channels, np.float32)
    running: dict[str, Any] = {"running_mean": mean, "running_var": mean + 1}
    return lambda x: ops.batch_norm(x, gamma, beta, **running, training=True, eps=EPS, activation="relu")


# -------------------------------------------------------------------------------------------------------------- PyTorch


def memory_format(rank: int, layout: str) -> Any:
    """PyTorch's memory format of that name for this many axes."""
    torch = torch_module()

    if layout == FIRST:
        return torch.contiguous_format
    return torch.channels_last if rank == 2 else torch.channels_last_3d


class PyTorch(Peer):
    """Its layers, contiguous and channels last: in 1D the latter is a 2-D layer on (N, C, 1, L)."""

    name = "PyTorch"
    module = "torch"
    held: ClassVar = {
        "x86-64-v3": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    }

    def lacks(self, case: Case, which: Pass) -> str | None:
        if isinstance(case, Layer) and case.called.torch is None:
            return "no such layer"
        return f"no layers in {case.rank}D" if case.rank > 3 else None

    def contenders(self, case: Case, which: Pass, operands: Operands, threads: int) -> list[Contender]:
        torch_module().set_num_threads(threads)
        layouts = [layout for layout in (FIRST, LAST) if (case.name, which, layout) not in LEFT_OUT]
        if isinstance(case, Layer):
            if case.called.takes == "numbers":  # they have no channels, and the result has them last
                layouts = [LAST]
            return [_torch_function(case, which, operands, layout) for layout in layouts]
        return [_torch(case, which, operands, layout) for layout in layouts]


def _torch(case: Case, which: Pass, operands: Operands, layout: str) -> Contender:
    """A layer under inference_mode; or a gradient, a convolution's without what the tape adds to the time."""
    extra = _extra_axes(case, layout)

    def tensor(values: Array, shape: Shape) -> Any:
        return _laid_out(values.reshape(case.batch, *extra, *shape, -1), layout)

    def array(result: Any) -> Array:
        if which == "weight":
            return np.ascontiguousarray(result.movedim((0, 1), (-1, -2)).numpy().reshape(case.weight_shape))
        return _back(result)

    layer = torch_layer(case, operands.weight, extra).to(memory_format=memory_format(case.rank + len(extra), layout))
    x, grad = tensor(operands.x, case.size), tensor(operands.grad, case.output)
    if which == "forward":
        call = _inference(lambda: layer(x))
    elif isinstance(case, Conv):
        call = _convolution_backward(layer, which, x, grad)
    else:
        call = _autograd(lambda: layer(x), x, grad)
    return Contender(f"PyTorch {layout}", call, array)


def _torch_function(case: Layer, which: Pass, operands: Operands, layout: str) -> Contender:
    """A function, with what it takes beside x in the same memory layout, if it has positions.

    A view of something larger is copied, as the layer that takes it would have to.
    """
    torch, called, extra = torch_module(), case.called, _extra_axes(case, layout)
    weight = torch.from_numpy(operands.weight) if operands.weight.dtype.kind != "u" else None
    if called.weight.spatial:
        weight = _laid_out(operands.weight.reshape(-1, *extra, *case.size, case.channels), layout)

    def tensor(values: Array, shape: Shape) -> Any:
        if called.takes == "weight":
            values = moved(values.reshape(*shape, -1))
            return torch.from_numpy(values).contiguous(memory_format=memory_format(values.ndim - 2, layout))
        return _laid_out(values.reshape(case.batch, *extra, *shape, -1), layout)

    def array(result: Any) -> Array:
        if which == "weight":
            own = result.movedim(1, -1) if called.weight.spatial else result
            return np.ascontiguousarray(own.numpy().reshape(case.weight_shape))
        return _rows(result.movedim((0, 1), (-1, -2)).numpy()) if called.takes == "weight" else _back(result)

    if called.takes == "numbers":
        x = torch.from_numpy(operands.x.reshape(case.batch, *extra, *case.size))
    else:
        x = tensor(operands.x, case.size)

    def function() -> Any:
        assert called.torch is not None
        return called.torch(torch.nn.functional, x, weight)

    if which == "forward":
        call = _inference(function)
    else:
        call = _autograd(function, x if which == "input" else weight, tensor(operands.grad, case.output))

    def whole() -> Any:
        result = call()
        if result.untyped_storage().nbytes() <= result.nbytes:
            return result
        return result.contiguous(memory_format=memory_format(result.ndim - 2, layout))

    return Contender(f"PyTorch {layout}", whole, array, own_draws=called.rate > 0)


def _extra_axes(case: Case, layout: str) -> Shape:
    """Channels last exists from two axes on: a 1-D sample becomes one row of an image."""
    return (1,) if layout == LAST and case.rank == 1 else ()


def _laid_out(values: Array, layout: str) -> Any:
    """(N, *S, C) as (N, C, *S) in the layout's memory order; without positions there is one."""
    tensor = torch_module().from_numpy(values).movedim(-1, 1)
    return tensor.contiguous(memory_format=memory_format(values.ndim - 2, layout)) if values.ndim > 2 else tensor


def _back(result: Any) -> Array:
    """(N, C, *S) as (P, C)."""
    return np.ascontiguousarray(result.movedim(1, -1).numpy().reshape(-1, result.shape[1]))


def _inference(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function, as it is called where nothing is recorded."""
    inference_mode = torch_module().inference_mode

    def call() -> Any:
        with inference_mode():
            return function()

    return call


def _autograd(function: Callable[[], Any], leaf: Any, grad: Any) -> Callable[[], Any]:
    """The way back to a leaf of what the function computes once."""
    gradient = torch_module().autograd.grad
    leaf.requires_grad_()
    y = function()
    return lambda: gradient(y, leaf, grad, retain_graph=True)[0]


def _convolution_backward(layer: Any, which: Pass, x: Any, grad: Any) -> Callable[[], Any]:
    """What autograd calls for one of the gradients."""
    weight, number = layer.weight.detach(), ("input", "weight").index(which)
    rule = (None, layer.stride, layer.padding, layer.dilation, layer.transposed, layer.output_padding, layer.groups)
    mask = [number == 0, number == 1, False]
    backward = torch_module().ops.aten.convolution_backward
    return lambda: backward(grad, x, weight, *rule, mask)[number]


def torch_layer(case: Case, weight: Array, extra: Shape = ()) -> Any:
    """The case as a layer of PyTorch, with an axis of one position before those it has for each of ``extra``."""
    torch = torch_module()
    nn, axes = torch.nn, case.rank + len(extra)

    def each(values: int | Shape, there: int = 1) -> Shape:
        return (there,) * len(extra) + (values if isinstance(values, tuple) else (values,) * case.rank)

    if isinstance(case, Conv):
        kind = getattr(nn, f"Conv{'Transpose' if case.transposed else ''}{axes}d")
        layer = kind(
            case.channels, case.filters, each(case.kernel), each(case.stride), each(case.padding, 0),
            dilation=each(case.dilation), groups=case.groups, bias=False,
        )  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(moved(weight)).reshape(layer.weight.shape))
        return layer
    if isinstance(case, Pool):
        mean: dict[str, Any] = {"count_include_pad": False} if case.mode == "mean" else {}
        kind = getattr(nn, f"{'Max' if case.mode == 'max' else 'Avg'}Pool{axes}d")
        return kind(each(case.kernel), each(case.stride), each(case.padding, 0), **mean)
    if isinstance(case, ProportionalPool):
        return getattr(nn, f"Adaptive{'Max' if case.mode == 'max' else 'Avg'}Pool{axes}d")(each(case.bins))
    assert isinstance(case, BatchNorm)
    norm = getattr(nn, f"BatchNorm{axes}d")(case.channels, eps=EPS)
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(weight[0]))
        norm.bias.copy_(torch.from_numpy(weight[1]))
    return nn.Sequential(norm, nn.ReLU(inplace=True))


def moved(weight: Array) -> Array:
    """(*kernel, A, B) as the other libraries have it: (B, A, *kernel)."""
    return np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1)))
