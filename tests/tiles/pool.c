/* Pooling tiles: the largest, sums, and their gradients. */
#include "check.h"

#include <math.h>

typedef struct {
    int64_t runs[3], n_runs, length, x_step, outputs, x_next, first, channels, pitch, n_x, n_out;
} regions;

static regions draw_regions(int64_t channels, int64_t length) {
    regions s = {.n_runs = draw(1, 3), .length = length, .x_step = draw(1, 2), .outputs = draw(1, 4),
                 .x_next = draw(1, 4), .first = draw(0, 9), .channels = channels, .pitch = channels + draw(0, 2)};
    if (draw(0, 15) == 0) s.n_runs = 0;
    for (int64_t r = 0; r < s.n_runs; r++) s.runs[r] = r ? draw(0, 6) : 6;
    s.n_x = ((s.outputs - 1) * s.x_next + 6 + (length - 1) * s.x_step) * s.pitch + channels;
    s.n_out = (s.outputs - 1) * s.pitch + channels;
    return s;
}

static convnd_pool_args arguments(const regions *s, const char *x) {
    return (convnd_pool_args){
        .x = x, .x_end = x + s->n_x * tiles->itemsize, .out = numbers(s->n_out), .runs = s->runs, .n_runs = s->n_runs,
        .length = s->length, .x_step = s->x_step, .outputs = s->outputs, .x_next = s->x_next, .first = s->first,
        .channels = s->channels, .pitch = s->pitch, .divisor = (double)draw(1, 9), .asks = draw(0, 1)};
}

/* The k-th position of an output's region. */
static int64_t position(const regions *s, int64_t output, int64_t k) {
    return output * s->x_next + s->runs[k / s->length] + k % s->length * s->x_step;
}

/* Numbers with ties, and some that aren't numbers. */
static char *few_numbers(int64_t n) {
    char *x = numbers(n);
    const int has_nan = draw(0, 1) == 0;
    for (int64_t i = 0; i < n; i++) put(x, i, has_nan && draw(0, 30) == 0 ? NAN : (double)draw(-2, 2));
    return x;
}

/* The activation of a normalisation, or -1 for none. */
static void check_max(int64_t channels, int64_t activation) {
    begin("pool: max of %lld channels, activation %lld", (long long)channels, (long long)activation);
    const regions s = draw_regions(channels, draw(1, 5));
    convnd_pool_args args = arguments(&s, few_numbers(s.n_x));
    wanted *want = as_is(args.out, s.n_out), *of_winner = NULL;
    int wrong = 0;
    if (activation >= 0) {
        args.norm = (convnd_norm){numbers(channels), numbers(channels), activation};
        args.winner = numbers(s.n_out);
        of_winner = as_is(args.winner, s.n_out);
    }
    int32_t *found = (int32_t *)guarded(s.n_out * 4);
    args.index = activation < 0 && draw(0, 1) ? NULL : found; /* or only the largest */
    for (int64_t i = 0; i < s.n_out; i++) found[i] = 1000;
    tiles->pool->max(&args);
    for (int64_t i = 0; i < s.n_out; i++) {
        const int64_t c = i % s.pitch, o = i / s.pitch;
        int32_t index = c < channels ? -1 : 1000;
        double from = -INFINITY;
        if (index < 0) want[i].value = from;
        for (int64_t k = 0; c < channels && k < s.n_runs * s.length; k++) {
            const double t = get(args.x, position(&s, o, k) * s.pitch + c);
            wanted v = {t, 0};
            if (of_winner) {
                v = (wanted){0, 0};
                add(&v, t * get(args.norm.scale, c));
                add(&v, get(args.norm.shift, c));
                activate(&v, activation);
            }
            if (index >= 0 && (isnan(want[i].value) || v.value <= want[i].value)) continue;
            want[i] = v, from = t, index = (int32_t)(s.first + position(&s, o, k));
        }
        wrong |= found[i] != (args.index ? index : 1000);
        if (of_winner && c < channels) of_winner[i].value = from;
    }
    require(!wrong, "the index of the first largest");
    compare(args.out, want, s.n_out);
    if (of_winner) compare(args.winner, of_winner, s.n_out);
}

static void check_sum(int squares, int64_t channels, int64_t length) {
    begin("pool: sum of %lld channels%s, runs of %lld", (long long)channels, squares ? "' squares" : "", (long long)length);
    const regions s = draw_regions(channels, length);
    const convnd_pool_args args = arguments(&s, numbers(s.n_x));
    wanted *want = as_is(args.out, s.n_out);
    for (int64_t o = 0; o < s.outputs; o++)
        for (int64_t c = 0; c < channels; c++) {
            wanted *to = &want[o * s.pitch + c];
            *to = (wanted){0, 0};
            for (int64_t k = 0; k < s.n_runs * length; k++) {
                const double t = get(args.x, position(&s, o, k) * s.pitch + c);
                add(to, (squares ? t * t : t) / args.divisor);
            }
        }
    (squares ? tiles->pool->squares : tiles->pool->sum)(&args);
    compare(args.out, want, s.n_out);
}

