/* Convolution tiles: every height, panels of one, two and four vectors. */
#include "activation.h"

#define SLIDE 3 /* taps */

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

/* The same with vectors of one panel, of neighbouring positions whose inputs are neighbours: an input is loaded once
 * for all of some neighbouring taps. */
INLINE void NAME(conv_slide)(const int height, const int taps, vec (*sum)[CONVND_MAX_VECTORS], const real *x,
                             const real *w) {
    vec b[SLIDE];
    UNROLL for (int j = 0; j < taps; j++) b[j] = load(w + j * VL);
    UNROLL for (int p = 0; p < height + taps - 1; p++) {
        const vec s = splat(x[p]);
        UNROLL for (int j = 0; j < taps; j++)
            if (p >= j && p - j < height) sum[p - j][0] += s * b[j];
    }
}
INLINE void NAME(conv_slides)(const int height, vec (*sum)[CONVND_MAX_VECTORS], const real *x, const real *w,
                              int64_t length) {
    for (; length >= SLIDE; length -= SLIDE, x += SLIDE, w += SLIDE * VL) NAME(conv_slide)(height, SLIDE, sum, x, w);
    if (length == 2) NAME(conv_slide)(height, 2, sum, x, w);
    if (length == 1) NAME(conv_slide)(height, 1, sum, x, w);
}

INLINE void NAME(conv_body)(const int height, const int vectors, const convnd_conv_args *args) {
    const convnd_conv_args own = *args, *const a = &own; /* a copy that no store can change */
    vec sum[CONVND_MAX_HEIGHT][CONVND_MAX_VECTORS];
    const int64_t panel = vectors * VL, lanes = a->lanes, step = a->x_step, length = a->length, n = a->n_runs;
    const int slides = vectors == 1 && 1 < height && height <= HEIGHT_SLIDE && step == 1;
    const int asks = height > (vectors > 2 ? 2 : 4);
    /* A panel that isn't full is summed up in a full one beside it, and so is one that isn't done yet. */
    const int beside = lanes != panel || (a->streams && a->activation != ACT_NONE);
    real part[CONVND_MAX_HEIGHT * 2 * VL], *to = (real *)a->out, *p;
    const real *from = (const real *)a->x, *const w = (const real *)a->w;
    for (int64_t t = a->tiles; t > 0; t--) {
        real *out = to;
        int64_t out_step = a->out_step;
        /* The outputs are on their way to the cache while the sums are made. */
        if (height > 1 && a->start && !a->streams) {
            p = out;
            UNROLL for (int m = 0; m < height; m++) {
                UNROLL for (int b = 0; b < vectors * CONVND_VECTOR; b += 64) __builtin_prefetch((const char *)p + b, 1);
                ONWARD(p, out_step)
            }
        }
        if (beside) {
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
        const int64_t ahead = t > 1 ? height * step : a->ahead;
        if (slides)
            for (int64_t r = 0; r < n; r++)
                NAME(conv_slides)(height, sum, from + a->runs[2 * r], w + a->runs[2 * r + 1] * panel, length);
        else for (int64_t r = 0; r < n; r++) {
            const real *x = from + a->runs[2 * r], *b = w + a->runs[2 * r + 1] * panel;
            if (asks && r < 64 && a->fresh >> r & 1)
                NAME(conv_run)(height, vectors, 1, sum, x, step, b, length, (const char *)(x + ahead));
            else NAME(conv_run)(height, vectors, 0, sum, x, step, b, length, NULL);
        }
        p = out;
        if (a->streams && !beside)
            UNROLL for (int m = 0; m < height; m++) {
                UNROLL for (int v = 0; v < vectors; v++) stream(p + v * VL, sum[m][v]);
                ONWARD(p, out_step)
            }
        else
            UNROLL for (int m = 0; m < height; m++) {
                UNROLL for (int v = 0; v < vectors; v++) store(p + v * VL, sum[m][v]);
                ONWARD(p, out_step)
            }
        if (a->activation != ACT_NONE) NAME(activate_rows)(out, out_step, height, panel, a->activation);
        if (beside && a->streams) {
            for (int64_t m = 0; m < height; m++)
                UNROLL for (int v = 0; v < vectors; v++)
                    stream(to + m * a->out_step + v * VL, load(part + m * panel + v * VL));
        } else if (beside)
            NAME(copy_rows)(to, a->out_step, part, panel, height, lanes);
        from += height * step;
        to += height * a->out_step;
    }
}

#define TILES(H, V) static void NAME(conv_##V##_##H)(const convnd_conv_args *a) { NAME(conv_body)(H, V, a); }
EACH_HEIGHT_1(TILES)
EACH_HEIGHT_2(TILES)
EACH_HEIGHT_4(TILES)
#undef TILES
#undef SLIDE

#define ENTRY(H, V) .plain[V][H] = NAME(conv_##V##_##H),
const convnd_conv_tiles NAME(convnd_conv_tiles) = {EACH_HEIGHT_1(ENTRY) EACH_HEIGHT_2(ENTRY) EACH_HEIGHT_4(ENTRY)};
#undef ENTRY
