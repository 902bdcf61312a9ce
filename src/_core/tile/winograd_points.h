/* Winograd's transforms of one line or plane of numbers.
 *
 * F(m, r) gives m outputs of r taps by alpha = m + r - 1 multiplications: y = A' [(G w) . (B' d)], with points p where
 * polynomials are evaluated: A evaluates m coefficients at the points, G evaluates r of them and divides by
 * N_i = prod (p_i - p_j), B' interpolates. Points 0, 1, -1, inf (alpha 4); 0, +-sqrt(1/2), +-sqrt(2), inf (alpha 6), whose
 * rounding error is a half to a third of that of 0, +-1, +-2, inf; 0, +-1, +-2, +-1/2, inf (alpha 8), with twice as large a
 * one, on a single axis alone.
 *
 * Lavin and Gray, arXiv:1509.09308; Blahut, Fast Algorithms for Signal Processing, 2010, chapter 5. */

#define A1 ((real)0.70710678118654752440) /* sqrt(1/2) and its third power; even powers are exact */
#define A3 ((real)0.35355339059327376220)
#define B1 ((real)1.41421356237309504880)
#define B3 ((real)2.82842712474619009760)

/* One line of each transform: vectors f_step apart to vectors t_step apart. One product a statement, so that every copy of
 * a line contracts to the same multiply-adds. */
INLINE void NAME(interpolate4)(const real *f, int64_t f_step, real *t, int64_t t_step) {
    const vec d0 = load(f), d1 = load(f + f_step), d2 = load(f + 2 * f_step), d3 = load(f + 3 * f_step);
    store(t, d2 - d0);
    store(t + t_step, d1 + d2);
    store(t + 2 * t_step, d2 - d1);
    store(t + 3 * t_step, d3 - d1);
}
/* From six numbers to their frequencies, step apart. */
INLINE void NAME(interpolated6)(const vec *d, real *t, int64_t step) {
    const vec zero = d[0] + d[4], infinity = d[1] + d[5];
    const vec even_a = d[4] - 2 * d[2], odd_a = d[3] - 2 * d[1];
    const vec even_b = d[4] - (real)0.5 * d[2], odd_b = d[3] - (real)0.5 * d[1];
    store(t, zero - (real)2.5 * d[2]);
    store(t + step, even_a + A1 * odd_a);
    store(t + 2 * step, even_a - A1 * odd_a);
    store(t + 3 * step, even_b + B1 * odd_b);
    store(t + 4 * step, even_b - B1 * odd_b);
    store(t + 5 * step, infinity - (real)2.5 * d[3]);
}
INLINE void NAME(interpolate6)(const real *f, int64_t f_step, real *t, int64_t t_step) {
    vec d[6];
    UNROLL for (int i = 0; i < 6; i++) d[i] = load(f + i * f_step);
    NAME(interpolated6)(d, t, t_step);
}
/* Powers of the points 1, 2 and 1/2 of alpha 8. */
static const real NAME(power)[3][7] = {{1, 1, 1, 1, 1, 1, 1},
                                       {1, 2, 4, 8, 16, 32, 64},
                                       {1, (real)0.5, (real)0.25, (real)0.125, (real)0.0625, (real)0.03125, (real)0.015625}};
