/* Spectra. The discrete Fourier transform of a column: as many signals as a vector has lanes, real and imaginary parts
 * in two vectors.
 *
 * Stockham's transform, decimated in frequency: a pass of radix r takes what is left of the length apart into r, and puts
 * the parts back in natural order. Lanes never meet, so that what is beside a signal doesn't change it.
 * C. Van Loan, "Computational Frameworks for the Fast Fourier Transform", SIAM 1992, section 1.7. */

typedef struct { vec re, im; } NAME(complex_vec);
#define complex_vec NAME(complex_vec)

INLINE complex_vec NAME(read)(const real *p) { return (complex_vec){load(p), load(p + VL)}; }
INLINE complex_vec NAME(plus)(complex_vec a, complex_vec b) { return (complex_vec){a.re + b.re, a.im + b.im}; }
INLINE complex_vec NAME(minus)(complex_vec a, complex_vec b) { return (complex_vec){a.re - b.re, a.im - b.im}; }
INLINE complex_vec NAME(times_i)(complex_vec a) { return (complex_vec){-a.im, a.re}; }

/* In place: a[j] = sum over k of a[k] exp(2 pi i j k / radix). */
INLINE void NAME(butterfly)(const int radix, complex_vec *a) {
    if (radix == 2) {
        const complex_vec b = a[0];
        a[0] = NAME(plus)(b, a[1]);
        a[1] = NAME(minus)(b, a[1]);
    } else if (radix == 3) {
        const complex_vec sum = NAME(plus)(a[1], a[2]), difference = NAME(times_i)(NAME(minus)(a[1], a[2]));
        const vec half = splat((real)0.5), sine = splat((real)0.86602540378443864676);
        const complex_vec middle = {a[0].re - half * sum.re, a[0].im - half * sum.im};
        const complex_vec side = {sine * difference.re, sine * difference.im};
        a[0] = NAME(plus)(a[0], sum);
        a[1] = NAME(plus)(middle, side);
        a[2] = NAME(minus)(middle, side);
    } else {
        const complex_vec even = NAME(plus)(a[0], a[2]), odd = NAME(plus)(a[1], a[3]);
        const complex_vec b = NAME(minus)(a[0], a[2]), c = NAME(times_i)(NAME(minus)(a[1], a[3]));
        a[0] = NAME(plus)(even, odd);
        a[1] = NAME(plus)(b, c);
        a[2] = NAME(minus)(even, odd);
        a[3] = NAME(minus)(b, c);
    }
}

/* One pass: `length` is left in each of `stride` interleaved parts. */
INLINE void NAME(fft_pass)(const int radix, const int last, const real *x, int64_t x_step, real *out, int64_t out_step,
                           int64_t length, int64_t stride, const real *twiddles) {
    const int64_t m = length / radix;
    for (int64_t p = 0; p < m; p++) {
        const real *w = twiddles + 2 * (radix - 1) * p;
        for (int64_t q = 0; q < stride; q++) {
            complex_vec a[4];
            UNROLL for (int j = 0; j < radix; j++) a[j] = NAME(read)(x + (q + stride * (p + m * j)) * x_step);
            NAME(butterfly)(radix, a);
            UNROLL for (int j = 0; j < radix; j++) {
                real *to = out + (q + stride * (radix * p + j)) * out_step;
                if (j && !last) {
                    const vec re = splat(w[2 * j - 2]), im = splat(w[2 * j - 1]);
                    a[j] = (complex_vec){a[j].re * re - a[j].im * im, a[j].re * im + a[j].im * re};
                }
                store(to, a[j].re);
                store(to + VL, a[j].im);
            }
        }
    }
}

#define PASS(R, L) static void NAME(fft_pass_##R##_##L)(const real *x, int64_t x_step, real *out, int64_t out_step, \
    int64_t length, int64_t stride, const real *w) { NAME(fft_pass)(R, L, x, x_step, out, out_step, length, stride, w); }
