"""One measurement: a case and a pass, ours and the peers in turn, every result checked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import kernels
from ..layout import Memo
from .check import Errors, errors
from .layers import Case, Conv, Operands, Pass
from .measure import REST, Ratio, Times, in_turn
from .memory import Memory, extra_memory
from .onnx_peers import OnnxRuntime, OpenVino
from .peers import Peer, PyTorch, ours

OURS = "convnd"
PEERS: tuple[Peer, ...] = (PyTorch(), OnnxRuntime(), OpenVino())
TOLERANCE = 1e-4  # of float32 sums of up to a million terms, relative to the largest value
CALL = 20e-6  # seconds: a row below measures the call, not the kernel
SLOW, HOPELESS = 1.0, 10.0  # a peer's run above a second, ten times that of the best: it isn't timed any further


@dataclass(frozen=True)
class Row:
    """What came out for a case and a pass."""

    case: Case
    which: Pass
    times: dict[str, Times]
    errors: dict[str, Errors]
    peak: float  # multiply-adds x 2 a second
    absent: dict[str, str] = field(default_factory=dict)  # peers that don't take part, and why
    memory: Memory | None = None
    algorithm: str = ""

    def rate(self, name: str = OURS) -> float:
        """A median call's work by its time, in the case's unit."""
        return self.case.work(self.which) / self.times[name].median / 1e9

    @property
    def ratios(self) -> dict[str, Ratio]:
        """How many times as fast as each peer ours is."""
        return {name: Ratio.of(self.times[OURS], times) for name, times in self.times.items() if name != OURS}

    @property
    def best_peer(self) -> str | None:
        """The peer that ours is least ahead of; None where there are none."""
        ratios = self.ratios
        return min(ratios, key=lambda name: ratios[name].median) if ratios else None

    @property
    def ratio(self) -> Ratio | None:
        """How many times as fast as the best peer ours is."""
        peer = self.best_peer
        return None if peer is None else self.ratios[peer]

    @property
    def of_peak(self) -> float | None:
        """Share of the machine's peak, where a case is counted in multiply-adds. Above 1 where some are saved."""
        return self.rate() * 1e9 / self.peak if self.case.unit == "GFLOP/s" else None

    @property
    def measures_call(self) -> bool:
        """Whether what surrounds the kernel is most of the time."""
        return self.times[OURS].median < CALL

    def wrong(self) -> list[str]:
        """Contenders whose result isn't the float64 one."""
        return [name for name, error in self.errors.items() if not error.largest <= TOLERANCE]

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        ratio = self.ratio
        return {
            "case": self.case.name,
            "layer": self.case.layer,
            "pass": self.which,
            "algorithm": self.algorithm,
            "unit": self.case.unit,
            "rate": {name: self.rate(name) for name in self.times},
            "milliseconds": {name: 1e3 * times.median for name, times in self.times.items()},
            "rounds": len(self.times[OURS].seconds),
            "best_peer": self.best_peer,
            "ratio": None if ratio is None else ratio.median,
            "ratio_interval": None if ratio is None else [ratio.low, ratio.high],
            "of_peak": self.of_peak,
            "extra_bytes": None if self.memory is None else self.memory.extra,
            "operand_bytes": None if self.memory is None else self.memory.operands,
            "measures_call": self.measures_call,
            "error": {name: error.largest for name, error in self.errors.items()},
            "error_rms": {name: error.rms for name, error in self.errors.items()},
            "absent": self.absent,
        }


def installed(isa: str | None = None) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can take part, and why the others can't; with ``isa``, those that have no more or can be held."""
    here, absent = [], {}
    more = isa is not None and isa != kernels.config()["isa_available"][-1]  # than that, in this machine
    for peer in PEERS:
        if not peer.installed():
            absent[peer.name] = "not installed"
        elif more and isa not in peer.held:
            absent[peer.name] = f"nothing holds it to {isa}"
        else:
            here.append(peer)
    return here, absent


def run(
    case: Case, which: Pass, peak: float, *, peers: Sequence[Peer] = (), rounds: int | None = None,
    seconds: float = 0.6, memory: bool = False,
) -> Row:  # fmt: skip
    """Measure one row, about ``seconds`` for each contender, and check the result of every one."""
    operands, threads = Operands.draw(case), kernels.get_num_threads()
    absent = {peer.name: reason for peer in peers if (reason := peer.lacks(case, which)) is not None}
    contenders = [ours(case, which, operands)]
    for peer in peers:
        if peer.name not in absent:
            contenders += peer.contenders(case, which, operands, threads)
    found, first = {}, {}
    for contender in contenders:  # the check is a warm-up as well
        began = time.perf_counter()
        result = contender.call()
        first[contender.name] = time.perf_counter() - began
        found[contender.name] = errors(case, which, operands, contender.array(result), contender.own_draws)
    hopeless = _hopeless(first)
    absent |= hopeless
    times = in_turn(
        {contender.name: contender.call for contender in contenders if contender.name not in hopeless},
        rounds, seconds * (len(contenders) - len(hopeless)), REST if peers and threads > 1 else 0.0,
    )  # fmt: skip
    extra = extra_memory(case, which) if memory else None
    return Row(case, which, times, found, peak, absent, extra, algorithm(case, which))


def _hopeless(first: dict[str, float]) -> dict[str, str]:
    """Peers that need not be timed further: another one is far ahead of them."""
    peers = {name: seconds for name, seconds in first.items() if name != OURS}
    limit = max(SLOW, HOPELESS * min(peers.values(), default=0.0))
    return {name: f"a run took {seconds:.0f} s" for name, seconds in peers.items() if seconds > limit}


def algorithm(case: Case, which: Pass) -> str:
    """Names of our implementations that do a convolution's pass. One sample shows it: the batch decides nothing."""
    if not isinstance(case, Conv):
        return ""
    case = replace(case, batch=1)
    operands, place = Operands.draw(case), replace(case.place, memo=Memo())  # it keeps what other cases chose there
    big, small = (operands.grad, operands.x) if case.transposed else (operands.x, operands.grad)
    if which == "weight":
        kernels.conv_weight(big, small, place, groups=case.groups)
    elif (which == "forward") == case.transposed:
        kernels.conv_transpose(small, place, operands.weight, groups=case.groups)
    else:
        kernels.conv(big, place, operands.weight, groups=case.groups)
    return "+".join(kernels.chosen(place))


def geometric_mean(ratios: Iterable[float]) -> float:
    """exp of the mean logarithm."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))
