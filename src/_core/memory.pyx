# cython: cdivision=True
"""Aligned buffers that are used again: fresh memory costs a page fault for each 4 KB.

A freed buffer waits in the bin of its size for the next one of that size. What is in use and what waits are together
at most a quarter above what lately was in use at once; what has waited longest goes first.
"""

from collections import OrderedDict, deque

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef int64_t ALIGNMENT = 64
cdef int64_t MOST = 1 << 60

cdef int64_t in_use = 0, most_in_use = 0, waiting = 0
cdef object bins = OrderedDict()  # size -> addresses; the bin that waits longest comes first


cdef int64_t rounded(int64_t size):
    """Up to the next of eight sizes between powers of two, so that samples of changing size meet used buffers."""
    cdef int64_t unit = 4096
    while size > 8 * unit:
        unit *= 2
    return (size + unit - 1) // unit * unit


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
        found = bins.get(self.room)
        if found:
            self.block = <void *><uintptr_t>found.pop()
            waiting -= self.room
            if not found:
                bins.pop(self.room, None)
        else:
            self.block = malloc(self.room + ALIGNMENT)
            if not self.block:
                forget(0)
                self.block = malloc(self.room + ALIGNMENT)
            if not self.block:
                raise MemoryError(f"no memory for a buffer of {size} bytes")
        self.start = <char *>((<uintptr_t>self.block + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
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
            if in_use + waiting > most_in_use + most_in_use // 4:
                forget(most_in_use + most_in_use // 4 - in_use)
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
