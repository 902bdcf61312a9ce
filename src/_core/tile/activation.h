/* Elementwise functions on vectors. Included once for each element type.
 *
 * exp: Cody and Waite 1980 range reduction, exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, and a Taylor polynomial of
 * exp(r) long enough for the type. Every lane runs the same operations whatever its neighbours. */

/* For x <= 0 or NaN: nothing here needs more. Results below the least normal number are 0. */
INLINE vec NAME(exp)(vec x) {
    const vec low = splat(EXP_LOW);
    const mask is_nan = x != x;
    const vec y = choose(x > low, x, low); /* also for NaN: its bits must not reach the exponent */
    const vec shift = splat(ROUND_SHIFT); /* 1.5 * 2^mantissa: adding it rounds to the nearest integer */
    vec n = y * splat((real)1.44269504088896340736) + shift;
    const mask bits = (mask)n;
    n -= shift;
    const vec r = (y - n * splat(LN2_HIGH)) - n * splat(LN2_LOW);
    vec p = splat((real)1 / EXP_FACTORIAL);
    static const real terms[] = EXP_TERMS;
    UNROLL for (int i = 0; i < (int)(sizeof(terms) / sizeof(terms[0])); i++) p = p * r + splat(terms[i]);
    const mask power = (bits + EXPONENT_BIAS) << MANTISSA_BITS;
    p = choose(x < low, splat(0), p * (vec)power);
    return choose(is_nan, x, p);
}

/* log(1 + t) for -0.3 <= t <= 1 by the atanh series: log(u) = 2 atanh((u - 1) / (u + 1)). */
INLINE vec NAME(log1p_unit)(vec t) {
    const vec s = t / (t + splat(2)), z = s * s;
    vec p = splat((real)1 / LOG_LAST);
    UNROLL for (int i = LOG_LAST - 2; i >= 1; i -= 2) p = p * z + splat((real)1 / (real)i);
    return s * p * splat(2);
}

/* log(x) for normal x >= 1 or NaN: n ln 2 + log(m), sqrt(1/2) <= m <= sqrt(2). */
INLINE vec NAME(log)(vec x) {
    const mask root = (mask)splat((real)0.70710678118654752440);
    const mask n = ((mask)x - root) >> MANTISSA_BITS;
    const vec m = (vec)((mask)x - (n << MANTISSA_BITS));
    /* n as a number: its bits below those of 1.5 * 2^mantissa */
    const vec power = (vec)(n + (mask)splat(ROUND_SHIFT)) - splat(ROUND_SHIFT);
    const vec y = power * splat(LN2_HIGH) + (power * splat(LN2_LOW) + NAME(log1p_unit)(m - splat(1)));
    return choose(x < splat((real)__builtin_inf()), y, x);
}

INLINE vec NAME(absolute)(vec x) { return choose(x < splat(0), -x, x); }

/* x between -most and most; NaN stays. */
INLINE vec NAME(clamp)(vec x, vec most) { return choose(x > most, most, choose(x < -most, -most, x)); }

INLINE vec NAME(sigmoid)(vec x) {
    const vec e = NAME(exp)(-NAME(absolute)(x)), one = splat(1);
    const vec s = e / (one + e);
    return choose(x < splat(0), s, one - s);
}

/* Small arguments by the odd Taylor series (no cancellation), others by exp. */
INLINE vec NAME(tanh)(vec x) {
    const vec a = NAME(absolute)(x), one = splat(1), z = x * x;
    const vec e = NAME(exp)(a * splat(-2));
    const vec t = (one - e) / (one + e);
    const vec big = choose(x < splat(0), -t, t);
    static const real odd[] = TANH_TERMS;
    vec p = splat(0);
    UNROLL for (int i = 0; i < (int)(sizeof(odd) / sizeof(odd[0])); i++) p = p * z + splat(odd[i]);
    return choose(a < splat(TANH_SMALL), x + x * z * p, big);
}

INLINE vec NAME(expm1)(vec x) { /* exp(x) - 1 = tanh(x / 2) (exp(x) + 1) */
    return NAME(tanh)(x * splat((real)0.5)) * (NAME(exp)(x) + splat(1));
}

INLINE vec NAME(softplus)(vec x) {
    return NAME(log1p_unit)(NAME(exp)(-NAME(absolute)(x))) + choose(x > splat(0), x, splat(0));
}

/* x sigmoid(x). Below EXP_LOW sigmoid is 0, and so is the product, also at -inf. */
INLINE vec NAME(silu)(vec x) {
    return choose(x < splat(EXP_LOW), splat(0), x * NAME(sigmoid)(x));
}

/* exp(-x^2 / 2). The square is split so that its rounding isn't blown up (Cody 1969): with h <= |x| a multiple of
 * 1/16, h^2 is exact, and x^2 = h^2 + (|x| - h)(|x| + h). */
INLINE vec NAME(gauss)(vec x) {
    const vec a = NAME(absolute)(NAME(clamp)(x, splat(GAUSS_MOST)));
    const vec shift = splat(ROUND_SHIFT), half = splat((real)0.5);
    const vec h = ((a * splat(16) - half + shift) - shift) * splat((real)0.0625);
    return NAME(exp)(h * h * -half) * NAME(exp)((a - h) * (a + h) * -half);
}

