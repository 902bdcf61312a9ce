/* Tiles that move channels and rows, join and multiply them. */
#include "check.h"

#include <math.h>

/* Channels taken by number: `shape` 0 next to each other, 1 anywhere, 2 in runs of both, with zeros; below 0 all, as a
 * matrix of so many columns that is transposed. */
static void check_take(int64_t channels, int64_t width, int shape) {
    const int64_t rows = draw(1, 70), x_step = channels + draw(0, 1) * draw(1, 2 * tiles->lanes), out_step = width + draw(0, 2);
    const int64_t n = (rows - 1) * out_step + width;
    begin("moves: take %lld of %lld channels, way %d", (long long)width, (long long)channels, shape);
    char *x = numbers((rows - 1) * x_step + channels), *out = numbers(n);
    int64_t *index = (int64_t *)guarded(width * (int64_t)sizeof(int64_t)), n_runs = 0;
    convnd_run runs[3];
    if (shape == 0) {
        runs[n_runs++] = (convnd_run){0, draw(0, channels - width), width};
        for (int64_t j = 0; j < width; j++) index[j] = runs[0].from + j;
    } else if (shape < 0) {
        const int64_t apart = -shape, groups = channels / apart;
        runs[n_runs++] = (convnd_run){0, RUN_PICK, width};
        for (int64_t j = 0; j < width; j++) index[j] = j % groups * apart + j / groups;
        if (draw(0, 5) == 0) index[draw(0, width - 1)] = draw(0, channels - 1); /* nearly */
    } else if (shape == 1) {
        runs[n_runs++] = (convnd_run){0, RUN_PICK, width};
        for (int64_t j = 0; j < width; j++) index[j] = draw(0, channels - 1);
    } else {
        const int64_t a = draw(0, width), b = draw(a, width);
        if (a) runs[n_runs++] = (convnd_run){0, RUN_ZEROS, a};
        if (b > a) runs[n_runs++] = (convnd_run){a, RUN_PICK, b - a};
        if (width > b) runs[n_runs++] = (convnd_run){b, 0, least(width - b, channels)};
        for (int64_t j = 0; j < width; j++) index[j] = j < a ? -1 : j < b ? draw(0, channels - 1) : j - b;
        if (width - b > channels) return;
    }
    wanted *want = as_is(out, n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < width; j++)
            want[r * out_step + j] = (wanted){index[j] < 0 ? 0 : get(x, r * x_step + index[j]), 0};
    tiles->moves->take(x, x_step, channels, out, out_step, rows, runs, n_runs, index, 0);
    compare(out, want, n);
}

static void check_pairs(int64_t n) {
    begin("moves: sums and products of %lld numbers", (long long)n);
    char *x = numbers(n), *y = numbers(n), *sum = numbers(n), *product = numbers(n);
    wanted *of_sum = as_is(sum, n), *of_product = as_is(product, n);
    const int64_t streams = n % tiles->lanes == 0;
    for (int64_t i = 0; i < n; i++) {
        of_sum[i] = of_product[i] = (wanted){0, 0};
        add(&of_sum[i], get(x, i));
        add(&of_sum[i], get(y, i));
        add(&of_product[i], get(x, i) * get(y, i));
    }
    tiles->moves->add(x, y, sum, n, streams);
    tiles->moves->multiply(x, y, product, n, streams);
    compare(sum, of_sum, n);
    compare(product, of_product, n);
}

static void check_rows(int64_t channels) {
    const int64_t rows = draw(1, 9), n = rows * channels;
    begin("moves: %lld rows of %lld channels", (long long)rows, (long long)channels);
    char *x = numbers(n), *factor = numbers(rows), *out = numbers(n), *sum = numbers(channels);
    wanted *want = as_is(out, n), *total = as_is(sum, channels);
    for (int64_t c = 0; c < channels; c++) total[c] = (wanted){0, 0};
    for (int64_t i = 0; i < n; i++) {
        want[i] = (wanted){0, 0};
        add(&want[i], get(x, i) * get(factor, i / channels));
        add(&total[i % channels], get(x, i));
    }
    tiles->moves->multiply_rows(x, factor, out, rows, channels, channels % tiles->lanes == 0);
    tiles->moves->sum(x, channels, rows, sum, channels);
    compare(out, want, n);
    compare(sum, total, channels);
}

