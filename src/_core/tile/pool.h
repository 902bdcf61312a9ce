/* Pooling tiles: a few vectors of channels stay in registers while a region goes by. Included for each element type. */
#include "activation.h"

typedef int32_t NAME(number) __attribute__((vector_size(CONVND_VECTOR / sizeof(real) * 4), aligned(4), may_alias));
typedef integer NAME(mask_u) __attribute__((vector_size(CONVND_VECTOR), aligned(sizeof(real)), may_alias));
/* Vectors that go together: as wide as the registers allow, so that memory is read in long pieces. */
enum { NAME(LEVEL) = 256, NAME(GROUP) = 4, NAME(NORM_GROUP) = 2, NAME(SUM_GROUP) = 8, NAME(AHEAD) = 1024 /* bytes, at least */ };

/* A vector of which `lanes` count. What follows in memory may be read along, as lanes don't mix. */
INLINE vec NAME(load_lanes)(const real *p, const char *end, int64_t lanes) {
    return lanes >= VL || (const char *)(p + VL) <= end ? load(p) : load_part(p, lanes);
}

/* Channels in groups of vectors. The last vector begins early where channels don't fill it: it repeats some. */
#define EACH_GROUP(BODY, group, channels) do { \
    int64_t f_ = 0; \
    for (; f_ + (group) * VL <= (channels); f_ += (group) * VL) BODY(group, f_, VL); \
    if ((group) > 4 && f_ + 4 * VL <= (channels)) { BODY(4, f_, VL); f_ += 4 * VL; } \
    if ((group) > 2 && f_ + 2 * VL <= (channels)) { BODY(2, f_, VL); f_ += 2 * VL; } \
    for (; f_ + VL <= (channels); f_ += VL) BODY(1, f_, VL); \
    if (f_ < (channels) && f_) BODY(1, (channels) - VL, VL); \
    else if (f_ < (channels)) BODY(1, 0, (channels)); \
} while (0)

/* kind: of the normalisation's activation; or without one: NAME(PLAIN), or NAME(BARE) if nobody asks where it is. */
enum { NAME(PLAIN) = -1, NAME(BARE) = -2 };

INLINE void NAME(put_part)(real *to, vec a, int64_t lanes) {
    if (lanes >= VL) store(to, a);
    else store_part(to, a, lanes);
}
INLINE void NAME(put_index)(int32_t *to, mask at, int64_t lanes) {
    const NAME(number) small = __builtin_convertvector(at, NAME(number));
    if (lanes >= VL) *(NAME(number) *)to = small;
    else
        for (int64_t i = 0; i < lanes; i++) to[i] = small[i];
}

/* A vector of the first NaN where there is one: it isn't below, and nothing takes its place. Else of the largest, to the
 * bits of `larger`, which makes zeros of subnormal numbers. */
SLOW void NAME(max_or_nan)(const convnd_pool_args *a, int64_t o, int64_t f, int64_t lanes) {
    const int64_t kind = a->norm.activation, at_out = o * a->pitch + f;
    const vec lowest = splat(-(real)__builtin_inf());
    vec best = lowest, from = lowest, scale = lowest, shift = lowest;
    mask at = (mask){0} - 1, clear = at;
    if (a->norm.scale) {
        scale = load_part((const real *)a->norm.scale + f, lanes);
        shift = load_part((const real *)a->norm.shift + f, lanes);
    }
    for (int64_t r = 0; r < a->n_runs; r++)
        for (int64_t k = 0; k < a->length; k++) {
            const int64_t p = o * a->x_next + a->runs[r] + k * a->x_step;
            const vec t = NAME(load_lanes)((const real *)a->x + p * a->pitch + f, a->x_end, lanes);
            const vec y = a->norm.scale ? NAME(fused)(t * scale + shift, kind) : t;
            const mask take = (~(y <= best) | (at < 0)) & clear;
            clear &= y == y;
            best = choose(take, larger(y, y), best);
            from = choose(take, t, from);
            at = (((mask){0} + (integer)(a->first + p)) & take) | (at & ~take);
        }
    NAME(put_part)((real *)a->out + at_out, best, lanes);
    if (a->norm.scale) NAME(put_part)((real *)a->winner + at_out, from, lanes);
    if (a->index) NAME(put_index)(a->index + at_out, at, lanes);
}

