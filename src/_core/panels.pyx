# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Panels and packs: [group][panel][tap][channel][filter of the panel].

A panel is one, two or, where there are tiles for that and filters to fill it, four vectors of filters wide; what a
group's filters leave over is filled with zeros. Where lanes are input channels, it is at most four filters wide, and
its packs are [group][panel][tap][vector][filter][channel].
Where they are the filters of several groups, [panel][tap][channel of a group][filter], two vectors of filters wide.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from convnd._core.isa cimport tiles
from convnd._core.plan cimport class_size, gcd
from convnd._core.threads cimport parallel_for

ctypedef fused real:
    float
    double


LANES = {"filters": FILTERS, "channels": CHANNELS, "groups": GROUPS}
# Filters of a panel whose lanes are channels.
cdef int64_t MOST_DOTS = 4
# Channels that a transposed weight is packed by, and what a number costs, in multiply-adds of a convolution.
cdef int64_t PACKED_CHANNELS = 16
cdef int64_t PACK_WORK = 32


cdef int64_t panel_layout(const convnd_tiles *t, int64_t groups, int64_t depth, int64_t filters, int64_t taps,
                          Lanes kind, Panel *panels) noexcept nogil:
    """Fill `panels` (unless NULL) and return how many; `filters` are those of a group."""
    cdef int64_t g, f, n = 0, pack = 0, start = 0, lanes, vectors, size
    if kind == GROUPS:
        groups, filters = 1, groups * filters
    for g in range(groups):
        f = 0
        while f < filters:
            if kind == CHANNELS:
                lanes = (filters - f + MOST_DOTS - 1) // MOST_DOTS    # panels left
                lanes = (filters - f + lanes - 1) // lanes            # as equal as can be
                vectors = size = lanes
            else:
                vectors = 2 if filters - f > t.lanes or kind == GROUPS else 1
                if kind == FILTERS and t.height[4] and filters - f >= 4 * t.lanes:
                    vectors = 4
                lanes, size = min(filters - f, vectors * t.lanes), vectors * t.lanes
            if panels:
                panels[n].x = f if kind == GROUPS else g * depth
                panels[n].filter = g * filters + f
                panels[n].lanes, panels[n].vectors, panels[n].size = lanes, vectors, size
                panels[n].pack, panels[n].start = pack, start
            pack += taps * depth * size
            start += size
            n += 1
            f += lanes
    return n


cdef Panel *make_panels(const convnd_tiles *t, int64_t groups, int64_t depth, int64_t filters, int64_t taps,
                        Lanes kind, int64_t *n_panels) noexcept nogil:
    n_panels[0] = panel_layout(t, groups, depth, filters, taps, kind, NULL)
    cdef Panel *panels = <Panel *>malloc(max(1, n_panels[0]) * sizeof(Panel))
    if panels:
        panel_layout(t, groups, depth, filters, taps, kind, panels)
    return panels


cdef void read_window(Window *window, const int64_t[:, ::1] geometry, bint transposed) noexcept nogil:
    cdef int64_t a
    window.rank = geometry.shape[1]
    window.transposed = transposed
    for a in range(window.rank):
        window.kernel[a], window.stride[a], window.dilation[a] = geometry[0, a], geometry[1, a], geometry[2, a]
        window.tile[a] = geometry[3, a] if geometry.shape[0] > 3 else 1


cdef int64_t count_taps(const Window *window) noexcept nogil:
    cdef int64_t a, n = 1
    for a in range(window.rank):
        n *= window.kernel[a] * window.tile[a]
    return n


cdef int64_t count_window(const Window *window) noexcept nogil:
    cdef int64_t a, n = 1
    for a in range(window.rank):
        n *= window.kernel[a]
    return n


