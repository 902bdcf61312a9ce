/* Tiles that look at one position at a time. Included once for each element type.
 *
 * A sum has one product in each line, so that every copy of a loop contracts it to the same multiply-adds. */
#include "activation.h"

/* WHOLE for every full vector i ... of n numbers, then PART for what is left. */
#define EACH_VECTOR(n, WHOLE, PART) do { \
    int64_t i = 0; \
    for (; i + VL <= (n); i += VL) { WHOLE; } \
    if (i < (n)) { PART; } \
} while (0)

INLINE void NAME(put)(real *p, vec a, int64_t streams) {
    if (streams) stream(p, a);
    else store(p, a);
}

static void NAME(activate_all)(const char *x_, char *out_, int64_t n, int64_t kind) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
#define MAP(f) EACH_VECTOR(n, store(out + i, f(load(x + i), kind)), \
                           store_part(out + i, f(load_part(x + i, n - i), kind), n - i))
#define RELU(v, kind) choose((v) <= (vec){0}, (vec){0}, (v))
    if (kind == ACT_RELU) MAP(RELU); /* as fast as memory only if it's inline */
    else MAP(NAME(activate));
#undef RELU
#undef MAP
}

SLOW vec NAME(times_slope_slow)(vec y, vec g, int64_t kind) { return NAME(times_slope)(y, g, kind); }

static void NAME(activate_grad_all)(const char *y_, const char *g_, char *out_, int64_t n, int64_t kind) {
    const real *y = (const real *)y_, *g = (const real *)g_;
    real *out = (real *)out_;
#define MAP(f, k) EACH_VECTOR(n, store(out + i, f(load(y + i), load(g + i), k)), \
                              store_part(out + i, f(load_part(y + i, n - i), load_part(g + i, n - i), k), n - i))
    if (kind == ACT_RELU) MAP(NAME(times_slope), ACT_RELU);
    else MAP(NAME(times_slope_slow), kind);
#undef MAP
}

static void NAME(scale_shift)(const char *x_, const char *scale_, const char *shift_, char *out_, int64_t n,
                              int64_t width, int64_t kind, int64_t streams) {
    const real *x = (const real *)x_, *scale = (const real *)scale_, *shift = (const real *)shift_;
    real *out = (real *)out_;
#define ALL(kind) for (; n > 0; n -= width, x += width, out += width) { \
        const int64_t m = n < width ? n : width; \
        EACH_VECTOR(m, const vec v = load(x + i) * load(scale + i) + load(shift + i); \
                    NAME(put)(out + i, NAME(fused)(v, kind), streams), \
                    const vec v = load_part(x + i, m - i) * load_part(scale + i, m - i) + load_part(shift + i, m - i); \
                    store_part(out + i, NAME(fused)(v, kind), m - i)); \
    }
    EACH_FUSED(ALL, kind);
#undef ALL
}

INLINE vec NAME(norm_grad_vec)(vec g, vec x, vec scale, vec shift, vec b, vec c, const int64_t kind) {
    const vec v = x * scale + shift;
    const vec t = x * b + c;
    return NAME(fused_grad)(v, g, kind) * scale + t;
}

static void NAME(norm_grad)(const char *g_, const char *x_, const convnd_norm *norm, const char *b_, const char *c_,
                            char *out_, int64_t n, int64_t width, int64_t streams) {
    const real *g = (const real *)g_, *x = (const real *)x_, *b = (const real *)b_, *c = (const real *)c_;
    const real *scale = (const real *)norm->scale, *shift = (const real *)norm->shift;
    real *out = (real *)out_;
#define ALL(kind) for (; n > 0; n -= width, g += width, x += width, out += width) { \
        const int64_t m = n < width ? n : width; \
        EACH_VECTOR(m, \
            NAME(put)(out + i, NAME(norm_grad_vec)(load(g + i), load(x + i), load(scale + i), load(shift + i), \
                                                   load(b + i), load(c + i), kind), streams), \
            store_part(out + i, NAME(norm_grad_vec)(load_part(g + i, m - i), load_part(x + i, m - i), \
                       load_part(scale + i, m - i), load_part(shift + i, m - i), load_part(b + i, m - i), \
                       load_part(c + i, m - i), kind), m - i)); \
    }
    EACH_FUSED(ALL, norm->activation);
