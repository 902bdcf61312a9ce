# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Direct convolution and its adjoint on ragged batches.

A tile keeps its sums in registers over all taps and channels, so nothing is copied but the weights. An output is one
chain of multiply-adds (bias, taps ascending, channels ascending), or with dot a chain for each lane of channels and the
lanes' sum; how positions are grouped never shows in it.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from convnd._core.counted cimport (
    Counted, Tally, count_in, free_counted, join_counted, make_counted, tally_of)
from convnd._core.isa cimport (
    CONVND_MAX_BELOW, CONVND_MAX_VECTORS, convnd_conv_args, convnd_conv_tile, convnd_tiles, tiles)
from convnd._core.panels cimport (
    CHANNELS, FILTERS, GROUPS, Batch, Geometry, Lanes, Panel, make_panels, uniform, values, values_to_fill)
from convnd._core.plan cimport (
    MAX_RANK, Axis, Window, count_rows, first_height, gcd, outer_taps, output_row, output_row_step, outputs_from,
    outputs_to, phases, place, row_step, rows_alike, taps_for_one, taps_from, taps_to)
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots

# Bytes of input and output that a task works on: half of a small second-level cache.
cdef int64_t BLOCK_BYTES = 128 * 1024
# Tasks to cut a large operation into, and positions below which a task isn't cut.
cdef int64_t TASKS = 32
cdef int64_t LEAST_POSITIONS = 64
# With fewer rows alike than this, and from this many channels on, a tile at the edge of a row adds tap by tap.
cdef int64_t EDGE_ROWS = 3
cdef int64_t EDGE_DEPTH = 16
# Multiply-adds, about, that memory takes to answer.
cdef int64_t LATENCY = 600
# Filters up to which vectors lie along positions that are neighbours in memory.
cdef int64_t MOST_ALONG = 4

cdef extern from *:
    """
    /* A byte of every line, one after the other. */
    static inline void convnd_read(const char *from, int64_t bytes) {
        for (int64_t i = 0; i < bytes; i += 64) (void)*(const volatile char *)(from + i);
    }
    """
    void convnd_read(const char *start, int64_t bytes) noexcept nogil

cdef struct Block:
    int64_t sample, phase, row, rows, col, cols
    int64_t samples     # from this one on, all alike, with one output each

cdef struct Rows:       # outputs on the last axis, in rows that have the same taps on the others
    const Axis *inner
    int64_t col, cols
    int64_t count       # rows
    int64_t x_step      # from a row's inputs to the next row's, and of the outputs
    int64_t out_step
    int64_t *outer      # taps of the other axes for the first row
    int64_t n_outer
    int64_t fresh       # bits of the runs whose inputs no row before has read
    int64_t below       # so many runs after each other are what these rows read at one tap, one below the other; or 0

# Bytes of outputs that are counted at a time: more than a tile's, in the first-level cache.
cdef enum:
    COUNT_BYTES = 8192
# Rows of a sum in the element type, at most, and outputs of a task on the mean, at least.
cdef int64_t COUNT_ROWS = 256
cdef int64_t LEAST_COUNTED = 16

cdef struct Conv:
    const convnd_tiles *tiles
    const char *x
    const char *w
    const char *start
    char *out
    int64_t channels    # of x
    int64_t filters     # of out
    int64_t depth       # channels a run has for each tap
    Lanes kind
    bint merged         # neighbouring taps of the last axis are one run
    int64_t activation
    bint streams        # outputs go past the caches
    bint strips         # a panel takes a part of each position's channels
    bint tiled
    bint uniform        # and all samples are alike
    int64_t n_panels
    Panel *panels
    Window window
    Batch batch
    Block *blocks
    int64_t *runs       # scratch
    int64_t runs_size
    Counted counted     # if the outputs' moments are wanted


