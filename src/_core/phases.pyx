# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Positions to channels and back: what lies at every phase of a stride side by side.

    folded[i, (r, c)] = x[s i + r - low, c],  0 <= r < s on each axis, zeros from where x ends, or is read no more

Phases are row-major, channels last. A task is some rows of the result, each written once.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from convnd._core.isa cimport convnd_run, convnd_tiles, tiles
from convnd._core.plan cimport MAX_RANK
from convnd._core.threads cimport owner_of, parallel_for

ctypedef fused real:
    float
    double

cdef int64_t PIECE = 16 * 1024  # numbers of a task
cdef int64_t WORK = 16          # what a number costs, in multiply-adds of a convolution

cdef struct Job:
    const convnd_tiles *tiles
    const char *x
    char *out
    const int64_t *shapes           # (samples, rank) of the positions, and where samples begin
    const int64_t *offsets
    const int64_t *folded_shapes
    const int64_t *folded_offsets
    const int64_t *ends             # (samples, rank): positions that are read; all of them, on the way back
    const int64_t *low
    const int64_t *stride
    int64_t samples, rank, channels
    int64_t chunk                   # numbers of a position and its neighbours that share a place on the last axis
    int64_t width                   # channels when folded
    int64_t *starts                 # the first task of each sample
    int64_t *rows                   # of a task, for each sample
    bint back


cdef void copy(const Job *job, const char *x, int64_t x_step, char *out, int64_t out_step, int64_t count,
               int64_t rows) noexcept nogil:
    """Rows of so many numbers, apart by the steps."""
    cdef convnd_run run
    run.to, run.from_, run.count = 0, 0, count
    if rows > 0 and count > 0:
        job.tiles.moves.take(x, x_step, count, out, out_step, rows, &run, 1, NULL, False)


cdef void move(const Job *job, char *positions, char *folded, int64_t first, int64_t last, int64_t count,
               int64_t step) noexcept nogil:
    """Places first ... last - 1 of a row, `count` numbers each; positions are apart by `step`."""
    cdef int64_t size = job.tiles.itemsize
    positions += first * step * size
    folded += first * job.width * size
    if job.back:
        copy(job, folded, job.width, positions, step, count, last - first)
    else:
        copy(job, positions, step, folded, job.width, count, last - first)


