/* Convolution tiles for few filters, which would leave most lanes of a vector empty: up to four filters x a number of
 * vectors (`height`). Lanes are either channels ("dot") or positions ("along", "below"). With few
 * filters in each of many groups they are the channels of several groups ("group"). Arguments are those of the convolution
 * tiles, always with a start; "along" is one tile, and "dot" asks memory for what is `ahead` of each. */
#include "activation.h"

/* sum[m][f] += x * w for all runs; both kinds keep a weight for all m, and an input for all f, in registers. Channels ask
 * memory for the next tile's inputs, which lie behind each other, during a run that is fresh. */
#define ASKS 3 /* lines with each vector of channels */
INLINE void NAME(narrow_sums)(const int height, const int filters, const int along, const convnd_conv_args *a,
                              vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t ahead = a->ahead;
    const int64_t x_step = along ? VL : a->x_step, length = a->length;
    const int64_t panel = along ? (filters > VL ? 2 * VL : VL) : filters;
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1] * panel;
        const char *next = (const char *)(x + (!along && r < 64 && a->fresh >> r & 1 ? ahead : 0));
        for (int64_t k = 0; k < length; k += along ? 1 : VL) {
            vec b[4];
            UNROLL for (int f = 0; f < filters; f++) b[f] = along ? splat(w[f]) : load(w + f * VL);
            if (!along) UNROLL for (int i = 0; i < ASKS; i++) __builtin_prefetch(next + 64 * i);
            next += 64 * ASKS;
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
                           int64_t ahead, vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t step = a->x_step, depth = a->depth;
    if (step == depth) {
        for (int64_t c = 0; c < depth; c += VL) {
            const real *at = x + c;
            vec b[4];
            UNROLL for (int j = 0; j < taps; j++) b[j] = load(w + j * depth + c);
            UNROLL for (int p = 0; p < height + taps - 1; p++) {
                vec s = load(at);
                HELD(s);
                __builtin_prefetch(at + ahead);
                UNROLL for (int j = 0; j < taps; j++)
                    if (p >= j && p - j < height) sum[p - j][0] += s * b[j];
                ONWARD(at, depth)
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

/* Three taps of so many vectors of channels: what surrounds the sums would take as long as they do. */
INLINE void NAME(dot_threes)(const int height, const int vectors, const convnd_conv_args *a,
                             vec sum[CONVND_MAX_HEIGHT][4]) {
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r], *w = (const real *)a->w + a->runs[2 * r + 1];
        const int64_t ahead = r < 64 && a->fresh >> r & 1 ? a->ahead : 0;
        UNROLL for (int c = 0; c < vectors; c++) {
            vec b[3];
            UNROLL for (int j = 0; j < 3; j++) b[j] = load(w + (j * vectors + c) * VL);
            UNROLL for (int p = 0; p < height + 2; p++) {
                vec s = load(x + (p * vectors + c) * VL);
                HELD(s);
                if (c % (IN_LINE / VL) == 0) __builtin_prefetch(x + (p * vectors + c) * VL + ahead);
                UNROLL for (int j = 0; j < 3; j++)
                    if (p >= j && p - j < height) sum[p - j][0] += s * b[j];
            }
        }
    }
}

INLINE void NAME(dot_sums)(const int height, const convnd_conv_args *a, vec sum[CONVND_MAX_HEIGHT][4]) {
    const int64_t depth = a->depth;
    if (a->length == 3 * depth && a->x_step == depth && (depth == VL || depth == 2 * VL)) {
        if (depth == VL) NAME(dot_threes)(height, 1, a, sum);
        else NAME(dot_threes)(height, 2, a, sum);
        return;
    }
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1];
        const int64_t ahead = r < 64 && a->fresh >> r & 1 ? a->ahead : 0;
        int64_t taps = a->length / depth;
        for (; taps >= 4; taps -= 4) {
            NAME(dot_taps)(height, 4, a, x, w, ahead, sum);
            x += 4 * depth;
            w += 4 * depth;
        }
        if (taps == 3) NAME(dot_taps)(height, 3, a, x, w, ahead, sum);
        if (taps == 2) NAME(dot_taps)(height, 2, a, x, w, ahead, sum);
        if (taps == 1) NAME(dot_taps)(height, 1, a, x, w, ahead, sum);
    }
}

/* Each of n vectors' sum over its lanes, by halves, side by side: pairs of vectors become one whose halves are the sums of
 * theirs, then pairs of these, by quarters. */
