# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Products of spectra (see spectrum): a small matrix for each frequency.

With U[c, q] the transform of a weight's channel c and of the pair q of filters, the result's pairs are the sum over c
of U[c, q] X[c], X being the spectra of real channels. A pair of those is in Z[k] and Z[-k], so a frequency's matrix
takes the parts of both to the parts of the result. For a pair (re, im) of channels:

    V = A Z[k] + B conj Z[-k],   A = (U[re] - i U[im]) / 2,   B = (U[re] + i U[im]) / 2
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

from convnd._core.isa cimport CONVND_MAX_VECTORS, convnd_conv_args, convnd_tiles, convnd_weight_args, tiles
from convnd._core.plan cimport ceil_div, first_height
from convnd._core.spectrum cimport (
    LINE, Boxes, Transforms, fill_box, line_of, read_boxes, read_transforms, scale_and_empty, transform_box)
from convnd._core.threads cimport parallel_for, slots, usable

ctypedef fused real:
    float
    double

# Frequencies of a task: enough that handing tasks out costs nothing.
cdef int64_t FREQUENCIES = 8
# Bytes of blocks that a task takes to their results: about a second-level cache.
cdef int64_t TASK_BYTES = 2 * 1024 * 1024
# What a number of a matrix costs to make, in multiply-adds of a convolution.
cdef int64_t MADE = 32

# Every frequency has a matrix for each group, real, from the parts of Z[-k] and Z[k] to a column of the result: (rows,
# two vectors); or to two columns side by side, (rows, four vectors), where there are tiles for that. With at most one
# vector of channels a group, the imaginary signals are zero, and Z[-k] alone tells all.
cdef struct Product:
    const convnd_tiles *tiles
    const char *z
    const char *v           # the result; or, for a weight gradient, the other factor
    char *w
    const int64_t *negative
    const char *zeros
    int64_t points, rows, groups
    int64_t z_width, v_width
    int64_t z_step, v_step  # from one row to the next
    int64_t depth           # channels of a group
    int64_t columns         # of a group's result
    bint single
    int64_t height          # rows of a matrix
    bint fresh              # a weight gradient's matrices are made, not added to


