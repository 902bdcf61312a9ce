"""When results go past the caches, straight to memory: where they are too many for a cache to keep until they are read.

A line that is stored as usual is read from memory first, and both ways count. Bits are the same either way.
"""

from libc.stdint cimport int64_t, uintptr_t

from convnd._core.isa cimport stream_bytes

cdef enum:
    STREAM_LINE = 64    # bytes; tiles must write whole lines


# Whether `bytes` of results at `out`, in rows of so many bytes, go that way.
cdef inline bint streams(const void *out, int64_t row, int64_t bytes) noexcept nogil:
    return bytes >= stream_bytes and row % STREAM_LINE == 0 and <uintptr_t>out % STREAM_LINE == 0
