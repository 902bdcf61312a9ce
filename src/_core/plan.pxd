"""Windows and shapes to ranges of taps: what compiled code knows of rank, beside the tables of `regions`.

One description serves a convolution, and each phase of a transposed one. On an axis, output number q of a
phase lies at out_phase + q out_step, and its tap j reads input q in_step + base + j base_step, if that exists.

For the transposed convolution with stride s and dilation d, output o takes tap t from input (o + low - t d) / s
where that is whole. With g = gcd(s, d) and the taps t = c, c + s/g, c + 2 s/g ... of class c, where c d = o + low
(mod s), the inputs are d/g apart. So phase o mod s is a convolution of stride 1 with the taps of one class,
descending; packed weights keep the taps in that order (see packed_tap).

A tiled convolution has a weight for each residue of the outputs modulo the tile t. Its phases are these residues, each
a convolution of stride s t by one weight; those of its transpose are the residues of the outputs modulo s t. There all
outputs of a phase take a tap from inputs of one residue modulo t: r0 + i d/g for tap number i of the phase's class, r0
that of the first. A residue and a tap belong to exactly one class and r0, so the packed taps of an axis are those of
the classes in turn, for each r0 in turn. Both ways an axis has t times as many packed taps as the kernel.
"""

from libc.stdint cimport int64_t

cdef enum:
    MAX_RANK = 16

cdef struct Axis:
    int64_t count       # outputs
    int64_t out_size    # positions of the output's axis
    int64_t out_phase
    int64_t out_step
    int64_t in_size
    int64_t in_step
    int64_t base
    int64_t base_step
    int64_t taps
    int64_t slot        # place of the first tap among the packed taps of this axis
    int64_t kernel      # taps of this axis in the pack

cdef struct Window:
    int64_t rank
    bint transposed
    int64_t kernel[MAX_RANK]
    int64_t stride[MAX_RANK]
    int64_t dilation[MAX_RANK]
    int64_t tile[MAX_RANK]


# b > 0. Written so that it is right with C's division and with Python's. Mostly b is 1, and a division is slow.
cdef inline int64_t floor_div(int64_t a, int64_t b) noexcept nogil:
    if b == 1:
        return a
    return a // b if a >= 0 else -((-a + b - 1) // b)


cdef inline int64_t ceil_div(int64_t a, int64_t b) noexcept nogil:
    return -floor_div(-a, b)


cdef inline int64_t gcd(int64_t a, int64_t b) noexcept nogil:
    cdef int64_t t
    while b:
        t = a % b
        a = b
        b = t
    return a


# Taps c, c + period, c + 2 period ... below kernel.
cdef inline int64_t class_size(int64_t kernel, int64_t period, int64_t c) noexcept nogil:
    return (kernel - c + period - 1) // period if c < kernel else 0


# Phases of an axis with so many outputs.
cdef inline int64_t axis_phases(const Window *window, int64_t a, int64_t outputs) noexcept nogil:
    return min(window.tile[a] * (window.stride[a] if window.transposed else 1), max(1, outputs))


# Phases that have outputs.
cdef inline int64_t phases(const Window *window, const int64_t *out_shape) noexcept nogil:
    cdef int64_t n = 1, a
    for a in range(window.rank):
        n *= axis_phases(window, a, out_shape[a])
    return n


# Of how many taps an output takes one: those of a transposed convolution meet every stride-th input.
cdef inline int64_t taps_for_one(const Window *window) noexcept nogil:
    cdef int64_t n = 1, a
    if window.transposed:
        for a in range(window.rank):
            n *= window.stride[a]
    return n


# All axes of one sample in one phase. Shapes and low are this sample's rows.
cdef inline void place(const Window *window, int64_t phase, const int64_t *in_shape, const int64_t *out_shape,
                       const int64_t *low, Axis *axes) noexcept nogil:
    cdef int64_t a, s, d, k, t, g, n, period, c, target, size, residue
    cdef Axis *axis
    for a in range(window.rank - 1, -1, -1):
        axis = &axes[a]
        s, d, k, t = window.stride[a], window.dilation[a], window.kernel[a], window.tile[a]
        axis.kernel = k * t
        axis.in_size, axis.out_size = in_shape[a], out_shape[a]
        axis.slot, axis.out_phase = 0, 0
        n = axis_phases(window, a, out_shape[a])
        if n > 1:
            axis.out_phase = phase % n
            phase = phase // n
        if not window.transposed:
            axis.out_step, axis.count = t, out_shape[a] if t == 1 else ceil_div(out_shape[a] - axis.out_phase, t)
            axis.in_step, axis.base_step, axis.taps = s * t, d, k
            axis.base = axis.out_phase * s - low[a]
            axis.slot = axis.out_phase * k
            continue
        axis.out_step, axis.in_step = s * t, t
        axis.count = ceil_div(out_shape[a] - axis.out_phase, s * t)
        g = gcd(s, d)
        period = s // g
        axis.base_step = d // g
        axis.base = 0
        axis.taps = 0
        target = axis.out_phase + low[a]
        for c in range(min(period, k)):
            size = class_size(k, period, c)
            if (target - c * d) % s == 0:
                axis.taps = size
                axis.base = (target - (c + (size - 1) * period) * d) // s
                if t > 1:
                    residue = axis.base % t
                    axis.slot += (residue + t if residue < 0 else residue) * size
                break
            axis.slot += size * t


