# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Winograd's convolution along rows (the last axis), directly along the other axes, on ragged batches.

A block is some rows of a sample's outputs, or some tiles of these rows. What it reads is transformed row by row, each
row once for all rows of outputs and all filters; then tiles sum up a frequency's products in registers and turn them
into outputs there (tile/rowwise.h). What a tile gives doesn't depend on the tiles around it.

The weight's gradient is the same sums the other way round: over tiles, of the inputs' frequencies times those of the
outputs' gradients, so many chunks of blocks by themselves as follows from shapes.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convnd._core.counted cimport Counted, free_counted, join_counted, make_counted, tally_of
from convnd._core.isa cimport (
    convnd_rowwise_args, convnd_rowwise_input, convnd_rowwise_sums, convnd_rowwise_tile, convnd_tiles, tiles)
from convnd._core.panels cimport Panel
from convnd._core.plan cimport MAX_RANK, ceil_div
from convnd._core.stream cimport STREAM_LINE, streams
from convnd._core.threads cimport owner_of, parallel_for, slots, usable

from convnd._core.memory import Buffer

ctypedef fused real:
    float
    double

cdef enum:
    EIGHT = 8   # numbers of an input's frequencies

# Bytes of a block's frequencies, and tiles of its outputs.
cdef int64_t BLOCK_BYTES = 256 * 1024, BLOCK_TILES = 1024
# Blocks to cut a large operation into, and tiles that one has all the same.
cdef int64_t BLOCKS = 16, LEAST_TILES = 48

# Of the weight's gradient: sums that are made by themselves, at most so many and so much; tiles whose gradients are
# transformed before their products; rows whose sums are added up at a time.
cdef int64_t CHUNKS = 16, CHUNK_BYTES = 4 * 1024 * 1024, SUM_TILES = 36, END_ROWS = 12
# Bytes of an input from which on memory is asked for what the next block reads.
cdef int64_t ASK_BYTES = 4 * 1024 * 1024

cdef struct Rowwise:
    const convnd_tiles *tiles
    const char *x
    const char *w
    const char *start       # the bias, whole vectors
    char *out
    char *scratch           # each slot's share
    int64_t scratch_size
    int64_t rank, samples
    int64_t kernel[MAX_RANK]    # of the other axes
    int64_t stride[MAX_RANK]
    int64_t dilation[MAX_RANK]
    int64_t step, apart     # of the last: its stride; outputs from one tap to the next,
    int64_t reach           # and the positions that an output's window covers
    int64_t alpha, outputs  # of a tile
    int64_t channels, filters
    int64_t width           # numbers that a tap reads side by side
    bint wide               # they are made to frequencies by the vector
    int64_t n_runs          # taps of the other axes
    int64_t n_panels, panel     # of filters; numbers of one of w
    int64_t activation
    bint streams
    bint asks               # memory is asked for what comes next
    const int64_t *in_shapes
    const int64_t *out_shapes
    const int64_t *low
    const int64_t *in_offsets
    const int64_t *out_offsets
    int64_t *extents        # (samples, rank): outputs of a block on each axis, of the last tiles
    int64_t *first_block    # (samples + 1,)
    int64_t tiles_at        # in a slot's scratch, behind the frequencies: a block's tiles,
    int64_t runs_at         # the taps' rows,
    int64_t line_at         # and a row whose windows go beyond it
    Counted counted
    const char *grad        # of the output, for the weight's gradient
    int64_t depth           # rows of a panel's sums
    int64_t gradients_at    # in a slot's scratch: frequencies of gradients, and the places of rows
    int64_t rows_at
    char *sums              # (chunks, panels, rows, alpha, lanes)
    int64_t chunks, chunk   # and the numbers of a chunk's
    int64_t parts           # of the panels, which are tasks of their own

# Some rows of a sample's outputs.
cdef struct Block:
    int64_t sample
    int64_t first[MAX_RANK]     # output on each axis; of the last, tile
    int64_t count[MAX_RANK]
    int64_t rows[MAX_RANK]      # of inputs that they read


cdef int64_t panel_filter(int64_t p, int64_t filters, int64_t lanes) noexcept nogil:
    """Where a panel begins. The last one holds filters of the one before it again, so that vectors are stored whole."""
    return min(p * lanes, max(0, filters - lanes))


