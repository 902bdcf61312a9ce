# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Depthwise convolutions by transforms (see spectrum): a block of one column of channels at a time, start to end.

A pair's channels have weights of their own: V[-k] = A Z[-k] + B conj Z[k] with A = (Wa + Wb) / 2 and B = (Wa - Wb) / 2,
all of A, B, Wa and Wb at -k.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from convnd._core.isa cimport tiles
from convnd._core.spectrum cimport (
    LINE, Boxes, Transforms, empty_box, fill_box, line_of, read_boxes, read_transforms, transform_box)
from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

# What a number costs in multiply-adds of a convolution.
cdef int64_t COST = 128
# A task takes neighbouring columns, since memory is read a few lines at a time: so many bytes of blocks, or one.
cdef int64_t TASK_BYTES = 128 * 1024

cdef struct Depthwise:
    Boxes source, target
    Transforms transforms
    const int64_t *negative
    const char *x
    char *out               # or the gradient of the output
    const char *matrices    # (columns, points, 4 vectors)
    char *sums              # (parts, columns, points, 2 vectors)
    const char *scale
    const char *shift
    char *scratch
    int64_t scratch_size
    int64_t rows, parts, activation
    int64_t columns         # in all,
    int64_t whole           # those that have all channels,
    int64_t together        # of a task,
    int64_t groups          # and the tasks that a block makes


cdef int64_t first_column(const Depthwise *job, int64_t group) noexcept nogil:
    """A column that isn't whole is a group of its own."""
    return min(group * job.together, job.whole) if group < job.groups else job.columns


cdef Boxes some_columns(const Depthwise *job, const Boxes *boxes, int64_t group) noexcept nogil:
    """The boxes of a group of columns, each column by itself."""
    cdef Boxes some = boxes[0]
    some.width = 2 * boxes.tiles.lanes
    some.parts = first_column(job, group + 1) - first_column(job, group)
    some.part = min(some.width, boxes.channels - first_column(job, group) * some.width)
    some.padded = boxes.points * some.width
    some.numbers = some.parts * some.padded
    return some


cdef void convolve_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Depthwise *job = <const Depthwise *>context
    cdef int64_t row = index // job.groups, group = index % job.groups, points = job.transforms.points, c
    cdef Boxes source = some_columns(job, &job.source, group), target = some_columns(job, &job.target, group)
    cdef int64_t bytes_ = source.width * source.tiles.itemsize, at = first_column(job, group) * bytes_
    cdef char *blocks = job.scratch + slot * job.scratch_size
    cdef char *scratch = blocks + source.parts * points * bytes_
    cdef char *z
    fill_box(&source, row, job.x + at, blocks)
    for c in range(source.parts):
        z = blocks + c * points * bytes_
        transform_box(&job.transforms, z, 1, scratch)
        source.tiles.spectrum.multiply(z, job.matrices + 2 * points * (at + c * bytes_), job.negative, points)
        transform_box(&job.transforms, z, 1, scratch)
        source.tiles.pointwise.scale_shift(z, job.scale + at + c * bytes_, job.shift + at + c * bytes_, z,
                                           points * source.width, source.width, job.activation, False)
    empty_box(&target, row, blocks, job.out + at)