static void check_keep(int64_t width) {
    const int64_t n = width * draw(0, 3) + draw(1, width), size = tiles->itemsize;
    begin("moves: keep some of %lld numbers by %lld", (long long)n, (long long)width);
    char *x = numbers(n), *kept = guarded(width * size), *out = numbers(n);
    for (int64_t i = 0; i < width; i++) {
        const int bits = draw(0, 1) ? 0xFF : 0;
        for (int64_t k = 0; k < size; k++) kept[i * size + k] = (char)bits;
    }
    for (int64_t i = 0; i < n; i++) if (draw(0, 9) == 0) put(x, i, NAN);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) want[i] = (wanted){kept[i % width * size] ? get(x, i) : 0, 0};
    tiles->moves->keep(x, kept, out, n, width);
    compare(out, want, n);
}

static void check_maxout(int64_t groups, int64_t pieces) {
    const int64_t n = groups * pieces;
    begin("moves: maxout of %lld groups of %lld", (long long)groups, (long long)pieces);
    char *x = numbers(n), *g = numbers(groups), *out = numbers(groups), *back = numbers(n);
    for (int64_t i = 0; i < n; i++) {
        if (i && draw(0, 2) == 0) put(x, i, get(x, i - 1)); /* equal ones */
        if (draw(0, 7) == 0) put(x, i, draw(0, 1) ? NAN : -0.0);
    }
    wanted *want = as_is(out, groups), *grad = as_is(back, n);
    for (int64_t k = 0; k < groups; k++) {
        int64_t at = 0;
        for (int64_t j = pieces - 1; j >= 0; j--) { /* the first NaN, else the first of the largest */
            const double v = get(x, k * pieces + j), most = get(x, k * pieces + at);
            if (j == pieces - 1 || isnan(v) || (!isnan(most) && v >= most)) at = j;
        }
        want[k] = (wanted){get(x, k * pieces + at) + 0.0, 0};
        for (int64_t j = 0; j < pieces; j++) grad[k * pieces + j] = (wanted){j == at ? get(g, k) : 0, 0};
    }
    tiles->moves->maxout(x, out, groups, pieces);
    tiles->moves->maxout_grad(x, g, back, groups, pieces);
    compare(out, want, groups);
    compare(back, grad, n);
}

static void check_turn(void) {
    const int64_t rows = draw(1, 70), columns = draw(1, 20), x_step = columns + draw(0, 5), out_step = rows + draw(0, 5);
    const int64_t n = (columns - 1) * out_step + rows;
    begin("moves: %lld rows of %lld numbers turned", (long long)rows, (long long)columns);
    char *x = numbers((rows - 1) * x_step + columns), *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) want[c * out_step + r] = (wanted){get(x, r * x_step + c), 0};
    tiles->moves->turn(x, x_step, out, out_step, rows, columns);
    compare(out, want, n);
}

void check_moves(void) {
    for (int i = 0; i < 100; i++) check_turn();
    for (int64_t apart = 1; apart <= 16; apart++)
        for (int64_t groups = 1; groups <= 16; groups++) check_take(apart * groups, apart * groups, (int)-apart);
    for (int64_t n = 1; n <= 4 * tiles->lanes + 1; n++) {
        check_pairs(n);
        check_rows(n);
        check_keep(n);
        for (int shape = 0; shape < 3; shape++) check_take(n, draw(1, n), shape);
        for (int64_t pieces = 1; pieces <= 5; pieces++) check_maxout(n, pieces);
    }
    for (int64_t vectors = 1; vectors <= 9; vectors++) /* whole vectors, which some picks take otherwise */
        for (int64_t of = 1; of <= vectors; of++)
            for (int shape = 0; shape < 3; shape++) check_take(vectors * tiles->lanes, of * tiles->lanes, shape);
}