cdef int64_t row_tiles(const Rowwise *job, int64_t outputs) noexcept nogil:
    return job.apart * ceil_div(ceil_div(outputs, job.apart), job.outputs)


cdef int64_t rows_of(const Rowwise *job, int64_t a, int64_t outputs) noexcept nogil:
    """Rows of inputs that so many outputs on an axis read."""
    return (outputs - 1) * job.stride[a] + (job.kernel[a] - 1) * job.dilation[a] + 1


cdef int64_t line_numbers(const Rowwise *job, int64_t tile, int64_t count, int64_t *first) noexcept nogil:
    """The positions that tiles of a row read, less the padding before it: how many numbers, and the first position."""
    cdef int64_t last = tile + count - 1
    first[0] = tile // job.apart * job.apart * job.outputs * job.step
    return ((last // job.apart * job.outputs + job.alpha) * job.apart - 1) * job.step * job.channels + (
        job.width) - first[0] * job.channels


cdef void choose_extents(const Rowwise *job, int64_t sample, int64_t most_tiles, int64_t *extents) noexcept nogil:
    """Of a sample's blocks: as many rows as there is room for, rather those that read the same inputs."""
    cdef const int64_t *shape = job.out_shapes + sample * job.rank
    cdef int64_t last = job.rank - 1, a, best, rows, count, tile_bytes, n
    cdef double share, least
    tile_bytes = EIGHT * job.width * job.tiles.itemsize
    rows = 1
    for a in range(last):
        extents[a] = 1
        rows *= rows_of(job, a, 1)
    count = row_tiles(job, shape[last])
    n = max(BLOCK_BYTES // (2 if last else 1) // (tile_bytes * rows), 4 * job.tiles.rowwise.height[job.alpha])
    n = ceil_div(count, min(n, most_tiles))
    extents[last] = ceil_div(count, n)
    count = extents[last]
    while True:
        best, least = -1, 0.0
        for a in range(last):
            n = min(2 * extents[a], shape[a])
            if n == extents[a] or count // extents[a] * n > most_tiles:
                continue
            if rows // rows_of(job, a, extents[a]) * rows_of(job, a, n) * extents[last] * tile_bytes > BLOCK_BYTES:
                continue
            share = <double>(rows_of(job, a, n) * extents[a]) / <double>(rows_of(job, a, extents[a]) * n)
            if best < 0 or share <= least:
                best, least = a, share
        if best < 0:
            break
        n = min(2 * extents[best], shape[best])
        rows = rows // rows_of(job, best, extents[best]) * rows_of(job, best, n)
        count = count // extents[best] * n
        extents[best] = n
    for a in range(last):       # all of about one size
        extents[a] = ceil_div(shape[a], ceil_div(shape[a], extents[a]))


cdef void find_block(const Rowwise *job, int64_t index, Block *block) noexcept nogil:
    cdef int64_t a, n, size, last = job.rank - 1
    cdef const int64_t *extents
    block.sample = owner_of(job.first_block, job.samples, index)
    index -= job.first_block[block.sample]
    extents = job.extents + block.sample * job.rank
    for a in range(last, -1, -1):
        size = job.out_shapes[block.sample * job.rank + a]
        if a == last:
            size = row_tiles(job, size)
        n = ceil_div(size, extents[a])
        block.first[a] = index % n * extents[a]
        block.count[a] = min(extents[a], size - block.first[a])
        block.rows[a] = rows_of(job, a, block.count[a]) if a < last else 1
        index = index // n


cdef bint next_row(int64_t *at, const int64_t *count, int64_t axes) noexcept nogil:
    """The next of some rows; False after the last."""
    cdef int64_t a
    for a in range(axes - 1, -1, -1):
        at[a] += 1
        if at[a] < count[a]:
            return True
        at[a] = 0
    return False


cdef void transform_rows(const Rowwise *job, const Block *block, char *data) noexcept nogil:
    """All rows that a block reads, to their frequencies."""
    cdef int64_t size = job.tiles.itemsize, last = job.rank - 1, a, position, place, start, end, first, read
    cdef int64_t numbers
    cdef int64_t row_bytes = block.count[last] * job.width * EIGHT * size
    cdef const int64_t *shape = job.in_shapes + block.sample * job.rank
    cdef const int64_t *low = job.low + block.sample * job.rank
    cdef const char *row
    cdef char *line = data + job.line_at
    cdef int64_t at[MAX_RANK]
    cdef convnd_rowwise_input args
    cdef bint exists, whole
    args.alpha, args.tiles, args.width, args.apart = job.alpha, block.count[last], job.width, job.apart
    args.residue = block.first[last] % job.apart
    args.step = job.step * job.channels
    args.element = job.apart * args.step
    args.onward, args.wide = job.outputs * args.element, job.wide
    numbers = line_numbers(job, block.first[last], block.count[last], &first)
    first -= low[last]
    # The numbers of the line that exist, and are in a window: what no output reads must not show.
    read = (job.out_shapes[block.sample * job.rank + last] - 1) * job.step + job.reach - low[last]
    start, end = max(0, -first * job.channels), min(numbers, (min(shape[last], read) - first) * job.channels)
    whole = start == 0 and end == numbers
    if not whole:
        memset(line, 0, numbers * size)
    memset(at, 0, sizeof(at))
    while True:
        exists, place = end > start, 0
        for a in range(last):
            position = block.first[a] * job.stride[a] - low[a] + at[a]
            exists = exists and 0 <= position < shape[a]
            place = place * shape[a] + position
        if exists:
            row = job.x + (((job.in_offsets[block.sample] + place * shape[last]) + first) * job.channels) * size
            if not whole:
                memcpy(line + start * size, row + start * size, (end - start) * size)
                row = line
            args.x, args.to = row + args.residue * args.step * size, data
            job.tiles.rowwise.input(&args)
        else:
            memset(data, 0, row_bytes)
        data += row_bytes
        if not next_row(at, block.rows, last):
            break


cdef int64_t list_tiles(const Rowwise *job, const Block *block, convnd_rowwise_tile *tile) noexcept nogil:
    """The tiles of a block that have outputs, in whole groups."""
    cdef int64_t last = job.rank - 1, a, t, count = 0, row, place, output, size, height, residue, left
    cdef int64_t between = block.first[last] % job.apart, onward = job.apart * (job.outputs - 1)
    cdef int64_t first = block.first[last] // job.apart * job.apart * job.outputs + between
    cdef const int64_t *shape = job.out_shapes + block.sample * job.rank
    cdef int64_t at[MAX_RANK]
    height = job.tiles.rowwise.height[job.alpha]
    size = shape[last]
    memset(at, 0, sizeof(at))
    while True:
        row, place = 0, 0
        for a in range(last):
            row = row * block.rows[a] + at[a] * job.stride[a]
            place = place * shape[a] + block.first[a] + at[a]
        output, residue = first, between
        for t in range(block.count[last]):
            if output < size:
                tile[count].x = (row * block.count[last] + t) * job.width * EIGHT
                tile[count].out = (job.out_offsets[block.sample] + place * size + output) * job.filters
                left = size - output
                tile[count].exist = job.outputs if left > onward else ceil_div(left, job.apart)
                count += 1
            output += 1
            residue += 1
            if residue == job.apart:
                output, residue = output + onward, 0
        if not next_row(at, block.count, last):
            break
    while count % height:
        tile[count] = tile[count - 1]
        tile[count].exist = 0
        count += 1
    return count


cdef void list_runs(const Rowwise *job, const Block *block, int64_t *runs) noexcept nogil:
    """Where the rows of the other axes' taps lie, from a tile's first."""
    cdef int64_t last = job.rank - 1, a, row, n = 0
    cdef int64_t at[MAX_RANK]
    memset(at, 0, sizeof(at))
    while True:
        row = 0
        for a in range(last):
            row = row * block.rows[a] + at[a] * job.dilation[a]
        runs[n] = row * block.count[last] * job.width * EIGHT
        n += 1
        if not next_row(at, job.kernel, last):
            break


cdef void span_of(const Rowwise *job, const Block *block, const char **start, const char **end) noexcept nogil:
    """The memory that a block of whole rows of at most two axes reads, or of a part of one."""
    cdef int64_t last = job.rank - 1, numbers, first, to, low
    cdef const int64_t *shape = job.in_shapes + block.sample * job.rank
    numbers = line_numbers(job, block.first[last], block.count[last], &first)
    first = (first - job.low[block.sample * job.rank + last]) * job.channels
    to = first + numbers
    if last:
        low = job.low[block.sample * job.rank]
        first = max(0, block.first[0] * job.stride[0] - low) * shape[1] * job.channels
        to = min(shape[0], block.first[0] * job.stride[0] - low + block.rows[0]) * shape[1] * job.channels
    numbers = job.in_offsets[block.sample] * job.channels
    start[0] = job.x + (numbers + max(0, first)) * job.tiles.itemsize
    end[0] = job.x + (numbers + min(to, shape[0] * (shape[1] if last else 1) * job.channels)) * job.tiles.itemsize


cdef void conv_block(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.tiles.lanes, p, f, t
    cdef char *data = job.scratch + slot * job.scratch_size
    cdef convnd_rowwise_tile *tile = <convnd_rowwise_tile *>(data + job.tiles_at)
    cdef const char *start
    cdef const char *end
    cdef const char *here
    cdef convnd_rowwise_args args
    cdef Block block, next
    find_block(job, index, &block)
    args.tile, args.tiles = tile, list_tiles(job, &block, tile)
    if args.tiles == 0:
        return
    transform_rows(job, &block, data)
    list_runs(job, &block, <int64_t *>(data + job.runs_at))
    args.x, args.runs, args.n_runs, args.width = data, <int64_t *>(data + job.runs_at), job.n_runs, job.width
    args.wide = job.wide
    args.out_step, args.activation, args.streams = job.apart * job.filters, job.activation, job.streams
    args.moments.mean = NULL
    start = end = NULL
    if job.asks and index + 1 < job.first_block[job.samples]:
        find_block(job, index + 1, &next)
        span_of(job, &block, &start, &here)
        span_of(job, &next, &start, &end)
        start = max(start, here)    # where this one ends
    for p in range(job.n_panels):
        f = panel_filter(p, job.filters, lanes)
        args.lanes = min(lanes, job.filters)
        args.w = job.w + p * job.panel * size
        args.start, args.out = job.start + f * size, job.out + f * size
        args.ask, args.ask_end = start, start + max(0, end - start) // (job.n_panels - p)
        start = args.ask_end
        if job.counted.moments:
            args.moments = tally_of(&job.counted, index, p * lanes, size).moments
        job.tiles.rowwise.outputs[job.alpha][job.outputs](&args)
    if job.counted.moments:
        for t in range(args.tiles):
            job.counted.rows[index] += tile[t].exist


cdef struct Packing:
    const convnd_tiles *tiles
    const char *weight      # (taps, depth, filters)
    char *packed
    int64_t alpha, outputs, depth, filters


cdef void pack_panel(void *context, int64_t index, int64_t slot) noexcept nogil:
    cdef const Packing *job = <const Packing *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.tiles.lanes
    cdef int64_t f = panel_filter(index, job.filters, lanes)
    job.tiles.rowwise.weight(
        job.alpha, job.outputs, job.weight + f * size, job.depth * job.filters, job.filters, job.depth,
        min(lanes, job.filters), job.packed + index * job.depth * job.alpha * lanes * size)


def tiles_at_once(int64_t itemsize, int64_t alpha):
    """How many tiles of so many frequencies fit into the registers; 0 if they are not made."""
    return tiles(itemsize).rowwise.height[alpha]


def pack(const real[:, :, ::1] weight, int64_t alpha, real[::1] packed):
    """A weight (taps, depth, F) to its frequencies, panel by panel: (F in whole vectors) * depth * alpha numbers."""
    cdef Packing job
    job.tiles = tiles(sizeof(real))
    job.weight, job.packed = <const char *>&weight[0, 0, 0], <char *>&packed[0]
    job.alpha, job.outputs = alpha, alpha + 1 - weight.shape[0]
    job.depth, job.filters = weight.shape[1], weight.shape[2]
    with nogil:
        parallel_for(pack_panel, &job, ceil_div(job.filters, job.tiles.lanes), job.depth * job.filters * alpha * 8)


cdef void read_geometry(Rowwise *job, int64_t itemsize, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
                        int64_t alpha, int64_t channels) noexcept nogil:
    cdef int64_t a, last = geometry.shape[1] - 1
    job.tiles = tiles(itemsize)
    job.rank = last + 1
    job.n_runs = 1
    for a in range(last):
        job.kernel[a], job.stride[a], job.dilation[a] = geometry[0, a], geometry[1, a], geometry[2, a]
        job.n_runs *= job.kernel[a]
    job.step, job.apart, job.alpha, job.outputs = geometry[1, last], apart, alpha, alpha + 1 - taps
    job.reach = (geometry[0, last] - 1) * geometry[2, last] + 1
    job.channels = channels
    job.width = channels * (1 if geometry[2, last] > 1 else apart * geometry[1, last])


cdef int64_t cut_blocks(Rowwise *job) noexcept nogil:
    """Blocks of all samples, and the scratch that the largest takes; returns how many tiles there are."""
    cdef int64_t last = job.rank - 1, sample, a, n, rows, tiles_, total = 0, data = 0, most = 0, line = 0, first
    cdef const int64_t *shape
    cdef int64_t *extents
    for sample in range(job.samples):
        shape = job.out_shapes + sample * job.rank
        n = row_tiles(job, shape[last])
        for a in range(last):
            n *= shape[a]
        total += n
    for sample in range(job.samples):
        shape, extents = job.out_shapes + sample * job.rank, job.extents + sample * job.rank
        n = 1
        for a in range(job.rank):
            n *= shape[a]
        job.first_block[sample + 1] = job.first_block[sample]
        if n == 0:
            continue
        choose_extents(job, sample, min(BLOCK_TILES, max(LEAST_TILES, ceil_div(total, BLOCKS))), extents)
        n, rows, tiles_ = 1, extents[last], extents[last]
        for a in range(job.rank):
            n *= ceil_div(shape[a] if a < last else row_tiles(job, shape[a]), extents[a])
            if a < last:
                rows, tiles_ = rows * rows_of(job, a, extents[a]), tiles_ * extents[a]
        job.first_block[sample + 1] += n
        data, most = max(data, rows), max(most, tiles_)
        line = max(line, line_numbers(job, job.apart - 1, extents[last], &first))
    job.tiles_at = data * job.width * EIGHT * job.tiles.itemsize
    job.runs_at = job.tiles_at + (most + job.tiles.rowwise.height[job.alpha]) * sizeof(convnd_rowwise_tile)
    job.line_at = job.runs_at + job.n_runs * sizeof(int64_t)
    job.scratch_size = ceil_div(job.line_at + line * job.tiles.itemsize, STREAM_LINE) * STREAM_LINE
    return total


def tiles_read(const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
               int64_t alpha, int64_t channels, int64_t itemsize, double[::1] found):
    """How many tiles of inputs are transformed for each sample (N,): those of rows that two blocks read twice."""
    cdef Rowwise job
    cdef int64_t sample, a
    cdef int64_t extents[MAX_RANK]
    read_geometry(&job, itemsize, geometry, apart, taps, alpha, channels)
    job.out_shapes = &out_shapes[0, 0]
    for sample in range(out_shapes.shape[0]):
        found[sample] = row_tiles(&job, out_shapes[sample, job.rank - 1])
        for a in range(job.rank - 1):
            found[sample] *= out_shapes[sample, a]
        if found[sample]:
            choose_extents(&job, sample, BLOCK_TILES, extents)
            for a in range(job.rank - 1):
                found[sample] *= <double>rows_of(&job, a, extents[a]) / <double>extents[a]


cdef void list_rows(const Rowwise *job, const int64_t *runs, int64_t *rows) noexcept nogil:
    """Where the first frequency of each row of sums lies, from a tile's first."""
    cdef int64_t r
    for r in range(job.depth):
        rows[r] = runs[r // job.width] + r % job.width * EIGHT


cdef void sum_chunk(void *context, int64_t index, int64_t slot) noexcept nogil:
    """A chunk's products, of some panels."""
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.tiles.lanes, blocks = job.first_block[job.samples], b, p, f, t
    cdef int64_t count, part = index % job.parts, panel = job.depth * job.alpha * lanes * size
    cdef int64_t first = part * job.n_panels // job.parts, last = (part + 1) * job.n_panels // job.parts
    cdef char *data = job.scratch + slot * job.scratch_size
    cdef char *sums
    cdef convnd_rowwise_tile *tile = <convnd_rowwise_tile *>(data + job.tiles_at)
    cdef int64_t *runs = <int64_t *>(data + job.runs_at)
    cdef convnd_rowwise_sums args
    cdef Block block
    index = index // job.parts
    sums = job.sums + index * job.chunk * size
    memset(sums + first * panel, 0, (last - first) * panel)
    args.x, args.frequencies, args.rows = data, data + job.gradients_at, <int64_t *>(data + job.rows_at)
    args.n_rows, args.out_step = job.depth, job.apart * job.filters
    args.lanes = min(lanes, job.filters)
    for b in range(blocks * index // job.chunks, blocks * (index + 1) // job.chunks):
        find_block(job, b, &block)
        count = list_tiles(job, &block, tile)
        while count and tile[count - 1].exist == 0:
            count -= 1
        if count == 0:
            continue
        transform_rows(job, &block, data)
        list_runs(job, &block, runs)
        list_rows(job, runs, <int64_t *>(data + job.rows_at))
        t = 0
        while t < count:
            args.tile, args.tiles = tile + t, min(SUM_TILES, count - t)
            for p in range(first, last):
                f = panel_filter(p, job.filters, lanes)
                args.next, args.next_tiles = args.tile, args.tiles
                args.next_g = job.grad + panel_filter(p + 1, job.filters, lanes) * size
                if p + 1 == last:
                    args.next = args.tile + args.tiles
                    args.next_g = job.grad + panel_filter(first, job.filters, lanes) * size
                    args.next_tiles = min(args.tiles, count - t - args.tiles)
                args.g, args.sum = job.grad + f * size, sums + p * panel
                job.tiles.rowwise.sums[job.alpha][job.outputs](&args)
            t += SUM_TILES


cdef void end_rows(void *context, int64_t index, int64_t slot) noexcept nogil:
    """The sum over chunks of some rows, of all panels; then their gradient."""
    cdef const Rowwise *job = <const Rowwise *>context
    cdef int64_t size = job.tiles.itemsize, lanes = job.tiles.lanes, p, c, f, first = index * END_ROWS
    cdef int64_t rows = min(END_ROWS, job.depth - first), numbers = rows * job.alpha * lanes
    cdef char *sums
    for p in range(job.n_panels):
        f = panel_filter(p, job.filters, lanes)
        sums = job.sums + (p * job.depth + first) * job.alpha * lanes * size
        for c in range(1, job.chunks):
            job.tiles.weight.add(sums, sums + c * job.chunk * size, numbers)
        job.tiles.rowwise.weight_gradient(
            job.alpha, job.outputs, sums, rows, job.filters, job.depth * job.filters, min(lanes, job.filters),
            job.out + (first * job.filters + f) * size)


def conv_weight(const real[:, ::1] x, const real[:, ::1] grad, const int64_t[:, ::1] in_shapes,
                const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] low, const int64_t[::1] in_offsets,
                const int64_t[::1] out_offsets, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
                int64_t alpha, real[:, :, ::1] out):
    """The gradient (taps, depth, F) of the weight that `conv` takes: its depth is the other axes' taps and what one of
    the last reads.
    """
    cdef Rowwise job
    cdef int64_t total, room
    read_geometry(&job, sizeof(real), geometry, apart, taps, alpha, x.shape[1])
    job.samples, job.filters = in_shapes.shape[0], grad.shape[1]
    job.wide = False        # a group of rows takes a few channels, not a vector of them
    job.depth, job.n_panels = job.n_runs * job.width, ceil_div(job.filters, job.tiles.lanes)
    job.x, job.grad, job.out = <const char *>&x[0, 0], <const char *>&grad[0, 0], <char *>&out[0, 0, 0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    indices = Buffer((job.samples * (job.rank + 1) + 1) * sizeof(int64_t))
    cdef char[::1] index_view = indices
    job.first_block = <int64_t *>&index_view[0]
    job.extents = job.first_block + job.samples + 1
    job.first_block[0] = 0
    total = cut_blocks(&job)
    job.gradients_at = job.scratch_size
    job.rows_at = job.gradients_at + SUM_TILES * alpha * job.tiles.lanes * sizeof(real)
    job.scratch_size = job.rows_at + ceil_div(job.depth * sizeof(int64_t), STREAM_LINE) * STREAM_LINE
    job.chunk = job.n_panels * job.depth * alpha * job.tiles.lanes
    job.chunks = max(1, min(CHUNKS, min(job.first_block[job.samples], CHUNK_BYTES // (
        job.chunk * <int64_t>sizeof(real)))))
    # Each part transforms the inputs anew, so one thread has one of these.
    job.parts = min(job.n_panels, ceil_div(4 * usable(), job.chunks)) if usable() > 1 else 1
    room = ceil_div(job.chunks * job.chunk * sizeof(real), STREAM_LINE) * STREAM_LINE
    scratch = Buffer(slots() * job.scratch_size + room)
    cdef char[::1] scratch_view = scratch
    job.sums = &scratch_view[0]
    job.scratch = job.sums + room
    with nogil:
        parallel_for(sum_chunk, &job, job.chunks * job.parts, total * alpha * (job.depth + 4) * job.filters)
        parallel_for(end_rows, &job, ceil_div(job.depth, END_ROWS), job.chunks * job.chunk)


def conv(const real[:, ::1] x, const int64_t[:, ::1] in_shapes, const int64_t[:, ::1] out_shapes,
         const int64_t[:, ::1] low, const int64_t[::1] in_offsets, const int64_t[::1] out_offsets,
         const int64_t[:, ::1] geometry, int64_t apart, int64_t taps, int64_t alpha, const real[::1] packed,
         const real[::1] bias, int64_t activation, real[:, ::1] out, double[:, ::1] moments=None):
    """out = activation(bias + conv(x)). All has been checked.

    On the last axis there are `taps` taps, `apart` outputs apart, that read positions side by side, so many as lie
    between one tap and the next or, of a dilated axis, one. `moments`, if given, becomes out's means and squared
    deviations from them, (2, F).
    """
    cdef Rowwise job
    cdef Panel panels[2]
    cdef int64_t total, blocks, f
    cdef bint counts = moments is not None
    cdef real *start
    read_geometry(&job, sizeof(real), geometry, apart, taps, alpha, x.shape[1])
    job.samples, job.filters = in_shapes.shape[0], out.shape[1]
    job.n_panels, job.wide = ceil_div(job.filters, job.tiles.lanes), job.width % job.tiles.lanes == 0
    job.panel = job.n_runs * job.width * alpha * job.tiles.lanes
    job.x, job.w, job.out = <const char *>&x[0, 0], <const char *>&packed[0], <char *>&out[0, 0]
    job.in_shapes, job.out_shapes, job.low = &in_shapes[0, 0], &out_shapes[0, 0], &low[0, 0]
    job.in_offsets, job.out_offsets = &in_offsets[0], &out_offsets[0]
    job.activation = activation
    job.streams = job.tiles.lanes * <int64_t>sizeof(real) == STREAM_LINE and streams(
        job.out, out.shape[1] * sizeof(real), out.shape[0] * out.shape[1] * sizeof(real))
    job.asks = job.rank <= 2 and x.shape[0] * x.shape[1] * <int64_t>sizeof(real) >= ASK_BYTES
    indices = Buffer((job.samples * (job.rank + 1) + 1) * sizeof(int64_t))
    starts = Buffer(ceil_div(job.filters, job.tiles.lanes) * job.tiles.lanes * sizeof(real))
    cdef char[::1] index_view = indices, start_view = starts
    job.first_block = <int64_t *>&index_view[0]
    job.extents = job.first_block + job.samples + 1
    job.first_block[0] = 0
    start = <real *>&start_view[0]
    job.start = <const char *>start
    memset(start, 0, ceil_div(job.filters, job.tiles.lanes) * job.tiles.lanes * sizeof(real))
    for f in range(bias.shape[0]):
        start[f] = bias[f]
    total = cut_blocks(&job)
    scratch = Buffer(slots() * job.scratch_size)
    cdef char[::1] scratch_view = scratch
    job.scratch = &scratch_view[0]
    blocks = job.first_block[job.samples]
    job.counted.moments, job.counted.rows = NULL, NULL
    if counts and not make_counted(
            &job.counted, blocks, ceil_div(job.filters, job.tiles.lanes) * job.tiles.lanes, sizeof(real)):
        free_counted(&job.counted)
        raise MemoryError("no memory for the moments of a convolution")
    # All panels but the last, and what is new in that.
    f = panels[0].lanes = max(ceil_div(job.filters, job.tiles.lanes) - 1, 0) * job.tiles.lanes
    panels[0].start = panels[0].filter = 0
    panels[1].filter, panels[1].lanes = f, job.filters - f
    panels[1].start = 2 * f - panel_filter(f // job.tiles.lanes, job.filters, job.tiles.lanes)
    with nogil:
        parallel_for(conv_block, &job, blocks, total * alpha * (job.n_runs * job.width + 4) * job.filters)
        if counts:
            join_counted(&job.counted, blocks, panels, 2, sizeof(real), job.filters, &moments[0, 0])
            free_counted(&job.counted)
