/* Convolution tiles: every height, panels of one, two and four vectors. */
#include "activation.h"

SLOW void NAME(copy_rows)(real *to, int64_t to_step, const real *from, int64_t from_step, int64_t rows, int64_t lanes) {
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f++) to[m * to_step + f] = from[m * from_step + f];
}

/* sum += a run's products. Where it `asks`, memory is asked for a line of `next` with each step, or
 * for half of one: beside half as many rows. */
INLINE void NAME(conv_run)(const int height, const int vectors, const int asks, vec (*sum)[CONVND_MAX_VECTORS], const real *x,
                           int64_t step, const real *w, int64_t length, const char *next) {
    for (int64_t k = 0; k < length; k++) {
        vec b[CONVND_MAX_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * VL);
        if (asks) __builtin_prefetch(next + (vectors > 2 ? 32 : 64) * k);
        UNROLL for (int m = 0; m < height; m++) {
            const vec s = splat(x[m * step]);
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += s * b[v];
        }
        x++;
        w += vectors * VL;
    }
}

INLINE void NAME(conv_body)(const int height, const int vectors, const convnd_conv_args *a) {
    vec sum[CONVND_MAX_HEIGHT][CONVND_MAX_VECTORS];
    const int64_t panel = vectors * VL, lanes = a->lanes;
    real part[CONVND_MAX_HEIGHT * 2 * VL], *out = (real *)a->out, *p;
    int64_t out_step = a->out_step;
    /* The outputs are on their way to the cache while the sums are made. */
    if (height > 1 && a->start && !a->streams) {
        p = out;
        UNROLL for (int m = 0; m < height; m++) {
            UNROLL for (int b = 0; b < vectors * CONVND_VECTOR; b += 64) __builtin_prefetch((const char *)p + b, 1);
            ONWARD(p, out_step)
        }
    }
    const int beside = lanes != panel || (a->streams && a->activation != ACT_NONE);
    if (beside) { /* a panel that isn't full is summed up in a full one beside it, and so is one that isn't done yet */
        if (!a->start) NAME(copy_rows)(part, panel, out, out_step, height, lanes);
        out = part;
        out_step = panel;
    }
    if (a->start) {
        const real *start = (const real *)a->start;
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = load(start + v * VL);
    } else {
        p = out;
        UNROLL for (int m = 0; m < height; m++) {
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = load(p + v * VL);
            ONWARD(p, out_step)
        }
    }
    const int64_t step = a->x_step, length = a->length, n = a->n_runs;
    const int asks = height > (vectors > 2 ? 2 : 4);
    for (int64_t r = 0; r < n - asks; r++)
        NAME(conv_run)(height, vectors, 0, sum, (const real *)a->x + a->runs[2 * r], step,
                       (const real *)a->w + a->runs[2 * r + 1] * panel, length, NULL);
    if (asks && n) { /* the last run's inputs are those that no row before has read */
        const real *x = (const real *)a->x + a->runs[2 * n - 2];
        NAME(conv_run)(height, vectors, 1, sum, x, step, (const real *)a->w + a->runs[2 * n - 1] * panel, length,
                       (const char *)(x + height * step));
    }
    p = out;
    if (a->streams && !beside) {
        UNROLL for (int m = 0; m < height; m++) {
            UNROLL for (int v = 0; v < vectors; v++) stream(p + v * VL, sum[m][v]);
            ONWARD(p, out_step)
        }
        return;
    }
    UNROLL for (int m = 0; m < height; m++) {
        UNROLL for (int v = 0; v < vectors; v++) store(p + v * VL, sum[m][v]);
        ONWARD(p, out_step)
    }
    if (a->activation != ACT_NONE) NAME(activate_rows)(out, out_step, height, panel, a->activation);
    if (!beside) return;
    if (a->streams) {
        for (int64_t m = 0; m < height; m++)
            UNROLL for (int v = 0; v < vectors; v++)
                stream((real *)a->out + m * a->out_step + v * VL, load(part + m * panel + v * VL));
    } else
        NAME(copy_rows)((real *)a->out, a->out_step, part, panel, height, lanes);
}

#define TILES(H, V) static void NAME(conv_##V##_##H)(const convnd_conv_args *a) { NAME(conv_body)(H, V, a); }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
EACH_HEIGHT_4(TILES)
#undef TILES

#define ENTRY(H, V) .plain[V][H] = NAME(conv_##V##_##H),
const convnd_conv_tiles NAME(convnd_conv_tiles) = {EACH_HEIGHT_1(ENTRY) EACH_HEIGHT_2(ENTRY) EACH_HEIGHT_4(ENTRY)};
#undef ENTRY
