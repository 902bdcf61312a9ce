# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Direct convolution, its adjoint and its weight gradient on ragged batches.

Weights are packed in panels as wide as one or two vectors: [group][panel][tap][channel][filter of the panel]. A tile
keeps its sums in registers over all taps and channels, so nothing is copied but the weights. An output is one chain
of multiply-adds (bias, taps ascending, channels ascending); how positions are grouped never shows in it.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from convnd._core.isa cimport (
    convnd_conv_args, convnd_conv_tile, convnd_tiles, convnd_weight_args, convnd_weight_tile, tiles)
from convnd._core.plan cimport (
    MAX_RANK, Axis, Window, class_size, count_rows, gcd, outer_taps, output_row, output_row_step, outputs_from,
    outputs_to, phases, place, row_step, rows_alike, taps_from, taps_to)
from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

# Bytes of input and output that a task works on: half of a small second-level cache.
cdef int64_t BLOCK_BYTES = 128 * 1024
# Tasks to cut a large operation into, and positions below which a task isn't cut.
cdef int64_t TASKS = 32
cdef int64_t LEAST_POSITIONS = 64
# With fewer rows alike than this, and from this many channels on, a tile at the edge of a row adds tap by tap.
cdef int64_t EDGE_ROWS = 3
cdef int64_t EDGE_DEPTH = 16
# Outputs of a row that a depthwise task takes through all panels at a time.
cdef int64_t DEPTHWISE_COLS = 24
# Positions that a weight-gradient tile sums over at a time: two panels of them stay in the first-level cache.
cdef int64_t SEGMENT = 128
# The weight gradient's partial sums: how many at the most, and how much memory.
cdef int64_t PARTIALS = 16
cdef int64_t PARTIAL_BYTES = 4 * 1024 * 1024

cdef struct Panel:
    int64_t x       # first input channel
    int64_t filter  # first filter
    int64_t lanes   # filters
    int64_t vectors # width
    int64_t pack    # where it starts in the packed weight
    int64_t start   # where its bias starts among all lanes

cdef struct Batch:
    int64_t samples
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *low
    const int64_t *in_offsets
    const int64_t *out_offsets

cdef struct Block:
    int64_t sample, phase, row, rows, col, cols

cdef struct Rows:       # outputs on the last axis, in rows that have the same taps on the others
    const Axis *inner
    int64_t col, cols
    int64_t count       # rows
    int64_t x_step      # from a row's inputs to the next row's, and of the outputs
    int64_t out_step
    int64_t *outer      # taps of the other axes for the first row
    int64_t n_outer

cdef struct Conv:
    const convnd_tiles *tiles
    const char *x
    const char *w
    const char *start
    char *out
    int64_t channels    # of x
    int64_t filters     # of out
    int64_t depth       # channels a run has for each tap
    bint depthwise
    bint merged         # neighbouring taps of the last axis are one run
    int64_t activation
    int64_t n_panels
    Panel *panels
    Window window
    Batch batch
    Block *blocks
    int64_t *runs       # scratch
    int64_t runs_size


# ---------------------------------------------------------------------------------------------------- panels and packs

cdef int64_t panel_layout(const convnd_tiles *t, int64_t groups, int64_t depth, int64_t filters, int64_t taps,
                          bint depthwise, Panel *panels) noexcept nogil:
    """Fill `panels` (unless NULL) and return how many; `filters` are those of a group."""
    cdef int64_t g, f, n = 0, pack = 0, start = 0, lanes, vectors
    cdef int64_t count = 1 if depthwise else groups
    cdef int64_t width = groups if depthwise else filters
    for g in range(count):
        f = 0
        while f < width:
            vectors = 2 if width - f > t.lanes else 1
            lanes = min(width - f, vectors * t.lanes)
            if panels:
                panels[n].x = f if depthwise else g * depth
                panels[n].filter = f if depthwise else g * filters + f
                panels[n].lanes, panels[n].vectors, panels[n].pack, panels[n].start = lanes, vectors, pack, start
            pack += taps * depth * vectors * t.lanes
            start += vectors * t.lanes
            n += 1
            f += lanes
    return n


