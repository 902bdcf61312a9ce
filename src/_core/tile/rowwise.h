/* Winograd's convolution along rows: a tile's frequencies stay in registers from the products to the outputs.
 *
 * A tile is n outputs of a row, `alpha` frequencies and a vector of filters. Taps of the other axes are rows of inputs, and
 * these, like channels, are summed up for each frequency. A channel's frequencies lie side by side; or, "wide", those of a
 * vector of channels do, vector by vector, which takes less time to make. So the places of a product's numbers are
 * constants. See winograd_points.h for the transforms. */
#include "activation.h"
#include "moments.h"
#include "winograd_points.h"

#define EIGHT 8 /* numbers of an input's frequencies, and what is left over */
typedef real NAME(eight) __attribute__((vector_size(EIGHT * sizeof(real)), aligned(sizeof(real)), may_alias));

/* Tiles at once: as many sums as the registers hold beside a weight and an input. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { NAME(TILES_6) = 4, NAME(TILES_8) = 3 };
#define EACH_TILE(F) F(6, 2) F(6, 3) F(6, 4) F(6, 5) F(8, 4) F(8, 5) F(8, 6) F(8, 7)
#define TILES(A) (A == 6 ? NAME(TILES_6) : NAME(TILES_8))
#else
enum { NAME(TILES_6) = 2, NAME(TILES_8) = 0 };
#define EACH_TILE(F) F(6, 2) F(6, 3) F(6, 4) F(6, 5)
#define TILES(A) NAME(TILES_6)
#endif
#define SIX(K) (real)(K * 0.70710678118654752440), (real)(K * -0.70710678118654752440)
#define THREE(K) (real)(K * 1.41421356237309504880), (real)(K * -1.41421356237309504880)

/* Interpolation as a matrix: what an input adds to the frequencies. */
static const real NAME(interpolation6)[6][EIGHT] = {
    {1}, {0, SIX(-2), THREE(-0.5), 1}, {(real)-2.5, -2, -2, (real)-0.5, (real)-0.5}, {0, SIX(1), THREE(1), (real)-2.5},
    {1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 1}};
static const real NAME(interpolation8)[8][EIGHT] = {
    {-1}, {0, 1, -1, (real)0.5, (real)-0.5, 2, -2, -1}, {(real)5.25, 1, 1, (real)0.25, (real)0.25, 4, 4},
    {0, (real)-4.25, (real)4.25, (real)-2.5, (real)2.5, (real)-2.5, (real)2.5, (real)5.25},
    {(real)-5.25, (real)-4.25, (real)-4.25, (real)-1.25, (real)-1.25, -5, -5},
    {0, 1, -1, 2, -2, (real)0.5, (real)-0.5, (real)-5.25}, {1, 1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 1}};
#undef SIX
#undef THREE

/* Frequencies of `count` inputs that are x_step apart: a row of the matrix for each element. */
INLINE void NAME(frequencies)(const int alpha, const int count, const NAME(eight) *matrix, const real *x, int64_t x_step,
                              int64_t element, real *to, int64_t to_step) {
    NAME(eight) sum[4];
    UNROLL for (int c = 0; c < count; c++) sum[c] = x[c * x_step] * matrix[0];
    UNROLL for (int i = 1; i < alpha; i++) {
        x += element;
        UNROLL for (int c = 0; c < count; c++) sum[c] += x[c * x_step] * matrix[i];
    }
    UNROLL for (int c = 0; c < count; c++) *(NAME(eight) *)(to + c * to_step) = sum[c];
}

