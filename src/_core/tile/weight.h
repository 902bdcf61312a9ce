/* Weight-gradient tiles: every height, panels of one, two and four vectors of filters, or vectors of positions. */

/* The sums of a panel that isn't full to their places. */
SLOW void NAME(add_part)(const real *part, int64_t panel, int64_t height, real *acc, int64_t step, int64_t lanes, int fresh) {
    for (int64_t m = 0; m < height; m++)
        for (int64_t f = 0; f < lanes; f++)
            acc[m * step + f] = part[m * panel + f] + (fresh ? 0 : acc[m * step + f]);
}

/* The sums to their places. They are indexed by constants alone, or they would live in memory throughout. */
INLINE void NAME(add_sums)(const int height, const int vectors, vec (*sum)[CONVND_MAX_VECTORS], const convnd_weight_args *a) {
    real *acc = (real *)a->acc;
    const int64_t step = a->acc_step, lanes = a->lanes;
    if (lanes != vectors * VL) {
        real part[CONVND_MAX_HEIGHT * 2 * VL];
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) store(part + (m * vectors + v) * VL, sum[m][v]);
        NAME(add_part)(part, vectors * VL, height, acc, step, lanes, a->fresh != 0);
    } else if (a->fresh) {
        UNROLL for (int m = 0; m < height; m++) {
            UNROLL for (int v = 0; v < vectors; v++) store(acc + v * VL, sum[m][v]);
            ONWARD(acc, step)
        }
    } else {
        UNROLL for (int m = 0; m < height; m++) {
            UNROLL for (int v = 0; v < vectors; v++) store(acc + v * VL, load(acc + v * VL) + sum[m][v]);
            ONWARD(acc, step)
        }
    }
}

/* Positions from one of g to the one that memory is asked for meanwhile, where g is read once. */
#define AHEAD 64

/* A row of the gradient is one channel of x at one tap, broadcast. Rows are channels side by side, or anywhere; or so many
 * side by side, the next as many anywhere: `together`, which takes fewer pointers than there are rows. */
INLINE void NAME(weight_body)(const int height, const int vectors, const int anywhere, const int together,
                             const convnd_weight_args *a) {
    vec sum[CONVND_MAX_HEIGHT][CONVND_MAX_VECTORS];
    const int64_t x_step = a->x_step, g_step = a->g_step, ask_step = a->ask_step;
    const char *ask = a->ask;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = (vec){0};
    /* The sums of before are on their way to the cache meanwhile. */
    const real *acc = (const real *)a->acc;
    UNROLL for (int m = 0; m < height; m++) {
        UNROLL for (int b = 0; b < vectors * CONVND_VECTOR; b += 64) __builtin_prefetch((const char *)acc + b, 1);
        ONWARD(acc, a->acc_step)
    }
    for (int64_t s = 0; s < a->n_segments; s++) {
        const real *x = (const real *)a->x + a->segments[3 * s], *row[CONVND_MAX_HEIGHT];
        const real *g = (const real *)a->g + a->segments[3 * s + 1];
        int64_t at = 0;
        UNROLL for (int m = 0; m < height; m += together) row[m] = x + (anywhere ? a->rows[m] : m);
        for (int64_t p = a->segments[3 * s + 2]; p > 0; p--) {
            vec b[CONVND_MAX_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++) b[v] = load(g + v * VL);
            if (anywhere) __builtin_prefetch(g + AHEAD * g_step);
            __builtin_prefetch(ask, 0, 2);
            ask += ask_step;
            UNROLL for (int m = 0; m < height; m++) {
                const vec c = splat(anywhere ? row[m - m % together][at + m % together] : x[m]);
                UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += c * b[v];
            }
            x += x_step;
            at += x_step;
            g += g_step;
        }
    }
    NAME(add_sums)(height, vectors, sum, a);
}

/* The rows of three neighbouring taps of one channel, of the next three, ... */
INLINE int NAME(in_threes)(const int height, const int64_t *rows) {
    int yes = 1;
    UNROLL for (int m = 0; m + 3 <= height; m += 3)
        yes &= (rows[m + 1] == rows[m] + 1) & (rows[m + 2] == rows[m] + 2);
    return yes;
}

