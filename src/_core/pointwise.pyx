# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""What happens at each position, or to each number, on its own.

Tasks are pieces of the array; where they are cut never shows in a result.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from convnd._core.isa cimport convnd_norm, convnd_tiles, tiles
from convnd._core.plan cimport gcd
from convnd._core.stream cimport streams
from convnd._core.threads cimport owner_of, parallel_for, slots

ctypedef fused real:
    float
    double

# Numbers that a task takes: some first-level caches full, so that handing tasks out costs nothing beside them.
cdef int64_t PIECE = 32 * 1024
# What a number costs, in multiply-adds of a convolution: where it is only moved, and where it takes an exponential or a
# random draw.
cdef int64_t MOVED = 16
cdef int64_t COMPUTED = 128

cdef struct Job:
    const convnd_tiles *tiles
    const char *x
    const char *g
    convnd_norm norm    # vectors by channel, repeated
    const char *b
    const char *c
    char *out
    int64_t count   # numbers in all
    int64_t piece   # numbers of a task
    int64_t width   # of the vectors
    int64_t channels
    int64_t kind
    bint streams    # past the caches
    double eps


cdef inline int64_t pieces(const Job *job) noexcept nogil:
    return (job.count + job.piece - 1) // job.piece


cdef inline int64_t piece_size(const Job *job, int64_t index) noexcept nogil:
    return min(job.piece, job.count - index * job.piece)


# ---------------------------------------------------------------------------------------------------------- activations

cdef void activate_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    job.tiles.pointwise.activate(job.x + at, job.out + at, piece_size(job, index), job.kind)


cdef void activate_grad_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    job.tiles.pointwise.activate_grad(job.x + at, job.g + at, job.out + at, piece_size(job, index), job.kind)


def activate(const real[::1] x, int64_t activation, real[::1] out):
    """out = activation(x)."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    job.x, job.out = <const char *>&x[0], <char *>&out[0]
    job.count, job.piece, job.kind = x.shape[0], PIECE, activation
    with nogil:
        parallel_for(activate_task, &job, pieces(&job), job.count * (MOVED if activation <= 2 else COMPUTED))


def activate_grad(const real[::1] y, const real[::1] g, int64_t activation, real[::1] out):
    """out = g times the activation's derivative, which follows from y (see tile/activation.h)."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    job.x, job.g, job.out = <const char *>&y[0], <const char *>&g[0], <char *>&out[0]
    job.count, job.piece, job.kind = y.shape[0], PIECE, activation
    with nogil:
        parallel_for(activate_grad_task, &job, pieces(&job), job.count * (MOVED if activation <= 5 else COMPUTED))


# ----------------------------------------------------------------------------------------------------------- by channel

cdef int64_t repeats(const convnd_tiles *t, int64_t channels) noexcept nogil:
    """How often to repeat a vector by channel, so that few channels fill whole vectors."""
    return t.lanes // gcd(channels, t.lanes) if channels < 8 * t.lanes else 1


cdef void repeat(const real[::1] vector, real *to, int64_t times) noexcept nogil:
    cdef int64_t r, c
    for r in range(times):
        for c in range(vector.shape[0]):
            to[r * vector.shape[0] + c] = vector[c]


