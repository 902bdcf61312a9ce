# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Single numbers by their position in a sample: added there, taken from there, the k largest found.

Tasks are some channels of a sample, so a result's additions have one order.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

cdef int64_t WORK = 16  # what a number costs, in multiply-adds of a convolution
cdef enum:
    LANES = 64          # channels of a task

# ------------------------------------------------------------------------------------------- numbers by their position

cdef struct Places:
    const int64_t *index        # of each number, its position in the sample
    const int64_t *at           # samples' offsets where the index stands
    const int64_t *of           # and where it points to
    int64_t samples, channels, blocks
    const char *x
    char *out
    int64_t size
    bint scatters               # or gathers
    int64_t wrong               # a number whose index points out of its sample, or -1


cdef void scatter(Places *job, const real *x, real *out, int64_t n, int64_t low, int64_t high) noexcept nogil:
    cdef int64_t width = job.channels, size = job.of[n + 1] - job.of[n], p, c, i
    cdef real *to = out + job.of[n] * width
    for p in range(size):
        memset(to + p * width + low, 0, (high - low) * sizeof(real))
    for p in range(job.at[n], job.at[n + 1]):
        for c in range(p * width + low, p * width + high):
            i = job.index[c]
            if i < 0 or i >= size:
                job.wrong = c
                return
            to[i * width + c - p * width] += x[c]


cdef void gather(Places *job, const real *x, real *out, int64_t n, int64_t low, int64_t high) noexcept nogil:
    cdef int64_t width = job.channels, p, c
    cdef const real *here = x + job.of[n] * width
    for p in range(job.at[n], job.at[n + 1]):
        for c in range(low, high):
            out[p * width + c] = here[job.index[p * width + c] * width + c]


cdef inline void move(Places *job, const real *x, real *out, int64_t n, int64_t low, int64_t high) noexcept nogil:
    if job.scatters:
        scatter(job, x, out, n, low, high)
    else:
        gather(job, x, out, n, low, high)


cdef void move_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef Places *job = <Places *>context
    cdef int64_t n = number // job.blocks, low = number % job.blocks * LANES, high = min(low + LANES, job.channels)
    if job.size == 4:
        move(job, <const float *>job.x, <float *>job.out, n, low, high)
    else:
        move(job, <const double *>job.x, <double *>job.out, n, low, high)


cdef bint run(Places *job, const int64_t[:, ::1] index, const int64_t[::1] at, const int64_t[::1] of,
              int64_t size) noexcept:
    """Whether all indices lie in their samples, as far as that was looked at."""
    job.index, job.at, job.of, job.wrong, job.size = &index[0, 0], &at[0], &of[0], -1, size
    job.samples, job.channels = at.shape[0] - 1, index.shape[1]
    job.blocks = (job.channels + LANES - 1) // LANES
    with nogil:
        parallel_for(move_task, job, job.samples * job.blocks,
                     max(at[job.samples], of[job.samples]) * job.channels * WORK)
    return job.wrong < 0


def scatter_places(const real[:, ::1] x, const int64_t[:, ::1] index, const int64_t[::1] at, const int64_t[::1] of,
                   real[:, ::1] out):
    """out[index, c] += x[p, c] within each sample, from zeros; whether all indices lie in their samples."""
    cdef Places job
    job.x, job.out, job.scatters = <const char *>&x[0, 0], <char *>&out[0, 0], True
    return run(&job, index, at, of, sizeof(real))


def gather_places(const real[:, ::1] x, const int64_t[:, ::1] index, const int64_t[::1] at, const int64_t[::1] of,
                  real[:, ::1] out):
    """out[p, c] = x[index, c] within each sample, whose indices scatter_places has looked at."""
    cdef Places job
    job.x, job.out, job.scatters = <const char *>&x[0, 0], <char *>&out[0, 0], False
    run(&job, index, at, of, sizeof(real))


# ------------------------------------------------------------------------------------------------------- the k largest

