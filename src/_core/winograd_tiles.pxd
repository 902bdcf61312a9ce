"""Tiles of Winograd's convolution: where they lie in their samples, and the memory that the next ones read."""

from libc.stdint cimport int64_t

from convnd._core.counted cimport Counted
from convnd._core.isa cimport convnd_tiles, convnd_winograd_args, convnd_winograd_axis
from convnd._core.panels cimport Panel
from convnd._core.plan cimport MAX_RANK

cdef enum:
    ASK_LINE = 64   # bytes that memory is asked for at a time

# A side of which every phase of a stride has channels of its own: its array still has one position after the other.
cdef class Fold:
    cdef bint of_output     # or of the input
    cdef int64_t phases
    cdef int64_t stride[MAX_RANK]
    cdef const int64_t *shapes
    cdef const int64_t *ends    # of the positions that count
    cdef const int64_t *offsets
    cdef const int64_t *low     # positions that there would have to be before the first
    cdef object kept            # the arrays that these point into

cdef struct Ahead:      # runs of lines of memory, and the next line
    const char **at
    int64_t *first      # number of a run's first line; (runs + 1,)
    int64_t runs
    int64_t run, line, end

cdef struct Winograd:
    const convnd_tiles *tiles
    const char *x
    const char *x_end
    const char *grad        # of the output, for the weight gradient
    const char *grad_end
    const char *w           # packed frequencies of the weight; of its gradient
    const char *start       # the bias, in the places of the panels' lanes
    char *out
    char *scratch           # each slot's share, or all of the weight gradient's
    int64_t scratch_size
    int64_t runs[2]         # of a product: from the start
    int64_t rank, samples
    int64_t channels, filters, groups, depth
    int64_t row, grad_row   # numbers of a tile's input and output at one frequency, whole vectors
    int64_t tile_step, grad_tile_step   # from a tile's frequencies to the next tile's
    int64_t frequencies, block, total
    int64_t activation
    bint streams            # outputs, or weights, go past the caches
    bint asks               # memory is asked for what comes next
    bint asks_along         # and by a tile for what the next of its row reads
    int64_t n_panels
    Panel *panels
    convnd_winograd_axis axes[4]
    int64_t outputs[MAX_RANK]   # of a tile, dilation, and the axis's place among those transformed, or -1
    int64_t dilation[MAX_RANK]
    int64_t place[MAX_RANK]
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *low
    const int64_t *in_offsets
    const int64_t *out_offsets
    int64_t in_unit, in_step    # numbers of a position that in_offsets count, and from an input to the next
    int64_t in_phases, out_phases   # 1, but of a folded side
    const int64_t *stride           # of it
    const int64_t *plain_shapes
    const int64_t *plain_ends
    const int64_t *plain_offsets
    const int64_t *plain_low
    int64_t *first_tile     # (samples + 1,)
    int64_t tile, tiles_at_once   # of the weight gradient: those summed up now
    int64_t begin           # the first tile of these sums
    int64_t chunk           # tiles of a chunk
    int64_t sums            # numbers of the sums
    Ahead ahead             # what the tiles after those read
    Counted counted         # of the convolution, if its outputs' moments are wanted

cdef struct Spot:       # a tile's sample, its place there, and the sample's tiles on each axis
    int64_t sample
    int64_t at[MAX_RANK]
    int64_t tiles[MAX_RANK]


cdef void find_tile(const Winograd *job, int64_t tile, Spot *spot) noexcept nogil
cdef bint next_tile(const Winograd *job, Spot *spot) noexcept nogil
cdef void locate_next(const Winograd *job, const Spot *spot, bint along, bint of_output, int64_t phase,
                      int64_t channels, convnd_winograd_args *args, int64_t *at) noexcept nogil
cdef int64_t box(const convnd_winograd_args *args) noexcept nogil
cdef void read_fold(Winograd *job, Fold fold)
cdef void count_tiles(Winograd *job) noexcept nogil

cdef int64_t ahead_bytes(const Winograd *job, int64_t tiles) noexcept nogil
cdef void begin_ahead(const Winograd *job, int64_t tiles, char *memory, Ahead *ahead) noexcept nogil
cdef void look_ahead(const Winograd *job, int64_t first, int64_t end, bint of_output, const char *array,
                     Ahead *ahead) noexcept nogil
cdef Ahead share_of(const Ahead *whole, int64_t index, int64_t count) noexcept nogil
cdef int64_t take_lines(Ahead *ahead, int64_t most, const char **at) noexcept nogil