cdef Panel *make_panels(const convnd_tiles *t, int64_t groups, int64_t depth, int64_t filters, int64_t taps,
                        bint depthwise, int64_t *n_panels) noexcept nogil:
    n_panels[0] = panel_layout(t, groups, depth, filters, taps, depthwise, NULL)
    cdef Panel *panels = <Panel *>malloc(max(1, n_panels[0]) * sizeof(Panel))
    if panels:
        panel_layout(t, groups, depth, filters, taps, depthwise, panels)
    return panels


cdef void read_window(Window *window, const int64_t[:, ::1] geometry, bint transposed) noexcept nogil:
    """geometry: rows of kernel, stride and dilation."""
    cdef int64_t a
    window.rank = geometry.shape[1]
    window.transposed = transposed
    for a in range(window.rank):
        window.kernel[a], window.stride[a], window.dilation[a] = geometry[0, a], geometry[1, a], geometry[2, a]


cdef int64_t count_taps(const Window *window) noexcept nogil:
    cdef int64_t a, n = 1
    for a in range(window.rank):
        n *= window.kernel[a]
    return n


cdef int64_t packed_tap(const Window *window, int64_t tap) noexcept nogil:
    """The place in the pack of a tap: the same, or by class and descending for the transposed one (see plan)."""
    cdef int64_t a, t, c, k, period, slot, unit = 1, place_ = 0
    for a in range(window.rank - 1, -1, -1):
        k = window.kernel[a]
        t = tap % k
        tap = tap // k
        if window.transposed:
            period = window.stride[a] // gcd(window.stride[a], window.dilation[a])
            slot = 0
            for c in range(t % period):
                slot += class_size(k, period, c)
            t = slot + class_size(k, period, t % period) - 1 - t // period
        place_ += unit * t
        unit *= k
    return place_


def pack(const real[:, :, ::1] weight, const int64_t[:, ::1] geometry, bint transposed, bint flip, int64_t groups,
         real[::1] packed):
    """Pack a weight (taps, C / groups, F); returns the numbers it takes. Call with an empty `packed` to ask."""
    cdef const convnd_tiles *t = tiles(sizeof(real))
    cdef Window window
    read_window(&window, geometry, transposed)
    cdef int64_t taps = weight.shape[0], channels = weight.shape[1], filters = weight.shape[2] // groups
    cdef int64_t depth = filters if transposed else channels
    cdef int64_t width = channels if transposed else filters
    cdef bint depthwise = groups > 1 and depth == 1 and width == 1
    cdef int64_t n_panels, p, tap, slot, k, f, size, stride, total = 0
    cdef Panel *panels
    cdef Panel panel
    cdef real *to
    cdef int64_t group
    panels = make_panels(t, groups, depth, width, taps, depthwise, &n_panels)
    if not panels:
        raise MemoryError("no memory for the panels of a weight")
    for p in range(n_panels):
        total += taps * depth * panels[p].vectors * t.lanes
    if packed.shape[0]:
        with nogil:
            for p in range(n_panels):
                panel = panels[p]
                size = panel.vectors * t.lanes
                group = 0 if depthwise else panel.filter // width
                for tap in range(taps):
                    slot = packed_tap(&window, tap)
                    for k in range(depth):
                        to = &packed[panel.pack + (slot * depth + k) * size]
                        stride = taps - 1 - tap if flip else tap
                        for f in range(panel.lanes):
                            if depthwise:
                                to[f] = weight[stride, 0, panel.filter + f]
                            elif transposed:
                                to[f] = weight[stride, panel.filter - group * width + f, group * depth + k]
                            else:
                                to[f] = weight[stride, k, panel.filter + f]
                        for f in range(panel.lanes, size):
                            to[f] = 0
    free(panels)
    return total


# -------------------------------------------------------------------------------------------------------------- forward

