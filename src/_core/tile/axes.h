/* Positions from weighted positions, axis by axis. Included once for each element type.
 *
 * A sum is one chain over its terms in order, whichever loop it is in. */

INLINE void NAME(axes_put)(real *p, vec a, int64_t streams) {
    if (streams) stream(p, a);
    else store(p, a);
}

/* out = x, n numbers. */
static void NAME(axes_copy)(const char *x_, char *out_, int64_t n, int64_t streams) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    if (!streams) {
        memcpy(out, x, (size_t)n * sizeof(real));
        return;
    }
    for (int64_t i = 0; i < n; i += VL) stream(out + i, load(x + i)); /* whole lines */
}

INLINE vec NAME(axes_sum)(const real *x, const int64_t *offsets, const double *weights, int64_t terms, int64_t lanes) {
#define PART(e) (lanes >= VL ? load(x + offsets[e]) : load_part(x + offsets[e], lanes))
    vec sum = PART(0) * splat((real)weights[0]);
    for (int64_t e = 1; e < terms; e++) sum += PART(e) * splat((real)weights[e]);
    return sum;
#undef PART
}

/* out[i] = the sum of weights[e] x[offsets[e] + i], i < n. */
static void NAME(axes_combine)(const char *x_, const int64_t *offsets, const double *weights, int64_t terms, char *out_,
                               int64_t n) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    int64_t i = 0;
    for (; i + VL <= n; i += VL) store(out + i, NAME(axes_sum)(x + i, offsets, weights, terms, VL));
    if (i < n) store_part(out + i, NAME(axes_sum)(x + i, offsets, weights, terms, n - i), n - i);
}

INLINE vec NAME(axes_two)(vec x, vec y, vec a, vec b) {
    vec sum = x * a;
    HELD(sum);
    return y * b + sum;
}

/* Outputs begin <= q < end: the sum of weights[t] x[index[t] channels + c], first[q] <= t < first[q + 1]. */
static void NAME(axes_blend)(const char *x_, const int64_t *first, const int64_t *index, const double *weights,
                             char *out_, int64_t begin, int64_t end, int64_t channels, int64_t streams) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    const int64_t whole = channels - channels % VL, rest = channels % VL;
    for (int64_t q = begin; q < end; q++, out += channels) {
        const int64_t t = first[q], last = first[q + 1];
        const real *a = x + index[t] * channels;
        if (channels < VL) {
            for (int64_t c = 0; c < channels; c++) out[c] = a[c] * (real)weights[t];
            for (int64_t s = t + 1; s < last; s++) {
                const real *b = x + index[s] * channels;
                for (int64_t c = 0; c < channels; c++) out[c] += b[c] * (real)weights[s];
            }
        } else if (last - t == 2) {
            const real *b = x + index[t + 1] * channels;
            const vec v = splat((real)weights[t]), w = splat((real)weights[t + 1]);
            for (int64_t c = 0; c < whole; c += VL)
                NAME(axes_put)(out + c, NAME(axes_two)(load(a + c), load(b + c), v, w), streams);
            if (rest)
                store_part(out + whole, NAME(axes_two)(load_part(a + whole, rest), load_part(b + whole, rest), v, w),
                           rest);
        } else {
            for (int64_t c = 0; c < channels; c += VL) {
                const int64_t lanes = channels - c;
                vec sum = {0};
                for (int64_t s = t; s < last; s++) {
                    const real *b = x + index[s] * channels + c;
                    sum += (lanes >= VL ? load(b) : load_part(b, lanes)) * splat((real)weights[s]);
                }
                if (lanes >= VL) NAME(axes_put)(out + c, sum, streams);
                else store_part(out + c, sum, lanes);
            }
        }
    }
}

const convnd_axes_tiles NAME(convnd_axes_tiles) = {
    .copy = NAME(axes_copy), .combine = NAME(axes_combine), .blend = NAME(axes_blend)};
