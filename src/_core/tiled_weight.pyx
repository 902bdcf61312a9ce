# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The weight gradient of a tiled convolution on ragged batches, up to one that shares nothing.

A weight belongs to the outputs of one residue modulo the tile. A task is a residue and a tap: it sums over these
outputs of all samples, in their order, so any number of threads gives the same bits.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from convnd._core.isa cimport convnd_tiles, convnd_weight_args, tiles
from convnd._core.panels cimport FILTERS, Batch, Geometry, Panel, make_panels, uniform, values, values_to_fill
from convnd._core.plan cimport MAX_RANK, Axis, Window, axis_phases, count_rows, outputs_from, outputs_to, place
from convnd._core.threads cimport parallel_for, slots

cdef struct TiledWeight:
    const convnd_tiles *tiles
    const Window *window
    Batch batch
    const char *x
    const char *g
    char *out
    int64_t channels, filters, depth, n_panels, taps
    Panel *panels
    bint uniform        # all samples are alike
    int64_t *segments   # scratch
    int64_t segments_size


cdef int64_t find_rows(const TiledWeight *job, int64_t sample, const int64_t *residue, const int64_t *tap,
                       int64_t *segments) noexcept nogil:
    """The sample's outputs of this residue that have the tap, a segment for each row; returns how many."""
    cdef int64_t a, n = 0, row, r, q, x, g, first, last, phase = 0, unit = 1, rank = job.window.rank
    cdef const int64_t *out_shape = job.batch.out_shapes + sample * rank
    cdef Axis axes[MAX_RANK]
    cdef Axis *inner = &axes[rank - 1]
    for a in range(rank - 1, -1, -1):
        if residue[a] >= out_shape[a]:
            return 0
        phase += residue[a] * unit
        unit *= axis_phases(job.window, a, out_shape[a])
    place(job.window, phase, job.batch.in_shapes + sample * rank, out_shape, job.batch.low + sample * rank, axes)
    first, last = outputs_from(inner, tap[rank - 1]), outputs_to(inner, tap[rank - 1])
    if first >= last:
        return 0
    for row in range(count_rows(rank, axes)):
        r, x, g, unit = row, 0, 0, 1
        for a in range(rank - 2, -1, -1):
            q = r % axes[a].count
            r = r // axes[a].count
            if q < outputs_from(&axes[a], tap[a]) or q >= outputs_to(&axes[a], tap[a]):
                break
            x += (q * axes[a].in_step + axes[a].base + tap[a] * axes[a].base_step) * unit
            unit *= axes[a].in_size
        else:
            unit = 1
            r = row
            for a in range(rank - 2, -1, -1):
                g += (axes[a].out_phase + r % axes[a].count * axes[a].out_step) * unit
                r = r // axes[a].count
                unit *= axes[a].out_size
            x = x * inner.in_size + first * inner.in_step + inner.base + tap[rank - 1] * inner.base_step
            g = g * inner.out_size + inner.out_phase + first * inner.out_step
            segments[3 * n] = (job.batch.in_offsets[sample] + x) * job.channels
            segments[3 * n + 1] = (job.batch.out_offsets[sample] + g) * job.filters
            segments[3 * n + 2] = last - first
            n += 1
    return n


cdef void weight_task(void *context, int64_t number, int64_t slot) noexcept nogil:
    cdef const TiledWeight *job = <const TiledWeight *>context
    cdef int64_t *segments = job.segments + slot * job.segments_size
    cdef int64_t a, p, k, n, height, sample, left = number, rank = job.window.rank, size = job.tiles.itemsize
    cdef int64_t residue[MAX_RANK]
    cdef int64_t tap[MAX_RANK]
    cdef const Panel *panel
    cdef convnd_weight_args args
    for a in range(rank - 1, -1, -1):
        tap[a] = left % job.window.kernel[a]
        left = left // job.window.kernel[a]
    for a in range(rank - 1, -1, -1):
        residue[a] = left % job.window.tile[a]
        left = left // job.window.tile[a]
    a = rank - 1
    args.x_step = job.window.stride[a] * job.window.tile[a] * job.channels
    args.g_step, args.acc_step = job.window.tile[a] * job.filters, job.filters
    args.segments, args.fresh = segments, True
    args.n_segments = find_rows(job, 0, residue, tap, segments)
    if job.uniform and args.n_segments == 1 and segments[2] == 1:
        # Every sample has one such output: the samples are the positions.
        segments[2] = job.batch.samples
        args.x_step = (job.batch.in_offsets[1] - job.batch.in_offsets[0]) * job.channels
        args.g_step = (job.batch.out_offsets[1] - job.batch.out_offsets[0]) * job.filters
    else:
        for sample in range(1, job.batch.samples):
            args.n_segments += find_rows(job, sample, residue, tap, segments + 3 * args.n_segments)
    for p in range(job.n_panels):
        panel = &job.panels[p]
        args.g, args.lanes = job.g + panel.filter * size, panel.lanes
        args.ask, args.ask_step = args.g, 0
        n = (job.depth + job.tiles.weight.height[panel.vectors] - 1) // job.tiles.weight.height[panel.vectors]
        k = 0
        while n > 0:
            height = (job.depth - k + n - 1) // n
            args.x = job.x + (panel.x + k) * size
            args.acc = job.out + ((number * job.depth + k) * job.filters + panel.filter) * size
            job.tiles.weight.plain[panel.vectors][height](&args)
            k += height
            n -= 1


def conv_weight(Geometry at, x, g, out):
    """out (*tile, *kernel, C / groups, F) = the sum over the outputs of each residue of x at each tap times g.

    Beyond the last number of g lie those that fill two vectors: they are read, but never used."""
    cdef TiledWeight job
    cdef int64_t s, a, rows, size = at.itemsize
    cdef bint done = False
    job.tiles, job.window, job.batch = tiles(size), &at.window, at.batch
    job.channels, job.filters, job.depth = at.channels, at.filters, at.channels // at.groups
    job.x, job.g, job.out = values(x), values(g), values_to_fill(out)
    with nogil:
        job.uniform = job.batch.samples > 1 and uniform(&job.batch, job.window.rank)
        job.segments_size = 3
        for s in range(job.batch.samples):
            rows = 1
            for a in range(job.window.rank - 1):
                rows *= (job.batch.out_shapes[s * job.window.rank + a] + job.window.tile[a] - 1) // job.window.tile[a]
            job.segments_size += 3 * rows
        job.panels = make_panels(job.tiles, at.groups, job.depth, job.filters // at.groups, at.taps, FILTERS,
                                 &job.n_panels)
        job.segments = <int64_t *>malloc(slots() * job.segments_size * sizeof(int64_t))
        if job.panels and job.segments:
            parallel_for(weight_task, &job, at.taps, job.batch.out_offsets[job.batch.samples] * job.filters
                         * at.taps_of_one * job.depth)
            done = True
        free(job.panels)
        free(job.segments)
    if not done:
        raise MemoryError("no memory for the tasks of a weight gradient")
