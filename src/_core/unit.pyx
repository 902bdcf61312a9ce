# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Units of outputs, and boxes: copies of what a unit reads. See unit.pxd."""

from libc.string cimport memset

from convnd._core.plan cimport MAX_RANK, ceil_div, floor_div, outer_taps, place


cdef int64_t find_axes(const Cut *cut, int64_t sample, Axis *axes) noexcept nogil:
    """The axes of a sample, at least two; returns how many."""
    cdef int64_t rank = cut.window.rank, more = 1 if rank == 1 else 0
    if more:
        axes[0].count = axes[0].in_size = axes[0].in_step = axes[0].base_step = axes[0].taps = axes[0].kernel = 1
        axes[0].base = 0
    place(&cut.window, 0, cut.batch.in_shapes + sample * rank, cut.batch.out_shapes + sample * rank,
          cut.batch.low + sample * rank, axes + more)
    return rank + more


cdef Spread spread(int64_t outputs, int64_t stride, int64_t kernel, int64_t dilation, bint dense) noexcept nogil:
    """The shorter way; `dense`: an output's input follows that of the output before."""
    cdef Spread s
    s.length = (outputs - 1) * stride + (kernel - 1) * dilation + 1
    s.joined = s.length <= kernel * outputs and not (dense and stride > 1)
    if s.joined:
        s.tap, s.out = dilation, stride
    else:
        s.tap, s.out, s.length = outputs, 1, kernel * outputs
    return s


cdef Box make_box(const Cut *cut, int64_t rows, int64_t cols) noexcept nogil:
    """The box of pieces of at most that many rows and columns."""
    cdef Box box
    cdef const Window *w = &cut.window
    cdef int64_t a = w.rank - 1
    box.cols = spread(cols, w.stride[a], w.kernel[a], w.dilation[a], cut.dot)
    if a > 0:
        box.rows = spread(rows, w.stride[a - 1], w.kernel[a - 1], w.dilation[a - 1], False)
    else:
        box.rows = spread(1, 1, 1, 1, False)
    box.row = box.cols.length * cut.pitch
    box.slab = box.rows.length * box.row
    box.piece = cut.slabs * box.slab
    return box


cdef int64_t evenly(int64_t size, int64_t most) noexcept nogil:
    """The size of the fewest parts of about one size, none above `most`."""
    return ceil_div(size, ceil_div(size, most))


