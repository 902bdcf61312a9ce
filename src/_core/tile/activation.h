/* Elementwise functions on vectors. Included once for each element type.
 *
 * exp: Cody and Waite 1980 range reduction, exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, and a polynomial of exp(r):
 * Taylor's in float64, in float32 the one whose largest relative error is least (1.2e-8) for |r| <= 0.42. Every lane runs
 * the same operations whatever its neighbours. */

/* exp(x + more) = power (1 + rest), `power` a power of two; more, if any, is small beside 1. For x from EXP_LOW to
 * -EXP_LOW; a NaN stays one, anything else gives anything. */
INLINE vec NAME(exp_rest)(vec x, const vec *more, vec *power) {
    const vec shift = splat(ROUND_SHIFT); /* 1.5 * 2^mantissa: adding it rounds to the nearest integer */
    vec n = x * splat((real)1.44269504088896340736) + shift;
    const mask bits = (mask)n;
    n -= shift;
    vec r = (x - n * splat(LN2_HIGH)) - n * splat(LN2_LOW);
    if (more) r += *more;
    static const real terms[] = EXP_TERMS;
    vec p = splat(terms[0]);
    UNROLL for (int i = 1; i < (int)(sizeof(terms) / sizeof(terms[0])); i++) p = p * r + splat(terms[i]);
    *power = (vec)((bits + EXPONENT_BIAS) << MANTISSA_BITS);
    return p * r;
}

/* For x up to -EXP_LOW, or NaN. Results below the least normal number are 0. */
INLINE vec NAME(exp)(vec x) {
    vec power;
    const vec rest = NAME(exp_rest)(x, NULL, &power), y = rest * power + power;
    return choose_less(x, splat(EXP_LOW), splat(0), y);
}

/* exp(x) - 1 for x <= 0 or NaN. */
INLINE vec NAME(expm1)(vec x) {
    vec power;
    const vec rest = NAME(exp_rest)(x, NULL, &power), less = power - splat(1);
    return choose_less(x, splat(EXP_LOW), splat(-1), rest * power + less);
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
    return choose_less(x, splat((real)__builtin_inf()), y, x);
}

/* Without its sign. */
INLINE vec NAME(magnitude)(vec x) { return (vec)((mask)x & ~(mask)splat((real)-0.0)); }

/* x between -most and most; NaN stays. */
INLINE vec NAME(clamp)(vec x, vec most) { return choose_less(most, x, most, choose_less(x, -most, -most, x)); }

/* 1 + exp(-x). From EXP_LOW on. */
INLINE vec NAME(logistic)(vec x) { return NAME(exp)(-x) + splat(1); }

INLINE vec NAME(sigmoid)(vec x) { return choose_less(x, splat(EXP_LOW), splat(0), splat(1) / NAME(logistic)(x)); }

/* (exp(2 x) - 1) / (exp(2 x) + 1), where the numerator is as exact for small x. */
INLINE vec NAME(tanh)(vec x) {
    const vec a = NAME(magnitude)(x), most = splat(TANH_MOST);
    vec power;
    const vec b = choose_less(most, a, most, a), rest = NAME(exp_rest)(b + b, NULL, &power);
    const vec less = rest * power + (power - splat(1)), t = less / (less + splat(2));
    return (vec)((mask)t | ((mask)x & (mask)splat((real)-0.0)));
}

INLINE vec NAME(softplus)(vec x) {
    return NAME(log1p_unit)(NAME(exp)(-NAME(magnitude)(x))) + choose_less(splat(0), x, x, splat(0));
}

/* x sigmoid(x). Below EXP_LOW sigmoid is 0, and so is the product, also at -inf. */
INLINE vec NAME(silu)(vec x) { return choose_less(x, splat(EXP_LOW), splat(0), x / NAME(logistic)(x)); }

/* exp(-x^2 / 2) for x from 0 to GAUSS_MOST. What the square lacks by its rounding is added, or it would be blown up: by one
 * multiply-subtract, or without relying on it, with h the first half of a number's bits: h^2 is exact, and
 * x^2 = h^2 + (x - h)(x + h) (Cody 1969). */
