"""One measurement: a case and a pass, ours and the peers in turn, every result checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import kernels
from .cases import Case, Operands, Pass
from .check import largest_error
from .measure import REST, Times, in_turn
from .peers import Contender, ours, torch_contenders

TOLERANCE = 1e-4  # of float32 sums of up to a million terms, relative to the largest value


@dataclass(frozen=True)
class Row:
    """What came out for a case and a pass. Errors are relative to the largest value, at the places looked at."""

    case: Case
    which: Pass
    times: dict[str, Times]
    errors: dict[str, float]
    peak: float

    def gflops(self, name: str = "convnd") -> float:
        """Direct multiply-adds x 2 of a median run, in GFLOP/s."""
        return self.case.flops / self.times[name].median / 1e9

    @property
    def best_peer(self) -> str | None:
        """The quickest of the others; None where there are none."""
        peers = [name for name in self.times if name != "convnd"]
        return min(peers, key=lambda name: self.times[name].median) if peers else None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer ours is."""
        peer = self.best_peer
        return None if peer is None else self.times[peer].median / self.times["convnd"].median

    @property
    def of_peak(self) -> float:
        """Share of the machine's peak; above 1 is possible where an algorithm saves multiplications."""
        return self.gflops() * 1e9 / self.peak

    def wrong(self) -> list[str]:
        """Contenders whose result isn't the float64 one."""
        return [name for name, error in self.errors.items() if not error <= TOLERANCE]

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "case": self.case.name,
            "layer": self.case.layer,
            "pass": self.which,
            "gflops": {name: self.gflops(name) for name in self.times},
            "milliseconds": {name: 1e3 * times.median for name, times in self.times.items()},
            "runs": len(self.times["convnd"].seconds),
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "of_peak": self.of_peak,
            "error": self.errors,
        }


def run(
    case: Case, which: Pass, peak: float, *, peers: bool = True, repeats: int | None = None, seconds: float = 2.0
) -> Row:
    """Measure one row, and check the result of every contender."""
    operands = Operands.draw(case)
    contenders: list[Contender] = [ours(case, which, operands)]
    if peers:
        contenders += torch_contenders(case, which, operands)
    errors = {  # and a warm-up
        contender.name: largest_error(case, which, operands, contender.array(contender.call()))
        for contender in contenders
    }
    rest = REST if peers and kernels.get_num_threads() > 1 else 0.0
    times = in_turn({contender.name: contender.call for contender in contenders}, repeats, seconds, rest)
    return Row(case, which, times, errors, peak)