# First and last + 1 of the outputs whose tap j exists.
cdef inline int64_t outputs_from(const Axis *axis, int64_t j) noexcept nogil:
    return max(0, ceil_div(-axis.base - j * axis.base_step, axis.in_step))


cdef inline int64_t outputs_to(const Axis *axis, int64_t j) noexcept nogil:
    return min(axis.count, floor_div(axis.in_size - 1 - axis.base - j * axis.base_step, axis.in_step) + 1)


# First and last + 1 of the taps that exist at output q.
cdef inline int64_t taps_from(const Axis *axis, int64_t q) noexcept nogil:
    return max(0, ceil_div(-axis.base - q * axis.in_step, axis.base_step))


cdef inline int64_t taps_to(const Axis *axis, int64_t q) noexcept nogil:
    return min(axis.taps, floor_div(axis.in_size - 1 - axis.base - q * axis.in_step, axis.base_step) + 1)


# Rows are the outputs on all axes but the last.
cdef inline int64_t count_rows(int64_t rank, const Axis *axes) noexcept nogil:
    cdef int64_t n = 1, a
    for a in range(rank - 1):
        n *= axes[a].count
    return n


# The taps of the outer axes at this row, ascending: pairs (input row, packed slot). Returns how many.
# `taps` has room for a pair for each of the kernel's outer taps.
cdef inline int64_t outer_taps(int64_t rank, const Axis *axes, int64_t row, int64_t *taps) noexcept nogil:
    cdef int64_t coordinate[MAX_RANK]
    cdef int64_t a, j, e, first, last, n = 1, more
    cdef const Axis *axis
    for a in range(rank - 2, -1, -1):
        coordinate[a] = row % axes[a].count
        row = row // axes[a].count
    taps[0] = 0
    taps[1] = 0
    for a in range(rank - 1):
        axis = &axes[a]
        first, last = taps_from(axis, coordinate[a]), taps_to(axis, coordinate[a])
        more = max(0, last - first)
        # From the end, so that entries are read before they are written over.
        for e in range(n - 1, -1, -1):
            for j in range(last - 1, first - 1, -1):
                taps[2 * (e * more + j - first) + 1] = taps[2 * e + 1] * axis.kernel + axis.slot + j
                taps[2 * (e * more + j - first)] = (
                    taps[2 * e] * axis.in_size + coordinate[a] * axis.in_step + axis.base + j * axis.base_step)
        n *= more
    return n


# Tiles as equal as can be: the height of the first, and how many have it. The others are one less high.
cdef inline int64_t first_height(int64_t count, int64_t tallest, int64_t *n_tiles) noexcept nogil:
    cdef int64_t n = (count + tallest - 1) // tallest, height = (count + n - 1) // n
    n_tiles[0] = n - (n * height - count)
    return height


# The output row (all axes but the last) that this row of the phase is.
cdef inline int64_t output_row(int64_t rank, const Axis *axes, int64_t row) noexcept nogil:
    cdef int64_t a, index = 0, unit = 1
    for a in range(rank - 2, -1, -1):
        index += unit * (axes[a].out_phase + (row % axes[a].count) * axes[a].out_step)
        unit *= axes[a].out_size
        row = row // axes[a].count
    return index


# How many rows from this one on have the same taps on the outer axes: those along the last of these, in its interior.
cdef inline int64_t rows_alike(int64_t rank, const Axis *axes, int64_t row) noexcept nogil:
    if rank < 2:
        return 1
    cdef const Axis *axis = &axes[rank - 2]
    cdef int64_t q = row % axis.count
    if axis.taps == 0:
        return axis.count - q
    if taps_from(axis, q) > 0 or taps_to(axis, q) < axis.taps:
        return 1
    return outputs_to(axis, axis.taps - 1) - q


# Positions from a row's inputs to the next row's, and from its outputs to the next row's.
cdef inline int64_t row_step(int64_t rank, const Axis *axes) noexcept nogil:
    return axes[rank - 2].in_step * axes[rank - 1].in_size if rank > 1 else 0


cdef inline int64_t output_row_step(int64_t rank, const Axis *axes) noexcept nogil:
    return axes[rank - 2].out_step * axes[rank - 1].out_size if rank > 1 else 0
