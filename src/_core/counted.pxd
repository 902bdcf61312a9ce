"""The moments of a convolution's outputs, counted by its tasks while they have them in the cache."""

from libc.stdint cimport int64_t

from convnd._core.isa cimport convnd_moments, convnd_tiles
from convnd._core.panels cimport Panel

# What each task has counted: the moments of the outputs by lane, in the panels' order, and how many outputs.
cdef struct Counted:
    char *moments   # (tasks, 3, lanes); NULL: nothing is counted
    int64_t *rows
    int64_t lanes

# What a task has counted of some lanes.
cdef struct Tally:
    convnd_moments moments
    int64_t rows

cdef bint make_counted(Counted *counted, int64_t tasks, int64_t lanes, int64_t itemsize) noexcept nogil
cdef void free_counted(Counted *counted) noexcept nogil

# What a task counts from a lane on.
cdef Tally tally_of(const Counted *counted, int64_t task, int64_t lane, int64_t itemsize) noexcept nogil

# Count in some rows of so many lanes, and store them to `to` unless that is NULL, past the caches. Moments are
# stored in whole vectors: the lanes after these are for later.
cdef void count_in(const convnd_tiles *tiles, Tally *tally, int64_t lanes, const char *x, int64_t x_step, char *to,
                   int64_t to_step, int64_t rows) noexcept nogil

# Join all tasks' in their order: to means and squared deviations (2, filters).
cdef void join_counted(const Counted *counted, int64_t tasks, const Panel *panels, int64_t n_panels, int64_t itemsize,
                       int64_t filters, double *moments) noexcept nogil
