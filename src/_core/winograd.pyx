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
from convnd._core.plan cimport ceil_div, floor_div
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport owner_of, parallel_for, slots, usable

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
# A weight is transformed so many channels of a panel at a time.
cdef int64_t PIECE_CHANNELS = 16

cdef int64_t axis_tiles(const Winograd *job, int64_t axis, int64_t size) noexcept nogil:
    """Tiles on an axis: with dilation d those of d interleaved axes."""
    cdef int64_t d = job.dilation[axis]
    return d * ceil_div(ceil_div(size, d), job.outputs[axis])


cdef void enter_sample(const Winograd *job, Spot *spot) noexcept nogil:
    cdef int64_t a
    for a in range(job.rank):
        spot.tiles[a] = axis_tiles(job, a, job.out_shapes[spot.sample * job.rank + a])


cdef void find_tile(const Winograd *job, int64_t tile, Spot *spot) noexcept nogil:
    cdef int64_t a, left
    spot.sample = owner_of(job.first_tile, job.samples, tile)
    enter_sample(job, spot)
    left = tile - job.first_tile[spot.sample]
    for a in range(job.rank - 1, -1, -1):
        spot.at[a] = left % spot.tiles[a]
        left = left // spot.tiles[a]


cdef void next_tile(const Winograd *job, Spot *spot) noexcept nogil:
    """Without a division, unless a sample ends."""
    cdef int64_t a
    for a in range(job.rank - 1, -1, -1):
        spot.at[a] += 1
        if spot.at[a] < spot.tiles[a]:
            return
        spot.at[a] = 0
    spot.sample += 1
    while spot.sample < job.samples and job.first_tile[spot.sample + 1] == job.first_tile[spot.sample]:
        spot.sample += 1
    if spot.sample < job.samples:
        enter_sample(job, spot)


cdef class Fold:
    """A side whose phases are channels: sizes and how much of them counts (N, rank), offsets (N + 1,), padding before
    and strides."""

    def __cinit__(self, const int64_t[:, ::1] shapes, const int64_t[:, ::1] ends, const int64_t[::1] offsets,
                  const int64_t[:, ::1] low, const int64_t[::1] stride, bint of_output):
        cdef int64_t a
        self.of_output, self.phases = of_output, 1
        for a in range(stride.shape[0]):
            self.stride[a] = stride[a]
            self.phases *= stride[a]
        self.shapes, self.ends = &shapes[0, 0], &ends[0, 0]
        self.offsets, self.low = &offsets[0], &low[0, 0]
        self.kept = shapes, ends, offsets, low


cdef void read_fold(Winograd *job, Fold fold):
    """The side that is folded; None if neither is. `fold` has to outlive the job."""
    job.in_phases = job.out_phases = 1
    if fold is None:
        return
    if fold.of_output:
        job.out_phases = fold.phases
    else:
        job.in_phases = fold.phases
    job.stride, job.plain_shapes, job.plain_ends = fold.stride, fold.shapes, fold.ends
    job.plain_offsets, job.plain_low = fold.offsets, fold.low


