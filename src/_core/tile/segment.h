/* Sums over rows, column by column: what a batch is summed by. Included once for each element type.
 *
 * Two chains a column, of the even and of the odd rows, over some hundred rows at most. Of many columns it is one chain,
 * to which four rows are added at a time. */
#include "activation.h"
#include "moments.h"

enum { NAME(OF_X), NAME(OF_SQUARE), NAME(OF_DEVIATION), NAME(OF_PRODUCT) };

INLINE void NAME(column_body)(const int what, const int64_t kind, const int vectors, const real *g, const real *x,
                              const real *mean, const real *scale, const real *shift, real *sum, real *second,
                              int64_t rows, int64_t step, int64_t lanes) {
    const int pairs = what == NAME(OF_DEVIATION) || what == NAME(OF_PRODUCT);
    vec first[4][2], other[4][2], centre[4], by[4], plus[4];
    const int64_t ahead = rows * step; /* the rows that come next, while these are read again */
#define PART(p) (lanes >= VL ? load(p) : load_part(p, lanes))
    UNROLL for (int v = 0; v < vectors; v++) {
        first[v][0] = first[v][1] = other[v][0] = other[v][1] = (vec){0};
        if (pairs) centre[v] = PART(mean + v * VL);
        if (kind != ACT_NONE) by[v] = PART(scale + v * VL), plus[v] = PART(shift + v * VL);
    }
#define ADD(row) do { \
    UNROLL for (int v = 0; v < vectors; v++) { \
        const vec t = PART(x + v * VL); \
        if (what == NAME(OF_X)) { \
            first[v][row] += t; \
        } else if (what == NAME(OF_SQUARE)) { \
            first[v][row] += t * t; \
        } else if (what == NAME(OF_DEVIATION)) { \
            const vec d = t - centre[v]; \
            __builtin_prefetch(x + ahead + v * VL, 0, 2); \
            first[v][row] += d; \
            other[v][row] += d * d; \
        } else { \
            vec s = PART(g + v * VL); \
            if (kind != ACT_NONE) s = NAME(fused_grad)(t * by[v] + plus[v], s, kind); \
            const vec d = t - centre[v]; \
            first[v][row] += s; \
            other[v][row] += s * d; \
        } \
    } \
    x += step; \
    g += step; \
} while (0)
    for (int64_t r = rows >> 1; r > 0; r--) { ADD(0); ADD(1); }
    if (rows & 1) ADD(0);
#undef ADD
    UNROLL for (int v = 0; v < vectors; v++) {
        if (lanes >= VL) {
            store(sum + v * VL, first[v][0] + first[v][1]);
            if (pairs) store(second + v * VL, other[v][0] + other[v][1]);
        } else {
            store_part(sum, first[v][0] + first[v][1], lanes);
            if (pairs) store_part(second, other[v][0] + other[v][1], lanes);
        }
    }
#undef PART
}

/* Vectors of columns at a time, as many as the registers hold sums of: rows lie apart, and memory is read in runs. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define WIDE 4
#else
#define WIDE 2
#endif

/* Some rows of whole vectors of columns, added to sums that lie in memory: wide rows are read as they lie. */
INLINE void NAME(through)(const int what, const int64_t kind, const int deep, const real *g, const real *x,
                          const real *mean, const real *scale, const real *shift, real *sum, real *second,
                          int64_t step, int64_t width) {
    const int pairs = what == NAME(OF_DEVIATION) || what == NAME(OF_PRODUCT);
    for (int64_t f = 0; f < width; f += VL) {
        vec first[4], other[4];
        UNROLL for (int r = 0; r < deep; r++) {
            const vec t = load(x + r * step + f);
            first[r] = t;
            if (what == NAME(OF_SQUARE)) first[r] = t * t;
            if (pairs) {
                const vec d = t - load(mean + f);
                vec s = d;
                if (what == NAME(OF_PRODUCT)) s = load(g + r * step + f);
                if (kind != ACT_NONE) s = NAME(fused_grad)(t * load(scale + f) + load(shift + f), s, kind);
                first[r] = s;
                other[r] = s * d;
            }
        }
        if (deep == 4) first[0] = (first[0] + first[1]) + (first[2] + first[3]);
        store(sum + f, load(sum + f) + first[0]);
        if (!pairs) continue;
        if (deep == 4) other[0] = (other[0] + other[1]) + (other[2] + other[3]);
        store(second + f, load(second + f) + other[0]);
    }
}

/* The last vector begins early where columns don't fill it: it repeats some. */
INLINE void NAME(columns)(const int what, const int64_t kind, const int vectors, const char *g_, const char *x_,
                          const char *mean_, const char *scale_, const char *shift_, char *sum_, char *second_,
                          int64_t rows, int64_t step, int64_t width) {
    const real *g = (const real *)g_, *x = (const real *)x_, *mean = (const real *)mean_;
    const real *scale = (const real *)scale_, *shift = (const real *)shift_;
    real *sum = (real *)sum_, *second = (real *)second_;
    int64_t f = 0;
    if (width > 2 * vectors * VL) {
        f = width - width % VL;
        for (int64_t i = 0; i < f; i += VL) {
            store(sum + i, (vec){0});
            if (what == NAME(OF_DEVIATION) || what == NAME(OF_PRODUCT)) store(second + i, (vec){0});
        }
#define THROUGH(deep, r) \
    NAME(through)(what, kind, deep, g + (r) * step, x + (r) * step, mean, scale, shift, sum, second, step, f)
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) THROUGH(4, r);
        for (; r < rows; r++) THROUGH(1, r);
#undef THROUGH
    }
