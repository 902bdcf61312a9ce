/* Depthwise convolution and its weight gradient: each lane is a channel of its own.
 *
 * Where outputs are as far apart as taps, or twice as far, a tile slides: an input is loaded once for the outputs that
 * take it at some neighbouring taps. In ascending order of the inputs, each output still takes its taps in ascending
 * order. Memory is asked for a tile ahead, or a row: the channels-last stride of the loads is one that hardware doesn't
 * foresee. */
#include "activation.h"

/* Taps that a forward tile slides over at a time, outputs that a weight tile does: their vectors stay in registers. So do
 * sums: a tile of two vectors that has more of them goes through its taps once for each vector. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define SLIDE 5
#define SUMS 16
#else
#define SLIDE 3
#define SUMS 8
#endif
#define OUTPUTS 4
#define MOST_SUMS 16
#define EXISTS(at) __builtin_expect((uint64_t)((at) - a->low) < (uint64_t)(a->high - a->low), 1)

enum { NAME(TO_READ), NAME(TO_WRITE), NAME(TO_SECOND) }; /* into the second-level cache */
INLINE void NAME(ask)(const real *p, const int vectors, const int what) {
    const int bytes = vectors * CONVND_VECTOR;
    UNROLL for (int b = 0; b < bytes; b += 64)
        if (what == NAME(TO_WRITE)) __builtin_prefetch((const char *)p + b, 1);
        else if (what == NAME(TO_SECOND)) __builtin_prefetch((const char *)p + b, 0, 2);
        else __builtin_prefetch((const char *)p + b, 0);
}

INLINE void NAME(ask_twice)(const real *p, int64_t second, const int vectors) {
    NAME(ask)(p + second, vectors, NAME(TO_SECOND));
    NAME(ask)(p, vectors, NAME(TO_READ));
}

/* How many inputs that are the dilation apart lie before a distance. */
INLINE int64_t NAME(inputs_before)(int64_t distance, const convnd_depthwise_args *a) {
    return distance <= 0 ? 0 : a->dilation == 1 ? distance : (distance + a->dilation - 1) / a->dilation;
}

/* `taps` neighbouring taps of outputs `apart` times as far from each other. Of the inputs from the first one's on, those
 * from `low` to `high` exist; `whole`: all. */
INLINE void NAME(depthwise_slide)(const int height, const int vectors, const int apart, const int taps, const int whole,
                                  const convnd_depthwise_args *a, vec (*sum)[2], const real *x, const real *w,
                                  const int64_t w_tap, const int64_t low, const int64_t high) {
    const int64_t step = a->dilation * a->x_step;
    vec b[SLIDE][2];
    UNROLL for (int j = 0; j < taps; j++)
        UNROLL for (int v = 0; v < vectors; v++) b[j][v] = load(w + j * w_tap + v * VL);
    UNROLL for (int p = 0; p < apart * (height - 1) + taps; p++) {
        const int taken = taps > 1 || p % apart == 0;
        if (taken && (whole || (p >= low && p < high)))
            UNROLL for (int v = 0; v < vectors; v++) {
                vec s = load(x + p % 4 * step + v * VL);
                if (taps > apart) HELD(s);
                UNROLL for (int j = 0; j < taps; j++)
                    if (p >= j && (p - j) % apart == 0 && (p - j) / apart < height) sum[(p - j) / apart][v] += s * b[j][v];
            }
        if (p % 4 == 3) ONWARD(x, 4 * step)
    }
}

INLINE void NAME(depthwise_tap)(const int height, const int vectors, const int whole, const convnd_depthwise_args *a,
                                vec (*sum)[2], const real *x, const real *w, int64_t at) {
    const int64_t step = a->stride * a->x_step;
    vec b[2];
    UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * VL);
    UNROLL for (int m = 0; m < height; m++) {
        if (whole || EXISTS(at))
            UNROLL for (int v = 0; v < vectors; v++) sum[m][v] += load(x + v * VL) * b[v];
        ONWARD(x, step)
        if (!whole) ONWARD(at, a->stride)
    }
}

