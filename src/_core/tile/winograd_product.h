/* The products of one frequency of Winograd's convolution: tiles x channels times channels x filters. */

/* Some steps of a tile of products: sum += x * w, `depth` numbers. With each, memory is asked for `asks` lines of the next
 * panel, `share` bytes further, and for one of those from `ask` on unless it is NULL. */
INLINE void NAME(multiply_run)(const int height, const int vectors, const int asks, vec (*sum)[CONVND_MAX_VECTORS],
                               const real *x, int64_t step, const real *w, int64_t depth, const char *next, int64_t share,
                               const char *ask) {
    for (int64_t k = 0; k < depth; k++) {
        vec b[CONVND_MAX_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * VL);
        UNROLL for (int v = 0; v < asks; v++) __builtin_prefetch(next + v * 64, 0, 2);
        if (ask) __builtin_prefetch(ask + 64 * k, 0, 2);
        UNROLL for (int m = 0; m < height; m++) {
            const vec s = splat(x[m * step]);
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += s * b[v];
        }
        x++;
        w += vectors * VL;
        next += share;
    }
}

/* One frequency: count x depth numbers times a panel, `count` a multiple of the tallest tile. */
INLINE void NAME(multiply)(const int height, const int vectors, const int asks, const convnd_winograd_product *args) {
    const convnd_winograd_product own = *args, *const a = &own; /* a copy that no store can change */
    const int64_t step = a->x_step, tiles = a->count / height, first = a->share, rest = a->depth - first;
    /* Each tile asks memory for its share of the next panel, so many lines with each step. */
    const int64_t share = vectors * CONVND_VECTOR / (tiles ? tiles : 1);
    const real *x = (const real *)a->x, *const w = (const real *)a->w;
    const char *next = (const char *)w + a->ahead, *ask = a->ask;
    real *out = (real *)a->out;
    for (int64_t t = 0; t < tiles; t++) {
        vec sum[CONVND_MAX_HEIGHT][CONVND_MAX_VECTORS];
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = (vec){0};
        if (first) NAME(multiply_run)(height, vectors, asks, sum, x, step, w, first, next, share, ask);
        NAME(multiply_run)(height, vectors, asks, sum, x + first, step, w + first * vectors * VL, rest, next + first * share,
                           share, NULL);
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) store(out + m * a->out_step + v * VL, sum[m][v]);
        x += height * step;
        out += height * a->out_step;
        next += a->depth * share;
        ask += 64 * first;
    }
}
#define MULTIPLY(V) static void NAME(multiply_##V)(const convnd_winograd_product *a) { \
    const int most = V * CONVND_VECTOR / 64; \
    if (most <= 1 || a->count >= most * HEIGHT_##V) NAME(multiply)(HEIGHT_##V, V, 1, a); \
    else if (most <= 2 || a->count >= 2 * HEIGHT_##V) NAME(multiply)(HEIGHT_##V, V, 2, a); \
    else NAME(multiply)(HEIGHT_##V, V, 4, a); }
MULTIPLY(1)
MULTIPLY(2)
#ifdef WIDE_PANELS
MULTIPLY(4)
#define MULTIPLY_4 NAME(multiply_4)
#else
#define MULTIPLY_4 NULL
#endif
#undef MULTIPLY
