/* Weight-gradient tiles: all heights of panels one, two and, where there are such, four vectors wide and of one filter; copies and sums. */
#include "check.h"

enum { LONGEST = 37, X_AT = 5, G_AT = 7 };

/* `vectors` 0: one filter, lanes are positions. Rows lie side by side or `anywhere`. */
static void check_tile(int64_t vectors, int64_t height, int full, int anywhere) {
    const int64_t panel = vectors ? vectors * tiles->lanes : 1, lanes = full ? panel : draw(1, panel);
    const int64_t x_step = vectors ? draw(1, 9) : 1, g_step = vectors ? panel + draw(0, 3) : 1, span = 20;
    const int64_t acc_step = lanes + draw(0, 3), n = (height - 1) * acc_step + lanes, n_segments = draw(0, 3);
    int64_t segments[9], rows[CONVND_MAX_HEIGHT];
    for (int64_t s = 0; s < n_segments; s++) {
        segments[3 * s] = s ? draw(0, X_AT) : X_AT;
        segments[3 * s + 1] = s ? draw(0, G_AT) : G_AT;
        segments[3 * s + 2] = s ? draw(0, LONGEST) : LONGEST;
    }
    for (int64_t m = 0; m < height; m++) rows[m] = anywhere ? draw(0, span) : m;
    begin("weight: %lld vectors, height %lld, %lld lanes, rows %s", (long long)vectors, (long long)height,
          (long long)lanes, anywhere ? "anywhere" : "side by side");
    char *acc = numbers(n);
    const convnd_weight_args args = {
        .x = numbers(X_AT + (LONGEST - 1) * x_step + (anywhere ? span : height - 1) + 1),
        .g = numbers(G_AT + (LONGEST - 1) * g_step + panel), .acc = acc, .x_step = x_step, .g_step = g_step,
        .acc_step = acc_step, .rows = anywhere ? rows : NULL, .segments = segments, .n_segments = n_segments,
        .lanes = lanes, .fresh = draw(0, 1), .ask = acc, .ask_step = 64 * draw(0, 1)};
    wanted *want = as_is(acc, n);
    for (int64_t m = 0; m < height; m++)
        for (int64_t f = 0; f < lanes; f++) {
            wanted *to = &want[m * acc_step + f];
            if (args.fresh) to->value = 0;
            to->scale = 1;
            for (int64_t s = 0; s < n_segments; s++)
                for (int64_t p = 0; p < segments[3 * s + 2]; p++)
                    add(to, get(args.x, segments[3 * s] + p * x_step + rows[m]) *
                            get(args.g, segments[3 * s + 1] + p * g_step + f));
        }
    (anywhere ? tiles->weight->rows : tiles->weight->plain)[vectors][height](&args);
    compare(acc, want, n);
}

static void check_copy(int64_t width) {
    const int64_t rows = draw(0, 4), from_step = width + draw(0, 1) * draw(0, 9);
    const int64_t to_step = width + draw(0, 1) * draw(0, 9), n = rows ? (rows - 1) * to_step + width : 0;
    begin("weight: copy, %lld rows of %lld", (long long)rows, (long long)width);
    const char *from = numbers(rows ? (rows - 1) * from_step + width : 0);
    char *to = numbers(n);
    wanted *want = as_is(to, n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++) want[r * to_step + i].value = get(from, r * from_step + i);
    tiles->weight->copy(to, to_step, from, from_step, rows, width);
    compare(to, want, n);
}

static void check_add(int64_t n) {
    begin("weight: add, %lld numbers", (long long)n);
    char *sum = numbers(n);
    const char *more = numbers(n);
    wanted *want = as_is(sum, n);
    for (int64_t i = 0; i < n; i++) {
        want[i].scale = 1;
        add(&want[i], get(more, i));
    }
    tiles->weight->add(sum, more, n);
    compare(sum, want, n);
}

void check_weight(void) {
    for (int round = 0; round < 6; round++) {
        for (int64_t vectors = 1; vectors <= CONVND_MAX_VECTORS; vectors++)
            for (int64_t height = 1; height <= tiles->weight->height[vectors]; height++) {
                check_tile(vectors, height, round & 1, 0);
                check_tile(vectors, height, round & 1, 1);
            }
        for (int64_t height = 1; height <= tiles->weight->height[0]; height++) check_tile(0, height, 1, 1);
        for (int64_t width = 1; width <= 9 * tiles->lanes; width++) check_copy(width);
        for (int64_t n = 0; n < 40; n++) check_add(n);
    }
}
