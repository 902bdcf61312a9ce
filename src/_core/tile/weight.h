/* Weight-gradient tiles: every height, panels of one and of two vectors. */

#define PART(p, v) (whole ? load((p) + (v) * VL) : load_part((p) + (v) * VL, lanes - (v) * VL))
/* A row of the gradient is one channel of x, broadcast. */
INLINE void NAME(weight_body)(const int height, const int vectors, const int whole,
                              const convnd_weight_args *a) {
    vec sum[CONVND_MAX_HEIGHT][2];
    const int64_t lanes = a->lanes, x_step = a->x_step, x_row = a->x_row, g_step = a->g_step;
    real *acc = (real *)a->acc;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = (vec){0};
    for (int64_t s = 0; s < a->n_segments; s++) {
        const real *x = (const real *)a->x + a->segments[3 * s];
        const real *g = (const real *)a->g + a->segments[3 * s + 1];
        for (int64_t p = a->segments[3 * s + 2]; p > 0; p--) {
            vec b[2];
            UNROLL for (int v = 0; v < vectors; v++) b[v] = PART(g, v);
            UNROLL for (int m = 0; m < height; m++)
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[m][v] += splat(x[m * x_row]) * b[v];
            x += x_step;
            g += g_step;
        }
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++) {
            real *p = acc + (m * vectors + v) * VL;
            store(p, load(p) + sum[m][v]);
        }
}

#undef PART

#define TILES(H, V) static void NAME(weight_##V##_##H)(const convnd_weight_args *a) { \
    if (a->lanes == V * VL) NAME(weight_body)(H, V, 1, a); else NAME(weight_body)(H, V, 0, a); }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
#undef TILES

#define ENTRY(H, V) .plain[V][H] = NAME(weight_##V##_##H),
const convnd_weight_tiles NAME(convnd_weight_tiles) = {EACH_HEIGHT_1(ENTRY) EACH_HEIGHT_2(ENTRY)};
#undef ENTRY
