/* Channels and rows that are moved, joined or multiplied. Included once for each element type. */

INLINE void NAME(moves_put)(real *p, vec a, int64_t streams) {
    if (streams) stream(p, a);
    else store(p, a);
}

/* n bytes, fewer than a vector has: two pieces of them that overlap. */
INLINE void NAME(move_few)(const char *x, char *out, int64_t n) {
#define TWICE(bytes) do { \
        char first[bytes], last[bytes]; \
        memcpy(first, x, bytes); \
        memcpy(last, x + n - (bytes), bytes); \
        memcpy(out, first, bytes); \
        memcpy(out + n - (bytes), last, bytes); \
    } while (0)
    if (n >= 32) TWICE(32);
    else if (n >= 16) TWICE(16);
    else if (n >= 8) TWICE(8);
    else if (n >= 4) TWICE(4);
#undef TWICE
}

/* count numbers, whole vectors if they go past the caches. */
INLINE void NAME(move)(const real *x, real *out, int64_t count, int64_t streams) {
    if (count < VL) {
        NAME(move_few)((const char *)x, (char *)out, count * (int64_t)sizeof(real));
        return;
    }
    for (int64_t i = 0; i + VL <= count; i += VL) NAME(moves_put)(out + i, load(x + i), streams);
    if (count % VL) store(out + count - VL, load(x + count - VL)); /* some of it again */
}

#if defined(__AVX512F__)
/* out[i] = x[from[i]], i < count, of whole vectors, in each row. */
INLINE void NAME(pick)(const real *x, int64_t x_step, real *out, int64_t out_step, int64_t rows, const int64_t *from,
                       int64_t count, const int vectors, int64_t streams) {
    for (int64_t i = 0; i < count; i += VL) { /* of so few rows that they stay in the nearest cache */
        mask lanes;
        for (int64_t k = 0; k < VL; k++) lanes[k] = (integer)from[i + k];
        const real *row = x;
        real *to = out + i;
        for (int64_t r = 0; r < rows; r++, row += x_step, to += out_step) {
            vec picked = PERMUTE(load(row), lanes, load(row + (vectors > 1 ? VL : 0)));
            UNROLL for (int v = 2; v < vectors; v += 2) {
                const vec more = PERMUTE(load(row + v * VL), lanes, load(row + (v + 1 < vectors ? v + 1 : v) * VL));
                const mask later = lanes >= (integer)(v * VL);
                picked = (vec)(((mask)more & later) | ((mask)picked & ~later));
            }
            NAME(moves_put)(to, picked, streams);
        }
    }
}
#endif

static void NAME(take)(const char *x_, int64_t x_step, int64_t channels, char *out_, int64_t out_step, int64_t rows,
                       const convnd_run *runs, int64_t n_runs, const int64_t *index, int64_t streams) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
#if defined(__AVX512F__)
    const int64_t vectors = channels / VL, some = 32;
    if (n_runs == 1 && runs[0].from == RUN_PICK && channels % VL == 0 && runs[0].count % VL == 0 && vectors <= 8) {
        for (; rows > 0; rows -= some, x += some * x_step, out += some * out_step) {
            const int64_t n = rows < some ? rows : some;
#define PICK(v) case v: NAME(pick)(x, x_step, out, out_step, n, index, runs[0].count, v, streams); break
            switch (vectors) { PICK(1); PICK(2); PICK(3); PICK(4); PICK(5); PICK(6); PICK(7); PICK(8); }
#undef PICK
        }
        return;
    }
#endif
    (void)channels;
    for (; rows > 0; rows--, x += x_step, out += out_step)
        for (int64_t r = 0; r < n_runs; r++) {
            real *to = out + runs[r].to;
            const int64_t *from = index + runs[r].to, count = runs[r].count;
            if (runs[r].from >= 0) NAME(move)(x + runs[r].from, to, count, streams);
            else if (runs[r].from == RUN_ZEROS) for (int64_t i = 0; i < count; i++) to[i] = 0;
            else for (int64_t i = 0; i < count; i++) to[i] = x[from[i]];
        }
}

static void NAME(add_all)(const char *x_, const char *y_, char *out_, int64_t n, int64_t streams) {
    const real *x = (const real *)x_, *y = (const real *)y_;
    real *out = (real *)out_;
    int64_t i = 0;
    for (; i + VL <= n; i += VL) NAME(moves_put)(out + i, load(x + i) + load(y + i), streams);
    for (; i < n; i++) out[i] = x[i] + y[i];
}

static void NAME(multiply_all)(const char *x_, const char *y_, char *out_, int64_t n, int64_t streams) {
    const real *x = (const real *)x_, *y = (const real *)y_;
    real *out = (real *)out_;
    int64_t i = 0;
    for (; i + VL <= n; i += VL) NAME(moves_put)(out + i, load(x + i) * load(y + i), streams);
    for (; i < n; i++) out[i] = x[i] * y[i];
}

