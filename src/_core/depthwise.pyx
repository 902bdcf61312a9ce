# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Depthwise convolution and its adjoint on ragged batches: a filter for each channel.

Lanes are channels. Memory is the limit, so a task goes through its outputs once, all channels of a few neighbouring
outputs at a time; inputs meet the rows of the kernel in the second-level cache, or in the first where bands of columns
go through all rows.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

from convnd._core.isa cimport convnd_depthwise_args, convnd_depthwise_tiles, convnd_tiles, tiles
from convnd._core.panels cimport Batch, count_taps, packed_tap, read_window
from convnd._core.plan cimport (
    MAX_RANK, Axis, Window, count_rows, first_height, gcd, outer_taps, output_row, output_row_step, outputs_from,
    outputs_to, phases, place, row_step, rows_alike, taps_for_one, taps_from, taps_to)
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots

from convnd._core import isa

ctypedef fused real:
    float
    double

cdef int64_t WORK = 6   # what a multiply-add costs, in those of other convolutions

# Taps of a row, and outputs of a tile, from which tall tiles are faster: of 7 outputs the chains of sums are too few.
# (Where the first of equal tiles has 9, the others have 8 or more.)
cdef int64_t LONG = 5, TALL = 9
cdef int64_t WAY_BYTES = 4096, WAYS = 8     # of the first-level cache

# Numbers of the output that a task makes, about.
cdef int64_t TASK_NUMBERS = 1 << 17
# Outputs of a row that all panels are taken through at a time, at most.
cdef int64_t COLS = 64
# By measurement Intel's cores and Zen 5 gain from bands, Intel's from asking memory for the second cache alone. (Zen 4
# gains a tenth by bands where operands are in the caches, and loses more where they aren't.)
cdef bint INTEL = isa.intel(), BANDS = INTEL or isa.zen_5()
# Zen 5 foresees what is read of operands that are in its caches: memory is asked for of larger ones.
cdef int64_t ASK_BYTES = 20 * 1024 * 1024 if isa.zen_5() else 0

cdef struct Share:      # one of `count` equal parts of a sample
    int64_t sample, index, count

cdef struct Depthwise:
    const convnd_tiles *tiles
    const char *x
    const char *w
    const char *start
    char *out
    int64_t channels
    int64_t taps
    int64_t activation
    int64_t n_spans
    Span spans[MAX_SPANS]
    Window window
    Batch batch
    bint streams        # outputs go past the caches
    int64_t asks        # of a tile
    Share *shares
    int64_t *runs       # scratch
    int64_t runs_size

cdef struct Row:        # a row of outputs: its place in the sample's x, and in out
    const Axis *inner
    const char *x
    char *out


cdef int64_t share_list(const Depthwise *job, Share *shares) noexcept nogil:
    """Cut every sample into shares; returns how many."""
    cdef int64_t n = 0, sample, index, count
    for sample in range(job.batch.samples):
        count = job.channels
        for index in range(job.window.rank):
            count *= job.batch.out_shapes[sample * job.window.rank + index]
        count = (count + TASK_NUMBERS - 1) // TASK_NUMBERS
        for index in range(count):
            if shares:
                shares[n].sample, shares[n].index, shares[n].count = sample, index, count
            n += 1
    return n


cdef int64_t tallest(const Depthwise *job, const Span *span, const convnd_depthwise_args *args, int64_t taps,
                     int64_t outputs) noexcept nogil:
    """How many outputs a tile has at most. Tall ones slide, and need their lines to stay in the first-level cache."""
    cdef const convnd_depthwise_tiles *kinds = job.tiles.depthwise
    cdef int64_t tall = kinds.tall[span.vectors], apart = args.stride // args.dilation, height, lines, n
    if taps < LONG or tall == kinds.height[span.vectors] or apart > 2 or args.stride % args.dilation:
        return kinds.height[span.vectors]
    height = first_height(outputs, tall, &n)
    # Inputs, outputs, and some of the next tile's.
    lines = args.n_runs * (apart * (height - 1) + taps) + 3 * height // 2
    if height < TALL or lines > WAYS * WAY_BYTES // gcd(job.channels * job.tiles.itemsize, WAY_BYTES):
        return kinds.height[span.vectors]
    return tall