#undef ALL
}

/* Lanes in order, so that a sum is one chain. */
INLINE vec NAME(lane_sum)(vec a) {
    real sum = 0;
    for (int64_t i = 0; i < VL; i++) sum += a[i];
    return splat(sum);
}

/* The largest of a row. A NaN may be lost here, but never in the sum of the exponentials. */
INLINE vec NAME(row_largest)(const real *x, int64_t channels) {
    real top = -(real)__builtin_inf();
    vec most = splat(top);
    int64_t i = 0;
    for (; i + VL <= channels; i += VL) most = larger(load(x + i), most);
    for (int64_t k = 0; k < VL; k++) top = most[k] > top ? most[k] : top;
    for (; i < channels; i++) top = x[i] > top ? x[i] : top;
    return splat(top);
}

typedef enum { NAME(SOFTMAX), NAME(LOG_SOFTMAX), NAME(SOFTMAX_GRAD), NAME(LOG_SOFTMAX_GRAD) } NAME(over_channels);

/* What is summed over channels, and the result from that sum. Gradients take the output y as x:
 * y (g - sum of g y) and g - exp(y) sum of g. */
INLINE vec NAME(term)(const NAME(over_channels) what, vec x, vec g, vec largest) {
    if (what == NAME(SOFTMAX_GRAD)) return x * g;
    return what == NAME(LOG_SOFTMAX_GRAD) ? g : NAME(exp)(x - largest);
}
INLINE vec NAME(result)(const NAME(over_channels) what, vec x, vec g, vec largest, vec sum) {
    switch (what) {
    case NAME(SOFTMAX): return NAME(exp)(x - largest) / sum;
    case NAME(LOG_SOFTMAX): return (x - largest) - sum; /* here of the logarithm */
    case NAME(SOFTMAX_GRAD): return x * (g - sum);
    default: return g - NAME(exp)(x) * sum;
    }
}

/* At least a vector of channels: a lane is every so many-th channel. */
INLINE void NAME(rows_of_many)(const NAME(over_channels) what, const real *x, const real *g, real *out, int64_t rows,
                               int64_t channels) {
    const int grad = what == NAME(SOFTMAX_GRAD) || what == NAME(LOG_SOFTMAX_GRAD);
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    for (; rows > 0; rows--, x += channels, g += channels, out += channels) {
        const vec largest = grad ? (vec){0} : NAME(row_largest)(x, channels);
        vec sum = {0};
        for (int64_t i = 0; i < whole; i += VL) sum += NAME(term)(what, load(x + i), load(g + i), largest);
        if (rest) {
            vec t = NAME(term)(what, load_part(x + whole, rest), load_part(g + whole, rest), largest);
            for (int64_t k = rest; k < VL; k++) t[k] = 0; /* exp(0 - largest) isn't 0 */
            sum += t;
        }
        sum = NAME(lane_sum)(sum);
        if (what == NAME(LOG_SOFTMAX)) sum = NAME(log)(sum);
        for (int64_t i = 0; i < whole; i += VL)
            store(out + i, NAME(result)(what, load(x + i), load(g + i), largest, sum));
        if (rest)
            store_part(out + whole, NAME(result)(what, load_part(x + whole, rest), load_part(g + whole, rest), largest,
                                                 sum), rest);
    }
}

INLINE void NAME(transpose_in)(real *to, const real *from, int64_t rows, int64_t channels) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < channels; c++) to[c * VL + i] = from[i * channels + c];
}

