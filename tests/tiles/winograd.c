/* Winograd's transforms against matrices that follow from their definition, and the product of one frequency. */
#include "check.h"
#include "points.h"

enum { AXES = CONVND_WINOGRAD_AXES, MOST = CONVND_WINOGRAD_MOST };
/* All axes: (frequencies, elements), row by row. */
static double matrix[MOST * MOST];

static int64_t count(const convnd_winograd_axis *axes, const int64_t *size) {
    int64_t n = 1;
    for (int64_t a = 0; a < AXES; a++) n *= size ? size[a] : axes[a].alpha;
    return n;
}

static void make_matrix(transform what, const convnd_winograd_axis *axes, const int64_t *size, int divides) {
    const int64_t frequencies = count(axes, NULL), elements = count(axes, size);
    for (int64_t f = 0; f < frequencies; f++)
        for (int64_t e = 0; e < elements; e++) {
            double product = 1;
            for (int64_t a = AXES - 1, i = f, j = e; a >= 0; i /= axes[a].alpha, j /= size[a], a--) {
                product *= entry(what, axes[a].alpha, size[a], i % axes[a].alpha, j % size[a]);
                if (divides) product *= over_n(axes[a].alpha, i % axes[a].alpha);
            }
            matrix[f * elements + e] = product;
        }
}


/* A box of positions in an array (*shape, channels) of which it may stick out; `first` is where it begins. */
typedef struct {
    int64_t shape[AXES], first[AXES], dilation[AXES], n;
} place;

static place draw_place(const convnd_winograd_axis *axes, const int64_t *size, convnd_winograd_args *args,
                        int64_t row, int sticks_out) {
    place p;
    int64_t unit = row;
    for (int64_t a = AXES - 1; a >= 0; a--) {
        const int64_t d = p.dilation[a] = axes[a].alpha > 1 ? draw(1, 2) : 1, span = (size[a] - 1) * d + 1;
        const int64_t before = axes[a].alpha > 1 && sticks_out ? draw(0, span) : 0;
        const int64_t after = axes[a].alpha > 1 && sticks_out ? draw(0, span) : 0;
        p.shape[a] = most(1, span - before - after) + (sticks_out ? 0 : draw(0, 1));
        p.first[a] = -before;
        args->step[a] = d * unit;
        args->from[a] = least(size[a], (before + d - 1) / d);
        args->to[a] = args->from[a];
        while (args->to[a] < size[a] && p.first[a] + args->to[a] * d < p.shape[a]) args->to[a]++;
        unit *= p.shape[a];
    }
    p.n = unit;
    return p;
}

/* Where the element number e of the box is in the array; -1 where it isn't. */
static int64_t locate(const place *p, const convnd_winograd_args *args, const int64_t *size, int64_t e) {
    int64_t at = 0;
    for (int64_t a = AXES - 1; a >= 0; e /= size[a], a--) {
        const int64_t i = e % size[a];
        if (i < args->from[a] || i >= args->to[a]) return -1;
        at += args->step[a] * i + p->first[a] * (args->step[a] / p->dilation[a]);
    }
    return at;
}
static const char *box_start(const place *p, const convnd_winograd_args *args, const char *array) {
    int64_t at = 0;
    for (int64_t a = 0; a < AXES; a++) at += p->first[a] * (args->step[a] / p->dilation[a]);
    return (const char *)((uintptr_t)array + (uintptr_t)(at * tiles->itemsize));
}

/* Frequencies of `channels` channels: lanes beyond them may hold anything. */
static wanted *frequencies_as_is(const char *y, int64_t n, int64_t frequencies, int64_t step, int64_t channels) {
    wanted *want = as_is(y, n);
    for (int64_t f = 0; f < frequencies; f++)
        for (int64_t c = 0; c < whole(channels); c++)
            want[f * step + c] = (wanted){0, c < channels ? 0 : ANY};
    return want;
}