cdef int64_t sample_blocks(const Conv *job, int64_t sample, int64_t phase, int64_t most,
                           Block *blocks) noexcept nogil:
    """Cut the outputs of a phase into blocks of rows, long rows into blocks of columns; returns how many."""
    cdef int64_t n = 0, row = 0, col, rows, cols, step, rank = job.window.rank
    cdef Axis axes[MAX_RANK]
    cdef Axis *inner = &axes[rank - 1]
    place(&job.window, phase, job.batch.in_shapes + sample * rank, job.batch.out_shapes + sample * rank,
          job.batch.low + sample * rank, axes)
    if inner.count == 0:
        return 0
    rows = count_rows(rank, axes)
    cols = (inner.count + most - 1) // most     # blocks of a row
    cols = (inner.count + cols - 1) // cols     # columns of a block
    step = max(1, most // cols)                 # rows of a block
    while row < rows:
        col = 0
        while col < inner.count:
            if blocks:
                blocks[n].sample, blocks[n].phase, blocks[n].row, blocks[n].col = sample, phase, row, col
                blocks[n].rows, blocks[n].cols = min(step, rows - row), min(cols, inner.count - col)
                blocks[n].samples = 1
            n += 1
            col += cols
        row += step
    return n


cdef bint is_single(const Conv *job, int64_t phase) noexcept nogil:
    """Whether the first sample has one output in this phase."""
    cdef int64_t rank = job.window.rank
    cdef Axis axes[MAX_RANK]
    place(&job.window, phase, job.batch.in_shapes, job.batch.out_shapes, job.batch.low, axes)
    return count_rows(rank, axes) * axes[rank - 1].count == 1


cdef int64_t block_list(const Conv *job, Block *blocks) noexcept nogil:
    """Cut every sample's outputs into blocks; returns how many. Phases with weights of their own take all samples in
    turn, while the weights are in the cache; where each has one output, all at once."""
    cdef int64_t n = 0, sample, phase, rank = job.window.rank, total, most, step, n_phases = 1
    step = 1 if job.window.transposed else job.window.stride[rank - 1]
    most = BLOCK_BYTES // (job.tiles.itemsize * (job.channels * step + job.filters))
    total = job.batch.out_offsets[job.batch.samples] // TASKS
    most = max(min(most, total), LEAST_POSITIONS)
    if not job.tiled:
        for sample in range(job.batch.samples):
            for phase in range(phases(&job.window, job.batch.out_shapes + sample * rank)):
                n += sample_blocks(job, sample, phase, most, blocks + n if blocks else NULL)
        return n
    for sample in range(job.batch.samples):
        n_phases = max(n_phases, phases(&job.window, job.batch.out_shapes + sample * rank))
    for phase in range(n_phases):
        if job.uniform and is_single(job, phase):
            if blocks:
                sample_blocks(job, 0, phase, most, blocks + n)
                blocks[n].samples = job.batch.samples
            n += 1
            continue
        for sample in range(job.batch.samples):
            if phase < phases(&job.window, job.batch.out_shapes + sample * rank):
                n += sample_blocks(job, sample, phase, most, blocks + n if blocks else NULL)
    return n


cdef inline convnd_conv_tile tile_of(const Conv *job, int64_t vectors, int64_t height) noexcept nogil:
    if job.kind == CHANNELS:
        return job.tiles.narrow.dot[vectors][height]
    if job.kind == GROUPS:
        return job.tiles.narrow.group[job.depth][height]
    return job.tiles.conv.plain[vectors][height]


cdef inline int64_t tallest_tile(const Conv *job, const Panel *panel) noexcept nogil:
    return job.tiles.narrow.height[panel.vectors] if job.kind == CHANNELS else job.tiles.height[panel.vectors]


cdef void list_runs(const Conv *job, convnd_conv_args *args, const Axis *inner, const int64_t *outer, int64_t n_outer,
                    int64_t *runs, int64_t first_tap, int64_t last_tap) noexcept nogil:
    """The runs of outputs that have the taps first_tap ... last_tap of the last axis."""
    cdef int64_t n = 0, e, j
    for e in range(n_outer):
        for j in range(first_tap, min(last_tap, first_tap + 1) if job.merged else last_tap):
            runs[2 * n] = (outer[2 * e] * inner.in_size + inner.base + j * inner.base_step) * job.channels
            runs[2 * n + 1] = (outer[2 * e + 1] * inner.kernel + inner.slot + j) * job.depth
            n += 1
    args.runs, args.n_runs, args.activation = runs, n, job.activation
    args.length = max(0, last_tap - first_tap) * job.depth if job.merged else job.depth


cdef int64_t fresh_runs(const Conv *job, const Axis *axes, const Rows *rows) noexcept nogil:
    """Bits of the runs that read what outputs before these, on any axis but the last, haven't."""
    cdef int64_t rank = job.window.rank, bits = 0, e, a, slot, j
    cdef const Axis *axis
    cdef bint fresh
    if not job.merged:
        return 0
    for e in range(min(rows.n_outer, 63)):
        slot, fresh = rows.outer[2 * e + 1], True
        for a in range(rank - 2, -1, -1):
            axis = &axes[a]
            j = slot % axis.kernel - axis.slot
            slot = slot // axis.kernel
            fresh = fresh and j * axis.base_step + axis.in_step > (axis.taps - 1) * axis.base_step
        bits |= <int64_t>fresh << e
    return bits


cdef void run_along(const Conv *job, const Panel *panel, convnd_conv_args *args, const char *x, char *out,
                    int64_t count) noexcept nogil:
    """`count` outputs of few filters whose inputs are neighbours: vectors of positions, the last one up to the end."""
    cdef int64_t size = job.tiles.itemsize, lanes = job.tiles.lanes, tallest = job.tiles.narrow.height[panel.lanes]
    cdef int64_t left = count // lanes, n = (left + tallest - 1) // tallest, at = 0, height
    while at < count:
        if n > 0:
            height = (left + n - 1) // n
        else:
            height, at = 1, count - lanes   # some outputs once more
        args.x, args.out = x + at * size, out + at * args.out_step * size
        job.tiles.narrow.along[panel.lanes][height](args)
        at += height * lanes
        left -= height
        n -= 1


cdef void run_below(const Conv *job, const Rows *rows, convnd_conv_args *args, const char *x, char *out, int64_t height,
                    int64_t count) noexcept nogil:
    """Rows of one filter, below each other, of `count` outputs whose inputs are neighbours."""
    cdef int64_t size = job.tiles.itemsize, across = job.tiles.narrow.across * job.tiles.lanes, at = 0
    args.x_step, args.out_step, args.depth = rows.x_step, rows.out_step, rows.below
    while at < count:
        at = min(at, count - across)    # the last with some outputs once more
        args.x, args.out = x + at * size, out + at * size
        job.tiles.narrow.below[height](args)
        at += across


cdef void run_next(const Conv *job, const Panel *panel, convnd_conv_args *args, int64_t count,
                   int64_t after) noexcept nogil:
    """`count` outputs from args.x and args.out on, which go on to the next. What is read then is `after` further; 0:
    where these end."""
    cdef int64_t size = job.tiles.itemsize, tallest = tallest_tile(job, panel), height, steps
    if job.kind == FILTERS and panel.vectors == 1 and args.x_step == 1:
        tallest = min(tallest, job.tiles.slide)
    while count > 0:
        height = first_height(count, tallest, &args.tiles)
        count -= args.tiles * height
        args.ahead = height * args.x_step
        if job.kind == CHANNELS:    # short tiles ask as far ahead as memory takes to answer
            steps = height * args.n_runs * args.length // job.tiles.lanes * panel.vectors
            args.ahead *= 1 + LATENCY // (steps + 1)
        elif count == 0 and after:
            args.ahead = after - (args.tiles - 1) * height * args.x_step
        tile_of(job, panel.vectors, height)(args)
        args.x += args.tiles * height * args.x_step * size
        args.out += args.tiles * height * args.out_step * size
        after -= args.tiles * height * args.x_step if after else 0


cdef void run_and_count(const Conv *job, const Panel *panel, convnd_conv_args *args, Tally *tally, char *out,
                        int64_t count) noexcept nogil:
    """The same, counted some tiles at a time; what is to go past the caches goes there from beside it."""
    cdef char room[COUNT_BYTES + STREAM_LINE]
    cdef char *beside = room + STREAM_LINE - <uintptr_t>room % STREAM_LINE
    cdef int64_t size = job.tiles.itemsize, tallest = tallest_tile(job, panel), rows
    cdef int64_t most = max(1, min(COUNT_BYTES // (size * panel.lanes), COUNT_ROWS) // tallest) * tallest
    cdef int64_t out_step = args.out_step, past = args.streams
    if past:
        args.out_step, args.streams = panel.lanes, False
    while count > 0:
        rows = min(count, most)
        args.out = out
        if past:
            args.out = beside
        run_next(job, panel, args, rows, 0)
        if past:
            count_in(job.tiles, tally, panel.lanes, beside, panel.lanes, out, out_step, rows)
        else:
            count_in(job.tiles, tally, panel.lanes, out, out_step, NULL, 0, rows)
        out += rows * out_step * size
        count -= rows
    args.out_step, args.streams = out_step, past


cdef void run_tiles(const Conv *job, const Panel *panel, convnd_conv_args *args, Tally *tally, const char *x, char *out,
                    int64_t count, int64_t after=0) noexcept nogil:
    """`count` outputs that share their runs, args.x_step and args.out_step apart; then those `after` further."""
    cdef int64_t rows
    if job.kind == FILTERS and args.x_step == 1 and panel.lanes <= MOST_ALONG and count >= job.tiles.lanes:
        run_along(job, panel, args, x, out, count)
        while tally and count > 0:
            rows = min(count, COUNT_ROWS)
            count_in(job.tiles, tally, panel.lanes, out, args.out_step, NULL, 0, rows)
            out += rows * args.out_step * job.tiles.itemsize
            count -= rows
        return
    args.x, args.out = x, out
    if tally:
        run_and_count(job, panel, args, tally, out, count)
    else:
        run_next(job, panel, args, count, after)


cdef void run_edge(const Conv *job, const Panel *panel, convnd_conv_args *args, Tally *tally, const Axis *inner,
                   const char *x, char *out, const int64_t *outer, int64_t n_outer, int64_t *runs, int64_t q,
                   int64_t height) noexcept nogil:
    """Outputs q ... q + height of a row, some of which lack taps of the last axis: a tap adds to those that have it."""
    cdef int64_t e, j, to, first, last, end, r, size = job.tiles.itemsize
    cdef const char *start = args.start
    cdef int64_t past = args.streams, fresh = args.fresh
    cdef int64_t x_bytes = args.x_step * size, out_bytes = args.out_step * size
    args.runs, args.n_runs, args.activation, args.length, args.streams = runs, 0, 0, job.depth, False
    args.tiles, args.fresh = 1, 0
    args.out = out + q * out_bytes
    tile_of(job, panel.vectors, height)(args)
    args.start = NULL
    for e in range(n_outer):
        j = 0
        while j < inner.taps:
            first, last = max(q, outputs_from(inner, j)), min(q + height, outputs_to(inner, j))
            to = j + 1
            while to < inner.taps and max(q, outputs_from(inner, to)) == first and (
                    min(q + height, outputs_to(inner, to)) == last):
                to += 1
            if first < last:
                end = 1 if job.merged else to - j
                for r in range(end):
                    runs[2 * r] = (outer[2 * e] * inner.in_size + inner.base + (j + r) * inner.base_step) * job.channels
                    runs[2 * r + 1] = (outer[2 * e + 1] * inner.kernel + inner.slot + j + r) * job.depth
                args.n_runs = end
                args.length = (to - j) * job.depth if job.merged else job.depth
                args.x = x + first * x_bytes
                args.out = out + first * out_bytes
                tile_of(job, panel.vectors, last - first)(args)
            j = to
    if job.activation:
        args.n_runs, args.activation = 0, job.activation
        args.out = out + q * out_bytes
        tile_of(job, panel.vectors, height)(args)
    if tally:
        count_in(job.tiles, tally, panel.lanes, out + q * out_bytes, args.out_step, NULL, 0, height)
    args.start, args.streams, args.fresh = start, past, fresh


cdef void run_rows(const Conv *job, const Panel *panel, const Rows *rows, Tally *tally, const char *x, char *out,
                   int64_t *runs) noexcept nogil:
    """Rows of outputs of one panel that are alike; x and out are at the panel's first channel of the sample and row."""
    cdef int64_t size = job.tiles.itemsize, tallest = tallest_tile(job, panel)
    cdef const Axis *inner = rows.inner
    cdef int64_t q = rows.col, end = rows.col + rows.cols, first = rows.col, last = end, n, height, row, _row
    cdef int64_t x_step = inner.in_step * job.channels, out_step = inner.out_step * job.filters
    cdef convnd_conv_args args
    args.w = job.w + panel.pack * size
    args.start = job.start + panel.start * size
    args.lanes, args.depth, args.fresh = panel.lanes, job.depth, rows.fresh if panel == job.panels else 0
    args.streams = job.streams and panel.lanes == panel.vectors * job.tiles.lanes and (
        panel.lanes * size % STREAM_LINE == 0 and panel.filter * size % STREAM_LINE == 0)
    # Outputs that have every tap of the last axis.
    if inner.taps:
        first = min(max(q, outputs_from(inner, 0)), end)
        last = max(first, min(end, outputs_to(inner, inner.taps - 1)))
    if job.kind == FILTERS and rows.count < EDGE_ROWS and job.depth >= EDGE_DEPTH and last - first < rows.cols:
        for _row in range(rows.count):
            args.x_step, args.out_step = x_step, out_step
            n = (end - rows.col + tallest - 1) // tallest
            q = rows.col
            while q < end:
                height = (end - q + n - 1) // n
                if first <= q and q + height <= last:
                    list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, 0, inner.taps)
                    run_tiles(job, panel, &args, tally, x + q * x_step * size, out + q * out_step * size, height)
                else:
                    run_edge(job, panel, &args, tally, inner, x, out, rows.outer, rows.n_outer, runs, q, height)
                q += height
                n -= 1
            x += rows.x_step * size
            out += rows.out_step * size
        return
    if last - first < min(rows.count, tallest):
        first = last = end
    if first < last:
        args.x_step, args.out_step = x_step, out_step
        list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, 0, inner.taps)
        row = 0
        if rows.below and out_step == 1 and x_step == 1 and not tally and (
                last - first >= job.tiles.narrow.across * job.tiles.lanes):
            while rows.count - row > 1:
                height = first_height(rows.count - row, CONVND_MAX_BELOW, &n)
                run_below(job, rows, &args, x + (row * rows.x_step + first * x_step) * size,
                          out + (row * rows.out_step + first * out_step) * size, height, last - first)
                row += height
            args.x_step, args.out_step, args.depth = x_step, out_step, job.depth
        for row in range(row, rows.count):
            run_tiles(job, panel, &args, tally, x + (row * rows.x_step + first * x_step) * size,
                      out + (row * rows.out_step + first * out_step) * size, last - first, rows.x_step)
    # At the edges of the rows tiles stand upright: an output and those below it have the same taps.
    args.x_step, args.out_step, args.fresh = rows.x_step, rows.out_step, 0
    while q < end:
        if q == first:
            q = last
            continue
        list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, taps_from(inner, q), taps_to(inner, q))
        run_tiles(job, panel, &args, tally, x + q * x_step * size, out + q * out_step * size, rows.count)
        q += 1