/* The normal distribution's cumulative function. For a = |x| / sqrt(2), erfc(a) = exp(-a^2) f(t) / (1 + 2 a), where f
 * is smooth in t = (a - k) / (a + k), and here its Chebyshev expansion as a polynomial: Shepherd & Laframboise 1981,
 * "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity". `density` is exp(-x^2 / 2). */
INLINE vec NAME(cumulative)(vec x, vec density) {
    const vec k = splat(ERFC_CENTRE), one = splat(1);
    const vec a = NAME(absolute)(NAME(clamp)(x, splat(GAUSS_MOST))) * splat((real)0.70710678118654752440);
    const vec t = (a - k) / (a + k);
    static const real terms[] = ERFC_TERMS;
    vec p = splat(terms[0]);
    UNROLL for (int i = 1; i < (int)(sizeof(terms) / sizeof(terms[0])); i++) p = p * t + splat(terms[i]);
    const vec tail = splat((real)0.5) * density * p / (one + a + a);
    return choose(x < splat(0), tail, one - tail);
}

/* GELU, x times the cumulative function (Hendrycks & Gimpel 2016); 0 where that is 0, also at -inf. */
INLINE vec NAME(gelu)(vec x) {
    return choose(x < splat(-GAUSS_MOST), splat(0), x * NAME(cumulative)(x, NAME(gauss)(x)));
}

SLOW vec NAME(activate)(vec x, int64_t kind) {
    const vec zero = splat(0);
    switch (kind) {
    case ACT_RELU: return choose(x <= zero, zero, x);
    case ACT_LEAKY_RELU: return choose(x <= zero, x * splat((real)0.01), x);
    case ACT_SIGMOID: return NAME(sigmoid)(x);
    case ACT_TANH: return NAME(tanh)(x);
    case ACT_ELU: return choose(x <= zero, NAME(expm1)(choose(x <= zero, x, zero)), x);
    case ACT_GELU: return NAME(gelu)(x);
    case ACT_SILU: return NAME(silu)(x);
    case ACT_SOFTPLUS: return NAME(softplus)(x);
    default: return x;
    }
}

/* g times d activation / dx. The fused kinds take the OUTPUT y, the others the input. */
INLINE vec NAME(times_slope)(vec y, vec g, int64_t kind) {
    const vec zero = splat(0), one = splat(1);
    switch (kind) {
    case ACT_RELU: return choose(y <= zero, zero, g);
    case ACT_LEAKY_RELU: return choose(y <= zero, g * splat((real)0.01), g);
    case ACT_SIGMOID: return g * (y * (one - y));
    case ACT_TANH: return g * (one - y * y);
    case ACT_ELU: return choose(y <= zero, g * (y + one), g);
    case ACT_GELU: { /* at -inf and inf the second term is 0 */
        const vec density = NAME(gauss)(y), x = NAME(clamp)(y, splat(GAUSS_MOST));
        return g * (NAME(cumulative)(y, density) + x * density * splat((real)0.39894228040143267794));
    }
    case ACT_SILU: {
        const vec s = NAME(sigmoid)(y), x = NAME(clamp)(y, splat(-EXP_LOW));
        return g * (s + x * s * (one - s));
    }
    case ACT_SOFTPLUS: return g * NAME(sigmoid)(y);
    default: return g;
    }
}

SLOW void NAME(activate_rows)(real *out, int64_t step, int64_t rows, int64_t lanes, int64_t kind) {
    for (int64_t m = 0; m < rows; m++)
        for (int64_t f = 0; f < lanes; f += VL) {
            real *p = out + m * step + f;
            store_part(p, NAME(activate)(load_part(p, lanes - f), kind), lanes - f);
        }
}

/* Both for the activations that are fused into other passes. Where `kind` is known as it is compiled, nothing and ReLU
 * are as fast as memory; a call for the others costs little beside them. */
INLINE vec NAME(fused)(vec x, const int64_t kind) {
    if (kind == ACT_NONE) return x;
    return kind == ACT_RELU ? choose(x <= splat(0), splat(0), x) : NAME(activate)(x, kind);
}

SLOW vec NAME(slope_slow)(vec x, vec g, int64_t kind) { return NAME(times_slope)(NAME(activate)(x, kind), g, kind); }

/* g times d activation / dx, from the input x. */
INLINE vec NAME(fused_grad)(vec x, vec g, const int64_t kind) {
    if (kind == ACT_NONE) return g;
    return kind == ACT_RELU ? choose(x <= splat(0), splat(0), g) : NAME(slope_slow)(x, g, kind);
}

/* F(kind), with the kind known as it is compiled where that matters. */
#define EACH_FUSED(F, kind) do { \
    if ((kind) == ACT_NONE) { F(ACT_NONE); } \
    else if ((kind) == ACT_RELU) { F(ACT_RELU); } \
    else { F(kind); } \
} while (0)
