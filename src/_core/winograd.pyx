# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Winograd's convolution of stride 1, in N dimensions, on ragged batches; and what its weight gradient shares.

An output is cut into tiles; a tile's input is transformed along each axis to `frequencies` numbers a channel, and in
between there is a product of matrices (tiles x channels) (channels x filters) for each frequency. A block of tiles goes
through all three stages in the cache. What a tile gives doesn't depend on the tiles around it.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from convnd._core.counted cimport free_counted, join_counted, make_counted, tally_of
from convnd._core.isa cimport (
    CONVND_MAX_VECTORS, CONVND_WINOGRAD_AXES, convnd_conv_args, convnd_winograd_args, convnd_winograd_product, tiles)
from convnd._core.panels cimport FILTERS, Panel, make_panels
from convnd._core.plan cimport ceil_div
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots, usable
from convnd._core.winograd_tiles cimport (
    Ahead, Fold, Spot, ahead_bytes, begin_ahead, box, count_tiles, find_tile, locate_next, look_ahead, next_tile,
    read_fold, take_lines)

from convnd._core.memory import Buffer

ctypedef fused real:
    float
    double

# Bytes of a block's frequencies: half of a small second-level cache.
cdef int64_t BLOCK_BYTES = 256 * 1024
# A transformed weight of more bytes is read again by each block: then a block has so many tiles, or the threads share
# out what tiles there are.
cdef int64_t WEIGHT_BYTES = 1024 * 1024
cdef int64_t TILES = 32, LEAST_TILES = 4
# Blocks to cut a large operation into.
cdef int64_t BLOCKS = 16
# What transforming a number to a frequency, or from one, costs in multiply-adds.
cdef int64_t TRANSFORM_WORK = 20
# A weight is transformed so many channels of a panel at a time.
cdef int64_t PIECE_CHANNELS = 16
# Frequencies go past the caches from so many times the size of results that do: what reads them comes next.
cdef int64_t STREAM_TIMES = 8
# Bytes of an input from which on memory is asked for what the next block reads.
cdef int64_t ASK_BYTES = 4 * 1024 * 1024

cdef bint on_one_axis(const Winograd *job) noexcept nogil:
    """Whether a tile is a line."""
    return job.axes[CONVND_WINOGRAD_AXES - 2].alpha == 1


cdef bint in_row(const Winograd *job) noexcept nogil:
    """Whether the next tile of a row begins where a tile's outputs end."""
    return job.place[job.rank - 1] == CONVND_WINOGRAD_AXES - 1 and job.dilation[job.rank - 1] == 1


cdef inline int64_t panel_of(const Winograd *job, int64_t frequency, int64_t p) noexcept nogil:
    """Where a panel of the packed weight starts at a frequency, in bytes."""
    cdef const Panel *panel = &job.panels[p]
    return (panel.pack + frequency * job.depth * panel.vectors * job.tiles.lanes) * job.tiles.itemsize


cdef void multiply(const Winograd *job, const char *data, char *product, int64_t count, Ahead *ahead) noexcept nogil:
    """At each frequency, (count, channels) times (channels, filters). Meanwhile memory is asked for what is ahead."""
    cdef int64_t size = job.tiles.itemsize, frequency, p, left, tallest, tall, lines, calls
    cdef const Panel *panel
    cdef convnd_winograd_product args
    cdef convnd_conv_args rest
    rest.tiles, rest.n_runs, rest.length, rest.activation, rest.streams, rest.fresh = 1, 1, job.depth, 0, False, 0
    rest.x_step = args.x_step = job.tile_step
    rest.out_step = args.out_step = job.grad_tile_step
    rest.start = job.start + job.grad_row * size        # zeros
    args.depth, args.ask = job.depth, NULL
    calls = job.frequencies * job.n_panels
    for frequency in range(job.frequencies):
        for p in range(job.n_panels):
            panel = &job.panels[p]
            tallest = job.tiles.height[panel.vectors]
            left = 0 if job.tiles.winograd.any_count[panel.vectors] else count % tallest
            args.count = count - left
            args.w = job.w + panel_of(job, frequency, p)
            args.ahead = 0
            if p + 1 < job.n_panels:
                args.ahead = panel_of(job, frequency, p + 1) - panel_of(job, frequency, p)
            elif frequency + 1 < job.frequencies:
                args.ahead = panel_of(job, frequency + 1, 0) - panel_of(job, frequency, p)
            args.x = data + (frequency * job.row + panel.x) * size
            args.out = product + (frequency * job.grad_row + panel.start) * size
            tall = ceil_div(args.count, tallest)
            lines = take_lines(ahead, min(ceil_div(ahead.end - ahead.line, calls), tall * job.depth), &args.ask)
            args.share = ceil_div(lines, max(tall, 1))
            calls -= 1
            job.tiles.winograd.multiply[panel.vectors](&args)
            if left:
                rest.w = args.w
                rest.runs = job.runs
                rest.lanes = panel.vectors * job.tiles.lanes
                rest.x = args.x + args.count * job.tile_step * size
                rest.out = args.out + args.count * job.grad_tile_step * size
                job.tiles.conv.plain[panel.vectors][left](&rest)


