/* Sums over rows and moments of them, column by column. */
#include "check.h"

#include <math.h>

typedef enum { SUM, SQUARE, DEVIATION, PRODUCT } kind;

/* The activation is that of a normalisation, whose slope multiplies g; without one it has no vectors either. */
static void check_sums(kind what, int64_t width, int64_t activation) {
    const int64_t rows = draw(0, 9) ? draw(1, 40) : 0, step = width + draw(0, 3), n = rows ? (rows - 1) * step + width : 0;
    begin("segment: kind %d, %lld rows of %lld columns", what, (long long)rows, (long long)width);
    char *x = numbers(n), *g = numbers(n), *mean = numbers(width), *sum = numbers(width), *second = numbers(width);
    const int pairs = what == DEVIATION || what == PRODUCT;
    const convnd_norm none = {.activation = ACT_NONE};
    const convnd_norm norm = activation ? (convnd_norm){numbers(width), numbers(width), activation} : none;
    wanted *of_sum = as_is(sum, width), *of_second = as_is(second, width);
    for (int64_t c = 0; c < width; c++) {
        of_sum[c] = (wanted){0, 0};
        if (pairs) of_second[c] = (wanted){0, 0};
        for (int64_t r = 0; r < rows; r++) {
            const double t = get(x, r * step + c), d = t - get(mean, c), full = get(g, r * step + c);
            const double y = activation ? activated(t * get(norm.scale, c) + get(norm.shift, c), activation) : 0;
            const double s = full * slope(y, activation);
            add(&of_sum[c], what == SUM ? t : what == SQUARE ? t * t : what == DEVIATION ? d : s);
            if (pairs) add(&of_second[c], what == DEVIATION ? d * d : s * d);
            if (what == PRODUCT) {
                of_sum[c].scale += fabs(full);
                of_second[c].scale += fabs(full * d);
            }
        }
    }
    if (what == SUM) tiles->segment->sum(x, sum, rows, step, width);
    else if (what == SQUARE) tiles->segment->square(x, sum, rows, step, width);
    else if (what == DEVIATION) tiles->segment->deviation(x, mean, sum, second, rows, step, width);
    else tiles->segment->product(g, x, mean, &norm, sum, second, rows, step, width);
    compare(sum, of_sum, width);
    compare(second, of_second, width);
}

/* Rows that are counted in, and go to where nothing is read soon. */
static void check_count(int64_t width) {
    const int64_t rows = draw(1, 40), step = width + draw(0, 3), n = (rows - 1) * step + width;
    const int64_t n_to = rows * width;
    begin("segment: count, %lld rows of %lld columns", (long long)rows, (long long)width);
    moments m = draw_moments(width);
    char *x = numbers(n), *to = width % tiles->lanes == 0 && draw(0, 1) ? numbers(n_to) : NULL;
    const convnd_count_args args = {.x = x, .to = to, .moments = m.have, .x_step = step, .to_step = width, .rows = rows,
                                    .lanes = width, .counted = m.counted};
    wanted *copied = to ? as_is(to, n_to) : NULL;
    double values[40 * (9 * 64 + 1)];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
            values[r * width + c] = get(x, r * step + c);
            if (to) copied[r * width + c] = (wanted){get(x, r * step + c), 0};
        }
    tiles->segment->count(&args);
    compare_moments(&m, rows, values);
    if (to) compare(to, copied, n_to);
}

void check_segment(void) {
    for (int64_t width = 1; width <= 9 * tiles->lanes + 1; width++) {
        for (kind what = SUM; what <= PRODUCT; what++) check_sums(what, width, ACT_NONE);
        for (int i = 0; i < 3; i++) check_count(width);
        for (int64_t activation = ACT_RELU; activation <= ACT_ELU; activation++) check_sums(PRODUCT, width, activation);
    }
}