/* `apart`: what a tile that slides has; else 0. */
INLINE void NAME(depthwise_runs)(const int height, const int vectors, const int whole, const int apart,
                                 const convnd_depthwise_args *a, vec (*sum)[2], const real *x0, const real *w0,
                                 const int64_t w_tap, int64_t at) {
    const int64_t taps = a->taps, x_tap = a->dilation * a->x_step;
    int64_t low = 0, high = 0;
    if (!whole && apart) low = NAME(inputs_before)(a->low - at, a), high = NAME(inputs_before)(a->high - at, a);
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *x = x0 + a->runs[2 * r], *w = w0 + a->runs[2 * r + 1] * w_tap;
        int64_t j = 0;
#define SLIDES(TAPS) { NAME(depthwise_slide)(height, vectors, apart, TAPS, whole, a, sum, x + j * x_tap, w + j * w_tap, \
                                             w_tap, low - j, high - j); j += TAPS; }
        if (apart) {
            if (apart > 1) while (j + SLIDE <= taps) SLIDES(SLIDE)
            while (j + 3 <= taps) SLIDES(3)
            if (j + 2 <= taps) SLIDES(2)
            else if (j < taps) SLIDES(1)
        } else for (; j < taps; j++)
            NAME(depthwise_tap)(height, vectors, whole, a, sum, x + j * x_tap, w + j * w_tap, at + j * a->dilation);
#undef SLIDES
    }
}

/* The outputs of a tile in one panel. */
INLINE void NAME(depthwise_outputs)(const int height, const int vectors, const int whole, const int apart,
                                    const convnd_depthwise_args *a, const real *x, const real *w, const real *start,
                                    real *out, int64_t at) {
    const int together = height * vectors > SUMS ? 1 : vectors;
    const int64_t panel = vectors * VL, out_step = a->out_step;
    vec half[CONVND_MAX_HEIGHT]; /* what waits for the other half of its line: that goes past the caches whole */
    for (int64_t lane = 0; lane < panel; lane += together * VL) {
        vec sum[CONVND_MAX_HEIGHT][2];
        real *to = out + lane;
        UNROLL for (int m = 0; m < height; m++)
            UNROLL for (int v = 0; v < together; v++) sum[m][v] = load(start + lane + v * VL);
#define RUNS(WHOLE, APART) NAME(depthwise_runs)(height, together, WHOLE, APART, a, sum, x + lane, w + lane, panel, at)
        if (whole && apart == 1) RUNS(1, 1);
        else if (whole && apart == 2) RUNS(1, 2);
        else if (whole) RUNS(1, 0);
        else if (apart == 1) RUNS(0, 1);
        else if (apart == 2) RUNS(0, 2);
        else RUNS(0, 0);
#undef RUNS
        if (!a->streams)
            UNROLL for (int m = 0; m < height; m++) {
                UNROLL for (int v = 0; v < together; v++) store(to + v * VL, sum[m][v]);
                ONWARD(to, out_step)
            }
        else if (together == vectors)
            UNROLL for (int m = 0; m < height; m++) {
                UNROLL for (int v = 0; v < together; v++) stream(to + v * VL, sum[m][v]);
                ONWARD(to, out_step)
            }
        else if (lane == 0)
            UNROLL for (int m = 0; m < height; m++) half[m] = sum[m][0];
        else
            UNROLL for (int m = 0; m < height; m++) {
                stream(to - VL, half[m]);
                stream(to, sum[m][0]);
                ONWARD(to, out_step)
            }
    }
}

