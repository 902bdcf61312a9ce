"""Channels in panels, which the depthwise convolution and its weight gradient share."""

from libc.stdint cimport int64_t

from convnd._core.plan cimport Axis

cdef enum:
    MAX_SPANS = 2
    BAND_BYTES = 28 * 1024  # of inputs that a band of columns meets again in the first-level cache
    LEAST_BAND = 8          # columns that are worth it

# Panels of one width next to each other. Where channels are left over, the last panel reaches back over the one before:
# a channel's numbers are the same in both.
cdef struct Span:
    int64_t channel  # the first
    int64_t panels
    int64_t vectors  # width of a panel
    int64_t lane     # where the first panel starts among all panels' lanes
    int64_t lanes    # of a single panel that isn't full; else 0

cdef inline int64_t add_span(Span *spans, int64_t n, int64_t channel, int64_t panels, int64_t vectors,
                             int64_t lanes, int64_t vector) noexcept nogil:
    cdef int64_t lane = 0
    if n > 0:
        lane = spans[n - 1].lane + spans[n - 1].panels * spans[n - 1].vectors * vector
    spans[n].channel, spans[n].panels, spans[n].vectors = channel, panels, vectors
    spans[n].lane, spans[n].lanes = lane, lanes
    return n + 1


# All channels, in panels of at most `widest` vectors of `vector` lanes each; returns how many spans.
cdef inline int64_t make_spans(int64_t channels, int64_t widest, int64_t vector, Span *spans) noexcept nogil:
    cdef int64_t width = widest * vector, panels = channels // width, rest = channels - panels * width, n = 0
    if panels:
        n = add_span(spans, n, 0, panels, widest, 0, vector)
    if channels < vector:
        n = add_span(spans, n, 0, 1, 1, channels, vector)
    elif rest > vector and not panels:
        n = add_span(spans, n, 0, 1, 1, 0, vector)
        n = add_span(spans, n, channels - vector, 1, 1, 0, vector)
    elif rest > vector:
        n = add_span(spans, n, channels - width, 1, widest, 0, vector)
    elif rest:
        n = add_span(spans, n, channels - vector, 1, 1, 0, vector)
    return n


# Lanes of all panels.
cdef inline int64_t count_lanes(const Span *spans, int64_t n, int64_t vector) noexcept nogil:
    return spans[n - 1].lane + spans[n - 1].panels * spans[n - 1].vectors * vector


# Columns of `outputs` to take through all rows, so that these find the inputs they share in the first-level cache.
# 0: it doesn't hold those of a few columns, or there are no rows or columns.
cdef inline int64_t band(int64_t rank, const Axis *axes, int64_t bytes, int64_t outputs) noexcept nogil:
    cdef int64_t a, most, parts
    cdef const Axis *inner = &axes[rank - 1]
    for a in range(rank - 1):
        bytes *= axes[a].taps
    if rank < 2 or bytes == 0 or outputs == 0:
        return 0
    most = (BAND_BYTES // bytes - inner.taps * inner.base_step) // inner.in_step + 1
    if most < min(outputs, LEAST_BAND * max(1, inner.base_step // inner.in_step)):
        return 0
    parts = (outputs + most - 1) // most
    return (outputs + parts - 1) // parts
