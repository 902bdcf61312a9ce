"""Workers: jobs in, results out in the order of the jobs, whoever did them and however many there are."""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Condition, Thread
from types import TracebackType
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from ...errors import ConvndError, DataError
from .frames import receive, send

Job = TypeVar("Job")
# Finished results wait for their turn up to this many bytes, and jobs run ahead of the one whose turn it is by so many
# a worker. One sample of any size always gets through.
WAITING_BYTES = 64 << 20
AHEAD = 4
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from convnd.data.prepare.worker import main; main()"
)
# Workers share the processors, so each computes on one; and one thread gives the same bits everywhere.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def usable_cpus() -> int:
    """The processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows.
        return os.cpu_count() or 1


class Crew:
    """``count`` worker processes, started when there is work; with ``count=1`` the calling process does it all.

    Used in a ``with`` statement, whose end stops the workers, whatever they are doing.
    """

    def __init__(self, count: int) -> None:
        # A Python that is built into another program can't start a second one of itself.
        self.count = count if multiprocessing.spawn.get_executable() else 1
        self._workers: list[subprocess.Popen[bytes]] = []
        self._threads: list[Thread] = []
        self._line: _Line | None = None

    def map(
        self, function: Callable[[Job], Iterator[Any]], jobs: Sequence[Job], name: Callable[[Job], str]
    ) -> Iterator[Any]:
        """What ``function(job)`` yields, for one job after the other. ``name(job)`` is for the message of a worker's
        death.

        Function, jobs and results go by pickle. An exception of the function is raised here, in its turn.
        """
        if self.count == 1 or len(jobs) < 2:
            with threadpool_limits(1):
                for job in jobs:
                    yield from function(job)
            return
        line = self._line = _Line(len(jobs), AHEAD * self.count)
        while len(self._workers) < min(self.count, len(jobs)):
            self._workers.append(_start())
        for worker in self._workers:
            thread = Thread(target=_serve, args=(worker, line, function, jobs, name), daemon=True)
            thread.start()
            self._threads.append(thread)
        yield from line.results()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            with suppress(BrokenPipeError):
                worker.__exit__(None, None, None)


def _start() -> subprocess.Popen[bytes]:
    python = os.fsdecode(multiprocessing.spawn.get_executable())
    return subprocess.Popen(
        # -P: the folder it is started in holds no modules.
        [python, "-P", "-c", START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD | {"PYTHONUTF8": str(sys.flags.utf8_mode)},
    )


class _Line:
    """Results on their way from the workers' threads to the caller, who takes them in the order of the jobs."""

    def __init__(self, jobs: int, ahead: int) -> None:
        self._changed = Condition()
        self._queues: list[deque[tuple[list[Any], int]]] = [deque() for _ in range(jobs)]
        self._ended: list[bool] = [False] * jobs
        self._errors: dict[int, Exception] = {}
        self._ahead = ahead
        self._next = 0
        self._turn = 0
        self._waiting = 0
        self._closed = False

    def take(self) -> int | None:
        """The next job to do; None if there is none left. Waits while too many are done and not yet taken."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._next == len(self._queues) or self._next < self._turn + self._ahead
            )
            if self._closed or self._next == len(self._queues):
                return None
            self._next += 1
            return self._next - 1

    def admit(self, job: int, size: int) -> None:
        """Wait until there is room for so many bytes. The job whose turn it is always has room for one more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed
                or self._waiting + size <= WAITING_BYTES
                or (job == self._turn and not self._queues[job])
            )
            self._waiting += size

    def put(self, job: int, results: list[Any], size: int, end: bool = False, error: Exception | None = None) -> None:
        with self._changed:
            self._queues[job].append((results, size))
            self._ended[job] = end or error is not None
            if error is not None:
                self._errors[job] = error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def results(self) -> Iterator[Any]:
        """All results in order; a job's error is raised in its turn."""
        for job in range(len(self._queues)):
            self._begin_turn(job)
            while (results := self._pop(job)) is not None:
                yield from results
            if job in self._errors:
                raise self._errors[job]

    def _begin_turn(self, job: int) -> None:
        with self._changed:
            self._turn = job
            self._changed.notify_all()

    def _pop(self, job: int) -> list[Any] | None:
        queue = self._queues[job]
        with self._changed:
            self._changed.wait_for(lambda: bool(queue) or self._ended[job])
            if not queue:
                return None
            results, size = queue.popleft()
            self._waiting -= size
            self._changed.notify_all()
        return results


def _serve(
    worker: subprocess.Popen[bytes],
    line: _Line,
    function: Callable[[Job], Iterator[Any]],
    jobs: Sequence[Job],
    name: Callable[[Job], str],
) -> None:
    """One worker's thread: hand it jobs, and put what comes back in its place."""
    while (number := line.take()) is not None:
        try:
            _serve_job(worker, line, number, (function, jobs[number]))
        except (EOFError, OSError):
            line.put(number, [], 0, error=_death(worker, name(jobs[number])))
            return
        except Exception as error:  # Whatever it is belongs to the caller; a thread that dies would leave it waiting.
            line.put(number, [], 0, error=error)
            return


def _serve_job(worker: subprocess.Popen[bytes], line: _Line, number: int, job: Any) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    size = 0

    def admit(wanted: int) -> None:
        nonlocal size
        size = wanted
        line.admit(number, wanted)

    send(worker.stdin, job)
    state = "results"
    while state == "results":
        state, results = receive(worker.stdout, admit)
        error = results.pop() if state == "error" else None
        line.put(number, results, size, end=state == "end", error=error)


def _death(worker: subprocess.Popen[bytes], name: str) -> ConvndError:
    code = worker.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    why = ", as it is when memory runs out (fewer workers need less)" if code == -9 else ""
    return DataError(
        f"{name}: the worker process that read it {how}{why}. What is prepared so far is kept: the same call again "
        "goes on from there"
    )
