# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Tiles of Winograd's convolution: where they lie in their samples, and the memory that the next ones read."""

from libc.stdint cimport int64_t

from convnd._core.isa cimport CONVND_WINOGRAD_AXES, convnd_winograd_args
from convnd._core.plan cimport ceil_div, floor_div
from convnd._core.threads cimport owner_of


cdef int64_t axis_tiles(const Winograd *job, int64_t axis, int64_t size) noexcept nogil:
    """Tiles on an axis: with dilation d those of d interleaved axes."""
    cdef int64_t d = job.dilation[axis]
    return d * ceil_div(ceil_div(size, d), job.outputs[axis])


cdef void enter_sample(const Winograd *job, Spot *spot) noexcept nogil:
    cdef int64_t a
    for a in range(job.rank):
        spot.tiles[a] = axis_tiles(job, a, job.out_shapes[spot.sample * job.rank + a])


cdef void find_tile(const Winograd *job, int64_t tile, Spot *spot) noexcept nogil:
    cdef int64_t a, left
    spot.sample = owner_of(job.first_tile, job.samples, tile)
    enter_sample(job, spot)
    left = tile - job.first_tile[spot.sample]
    for a in range(job.rank - 1, -1, -1):
        spot.at[a] = left % spot.tiles[a]
        left = left // spot.tiles[a]


cdef bint next_tile(const Winograd *job, Spot *spot) noexcept nogil:
    """Without a division, unless a sample ends. Returns whether it moved along the last axis only."""
    cdef int64_t a
    for a in range(job.rank - 1, -1, -1):
        spot.at[a] += 1
        if spot.at[a] < spot.tiles[a]:
            return a == job.rank - 1
        spot.at[a] = 0
    spot.sample += 1
    while spot.sample < job.samples and job.first_tile[spot.sample + 1] == job.first_tile[spot.sample]:
        spot.sample += 1
    if spot.sample < job.samples:
        enter_sample(job, spot)
    return False


cdef class Fold:
    """A side whose phases are channels: sizes and how much of them counts (N, rank), offsets (N + 1,), padding before
    and strides."""

    def __cinit__(self, const int64_t[:, ::1] shapes, const int64_t[:, ::1] ends, const int64_t[::1] offsets,
                  const int64_t[:, ::1] low, const int64_t[::1] stride, bint of_output):
        cdef int64_t a
        self.of_output, self.phases = of_output, 1
        for a in range(stride.shape[0]):
            self.stride[a] = stride[a]
            self.phases *= stride[a]
        self.shapes, self.ends = &shapes[0, 0], &ends[0, 0]
        self.offsets, self.low = &offsets[0], &low[0, 0]
        self.kept = shapes, ends, offsets, low


cdef void read_fold(Winograd *job, Fold fold):
    """The side that is folded; None if neither is. `fold` has to outlive the job."""
    job.in_phases = job.out_phases = 1
    if fold is None:
        return
    if fold.of_output:
        job.out_phases = fold.phases
    else:
        job.in_phases = fold.phases
    job.stride, job.plain_shapes, job.plain_ends = fold.stride, fold.shapes, fold.ends
    job.plain_offsets, job.plain_low = fold.offsets, fold.low


