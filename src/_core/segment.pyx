# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Sums over positions by channel, of a whole batch or of each segment (a sample): cut by shapes, added in a fixed tree.

A block is some hundred rows; of what is read twice, as many as stay near. Its sums are in the element type; blocks are
added in float64, those of a chunk in order and the chunks' totals pairwise. The number of chunks follows from the
shape, never from the threads.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from convnd._core.isa cimport convnd_norm, convnd_tiles, tiles
from convnd._core.plan cimport gcd
from convnd._core.threads cimport owner_of, parallel_for, slots

ctypedef fused real:
    float
    double

cdef int64_t TWICE = 16384      # numbers of a block that is read twice: a share of the second-level cache
cdef int64_t BLOCK_ROWS = 256   # the longest sum in the element type
cdef int64_t COLUMNS = 512      # of a task
cdef int64_t CHUNKS = 64
cdef int64_t LINE = 64          # bytes of a cache line, which threads don't share
cdef int64_t WORK = 16          # what a number costs, in multiply-adds of a convolution

cdef enum What:
    SUM, SQUARES, MOMENTS, PRODUCTS

cdef struct Job:
    const convnd_tiles *tiles
    What what
    const char *x
    const char *g
    const double *centre    # of PRODUCTS, by channel
    const double *scale
    const double *shift
    int64_t activation
    double *first           # (chunks, channels): sums; means of MOMENTS
    double *second          # (chunks, channels): sums of products; of squared deviations
    int64_t scratch_size
    int64_t positions, channels
    int64_t repeat          # positions side by side, so that few channels fill whole vectors
    int64_t columns         # of a task
    int64_t width           # repeat * columns, the row of a block
    int64_t rows            # positions of a block
    int64_t blocks, chunks, splits

cdef struct Segments:
    Job *jobs           # one a segment
    int64_t count
    int64_t *starts     # the first task of each
    char *scratch

cdef struct Piece:          # some rows of a task's columns
    const char *x
    const char *g
    int64_t rows, width     # of the tile
    int64_t positions


