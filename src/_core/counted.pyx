# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The moments of a convolution's outputs, counted by its tasks while they have them in the cache.

Which outputs are a task's, and in which order it counts them, follows from shapes; tasks are joined in their order. So
the bits are the same for any number of threads. Source: Chan, Golub, LeVeque 1983, eq. 2.1, as in segment.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from convnd._core.isa cimport convnd_count_args, convnd_tiles
from convnd._core.panels cimport Panel

ctypedef fused real:
    float
    double


cdef bint make_counted(Counted *counted, int64_t tasks, int64_t lanes, int64_t itemsize) noexcept nogil:
    counted.lanes = lanes
    counted.moments = <char *>calloc(max(1, 3 * tasks * lanes), itemsize)
    counted.rows = <int64_t *>calloc(max(1, tasks), sizeof(int64_t))
    return counted.moments and counted.rows


cdef void free_counted(Counted *counted) noexcept nogil:
    free(counted.moments)
    free(counted.rows)


cdef Tally tally_of(const Counted *counted, int64_t task, int64_t lane, int64_t itemsize) noexcept nogil:
    cdef Tally tally
    tally.moments.centre = counted.moments + (3 * task * counted.lanes + lane) * itemsize
    tally.moments.mean = tally.moments.centre + counted.lanes * itemsize
    tally.moments.square = tally.moments.mean + counted.lanes * itemsize
    tally.rows = 0
    return tally


cdef void count_in(const convnd_tiles *tiles, Tally *tally, int64_t lanes, const char *x, int64_t x_step, char *to,
                   int64_t to_step, int64_t rows) noexcept nogil:
    cdef convnd_count_args args
    args.x, args.x_step, args.to, args.to_step = x, x_step, to, to_step
    args.moments, args.counted, args.rows, args.lanes = tally.moments, tally.rows, rows, lanes
    tiles.segment.count(&args)
    tally.rows += rows


cdef void join_task(const real *centre, const real *mean, const real *square, const Panel *panels, int64_t n_panels,
                    int64_t rows, int64_t before, double *means, double *squares) noexcept nogil:
    cdef double share = <double>rows / <double>(before + rows), weight = share * <double>before, apart
    cdef int64_t p, f, lane
    for p in range(n_panels):
        lane = panels[p].start
        for f in range(panels[p].filter, panels[p].filter + panels[p].lanes):
            apart = <double>centre[lane] + <double>mean[lane] - means[f]
            means[f] += apart * share
            squares[f] += <double>square[lane] + apart * apart * weight
            lane += 1


cdef void join_counted(const Counted *counted, int64_t tasks, const Panel *panels, int64_t n_panels, int64_t itemsize,
                       int64_t filters, double *moments) noexcept nogil:
    cdef int64_t task, rows, f, total = 0
    cdef Tally tally
    memset(moments, 0, 2 * filters * sizeof(double))
    for task in range(tasks):
        rows, tally = counted.rows[task], tally_of(counted, task, 0, itemsize)
        if rows == 0:
            continue
        if itemsize == sizeof(float):
            join_task(<float *>tally.moments.centre, <float *>tally.moments.mean, <float *>tally.moments.square, panels,
                      n_panels, rows, total, moments, moments + filters)
        else:
            join_task(<double *>tally.moments.centre, <double *>tally.moments.mean, <double *>tally.moments.square,
                      panels, n_panels, rows, total, moments, moments + filters)
        total += rows
    for f in range(filters):
        if moments[filters + f] < 0:    # a NaN stays
            moments[filters + f] = 0