cdef int64_t block_list(const Conv *job, Block *blocks) noexcept nogil:
    """Cut every sample's outputs into blocks of rows, long rows into blocks of columns; returns how many."""
    cdef int64_t n = 0, sample, phase, row, col, rows, cols, rank = job.window.rank, total, most, step
    cdef int64_t n_phases
    cdef Axis axes[MAX_RANK]
    cdef Axis *inner = &axes[rank - 1]
    step = 1 if job.window.transposed else job.window.stride[rank - 1]
    most = BLOCK_BYTES // (job.tiles.itemsize * (job.channels * step + job.filters))
    total = job.batch.out_offsets[job.batch.samples] // TASKS
    most = max(min(most, total), LEAST_POSITIONS)
    for sample in range(job.batch.samples):
        n_phases = phases(&job.window, job.batch.out_shapes + sample * rank)
        for phase in range(n_phases):
            place(&job.window, phase, job.batch.in_shapes + sample * rank, job.batch.out_shapes + sample * rank,
                  job.batch.low + sample * rank, axes)
            if inner.count == 0:
                continue
            rows = count_rows(rank, axes)
            cols = (inner.count + most - 1) // most     # blocks of a row
            cols = (inner.count + cols - 1) // cols     # columns of a block
            step = max(1, most // cols)                 # rows of a block
            row = 0
            while row < rows:
                col = 0
                while col < inner.count:
                    if blocks:
                        blocks[n].sample, blocks[n].phase, blocks[n].row, blocks[n].col = sample, phase, row, col
                        blocks[n].rows, blocks[n].cols = min(step, rows - row), min(cols, inner.count - col)
                    n += 1
                    col += cols
                row += step
    return n


cdef inline convnd_conv_tile tile_of(const Conv *job, int64_t vectors, int64_t height) noexcept nogil:
    return job.tiles.depthwise[vectors][height] if job.depthwise else job.tiles.conv[vectors][height]


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


cdef void run_tiles(const Conv *job, const Panel *panel, convnd_conv_args *args, const char *x, char *out,
                    int64_t count) noexcept nogil:
    """`count` outputs that share their runs, args.x_step and args.out_step apart."""
    cdef int64_t size = job.tiles.itemsize, tallest = job.tiles.height[panel.vectors]
    cdef int64_t n = (count + tallest - 1) // tallest, height
    args.x, args.out = x, out
    while n > 0:
        height = (count + n - 1) // n    # tiles as equal as can be
        tile_of(job, panel.vectors, height)(args)
        args.x += height * args.x_step * size
        args.out += height * args.out_step * size
        count -= height
        n -= 1


cdef void run_edge(const Conv *job, const Panel *panel, convnd_conv_args *args, const Axis *inner, const char *x,
                   char *out, const int64_t *outer, int64_t n_outer, int64_t *runs, int64_t q,
                   int64_t height) noexcept nogil:
    """Outputs q ... q + height of a row, some of which lack some taps of the last axis: a tap adds to those that have it."""
    cdef int64_t e, j, to, first, last, end, r, size = job.tiles.itemsize
    cdef const char *start = args.start
    cdef int64_t x_bytes = args.x_step * size, out_bytes = args.out_step * size
    args.runs, args.n_runs, args.activation, args.length = runs, 0, 0, job.depth
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
    args.start = start


cdef void run_rows(const Conv *job, const Panel *panel, const Rows *rows, const char *x, char *out,
                   int64_t *runs) noexcept nogil:
    """Rows of outputs of one panel that are alike; x and out are at the panel's first channel of the sample and row."""
    cdef int64_t size = job.tiles.itemsize, tallest = job.tiles.height[panel.vectors]
    cdef const Axis *inner = rows.inner
    cdef int64_t q = rows.col, end = rows.col + rows.cols, first = rows.col, last = end, n, height, row
    cdef int64_t x_step = inner.in_step * job.channels, out_step = inner.out_step * job.filters
    cdef convnd_conv_args args
    args.w = job.w + panel.pack * size
    args.start = job.start + panel.start * size
    args.lanes = panel.lanes
    # Outputs that have every tap of the last axis.
    if inner.taps:
        first = min(max(q, outputs_from(inner, 0)), end)
        last = max(first, min(end, outputs_to(inner, inner.taps - 1)))
    if rows.count < EDGE_ROWS and job.depth >= EDGE_DEPTH and last - first < rows.cols:
        for row in range(rows.count):
            args.x_step, args.out_step = x_step, out_step
            n = (end - rows.col + tallest - 1) // tallest
            q = rows.col
            while q < end:
                height = (end - q + n - 1) // n
                if first <= q and q + height <= last:
                    list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, 0, inner.taps)
                    run_tiles(job, panel, &args, x + q * x_step * size, out + q * out_step * size, height)
                else:
                    run_edge(job, panel, &args, inner, x, out, rows.outer, rows.n_outer, runs, q, height)
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
        for row in range(rows.count):
            run_tiles(job, panel, &args, x + (row * rows.x_step + first * x_step) * size,
                      out + (row * rows.out_step + first * out_step) * size, last - first)
    # At the edges of the rows tiles stand upright: an output and those below it have the same taps.
    args.x_step, args.out_step = rows.x_step, rows.out_step
    while q < end:
        if q == first:
            q = last
            continue
        list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, taps_from(inner, q), taps_to(inner, q))
        run_tiles(job, panel, &args, x + q * x_step * size, out + q * out_step * size, rows.count)
        q += 1