cdef int64_t packed_tap(const Window *window, int64_t tap) noexcept nogil:
    cdef int64_t a, t, c, k, g, i, period, size, residue, tile, slot, unit = 1, place_ = 0
    for a in range(window.rank - 1, -1, -1):
        k, tile = window.kernel[a], window.tile[a]
        t = tap % (k * tile)
        tap = tap // (k * tile)
        if window.transposed:
            residue, t = t // k, t % k
            g = gcd(window.stride[a], window.dilation[a])
            period = window.stride[a] // g
            slot = 0
            for c in range(t % period):
                slot += class_size(k, period, c)
            size = class_size(k, period, t % period)
            i = size - 1 - t // period
            residue = (residue - i * (window.dilation[a] // g)) % tile
            t = slot * tile + (residue + tile if residue < 0 else residue) * size + i
        place_ += unit * t
        unit *= k * tile
    return place_


cdef bint uniform(const Batch *batch, int64_t rank) noexcept nogil:
    cdef int64_t s, a
    for s in range(1, batch.samples):
        for a in range(rank):
            if (batch.in_shapes[s * rank + a] != batch.in_shapes[a] or batch.low[s * rank + a] != batch.low[a]
                    or batch.out_shapes[s * rank + a] != batch.out_shapes[a]):
                return False
        if (batch.in_offsets[s] != batch.in_offsets[0] + s * (batch.in_offsets[1] - batch.in_offsets[0])
                or batch.out_offsets[s] != batch.out_offsets[0] + s * (batch.out_offsets[1] - batch.out_offsets[0])):
            return False
    return True


cdef class Geometry:
    """A window on a batch, channels and groups. Shapes and low are (N, rank), offsets (N + 1,); all is checked.

    The window is rows of kernel, stride, dilation, and the tile of a tiled convolution. Its weight is then (taps, C /
    groups, F) as well: axis by axis a tap for each residue and each of the kernel's, the residue first.
    """

    def __cinit__(self, const int64_t[:, ::1] window, const int64_t[:, ::1] in_shapes,
                  const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                  const int64_t[::1] out_offsets, bint transposed, int64_t channels, int64_t filters, int64_t groups,
                  int64_t itemsize):
        read_window(&self.window, window, transposed)
        self.taps, self.taps_of_one = count_taps(&self.window), count_window(&self.window)
        self.channels, self.filters, self.groups, self.itemsize = channels, filters, groups, itemsize
        self.batch.samples = in_shapes.shape[0]
        self.batch.in_offsets, self.batch.out_offsets = &in_offsets[0], &out_offsets[0]
        if self.batch.samples:
            self.batch.in_shapes, self.batch.out_shapes = &in_shapes[0, 0], &out_shapes[0, 0]
            self.batch.low = &low[0, 0]
        self.kept = in_shapes, out_shapes, low, in_offsets, out_offsets


cdef char *start_of(object array, int flags) except NULL:
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    cdef char *start = <char *>view.buf
    PyBuffer_Release(&view)
    return start


cdef const char *values(object array) except NULL:
    return start_of(array, PyBUF_SIMPLE)


cdef char *values_to_fill(object array) except NULL:
    return start_of(array, PyBUF_WRITABLE)


cdef struct Packing:
    const Window *window
    const char *weight      # (taps, rows, columns)
    char *packed
    const Panel *panels
    int64_t itemsize, taps, rows, columns
    int64_t depth           # input channels and filters of a group
    int64_t width
    bint flip
    Lanes kind


cdef void fill_pack(const Packing *job, const Panel *panel, int64_t tap, const real *weight, real *to) noexcept nogil:
    """A panel's numbers of one tap; `weight` and `to` are at the tap's."""
    cdef int64_t k, f, c, start, end, size = panel.size
    cdef int64_t step = tiles(sizeof(real)).lanes if job.kind == CHANNELS else 1    # from one filter's to the next's
    cdef const real *own
    cdef real *there
    if not job.window.transposed and step == 1:
        for k in range(job.depth):
            memcpy(to + k * size, weight + k * job.columns + panel.filter, panel.lanes * sizeof(real))
            memset(to + k * size + panel.lanes, 0, (size - panel.lanes) * sizeof(real))
        return
    c = panel.filter % job.width
    if job.window.transposed and step == 1 and c + panel.lanes <= job.width:
        tiles(sizeof(real)).moves.turn(
            <const char *>(weight + c * job.columns + panel.filter // job.width * job.depth), job.columns, <char *>to,
            size, panel.lanes, job.depth)
        if panel.lanes < size:
            for k in range(job.depth):
                memset(to + k * size + panel.lanes, 0, (size - panel.lanes) * sizeof(real))
        return
    # Some channels of all filters at a time: their lines stay in the cache until they are full.
    start = 0
    while start < job.depth:
        end = min(start + PACKED_CHANNELS, job.depth)
        for f in range(panel.lanes):
            c = panel.filter + f
            if job.window.transposed:
                own = weight + c % job.width * job.columns + c // job.width * job.depth
                there = to + f * step
                if step == 1:
                    for k in range(start, end):
                        there[k * size] = own[k]
                else:
                    for k in range(start, end):
                        there[k // step * step * size + k % step] = own[k]
            else:
                for k in range(start, end):
                    to[k // step * step * size + k % step + f * step] = weight[k * job.columns + c]
        if step == 1 and panel.lanes < size:
            for k in range(start, end):
                memset(to + k * size + panel.lanes, 0, (size - panel.lanes) * sizeof(real))
        start = end


cdef void pack_task(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Packing *job = <const Packing *>context
    cdef const Panel *panel = &job.panels[index // job.taps]
    cdef int64_t tap = index % job.taps, size = job.itemsize
    cdef int64_t from_tap = job.taps - 1 - tap if job.flip else tap
    cdef const char *weight = job.weight + from_tap * job.rows * job.columns * size
    cdef char *to = job.packed + (panel.pack + packed_tap(job.window, tap) * job.depth * panel.size) * size
    if size == sizeof(float):
        fill_pack(job, panel, tap, <const float *>weight, <float *>to)
    else:
        fill_pack(job, panel, tap, <const double *>weight, <double *>to)


cdef Panel *panels_of(Geometry at, Lanes kind, int64_t *n_panels) except NULL:
    cdef Panel *panels = make_panels(tiles(at.itemsize), at.groups, at.channels // at.groups,
                                     at.filters // at.groups, at.taps, kind, n_panels)
    if not panels:
        raise MemoryError("no memory for the panels of a weight")
    return panels


def size(Geometry at, Lanes kind):
    """The numbers that a packed weight takes."""
    cdef int64_t n_panels
    cdef Panel *panels = panels_of(at, kind, &n_panels)
    cdef int64_t total = panels[n_panels - 1].pack + at.taps * (at.channels // at.groups) * panels[n_panels - 1].size
    free(panels)
    return total


def pack(Geometry at, weight, bint flip, Lanes kind, packed):
    """Pack a weight (*kernel, C / groups, F)."""
    cdef int64_t n_panels
    cdef Packing job
    job.weight, job.packed = values(weight), values_to_fill(packed)
    job.panels = panels_of(at, kind, &n_panels)
    job.window, job.itemsize, job.taps, job.flip, job.kind = &at.window, at.itemsize, at.taps, flip, kind
    job.depth, job.width = at.channels // at.groups, at.filters // at.groups
    job.rows = job.width if at.window.transposed else job.depth
    job.columns = at.channels if at.window.transposed else at.filters
    with nogil:
        parallel_for(pack_task, &job, n_panels * job.taps, job.taps * job.rows * job.columns * PACK_WORK)
    free(<void *>job.panels)