PASS(2, 0) PASS(3, 0) PASS(4, 0) PASS(2, 1) PASS(3, 1) PASS(4, 1)
#undef PASS

static void NAME(fft)(const convnd_fft_args *a) {
    static void (*const passes[2][5])(const real *, int64_t, real *, int64_t, int64_t, int64_t, const real *) = {
        {0, 0, NAME(fft_pass_2_0), NAME(fft_pass_3_0), NAME(fft_pass_4_0)},
        {0, 0, NAME(fft_pass_2_1), NAME(fft_pass_3_1), NAME(fft_pass_4_1)}};
    const real *x = (const real *)a->x, *w = (const real *)a->twiddles;
    real *scratch[2] = {(real *)a->scratch, (real *)a->scratch + 2 * VL * a->length};
    int64_t x_step = a->step, stride = 1, left = a->length;
    for (int64_t i = 0; left > 1; i++) {
        const int64_t radix = a->radices[i], last = left == radix;
        real *out = last ? (real *)a->x : scratch[i & 1];
        const int64_t out_step = last ? a->step : 2 * VL;
        passes[last][radix](x, x_step, out, out_step, left, stride, w);
        w += 2 * (radix - 1) * (left / radix);
        left /= radix;
        stride *= radix;
        x = out;
        x_step = out_step;
    }
}

/* In place, so a frequency and its negative at a time. */
static void NAME(multiply)(char *z_, const char *w_, const int64_t *negative, int64_t points) {
    real *z = (real *)z_;
    const real *w = (const real *)w_;
    for (int64_t k = 0; k < points; k++) {
        const int64_t n = negative[k];
        if (n < k) continue;
        const complex_vec both[2] = {NAME(read)(z + 2 * VL * k), NAME(read)(z + 2 * VL * n)};
        for (int side = 0; side < 2; side++) {
            const int64_t at = side ? n : k;
            const complex_vec here = both[side], there = both[!side];
            const complex_vec a = NAME(read)(w + 4 * VL * at), b = NAME(read)(w + 4 * VL * at + 2 * VL);
            store(z + 2 * VL * at, a.re * there.re - a.im * there.im + b.re * here.re + b.im * here.im);
            store(z + 2 * VL * at + VL, a.re * there.im + a.im * there.re + b.im * here.re - b.re * here.im);
        }
    }
}

/* With z', h' at -k:  4 sum = (z' + conj z)(conj h' + h) + i (z' - conj z)(conj h' - h) */
static void NAME(correlate)(const char *z_, const char *h_, char *sum_, const int64_t *negative, int64_t points) {
    const real *z = (const real *)z_, *h = (const real *)h_;
    real *sum = (real *)sum_;
    const vec quarter = splat((real)0.25);
    for (int64_t k = 0; k < points; k++, sum += 2 * VL) {
        const int64_t n = negative[k];
        const complex_vec zk = NAME(read)(z + 2 * VL * k), zn = NAME(read)(z + 2 * VL * n);
        const complex_vec hk = NAME(read)(h + 2 * VL * k), hn = NAME(read)(h + 2 * VL * n);
        const complex_vec a = {zn.re + zk.re, zn.im - zk.im}, b = {hn.re + hk.re, hk.im - hn.im};
        const complex_vec c = {zn.re - zk.re, zn.im + zk.im}, d = {hn.re - hk.re, -hn.im - hk.im};
        const vec re = a.re * b.re - a.im * b.im - (c.re * d.im + c.im * d.re);
        const vec im = a.re * b.im + a.im * b.re + (c.re * d.re - c.im * d.im);
        store(sum, load(sum) + quarter * re);
        store(sum + VL, load(sum + VL) + quarter * im);
    }
}

const convnd_spectrum_tiles NAME(convnd_spectrum_tiles) = {
    .fft = NAME(fft), .multiply = NAME(multiply), .correlate = NAME(correlate),
};
#undef complex_vec
