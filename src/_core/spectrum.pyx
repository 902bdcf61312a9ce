# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Fourier transforms of blocks of samples.

A spectrum is (rows, points x width): a row for each block, all frequencies of all axes, channels; what a row has beyond
that keeps the same frequency of many rows from falling on the same lines of a cache. Channels come in columns of two
vectors, the real and the imaginary parts of complex signals: channels c and c + lanes of a column are a signal z.
With u = exp(+2 pi i / n) as the root, and all indices modulo the block's size, axis by axis:

    Z[k] = sum over t of z[t] u^(k t)
    for z = a + i b,  A[k] = (Z[k] + conj Z[-k]) / 2,  B[k] = (Z[k] - conj Z[-k]) / 2i

A result is stored at -k, so that the same transform, unscaled, leads back.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from convnd._core.isa cimport convnd_fft_args, convnd_tiles, tiles
from convnd._core.plan cimport MAX_RANK, ceil_div
from convnd._core.threads cimport parallel_for, slots, usable

ctypedef fused real:
    float
    double

# Numbers that a task transforms: enough that handing tasks out costs nothing.
cdef int64_t PIECE = 32 * 1024
# What a number costs in multiply-adds of a convolution: to move, and to transform along an axis.
cdef int64_t MOVED = 16
cdef int64_t TRANSFORMED = 48

# -------------------------------------------------------------------------------------------------------------- boxes

cdef void read_boxes(Boxes *boxes, const convnd_tiles *t, const int64_t[::1] base, const int64_t[:, ::1] shapes,
                     const int64_t[:, ::1] first, const int64_t[:, ::1] geometry) noexcept nogil:
    cdef int64_t a
    boxes.tiles, boxes.rank, boxes.points = t, shapes.shape[1], 1
    boxes.base, boxes.shapes, boxes.first = &base[0], &shapes[0, 0], &first[0, 0]
    boxes.size, boxes.step, boxes.limit = &geometry[0, 0], &geometry[1, 0], &geometry[2, 0]
    for a in range(boxes.rank):
        boxes.points *= geometry[0, a]


cdef inline void copy(char *to, const char *source, int64_t n) noexcept nogil:
    # A column of the usual vectors: a length that is known takes no call.
    if n == 64:
        memcpy(to, source, 64)
    else:
        memcpy(to, source, n)


cdef void move_run(const Boxes *boxes, char *values, char *box, int64_t count, bint fill) noexcept nogil:
    """`count` positions in a row."""
    cdef int64_t item = boxes.tiles.itemsize, n = boxes.part * item, g, _i
    cdef int64_t apart = boxes.step[boxes.rank - 1] * boxes.width * item
    if apart == boxes.channels * item and boxes.parts * boxes.part == boxes.channels and boxes.part == boxes.padded:
        memcpy(box if fill else values, values if fill else box, count * apart)
        return
    for _i in range(count):
        for g in range(boxes.parts):
            if fill:
                copy(box + g * boxes.padded * item, values + g * n, n)
            else:
                copy(values + g * n, box + g * boxes.padded * item, n)
        values += boxes.channels * item
        box += apart


cdef void move_box(const Boxes *boxes, int64_t row, char *values, char *box, bint fill) noexcept nogil:
    cdef int64_t rank = boxes.rank, a, item = boxes.tiles.itemsize, at, point
    cdef const int64_t *shape = boxes.shapes + row * rank
    cdef const int64_t *first = boxes.first + row * rank
    cdef int64_t low[MAX_RANK]
    cdef int64_t high[MAX_RANK]
    cdef int64_t i[MAX_RANK]
    values += boxes.base[row] * boxes.channels * item
    for a in range(rank):
        low[a] = i[a] = max(0, ceil_div(first[a], boxes.step[a]))
        high[a] = min(shape[a], ceil_div(first[a] + boxes.limit[a], boxes.step[a]))
        if low[a] >= high[a]:
            return
    while True:
        at = point = 0
        for a in range(rank):
            at = at * shape[a] + i[a]
            point = point * boxes.size[a] + i[a] * boxes.step[a] - first[a]
        move_run(boxes, values + at * boxes.channels * item, box + point * boxes.width * item,
                 high[rank - 1] - low[rank - 1], fill)
        a = rank - 2
        while a >= 0 and i[a] + 1 == high[a]:
            i[a] = low[a]
            a -= 1
        if a < 0:
            return
        i[a] += 1


cdef void fill_box(const Boxes *boxes, int64_t row, const char *values, char *box) noexcept nogil:
    memset(box, 0, boxes.numbers * boxes.tiles.itemsize)
    move_box(boxes, row, <char *>values, box, True)


