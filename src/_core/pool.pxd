"""What pooling and its gradient share: regions, and blocks of them as tasks."""

from libc.stdint cimport int32_t, int64_t

from convnd._core.isa cimport convnd_norm, convnd_tiles
from convnd._core.threads cimport Task

cdef enum:
    WORK = 16   # what a number costs, in multiply-adds of a convolution

cdef enum Mode:
    MAX, MEAN, SUM, MEAN_PADDED, SQUARES

cdef struct Regions:
    int64_t rank, samples
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *in_offsets   # positions before each sample
    const int64_t *out_offsets
    const int64_t *in_tables    # entries before each (sample, axis)
    const int64_t *out_tables
    const int64_t *step         # of each axis
    const int64_t *first        # of each output of an axis
    const int64_t *count
    const int64_t *begin        # of each input of an axis
    const int64_t *end

cdef struct Block:
    int64_t sample, row, rows, col, cols, channel, channels

cdef struct Job:
    const convnd_tiles *tiles
    Regions regions
    Mode mode
    double window       # positions of the whole window
    const char *x       # NULL in a gradient that isn't a normalisation's as well
    const char *g       # of the gradient
    char *out
    int32_t *index
    char *winner        # of a normalised maximum
    convnd_norm norm
    const char *b       # of its gradient, by channel
    const char *c
    int64_t channels
    int64_t first, end  # the channels that are pooled
    Block *blocks
    char *scratch
    int64_t scratch_size
    int64_t room        # entries of one list of holders in the scratch
    int64_t inner_room  # and of that of a whole last axis
    int64_t longest     # positions of a last axis
    int64_t pieces      # of a sample
    bint streams        # a gradient goes past the caches


cdef void read_regions(Regions *r, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
                       const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[::1] in_tables,
                       const int64_t[::1] out_tables, const int64_t[::1] step, const int64_t[:, ::1] outputs,
                       const int64_t[:, ::1] inputs) noexcept nogil
cdef int64_t largest_region(const Regions *r, int64_t axes) noexcept nogil
cdef bint run_blocks(Job *job, Task task, bint gradient, int64_t work) noexcept nogil

cdef inline void coordinates(int64_t rank, const int64_t *shape, int64_t row, int64_t *at) noexcept nogil:
    """Of a row, on all axes but the last."""
    cdef int64_t a
    for a in range(rank - 2, -1, -1):
        at[a] = row % shape[a]
        row = row // shape[a]

cdef inline double divisor(const Job *job, int64_t positions) noexcept nogil:
    if job.mode == MEAN:
        return max(1, positions)
    return job.window if job.mode == MEAN_PADDED else 1
