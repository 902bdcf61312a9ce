/* Elementwise tiles, and those over the channels of a position. */
#include "check.h"

#include <math.h>

/* Numbers of every magnitude, and those that aren't numbers. */
static char *wide_numbers(int64_t n) {
    const double special[] = {INFINITY, -INFINITY, NAN, 0, 100, -100, 1e30, -1e30};
    char *x = numbers(n);
    for (int64_t i = 0; i < n; i++) {
        put(x, i, get(x, i) * pow(10, (double)draw(-6, 2)));
        if (draw(0, 9) == 0) put(x, i, special[draw(0, 7)]);
    }
    return x;
}

static wanted result(double value, double scale) { return (wanted){value, fmax(fabs(value), scale)}; }

static void check_activate(int64_t kind, int64_t n) {
    begin("pointwise: activation %lld of %lld numbers", (long long)kind, (long long)n);
    char *x = wide_numbers(n), *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) want[i] = result(activated(get(x, i), kind), 0);
    tiles->pointwise->activate(x, out, n, kind);
    compare(out, want, n);
}

static void check_activate_grad(int64_t kind, int64_t n) {
    begin("pointwise: gradient of activation %lld of %lld numbers", (long long)kind, (long long)n);
    char *y = numbers(n), *g = numbers(n), *out = numbers(n);
    for (int64_t i = 0; i < n; i++) put(y, i, get(y, i) * (kind > ACT_ELU ? 10 : 1));
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) want[i] = result(get(g, i) * slope(get(y, i), kind), fabs(get(g, i)));
    tiles->pointwise->activate_grad(y, g, out, n, kind);
    compare(out, want, n);
}

static void check_scale_shift(int64_t width, int64_t n, int64_t kind) {
    begin("pointwise: scale and shift, %lld numbers by %lld, activation %lld", (long long)n, (long long)width,
          (long long)kind);
    char *x = numbers(n), *scale = numbers(width), *shift = numbers(width), *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) {
        want[i] = (wanted){0, 0};
        add(&want[i], get(x, i) * get(scale, i % width));
        add(&want[i], get(shift, i % width));
        activate(&want[i], kind);
    }
    tiles->pointwise->scale_shift(x, scale, shift, out, n, width, kind, (n | width) % tiles->lanes == 0);
    compare(out, want, n);
}

static void check_norm_grad(int64_t width, int64_t n, int64_t kind) {
    begin("pointwise: gradient of a normalisation, %lld numbers by %lld, activation %lld", (long long)n,
          (long long)width, (long long)kind);
    char *g = numbers(n), *x = numbers(n), *b = numbers(width), *c = numbers(width), *out = numbers(n);
    const convnd_norm norm = {.scale = numbers(width), .shift = numbers(width), .activation = kind};
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = i % width;
        const double y = activated(get(x, i) * get(norm.scale, k) + get(norm.shift, k), kind);
        const double term = get(g, i) * get(norm.scale, k);
        want[i] = (wanted){term * slope(y, kind), fabs(term)};
        add(&want[i], get(x, i) * get(b, k));
        add(&want[i], get(c, k));
    }
    tiles->pointwise->norm_grad(g, x, &norm, b, c, out, n, width, (n | width) % tiles->lanes == 0);
    compare(out, want, n);
}

/* y, and g against it, of one row: sums of g y and of g, with what their magnitudes add up to. */
static void row_sums(const char *y, const char *g, int64_t first, int64_t channels, wanted *gy, wanted *only_g) {
    *gy = *only_g = (wanted){0, 0};
    for (int64_t i = first; i < first + channels; i++) {
        add(gy, get(g, i) * get(y, i));
        add(only_g, get(g, i));
    }
}