cdef inline int64_t output_at(const Conv *job, int64_t sample, const Axis *axes, int64_t row) noexcept nogil:
    """The position of a row's first output."""
    cdef const Axis *inner = &axes[job.window.rank - 1]
    return (job.batch.out_offsets[sample] + output_row(job.window.rank, axes, row) * inner.out_size + inner.out_phase)


cdef void read_inputs(const Conv *job, const Rows *rows, const char *x, int64_t fresh) noexcept nogil:
    """Bring inputs to the cache as they lie: those of a first row's runs from `fresh` on, and of the last run of each
    other row. Panels that are groups take strips of them, an order that hardware doesn't foresee."""
    cdef const Axis *inner = rows.inner
    cdef int64_t step = job.channels * job.tiles.itemsize, row, e
    cdef int64_t low = max(0, inner.base + rows.col * inner.in_step)
    cdef int64_t high = min(inner.in_size, inner.base + (rows.col + rows.cols - 1) * inner.in_step
                            + (inner.taps - 1) * inner.base_step + 1)
    for row in range(rows.count):
        for e in range(fresh if row == 0 else rows.n_outer - 1, rows.n_outer):
            convnd_read(x + row * rows.x_step * job.tiles.itemsize + (rows.outer[2 * e] * inner.in_size + low) * step,
                        (high - low) * step)