cdef void move_row(const Job *job, int64_t n, char *positions, char *folded) noexcept nogil:
    """A row of positions, or zeros (NULL), and one phase of a folded row, which begins at `folded`."""
    cdef int64_t a = job.rank - 1, size = job.tiles.itemsize, c = job.channels, i, r, p
    cdef int64_t s = job.stride[a], low = job.low[n * job.rank + a], length = job.ends[n * job.rank + a]
    cdef int64_t places = job.folded_shapes[n * job.rank + a]
    # Whole places lie between these; low < s there, or a place before them is all zeros.
    cdef int64_t first = min(places, (low + s - 1) // s), last = max(first, min(places, (length + low) // s))
    if positions == NULL:
        for i in range(places):
            memset(folded + i * job.width * size, 0, job.chunk * size)
        return
    move(job, positions - low * c * size, folded, first, last, job.chunk, s * c)
    for i in range(places):
        if first <= i < last:
            continue
        for r in range(s):
            p = s * i + r - low
            if 0 <= p < length:
                if job.back:
                    copy(job, folded + (i * job.width + r * c) * size, 0, positions + p * c * size, 0, c, 1)
                else:
                    copy(job, positions + p * c * size, 0, folded + (i * job.width + r * c) * size, 0, c, 1)
            elif not job.back:
                memset(folded + (i * job.width + r * c) * size, 0, c * size)


cdef void fold_row(const Job *job, int64_t n, int64_t row) noexcept nogil:
    """All phases of a row of places."""
    cdef int64_t a, phase, phases = 1, left, place, at, r, size = job.tiles.itemsize, last = job.rank - 1
    cdef const int64_t *shape = job.shapes + n * job.rank
    cdef const int64_t *folded = job.folded_shapes + n * job.rank
    cdef const int64_t *ends = job.ends + n * job.rank
    cdef const int64_t *low = job.low + n * job.rank
    cdef int64_t where[MAX_RANK]
    cdef bint inside
    cdef char *out = job.out + (job.folded_offsets[n] + row * folded[last]) * job.width * size
    cdef char *x
    left = row
    for a in range(last - 1, -1, -1):
        where[a] = left % folded[a]
        left = left // folded[a]
        phases *= job.stride[a]
    for phase in range(phases):
        left, at, place, inside = phase, 0, 1, True
        for a in range(last - 1, -1, -1):
            r = job.stride[a] * where[a] + left % job.stride[a] - low[a]
            left = left // job.stride[a]
            inside = inside and 0 <= r < ends[a]
            at += r * place
            place *= shape[a]
        x = NULL
        if inside:
            x = <char *>job.x + (job.offsets[n] + at * shape[last]) * job.channels * size
        move_row(job, n, x, out + phase * job.chunk * size)


cdef void unfold_row(const Job *job, int64_t n, int64_t row) noexcept nogil:
    """A row of positions, from the phase of the folded row that has it."""
    cdef int64_t a, phase = 0, phases = 1, left = row, at = 0, place = 1, q, size = job.tiles.itemsize
    cdef int64_t last = job.rank - 1
    cdef const int64_t *shape = job.shapes + n * job.rank
    cdef const int64_t *folded = job.folded_shapes + n * job.rank
    for a in range(last - 1, -1, -1):
        q = left % shape[a] + job.low[n * job.rank + a]
        left = left // shape[a]
        phase += q % job.stride[a] * phases
        phases *= job.stride[a]
        at += q // job.stride[a] * place
        place *= folded[a]
    move_row(job, n, job.out + (job.offsets[n] + row * shape[last]) * job.channels * size,
             <char *>job.x + ((job.folded_offsets[n] + at * folded[last]) * job.width + phase * job.chunk) * size)


cdef void task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const Job *job = <const Job *>context
    cdef int64_t n = owner_of(job.starts, job.samples, number), row, rows = 1, a
    cdef const int64_t *shape = (job.shapes if job.back else job.folded_shapes) + n * job.rank
    for a in range(job.rank - 1):
        rows *= shape[a]
    row = (number - job.starts[n]) * job.rows[n]
    for row in range(row, min(rows, row + job.rows[n])):
        if job.back:
            unfold_row(job, n, row)
        else:
            fold_row(job, n, row)


cdef int run(Job *job, int64_t numbers) except -1:
    cdef int64_t n, a, rows, total = 0, width
    cdef const int64_t *shape
    cdef int64_t *lists
    with nogil:
        lists = <int64_t *>malloc(2 * job.samples * sizeof(int64_t))
        if lists:
            job.starts, job.rows = lists, lists + job.samples
            for n in range(job.samples):
                shape = (job.shapes if job.back else job.folded_shapes) + n * job.rank
                rows = 1
                for a in range(job.rank - 1):
                    rows *= shape[a]
                width = shape[job.rank - 1] * (job.channels if job.back else job.width)
                job.rows[n] = max(1, PIECE // max(1, width))
                job.starts[n] = total
                total += (rows + job.rows[n] - 1) // job.rows[n] if width else 0
            parallel_for(task, job, total, numbers * WORK)
            free(lists)
    if not lists:
        raise MemoryError("no memory for the tasks of folding")
    return 0


def move_phases(const real[:, ::1] x, const int64_t[:, ::1] shapes, const int64_t[::1] offsets,
                const int64_t[:, ::1] folded_shapes, const int64_t[::1] folded_offsets, const int64_t[:, ::1] ends,
                const int64_t[:, ::1] low, const int64_t[::1] stride, bint back, real[:, ::1] out):
    """out = x folded; or, `back`, the positions of a folded x, all of which it has."""
    cdef Job job
    job.tiles, job.x, job.out = tiles(sizeof(real)), <const char *>&x[0, 0], <char *>&out[0, 0]
    job.shapes, job.offsets, job.low, job.stride = &shapes[0, 0], &offsets[0], &low[0, 0], &stride[0]
    job.ends = &shapes[0, 0] if back else &ends[0, 0]
    job.folded_shapes, job.folded_offsets = &folded_shapes[0, 0], &folded_offsets[0]
    job.samples, job.rank, job.back = shapes.shape[0], shapes.shape[1], back
    job.channels, job.width = (out.shape[1], x.shape[1]) if back else (x.shape[1], out.shape[1])
    job.chunk = stride[job.rank - 1] * job.channels
    run(&job, out.shape[0] * out.shape[1])
