# cython: cdivision=True
"""The only place that knows OpenMP."""

import os

from cython.parallel cimport parallel, threadid

cdef extern from "omp.h":
    int omp_get_max_threads() noexcept nogil

cdef extern from "share.h":
    enum:
        CONVND_RANGES
    ctypedef struct convnd_range:
        pass
    int convnd_share(convnd_range *ranges, int64_t count, int threads) noexcept nogil
    int64_t convnd_take(convnd_range *ranges, int n, int *at) noexcept nogil

cdef extern from "tile/tile.h":
    ctypedef unsigned long long uint64_t
    uint64_t convnd_flush_denormals() noexcept nogil
    void convnd_restore_denormals(uint64_t state) noexcept nogil
    void convnd_settle() noexcept nogil

# Below this many operations (some 20 microseconds) a second thread costs more than it brings: a barrier waits for a
# core that another process may hold.
cdef int64_t SERIAL_WORK = 1_500_000

cdef int limit = 0  # our own setting; 0: none
cdef bint forked = False


def _after_fork():
    # libgomp's threads don't live on in a forked child, and waiting for them would hang.
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int64_t slots() noexcept nogil:
    # Not our own limit: another Python thread may raise it between this and the parallel_for.
    return omp_get_max_threads()


cdef int64_t usable() noexcept nogil:
    # omp_set_num_threads reaches other libraries, so it is never called; what others set is heard.
    cdef int most = omp_get_max_threads()
    if forked:
        return 1
    return limit if 0 < limit < most else most


cdef void parallel_for(Task task, void *context, int64_t count, int64_t work) noexcept nogil:
    cdef int64_t i
    cdef int threads = <int>min(usable(), count)
    cdef int slot, n, at
    cdef uint64_t state
    cdef convnd_range ranges[CONVND_RANGES]
    if threads <= 1 or work < SERIAL_WORK:
        state = convnd_flush_denormals()
        for i in range(count):
            task(context, i, 0)
        convnd_settle()
        convnd_restore_denormals(state)
        return
    n = convnd_share(ranges, count, threads)
    with parallel(num_threads=threads):  # nothing here may raise: each thread would wait for the GIL
        slot = threadid()
        at = slot % n
        state = convnd_flush_denormals()
        i = convnd_take(ranges, n, &at)
        while i >= 0:
            task(context, i, slot)
            i = convnd_take(ranges, n, &at)
        convnd_settle()
        convnd_restore_denormals(state)


def set_num_threads(int n):
    """At most n threads from now on; 0 for as many as OpenMP gives."""
    global limit
    limit = n


def get_num_threads():
    """Threads that a large operation uses."""
    return usable()