/* Fewer channels than lanes: a lane is a position. */
INLINE void NAME(rows_of_few)(const NAME(over_channels) what, const real *x, const real *g, real *out, int64_t rows,
                              int64_t channels) {
    const int grad = what == NAME(SOFTMAX_GRAD) || what == NAME(LOG_SOFTMAX_GRAD);
    real a[VL * VL], b[VL * VL];
    for (int64_t i = 0; i < VL * VL; i++) a[i] = b[i] = 0;
    for (; rows > 0; rows -= VL, x += VL * channels, g += VL * channels, out += VL * channels) {
        const int64_t n = rows < VL ? rows : VL;
        NAME(transpose_in)(a, x, n, channels);
        if (grad) NAME(transpose_in)(b, g, n, channels);
        vec largest = splat(-(real)__builtin_inf()), sum = {0};
        if (!grad)
            for (int64_t c = 0; c < channels; c++) largest = larger(load(a + c * VL), largest);
        for (int64_t c = 0; c < channels; c++)
            sum += NAME(term)(what, load(a + c * VL), load(b + c * VL), largest);
        if (what == NAME(LOG_SOFTMAX)) sum = NAME(log)(sum);
        for (int64_t c = 0; c < channels; c++)
            store(a + c * VL, NAME(result)(what, load(a + c * VL), load(b + c * VL), largest, sum));
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < channels; c++) out[i * channels + c] = a[c * VL + i];
    }
}

#define OVER_CHANNELS(what) do { \
    if (channels < VL) NAME(rows_of_few)(what, (const real *)x, (const real *)g, (real *)out, rows, channels); \
    else NAME(rows_of_many)(what, (const real *)x, (const real *)g, (real *)out, rows, channels); \
} while (0)
static void NAME(softmax)(const char *x, char *out, int64_t rows, int64_t channels) {
    const char *g = x;
    OVER_CHANNELS(NAME(SOFTMAX));
}
static void NAME(log_softmax)(const char *x, char *out, int64_t rows, int64_t channels) {
    const char *g = x;
    OVER_CHANNELS(NAME(LOG_SOFTMAX));
}
static void NAME(softmax_grad)(const char *x, const char *g, char *out, int64_t rows, int64_t channels) {
    OVER_CHANNELS(NAME(SOFTMAX_GRAD));
}
/* Lanes of a row's last vector that aren't of it hold 0. */
INLINE vec NAME(only)(vec a, int64_t rest) {
    for (int64_t k = rest; k < VL; k++) a[k] = 0;
    return a;
}

/* The mean is taken off twice: as rounded, a large one would leave some of it. */
static void NAME(standard)(const char *x_, char *out_, char *inverse_, double eps, int64_t rows, int64_t channels) {
    const real *x = (const real *)x_;
    real *out = (real *)out_, *inverse = (real *)inverse_;
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    const vec count = splat((real)channels);
    for (; rows > 0; rows--, x += channels, out += channels, inverse++) {
        vec sum = {0}, square = {0};
        for (int64_t i = 0; i < whole; i += VL) sum += load(x + i);
        if (rest) sum += load_part(x + whole, rest);
        const vec mean = NAME(lane_sum)(sum) / count;
        sum = (vec){0};
        for (int64_t i = 0; i < whole; i += VL) {
            const vec d = load(x + i) - mean;
            sum += d;
            square += d * d;
        }
        if (rest) {
            const vec d = NAME(only)(load_part(x + whole, rest) - mean, rest);
            sum += d;
            square += d * d;
        }
        const vec off = NAME(lane_sum)(sum) / count, spread = NAME(lane_sum)(square) / count - off * off;
        *inverse = (real)(1 / __builtin_sqrt((double)spread[0] + eps));
        const vec by = splat(*inverse);
        for (int64_t i = 0; i < whole; i += VL) store(out + i, (load(x + i) - mean - off) * by);
        if (rest) store_part(out + whole, (load_part(x + whole, rest) - mean - off) * by, rest);
    }
}