/* Inputs of the tiles of a row to their frequencies (tiles, width, EIGHT). */
INLINE void NAME(rowwise_inputs)(const int alpha, const convnd_rowwise_input *args) {
    const convnd_rowwise_input a = *args;
    NAME(eight) matrix[8];
    const real *x = (const real *)a.x, (*rows)[EIGHT] = alpha == 6 ? NAME(interpolation6) : NAME(interpolation8);
    real *to = (real *)a.to;
    const int64_t step = EIGHT * a.width;
    int64_t residue = a.residue, t = 0;
    UNROLL for (int i = 0; i < alpha; i++) matrix[i] = *(const NAME(eight) *)rows[i];
    if (a.width < 4 && a.apart == 1)
        for (; t + 4 <= a.tiles; t += 4) {
            for (int64_t c = 0; c < a.width; c++)
                NAME(frequencies)(alpha, 4, matrix, x + c, a.onward, a.element, to + EIGHT * c, step);
            x += 4 * a.onward;
            to += 4 * step;
        }
    for (; t < a.tiles; t++) {
        int64_t c = 0;
        for (; c + 4 <= a.width; c += 4) NAME(frequencies)(alpha, 4, matrix, x + c, 1, a.element, to + EIGHT * c, EIGHT);
        for (; c + 2 <= a.width; c += 2) NAME(frequencies)(alpha, 2, matrix, x + c, 1, a.element, to + EIGHT * c, EIGHT);
        if (c < a.width) NAME(frequencies)(alpha, 1, matrix, x + c, 1, a.element, to + EIGHT * c, EIGHT);
        to += step;
        residue++;
        x += a.step;
        if (residue == a.apart) {
            residue = 0;
            x += a.onward - a.apart * a.step;
        }
    }
}
/* The same, wide: (tiles, width / VL, EIGHT, VL). */
INLINE void NAME(rowwise_wide_inputs)(const int alpha, const convnd_rowwise_input *args) {
    const convnd_rowwise_input a = *args;
    const real *x = (const real *)a.x;
    real *to = (real *)a.to;
    int64_t residue = a.residue;
    for (int64_t t = 0; t < a.tiles; t++) {
        for (int64_t c = 0; c < a.width; c += VL) {
            if (alpha == 6) NAME(interpolate6)(x + c, a.element, to, VL);
            else NAME(interpolate8)(x + c, a.element, to, VL);
            to += EIGHT * VL;
        }
        residue++;
        x += a.step;
        if (residue == a.apart) {
            residue = 0;
            x += a.onward - a.apart * a.step;
        }
    }
}
static void NAME(rowwise_input)(const convnd_rowwise_input *a) {
    if (a->wide) {
        if (a->alpha == 6) NAME(rowwise_wide_inputs)(6, a);
        else NAME(rowwise_wide_inputs)(8, a);
    } else if (a->alpha == 6) NAME(rowwise_inputs)(6, a);
    else NAME(rowwise_inputs)(8, a);
}

/* Steps of a tile of products: sum += x * w, of one channel after the other. If it `asks`, memory is asked for a line with
 * each. */
INLINE const real *NAME(rowwise_run)(const int alpha, const int height, const int wide, const int asks, vec (*sum)[EIGHT],
                                     const real **x, const real *w, int64_t length, const char *ask) {
    for (int64_t k = 0; k < length; k++) {
        if (asks) __builtin_prefetch(ask + 64 * k, 0, 2);
        UNROLL for (int f = 0; f < alpha; f++) {
            vec b = load(w + f * VL);
            HELD(b);
            UNROLL for (int i = 0; i < height; i++) sum[i][f] += splat(x[i][wide ? f * VL : f]) * b;
        }
        UNROLL for (int i = 0; i < height; i++) x[i] += wide ? 1 : EIGHT;
        w += alpha * VL;
    }
    return w;
}
/* Of all channels of a row's. */
INLINE const real *NAME(rowwise_row)(const int alpha, const int height, const int wide, vec (*sum)[EIGHT],
                                     const real *const *from, int64_t at, const real *w, int64_t width, const char **ask,
                                     const char *end) {
    const real *x[4];
    UNROLL for (int i = 0; i < height; i++) x[i] = from[i] + at;
    if (!wide) {
        if (*ask >= end) return NAME(rowwise_run)(alpha, height, 0, 0, sum, x, w, width, NULL);
        w = NAME(rowwise_run)(alpha, height, 0, 1, sum, x, w, width, *ask);
        *ask += 64 * width;
        return w;
    }
    for (int64_t c = 0; c < width; c += VL) {
        if (*ask < end) {
            w = NAME(rowwise_run)(alpha, height, 1, 1, sum, x, w, VL, *ask);
            *ask += 64 * VL;
        } else w = NAME(rowwise_run)(alpha, height, 1, 0, sum, x, w, VL, NULL);
        UNROLL for (int i = 0; i < height; i++) x[i] += (EIGHT - 1) * VL;
    }
    return w;
}