INLINE void NAME(interpolate8)(const real *f, int64_t f_step, real *t, int64_t t_step) {
    vec d[8];
    UNROLL for (int i = 0; i < 8; i++) d[i] = load(f + i * f_step);
    const vec zero = d[6] - d[0], infinity = d[7] - d[1];
    store(t, zero + (real)5.25 * (d[2] - d[4]));
    store(t + 7 * t_step, infinity + (real)5.25 * (d[3] - d[5]));
    const vec even = d[2] + d[6], odd = d[1] + d[5];
    const vec even_1 = even - (real)4.25 * d[4], odd_1 = odd - (real)4.25 * d[3];
    store(t + t_step, even_1 + odd_1);
    store(t + 2 * t_step, even_1 - odd_1);
    const vec high = d[6] - (real)1.25 * d[4], even_2 = high + (real)0.25 * d[2];
    const vec low = d[1] - 5 * d[3], odd_2 = low + 4 * d[5];
    store(t + 3 * t_step, even_2 + (real)0.5 * odd_2);
    store(t + 4 * t_step, even_2 - (real)0.5 * odd_2);
    const vec far = d[6] - 5 * d[4], even_h = far + 4 * d[2];
    const vec near = d[5] - 5 * d[3], odd_h = near + 4 * d[1];
    store(t + 5 * t_step, even_h + (real)0.5 * odd_h);
    store(t + 6 * t_step, even_h - (real)0.5 * odd_h);
}
/* n coefficients to their values v at the points. */
INLINE void NAME(evaluated)(const int alpha, const int n, const vec *c, vec *v) {
    v[0] = c[0];
    v[alpha - 1] = c[n - 1];
    if (alpha == 4) {
        vec even = c[0];
        if (n > 2) even = even + c[2];
        v[1] = even + c[1];
        v[2] = even - c[1];
        return;
    }
    if (alpha == 8) {
        UNROLL for (int p = 0; p < 3; p++) {
            vec even = c[0], odd = NAME(power)[p][1] * c[1];
            UNROLL for (int k = 2; k < n; k += 2) even = even + NAME(power)[p][k] * c[k];
            UNROLL for (int k = 3; k < n; k += 2) odd = odd + NAME(power)[p][k] * c[k];
            v[1 + 2 * p] = even + odd;
            v[2 + 2 * p] = even - odd;
        }
        return;
    }
    vec even_a = c[0], even_b = c[0], odd_a = A1 * c[1], odd_b = B1 * c[1];
    if (n > 2) even_a = even_a + (real)0.5 * c[2];
    if (n > 2) even_b = even_b + 2 * c[2];
    if (n > 3) odd_a = odd_a + A3 * c[3];
    if (n > 3) odd_b = odd_b + B3 * c[3];
    if (n > 4) even_a = even_a + (real)0.25 * c[4];
    if (n > 4) even_b = even_b + 4 * c[4];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
}
INLINE void NAME(evaluate)(const int alpha, const int n, const real *f, int64_t f_step, real *t, int64_t t_step) {
    vec c[7], v[8];
    UNROLL for (int j = 0; j < n; j++) c[j] = load(f + j * f_step);
    NAME(evaluated)(alpha, n, c, v);
    UNROLL for (int j = 0; j < alpha; j++) store(t + j * t_step, v[j]);
}
/* The transpose of evaluate: n numbers y. */
INLINE void NAME(collected)(const int alpha, const int n, const vec *v, vec *y) {
    const vec even_a = v[1] + v[2], odd_a = v[1] - v[2];
    if (alpha == 4) {
        y[0] = v[0] + even_a;
        y[1] = odd_a;
        y[2] = even_a;
    } else if (alpha == 8) {
        UNROLL for (int k = 0; k < n; k++) {
            y[k] = k % 2 ? v[1] - v[2] : v[1] + v[2];
            if (k == 0) y[k] = y[k] + v[0];
            UNROLL for (int p = 1; p < 3; p++) {
                const vec pair = k % 2 ? v[1 + 2 * p] - v[2 + 2 * p] : v[1 + 2 * p] + v[2 + 2 * p];
                y[k] = y[k] + NAME(power)[p][k] * pair;
            }
        }
    } else {
        const vec even_b = v[3] + v[4], odd_b = v[3] - v[4];
        y[0] = v[0] + even_a;
        y[0] = y[0] + even_b;
        y[1] = A1 * odd_a;
        y[1] = y[1] + B1 * odd_b;
        y[2] = (real)0.5 * even_a;
        y[2] = y[2] + 2 * even_b;
        y[3] = A3 * odd_a;
        y[3] = y[3] + B3 * odd_b;
        y[4] = (real)0.25 * even_a;
        y[4] = y[4] + 4 * even_b;
    }
    y[n - 1] = y[n - 1] + v[alpha - 1];
}
INLINE void NAME(collect)(const int alpha, const int n, const real *f, int64_t f_step, real *t, int64_t t_step) {
    vec v[8], y[7];
    UNROLL for (int j = 0; j < alpha; j++) v[j] = load(f + j * f_step);
    NAME(collected)(alpha, n, v, y);
    UNROLL for (int j = 0; j < n; j++) store(t + j * t_step, y[j]);
}

