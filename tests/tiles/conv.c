/* Convolution tiles: all heights of panels one, two and, where there are such, four vectors wide. */
#include "check.h"

static void check_tile(int64_t vectors, int64_t height, int full, int starts, int streams) {
    const int64_t panel = vectors * tiles->lanes, lanes = full ? panel : draw(1, panel - 1);
    const int64_t n_runs = draw(0, 3), length = draw(1, 9), x_step = draw(0, 1) ? 1 : draw(2, 12);
    const int64_t n_tiles = draw(1, 3), rows = n_tiles * height;
    const int64_t out_step = lanes + (streams ? 0 : draw(0, 3)); /* whole vectors that end at a page are aligned */
    const int64_t n = (rows - 1) * out_step + lanes, kind = draw(ACT_NONE, ACT_SOFTPLUS);
    int64_t runs[6];
    for (int64_t r = 0; r < n_runs; r++) {
        runs[2 * r] = draw(0, 5);
        runs[2 * r + 1] = (n_runs - 1 - r) * length;
    }
    if (n_runs) runs[0] = 5;
    begin("conv: %lld vectors, height %lld, %lld lanes", (long long)vectors, (long long)height, (long long)lanes);
    char *out = numbers(n);
    const convnd_conv_args args = {
        .x = numbers((rows - 1) * x_step + 5 + length), .w = numbers(n_runs * length * panel),
        .start = starts ? numbers(panel) : NULL, .out = out, .x_step = x_step, .out_step = out_step, .tiles = n_tiles,
        .runs = runs, .n_runs = n_runs, .length = length, .lanes = lanes, .activation = kind,
        .streams = streams, .fresh = draw(0, 7), .ahead = draw(0, 1000)};
    wanted *want = as_is(out, n);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f++) {
            wanted *to = &want[m * out_step + f];
            const double first = starts ? get(args.start, f) : to->value;
            *to = (wanted){0, 0};
            add(to, first);
            for (int64_t r = 0; r < n_runs; r++)
                for (int64_t k = 0; k < length; k++)
                    add(to, get(args.x, m * x_step + runs[2 * r] + k) * get(args.w, (runs[2 * r + 1] + k) * panel + f));
            activate(to, kind);
        }
    tiles->conv->plain[vectors][height](&args);
    compare(out, want, n);
}

void check_conv(void) {
    for (int64_t vectors = 1; vectors <= CONVND_MAX_VECTORS; vectors++)
        for (int64_t height = 1; height <= CONVND_MAX_HEIGHT; height++) {
            require((tiles->conv->plain[vectors][height] != NULL) == (height <= tiles->height[vectors]),
                    "conv: there is a tile for each height up to the tallest");
            if (!tiles->conv->plain[vectors][height]) continue;
            for (int round = 0; round < 8; round++) check_tile(vectors, height, round & 1, round & 2, round == 3);
        }
}