cdef void run_outputs(const Depthwise *job, const Row *row, convnd_depthwise_args *args, int64_t q, int64_t step,
                      int64_t count) noexcept nogil:
    """Outputs q, q + step ... of a row, `count` of them, all channels."""
    cdef const Axis *inner = row.inner
    cdef const Span *span
    cdef int64_t s, most, left, height, first, last, at, size = job.tiles.itemsize
    for s in range(job.n_spans):
        span = &job.spans[s]
        most = tallest(job, span, args, inner.taps, count)
        args.panels, args.pack = span.panels, job.taps * span.vectors * job.tiles.lanes
        args.start = job.start + span.lane * size
        args.streams = job.streams and span.vectors * job.tiles.lanes * size % STREAM_LINE == 0
        left, at = count, q
        while left > 0:
            height = first_height(left, most, &args.tiles)
            last = at + (args.tiles * height - 1) * step
            first = taps_from(inner, last)
            args.taps = max(0, taps_to(inner, at) - first)
            args.low = -(inner.base + at * inner.in_step + first * inner.base_step)
            args.high = inner.in_size + args.low
            args.x = row.x + (span.channel - args.low * job.channels) * size
            args.w = job.w + (span.lane * job.taps + first * span.vectors * job.tiles.lanes) * size
            args.out = row.out + (at * inner.out_step * job.channels + span.channel) * size
            if span.lanes:
                job.tiles.depthwise.forward_part(args, args.tiles * height, span.lanes)
            else:
                job.tiles.depthwise.forward[span.vectors][height](args)
            at = last + step
            left -= args.tiles * height


