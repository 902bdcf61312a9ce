# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of a convolution on ragged batches.

The outputs are cut into units. What a unit's outputs read is copied once, unless it can be read where it lies, into a
box of bounded size that stays in the second-level cache: x with zeros where the window lies outside, g in panels. All
taps then sum over the box, so strides of a power of two and edges cost nothing in the tiles. Units are shared out to
chunks whose number depends on shapes alone; the chunks' sums are added pairwise, in a fixed order.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

from convnd._core.isa cimport convnd_weight_args, convnd_weight_tile, convnd_weight_tiles, tiles
from convnd._core.panels cimport FILTERS, Panel, count_taps, make_panels, read_window
from convnd._core.plan cimport Window, ceil_div, outputs_from, outputs_to
from convnd._core.threads cimport parallel_for, slots, usable
from convnd._core.unit cimport (
    BOX_BYTES, LINE, Box, Copy, Cut, Piece, Spot, Unit, copy_unit, cut_units, make_box, newly_read)

ctypedef fused real:
    float
    double

# Positions of a unit. A panel of g and the lines of x that a tile reads fill the first-level cache; fewer leave room in
# it, but units would read more of x twice, unless the window is one position. Many filters take fewer. One filter takes
# more, and so do few rows whose g is read where it lies: a box of x for many positions is small.
cdef int64_t POSITIONS = 256
cdef int64_t ALONE_POSITIONS = 192
cdef int64_t LEAST_POSITIONS = 64
cdef int64_t STREAM_POSITIONS = 1024
cdef int64_t DOT_POSITIONS = 4096
# Bytes of a unit's g in all.
cdef int64_t GRAD_BYTES = 256 * 1024
# From this many channels on each tap fills tiles of its own, over just the outputs that have it.
cdef int64_t WIDE = 8
# Rows of so many tiles at most read g where it lies: it isn't worth a copy. Those of a 1x1 layer do,
# whose channels take so many vectors at most.
cdef int64_t FEW_TILES = 3
cdef int64_t FEW_VECTORS = 12
# Tiles' rows of a tap are put side by side if they serve so many panels; of x that is read in place fewer, where g lies
# apart as well, or positions are a multiple of so many bytes apart and share a few sets of the first-level cache. So
# many bytes of them at a time.
cdef int64_t GATHER_PANELS = 10
cdef int64_t GATHER_PANELS_APART = 6
cdef int64_t GATHER_PANELS_IN_PLACE = 4
cdef int64_t GATHER_DEPTH_IN_PLACE = 32
cdef int64_t APART = 1024
cdef int64_t GATHERED_BYTES = 128 * 1024
# Tasks to cut an operation into; at most so many for each of several threads, if they split panels and taps; the
# multiply-adds each should have, and memory of their sums beside the result.
cdef int64_t TASKS = 16
cdef int64_t TASKS_A_THREAD = 4
cdef int64_t LEAST_WORK = 1024 * 1024
# Positions that a chunk has at the least: the sums of each are read and written once more.
cdef int64_t CHUNK_POSITIONS = 1024
cdef int64_t PARTIAL_BYTES = 2 * 1024 * 1024
# Numbers that a task of the last sum adds up.
cdef int64_t SUM_BLOCK = 16 * 1024

cdef struct Ask:        # what the next unit reads, asked for a line with each position
    const char *at
    const char *end

cdef struct Scratch:
    Copy copy
    Ask ask[3]          # x, its tap before on the outer axes, and g
    int64_t step        # bytes from one request to the next
    int64_t *segments
    int64_t *rows
    char *near          # the rows of x of some tiles, side by side
    int64_t *near_segments

cdef struct Weight:
    Cut cut
    char *out
    char *partial       # of the chunks but the first, which sums up in out
    int64_t taps, depth  # a row of the gradient is a tap and a channel of the group
    int64_t size         # numbers of the weight
    bint wide           # tap by tap
    bint streams        # g goes by where it lies
    bint gathered       # a tile's rows of x are put side by side for the panels
    int64_t chunks, panel_splits, tap_splits
    Scratch *scratch


