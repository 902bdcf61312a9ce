# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Channels, rows and single numbers that are moved: taken by number, joined, added where they belong, multiplied.

Tasks are pieces of the result, so where they are cut never shows in it.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from convnd._core.isa cimport RUN_PICK, RUN_ZEROS, convnd_run, convnd_tiles, tiles
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport parallel_for, slots

ctypedef fused real:
    float
    double

cdef int64_t PIECE = 32 * 1024  # numbers of a task
cdef int64_t WORK = 16          # what a number costs, in multiply-adds of a convolution
cdef int64_t SHORT = 8          # fewer channels than these, next to each other, are picked one by one

cdef struct Job:
    const convnd_tiles *tiles
    const char *x
    const char *y
    char *out
    int64_t rows        # or numbers
    int64_t piece       # rows, or numbers, of a task
    int64_t channels
    int64_t x_step
    int64_t out_step
    const convnd_run *runs
    int64_t n_runs
    const int64_t *index
    bint streams


cdef inline int64_t pieces(const Job *job) noexcept nogil:
    return (job.rows + job.piece - 1) // job.piece


# ------------------------------------------------------------------------------------------------------------- channels

cdef int64_t run_list(const int64_t[::1] index, convnd_run *runs) noexcept nogil:
    """Channels that stand next to each other in both, zeros, and what is left; returns how many."""
    cdef int64_t n = 0, j = 0, k, width = index.shape[0]
    while j < width:
        k = j + 1
        if index[j] < 0:
            while k < width and index[k] < 0:
                k += 1
            runs[n].from_ = RUN_ZEROS
        else:
            while k < width and index[k] == index[k - 1] + 1:
                k += 1
            runs[n].from_ = index[j] if k - j >= SHORT else RUN_PICK
        if n and runs[n].from_ == RUN_PICK and runs[n - 1].from_ == RUN_PICK:
            runs[n - 1].count += k - j
        else:
            runs[n].to, runs[n].count = j, k - j
            n += 1
        j = k
    return n


cdef void take_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, size = job.tiles.itemsize
    job.tiles.moves.take(job.x + first * job.x_step * size, job.x_step, job.channels,
                         job.out + first * job.out_step * size, job.out_step, min(job.piece, job.rows - first),
                         job.runs, job.n_runs, job.index, job.streams)


