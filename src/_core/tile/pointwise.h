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

/* out = F(vectors a and b of x and g) for n numbers, several vectors at a time, since each is a long chain of operations.
 * Where fewer numbers are left they are copied to where there is room, so that there is one copy of F. */
#define AT_ONCE 4
#define EACH_ELEMENT(F) do { \
    for (int64_t i = 0; i < n; i += AT_ONCE * VL) { \
        real rest[3][AT_ONCE * VL]; \
        const real *from = x + i, *by = g + i; \
        real *to = out + i; \
        const int64_t left = n - i; \
        if (left < AT_ONCE * VL) { \
            memset(rest, 0, sizeof(rest)); \
            memcpy(rest[0], from, (size_t)left * sizeof(real)); \
            memcpy(rest[1], by, (size_t)left * sizeof(real)); \
            from = rest[0], by = rest[1], to = rest[2]; \
        } \
        vec done[AT_ONCE]; \
        UNROLL for (int v = 0; v < AT_ONCE; v++) { \
            const vec a = load(from + v * VL), b = load(by + v * VL); \
            done[v] = F; \
        } \
        UNROLL for (int v = 0; v < AT_ONCE; v++) store(to + v * VL, done[v]); \
        if (left < AT_ONCE * VL) memcpy(out + i, rest[2], (size_t)left * sizeof(real)); \
    } \
} while (0)
/* F(kind), with the kind known as it is compiled. */
#define EACH_KIND(F, kind) do { \
    switch (kind) { \
    case ACT_NONE: F(ACT_NONE); break; \
    case ACT_RELU: F(ACT_RELU); break; \
    case ACT_LEAKY_RELU: F(ACT_LEAKY_RELU); break; \
    case ACT_SIGMOID: F(ACT_SIGMOID); break; \
    case ACT_TANH: F(ACT_TANH); break; \
    case ACT_ELU: F(ACT_ELU); break; \
    case ACT_GELU: F(ACT_GELU); break; \
    case ACT_SILU: F(ACT_SILU); break; \
    case ACT_SOFTPLUS: F(ACT_SOFTPLUS); break; \
    case ACT_SELU: F(ACT_SELU); break; \
    case ACT_HARDSIGMOID: F(ACT_HARDSIGMOID); break; \
    case ACT_HARDSWISH: F(ACT_HARDSWISH); break; \
    case ACT_ABSOLUTE: F(ACT_ABSOLUTE); break; \
    } \
} while (0)

static void NAME(activate_all)(const char *x_, char *out_, int64_t n, int64_t kind) {
    const real *x = (const real *)x_, *g = x;
    real *out = (real *)out_;
#define ALL(kind) EACH_ELEMENT(NAME(activate_as)(a, kind))
    EACH_KIND(ALL, kind);
#undef ALL
}

static void NAME(activate_grad_all)(const char *y_, const char *g_, char *out_, int64_t n, int64_t kind) {
    const real *x = (const real *)y_, *g = (const real *)g_;
    real *out = (real *)out_;
#define ALL(kind) EACH_ELEMENT(NAME(times_slope)(a, b, kind))
    EACH_KIND(ALL, kind);
#undef ALL
}
#undef EACH_KIND
#undef EACH_ELEMENT
#undef AT_ONCE

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

/* (x - near) b + c by channel, and g scale more if there is a g. */
static void NAME(centred)(const char *g_, const char *x_, const char *near_, const char *scale_, const char *b_,
                          const char *c_, char *out_, int64_t n, int64_t width, int64_t streams) {
    const real *g = (const real *)g_, *x = (const real *)x_, *near = (const real *)near_;
    const real *scale = (const real *)scale_, *b = (const real *)b_, *c = (const real *)c_;
    real *out = (real *)out_;
    for (; n > 0; n -= width, x += width, out += width) {
        const int64_t m = n < width ? n : width;
#define OWN(LOAD) const vec own = (LOAD(x) - LOAD(near)) * LOAD(b) + LOAD(c)
#define BOTH(LOAD) OWN(LOAD); const vec sum = LOAD(g) * LOAD(scale) + own
#define WHOLE(p) load((p) + i)
#define PART(p) load_part((p) + i, m - i)
        if (g) {
            EACH_VECTOR(m, BOTH(WHOLE); NAME(put)(out + i, sum, streams), BOTH(PART); store_part(out + i, sum, m - i));
            g += width;
        } else {
            EACH_VECTOR(m, OWN(WHOLE); NAME(put)(out + i, own, streams), OWN(PART); store_part(out + i, own, m - i));
        }
#undef PART
#undef WHOLE
#undef BOTH
#undef OWN
    }
}

/* g, times the slope of its channel where x isn't positive; the value itself is that of g = x. */
static void NAME(leaky)(const char *x_, const char *g_, const char *slope_, char *out_, int64_t n, int64_t width) {
    const real *x = (const real *)x_, *g = (const real *)g_, *slope = (const real *)slope_;
    real *out = (real *)out_;
    for (; n > 0; n -= width, x += width, g += width, out += width) {
        const int64_t m = n < width ? n : width;
#define LEAKY(LOAD) choose_less((vec){0}, LOAD(x), LOAD(g), LOAD(g) * LOAD(slope))
#define WHOLE(p) load((p) + i)
#define PART(p) load_part((p) + i, m - i)
        EACH_VECTOR(m, store(out + i, LEAKY(WHOLE)), store_part(out + i, LEAKY(PART), m - i));
#undef PART
#undef WHOLE
#undef LEAKY
    }
}

/* The sum of all lanes in each of them: a tree, so that every lane has the same bits. */
INLINE vec NAME(lane_sum)(vec a) {
    UNROLL for (int half = (int)VL / 2; half > 0; half /= 2) a += NAME(swap)(a, half);
    return a;
}

