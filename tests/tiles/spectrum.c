/* Transforms of columns, and the products of depthwise spectra. */
#include "check.h"

#include <math.h>

static const double CIRCLE = 6.283185307179586476925;

/* One column among others that must stay as they are. */
static void check_fft(int64_t length) {
    const int64_t lanes = tiles->lanes, step = 2 * lanes * draw(1, 3), n = (length - 1) * step + 2 * lanes;
    begin("spectrum: %lld points, %lld apart", (long long)length, (long long)step);
    char *x = numbers(n), *scratch = numbers(4 * lanes * length);
    int64_t factors[64], passes = 0, powers = 0;
    for (int64_t left = length; left > 1; left /= factors[passes - 1]) {
        factors[passes] = left % 4 == 0 && draw(0, 3) ? 4 : left % 2 == 0 ? 2 : 3;
        powers += (factors[passes] - 1) * (left / factors[passes]);
        passes++;
    }
    int64_t *radices = (int64_t *)guarded(passes * (int64_t)sizeof(int64_t)), at = 0, left = length;
    char *twiddles = numbers(2 * powers);
    for (int64_t i = 0; i < passes; left /= factors[i++]) {
        radices[i] = factors[i];
        for (int64_t p = 0; p < left / factors[i]; p++)
            for (int64_t j = 1; j < factors[i]; j++, at++) {
                put(twiddles, 2 * at, cos(CIRCLE * (double)(p * j) / (double)left));
                put(twiddles, 2 * at + 1, sin(CIRCLE * (double)(p * j) / (double)left));
            }
    }
    wanted *want = as_is(x, n);
    for (int64_t k = 0; k < length; k++)
        for (int64_t lane = 0; lane < lanes; lane++) {
            wanted *re = &want[k * step + lane], *im = re + lanes;
            *re = *im = (wanted){0, 0};
            for (int64_t t = 0; t < length; t++) {
                const double a = get(x, t * step + lane), b = get(x, t * step + lanes + lane);
                const double turn = CIRCLE * (double)(k * t % length) / (double)length;
                add(re, a * cos(turn) - b * sin(turn));
                add(im, a * sin(turn) + b * cos(turn));
                re->scale += fabs(a) + fabs(b);
                im->scale += fabs(a) + fabs(b);
            }
        }
    const convnd_fft_args args = {x, scratch, twiddles, radices, length, step};
    tiles->spectrum->fft(&args);
    compare(x, want, n);
}

/* A number of a column, and what a complex factor adds to two wanted ones. */
typedef struct { double re, im; } number;
static number read(const char *column, int64_t k, int64_t lane) {
    return (number){get(column, 2 * tiles->lanes * k + lane), get(column, 2 * tiles->lanes * k + tiles->lanes + lane)};
}
static number times(number a, number b) { return (number){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
static number conjugate(number a) { return (number){a.re, -a.im}; }
static void add_product(wanted *re, number a, number b, double factor) {
    const number c = times(a, b);
    const double scale = fabs(factor) * (fabs(a.re) + fabs(a.im)) * (fabs(b.re) + fabs(b.im));
    add(re, factor * c.re);
    add(re + tiles->lanes, factor * c.im);
    re->scale += scale;
    re[tiles->lanes].scale += scale;
}

static int64_t *negatives(int64_t points) {
    int64_t *negative = (int64_t *)guarded(points * (int64_t)sizeof(int64_t));
    for (int64_t k = 0; k < points; k++) negative[k] = (points - k) % points;
    return negative;
}

static void check_multiply(int64_t points) {
    const int64_t lanes = tiles->lanes;
    begin("spectrum: product of %lld points", (long long)points);
    char *z = numbers(2 * lanes * points), *w = numbers(4 * lanes * points);
    const int64_t *negative = negatives(points);
    wanted *want = as_is(z, 2 * lanes * points);
    for (int64_t k = 0; k < points; k++)
        for (int64_t lane = 0; lane < lanes; lane++) {
            wanted *re = &want[2 * lanes * k + lane];
            re[0] = re[lanes] = (wanted){0, 0};
            add_product(re, read(w, 2 * k, lane), read(z, negative[k], lane), 1);
            add_product(re, read(w, 2 * k + 1, lane), conjugate(read(z, k, lane)), 1);
        }
    tiles->spectrum->multiply(z, w, negative, points);
    compare(z, want, 2 * lanes * points);
}

/* The spectra of a pair of real signals, each times the conjugate of the other factor's: at -k, so of those at -k. */
static void check_correlate(int64_t points) {
    const int64_t lanes = tiles->lanes;
    begin("spectrum: correlation of %lld points", (long long)points);
    char *z = numbers(2 * lanes * points), *h = numbers(2 * lanes * points), *sum = numbers(2 * lanes * points);
    const int64_t *negative = negatives(points);
    wanted *want = as_is(sum, 2 * lanes * points);
    for (int64_t k = 0; k < points; k++)
        for (int64_t lane = 0; lane < lanes; lane++) {
            wanted *re = &want[2 * lanes * k + lane];
            const number zn = read(z, negative[k], lane), zk = conjugate(read(z, k, lane));
            const number hn = read(h, negative[k], lane), hk = conjugate(read(h, k, lane));
            const number x[2] = {{zn.re + zk.re, zn.im + zk.im}, times((number){0, -1}, (number){zn.re - zk.re, zn.im - zk.im})};
            const number g[2] = {{hn.re + hk.re, hn.im + hk.im}, times((number){0, -1}, (number){hn.re - hk.re, hn.im - hk.im})};
            add_product(re, x[0], conjugate(g[0]), 0.25);
            add_product(re, times((number){0, 1}, x[1]), conjugate(g[1]), 0.25);
        }
    tiles->spectrum->correlate(z, h, sum, negative, points);
    compare(sum, want, 2 * lanes * points);
}

void check_spectrum(void) {
    const int64_t lengths[] = {2, 3, 4, 6, 8, 9, 12, 16, 24, 27, 32, 48, 64, 96, 128};
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_fft(lengths[i]);
        check_multiply(lengths[i]);
        check_correlate(lengths[i]);
    }
    check_multiply(1);
    check_correlate(1);
}