static void check_softmax(int64_t rows, int64_t channels) {
    const int64_t n = rows * channels;
    begin("pointwise: softmax, %lld rows of %lld channels", (long long)rows, (long long)channels);
    char *x = numbers(n), *soft = numbers(n), *logarithm = numbers(n);
    for (int64_t i = 0; i < n; i++) put(x, i, 10 * get(x, i));
    wanted *of_soft = as_is(soft, n), *of_logarithm = as_is(logarithm, n);
    for (int64_t first = 0; first < n; first += channels) {
        double largest = -INFINITY, sum = 0;
        for (int64_t i = first; i < first + channels; i++) largest = fmax(largest, get(x, i));
        for (int64_t i = first; i < first + channels; i++) sum += exp(get(x, i) - largest);
        for (int64_t i = first; i < first + channels; i++) {
            const double d = get(x, i) - largest, y = exp(d) / sum;
            of_soft[i] = (wanted){y, y * (1 - d)}; /* its argument is rounded */
            of_logarithm[i] = (wanted){d - log(sum), 1 - d};
        }
    }
    tiles->pointwise->softmax(x, soft, rows, channels);
    tiles->pointwise->log_softmax(x, logarithm, rows, channels);
    compare(soft, of_soft, n);
    compare(logarithm, of_logarithm, n);
}

static void check_standard(int64_t rows, int64_t channels) {
    const int64_t n = rows * channels;
    const double eps = 1e-3;
    begin("pointwise: standardise, %lld rows of %lld channels", (long long)rows, (long long)channels);
    char *x = numbers(n), *out = numbers(n), *scaled = numbers(n), *back = numbers(n);
    char *g = numbers(n), *scale = numbers(channels), *shift = numbers(channels);
    wanted *want = as_is(out, n), *of_scaled = as_is(scaled, n), *grad = as_is(back, n);
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, square = 0, sum = 0, product = 0;
        for (int64_t c = 0; c < channels; c++) mean += get(x, r * channels + c) / (double)channels;
        for (int64_t c = 0; c < channels; c++) {
            const double d = get(x, r * channels + c) - mean;
            square += d * d / (double)channels;
        }
        const double by = 1 / sqrt(square + eps);
        for (int64_t c = 0; c < channels; c++) {
            const double y = (get(x, r * channels + c) - mean) * by, h = get(g, r * channels + c) * get(scale, c);
            want[r * channels + c] = (wanted){y, 8 * by + fabs(y)};
            of_scaled[r * channels + c] = (wanted){0, (8 * by + fabs(y)) * fabs(get(scale, c))};
            add(&of_scaled[r * channels + c], y * get(scale, c));
            add(&of_scaled[r * channels + c], get(shift, c));
            sum += h / (double)channels;
            product += h * y / (double)channels;
        }
        for (int64_t c = 0; c < channels; c++) {
            const double y = want[r * channels + c].value, h = get(g, r * channels + c) * get(scale, c);
            grad[r * channels + c] = (wanted){by * (h - sum - y * product), by * 40 * (1 + fabs(y)) * (1 + fabs(h))};
        }
    }
    const int64_t streams = channels % tiles->lanes == 0;
    tiles->pointwise->standard(x, NULL, NULL, out, eps, rows, channels, streams);
    tiles->pointwise->standard(x, scale, shift, scaled, eps, rows, channels, streams);
    tiles->pointwise->standard_grad(x, g, scale, back, eps, rows, channels, streams);
    compare(out, want, n);
    compare(scaled, of_scaled, n);
    compare(back, grad, n);
}

static void check_leaky(int64_t width, int64_t n) {
    begin("pointwise: leaky, %lld numbers by %lld", (long long)n, (long long)width);
    char *x = wide_numbers(n), *g = numbers(n), *slope = numbers(width), *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) want[i] = result(get(g, i) * (get(x, i) > 0 ? 1 : get(slope, i % width)), 0);
    tiles->pointwise->leaky(x, g, slope, out, n, width);
    compare(out, want, n);
}

