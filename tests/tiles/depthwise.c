/* Depthwise tiles: forward and weight gradient, whole and clipped windows, whole and partial vectors. */
#include "check.h"

/* What both directions share: a window that may be clipped, and where its runs start. */
typedef struct {
    int64_t stride, dilation, low, high, x_step, runs[6], last, rows, x_row;
} window;

static int64_t positions_of(const window *w) { return least(w->high, w->last + 1) - w->low; }

static window draw_window(int64_t outputs, int64_t taps, int64_t n_runs, int64_t width, int clips, int slides) {
    window w = {.stride = draw(1, 3), .x_step = width + draw(0, 3)};
    w.dilation = slides ? w.stride : draw(1, 3);
    if (!slides && draw(0, 2) == 0) w.stride = 2 * w.dilation;
    w.last = (outputs - 1) * w.stride + (taps - 1) * w.dilation;
    w.high = w.last + 1 + draw(0, 2);
    if (clips) {
        w.low = draw(0, w.last);
        w.high = draw(w.low, w.high);
    }
    for (int64_t r = 0; r < n_runs; r++) w.runs[2 * r] = r ? draw(0, 7) : 7;
    w.rows = draw(1, 3);
    w.x_row = 7 + most(0, positions_of(&w)) * w.x_step + width + draw(0, 3);
    return w;
}
static int exists(const window *w, int64_t at) { return at >= w->low && at < w->high; }

/* x has the positions low ... high only; the tiles get where position 0 would be. */
static const char *input(const window *w, int64_t width) {
    const int64_t positions = positions_of(w);
    const char *x = numbers(positions <= 0 ? 0 : (w->rows - 1) * w->x_row + 7 + (positions - 1) * w->x_step + width);
    return (const char *)((uintptr_t)x - (uintptr_t)(w->low * w->x_step * tiles->itemsize));
}

/* `lanes` 0: `panels` whole panels. */
static void check_forward(int64_t vectors, int64_t height, int64_t lanes, int clips, int slides) {
    const int64_t panels = lanes ? 1 : draw(1, 3), panel = vectors * tiles->lanes, width = lanes ? lanes : panels * panel;
    const int64_t taps = draw(1, 7), n_runs = draw(1, 3), all = n_runs * taps, out_step = width + draw(0, 3);
    const int64_t n_tiles = lanes ? 1 : draw(1, 3), outputs = n_tiles * height;
    begin("depthwise: %lld vectors, height %lld, %lld lanes", (long long)vectors, (long long)height, (long long)lanes);
    window w = draw_window(outputs, taps, n_runs, width, clips, slides);
    for (int64_t r = 0; r < n_runs; r++) w.runs[2 * r + 1] = (n_runs - 1 - r) * taps;
    const int64_t out_row = outputs * out_step + draw(0, 3) * tiles->lanes;
    const int64_t n = (w.rows - 1) * out_row + (outputs - 1) * out_step + width;
    char *out = numbers(n);
    const convnd_depthwise_args args = {
        .x = input(&w, width), .w = numbers(panels * all * panel), .start = numbers(width), .out = out,
        .x_step = w.x_step, .out_step = out_step, .stride = w.stride, .dilation = w.dilation, .low = w.low,
        .high = w.high, .runs = w.runs, .n_runs = n_runs, .taps = taps, .new_runs = draw(0, n_runs), .rows = w.rows,
        .x_row = w.x_row, .out_row = out_row, .below = draw(0, 1), .asks = draw(0, 2), .tiles = n_tiles,
        .panels = panels, .pack = all * panel,
        .activation = draw(ACT_NONE, ACT_SOFTPLUS), .streams = out_step % tiles->lanes == 0};
    wanted *want = as_is(out, n);
    for (int64_t row = 0; row < w.rows; row++)
        for (int64_t m = 0; m < outputs; m++)
            for (int64_t c = 0; c < width; c++) {
                wanted *to = &want[row * out_row + m * out_step + c];
                *to = (wanted){0, 0};
                add(to, get(args.start, c));
                for (int64_t r = 0; r < n_runs; r++)
                    for (int64_t j = 0; j < taps; j++) {
                        const int64_t at = m * w.stride + j * w.dilation;
                        if (exists(&w, at))
                            add(to, get(args.x, row * w.x_row + w.runs[2 * r] + at * w.x_step + c) *
                                    get(args.w, ((c / panel * all) + w.runs[2 * r + 1] + j) * panel + c % panel));
                    }
                activate(to, args.activation);
            }
    if (lanes) tiles->depthwise->forward_part(&args, height, lanes);
    else tiles->depthwise->forward[vectors][height](&args);
    compare(out, want, n);
}