cdef void locate(const Winograd *job, const Spot *spot, bint of_output, int64_t phase, int64_t channels,
                 convnd_winograd_args *args, int64_t *at) noexcept nogil:
    """The box of a tile in its sample's input or output; `at` is the place of its first element in the array."""
    cdef int64_t sample = spot.sample, a, i, d, m, first, count, size, step, unit = channels
    cdef bint folded = (job.out_phases if of_output else job.in_phases) > 1
    cdef const int64_t *shape = (job.out_shapes if of_output else job.in_shapes) + sample * job.rank
    cdef const int64_t *ends = shape
    cdef const int64_t *low = job.low + sample * job.rank
    cdef bint empty = False
    if folded:
        shape, ends = job.plain_shapes + sample * job.rank, job.plain_ends + sample * job.rank
    for i in range(CONVND_WINOGRAD_AXES):
        args.step[i], args.from_[i], args.to[i] = 0, 0, 1
    if not of_output:
        unit = job.in_step
    at[0] = (job.plain_offsets if folded else job.out_offsets if of_output else job.in_offsets)[sample] * (
        channels if of_output else job.in_unit)
    for a in range(job.rank - 1, -1, -1):
        d, m, i = job.dilation[a], job.outputs[a], job.place[a]
        first = spot.at[a] * m if d == 1 else spot.at[a] % d + spot.at[a] // d * m * d
        if not of_output:
            first -= low[a]
        if folded:
            step = job.stride[a]
            if step > 1:    # without dilation
                first, d = first * step + phase % step - job.plain_low[sample * job.rank + a], step
            phase = phase // step
        size = ends[a]
        at[0] += first * unit
        if i < 0:
            empty = empty or first < 0 or first >= size
        else:
            count = m if of_output else job.axes[i].alpha
            args.step[i] = d * unit
            args.from_[i] = min(count, max(0, -first if d == 1 else ceil_div(-first, d)))
            args.to[i] = max(args.from_[i], min(
                count, size - first if d == 1 else floor_div(size - 1 - first, d) + 1))
        unit *= shape[a]
    if empty:
        args.from_[0] = args.to[0] = args.from_[CONVND_WINOGRAD_AXES - 1] = args.to[CONVND_WINOGRAD_AXES - 1] = 0


cdef void locate_next(const Winograd *job, const Spot *spot, bint along, bint of_output, int64_t phase,
                      int64_t channels, convnd_winograd_args *args, int64_t *at) noexcept nogil:
    """The same, in some steps where `along` says that the tile found before is its neighbour on the last axis."""
    cdef int64_t last = job.rank - 1, axis = CONVND_WINOGRAD_AXES - 1, first, end, d = job.dilation[last], place = 0
    cdef int64_t sample = spot.sample * job.rank + last, m = job.outputs[last]
    cdef int64_t size = job.out_shapes[sample] if of_output else job.in_shapes[sample]
    cdef int64_t low = 0 if of_output else job.low[sample]
    cdef int64_t count = m if of_output else job.axes[axis].alpha, unit = channels if of_output else job.in_step
    if not along or job.place[last] != axis or (job.out_phases if of_output else job.in_phases) > 1:
        locate(job, spot, of_output, phase, channels, args, at)
        return
    if d == 1:
        first = spot.at[last] * m - low
        end = min(count, size - first)
        args.from_[axis] = min(count, max(0, -first))
        args.to[axis] = max(args.from_[axis], end)
        at[0] += m * unit
        return
    first = spot.at[last] // d
    place = spot.at[last] - first * d
    first = place + first * m * d - low
    if first < 0 or first + (count - 1) * d >= size:
        locate(job, spot, of_output, phase, channels, args, at)
        return
    args.from_[axis], args.to[axis] = 0, count
    at[0] += (1 if place else (m - 1) * d + 1) * unit


cdef int64_t box(const convnd_winograd_args *args) noexcept nogil:
    """The elements of a tile that exist."""
    cdef int64_t i, n = 1
    for i in range(CONVND_WINOGRAD_AXES):
        n *= args.to[i] - args.from_[i]
    return n


cdef void count_tiles(Winograd *job) noexcept nogil:
    cdef int64_t sample, a, n
    job.total = 0
    for sample in range(job.samples):
        job.first_tile[sample] = job.total
        n = 1
        for a in range(job.rank):
            n *= axis_tiles(job, a, job.out_shapes[sample * job.rank + a])
        job.total += n
    job.first_tile[job.samples] = job.total


cdef int64_t most_runs(const Winograd *job, int64_t tiles) noexcept nogil:
    cdef int64_t a, n = 2 * tiles * job.in_phases * job.out_phases
    for a in range(CONVND_WINOGRAD_AXES):
        n *= job.axes[a].outputs
    return n


cdef int64_t ahead_bytes(const Winograd *job, int64_t tiles) noexcept nogil:
    """Memory for what so many tiles read of both sides, whole lines: at the most every element begins a run."""
    return ceil_div(most_runs(job, tiles) * (sizeof(char *) + sizeof(int64_t)) + sizeof(int64_t), ASK_LINE) * ASK_LINE


