/* Elementwise functions on vectors. Included once for each element type.
 *
 * exp: Cody and Waite 1980 range reduction, exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, and a Taylor polynomial of
 * exp(r) long enough for the type. Every lane runs the same operations whatever its neighbours. */

INLINE vec NAME(exp)(vec x) {
    const vec low = splat(EXP_LOW), high = splat(EXP_HIGH);
    const mask is_nan = x != x;
    vec y = choose(x < low, low, choose(x > high, high, x));
    y = choose(is_nan, splat(0), y);
    const vec shift = splat(ROUND_SHIFT); /* 1.5 * 2^mantissa: adding it rounds to the nearest integer */
    vec n = y * splat((real)1.44269504088896340736) + shift;
    const mask bits = (mask)n;
    n -= shift;
    const vec r = (y - n * splat(LN2_HIGH)) - n * splat(LN2_LOW);
    vec p = splat((real)1 / EXP_FACTORIAL);
    static const real terms[] = EXP_TERMS;
    UNROLL for (int i = 0; i < (int)(sizeof(terms) / sizeof(terms[0])); i++) p = p * r + splat(terms[i]);
    const mask power = (bits + EXPONENT_BIAS) << MANTISSA_BITS;
    p *= (vec)power;
    p = choose(x < low, splat(0), p);
    p = choose(x > high, splat((real)__builtin_inf()), p);
    return choose(is_nan, x, p);
}

/* log(1 + exp(x)) and friends need log of values in [1, 2]: atanh series, log(u) = 2 atanh((u - 1) / (u + 1)). */
INLINE vec NAME(log1p_unit)(vec t) {
    const vec s = t / (t + splat(2)), z = s * s;
    vec p = splat((real)1 / LOG_LAST);
    UNROLL for (int i = LOG_LAST - 2; i >= 1; i -= 2) p = p * z + splat((real)1 / (real)i);
    return s * p * splat(2);
}

INLINE vec NAME(absolute)(vec x) { return choose(x < splat(0), -x, x); }

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

/* GELU, tanh form (Hendrycks & Gimpel 2016). */
INLINE vec NAME(gelu_inner)(vec x) {
    return splat((real)0.79788456080286535588) * (x + splat((real)0.044715) * x * x * x);
}

SLOW vec NAME(activate)(vec x, int64_t kind) {
    const vec zero = splat(0), one = splat(1), half = splat((real)0.5);
    switch (kind) {
    case ACT_RELU: return choose(x <= zero, zero, x);
    case ACT_LEAKY_RELU: return choose(x <= zero, x * splat((real)0.01), x);
    case ACT_SIGMOID: return NAME(sigmoid)(x);
    case ACT_TANH: return NAME(tanh)(x);
    case ACT_ELU: return choose(x <= zero, NAME(expm1)(choose(x <= zero, x, zero)), x);
    case ACT_GELU: return half * x * (one + NAME(tanh)(NAME(gelu_inner)(x)));
    case ACT_SILU: return x * NAME(sigmoid)(x);
    case ACT_SOFTPLUS: return NAME(softplus)(x);
    default: return x;
    }
}

/* d activation / dx. The fused kinds take the OUTPUT y, the others the input. */
INLINE vec NAME(slope)(vec y, int64_t kind) {
    const vec zero = splat(0), one = splat(1), half = splat((real)0.5);
    switch (kind) {
    case ACT_RELU: return choose(y > zero, one, zero);
    case ACT_LEAKY_RELU: return choose(y > zero, one, splat((real)0.01));
    case ACT_SIGMOID: return y * (one - y);
    case ACT_TANH: return one - y * y;
    case ACT_ELU: return choose(y > zero, one, y + one);
    case ACT_GELU: {
        const vec t = NAME(tanh)(NAME(gelu_inner)(y));
        const vec inner = splat((real)0.79788456080286535588) * (one + splat((real)0.134145) * y * y);
        return half * (one + t) + half * y * (one - t * t) * inner;
    }
    case ACT_SILU: {
        const vec s = NAME(sigmoid)(y);
        return s + y * s * (one - s);
    }
    case ACT_SOFTPLUS: return NAME(sigmoid)(y);
    default: return one;
    }
}
