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

/* Where products have come to. */
typedef struct {
    const real *x;
    real *out;
    const char *next, *ask;
} NAME(place);

/* `tiles` tiles, from where `at` is: each asks memory for `share` bytes of the next panel with each step. */
INLINE void NAME(multiply_tiles)(const int height, const int vectors, const int asks, const convnd_winograd_product *a,
                                 int64_t tiles, int64_t share, NAME(place) *at) {
    const int64_t step = a->x_step, first = a->share, rest = a->depth - first;
    const real *const w = (const real *)a->w;
    for (int64_t t = 0; t < tiles; t++) {
        vec sum[CONVND_MAX_HEIGHT][CONVND_MAX_VECTORS];
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = (vec){0};
        if (first) NAME(multiply_run)(height, vectors, asks, sum, at->x, step, w, first, at->next, share, at->ask);
        NAME(multiply_run)(height, vectors, asks, sum, at->x + first, step, w + first * vectors * VL, rest,
                           at->next + first * share, share, NULL);
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) store(at->out + m * a->out_step + v * VL, sum[m][v]);
        at->x += height * step;
        at->out += height * a->out_step;
        at->next += a->depth * share;
        at->ask += 64 * first;
    }
}

/* One frequency: count x depth numbers times a panel, `count` a multiple of the tallest tile. */
INLINE void NAME(multiply)(const int height, const int vectors, const int asks, const convnd_winograd_product *args) {
    const convnd_winograd_product a = *args; /* a copy that no store can change */
    const int64_t tiles = a.count / height;
    NAME(place) at = {(const real *)a.x, (real *)a.out, a.w + a.ahead, a.ask};
    NAME(multiply_tiles)(height, vectors, asks, &a, tiles, vectors * CONVND_VECTOR / (tiles ? tiles : 1), &at);
}
#define MULTIPLY(V) static void NAME(multiply_##V)(const convnd_winograd_product *a) { \
    const int most = V * CONVND_VECTOR / 64; \
    if (most <= 1 || a->count >= most * HEIGHT_##V) NAME(multiply)(HEIGHT_##V, V, 1, a); \
    else if (most <= 2 || a->count >= 2 * HEIGHT_##V) NAME(multiply)(HEIGHT_##V, V, 2, a); \
    else NAME(multiply)(HEIGHT_##V, V, 4, a); }
MULTIPLY(1)
#ifdef WIDE_PANELS
MULTIPLY(2)
MULTIPLY(4)
#define ANY_COUNT 0
#define MULTIPLY_4 NAME(multiply_4)
#else
/* Any count, in tiles of about one height: a low one's few sums would wait for themselves. */
static void NAME(multiply_2)(const convnd_winograd_product *args) {
    const convnd_winograd_product a = *args; /* a copy that no store can change */
    const int64_t tiles = (a.count + HEIGHT_2 - 1) / HEIGHT_2, low = tiles ? a.count / tiles : 0;
    const int64_t high = a.count - low * tiles, share = 2 * CONVND_VECTOR / (tiles ? tiles : 1);
    NAME(place) at = {(const real *)a.x, (real *)a.out, a.w + a.ahead, a.ask};
#define TILES(H, V) if (low + 1 == H) NAME(multiply_tiles)(H, V, 1, &a, high, share, &at);
    EACH_HEIGHT_2(TILES)
#undef TILES
#define TILES(H, V) if (low == H) NAME(multiply_tiles)(H, V, 1, &a, tiles - high, share, &at);
    EACH_HEIGHT_2(TILES)
#undef TILES
}
#define ANY_COUNT [2] = 1
#define MULTIPLY_4 NULL
#endif
#undef MULTIPLY
