/* Convolution tiles for few filters, which would leave most lanes of a vector empty: up to four filters x a number of
 * vectors (`height`). Lanes are either channels ("dot") or positions ("along"). With few
 * filters in each of many groups they are the channels of several groups ("group"). Arguments are those of the convolution
 * tiles, always with a start; "along" is one tile. */
#include "activation.h"

/* sum[m][f] += x * w for all runs; both kinds keep a weight for all m, and an input for all f, in registers. */
INLINE void NAME(narrow_sums)(const int height, const int filters, const int along, const convnd_conv_args *a,
                              vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t x_step = along ? VL : a->x_step, length = a->length;
    const int64_t panel = along ? (filters > VL ? 2 * VL : VL) : filters;
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1] * panel;
        for (int64_t k = 0; k < length; k += along ? 1 : VL) {
            vec b[4];
            UNROLL for (int f = 0; f < filters; f++) b[f] = along ? splat(w[f]) : load(w + f * VL);
            UNROLL for (int m = 0; m < height; m++) {
                const vec s = load(x + m * x_step);
                UNROLL for (int f = 0; f < filters; f++) sum[m][f] += s * b[f];
            }
            x += along ? 1 : VL;
            w += along ? panel : panel * VL;
        }
    }
}

/* The same of one filter, with vectors along `depth` channels, for up to four neighbouring taps: where the next position
 * is also the next tap, an input is loaded once for all of them. */
INLINE void NAME(dot_taps)(const int height, const int taps, const convnd_conv_args *a, const real *x, const real *w,
                           vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t step = a->x_step, depth = a->depth;
    if (step == depth) {
        for (int64_t c = 0; c < depth; c += VL) {
            vec b[4];
            UNROLL for (int j = 0; j < taps; j++) b[j] = load(w + j * depth + c);
            UNROLL for (int p = 0; p < height + taps - 1; p++) {
                const vec s = load(x + p * depth + c);
                UNROLL for (int j = 0; j < taps; j++)
                    if (p >= j && p - j < height) sum[p - j][0] += s * b[j];
            }
        }
        return;
    }
    for (int64_t c = 0; c < depth; c += VL)
        for (int64_t j = 0; j < taps; j++) {
            const vec b = load(w + j * depth + c);
            UNROLL for (int m = 0; m < height; m++) sum[m][0] += load(x + m * step + j * depth + c) * b;
        }
}

INLINE void NAME(dot_sums)(const int height, const convnd_conv_args *a, vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t depth = a->depth;
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1];
        int64_t taps = a->length / depth;
        for (; taps >= 4; taps -= 4) {
            NAME(dot_taps)(height, 4, a, x, w, sum);
            x += 4 * depth;
            w += 4 * depth;
        }
        if (taps == 3) NAME(dot_taps)(height, 3, a, x, w, sum);
        if (taps == 2) NAME(dot_taps)(height, 2, a, x, w, sum);
        if (taps == 1) NAME(dot_taps)(height, 1, a, x, w, sum);
    }
}

/* The lanes' sum, by halves: in vectors while they fill 16 bytes. */
typedef real NAME(half) __attribute__((vector_size(CONVND_VECTOR / 2 < 16 ? 16 : CONVND_VECTOR / 2), may_alias));
typedef real NAME(quarter) __attribute__((vector_size(16), may_alias));

INLINE real NAME(lane_sum)(vec v) {
    union {
        vec whole;
        NAME(half) halves[2];
        NAME(quarter) quarters[4];
        real lanes[VL];
    } u = {v};
    if (CONVND_VECTOR >= 32) u.halves[0] += u.halves[1];
    if (CONVND_VECTOR >= 64) u.quarters[0] += u.quarters[1];
    UNROLL for (int64_t n = 8 / sizeof(real); n > 0; n /= 2)
        UNROLL for (int64_t i = 0; i < n; i++) u.lanes[i] += u.lanes[i + n];
    return u.lanes[0];
}

/* `height` positions; lane l of a sum has the channels l, l + VL ... A run is a multiple of VL long, and its weights are
 * packed as [k / VL][filter][k mod VL]. */
INLINE void NAME(dot_body)(const int height, const int filters, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][4];
    const real *start = (const real *)a->start;
    real *out = (real *)a->out;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int f = 0; f < filters; f++) sum[m][f] = (vec){0};
    if (filters == 1)
        NAME(dot_sums)(height, a, sum);
    else
        NAME(narrow_sums)(height, filters, 0, a, sum);
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int f = 0; f < filters; f++) out[m * a->out_step + f] = start[f] + NAME(lane_sum)(sum[m][f]);
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, a->out_step, height, filters, a->activation);
}

/* `height` vectors of positions whose inputs are neighbours; weights are packed as for the plain tile, and each output
 * has the very bits that the plain tile gives it. */
