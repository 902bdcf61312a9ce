/* Weight-gradient tiles: all heights of panels one and two vectors wide. */
#include "check.h"

static void check_tile(int64_t vectors, int64_t height, int full) {
    const int64_t panel = vectors * tiles->lanes, lanes = full ? panel : draw(1, panel - 1), n = height * panel;
    const int64_t x_step = draw(1, 9), x_row = draw(1, 3), g_step = lanes + draw(0, 3), longest = 12;
    int64_t segments[9];
    const int64_t n_segments = draw(0, 3);
    for (int64_t s = 0; s < n_segments; s++) {
        segments[3 * s] = s ? draw(0, 5) : 5;
        segments[3 * s + 1] = s ? draw(0, 7) : 7;
        segments[3 * s + 2] = s ? draw(0, longest) : longest;
    }
    begin("weight: %lld vectors, height %lld, %lld lanes", (long long)vectors, (long long)height, (long long)lanes);
    char *acc = numbers(n);
    const convnd_weight_args args = {
        .x = numbers(5 + (longest - 1) * x_step + (height - 1) * x_row + 1),
        .g = numbers(7 + (longest - 1) * g_step + lanes), .acc = acc, .x_step = x_step, .x_row = x_row,
        .g_step = g_step, .segments = segments, .n_segments = n_segments, .lanes = lanes};
    wanted *want = as_is(acc, n);
    for (int64_t m = 0; m < height; m++)
        for (int64_t f = 0; f < lanes; f++) {
            wanted *to = &want[m * panel + f];
            to->scale = 1;
            for (int64_t s = 0; s < n_segments; s++)
                for (int64_t p = 0; p < segments[3 * s + 2]; p++)
                    add(to, get(args.x, segments[3 * s] + p * x_step + m * x_row) *
                            get(args.g, segments[3 * s + 1] + p * g_step + f));
        }
    tiles->weight->plain[vectors][height](&args);
    compare(acc, want, n);
}

void check_weight(void) {
    for (int64_t vectors = 1; vectors <= 2; vectors++)
        for (int64_t height = 1; height <= tiles->height[vectors]; height++)
            for (int round = 0; round < 6; round++) check_tile(vectors, height, round & 1);
}