cdef void run_depthwise_row(const Conv *job, const Rows *rows, const char *x, char *out, int64_t *runs) noexcept nogil:
    """A row of outputs of all channels: all panels of a few outputs at a time, so that whole cache lines are used."""
    cdef int64_t size = job.tiles.itemsize, q = rows.col, end = rows.col + rows.cols, first, last, count, p
    cdef const Axis *inner = rows.inner
    cdef const Panel *panel
    cdef convnd_conv_args args
    args.x_step, args.out_step = inner.in_step * job.channels, inner.out_step * job.filters
    first = min(max(q, outputs_from(inner, 0)), end) if inner.taps else q
    last = max(first, min(end, outputs_to(inner, inner.taps - 1))) if inner.taps else end
    while q < end:
        count = 1
        if q < first or q >= last:
            list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, taps_from(inner, q), taps_to(inner, q))
        else:
            if q == first:
                list_runs(job, &args, inner, rows.outer, rows.n_outer, runs, 0, inner.taps)
            count = min(DEPTHWISE_COLS, last - q)
        for p in range(job.n_panels):
            panel = &job.panels[p]
            args.w, args.start = job.w + panel.pack * size, job.start + panel.start * size
            args.lanes = panel.lanes
            run_tiles(job, panel, &args, x + (q * args.x_step + panel.x) * size,
                      out + (q * args.out_step + panel.filter) * size, count)
        q += count


cdef inline int64_t output_at(const Conv *job, int64_t sample, const Axis *axes, int64_t row) noexcept nogil:
    """The position of a row's first output."""
    cdef const Axis *inner = &axes[job.window.rank - 1]
    return (job.batch.out_offsets[sample] + output_row(job.window.rank, axes, row) * inner.out_size + inner.out_phase)


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
    place(&job.window, block.phase, job.batch.in_shapes + block.sample * rank,
          job.batch.out_shapes + block.sample * rank, job.batch.low + block.sample * rank, axes)
    rows.inner = &axes[rank - 1]
    rows.outer = job.runs + slot * job.runs_size
    rows.col, rows.cols = block.col, block.cols
    rows.x_step = row_step(rank, axes) * job.channels
    rows.out_step = output_row_step(rank, axes) * job.filters
    x = job.x + job.batch.in_offsets[block.sample] * job.channels * size
    end = block.row + block.rows
    if job.depthwise:
        for row in range(block.row, end):
            rows.n_outer = outer_taps(rank, axes, row, rows.outer) if rows.inner.taps else 0
            out = job.out + output_at(job, block.sample, axes, row) * job.filters * size
            run_depthwise_row(job, &rows, x, out, runs)
        return
    # A panel's weights stay in the cache while the block's rows go by.
    for p in range(job.n_panels):
        panel = &job.panels[p]
        row = block.row
        while row < end:
            rows.count = min(end - row, rows_alike(rank, axes, row))
            rows.n_outer = outer_taps(rank, axes, row, rows.outer) if rows.inner.taps else 0
            out = job.out + (output_at(job, block.sample, axes, row) * job.filters + panel.filter) * size
            run_rows(job, panel, &rows, x + panel.x * size, out, runs)
            row += rows.count