#define ASK(p) { if (a->asks > 1) NAME(ask_twice)(p, second, vectors); else NAME(ask)(p, vectors, NAME(TO_SECOND)); }
INLINE void NAME(depthwise_body)(const int height, const int vectors, const convnd_depthwise_args *args) {
    const convnd_depthwise_args own = *args, *const a = &own; /* a copy that no store can change */
    const int64_t panel = vectors * VL, step = a->stride * a->x_step, out_step = a->out_step, panels = a->panels;
    const int apart = height == 1 ? 0 : a->stride == a->dilation ? 1 : a->stride == 2 * a->dilation ? 2 : 0;
    const int slides = apart == 1; /* from input to input; with 2 it slides over what is between as well */
    /* What the next tile is the first to read, or the next row's: dilated outputs leave what is between to others. What
     * the tile after it reads is brought into the second-level cache: the first has too few fill buffers to wait for
     * memory in. */
    const int64_t ahead = a->below ? a->x_row : height * step + (a->taps - 1) * a->dilation * a->x_step;
    const int64_t second = height * step;
    const int64_t out_ahead = a->below ? a->out_row : height * out_step;
    const int64_t inputs = slides ? height : height * a->stride, ask_step = slides ? step : a->x_step;
    /* Where that is one run of all channels, panels ask for it as it lies: memory answers fastest so. */
    const int64_t width = panels * panel, reach = (height - 1) * a->stride + (a->taps - 1) * a->dilation;
    const int x_runs_on = ask_step == width && a->x_step == width, out_runs_on = out_step == width;
    const int64_t x_line = x_runs_on ? panel : ask_step, x_skip = x_runs_on ? (inputs - 1) * panel : 0;
    const int64_t out_line = out_runs_on ? panel : out_step, out_skip = out_runs_on ? (height - 1) * panel : 0;
    const int64_t edge = slides ? a->taps - 1 : (a->taps - 1) * a->dilation - (a->stride - 1);
    for (int64_t row = 0; row < a->rows; row++) {
        const real *x = (const real *)a->x + row * a->x_row;
        real *out = (real *)a->out + row * a->out_row;
        int64_t at = 0;
        for (int64_t t = a->tiles; t > 0; t--) {
            const int whole = a->low <= at && at + reach < a->high;
            const real *w = (const real *)a->w, *start = (const real *)a->start, *x_next = x + ahead;
            real *out_next = out + out_ahead;
            for (int64_t p = 0; p < panels; p++) {
                if (a->asks && !a->streams) UNROLL for (int m = 0; m < height; m++)
                    NAME(ask)(out_next + m * out_line, vectors, NAME(TO_WRITE));
                for (int64_t r = a->asks ? a->n_runs - a->new_runs : a->n_runs; r < a->n_runs; r++) {
                    const real *next = x_next + a->runs[2 * r];
                    if (slides) UNROLL for (int i = 0; i < height; i++) ASK(next + i * x_line)
                    else for (int64_t i = 0; i < inputs; i++) ASK(next + i * x_line)
                    if (a->below && t == 1) /* what the columns beside have left out */
                        for (int64_t i = 0; i < edge; i++) ASK(x + ahead + a->runs[2 * r] + (inputs + i) * ask_step)
                }
                NAME(depthwise_outputs)(height, vectors, whole, apart, a, x, w, start, out, at);
                if (a->activation != ACT_NONE) NAME(activate_rows)(out, out_step, height, panel, a->activation);
                x += panel;
                out += panel;
                start += panel;
                w += a->pack;
                x_next += panel + x_skip;
                out_next += panel + out_skip;
            }
            x += height * step - width;
            out += height * out_step - width;
            at += height * a->stride;
        }
    }
}

#undef ASK

/* Fewer channels than a vector has lanes. */
static void NAME(depthwise_part)(const convnd_depthwise_args *a, int64_t height, int64_t lanes) {
    for (int64_t row = 0; row < a->rows; row++) {
        const real *x = (const real *)a->x + row * a->x_row;
        real *to = (real *)a->out + row * a->out_row;
        for (int64_t m = 0; m < height; m++)
            for (int64_t f = 0; f < lanes; f++) {
                real sum = ((const real *)a->start)[f];
                for (int64_t r = 0; r < a->n_runs; r++)
                    for (int64_t j = 0; j < a->taps; j++) {
                        const int64_t at = m * a->stride + j * a->dilation;
                        if (EXISTS(at))
                            sum += x[a->runs[2 * r] + at * a->x_step + f] *
                                   ((const real *)a->w)[(a->runs[2 * r + 1] + j) * VL + f];
                    }
                to[m * a->out_step + f] = sum;
            }
        if (a->activation != ACT_NONE) NAME(activate_rows)(to, a->out_step, height, lanes, a->activation);
    }
}

/* `rows` runs of `taps` taps: all outputs for a vector of channels at a time. In groups of `group` channels and filters
 * lane f has a sum for each channel of its group: those of a tap after each other. */
INLINE void NAME(depthwise_weight_outputs)(const int rows, const int taps, const int group, const int whole,
                                           const convnd_depthwise_weight_args *a, vec (*sum)[MOST_SUMS], const real *x,
                                           const real *g, int64_t at) {
    const int64_t step = a->dilation * a->x_step;
    vec b[OUTPUTS];
    UNROLL for (int m = 0; m < OUTPUTS; m++) b[m] = load(g + m * a->g_step);
    UNROLL for (int r = 0; r < rows; r++) {
        const real *from = x + a->runs[2 * r];
        UNROLL for (int p = 0; p < OUTPUTS + taps - 1; p++)
            if (whole || EXISTS(at + p * a->dilation)) {
                const vec s = load(from + p * step);
                UNROLL for (int k = 0; k < group; k++) {
                    const vec t = group > 1 ? NAME(spread)(s, group, k) : s;
                    UNROLL for (int j = 0; j < taps; j++)
                        if (p >= j && p - j < OUTPUTS) sum[r][j * group + k] += t * b[p - j];
                }
            }
    }
}

