/* Products with 32 registers: all frequencies of some tiles and of a vector of filters are summed up in registers and turned
 * into outputs there. Included by rowwise.h. */

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
SLOW void NAME(rowwise_products_8)(int n, const convnd_rowwise_sums *a) { NAME(rowwise_products)(8, n, a); }
#define SUMS(A, N) static void NAME(rowwise_sums_##A##_##N)(const convnd_rowwise_sums *a) { \
    NAME(rowwise_gradients)(A, N, a); \
    NAME(rowwise_products_##A)(N, a); }
EACH_TILE(SUMS)
#undef SUMS
