/* Tasks shared out in ranges: a thread takes those of a range of its own, one by one, and when it has done them helps the
 * others. So a thread has the same tasks every time, as long as all are equally fast. */
#ifndef CONVND_SHARE_H
#define CONVND_SHARE_H

#include <stdint.h>

#define CONVND_RANGES 128 /* further threads help from the start */

typedef struct {
    int64_t next, end;
    char apart[48]; /* a line of the cache for each */
} convnd_range;

static inline int convnd_share(convnd_range *ranges, int64_t count, int threads) {
    const int n = threads < CONVND_RANGES ? threads : CONVND_RANGES;
    for (int r = 0; r < n; r++) {
        ranges[r].next = count * r / n;
        ranges[r].end = count * (r + 1) / n;
    }
    return n;
}

/* A task that nobody has taken, or -1 if there is none left. `at` is the range to look in first, and is moved on. */
static inline int64_t convnd_take(convnd_range *ranges, int n, int *at) {
    for (int tried = 0; tried < n; tried++) {
        convnd_range *range = &ranges[*at];
        if (__atomic_load_n(&range->next, __ATOMIC_RELAXED) < range->end) {
            const int64_t task = __atomic_fetch_add(&range->next, 1, __ATOMIC_RELAXED);
            if (task < range->end) return task;
        }
        *at = *at + 1 < n ? *at + 1 : 0;
    }
    return -1;
}

#endif