/* 1 / N of a frequency. */
INLINE real NAME(point_scale)(int64_t alpha, int64_t f) {
    static const real four[3] = {-1, (real)0.5, 1}, six[4] = {1, (real)(-2.0 / 3), (real)(1.0 / 6), 1};
    static const real eight[5] = {-1, (real)(-2.0 / 9), (real)(1.0 / 90), (real)(32.0 / 45), 1};
    return (alpha == 4 ? four : alpha == 6 ? six : eight)[(f + 1) / 2]; /* +p and -p share one */
}

/* Two axes of six frequencies at once, without a store between them. An input has too many numbers for the registers: a
 * column of frequencies or two are made from all rows, then transformed. */
INLINE void NAME(interpolate6_plane)(const real *f, int64_t f_row, int64_t f_col, real *t, int64_t t_row, int64_t t_col) {
    vec a[6], b[6];
#define D(J) load(row + J * f_col)
#define ROWS(...) do { \
    const real *row = f; \
    UNROLL for (int i = 0; i < 6; i++) { \
        __VA_ARGS__ \
        ONWARD(row, f_row) \
    } \
} while (0)
#define COLUMN(OF) NAME(interpolated6)(OF, t, t_row); ONWARD(t, t_col)
    ROWS(
        const vec zero = D(0) + D(4);
        a[i] = zero - (real)2.5 * D(2);
    );
    COLUMN(a)
    ROWS(
        const vec even = D(4) - 2 * D(2), odd = D(3) - 2 * D(1);
        a[i] = even + A1 * odd;
        b[i] = even - A1 * odd;
    );
    COLUMN(a)
    COLUMN(b)
    ROWS(
        const vec even = D(4) - (real)0.5 * D(2), odd = D(3) - (real)0.5 * D(1);
        a[i] = even + B1 * odd;
        b[i] = even - B1 * odd;
    );
    COLUMN(a)
    COLUMN(b)
    ROWS(
        const vec infinity = D(1) + D(5);
        a[i] = infinity - (real)2.5 * D(3);
    );
    NAME(interpolated6)(a, t, t_row);
#undef COLUMN
#undef ROWS
#undef D
}
INLINE void NAME(evaluate6_plane)(const int n, const real *f, int64_t f_row, int64_t f_col, real *t, int64_t t_row,
                                 int64_t t_col) {
    vec c[5], of[5][6], v[6];
    UNROLL for (int i = 0; i < n; i++) {
        UNROLL for (int j = 0; j < n; j++) c[j] = load(f + j * f_col);
        NAME(evaluated)(6, n, c, of[i]);
        ONWARD(f, f_row)
    }
    UNROLL for (int j = 0; j < 6; j++) {
        UNROLL for (int i = 0; i < n; i++) c[i] = of[i][j];
        NAME(evaluated)(6, n, c, v);
        UNROLL for (int i = 0; i < 6; i++) store(t + i * t_row, v[i]);
        ONWARD(t, t_col)
    }
}
INLINE void NAME(collect6_rows)(const int n, const real *f, int64_t f_row, int64_t f_col, vec (*of)[5]) {
    UNROLL for (int i = 0; i < 6; i++) {
        vec v[6];
        UNROLL for (int j = 0; j < 6; j++) v[j] = load(f + j * f_col);
        NAME(collected)(6, n, v, of[i]);
        ONWARD(f, f_row)
    }
}
INLINE void NAME(collect6_plane)(const int n, const real *f, int64_t f_row, int64_t f_col, real *t, int64_t t_row,
                                int64_t t_col) {
    vec v[6], of[6][5], y[5];
    NAME(collect6_rows)(n, f, f_row, f_col, of);
    UNROLL for (int j = 0; j < n; j++) {
        UNROLL for (int i = 0; i < 6; i++) v[i] = of[i][j];
        NAME(collected)(6, n, v, y);
        UNROLL for (int i = 0; i < n; i++) store(t + i * t_row, y[i]);
        ONWARD(t, t_col)
    }
}
#undef A1
#undef A3
#undef B1
#undef B3