cdef void locate(const Winograd *job, const Spot *spot, bint of_output, int64_t phase, int64_t channels,
                 convnd_winograd_args *args, int64_t *at) noexcept nogil:
    """The box of a tile in its sample's input or output; `at` is the place of its first element in the array."""
    cdef int64_t sample = spot.sample, a, i, d, m, first, count, size, step, unit = channels
    cdef bint folded = (job.out_phases if of_output else job.in_phases) > 1
    cdef const int64_t *shape = (job.out_shapes if of_output else job.in_shapes) + sample * job.rank
    cdef const int64_t *ends = shape
    cdef const int64_t *low = job.low + sample * job.rank
    cdef bint empty = False
    if folded:
        shape, ends = job.plain_shapes + sample * job.rank, job.plain_ends + sample * job.rank
    for i in range(CONVND_WINOGRAD_AXES):
        args.step[i], args.from_[i], args.to[i] = 0, 0, 1
    at[0] = (job.plain_offsets if folded else job.out_offsets if of_output else job.in_offsets)[sample] * channels
    for a in range(job.rank - 1, -1, -1):
        d, m, i = job.dilation[a], job.outputs[a], job.place[a]
        first = spot.at[a] * m if d == 1 else spot.at[a] % d + spot.at[a] // d * m * d
        if not of_output:
            first -= low[a]
        if folded:
            step = job.stride[a]
            if step > 1:    # without dilation
                first, d = first * step + phase % step - job.plain_low[sample * job.rank + a], step
            phase = phase // step
        size = ends[a]
        at[0] += first * unit
        if i < 0:
            empty = empty or first < 0 or first >= size
        else:
            count = m if of_output else job.axes[i].alpha
            args.step[i] = d * unit
            args.from_[i] = min(count, max(0, -first if d == 1 else ceil_div(-first, d)))
            args.to[i] = max(args.from_[i], min(
                count, size - first if d == 1 else floor_div(size - 1 - first, d) + 1))
        unit *= shape[a]
    if empty:
        args.from_[CONVND_WINOGRAD_AXES - 1] = args.to[CONVND_WINOGRAD_AXES - 1] = 0


cdef inline int64_t box(const convnd_winograd_args *args) noexcept nogil:
    """The elements of a tile that exist."""
    cdef int64_t i, n = 1
    for i in range(CONVND_WINOGRAD_AXES):
        n *= args.to[i] - args.from_[i]
    return n


cdef inline int64_t panel_of(const Winograd *job, int64_t frequency, int64_t p) noexcept nogil:
    """Where a panel of the packed weight starts at a frequency, in bytes."""
    cdef const Panel *panel = &job.panels[p]
    return (panel.pack + frequency * job.depth * panel.vectors * job.tiles.lanes) * job.tiles.itemsize


cdef void multiply(const Winograd *job, const char *data, char *product, int64_t count) noexcept nogil:
    """At each frequency, (count, channels) times (channels, filters)."""
    cdef int64_t size = job.tiles.itemsize, frequency, p, left, tallest
    cdef const Panel *panel
    cdef convnd_winograd_product args
    cdef convnd_conv_args rest
    rest.tiles, rest.n_runs, rest.length, rest.activation, rest.streams = 1, 1, job.depth, 0, False
    rest.x_step = args.x_step = job.tile_step
    rest.out_step = args.out_step = job.grad_tile_step
    rest.start = job.start + job.grad_row * size        # zeros
    args.depth = job.depth
    for frequency in range(job.frequencies):
        for p in range(job.n_panels):
            panel = &job.panels[p]
            tallest = job.tiles.height[panel.vectors]
            left = count % tallest
            args.count = count - left
            args.w = job.w + panel_of(job, frequency, p)
            args.ahead = 0
            if p + 1 < job.n_panels:
                args.ahead = panel_of(job, frequency, p + 1) - panel_of(job, frequency, p)
            elif frequency + 1 < job.frequencies:
                args.ahead = panel_of(job, frequency + 1, 0) - panel_of(job, frequency, p)
            args.x = data + (frequency * job.row + panel.x) * size
            args.out = product + (frequency * job.grad_row + panel.start) * size
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
    cdef convnd_winograd_args args
    cdef Spot start, spot
    args.axes, args.x_end, args.activation = job.axes, job.x_end, job.activation
    args.moments.mean, args.counted = NULL, 0
    args.channels, args.frequency_step = channels, job.row
    find_tile(job, first, &start)
    spot = start
    for t in range(count):
        for phase in range(job.in_phases):
            locate(job, &spot, False, phase, channels, &args, &at)
            args.x, args.y = job.x + at * size, data + (t * job.tile_step + phase * channels) * size
            job.tiles.winograd.input(&args)
        next_tile(job, &spot)
    multiply(job, data, product, count)
    args.channels, args.frequency_step, args.streams = width, job.grad_row, job.streams
    spot = start
    for t in range(count):
        for phase in range(job.out_phases):
            locate(job, &spot, True, phase, filters, &args, &at)
            for g in range(job.groups):     # phases have one
                args.x = product + (t * job.grad_tile_step + (phase + g) * part) * size
                args.y = job.out + (at + g * width) * size
                args.start = job.start + (phase + g) * part * size
                if job.counted.moments:     # unless out is folded
                    args.moments = tally_of(&job.counted, index, g * part, size).moments
                job.tiles.winograd.output(&args)
            args.counted += box(&args)
        next_tile(job, &spot)
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