static void check_weight_gradient(int64_t rows, int64_t taps, int64_t group, int64_t lanes, int clips, int slides) {
    const int64_t vl = tiles->lanes, panels = lanes ? 1 : draw(1, 3), width = lanes ? lanes : panels * vl;
    const int64_t outputs = draw(1, 11), pack = rows * taps * group * vl, n = panels * pack, g_step = width + draw(0, 3);
    begin("depthwise: gradient in groups of %lld, %lld rows of %lld taps, %lld lanes", (long long)group, (long long)rows,
          (long long)taps, (long long)lanes);
    window w = draw_window(outputs, taps, rows, width, clips, slides);
    for (int64_t r = 0; r < rows; r++) w.runs[2 * r + 1] = (rows - 1 - r) * taps * group * vl;
    const int64_t g_row = outputs * g_step + draw(0, 3);
    char *acc = numbers(n);
    const convnd_depthwise_weight_args args = {
        .x = input(&w, width), .g = numbers((w.rows - 1) * g_row + (outputs - 1) * g_step + width), .acc = acc,
        .x_step = w.x_step, .rows = w.rows, .x_row = w.x_row, .g_row = g_row, .below = draw(0, 1),
        .g_step = g_step, .stride = w.stride, .dilation = w.dilation, .low = w.low, .high = w.high, .runs = w.runs,
        .outputs = outputs, .panels = panels, .pack = pack, .asks = draw(0, 2), .group = group};
    wanted *want = as_is(acc, n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < taps * group; j++)
            for (int64_t c = 0; c < width; c++) {
                wanted *to = &want[c / vl * pack + w.runs[2 * r + 1] + j * vl + c % vl];
                const int64_t from = w.runs[2 * r] + c / group * group + j % group;
                for (int64_t row = 0; row < w.rows; row++)
                    for (int64_t m = 0; m < outputs; m++) {
                        const int64_t at = m * w.stride + j / group * w.dilation;
                        if (exists(&w, at))
                            add(to, get(args.x, row * w.x_row + from + at * w.x_step) *
                                    get(args.g, row * g_row + m * g_step + c));
                    }
            }
    if (lanes) tiles->depthwise->weight_part(&args, rows, taps, lanes);
    else if (group > 1) tiles->depthwise->group_weight[group][taps](&args);
    else tiles->depthwise->weight[rows][taps](&args);
    compare(acc, want, n);
}

void check_depthwise(void) {
    const int64_t part = most(1, tiles->lanes - 1);
    for (int round = 0; round < 8; round++) {
        const int clips = round & 1, slides = round & 2;
        for (int64_t vectors = 1; vectors <= 2; vectors++)
            for (int64_t height = 1; height <= tiles->depthwise->tall[vectors]; height++) {
                if (!tiles->depthwise->forward[vectors][height]) continue;
                check_forward(vectors, height, 0, clips, slides);
                if (vectors == 1) check_forward(1, height, draw(1, part), clips, slides);
            }
        for (int64_t rows = 1; rows <= 3; rows++)
            for (int64_t taps = 1; taps <= CONVND_MAX_TAPS; taps++)
                if (tiles->depthwise->weight[rows][taps]) {
                    check_weight_gradient(rows, taps, 1, 0, clips, slides);
                    check_weight_gradient(rows, taps, 1, draw(1, part), clips, slides);
                }
        for (int64_t group = 2; group <= 8 && group < tiles->lanes; group *= 2)
            for (int64_t taps = 1; taps <= tiles->depthwise->group_taps[group]; taps++) {
                check_weight_gradient(1, taps, group, 0, clips, slides);
                check_weight_gradient(1, taps, group, group, clips, slides);
            }
    }
}
