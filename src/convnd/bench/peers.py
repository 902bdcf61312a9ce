"""Who takes part: convnd, and PyTorch in both memory layouts. (``onnx_peers`` has the others.)"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..tensor import Tensor, no_grad
from .cases import Array, BatchNorm, Case, Conv, Layer, Operands, Pass, Pool, ProportionalPool, Shape
from .check import EPS
from .functions import FUNCTIONS

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
    """convnd: a layer's forward pass, or the gradient function that the tape has recorded for it.

    backward() frees the tape, so that function is called itself. Packed weights stay with the weight from run to run,
    as with any parameter.
    """
    x = Tensor(operands.x.reshape(case.batch, *case.size, case.channels), requires_grad=which == "input")
    weight = Tensor.parameter(operands.weight, requires_grad=which == "weight")
    layer = _layer(case, weight)
    if which == "forward":

        def forward() -> Tensor:
            with no_grad():
                return layer(x)

        return Contender("convnd", forward, lambda result: np.asarray(result.values))
    node = layer(x)._node
    assert node is not None
    assert node.grad_fn is not None
    grad_fn, place = node.grad_fn, 0 if which == "input" else 1
    return Contender("convnd", lambda: grad_fn(operands.grad)[place], np.asarray)


def _layer(case: Case, weight: Tensor) -> Callable[[Tensor], Tensor]:
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
        function, own = FUNCTIONS[case.function].ours, weight if case.out else weight.values  # packed, or vectors
        return lambda x: function(x, own)
    assert isinstance(case, BatchNorm)
    (gamma, beta), mean = weight.values, np.zeros(case.channels, np.float32)
    running: dict[str, Any] = {"running_mean": mean, "running_var": mean + 1}
    return lambda x: ops.batch_norm(x, gamma, beta, **running, training=True, eps=EPS, activation="relu")


# -------------------------------------------------------------------------------------------------------------- PyTorch


def torch_module() -> Any:
    """PyTorch, imported when first needed."""
    return importlib.import_module("torch")


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
    held: ClassVar = {"x86-64-v3": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}

    def lacks(self, case: Case, which: Pass) -> str | None:
        if isinstance(case, Layer) and FUNCTIONS[case.function].torch is None:
            return "no such layer"
        return f"no layers in {case.rank}D" if case.rank > 3 else None

    def contenders(self, case: Case, which: Pass, operands: Operands, threads: int) -> list[Contender]:
        torch_module().set_num_threads(threads)
        layouts = [layout for layout in (FIRST, LAST) if (case.name, which, layout) not in LEFT_OUT]
        return [_torch(case, which, operands, layout) for layout in layouts]


def _torch(case: Case, which: Pass, operands: Operands, layout: str) -> Contender:
    """A layer under inference_mode; or a gradient, a convolution's without what the tape adds to the time."""
    torch = torch_module()

    # Channels last exists from two axes on: a 1-D sample becomes one row of an image.
    extra = (1,) if layout == LAST and case.rank == 1 else ()
    memory = memory_format(case.rank + len(extra), layout)

    def tensor(values: Array, shape: Shape) -> Any:
        """Values (P, C) as (N, C, *S) in the layout's memory order."""
        dense = torch.from_numpy(values.reshape(case.batch, *extra, *shape, -1))
        return dense.movedim(-1, 1).contiguous(memory_format=memory)

    def array(result: Any) -> Array:
        if which == "weight":
            return np.ascontiguousarray(result.movedim((0, 1), (-1, -2)).numpy().reshape(case.weight_shape))
        return np.ascontiguousarray(result.movedim(1, -1).numpy().reshape(-1, result.shape[1]))

    layer = torch_layer(case, operands.weight, extra).to(memory_format=memory)
    x, grad = tensor(operands.x, case.size), tensor(operands.grad, case.output)
    if which == "forward":

        def call() -> Any:
            with torch.inference_mode():
                return layer(x)

    elif isinstance(case, Conv):
        call = _convolution_backward(layer, which, x, grad)
    else:
        x.requires_grad_()
        y = layer(x)

        def call() -> Any:
            return torch.autograd.grad(y, x, grad, retain_graph=True)[0]

    return Contender(f"PyTorch {layout}", call, array)


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
    if isinstance(case, Layer):
        return _function_layer(case, weight)
    assert isinstance(case, BatchNorm)
    norm = getattr(nn, f"BatchNorm{axes}d")(case.channels, eps=EPS)
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(weight[0]))
        norm.bias.copy_(torch.from_numpy(weight[1]))
    return nn.Sequential(norm, nn.ReLU(inplace=True))


def _function_layer(case: Layer, weight: Array) -> Any:
    """A function of torch.nn.functional as a module."""
    torch = torch_module()
    function, own = FUNCTIONS[case.function].torch, torch.from_numpy(weight)
    assert function is not None
    layer = torch.nn.Module()
    layer.forward = lambda x: function(torch.nn.functional, x, own)
    return layer


def moved(weight: Array) -> Array:
    """(*kernel, A, B) as the other libraries have it: (B, A, *kernel)."""
    return np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1)))