#define BODY(vectors, f, lanes) \
    NAME(column_body)(what, kind, vectors, g + (f), x + (f), mean + (f), scale + (f), shift + (f), sum + (f), \
                      second + (f), rows, step, lanes)
    for (; f + vectors * VL <= width; f += vectors * VL) BODY(vectors, f, VL);
    for (; f + VL <= width; f += VL) BODY(1, f, VL);
    if (f < width && f) BODY(1, width - VL, VL);
    else if (f < width) BODY(1, 0, width);
#undef BODY
}

static void NAME(column_sum)(const char *x, char *sum, int64_t rows, int64_t step, int64_t width) {
    NAME(columns)(NAME(OF_X), ACT_NONE, 4, x, x, x, x, x, sum, sum, rows, step, width);
}

static void NAME(column_square)(const char *x, char *sum, int64_t rows, int64_t step, int64_t width) {
    NAME(columns)(NAME(OF_SQUARE), ACT_NONE, 4, x, x, x, x, x, sum, sum, rows, step, width);
}

static void NAME(column_deviation)(const char *x, const char *mean, char *sum, char *square, int64_t rows, int64_t step,
                                   int64_t width) {
    NAME(columns)(NAME(OF_DEVIATION), ACT_NONE, 2, x, x, mean, x, x, sum, square, rows, step, width);
}

static void NAME(column_product)(const char *g, const char *x, const char *mean, const convnd_norm *norm, char *sum,
                                 char *product, int64_t rows, int64_t step, int64_t width) {
#define ALL(kind) \
    NAME(columns)(NAME(OF_PRODUCT), kind, kind == ACT_NONE ? WIDE : 2, g, x, mean, norm->scale, norm->shift, sum, \
                  product, rows, step, width)
    EACH_FUSED(ALL, norm->activation);
#undef ALL
}

/* Rows that are still near: they are read twice. */
INLINE void NAME(count_body)(const int vectors, const convnd_count_args *a, const NAME(joining) *by, int64_t f) {
    const real *x = (const real *)a->x + f, *p = x;
    const int64_t step = a->x_step, lanes = a->lanes - f;
    real *to = a->to ? (real *)a->to + f : NULL;
    vec sum[4][2], square[4][2], near[4];
#define PART(p) (lanes >= vectors * VL ? load(p) : load_part(p, lanes))
#define ADD(row) do { \
    UNROLL for (int v = 0; v < vectors; v++) { \
        const vec t = PART(p + v * VL); \
        sum[v][row] += t; \
        if (to) stream(to + v * VL, t); \
    } \
    p += step; \
    if (to) to += a->to_step; \
} while (0)
#define ADD_SQUARE(row) do { \
    UNROLL for (int v = 0; v < vectors; v++) { \
        const vec d = PART(p + v * VL) - near[v]; \
        sum[v][row] += d; \
        square[v][row] += d * d; \
    } \
    p += step; \
} while (0)
    UNROLL for (int v = 0; v < vectors; v++) sum[v][0] = sum[v][1] = square[v][0] = square[v][1] = (vec){0};
    for (int64_t r = a->rows >> 1; r > 0; r--) { ADD(0); ADD(1); }
    if (a->rows & 1) ADD(0);
    UNROLL for (int v = 0; v < vectors; v++) {
        near[v] = (sum[v][0] + sum[v][1]) * splat(by->inverse);
        sum[v][0] = sum[v][1] = (vec){0};
    }
    p = x;
    for (int64_t r = a->rows >> 1; r > 0; r--) { ADD_SQUARE(0); ADD_SQUARE(1); }
    if (a->rows & 1) ADD_SQUARE(0);
    UNROLL for (int v = 0; v < vectors; v++)
        NAME(join)(by, &a->moments, f + v * VL, near[v], sum[v][0] + sum[v][1], square[v][0] + square[v][1]);
#undef ADD
#undef ADD_SQUARE
#undef PART
}
static void NAME(count_rows)(const convnd_count_args *args) {
    const convnd_count_args a = *args; /* stores may not change it */
    const NAME(joining) by = NAME(to_join)(a.rows, a.counted);
    int64_t f = 0;
    for (; f + 4 * VL <= a.lanes; f += 4 * VL) NAME(count_body)(4, &a, &by, f);
    for (; f + 2 * VL <= a.lanes; f += 2 * VL) NAME(count_body)(2, &a, &by, f);
    for (; f < a.lanes; f += VL) NAME(count_body)(1, &a, &by, f);
}

const convnd_segment_tiles NAME(convnd_segment_tiles) = {
    .sum = NAME(column_sum), .square = NAME(column_square), .deviation = NAME(column_deviation),
    .product = NAME(column_product), .count = NAME(count_rows)};
#undef WIDE