cdef void conv_block(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Winograd *job = <const Winograd *>context
    cdef int64_t size = job.tiles.itemsize, first = index * job.block, t, at, g, phase
    cdef int64_t count = min(job.block, job.total - first), channels = job.channels // job.in_phases
    cdef int64_t filters = job.filters // job.out_phases, width = filters // job.groups
    cdef int64_t part = job.grad_row // job.groups if job.out_phases == 1 else width    # a group's, or a phase's
    cdef char *data = job.scratch + slot * job.scratch_size
    cdef char *product = data + job.block * job.tile_step * size
    cdef Ahead ahead
    cdef convnd_winograd_args args
    cdef Spot start, spot
    cdef bint along = False
    args.axes, args.x_end, args.activation, args.asks = job.axes, job.x_end, job.activation, job.asks_along
    args.moments.mean, args.counted = NULL, 0
    args.channels, args.frequency_step = channels, job.row
    find_tile(job, first, &start)
    spot = start
    for t in range(count):
        for phase in range(job.in_phases):
            locate_next(job, &spot, along, False, phase, channels, &args, &at)
            args.x, args.y = job.x + at * size, data + (t * job.tile_step + phase * channels) * size
            job.tiles.winograd.input(&args)
        along = next_tile(job, &spot)
    begin_ahead(job, job.block, product + job.block * job.grad_tile_step * size, &ahead)
    if job.asks:
        look_ahead(job, first + count, min(first + count + job.block, job.total), False, job.x, &ahead)
    multiply(job, data, product, count, &ahead)
    args.channels, args.frequency_step, args.streams = width, job.grad_row, job.streams
    spot = start
    along = False
    for t in range(count):
        for phase in range(job.out_phases):
            locate_next(job, &spot, along, True, phase, filters, &args, &at)
            for g in range(job.groups):     # phases have one
                args.x = product + (t * job.grad_tile_step + (phase + g) * part) * size
                args.y = job.out + (at + g * width) * size
                args.start = job.start + (phase + g) * part * size
                if job.counted.moments:     # unless out is folded
                    args.moments = tally_of(&job.counted, index, g * part, size).moments
                job.tiles.winograd.output(&args)
            args.counted += box(&args)
        along = next_tile(job, &spot)
    if job.counted.moments:
        job.counted.rows[index] = args.counted


cdef void panel_args(const Pack *pack, const Panel *panel, convnd_winograd_args *args) noexcept nogil:
    """A panel's weights of all input channels."""
    args.axes, args.channels = pack.job.axes, panel.lanes
    args.frequency_step = pack.job.depth * panel.vectors * pack.job.tiles.lanes
    args.step[0], args.step[1] = pack.job.depth * pack.job.filters, pack.job.filters
    args.step[2] = panel.vectors * pack.job.tiles.lanes
    args.from_[0], args.to[0] = 0, pack.job.depth


cdef int64_t setup(Winograd *job, int64_t itemsize, const int64_t[:, ::1] geometry, const int64_t[::1] outputs,
                   int64_t channels, int64_t filters, int64_t groups) noexcept nogil:
    """What follows from the window and the channels; returns the numbers of a packed weight, -1 without memory."""
    cdef int64_t a, i = CONVND_WINOGRAD_AXES - 1, k
    cdef const Panel *panel
    job.tiles = tiles(itemsize)
    job.rank, job.channels, job.filters, job.groups = geometry.shape[1], channels, filters, groups
    job.depth = channels // groups
    job.frequencies = 1
    for k in range(CONVND_WINOGRAD_AXES):
        job.axes[k].alpha = job.axes[k].outputs = job.axes[k].taps = 1
    for a in range(job.rank - 1, -1, -1):
        k = geometry[0, a]
        job.outputs[a], job.dilation[a], job.place[a] = 1, 1, -1
        if k > 1:
            job.outputs[a], job.dilation[a], job.place[a] = outputs[a], geometry[2, a], i
            job.axes[i].alpha, job.axes[i].outputs, job.axes[i].taps = outputs[a] + k - 1, outputs[a], k
            job.frequencies *= job.axes[i].alpha
            i -= 1
    job.panels = make_panels(job.tiles, groups, job.depth, filters // groups, job.frequencies, FILTERS, &job.n_panels)
    if not job.panels:
        return -1
    panel = &job.panels[job.n_panels - 1]
    job.row = ceil_div(channels, job.tiles.lanes) * job.tiles.lanes
    job.grad_row = panel.start + panel.vectors * job.tiles.lanes
    return panel.pack + job.frequencies * job.depth * panel.vectors * job.tiles.lanes


cdef void turn(const Pack *pack, const Panel *panel, int64_t first, int64_t last, char *to) noexcept nogil:
    """Channels first ... last of a transposed weight to (taps, PIECE_CHANNELS, filters of the panel)."""
    cdef const Winograd *job = pack.job
    cdef int64_t width = job.filters // job.groups, filter = panel.filter - panel.x // job.depth * width
    cdef int64_t step = panel.vectors * job.tiles.lanes, size = job.tiles.itemsize, tap, at
    for tap in range(pack.taps):
        at = ((pack.taps - 1 - tap if pack.flip else tap) * width + filter) * job.channels + panel.x + first
        job.tiles.moves.turn(pack.from_ + at * size, job.channels, to + tap * PIECE_CHANNELS * step * size, step,
                             panel.lanes, last - first)


cdef void pack_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """Some channels of one panel of a weight to their frequencies."""
    cdef const Pack *pack = <const Pack *>context
    cdef const Winograd *job = pack.job
    cdef const Panel *panel = &job.panels[index // pack.pieces]
    cdef int64_t size = job.tiles.itemsize, first = index % pack.pieces * PIECE_CHANNELS
    cdef int64_t last = min(first + PIECE_CHANNELS, job.depth)
    cdef char *scratch
    cdef convnd_winograd_args args
    panel_args(pack, panel, &args)
    args.y = pack.to + (panel.pack + first * args.step[2]) * size
    args.to[0] = last - first
    args.streams = streams(args.y, args.step[2] * size, pack.size * size // STREAM_TIMES)
    if pack.transposed:
        scratch = pack.scratch + slot * pack.taps * PIECE_CHANNELS * CONVND_MAX_VECTORS * job.tiles.lanes * size
        turn(pack, panel, first, last, scratch)
        args.x, args.step[1] = scratch, args.step[2]
        args.step[0] = PIECE_CHANNELS * args.step[1]
    else:
        args.x = pack.from_ + (first * job.filters + panel.filter) * size
        if pack.flip:
            args.x += (pack.taps - 1) * args.step[0] * size
            args.step[0] = -args.step[0]
    job.tiles.winograd.weight(&args)


def pack(const real[:, :, ::1] weight, const int64_t[:, ::1] geometry, const int64_t[::1] outputs, int64_t groups,
         bint transposed, bint flip, real[::1] packed):
    """The frequencies of a weight (taps, C / groups, F), in panels; returns the numbers they take.

    Call with an empty `packed` to ask. `outputs` are those of a tile on each axis. The weight of a transposed
    convolution is (taps, F / groups, C).
    """
    cdef Winograd job
    cdef Pack context
    cdef int64_t channels = weight.shape[2] if transposed else weight.shape[1] * groups
    cdef int64_t filters = weight.shape[1] * groups if transposed else weight.shape[2]
    cdef int64_t size = setup(&job, sizeof(real), geometry, outputs, channels, filters, groups)
    if size < 0:
        raise MemoryError("no memory for the panels of a weight")
    cdef int64_t piece
    cdef char[::1] scratch
    if packed.shape[0]:
        context.job, context.transposed, context.flip, context.taps = &job, transposed, flip, weight.shape[0]
        context.from_, context.to = <const char *>&weight[0, 0, 0], <char *>&packed[0]
        context.pieces, context.size = ceil_div(job.depth, PIECE_CHANNELS), size
        if transposed:
            piece = PIECE_CHANNELS * CONVND_MAX_VECTORS * job.tiles.lanes
            scratch = Buffer(slots() * context.taps * piece * sizeof(real))
            context.scratch = &scratch[0]
        with nogil:
            parallel_for(pack_task, &context, job.n_panels * context.pieces, PACK_WORK * size)
    free(job.panels)
    return size


def conv(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[:, ::1] low, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
         const int64_t[:, ::1] geometry, const int64_t[::1] outputs, const real[::1] packed, const real[::1] bias,
         int64_t groups, int64_t activation, real[:, ::1] out, Fold fold=None, double[:, ::1] moments=None,
         int64_t step=0, int64_t channels=0):
    """out = activation(bias + conv(x)), stride 1, at most 5 taps an axis or 7 on one. All has been checked.

    The channels of a folded side's phase fill whole vectors, and there are no groups. `moments`, if given, becomes
    out's means and squared deviations from them, (2, F); then out isn't folded. Returns whether it has: blocks may
    depend on the threads. With a `step`, inputs begin so many of x's positions apart and have `channels` of x's
    numbers: they may overlap; in_offsets count x's positions.
    """
    cdef Winograd job
    cdef int64_t n, p, f, tile_bytes, most
    cdef real *start
    cdef bint counts = moments is not None, near
    read_fold(&job, fold)
    job.counted.moments, job.counted.rows = NULL, NULL
    if setup(&job, sizeof(real), geometry, outputs, channels if step else x.shape[1] * job.in_phases,
             out.shape[1] * job.out_phases, groups) < 0:
        raise MemoryError("no memory for the panels of a weight")
    job.samples = in_shapes.shape[0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    job.in_unit, job.in_step = x.shape[1], x.shape[1] * max(1, step)
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.x_end = job.x + x.shape[0] * x.shape[1] * sizeof(real)
    job.activation = activation
    # Lines of several vectors were slower where dilation, or another axis, takes a tile's outputs far apart.
    near = job.tiles.lanes * <int64_t>sizeof(real) == STREAM_LINE or (
        job.outputs[job.rank - 1] > 1 and job.dilation[job.rank - 1] == 1)
    job.streams = near and streams(
        job.out, out.shape[1] // groups * sizeof(real), out.shape[0] * out.shape[1] * sizeof(real))
    # First tiles; the bias and as many zeros.
    indices = Buffer((job.samples + 1) * sizeof(int64_t))
    starts = Buffer(2 * job.grad_row * sizeof(real))
    cdef char[::1] index_view = indices, start_view = starts
    job.first_tile = <int64_t *>&index_view[0]
    job.runs[0] = job.runs[1] = 0
    job.start = &start_view[0]
    start = <real *>job.start
    memset(start, 0, 2 * job.grad_row * sizeof(real))
    if bias.shape[0]:
        for p in range(job.n_panels):
            for f in range(job.panels[p].lanes):
                start[job.panels[p].start + f] = bias[job.panels[p].filter + f]
    count_tiles(&job)
    tile_bytes = job.frequencies * (job.row + job.grad_row) * sizeof(real)
    if job.frequencies * job.depth * job.filters * <int64_t>sizeof(real) > WEIGHT_BYTES:
        n = usable() * ceil_div(max(job.total, 1), usable() * TILES)
        job.block = max(ceil_div(job.total, n), LEAST_TILES)
        counts = False
    else:
        n = job.tiles.height[2]
        most = min(BLOCK_BYTES // tile_bytes, ceil_div(job.total, BLOCKS))
        job.block = ceil_div(max(most, 1), n) * n
    job.tile_step = job.frequencies * job.row + SKEW
    job.grad_tile_step = job.frequencies * job.grad_row + SKEW
    job.scratch_size = job.block * (job.tile_step + job.grad_tile_step) * sizeof(real) + ahead_bytes(&job, job.block)
    job.asks = x.shape[0] * x.shape[1] * <int64_t>sizeof(real) >= ASK_BYTES and (    # while whole tiles are multiplied
        job.block >= job.tiles.height[job.panels[0].vectors])
    job.asks_along = in_row(&job) and on_one_axis(&job)
    scratch = Buffer(slots() * job.scratch_size)
    cdef char[::1] scratch_view = scratch
    job.scratch = &scratch_view[0]
    n = ceil_div(job.total, job.block)
    if counts and not make_counted(&job.counted, n, job.grad_row, sizeof(real)):
        free_counted(&job.counted)
        free(job.panels)
        raise MemoryError("no memory for the moments of a convolution")
    with nogil:
        parallel_for(conv_block, &job, n, job.total * job.frequencies * (
            job.depth * job.filters + TRANSFORM_WORK * (job.channels + job.filters)))
        if counts:
            join_counted(&job.counted, n, job.panels, job.n_panels, sizeof(real), job.filters, &moments[0, 0])
            free_counted(&job.counted)
    free(job.panels)
    return counts
