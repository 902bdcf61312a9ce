# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Pooling over regions on ragged batches of any rank.

A region is the product of one range an axis; tables hold the ranges (see convnd.window.Regions). An output is one
chain over its own region, in row-major order.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from convnd._core.isa cimport convnd_pool_args, convnd_pool_tile, tiles
from convnd._core.plan cimport MAX_RANK
from convnd._core.threads cimport Task, parallel_for, slots

ctypedef fused real:
    float
    double

# Tasks to cut a large operation into, and numbers below which a task isn't cut.
cdef int64_t TASKS = 64
cdef int64_t LEAST = 16 * 1024
# Few outputs over more numbers than this are cut by channels as well, into blocks of some cache lines.
cdef int64_t FEW = 8
cdef int64_t LARGE = 64 * 1024
cdef int64_t CHANNEL_BYTES = 256
# Bytes of an input from which on sums ask memory for what comes next.
cdef int64_t ASK_BYTES = 4 * 1024 * 1024


cdef void read_regions(Regions *r, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
                       const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[::1] in_tables,
                       const int64_t[::1] out_tables, const int64_t[::1] step, const int64_t[:, ::1] outputs,
                       const int64_t[:, ::1] inputs) noexcept nogil:
    r.samples, r.rank = in_shapes.shape[0], in_shapes.shape[1]
    r.in_shapes, r.out_shapes = &in_shapes[0, 0], &out_shapes[0, 0]
    r.in_offsets, r.out_offsets = &in_offsets[0], &out_offsets[0]
    r.in_tables, r.out_tables = &in_tables[0], &out_tables[0]
    r.step = &step[0]
    r.first, r.count, r.begin, r.end = &outputs[0, 0], &outputs[1, 0], &inputs[0, 0], &inputs[1, 0]


