"""The worker process: takes jobs from its standard input until that is closed, and answers on its standard output.

It is started as a program of its own, not by ``fork`` (which copies locks that other threads hold) and not by
multiprocessing's "spawn" (which runs the caller's main script again): so scripts need no main guard.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from typing import Any

from ...errors import DataError
from .frames import receive, send

# Results wait for each other up to this many bytes and this long, so that small ones don't travel alone.
BATCH_BYTES, BATCH_SECONDS = 256 << 10, 0.1


def main() -> None:
    """Serve until there are no more jobs. Nothing is ever printed."""
    # Ctrl-C reaches all processes of a terminal; the caller hears it, and stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        try:
            function, job = receive(jobs)
        except EOFError:
            return
        try:
            _answer(answers, function, job)
        except BrokenPipeError:
            return


def _answer(answers: Any, function: Any, job: Any) -> None:
    waiting: list[Any] = []
    size, begun = 0, time.monotonic()
    try:
        for result in function(job):
            waiting.append(result)
            size += getattr(result, "nbytes", 0) + 256
            if size >= BATCH_BYTES or time.monotonic() - begun >= BATCH_SECONDS:
                send(answers, ("results", waiting))
                waiting, size, begun = [], 0, time.monotonic()
    except BrokenPipeError:
        raise
    except Exception as error:
        send(answers, ("error", [*waiting, _portable(error)]))
    else:
        send(answers, ("end", waiting))


def _portable(error: Exception) -> Exception:
    """The error, if it survives the way to the caller; else one of the same words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return DataError(f"{type(error).__name__}: {error}")
    return error