cdef void largest_piece(const Cut *cut, int64_t height, int64_t width, Unit *unit) noexcept nogil:
    """Rows and columns of the pieces of a sample with so many."""
    unit.cols = evenly(width, cut.positions)
    unit.rows = evenly(height, max(1, cut.positions // unit.cols))
    while (unit.rows > 1 or unit.cols > 1) and (
            make_box(cut, unit.rows, unit.cols).piece * cut.tiles.itemsize > BOX_BYTES):
        if unit.rows > 1:
            unit.rows = (unit.rows + 1) // 2
        else:
            unit.cols = (unit.cols + 1) // 2


cdef void cut_units(Cut *cut) noexcept nogil:
    """Cut the outputs into pieces and these into units; only count both while there is no memory for them."""
    cdef int64_t sample, outers, a, n, per, parts, height, width, positions = 0, rank = cut.window.rank
    cdef const int64_t *shape
    cdef Unit unit, most
    cdef Piece piece
    cut.n_units, cut.n_pieces = 0, 0
    unit.first, unit.pieces = 0, 0
    for sample in range(cut.batch.samples):
        shape = cut.batch.out_shapes + sample * rank
        width, height, outers = shape[rank - 1], shape[rank - 2] if rank > 1 else 1, 1
        for a in range(rank - 2):
            outers *= shape[a]
        if outers * height * width == 0:
            continue
        largest_piece(cut, height, width, &most)
        parts = ceil_div(width, most.cols)
        per = ceil_div(height, most.rows) * parts
        for n in range(outers * per):
            piece.sample, piece.outer = sample, n // per
            piece.row, piece.col = n % per // parts * most.rows, n % parts * most.cols
            piece.rows, piece.cols = min(most.rows, height - piece.row), min(most.cols, width - piece.col)
            positions += piece.rows * piece.cols
            if unit.pieces == 0 or positions > cut.positions or not join(cut, &unit, &piece):
                unit.first, unit.pieces = cut.n_pieces, 1
                unit.rows, unit.cols = piece.rows, piece.cols
                positions = piece.rows * piece.cols
                cut.n_units += 1
            if cut.units:
                cut.units[cut.n_units - 1] = unit
                cut.pieces[cut.n_pieces] = piece
            cut.n_pieces += 1


cdef bint join(const Cut *cut, Unit *unit, const Piece *piece) noexcept nogil:
    """Take one more piece into the unit, if its box has room."""
    cdef int64_t rows = max(unit.rows, piece.rows), cols = max(unit.cols, piece.cols)
    if (unit.pieces + 1) * make_box(cut, rows, cols).piece * cut.tiles.itemsize > BOX_BYTES:
        return False
    unit.pieces += 1
    unit.rows, unit.cols = rows, cols
    return True


cdef void copy_run(const Cut *cut, char *to, const char *x, int64_t first, int64_t step, int64_t count,
                   int64_t size) noexcept nogil:
    """Positions first, first + step ... of an axis: its `size` positions begin at x; zeros where there is none."""
    cdef int64_t bytes = cut.tiles.itemsize, position = cut.pitch * bytes
    cdef int64_t start = min(count, max(0, ceil_div(-first, step)))
    cdef int64_t stop = max(start, min(count, floor_div(size - 1 - first, step) + 1))
    memset(to, 0, start * position)
    if start < stop:
        cut.tiles.weight.copy(to + start * position, cut.pitch, x + (first + start * step) * cut.channels * bytes,
                              step * cut.channels, stop - start, cut.channels)
    memset(to + stop * position, 0, (count - stop) * position)


cdef void copy_row(const Cut *cut, const Box *box, const Piece *piece, const Axis *axis, const char *x,
                   char *to) noexcept nogil:
    """What the piece's columns read of an input row."""
    cdef int64_t first = axis.base + piece.col * axis.in_step, j
    if box.cols.joined:
        copy_run(cut, to, x, first, 1, (piece.cols - 1) * axis.in_step + (axis.kernel - 1) * axis.base_step + 1,
                 axis.in_size)
        return
    for j in range(axis.kernel):
        copy_run(cut, to + j * box.cols.tap * cut.pitch * cut.tiles.itemsize, x, first + j * axis.base_step,
                 axis.in_step, piece.cols, axis.in_size)


cdef void copy_x(const Cut *cut, const Box *box, const Piece *piece, const Spot *spot, const int64_t *taps,
                 int64_t n_taps, char *to) noexcept nogil:
    """What the piece reads at the taps of the axes before the last two that lie inside the sample."""
    cdef int64_t bytes = cut.tiles.itemsize, e, i, n, r, h
    cdef const Axis *axis = &spot.rows
    cdef const char *sample = cut.x + cut.batch.in_offsets[piece.sample] * cut.channels * bytes
    cdef char *row
    if n_taps < cut.slabs:
        memset(to, 0, box.piece * bytes)
    n = (piece.rows - 1) * axis.in_step + (axis.kernel - 1) * axis.base_step + 1 if box.rows.joined else box.rows.length
    for e in range(n_taps):
        for i in range(n):
            r = 0 if box.rows.joined else i % box.rows.tap
            h = axis.base + (piece.row + r) * axis.in_step + (
                i if box.rows.joined else (i // box.rows.tap) * axis.base_step)
            row = to + (taps[2 * e + 1] * box.slab + i * box.row) * bytes
            if 0 <= h < axis.in_size and r < piece.rows:
                copy_row(cut, box, piece, &spot.cols,
                         sample + (taps[2 * e] * axis.in_size + h) * spot.cols.in_size * cut.channels * bytes, row)
            else:
                memset(row, 0, box.row * bytes)


cdef void copy_g(const Cut *cut, const Piece *piece, const Spot *spot, int64_t first, int64_t last,
                 char *to) noexcept nogil:
    """The piece's outputs in panels."""
    cdef int64_t bytes = cut.tiles.itemsize, r, p, at, put
    cdef const Panel *panel
    for r in range(piece.rows):
        at = (piece.outer * spot.rows.count + piece.row + r) * spot.cols.count + piece.col
        at += cut.batch.out_offsets[piece.sample]
        for p in range(first, last):
            panel = &cut.panels[p]
            put = (p - first) * cut.positions + spot.grad + r * spot.grad_row
            cut.tiles.weight.copy(to + put * cut.width * bytes, cut.width,
                                  cut.g + (at * cut.filters + panel.filter) * bytes, cut.filters,
                                  piece.cols, panel.lanes)


cdef void copy_unit(const Cut *cut, const Unit *unit, const Box *box, int64_t first, int64_t last,
                    const Copy *s) noexcept nogil:
    """x of the unit and the panels from `first` to `last` of its g."""
    cdef int64_t i, e, n, rank, at = 0, bytes = cut.tiles.itemsize
    cdef Axis axes[MAX_RANK + 1]
    cdef const Piece *piece
    cdef Spot *spot
    for i in range(unit.pieces):
        piece = &cut.pieces[unit.first + i]
        spot = &s.spots[i]
        rank = find_axes(cut, piece.sample, axes)
        spot.rows, spot.cols = axes[rank - 2], axes[rank - 1]
        n = outer_taps(rank - 1, axes, piece.outer, s.taps)
        for e in range(cut.slabs):
            s.found[i * cut.slabs + e] = -1
        for e in range(n):
            s.found[i * cut.slabs + s.taps[2 * e + 1]] = s.taps[2 * e]
        if not cut.x_in_place:
            copy_x(cut, box, piece, spot, s.taps, n, s.x + i * box.piece * bytes)
        if cut.in_place:
            spot.grad_row = spot.cols.count
            spot.grad = cut.batch.out_offsets[piece.sample] + (
                piece.outer * spot.rows.count + piece.row) * spot.cols.count + piece.col
        else:
            spot.grad, spot.grad_row = at, piece.cols
            copy_g(cut, piece, spot, first, last, s.g)
        at += piece.rows * piece.cols


cdef void newly_read(const Cut *cut, const Piece *piece, int64_t *taps, int64_t back, int64_t *first,
                     int64_t *last) noexcept nogil:
    cdef Axis axes[MAX_RANK + 1]
    cdef int64_t rank = find_axes(cut, piece.sample, axes), n = outer_taps(rank - 1, axes, piece.outer, taps)
    cdef const Axis *rows = &axes[rank - 2]
    cdef const Axis *cols = &axes[rank - 1]
    cdef int64_t outer = taps[2 * (n - back) - 2] if n > back else 0
    cdef bint new = back == 0 or (n > back and rank > 2 and back < axes[rank - 3].in_step)
    cdef int64_t row = (piece.row + piece.rows - 1) * rows.in_step + rows.base + (rows.kernel - 1) * rows.base_step
    cdef int64_t col = (piece.col + piece.cols - 1) * cols.in_step + cols.base + (cols.kernel - 1) * cols.base_step
    cdef int64_t fresh_rows = piece.rows * rows.in_step if piece.row else row + 1
    cdef int64_t fresh_cols = piece.cols * cols.in_step if piece.col else col + 1
    if piece.cols < cols.count:
        fresh_rows = 1
    row, col = min(row, rows.in_size - 1) + outer * rows.in_size, min(col, cols.in_size - 1)
    last[0] = cut.batch.in_offsets[piece.sample] + row * cols.in_size + col + 1
    first[0] = max(cut.batch.in_offsets[piece.sample], last[0] - (fresh_rows - 1) * cols.in_size - fresh_cols)
    if not new:
        first[0] = last[0]
    last[1] = cut.batch.out_offsets[piece.sample] + (
        (piece.outer * rows.count + piece.row + piece.rows - 1) * cols.count + piece.col + piece.cols)
    first[1] = last[1] - (piece.rows - 1) * cols.count - piece.cols
