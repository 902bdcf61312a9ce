# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of a convolution row by row: over tiles, sums of the inputs' frequencies times the gradients'.

So many chunks of blocks have sums by themselves as follows from shapes; they are added in their order.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from convnd._core.isa cimport convnd_rowwise_sums, convnd_rowwise_tile
from convnd._core.plan cimport ceil_div
from convnd._core.rowwise_blocks cimport (
    EIGHT, Block, Rowwise, cut_blocks, find_block, list_runs, list_tiles, panel_filter, read_geometry, transform_rows)
from convnd._core.stream cimport STREAM_LINE
from convnd._core.threads cimport parallel_for, slots, usable

from convnd._core.memory import Buffer

ctypedef fused real:
    float
    double

# Sums that are made by themselves, at most so many and so much; tiles whose gradients are transformed before their
# products; rows whose sums are added up at a time.
cdef int64_t CHUNKS = 16, CHUNK_BYTES = 4 * 1024 * 1024, SUM_TILES = 36, END_ROWS = 12


cdef void list_rows(const Rowwise *job, const int64_t *runs, int64_t *rows) noexcept nogil:
    """Where the first frequency of each row of sums lies, from a tile's first."""
    cdef int64_t r
    for r in range(job.depth):
        rows[r] = runs[r // job.width] + r % job.width * EIGHT


cdef void sum_chunk(void *context, int64_t index, int64_t slot) noexcept nogil:
    """A chunk's products, of some panels."""
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.row_tiles.lanes, b, p, f, t, count
    cdef int64_t blocks = job.first_block[job.samples], part = index % job.parts
    cdef int64_t panel = job.depth * job.alpha * lanes * size
    cdef int64_t first = part * job.n_panels // job.parts, last = (part + 1) * job.n_panels // job.parts
    cdef char *data = job.scratch + slot * job.scratch_size
    cdef char *sums
    cdef convnd_rowwise_tile *tile = <convnd_rowwise_tile *>(data + job.tiles_at)
    cdef int64_t *runs = <int64_t *>(data + job.runs_at)
    cdef convnd_rowwise_sums args
    cdef Block block
    index = index // job.parts
    sums = job.sums + index * job.chunk * size
    memset(sums + first * panel, 0, (last - first) * panel)
    args.x, args.frequencies, args.rows = data, data + job.gradients_at, <int64_t *>(data + job.rows_at)
    args.n_rows, args.out_step = job.depth, job.apart * job.filters
    args.lanes = min(lanes, job.filters)
    for b in range(blocks * index // job.chunks, blocks * (index + 1) // job.chunks):
        find_block(job, b, &block)
        count = list_tiles(job, &block, tile)
        while count and tile[count - 1].exist == 0:
            count -= 1
        if count == 0:
            continue
        transform_rows(job, &block, data)
        list_runs(job, &block, runs)
        list_rows(job, runs, <int64_t *>(data + job.rows_at))
        t = 0
        while t < count:
            args.tile, args.tiles = tile + t, min(SUM_TILES, count - t)
            for p in range(first, last):
                f = panel_filter(p, job.filters, lanes)
                args.next, args.next_tiles = args.tile, args.tiles
                args.next_g = job.grad + panel_filter(p + 1, job.filters, lanes) * size
                if p + 1 == last:
                    args.next = args.tile + args.tiles
                    args.next_g = job.grad + panel_filter(first, job.filters, lanes) * size
                    args.next_tiles = min(args.tiles, count - t - args.tiles)
                args.g, args.sum = job.grad + f * size, sums + p * panel
                job.row_tiles.sums[job.alpha][job.outputs](&args)
            t += SUM_TILES


cdef void end_rows(void *context, int64_t index, int64_t slot) noexcept nogil:
    """The sum over chunks of some rows, of all panels; then their gradient."""
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.row_tiles.lanes, p, c, f, first = index * END_ROWS
    cdef int64_t rows = min(END_ROWS, job.depth - first), numbers = rows * job.alpha * lanes
    cdef char *sums
    for p in range(job.n_panels):
        f = panel_filter(p, job.filters, lanes)
        sums = job.sums + (p * job.depth + first) * job.alpha * lanes * size
        for c in range(1, job.chunks):
            job.tiles.weight.add(sums, sums + c * job.chunk * size, numbers)
        job.row_tiles.weight_gradient(
            job.alpha, job.outputs, sums, rows, job.filters, job.depth * job.filters, min(lanes, job.filters),
            job.out + (first * job.filters + f) * size)


def conv_weight(const real[:, ::1] x, const real[:, ::1] grad, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
                int64_t alpha, real[:, :, ::1] out):
    """The gradient (taps, depth, F) of the weight that `conv` takes: its depth is the other axes' taps and what one of
    the last reads.
    """
    cdef Rowwise job
    cdef int64_t total, room
    read_geometry(&job, sizeof(real), geometry, apart, taps, alpha, x.shape[1], grad.shape[1])
    job.samples = in_shapes.shape[0]
    job.wide = False        # a group of rows takes a few channels, not a vector of them
    job.depth, job.n_panels = job.n_runs * job.width, ceil_div(job.filters, job.row_tiles.lanes)
    job.x, job.grad, job.out = <const char *>&x[0, 0], <const char *>&grad[0, 0], <char *>&out[0, 0, 0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    indices = Buffer((job.samples * (job.rank + 1) + 1) * sizeof(int64_t))
    cdef char[::1] index_view = indices
    job.first_block = <int64_t *>&index_view[0]
    job.extents = job.first_block + job.samples + 1
    job.first_block[0] = 0
    total = cut_blocks(&job)
    job.gradients_at = job.scratch_size
    job.rows_at = job.gradients_at + SUM_TILES * alpha * job.row_tiles.lanes * sizeof(real)
    job.scratch_size = job.rows_at + ceil_div(job.depth * sizeof(int64_t), STREAM_LINE) * STREAM_LINE
    job.chunk = job.n_panels * job.depth * alpha * job.row_tiles.lanes
    job.chunks = max(1, min(CHUNKS, min(job.first_block[job.samples], CHUNK_BYTES // (
        job.chunk * <int64_t>sizeof(real)))))
    # Each part transforms the inputs anew, so one thread has one of these.
    job.parts = min(job.n_panels, ceil_div(4 * usable(), job.chunks)) if usable() > 1 else 1
    room = ceil_div(job.chunks * job.chunk * sizeof(real), STREAM_LINE) * STREAM_LINE
    scratch = Buffer(slots() * job.scratch_size + room)
    cdef char[::1] scratch_view = scratch
    job.sums = &scratch_view[0]
    job.scratch = job.sums + room
    with nogil:
        parallel_for(sum_chunk, &job, job.chunks * job.parts, total * alpha * (job.depth + 4) * job.filters)
        parallel_for(end_rows, &job, ceil_div(job.depth, END_ROWS), job.chunks * job.chunk)