/* One channel and one filter: lanes are positions, each the sum over every VL-th; their sum is the row. */
INLINE void NAME(weight_dot_body)(const int height, const convnd_weight_args *a) {
    const int unroll = height > 6 ? 1 : height > 3 ? 2 : 4; /* sums enough to keep the multiply-adds busy */
    vec sum[CONVND_MAX_HEIGHT][4];
    real lane[CONVND_MAX_HEIGHT][VL];
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int u = 0; u < unroll; u++) sum[m][u] = (vec){0};
    for (int64_t s = 0; s < a->n_segments; s++) {
        const real *x = (const real *)a->x + a->segments[3 * s], *g = (const real *)a->g + a->segments[3 * s + 1];
        int64_t p = 0, n = a->segments[3 * s + 2];
        for (; p + unroll * VL <= n; p += unroll * VL)
            UNROLL for (int u = 0; u < unroll; u++) {
                const vec b = load(g + p + u * VL);
                UNROLL for (int m = 0; m < height; m++) sum[m][u] += load(x + a->rows[m] + p + u * VL) * b;
            }
        for (; p < n; p += VL) {
            const vec b = load_part(g + p, n - p);
            UNROLL for (int m = 0; m < height; m++) sum[m][0] += load_part(x + a->rows[m] + p, n - p) * b;
        }
    }
    UNROLL for (int m = 0; m < height; m++) {
        UNROLL for (int u = 1; u < unroll; u++) sum[m][0] += sum[m][u];
        store(lane[m], sum[m][0]);
    }
    for (int m = 0; m < height; m++) {
        real *acc = (real *)a->acc + m * a->acc_step;
        for (int64_t half = VL / 2; half > 0; half /= 2)
            for (int64_t i = 0; i < half; i++) lane[m][i] += lane[m][i + half];
        *acc = lane[m][0] + (a->fresh ? 0 : *acc);
    }
}

/* Rows of `width` numbers to rows that lie elsewhere. */
INLINE void NAME(copy_rows)(real *to, int64_t to_step, const real *from, int64_t from_step, int64_t rows,
                            const int64_t width) {
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = 0;
        for (; i + 4 * VL <= width; i += 4 * VL)
            UNROLL for (int v = 0; v < 4; v++) store(to + i + v * VL, load(from + i + v * VL));
        for (; i + VL <= width; i += VL) store(to + i, load(from + i));
        if (i < width && width > VL) store(to + width - VL, load(from + width - VL));
        else
            for (; i < width; i++) to[i] = from[i];
        to += to_step;
        from += from_step;
    }
}
/* The same of a few, in one piece or two. */
INLINE void NAME(copy_few)(real *to, int64_t to_step, const real *from, int64_t from_step, int64_t rows,
                           const int width) {
    for (int64_t r = 0; r < rows; r++, to += to_step, from += from_step) memcpy(to, from, width * sizeof(real));
}
static void NAME(weight_copy)(char *to_, int64_t to_step, const char *from_, int64_t from_step, int64_t rows,
                              int64_t width) {
    real *to = (real *)to_;
    const real *from = (const real *)from_;
    if (to_step == width && from_step == width) NAME(copy_rows)(to, 0, from, 0, 1, rows * width);
    else if (width == 4 * VL) NAME(copy_rows)(to, to_step, from, from_step, rows, 4 * VL);
    else if (width == 2 * VL) NAME(copy_rows)(to, to_step, from, from_step, rows, 2 * VL);
    else if (width == 4) NAME(copy_rows)(to, to_step, from, from_step, rows, 4);
    else if (width == 5) NAME(copy_few)(to, to_step, from, from_step, rows, 5);
    else if (width == 6) NAME(copy_few)(to, to_step, from, from_step, rows, 6);
    else if (width == 7) NAME(copy_few)(to, to_step, from, from_step, rows, 7);
    else NAME(copy_rows)(to, to_step, from, from_step, rows, width);
}

static void NAME(weight_add)(char *sum_, const char *more_, int64_t n) {
    real *sum = (real *)sum_;
    const real *more = (const real *)more_;
    for (int64_t i = 0; i < n; i++) sum[i] += more[i];
}

#define TILES(H, V) \
    static void NAME(weight_##V##_##H)(const convnd_weight_args *a) { NAME(weight_body)(H, V, 0, 1, a); } \
    static void NAME(weight_rows_##V##_##H)(const convnd_weight_args *a) { \
        if (H % 3 == 0 && NAME(in_threes)(H, a->rows)) NAME(weight_body)(H, V, 1, 3, a); \
        else NAME(weight_body)(H, V, 1, 1, a); \
    }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
EACH_HEIGHT_4(TILES)
#undef TILES
#define TILE(H, V) static void NAME(weight_dot_##H)(const convnd_weight_args *a) { NAME(weight_dot_body)(H, a); }
HEIGHTS_12(TILE, 1)
#undef TILE

#define ENTRY(H, V) .plain[V][H] = NAME(weight_##V##_##H), .rows[V][H] = NAME(weight_rows_##V##_##H),
#define DOT_ENTRY(H, V) .rows[0][H] = NAME(weight_dot_##H),
const convnd_weight_tiles NAME(convnd_weight_tiles) = {
    EACH_HEIGHT_1(ENTRY) EACH_HEIGHT_2(ENTRY) EACH_HEIGHT_4(ENTRY) HEIGHTS_12(DOT_ENTRY, 1)
    .height = {12, HEIGHT_1, HEIGHT_2, 0, HEIGHT_4},
    .copy = NAME(weight_copy), .add = NAME(weight_add)};
#undef ENTRY
#undef DOT_ENTRY
#undef AHEAD