cdef void correlate_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    """A part of the rows, one after the other."""
    cdef const Depthwise *job = <const Depthwise *>context
    cdef int64_t part = index // job.groups, group = index % job.groups, points = job.transforms.points, row, c, box
    cdef Boxes source = some_columns(job, &job.source, group), target = some_columns(job, &job.target, group)
    cdef int64_t bytes_ = source.width * source.tiles.itemsize, first = first_column(job, group)
    cdef char *z = job.scratch + slot * job.scratch_size
    cdef char *h = z + source.parts * points * bytes_
    cdef char *scratch = h + source.parts * points * bytes_
    for row in range(part * job.rows // job.parts, (part + 1) * job.rows // job.parts):
        fill_box(&source, row, job.x + first * bytes_, z)
        fill_box(&target, row, job.out + first * bytes_, h)
        for c in range(source.parts):
            box = c * points * bytes_
            transform_box(&job.transforms, z + box, 1, scratch)
            transform_box(&job.transforms, h + box, 1, scratch)
            source.tiles.spectrum.correlate(
                z + box, h + box, job.sums + ((part * job.columns + first + c) * points) * bytes_, job.negative, points)


cdef bint run(Depthwise *job, int64_t boxes, bint correlate) noexcept nogil:
    """Each task has so many boxes of its columns."""
    cdef int64_t column = 2 * job.transforms.tiles.lanes, item = job.transforms.tiles.itemsize
    cdef int64_t numbers = job.transforms.points * column
    job.whole = job.source.channels // column
    job.together = max(1, min(job.whole, TASK_BYTES // (numbers * item * boxes)))
    job.groups = (job.whole + job.together - 1) // job.together + job.columns - job.whole
    job.scratch_size = (boxes * job.together * numbers + 2 * job.transforms.longest * column) * item
    cdef char *room = <char *>malloc(slots() * job.scratch_size + LINE)
    if not room:
        return False
    job.scratch = line_of(room)
    if correlate:
        parallel_for(correlate_some, job, job.parts * job.groups, job.rows * job.columns * numbers * COST)
    else:
        parallel_for(convolve_some, job, job.rows * job.groups, job.rows * job.columns * numbers * COST)
    free(room)
    return True


def convolve(const real[:, ::1] x, const int64_t[::1] in_base, const int64_t[:, ::1] in_shapes,
             const int64_t[:, ::1] in_first, const int64_t[:, ::1] in_geometry, const int64_t[::1] out_base,
             const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] out_first, const int64_t[:, ::1] out_geometry,
             const int64_t[::1] radices, const real[::1] twiddles, const int64_t[::1] negative,
             const real[::1] matrices, const real[:, ::1] scale_shift, int64_t activation, real[:, ::1] out):
    """out = activation(the blocks' convolutions times scale + shift); blocks as for spectrum.spectra and empty."""
    cdef Depthwise job
    cdef bint done
    job.x, job.out, job.matrices = <const char *>&x[0, 0], <char *>&out[0, 0], <const char *>&matrices[0]
    job.negative, job.rows, job.activation = &negative[0], in_base.shape[0], activation
    job.scale, job.shift = <const char *>&scale_shift[0, 0], <const char *>&scale_shift[1, 0]
    job.source.channels = job.target.channels = x.shape[1]
    with nogil:
        read_boxes(&job.source, tiles(sizeof(real)), in_base, in_shapes, in_first, in_geometry)
        read_boxes(&job.target, tiles(sizeof(real)), out_base, out_shapes, out_first, out_geometry)
        read_transforms(&job.transforms, tiles(sizeof(real)), in_geometry[0], radices, <const char *>&twiddles[0])
        job.columns = scale_shift.shape[1] // (2 * job.source.tiles.lanes)
        done = run(&job, 1, False)
    if not done:
        raise MemoryError("no memory for a transform")


def correlate(const real[:, ::1] x, const int64_t[::1] in_base, const int64_t[:, ::1] in_shapes,
              const int64_t[:, ::1] in_first, const int64_t[:, ::1] in_geometry, const real[:, ::1] grad,
              const int64_t[::1] out_base, const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] out_first,
              const int64_t[:, ::1] out_geometry, const int64_t[::1] radices, const real[::1] twiddles,
              const int64_t[::1] negative, real[:, :, :, ::1] sums):
    """Add the spectra of the weight's gradient, at -k: sums (parts, columns, points, two vectors)."""
    cdef Depthwise job
    cdef bint done
    job.x, job.out, job.sums = <const char *>&x[0, 0], <char *>&grad[0, 0], <char *>&sums[0, 0, 0, 0]
    job.negative, job.rows, job.parts, job.columns = &negative[0], in_base.shape[0], sums.shape[0], sums.shape[1]
    job.source.channels = job.target.channels = x.shape[1]
    with nogil:
        read_boxes(&job.source, tiles(sizeof(real)), in_base, in_shapes, in_first, in_geometry)
        read_boxes(&job.target, tiles(sizeof(real)), out_base, out_shapes, out_first, out_geometry)
        read_transforms(&job.transforms, tiles(sizeof(real)), in_geometry[0], radices, <const char *>&twiddles[0])
        done = run(&job, 2, True)
    if not done:
        raise MemoryError("no memory for a transform")