INLINE void NAME(along_body)(const int height, const int filters, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][4];
    real part[4 * CONVND_MAX_HEIGHT * VL], *out = (real *)a->out;
    const int64_t count = height * VL, out_step = a->out_step;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int f = 0; f < filters; f++) sum[m][f] = splat(((const real *)a->start)[f]);
    NAME(narrow_sums)(height, filters, 1, a, sum);
    real *to = filters == 1 && out_step == 1 ? out : part;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int f = 0; f < filters; f++) store(to + (f * height + m) * VL, sum[m][f]);
    if (a->activation != ACT_NONE) NAME(activate_rows)(to, count, filters, count, a->activation);
    if (to == part)
        for (int64_t p = 0; p < count; p++)
            UNROLL for (int f = 0; f < filters; f++) out[p * out_step + f] = part[f * count + p];
}

/* `height` positions x two vectors of channels in groups smaller than a vector, with as many filters as channels. A run is
 * one tap of `group` channels. */
INLINE void NAME(group_body)(const int height, const int group, const int whole, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][2];
    const int64_t lanes = a->lanes, step = a->x_step;
    const int streams = whole && a->streams && a->activation == ACT_NONE;
    real *out = (real *)a->out;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < 2; v++) {
            sum[m][v] = load((const real *)a->start + v * VL);
            if (!streams) __builtin_prefetch(out + m * a->out_step + v * VL, 1);
        }
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1] * 2 * VL;
        UNROLL for (int v = 0; v < 2; v++)
            UNROLL for (int m = 0; m < height; m++) {
                const real *p = x + m * step + v * VL;
                const vec s = whole ? load(p) : load_part(p, lanes - v * VL);
                UNROLL for (int k = 0; k < group; k++)
                    sum[m][v] += NAME(spread)(s, group, k) * load(w + (2 * k + v) * VL);
            }
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < 2; v++) {
            real *p = out + m * a->out_step + v * VL;
            if (streams) stream(p, sum[m][v]);
            else if (whole) store(p, sum[m][v]);
            else store_part(p, sum[m][v], lanes - v * VL);
        }
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, a->out_step, height, lanes, a->activation);
}

/* As many sums as the registers hold beside an input and a weight for each filter. */
#define HEIGHTS_3(F, V) F(1, V) F(2, V) F(3, V)
#define HEIGHTS_4(F, V) HEIGHTS_3(F, V) F(4, V)
#define HEIGHTS_8(F, V) HEIGHTS_6(F, V) F(7, V) F(8, V)
#define HEIGHTS_10(F, V) HEIGHTS_8(F, V) F(9, V) F(10, V)
#if defined(__AVX512F__) || defined(__aarch64__)
#define EACH_NARROW(F) HEIGHTS_12(F, 1) HEIGHTS_12(F, 2) HEIGHTS_8(F, 3) HEIGHTS_6(F, 4)
#define NARROW_HEIGHT {0, 12, 12, 8, 6}
#else
#define EACH_NARROW(F) HEIGHTS_10(F, 1) HEIGHTS_6(F, 2) HEIGHTS_4(F, 3) HEIGHTS_3(F, 4)
#define NARROW_HEIGHT {0, 10, 6, 4, 3}
#endif

#define EACH_TILE(H, BODY) \
    convnd_conv_args a = *args; \
    for (; a.tiles > 0; a.tiles--) { \
        BODY; \
        a.x += H * a.x_step * sizeof(real); \
        a.out += H * a.out_step * sizeof(real); \
    }
#define TILES(H, V) \
    static void NAME(dot_##V##_##H)(const convnd_conv_args *args) { EACH_TILE(H, NAME(dot_body)(H, V, &a)) } \
    static void NAME(along_##V##_##H)(const convnd_conv_args *a) { NAME(along_body)(H, V, a); }
EACH_NARROW(TILES)
#undef TILES
#define GROUP_TILE(H, G) static void NAME(group_##G##_##H)(const convnd_conv_args *args) { \
    if (args->lanes == 2 * VL) { EACH_TILE(H, NAME(group_body)(H, G, 1, &a)) } \
    else { EACH_TILE(H, NAME(group_body)(H, G, 0, &a)) } }
#define TILES(H, V) GROUP_TILE(H, 2) GROUP_TILE(H, 4) GROUP_TILE(H, 8)
EACH_HEIGHT_2(TILES)
#undef TILES
#undef GROUP_TILE
#undef EACH_TILE

#define ENTRY(H, V) .dot[V][H] = NAME(dot_##V##_##H), .along[V][H] = NAME(along_##V##_##H),
#define GROUP_ENTRY(H, V) \
    .group[2][H] = NAME(group_2_##H), .group[4][H] = NAME(group_4_##H), .group[8][H] = NAME(group_8_##H),
const convnd_narrow_tiles NAME(convnd_narrow_tiles) = {
    EACH_NARROW(ENTRY) EACH_HEIGHT_2(GROUP_ENTRY) .height = NARROW_HEIGHT};
#undef GROUP_ENTRY
#undef ENTRY
#undef HEIGHTS_3
#undef HEIGHTS_4
#undef HEIGHTS_8
#undef HEIGHTS_10
#undef EACH_NARROW
#undef NARROW_HEIGHT
