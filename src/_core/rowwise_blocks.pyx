# cython: cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Blocks of a convolution row by row: where they lie, and what they read.

A block is some rows of a sample's outputs, or some tiles of these rows. What it reads is transformed row by row, each
row once for all rows of outputs and all filters.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convnd._core.isa cimport (
    convnd_rowwise_input, convnd_rowwise_tile, convnd_rowwise_tiles, convnd_tiles, tiles, two_wide)
from convnd._core.plan cimport MAX_RANK, ceil_div
from convnd._core.stream cimport STREAM_LINE
from convnd._core.threads cimport owner_of

# Bytes of a block's frequencies, and tiles of its outputs.
cdef int64_t BLOCK_BYTES = 256 * 1024, BLOCK_TILES = 1024
# Blocks to cut a large operation into, and tiles that one has all the same.
cdef int64_t BLOCKS = 16, LEAST_TILES = 48


cdef int64_t panel_filter(int64_t p, int64_t filters, int64_t lanes) noexcept nogil:
    return min(p * lanes, max(0, filters - lanes))


cdef const convnd_rowwise_tiles *tiles_for(int64_t itemsize, int64_t filters) noexcept nogil:
    cdef const convnd_tiles *table = tiles(itemsize)
    return table.rowwise_pairs if two_wide() and filters > table.lanes else table.rowwise


cdef int64_t least_tiles(const convnd_rowwise_tiles *table, int64_t alpha) noexcept nogil:
    return (2 if table.turns else 4) * table.height[alpha]


cdef int64_t row_tiles(const Rowwise *job, int64_t outputs) noexcept nogil:
    return job.apart * ceil_div(ceil_div(outputs, job.apart), job.outputs)


cdef int64_t rows_of(const Rowwise *job, int64_t a, int64_t outputs) noexcept nogil:
    """Rows of inputs that so many outputs on an axis read."""
    return (outputs - 1) * job.stride[a] + (job.kernel[a] - 1) * job.dilation[a] + 1


cdef int64_t line_numbers(const Rowwise *job, int64_t tile, int64_t count, int64_t *first) noexcept nogil:
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
    n = max(BLOCK_BYTES // (2 if last else 1) // (tile_bytes * rows), least_tiles(job.row_tiles, job.alpha))
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
            job.row_tiles.input(&args)
        else:
            memset(data, 0, row_bytes)
        data += row_bytes
        if not next_row(at, block.rows, last):
            break


cdef int64_t list_tiles(const Rowwise *job, const Block *block, convnd_rowwise_tile *tile) noexcept nogil:
    cdef int64_t last = job.rank - 1, a, t, count = 0, row, place, output, size, height, residue, left
    cdef int64_t between = block.first[last] % job.apart, onward = job.apart * (job.outputs - 1)
    cdef int64_t first = block.first[last] // job.apart * job.apart * job.outputs + between
    cdef const int64_t *shape = job.out_shapes + block.sample * job.rank
    cdef int64_t at[MAX_RANK]
    height = job.row_tiles.height[job.alpha]
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


cdef void read_geometry(Rowwise *job, int64_t itemsize, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
                        int64_t alpha, int64_t channels, int64_t filters) noexcept nogil:
    cdef int64_t a, last = geometry.shape[1] - 1
    job.tiles, job.row_tiles = tiles(itemsize), tiles_for(itemsize, filters)
    job.rank = last + 1
    job.n_runs = 1
    for a in range(last):
        job.kernel[a], job.stride[a], job.dilation[a] = geometry[0, a], geometry[1, a], geometry[2, a]
        job.n_runs *= job.kernel[a]
    job.step, job.apart, job.alpha, job.outputs = geometry[1, last], apart, alpha, alpha + 1 - taps
    job.reach = (geometry[0, last] - 1) * geometry[2, last] + 1
    job.channels, job.filters = channels, filters
    job.width = channels * (1 if geometry[2, last] > 1 else apart * geometry[1, last])


cdef int64_t cut_blocks(Rowwise *job) noexcept nogil:
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
    job.runs_at = job.tiles_at + (most + job.row_tiles.height[job.alpha]) * sizeof(convnd_rowwise_tile)
    job.line_at = job.runs_at + job.n_runs * sizeof(int64_t)
    job.scratch_size = ceil_div(job.line_at + line * job.tiles.itemsize, STREAM_LINE) * STREAM_LINE
    return total


def tiles_read(const int64_t[:, ::1] out_shapes, const int64_t[:, ::1] geometry, int64_t apart, int64_t taps,
               int64_t alpha, int64_t channels, int64_t filters, int64_t itemsize, double[::1] found):
    """How many tiles of inputs are transformed for each sample (N,): those of rows that two blocks read twice."""
    cdef Rowwise job
    cdef int64_t sample, a
    cdef int64_t extents[MAX_RANK]
    read_geometry(&job, itemsize, geometry, apart, taps, alpha, channels, filters)
    job.out_shapes = &out_shapes[0, 0]
    for sample in range(out_shapes.shape[0]):
        found[sample] = row_tiles(&job, out_shapes[sample, job.rank - 1])
        for a in range(job.rank - 1):
            found[sample] *= out_shapes[sample, a]
        if found[sample]:
            choose_extents(&job, sample, BLOCK_TILES, extents)
            for a in range(job.rank - 1):
                found[sample] *= <double>rows_of(&job, a, extents[a]) / <double>extents[a]