cdef void empty_box(const Boxes *boxes, int64_t row, const char *box, char *values) noexcept nogil:
    move_box(boxes, row, values, <char *>box, False)


cdef void scale_and_empty(const Boxes *boxes, int64_t row, char *box, const char *scale, const char *shift,
                          int64_t activation, char *values) noexcept nogil:
    boxes.tiles.pointwise.scale_shift(box, scale, shift, box, boxes.numbers, boxes.width, activation, False)
    empty_box(boxes, row, box, values)


# --------------------------------------------------------------------------------------------------------- transforms

cdef void read_transforms(Transforms *all, const convnd_tiles *t, const int64_t[::1] size, const int64_t[::1] radices,
                          const char *twiddles) noexcept nogil:
    """radices and twiddles are those of all axes, one after the other."""
    cdef int64_t a, n = 0, left
    all.tiles, all.rank, all.points, all.longest = t, size.shape[0], 1, 1
    for a in range(all.rank):
        left = all.size[a] = size[a]
        all.points *= left
        all.longest = max(all.longest, left)
        all.radices[a], all.twiddles[a] = &radices[0] + n, twiddles
        while left > 1:
            left //= radices[n]
            twiddles += 2 * (radices[n] - 1) * left * t.itemsize
            n += 1


cdef void transform_axis(const Transforms *all, int64_t axis, char *x, int64_t inner, int64_t first, int64_t last,
                         char *scratch) noexcept nogil:
    """Lines first ... last of those along an axis; x is (outer, the axis, inner) columns."""
    cdef int64_t line, length = all.size[axis], bytes_ = 2 * all.tiles.lanes * all.tiles.itemsize
    cdef convnd_fft_args args
    args.scratch, args.length, args.step = scratch, length, inner * 2 * all.tiles.lanes
    args.radices, args.twiddles = all.radices[axis], all.twiddles[axis]
    for line in range(first, last):
        args.x = x + (line // inner * length * inner + line % inner) * bytes_
        all.tiles.spectrum.fft(&args)


cdef void transform_box(const Transforms *all, char *box, int64_t columns, char *scratch) noexcept nogil:
    cdef int64_t a, inner = columns
    for a in range(all.rank - 1, -1, -1):
        if all.size[a] > 1:
            transform_axis(all, a, box, inner, 0, all.points // all.size[a] * columns, scratch)
        inner *= all.size[a]


cdef struct Lines:
    const Transforms *all
    int64_t axis, inner
    int64_t rows, stride    # bytes
    int64_t lines, piece    # of a row; that a task takes
    char *x
    char *scratch


cdef void transform_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Lines *job = <const Lines *>context
    cdef char *scratch = job.scratch + slot * job.all.longest * 4 * job.all.tiles.lanes * job.all.tiles.itemsize
    cdef int64_t pieces = (job.lines + job.piece - 1) // job.piece, piece = index % pieces * job.piece
    transform_axis(job.all, job.axis, job.x + index // pieces * job.stride, job.inner, piece,
                   min(job.lines, piece + job.piece), scratch)


cdef bint transform_rows(const Transforms *all, char *x, int64_t rows, int64_t stride, int64_t width) noexcept nogil:
    """An axis after the other, some lines of a row a task. Whether there was memory."""
    cdef Lines job
    cdef int64_t a, column = 2 * all.tiles.lanes, item = all.tiles.itemsize
    job.all, job.x, job.rows, job.stride, job.inner = all, x, rows, stride, width // column
    cdef char *room = <char *>malloc(slots() * all.longest * 2 * column * item + LINE)
    if not room:
        return False
    job.scratch = line_of(room)
    for a in range(all.rank - 1, -1, -1):
        job.axis, job.lines = a, all.points // all.size[a] * (width // column)
        job.piece = max(1, PIECE // (column * all.size[a]))
        if all.size[a] > 1:
            parallel_for(transform_some, &job, rows * ((job.lines + job.piece - 1) // job.piece),
                         rows * all.points * width * TRANSFORMED)
        job.inner *= all.size[a]
    free(room)
    return True


def transform(real[:, ::1] x, int64_t width, const int64_t[::1] size, const int64_t[::1] radices,
              const real[::1] twiddles):
    """The transforms of x (rows, points of `width` numbers) along all axes, in place."""
    cdef Transforms all
    cdef bint done
    with nogil:
        read_transforms(&all, tiles(sizeof(real)), size, radices, <const char *>&twiddles[0])
        done = transform_rows(&all, <char *>&x[0, 0], x.shape[0], x.shape[1] * sizeof(real), width)
    if not done:
        raise MemoryError("no memory for a transform")


# --------------------------------------------------------------------------------------------------------------- rows

cdef struct Move:
    Boxes boxes
    Transforms transforms
    const char *values
    char *blocks
    char *scratch
    int64_t stride          # bytes from one block to the next


cdef void fill_some(void *context, int64_t row, int64_t slot) noexcept nogil:
    cdef const Move *job = <const Move *>context
    fill_box(&job.boxes, row, job.values, job.blocks + row * job.stride)


cdef void fill_and_transform(void *context, int64_t row, int64_t slot) noexcept nogil:
    cdef const Move *job = <const Move *>context
    cdef int64_t column = 2 * job.boxes.tiles.lanes
    fill_box(&job.boxes, row, job.values, job.blocks + row * job.stride)
    transform_box(&job.transforms, job.blocks + row * job.stride, job.boxes.width // column,
                  job.scratch + slot * job.transforms.longest * 2 * column * job.boxes.tiles.itemsize)


def spectra(const real[:, ::1] x, const int64_t[::1] base, const int64_t[:, ::1] shapes, const int64_t[:, ::1] first,
            const int64_t[:, ::1] geometry, const int64_t[::1] radices, const real[::1] twiddles, int64_t parts,
            int64_t width, real[:, ::1] blocks):
    """The transforms of blocks, points of `width` numbers, of x (positions, channels), whose channels are in `parts`
    padded parts.

    For each row: its sample's first position, the sample's shape, and `first`; geometry has rows size, step and limit
    (see Boxes).
    """
    cdef Move job
    cdef int64_t rows = base.shape[0], numbers = blocks.shape[0] * blocks.shape[1]
    cdef char *room
    cdef bint done = True
    job.values, job.blocks = <const char *>&x[0, 0], <char *>&blocks[0, 0]
    job.boxes.channels, job.boxes.parts, job.boxes.part = x.shape[1], parts, x.shape[1] // parts
    job.boxes.width, job.boxes.padded, job.stride = width, width // parts, blocks.shape[1] * sizeof(real)
    with nogil:
        read_boxes(&job.boxes, tiles(sizeof(real)), base, shapes, first, geometry)
        read_transforms(&job.transforms, tiles(sizeof(real)), geometry[0], radices, <const char *>&twiddles[0])
        job.boxes.numbers = job.boxes.points * width
        if rows < usable():
            parallel_for(fill_some, &job, rows, numbers * MOVED)
            done = transform_rows(&job.transforms, job.blocks, rows, job.stride, width)
        else:
            room = <char *>malloc(slots() * job.transforms.longest * 4 * job.boxes.tiles.lanes * sizeof(real) + LINE)
            job.scratch = line_of(room)
            if room:
                parallel_for(fill_and_transform, &job, rows, numbers * (MOVED + TRANSFORMED))
            else:
                done = False
            free(room)
    if not done:
        raise MemoryError("no memory for a transform")


cdef struct Emptying:
    Boxes boxes
    char *blocks
    char *out
    int64_t stride          # bytes from one block to the next
    const char *scale       # by channel, with the padding
    const char *shift
    int64_t activation


cdef void empty_some(void *context, int64_t row, int64_t slot) noexcept nogil:
    cdef const Emptying *job = <const Emptying *>context
    scale_and_empty(&job.boxes, row, job.blocks + row * job.stride, job.scale, job.shift, job.activation, job.out)


def empty(real[:, ::1] blocks, const int64_t[::1] base, const int64_t[:, ::1] shapes, const int64_t[:, ::1] first,
          const int64_t[:, ::1] geometry, int64_t parts, const real[:, ::1] scale_shift, int64_t activation,
          real[:, ::1] out):
    """The blocks' values to their positions: out = activation(blocks scale + shift), and blocks is used up."""
    cdef Emptying job
    job.out, job.blocks, job.activation = <char *>&out[0, 0], <char *>&blocks[0, 0], activation
    job.scale, job.shift = <const char *>&scale_shift[0, 0], <const char *>&scale_shift[1, 0]
    job.boxes.channels, job.boxes.parts, job.boxes.part = out.shape[1], parts, out.shape[1] // parts
    job.boxes.width, job.stride = scale_shift.shape[1], blocks.shape[1] * sizeof(real)
    job.boxes.padded = job.boxes.width // parts
    with nogil:
        read_boxes(&job.boxes, tiles(sizeof(real)), base, shapes, first, geometry)
        job.boxes.numbers = job.boxes.points * job.boxes.width
        parallel_for(empty_some, &job, base.shape[0], blocks.shape[0] * blocks.shape[1] * MOVED)
