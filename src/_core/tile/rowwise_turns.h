/* Products in turns: a frequency of six tiles, or with 32 registers of twelve, and of two vectors of filters after the other,
 * which wait for the outputs in the first cache. Included by rowwise.h. */

/* Tiles of a product, and those whose frequencies wait. */
#ifdef PAIRS
enum { NAME(TALL) = 12, NAME(WAITING) = 12 };
#else
enum { NAME(TALL) = 6, NAME(WAITING) = 24 };
#endif

/* Steps of a product: sum += x * w. If it `asks`, memory is asked for a line with each. */
INLINE void NAME(turn_run)(const int height, const int wide, const int asks, vec (*sum)[VECTORS], const real *const *x,
                           const real *w, int64_t length, int64_t at, const char *ask) {
    for (int64_t k = 0; k < length; k++) {
        vec b[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) b[v] = load(w + v * VL);
        if (asks) __builtin_prefetch(ask + 64 * k, 0, 2);
        UNROLL for (int i = 0; i < height; i++) {
            const vec s = splat(x[i][at]);
            UNROLL for (int v = 0; v < VECTORS; v++) sum[i][v] += s * b[v];
        }
        at += wide ? 1 : EIGHT;
        w += PANEL;
    }
}
/* A frequency of `height` tiles, to (height, EIGHT, panel). */
INLINE void NAME(turn)(const int height, const int wide, const convnd_rowwise_args *a, const convnd_rowwise_tile *tile,
                       const real *w, int64_t f, const char *ask, real *to) {
    const real *x[NAME(TALL)];
    vec sum[NAME(TALL)][VECTORS];
    UNROLL for (int i = 0; i < height; i++) {
        x[i] = (const real *)a->x + tile[i].x;
        UNROLL for (int v = 0; v < VECTORS; v++) sum[i][v] = (vec){0};
    }
    for (int64_t r = 0; r < a->n_runs; r++) {
        const int64_t at = a->runs[r] + (wide ? f * a->width : f);
        if (ask) {
            NAME(turn_run)(height, wide, 1, sum, x, w, a->width, at, ask);
            ask += 64 * a->width;
        } else NAME(turn_run)(height, wide, 0, sum, x, w, a->width, at, NULL);
        w += a->width * PANEL;
    }
    UNROLL for (int i = 0; i < height; i++)
        UNROLL for (int v = 0; v < VECTORS; v++) store(to + (i * EIGHT + f) * PANEL + v * VL, sum[i][v]);
}

/* All frequencies of `count` tiles: (count, EIGHT, panel). Returns what memory is to be asked for next, or NULL. */
INLINE const char *NAME(turns)(const int wide, int64_t alpha, const convnd_rowwise_args *args,
                               const convnd_rowwise_tile *tile, int64_t count, const char *ask, real *to) {
    const convnd_rowwise_args own = *args, *const a = &own; /* a copy that no store can change */
    const int64_t depth = a->n_runs * a->width;
    for (int64_t f = 0; f < alpha; f++) {
        const real *w = (const real *)a->w + f * depth * PANEL;
        for (int64_t t = 0, height; t < count; t += height) {
            const char *asked = f ? NULL : ask;
            real *here = to + t * EIGHT * PANEL;
            height = count - t < NAME(TALL) ? NAME(TILES_6) : NAME(TALL);
            if (height == NAME(TALL)) NAME(turn)(NAME(TALL), wide, a, tile + t, w, f, asked, here);
            else NAME(turn)(NAME(TILES_6), wide, a, tile + t, w, f, asked, here);
            if (asked) ask = asked + 64 * depth < a->ask_end ? asked + 64 * depth : NULL;
        }
    }
    return ask;
}
SLOW const char *NAME(turns_of)(int64_t alpha, const convnd_rowwise_args *a, const convnd_rowwise_tile *tile, int64_t count,
                                const char *ask, real *to) {
    return a->wide ? NAME(turns)(1, alpha, a, tile, count, ask, to) : NAME(turns)(0, alpha, a, tile, count, ask, to);
}

