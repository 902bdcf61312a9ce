/* Depthwise convolution and its weight gradient: every height, panels of one and of two vectors of channels. */
#include "activation.h"

#define PART(p, v) (whole ? load((p) + (v) * VL) : load_part((p) + (v) * VL, lanes - (v) * VL))

/* Each lane is a channel of its own: x is read as vectors, and a run is one tap. */
INLINE void NAME(depthwise_body)(const int height, const int vectors, const int whole, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][2];
    const int64_t panel = vectors * VL, lanes = a->lanes;
    real *out = (real *)a->out;
    const real *start = (const real *)a->start;
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[m][v] = start ? load(start + v * VL) : PART(out + m * a->out_step, v);
    const int64_t step = a->x_step;
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1] * panel;
        vec b[2];
        UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * VL);
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += PART(x + m * step, v) * b[v];
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++) {
            if (whole) store(out + m * a->out_step + v * VL, sum[m][v]);
            else store_part(out + m * a->out_step + v * VL, sum[m][v], lanes - v * VL);
        }
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, a->out_step, height, lanes, a->activation);
}

/* A row of the gradient is one tap, and each lane a channel. */
INLINE void NAME(depthwise_weight_body)(const int height, const int vectors, const int whole,
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
                    sum[m][v] += PART(x + m * x_row, v) * b[v];
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

#define TILES(H, V) \
    static void NAME(depthwise_##V##_##H)(const convnd_conv_args *a) { \
        if (a->lanes == V * VL) NAME(depthwise_body)(H, V, 1, a); else NAME(depthwise_body)(H, V, 0, a); } \
    static void NAME(depthwise_weight_##V##_##H)(const convnd_weight_args *a) { \
        if (a->lanes == V * VL) NAME(depthwise_weight_body)(H, V, 1, a); else NAME(depthwise_weight_body)(H, V, 0, a); }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
#undef TILES

#define ENTRY(H, V) .forward[V][H] = NAME(depthwise_##V##_##H), .weight[V][H] = NAME(depthwise_weight_##V##_##H),
const convnd_depthwise_tiles NAME(convnd_depthwise_tiles) = {EACH_HEIGHT_1(ENTRY) EACH_HEIGHT_2(ENTRY)};
#undef ENTRY
