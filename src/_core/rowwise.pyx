# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Winograd's convolution along rows (the last axis), directly along the other axes, on ragged batches.

A block's rows are transformed (see rowwise_blocks); then tiles sum up a frequency's products and turn them into
outputs, in registers or the first cache (tile/rowwise.h). What a tile gives doesn't depend on the tiles around it.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from convnd._core.counted cimport free_counted, join_counted, make_counted, tally_of
from convnd._core.isa cimport convnd_rowwise_args, convnd_rowwise_tile, convnd_rowwise_tiles
from convnd._core.panels cimport Panel
from convnd._core.plan cimport ceil_div
from convnd._core.rowwise_blocks cimport (
    Block, Rowwise, cut_blocks, find_block, least_tiles, line_numbers, list_runs, list_tiles, panel_filter,
    read_geometry, tiles_for, transform_rows)
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots

from convnd._core.memory import Buffer

ctypedef fused real:
    float
    double

# Bytes of an input from which on memory is asked for what the next block reads.
cdef int64_t ASK_BYTES = 4 * 1024 * 1024
# A tile's outputs may be so far apart, in bytes, if lines that several stores fill are to go past the caches.
cdef int64_t TOGETHER = 1024


cdef void span_of(const Rowwise *job, const Block *block, const char **start, const char **end) noexcept nogil:
    """The memory that a block of whole rows of at most two axes reads, or of a part of one."""
    cdef int64_t last = job.rank - 1, numbers, first, to, low
    cdef const int64_t *shape = job.in_shapes + block.sample * job.rank
    numbers = line_numbers(job, block.first[last], block.count[last], &first)
    first = (first - job.low[block.sample * job.rank + last]) * job.channels
    to = first + numbers
    if last:
        low = job.low[block.sample * job.rank]
        first = max(0, block.first[0] * job.stride[0] - low) * shape[1] * job.channels
        to = min(shape[0], block.first[0] * job.stride[0] - low + block.rows[0]) * shape[1] * job.channels
    numbers = job.in_offsets[block.sample] * job.channels
    start[0] = job.x + (numbers + max(0, first)) * job.tiles.itemsize
    end[0] = job.x + (numbers + min(to, shape[0] * (shape[1] if last else 1) * job.channels)) * job.tiles.itemsize


