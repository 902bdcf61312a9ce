"""Whole training steps, of convnd and of PyTorch: what a step is, and several ways timed in turn."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import kernels, loss, optim
from ..layout import Ints, Layout, Ragged
from ..nn import Layer
from ..tensor import Tensor
from .cases import Array
from .peers import LAST, memory_format, torch_module

Step = Callable[[Any, Any], float]  # (inputs, labels) -> the loss


def our_step(net: Layer, lr: float) -> Step:
    """step(x, labels): forward, cross-entropy, backward and Adam in convnd. x is a Ragged or (N, *S, C)."""
    optimizer = optim.Adam(net.parameters(), lr=lr)

    def step(x: Any, labels: Ints) -> float:
        if isinstance(x, Ragged):  # a batch that was read has a layout of its own, which nothing is known of yet
            x = Ragged(x.values, Layout(x.layout.shapes))
        value = loss.cross_entropy(net(Tensor(x), training=True), labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(value)

    return step


def torch_step(model: Any, lr: float) -> Step:
    """The same step in PyTorch. Several inputs (a list) are taken one by one, and their gradients are added up."""
    torch = torch_module()

    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def step(x: Any, labels: Any) -> float:
        pieces = list(zip(x, labels.split(1), strict=True)) if isinstance(x, list) else [(x, labels)]
        total = 0.0
        optimizer.zero_grad()
        for inputs, wanted in pieces:
            value = torch.nn.functional.cross_entropy(model(inputs), wanted) / len(pieces)
            value.backward()
            total += float(value.detach())
        optimizer.step()
        return total

    return step


def torch_compiled(model: Any, batches: Sequence[tuple[Any, Any]], lr: float) -> Any:
    """The model by torch.compile, with a warm-up on every batch: PyTorch compiles again for each new size."""
    compiled = torch_module().compile(model)
    step = torch_step(compiled, lr)
    for x, labels in batches:
        step(x, labels)
    return compiled


def torch_input(samples: Sequence[Array], layout: str, size: Sequence[int] | None = None) -> Any:
    """Samples (*S_i, C) as one tensor (N, C, *S), zeros after the end of those smaller than ``size`` (or the largest).

    In 1D, channels last means (N, C, 1, L).
    """
    torch = torch_module()

    rank = samples[0].ndim - 1
    shape = np.max([sample.shape[:-1] for sample in samples], axis=0) if size is None else np.asarray(size)
    dense = np.zeros((len(samples), *shape, samples[0].shape[-1]), dtype=np.float32)
    for row, sample in zip(dense, samples, strict=True):
        row[tuple(slice(length) for length in sample.shape[:-1])] = sample
    if layout == LAST and rank == 1:
        dense = dense[:, None]
    tensor = torch.from_numpy(dense).movedim(-1, 1)
    return tensor.contiguous(memory_format=memory_format(tensor.ndim - 2, layout))


def clock() -> Callable[[], float]:
    """What to time with: on one thread the processor's time, so that other programs' turns don't count."""
    return time.perf_counter if kernels.get_num_threads() > 1 else time.process_time


class Stopwatch:
    """Seconds and losses of several ways to train, taken in turn, a stretch of batches of each at a time."""

    def __init__(self, ways: Mapping[str, tuple[Step, Sequence[tuple[Any, Any]]]]) -> None:
        self.ways = ways
        self.clock = clock()
        self.seconds: dict[str, float] = dict.fromkeys(ways, 0.0)
        self.losses: dict[str, list[float]] = {name: [] for name in ways}

    def epoch(self, stretch: int = 10, rest: float = 0.0) -> None:
        """Every batch of every way once: ``stretch`` batches of the first way, as many of the next, and so on."""
        longest = max(len(batches) for _, batches in self.ways.values())
        for first in range(0, longest, stretch):
            for name, (step, batches) in self.ways.items():
                time.sleep(rest)
                for x, labels in batches[first : first + stretch]:
                    began = self.clock()
                    value = step(x, labels)
                    self.seconds[name] += self.clock() - began
                    self.losses[name].append(value)


PARTS = ("adam", "descent")  # of the optimiser's step


class Breakdown:
    """Inside it, the time of every kernel (with the channels it meets) and of the optimiser's step adds up.

    What is left of the whole goes to "all else": Python, NumPy, the loss.
    """

    def __enter__(self) -> Breakdown:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._clock = clock()
        self._own = {name: getattr(kernels, name) for name in kernels.__all__ if name not in PARTS}
        for name, function in self._own.items():
            setattr(kernels, name, self._timed(name, function))
        self._step = optim.Adam.step
        optim.Adam.step = self._timed("optimiser", self._step)  # type: ignore[method-assign]
        self._began = self._clock()
        return self

    def __exit__(self, *failure: object) -> None:
        whole = self._clock() - self._began
        self.seconds["all else"] = whole - sum(self.seconds.values())
        for name, function in self._own.items():
            setattr(kernels, name, function)
        optim.Adam.step = self._step  # type: ignore[method-assign]

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = self._clock()
            result = function(*arguments, **named)
            taken = self._clock() - began
            channels = [str(a.shape[-1]) for a in arguments if isinstance(a, np.ndarray) and a.ndim > 1]
            self.seconds[" ".join([name, ", ".join(channels)]).strip()] += taken
            return result

        return timed

    def rows(self, steps: int) -> list[list[str]]:
        """Name, milliseconds a step, share: the largest first."""
        whole = sum(self.seconds.values())
        parts = sorted(self.seconds.items(), key=lambda part: -part[1])
        return [[name, f"{taken / steps * 1e3:.2f}", f"{taken / whole:.1%}"] for name, taken in parts]
