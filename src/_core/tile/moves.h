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

/* Blocks of a transposition: as many rows of as many numbers as 16 bytes hold. */
typedef real NAME(short_vec) __attribute__((vector_size(16), aligned(sizeof(real)), may_alias));
enum { NAME(BLOCK) = IN_BLOCK };
#if defined(__clang__)
#define WEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef integer NAME(short_mask) __attribute__((vector_size(16)));
#define WEAVE(a, b, ...) __builtin_shuffle(a, b, (NAME(short_mask)){__VA_ARGS__})
#endif
INLINE void NAME(turn_block)(const real *x, int64_t x_step, real *out, int64_t out_step) {
    NAME(short_vec) row[NAME(BLOCK)];
    UNROLL for (int i = 0; i < NAME(BLOCK); i++) row[i] = *(const NAME(short_vec) *)(x + i * x_step);
#define PUT(i, ...) *(NAME(short_vec) *)(out + (i) * out_step) = WEAVE(__VA_ARGS__)
#if IN_BLOCK == 4
    const NAME(short_vec) low = WEAVE(row[0], row[1], 0, 4, 1, 5), low_after = WEAVE(row[2], row[3], 0, 4, 1, 5);
    const NAME(short_vec) high = WEAVE(row[0], row[1], 2, 6, 3, 7), high_after = WEAVE(row[2], row[3], 2, 6, 3, 7);
    PUT(0, low, low_after, 0, 1, 4, 5);
    PUT(1, low, low_after, 2, 3, 6, 7);
    PUT(2, high, high_after, 0, 1, 4, 5);
    PUT(3, high, high_after, 2, 3, 6, 7);
#else
    PUT(0, row[0], row[1], 0, 2);
    PUT(1, row[0], row[1], 1, 3);
#endif
#undef PUT
}

/* out[c][r] = x[r][c], some rows at a time, whose lines stay in the nearest cache. */
static void NAME(turn)(const char *x_, int64_t x_step, char *out_, int64_t out_step, int64_t rows, int64_t columns) {
    const real *x = (const real *)x_;
    real *out = (real *)out_;
    const int64_t block = NAME(BLOCK), some = 32;
    for (; rows > 0; rows -= some, x += some * x_step, out += some) {
        const int64_t n = rows < some ? rows : some, whole = n - n % block, c_whole = columns - columns % block;
        for (int64_t c = 0; c < c_whole; c += block)
            for (int64_t r = 0; r < whole; r += block)
                NAME(turn_block)(x + r * x_step + c, x_step, out + c * out_step + r, out_step);
        for (int64_t c = 0; c < columns; c++)
            for (int64_t r = c < c_whole ? whole : 0; r < n; r++) out[c * out_step + r] = x[r * x_step + c];
    }
}

/* Two rows of whole vectors woven into one, or taken apart: the transposition of 2 x many, or of many x 2. */
INLINE void NAME(weave)(const real *x, real *out, int64_t half, const int apart) {
    for (int64_t i = 0; i < half; i += NAME(BLOCK)) {
        const real *first = x + (apart ? 2 * i : i);
        const NAME(short_vec) a = *(const NAME(short_vec) *)first;
        const NAME(short_vec) b = *(const NAME(short_vec) *)(first + (apart ? (int64_t)NAME(BLOCK) : half));
        real *to = out + (apart ? i : 2 * i);
#if IN_BLOCK == 4
        *(NAME(short_vec) *)to = apart ? WEAVE(a, b, 0, 2, 4, 6) : WEAVE(a, b, 0, 4, 1, 5);
        *(NAME(short_vec) *)(to + (apart ? half : 4)) = apart ? WEAVE(a, b, 1, 3, 5, 7) : WEAVE(a, b, 2, 6, 3, 7);
#else
        *(NAME(short_vec) *)to = WEAVE(a, b, 0, 2);
        *(NAME(short_vec) *)(to + (apart ? half : 2)) = WEAVE(a, b, 1, 3);
#endif
    }
}

/* How many channels stand between neighbours of the result where the channels, as a matrix, are transposed in whole
 * blocks or from or to two rows; 0 where they go other ways. */
static int64_t NAME(transposed)(const int64_t *index, int64_t count) {
    const int64_t apart = count > 1 ? index[1] : 0, block = NAME(BLOCK);
    if (apart < 2 || apart == count || count % apart) return 0;
    const int64_t groups = count / apart;
    if (!((apart % block == 0 && groups % block == 0) || (apart == 2 && groups % block == 0)
          || (groups == 2 && apart % block == 0)))
        return 0;
    for (int64_t k = 0; k < apart; k++)
        for (int64_t j = 0; j < groups; j++)
            if (index[k * groups + j] != j * apart + k) return 0;
    return apart;
}

static void NAME(transpose)(const real *x, int64_t x_step, real *out, int64_t out_step, int64_t rows, int64_t count,
                            int64_t apart) {
    const int64_t groups = count / apart, block = NAME(BLOCK);
    for (; rows > 0; rows--, x += x_step, out += out_step) {
        if (groups == 2) NAME(weave)(x, out, apart, 0);
        else if (apart == 2) NAME(weave)(x, out, groups, 1);
        else /* whole blocks alone: by `turn`, for matrices as small as a position's, it takes three times as long */
            for (int64_t k = 0; k < apart; k += block)
                for (int64_t j = 0; j < groups; j += block)
                    NAME(turn_block)(x + j * apart + k, apart, out + k * groups + j, groups);
    }
}
#undef WEAVE

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
    if (n_runs == 1 && runs[0].from == RUN_PICK && runs[0].count == channels) {
        const int64_t apart = NAME(transposed)(index, channels);
        if (apart) {
            NAME(transpose)(x, x_step, out, out_step, rows, channels, apart);
            return;
        }
    }
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
    .keep = NAME(keep), .sum = NAME(sum_rows), .turn = NAME(turn), .maxout = NAME(maxout),
    .maxout_grad = NAME(maxout_grad)};