cdef void read_product(Product *job, const convnd_tiles *t, int64_t points, int64_t rows, int64_t groups, int64_t depth,
                       int64_t z_width, int64_t v_width) noexcept nogil:
    job.tiles, job.points, job.rows, job.groups, job.depth = t, points, rows, groups, depth
    job.z_width, job.v_width = z_width, v_width
    job.columns = v_width // (groups * 2 * t.lanes)
    job.single = depth <= t.lanes
    job.height = 2 * (depth if job.single else z_width // groups)


cdef inline int64_t width_of(const Product *job, int64_t column) noexcept nogil:
    """Vectors of the matrix that a group's column is in."""
    return 4 if job.tiles.height[4] and (column | 1) < job.columns else 2


cdef inline int64_t matrix_of(const Product *job, int64_t k, int64_t group, int64_t column) noexcept nogil:
    """Where a frequency's matrix for a group's column starts: its own, or its half of one for two."""
    cdef int64_t panel = 2 * job.tiles.lanes, in_pair = column % 2 if width_of(job, column) == 4 else 0
    return (((k * job.groups + group) * job.columns + column - in_pair) * job.height + in_pair) * panel


cdef int64_t matrix_runs(const Product *job, int64_t k, int64_t group, int64_t *runs) noexcept nogil:
    """Where the inputs of slot k's matrix are, as pairs (offset in z, row); returns their length."""
    cdef int64_t width = job.z_width // job.groups
    runs[0] = job.negative[k] * job.z_width + group * width
    runs[1] = 0
    runs[2] = runs[0] + job.tiles.lanes if job.single else k * job.z_width + group * width
    runs[3] = job.height // 2
    return runs[3]


cdef void multiply_one(const Product *job, int64_t k) noexcept nogil:
    cdef int64_t g, c, m, height, vectors, tallest, item = job.tiles.itemsize
    cdef int64_t panel = 2 * job.tiles.lanes
    cdef int64_t runs[4]
    cdef convnd_conv_args args
    args.start, args.runs, args.n_runs, args.activation, args.streams = job.zeros, runs, 2, 0, False
    args.fresh = 2
    args.x_step, args.out_step = job.z_step, job.v_step
    for g in range(job.groups):
        args.length = matrix_runs(job, k, g, runs)
        c = 0
        while c < job.columns:
            vectors = width_of(job, c)
            tallest, args.lanes = job.tiles.height[vectors], vectors * job.tiles.lanes
            args.w = job.w + matrix_of(job, k, g, c) * item
            args.x = job.z
            args.out = <char *>job.v + (k * job.v_width + (g * job.columns + c) * panel) * item
            m = job.rows
            while m > 0:
                height = first_height(m, tallest, &args.tiles)
                args.ahead = height * args.x_step
                job.tiles.conv.plain[vectors][height](&args)
                args.x += args.tiles * height * args.x_step * item
                args.out += args.tiles * height * args.out_step * item
                m -= args.tiles * height
            c += vectors // 2


cdef void multiply_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Product *job = <const Product *>context
    cdef int64_t k
    for k in range(index * FREQUENCIES, min(job.points, (index + 1) * FREQUENCIES)):
        multiply_one(job, k)


cdef struct Convolution:    # of some rows of blocks at a time, which stay in the cache
    Product product
    Boxes source, target
    Transforms transforms
    const char *x
    const char *scale
    const char *shift
    char *out
    int64_t activation
    int64_t rows, piece     # in all, and of a task
    char *scratch
    int64_t scratch_size


cdef void convolve_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Convolution *job = <const Convolution *>context
    cdef int64_t first = index * job.piece, rows = min(job.piece, job.rows - first), i, k
    cdef int64_t item = job.source.tiles.itemsize, column = 2 * job.source.tiles.lanes
    cdef int64_t z_step = job.product.z_step * item
    cdef int64_t v_step = job.product.v_step * item
    cdef char *z = job.scratch + slot * job.scratch_size
    cdef char *v = z + job.piece * z_step
    cdef char *scratch = v + job.piece * v_step
    cdef Product product = job.product
    product.z, product.v, product.rows = z, v, rows
    for i in range(rows):
        fill_box(&job.source, first + i, job.x, z + i * z_step)
        transform_box(&job.transforms, z + i * z_step, job.source.width // column, scratch)
    for k in range(product.points):
        multiply_one(&product, k)
    for i in range(rows):
        transform_box(&job.transforms, v + i * v_step, job.target.width // column, scratch)
        scale_and_empty(&job.target, first + i, v + i * v_step, job.scale, job.shift, job.activation, job.out)


def convolve(const real[:, ::1] x, const int64_t[::1] in_base, const int64_t[:, ::1] in_shapes,
             const int64_t[:, ::1] in_first, const int64_t[:, ::1] in_geometry, const int64_t[::1] out_base,
             const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] out_first, const int64_t[:, ::1] out_geometry,
             const int64_t[::1] radices, const real[::1] twiddles, const int64_t[::1] negative,
             const real[::1] matrices, int64_t parts, int64_t groups, int64_t depth, int64_t z_width,
             const real[:, ::1] scale_shift, int64_t activation, real[:, ::1] out):
    """out = activation(the blocks' convolutions times scale + shift), a thread each some blocks; blocks as for
    spectrum.spectra and empty. False, and nothing done, where there are too few blocks for that, or too large ones."""
    cdef Convolution job
    cdef const convnd_tiles *t = tiles(sizeof(real))
    cdef bint done = False
    cdef char *block
    cdef int64_t v_width = scale_shift.shape[1], column = 2 * t.lanes, points = negative.shape[0], n, row
    job.rows = in_base.shape[0]
    job.product.z_step, job.product.v_step = (points + 1) * z_width, (points + 1) * v_width
    row = (job.product.z_step + job.product.v_step) * <int64_t>sizeof(real)
    if job.rows < usable() or row > TASK_BYTES:
        return False
    n = usable() * ceil_div(ceil_div(job.rows, TASK_BYTES // row), usable())
    job.piece = ceil_div(job.rows, n)
    job.scratch_size = job.piece * row
    job.x, job.out, job.activation = <const char *>&x[0, 0], <char *>&out[0, 0], activation
    job.scale, job.shift = <const char *>&scale_shift[0, 0], <const char *>&scale_shift[1, 0]
    job.source.channels, job.source.part, job.source.width = x.shape[1], x.shape[1] // parts, z_width
    job.target.channels, job.target.part, job.target.width = out.shape[1], out.shape[1] // parts, v_width
    job.source.parts = job.target.parts = parts
    job.source.padded, job.target.padded = z_width // parts, v_width // parts
    job.product.w, job.product.negative = <char *>&matrices[0], &negative[0]
    with nogil:
        read_boxes(&job.source, t, in_base, in_shapes, in_first, in_geometry)
        read_boxes(&job.target, t, out_base, out_shapes, out_first, out_geometry)
        read_transforms(&job.transforms, t, in_geometry[0], radices, <const char *>&twiddles[0])
        job.source.numbers, job.target.numbers = points * z_width, points * v_width
        read_product(&job.product, t, points, job.rows, groups, depth, z_width, v_width)
        job.scratch_size += 2 * job.transforms.longest * column * <int64_t>sizeof(real)
        job.product.zeros = <const char *>calloc(CONVND_MAX_VECTORS * t.lanes, sizeof(real))
        block = <char *>malloc(slots() * job.scratch_size + LINE)
        if job.product.zeros and block:
            job.scratch = line_of(block)
            parallel_for(convolve_some, &job, ceil_div(job.rows, job.piece),
                         job.rows * (points + 1) * v_width * job.product.height)
            done = True
        free(<void *>job.product.zeros)
        free(block)
    if not done:
        raise MemoryError("no memory for a transform")
    return True


def multiply(const real[:, ::1] z, int64_t z_width, const real[::1] matrices, const int64_t[::1] negative,
             int64_t groups, int64_t depth, int64_t width, real[:, ::1] out):
    """The spectra of convolutions with z, `depth` channels a group; points of z and out have so many numbers."""
    cdef Product job
    cdef int64_t points = negative.shape[0]
    cdef const convnd_tiles *t = tiles(sizeof(real))
    job.z, job.v, job.w, job.negative = (
        <const char *>&z[0, 0], <const char *>&out[0, 0], <char *>&matrices[0], &negative[0])
    with nogil:
        read_product(&job, t, points, z.shape[0], groups, depth, z_width, width)
        job.z_step, job.v_step = z.shape[1], out.shape[1]
        job.zeros = <const char *>calloc(CONVND_MAX_VECTORS * t.lanes, sizeof(real))
        if job.zeros:
            parallel_for(multiply_some, &job, (points + FREQUENCIES - 1) // FREQUENCIES,
                         out.shape[0] * out.shape[1] * job.height)
            free(<void *>job.zeros)
    if not job.zeros:
        raise MemoryError("no memory for a product of spectra")


cdef void correlate_one(const Product *job, int64_t k) noexcept nogil:
    cdef int64_t g, c, n, m, r, height, length, vectors, tallest, item = job.tiles.itemsize
    cdef int64_t panel = 2 * job.tiles.lanes
    cdef int64_t runs[4]
    cdef int64_t segment[3]
    cdef convnd_weight_args args
    segment[0] = segment[1] = 0
    segment[2] = job.rows
    args.x_step, args.g_step, args.rows = job.z_step, job.v_step, NULL
    args.segments, args.n_segments, args.fresh = segment, 1, job.fresh
    for g in range(job.groups):
        length = matrix_runs(job, k, g, runs)
        c = 0
        while c < job.columns:
            vectors = width_of(job, c)
            tallest, args.lanes = job.tiles.height[vectors], vectors * job.tiles.lanes
            args.acc_step = args.lanes
            args.g = job.v + (k * job.v_width + (g * job.columns + c) * panel) * item
            args.ask, args.ask_step = args.g, 0
            args.acc = job.w + matrix_of(job, k, g, c) * item
            for r in range(2):
                args.x = job.z + runs[2 * r] * item
                m = length
                n = (m + tallest - 1) // tallest
                while n > 0:
                    height = (m + n - 1) // n
                    job.tiles.weight.plain[vectors][height](&args)
                    args.x += height * item
                    args.acc += height * args.acc_step * item
                    m -= height
                    n -= 1
            c += vectors // 2


cdef void correlate_some(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Product *job = <const Product *>context
    cdef int64_t k
    for k in range(index * FREQUENCIES, min(job.points, (index + 1) * FREQUENCIES)):
        correlate_one(job, k)


def correlate(const real[:, ::1] z, int64_t z_width, const real[:, ::1] h, int64_t h_width,
              const int64_t[::1] negative, int64_t groups, int64_t depth, real[::1] matrices, bint fresh):
    """The matrices of all frequencies: the sum over rows of z's parts times h's, added to them unless `fresh`; one
    chain of additions each."""
    cdef Product job
    cdef int64_t points = negative.shape[0]
    job.z, job.v, job.w, job.negative = (
        <const char *>&z[0, 0], <const char *>&h[0, 0], <char *>&matrices[0], &negative[0])
    with nogil:
        read_product(&job, tiles(sizeof(real)), points, z.shape[0], groups, depth, z_width, h_width)
        job.z_step, job.v_step, job.fresh = z.shape[1], h.shape[1], fresh
        parallel_for(correlate_some, &job, (points + FREQUENCIES - 1) // FREQUENCIES,
                     h.shape[0] * h.shape[1] * job.height)


# ---------------------------------------------------------------------------------------------------------- matrices

cdef void make_matrix(const Product *job, const real *u, real *matrix, int64_t row, bint back) noexcept nogil:
    """A column's matrix, its rows `row` apart, from the spectra u of a group's channels; `back`: the adjoint, a
    weight's spectra from sums."""
    cdef int64_t lanes = job.tiles.lanes, panel = 2 * lanes, step = job.v_width // job.groups, c, l
    cdef real a_re, a_im, b_re, b_im
    cdef real *u_re
    cdef real *u_im
    cdef real *z_re
    cdef real *z_im
    cdef real *n_re
    cdef real *n_im
    for c in range(job.depth):
        if not job.single and c % panel >= lanes:
            continue    # the imaginary half of a pair
        u_re = <real *>u + c * step
        u_im = <real *>u + (c + lanes) * step
        z_re = matrix + c * row
        z_im = z_re + (job.depth if job.single else lanes) * row
        if job.single:
            for l in range(lanes):
                if back:
                    u_re[l] = z_re[l] - z_im[lanes + l]
                    u_re[lanes + l] = z_re[lanes + l] + z_im[l]
                else:
                    z_re[l] = z_im[lanes + l] = u_re[l]
                    z_re[lanes + l] = u_re[lanes + l]
                    z_im[l] = -u_re[lanes + l]
            continue
        n_re = z_re + job.height // 2 * row
        n_im = n_re + lanes * row
        for l in range(lanes):
            if back:
                a_re, a_im = z_re[l] - z_im[lanes + l], z_re[lanes + l] + z_im[l]
                b_re, b_im = n_re[l] + n_im[lanes + l], n_re[lanes + l] - n_im[l]
                u_re[l], u_re[lanes + l] = <real>0.5 * (a_re + b_re), <real>0.5 * (a_im + b_im)
                if c + lanes < job.depth:
                    u_im[l], u_im[lanes + l] = <real>0.5 * (a_im - b_im), <real>0.5 * (b_re - a_re)
            else:
                a_re, a_im = <real>0.5 * u_re[l], <real>0.5 * u_re[lanes + l]
                b_re, b_im = a_re, a_im
                if c + lanes < job.depth:
                    a_re += <real>0.5 * u_im[lanes + l]
                    a_im -= <real>0.5 * u_im[l]
                    b_re -= <real>0.5 * u_im[lanes + l]
                    b_im += <real>0.5 * u_im[l]
                z_re[l] = z_im[lanes + l] = a_re
                z_re[lanes + l] = a_im
                z_im[l] = -a_im
                n_re[l], n_re[lanes + l] = b_re, b_im
                n_im[l], n_im[lanes + l] = b_im, -b_re


cdef void make_some(Product *job, int64_t index, real *u, bint back) noexcept nogil:
    cdef int64_t k, g, c, panel = 2 * job.tiles.lanes, at
    for k in range(index * FREQUENCIES, min(job.points, (index + 1) * FREQUENCIES)):
        for g in range(job.groups):
            for c in range(job.columns):
                at = ((k if back else job.negative[k]) * job.groups + g) * job.depth * job.columns + c
                make_matrix[real](job, u + at * panel, <real *>job.w + matrix_of(job, k, g, c),
                                  width_of(job, c) * job.tiles.lanes, back)


cdef void matrices_from(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef Product *job = <Product *>context
    if job.tiles.itemsize == sizeof(float):
        make_some[float](job, index, <float *>job.z, False)
    else:
        make_some[double](job, index, <double *>job.z, False)


cdef void matrices_back(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef Product *job = <Product *>context
    if job.tiles.itemsize == sizeof(float):
        make_some[float](job, index, <float *>job.z, True)
    else:
        make_some[double](job, index, <double *>job.z, True)


def matrices(real[:, ::1] spectra, real[::1] packed, const int64_t[::1] negative, int64_t groups, int64_t depth,
             int64_t z_width, bint back):
    """All matrices from a weight's spectra (points x groups x depth, width of a group); `back`: spectra from sums."""
    cdef Product job
    cdef int64_t points = negative.shape[0]
    job.z, job.w, job.negative = <const char *>&spectra[0, 0], <char *>&packed[0], &negative[0]
    with nogil:
        read_product(&job, tiles(sizeof(real)), points, 0, groups, depth, z_width, groups * spectra.shape[1])
        if not job.single and not back:
            packed[:] = 0
        parallel_for(matrices_back if back else matrices_from, &job, (points + FREQUENCIES - 1) // FREQUENCIES,
                     packed.shape[0] * MADE)
