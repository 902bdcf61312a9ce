"""Who takes part: convnd's kernels, and PyTorch in both memory layouts where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from .cases import Array, Case, Operands, Pass

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


def ours(case: Case, which: Pass, operands: Operands) -> Contender:
    """convnd's kernel. Packed weights are kept from run to run, as a parameter keeps them from sample to sample."""
    place = case.place
    packs: dict[Any, Any] = {}
    calls: dict[Pass, Callable[[], Array]] = {
        "forward": lambda: kernels.conv(operands.x, place, operands.weight, groups=case.groups, packs=packs),
        "input": lambda: kernels.conv_transpose(operands.grad, place, operands.weight, groups=case.groups, packs=packs),
        "weight": lambda: kernels.conv_weight(operands.x, operands.grad, place, groups=case.groups),
    }
    return Contender("convnd", calls[which], lambda result: result)


def torch_installed() -> bool:
    """Whether PyTorch can be imported."""
    return importlib.util.find_spec("torch") is not None


def torch_module() -> Any:
    """PyTorch, imported when first needed. It is no dependency, so its types aren't either."""
    return importlib.import_module("torch")


def torch_contenders(case: Case, which: Pass, operands: Operands) -> list[Contender]:
    """PyTorch's convolution, contiguous and channels last. In 1D the latter is a 2-D convolution of (N, C, 1, L)."""
    return [
        _torch(case, which, operands, layout) for layout in (FIRST, LAST) if (case.name, which, layout) not in LEFT_OUT
    ]


def _torch(case: Case, which: Pass, operands: Operands, layout: str) -> Contender:
    torch = torch_module()

    # Channels last exists from two axes on: a 1-D sample becomes one row of an image.
    extra = (1,) if layout == LAST and case.rank == 1 else ()
    rank = case.rank + len(extra)
    memory = memory_format(rank, layout)

    def tensor(values: Array, shape: tuple[int, ...]) -> Any:
        """Values (P, C) as (N, C, *S) in the layout's memory order."""
        return (
            torch.from_numpy(values.reshape(case.batch, *extra, *shape, -1))
            .movedim(-1, 1)
            .contiguous(memory_format=memory)
        )

    def per_axis(value: int, there: int) -> list[int]:
        return [there] * len(extra) + [value] * case.rank

    x, grad = tensor(operands.x, case.size), tensor(operands.grad, case.output)
    flat = operands.weight.reshape(*extra, *operands.weight.shape)
    weight = torch.from_numpy(flat).movedim((-1, -2), (0, 1)).contiguous(memory_format=memory)
    stride, padding, dilation = per_axis(case.stride, 1), per_axis(case.padding, 0), per_axis(case.dilation, 1)

    def backward(mask: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, [0] * rank, case.groups, mask
        )

    calls: dict[Pass, Callable[[], Any]] = {
        "forward": lambda: torch.convolution(
            x, weight, None, stride, padding, dilation, False, [0] * rank, case.groups
        ),
        "input": lambda: backward([True, False, False])[0],
        "weight": lambda: backward([False, True, False])[1],
    }

    def array(result: Any) -> Array:
        if which == "weight":
            return np.ascontiguousarray(result.movedim((0, 1), (-1, -2)).numpy().reshape(operands.weight.shape))
        return np.ascontiguousarray(result.movedim(1, -1).numpy().reshape(-1, result.shape[1]))

    return Contender(f"PyTorch {layout}", calls[which], array)


def memory_format(rank: int, layout: str) -> Any:
    """PyTorch's memory format of that name for this many axes."""
    torch = torch_module()

    if layout == FIRST:
        return torch.contiguous_format
    return torch.channels_last if rank == 2 else torch.channels_last_3d
