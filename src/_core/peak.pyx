# cython: cdivision=True
"""The multiply-add loop that kernels are held against, on as many threads as they use."""

from libc.stdint cimport int64_t

from convnd._core.isa cimport convnd_tiles, tiles
from convnd._core.threads cimport parallel_for

cdef int64_t MUCH = 1 << 60  # work: on threads, however short

cdef struct Job:
    void (*tile)(char *out, int64_t rounds) noexcept nogil
    int64_t rounds
    char *out
    int64_t room  # bytes of a task's chains


cdef void task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    job.tile(job.out + index * job.room, job.rounds)


def multiply_adds(int64_t itemsize, int64_t tasks, int64_t rounds):
    """Do ``tasks`` times ``rounds`` multiply-adds of every chain; returns how many those are, number by number."""
    cdef const convnd_tiles *table = tiles(itemsize)
    cdef Job job
    job.tile = table.peak.multiply_add
    job.rounds = rounds
    job.room = table.peak.chains * table.lanes * itemsize
    cdef char[::1] out = bytearray(tasks * job.room)
    job.out = &out[0]
    with nogil:
        parallel_for(task, &job, tasks, MUCH)
    return tasks * rounds * table.peak.chains * table.lanes