cdef int64_t block_list(const Job *job, const int64_t *shapes, const int64_t *offsets, const int64_t *other,
                        bint by_channels, Block *blocks) noexcept nogil:
    """Cut the positions of `shapes` into blocks of rows, long rows into blocks of columns; returns how many.

    A position costs what it reads and writes: its share of its sample on both sides."""
    cdef int64_t n = 0, s, row, rows, col, cols, channel, size, inner, cost, most, per, width, rank = job.regions.rank
    cdef int64_t total = (offsets[job.regions.samples] + other[job.regions.samples]) * job.channels
    for s in range(job.regions.samples):
        size, inner = offsets[s + 1] - offsets[s], shapes[s * rank + rank - 1]
        if size == 0:
            continue
        cost = (size + other[s + 1] - other[s]) * job.channels // size
        most = max(1, max(total // TASKS, LEAST) // max(1, cost))
        rows = size // inner
        cols = (inner + most - 1) // most
        cols = (inner + cols - 1) // cols
        per = max(1, most // cols)
        width = job.end - job.first
        if by_channels and cost > LARGE and offsets[job.regions.samples] < FEW:
            width = min(width, CHANNEL_BYTES // job.tiles.itemsize)
        row = 0
        while row < rows:
            col = 0
            while col < inner:
                channel = job.first
                while channel < job.end:
                    if blocks:
                        blocks[n].sample, blocks[n].row, blocks[n].col, blocks[n].channel = s, row, col, channel
                        blocks[n].rows, blocks[n].cols = min(per, rows - row), min(cols, inner - col)
                        blocks[n].channels = min(width, job.end - channel)
                    n += 1
                    channel += width
                col += cols
            row += per
    return n


cdef int64_t largest_region(const Regions *r, int64_t axes) noexcept nogil:
    """Positions of it on the first `axes` axes: its runs on all but the last, if none are merged."""
    cdef int64_t s, a, q, n, longest, most = 1
    for s in range(r.samples):
        n = 1
        for a in range(axes):
            longest = 1
            for q in range(r.out_tables[s * r.rank + a], r.out_tables[s * r.rank + a + 1]):
                longest = max(longest, r.count[q])
            n *= longest
        most = max(most, n)
    return most


cdef bint run_blocks(Job *job, Task task, bint gradient, int64_t work) noexcept nogil:
    """The task for every block, of the inputs in a gradient, else of the outputs. Whether there was memory."""
    cdef const Regions *r = &job.regions
    cdef const int64_t *shapes = r.in_shapes if gradient else r.out_shapes
    cdef const int64_t *offsets = r.in_offsets if gradient else r.out_offsets
    cdef const int64_t *other = r.out_offsets if gradient else r.in_offsets
    cdef int64_t n = block_list(job, shapes, offsets, other, not gradient, NULL)
    job.blocks = <Block *>malloc(max(1, n) * sizeof(Block))
    job.scratch = <char *>malloc(slots() * job.scratch_size)
    cdef bint done = job.blocks and job.scratch
    if done:
        block_list(job, shapes, offsets, other, not gradient, job.blocks)
        parallel_for(task, job, n, work)
    free(job.blocks)
    free(job.scratch)
    return done


cdef int64_t run_axis(const Regions *r, int64_t sample, const int64_t *at) noexcept nogil:
    """The axis from which on this region is one run of positions in memory: the last, or one before covered ones."""
    cdef int64_t axis = r.rank - 1, q
    while axis > 0:
        q = r.out_tables[sample * r.rank + axis] + at[axis]
        if r.count[q] != r.in_shapes[sample * r.rank + axis] or (r.step[axis] != 1 and r.count[q] != 1):
            break
        q = r.out_tables[sample * r.rank + axis - 1] + at[axis - 1]
        if r.step[axis - 1] != 1 and r.count[q] != 1:
            break
        axis -= 1
    return axis


cdef int64_t outer_runs(const Job *job, int64_t sample, const int64_t *at, int64_t axes, int64_t *runs) noexcept nogil:
    """Where the runs of a region begin, as positions of the sample, ascending: all of the first `axes` axes. Returns
    how many."""
    cdef const Regions *r = &job.regions
    cdef int64_t n = 1, a, e, i, q, more, stride = 1
    cdef const int64_t *shape = r.in_shapes + sample * r.rank
    runs[0] = 0
    for a in range(axes):
        q = r.out_tables[sample * r.rank + a] + at[a]
        more = r.count[q]
        # From the end, so that entries are read before they are written over.
        for e in range(n - 1, -1, -1):
            for i in range(more - 1, -1, -1):
                runs[e * more + i] = runs[e] * shape[a] + r.first[q] + i * r.step[a]
        n *= more
    for a in range(axes, r.rank):
        stride *= shape[a]
    for e in range(n):
        runs[e] *= stride
    return n


cdef inline convnd_pool_tile tile_of(const Job *job) noexcept nogil:
    if job.mode == MAX:
        return job.tiles.pool.max
    return job.tiles.pool.squares if job.mode == SQUARES else job.tiles.pool.sum


cdef void run_outputs(const Job *job, const Block *block, const int64_t *outer, int64_t n_outer, convnd_pool_args *args,
                      const char *x, char *out, int32_t *index) noexcept nogil:
    """The block's columns of one row; x is at the sample, out and index at the row. Neighbours alike go together."""
    cdef const Regions *r = &job.regions
    cdef int64_t last = r.rank - 1, size = job.tiles.itemsize, q = block.col, n
    cdef const int64_t *first = r.first + r.out_tables[block.sample * r.rank + last]
    cdef const int64_t *count = r.count + r.out_tables[block.sample * r.rank + last]
    cdef convnd_pool_tile tile = tile_of(job)
    args.runs, args.n_runs, args.x_step = outer, n_outer, r.step[last]
    while q < block.col + block.cols:
        n = 1
        args.x_next = 0
        if q + 1 < block.col + block.cols:
            args.x_next = first[q + 1] - first[q]
        while (q + n < block.col + block.cols and count[q + n] == count[q]
               and first[q + n] - first[q + n - 1] == args.x_next):
            n += 1
        args.outputs, args.length = n, count[q]
        args.divisor = divisor(job, n_outer * count[q])
        args.first, args.x = first[q], x + first[q] * job.channels * size
        args.out, args.index = out + q * job.channels * size, index + q * job.channels if index else NULL
        args.winner = job.winner + (args.out - job.out)
        tile(args)
        q += n


cdef void run_merged(const Job *job, const Block *block, const int64_t *at, int64_t axis, const int64_t *outer,
                     int64_t n_outer, convnd_pool_args *args, const char *x, char *out, int32_t *index) noexcept nogil:
    """One output whose region covers every axis after `axis`."""
    cdef const Regions *r = &job.regions
    cdef int64_t q = r.out_tables[block.sample * r.rank + axis] + at[axis], a, inner = 1
    for a in range(axis + 1, r.rank):
        inner *= r.in_shapes[block.sample * r.rank + a]
    args.runs, args.n_runs, args.x_step, args.x_next = outer, n_outer, 1, 0
    args.outputs, args.length = 1, r.count[q] * inner
    args.divisor = divisor(job, n_outer * args.length)
    args.first = r.first[q] * inner
    args.x = x + args.first * job.channels * job.tiles.itemsize
    args.out, args.index, args.winner = out, index, job.winner + (out - job.out)    # the row's only output
    tile_of(job)(args)


cdef void pool_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef const Regions *r = &job.regions
    cdef const Block *block = &job.blocks[number]
    cdef int64_t *outer = <int64_t *>(job.scratch + slot * job.scratch_size)
    cdef int64_t size = job.tiles.itemsize, row, axis, n, position
    cdef int64_t at[MAX_RANK]
    cdef const int64_t *shape = r.out_shapes + block.sample * r.rank
    cdef const char *x = job.x + (r.in_offsets[block.sample] * job.channels + block.channel) * size
    cdef char *out
    cdef int32_t *index
    cdef convnd_pool_args args
    args.x_end = job.x + r.in_offsets[r.samples] * job.channels * size
    args.channels, args.pitch, args.norm = block.channels, job.channels, job.norm
    args.asks = r.in_offsets[r.samples] * job.channels * size >= ASK_BYTES
    if job.norm.scale:
        args.norm.scale += block.channel * size
        args.norm.shift += block.channel * size
    for row in range(block.row, block.row + block.rows):
        coordinates(r.rank, shape, row, at)
        position = r.out_offsets[block.sample] + row * shape[r.rank - 1]
        out = job.out + (position * job.channels + block.channel) * size
        index = job.index + (position * job.channels + block.channel) if job.index else NULL
        at[r.rank - 1] = 0
        axis = run_axis(r, block.sample, at) if shape[r.rank - 1] == 1 else r.rank - 1
        n = outer_runs(job, block.sample, at, axis, outer)
        if axis < r.rank - 1:
            run_merged(job, block, at, axis, outer, n, &args, x, out, index)
        else:
            run_outputs(job, block, outer, n, &args, x, out, index)


def pool(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[::1] in_tables,
         const int64_t[::1] out_tables, const int64_t[::1] step, const int64_t[:, ::1] outputs,
         const int64_t[:, ::1] inputs, int64_t mode, double window, int64_t first, int64_t end, real[:, ::1] out,
         int32_t[:, ::1] index):
    """out = max, mean, sum, sum / window or sum of squares of each region, of the channels from `first` to `end`; index
    (of max, or empty): the winner's position.

    outputs holds the rows first and count, inputs begin and end. There is at least one axis."""
    cdef Job job
    job.tiles, job.mode, job.window = tiles(sizeof(real)), <Mode>mode, window
    read_regions(&job.regions, in_shapes, out_shapes, in_offsets, out_offsets, in_tables, out_tables, step, outputs,
                 inputs)
    job.x, job.out, job.index = <const char *>&x[0, 0], <char *>&out[0, 0], &index[0, 0] if index.shape[0] else NULL
    job.winner, job.norm.scale, job.channels, job.first, job.end = job.out, NULL, x.shape[1], first, end
    run_pool(&job, x.shape[0], out.shape[0])


def norm_pool(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
              const int64_t[::1] in_offsets, const int64_t[::1] out_offsets, const int64_t[::1] in_tables,
              const int64_t[::1] out_tables, const int64_t[::1] step, const int64_t[:, ::1] outputs,
              const int64_t[:, ::1] inputs, const real[::1] scale, const real[::1] shift, int64_t activation,
              real[:, ::1] out, int32_t[:, ::1] index, real[:, ::1] winner):
    """The maximum of activation(x scale + shift) in each region; winner is the x it came from."""
    cdef Job job
    job.tiles, job.mode, job.window = tiles(sizeof(real)), MAX, 0
    read_regions(&job.regions, in_shapes, out_shapes, in_offsets, out_offsets, in_tables, out_tables, step, outputs,
                 inputs)
    job.x, job.out, job.index = <const char *>&x[0, 0], <char *>&out[0, 0], &index[0, 0]
    job.norm.scale, job.norm.shift = <const char *>&scale[0], <const char *>&shift[0]
    job.winner, job.norm.activation, job.channels = <char *>&winner[0, 0], activation, x.shape[1]
    job.first, job.end = 0, x.shape[1]
    run_pool(&job, x.shape[0], out.shape[0])


cdef int run_pool(Job *job, int64_t inputs, int64_t outputs) except -1:
    cdef bint done
    with nogil:
        job.scratch_size = largest_region(&job.regions, job.regions.rank - 1) * sizeof(int64_t)
        done = run_blocks(job, pool_task, False, max(inputs, outputs) * job.channels * WORK)
    if not done:
        raise MemoryError("no memory for the tasks of a pool")
    return 0