/* inverse (h - mean(h) - y mean(h y)), h = g scale. */
static void NAME(standard_grad)(const char *y_, const char *g_, const char *scale_, const char *inverse_, char *out_,
                                int64_t rows, int64_t channels) {
    const real *y = (const real *)y_, *g = (const real *)g_, *scale = (const real *)scale_;
    const real *inverse = (const real *)inverse_;
    real *out = (real *)out_;
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    const vec count = splat((real)channels);
    for (; rows > 0; rows--, y += channels, g += channels, out += channels, inverse++) {
        vec sum = {0}, product = {0};
        for (int64_t i = 0; i < whole; i += VL) {
            const vec h = load(g + i) * load(scale + i);
            sum += h;
            product += h * load(y + i);
        }
        if (rest) { /* parts are filled with zeros */
            const vec h = load_part(g + whole, rest) * load_part(scale + whole, rest);
            sum += h;
            product += h * load_part(y + whole, rest);
        }
        sum = NAME(lane_sum)(sum) / count;
        product = NAME(lane_sum)(product) / count;
        const vec by = splat(*inverse);
#define BACK(LOAD) (((LOAD(g) * LOAD(scale)) - sum - LOAD(y) * product) * by)
#define WHOLE(p) load((p) + i)
#define PART(p) load_part((p) + whole, rest)
        for (int64_t i = 0; i < whole; i += VL) store(out + i, BACK(WHOLE));
        if (rest) store_part(out + whole, BACK(PART), rest);
#undef PART
#undef WHOLE
#undef BACK
    }
}

static void NAME(log_softmax_grad)(const char *x, const char *g, char *out, int64_t rows, int64_t channels) {
    OVER_CHANNELS(NAME(LOG_SOFTMAX_GRAD));
}
#undef OVER_CHANNELS

/* SplitMix64 (Steele, Lea, Flood 2014): draw number i of a stream is a function of (key, i) alone. */
static void NAME(dropout)(uint64_t key, uint64_t first, uint64_t threshold, double keep, char *out_, int64_t n) {
    real *out = (real *)out_;
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = key + (first + (uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        out[i] = z >= threshold ? (real)keep : 0;
    }
}
#undef EACH_VECTOR

/* Optimisers' steps. Plain loops: they are bound by memory, and the compiler has vector roots, which C has not. */
static void NAME(adam)(const convnd_adam *a, const char *g_, char *p_, char *m_, char *s_, int64_t n) {
    const real *g = (const real *)g_;
    real *restrict p = (real *)p_, *restrict m = (real *)m_, *restrict s = (real *)s_;
    const real first = (real)a->first, second = (real)a->second, rest = (real)(1 - a->first);
    const real rest_square = (real)(1 - a->second), rate = (real)a->rate, root = (real)a->root, eps = (real)a->eps;
    const real pull = (real)a->pull, shrink = (real)a->shrink;
    for (int64_t i = 0; i < n; i++) {
        const real t = g[i] + pull * p[i];
        m[i] = m[i] * first + rest * t;
        s[i] = s[i] * second + rest_square * (t * t);
        const real spread = sizeof(real) == 4 ? (real)__builtin_sqrtf((float)s[i]) : (real)__builtin_sqrt((double)s[i]);
        p[i] = (p[i] - shrink * p[i]) - rate * m[i] / (spread / root + eps);
    }
}

static void NAME(descent)(const convnd_descent *a, const char *g_, char *p_, char *v_, int64_t n) {
    const real *g = (const real *)g_;
    real *restrict p = (real *)p_, *restrict v = (real *)v_;
    const real rate = (real)a->rate, momentum = (real)a->momentum, pull = (real)a->pull;
    const real ahead = a->nesterov ? momentum : 0;
    if (!v) {
        for (int64_t i = 0; i < n; i++) p[i] -= rate * (g[i] + pull * p[i]);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const real t = g[i] + pull * p[i];
        v[i] = v[i] * momentum + t;
        p[i] -= rate * (a->nesterov ? t + ahead * v[i] : v[i]);
    }
}

const convnd_pointwise_tiles NAME(convnd_pointwise_tiles) = {
    .activate = NAME(activate_all), .activate_grad = NAME(activate_grad_all),
    .scale_shift = NAME(scale_shift), .norm_grad = NAME(norm_grad),
    .softmax = NAME(softmax), .log_softmax = NAME(log_softmax),
    .softmax_grad = NAME(softmax_grad), .log_softmax_grad = NAME(log_softmax_grad),
    .standard = NAME(standard), .standard_grad = NAME(standard_grad),
    .dropout = NAME(dropout), .adam = NAME(adam), .descent = NAME(descent),
};