cdef void begin_ahead(const Winograd *job, int64_t tiles, char *memory, Ahead *ahead) noexcept nogil:
    """Nothing yet, and room for so many tiles."""
    ahead.at = <const char **>memory
    ahead.first = <int64_t *>(memory + most_runs(job, tiles) * sizeof(char *))
    ahead.runs = ahead.run = ahead.line = ahead.end = 0


cdef void add_run(Ahead *ahead, const char *at, int64_t bytes_) noexcept nogil:
    """Behind the run before it if it begins where that ends."""
    cdef int64_t last = ahead.runs - 1
    if last < 0 or ahead.at[last] + (ahead.end - ahead.first[last]) * ASK_LINE != at:
        last += 1
        ahead.at[last], ahead.first[last], ahead.runs = at, ahead.end, last + 1
    ahead.end += ceil_div(bytes_, ASK_LINE)


cdef void look_along(const Winograd *job, const Spot *spot, int64_t count, bint of_output, int64_t phase,
                     int64_t channels, const char *array, Ahead *ahead) noexcept nogil:
    """What `count` tiles side by side on the last axis read, as runs along it. Of a dilated axis it may be more."""
    cdef int64_t last = job.rank - 1, d = job.dilation[last], size = job.tiles.itemsize, along, rows = 1, at
    cdef int64_t a, h, i, j, k
    cdef int64_t stride = job.stride[last] if (job.out_phases if of_output else job.in_phases) > 1 else 1
    cdef convnd_winograd_args args
    if phase % stride:      # it lies beside the first
        return
    locate(job, spot, of_output, phase, channels, &args, &at)
    if not of_output:       # what these tiles have in common with those before them
        for a in range(CONVND_WINOGRAD_AXES):
            args.from_[a] = max(args.from_[a], job.axes[a].alpha - job.axes[a].outputs)
    along = args.to[3] - args.from_[3]
    if along <= 0:
        return
    if job.place[last] < 0 or (d > 1 and spot.at[last] % d + count <= d):
        rows, along = along, count
    elif d > 1:
        along = ((count - 1) // d * job.outputs[last] + along) * d
    else:
        along += (count - 1) * job.outputs[last]
    for h in range(args.from_[0], args.to[0]):
        for i in range(args.from_[1], args.to[1]):
            for j in range(args.from_[2], args.to[2]):
                for k in range(args.from_[3], args.from_[3] + rows):
                    add_run(ahead, array + (at + h * args.step[0] + i * args.step[1] + j * args.step[2]
                                            + k * args.step[3]) * size, along * stride * channels * size)


cdef void look_ahead(const Winograd *job, int64_t first, int64_t end, bint of_output, const char *array,
                     Ahead *ahead) noexcept nogil:
    """Add what tiles first ... end - 1 read of the input or the output, and none before them."""
    cdef int64_t phases = job.out_phases if of_output else job.in_phases, last = job.rank - 1, count, phase
    cdef int64_t channels = job.filters // phases if of_output else job.in_step
    cdef Spot spot
    if first < end:
        find_tile(job, first, &spot)
    while first < end:
        count = min(end - first, spot.tiles[last] - spot.at[last])
        for phase in range(phases):
            look_along(job, &spot, count, of_output, phase, channels, array, ahead)
        first += count
        spot.at[last] += count - 1
        next_tile(job, &spot)
    ahead.first[ahead.runs] = ahead.end


cdef Ahead share_of(const Ahead *whole, int64_t index, int64_t count) noexcept nogil:
    """The lines that are part number `index` of `count`."""
    cdef Ahead share = whole[0]
    if whole.end == 0:
        return share
    share.line, share.end = whole.end * index // count, whole.end * (index + 1) // count
    share.run = owner_of(whole.first, whole.runs, share.line)
    return share


cdef int64_t take_lines(Ahead *ahead, int64_t most, const char **at) noexcept nogil:
    """The next lines side by side, at most so many: their place, and how many."""
    cdef int64_t count
    if ahead.line >= ahead.end or most <= 0:
        return 0
    count = min(most, min(ahead.end, ahead.first[ahead.run + 1]) - ahead.line)
    at[0] = ahead.at[ahead.run] + (ahead.line - ahead.first[ahead.run]) * ASK_LINE
    ahead.line += count
    if ahead.line == ahead.first[ahead.run + 1]:
        ahead.run += 1
    return count