cdef void conv_block(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.row_tiles.lanes, p, f, t
    cdef char *data = job.scratch + slot * job.scratch_size
    cdef convnd_rowwise_tile *tile = <convnd_rowwise_tile *>(data + job.tiles_at)
    cdef const char *start
    cdef const char *end
    cdef const char *here
    cdef convnd_rowwise_args args
    cdef Block block, next
    find_block(job, index, &block)
    args.tile, args.tiles = tile, list_tiles(job, &block, tile)
    if args.tiles == 0:
        return
    transform_rows(job, &block, data)
    list_runs(job, &block, <int64_t *>(data + job.runs_at))
    args.x, args.runs, args.n_runs, args.width = data, <int64_t *>(data + job.runs_at), job.n_runs, job.width
    args.wide = job.wide
    args.out_step, args.activation, args.streams = job.apart * job.filters, job.activation, job.streams
    args.moments.mean = NULL
    start = end = NULL
    if job.asks and index + 1 < job.first_block[job.samples]:
        find_block(job, index + 1, &next)
        span_of(job, &block, &start, &here)
        span_of(job, &next, &start, &end)
        start = max(start, here)    # where this one ends
    for p in range(job.n_panels):
        f = panel_filter(p, job.filters, lanes)
        args.lanes = min(lanes, job.filters)
        args.w = job.w + p * job.panel * size
        args.start, args.out = job.start + f * size, job.out + f * size
        args.ask, args.ask_end = start, start + max(0, end - start) // (job.n_panels - p)
        start = args.ask_end
        if job.counted.moments:
            args.moments = tally_of(&job.counted, index, p * lanes, size).moments
        job.row_tiles.outputs[job.alpha][job.outputs](&args)
    if job.counted.moments:
        for t in range(args.tiles):
            job.counted.rows[index] += tile[t].exist


cdef struct Packing:
    const convnd_rowwise_tiles *tiles
    int64_t itemsize
    const char *weight      # (taps, depth, filters)
    char *packed
    int64_t alpha, outputs, depth, filters


cdef void pack_panel(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Packing *job = <const Packing *>context
    cdef int64_t size = job.itemsize, lanes = job.tiles.lanes
    cdef int64_t f = panel_filter(index, job.filters, lanes)
    job.tiles.weight(
        job.alpha, job.outputs, job.weight + f * size, job.depth * job.filters, job.filters, job.depth,
        min(lanes, job.filters), job.packed + index * job.depth * job.alpha * lanes * size)


def fewest_tiles(int64_t itemsize, int64_t filters, int64_t alpha):
    """How many tiles of a row a block has at least, if the row has as many."""
    return least_tiles(tiles_for(itemsize, filters), alpha)


def tiles_at_once(int64_t itemsize, int64_t filters, int64_t alpha):
    """How many tiles a product takes at the least: rows are filled up to that."""
    return tiles_for(itemsize, filters).height[alpha]


def panel_lanes(int64_t itemsize, int64_t filters):
    """Filters of a panel, of so many in all."""
    return tiles_for(itemsize, filters).lanes


def pack(const real[:, :, ::1] weight, int64_t alpha, real[::1] packed):
    """A weight (taps, depth, F) to its frequencies, panel by panel: (F in whole panels) * depth * alpha numbers."""
    cdef Packing job
    job.tiles, job.itemsize = tiles_for(sizeof(real), weight.shape[2]), sizeof(real)
    job.weight, job.packed = <const char *>&weight[0, 0, 0], <char *>&packed[0]
    job.alpha, job.outputs = alpha, alpha + 1 - weight.shape[0]
    job.depth, job.filters = weight.shape[1], weight.shape[2]
    with nogil:
        parallel_for(pack_panel, &job, ceil_div(job.filters, job.tiles.lanes),
                     job.depth * job.filters * alpha * 8)


def conv(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[:, ::1] low, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
         const int64_t[:, ::1] geometry, int64_t apart, int64_t taps, int64_t alpha, const real[::1] packed,
         const real[::1] bias, int64_t activation, real[:, ::1] out, double[:, ::1] moments=None):
    """out = activation(bias + conv(x)). All has been checked.

    On the last axis there are `taps` taps, `apart` outputs apart, that read positions side by side, so many as lie
    between one tap and the next or, of a dilated axis, one. `moments`, if given, becomes out's means and squared
    deviations from them, (2, F).
    """
    cdef Rowwise job
    cdef Panel panels[2]
    cdef int64_t total, blocks, f, lanes, whole
    cdef bint counts = moments is not None, together
    cdef real *start
    read_geometry(&job, sizeof(real), geometry, apart, taps, alpha, x.shape[1], out.shape[1])
    job.samples = in_shapes.shape[0]
    lanes = job.row_tiles.lanes
    job.n_panels, job.wide = ceil_div(job.filters, lanes), job.width % job.tiles.lanes == 0
    job.panel, whole = job.n_runs * job.width * alpha * lanes, job.n_panels * lanes
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    job.activation = activation
    together = job.tiles.lanes * <int64_t>sizeof(real) == STREAM_LINE or (
        apart * job.filters * <int64_t>sizeof(real) <= TOGETHER)
    job.streams = together and lanes * <int64_t>sizeof(real) % STREAM_LINE == 0 and streams(
        job.out, out.shape[1] * sizeof(real), out.shape[0] * out.shape[1] * sizeof(real))
    job.asks = job.rank <= 2 and x.shape[0] * x.shape[1] * <int64_t>sizeof(real) >= ASK_BYTES
    indices = Buffer((job.samples * (job.rank + 1) + 1) * sizeof(int64_t))
    starts = Buffer(whole * sizeof(real))
    cdef char[::1] index_view = indices, start_view = starts
    job.first_block = <int64_t *>&index_view[0]
    job.extents = job.first_block + job.samples + 1
    job.first_block[0] = 0
    start = <real *>&start_view[0]
    job.start = <const char *>start
    memset(start, 0, whole * sizeof(real))
    for f in range(bias.shape[0]):
        start[f] = bias[f]
    total = cut_blocks(&job)
    scratch = Buffer(slots() * job.scratch_size)
    cdef char[::1] scratch_view = scratch
    job.scratch = &scratch_view[0]
    blocks = job.first_block[job.samples]
    job.counted.moments, job.counted.rows = NULL, NULL
    if counts and not make_counted(&job.counted, blocks, whole, sizeof(real)):
        free_counted(&job.counted)
        raise MemoryError("no memory for the moments of a convolution")
    # All panels but the last, and what is new in that.
    f = panels[0].lanes = max(job.n_panels - 1, 0) * lanes
    panels[0].start = panels[0].filter = 0
    panels[1].filter, panels[1].lanes = f, job.filters - f
    panels[1].start = 2 * f - panel_filter(f // lanes, job.filters, lanes)
    with nogil:
        parallel_for(conv_block, &job, blocks, total * alpha * (job.n_runs * job.width + 4) * job.filters)
        if counts:
            join_counted(&job.counted, blocks, panels, 2, sizeof(real), job.filters, &moments[0, 0])
            free_counted(&job.counted)
