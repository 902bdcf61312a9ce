"""Panels of filters and packed weights, which all of convolution shares."""

from libc.stdint cimport int64_t

from convnd._core.isa cimport convnd_tiles
from convnd._core.plan cimport Window

# What the lanes of a vector are: filters; input channels (tile/narrow.h's dot); the filters of several groups.
cdef enum Lanes:
    FILTERS = 0
    CHANNELS = 1
    GROUPS = 2

cdef struct Panel:
    int64_t x       # first input channel
    int64_t filter  # first filter
    int64_t lanes   # filters
    int64_t vectors  # sums of a position
    int64_t size    # weights of a tap and channel, with what fills the last vector
    int64_t pack    # where it starts in the packed weight
    int64_t start   # where its bias starts among all lanes

# The batch that a window slides over: shapes and low are (samples, rank), offsets (samples + 1).
cdef struct Batch:
    int64_t samples
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *low
    const int64_t *in_offsets
    const int64_t *out_offsets

# Whether all samples are alike, and lie one after the other.
cdef bint uniform(const Batch *batch, int64_t rank) noexcept nogil

# What a driver needs to know beside its arrays: made once for all calls that share it. The window of a transposed
# convolution is that of the convolution it is the adjoint of; channels are those of its input, filters of its output.
cdef class Geometry:
    cdef Window window
    cdef Batch batch
    cdef int64_t taps, taps_of_one, channels, filters, groups, itemsize     # of the weight; of the kernel
    cdef object kept    # the arrays that batch points into

# Where an array's numbers begin. The array is C-contiguous, and somebody holds it. (A typed memoryview costs more than
# a small convolution.)
cdef const char *values(object array) except NULL
cdef char *values_to_fill(object array) except NULL

# The panels of a weight, to be freed; NULL without memory. `filters` are those of a group.
cdef Panel *make_panels(const convnd_tiles *t, int64_t groups, int64_t depth, int64_t filters, int64_t taps,
                        Lanes kind, int64_t *n_panels) noexcept nogil

# From rows of kernel, stride, dilation and, of a tiled convolution, tile.
cdef void read_window(Window *window, const int64_t[:, ::1] geometry, bint transposed) noexcept nogil

# Of the weight; and of the kernel, which is less if there is a tile.
cdef int64_t count_taps(const Window *window) noexcept nogil
cdef int64_t count_window(const Window *window) noexcept nogil

# The place in the pack of a tap: the same, or by class and descending for the transposed one (see plan).
cdef int64_t packed_tap(const Window *window, int64_t tap) noexcept nogil
