# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of a convolution in groups of few channels, as many filters in each, on ragged batches.

A group of one is depthwise; in larger ones a lane is a filter, which has a sum for every channel of its group.

A tile sums a few taps of a vector of channels over a piece of a row, or of a band's rows. Pieces are cut into chunks
whose number depends on shapes alone; the chunks' sums are added pairwise, in a fixed order.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

from convnd._core.depthwise cimport MAX_SPANS, Span, band, count_lanes, make_spans
from convnd._core.isa cimport CONVND_MAX_TAPS, convnd_depthwise_weight_args, convnd_tiles, tiles
from convnd._core.panels cimport Batch, count_taps, read_window
from convnd._core.plan cimport (
    MAX_RANK, Axis, Window, count_rows, outer_taps, place, row_step, rows_alike, taps_from, taps_to)
from convnd._core.threads cimport parallel_for, slots

from convnd._core import isa

ctypedef fused real:
    float
    double

cdef int64_t WORK = 6   # what a multiply-add costs, in those of other convolutions

# Outputs that a tile sums over: for all channels, they and their inputs are to stay in the second-level cache.
cdef int64_t PIECE = 64
# Outputs of a row that a unit of work has at the most.
cdef int64_t UNIT = 128
# Partial sums: how many at the most, and how much memory.
cdef int64_t PARTIALS = 16
cdef int64_t PARTIAL_BYTES = 4 * 1024 * 1024

# Intel's cores, by measurement, gain from bands of columns, and in groups from not asking.
cdef bint INTEL = isa.intel(), ZEN_5 = isa.zen_5()
# Zen 5 foresees what is read of operands that are in its caches: memory is asked for of larger ones.
cdef int64_t ASK_BYTES = 20 * 1024 * 1024 if ZEN_5 else 0

cdef struct Unit:
    int64_t sample, row, col, cols
    bint banded

cdef struct DepthwiseWeight:
    const convnd_tiles *tiles
    const char *x
    const char *g
    char *partial       # chunks x (lanes x taps)
    int64_t pack_size
    int64_t channels
    int64_t taps
    int64_t group       # channels of one
    int64_t asks        # of a tile
    int64_t n_spans
    Span spans[MAX_SPANS]
    Window window
    Batch batch
    int64_t n_units, chunks
    Unit *units
    int64_t *runs       # scratch
    int64_t runs_size


cdef inline int64_t most_taps(const DepthwiseWeight *job) noexcept nogil:
    return CONVND_MAX_TAPS if job.group == 1 else job.tiles.depthwise.group_taps[job.group]


cdef inline int64_t most_rows(const DepthwiseWeight *job, int64_t taps) noexcept nogil:
    """Rows of the kernel that a tile of so many taps has."""
    return 1 if job.group > 1 else 3 if taps <= 3 else 2 if taps <= 5 else 1


cdef void place_sample(const DepthwiseWeight *job, int64_t sample, Axis *axes) noexcept nogil:
    cdef int64_t rank = job.window.rank
    place(&job.window, 0, job.batch.in_shapes + sample * rank, job.batch.out_shapes + sample * rank,
          job.batch.low + sample * rank, axes)


