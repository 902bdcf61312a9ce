"""Chunks of HDF5 datasets, past the HDF5 library: threads read side by side, and the checksum is taken many words at
a time."""

from libc.stdint cimport int64_t, uint32_t

cdef extern from "chunks.h":
    uint32_t chunk_checksum(const unsigned char *data, int64_t bytes) noexcept nogil
    int chunk_read(
        int file, const int64_t *places, int64_t size, int64_t start, int64_t stop, unsigned char *out
    ) noexcept nogil


def checksum(const unsigned char[::1] data):
    """HDF5's Fletcher-32 of some bytes."""
    return chunk_checksum(&data[0] if data.shape[0] else NULL, data.shape[0])


def read(int file, const int64_t[::1] places, int64_t size, int64_t start, unsigned char[::1] out):
    """Bytes from ``start`` on of a dataset, whose chunks are of ``size`` bytes and stand at these places, into ``out``.

    Returns whether each chunk is there, and is what its checksum says.
    """
    cdef int64_t stop = start + out.shape[0]
    cdef int failed
    if start < 0 or size <= 0 or stop > places.shape[0] * size:
        raise IndexError(f"bytes {start} to {stop} of {places.shape[0]} chunks of {size}")
    if not out.shape[0]:
        return True
    with nogil:
        failed = chunk_read(file, &places[0], size, start, stop, &out[0])
    return not failed