cdef int64_t find_segments(const Weight *job, const Unit *unit, const Box *box, int64_t tap,
                           const Scratch *s) noexcept nogil:
    """The unit's outputs that have this tap, or all of them for tap -1. Returns the number of segments."""
    cdef int64_t i, r, q, n = 0, first = 0, last, to, slab = 0, t = 0, j = 0, x, row, col
    cdef const Piece *piece
    cdef const Spot *spot
    if tap >= 0:
        spot = &s.copy.spots[0]
        slab, t, j = tap // (spot.cols.kernel * spot.rows.kernel), tap // spot.cols.kernel, tap % spot.cols.kernel
        t %= spot.rows.kernel
    for i in range(unit.pieces):
        piece = &job.cut.pieces[unit.first + i]
        spot = &s.copy.spots[i]
        first, last, q, to = 0, piece.rows, 0, piece.cols
        if tap >= 0:
            if s.copy.found[i * job.cut.slabs + slab] < 0:
                continue
            first = max(first, outputs_from(&spot.rows, t) - piece.row)
            last = min(last, outputs_to(&spot.rows, t) - piece.row)
            q = max(q, outputs_from(&spot.cols, j) - piece.col)
            to = min(to, outputs_to(&spot.cols, j) - piece.col)
        if q >= to:
            continue
        x = i * box.piece + slab * box.slab + t * box.rows.tap * box.row + j * box.cols.tap * job.cut.pitch
        row, col = box.rows.out * box.row, box.cols.out * job.cut.pitch
        if job.cut.x_in_place:
            x = s.copy.found[i * job.cut.slabs + slab] * spot.rows.in_size + spot.rows.base + (
                piece.row * spot.rows.in_step + t * spot.rows.base_step)
            x = x * spot.cols.in_size + spot.cols.base + piece.col * spot.cols.in_step + j * spot.cols.base_step
            x = (job.cut.batch.in_offsets[piece.sample] + x) * job.cut.pitch
            row, col = spot.rows.in_step * spot.cols.in_size * job.cut.pitch, spot.cols.in_step * job.cut.pitch
        for r in range(first, last):
            s.segments[3 * n] = x + r * row + q * col
            s.segments[3 * n + 1] = (spot.grad + r * spot.grad_row + q) * job.cut.width
            s.segments[3 * n + 2] = to - q
            n += 1
    return n


cdef void find_rows(const Weight *job, const Unit *unit, const Box *box, int64_t first, int64_t last,
                    const Scratch *s) noexcept nogil:
    """Where the rows of the taps from `first` to `last` lie in the box."""
    cdef int64_t tap, k, n = 0, x, cols = s.copy.spots[0].cols.kernel, rows = s.copy.spots[0].rows.kernel
    for tap in range(first, last):
        x = (tap // (cols * rows)) * box.slab + (tap // cols) % rows * box.rows.tap * box.row + (
            tap % cols) * box.cols.tap * job.cut.pitch
        for k in range(job.depth):
            s.rows[n] = x + k
            n += 1


