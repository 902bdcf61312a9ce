# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Panels and packs: [group][panel][tap][channel][filter of the panel].

A panel is one or two vectors of filters wide; what a group's filters leave over is filled with zeros. Where lanes are
input channels, it is at most four filters wide, and its packs are [group][panel][tap][vector][filter][channel].
Where they are the filters of several groups, [panel][tap][channel of a group][filter], two vectors of filters wide.
"""

from libc.stdlib cimport free, malloc

from convnd._core.isa cimport tiles
from convnd._core.plan cimport class_size, gcd

ctypedef fused real:
    float
    double


LANES = {"filters": FILTERS, "channels": CHANNELS, "groups": GROUPS}
# Filters of a panel whose lanes are channels.
cdef int64_t MOST_DOTS = 4


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


cdef int64_t count_taps(const Window *window) noexcept nogil:
    cdef int64_t a, n = 1
    for a in range(window.rank):
        n *= window.kernel[a]
    return n


cdef int64_t packed_tap(const Window *window, int64_t tap) noexcept nogil:
    cdef int64_t a, t, c, k, period, slot, unit = 1, place_ = 0
    for a in range(window.rank - 1, -1, -1):
        k = window.kernel[a]
        t = tap % k
        tap = tap // k
        if window.transposed:
            period = window.stride[a] // gcd(window.stride[a], window.dilation[a])
            slot = 0
            for c in range(t % period):
                slot += class_size(k, period, c)
            t = slot + class_size(k, period, t % period) - 1 - t // period
        place_ += unit * t
        unit *= k
    return place_


def pack(const real[:, :, ::1] weight, const int64_t[:, ::1] geometry, bint transposed, bint flip, int64_t groups,
         Lanes kind, real[::1] packed):
    """Pack a weight (taps, C / groups, F); returns the numbers it takes. Call with an empty `packed` to ask."""
    cdef const convnd_tiles *t = tiles(sizeof(real))
    cdef Window window
    read_window(&window, geometry, transposed)
    cdef int64_t taps = weight.shape[0], channels = weight.shape[1], filters = weight.shape[2] // groups
    cdef int64_t depth = filters if transposed else channels
    cdef int64_t width = channels if transposed else filters
    cdef int64_t n_panels, p, tap, slot, k, f, c, step, from_tap, total = 0
    cdef Panel *panels
    cdef Panel panel
    cdef real *to
    panels = make_panels(t, groups, depth, width, taps, kind, &n_panels)
    if not panels:
        raise MemoryError("no memory for the panels of a weight")
    for p in range(n_panels):
        total += taps * depth * panels[p].size
    if packed.shape[0]:
        with nogil:
            for p in range(n_panels):
                panel = panels[p]
                step = t.lanes if kind == CHANNELS else 1    # from one filter's weight to the next one's
                for tap in range(taps):
                    slot = packed_tap(&window, tap)
                    for k in range(depth):
                        to = &packed[panel.pack + (slot * depth + k // step * step) * panel.size + k % step]
                        from_tap = taps - 1 - tap if flip else tap
                        for f in range(panel.lanes):
                            c = panel.filter + f
                            if transposed:
                                to[f * step] = weight[from_tap, c % width, c // width * depth + k]
                            else:
                                to[f * step] = weight[from_tap, k, c]
                        for f in range(panel.lanes, panel.size):
                            to[f] = 0
    free(panels)
    return total