/* From a box to its frequencies: the input, or the output's gradient. */
static void check_to_frequencies(transform what, const convnd_winograd_axis *axes, const int64_t *size, int sticks_out) {
    const int64_t channels = draw(1, 2 * tiles->lanes + 1), row = channels + draw(0, 2), n_f = count(axes, NULL);
    const int64_t n_e = count(axes, size), step = whole(channels) + draw(0, 3), n = (n_f - 1) * step + whole(channels);
    begin("winograd: %s, %lld channels", what == INTERPOLATE ? "input" : "gradient", (long long)channels);
    convnd_winograd_args args = {.axes = axes, .frequency_step = step, .channels = channels, .asks = draw(0, 1)};
    const place p = draw_place(axes, size, &args, row, sticks_out);
    const char *x = numbers(p.n);
    args.x = box_start(&p, &args, x);
    args.x_end = x + p.n * tiles->itemsize;
    args.y = numbers(n);
    wanted *want = frequencies_as_is(args.y, n, n_f, step, channels);
    make_matrix(what, axes, size, 0);
    for (int64_t e = 0; e < n_e; e++) {
        const int64_t at = locate(&p, &args, size, e);
        for (int64_t f = 0; f < n_f; f++)
            for (int64_t c = 0; c < channels; c++) {
                want[f * step + c].scale += fabs(matrix[f * n_e + e]); /* zeros too: they meet in sums */
                if (at >= 0) want[f * step + c].value += matrix[f * n_e + e] * get(x, at + c);
            }
    }
    if (what == INTERPOLATE) tiles->winograd->input(&args);
    else tiles->winograd->gradient(&args);
    compare(args.y, want, n);
}

static void check_output(const convnd_winograd_axis *axes, const int64_t *size, int sticks_out) {
    /* Vectors that are whole lines may go past the caches: arrays end at the end of a page. */
    const int streams = tiles->lanes * tiles->itemsize == 64 && draw(0, 2) == 0;
    const int64_t channels = streams ? tiles->lanes * draw(1, 2) : draw(1, 2 * tiles->lanes + 1);
    const int64_t row = channels + (streams ? 0 : draw(0, 2)), n_f = count(axes, NULL);
    const int64_t n_e = count(axes, size), step = whole(channels) + draw(0, 3);
    begin("winograd: output, %lld channels", (long long)channels);
    convnd_winograd_args args = {.axes = axes, .frequency_step = step, .channels = channels, .streams = streams,
                                 .activation = draw(ACT_NONE, ACT_SOFTPLUS)};
    const place p = draw_place(axes, size, &args, row, sticks_out);
    char *out = numbers(p.n);
    args.x = numbers((n_f - 1) * step + whole(channels));
    args.start = numbers(whole(channels));
    args.y = (char *)box_start(&p, &args, out);
    moments m = draw_moments(channels);
    const int counts = (int)draw(0, 1);
    if (counts) args.moments = m.have, args.counted = m.counted;
    wanted *want = as_is(out, p.n);
    make_matrix(EVALUATE, axes, size, 0);
    for (int64_t e = 0; e < n_e; e++) {
        const int64_t at = locate(&p, &args, size, e);
        for (int64_t c = 0; at >= 0 && c < channels; c++) {
            want[at + c] = (wanted){0, 0};
            add(&want[at + c], get(args.start, c));
            for (int64_t f = 0; f < n_f; f++) add(&want[at + c], matrix[f * n_e + e] * get(args.x, f * step + c));
            activate(&want[at + c], args.activation);
        }
    }
    tiles->winograd->output(&args);
    compare(out, want, p.n);
    double values[CONVND_WINOGRAD_MOST * 64];
    int64_t rows = 0;
    for (int64_t e = 0; e < n_e; e++) {
        const int64_t at = locate(&p, &args, size, e);
        for (int64_t c = 0; at >= 0 && c < channels; c++) values[rows * channels + c] = get(out, at + c);
        rows += at >= 0;
    }
    compare_moments(&m, counts ? rows : 0, values);
}