/* Some columns of a row of inputs. The outputs' regions on the last axis begin anywhere and are as long as they like.
 * `kind` is the activation of a normalisation, or -1 without one. */
static void check_grad(int64_t channels, int of_max, int64_t kind) {
    enum { OUTPUTS = 4, INPUTS = 7, ROWS = 3, OUTER = 2 };
    const int64_t n_g = ROWS * OUTPUTS * channels, n = INPUTS * channels;
    int64_t first[OUTPUTS], count[OUTPUTS], step = draw(1, 2), inner_first[INPUTS + 1], n_inner = 0;
    convnd_holder outer[OUTER], inner[INPUTS * OUTPUTS];
    begin("pool: gradient of %lld channels, activation %lld", (long long)channels, (long long)kind);
    for (int64_t q = 0; q < OUTPUTS; q++) first[q] = draw(-2, INPUTS), count[q] = draw(1, 4);
    for (int64_t i = 0; i < INPUTS; i++) {
        inner_first[i] = n_inner;
        for (int64_t q = 0; q < OUTPUTS; q++)
            for (int64_t j = 0; j < count[q]; j++)
                if (first[q] + j * step == i) inner[n_inner++] = (convnd_holder){q, count[q]};
    }
    inner_first[INPUTS] = n_inner;
    for (int64_t e = 0; e < OUTER; e++) outer[e] = (convnd_holder){draw(0, ROWS - 1), draw(1, 3)};
    char *g = numbers(n_g), *out = numbers(n);
    int32_t *index = (int32_t *)guarded(n_g * 4);
    for (int64_t i = 0; i < n_g; i++) index[i] = (int32_t)draw(20, 20 + INPUTS);
    convnd_pool_grad_args args = {
        .g = g, .g_end = g + n_g * tiles->itemsize, .index = of_max ? index : NULL, .out = out, .outer = outer,
        .n_outer = draw(0, OUTER),
        .inner = inner, .inner_first = inner_first, .outputs = OUTPUTS, .column = draw(0, INPUTS - 1), .channels = channels,
        .first = 20, .divisor = (double)draw(0, 3),
        .streams = channels % tiles->lanes == 0};
    args.columns = draw(1, INPUTS - args.column);
    if (kind >= 0) {
        args.x = numbers(n), args.b = numbers(channels), args.c = numbers(channels);
        args.norm = (convnd_norm){.scale = numbers(channels), .shift = numbers(channels), .activation = kind};
    }
    wanted *want = as_is(out, n);
    for (int64_t k = args.column * channels; k < (args.column + args.columns) * channels; k++) {
        const int64_t i = k / channels, c = k % channels;
        want[k] = (wanted){0, 0};
        for (int64_t e = 0; e < args.n_outer; e++)
            for (int64_t q = 0; q < OUTPUTS; q++)
                for (int64_t j = 0; j < count[q]; j++) {
                    const int64_t at = (outer[e].output * OUTPUTS + q) * channels + c;
                    const double scale = 1 / (args.divisor > 0 ? args.divisor : (double)(outer[e].count * count[q]));
                    if (first[q] + j * step != i) continue;
                    if (!of_max) add(&want[k], get(g, at) * scale);
                    else if (index[at] == 20 + i) add(&want[k], get(g, at));
                }
        if (kind >= 0) {
            const double scale = get(args.norm.scale, c);
            want[k].value *= scale * slope(activated(get(args.x, k) * scale + get(args.norm.shift, c), kind), kind);
            add(&want[k], get(args.x, k) * get(args.b, c));
            add(&want[k], get(args.c, c));
        }
    }
    tiles->pool->grad(&args);
    compare(out, want, n);
}

/* One output of a maximum, whole or only where its positions are from `low` to `high`. */
static void check_scatter(int64_t channels, int part) {
    const int64_t positions = 10, n = positions * channels, low = draw(0, positions), high = draw(low, positions);
    begin("pool: %s of the maxima of %lld channels", part ? "a part" : "all", (long long)channels);
    char *g = numbers(channels), *out = numbers(n);
    int32_t *index = (int32_t *)guarded(channels * 4);
    wanted *want = as_is(out, n);
    for (int64_t c = 0; c < channels; c++) {
        index[c] = (int32_t)draw(0, positions - 1);
        if (!part || (index[c] >= low && index[c] < high)) add(&want[index[c] * channels + c], get(g, c));
    }
    if (part) tiles->pool->scatter_part(g, index, out, low, high, channels);
    else tiles->pool->scatter(g, index, out, channels);
    compare(out, want, n);
}

void check_pool(void) {
    for (int64_t channels = 1; channels <= 9 * tiles->lanes + 1; channels++)
        for (int round = 0; round < 4; round++) {
            check_max(channels, -1);
            check_max(channels, draw(ACT_NONE, ACT_ELU));
            for (int squares = 0; squares < 2; squares++) check_sum(squares, channels, draw(1, 5));
            check_grad(channels, round & 1, round & 2 ? draw(ACT_NONE, ACT_ELU) : -1);
            check_scatter(channels, round & 1);
        }
    check_sum(0, tiles->lanes + 1, 700);
    check_sum(1, tiles->lanes + 1, 700);
    check_sum(0, 1, 40000);
}
