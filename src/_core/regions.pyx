# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""The tables of pooling regions: for each sample and axis, what an output covers and in which outputs an input lies."""

from libc.stdint cimport int64_t

from convnd._core.plan cimport ceil_div, floor_div


cdef struct Count:      # floor(a / b) while a goes up by one at a time, without a division each
    int64_t whole, rest, by


cdef inline Count count_from(int64_t a, int64_t b) noexcept nogil:
    cdef Count count
    count.whole, count.by = floor_div(a, b), b
    count.rest = a - count.whole * b
    return count


cdef inline void up(Count *count) noexcept nogil:
    count.rest += 1
    if count.rest == count.by:
        count.whole += 1
        count.rest = 0


def window(const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low,
           const int64_t[:, ::1] rows, int64_t[:, ::1] outputs, int64_t[::1] tap, int64_t[:, ::1] inputs):
    """Those of a window, whose kernel, stride and dilation are rows: for each output of an axis its first input, how
    many it has, and the first one's tap; for each input the first output that may hold it, and the one behind the last.
    """
    cdef int64_t n, a, q, _p, o = 0, i = 0, kernel, stride, step, before, size, count, first, begin
    cdef Count lower, upper
    with nogil:
        for n in range(in_shapes.shape[0]):
            for a in range(in_shapes.shape[1]):
                kernel, stride, step, before = rows[0, a], rows[1, a], rows[2, a], low[n, a]
                size, count = in_shapes[n, a], out_shapes[n, a]
                for q in range(count):
                    first = q * stride - before
                    begin = max(0, ceil_div(-first, step))      # the first tap that isn't before the input
                    outputs[0, o] = first + begin * step
                    outputs[1, o] = max(0, min(kernel - 1, floor_div(size - 1 - first, step)) - begin + 1)
                    tap[o] = begin
                    o += 1
                # Inputs reach back to output ceil((p + before - (kernel - 1) step) / stride).
                lower = count_from(before - (kernel - 1) * step + stride - 1, stride)
                upper = count_from(before, stride)
                for _p in range(size):
                    inputs[0, i] = max(0, lower.whole)
                    inputs[1, i] = min(count, upper.whole + 1)
                    up(&lower)
                    up(&upper)
                    i += 1


def proportional(const int64_t[:, ::1] shapes, const int64_t[::1] bins, int64_t[:, ::1] outputs,
                 int64_t[:, ::1] inputs):
    """Those of bins: bin q of b on an axis of length S covers floor(q S / b) up to ceil((q + 1) S / b)."""
    cdef int64_t n, a, q, o = 0, i = 0, size, count
    with nogil:
        for n in range(shapes.shape[0]):
            for a in range(shapes.shape[1]):
                size, count = shapes[n, a], bins[a]
                for q in range(count):
                    outputs[0, o] = q * size // count
                    outputs[1, o] = ((q + 1) * size + count - 1) // count - outputs[0, o]
                    o += 1
                # Bin q covers p when q S < (p + 1) b and p b < (q + 1) S.
                for q in range(size):
                    inputs[0, i] = q * count // size
                    inputs[1, i] = ((q + 1) * count + size - 1) // size
                    i += 1
