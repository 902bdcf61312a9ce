"""Blocks of samples and their transforms."""

from libc.stdint cimport int64_t, uintptr_t

from convnd._core.isa cimport convnd_tiles
from convnd._core.plan cimport MAX_RANK

# Boxes that a sample is cut into, and the way from positions to a box's points.
cdef struct Boxes:
    const convnd_tiles *tiles
    int64_t rank, points
    const int64_t *base     # of each box: its sample's first position, and the sample's shape
    const int64_t *shapes
    const int64_t *first    # position i of an axis is at point i step - first, if that is in 0 ... limit
    const int64_t *step
    const int64_t *limit
    const int64_t *size     # of a box on each axis
    int64_t channels        # of a position
    int64_t parts, part     # groups of channels that are moved, of so many each
    int64_t padded          # numbers of a box from one of them to the next
    int64_t width           # numbers of a box from one point to the next
    int64_t numbers         # of a box

# Room for vectors, LINE bytes longer than what is needed, from its first whole cache line on: a vector on the edge of
# two takes twice as long.
cdef enum:
    LINE = 64

cdef inline char *line_of(char *room) noexcept nogil:
    return room + LINE - <uintptr_t>room % LINE if room else NULL

cdef struct Transforms:     # along all axes of a box
    const convnd_tiles *tiles
    int64_t rank, points, longest
    int64_t size[MAX_RANK]
    const int64_t *radices[MAX_RANK]
    const char *twiddles[MAX_RANK]

cdef void read_boxes(Boxes *boxes, const convnd_tiles *t, const int64_t[::1] base, const int64_t[:, ::1] shapes,
                     const int64_t[:, ::1] first, const int64_t[:, ::1] geometry) noexcept nogil

# A box filled from its sample, with zeros where that has no position; and the sample's positions that a box has.
cdef void fill_box(const Boxes *boxes, int64_t row, const char *values, char *box) noexcept nogil
cdef void empty_box(const Boxes *boxes, int64_t row, const char *box, char *values) noexcept nogil

# The same of activation(box scale + shift), by channel; box is used up.
cdef void scale_and_empty(const Boxes *boxes, int64_t row, char *box, const char *scale, const char *shift,
                          int64_t activation, char *values) noexcept nogil

cdef void read_transforms(Transforms *all, const convnd_tiles *t, const int64_t[::1] size, const int64_t[::1] radices,
                          const char *twiddles) noexcept nogil

# In place, along every axis of a box of so many columns; scratch for `longest` points, four vectors each.
cdef void transform_box(const Transforms *all, char *box, int64_t columns, char *scratch) noexcept nogil