static void check_weight_and_back(const convnd_winograd_axis *axes, const int64_t *size, int back) {
    const int64_t channels = draw(1, 2 * tiles->lanes + 1), n_f = count(axes, NULL), n_e = count(axes, size);
    const int64_t tap_step = channels + draw(0, 3), w_row = n_e * tap_step, rows = draw(1, 3 + (back ? 0 : 40));
    /* Rows of frequencies are side by side, those that a weight's gradient is made from anywhere. */
    const int64_t width = whole(channels) + (back ? draw(0, 3) : 0), step = back ? width : rows * width;
    const int64_t y_row = back ? n_f * width : width, n_y = (rows * n_f - 1) * width + whole(channels);
    const int64_t n_w = (rows - 1) * w_row + (n_e - 1) * tap_step + channels;
    begin("winograd: weight%s, %lld channels", back ? " gradient" : "", (long long)channels);
    const convnd_winograd_args args = {.axes = axes, .x = numbers(back ? n_y : n_w), .y = numbers(back ? n_w : n_y),
                                       .frequency_step = step, .step = {tap_step, w_row, y_row}, .to = {rows},
                                       .channels = channels, .streams = !back && draw(0, 1)};
    wanted *want = back ? as_is(args.y, n_w) : frequencies_as_is(args.y, n_y, rows * n_f, width, channels);
    make_matrix(EVALUATE, axes, size, 1);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t e = 0; e < n_e; e++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t in_w = row * w_row + e * tap_step + c, in_y = row * y_row + c;
                if (back) want[in_w] = (wanted){0, 0};
                for (int64_t f = 0; f < n_f; f++) {
                    const double m = matrix[f * n_e + e];
                    if (back) add(&want[in_w], m * get(args.x, in_y + f * step));
                    else add(&want[in_y + f * step], m * get(args.x, in_w));
                }
            }
    if (back) tiles->winograd->weight_gradient(&args);
    else tiles->winograd->weight(&args);
    compare(args.y, want, back ? n_w : n_y);
}

static void check_axes(const convnd_winograd_axis *axes, int sticks_out) {
    int64_t alpha[AXES], outputs[AXES], taps[AXES];
    for (int64_t a = 0; a < AXES; a++) alpha[a] = axes[a].alpha, outputs[a] = axes[a].outputs, taps[a] = axes[a].taps;
    check_to_frequencies(INTERPOLATE, axes, alpha, sticks_out);
    check_to_frequencies(EVALUATE, axes, outputs, sticks_out);
    check_output(axes, outputs, sticks_out);
    check_weight_and_back(axes, taps, 0);
    check_weight_and_back(axes, taps, 1);
}

static void check_multiply(int64_t vectors) {
    const int64_t panel = vectors * tiles->lanes, depth = draw(0, 20);
    const int64_t tallest = tiles->height[vectors], x_step = depth + draw(0, 3), out_step = panel + draw(0, 3);
    const int64_t rows = tiles->winograd->any_count[vectors] ? draw(0, 5 * tallest) : draw(0, 5) * tallest;
    const int64_t n = rows ? (rows - 1) * out_step + panel : 0;
    begin("winograd: product, %lld vectors", (long long)vectors);
    const convnd_winograd_product args = {
        .x = numbers(rows ? (rows - 1) * x_step + depth : 0), .w = numbers(depth * panel), .out = numbers(n),
        .x_step = x_step, .out_step = out_step, .count = rows, .depth = depth, .ahead = depth * panel * tiles->itemsize,
        .ask = numbers(20 * 16), .share = draw(0, depth)};
    wanted *want = as_is(args.out, n);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t f = 0; f < panel; f++) {
            want[i * out_step + f] = (wanted){0, 0};
            for (int64_t k = 0; k < depth; k++)
                add(&want[i * out_step + f], get(args.x, i * x_step + k) * get(args.w, k * panel + f));
        }
    tiles->winograd->multiply[vectors](&args);
    compare(args.out, want, n);
}

void check_winograd(void) {
    const convnd_winograd_axis none = {1, 1, 1}, each[] = {{4, 3, 2}, {4, 2, 3}, {6, 5, 2}, {6, 4, 3}, {6, 3, 4}, {6, 2, 5}};
    const convnd_winograd_axis line[] = {{8, 7, 2}, {8, 6, 3}, {8, 5, 4}, {8, 4, 5}, {8, 3, 6}, {8, 2, 7}};
    for (int round = 0; round < 12; round++) { /* a single axis alone */
        const convnd_winograd_axis axes[AXES] = {none, none, none, line[round % 6]};
        check_axes(axes, round & 1);
    }
    for (int round = 0; round < 6; round++) { /* two axes alike */
        const convnd_winograd_axis axes[AXES] = {none, none, each[round], each[round]};
        check_axes(axes, round & 1);
    }
    for (int round = 0; round < 6; round++)
        for (int64_t rank = 1; rank <= AXES; rank++) {
            convnd_winograd_axis axes[AXES] = {none, none, none, none};
            for (int64_t a = 0; a < rank; a++) /* the last is of each kind once; four axes take only the small kinds */
                axes[AXES - 1 - a] = each[rank == 4 ? draw(0, 1) : a ? draw(0, 5) : round];
            check_axes(axes, round & 1);
            for (int64_t vectors = 1; vectors <= CONVND_MAX_VECTORS; vectors++)
                if (tiles->height[vectors]) check_multiply(vectors);
        }
}