/* What has to be known of a vector to go on depends on the largest alone, in one instruction. That no NaN was among
 * them is seen on the way, for two vectors at a time. */
INLINE void NAME(max_body)(const int64_t kind, const int vectors, const convnd_pool_args *a, int64_t o, int64_t f,
                           int64_t lanes) {
    const int64_t origin = o * a->x_next, at_out = o * a->pitch + f;
    const real *x = (const real *)a->x + origin * a->pitch + f;
    const int normed = kind != NAME(PLAIN) && kind != NAME(BARE), some = a->n_runs > 0 && a->length > 0;
    vec best[NAME(GROUP)], from[NAME(GROUP)], scale[NAME(GROUP)], shift[NAME(GROUP)];
    mask at[NAME(GROUP)];
    unordered_mask odd = {0};
#define VALUE(t, v) (normed ? NAME(fused)((t) * scale[v] + shift[v], kind) : (t))
    UNROLL for (int v = 0; v < vectors; v++) {
        if (normed) {
            const real *by = (const real *)a->norm.scale + f + v * VL, *plus = (const real *)a->norm.shift + f + v * VL;
            scale[v] = lanes >= VL ? load(by) : load_part(by, lanes);
            shift[v] = lanes >= VL ? load(plus) : load_part(plus, lanes);
        }
        from[v] = best[v] = splat(-(real)__builtin_inf());
        at[v] = (mask){0} - 1;
        if (some) {
            from[v] = NAME(load_lanes)(x + a->runs[0] * a->pitch + v * VL, a->x_end, lanes);
            best[v] = VALUE(from[v], v);
            at[v] = (mask){0} + (integer)(a->first + origin + a->runs[0]);
        }
    }
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *p = x + a->runs[r] * a->pitch;
        mask position = (mask){0} + (integer)(a->first + origin + a->runs[r]);
        for (int64_t k = 0; k < a->length; k++) {
            vec y[NAME(GROUP)];
            UNROLL for (int v = 0; v < vectors; v++) {
                const vec t = NAME(load_lanes)(p + v * VL, a->x_end, lanes);
                y[v] = VALUE(t, v);
                if (kind != NAME(BARE)) at[v] = (mask)choose_less(best[v], y[v], (vec)position, (vec)at[v]);
                if (normed) from[v] = choose_less(best[v], y[v], t, from[v]);
                best[v] = larger(y[v], best[v]);
            }
            UNROLL for (int v = 0; v < vectors; v += 2) odd |= unordered(y[v], y[v + 1 < vectors ? v + 1 : v]);
            if (kind != NAME(BARE)) position += (integer)a->x_step;
            p += a->x_step * a->pitch;
        }
    }
#undef VALUE
    if (NAME(any_unordered)(odd)) {
        for (int v = 0; v < vectors; v++) NAME(max_or_nan)(a, o, f + v * VL, lanes);
        return;
    }
    UNROLL for (int v = 0; v < vectors; v++) {
        NAME(put_part)((real *)a->out + at_out + v * VL, best[v], lanes);
        if (normed) NAME(put_part)((real *)a->winner + at_out + v * VL, from[v], lanes);
        if (kind != NAME(BARE)) NAME(put_index)(a->index + at_out + v * VL, at[v], lanes);
    }
}