cdef void cut(Job *job) noexcept nogil:
    cdef int64_t lanes = job.tiles.lanes, c = job.channels
    job.repeat = lanes // gcd(c, lanes) if c < 8 * lanes else 1
    job.splits = (c + COLUMNS - 1) // COLUMNS
    job.columns = (c + job.splits - 1) // job.splits
    job.width = job.repeat * job.columns
    job.rows = job.repeat * (max(1, min(BLOCK_ROWS, TWICE // job.width)) if job.what == MOMENTS else BLOCK_ROWS)
    job.blocks = (job.positions + job.rows - 1) // job.rows
    job.chunks = min(CHUNKS, job.blocks)
    job.scratch_size = 2 * job.columns * sizeof(double) + 5 * job.width * job.tiles.itemsize
    job.scratch_size = (job.scratch_size + LINE - 1) // LINE * LINE


cdef inline int64_t chunk_start(const Job *job, int64_t chunk) noexcept nogil:
    return min(job.positions, chunk * job.blocks // job.chunks * job.rows)


cdef void fold(const real *sums, int64_t width, double *totals, int64_t columns) noexcept nogil:
    """Add the columns of each channel."""
    cdef int64_t start = 0, c
    for c in range(columns):
        totals[c] = 0
    while start < width:
        for c in range(columns):
            totals[c] += sums[start + c]
        start += columns


cdef void spread(const double *vector, int64_t columns, real *to, int64_t width) noexcept nogil:
    """A vector by channel, repeated over the width."""
    cdef int64_t start = 0, c
    while start < width:
        for c in range(columns):
            to[start + c] = <real>vector[c]
        start += columns


cdef inline double not_negative(double square) noexcept nogil:
    return 0 if square < 0 else square  # a NaN stays, which max(0, square) would hide


cdef void join(int64_t n_a, double *mean_a, double *square_a, int64_t n_b, const double *mean_b,
               const double *square_b, int64_t columns) noexcept nogil:
    """Means and squared deviations of two groups of n_a and n_b (Chan, Golub, LeVeque 1983, eq. 2.1)."""
    cdef double share = <double>n_b / <double>(n_a + n_b), both = share * <double>n_a, delta
    cdef int64_t c
    if n_a == 0:
        memcpy(mean_a, mean_b, columns * sizeof(double))
        memcpy(square_a, square_b, columns * sizeof(double))
        return
    for c in range(columns):
        delta = mean_b[c] - mean_a[c]
        mean_a[c] += delta * share
        square_a[c] += square_b[c] + delta * delta * both


cdef void add_piece(const Job *job, const Piece *piece, int64_t done, double *first, double *second, int64_t columns,
                    const double *centre, double *a, real *sums) noexcept nogil:
    """Add some rows of `columns` channels to a chunk's totals, of which `done` positions are there."""
    cdef double *b = a + job.columns    # a and sums are where the scratch starts
    cdef real *others = sums + job.width
    cdef real *mean = sums + 2 * job.width
    cdef convnd_norm norm
    cdef int64_t c, step = job.channels * job.repeat
    cdef double inverse = 1 / <double>piece.positions
    if job.what == SUM or job.what == SQUARES:
        if job.what == SUM:
            job.tiles.segment.sum(piece.x, <char *>sums, piece.rows, step, piece.width)
        else:
            job.tiles.segment.square(piece.x, <char *>sums, piece.rows, step, piece.width)
        fold(sums, piece.width, a, columns)
        for c in range(columns):
            first[c] += a[c]
    elif job.what == PRODUCTS:
        norm.scale, norm.shift = <char *>(mean + job.width), <char *>(mean + 2 * job.width)
        norm.activation = job.activation
        job.tiles.segment.product(piece.g, piece.x, <char *>mean, &norm, <char *>sums, <char *>others, piece.rows, step,
                                  piece.width)
        fold(sums, piece.width, a, columns)
        fold(others, piece.width, b, columns)
        for c in range(columns):
            first[c] += a[c]
            second[c] += b[c] + a[c] * (<double>mean[c] - centre[c])    # the centre was rounded to the element type
    else:
        # Two passes over the cached block; the second mends the rounding of the first one's mean.
        job.tiles.segment.sum(piece.x, <char *>sums, piece.rows, step, piece.width)
        fold(sums, piece.width, a, columns)
        for c in range(columns):
            a[c] *= inverse
        spread(a, columns, mean, piece.width)
        job.tiles.segment.deviation(piece.x, <char *>mean, <char *>sums, <char *>others, piece.rows, step, piece.width)
        fold(sums, piece.width, a, columns)
        fold(others, piece.width, b, columns)
        for c in range(columns):
            b[c] = not_negative(b[c] - a[c] * a[c] * inverse)
            a[c] = <double>mean[c] + a[c] * inverse
        join(done, first, second, piece.positions, a, b, columns)


cdef void add_pieces(const Job *job, int64_t chunk, int64_t column, double *a, real *sums) noexcept nogil:
    """One chunk of the blocks, for the task's columns."""
    cdef int64_t columns = min(job.columns, job.channels - column), size = sizeof(real)
    cdef int64_t row = chunk_start(job, chunk), end = chunk_start(job, chunk + 1), done = 0, n, at
    cdef double *first = job.first + chunk * job.channels + column
    cdef double *second = job.second + chunk * job.channels + column
    cdef Piece piece
    if job.what == PRODUCTS:    # a shorter piece takes the first of these numbers
        spread(job.centre + column, columns, sums + 2 * job.width, job.repeat * columns)
        spread(job.scale + column, columns, sums + 3 * job.width, job.repeat * columns)
        spread(job.shift + column, columns, sums + 4 * job.width, job.repeat * columns)
    while row < end:
        n = min(job.rows, end - row)
        # Positions that don't fill a row of repeated ones are a piece of their own.
        piece.rows, piece.width = n // job.repeat, job.repeat * columns
        if piece.rows == 0:
            piece.rows, piece.width = 1, n * columns
        piece.positions = piece.rows * (piece.width // columns)
        at = (row * job.channels + column) * size
        piece.x, piece.g = job.x + at, job.g + at
        add_piece(job, &piece, done, first, second, columns, job.centre + column, a, sums)
        row += piece.positions
        done += piece.positions


cdef void reduce_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    """One chunk of the blocks of a segment, for one share of the channels."""
    cdef const Segments *all = <const Segments *>context
    cdef int64_t n = owner_of(all.starts, all.count, index)
    cdef const Job *job = &all.jobs[n]
    cdef int64_t chunk = (index - all.starts[n]) // job.splits, column = (index - all.starts[n]) % job.splits
    cdef double *scratch = <double *>(all.scratch + slot * job.scratch_size)
    cdef double *sums = scratch + 2 * job.columns
    column *= job.columns
    if job.tiles.itemsize == 4:
        add_pieces(job, chunk, column, scratch, <float *>sums)
    else:
        add_pieces(job, chunk, column, scratch, sums)


cdef void join_chunks(const Job *job) noexcept nogil:
    """Pairwise, into chunk 0."""
    cdef int64_t step = 1, a, b, c
    cdef int64_t n_a, n_b
    while step < job.chunks:
        a = 0
        while a + step < job.chunks:
            b = a + step
            n_a = chunk_start(job, b) - chunk_start(job, a)
            n_b = chunk_start(job, min(job.chunks, b + step)) - chunk_start(job, b)
            if job.what == MOMENTS:
                join(n_a, job.first + a * job.channels, job.second + a * job.channels, n_b,
                     job.first + b * job.channels, job.second + b * job.channels, job.channels)
            else:
                for c in range(job.channels):
                    job.first[a * job.channels + c] += job.first[b * job.channels + c]
                    job.second[a * job.channels + c] += job.second[b * job.channels + c]
            a += 2 * step
        step *= 2


cdef bint run(Job *jobs, int64_t count, double *first, double *second) noexcept nogil:
    """All segments, which have the same channels. Whether there was memory."""
    cdef int64_t n, total = 0, chunks = 0, positions = 0, c = jobs[0].channels
    cdef double *sums = NULL
    cdef Segments all
    all.jobs, all.count = jobs, count
    all.starts = <int64_t *>malloc(count * sizeof(int64_t))
    for n in range(count):
        cut(&jobs[n])
        chunks += jobs[n].chunks
        positions += jobs[n].positions
    sums = <double *>calloc(2 * max(1, chunks) * c, sizeof(double))
    all.scratch = <char *>malloc(slots() * jobs[0].scratch_size)
    cdef bint done = sums and all.scratch and all.starts
    if done:
        chunks = 0
        for n in range(count):
            all.starts[n] = total
            total += jobs[n].chunks * jobs[n].splits
            jobs[n].first = sums + 2 * chunks * c
            jobs[n].second = jobs[n].first + jobs[n].chunks * c
            chunks += jobs[n].chunks
        parallel_for(reduce_task, &all, total, positions * c * WORK)
        for n in range(count):
            if jobs[n].chunks:
                join_chunks(&jobs[n])
                memcpy(first + n * c, jobs[n].first, c * sizeof(double))
                memcpy(second + n * c, jobs[n].second, c * sizeof(double))
    free(sums)
    free(all.scratch)
    free(all.starts)
    return done


cdef void start(Job *job, What what, const char *x, int64_t positions, int64_t channels, int64_t size) noexcept nogil:
    job.tiles, job.what = tiles(size), what
    job.x, job.g = x, x
    job.positions, job.channels = positions, channels


cdef int finish(bint done) except -1:
    if not done:
        raise MemoryError("no memory for the partial sums")
    return 0


def column_sum(const real[:, ::1] x, bint squares, double[::1] sums, double[::1] spare):
    """The sum of each channel, or of its squares."""
    cdef Job job
    cdef bint done
    start(&job, SQUARES if squares else SUM, <const char *>&x[0, 0], x.shape[0], x.shape[1], sizeof(real))
    job.centre = &spare[0]
    with nogil:
        done = run(&job, 1, &sums[0], &spare[0])
    finish(done)


def moments(const real[:, ::1] x, const int64_t[::1] offsets, double[:, ::1] mean, double[:, ::1] square):
    """The mean of each segment's channels, and the sum of their squared deviations from it."""
    cdef int64_t n, count = mean.shape[0], c = x.shape[1]
    cdef bint done = False
    cdef Job *jobs = <Job *>malloc(count * sizeof(Job))
    with nogil:
        if jobs:
            for n in range(count):
                start(&jobs[n], MOMENTS, <const char *>(&x[0, 0] + offsets[n] * c), offsets[n + 1] - offsets[n], c,
                      sizeof(real))
                jobs[n].centre = &mean[n, 0]
            done = run(jobs, count, &mean[0, 0], &square[0, 0])
            free(jobs)
    finish(done)


def products(const real[:, ::1] g, const real[:, ::1] x, const int64_t[::1] offsets, const double[:, ::1] centre,
             const double[::1] scale, const double[::1] shift, int64_t activation, double[:, ::1] sums,
             double[:, ::1] products):
    """The sums of h = g slope and of h (x - centre) of each segment's channels, with the activation's slope at
    x scale + shift; a centre for each segment."""
    cdef int64_t n, count = centre.shape[0], c = x.shape[1]
    cdef bint done = False
    cdef Job *jobs = <Job *>malloc(count * sizeof(Job))
    with nogil:
        if jobs:
            for n in range(count):
                start(&jobs[n], PRODUCTS, <const char *>(&x[0, 0] + offsets[n] * c), offsets[n + 1] - offsets[n], c,
                      sizeof(real))
                jobs[n].g = <const char *>(&g[0, 0] + offsets[n] * c)
                jobs[n].centre, jobs[n].scale, jobs[n].shift = &centre[n, 0], &scale[0], &shift[0]
                jobs[n].activation = activation
            done = run(jobs, count, &sums[0, 0], &products[0, 0])
            free(jobs)
    finish(done)
