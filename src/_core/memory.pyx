# cython: cdivision=True
"""Aligned buffers that are used again: fresh memory costs a page fault for each 4 KB.

A freed block waits for the next buffer of its size or down to half of it: samples of changing size meet used memory
all the same. What is in use and what waits are together at most half more than what lately was in use at once; what
has waited longest goes first. Large blocks ask for huge pages, where the system has them on request.

The two bounds are fitted to training on volumes and waveforms whose sizes change from step to step: fresh memory is
some 10 MB a step where 310 MB are in use. With blocks of one size only, and a quarter more, it would be 290 MB.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    static void convnd_huge_pages(void *start, size_t size) { madvise(start, size, MADV_HUGEPAGE); }
    #else
    static void convnd_huge_pages(void *start, size_t size) { (void)start, (void)size; }
    #endif
    """
    void convnd_huge_pages(void *start, size_t size) noexcept nogil

cdef int64_t ALIGNMENT = 64
cdef int64_t HUGE_PAGE = 2 * 1024 * 1024
cdef int64_t MOST = 1 << 60

# Rooms are 1 to 8 times 4 KB, then 5 to 8 times 8 KB, 16 KB ...: a bin for each.
cdef int64_t UNIT = 4096
cdef enum:
    BINS = 192

cdef struct Bin:
    void *first         # a waiting block; it begins with the address of the next
    int64_t since       # when the last one came, by the count of all that came

cdef Bin bins[BINS]
cdef int64_t in_use = 0, most_in_use = 0, waiting = 0, came = 0


cdef int64_t bin_of(int64_t size):
    """The first bin with room for so much."""
    cdef int64_t unit = UNIT, doubled = 0
    while size > 8 * unit:
        unit *= 2
        doubled += 1
    return 4 * doubled + max(1, (size + unit - 1) // unit) - 1


cdef int64_t room_of(int64_t number):
    """Bytes of a block of this bin."""
    return UNIT * (number + 1) if number < 8 else (UNIT * (number % 4 + 5)) << (number // 4 - 1)


cdef int64_t fitting(int64_t wanted):
    """The first bin that has a block, of this one and those with at most twice its room; -1 if none has."""
    cdef int64_t number = wanted
    while number < BINS and room_of(number) <= 2 * room_of(wanted):
        if bins[number].first:
            return number
        number += 1
    return -1


cdef void *fresh(int64_t room):
    """A new block, or NULL. Pages of a large one begin where huge ones can."""
    cdef int64_t edge = HUGE_PAGE if room >= 2 * HUGE_PAGE else ALIGNMENT
    cdef void *block = malloc(room + edge)
    if block and edge == HUGE_PAGE:
        convnd_huge_pages(aligned(block, HUGE_PAGE), room // HUGE_PAGE * HUGE_PAGE)
    return block


cdef inline void *aligned(void *block, int64_t edge):
    return <void *>((<uintptr_t>block + edge - 1) // edge * edge)


cdef class Buffer:
    """`size` bytes at a multiple of 64, their content undefined."""

    cdef void *block      # as malloc gave it
    cdef char *start
    cdef int64_t size, bin

    def __cinit__(self, int64_t size):
        global in_use, most_in_use
        cdef int64_t found, room
        self.block = NULL
        if size > MOST:
            raise MemoryError(f"no memory for a buffer of {size} bytes")
        self.size, self.bin = size, bin_of(size)
        found = fitting(self.bin)
        if found >= 0:
            self.bin = found
            self.block = taken(found)
        else:
            self.block = fresh(room_of(self.bin))
            if not self.block:
                forget(0)
                self.block = fresh(room_of(self.bin))
            if not self.block:
                raise MemoryError(f"no memory for a buffer of {size} bytes")
        room = room_of(self.bin)
        self.start = <char *>aligned(self.block, HUGE_PAGE if room >= 2 * HUGE_PAGE else ALIGNMENT)
        in_use += room
        most_in_use = max(most_in_use - (most_in_use >> 12), in_use)

    def __dealloc__(self):
        global in_use, waiting, came
        if not self.block:
            return
        came += 1
        (<void **>self.block)[0] = bins[self.bin].first
        bins[self.bin].first, bins[self.bin].since = self.block, came
        in_use -= room_of(self.bin)
        waiting += room_of(self.bin)
        if in_use + waiting > most_in_use + most_in_use // 2:
            forget(most_in_use + most_in_use // 2 - in_use)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.size, 0, flags)


cdef void *taken(int64_t number):
    """The bin's block that came last."""
    global waiting
    cdef void *block = bins[number].first
    bins[number].first = (<void **>block)[0]
    waiting -= room_of(number)
    return block


cdef void forget(int64_t most):
    """Free waiting buffers until at most `most` bytes wait."""
    cdef int64_t number, oldest
    while waiting > most:
        oldest = -1
        for number in range(BINS):
            if bins[number].first and (oldest < 0 or bins[number].since < bins[oldest].since):
                oldest = number
        if oldest < 0:
            return
        free(taken(oldest))


def trim():
    """Free all waiting buffers, and start counting afresh; returns the bytes still in use."""
    global most_in_use
    forget(0)
    most_in_use = in_use
    return in_use


def usage():
    """Bytes (in use, most in use at once, waiting)."""
    return in_use, most_in_use, waiting
