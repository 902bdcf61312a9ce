"""Blocks of a convolution row by row: where they lie, and what they read, which its weight gradient shares."""

from libc.stdint cimport int64_t

from convnd._core.counted cimport Counted
from convnd._core.isa cimport convnd_rowwise_tile, convnd_rowwise_tiles, convnd_tiles
from convnd._core.plan cimport MAX_RANK

cdef enum:
    EIGHT = 8   # numbers of an input's frequencies

cdef struct Rowwise:
    const convnd_tiles *tiles
    const convnd_rowwise_tiles *row_tiles
    const char *x
    const char *w
    const char *start       # the bias, whole panels
    char *out
    char *scratch           # each slot's share
    int64_t scratch_size
    int64_t rank, samples
    int64_t kernel[MAX_RANK]    # of the other axes
    int64_t stride[MAX_RANK]
    int64_t dilation[MAX_RANK]
    int64_t step, apart     # of the last: its stride; outputs from one tap to the next,
    int64_t reach           # and the positions that an output's window covers
    int64_t alpha, outputs  # of a tile
    int64_t channels, filters
    int64_t width           # numbers that a tap reads side by side
    bint wide               # they are made to frequencies by the vector
    int64_t n_runs          # taps of the other axes
    int64_t n_panels, panel     # of filters; numbers of one of w
    int64_t activation
    bint streams
    bint asks               # memory is asked for what comes next
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *low
    const int64_t *in_offsets
    const int64_t *out_offsets
    int64_t *extents        # (samples, rank): outputs of a block on each axis, of the last tiles
    int64_t *first_block    # (samples + 1,)
    int64_t tiles_at        # in a slot's scratch, behind the frequencies: a block's tiles,
    int64_t runs_at         # the taps' rows,
    int64_t line_at         # and a row whose windows go beyond it
    Counted counted
    const char *grad        # of the output, for the weight's gradient
    int64_t depth           # rows of a panel's sums
    int64_t gradients_at    # in a slot's scratch: frequencies of gradients, and the places of rows
    int64_t rows_at
    char *sums              # (chunks, panels, rows, alpha, lanes)
    int64_t chunks, chunk   # and the numbers of a chunk's
    int64_t parts           # of the panels, which are tasks of their own

# Some rows of a sample's outputs.
cdef struct Block:
    int64_t sample
    int64_t first[MAX_RANK]     # output on each axis; of the last, tile
    int64_t count[MAX_RANK]
    int64_t rows[MAX_RANK]      # of inputs that they read


# Where a panel of filters begins. The last one holds filters of the one before it again, so that panels are whole.
cdef int64_t panel_filter(int64_t p, int64_t filters, int64_t lanes) noexcept nogil

# The tiles for so many filters.
cdef const convnd_rowwise_tiles *tiles_for(int64_t itemsize, int64_t filters) noexcept nogil

# Of a row, a block has so many tiles at least: two or four products', or a tall one's.
cdef int64_t least_tiles(const convnd_rowwise_tiles *table, int64_t alpha) noexcept nogil

cdef void read_geometry(Rowwise *job, int64_t itemsize, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
                        int64_t alpha, int64_t channels, int64_t filters) noexcept nogil

# Blocks of all samples, and the scratch that the largest takes; returns how many tiles there are.
cdef int64_t cut_blocks(Rowwise *job) noexcept nogil
cdef void find_block(const Rowwise *job, int64_t index, Block *block) noexcept nogil

# What tiles of a row read, less the padding before it: how many numbers, and the first position.
cdef int64_t line_numbers(const Rowwise *job, int64_t tile, int64_t count, int64_t *first) noexcept nogil

# All rows that a block reads, to their frequencies.
cdef void transform_rows(const Rowwise *job, const Block *block, char *data) noexcept nogil

# The tiles of a block that have outputs, in whole groups; returns how many.
cdef int64_t list_tiles(const Rowwise *job, const Block *block, convnd_rowwise_tile *tile) noexcept nogil

# Where the rows of the other axes' taps lie, from a tile's first.
cdef void list_runs(const Rowwise *job, const Block *block, int64_t *runs) noexcept nogil