cdef void conv_block(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Conv *job = <const Conv *>context
    cdef const Block *block = &job.blocks[index]
    cdef const Panel *panel
    cdef int64_t rank = job.window.rank, row, end, p, size = job.tiles.itemsize
    cdef Axis axes[MAX_RANK]
    cdef Rows rows
    cdef int64_t *runs = job.runs + slot * job.runs_size + job.runs_size // 2
    cdef const char *x
    cdef char *out
    cdef Tally tally
    cdef Tally *counts = &tally if job.counted.moments else NULL
    place(&job.window, block.phase, job.batch.in_shapes + block.sample * rank,
          job.batch.out_shapes + block.sample * rank, job.batch.low + block.sample * rank, axes)
    rows.inner = &axes[rank - 1]
    rows.outer = job.runs + slot * job.runs_size
    rows.col, rows.cols = block.col, block.cols
    rows.x_step = row_step(rank, axes) * job.channels
    rows.out_step = output_row_step(rank, axes) * job.filters
    x = job.x + job.batch.in_offsets[block.sample] * job.channels * size
    end = block.row + block.rows
    if block.samples > 1:
        rows.x_step = (job.batch.in_offsets[1] - job.batch.in_offsets[0]) * job.channels
        rows.out_step = (job.batch.out_offsets[1] - job.batch.out_offsets[0]) * job.filters
    # A panel's weights stay in the cache while the block's rows go by.
    for p in range(job.n_panels):
        panel = &job.panels[p]
        row = block.row
        if counts:
            tally = tally_of(&job.counted, index, panel.start, size)
        while row < end:
            rows.count = block.samples if block.samples > 1 else min(end - row, rows_alike(rank, axes, row))
            rows.n_outer = outer_taps(rank, axes, row, rows.outer) if rows.inner.taps else 0
            rows.below = 0
            if rank > 1 and job.kind == FILTERS and job.merged and rows.count > 1 and block.samples == 1 and (
                    axes[rank - 2].in_step == axes[rank - 2].base_step):
                rows.below = axes[rank - 2].taps    # all of them: these rows are alike; a phase may have none
            rows.fresh = fresh_runs(job, axes, &rows) if p == 0 and not job.strips else 0
            if job.strips and p == 0 and rows.n_outer:
                read_inputs(job, &rows, x, 0 if row == block.row else rows.n_outer - 1)
            out = job.out + (output_at(job, block.sample, axes, row) * job.filters + panel.filter) * size
            run_rows(job, panel, &rows, counts, x + panel.x * size, out, runs)
            row += rows.count
    if counts:
        job.counted.rows[index] = tally.rows    # as many of every panel


def conv(Geometry at, x, packed, bias, Lanes kind, int64_t activation, out, moments=None):
    """out = activation(bias + conv(x)); x (P_in, C), out (P_out, F), bias may be None. Everything has been checked.

    `moments`, if given, becomes out's means and squared deviations from them, (2, F) in float64. Returns whether it
    has: tasks of few outputs have more to join than it takes to read them again.
    """
    cdef Conv job
    cdef int64_t n, work, p, size = at.itemsize, samples = at.batch.samples
    cdef bint done = False
    cdef char *start = NULL
    cdef const char *bias_values = NULL if bias is None else values(bias)
    cdef double *wanted = NULL if moments is None else <double *>values_to_fill(moments)
    job.tiles = tiles(size)
    job.window, job.batch = at.window, at.batch
    job.channels, job.filters = at.channels, at.filters
    job.depth = job.channels // at.groups
    job.kind = kind
    # In a phase of the transposed convolution the inputs of neighbouring taps are dilation / gcd apart.
    n = job.window.rank - 1
    job.merged = at.groups == 1 and job.window.dilation[n] == (
        gcd(job.window.stride[n], job.window.dilation[n]) if job.window.transposed else 1)
    job.activation, job.tiled = activation, at.taps > at.taps_of_one
    job.uniform = job.tiled and samples > 1 and uniform(&at.batch, at.window.rank)
    job.x, job.w, job.out = values(x), values(packed), values_to_fill(out)
    job.streams = streams(job.out, job.filters * size, at.batch.out_offsets[samples] * job.filters * size)
    job.panels, job.blocks, job.runs = NULL, NULL, NULL
    job.counted.moments, job.counted.rows = NULL, NULL
    with nogil:
        job.panels = make_panels(job.tiles, at.groups, job.depth, job.filters // at.groups, at.taps, job.kind,
                                 &job.n_panels)
        if job.panels:
            job.strips = at.groups > 1 and job.n_panels > 1
            n = job.panels[job.n_panels - 1].start + CONVND_MAX_VECTORS * job.tiles.lanes
            start = <char *>calloc(n, size)
            n = block_list(&job, NULL)
            if at.batch.out_offsets[samples] < LEAST_COUNTED * n:
                wanted = NULL
            job.blocks = <Block *>malloc(max(1, n) * sizeof(Block))
            job.runs_size = 4 * at.taps_of_one + 8
            job.runs = <int64_t *>malloc(slots() * job.runs_size * sizeof(int64_t))
            done = not wanted or make_counted(&job.counted, n, job.panels[job.n_panels - 1].start + (
                CONVND_MAX_VECTORS * job.tiles.lanes), size)
        if job.blocks and job.runs and start and done:
            block_list(&job, job.blocks)
            if bias_values:
                for p in range(job.n_panels):
                    memcpy(start + job.panels[p].start * size, bias_values + job.panels[p].filter * size,
                           job.panels[p].lanes * size)
            job.start = start
            work = at.batch.out_offsets[samples] * job.filters * at.taps_of_one * job.depth
            parallel_for(conv_block, &job, n, work // taps_for_one(&job.window))
            if wanted:
                join_counted(&job.counted, n, job.panels, job.n_panels, size, job.filters, wanted)
        else:
            done = False
        free_counted(&job.counted)
        free(job.panels)
        free(job.blocks)
        free(job.runs)
        free(start)
    if not done:
        raise MemoryError("no memory for the tasks of a convolution")
    return wanted != NULL
