# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of Winograd's convolution: sums of the products of inputs' and gradients' frequencies.

Tiles are transformed some at a time, and their products added to the sums of every frequency: in one chain, or in a
chain for each of some chunks, which are added in their order. Where they are cut follows from shapes alone.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from convnd._core.isa cimport CONVND_MAX_VECTORS, CONVND_WINOGRAD_AXES, convnd_weight_args, convnd_winograd_args
from convnd._core.panels cimport Panel
from convnd._core.plan cimport ceil_div
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots
from convnd._core.winograd cimport PACK_WORK, SKEW, Pack, in_row, on_one_axis, panel_args, setup
from convnd._core.winograd_tiles cimport (
    ASK_LINE, Ahead, Fold, Spot, Winograd, ahead_bytes, begin_ahead, count_tiles, find_tile, locate_next, look_ahead,
    next_tile, read_fold, share_of, take_lines)

from convnd._core.memory import Buffer

ctypedef fused real:
    float
    double

# Bytes of the frequencies of the tiles that are summed up at a time, or as many as the sums take,
# but not more than so many; tiles of a task that transforms, and bytes of a piece of frequencies that stays in the
# first-level cache.
cdef int64_t SUM_BYTES = 2 * 1024 * 1024
cdef int64_t MOST_SUM_BYTES = 16 * 1024 * 1024
cdef int64_t LEAST_PANELS = 4   # tasks, if each is a panel
# Where the sums take at most so many bytes, tiles are cut into chunks, at most so many, that have sums of their own; a
# chunk transforms tiles of so many bytes at a time, frequencies and what they are made from, and has so many times
# these tiles at least.
cdef int64_t CHUNK_SUM_BYTES = 640 * 1024
cdef int64_t CHUNKS = 16
cdef int64_t CHUNK_BYTES = 896 * 1024
cdef int64_t CHUNK_TIMES = 4
# Bytes of the inputs and gradients from which on memory is asked for what the next tiles read.
cdef int64_t ASK_BYTES = 10 * 1024 * 1024
cdef int64_t TRANSFORM_TILES = 8
# Rows so many bytes apart, or a multiple of them, fall on an eighth of the first-level cache.
cdef int64_t APART = 512
cdef int64_t PIECE_BYTES = 16 * 1024
cdef int64_t ADDED = 16 * 1024  # numbers of the chunks' sums that a task adds up, and what each costs
cdef int64_t ADD_WORK = 8


