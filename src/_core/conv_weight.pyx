# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of a convolution on ragged batches.

A tile sums a few rows of the packed gradient, a panel wide, over the positions of a piece of a sample. The pieces are
cut into chunks whose number depends on shapes alone; the chunks' sums are added pairwise, in a fixed order.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

from convnd._core.isa cimport convnd_tiles, convnd_weight_args, convnd_weight_tile, tiles
from convnd._core.panels cimport FILTERS, Batch, Panel, count_taps, make_panels, read_window
from convnd._core.plan cimport MAX_RANK, Axis, Window, outer_taps, outputs_from, outputs_to, place
from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

# Positions that a weight-gradient tile sums over at a time: two panels of them stay in the first-level cache.
cdef int64_t SEGMENT = 128
# The weight gradient's partial sums: how many at the most, and how much memory.
cdef int64_t PARTIALS = 16
cdef int64_t PARTIAL_BYTES = 4 * 1024 * 1024

cdef struct Unit:
    int64_t sample, row, rows, col, cols

cdef struct Weight:
    const convnd_tiles *tiles
    const char *x
    const char *g
    char *partial       # chunks x numbers of a packed weight
    int64_t pack_size
    int64_t channels, filters, depth
    bint merged
    int64_t taps, outer  # taps in all, and of the outer axes
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
        tile = job.tiles.weight.plain[panel.vectors][height]
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
    cdef int64_t tap = item % job.outer, row, e, j, n, r, first, last, whole_first, whole_last, side, base
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
    args.x = job.x + (job.batch.in_offsets[unit.sample] * job.channels + panel.x) * size
    args.g = job.g + (job.batch.out_offsets[unit.sample] * job.filters + panel.filter) * size
    args.x_step, args.x_row, args.g_step = inner.in_step * job.channels, 1, job.filters
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
                triples[3 * r] = (
                    found[2 * r] * inner.in_size + inner.base + whole_first * inner.in_step) * job.channels
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
    n = job.window.rank - 1
    # Merged rows make one tall tile of few channels; with many channels each tap fills tiles of its own.
    job.merged = groups == 1 and job.window.dilation[n] == 1 and job.depth < 2 * t.height[2]
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
        job.panels = make_panels(t, groups, job.depth, job.filters // groups, job.taps, FILTERS,
                                 &job.n_panels)
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