INLINE void NAME(depthwise_weight_output)(const int rows, const int taps, const int group, const int whole,
                                          const convnd_depthwise_weight_args *a, vec (*sum)[MOST_SUMS], const real *x,
                                          const real *g, int64_t at) {
    const int64_t step = a->dilation * a->x_step;
    const vec b = load(g);
    UNROLL for (int r = 0; r < rows; r++) {
        const real *from = x + a->runs[2 * r];
        UNROLL for (int j = 0; j < taps; j++)
            if (whole || EXISTS(at + j * a->dilation)) {
                const vec s = load(from + j * step);
                UNROLL for (int k = 0; k < group; k++)
                    sum[r][j * group + k] += (group > 1 ? NAME(spread)(s, group, k) : s) * b;
            }
    }
}

/* In groups tiles are longer: the first-level cache is near enough. */
#define ASK(p, second) { if (group > 1) NAME(ask)(p, 1, NAME(TO_READ)); \
    else if (a->asks == 1) NAME(ask)(p, 1, NAME(TO_SECOND)); \
    else NAME(ask_twice)(p, second, 1); }
INLINE void NAME(depthwise_weight_body)(const int rows, const int taps, const int group,
                                        const convnd_depthwise_weight_args *a) {
    const int64_t step = a->stride * a->x_step, outputs = a->outputs, width = a->panels * VL;
    const int64_t x_along = outputs * step + (taps - 1) * a->dilation * a->x_step, g_along = outputs * a->g_step;
    const int64_t x_ahead = (a->below ? a->x_row : x_along) + a->runs[2 * rows - 2];
    const int64_t g_ahead = a->below ? a->g_row : g_along;
    const int slides = a->stride == a->dilation;
    const int64_t x_second = outputs * step, g_second = g_along;
    const int x_runs_on = slides && step == width && a->x_step == width, g_runs_on = a->g_step == width;
    const int64_t x_line = x_runs_on ? VL : slides ? step : a->x_step, g_line = g_runs_on ? VL : a->g_step;
    for (int64_t row = 0; row < a->rows; row++)
        for (int64_t p = 0; p < a->panels; p++) {
            const real *x = (const real *)a->x + row * a->x_row + p * VL;
            const real *g = (const real *)a->g + row * a->g_row + p * VL;
            const real *x_next = x + x_ahead + (x_runs_on ? p * (outputs - 1) * VL : 0);
            const real *g_next = g + g_ahead + (g_runs_on ? p * (outputs - 1) * VL : 0);
            real *acc = (real *)a->acc + p * a->pack;
            vec sum[3][MOST_SUMS];
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < taps * group; j++) sum[r][j] = (vec){0};
            int64_t m = 0;
            while (m < outputs) {
                const int64_t at = m * a->stride;
                const int block = slides && m + OUTPUTS <= outputs;
                const int whole = at >= a->low && at + (block * (OUTPUTS - 1) + taps - 1) * a->dilation < a->high;
                const real *from = x + m * step, *by = g + m * a->g_step;
                if (a->asks) {
                    for (int i = 0; i < (block ? OUTPUTS : 1); i++) ASK(g_next + (m + i) * g_line, g_second);
                    for (int i = 0; i < (block ? OUTPUTS : slides ? 1 : a->stride); i++)
                        ASK(x_next + (slides ? m + i : m * a->stride + i) * x_line, x_second);
                }
                if (block && whole) NAME(depthwise_weight_outputs)(rows, taps, group, 1, a, sum, from, by, at);
                else if (block) NAME(depthwise_weight_outputs)(rows, taps, group, 0, a, sum, from, by, at);
                else if (whole) NAME(depthwise_weight_output)(rows, taps, group, 1, a, sum, from, by, at);
                else NAME(depthwise_weight_output)(rows, taps, group, 0, a, sum, from, by, at);
                m += block ? OUTPUTS : 1;
            }
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < taps * group; j++) {
                    real *to = acc + a->runs[2 * r + 1] + j * VL;
                    store(to, load(to) + sum[r][j]);
                }
        }
}

static void NAME(depthwise_weight_part)(const convnd_depthwise_weight_args *a, int64_t rows, int64_t taps,
                                        int64_t lanes) {
    const int64_t group = a->group;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < taps * group; j++)
            for (int64_t f = 0; f < lanes; f++) {
                const int64_t channel = f / group * group + j % group;
                real sum = 0;
                for (int64_t row = 0; row < a->rows; row++)
                    for (int64_t m = 0; m < a->outputs; m++) {
                        const int64_t at = m * a->stride + j / group * a->dilation;
                        if (EXISTS(at))
                            sum += ((const real *)a->x)[row * a->x_row + a->runs[2 * r] + at * a->x_step + channel] *
                                   ((const real *)a->g)[row * a->g_row + m * a->g_step + f];
                    }
                ((real *)a->acc)[a->runs[2 * r + 1] + j * VL + f] += sum;
            }
}

