/* The tiles of one instruction set against plain loops: one line for each family and element type, and a status.
 *
 * Compiled with LEVEL, and FAMILIES as F(conv) F(narrow) ... See tests/test_tiles.py. */
#define _GNU_SOURCE
#include "check.h"

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
extern const convnd_tiles JOIN(convnd_tiles, LEVEL, f32), JOIN(convnd_tiles, LEVEL, f64);
#define F(family) void check_##family(void);
FAMILIES
#undef F

enum { MOST_ARRAYS = 64, MOST_REPORTS = 10, LIMIT = 32, SLACK = 0xA5 };

typedef struct {
    char *map, *data;
    int64_t map_bytes, slack;
} array;

const convnd_tiles *tiles;
static uint64_t state;
static array arrays[MOST_ARRAYS];
static wanted *wants[MOST_ARRAYS];
static int n_arrays, n_wants, calls, failures;
static double worst;
static char tile_name[200];

static void fail(const char *format, ...) {
    va_list list;
    if (failures++ >= MOST_REPORTS) return;
    fprintf(stderr, "%s, %s: ", tile_name, tiles->itemsize == 4 ? "float32" : "float64");
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

void require(int condition, const char *what) {
    if (!condition) fail("%s", what);
}

static void release(void) {
    for (int i = 0; i < n_arrays; i++) {
        const array *a = &arrays[i];
        for (int64_t k = 1; k <= a->slack; k++)
            if ((unsigned char)a->data[-k] != SLACK) {
                fail("writes %lld bytes before an array", (long long)k);
                break;
            }
        munmap(a->map, (size_t)a->map_bytes);
    }
    for (int i = 0; i < n_wants; i++) free(wants[i]);
    n_arrays = n_wants = 0;
}

void begin(const char *format, ...) {
    va_list list;
    release();
    va_start(list, format);
    vsnprintf(tile_name, sizeof(tile_name), format, list);
    va_end(list);
    calls++;
}

int64_t draw(int64_t low, int64_t high) {
    uint64_t z = state += 0x9E3779B97F4A7C15u; /* SplitMix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return low + (int64_t)(z % (uint64_t)(high - low + 1));
}

double draw_real(void) { return ldexp((double)draw(-(1ll << 53), 1ll << 53), -53); }

/* A page that can't be touched on either side; what the first page has too much is filled, and looked at later. */
char *guarded(int64_t bytes) {
    const int64_t page = sysconf(_SC_PAGESIZE), inside = (bytes / page + 1) * page;
    array *a = &arrays[n_arrays++];
    if (n_arrays > MOST_ARRAYS) abort();
    a->map_bytes = inside + 2 * page;
    a->map = mmap(NULL, (size_t)a->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->map == MAP_FAILED || mprotect(a->map + page, (size_t)inside, PROT_READ | PROT_WRITE)) abort();
    a->slack = inside - bytes;
    a->data = a->map + page + a->slack;
    memset(a->map + page, SLACK, (size_t)a->slack);
    return a->data;
}

double get(const char *p, int64_t i) { return tiles->itemsize == 4 ? ((const float *)p)[i] : ((const double *)p)[i]; }

void put(char *p, int64_t i, double value) {
    if (tiles->itemsize == 4) ((float *)p)[i] = (float)value;
    else ((double *)p)[i] = value;
}

char *numbers(int64_t n) {
    char *p = guarded(n * tiles->itemsize);
    for (int64_t i = 0; i < n; i++) put(p, i, draw_real());
    return p;
}

char *filled(int64_t n, double value) {
    char *p = guarded(n * tiles->itemsize);
    for (int64_t i = 0; i < n; i++) put(p, i, value);
    return p;
}

wanted *as_is(const char *p, int64_t n) {
    wanted *want = wants[n_wants++] = malloc((size_t)(n + 1) * sizeof(wanted));
    if (!want || n_wants > MOST_ARRAYS) abort();
    for (int64_t i = 0; i < n; i++) want[i] = (wanted){get(p, i), 0};
    return want;
}

void add(wanted *to, double term) {
    if (to->scale == 0) to->scale = fabs(to->value); /* it's a term too */
    to->value += term;
    to->scale += fabs(term);
}

/* In units of eps times scale. Numbers about as small as the least normal one may become 0. */
static double error(double got, wanted want) {
    const int narrow = tiles->itemsize == 4;
    const double tiny = 128 * (narrow ? FLT_MIN : DBL_MIN), eps = narrow ? FLT_EPSILON : DBL_EPSILON;
    if (got == want.value || (isnan(got) && isnan(want.value)) || want.scale == ANY) return 0;
    if (want.scale == 0 || !isfinite(got) || !isfinite(want.value)) return INFINITY;
    const double difference = fabs(got - want.value);
    return difference <= tiny ? 0 : difference / want.scale / eps;
}

void compare(const char *p, const wanted *want, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double e = error(get(p, i), want[i]);
        if (e > worst) worst = e;
        if (!(e <= LIMIT))
            fail("element %lld of %lld is %.17g, wanted %.17g, an error of %g eps", (long long)i, (long long)n,
                 get(p, i), want[i].value, e);
    }
}

/* In long double, as an argument's rounding shows in the exponential. */
#define SELU_SCALE 1.0507009873554804934193349852946 /* Klambauer et al. 2017 */
#define SELU_ALPHA 1.6732632423543772848170429916717

moments draw_moments(int64_t columns) {
    const int64_t n = whole(columns);
    moments m = {.columns = columns, .counted = draw(0, 1) ? draw(1, 50) : 0};
    char *arrays_[3];
    for (int i = 0; i < 3; i++) arrays_[i] = m.counted ? numbers(n) : filled(n, 0);
    m.have = (convnd_moments){arrays_[0], arrays_[1], arrays_[2]};
    m.centre = as_is(arrays_[0], n), m.mean = as_is(arrays_[1], n), m.square = as_is(arrays_[2], n);
    return m;
}

void compare_moments(const moments *m, int64_t rows, const double *values) {
    const int64_t n = whole(m->columns);
    const double share = rows ? (double)rows / (double)(rows + m->counted) : 0, weight = share * (double)m->counted;
    for (int64_t c = 0; rows && c < n; c++) {
        double own = 0, square = 0, terms = 0;
        const double centre = m->centre[c].value, before = m->mean[c].value, squares = m->square[c].value;
        if (!m->counted) m->centre[c].scale = ANY; /* near the rows' mean: the mean is counted from there */
        if (c >= m->columns) {
            m->centre[c].scale = m->mean[c].scale = m->square[c].scale = ANY;
            continue;
        }
        for (int64_t r = 0; r < rows; r++) own += values[r * m->columns + c] / (double)rows;
        for (int64_t r = 0; r < rows; r++) {
            const double v = values[r * m->columns + c];
            square += (v - own) * (v - own);
            terms += v * v;
        }
        const double apart = own - (centre + before), scale = fabs(own) + fabs(centre) + fabs(before);
        const double mean = centre + before + apart * share;
        m->mean[c] = (wanted){mean - get(m->have.centre, c), scale + 1};
        m->square[c] = (wanted){squares + square + apart * apart * weight, fabs(squares) + terms + scale * scale * weight};
    }
    compare(m->have.centre, m->centre, n);
    compare(m->have.mean, m->mean, n);
    compare(m->have.square, m->square, n);
}

double activated(double number, int64_t kind) {
    const long double x = number;
    switch (kind) {
    case ACT_RELU: return number <= 0 ? 0 : number;
    case ACT_LEAKY_RELU: return number <= 0 ? 0.01 * number : number;
    case ACT_SIGMOID: return (double)(1 / (1 + expl(-x)));
    case ACT_TANH: return tanh(number);
    case ACT_ELU: return number <= 0 ? expm1(number) : number;
    case ACT_GELU: return number == -INFINITY ? 0 : (double)(0.5L * x * erfcl(-x * sqrtl(0.5L)));
    case ACT_SILU: return number == -INFINITY ? 0 : (double)(x / (1 + expl(-x)));
    case ACT_SOFTPLUS: return (double)((x > 0 ? x : 0) + log1pl(expl(-fabsl(x))));
    case ACT_SELU: return SELU_SCALE * (number <= 0 ? SELU_ALPHA * expm1(number) : number);
    case ACT_HARDSIGMOID: return number <= -3 ? 0 : number >= 3 ? 1 : (number + 3) / 6;
    case ACT_HARDSWISH: return number * activated(number, ACT_HARDSIGMOID);
    case ACT_ABSOLUTE: return fabs(number);
    default: return number;
    }
}

double slope(double y, int64_t kind) {
    const double s = 1 / (1 + exp(-y));
    switch (kind) {
    case ACT_RELU: return y > 0;
    case ACT_LEAKY_RELU: return y > 0 ? 1 : 0.01;
    case ACT_SIGMOID: return y * (1 - y);
    case ACT_TANH: return 1 - y * y;
    case ACT_ELU: return y > 0 ? 1 : y + 1;
    case ACT_GELU: return 0.5 * erfc(-y * sqrt(0.5)) + 0.39894228040143267794 * y * exp(-y * y / 2);
    case ACT_SILU: return s + y * s * (1 - s);
    case ACT_SOFTPLUS: return s;
    case ACT_SELU: return SELU_SCALE * (y > 0 ? 1 : SELU_ALPHA * exp(y));
    case ACT_HARDSIGMOID: return fabs(y) < 3 ? 1.0 / 6 : 0;
    case ACT_HARDSWISH: return y <= -3 ? 0 : y >= 3 ? 1 : y / 3 + 0.5;
    case ACT_ABSOLUTE: return y > 0 ? 1 : y < 0 ? -1 : 0;
    default: return 1;
    }
}

void activate(wanted *to, int64_t kind) {
    to->value = activated(to->value, kind);
    to->scale = fmax(to->scale, fabs(to->value));
}

static void outside(int number) {
    (void)number;
    (void)!write(STDERR_FILENO, tile_name, strlen(tile_name));
    (void)!write(STDERR_FILENO, ": touches memory outside of its arrays\n", 39);
    _exit(1);
}

/* 0 where nothing failed. */
static int run(const char *family, void (*check)(void), const convnd_tiles *these) {
    tiles = these;
    state = 20240607;
    calls = failures = 0;
    worst = 0;
    check();
    begin("end");
    printf("%s %s: %d calls, largest error %.2f eps%s\n", family, tiles->itemsize == 4 ? "float32" : "float64", calls - 1,
           worst, failures ? ", FAILED" : "");
    fflush(stdout);
    return failures != 0;
}

int main(void) {
    int failed = 0;
    signal(SIGSEGV, outside);
    volatile double small = DBL_MIN;
    convnd_flush_denormals(); /* as all tiles run */
    if (small / 4 != 0) failed |= printf("denormals: FAILED\n");
#define F(family) \
    failed |= run(#family, check_##family, &JOIN(convnd_tiles, LEVEL, f32)); \
    failed |= run(#family, check_##family, &JOIN(convnd_tiles, LEVEL, f64));
    FAMILIES
#undef F
    return failed != 0;
}