cdef int64_t unit_list(const DepthwiseWeight *job, Unit *units) noexcept nogil:
    """Rows of outputs, long rows in parts; those of a band after each other where tiles go on from row to row. Returns
    how many."""
    cdef int64_t n = 0, sample, rows, cols, banded, inner, parts, i, rank = job.window.rank
    cdef int64_t outer = job.taps // job.window.kernel[rank - 1]
    cdef Axis axes[MAX_RANK]
    for sample in range(job.batch.samples):
        place_sample(job, sample, axes)
        rows, inner = count_rows(rank, axes), axes[rank - 1].count
        if inner == 0:
            continue
        banded = 0
        if INTEL and outer <= most_rows(job, axes[rank - 1].taps) and axes[rank - 1].taps <= most_taps(job):
            banded = band(rank, axes, job.channels * job.tiles.itemsize, inner)
        cols = min(UNIT, banded if banded else inner)
        parts = (inner + cols - 1) // cols
        cols = (inner + parts - 1) // parts
        for i in range(rows * parts if units else 0):
            units[n + i].sample, units[n + i].banded = sample, banded > 0
            units[n + i].row = i % rows if banded else i // parts
            units[n + i].col = (i // rows if banded else i % parts) * cols
            units[n + i].cols = min(cols, inner - units[n + i].col)
        n += rows * parts
    return n


cdef void run_taps(const DepthwiseWeight *job, convnd_depthwise_weight_args *args, const char *x, const char *g,
                   char *partial, int64_t rows, int64_t taps) noexcept nogil:
    """All channels of one tile."""
    cdef int64_t s, size = job.tiles.itemsize
    cdef const Span *span
    for s in range(job.n_spans):
        span = &job.spans[s]
        args.x, args.g = x + span.channel * size, g + span.channel * size
        args.acc = partial + span.lane * job.taps * job.group * size
        args.panels = span.panels
        if span.lanes:
            job.tiles.depthwise.weight_part(args, rows, taps, span.lanes)
        elif job.group > 1:
            job.tiles.depthwise.group_weight[job.group][taps](args)
        else:
            job.tiles.depthwise.weight[rows][taps](args)


cdef void run_piece(const DepthwiseWeight *job, const Axis *inner, const int64_t *outer, int64_t n_outer,
                    convnd_depthwise_weight_args *args, const char *x, const char *g, char *partial,
                    int64_t q, int64_t j, int64_t end) noexcept nogil:
    """Add args.outputs outputs from q on, of args.rows rows, to their taps j ... end."""
    cdef int64_t size = job.tiles.itemsize, n, taps, e, r, rows, most
    cdef int64_t runs[6]
    args.runs = runs
    args.asks = job.asks
    most = most_taps(job)
    n = (end - j + most - 1) // most
    while n > 0:
        taps = (end - j + n - 1) // n
        most = most_rows(job, taps)
        args.low = -(inner.base + q * inner.in_step + j * inner.base_step)
        args.high = inner.in_size + args.low
        e = 0
        while e < n_outer:
            rows = min(most, n_outer - e)
            for r in range(rows):
                runs[2 * r] = outer[2 * (e + r)] * inner.in_size * job.channels
                runs[2 * r + 1] = (outer[2 * (e + r) + 1] * inner.kernel + j) * job.group * job.tiles.lanes
            run_taps(job, args, x - args.low * job.channels * size, g + q * job.channels * size, partial, rows, taps)
            e += rows
        args.asks = 0
        j += taps
        n -= 1


cdef void run_unit(const DepthwiseWeight *job, const Unit *unit, int64_t rows, const Axis *axes, char *partial,
                   int64_t *outer) noexcept nogil:
    """This unit and those of the rows below it, `rows` in all, which have the same taps."""
    cdef int64_t rank = job.window.rank, size = job.tiles.itemsize, n_outer, step = 1, q, stop, first, row, j, taps_end
    cdef int64_t end = unit.col + unit.cols
    cdef const Axis *inner = &axes[rank - 1]
    cdef const char *x = job.x + job.batch.in_offsets[unit.sample] * job.channels * size
    cdef const char *g = job.g + (
        job.batch.out_offsets[unit.sample] + unit.row * inner.count) * job.channels * size
    cdef convnd_depthwise_weight_args args
    n_outer = outer_taps(rank, axes, unit.row, outer)
    if inner.taps > 1 and inner.base_step % inner.in_step == 0 and 4 * inner.base_step <= unit.cols * inner.in_step:
        step = inner.base_step // inner.in_step     # outputs that share their inputs
    args.stride, args.dilation = step * inner.in_step, inner.base_step
    args.x_step, args.g_step, args.pack = job.channels, step * job.channels, job.taps * job.group * job.tiles.lanes
    args.x_row, args.g_row = row_step(rank, axes) * job.channels, inner.count * job.channels
    args.group, args.below = job.group, unit.banded
    q = unit.col
    while q < end:
        stop = min(end, q + PIECE * step)
        for first in range(q, min(stop, q + step)):
            args.outputs = (stop - first + step - 1) // step
            j, taps_end = taps_from(inner, first + (args.outputs - 1) * step), taps_to(inner, first)
            # A tile that has all taps goes on with the next row; else all its taps come first.
            args.rows = rows if taps_end - j <= most_taps(job) and n_outer <= most_rows(job, taps_end - j) else 1
            row = 0
            while row < rows:
                run_piece(job, inner, outer, n_outer, &args, x + row * args.x_row * size, g + row * args.g_row * size,
                          partial, first, j, taps_end)
                row += args.rows
        q = stop


cdef void weight_task(void *context, int64_t chunk, int64_t slot) noexcept nogil:
    cdef const DepthwiseWeight *job = <const DepthwiseWeight *>context
    cdef int64_t u = chunk * job.n_units // job.chunks, end = (chunk + 1) * job.n_units // job.chunks, sample = -1
    cdef int64_t rows, most
    cdef Axis axes[MAX_RANK]
    cdef const Unit *unit
    while u < end:
        unit = &job.units[u]
        if unit.sample != sample:
            sample = unit.sample
            place_sample(job, sample, axes)
        rows, most = 1, min(end - u, rows_alike(job.window.rank, axes, unit.row)) if unit.banded else 1
        while rows < most and unit[rows].sample == sample and unit[rows].col == unit.col:
            rows += 1
        run_unit(job, unit, rows, axes, job.partial + chunk * job.pack_size * job.tiles.itemsize,
                 job.runs + slot * job.runs_size)
        u += rows


cdef void add_chunks(real *partial, int64_t chunks, int64_t size) noexcept nogil:
    """Add all to the first, pairwise."""
    cdef int64_t step = 1, chunk, n
    while step < chunks:
        chunk = 0
        while chunk + step < chunks:
            for n in range(size):
                partial[chunk * size + n] += partial[(chunk + step) * size + n]
            chunk += 2 * step
        step *= 2


def conv_weight(const real[:, ::1] x, const real[:, ::1] g, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, real[:, :, ::1] weight):
    """weight (taps, C / groups, C) = sum over samples and outputs of x at each tap times g, group by group.

    A group has 1, 2, 4 or 8 channels; where it has several, fewer than a vector has lanes."""
    cdef DepthwiseWeight job
    cdef int64_t s, p, f, k, tap, work
    cdef bint done = False
    cdef real *partial = NULL
    cdef const Span *span
    cdef const convnd_tiles *t = tiles(sizeof(real))
    job.tiles = t
    read_window(&job.window, geometry, False)
    job.taps, job.channels, job.group = count_taps(&job.window), x.shape[1], weight.shape[1]
    job.batch.samples = in_shapes.shape[0]
    if job.group > 1:
        job.asks = 0 if INTEL else 2
    else:
        job.asks = 2 if ZEN_5 else 1
    if (x.shape[0] + g.shape[0]) * job.channels * <int64_t>sizeof(real) < ASK_BYTES:
        job.asks = 0
    if weight.shape[0] == 0 or job.channels == 0:
        return
    if g.shape[0] == 0:
        weight[:, :, :] = 0
        return
    job.n_spans = make_spans(job.channels, 1, t.lanes, job.spans)
    job.pack_size = job.taps * job.group * count_lanes(job.spans, job.n_spans, t.lanes)
    job.batch.in_shapes, job.batch.out_shapes, job.batch.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.batch.in_offsets, job.batch.out_offsets = &in_offsets[0], &out_offsets[0]
    job.x, job.g = <const char *>&x[0, 0], <const char *>&g[0, 0]
    with nogil:
        job.n_units = unit_list(&job, NULL)
        job.chunks = max(1, min(PARTIALS, job.n_units, PARTIAL_BYTES // (job.pack_size * t.itemsize)))
        job.units = <Unit *>malloc(max(1, job.n_units) * sizeof(Unit))
        job.runs_size = 2 * job.taps + 8
        job.runs = <int64_t *>malloc(slots() * job.runs_size * sizeof(int64_t))
        partial = <real *>calloc(job.chunks * job.pack_size, sizeof(real))
        if job.units and job.runs and partial:
            unit_list(&job, job.units)
            job.partial = <char *>partial
            work = out_offsets[job.batch.samples] * job.channels * job.taps * job.group
            parallel_for(weight_task, &job, job.chunks, WORK * work)
            add_chunks(partial, job.chunks, job.pack_size)
            for s in range(job.n_spans):
                span = &job.spans[s]
                for p in range(span.panels):
                    for tap in range(job.taps):
                        for k in range(job.group):
                            for f in range(span.lanes if span.lanes else t.lanes):
                                weight[tap, k, span.channel + p * t.lanes + f] = (
                                    partial[((span.lane + p * t.lanes) * job.taps + tap * t.lanes) * job.group
                                            + k * t.lanes + f])
            done = True
        free(job.units)
        free(job.runs)
        free(partial)
    if not done:
        raise MemoryError("no memory for the tasks of a weight gradient")
