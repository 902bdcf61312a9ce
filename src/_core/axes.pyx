# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Padding, cropping, resampling: every output position is a weighted sum of input positions, axis by axis.

Tables hold, for each place of an axis of the output, the places of the input's axis that it reads and their weights
(see convnd.axes.AxisTaps); an output's taps are the product over axes. A row of outputs first takes the sum over all
axes but the last of whole rows of inputs, then the last axis runs along that. Where one position with a weight of 1 is
read, rows are only copied; one without taps is filled.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from convnd._core.isa cimport convnd_tiles, tiles
from convnd._core.plan cimport MAX_RANK
from convnd._core.stream cimport streams
from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

cdef int64_t PIECE = 32 * 1024  # numbers of a task
cdef int64_t WORK = 16          # what a number costs, in multiply-adds of a convolution

cdef enum Kind:
    FILL, COPY, BLEND

cdef struct Run:        # outputs of the last axis that are made alike
    Kind kind
    int64_t begin, end
    int64_t source      # the first place that is copied

cdef struct Block:
    int64_t sample, row, rows, col, cols

cdef struct Job:
    const convnd_tiles *tiles
    int64_t rank, samples, channels
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *in_offsets
    const int64_t *out_offsets
    const int64_t *starts       # of each (sample, axis): its first entry in `first`
    const int64_t *first        # taps before each place of an axis
    const int64_t *index
    const double *weight
    const char *x
    char *out
    double fill
    Block *blocks
    char *scratch
    int64_t scratch_size
    int64_t combinations        # room for these in the scratch
    int64_t longest             # and for so many runs
    bint streams


