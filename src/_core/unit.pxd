"""A batch's outputs cut into units, and what a unit reads copied into a box that stays in the second-level cache.

In a box x has zeros where the window lies outside a sample, positions lie apart so that they share no sets of the
first-level cache, and g is in panels. So a tap is an offset, and edges and strides cost a kernel nothing.
"""

from libc.stdint cimport int64_t

from convnd._core.isa cimport convnd_tiles
from convnd._core.panels cimport Batch, Panel
from convnd._core.plan cimport Axis, Window

cdef enum:
    LINE = 64               # bytes of a cache line
    BOX_BYTES = 512 * 1024  # of a unit's box, unless one output reads more

cdef struct Piece:      # `rows` rows from `row` on along the last axis but one, of `cols` columns from `col` on
    int64_t sample
    int64_t outer       # where they lie on the axes before those two
    int64_t row, rows, col, cols

cdef struct Unit:
    int64_t first, pieces
    int64_t rows, cols  # of the largest piece

cdef struct Spread:     # how the inputs of an axis lie in a box
    bint joined         # one after the other, else those of each tap on their own
    int64_t tap, out    # from one tap's inputs to the next's, and from one output's
    int64_t length

cdef struct Box:        # [piece][taps of the axes before the last two][row][column][channel]
    Spread rows, cols
    int64_t row, slab, piece    # numbers from one to the next

cdef struct Spot:       # a piece of the unit at hand
    Axis rows, cols
    int64_t grad        # its first position in g, and from one row to the next
    int64_t grad_row

cdef struct Copy:       # of a unit
    char *x
    char *g
    Spot *spots
    int64_t *taps       # pairs, as outer_taps gives them
    int64_t *found      # [piece][tap of the axes before the last two]: its input row there, -1 outside the sample

cdef struct Cut:
    const convnd_tiles *tiles
    const char *x
    const char *g
    int64_t channels, filters
    int64_t pitch       # numbers from one position to the next in a box
    int64_t slabs       # taps of the axes before the last two
    int64_t width       # numbers of a position in a panel of g
    bint dot            # one channel and one filter
    bint in_place       # g is read where it lies
    bint x_in_place     # and so is x, no position of which is read twice, or lies outside a sample
    int64_t positions   # most of a unit
    int64_t n_panels
    Panel *panels
    Window window
    Batch batch
    int64_t n_units, n_pieces
    Unit *units
    Piece *pieces

# Count units and pieces, and fill in as many as there is memory for: all or none.
cdef void cut_units(Cut *cut) noexcept nogil

# The box of pieces of at most that many rows and columns.
cdef Box make_box(const Cut *cut, int64_t rows, int64_t cols) noexcept nogil

# Copy x of the unit, and the panels from `first` to `last` of its g.
cdef void copy_unit(const Cut *cut, const Unit *unit, const Box *box, int64_t first, int64_t last,
                    const Copy *s) noexcept nogil

# About the positions of x that the piece reads and no piece before it did, and of its outputs: [x, g]. Those of x are
# on the outer axes' last tap, or `back` taps before it if that is new as well.
cdef void newly_read(const Cut *cut, const Piece *piece, int64_t *taps, int64_t back, int64_t *first,
                     int64_t *last) noexcept nogil
