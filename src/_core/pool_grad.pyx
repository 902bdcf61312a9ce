# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The gradient of pooling, on ragged batches of any rank.

It gathers: every input adds up the outputs that hold it, in their order, so nothing is written twice and any number of
threads gives the same bits.
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from convnd._core.isa cimport convnd_holder, convnd_pool_grad_args, tiles
from convnd._core.plan cimport MAX_RANK
from convnd._core.pool cimport (
    MAX, MEAN, WORK, Block, Job, Mode, Regions, coordinates, divisor, largest_region, read_regions, run_blocks)
from convnd._core.stream cimport streams
from convnd._core.threads cimport parallel_for

ctypedef fused real:
    float
    double

# In regions of this many positions, times a vector's lanes, or more, a maximum's gradient takes the outputs one by one.
# About so many tasks, each of some positions of the first axis.
cdef int64_t SCATTER = 1
cdef int64_t SCATTER_TASKS = 16
cdef int64_t SCATTER_LEAST = 16
# A gradient without a normalisation goes past the caches if it is so many times as large as other results that do: in
# between, stored as usual, it takes less time, since hardly anything is read beside it.
cdef int64_t STREAM_TIMES = 2


cdef int64_t add_axis(const Regions *r, int64_t sample, int64_t axis, int64_t i, const convnd_holder *held, int64_t n,
                      convnd_holder *to) noexcept nogil:
    """Outputs that hold an input, of one more axis, on which it is at i. Returns how many."""
    cdef int64_t e, q, place, more = 0, step = r.step[axis], size = r.out_shapes[sample * r.rank + axis]
    cdef const int64_t *first = r.first + r.out_tables[sample * r.rank + axis]
    cdef const int64_t *count = r.count + r.out_tables[sample * r.rank + axis]
    cdef int64_t entry = r.in_tables[sample * r.rank + axis] + i
    for e in range(n):
        for q in range(r.begin[entry], r.end[entry]):
            place = i - first[q]
            if step != 1:
                if place % step:
                    continue
                place = place // step
            if 0 <= place < count[q]:
                to[more].output = held[e].output * size + q
                to[more].count = held[e].count * count[q]
                more += 1
    return more


cdef void grad_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef const Regions *r = &job.regions
    cdef const Block *block = &job.blocks[number]
    cdef convnd_holder *one = <convnd_holder *>(job.scratch + slot * job.scratch_size)
    cdef convnd_holder *two = one + job.room
    cdef convnd_holder *inner = two + job.room
    cdef int64_t *inner_first = <int64_t *>(inner + job.inner_room)
    cdef convnd_holder *swap
    cdef convnd_holder nothing
    cdef int64_t row, a, i, n, place, last = r.rank - 1, position = job.channels * job.tiles.itemsize
    cdef int64_t at[MAX_RANK]
    cdef const int64_t *shape = r.in_shapes + block.sample * r.rank
    cdef convnd_pool_grad_args args
    args.g = job.g + r.out_offsets[block.sample] * position
    args.g_end = job.g + r.out_offsets[r.samples] * position
    args.index = job.index + r.out_offsets[block.sample] * job.channels if job.mode == MAX else NULL
    args.norm, args.b, args.c, args.x = job.norm, job.b, job.c, NULL
    args.outputs = r.out_shapes[block.sample * r.rank + last]
    args.column, args.columns, args.channels = block.col, block.cols, job.channels
    args.divisor = 0 if job.mode == MEAN else divisor(job, 1)   # 0: the tile counts a region's positions
    args.streams = job.streams
    # What holds the columns is the same for all rows.
    nothing.output, nothing.count = 0, 1
    n = 0
    for i in range(block.col, block.col + block.cols):
        inner_first[i] = n
        n += add_axis(r, block.sample, last, i, &nothing, 1, inner + n)
    inner_first[block.col + block.cols] = n
    args.inner, args.inner_first = inner, inner_first
    for row in range(block.row, block.row + block.rows):
        coordinates(r.rank, shape, row, at)
        one[0] = nothing
        n = 1
        for a in range(last):
            n = add_axis(r, block.sample, a, at[a], one, n, two)
            swap = one
            one = two
            two = swap
        args.outer, args.n_outer = one, n
        args.first = row * shape[last]
        place = (r.in_offsets[block.sample] + args.first) * position
        args.out = job.out + place
        if job.x:
            args.x = job.x + place
        job.tiles.pool.grad(&args)


# The same for large regions: zeros, then each output adds its gradient where its maximum was, the outputs in order. A
# task is a piece of a sample, some positions of the first axis.

cdef void scatter_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef const Regions *r = &job.regions
    cdef int64_t sample = number // job.pieces, piece = number % job.pieces, rank = r.rank, size = job.tiles.itemsize
    cdef const int64_t *shape = r.in_shapes + sample * rank
    cdef const int64_t *out_shape = r.out_shapes + sample * rank
    cdef int64_t table = r.out_tables[sample * rank]
    cdef int64_t from_ = piece * shape[0] // job.pieces, to = (piece + 1) * shape[0] // job.pieces, clear = from_
    cdef int64_t a, i, o, q, first, last, outputs = 1, plane = 1
    cdef bint whole
    cdef char *out = job.out + r.in_offsets[sample] * job.channels * size
    for a in range(1, rank):
        plane *= shape[a]
        outputs *= out_shape[a]
    first, last = out_shape[0], 0
    for i in range(r.in_tables[sample * rank] + from_, r.in_tables[sample * rank] + to):
        if r.begin[i] < r.end[i]:
            first, last = min(first, r.begin[i]), max(last, r.end[i])
    for i in range(first, last):
        # Zeros up to where these regions end.
        q = table + i
        o = r.first[q] + (r.count[q] - 1) * r.step[0] + 1
        whole = r.first[q] >= from_ and o <= to
        o = min(o, to)
        if clear < o:
            memset(out + clear * plane * job.channels * size, 0, (o - clear) * plane * job.channels * size)
            clear = o
        for o in range(i * outputs, (i + 1) * outputs):
            q = (r.out_offsets[sample] + o) * job.channels
            if job.index[q] < 0:    # of no position
                continue
            if whole:
                job.tiles.pool.scatter(job.g + q * size, job.index + q, out, job.channels)
            else:
                job.tiles.pool.scatter_part(job.g + q * size, job.index + q, out, from_ * plane, to * plane,
                                            job.channels)
    memset(out + clear * plane * job.channels * size, 0, (to - clear) * plane * job.channels * size)