/* Outputs that lie side by side in `y`: to their places, those that exist. */
SLOW void NAME(store_some)(const real *y, int64_t exist, real *out, const convnd_rowwise_args *a) {
    for (int64_t k = 0; k < exist; k++, out += a->out_step) {
        if (a->streams) stream(out, load(y + k * VL));
        else if (a->lanes == VL) store(out, load(y + k * VL));
        else NAME(copy_part)(out, y + k * VL, a->lanes);
    }
}
SLOW void NAME(count_rows)(const real *y, int64_t rows, const convnd_moments *moments, int64_t counted) {
    const NAME(joining) by = NAME(to_join)(rows, counted);
    vec near = {0}, sum = {0}, square = {0};
    for (int64_t r = 0; r < rows; r++) near += load(y + r * VL);
    near *= splat(by.inverse);
    for (int64_t r = 0; r < rows; r++) {
        const vec d = load(y + r * VL) - near;
        sum += d;
        square += d * d;
    }
    NAME(join)(&by, moments, 0, near, sum, square);
}

INLINE void NAME(rowwise_outputs)(const int alpha, const int n, const int wide, const convnd_rowwise_args *args) {
    const convnd_rowwise_args own = *args, *const a = &own; /* a copy that no store can change */
    const int height = TILES(alpha);
    const vec start = load((const real *)a->start);
    const char *ask = a->ask;
    int64_t counted = 0;
    for (int64_t t = 0; t < a->tiles; t += height) {
        const convnd_rowwise_tile *tile = a->tile + t;
        const real *x[4], *w = (const real *)a->w;
        vec sum[4][EIGHT];
        real line[4 * 7 * VL];
        int64_t rows = 0;
        UNROLL for (int i = 0; i < height; i++) {
            x[i] = (const real *)a->x + tile[i].x;
            UNROLL for (int f = 0; f < alpha; f++) sum[i][f] = (vec){0};
            if (alpha == 8) sum[i][1] = start; /* the point 1, whose powers all outputs take once */
        }
        for (int64_t r = 0; r < a->n_runs; r++)
            w = NAME(rowwise_row)(alpha, height, wide, sum, x, a->runs[r], w, a->width, &ask, a->ask_end);
        UNROLL for (int i = 0; i < height; i++) {
            real *out = (real *)a->out + tile[i].out;
            const int64_t exist = tile[i].exist;
            vec y[7];
            NAME(collected)(alpha, n, sum[i], y);
            UNROLL for (int k = 0; k < n; k++) {
                if (alpha != 8) y[k] = y[k] + start;
                y[k] = NAME(finish)(y[k], a->activation);
            }
            if (a->moments.mean) {
                UNROLL for (int k = 0; k < n; k++) store(line + (rows + k) * VL, y[k]);
                rows += exist;
            }
            if (exist < n || a->lanes < VL) {
                real part[7 * VL];
                UNROLL for (int k = 0; k < n; k++) store(part + k * VL, y[k]);
                NAME(store_some)(part, exist, out, a);
            } else if (a->streams)
                UNROLL for (int k = 0; k < n; k++) stream(out + k * a->out_step, y[k]);
            else
                UNROLL for (int k = 0; k < n; k++) store(out + k * a->out_step, y[k]);
        }
        if (rows) {
            NAME(count_rows)(line, rows, &a->moments, counted);
            counted += rows;
        }
    }
}
#define TILE(A, N) static void NAME(rowwise_##A##_##N)(const convnd_rowwise_args *a) { \
    if (a->wide) NAME(rowwise_outputs)(A, N, 1, a); \
    else NAME(rowwise_outputs)(A, N, 0, a); }
