/* Convolution tiles: every height, panels of one and of two vectors. Included once for each element type. */

SLOW void NAME(copy_rows)(real *to, int64_t to_step, const real *from, int64_t from_step, int64_t rows, int64_t lanes) {
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f++) to[m * to_step + f] = from[m * from_step + f];
}

SLOW void NAME(activate_rows)(real *out, int64_t step, int64_t rows, int64_t lanes, int64_t kind) {
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f += VL) {
            real *p = out + m * step + f;
            store_part(p, NAME(activate)(load_part(p, lanes - f), kind), lanes - f);
        }
}

INLINE void NAME(conv_body)(const int height, const int vectors, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][2];
    const int64_t panel = vectors * VL, lanes = a->lanes;
    real part[CONVND_MAX_HEIGHT * 2 * VL], *out = (real *)a->out;
    int64_t out_step = a->out_step;
    if (lanes != panel) { /* a panel that isn't full is summed up in a full one beside it */
        if (!a->start) NAME(copy_rows)(part, panel, out, out_step, height, lanes);
        out = part;
        out_step = panel;
    }
    if (a->start) {
        const real *start = (const real *)a->start;
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = load(start + v * VL);
    } else {
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = load(out + m * out_step + v * VL);
    }
    const int64_t step = a->x_step, length = a->length;
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = (const real *)a->x + a->runs[2 * r];
        const real *w = (const real *)a->w + a->runs[2 * r + 1] * panel;
        for (int64_t k = 0; k < length; k++) {
            vec b[2];
            UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * VL);
            UNROLL for (int m = 0; m < height; m++) {
                const vec s = splat(x[m * step]);
                UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += s * b[v];
            }
            x++;
            w += panel;
        }
    }
    UNROLL for (int m = 0; m < height; m++)
        UNROLL for (int v = 0; v < vectors; v++) store(out + m * out_step + v * VL, sum[m][v]);
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, out_step, height, panel, a->activation);
    if (lanes != panel) NAME(copy_rows)((real *)a->out, a->out_step, part, panel, height, lanes);
}

/* Each lane is a channel of its own: x is read as vectors, and a run is one tap. */
INLINE void NAME(depthwise_body)(const int height, const int vectors, const int whole, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][2];
    const int64_t panel = vectors * VL, lanes = a->lanes;
    real *out = (real *)a->out;
    const real *start = (const real *)a->start;
#define PART(p, v) (whole ? load((p) + (v) * VL) : load_part((p) + (v) * VL, lanes - (v) * VL))
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

/* A row of the gradient is one channel of x, broadcast; in a depthwise convolution one tap, each lane a channel. */
INLINE void NAME(weight_body)(const int height, const int vectors, const int whole, const int depthwise,
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
                    sum[m][v] += (depthwise ? PART(x + m * x_row, v) : splat(x[m * x_row])) * b[v];
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
    static void NAME(conv_##V##_##H)(const convnd_conv_args *a) { NAME(conv_body)(H, V, a); } \
    static void NAME(depthwise_##V##_##H)(const convnd_conv_args *a) { \
        if (a->lanes == V * VL) NAME(depthwise_body)(H, V, 1, a); else NAME(depthwise_body)(H, V, 0, a); } \
    static void NAME(weight_##V##_##H)(const convnd_weight_args *a) { \
        if (a->lanes == V * VL) NAME(weight_body)(H, V, 1, 0, a); else NAME(weight_body)(H, V, 0, 0, a); } \
    static void NAME(depthwise_weight_##V##_##H)(const convnd_weight_args *a) { \
        if (a->lanes == V * VL) NAME(weight_body)(H, V, 1, 1, a); else NAME(weight_body)(H, V, 0, 1, a); }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
#undef TILES
