"""Tasks on threads. How sums are cut into tasks must follow from shapes alone; then threads never change a bit."""

from libc.stdint cimport int64_t

ctypedef void (*Task)(void *context, int64_t index, int64_t slot) noexcept nogil

# Slots of scratch that a coming parallel_for may use: allocate one of each before it.
cdef int64_t slots() noexcept nogil

# Threads that it may run on, as things are: for choices that never show in a result.
cdef int64_t usable() noexcept nogil

# Runs task(context, i, slot) for i in range(count); `work` is about the number of operations in all. A thread begins
# with a range of its own, the same every time, so that it finds in its cache what it has written; then it helps others.
cdef void parallel_for(Task task, void *context, int64_t count, int64_t work) noexcept nogil

# Whose task number `index` is: the last of `count` owners whose first task, at starts, isn't after it.
cdef inline int64_t owner_of(const int64_t *starts, int64_t count, int64_t index) noexcept nogil:
    cdef int64_t low = 0, high = count, middle
    while high - low > 1:
        middle = low + ((high - low) >> 1)
        if starts[middle] <= index:
            low = middle
        else:
            high = middle
    return low