static void NAME(multiply_rows)(const char *x_, const char *factor_, char *out_, int64_t rows, int64_t channels,
                                int64_t streams) {
    const real *x = (const real *)x_, *factor = (const real *)factor_;
    real *out = (real *)out_;
    for (; rows > 0; rows--, x += channels, out += channels, factor++) {
        const vec by = splat(*factor);
        int64_t i = 0;
        for (; i + VL <= channels; i += VL) NAME(moves_put)(out + i, load(x + i) * by, streams);
        for (; i < channels; i++) out[i] = x[i] * *factor;
    }
}

/* The bits of x under a mask of all bits or none, repeated. */
static void NAME(keep)(const char *x_, const char *kept_, char *out_, int64_t n, int64_t width) {
    const real *x = (const real *)x_, *kept = (const real *)kept_;
    real *out = (real *)out_;
    for (; n > 0; n -= width, x += width, out += width) {
        const int64_t m = n < width ? n : width;
        int64_t i = 0;
        for (; i + VL <= m; i += VL) store(out + i, (vec)((mask)load(x + i) & (mask)load(kept + i)));
        if (i < m) store_part(out + i, (vec)((mask)load_part(x + i, m - i) & (mask)load_part(kept + i, m - i)), m - i);
    }
}

static void NAME(sum_rows)(const char *x_, int64_t step, int64_t rows, char *out_, int64_t width) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    for (int64_t i = 0; i < width; i += VL) {
        const int64_t lanes = width - i;
#define PART(p) (lanes >= VL ? load(p) : load_part(p, lanes))
        vec sum = PART(x + i);
        for (int64_t r = 1; r < rows; r++) sum += PART(x + r * step + i);
        if (lanes >= VL) store(out + i, sum);
        else store_part(out + i, sum, lanes);
#undef PART
    }
}

INLINE integer NAME(bits)(real a) {
    integer b;
    memcpy(&b, &a, sizeof(b));
    return b;
}
INLINE real NAME(number)(integer b) {
    real a;
    memcpy(&a, &b, sizeof(a));
    return a;
}

/* All bits if x goes before `most`: the first of equals stays, NaN wins. */
INLINE integer NAME(wins)(real x, real most) {
    return -(integer)((most == most) & ((x > most) | (x != x)));
}

INLINE void NAME(maxout_of)(const real *x, real *out, int64_t groups, const int64_t pieces) {
    for (int64_t k = 0; k < groups; k++, x += pieces) {
        real most = x[0];
        for (int64_t j = 1; j < pieces; j++) most = x[j] > most || x[j] != x[j] ? x[j] : most;
        out[k] = most + (real)0.0; /* -0.0 becomes 0.0 */
    }
}

/* Without branches, which would be guessed wrong half of the time. */
INLINE void NAME(maxout_grad_of)(const real *x, const real *g, real *out, int64_t groups, const int64_t pieces) {
    for (int64_t k = 0; k < groups; k++, x += pieces, out += pieces) {
        integer most = NAME(bits)(x[0]), at = 0;
        for (int64_t j = 1; j < pieces; j++) {
            const integer won = NAME(wins)(x[j], NAME(number)(most));
            most = (NAME(bits)(x[j]) & won) | (most & ~won);
            at = ((integer)j & won) | (at & ~won);
        }
        for (int64_t j = 0; j < pieces; j++) out[j] = NAME(number)(NAME(bits)(g[k]) & -(integer)(at == (integer)j));
    }
}

#define EACH_PIECES(CALL) do { \
    if (pieces == 2) CALL(2); \
    else if (pieces == 3) CALL(3); \
    else if (pieces == 4) CALL(4); \
    else CALL(pieces); \
} while (0)

static void NAME(maxout)(const char *x_, char *out_, int64_t groups, int64_t pieces) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
#define CALL(pieces) NAME(maxout_of)(x, out, groups, pieces)
    EACH_PIECES(CALL);
#undef CALL
}

static void NAME(maxout_grad)(const char *x_, const char *g_, char *out_, int64_t groups, int64_t pieces) {
    const real *x = (const real *)x_, *g = (const real *)g_;
    real *out = (real *)out_;
#define CALL(pieces) NAME(maxout_grad_of)(x, g, out, groups, pieces)
    EACH_PIECES(CALL);
#undef CALL
}
#undef EACH_PIECES

const convnd_moves_tiles NAME(convnd_moves_tiles) = {
    .take = NAME(take), .add = NAME(add_all), .multiply = NAME(multiply_all), .multiply_rows = NAME(multiply_rows),
    .keep = NAME(keep), .sum = NAME(sum_rows), .maxout = NAME(maxout), .maxout_grad = NAME(maxout_grad)};