def take(const real[:, :] x, const int64_t[::1] index, real[:, ::1] out, int64_t column):
    """out[:, column + j] = x[:, index[j]], or 0 where index[j] is below 0. Rows of x may lie apart."""
    cdef Job job
    cdef convnd_run *runs
    cdef int64_t r, width = index.shape[0]
    job.tiles = tiles(sizeof(real))
    job.x, job.out, job.index = <const char *>&x[0, 0], <char *>&out[0, column], &index[0]
    job.rows, job.channels, job.out_step = x.shape[0], x.shape[1], out.shape[1]
    job.x_step = x.strides[0] // <int64_t>sizeof(real)
    job.piece = max(1, PIECE // width)
    job.streams = streams(job.out, job.out_step * sizeof(real), job.rows * width * sizeof(real))
    with nogil:
        runs = <convnd_run *>malloc(width * sizeof(convnd_run))
        if runs:
            job.runs, job.n_runs = runs, run_list(index, runs)
            for r in range(job.n_runs):
                if runs[r].to * sizeof(real) % STREAM_LINE or runs[r].count * sizeof(real) % STREAM_LINE:
                    job.streams = False
            parallel_for(take_task, &job, pieces(&job), job.rows * width * WORK)
            free(runs)
    if not runs:
        raise MemoryError("no memory for the runs of channels")


cdef struct Join:
    const convnd_tiles *tiles
    const int64_t *parts    # address, numbers between rows, width, first column of each
    int64_t count
    char *out
    int64_t rows, piece, out_step
    bint streams


cdef void join_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Join *job = <const Join *>context
    cdef int64_t first = number * job.piece, n = min(job.piece, job.rows - first), size = job.tiles.itemsize, i
    cdef const int64_t *part
    cdef convnd_run run
    for i in range(job.count):
        part = job.parts + 4 * i
        run.to, run.from_, run.count = 0, 0, part[2]
        job.tiles.moves.take(<const char *>part[0] + first * part[1] * size, part[1], part[2],
                             job.out + (first * job.out_step + part[3]) * size, job.out_step, n, &run, 1, NULL,
                             job.streams)


def join(const int64_t[:, ::1] parts, real[:, ::1] out):
    """out = the channels of all parts; of each its address, the numbers between its rows, its width and its column."""
    cdef Join job
    cdef int64_t i
    job.tiles, job.parts, job.count, job.out = tiles(sizeof(real)), &parts[0, 0], parts.shape[0], <char *>&out[0, 0]
    job.rows, job.out_step = out.shape[0], out.shape[1]
    job.piece = max(1, PIECE // job.out_step)
    job.streams = streams(job.out, job.out_step * sizeof(real), job.rows * job.out_step * sizeof(real))
    for i in range(job.count):
        if parts[i, 2] * <int64_t>sizeof(real) % STREAM_LINE or parts[i, 3] * <int64_t>sizeof(real) % STREAM_LINE:
            job.streams = False
    with nogil:
        parallel_for(join_task, &job, (job.rows + job.piece - 1) // job.piece, job.rows * job.out_step * WORK)


cdef void maxout_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, size = job.tiles.itemsize
    job.tiles.moves.maxout(job.x + first * job.channels * size, job.out + first * size,
                           min(job.piece, job.rows - first), job.channels)


cdef void maxout_grad_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, size = job.tiles.itemsize
    job.tiles.moves.maxout_grad(job.x + first * job.channels * size, job.y + first * size,
                                job.out + first * job.channels * size, min(job.piece, job.rows - first), job.channels)


def maxout(const real[:, ::1] x, real[:, ::1] out):
    """The largest of each group of neighbouring channels."""
    cdef Job job
    job.tiles, job.x, job.out = tiles(sizeof(real)), <const char *>&x[0, 0], <char *>&out[0, 0]
    job.rows, job.channels = out.shape[0] * out.shape[1], x.shape[1] // out.shape[1]
    job.piece = max(1, PIECE // job.channels)
    with nogil:
        parallel_for(maxout_task, &job, pieces(&job), job.rows * job.channels * WORK)


def maxout_grad(const real[:, ::1] x, const real[:, ::1] g, real[:, ::1] out):
    """g at the first of each group's largest, else 0."""
    cdef Job job
    job.tiles, job.x, job.y = tiles(sizeof(real)), <const char *>&x[0, 0], <const char *>&g[0, 0]
    job.out = <char *>&out[0, 0]
    job.rows, job.channels = g.shape[0] * g.shape[1], x.shape[1] // g.shape[1]
    job.piece = max(1, PIECE // job.channels)
    with nogil:
        parallel_for(maxout_grad_task, &job, pieces(&job), job.rows * job.channels * WORK)


cdef void turn_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t size = job.tiles.itemsize, each = (job.rows + job.piece - 1) // job.piece
    cdef int64_t matrix = number // each * job.rows * job.channels, first = number % each * job.piece
    job.tiles.moves.turn(job.x + (matrix + first * job.channels) * size, job.channels,
                         job.out + (matrix + first) * size, job.rows, min(job.piece, job.rows - first), job.channels)


def turn(const real[:, :, ::1] x, real[:, :, ::1] out):
    """out[i] = x[i] transposed."""
    cdef Job job
    job.tiles, job.x, job.out = tiles(sizeof(real)), <const char *>&x[0, 0, 0], <char *>&out[0, 0, 0]
    job.rows, job.channels = x.shape[1], x.shape[2]
    job.piece = max(1, PIECE // job.channels)
    with nogil:
        parallel_for(turn_task, &job, x.shape[0] * ((job.rows + job.piece - 1) // job.piece),
                     x.shape[0] * job.rows * job.channels * WORK)


# -------------------------------------------------------------------------------------------------------------- numbers

cdef void add_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t size = job.tiles.itemsize, each = (job.channels + job.piece - 1) // job.piece
    cdef int64_t first = number % each * job.piece, at = number // each * job.channels + first
    job.tiles.moves.add(job.x + at * size, job.y + first * size, job.out + at * size,
                        min(job.piece, job.channels - first), job.streams)


cdef void multiply_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = number * job.piece * job.tiles.itemsize
    job.tiles.moves.multiply(job.x + at, job.y + at, job.out + at, min(job.piece, job.rows - number * job.piece),
                             job.streams)


cdef void multiply_rows_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, size = job.tiles.itemsize, at = first * job.channels * size
    job.tiles.moves.multiply_rows(job.x + at, job.y + first * size, job.out + at, min(job.piece, job.rows - first),
                                  job.channels, job.streams)


cdef void keep_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t at = number * job.piece * job.tiles.itemsize
    job.tiles.moves.keep(job.x + at, job.y, job.out + at, min(job.piece, job.rows - number * job.piece), job.channels)


cdef void by_number(Job *job, int64_t size) noexcept nogil:
    job.tiles, job.piece = tiles(size), PIECE
    job.streams = streams(job.out, STREAM_LINE, job.rows * size)


def add(const real[::1] x, const real[::1] y, real[::1] out):
    """out = x + y, with y as often as it takes: its length divides that of x."""
    cdef Job job
    job.x, job.y, job.out = <const char *>&x[0], <const char *>&y[0], <char *>&out[0]
    job.rows, job.channels = x.shape[0], y.shape[0]
    by_number(&job, sizeof(real))
    if job.channels * sizeof(real) % STREAM_LINE:
        job.streams = False
    with nogil:
        parallel_for(add_task, &job, job.rows // job.channels * ((job.channels + job.piece - 1) // job.piece),
                     job.rows * WORK)


def multiply(const real[::1] x, const real[::1] y, real[::1] out):
    """out = x y."""
    cdef Job job
    job.x, job.y, job.out = <const char *>&x[0], <const char *>&y[0], <char *>&out[0]
    job.rows = x.shape[0]
    by_number(&job, sizeof(real))
    with nogil:
        parallel_for(multiply_task, &job, pieces(&job), job.rows * WORK)


def multiply_rows(const real[:, ::1] x, const real[::1] factor, real[:, ::1] out):
    """Each row times its own factor."""
    cdef Job job
    job.tiles, job.x, job.y = tiles(sizeof(real)), <const char *>&x[0, 0], <const char *>&factor[0]
    job.out, job.rows, job.channels = <char *>&out[0, 0], x.shape[0], x.shape[1]
    job.piece = max(1, PIECE // job.channels)
    job.streams = streams(job.out, job.channels * sizeof(real), job.rows * job.channels * sizeof(real))
    with nogil:
        parallel_for(multiply_rows_task, &job, pieces(&job), job.rows * job.channels * WORK)


def keep(const real[::1] x, const real[::1] kept, real[::1] out):
    """The bits of x under a mask, repeated: a vector whose numbers have all bits set or none."""
    cdef Job job
    job.tiles, job.x, job.y = tiles(sizeof(real)), <const char *>&x[0], <const char *>&kept[0]
    job.out, job.rows, job.channels = <char *>&out[0], x.shape[0], kept.shape[0]
    job.piece = max(1, PIECE // job.channels) * job.channels
    with nogil:
        parallel_for(keep_task, &job, pieces(&job), job.rows * WORK)


# ----------------------------------------------------------------------------------------------------------------- rows

cdef void take_rows_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, size = job.channels * job.tiles.itemsize, p
    for p in range(first, min(first + job.piece, job.rows)):
        memcpy(job.out + p * size, job.x + job.index[p] * size, size)


def take_rows(const real[:, ::1] table, const int64_t[::1] numbers, real[:, ::1] out):
    """out[p] = table[numbers[p]]."""
    cdef Job job
    job.tiles, job.x, job.out = tiles(sizeof(real)), <const char *>&table[0, 0], <char *>&out[0, 0]
    job.rows, job.channels, job.index = out.shape[0], out.shape[1], &numbers[0]
    job.piece = max(1, PIECE // job.channels)
    with nogil:
        parallel_for(take_rows_task, &job, pieces(&job), job.rows * job.channels * WORK)


cdef struct Sums:
    const int64_t *starts       # where the rows of each number begin
    const int64_t *order        # the rows, by their number
    int64_t channels, count
    int64_t piece               # numbers of a task
    const char *g
    char *out
    double *scratch             # channels of each slot
    int64_t size


cdef void by_number_list(const int64_t *numbers, int64_t positions, int64_t count, int64_t *starts,
                         int64_t *order) noexcept nogil:
    """A counting sort."""
    cdef int64_t p, k
    memset(starts, 0, (count + 2) * sizeof(int64_t))
    for p in range(positions):
        starts[numbers[p] + 2] += 1
    for k in range(2, count + 2):
        starts[k] += starts[k - 1]
    for p in range(positions):  # starts[k + 1] moves to where the next number's rows begin
        order[starts[numbers[p] + 1]] = p
        starts[numbers[p] + 1] += 1


cdef void add_rows(const Sums *job, const real *g, real *out, int64_t low, double *sums) noexcept nogil:
    cdef int64_t k, i, c, width = job.channels
    cdef const real *row
    for k in range(low, min(low + job.piece, job.count)):
        if job.starts[k] == job.starts[k + 1]:
            memset(out + k * width, 0, width * sizeof(real))
            continue
        memset(sums, 0, width * sizeof(double))
        for i in range(job.starts[k], job.starts[k + 1]):
            row = g + job.order[i] * width
            for c in range(width):
                sums[c] += row[c]
        for c in range(width):
            out[k * width + c] = <real>sums[c]


cdef void add_rows_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Sums *job = <const Sums *>context
    cdef double *sums = job.scratch + slot * job.channels
    if job.size == 4:
        add_rows[float](job, <const float *>job.g, <float *>job.out, number * job.piece, sums)
    else:
        add_rows[double](job, <const double *>job.g, <double *>job.out, number * job.piece, sums)


def sum_rows(const real[:, ::1] g, const int64_t[::1] numbers, real[:, ::1] out):
    """out[k] = the sum of the rows of g whose number is k, in float64, in their order."""
    cdef Sums job
    cdef int64_t *lists
    job.g, job.out, job.size = <const char *>&g[0, 0], <char *>&out[0, 0], sizeof(real)
    job.channels, job.count = g.shape[1], out.shape[0]
    job.piece = max(1, job.count // 64)
    with nogil:
        lists = <int64_t *>malloc((job.count + 2 + g.shape[0]) * sizeof(int64_t))
        job.scratch = <double *>malloc(slots() * job.channels * sizeof(double))
        if lists and job.scratch:
            job.starts, job.order = lists, lists + job.count + 2
            by_number_list(&numbers[0], g.shape[0], job.count, lists, lists + job.count + 2)
            parallel_for(add_rows_task, &job, (job.count + job.piece - 1) // job.piece,
                         (g.shape[0] + job.count) * job.channels * WORK)
        free(lists)
        free(job.scratch)
    if not (lists and job.scratch):
        raise MemoryError("no memory for the sums of rows")


cdef void sum_few_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t first = number * job.piece, at = first * job.tiles.itemsize
    job.tiles.moves.sum(job.x + at, job.channels, job.rows, job.out + at, min(job.piece, job.channels - first))


def sum_few(const real[:, ::1] x, real[::1] out):
    """The sum of few long rows: one chain."""
    cdef Job job
    job.tiles, job.x, job.out = tiles(sizeof(real)), <const char *>&x[0, 0], <char *>&out[0]
    job.rows, job.channels, job.piece = x.shape[0], x.shape[1], 4096
    with nogil:
        parallel_for(sum_few_task, &job, (job.channels + job.piece - 1) // job.piece, job.rows * job.channels * WORK)
