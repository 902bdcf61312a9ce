"""What Winograd's convolution and its weight gradient share: the operation, and panels of its weight."""

from libc.stdint cimport int64_t

from convnd._core.isa cimport convnd_winograd_args
from convnd._core.panels cimport Panel
from convnd._core.winograd_tiles cimport Winograd

cdef enum:
    SKEW = 16       # numbers between the frequencies' arrays, so that they don't all fall on one set of the cache
    PACK_WORK = 32  # what a frequency of a weight costs, in multiply-adds

cdef struct Pack:
    Winograd *job
    const char *from_
    char *to
    bint transposed     # from_ is (taps, filters / groups, channels)
    bint flip
    int64_t taps
    int64_t pieces      # of a panel
    int64_t size        # of all, numbers
    char *scratch       # each slot's: the weights of a piece


cdef bint on_one_axis(const Winograd *job) noexcept nogil
cdef bint in_row(const Winograd *job) noexcept nogil
cdef void panel_args(const Pack *pack, const Panel *panel, convnd_winograd_args *args) noexcept nogil
cdef int64_t setup(Winograd *job, int64_t itemsize, const int64_t[:, ::1] geometry, const int64_t[::1] outputs,
                   int64_t channels, int64_t filters, int64_t groups) noexcept nogil
