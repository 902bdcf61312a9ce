/* Tiles that look at one position at a time. Included once for each element type.
 *
 * A sum has one product in each line, so that every copy of a loop contracts it to the same multiply-adds. */

/* BODY(i, PART) for every vector of n numbers; the last, not full, is loaded and stored by parts. */
#define EACH_VECTOR(n, WHOLE, PART) do { \
    int64_t i = 0; \
    for (; i + VL <= (n); i += VL) { WHOLE; } \
    if (i < (n)) { PART; } \
} while (0)

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
                              int64_t width, int64_t kind) {
    const real *x = (const real *)x_, *scale = (const real *)scale_, *shift = (const real *)shift_;
    real *out = (real *)out_;
#define NONE(v, kind) (v)
#define RELU(v, kind) choose((v) <= (vec){0}, (vec){0}, (v))
#define MAP(f) for (; n > 0; n -= width, x += width, out += width) { \
        const int64_t m = n < width ? n : width; \
        EACH_VECTOR(m, const vec v = load(x + i) * load(scale + i) + load(shift + i); store(out + i, f(v, kind)), \
                    const vec v = load_part(x + i, m - i) * load_part(scale + i, m - i) + load_part(shift + i, m - i); \
                    store_part(out + i, f(v, kind), m - i)); \
    }
    if (kind == ACT_NONE) MAP(NONE)
    else if (kind == ACT_RELU) MAP(RELU)
    else MAP(NAME(activate))
#undef MAP
#undef RELU
#undef NONE
}

INLINE vec NAME(combine_vec)(vec g, vec x, vec a, vec b, vec c) {
    const vec t = x * b + c;
    return g * a + t;
}

static void NAME(combine)(const char *g_, const char *x_, const char *a_, const char *b_, const char *c_, char *out_,
                          int64_t n, int64_t width) {
    const real *g = (const real *)g_, *x = (const real *)x_;
    const real *a = (const real *)a_, *b = (const real *)b_, *c = (const real *)c_;
    real *out = (real *)out_;
    for (; n > 0; n -= width, g += width, x += width, out += width) {
        const int64_t m = n < width ? n : width;
        EACH_VECTOR(m,
            store(out + i, NAME(combine_vec)(load(g + i), load(x + i), load(a + i), load(b + i), load(c + i))),
            store_part(out + i, NAME(combine_vec)(load_part(g + i, m - i), load_part(x + i, m - i),
                       load_part(a + i, m - i), load_part(b + i, m - i), load_part(c + i, m - i)), m - i));
    }
}

/* Lanes in order, so that a sum is one chain. */
INLINE real NAME(lane_sum)(vec a, int64_t lanes) {
    real sum = 0;
    for (int64_t i = 0; i < lanes; i++) sum += a[i];
    return sum;
}

/* The largest of a row, and the sum of exp(x - largest). A NaN needn't be the largest: it is in the sum. */
INLINE void NAME(exp_sum)(const real *x, real *e, int64_t channels, vec *largest, vec *sum) {
    const vec least = splat(-(real)__builtin_inf());
    vec most = least, total = {0};
    real top = -(real)__builtin_inf();
    for (int64_t i = 0; i + VL <= channels; i += VL) most = larger(load(x + i), most);
    for (int64_t i = 0; i < VL; i++) top = most[i] > top ? most[i] : top;
    for (int64_t i = channels - channels % VL; i < channels; i++) top = x[i] > top ? x[i] : top;
    const vec shift = splat(top);
    EACH_VECTOR(channels,
        const vec t = NAME(exp)(load(x + i) - shift); total += t; if (e) store(e + i, t),
        real part[VL]; const vec t = NAME(exp)(load_part(x + i, channels - i) - shift);
        for (int64_t k = 0; k < VL; k++) part[k] = k < channels - i ? t[k] : 0;
        total += load(part); if (e) store_part(e + i, t, channels - i));
    *largest = shift;
    *sum = splat(NAME(lane_sum)(total, VL));
}

static void NAME(softmax)(const char *x_, char *out_, int64_t rows, int64_t channels) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    vec largest, sum;
    for (; rows > 0; rows--, x += channels, out += channels) {
        NAME(exp_sum)(x, out, channels, &largest, &sum);
        EACH_VECTOR(channels, store(out + i, load(out + i) / sum),
                    store_part(out + i, load_part(out + i, channels - i) / sum, channels - i));
    }
}

static void NAME(log_softmax)(const char *x_, char *out_, int64_t rows, int64_t channels) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    vec largest, sum;
    for (; rows > 0; rows--, x += channels, out += channels) {
        NAME(exp_sum)(x, NULL, channels, &largest, &sum);
        const vec log = NAME(log)(sum);
        EACH_VECTOR(channels, store(out + i, (load(x + i) - largest) - log),
                    store_part(out + i, (load_part(x + i, channels - i) - largest) - log, channels - i));
    }
}

/* y (g - sum of g y) */
static void NAME(softmax_grad)(const char *y_, const char *g_, char *out_, int64_t rows, int64_t channels) {
    const real *y = (const real *)y_, *g = (const real *)g_;
    real *out = (real *)out_;
    for (; rows > 0; rows--, y += channels, g += channels, out += channels) {
        vec total = {0};
        EACH_VECTOR(channels, total += load(y + i) * load(g + i),
                    total += load_part(y + i, channels - i) * load_part(g + i, channels - i));
        const vec sum = splat(NAME(lane_sum)(total, VL));
        EACH_VECTOR(channels, store(out + i, load(y + i) * (load(g + i) - sum)),
                    store_part(out + i, load_part(y + i, channels - i) * (load_part(g + i, channels - i) - sum),
                               channels - i));
    }
}

/* g - exp(y) sum of g */
static void NAME(log_softmax_grad)(const char *y_, const char *g_, char *out_, int64_t rows, int64_t channels) {
    const real *y = (const real *)y_, *g = (const real *)g_;
    real *out = (real *)out_;
    for (; rows > 0; rows--, y += channels, g += channels, out += channels) {
        vec total = {0};
        EACH_VECTOR(channels, total += load(g + i), total += load_part(g + i, channels - i));
        const vec sum = splat(NAME(lane_sum)(total, VL));
        EACH_VECTOR(channels, store(out + i, load(g + i) - NAME(exp)(load(y + i)) * sum),
                    store_part(out + i, load_part(g + i, channels - i) - NAME(exp)(load_part(y + i, channels - i)) * sum,
                               channels - i));
    }
}

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