def conv(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[:, ::1] low, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
         const int64_t[:, ::1] geometry, bint transposed, const real[::1] packed, const real[::1] bias,
         int64_t groups, int64_t activation, real[:, ::1] out):
    """out = activation(bias + conv(x)); the transposed one's window is that of the convolution it is the adjoint of.

    x (P_in, C) and out (P_out, F); shapes and low are (N, rank), offsets (N + 1,). Everything has been checked.
    """
    cdef Conv job
    cdef int64_t taps, n, work, f, p
    cdef bint done = False
    cdef real *start = NULL
    job.tiles = tiles(sizeof(real))
    read_window(&job.window, geometry, transposed)
    taps = count_taps(&job.window)
    job.channels, job.filters = x.shape[1], out.shape[1]
    job.depth = job.channels // groups
    job.depthwise = groups > 1 and job.depth == 1 and job.filters == groups
    # In a phase of the transposed convolution the inputs of neighbouring taps are dilation / gcd apart.
    n = job.window.rank - 1
    job.merged = groups == 1 and job.window.dilation[n] == (
        gcd(job.window.stride[n], job.window.dilation[n]) if transposed else 1)
    job.activation = activation
    job.batch.samples = in_shapes.shape[0]
    if out.shape[0] == 0 or job.filters == 0:
        return
    job.batch.in_shapes, job.batch.out_shapes, job.batch.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.batch.in_offsets, job.batch.out_offsets = &in_offsets[0], &out_offsets[0]
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.panels, job.blocks, job.runs = NULL, NULL, NULL
    with nogil:
        job.panels = make_panels(job.tiles, groups, job.depth, job.filters // groups, taps, job.depthwise, &job.n_panels)
        if job.panels:
            n = job.panels[job.n_panels - 1].start + 2 * job.tiles.lanes
            start = <real *>calloc(n, sizeof(real))
            n = block_list(&job, NULL)
            job.blocks = <Block *>malloc(max(1, n) * sizeof(Block))
            job.runs_size = 4 * taps + 8
            job.runs = <int64_t *>malloc(slots() * job.runs_size * sizeof(int64_t))
        if job.blocks and job.runs and start:
            block_list(&job, job.blocks)
            if bias.shape[0]:
                for p in range(job.n_panels):
                    for f in range(job.panels[p].lanes):
                        start[job.panels[p].start + f] = bias[job.panels[p].filter + f]
            job.start = <const char *>start
            work = out_offsets[job.batch.samples] * job.filters * taps * job.depth
            parallel_for(conv_block, &job, n, work // max(1, phases(&job.window, NULL)))
            done = True
        free(job.panels)
        free(job.blocks)
        free(job.runs)
        free(start)
    if not done:
        raise MemoryError("no memory for the tasks of a convolution")


# ------------------------------------------------------------------------------------------------------ weight gradient

cdef struct Unit:
    int64_t sample, row, rows, col, cols

cdef struct Weight:
    const convnd_tiles *tiles
    const char *x
    const char *g
    char *partial       # chunks x numbers of a packed weight
    int64_t pack_size
    int64_t channels, filters, depth
    bint depthwise
    bint merged
    int64_t taps, outer # taps in all, and of the outer axes
    int64_t n_panels
    Panel *panels
    Window window
    Batch batch
    int64_t n_units, chunks, splits
    Unit *units
    int64_t *scratch
    int64_t scratch_size


cdef int64_t unit_list(const Weight *job, Unit *units) noexcept nogil:
    """Pieces of about SEGMENT outputs: rows of a sample, or a part of one long row."""
    cdef int64_t n = 0, sample, row, rows, col, cols, inner, per, rank = job.window.rank, a
    for sample in range(job.batch.samples):
        rows = 1
        for a in range(rank - 1):
            rows *= job.batch.out_shapes[sample * rank + a]
        inner = job.batch.out_shapes[sample * rank + rank - 1]
        cols = (inner + SEGMENT - 1) // SEGMENT
        cols = (inner + cols - 1) // cols
        per = max(1, SEGMENT // cols) if cols == inner else 1
        row = 0
        while row < rows:
            col = 0
            while col < inner:
                if units:
                    units[n].sample, units[n].row, units[n].rows = sample, row, min(per, rows - row)
                    units[n].col, units[n].cols = col, min(cols, inner - col)
                n += 1
                col += cols
            row += per
    return n


cdef void run_weight_tiles(const Weight *job, const Panel *panel, convnd_weight_args *args, char *acc,
                           int64_t rows) noexcept nogil:
    """`rows` rows of the packed gradient, in tiles."""
    cdef int64_t tallest = job.tiles.height[panel.vectors], size = job.tiles.itemsize
    cdef int64_t n = (rows + tallest - 1) // tallest, m = 0, height
    cdef const char *x = args.x
    cdef convnd_weight_tile tile
    while m < rows:
        height = (rows - m + n - 1) // n
        tile = job.tiles.depthwise_weight[panel.vectors][height] if job.depthwise else (
            job.tiles.weight[panel.vectors][height])
        args.x = x + m * args.x_row * size
        args.acc = acc + m * panel.vectors * job.tiles.lanes * size
        tile(args)
        m += height
        n -= 1
    args.x = x


cdef void weight_unit(const Weight *job, const Unit *unit, const Axis *axes, const int64_t *row_taps,
                      const int64_t *row_counts, int64_t item, char *partial, int64_t *segments) noexcept nogil:
    """Add one unit to one item, a panel and a tap of the outer axes."""
    cdef int64_t rank = job.window.rank, size = job.tiles.itemsize
    cdef const Axis *inner = &axes[rank - 1]
    cdef const Panel *panel = &job.panels[item // job.outer]
    cdef int64_t tap = item % job.outer, row, e, j, n, r, first, last, whole_first, whole_last, side, base, x_row
    cdef int64_t *found = segments      # (input row, output row) of each row of the unit that has this outer tap
    cdef int64_t *triples = segments + 2 * unit.rows
    cdef const int64_t *taps
    cdef convnd_weight_args args
    cdef int64_t n_found = 0, end = unit.col + unit.cols
    cdef char *acc = partial + (panel.pack + tap * inner.kernel * job.depth * panel.vectors * job.tiles.lanes) * size
    for row in range(unit.rows):
        taps = row_taps + row * 2 * job.outer
        for e in range(row_counts[row]):
            if taps[2 * e + 1] == tap:
                found[2 * n_found] = taps[2 * e]
                found[2 * n_found + 1] = unit.row + row
                n_found += 1
    if n_found == 0:
        return
    x_row = inner.base_step * job.channels if job.depthwise else 1
    args.x = job.x + (job.batch.in_offsets[unit.sample] * job.channels + panel.x) * size
    args.g = job.g + (job.batch.out_offsets[unit.sample] * job.filters + panel.filter) * size
    args.x_step, args.x_row, args.g_step = inner.in_step * job.channels, x_row, job.filters
    args.lanes = panel.lanes
    args.segments = triples
    # Outputs with every tap of the last axis: its taps and channels are the rows of one wide tile.
    whole_first = end
    whole_last = end
    if job.merged:
        whole_first = min(end, max(unit.col, outputs_from(inner, 0)))
        whole_last = max(whole_first, min(end, outputs_to(inner, inner.taps - 1)))
        if whole_first < whole_last:
            for r in range(n_found):
                triples[3 * r] = (found[2 * r] * inner.in_size + inner.base + whole_first * inner.in_step) * job.channels
                triples[3 * r + 1] = (found[2 * r + 1] * inner.count + whole_first) * job.filters
                triples[3 * r + 2] = whole_last - whole_first
            args.n_segments = n_found
            run_weight_tiles(job, panel, &args, acc, inner.taps * job.depth)
        else:
            whole_first = whole_last = end
    # What is left of each tap, on the left and on the right of those.
    for j in range(inner.taps):
        base = inner.base + j * inner.base_step
        n = 0
        for side in range(2):
            first = max(unit.col if side == 0 else whole_last, outputs_from(inner, j))
            last = min(whole_first if side == 0 else end, outputs_to(inner, j))
            if first < last:
                for r in range(n_found):
                    triples[3 * n] = (found[2 * r] * inner.in_size + base + first * inner.in_step) * job.channels
                    triples[3 * n + 1] = (found[2 * r + 1] * inner.count + first) * job.filters
                    triples[3 * n + 2] = last - first
                    n += 1
        if n:
            args.n_segments = n
            run_weight_tiles(job, panel, &args, acc + j * job.depth * panel.vectors * job.tiles.lanes * size, job.depth)


cdef void weight_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """One chunk of the units, for one share of the items."""
    cdef const Weight *job = <const Weight *>context
    cdef int64_t chunk = index // job.splits, split = index % job.splits, rank = job.window.rank
    cdef int64_t items = job.n_panels * job.outer, u, item, row
    cdef int64_t *row_taps = job.scratch + slot * job.scratch_size
    cdef int64_t *row_counts = row_taps + SEGMENT * 2 * job.outer
    cdef int64_t *segments = row_counts + SEGMENT
    cdef Axis axes[MAX_RANK]
    cdef const Unit *unit
    for u in range(chunk * job.n_units // job.chunks, (chunk + 1) * job.n_units // job.chunks):
        unit = &job.units[u]
        place(&job.window, 0, job.batch.in_shapes + unit.sample * rank, job.batch.out_shapes + unit.sample * rank,
              job.batch.low + unit.sample * rank, axes)
        for row in range(unit.rows):
            row_counts[row] = outer_taps(rank, axes, unit.row + row, row_taps + row * 2 * job.outer)
        for item in range(split * items // job.splits, (split + 1) * items // job.splits):
            weight_unit(job, unit, axes, row_taps, row_counts, item,
                        job.partial + chunk * job.pack_size * job.tiles.itemsize, segments)


def conv_weight(const real[:, ::1] x, const real[:, ::1] g, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, int64_t groups,
                real[:, :, ::1] weight):
    """weight (taps, C / groups, F) = sum over samples and outputs of x at each tap times g.

    The outputs are cut into chunks whose number depends on shapes alone; their sums are added pairwise.
    """
    cdef Weight job
    cdef int64_t p, n, tap, k, f, step, chunk, size, work
    cdef bint done = False
    cdef real *partial = NULL
    cdef const Panel *panel
    cdef const convnd_tiles *t = tiles(sizeof(real))
    job.tiles = t
    read_window(&job.window, geometry, False)
    job.taps = count_taps(&job.window)
    job.outer = job.taps // job.window.kernel[job.window.rank - 1]
    job.channels, job.filters = x.shape[1], g.shape[1]
    job.depth = job.channels // groups
    job.depthwise = groups > 1 and job.depth == 1 and job.filters == groups
    n = job.window.rank - 1
    # Merged rows make one tall tile of few channels; with many channels each tap fills tiles of its own.
    job.merged = job.depthwise or (
        groups == 1 and job.window.dilation[n] == 1 and job.depth < 2 * t.height[2])
    job.batch.samples = in_shapes.shape[0]
    if weight.shape[0] == 0 or weight.shape[1] == 0 or weight.shape[2] == 0:
        return
    if g.shape[0] == 0:
        weight[:, :, :] = 0
        return
    job.batch.in_shapes, job.batch.out_shapes, job.batch.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.batch.in_offsets, job.batch.out_offsets = &in_offsets[0], &out_offsets[0]
    job.x, job.g = <const char *>&x[0, 0], <const char *>&g[0, 0]
    job.panels, job.units, job.scratch = NULL, NULL, NULL
    with nogil:
        job.panels = make_panels(t, groups, job.depth, job.filters // groups, job.taps, job.depthwise, &job.n_panels)
        if job.panels:
            panel = &job.panels[job.n_panels - 1]
            job.pack_size = panel.pack + job.taps * job.depth * panel.vectors * t.lanes
            job.n_units = unit_list(&job, NULL)
            job.chunks = min(PARTIALS, job.n_units, max(1, PARTIAL_BYTES // (job.pack_size * t.itemsize)))
            job.splits = min(job.n_panels * job.outer, max(1, 2 * PARTIALS // job.chunks))
            job.units = <Unit *>malloc(max(1, job.n_units) * sizeof(Unit))
            job.scratch_size = SEGMENT * (2 * job.outer + 1) + 8 * SEGMENT + 8
            job.scratch = <int64_t *>malloc(slots() * job.scratch_size * sizeof(int64_t))
            partial = <real *>calloc(job.chunks * job.pack_size, sizeof(real))
        if job.units and job.scratch and partial:
            unit_list(&job, job.units)
            job.partial = <char *>partial
            work = out_offsets[job.batch.samples] * job.filters * job.taps * job.depth
            parallel_for(weight_task, &job, job.chunks * job.splits, work)
            step = 1
            while step < job.chunks:
                chunk = 0
                while chunk + step < job.chunks:
                    for n in range(job.pack_size):
                        partial[chunk * job.pack_size + n] += partial[(chunk + step) * job.pack_size + n]
                    chunk += 2 * step
                step *= 2
            for p in range(job.n_panels):
                panel = &job.panels[p]
                size = panel.vectors * t.lanes
                for tap in range(job.taps):
                    for k in range(job.depth):
                        for f in range(panel.lanes):
                            weight[tap, k, panel.filter + f] = partial[panel.pack + (tap * job.depth + k) * size + f]
            done = True
        free(job.panels)
        free(job.units)
        free(job.scratch)
        free(partial)
    if not done:
        raise MemoryError("no memory for the tasks of a weight gradient")