EACH_TILE(TILE)
#undef TILE

/* A panel's taps of `depth` inputs (rows of `filters` numbers) to its frequencies (depth, alpha, VL). */
INLINE void NAME(rowwise_panel)(const int alpha, const int taps, const real *w, int64_t tap_step, int64_t filters,
                                int64_t depth, int64_t lanes, real *to) {
    for (int64_t d = 0; d < depth; d++) {
        vec c[7], v[8];
        UNROLL for (int j = 0; j < taps; j++) {
            const real *p = w + j * tap_step + d * filters;
            c[j] = lanes < VL ? load_part(p, lanes) : load(p);
        }
        NAME(evaluated)(alpha, taps, c, v);
        UNROLL for (int f = 0; f < alpha; f++)
            store(to + (d * alpha + f) * VL, v[f] * splat(NAME(point_scale)(alpha, f)));
    }
}
static void NAME(rowwise_weight)(int64_t alpha, int64_t outputs, const char *w, int64_t tap_step, int64_t filters,
                                 int64_t depth, int64_t lanes, char *to) {
#define CASE(A, N) if (alpha == A && outputs == N) \
    NAME(rowwise_panel)(A, A + 1 - N, (const real *)w, tap_step, filters, depth, lanes, (real *)to);
    EACH_TILE(CASE)
#undef CASE
}

/* Outputs' gradients of tiles to their frequencies (tiles, alpha, VL); zeros for outputs that don't exist. */
INLINE void NAME(rowwise_gradients)(const int alpha, const int n, const convnd_rowwise_sums *args) {
    const convnd_rowwise_sums a = *args;
    real *to = (real *)a.frequencies;
    for (int64_t t = 0; t < a.tiles; t++) {
        const real *g = (const real *)a.g + a.tile[t].out;
        vec c[7], v[8];
        UNROLL for (int k = 0; k < n; k++) {
            c[k] = k >= a.tile[t].exist ? (vec){0} : a.lanes < VL ? load_part(g, a.lanes) : load(g);
            g += a.out_step;
        }
        NAME(evaluated)(alpha, n, c, v);
        UNROLL for (int f = 0; f < alpha; f++) store(to + f * VL, v[f]);
        to += alpha * VL;
    }
}
/* Their products with the inputs' frequencies, summed over tiles, of so many rows. Memory is asked for `lines` outputs'
 * gradients of each of the next tiles. */
