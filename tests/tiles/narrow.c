/* Convolution tiles for few filters: lanes along channels, along positions or over several groups. */
#include "check.h"

enum { RUN_AT = 5 };

/* A tile's arguments but for what it writes. `n_x` numbers follow a run's first. */
static convnd_conv_args arguments(int64_t filters, int64_t length, int64_t n_runs, int64_t *runs, int64_t n_x,
                                  int64_t n_w) {
    for (int64_t r = 0; r < n_runs; r++) {
        runs[2 * r] = r ? draw(0, RUN_AT) : RUN_AT;
        runs[2 * r + 1] = (n_runs - 1 - r) * length;
    }
    return (convnd_conv_args){.x = numbers(RUN_AT + n_x), .w = numbers(n_w), .start = numbers(filters), .runs = runs,
                              .n_runs = n_runs, .length = length, .lanes = filters,
                              .activation = draw(ACT_NONE, ACT_SOFTPLUS), .fresh = draw(0, 7), .ahead = draw(0, 1000)};
}

static void check_dot(int64_t filters, int64_t height) {
    const int64_t lanes = tiles->lanes, depth = lanes * draw(1, 2), length = depth * draw(1, 9), n_runs = draw(0, 3);
    const int64_t x_step = draw(0, 1) ? depth : draw(1, 2 * length);
    const int64_t n_tiles = draw(1, 3), rows = n_tiles * height;
    const int64_t out_step = filters + draw(0, 2), n = (rows - 1) * out_step + filters;
    int64_t runs[6];
    begin("narrow: dot, %lld filters, height %lld", (long long)filters, (long long)height);
    convnd_conv_args args = arguments(filters, length, n_runs, runs, (rows - 1) * x_step + length,
                                      n_runs * length * filters);
    args.x_step = x_step, args.out_step = out_step, args.tiles = n_tiles, args.depth = depth, args.out = numbers(n);
    wanted *want = as_is(args.out, n);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < filters; f++) {
            wanted *to = &want[m * out_step + f];
            *to = (wanted){0, 0};
            add(to, get(args.start, f));
            for (int64_t r = 0; r < n_runs; r++)
                for (int64_t k = 0; k < length; k++) {
                    const int64_t w = runs[2 * r + 1] * filters + (k / lanes * filters + f) * lanes + k % lanes;
                    add(to, get(args.x, m * x_step + runs[2 * r] + k) * get(args.w, w));
                }
            activate(to, args.activation);
        }
    tiles->narrow->dot[filters][height](&args);
    compare(args.out, want, n);
}

static void check_along(int64_t filters, int64_t height, int dense) {
    const int64_t lanes = tiles->lanes, length = draw(1, 9), n_runs = draw(0, 3), positions = height * lanes;
    const int64_t panel = filters > lanes ? 2 * lanes : lanes, out_step = filters + (dense ? 0 : draw(1, 3));
    const int64_t n = (positions - 1) * out_step + filters;
    int64_t runs[6];
    begin("narrow: along, %lld filters, height %lld", (long long)filters, (long long)height);
    convnd_conv_args args = arguments(filters, length, n_runs, runs, positions + length - 1, n_runs * length * panel);
    args.x_step = 1, args.out_step = out_step, args.out = numbers(n);
    wanted *want = as_is(args.out, n);
    for (int64_t p = 0; p < positions; p++)
        for (int64_t f = 0; f < filters; f++) {
            wanted *to = &want[p * out_step + f];
            *to = (wanted){0, 0};
            add(to, get(args.start, f));
            for (int64_t r = 0; r < n_runs; r++)
                for (int64_t k = 0; k < length; k++)
                    add(to, get(args.x, p + runs[2 * r] + k) * get(args.w, (runs[2 * r + 1] + k) * panel + f));
            activate(to, args.activation);
        }
    tiles->narrow->along[filters][height](&args);
    compare(args.out, want, n);
}