cdef struct Largest:
    const int64_t *at           # samples' offsets in x
    const int64_t *to           # and in the result
    const int64_t *lengths      # of the first axis
    int64_t samples, channels, k, blocks
    const char *x
    char *out
    int64_t *index              # of each number of the result, its place in x
    char *scratch
    int64_t size


cdef inline bint above(real a, real b) noexcept nogil:
    return a > b or (a != a and b == b)     # NaN is the largest


cdef void keep_largest(const Largest *job, const real *x, real *out, int64_t n, int64_t q, int64_t low, int64_t high,
                       real *value, int64_t *place) noexcept nogil:
    """The k largest of some channels along the first axis, at position q of the other axes, in their order."""
    cdef int64_t length = job.lengths[n], inner = (job.at[n + 1] - job.at[n]) // length, k = job.k
    cdef int64_t step = inner * job.channels, width = high - low, i, c, j, last, first
    cdef real least[LANES]
    cdef const real *line
    first = (job.at[n] + q) * job.channels + low
    for i in range(length):
        line = x + first + i * step
        for c in range(width):
            if i < k:
                value[c * k + i], place[c * k + i] = line[c], i
                if i == 0 or above(least[c], line[c]):
                    least[c] = line[c]
                continue
            if not above(line[c], least[c]):
                continue
            last = k - 1    # the last of the smallest goes
            while above(value[c * k + last], least[c]):
                last -= 1
            for j in range(last, k - 1):
                value[c * k + j], place[c * k + j] = value[c * k + j + 1], place[c * k + j + 1]
            value[c * k + k - 1], place[c * k + k - 1] = line[c], i
            least[c] = value[c * k]
            for j in range(1, k):
                if above(least[c], value[c * k + j]):
                    least[c] = value[c * k + j]
    for j in range(k):
        i = (job.to[n] + j * inner + q) * job.channels + low
        for c in range(width):
            out[i + c] = value[c * k + j]
            job.index[i + c] = first + place[c * k + j] * step + c


cdef void largest_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Largest *job = <const Largest *>context
    cdef int64_t low = number % job.blocks * LANES, high = min(low + LANES, job.channels)
    cdef int64_t line = number // job.blocks * job.k    # the first of its rows, were the further axes one
    cdef int64_t n = 0, end = job.samples, middle
    cdef char *room = job.scratch + slot * LANES * job.k * 16
    while end - n > 1:
        middle = (n + end) // 2
        if job.to[middle] <= line:
            n = middle
        else:
            end = middle
    if job.size == 4:
        keep_largest(job, <const float *>job.x, <float *>job.out, n, (line - job.to[n]) // job.k, low, high,
                     <float *>(room + LANES * job.k * 8), <int64_t *>room)
    else:
        keep_largest(job, <const double *>job.x, <double *>job.out, n, (line - job.to[n]) // job.k, low, high,
                     <double *>(room + LANES * job.k * 8), <int64_t *>room)


def largest(const real[:, ::1] x, const int64_t[::1] at, const int64_t[::1] to, const int64_t[::1] lengths, int64_t k,
            real[:, ::1] out, int64_t[:, ::1] index):
    """The k largest along the first axis, in their order, and where they stand: of equals the first, NaN before all."""
    cdef Largest job
    job.at, job.to, job.lengths, job.samples = &at[0], &to[0], &lengths[0], lengths.shape[0]
    job.channels, job.k, job.size = x.shape[1], k, sizeof(real)
    job.blocks = (job.channels + LANES - 1) // LANES
    job.x, job.out, job.index = <const char *>&x[0, 0], <char *>&out[0, 0], &index[0, 0]
    with nogil:
        job.scratch = <char *>malloc(slots() * LANES * k * 16)
        if job.scratch:
            parallel_for(largest_task, &job, out.shape[0] // k * job.blocks, x.shape[0] * job.channels * WORK)
            free(job.scratch)
    if not job.scratch:
        raise MemoryError("no memory for the largest values")