cdef void transform_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """Inputs and output gradients of a few tiles to frequencies."""
    cdef const Winograd *job = <const Winograd *>context
    cdef int64_t size = job.tiles.itemsize, t, at, at_grad, g, phase, width = job.filters // job.groups
    cdef int64_t data_step = job.block * job.tile_step + SKEW, grad_step = job.block * job.grad_tile_step + SKEW
    cdef char *grads = job.scratch + job.frequencies * data_step * size
    cdef bint along = False
    cdef convnd_winograd_args args, of_grad
    cdef Spot spot
    args.axes, args.asks = job.axes, job.asks_along
    of_grad.axes, of_grad.asks = job.axes, job.asks_along
    args.x_end, args.channels, args.frequency_step = job.x_end, job.channels // job.in_phases, data_step
    of_grad.x_end, of_grad.channels, of_grad.frequency_step = job.grad_end, width, grad_step
    find_tile(job, job.tile + index * TRANSFORM_TILES, &spot)
    for t in range(index * TRANSFORM_TILES, min((index + 1) * TRANSFORM_TILES, job.tiles_at_once)):
        for phase in range(job.in_phases):
            locate_next(job, &spot, along, False, phase, args.channels, &args, &at)
            args.x, args.y = job.x + at * size, job.scratch + (t * job.tile_step + phase * args.channels) * size
            job.tiles.winograd.input(&args)
        locate_next(job, &spot, along, True, 0, job.filters, &of_grad, &at_grad)
        for g in range(job.groups):
            of_grad.x = job.grad + (at_grad + g * width) * size
            of_grad.y = grads + (t * job.grad_tile_step + g * (job.grad_row // job.groups)) * size
            job.tiles.winograd.gradient(&of_grad)
        along = next_tile(job, &spot)


cdef void unpack_panel(const Pack *pack, const Panel *panel, const char *sums) noexcept nogil:
    cdef convnd_winograd_args args
    panel_args(pack, panel, &args)
    args.streams = pack.job.streams
    args.x, args.y = sums, pack.to + panel.filter * pack.job.tiles.itemsize
    pack.job.tiles.winograd.weight_gradient(&args)


cdef void sum_panel(const Winograd *job, const Panel *panel, int64_t frequency, char *acc, Ahead ahead) noexcept nogil:
    """Add the tiles' products to one frequency of one panel: (channels, tiles) times (tiles, filters)."""
    cdef int64_t size = job.tiles.itemsize, m, n, height, count, t = 0
    cdef int64_t data_step = job.block * job.tile_step + SKEW, grad_step = job.block * job.grad_tile_step + SKEW
    cdef int64_t piece = max(32, PIECE_BYTES // (job.row * size)), width = panel.vectors * job.tiles.lanes
    cdef int64_t tallest = job.tiles.height[panel.vectors]
    cdef const char *data = job.scratch + (frequency * data_step + panel.x) * size
    cdef const char *grads = job.scratch + (job.frequencies * data_step + frequency * grad_step + panel.start) * size
    cdef int64_t segment[3]
    cdef int64_t lines, rows = ceil_div(job.depth, tallest), calls = rows * ceil_div(job.tiles_at_once, piece)
    cdef convnd_weight_args args
    args.x_step, args.g_step, args.acc_step, args.lanes = job.tile_step, job.grad_tile_step, width, width
    segment[0], segment[1] = 0, 0
    args.segments, args.n_segments = segment, 1
    while t < job.tiles_at_once:
        count = min(piece, job.tiles_at_once - t)
        segment[2] = count
        args.g = grads + t * job.grad_tile_step * size
        args.fresh = job.tile + t == job.begin
        m, n = 0, rows
        while m < job.depth:
            height = ceil_div(job.depth - m, n)
            args.x = data + (t * job.tile_step + m) * size
            args.acc = acc + m * width * size
            args.ask = args.g
            lines = take_lines(&ahead, min(ceil_div(ahead.end - ahead.line, calls), count), &args.ask)
            args.ask_step = ceil_div(lines * ASK_LINE, count)
            calls -= 1
            job.tiles.weight.plain[panel.vectors][height](&args)
            m += height
            n -= 1
        t += count


cdef inline int64_t frequency_size(const Winograd *job, const Panel *panel) noexcept nogil:
    """Bytes of one frequency of a panel."""
    return job.depth * panel.vectors * job.tiles.lanes * job.tiles.itemsize


cdef void sum_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """One frequency of one panel."""
    cdef const Winograd *job = <const Winograd *>context
    cdef int64_t frequency = index // job.n_panels
    cdef const Panel *panel = &job.panels[index % job.n_panels]
    sum_panel(job, panel, frequency, job.out + panel.pack * job.tiles.itemsize + frequency * frequency_size(job, panel),
              share_of(&job.ahead, index, job.frequencies * job.n_panels))


cdef void look_past(Winograd *job, int64_t end) noexcept nogil:
    """What to ask memory for while these tiles are summed up: for the inputs and gradients of the next."""
    cdef int64_t first = job.tile + job.tiles_at_once
    if job.asks:
        begin_ahead(job, job.block, job.scratch + job.scratch_size - ahead_bytes(job, job.block), &job.ahead)
        look_ahead(job, first, min(first + job.block, end), False, job.x, &job.ahead)
        look_ahead(job, first, min(first + job.block, end), True, job.grad, &job.ahead)


cdef void chunk_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """The sums of a chunk of tiles: frequencies stay with the thread that made them."""
    cdef Winograd job = (<const Winograd *>context)[0]
    cdef int64_t i, end = min((index + 1) * job.chunk, job.total)
    job.scratch += slot * job.scratch_size
    job.out += index * job.sums * job.tiles.itemsize
    job.begin = job.tile = index * job.chunk
    while job.tile < end:
        job.tiles_at_once = ceil_div(end - job.tile, ceil_div(end - job.tile, job.block))
        for i in range(ceil_div(job.tiles_at_once, TRANSFORM_TILES)):
            transform_task(&job, i, slot)
        look_past(&job, end)
        for i in range(job.frequencies * job.n_panels):
            sum_task(&job, i, slot)
        job.tile += job.tiles_at_once


cdef void add_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """Some of the sums of all chunks, in the chunks' order, to those of the first."""
    cdef const Winograd *job = <const Winograd *>context
    cdef int64_t size = job.tiles.itemsize, first = index * ADDED, count = min(ADDED, job.sums - first), chunk
    for chunk in range(1, ceil_div(job.total, job.chunk)):
        job.tiles.weight.add(job.out + first * size, job.out + (chunk * job.sums + first) * size, count)


cdef void panel_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """All frequencies of one panel, and from them its part of the weight's gradient, while they are in the cache."""
    cdef const Pack *pack = <const Pack *>context
    cdef const Winograd *job = pack.job
    cdef const Panel *panel = &job.panels[index]
    cdef int64_t frequency
    cdef int64_t width = CONVND_MAX_VECTORS * job.tiles.lanes
    cdef char *sums = job.out + slot * job.frequencies * job.depth * width * job.tiles.itemsize
    for frequency in range(job.frequencies):
        sum_panel(job, panel, frequency, sums + frequency * frequency_size(job, panel), job.ahead)
    unpack_panel(pack, panel, sums)


cdef void unpack_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """One panel of the frequencies of a weight's gradient to the gradient."""
    cdef const Pack *pack = <const Pack *>context
    cdef const Panel *panel = &pack.job.panels[index]
    unpack_panel(pack, panel, pack.from_ + panel.pack * pack.job.tiles.itemsize)


cdef inline int64_t spread(int64_t row, int64_t itemsize) noexcept nogil:
    """From a tile's row to the next one's: some more where they would fall on few sets of the first-level cache."""
    return row + SKEW if row * itemsize % APART == 0 else row


cdef int64_t even_chunks(int64_t wanted) noexcept nogil:
    """The power of two that is next, so that few threads have as many each: 3 make 4."""
    cdef int64_t chunks = 1
    while chunks < CHUNKS and 2 * wanted >= 3 * chunks:
        chunks *= 2
    return chunks if wanted > 1 else 1


def conv_weight(const real[:, ::1] x, const real[:, ::1] grad, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, const int64_t[::1] outputs,
                int64_t groups, real[:, :, ::1] weight, Fold fold=None, int64_t step=0):
    """weight (taps, C / groups, F) = sum over samples and outputs of x at each tap times grad; `step` is conv's."""
    cdef Winograd job
    cdef Pack context
    cdef int64_t n, most, work, size, chunks = 1, area = 1, a
    cdef bint by_panel
    read_fold(&job, fold)
    size = setup(&job, sizeof(real), geometry, outputs, weight.shape[1] * groups, grad.shape[1], groups)
    if size < 0:
        raise MemoryError("no memory for the panels of a weight")
    job.samples = in_shapes.shape[0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    job.in_unit, job.in_step = x.shape[1], x.shape[1] * max(1, step)
    job.x, job.grad = <const char *>&x[0, 0], <const char *>&grad[0, 0]
    job.x_end = job.x + x.shape[0] * x.shape[1] * sizeof(real)
    job.grad_end = job.grad + grad.shape[0] * grad.shape[1] * sizeof(real)
    firsts = Buffer((job.samples + 1) * sizeof(int64_t))
    cdef char[::1] firsts_view = firsts
    job.first_tile = <int64_t *>&firsts_view[0]
    count_tiles(&job)
    if not job.total:
        memset(&weight[0, 0, 0], 0, weight.shape[0] * weight.shape[1] * weight.shape[2] * sizeof(real))
        free(job.panels)
        return
    job.tile_step, job.grad_tile_step = spread(job.row, sizeof(real)), spread(job.grad_row, sizeof(real))
    n = job.frequencies * (job.tile_step + job.grad_tile_step) * sizeof(real)
    # Every lot of tiles reads and writes all sums; the only one goes on to the weight a panel at a time.
    most = min(max(SUM_BYTES, size * <int64_t>sizeof(real)), MOST_SUM_BYTES)
    job.block = min(job.total, max(most // n, 64))
    by_panel = job.block == job.total and job.n_panels >= LEAST_PANELS
    job.begin, job.sums = 0, size
    if by_panel:
        size = slots() * job.frequencies * job.depth * CONVND_MAX_VECTORS * job.tiles.lanes
    elif size * <int64_t>sizeof(real) <= CHUNK_SUM_BYTES:
        for a in range(CONVND_WINOGRAD_AXES):
            area *= job.axes[a].outputs
        most = max(CHUNK_BYTES // (n + area * (job.row + job.grad_row) * sizeof(real)), TRANSFORM_TILES)
        chunks = even_chunks(job.total // (CHUNK_TIMES * most))
        if chunks > 1:
            job.block, job.chunk = most, ceil_div(job.total, chunks)
            size *= chunks
    job.scratch_size = job.block * n + 2 * SKEW * job.frequencies * sizeof(real) + ahead_bytes(&job, job.block)
    job.asks = (x.shape[0] * x.shape[1] + grad.shape[0] * grad.shape[1]) * <int64_t>sizeof(real) >= ASK_BYTES
    # On several axes it takes long to say all that a tile reads: that pays where no cache has it. Planes never ask.
    job.asks_along = in_row(&job) and (job.asks or on_one_axis(&job))
    job.ahead.line = job.ahead.end = 0      # nothing
    sums = Buffer(size * sizeof(real))
    scratch = Buffer((min(slots(), chunks) if chunks > 1 else 1) * job.scratch_size)
    cdef char[::1] sums_view = sums, scratch_view = scratch
    job.out, job.scratch = &sums_view[0], &scratch_view[0]
    context.job = &job
    context.from_, context.to = job.out, <char *>&weight[0, 0, 0]
    job.streams = streams(context.to, grad.shape[1] // groups * sizeof(real),
                          weight.shape[0] * weight.shape[1] * weight.shape[2] * sizeof(real))
    for n in range(job.n_panels):   # SSE2's are narrower than a line
        job.streams &= job.panels[n].lanes * sizeof(real) % STREAM_LINE == 0
    with nogil:
        job.tile = 0
        if chunks > 1:
            parallel_for(chunk_task, &job, ceil_div(job.total, job.chunk),
                         job.total * job.frequencies * job.depth * job.filters)
            parallel_for(add_task, &job, ceil_div(job.sums, ADDED), ADD_WORK * size)
            job.tile = job.total
        while job.tile < job.total:
            job.tiles_at_once = min(job.block, job.total - job.tile)
            parallel_for(transform_task, &job, ceil_div(job.tiles_at_once, TRANSFORM_TILES),
                         20 * job.tiles_at_once * job.frequencies * (job.row + job.grad_row))
            look_past(&job, job.total)
            work = job.tiles_at_once * job.frequencies * job.depth * job.filters
            if by_panel:
                parallel_for(panel_task, &context, job.n_panels, work)
            else:
                parallel_for(sum_task, &job, job.frequencies * job.n_panels, work)
            job.tile += job.tiles_at_once
        if not by_panel:
            parallel_for(unpack_task, &context, job.n_panels, PACK_WORK * job.sums)
    free(job.panels)