cdef int64_t block_list(const Job *job, Block *blocks) noexcept nogil:
    """Cut the outputs into blocks of rows, long rows into blocks of columns; returns how many."""
    cdef int64_t n = 0, s, row, col, rows, inner, cols, per
    for s in range(job.samples):
        if job.out_offsets[s + 1] == job.out_offsets[s]:
            continue
        inner = job.out_shapes[s * job.rank + job.rank - 1]
        rows = (job.out_offsets[s + 1] - job.out_offsets[s]) // inner
        cols = min(inner, max(1, PIECE // job.channels))
        per = max(1, PIECE // (cols * job.channels))
        row = 0
        while row < rows:
            col = 0
            while col < inner:
                if blocks:
                    blocks[n].sample, blocks[n].row, blocks[n].col = s, row, col
                    blocks[n].rows, blocks[n].cols = min(per, rows - row), min(cols, inner - col)
                n += 1
                col += cols
            row += per
    return n


cdef void measure(Job *job) noexcept nogil:
    """What the scratch has to hold."""
    cdef int64_t s, a, q, at, n, most
    cdef int64_t width = 1
    job.combinations, job.longest = 1, 1
    for s in range(job.samples):
        n = 1
        for a in range(job.rank - 1):
            most = 1
            at = job.starts[s * job.rank + a]
            for q in range(at, at + job.out_shapes[s * job.rank + a]):
                most = max(most, job.first[q + 1] - job.first[q])
            n *= most
        job.combinations = max(job.combinations, n)
        job.longest = max(job.longest, job.out_shapes[s * job.rank + job.rank - 1])
        width = max(width, job.in_shapes[s * job.rank + job.rank - 1])
    job.scratch_size = (job.combinations * (sizeof(int64_t) + sizeof(double)) + job.longest * sizeof(Run)
                        + width * job.channels * job.tiles.itemsize + 127) // 64 * 64


cdef int64_t run_list(const Job *job, const Block *block, Run *runs, int64_t *low, int64_t *high) noexcept nogil:
    """The block's columns as runs, and the places low ... high - 1 of the input that they read; returns how many."""
    cdef int64_t n = 0, q, t, taps, i
    cdef const int64_t *first = job.first + job.starts[block.sample * job.rank + job.rank - 1]
    cdef Kind kind
    low[0], high[0] = job.in_shapes[block.sample * job.rank + job.rank - 1], 0
    for q in range(block.col, block.col + block.cols):
        t, taps = first[q], first[q + 1] - first[q]
        for i in range(t, t + taps):
            low[0], high[0] = min(low[0], job.index[i]), max(high[0], job.index[i] + 1)
        kind = FILL if taps == 0 else COPY if taps == 1 and job.weight[t] == 1 else BLEND
        if n and runs[n - 1].kind == kind and (
                kind != COPY or job.index[t] == runs[n - 1].source + q - runs[n - 1].begin):
            runs[n - 1].end = q + 1
            continue
        runs[n].kind, runs[n].begin, runs[n].end = kind, q, q + 1
        runs[n].source = job.index[t] if kind == COPY else 0
        n += 1
    return n


cdef int64_t outer_taps(const Job *job, const Block *block, int64_t row, int64_t *offsets,
                        double *weights) noexcept nogil:
    """The rows of inputs that a row of outputs reads, in numbers from the sample's start, and their weights."""
    cdef int64_t n = 1, a, e, i, q, t, taps, last = job.rank - 1
    cdef int64_t at[MAX_RANK]
    cdef const int64_t *in_shape = job.in_shapes + block.sample * job.rank
    cdef const int64_t *out_shape = job.out_shapes + block.sample * job.rank
    for a in range(last - 1, -1, -1):
        at[a] = row % out_shape[a]
        row = row // out_shape[a]
    offsets[0], weights[0] = 0, 1
    for a in range(last):
        q = job.starts[block.sample * job.rank + a] + at[a]
        t, taps = job.first[q], job.first[q + 1] - job.first[q]
        # From the end, so that entries are read before they are written over.
        for e in range(n - 1, -1, -1):
            for i in range(taps - 1, -1, -1):
                offsets[e * taps + i] = offsets[e] * in_shape[a] + job.index[t + i]
                weights[e * taps + i] = weights[e] * job.weight[t + i]
        n *= taps
    for e in range(n):
        offsets[e] *= in_shape[last] * job.channels
    return n


cdef void fill(const Job *job, char *out, int64_t n) noexcept nogil:
    cdef int64_t i
    if job.fill == 0:
        memset(out, 0, n * job.tiles.itemsize)
    elif job.tiles.itemsize == 4:
        for i in range(n):
            (<float *>out)[i] = <float>job.fill
    else:
        for i in range(n):
            (<double *>out)[i] = job.fill


cdef void task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef const Block *block = &job.blocks[number]
    cdef int64_t size = job.tiles.itemsize, c = job.channels, row, n, terms, low, high, r
    cdef double *weights = <double *>(job.scratch + slot * job.scratch_size)
    cdef int64_t *offsets = <int64_t *>(weights + job.combinations)
    cdef Run *runs = <Run *>(offsets + job.combinations)
    cdef char *sums = <char *>(runs + job.longest)
    cdef int64_t inner = job.out_shapes[block.sample * job.rank + job.rank - 1]
    cdef const int64_t *first = job.first + job.starts[block.sample * job.rank + job.rank - 1]
    cdef const char *x = job.x + job.in_offsets[block.sample] * c * size
    cdef const char *line
    cdef char *out
    n = run_list(job, block, runs, &low, &high)
    for row in range(block.row, block.row + block.rows):
        out = job.out + (job.out_offsets[block.sample] + row * inner) * c * size
        terms = outer_taps(job, block, row, offsets, weights)
        if terms == 0 or high <= low:
            fill(job, out + block.col * c * size, block.cols * c)
            continue
        line = x + offsets[0] * size
        if terms > 1 or weights[0] != 1:
            job.tiles.axes.combine(x + low * c * size, offsets, weights, terms, sums + low * c * size, (high - low) * c)
            line = sums
        for r in range(n):
            if runs[r].kind == FILL:
                fill(job, out + runs[r].begin * c * size, (runs[r].end - runs[r].begin) * c)
            elif runs[r].kind == COPY:
                job.tiles.axes.copy(line + runs[r].source * c * size, out + runs[r].begin * c * size,
                                    (runs[r].end - runs[r].begin) * c, job.streams)
            else:
                job.tiles.axes.blend(line, first, job.index, job.weight, out + runs[r].begin * c * size,
                                     runs[r].begin, runs[r].end, c, job.streams)


def take(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[:, ::1] starts,
         const int64_t[::1] first, const int64_t[::1] index, const double[::1] weight, double value,
         real[:, ::1] out):
    """out = the weighted sums, and `value` where there are no taps. At least one axis."""
    cdef Job job
    cdef int64_t n
    cdef bint done
    job.tiles, job.channels = tiles(sizeof(real)), x.shape[1]
    job.samples, job.rank = in_shapes.shape[0], in_shapes.shape[1]
    job.in_shapes, job.out_shapes = &in_shapes[0, 0], &out_shapes[0, 0]
    job.in_offsets, job.out_offsets, job.starts = &in_offsets[0], &out_offsets[0], &starts[0, 0]
    job.first, job.index, job.weight = &first[0], &index[0], &weight[0]
    job.x, job.out, job.fill = <const char *>&x[0, 0], <char *>&out[0, 0], value
    job.streams = streams(job.out, job.channels * sizeof(real), out.shape[0] * job.channels * sizeof(real))
    with nogil:
        measure(&job)
        n = block_list(&job, NULL)
        job.blocks = <Block *>malloc(max(1, n) * sizeof(Block))
        job.scratch = <char *>malloc(slots() * job.scratch_size)
        done = job.blocks and job.scratch
        if done:
            block_list(&job, job.blocks)
            parallel_for(task, &job, n, out.shape[0] * job.channels * WORK)
        free(job.blocks)
        free(job.scratch)
    if not done:
        raise MemoryError("no memory for the tasks of padding or resampling")
