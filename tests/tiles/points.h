/* Winograd's transforms of one axis, by their definition.
 *
 * A filter of r taps and m outputs has alpha = m + r - 1 points; the last is at infinity. EVALUATE takes coefficients to a
 * polynomial's values at the points. INTERPOLATE, the transpose of Lagrange's, has a row for each point p: the coefficients
 * of the product of (x - q) over the other points q; at infinity over all. N = the product of (p - q) divides weights. */
#ifndef POINTS_H
#define POINTS_H

#include <math.h>
#include <stdint.h>

typedef enum { INTERPOLATE, EVALUATE } transform;

static inline double point(int64_t alpha, int64_t i) {
    const double of_4[] = {0, 1, -1}, of_6[] = {0, sqrt(0.5), -sqrt(0.5), sqrt(2), -sqrt(2)};
    const double of_8[] = {0, 1, -1, 2, -2, 0.5, -0.5};
    return (alpha == 4 ? of_4 : alpha == 6 ? of_6 : of_8)[i];
}

static inline double over_n(int64_t alpha, int64_t i) {
    double n = 1;
    if (alpha == 1 || i == alpha - 1) return 1;
    for (int64_t j = 0; j < alpha - 1; j++)
        if (j != i) n *= point(alpha, i) - point(alpha, j);
    return 1 / n;
}

/* One axis: frequency i, element j of `size`. */
static inline double entry(transform what, int64_t alpha, int64_t size, int64_t i, int64_t j) {
    double c[9] = {1};
    if (alpha == 1) return 1;
    if (what == EVALUATE) return i == alpha - 1 ? j == size - 1 : pow(point(alpha, i), (double)j);
    for (int64_t k = 0; k < alpha - 1; k++) {
        if (k == i) continue;
        for (int64_t d = 8; d >= 0; d--) c[d] = (d ? c[d - 1] : 0) - point(alpha, k) * c[d];
    }
    return c[j];
}

#endif