cdef void run_row(const Depthwise *job, const Row *row, convnd_depthwise_args *args, int64_t col,
                  int64_t end) noexcept nogil:
    """Outputs col ... end of a row. Of a dilated row, each tile has outputs that share their inputs."""
    cdef const Axis *inner = row.inner
    cdef int64_t q = col, stop, first, step = 1, whole = col, edge = col, parts
    if inner.taps > 1 and inner.base_step % inner.in_step == 0 and 2 * inner.base_step <= (end - col) * inner.in_step:
        step = inner.base_step // inner.in_step
    args.stride, args.dilation = step * inner.in_step, inner.base_step
    args.out_step = step * inner.out_step * job.channels
    if args.stride != args.dilation and args.stride != 2 * args.dilation and inner.taps > 1:
        # Such a tile tries every tap of every output at an edge: that is for as few outputs as can be.
        whole, edge = outputs_from(inner, 0), outputs_to(inner, inner.taps - 1)
    while q < end:
        parts = (end - q + COLS * step - 1) // (COLS * step)
        stop = min(end, q + (end - q + parts * step - 1) // (parts * step) * step)    # parts as equal as can be
        if q < whole < stop:
            stop = whole
        elif q < edge < stop:
            stop = edge
        for first in range(q, min(stop, q + step)):
            run_outputs(job, row, args, first, step, (stop - first + step - 1) // step)
        q = stop


cdef void run_phase(const Depthwise *job, const Share *share, const Axis *axes, int64_t *runs) noexcept nogil:
    """A share of the outputs of a phase: rows, or a part of each row where rows are few."""
    cdef int64_t rank = job.window.rank, size = job.tiles.itemsize, e
    cdef const Axis *inner = &axes[rank - 1]
    cdef int64_t rows = count_rows(rank, axes), first = 0, last = rows, low = 0, high = inner.count, col, end, cols
    cdef int64_t row, _r, alike
    cdef const char *x = job.x + job.batch.in_offsets[share.sample] * job.channels * size
    cdef convnd_depthwise_args args
    cdef Row here
    if rows >= share.count:
        first, last = share.index * rows // share.count, (share.index + 1) * rows // share.count
    else:
        low, high = share.index * high // share.count, (share.index + 1) * high // share.count
    args.x_step, args.runs, args.activation = job.channels, runs, job.activation
    cols = band(rank, axes, job.channels * size, high - low) if BANDS else 0
    args.x_row, args.out_row = row_step(rank, axes) * job.channels, output_row_step(rank, axes) * job.channels
    args.below, args.asks = cols > 0, job.asks
    if cols == 0:
        cols = high - low
    here.inner = inner
    col = low
    while col < high:
        end = min(high, col + cols)
        row = first
        while row < last:
            alike = min(last - row, rows_alike(rank, axes, row))
            args.rows = alike if args.below else 1
            args.n_runs = outer_taps(rank, axes, row, runs) if inner.taps else 0
            args.new_runs = min(args.n_runs, axes[rank - 2].in_step if rank > 1 else 1)
            for e in range(args.n_runs):
                runs[2 * e] = runs[2 * e] * inner.in_size * job.channels
                runs[2 * e + 1] = runs[2 * e + 1] * inner.kernel + inner.slot
            here.x = x
            here.out = job.out + (job.batch.out_offsets[share.sample] + output_row(rank, axes, row) * inner.out_size
                                  + inner.out_phase) * job.channels * size
            for _r in range(alike // args.rows):
                run_row(job, &here, &args, col, end)
                here.x += args.x_row * size
                here.out += args.out_row * size
            row += alike
        col = end


cdef void depthwise_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """All phases of a share: together they read its inputs."""
    cdef const Depthwise *job = <const Depthwise *>context
    cdef const Share *share = &job.shares[index]
    cdef int64_t rank = job.window.rank, phase
    cdef const int64_t *out_shape = job.batch.out_shapes + share.sample * rank
    cdef Axis axes[MAX_RANK]
    for phase in range(phases(&job.window, out_shape)):
        place(&job.window, phase, job.batch.in_shapes + share.sample * rank, out_shape,
              job.batch.low + share.sample * rank, axes)
        if axes[rank - 1].count:
            run_phase(job, share, axes, job.runs + slot * job.runs_size)


cdef void spread(const Span *spans, int64_t n_spans, int64_t vector, int64_t taps, int64_t tap, const real *values,
                 real *packed) noexcept nogil:
    """One value a channel, in the panels' order, at a tap of `taps`."""
    cdef int64_t s, p, f, width, lanes
    cdef const Span *span
    for s in range(n_spans):
        span = &spans[s]
        width = span.vectors * vector
        lanes = span.lanes if span.lanes else width
        for p in range(span.panels):
            for f in range(lanes):
                packed[span.lane * taps + (p * taps + tap) * width + f] = values[span.channel + p * width + f]


def pack(const real[:, :, ::1] weight, const int64_t[:, ::1] geometry, bint transposed, bint flip,
         real[::1] packed):
    """Pack a weight (taps, 1, C); returns the numbers it takes. Call with an empty `packed` to ask."""
    cdef const convnd_tiles *t = tiles(sizeof(real))
    cdef Span spans[MAX_SPANS]
    cdef Window window
    cdef int64_t tap, taps = weight.shape[0], n_spans = make_spans(weight.shape[2], 2, t.lanes, spans)
    read_window(&window, geometry, transposed)
    if packed.shape[0]:
        with nogil:
            for tap in range(taps):
                spread(spans, n_spans, t.lanes, taps, packed_tap(&window, tap),
                       &weight[taps - 1 - tap if flip else tap, 0, 0], &packed[0])
    return taps * count_lanes(spans, n_spans, t.lanes)


def conv(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[:, ::1] low, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
         const int64_t[:, ::1] geometry, bint transposed, const real[::1] packed, const real[::1] bias,
         int64_t activation, real[:, ::1] out):
    """out = activation(bias + conv(x)), each channel by its own filter; what is passed is that of conv.conv."""
    cdef Depthwise job
    cdef int64_t n, work
    cdef bint done = False
    cdef real *start = NULL
    job.tiles = tiles(sizeof(real))
    read_window(&job.window, geometry, transposed)
    job.taps, job.channels, job.activation = count_taps(&job.window), x.shape[1], activation
    job.n_spans = make_spans(job.channels, 2, job.tiles.lanes, job.spans)
    job.batch.samples = in_shapes.shape[0]
    if out.shape[0] == 0 or x.shape[1] == 0:
        return
    job.batch.in_shapes, job.batch.out_shapes, job.batch.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.batch.in_offsets, job.batch.out_offsets = &in_offsets[0], &out_offsets[0]
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.streams = activation == 0 and streams(
        job.out, job.channels * sizeof(real), out.shape[0] * job.channels * sizeof(real))
    job.asks = 1 if INTEL else 2
    if (x.shape[0] + out.shape[0]) * job.channels * <int64_t>sizeof(real) < ASK_BYTES:
        job.asks = 0
    with nogil:
        start = <real *>calloc(count_lanes(job.spans, job.n_spans, job.tiles.lanes), sizeof(real))
        n = share_list(&job, NULL)
        job.shares = <Share *>malloc(max(1, n) * sizeof(Share))
        job.runs_size = 2 * job.taps + 8
        job.runs = <int64_t *>malloc(slots() * job.runs_size * sizeof(int64_t))
        if job.shares and job.runs and start:
            share_list(&job, job.shares)
            if bias.shape[0]:
                spread(job.spans, job.n_spans, job.tiles.lanes, 1, 0, &bias[0], start)
            job.start = <const char *>start
            work = out_offsets[job.batch.samples] * job.channels * job.taps
            parallel_for(depthwise_task, &job, n, WORK * work // taps_for_one(&job.window))
            done = True
        free(job.shares)
        free(job.runs)
        free(start)
    if not done:
        raise MemoryError("no memory for the tasks of a convolution")