static void check_centred(int64_t width, int64_t n, int with_g) {
    begin("pointwise: centred%s, %lld numbers by %lld", with_g ? " and g" : "", (long long)n, (long long)width);
    char *x = numbers(n), *near = numbers(width), *scale = numbers(width), *b = numbers(width), *c = numbers(width);
    char *g = with_g ? numbers(n) : NULL, *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = i % width;
        want[i] = (wanted){0, 0};
        add(&want[i], get(x, i) * get(b, k));
        add(&want[i], -get(near, k) * get(b, k));
        add(&want[i], get(c, k));
        if (with_g) add(&want[i], get(g, i) * get(scale, k));
    }
    tiles->pointwise->centred(g, x, near, scale, b, c, out, n, width, (n | width) % tiles->lanes == 0);
    compare(out, want, n);
}

static void check_softmax_grad(int64_t rows, int64_t channels) {
    const int64_t n = rows * channels;
    begin("pointwise: gradients of softmax, %lld rows of %lld channels", (long long)rows, (long long)channels);
    char *y = numbers(n), *g = numbers(n), *soft = numbers(n), *logarithm = numbers(n);
    for (int64_t i = 0; i < n; i++) put(y, i, -fabs(get(y, i))); /* as a logarithm's; the other takes any */
    wanted *of_soft = as_is(soft, n), *of_logarithm = as_is(logarithm, n), gy, only_g;
    for (int64_t i = 0; i < n; i++) {
        row_sums(y, g, i / channels * channels, channels, &gy, &only_g);
        const double p = get(y, i), q = get(g, i);
        of_soft[i] = (wanted){p * (q - gy.value), fabs(p) * (fabs(q) + gy.scale)};
        of_logarithm[i] = (wanted){q - exp(p) * only_g.value, fabs(q) + exp(p) * only_g.scale};
    }
    tiles->pointwise->softmax_grad(y, g, soft, rows, channels);
    tiles->pointwise->log_softmax_grad(y, g, logarithm, rows, channels);
    compare(soft, of_soft, n);
    compare(logarithm, of_logarithm, n);
}

static void check_dropout(int64_t n) {
    const uint64_t key = (uint64_t)draw(0, INT64_MAX - 1), first = (uint64_t)draw(0, 1000), threshold = UINT64_MAX / 3;
    begin("pointwise: dropout of %lld numbers", (long long)n);
    char *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = key + (first + (uint64_t)i + 1) * 0x9E3779B97F4A7C15u; /* SplitMix64 */
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        want[i] = (wanted){(z ^ (z >> 31)) >= threshold ? 1.5 : 0, 0};
    }
    tiles->pointwise->dropout(key, first, threshold, 1.5, out, n);
    compare(out, want, n);
}

void check_pointwise(void) {
    for (int64_t n = 0; n <= 4 * tiles->lanes + 1; n++) {
        for (int64_t kind = ACT_NONE; kind <= ACT_ABSOLUTE; kind++) {
            check_activate(kind, n);
            check_activate_grad(kind, n);
        }
        check_dropout(n);
    }
    for (int64_t kind = ACT_RELU; kind <= ACT_ABSOLUTE; kind++) check_activate(kind, 5000);
    for (int64_t width = 1; width <= 3 * tiles->lanes + 1; width++) {
        for (int64_t kind = ACT_NONE; kind <= ACT_ELU; kind++) {
            check_scale_shift(width, width * draw(0, 4) + draw(0, width - 1), kind);
            check_norm_grad(width, width * draw(0, 4) + draw(0, width - 1), kind);
        }
        check_leaky(width, width * draw(0, 4) + draw(0, width - 1));
        for (int with_g = 0; with_g < 2; with_g++)
            check_centred(width, width * draw(0, 4) + draw(0, width - 1), with_g);
        for (int64_t rows = 1; rows <= 2 * tiles->lanes + 1; rows += draw(1, 4)) {
            check_softmax(rows, width);
            check_softmax_grad(rows, width);
            check_standard(rows, width);
        }
    }
}
