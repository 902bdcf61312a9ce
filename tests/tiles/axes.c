/* Tiles of padding and resampling. */
#include "check.h"

static void check_copy(int64_t n) {
    begin("axes: copy %lld numbers", (long long)n);
    char *x = numbers(n), *out = numbers(n);
    wanted *want = as_is(out, n);
    for (int64_t i = 0; i < n; i++) want[i] = (wanted){get(x, i), 0};
    tiles->axes->copy(x, out, n, n % tiles->lanes == 0);
    compare(out, want, n);
}

static void check_combine(int64_t terms, int64_t n) {
    const int64_t room = n + 20;
    begin("axes: combine %lld rows of %lld numbers", (long long)terms, (long long)n);
    char *x = numbers(room), *out = numbers(n);
    int64_t *offsets = (int64_t *)guarded(terms * (int64_t)sizeof(int64_t));
    double *weights = (double *)guarded(terms * (int64_t)sizeof(double));
    wanted *want = as_is(out, n);
    for (int64_t e = 0; e < terms; e++) offsets[e] = draw(0, 20), weights[e] = draw_real();
    for (int64_t i = 0; i < n; i++) {
        want[i] = (wanted){0, 0};
        for (int64_t e = 0; e < terms; e++) add(&want[i], weights[e] * get(x, offsets[e] + i));
    }
    tiles->axes->combine(x, offsets, weights, terms, out, n);
    compare(out, want, n);
}

static void check_blend(int64_t channels, int64_t most) {
    const int64_t places = 9, outputs = 7, begin_at = 2, end_at = 6, streams = channels % tiles->lanes == 0;
    begin("axes: blend up to %lld taps of %lld channels", (long long)most, (long long)channels);
    char *x = numbers(places * channels), *out = numbers((end_at - begin_at) * channels);
    int64_t *first = (int64_t *)guarded((outputs + 1) * (int64_t)sizeof(int64_t)), taps = 0;
    for (int64_t q = 0; q <= outputs; q++) {
        first[q] = taps;
        taps += draw(1, most);
    }
    int64_t *index = (int64_t *)guarded(taps * (int64_t)sizeof(int64_t));
    double *weights = (double *)guarded(taps * (int64_t)sizeof(double));
    for (int64_t t = 0; t < taps; t++) index[t] = draw(0, places - 1), weights[t] = draw_real();
    wanted *want = as_is(out, (end_at - begin_at) * channels);
    for (int64_t q = begin_at; q < end_at; q++)
        for (int64_t c = 0; c < channels; c++) {
            wanted *one = &want[(q - begin_at) * channels + c];
            *one = (wanted){0, 0};
            for (int64_t t = first[q]; t < first[q + 1]; t++) add(one, weights[t] * get(x, index[t] * channels + c));
        }
    tiles->axes->blend(x, first, index, weights, out, begin_at, end_at, channels, streams);
    compare(out, want, (end_at - begin_at) * channels);
}

void check_axes(void) {
    for (int64_t n = 1; n <= 4 * tiles->lanes + 1; n++) {
        check_copy(n);
        for (int64_t terms = 1; terms <= 4; terms++) check_combine(terms, n);
        for (int64_t most = 1; most <= 4; most++) check_blend(n, most);
    }
    for (int64_t k = 0; k < 20; k++) check_blend(draw(1, 3) * tiles->lanes + draw(0, 1), 2);
}