INLINE void NAME(sum_body)(const int squares, const int asks, const int vectors, const convnd_pool_args *a, const real *x,
                           real *out, int64_t lanes) {
    const int64_t step = a->x_step * a->pitch, bytes = step * (int64_t)sizeof(real);
    const int64_t ahead = asks ? (NAME(AHEAD) + bytes - 1) / bytes * bytes : 0; /* whole positions */
    vec sum[NAME(SUM_GROUP)], middle[NAME(SUM_GROUP)], high[NAME(SUM_GROUP)];
    int64_t filled = 0, full = 0;
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = middle[v] = high[v] = (vec){0};
    for (int64_t r = 0; r < a->n_runs; r++) {
        const real *p = x + a->runs[r] * a->pitch;
        int64_t left = a->length;
        while (left > 0) {
            const int64_t n = left < NAME(LEVEL) - filled ? left : NAME(LEVEL) - filled;
            for (int64_t k = 0; k < n; k++) {
                if (asks)
                    UNROLL for (int b = 0; b < vectors * CONVND_VECTOR; b += 64)
                        __builtin_prefetch((const char *)p + ahead + b, 0, 2);
                UNROLL for (int v = 0; v < vectors; v++) {
                    const vec t = NAME(load_lanes)(p + v * VL, a->x_end, lanes);
                    if (squares) sum[v] += t * t;
                    else sum[v] += t;
                }
                p += step;
            }
            left -= n;
            filled += n;
            if (filled < NAME(LEVEL)) continue;
            filled = 0;
            UNROLL for (int v = 0; v < vectors; v++) { middle[v] += sum[v]; sum[v] = (vec){0}; }
            if (++full < NAME(LEVEL)) continue;
            full = 0;
            UNROLL for (int v = 0; v < vectors; v++) { high[v] += middle[v]; middle[v] = (vec){0}; }
        }
    }
    const vec divisor = splat((real)a->divisor);
    UNROLL for (int v = 0; v < vectors; v++) {
        const vec mean = (high[v] + (middle[v] + sum[v])) / divisor;
        if (lanes >= VL) store(out + v * VL, mean);
        else store_part(out, mean, lanes);
    }
}

INLINE void NAME(max_all)(const int64_t kind, const int group, const convnd_pool_args *a) {
#define BODY(vectors, f, lanes) NAME(max_body)(kind, vectors, a, o, f, lanes)
    for (int64_t o = 0; o < a->outputs; o++) EACH_GROUP(BODY, group, a->channels);
#undef BODY
}

static void NAME(pool_max)(const convnd_pool_args *a) {
#define ALL(kind) NAME(max_all)(kind, NAME(NORM_GROUP), a)
    if (a->norm.scale) EACH_FUSED(ALL, a->norm.activation);
    else if (a->index) NAME(max_all)(NAME(PLAIN), NAME(GROUP), a);
    else NAME(max_all)(NAME(BARE), NAME(GROUP), a);
#undef ALL
}

INLINE void NAME(sum_all)(const int squares, const int asks, const convnd_pool_args *a) {
    for (int64_t o = 0; o < a->outputs; o++) {
        const real *x = (const real *)a->x + o * a->x_next * a->pitch;
        real *out = (real *)a->out + o * a->pitch;
#define BODY(vectors, f, lanes) NAME(sum_body)(squares, asks, vectors, a, x + (f), out + (f), lanes)
        EACH_GROUP(BODY, NAME(SUM_GROUP), a->channels);
#undef BODY
    }
}

static void NAME(pool_sum)(const convnd_pool_args *a) {
    if (a->asks) NAME(sum_all)(0, 1, a);
    else NAME(sum_all)(0, 0, a);
}
static void NAME(pool_squares)(const convnd_pool_args *a) { NAME(sum_all)(1, 0, a); }

SLOW mask NAME(load_index_part)(const int32_t *p, int64_t lanes) {
    integer a[VL];
    for (int64_t i = 0; i < VL; i++) a[i] = i < lanes ? p[i] : 0;
    return *(const NAME(mask_u) *)a;
}

/* The index has as many numbers as g, so g's end is its end. */
INLINE mask NAME(load_index)(const int32_t *p, const real *g, const char *g_end, int64_t lanes) {
    if (lanes < VL && (const char *)(g + VL) > g_end) return NAME(load_index_part)(p, lanes);
    return __builtin_convertvector(*(const NAME(number) *)p, mask);
}