cdef void run_scatter(Job *job, int64_t work) noexcept nogil:
    cdef int64_t s, longest = 0
    for s in range(job.regions.samples):
        longest = max(longest, job.regions.in_shapes[s * job.regions.rank])
    job.pieces = max(1, min(SCATTER_TASKS // max(1, job.regions.samples), longest // SCATTER_LEAST))
    parallel_for(scatter_task, job, job.regions.samples * job.pieces, work)


cdef int64_t most_holders(const Regions *r) noexcept nogil:
    """The most outputs that can hold one input."""
    cdef int64_t s, a, i, n, widest, most = 1
    for s in range(r.samples):
        n = 1
        for a in range(r.rank):
            widest = 1
            for i in range(r.in_tables[s * r.rank + a], r.in_tables[s * r.rank + a + 1]):
                widest = max(widest, r.end[i] - r.begin[i])
            n *= widest
        most = max(most, n)
    return most


cdef void measure_holders(Job *job) noexcept nogil:
    """Room for the lists of holders."""
    cdef const Regions *r = &job.regions
    cdef int64_t s, i, n, last
    job.room, job.inner_room, job.longest = most_holders(r), 0, 0
    for s in range(r.samples):
        last, n = s * r.rank + r.rank - 1, 0
        for i in range(r.in_tables[last], r.in_tables[last + 1]):
            n += r.end[i] - r.begin[i]
        job.inner_room = max(job.inner_room, n)
        job.longest = max(job.longest, r.in_shapes[last])
    job.scratch_size = (2 * job.room + job.inner_room) * sizeof(convnd_holder) + (job.longest + 1) * sizeof(int64_t)


def pool_grad(const real[:, ::1] g, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
              const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[::1] in_tables,
              const int64_t[::1] out_tables, const int64_t[::1] step, const int64_t[:, ::1] outputs,
              const int64_t[:, ::1] inputs, int64_t mode, double window, real[:, ::1] out,
              const int32_t[:, ::1] index):
    """The gradient to x of a pool, from g at its outputs; index is what the pool gave, of max."""
    cdef Job job
    job.tiles, job.mode, job.window = tiles(sizeof(real)), <Mode>mode, window
    read_regions(&job.regions, in_shapes, out_shapes, in_offsets, out_offsets, in_tables, out_tables, step, outputs,
                 inputs)
    job.g, job.out, job.index = <const char *>&g[0, 0], <char *>&out[0, 0], <int32_t *>&index[0, 0]
    job.x, job.norm.scale, job.b, job.c, job.channels = NULL, NULL, NULL, NULL, g.shape[1]
    run_grad(&job, out.shape[0], g.shape[0])


def norm_pool_grad(const real[:, ::1] g, const real[:, ::1] x, const int64_t[:, ::1] in_shapes,
                   const int64_t[:, ::1] out_shapes, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
                   const int64_t[::1] in_tables, const int64_t[::1] out_tables, const int64_t[::1] step,
                   const int64_t[:, ::1] outputs, const int64_t[:, ::1] inputs, const int32_t[:, ::1] index,
                   const real[::1] scale, const real[::1] shift, int64_t activation, const real[::1] b,
                   const real[::1] c, real[:, ::1] out):
    """out = (the gradient to x of a maximum) times the activation's slope at x scale + shift, times scale, + x b + c,
    by channel."""
    cdef Job job
    job.tiles, job.mode, job.window = tiles(sizeof(real)), MAX, 0
    read_regions(&job.regions, in_shapes, out_shapes, in_offsets, out_offsets, in_tables, out_tables, step, outputs,
                 inputs)
    job.g, job.out, job.index = <const char *>&g[0, 0], <char *>&out[0, 0], <int32_t *>&index[0, 0]
    job.x, job.channels, job.b, job.c = <const char *>&x[0, 0], g.shape[1], <const char *>&b[0], <const char *>&c[0]
    job.norm.scale, job.norm.shift, job.norm.activation = <const char *>&scale[0], <const char *>&shift[0], activation
    run_grad(&job, out.shape[0], g.shape[0])


cdef int run_grad(Job *job, int64_t inputs, int64_t outputs) except -1:
    cdef int64_t region, work = max(inputs, outputs) * job.channels * WORK
    cdef bint done = True   # scattering takes no memory
    job.first, job.end = 0, job.channels
    with nogil:
        region = largest_region(&job.regions, job.regions.rank)
        if job.mode == MAX and not job.x and region >= SCATTER * job.tiles.lanes:
            run_scatter(job, work)
        else:
            measure_holders(job)
            job.streams = job.channels % job.tiles.lanes == 0 and streams(
                job.out, job.channels * job.tiles.itemsize,
                inputs * job.channels * job.tiles.itemsize // (1 if job.x else STREAM_TIMES))
            done = run_blocks(job, grad_task, True, work)
    if not done:
        raise MemoryError("no memory for the tasks of a pool's gradient")
    return 0
