"""Extra memory of our call, measured: by how much the process grows at its peak, in a process of its own.

    python -m convnd.bench.memory NAME PASS THREADS

prints two numbers of bytes: by how much the peak of the resident set grows in the first call of the pass, beyond its
result and one copy of the weight (which is packed then); and those of the input, the output and the weight. Linux keeps
the peak and can start it afresh (proc(5), /proc/pid/clear_refs). A small call of the same kind comes first: code and
threads are there already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .. import kernels
from .cases import Case, Conv, Layer, Operands, Pass, choose
from .peers import ours

RESET = Path("/proc/self/clear_refs")
START_AFRESH = "5"
TIMEOUT = 600.0


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    extra: int
    operands: int


def extra_memory(case: Case, which: Pass) -> Memory | None:
    """Of a case of the list, with the threads in use; None where the system can't tell."""
    if not RESET.exists():
        return None
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", __name__, case.name, which, str(kernels.get_num_threads())],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, check=True, timeout=TIMEOUT,
    )  # fmt: skip
    return Memory(*map(int, done.stdout.split()))


def measure(case: Case, which: Pass) -> Memory:
    """In this process, which must be fresh."""
    small = case.small()
    ours(small, which, Operands.draw(small)).call()
    operands = Operands.draw(case)
    contender = ours(case, which, operands)
    before = _status("VmRSS")
    RESET.write_text(START_AFRESH)
    result = contender.array(contender.call())
    growth = _status("VmHWM") - before
    own = isinstance(case, Conv) or (isinstance(case, Layer) and case.out)
    packed = operands.weight.nbytes if own and which != "weight" else 0
    return Memory(max(0, growth - result.nbytes - packed), _total(operands))


def _total(operands: Operands) -> int:
    return sum(array.nbytes for array in (operands.x, operands.weight, operands.grad))


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def main(name: str, which: str, threads: str) -> None:
    kernels.set_num_threads(int(threads))
    case = next(case for case in choose([name]) if case.name == name)
    found = measure(case, cast(Pass, which))
    print(found.extra, found.operands)


if __name__ == "__main__":
    main(*sys.argv[1:])
