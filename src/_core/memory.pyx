# cython: cdivision=True
"""Aligned buffers that are used again: fresh memory costs a page fault for each 4 KB.

A freed block waits for the next buffer of its size or down to half of it: samples of changing size meet used memory
all the same. What is in use and what waits are together at most half more than what lately was in use at once; what
has waited longest goes first. Large blocks ask for huge pages, where the system has them on request.

The two bounds are fitted to training on volumes and waveforms whose sizes change from step to step: fresh memory is
some 10 MB a step where 310 MB are in use. With blocks of one size only, and a quarter more, it would be 290 MB.
"""

from collections import OrderedDict, deque

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

cdef int64_t in_use = 0, most_in_use = 0, waiting = 0
cdef object bins = OrderedDict()  # size -> addresses; the bin that waits longest comes first


cdef int64_t rounded(int64_t size):
    """Up to the next of eight sizes between powers of two, so that there are few different sizes."""
    cdef int64_t unit = 4096
    while size > 8 * unit:
        unit *= 2
    return (size + unit - 1) // unit * unit


cdef object fitting(int64_t room):
    """(size, addresses) of the bin that fits best, of those that will do."""
    found = bins.get(room)
    if found:
        return room, found
    size = min((size for size in bins if room < size <= 2 * room), default=None)
    return None if size is None else (size, bins[size])


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
    cdef int64_t room, size

    def __cinit__(self, int64_t size):
        global in_use, most_in_use, waiting
        self.block = NULL
        if size > MOST:
            raise MemoryError(f"no memory for a buffer of {size} bytes")
        self.size, self.room = size, rounded(size)
        found = fitting(self.room)
        if found:
            self.room, addresses = found
            self.block = <void *><uintptr_t>addresses.pop()
            waiting -= self.room
            if not addresses:
                bins.pop(self.room, None)
        else:
            self.block = fresh(self.room)
            if not self.block:
                forget(0)
                self.block = fresh(self.room)
            if not self.block:
                raise MemoryError(f"no memory for a buffer of {size} bytes")
        self.start = <char *>aligned(self.block, HUGE_PAGE if self.room >= 2 * HUGE_PAGE else ALIGNMENT)
        in_use += self.room
        most_in_use = max(most_in_use - (most_in_use >> 12), in_use)

    def __dealloc__(self):
        global in_use, waiting
        if not self.block:
            return
        in_use -= self.room
        try:
            bins.setdefault(self.room, deque()).append(<uintptr_t>self.block)
            bins.move_to_end(self.room)
            waiting += self.room
            if in_use + waiting > most_in_use + most_in_use // 2:
                forget(most_in_use + most_in_use // 2 - in_use)
        except (AttributeError, TypeError):  # the interpreter is shutting down
            free(self.block)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.size, 0, flags)


cdef void forget(int64_t most):
    """Free waiting buffers until at most `most` bytes wait."""
    global waiting
    while waiting > most and bins:
        size, found = next(iter(bins.items()))
        free(<void *><uintptr_t>found.popleft())
        waiting -= size
        if not found:
            bins.pop(size, None)


def trim():
    """Free all waiting buffers, and start counting afresh; returns the bytes still in use."""
    global most_in_use
    forget(0)
    most_in_use = in_use
    return in_use


def usage():
    """Bytes (in use, most in use at once, waiting)."""
    return in_use, most_in_use, waiting