INLINE void NAME(rowwise_outputs)(const int alpha, const int n, const convnd_rowwise_args *args) {
    const convnd_rowwise_args own = *args, *const a = &own; /* a copy that no store can change */
    real frequencies[NAME(WAITING) * EIGHT * PANEL], lines[NAME(WAITING) * 7 * PANEL];
    /* A store that goes past the caches is best a whole line. */
    const int counts = a->moments.mean != NULL, lined = VL * sizeof(real) == 64;
    const int plain = a->lanes == PANEL && (lined || !a->streams) && !counts;
    const char *ask = a->ask < a->ask_end ? a->ask : NULL;
    int64_t counted = 0;
    for (int64_t t = 0, count; t < a->tiles; t += count) {
        real *line = lines;
        count = a->tiles - t < NAME(WAITING) ? a->tiles - t : NAME(WAITING);
        ask = NAME(turns_of)(alpha, a, a->tile + t, count, ask, frequencies);
        for (int64_t i = 0; i < count; i++) {
            const int64_t exist = a->tile[t + i].exist;
            const int straight = plain && exist == n;
            real *out = (real *)a->out + a->tile[t + i].out;
            if (!exist) continue;
            UNROLL for (int b = 0; b < VECTORS; b++) {
                const vec start = load((const real *)a->start + b * VL);
                vec v[8], y[7];
                UNROLL for (int f = 0; f < alpha; f++) v[f] = load(frequencies + (i * EIGHT + f) * PANEL + b * VL);
                NAME(collected)(alpha, n, v, y);
                UNROLL for (int k = 0; k < n; k++) {
                    const vec sum = y[k] + start;
                    y[k] = NAME(finish)(sum, a->activation);
                }
                if (straight && lined && a->streams)
                    UNROLL for (int k = 0; k < n; k++) stream(out + k * a->out_step + b * VL, y[k]);
                else if (straight) UNROLL for (int k = 0; k < n; k++) store(out + k * a->out_step + b * VL, y[k]);
                else UNROLL for (int k = 0; k < n; k++) store(line + k * PANEL + b * VL, y[k]);
            }
            if (straight) continue;
            if (exist == n && a->streams) /* whole lines */
                UNROLL for (int k = 0; k < n; k++)
                    UNROLL for (int b = 0; b < VECTORS; b++)
                        stream(out + k * a->out_step + b * VL, load(line + k * PANEL + b * VL));
            else NAME(store_some)(line, exist, out, a);
            if (counts) line += exist * PANEL;
        }
        if (line > lines) {
            const int64_t rows = (line - lines) / PANEL;
            NAME(count_rows)(lines, rows, &a->moments, counted);
            counted += rows;
        }
    }
}
#define TILE(A, N) static void NAME(rowwise_##A##_##N)(const convnd_rowwise_args *a) { NAME(rowwise_outputs)(A, N, a); }
EACH_TILE(TILE)
#undef TILE

/* A tile after the other: sum += x * g. If they `ask`, memory is asked for a number of each of the next ones. */
INLINE const real *NAME(turn_tiles)(const int height, const int asks, vec (*sum)[VECTORS], const real *const *x,
                                    const real *g, int64_t g_step, const convnd_rowwise_tile *tile, int64_t tiles,
                                    const convnd_rowwise_tile *next, const char *next_g) {
    for (int64_t t = 0; t < tiles; t++, g += g_step) {
        const int64_t at = tile[t].x;
        vec b[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) b[v] = load(g + v * VL);
        if (asks) __builtin_prefetch((const real *)next_g + next[t].out, 0, 2);
        UNROLL for (int i = 0; i < height; i++) {
            const vec s = splat(x[i][at]);
            UNROLL for (int v = 0; v < VECTORS; v++) sum[i][v] += s * b[v];
        }
    }
    return g;
}
/* Products of so many rows of the inputs' frequencies with the outputs' gradients', summed over tiles. Memory is asked for a
 * line of each of the next tiles with each frequency, as long as there are any that nobody has asked for. */
INLINE void NAME(turn_sums)(const int height, int64_t alpha, int64_t n, const convnd_rowwise_sums *a, const int64_t *rows,
                            real *to, int64_t line) {
    for (int64_t f = 0; f < alpha; f++, line++) {
        const real *g = (const real *)a->frequencies + f * PANEL, *x[NAME(TALL)];
        const char *next = a->next_g + line * a->out_step * (int64_t)sizeof(real);
        const int64_t asks = line >= n ? 0 : a->next_tiles < a->tiles ? a->next_tiles : a->tiles;
        vec sum[NAME(TALL)][VECTORS];
        UNROLL for (int i = 0; i < height; i++) {
            x[i] = (const real *)a->x + rows[i] + f;
            UNROLL for (int v = 0; v < VECTORS; v++) sum[i][v] = (vec){0};
        }
        g = NAME(turn_tiles)(height, 1, sum, x, g, alpha * PANEL, a->tile, asks, a->next, next);
        NAME(turn_tiles)(height, 0, sum, x, g, alpha * PANEL, a->tile + asks, a->tiles - asks, NULL, NULL);
        UNROLL for (int i = 0; i < height; i++)
            UNROLL for (int v = 0; v < VECTORS; v++) {
                real *p = to + (i * alpha + f) * PANEL + v * VL;
                store(p, load(p) + sum[i][v]); /* two chains, of a call's tiles and of calls: smaller errors than one */
            }
    }
}
/* Of all rows: sum (rows, alpha, panel). */
SLOW void NAME(rowwise_products)(int64_t alpha, int64_t n, const convnd_rowwise_sums *args) {
    const convnd_rowwise_sums own = *args, *const a = &own; /* a copy that no store can change */
    real *to = (real *)a->sum;
    int64_t groups = (a->n_rows + NAME(TALL) - 1) / NAME(TALL), r = 0, line = 0;
    for (int64_t height; groups > 0; groups--) { /* all of about one height: a low one waits for its own sums */
        height = (a->n_rows - r + groups - 1) / groups;
#define GROUP(H) if (height == H) NAME(turn_sums)(H, alpha, n, a, a->rows + r, to, line);
        GROUP(1) GROUP(2) GROUP(3) GROUP(4) GROUP(5) GROUP(6)
#ifdef PAIRS
        GROUP(7) GROUP(8) GROUP(9) GROUP(10) GROUP(11) GROUP(12)
#endif
#undef GROUP
        to += height * alpha * PANEL;
        r += height;
        line += alpha;
    }
}
#define SUMS(A, N) static void NAME(rowwise_sums_##A##_##N)(const convnd_rowwise_sums *a) { \
    NAME(rowwise_gradients)(A, N, a); \
    NAME(rowwise_products)(A, N, a); }
EACH_TILE(SUMS)
#undef SUMS