/* The largest of a row. A NaN may be lost here, but never in the sum of the exponentials. */
INLINE vec NAME(row_largest)(const real *x, int64_t channels) {
    vec most = load(x);
    for (int64_t i = VL; i + VL <= channels; i += VL) most = larger(load(x + i), most);
    most = larger(load(x + channels - VL), most); /* some of it again, if it isn't whole */
    UNROLL for (int half = (int)VL / 2; half > 0; half /= 2) most = larger(NAME(swap)(most, half), most);
    return most;
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

/* What makes a row standard: x less `near`, then less `off`, times `by`. The mean is taken off twice: as rounded, a large
 * one would leave some of it. */
typedef struct {
    vec near, off, by;
} NAME(standards);

INLINE NAME(standards) NAME(standards_of)(const real *x, int64_t whole, int64_t rest, double eps) {
    const vec share = splat(1 / (real)(whole + rest));
    vec sum = {0}, square = {0};
    for (int64_t i = 0; i < whole; i += VL) sum += load(x + i);
    if (rest) sum += load_part(x + whole, rest);
    const vec near = NAME(lane_sum)(sum) * share;
    sum = (vec){0};
    for (int64_t i = 0; i < whole; i += VL) {
        const vec d = load(x + i) - near;
        sum += d;
        square += d * d;
    }
    if (rest) {
        const vec d = NAME(only)(load_part(x + whole, rest) - near, rest);
        sum += d;
        square += d * d;
    }
    const vec off = NAME(lane_sum)(sum) * share, spread = NAME(lane_sum)(square) * share - off * off;
    return (NAME(standards)){near, off, splat((real)(1 / __builtin_sqrt((double)spread[0] + eps)))};
}

#define NORMAL(LOAD) ((LOAD(x) - of.near - of.off) * of.by)
#define WHOLE(p) load((p) + i)
#define PART(p) load_part((p) + whole, rest)
/* Without scale and shift (NULL) the result has mean 0 and variance 1. */
static void NAME(standard)(const char *x_, const char *scale_, const char *shift_, char *out_, double eps, int64_t rows,
                           int64_t channels, int64_t streams) {
    const real *x = (const real *)x_, *scale = (const real *)scale_, *shift = (const real *)shift_;
    real *out = (real *)out_;
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    for (; rows > 0; rows--, x += channels, out += channels) {
        const NAME(standards) of = NAME(standards_of)(x, whole, rest, eps);
        if (scale) {
            for (int64_t i = 0; i < whole; i += VL)
                NAME(put)(out + i, NORMAL(WHOLE) * WHOLE(scale) + WHOLE(shift), streams);
            if (rest) store_part(out + whole, NORMAL(PART) * PART(scale) + PART(shift), rest);
        } else {
            for (int64_t i = 0; i < whole; i += VL) NAME(put)(out + i, NORMAL(WHOLE), streams);
            if (rest) store_part(out + whole, NORMAL(PART), rest);
        }
    }
}

/* by (h - mean(h) - n mean(h n)), h = g scale, n the standard row. All sums but the first are independent, with
 * sum of h n = by (sum of h d - off sum of h), d = x - near. */
static void NAME(standard_grad)(const char *x_, const char *g_, const char *scale_, char *out_, double eps, int64_t rows,
                                int64_t channels, int64_t streams) {
    const real *x = (const real *)x_, *g = (const real *)g_, *scale = (const real *)scale_;
    real *out = (real *)out_;
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    const vec share = splat(1 / (real)channels);
    for (; rows > 0; rows--, x += channels, g += channels, out += channels) {
        NAME(standards) of;
        vec total = {0}, square = {0}, sum = {0}, product = {0};
        for (int64_t i = 0; i < whole; i += VL) total += WHOLE(x);
        if (rest) total += PART(x); /* parts are filled with zeros */
        of.near = NAME(lane_sum)(total) * share;
        total = (vec){0};
#define ADD(D, H) do { \
        const vec d = D, h = H; \
        total += d; \
        square += d * d; \
        sum += h; \
        product += h * d; \
    } while (0)
        for (int64_t i = 0; i < whole; i += VL) ADD(WHOLE(x) - of.near, WHOLE(g) * WHOLE(scale));
        if (rest) ADD(NAME(only)(PART(x) - of.near, rest), PART(g) * PART(scale));
#undef ADD
        of.off = NAME(lane_sum)(total) * share;
        const vec spread = NAME(lane_sum)(square) * share - of.off * of.off;
        of.by = splat((real)(1 / __builtin_sqrt((double)spread[0] + eps)));
        sum = NAME(lane_sum)(sum) * share;
        product = of.by * (NAME(lane_sum)(product) * share - of.off * sum);
#define BACK(LOAD) ((LOAD(g) * LOAD(scale) - sum - NORMAL(LOAD) * product) * of.by)
        for (int64_t i = 0; i < whole; i += VL) NAME(put)(out + i, BACK(WHOLE), streams);
        if (rest) store_part(out + whole, BACK(PART), rest);
#undef BACK
    }
}
#undef PART
#undef WHOLE
#undef NORMAL

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
    .scale_shift = NAME(scale_shift), .leaky = NAME(leaky), .centred = NAME(centred),
    .norm_grad = NAME(norm_grad),
    .softmax = NAME(softmax), .log_softmax = NAME(log_softmax),
    .softmax_grad = NAME(softmax_grad), .log_softmax_grad = NAME(log_softmax_grad),
    .standard = NAME(standard), .standard_grad = NAME(standard_grad),
    .dropout = NAME(dropout), .adam = NAME(adam), .descent = NAME(descent),
};