static void check_below(int64_t height) {
    const int64_t lanes = tiles->lanes, width = tiles->narrow->across * lanes, taps = draw(1, 5), groups = draw(0, 2);
    const int64_t length = draw(1, 5), pitch = draw(1, 9), out_step = width + draw(0, 3), n_runs = groups * taps;
    const int64_t n = (height - 1) * out_step + width;
    int64_t runs[20];
    begin("narrow: below, height %lld", (long long)height);
    for (int64_t r = 0; r < n_runs; r++) {
        runs[2 * r] = r / taps * 3 + r % taps * pitch;
        runs[2 * r + 1] = (n_runs - 1 - r) * length;
    }
    const convnd_conv_args args = {
        .x = numbers(3 + (height + taps) * pitch + width + length), .w = numbers(n_runs * length * lanes), .start = numbers(1),
        .out = numbers(n), .x_step = pitch, .out_step = out_step, .tiles = 1, .runs = runs, .n_runs = n_runs,
        .length = length, .depth = taps, .lanes = 1, .activation = draw(ACT_NONE, ACT_SOFTPLUS)};
    wanted *want = as_is(args.out, n);
    for (int64_t m = 0; m < height; m++)
        for (int64_t p = 0; p < width; p++) {
            wanted *to = &want[m * out_step + p];
            *to = (wanted){0, 0};
            add(to, get(args.start, 0));
            for (int64_t r = 0; r < n_runs; r++)
                for (int64_t k = 0; k < length; k++)
                    add(to, get(args.x, m * pitch + runs[2 * r] + p + k) * get(args.w, (runs[2 * r + 1] + k) * lanes));
            activate(to, args.activation);
        }
    tiles->narrow->below[height](&args);
    compare(args.out, want, n);
}

static void check_group(int64_t group, int64_t height, int full, int streams) {
    const int64_t n_tiles = draw(1, 3), rows = n_tiles * height;
    const int64_t panel = 2 * tiles->lanes, lanes = full ? panel : draw(1, panel / group) * group, n_runs = draw(0, 3);
    const int64_t x_step = draw(1, 2 * panel), out_step = lanes + (streams ? 0 : draw(0, 2));
    const int64_t n = (rows - 1) * out_step + lanes;
    int64_t runs[6];
    begin("narrow: groups of %lld, height %lld", (long long)group, (long long)height);
    convnd_conv_args args = arguments(panel, group, n_runs, runs, (rows - 1) * x_step + lanes, n_runs * group * panel);
    args.x_step = x_step, args.out_step = out_step, args.lanes = lanes, args.depth = group, args.out = numbers(n);
    args.tiles = n_tiles, args.streams = streams;
    wanted *want = as_is(args.out, n);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f++) {
            wanted *to = &want[m * out_step + f];
            *to = (wanted){0, 0};
            add(to, get(args.start, f));
            for (int64_t r = 0; r < n_runs; r++)
                for (int64_t k = 0; k < group; k++)
                    add(to, get(args.x, m * x_step + runs[2 * r] + f / group * group + k) *
                                get(args.w, (runs[2 * r + 1] + k) * panel + f));
            activate(to, args.activation);
        }
    tiles->narrow->group[group][height](&args);
    compare(args.out, want, n);
}

void check_narrow(void) {
    for (int64_t filters = 1; filters <= 4; filters++)
        for (int64_t height = 1; height <= tiles->narrow->height[filters]; height++)
            for (int round = 0; round < (filters == 1 ? 16 : 4); round++) {
                check_dot(filters, height);
                check_along(filters, height, round & 1);
            }
    for (int64_t height = 1; height <= CONVND_MAX_BELOW; height++)
        for (int round = 0; round < 16; round++) check_below(height);
    for (int64_t group = 2; group <= least(8, tiles->lanes / 2); group *= 2)
        for (int64_t height = 1; height <= tiles->height[2]; height++)
            for (int round = 0; round < 4; round++) check_group(group, height, round & 1, round == 3);
}