#undef ASK
#undef EXISTS
#undef SLIDE
#undef SUMS
#undef OUTPUTS
#undef MOST_SUMS

#if defined(__AVX512F__) || defined(__aarch64__)
#define EACH_DEPTHWISE_2(F) HEIGHTS_6(F, 2) F(7, 2) F(8, 2)
#define DEPTHWISE_HEIGHTS {0, 12, 8}
#define DEPTHWISE_TALL {0, 12, 8}
#define EACH_GROUP_WEIGHT(F) F(2, 1) F(2, 2) F(2, 3) F(2, 4) F(2, 5) F(4, 1) F(4, 2) F(4, 3) F(8, 1) F(8, 2)
#define GROUP_TAPS {[2] = 5, [4] = 3, [8] = 2}
#else
#if defined(__AVX2__) /* the tall ones that the driver asks for */
#define EACH_DEPTHWISE_2(F) F(1, 2) F(2, 2) F(3, 2) F(4, 2) F(8, 2) F(9, 2) F(10, 2) F(11, 2) F(12, 2)
#define DEPTHWISE_TALL {0, 12, 12}
#else
#define EACH_DEPTHWISE_2(F) F(1, 2) F(2, 2) F(3, 2) F(4, 2)
#define DEPTHWISE_TALL {0, 12, 4}
#endif
#define DEPTHWISE_HEIGHTS {0, 12, 4}
#define EACH_GROUP_WEIGHT(F) F(2, 1) F(2, 2) F(2, 3) F(2, 4) F(4, 1) F(4, 2) F(8, 1)
#define GROUP_TAPS {[2] = 4, [4] = 2, [8] = 1}
#endif
#define EACH_DEPTHWISE_1(F) HEIGHTS_12(F, 1)
/* Rows and taps whose sums the registers hold beside OUTPUTS gradients and an input. */
#define EACH_WEIGHT(F) F(1, 1) F(1, 2) F(1, 3) F(1, 4) F(1, 5) F(1, 6) F(1, 7) F(1, 8) \
    F(2, 1) F(2, 2) F(2, 3) F(2, 4) F(2, 5) F(3, 1) F(3, 2) F(3, 3)

#define TILE(H, V) \
    static void NAME(depthwise_##V##_##H)(const convnd_depthwise_args *a) { NAME(depthwise_body)(H, V, a); }
EACH_DEPTHWISE_1(TILE)
EACH_DEPTHWISE_2(TILE)
#undef TILE
#define TILE(R, J) static void NAME(depthwise_weight_##R##_##J)(const convnd_depthwise_weight_args *a) { \
    NAME(depthwise_weight_body)(R, J, 1, a); }
EACH_WEIGHT(TILE)
#undef TILE
#define TILE(G, J) static void NAME(group_weight_##G##_##J)(const convnd_depthwise_weight_args *a) { \
    NAME(depthwise_weight_body)(1, J, G, a); }
EACH_GROUP_WEIGHT(TILE)
#undef TILE

#define ENTRY(H, V) .forward[V][H] = NAME(depthwise_##V##_##H),
#define WEIGHT(R, J) .weight[R][J] = NAME(depthwise_weight_##R##_##J),
#define GROUP_WEIGHT(G, J) .group_weight[G][J] = NAME(group_weight_##G##_##J),
const convnd_depthwise_tiles NAME(convnd_depthwise_tiles) = {
    EACH_DEPTHWISE_1(ENTRY) EACH_DEPTHWISE_2(ENTRY) EACH_WEIGHT(WEIGHT) EACH_GROUP_WEIGHT(GROUP_WEIGHT)
    .height = DEPTHWISE_HEIGHTS, .tall = DEPTHWISE_TALL, .group_taps = GROUP_TAPS,
    .forward_part = NAME(depthwise_part), .weight_part = NAME(depthwise_weight_part),
};
#undef ENTRY
#undef WEIGHT
#undef GROUP_WEIGHT
#undef EACH_DEPTHWISE_1
#undef EACH_DEPTHWISE_2
#undef DEPTHWISE_HEIGHTS
#undef DEPTHWISE_TALL
#undef EACH_WEIGHT
#undef EACH_GROUP_WEIGHT
#undef GROUP_TAPS
