# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Optimisers' steps, in place, of all parameters at once: a task is a piece of one."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from convnd._core.isa cimport convnd_adam, convnd_descent, convnd_tiles, tiles
from convnd._core.threads cimport owner_of, parallel_for

cdef int64_t PIECE = 32 * 1024  # numbers of a task
cdef int64_t MOVED = 16         # what a number costs, in multiply-adds of a convolution

cdef struct Change:         # of one parameter
    const convnd_tiles *tiles
    const char *g
    char *p
    char *first             # running means; NULL: none
    char *second
    int64_t count
    double rate, root       # of Adam

cdef struct Update:
    Change *changes
    int64_t *starts         # the first task of each
    int64_t count
    convnd_adam adam
    convnd_descent descent
    bint descends


cdef void update_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Update *job = <const Update *>context
    cdef int64_t owner = owner_of(job.starts, job.count, index), n = (index - job.starts[owner]) * PIECE, at
    cdef const Change *change = &job.changes[owner]
    cdef convnd_adam adam
    at, n = n * change.tiles.itemsize, min(PIECE, change.count - n)
    if job.descends:
        change.tiles.pointwise.descent(&job.descent, change.g + at, change.p + at,
                                       change.first + at if change.first else NULL, n)
    else:
        adam = job.adam
        adam.rate, adam.root = change.rate, change.root
        change.tiles.pointwise.adam(&adam, change.g + at, change.p + at, change.first + at, change.second + at, n)


cdef int run_update(Update *job, const int64_t[:, ::1] changes, const double[:, ::1] steps) except -1:
    cdef int64_t n, total = 0, numbers = 0
    cdef Change *change
    cdef bint done
    job.count = changes.shape[0]
    with nogil:
        job.changes = <Change *>malloc(job.count * sizeof(Change))
        job.starts = <int64_t *>malloc(job.count * sizeof(int64_t))
        done = job.changes and job.starts
        if done:
            for n in range(job.count):
                change = &job.changes[n]
                change.tiles, change.count = tiles(changes[n, 5]), changes[n, 4]
                change.g, change.p = <const char *>changes[n, 0], <char *>changes[n, 1]
                change.first, change.second = <char *>changes[n, 2], <char *>changes[n, 3]
                change.rate, change.root = steps[n, 0], steps[n, 1]
                job.starts[n] = total
                total += (change.count + PIECE - 1) // PIECE
                numbers += change.count
            parallel_for(update_task, job, total, numbers * (3 if job.descends else 4) * MOVED)
        free(job.changes)
        free(job.starts)
    if not done:
        raise MemoryError("no memory for the tasks of an update")
    return 0


def read_addresses(tuple arrays, int64_t[::1] to):
    """Of a gradient, and of what is changed in place, but None. Whether all are runs of numbers, and the latter
    may be changed."""
    cdef Py_buffer view
    cdef int64_t i
    for i in range(len(arrays)):
        if arrays[i] is None:
            continue
        try:
            PyObject_GetBuffer(arrays[i], &view, PyBUF_WRITABLE if i else PyBUF_SIMPLE)
        except (BufferError, ValueError):
            return False
        to[i] = <int64_t>view.buf
        PyBuffer_Release(&view)
    return True


def adam(const int64_t[:, ::1] changes, const double[:, ::1] steps, double first, double second, double eps,
         double pull, double shrink):
    """One step of Adam, in place; see tile.h. Changes: addresses of gradient, values and running means, how many
    numbers, bytes of one; steps: rate and root."""
    cdef Update job
    job.descends = False
    job.adam.first, job.adam.second, job.adam.eps, job.adam.pull, job.adam.shrink = first, second, eps, pull, shrink
    run_update(&job, changes, steps)


def descent(const int64_t[:, ::1] changes, const double[:, ::1] steps, double rate, double momentum, bint nesterov,
            double pull):
    """One step of gradient descent, in place; see tile.h. The first running mean is the velocity, or 0: none."""
    cdef Update job
    job.descends = True
    job.descent.rate, job.descent.momentum, job.descent.pull, job.descent.nesterov = rate, momentum, pull, nesterov
    run_update(&job, changes, steps)