INLINE vec NAME(gauss)(vec x) {
    const vec half = splat((real)-0.5);
#if defined(__AVX512F__)
    const vec other = x * half, square = x * other, more = MULTIPLY_LESS(x, other, square);
#else
    const vec h = (vec)((mask)x & ~((((mask){0} + 1) << (MANTISSA_BITS / 2 + 1)) - 1));
    const vec square = h * h * half, more = (x - h) * half * (x + h);
#endif
    vec power;
    const vec rest = NAME(exp_rest)(square, &more, &power);
    return rest * power + power;
}

/* 1 / a for a between 2^-100 and 2^100. A guess of 14 bits and a step of Newton's take less than half of a division. */
INLINE vec NAME(inverse)(vec a) {
#if defined(__AVX512F__) && defined(ABOUT_INVERSE)
    const vec guess = ABOUT_INVERSE(a);
    return guess + guess * (splat(1) - a * guess);
#else
    return splat(1) / a;
#endif
}

/* The normal distribution's function at -x, x from 0 to GAUSS_MOST: exp(-x^2 / 2) f(t) / (x + k), where f is smooth in
 * t = (x - k) / (x + k), and here a polynomial whose largest relative error is least. After Shepherd & Laframboise 1981,
 * "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity". `density` is exp(-x^2 / 2), or that times
 * what the result is to be times. */
INLINE vec NAME(tail)(vec x, vec density) {
    const vec k = splat(TAIL_CENTRE), inverse = NAME(inverse)(x + k), t = splat(1) - (k + k) * inverse;
    static const real terms[] = TAIL_TERMS;
    vec p = splat(terms[0]);
    UNROLL for (int i = 1; i < (int)(sizeof(terms) / sizeof(terms[0])); i++) p = p * t + splat(terms[i]);
    return density * (p * inverse);
}

/* |x|, at most GAUSS_MOST; of a NaN anything. */
INLINE vec NAME(gauss_distance)(vec x) {
    const vec most = splat(GAUSS_MOST);
#if defined(__AVX512DQ__)
    return LEAST_MAGNITUDE(x, most);
#else
    const vec a = NAME(magnitude)(x);
    return choose_less(a, most, a, most);
#endif
}

/* GELU, x times the distribution's function (Hendrycks & Gimpel 2016). At -GAUSS_MOST it is a denormal, and so 0. */
INLINE vec NAME(gelu)(vec x) {
    const vec a = NAME(gauss_distance)(x);
    return larger(splat(0), x) - NAME(tail)(a, a * NAME(gauss)(a));
}

INLINE vec NAME(gelu_slope)(vec x) {
    const vec a = NAME(gauss_distance)(x), density = NAME(gauss)(a), tail = NAME(tail)(a, density);
    const vec more = a * density * splat((real)0.39894228040143267794);
    const vec slope = choose_less(x, splat(0), tail - more, (splat(1) - tail) + more);
    return choose_less(x, splat(-GAUSS_MOST), splat(0), choose_up_to(x, x, slope, x)); /* or NaN */
}

#define SELU_SCALE ((real)1.0507009873554804934193349852946)
#define SELU_BELOW ((real)1.758099340847376859940217520812) /* scale times alpha */

/* Between 0 and 6; NaN stays. */
INLINE vec NAME(clip6)(vec x) { return choose_less(x, splat(0), splat(0), choose_less(splat(6), x, splat(6), x)); }

