/* The loop that measures the peak. */
#include "check.h"

void check_peak(void) {
    const int64_t n = tiles->peak->chains * tiles->lanes;
    for (int64_t rounds = 0; rounds < 4; rounds++) {
        begin("peak: %lld rounds", (long long)rounds);
        char *out = numbers(n);
        const double term = get(out, 0);
        wanted *want = as_is(out, n);
        for (int64_t i = 0; i < n; i++) {
            want[i].value = (double)(i / tiles->lanes);
            for (int64_t r = 0; r < rounds; r++) want[i].value = want[i].value * 0.75 + term;
            want[i].scale = 32;
        }
        tiles->peak->multiply_add(out, rounds);
        compare(out, want, n);
    }
}
