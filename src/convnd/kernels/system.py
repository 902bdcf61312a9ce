"""Threads and the instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import DTypeLike

from .. import __version__
from .._core import isa, threads
from .._core import peak as core
from ..errors import ArgumentError


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads from now on, never more than OpenMP allows (OMP_NUM_THREADS, threadpoolctl)."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ArgumentError(f"n must be an int of at least 1. Received: n={n!r}")
    threads.set_num_threads(min(n, 2**31 - 1))


def get_num_threads() -> int:
    """Threads that a large operation uses."""
    return int(threads.get_num_threads())


def multiply_adds(dtype: DTypeLike, rounds: int) -> int:
    """Do multiply-adds in registers and nothing else, on all threads in use; returns how many."""
    return int(core.multiply_adds(np.dtype(dtype).itemsize, get_num_threads(), rounds))


def config() -> dict[str, Any]:
    """Instruction sets built, available and in use; threads; the OpenMP runtimes loaded."""
    runtimes = [
        {"name": pool["prefix"], "version": pool["version"], "file": pool["filepath"]}
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "openmp"
    ]
    return {
        "isa": isa.current(),
        "isa_available": isa.available(),
        "isa_built": isa.built(),
        "threads": get_num_threads(),
        "openmp": runtimes,
    }


def show_config() -> None:
    """Print the version, the instruction set, the number of threads and the OpenMP runtimes.

    The best instruction set that the processor has is chosen when convnd loads; the environment variable
    CONVND_ISA (a name of those available) overrides it.
    """
    found = config()
    print(f"convnd {__version__}")
    print(f"instruction set: {found['isa']} (available: {', '.join(found['isa_available'])})")
    print(f"threads: {found['threads']}")
    for runtime in found["openmp"]:
        print(f"OpenMP: {runtime['name']} {runtime['version'] or ''} {runtime['file']}".rstrip())