cdef void count_tiles(Winograd *job) noexcept nogil:
    cdef int64_t sample, a, n
    job.total = 0
    for sample in range(job.samples):
        job.first_tile[sample] = job.total
        n = 1
        for a in range(job.rank):
            n *= axis_tiles(job, a, job.out_shapes[sample * job.rank + a])
        job.total += n
    job.first_tile[job.samples] = job.total


cdef void turn(const Pack *pack, const Panel *panel, int64_t first, int64_t last, const real *weight,
               real *to) noexcept nogil:
    """Channels first ... last of a transposed weight to (taps, PIECE_CHANNELS, filters of the panel)."""
    cdef const Winograd *job = pack.job
    cdef int64_t width = job.filters // job.groups, filter = panel.filter - panel.x // job.depth * width
    cdef int64_t step = panel.vectors * job.tiles.lanes, tap, f, k
    cdef const real *own
    cdef real *there
    for tap in range(pack.taps):
        for f in range(panel.lanes):
            own = weight + (((pack.taps - 1 - tap if pack.flip else tap) * width + filter + f) * job.channels + panel.x)
            there = to + tap * PIECE_CHANNELS * step + f
            for k in range(first, last):
                there[(k - first) * step] = own[k]


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
    if pack.transposed:
        scratch = pack.scratch + slot * pack.taps * PIECE_CHANNELS * CONVND_MAX_VECTORS * job.tiles.lanes * size
        if size == sizeof(float):
            turn(pack, panel, first, last, <const float *>pack.from_, <float *>scratch)
        else:
            turn(pack, panel, first, last, <const double *>pack.from_, <double *>scratch)
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
        context.pieces = ceil_div(job.depth, PIECE_CHANNELS)
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
         int64_t groups, int64_t activation, real[:, ::1] out, Fold fold=None, double[:, ::1] moments=None):
    """out = activation(bias + conv(x)), stride 1, at most 5 taps an axis. Everything has been checked.

    The channels of a folded side's phase fill whole vectors, and there are no groups. `moments`, if given, becomes
    out's means and squared deviations from them, (2, F); then out isn't folded. Returns whether it has: blocks may
    depend on the threads.
    """
    cdef Winograd job
    cdef int64_t n, p, f, tile_bytes, most
    cdef real *start
    cdef bint counts = moments is not None
    read_fold(&job, fold)
    job.counted.moments, job.counted.rows = NULL, NULL
    if setup(&job, sizeof(real), geometry, outputs, x.shape[1] * job.in_phases, out.shape[1] * job.out_phases,
             groups) < 0:
        raise MemoryError("no memory for the panels of a weight")
    job.samples = in_shapes.shape[0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.x_end = job.x + x.shape[0] * x.shape[1] * sizeof(real)
    job.activation = activation
    job.streams = job.tiles.lanes * <int64_t>sizeof(real) == STREAM_LINE and streams(
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
    job.scratch_size = job.block * (job.tile_step + job.grad_tile_step) * sizeof(real)
    scratch = Buffer(slots() * job.scratch_size)
    cdef char[::1] scratch_view = scratch
    job.scratch = &scratch_view[0]
    n = ceil_div(job.total, job.block)
    if counts and not make_counted(&job.counted, n, job.grad_row, sizeof(real)):
        free_counted(&job.counted)
        free(job.panels)
        raise MemoryError("no memory for the moments of a convolution")
    with nogil:
        parallel_for(conv_block, &job, n, job.total * job.frequencies * job.depth * job.filters)
        if counts:
            join_counted(&job.counted, n, job.panels, job.n_panels, sizeof(real), job.filters, &moments[0, 0])
            free_counted(&job.counted)
    free(job.panels)
    return counts