INLINE void NAME(rowwise_group)(const int alpha, const int height, const convnd_rowwise_sums *a, const int64_t *rows,
                                real *to, int64_t lines, int64_t line) {
    const real *g = (const real *)a->frequencies, *from[4];
    const char *next = a->next_g + line * a->out_step * (int64_t)sizeof(real);
    const int64_t asks = lines > 0 ? a->next_tiles : 0, apart = lines > 1 ? a->out_step : 0;
    vec sum[4][EIGHT];
    UNROLL for (int i = 0; i < height; i++) {
        from[i] = (const real *)a->x + rows[i];
        UNROLL for (int f = 0; f < alpha; f++) sum[i][f] = (vec){0};
    }
    for (int64_t t = 0; t < a->tiles; t++) {
        const real *x[4];
        UNROLL for (int i = 0; i < height; i++) {
            x[i] = from[i];
            ONWARD(x[i], a->tile[t].x)
        }
        if (t < asks) {
            const real *p = (const real *)next + a->next[t].out;
            __builtin_prefetch(p, 0, 2);
            __builtin_prefetch(p + apart, 0, 2);
        }
        UNROLL for (int f = 0; f < alpha; f++) {
            vec b = load(g + f * VL);
            HELD(b);
            UNROLL for (int i = 0; i < height; i++) sum[i][f] += splat(x[i][f]) * b;
        }
        g += alpha * VL;
    }
    UNROLL for (int i = 0; i < height; i++)
        UNROLL for (int f = 0; f < alpha; f++) {
            real *p = to + (i * alpha + f) * VL;
            store(p, load(p) + sum[i][f]); /* two chains, of a call's tiles and of calls: smaller errors than one */
        }
}
/* Of all rows: sum (rows, alpha, VL). */
INLINE void NAME(rowwise_products)(const int alpha, const int n, const convnd_rowwise_sums *args) {
    const convnd_rowwise_sums own = *args, *const a = &own; /* a copy that no store can change */
    const int height = TILES(alpha);
    const int64_t groups = (a->n_rows + height - 1) / height, lines = groups < n ? 2 : 1;
    real *to = (real *)a->sum;
    int64_t r = 0, line = 0;
    for (; r + height <= a->n_rows; r += height) {
        NAME(rowwise_group)(alpha, height, a, a->rows + r, to, line < n ? lines : 0, line);
        to += height * alpha * VL;
        line += lines;
    }
#define LEFT(H) if (H < height && a->n_rows - r == H) NAME(rowwise_group)(alpha, H, a, a->rows + r, to, 0, 0);
    LEFT(1) LEFT(2) LEFT(3)
#undef LEFT
}
SLOW void NAME(rowwise_products_6)(int n, const convnd_rowwise_sums *a) { NAME(rowwise_products)(6, n, a); }
#if defined(__AVX512F__) || defined(__aarch64__)
SLOW void NAME(rowwise_products_8)(int n, const convnd_rowwise_sums *a) { NAME(rowwise_products)(8, n, a); }
#endif
#define SUMS(A, N) static void NAME(rowwise_sums_##A##_##N)(const convnd_rowwise_sums *a) { \
    NAME(rowwise_gradients)(A, N, a); \
    NAME(rowwise_products_##A)(N, a); }
EACH_TILE(SUMS)
#undef SUMS

/* Sums (rows, alpha, VL) to the gradient of taps, tap_step apart, each of rows of `filters` numbers. */
INLINE void NAME(rowwise_panel_gradient)(const int alpha, const int taps, const real *sum, int64_t rows, int64_t filters,
                                         int64_t tap_step, int64_t lanes, real *w) {
    for (int64_t r = 0; r < rows; r++) {
        vec v[8], y[7];
        UNROLL for (int f = 0; f < alpha; f++)
            v[f] = load(sum + (r * alpha + f) * VL) * splat(NAME(point_scale)(alpha, f));
        NAME(collected)(alpha, taps, v, y);
        UNROLL for (int j = 0; j < taps; j++) {
            real *p = w + j * tap_step + r * filters;
            if (lanes < VL) store_part(p, y[j], lanes);
            else store(p, y[j]);
        }
    }
}
static void NAME(rowwise_weight_gradient)(int64_t alpha, int64_t outputs, const char *sum, int64_t rows, int64_t filters,
                                          int64_t tap_step, int64_t lanes, char *w) {
#define CASE(A, N) if (alpha == A && outputs == N) \
    NAME(rowwise_panel_gradient)(A, A + 1 - N, (const real *)sum, rows, filters, tap_step, lanes, (real *)w);
    EACH_TILE(CASE)
#undef CASE
}

#define ENTRY(A, N) .outputs[A][N] = NAME(rowwise_##A##_##N), .sums[A][N] = NAME(rowwise_sums_##A##_##N),
const convnd_rowwise_tiles NAME(convnd_rowwise_tiles) = {
    .height = {[6] = NAME(TILES_6), [8] = NAME(TILES_8)}, .input = NAME(rowwise_input), .weight = NAME(rowwise_weight),
    .weight_gradient = NAME(rowwise_weight_gradient), EACH_TILE(ENTRY)};
#undef ENTRY
#undef EACH_TILE
#undef TILES
#undef EIGHT