INLINE void NAME(grad_body)(const int64_t kind, const int vectors, const int streams, const convnd_pool_grad_args *a,
                            int64_t i, int64_t f, int64_t lanes) {
    vec sum[NAME(GROUP)];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = (vec){0};
    const convnd_holder *first = a->inner + a->inner_first[i], *last = a->inner + a->inner_first[i + 1];
    const int64_t next = a->outputs * a->channels;
    if (a->index) {
        const mask own = (mask){0} + (integer)(a->first + i);
        for (int64_t e = 0; e < a->n_outer; e++) {
            const int64_t row = a->outer[e].output * next + f;
            for (const convnd_holder *h = first; h < last; h++) {
                const real *g = (const real *)a->g + row + h->output * a->channels;
                const int32_t *index = a->index + row + h->output * a->channels;
                UNROLL for (int v = 0; v < vectors; v++) {
                    const mask at = NAME(load_index)(index + v * VL, g + v * VL, a->g_end, lanes);
                    sum[v] += choose(at == own, NAME(load_lanes)(g + v * VL, a->g_end, lanes), (vec){0});
                }
            }
        }
    } else {
        for (int64_t e = 0; e < a->n_outer; e++) {
            const convnd_holder outer = a->outer[e];
            for (const convnd_holder *h = first; h < last; h++) {
                const real *g = (const real *)a->g + outer.output * next + h->output * a->channels + f;
                const vec scale = splat((real)(1 / (a->divisor ? a->divisor : (double)(outer.count * h->count))));
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[v] += NAME(load_lanes)(g + v * VL, a->g_end, lanes) * scale;
            }
        }
    }
    const int64_t at = i * a->channels + f;
    real *out = (real *)a->out + at;
    UNROLL for (int v = 0; v < vectors; v++) {
        if (kind != NAME(PLAIN)) {
#define PART(p, at) (lanes >= VL ? load((const real *)(p) + (at) + v * VL) : load_part((const real *)(p) + (at), lanes))
            sum[v] = NAME(norm_grad_vec)(sum[v], PART(a->x, at), PART(a->norm.scale, f), PART(a->norm.shift, f),
                                         PART(a->b, f), PART(a->c, f), kind);
#undef PART
        }
        if (streams) stream(out + v * VL, sum[v]);
        else if (lanes >= VL) store(out + v * VL, sum[v]);
        else store_part(out, sum[v], lanes);
    }
}

INLINE void NAME(grad_all)(const int64_t kind, const int streams, const convnd_pool_grad_args *a) {
#define BODY(vectors, f, lanes) NAME(grad_body)(kind, vectors, streams, a, i, f, lanes)
    for (int64_t i = a->column; i < a->column + a->columns; i++) EACH_GROUP(BODY, NAME(GROUP), a->channels);
#undef BODY
}

static void NAME(pool_grad)(const convnd_pool_grad_args *a) {
#define ALL(kind) do { \
    if (a->streams) NAME(grad_all)(kind, 1, a); \
    else NAME(grad_all)(kind, 0, a); \
} while (0)
    if (a->x) EACH_FUSED(ALL, a->norm.activation);
    else ALL(NAME(PLAIN));
#undef ALL
}
#undef EACH_GROUP

static void NAME(pool_scatter)(const char *g_, const int32_t *index, char *out_, int64_t channels) {
    const real *g = (const real *)g_;
    real *out = (real *)out_;
    for (int64_t c = 0; c < channels; c++) out[index[c] * channels + c] += g[c];
}

/* Without branches: whether a maximum is in reach can't be foreseen. What isn't goes where nobody looks. */
static void NAME(pool_scatter_part)(const char *g_, const int32_t *index, char *out_, int64_t low, int64_t high,
                                    int64_t channels) {
    const real *g = (const real *)g_;
    real nowhere[16], *out = (real *)out_;
    for (int i = 0; i < 16; i++) nowhere[i] = 0;
    for (int64_t c = 0; c < channels; c++) {
        const int64_t place = index[c];
        const uintptr_t reached = -(uintptr_t)((uint64_t)(place - low) < (uint64_t)(high - low));
        real *to = (real *)(((uintptr_t)(out + place * channels + c) & reached)
                            | ((uintptr_t)(nowhere + c % 16) & ~reached));
        *to += g[c];
    }
}

const convnd_pool_tiles NAME(convnd_pool_tiles) = {
    .max = NAME(pool_max), .sum = NAME(pool_sum), .squares = NAME(pool_squares), .grad = NAME(pool_grad),
    .scatter = NAME(pool_scatter), .scatter_part = NAME(pool_scatter_part)};