cdef void by_channel(Job *job, int64_t positions, int64_t channels, int64_t times) noexcept nogil:
    """Pieces that begin where the repeated vectors do."""
    job.width = channels * times
    job.count = positions * channels
    job.piece = max(1, PIECE // job.width) * job.width
    job.streams = streams(job.out, job.width * job.tiles.itemsize, job.count * job.tiles.itemsize)


cdef void scale_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    job.tiles.pointwise.scale_shift(job.x + at, job.norm.scale, job.norm.shift, job.out + at, piece_size(job, index),
                                    job.width, job.norm.activation, job.streams)


cdef void norm_grad_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    job.tiles.pointwise.norm_grad(job.g + at, job.x + at, &job.norm, job.b, job.c, job.out + at,
                                  piece_size(job, index), job.width, job.streams)


def scale_shift(const real[:, ::1] x, const real[::1] scale, const real[::1] shift, int64_t activation,
                real[:, ::1] out):
    """out = activation(x scale + shift), scale and shift by channel."""
    cdef Job job
    cdef int64_t times
    cdef real *vectors
    job.tiles = tiles(sizeof(real))
    times = repeats(job.tiles, x.shape[1])
    job.x, job.out, job.norm.activation = <const char *>&x[0, 0], <char *>&out[0, 0], activation
    by_channel(&job, x.shape[0], x.shape[1], times)
    with nogil:
        vectors = <real *>malloc(2 * job.width * sizeof(real))
        if vectors:
            repeat(scale, vectors, times)
            repeat(shift, vectors + job.width, times)
            job.norm.scale, job.norm.shift = <const char *>vectors, <const char *>(vectors + job.width)
            parallel_for(scale_task, &job, pieces(&job), job.count * (MOVED if activation <= 2 else COMPUTED))
            free(vectors)
    if not vectors:
        raise MemoryError("no memory for the vectors of scale_shift")


def norm_grad(const real[:, ::1] g, const real[:, ::1] x, const real[::1] scale, const real[::1] shift,
              int64_t activation, const real[::1] b, const real[::1] c, real[:, ::1] out):
    """out = g slope scale + x b + c, by channel, with the slope of the activation at x scale + shift."""
    cdef Job job
    cdef int64_t times
    cdef real *vectors
    job.tiles = tiles(sizeof(real))
    times = repeats(job.tiles, x.shape[1])
    job.x, job.g, job.out = <const char *>&x[0, 0], <const char *>&g[0, 0], <char *>&out[0, 0]
    by_channel(&job, x.shape[0], x.shape[1], times)
    job.norm.activation = activation
    with nogil:
        vectors = <real *>malloc(4 * job.width * sizeof(real))
        if vectors:
            repeat(scale, vectors, times)
            repeat(shift, vectors + job.width, times)
            repeat(b, vectors + 2 * job.width, times)
            repeat(c, vectors + 3 * job.width, times)
            job.norm.scale, job.norm.shift = <const char *>vectors, <const char *>(vectors + job.width)
            job.b, job.c = <const char *>(vectors + 2 * job.width), <const char *>(vectors + 3 * job.width)
            parallel_for(norm_grad_task, &job, pieces(&job), job.count * (MOVED if activation <= 2 else COMPUTED))
            free(vectors)
    if not vectors:
        raise MemoryError("no memory for the vectors of batch_norm_grad")


cdef void leaky_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    job.tiles.pointwise.leaky(job.x + at, job.g + at, job.norm.scale, job.out + at, piece_size(job, index), job.width)


def leaky(const real[:, ::1] x, const real[:, ::1] g, const real[::1] slope, real[:, ::1] out):
    """out = g where x is positive, else g times the slope of the channel."""
    cdef Job job
    cdef int64_t times
    cdef real *vector
    job.tiles = tiles(sizeof(real))
    times = repeats(job.tiles, x.shape[1])
    job.x, job.g, job.out = <const char *>&x[0, 0], <const char *>&g[0, 0], <char *>&out[0, 0]
    by_channel(&job, x.shape[0], x.shape[1], times)
    with nogil:
        vector = <real *>malloc(job.width * sizeof(real))
        if vector:
            repeat(slope, vector, times)
            job.norm.scale = <const char *>vector
            parallel_for(leaky_task, &job, pieces(&job), job.count * MOVED)
            free(vector)
    if not vector:
        raise MemoryError("no memory for the vector of leaky")


# ----------------------------------------------------------------------------------------------- by sample and channel

cdef struct Centred:
    const convnd_tiles *tiles
    const char *g           # NULL: none
    const char *x
    const char *near        # (samples, channels) all four
    const char *scale
    const char *b
    const char *c
    char *out
    const int64_t *offsets
    const int64_t *starts   # the first task of each sample
    int64_t samples, channels, times, piece
    char *scratch
    bint streams


cdef const char *spread(const Centred *job, const char *vector, int64_t sample, char *room) noexcept nogil:
    """A sample's vector, repeated."""
    cdef int64_t size = job.channels * job.tiles.itemsize, r
    for r in range(job.times):
        memcpy(room + r * size, vector + sample * size, size)
    return room


cdef void centred_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Centred *job = <const Centred *>context
    cdef int64_t n = owner_of(job.starts, job.samples, index), width = job.channels * job.times
    cdef int64_t first = (index - job.starts[n]) * job.piece, size = job.tiles.itemsize
    cdef int64_t count = min(job.piece, (job.offsets[n + 1] - job.offsets[n]) * job.channels - first)
    cdef int64_t at = (job.offsets[n] * job.channels + first) * size
    cdef char *room = job.scratch + slot * 4 * width * size
    cdef const char *near = spread(job, job.near, n, room)
    cdef const char *b = spread(job, job.b, n, room + width * size)
    cdef const char *c = spread(job, job.c, n, room + 2 * width * size)
    if job.g:
        job.tiles.pointwise.centred(job.g + at, job.x + at, near, spread(job, job.scale, n, room + 3 * width * size), b,
                                    c, job.out + at, count, width, job.streams)
    else:
        job.tiles.pointwise.centred(NULL, job.x + at, near, near, b, c, job.out + at, count, width, job.streams)


cdef int run_centred(Centred *job, int64_t size, int64_t positions, int64_t whole) except -1:
    cdef int64_t n, total = 0, width
    cdef int64_t *starts
    job.tiles = tiles(size)
    job.times = repeats(job.tiles, job.channels)
    width = job.channels * job.times
    job.piece = max(1, PIECE // width) * width
    job.streams = streams(job.out, width * size, whole * job.channels * size)
    with nogil:
        starts = <int64_t *>malloc(job.samples * sizeof(int64_t))
        job.scratch = <char *>malloc(slots() * 4 * width * size)
        if starts and job.scratch:
            for n in range(job.samples):
                starts[n] = total
                total += ((job.offsets[n + 1] - job.offsets[n]) * job.channels + job.piece - 1) // job.piece
            job.starts = starts
            parallel_for(centred_task, job, total, positions * job.channels * MOVED)
        free(job.scratch)
        free(starts)
    if not (starts and job.scratch):
        raise MemoryError("no memory for the tasks of a normalisation")
    return 0


def centred(const real[:, ::1] x, const int64_t[::1] offsets, const real[:, ::1] near, const real[:, ::1] b,
            const real[:, ::1] c, real[:, ::1] out, int64_t whole):
    """out = (x - near) b + c, by sample and channel; out is of a result of so many positions."""
    cdef Centred job
    job.g, job.x, job.out = NULL, <const char *>&x[0, 0], <char *>&out[0, 0]
    job.near, job.scale, job.b, job.c = <const char *>&near[0, 0], NULL, <const char *>&b[0, 0], <const char *>&c[0, 0]
    job.offsets, job.samples, job.channels = &offsets[0], near.shape[0], x.shape[1]
    run_centred(&job, sizeof(real), x.shape[0], whole)


def centred_grad(const real[:, ::1] g, const real[:, ::1] x, const int64_t[::1] offsets, const real[:, ::1] near,
                 const real[:, ::1] scale, const real[:, ::1] b, const real[:, ::1] c, real[:, ::1] out,
                 int64_t whole):
    """out = g scale + (x - near) b + c, by sample and channel."""
    cdef Centred job
    job.g, job.x, job.out = <const char *>&g[0, 0], <const char *>&x[0, 0], <char *>&out[0, 0]
    job.near, job.scale = <const char *>&near[0, 0], <const char *>&scale[0, 0]
    job.b, job.c = <const char *>&b[0, 0], <const char *>&c[0, 0]
    job.offsets, job.samples, job.channels = &offsets[0], near.shape[0], x.shape[1]
    run_centred(&job, sizeof(real), x.shape[0], whole)


# ------------------------------------------------------------------------------------------------------ over channels

cdef void softmax_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    cdef int64_t rows = piece_size(job, index) // job.channels
    if job.kind:
        job.tiles.pointwise.log_softmax(job.x + at, job.out + at, rows, job.channels)
    else:
        job.tiles.pointwise.softmax(job.x + at, job.out + at, rows, job.channels)


cdef void softmax_grad_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize
    cdef int64_t rows = piece_size(job, index) // job.channels
    if job.kind:
        job.tiles.pointwise.log_softmax_grad(job.x + at, job.g + at, job.out + at, rows, job.channels)
    else:
        job.tiles.pointwise.softmax_grad(job.x + at, job.g + at, job.out + at, rows, job.channels)


cdef void standard_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = index * job.piece * job.tiles.itemsize, rows = piece_size(job, index) // job.channels
    if job.g:
        job.tiles.pointwise.standard_grad(job.x + at, job.g + at, job.norm.scale, job.out + at, job.eps, rows,
                                          job.channels, job.streams)
    else:
        job.tiles.pointwise.standard(job.x + at, job.norm.scale, job.norm.shift, job.out + at, job.eps, rows,
                                     job.channels, job.streams)


cdef void over_channels(Job *job, int64_t positions, int64_t channels) noexcept nogil:
    """Pieces of whole positions."""
    job.channels, job.count = channels, positions * channels
    job.piece = max(1, PIECE // channels) * channels


def softmax(const real[:, ::1] x, bint log, real[:, ::1] out):
    """The softmax of each position, or its logarithm."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    over_channels(&job, x.shape[0], x.shape[1])
    job.x, job.out, job.kind = <const char *>&x[0, 0], <char *>&out[0, 0], log
    with nogil:
        parallel_for(softmax_task, &job, pieces(&job), job.count * COMPUTED)


def softmax_grad(const real[:, ::1] y, const real[:, ::1] g, bint log, real[:, ::1] out):
    """The gradient to x of softmax or log_softmax, from its output y."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    over_channels(&job, y.shape[0], y.shape[1])
    job.x, job.g, job.out, job.kind = <const char *>&y[0, 0], <const char *>&g[0, 0], <char *>&out[0, 0], log
    with nogil:
        parallel_for(softmax_grad_task, &job, pieces(&job), job.count * (COMPUTED if log else MOVED))


def standard(const real[:, ::1] x, double eps, const real[::1] scale, const real[::1] shift, real[:, ::1] out):
    """Each position's channels to mean 0 and variance 1. Then times scale, plus shift, unless they are None."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    over_channels(&job, x.shape[0], x.shape[1])
    job.x, job.g, job.out = <const char *>&x[0, 0], NULL, <char *>&out[0, 0]
    job.norm.scale, job.norm.shift = NULL, NULL
    if scale is not None:
        job.norm.scale, job.norm.shift = <const char *>&scale[0], <const char *>&shift[0]
    job.eps = eps
    job.streams = streams(job.out, job.channels * sizeof(real), job.count * sizeof(real))
    with nogil:
        parallel_for(standard_task, &job, pieces(&job), job.count * MOVED)


def standard_grad(const real[:, ::1] x, const real[:, ::1] g, double eps, const real[::1] scale, real[:, ::1] out):
    """The gradient to x of standard."""
    cdef Job job
    job.tiles = tiles(sizeof(real))
    over_channels(&job, x.shape[0], x.shape[1])
    job.x, job.g, job.out = <const char *>&x[0, 0], <const char *>&g[0, 0], <char *>&out[0, 0]
    job.norm.scale, job.eps = <const char *>&scale[0], eps
    job.streams = streams(job.out, job.channels * sizeof(real), job.count * sizeof(real))
    with nogil:
        parallel_for(standard_task, &job, pieces(&job), job.count * MOVED)


# ---------------------------------------------------------------------------------------------------------------- draws

cdef struct Draw:
    const convnd_tiles *tiles
    const uint64_t *keys
    const int64_t *offsets
    const int64_t *starts   # the first task of each sample
    char *out
    int64_t samples, channels
    uint64_t threshold
    double keep


cdef void dropout_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Draw *job = <const Draw *>context
    cdef int64_t low = owner_of(job.starts, job.samples, index)
    cdef int64_t first = (index - job.starts[low]) * PIECE
    cdef int64_t count = min(PIECE, (job.offsets[low + 1] - job.offsets[low]) * job.channels - first)
    job.tiles.pointwise.dropout(job.keys[low], <uint64_t>first, job.threshold, job.keep,
                                job.out + (job.offsets[low] * job.channels + first) * job.tiles.itemsize, count)


def dropout(const uint64_t[::1] keys, const int64_t[::1] offsets, uint64_t threshold, double keep,
            real[:, ::1] out):
    """out = 0 where a draw is below the threshold, else keep. Draw p C + c of a sample's key is for (p, c)."""
    cdef Draw job
    cdef int64_t n, total = 0, size
    cdef int64_t *starts = NULL
    job.tiles = tiles(sizeof(real))
    job.keys, job.offsets, job.out = &keys[0], &offsets[0], <char *>&out[0, 0]
    job.samples, job.channels, job.threshold, job.keep = keys.shape[0], out.shape[1], threshold, keep
    with nogil:
        starts = <int64_t *>malloc((job.samples + 1) * sizeof(int64_t))
        if starts:
            for n in range(job.samples):
                starts[n] = total
                size = (offsets[n + 1] - offsets[n]) * job.channels
                total += (size + PIECE - 1) // PIECE
            job.starts = starts
            parallel_for(dropout_task, &job, total, offsets[job.samples] * job.channels * COMPUTED)
            free(starts)
    if not starts:
        raise MemoryError("no memory for the tasks of dropout_mask")