cdef void find_asks(const Weight *job, const Unit *unit, int64_t positions, Scratch *s) noexcept nogil:
    """What to ask memory for, for this unit, while tiles go over so many positions."""
    cdef int64_t first[2]
    cdef int64_t last[2]
    cdef int64_t other[2]
    cdef int64_t i, bytes = job.cut.channels * job.cut.tiles.itemsize, size = 0
    for i in range(2):
        newly_read(&job.cut, &job.cut.pieces[unit.first], s.copy.taps, i, first, other)
        newly_read(&job.cut, &job.cut.pieces[unit.first + unit.pieces - 1], s.copy.taps, i, other, last)
        set_ask(&s.ask[i], job.cut.x, first[0], last[0], bytes)
    set_ask(&s.ask[2], job.cut.g, first[1], last[1], job.cut.filters * job.cut.tiles.itemsize)
    if job.streams:   # its tiles ask for g themselves
        s.ask[2].at = s.ask[2].end
    for i in range(3):
        size += s.ask[i].end - s.ask[i].at
    # A line may be asked for several times, so that requests don't come faster than memory answers.
    s.step = min(LINE, max(LINE // 4, ceil_div(size, max(1, positions))))


cdef void set_ask(Ask *to, const char *array, int64_t first, int64_t last, int64_t bytes) noexcept nogil:
    to.at = array + first * bytes
    to.end = array + max(first * bytes, min(last * bytes, first * bytes + BOX_BYTES))


cdef void ask(Scratch *s, int64_t positions, convnd_weight_args *args) noexcept nogil:
    """What a tile asks memory for, that goes over so many positions; something that is in the cache at the least."""
    cdef int64_t i
    args.ask, args.ask_step = args.g, 0
    for i in range(3):
        if s.ask[i].at < s.ask[i].end and positions:
            args.ask, args.ask_step = s.ask[i].at, s.step
            s.ask[i].at += positions * args.ask_step
            return


cdef int64_t tallest(const Weight *job, int64_t first, int64_t last) noexcept nogil:
    """Of the tiles that all panels from `first` to `last` have."""
    cdef int64_t p, widest = 0
    if not job.cut.dot:
        for p in range(first, last):
            widest = max(widest, job.cut.panels[p].vectors)
    return job.cut.tiles.weight.height[widest]


cdef void sum_tile(const Weight *job, convnd_weight_args *args, int64_t first, int64_t p, int64_t tap, int64_t row,
                   int64_t height, int64_t positions, Scratch *s, char *sums) noexcept nogil:
    """`height` rows of the gradient from `row` of the tap on, of panel p, at whose rows args.x is."""
    cdef const convnd_weight_tiles *table = job.cut.tiles.weight
    cdef const Panel *panel = &job.cut.panels[p]
    cdef int64_t vectors = 0 if job.cut.dot else panel.vectors, bytes = job.cut.tiles.itemsize
    cdef convnd_weight_tile tile = table.plain[vectors][height] if job.wide else table.rows[vectors][height]
    args.g = job.cut.g + panel.filter * bytes if job.cut.in_place else (
        s.copy.g + (p - first) * job.cut.positions * job.cut.width * bytes)
    args.acc = sums + ((tap * job.depth + row) * job.cut.filters + panel.filter) * bytes
    args.rows, args.lanes = s.rows + row, panel.lanes
    ask(s, positions, args)
    tile(args)


cdef void sum_gathered(const Weight *job, convnd_weight_args *args, const char *x, int64_t first, int64_t last,
                       int64_t tap, int64_t positions, Scratch *s, char *sums) noexcept nogil:
    """A tap whose tiles' rows of x are put side by side, some tiles at a time.

    A tile's are less than a panel, which stays nearest while they go by.
    """
    cdef int64_t high = tallest(job, first, last), bytes = job.cut.tiles.itemsize, size = high * positions * bytes
    cdef int64_t at = 0, m = 0, n = ceil_div(job.depth, high), i, k, p, some, row, height = 0, x_step = args.x_step
    for k in range(args.n_segments):
        s.near_segments[3 * k], s.near_segments[3 * k + 1] = at * high, s.segments[3 * k + 1]
        s.near_segments[3 * k + 2] = s.segments[3 * k + 2]
        at += s.segments[3 * k + 2]
    args.segments, args.x_step = s.near_segments, high
    while n:
        some, row = max(1, min(n, GATHERED_BYTES // max(1, size))), m
        for i in range(some):
            height = ceil_div(job.depth - row, n - i)
            for k in range(args.n_segments):
                job.cut.tiles.weight.copy(
                    s.near + i * size + s.near_segments[3 * k] * bytes, high,
                    x + (s.segments[3 * k] + row) * bytes, x_step, s.segments[3 * k + 2], height)
            row += height
        for p in range(first, last):
            row = m
            for i in range(some):
                height = ceil_div(job.depth - row, n - i)
                args.x = s.near + i * size
                sum_tile(job, args, first, p, tap, row, height, positions, s, sums)
                row += height
        m, n = row, n - some


cdef void sum_unit(const Weight *job, const Unit *unit, const Box *box, int64_t first, int64_t last, int64_t tap,
                   int64_t taps, Scratch *s, bint fresh, char *sums) noexcept nogil:
    """Add `taps` taps of the panels from `first` to `last`.

    Unless rows are gathered, all panels take a tile's rows of x one after the other: those lie apart in the box, and a
    panel is one run.
    """
    cdef convnd_weight_args args
    cdef const char *x = job.cut.x if job.cut.x_in_place else s.copy.x
    cdef int64_t p, i, m = 0, rows = taps * job.depth, n, height, positions = 0
    args.x_step, args.g_step, args.acc_step = box.cols.out * job.cut.pitch, job.cut.width, job.cut.filters
    if job.cut.x_in_place:
        args.x_step = job.cut.window.stride[job.cut.window.rank - 1] * job.cut.pitch
    args.segments, args.n_segments = s.segments, find_segments(job, unit, box, tap if job.wide else -1, s)
    args.fresh = fresh
    if args.n_segments == 0 and not fresh:
        return
    for i in range(args.n_segments):
        positions += s.segments[3 * i + 2]
    if job.gathered:
        sum_gathered(job, &args, x, first, last, tap, positions, s, sums)
        return
    n = ceil_div(rows, tallest(job, first, last))
    while m < rows:
        height = ceil_div(rows - m, n)
        for p in range(first, last):
            args.x = x + (job.cut.panels[p].x + (m if job.wide else 0)) * job.cut.tiles.itemsize
            sum_tile(job, &args, first, p, tap, m, height, positions, s, sums)
        m += height
        n -= 1


cdef char *sums_of(const Weight *job, int64_t chunk) noexcept nogil:
    """The first chunk sums up in the result."""
    return job.partial + (chunk - 1) * job.size * job.cut.tiles.itemsize if chunk else job.out


cdef void weight_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """One chunk of the units, for some of the panels and taps."""
    cdef const Weight *job = <const Weight *>context
    cdef int64_t tap_split = index % job.tap_splits, panel_split = index // job.tap_splits % job.panel_splits
    cdef int64_t chunk = index // (job.tap_splits * job.panel_splits), u, tap, i
    cdef int64_t first = panel_split * job.cut.n_panels // job.panel_splits
    cdef int64_t last = (panel_split + 1) * job.cut.n_panels // job.panel_splits
    cdef int64_t from_ = tap_split * job.taps // job.tap_splits, to = (tap_split + 1) * job.taps // job.tap_splits
    cdef int64_t start = chunk * job.cut.n_units // job.chunks, stop = (chunk + 1) * job.cut.n_units // job.chunks
    cdef int64_t tiles_of_unit = (last - first) * ceil_div((to - from_) * job.depth, tallest(job, first, last))
    cdef char *sums = sums_of(job, chunk)
    cdef Scratch *s = &job.scratch[slot]
    cdef const Unit *unit
    cdef Box box
    for u in range(start, stop):
        unit = &job.cut.units[u]
        box = make_box(&job.cut, unit.rows, unit.cols)
        copy_unit(&job.cut, unit, &box, first, last, &s.copy)
        if u + 1 < job.cut.n_units:  # a serial run takes the next chunk's first unit next
            find_asks(job, unit + 1, tiles_of_unit * job.cut.positions, s)
        else:
            for i in range(3):
                s.ask[i].at = s.ask[i].end = NULL
        if job.wide:
            for tap in range(from_, to):
                sum_unit(job, unit, &box, first, last, tap, 1, s, u == start, sums)
        else:
            find_rows(job, unit, &box, from_, to, s)
            sum_unit(job, unit, &box, first, last, from_, to - from_, s, u == start, sums)


cdef void add_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """Add the chunks' sums of one block of the weight pairwise."""
    cdef const Weight *job = <const Weight *>context
    cdef int64_t at = index * SUM_BLOCK * job.cut.tiles.itemsize, n = min(SUM_BLOCK, job.size - index * SUM_BLOCK)
    cdef int64_t step = 1, chunk
    while step < job.chunks:
        chunk = 0
        while chunk + step < job.chunks:
            job.cut.tiles.weight.add(sums_of(job, chunk) + at, sums_of(job, chunk + step) + at, n)
            chunk += 2 * step
        step *= 2


cdef bint reads_once(const Cut *cut) noexcept nogil:
    """Whether windows don't overlap, and lie inside all samples."""
    cdef const Window *w = &cut.window
    cdef int64_t a, sample, at, last
    for a in range(w.rank):
        if (w.kernel[a] - 1) * w.dilation[a] >= w.stride[a]:
            return False
        for sample in range(cut.batch.samples):
            at = sample * w.rank + a
            last = (cut.batch.out_shapes[at] - 1) * w.stride[a] + (w.kernel[a] - 1) * w.dilation[a]
            if cut.batch.low[at] > 0 or last - cut.batch.low[at] >= cut.batch.in_shapes[at]:
                return False
    return True


cdef void choose(Weight *job, int64_t groups) noexcept nogil:
    """How the rows are summed, and what a unit holds."""
    cdef Cut *cut = &job.cut
    cdef int64_t bytes = cut.tiles.itemsize, most = 0, p
    for p in range(cut.n_panels):
        most = max(most, cut.panels[p].vectors * cut.tiles.lanes)
    cut.dot = cut.channels == 1 and cut.filters == 1
    if cut.dot and cut.window.stride[cut.window.rank - 1] > 1:    # whose tiles read one position after the other
        cut.x_in_place = False
    job.wide = job.depth >= WIDE
    cut.in_place = cut.dot or (groups == 1 and cut.filters % cut.tiles.lanes == 0 and (
        cut.n_panels == 1 or job.taps * job.depth <= FEW_TILES * cut.tiles.weight.height[2] or (
            job.taps == 1 and job.depth <= FEW_VECTORS * cut.tiles.lanes)))
    cut.width = cut.filters if cut.in_place else most
    cut.pitch = cut.channels
    if cut.pitch * bytes % (2 * LINE) == 0 and not cut.x_in_place:
        cut.pitch += LINE // bytes
    cut.positions = ALONE_POSITIONS if job.taps == 1 else POSITIONS
    cut.positions = min(cut.positions, max(LEAST_POSITIONS, GRAD_BYTES // (cut.n_panels * most * bytes)))
    # A tile or two read all of g: it need not stay in the first-level cache.
    job.streams = cut.in_place and cut.n_panels == 1 and not job.wide and not cut.dot and (
        job.taps * job.depth <= 2 * cut.tiles.weight.height[cut.panels[0].vectors])
    if job.streams:
        cut.positions = STREAM_POSITIONS
    if cut.dot:
        cut.positions = DOT_POSITIONS
    job.gathered = job.wide and groups == 1 and (cut.n_panels >= GATHER_PANELS or (cut.x_in_place and (
        (cut.n_panels >= GATHER_PANELS_APART and cut.pitch * bytes % APART == 0)
        or (cut.n_panels >= GATHER_PANELS_IN_PLACE and cut.in_place and job.depth >= GATHER_DEPTH_IN_PLACE))))


cdef bint cut_up(Weight *job, int64_t work) noexcept nogil:
    """Units, and how many tasks of which kinds; False without memory."""
    cdef Cut *cut = &job.cut
    cdef int64_t tasks = max(1, min(TASKS, work // LEAST_WORK))
    cut_units(cut)
    cut.units = <Unit *>malloc(max(1, cut.n_units) * sizeof(Unit))
    cut.pieces = <Piece *>malloc(max(1, cut.n_pieces) * sizeof(Piece))
    if not cut.units or not cut.pieces:
        return False
    cut_units(cut)
    job.chunks = min(tasks, cut.n_units, max(1, cut.n_units * cut.positions // CHUNK_POSITIONS),
                     1 + PARTIAL_BYTES // (job.size * cut.tiles.itemsize))
    # Splits of panels and taps: each copies the units anew, and no sum depends on how many there are.
    tasks = min(tasks, TASKS_A_THREAD * usable()) if usable() > 1 else 1
    job.panel_splits = min(cut.n_panels, ceil_div(tasks, job.chunks))
    job.tap_splits = min(job.taps, ceil_div(tasks, job.chunks * job.panel_splits))
    return True


cdef int64_t lines(int64_t bytes) noexcept nogil:
    return ceil_div(bytes, LINE) * LINE


cdef bint allocate(Weight *job) noexcept nogil:
    """Memory for the chunks' sums and the scratch of each slot."""
    cdef const Cut *cut = &job.cut
    cdef int64_t u, i, bytes = cut.tiles.itemsize, box = 0, pieces = 0, n = slots(), each
    cdef int64_t panels = 0 if cut.in_place else ceil_div(cut.n_panels, job.panel_splits)
    cdef int64_t grad = lines(panels * cut.positions * cut.width * bytes)
    cdef int64_t rows = 0 if job.wide else job.taps * job.depth
    cdef int64_t near = 0
    cdef char *at
    cdef Scratch *s
    for u in range(cut.n_units):
        if not cut.x_in_place:
            box = max(box, cut.units[u].pieces * make_box(cut, cut.units[u].rows, cut.units[u].cols).piece)
        pieces = max(pieces, cut.units[u].pieces)
    box = lines(box * bytes)
    if job.gathered:    # a tile of the tallest, or some
        near = lines(max(GATHERED_BYTES, cut.tiles.weight.height[1] * cut.positions * bytes))
    each = lines(box + grad + near + pieces * sizeof(Spot)
                 + ((2 + pieces) * cut.slabs + 6 * cut.positions + rows) * sizeof(int64_t))
    job.partial = <char *>malloc(max(1, (job.chunks - 1) * job.size * bytes))
    job.scratch = <Scratch *>malloc(n * (sizeof(Scratch) + each) + LINE)
    if not job.partial or not job.scratch:
        return False
    at = <char *>(job.scratch + n)
    at += LINE - <uintptr_t>at % LINE
    for i in range(n):
        s = &job.scratch[i]
        s.copy.x = at + i * each
        s.copy.g = s.copy.x + box
        s.near = s.copy.g + grad
        s.copy.spots = <Spot *>(s.near + near)
        s.copy.taps = <int64_t *>(s.copy.spots + pieces)
        s.segments = s.copy.taps + 2 * cut.slabs
        s.near_segments = s.segments + 3 * cut.positions
        s.rows = s.near_segments + 3 * cut.positions
        s.copy.found = s.rows + rows
    return True


def conv_weight(const real[:, ::1] x, const real[:, ::1] g, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, int64_t groups,
                real[:, :, ::1] weight):
    """weight (taps, C / groups, F) = sum over samples and outputs of x at each tap times g."""
    cdef Weight job
    cdef Cut *cut = &job.cut
    cdef bint done = False
    cdef int64_t work
    job.size = weight.shape[0] * weight.shape[1] * weight.shape[2]
    if job.size == 0:
        return
    if g.shape[0] == 0:
        weight[:, :, :] = 0
        return
    cut.tiles = tiles(sizeof(real))
    read_window(&cut.window, geometry, False)
    job.taps = count_taps(&cut.window)
    cut.slabs = job.taps // cut.window.kernel[cut.window.rank - 1]
    if cut.window.rank > 1:
        cut.slabs //= cut.window.kernel[cut.window.rank - 2]
    cut.channels, cut.filters = x.shape[1], g.shape[1]
    job.depth = cut.channels // groups
    cut.batch.samples = in_shapes.shape[0]
    cut.batch.in_shapes, cut.batch.out_shapes, cut.batch.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    cut.batch.in_offsets, cut.batch.out_offsets = &in_offsets[0], &out_offsets[0]
    cut.x_in_place = (job.taps == 1 or job.depth >= WIDE) and reads_once(cut)
    cut.x, cut.g, job.out = <const char *>&x[0, 0], <const char *>&g[0, 0], <char *>&weight[0, 0, 0]
    cut.units, cut.pieces, job.partial, job.scratch = NULL, NULL, NULL, NULL
    with nogil:
        cut.panels = make_panels(
            cut.tiles, groups, job.depth, cut.filters // groups, job.taps, FILTERS, &cut.n_panels)
        if cut.panels:
            choose(&job, groups)
            work = g.shape[0] * cut.filters * job.taps * job.depth
            done = cut_up(&job, work) and allocate(&job)
        if done:
            parallel_for(weight_task, &job, job.chunks * job.panel_splits * job.tap_splits, work)
            parallel_for(add_task, &job, ceil_div(job.size, SUM_BLOCK), job.size * (job.chunks - 1))
        free(cut.panels)
        free(cut.units)
        free(cut.pieces)
        free(job.partial)
        free(job.scratch)
    if not done:
        raise MemoryError("no memory for the tasks of a weight gradient")
