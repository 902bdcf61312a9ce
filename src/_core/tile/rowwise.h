/* Winograd's convolution along rows: a tile's frequencies stay near from the products to the outputs.
 *
 * A tile is n outputs of a row, `alpha` frequencies and a panel of filters. Taps of the other axes are rows of inputs, and
 * these, like channels, are summed up for each frequency. A channel's frequencies lie side by side; or, "wide", those of
 * whole vectors of channels do, vector by vector, which takes less time to make. So the places of a product's numbers are
 * constants. See winograd_points.h for the transforms.
 *
 * With 32 registers products are "held": all frequencies of some tiles are summed up at once, and turned into outputs without
 * going through memory. With 16 each frequency has its turn, as with these an input is multiplied by two vectors of filters,
 * and a weight by six inputs, for each time that it is loaded. Units that multiply two vectors in the time of two loads want
 * that of 32 registers as well, where there are filters for it: rowwise_pairs.h. */
#include "activation.h"
#include "moments.h"
#include "winograd_points.h"

#define EIGHT 8 /* numbers of an input's frequencies, and what is left over */
typedef real NAME(eight) __attribute__((vector_size(EIGHT * sizeof(real)), aligned(sizeof(real)), may_alias));

/* Tiles at once, and a panel's vectors. */
#if (defined(__AVX512F__) || defined(__aarch64__)) && !defined(PAIRS)
#define HOLDS 1
enum { NAME(TILES_6) = 4, NAME(TILES_8) = 3, NAME(VECTORS) = 1 };
#else
#define HOLDS 0
enum { NAME(TILES_6) = 6, NAME(TILES_8) = 6, NAME(VECTORS) = 2 };
#endif
#ifdef PAIRS
#define TABLE convnd_rowwise_pair_tiles
#else
#define TABLE convnd_rowwise_tiles
#endif
#define EACH_TILE(F) F(6, 2) F(6, 3) F(6, 4) F(6, 5) F(8, 4) F(8, 5) F(8, 6) F(8, 7)
#define TILES(A) (A == 6 ? NAME(TILES_6) : NAME(TILES_8))
#define VECTORS NAME(VECTORS)
#define PANEL (VECTORS * VL)
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
/* The same, wide: (tiles, width / VL, EIGHT, VL), or in turns (tiles, EIGHT, width). */
INLINE void NAME(rowwise_wide_inputs)(const int alpha, const convnd_rowwise_input *args) {
    const convnd_rowwise_input a = *args;
    const real *x = (const real *)a.x;
    real *to = (real *)a.to;
    int64_t residue = a.residue;
    for (int64_t t = 0; t < a.tiles; t++) {
        for (int64_t c = 0; c < a.width; c += VL) {
            real *y = to + (HOLDS ? EIGHT * c : c);
            if (alpha == 6) NAME(interpolate6)(x + c, a.element, y, HOLDS ? VL : a.width);
            else NAME(interpolate8)(x + c, a.element, y, HOLDS ? VL : a.width);
        }
        to += EIGHT * a.width;
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

/* Outputs that lie side by side in `y`, a panel each: to their places, those that exist. */
SLOW void NAME(store_some)(const real *y, int64_t exist, real *out, const convnd_rowwise_args *a) {
    for (int64_t k = 0; k < exist; k++, out += a->out_step, y += PANEL) {
        if (a->lanes < PANEL) NAME(copy_part)(out, y, a->lanes);
        else if (a->streams) UNROLL for (int v = 0; v < VECTORS; v++) stream(out + v * VL, load(y + v * VL));
        else UNROLL for (int v = 0; v < VECTORS; v++) store(out + v * VL, load(y + v * VL));
    }
}
SLOW void NAME(count_rows)(const real *y, int64_t rows, const convnd_moments *moments, int64_t counted) {
    const NAME(joining) by = NAME(to_join)(rows, counted);
    for (int64_t c = 0; c < PANEL; c += VL) {
        vec near = {0}, sum = {0}, square = {0};
        for (int64_t r = 0; r < rows; r++) near += load(y + r * PANEL + c);
        near *= splat(by.inverse);
        for (int64_t r = 0; r < rows; r++) {
            const vec d = load(y + r * PANEL + c) - near;
            sum += d;
            square += d * d;
        }
        NAME(join)(&by, moments, c, near, sum, square);
    }
}

/* Outputs' gradients of tiles to their frequencies (tiles, alpha, panel); zeros for outputs that don't exist. */
INLINE void NAME(rowwise_gradients)(const int alpha, const int n, const convnd_rowwise_sums *args) {
    const convnd_rowwise_sums a = *args;
    real *to = (real *)a.frequencies;
    for (int64_t t = 0; t < a.tiles; t++, to += alpha * PANEL)
        UNROLL for (int b = 0; b < VECTORS; b++) {
            const real *g = (const real *)a.g + a.tile[t].out + b * VL;
            vec c[7], v[8];
            UNROLL for (int k = 0; k < n; k++) {
                c[k] = k >= a.tile[t].exist ? (vec){0} : a.lanes < PANEL ? load_part(g, a.lanes - b * VL) : load(g);
                g += a.out_step;
            }
            NAME(evaluated)(alpha, n, c, v);
            UNROLL for (int f = 0; f < alpha; f++) store(to + f * PANEL + b * VL, v[f]);
        }
}

#if HOLDS
#include "rowwise_held.h"
#else
#include "rowwise_turns.h"
#endif

/* A panel's taps of `depth` inputs (rows of `filters` numbers) to its frequencies (depth, alpha, panel), or in turns (alpha,
 * depth, panel). */
INLINE void NAME(rowwise_panel)(const int alpha, const int taps, const real *w, int64_t tap_step, int64_t filters,
                                int64_t depth, int64_t lanes, real *to) {
    const int64_t step = HOLDS ? alpha * PANEL : PANEL, next = HOLDS ? PANEL : depth * PANEL;
    for (int64_t d = 0; d < depth; d++)
        UNROLL for (int b = 0; b < VECTORS; b++) {
            vec c[7], v[8];
            UNROLL for (int j = 0; j < taps; j++) {
                const real *p = w + j * tap_step + d * filters + b * VL;
                c[j] = lanes < PANEL ? load_part(p, lanes - b * VL) : load(p);
            }
            NAME(evaluated)(alpha, taps, c, v);
            UNROLL for (int f = 0; f < alpha; f++)
                store(to + d * step + f * next + b * VL, v[f] * splat(NAME(point_scale)(alpha, f)));
        }
}
static void NAME(rowwise_weight)(int64_t alpha, int64_t outputs, const char *w, int64_t tap_step, int64_t filters,
                                 int64_t depth, int64_t lanes, char *to) {
#define CASE(A, N) if (alpha == A && outputs == N) \
    NAME(rowwise_panel)(A, A + 1 - N, (const real *)w, tap_step, filters, depth, lanes, (real *)to);
    EACH_TILE(CASE)
#undef CASE
}

/* Sums (rows, alpha, panel) to the gradient of taps, tap_step apart, each of rows of `filters` numbers. */
INLINE void NAME(rowwise_panel_gradient)(const int alpha, const int taps, const real *sum, int64_t rows, int64_t filters,
                                         int64_t tap_step, int64_t lanes, real *w) {
    for (int64_t r = 0; r < rows; r++)
        UNROLL for (int b = 0; b < VECTORS; b++) {
            vec v[8], y[7];
            UNROLL for (int f = 0; f < alpha; f++)
                v[f] = load(sum + (r * alpha + f) * PANEL + b * VL) * splat(NAME(point_scale)(alpha, f));
            NAME(collected)(alpha, taps, v, y);
            UNROLL for (int j = 0; j < taps; j++) {
                real *p = w + j * tap_step + r * filters + b * VL;
                if (lanes == PANEL) store(p, y[j]);
                else if (lanes > b * VL) store_part(p, y[j], lanes - b * VL);
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
const convnd_rowwise_tiles NAME(TABLE) = {
    .height = {[6] = NAME(TILES_6), [8] = NAME(TILES_8)}, .lanes = PANEL, .turns = !HOLDS, .input = NAME(rowwise_input),
    .weight = NAME(rowwise_weight), .weight_gradient = NAME(rowwise_weight_gradient), EACH_TILE(ENTRY)};
#undef ENTRY
#undef TABLE
#undef EACH_TILE
#undef TILES
#undef VECTORS
#undef PANEL
#undef HOLDS
#undef EIGHT