INLINE vec NAME(activate_as)(vec x, const int64_t kind) {
    const vec zero = splat(0);
    switch (kind) {
    case ACT_RELU: return choose_up_to(x, zero, zero, x);
    case ACT_LEAKY_RELU: return choose_up_to(x, zero, x * splat((real)0.01), x);
    case ACT_SIGMOID: return NAME(sigmoid)(x);
    case ACT_TANH: return NAME(tanh)(x);
    case ACT_ELU: return choose_up_to(x, zero, NAME(expm1)(x), x);
    case ACT_GELU: return NAME(gelu)(x);
    case ACT_SILU: return NAME(silu)(x);
    case ACT_SOFTPLUS: return NAME(softplus)(x);
    case ACT_SELU: return choose_up_to(x, zero, NAME(expm1)(x) * splat(SELU_BELOW), x * splat(SELU_SCALE));
    case ACT_HARDSIGMOID: return NAME(clip6)(x + splat(3)) / splat(6);
    case ACT_HARDSWISH: return x * NAME(clip6)(x + splat(3)) / splat(6);
    case ACT_ABSOLUTE: return NAME(magnitude)(x);
    default: return x;
    }
}
SLOW vec NAME(activate)(vec x, int64_t kind) { return NAME(activate_as)(x, kind); }
/* The same, quick for what most outputs have. */
INLINE vec NAME(finish)(vec y, int64_t kind) {
    if (kind == ACT_RELU) return larger((vec){0}, y); /* a NaN stays */
    return kind == ACT_NONE ? y : NAME(activate)(y, kind);
}

/* g times d activation / dx. The fused kinds take the OUTPUT y, the others the input. */
INLINE vec NAME(times_slope)(vec y, vec g, int64_t kind) {
    const vec zero = splat(0), one = splat(1);
    switch (kind) {
    case ACT_RELU: return choose_up_to(y, zero, zero, g);
    case ACT_LEAKY_RELU: return choose_up_to(y, zero, g * splat((real)0.01), g);
    case ACT_SIGMOID: return g * (y * (one - y));
    case ACT_TANH: return g * (one - y * y);
    case ACT_ELU: return choose_up_to(y, zero, g * (y + one), g);
    case ACT_GELU: return g * NAME(gelu_slope)(y);
    case ACT_SILU: {
        const vec s = NAME(sigmoid)(y), x = NAME(clamp)(y, splat(-EXP_LOW));
        return g * (s + x * s * (one - s));
    }
    case ACT_SOFTPLUS: return g * NAME(sigmoid)(y);
    case ACT_SELU:
        return g * choose_less(zero, y, splat(SELU_SCALE), NAME(exp)(y) * splat(SELU_BELOW)); /* or NaN */
    case ACT_HARDSIGMOID: return choose_less(NAME(magnitude)(y), splat(3), g / splat(6), zero);
    case ACT_HARDSWISH: {
        const vec slope = y / splat(3) + splat((real)0.5);
        return g * choose_up_to(y, splat(-3), zero, choose_up_to(splat(3), y, one, slope));
    }
    case ACT_ABSOLUTE: return choose_less(y, zero, -g, choose_less(zero, y, g, y));
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
    return kind == ACT_RELU ? choose_up_to(x, splat(0), splat(0), x) : NAME(activate)(x, kind);
}

SLOW vec NAME(slope_slow)(vec x, vec g, int64_t kind) { return NAME(times_slope)(NAME(activate)(x, kind), g, kind); }

/* g times d activation / dx, from the input x. */
INLINE vec NAME(fused_grad)(vec x, vec g, const int64_t kind) {
    if (kind == ACT_NONE) return g;
    return kind == ACT_RELU ? choose_up_to(x, splat(0), splat(0), g) : NAME(slope_slow)(x, g, kind);
}

/* A normalisation's gradient to x: g times the slope at x scale + shift, times scale, + x b + c. */
INLINE vec NAME(norm_grad_vec)(vec g, vec x, vec scale, vec shift, vec b, vec c, const int64_t kind) {
    const vec v = x * scale + shift;
    const vec t = x * b + c;
    return NAME(fused_grad)(v, g, kind) * scale + t;
}

/* F(kind), with the kind known as it is compiled where that matters. */
#define EACH_FUSED(F, kind) do { \
    if ((kind) == ACT_NONE) { F(ACT_NONE); } \
    else if ((kind) == ACT_RELU) { F(ACT_RELU); } \
    else { F(kind); } \
} while (0)
