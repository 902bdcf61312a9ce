/* Multiply-adds and nothing else: chains enough to keep every unit busy, all in registers. What a kernel is held against.
 * Included once for each element type. */

static void NAME(multiply_add)(char *out_, int64_t rounds) {
    real *out = (real *)out_;
    vec chain[HEIGHT_1];
    const vec factor = splat((real)0.75), term = splat(out[0]);
    UNROLL for (int i = 0; i < HEIGHT_1; i++) chain[i] = splat((real)i);
    for (; rounds > 0; rounds--) {
        UNROLL for (int i = 0; i < HEIGHT_1; i++) chain[i] = chain[i] * factor + term;
    }
    UNROLL for (int i = 0; i < HEIGHT_1; i++) store(out + i * VL, chain[i]);
}

const convnd_peak_tiles NAME(convnd_peak_tiles) = {.multiply_add = NAME(multiply_add), .chains = HEIGHT_1};