INLINE vec NAME(join_halves)(vec a, vec b, const int block) {
    const int half = block / 2, rest = VL / 2;
#if defined(__clang__)
    vec low, high;
    UNROLL for (int i = 0; i < VL; i++) {
        const int k = i % rest / half * block + i % half;
        low[i] = i < rest ? a[k] : b[k];
        high[i] = i < rest ? a[k + half] : b[k + half];
    }
    return low + high;
#else
    mask from = {0};
    UNROLL for (int i = 0; i < VL; i++) from[i] = i / rest * VL + i % rest / half * block + i % half;
    return __builtin_shuffle(a, b, from) + __builtin_shuffle(a, b, from + half);
#endif
}
INLINE vec NAME(lane_sums)(vec *v, const int n) {
    int count = n;
    UNROLL for (int block = VL; block > 1; block /= 2) {
        UNROLL for (int i = 0; i < count; i += 2) v[i / 2] = NAME(join_halves)(v[i], v[i + 1 < count ? i + 1 : i], block);
        count = (count + 1) / 2;
    }
    return v[0];
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
    real total[CONVND_MAX_HEIGHT * 4 + VL];
    UNROLL for (int first = 0; first < height * filters; first += VL) {
        vec some[VL];
        const int n = height * filters - first < VL ? height * filters - first : VL;
        UNROLL for (int i = 0; i < n; i++) some[i] = sum[(first + i) / filters][(first + i) % filters];
        store(total + first, NAME(lane_sums)(some, n));
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int f = 0; f < filters; f++) out[m * a->out_step + f] = start[f] + total[m * filters + f];
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

/* `height` rows of outputs, x_step and out_step apart, of ACROSS vectors of positions. `depth` runs after each other are
 * rows below each other as well: what is loaded of one serves all outputs that take it at one of their taps. An output's
 * products keep their order. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define ACROSS 4
#else
#define ACROSS 2
#endif
INLINE void NAME(below_row)(const int height, const int64_t depth, const int64_t row, int64_t r, const real *x,
                            const convnd_conv_args *a, vec sum[CONVND_MAX_BELOW][ACROSS]) {
    const real *w[CONVND_MAX_BELOW];
    UNROLL for (int m = 0; m < height; m++) {
        const int64_t tap = row - m;
        w[m] = tap < 0 || tap >= depth ? NULL : (const real *)a->w + a->runs[2 * (r + tap) + 1] * VL;
    }
    UNROLL for (int v = 0; v < ACROSS; v++) __builtin_prefetch(x + (2 * ACROSS + v) * VL);
    for (int64_t k = 0; k < a->length; k++) {
        vec s[ACROSS];
        UNROLL for (int v = 0; v < ACROSS; v++) s[v] = load(x + k + v * VL);
        UNROLL for (int m = 0; m < height; m++) {
            if (row < m || row - m >= depth) continue;
            const vec b = splat(w[m][k * VL]);
            UNROLL for (int v = 0; v < ACROSS; v++) sum[m][v] += s[v] * b;
        }
    }
}

/* `known` rows of taps, or as many as the arguments say. */
INLINE void NAME(below_body)(const int height, const int known, const convnd_conv_args *args) {
    const convnd_conv_args own = *args, *const a = &own; /* a copy that no store can change */
    vec sum[CONVND_MAX_BELOW][ACROSS];
    real *out = (real *)a->out;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < ACROSS; v++) sum[m][v] = splat(*(const real *)a->start);
    for (int64_t r = 0; r < a->n_runs; r += a->depth) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        if (known)
            UNROLL for (int row = 0; row < height + known - 1; row++, x += a->x_step)
                NAME(below_row)(height, known, row, r, x, a, sum);
        else
            for (int64_t row = 0; row < height + a->depth - 1; row++, x += a->x_step)
                NAME(below_row)(height, a->depth, row, r, x, a, sum);
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < ACROSS; v++) store(out + m * a->out_step + v * VL, sum[m][v]);
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, a->out_step, height, ACROSS * VL, a->activation);
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
#define TILES(H, V) \
    static void NAME(below_##H)(const convnd_conv_args *a) { \
        if (a->depth == 3) NAME(below_body)(H, 3, a); \
        else if (a->depth == 5) NAME(below_body)(H, 5, a); \
        else NAME(below_body)(H, 0, a); \
    }
HEIGHTS_6(TILES, 1)
#undef TILES

#define ENTRY(H, V) .dot[V][H] = NAME(dot_##V##_##H), .along[V][H] = NAME(along_##V##_##H),
#define GROUP_ENTRY(H, V) \
    .group[2][H] = NAME(group_2_##H), .group[4][H] = NAME(group_4_##H), .group[8][H] = NAME(group_8_##H),
#define BELOW_ENTRY(H, V) .below[H] = NAME(below_##H),
const convnd_narrow_tiles NAME(convnd_narrow_tiles) = {
    EACH_NARROW(ENTRY) EACH_HEIGHT_2(GROUP_ENTRY) HEIGHTS_6(BELOW_ENTRY, 1) .height = NARROW_HEIGHT, .across = ACROSS};
#undef GROUP_ENTRY
#undef BELOW_ENTRY
#undef ACROSS
#undef ENTRY
#undef HEIGHTS_3
#undef HEIGHTS_4
#undef HEIGHTS_8
#undef HEIGHTS_10
#undef EACH_NARROW
#undef NARROW_HEIGHT
#undef ASKS
