/* What the checks of the tiles share: random numbers in guarded memory, and values to compare with.
 *
 * A check computes what a tile should give by plain loops in double precision, whatever the element type. Arrays are
 * flanked by memory that nobody may touch, and end right before it. */
#ifndef CHECK_H
#define CHECK_H

#include "tile.h"

/* The tiles under test: one instruction set, one element type. */
extern const convnd_tiles *tiles;

/* A tile is about to be called: names it in what is printed, and frees the arrays of the call before. */
void begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
void require(int condition, const char *what);

/* A random integer from low to high, both included; a random real between -1 and 1. */
int64_t draw(int64_t low, int64_t high);
double draw_real(void);

/* Arrays that live until the next begin(): of bytes; of n random elements; of n elements that are all the same. */
char *guarded(int64_t bytes);
char *numbers(int64_t n);
char *filled(int64_t n, double value);
double get(const char *array, int64_t i);
void put(char *array, int64_t i, double value);

/* What an element should be. The error is counted in units of the last place of `scale`, the magnitude of the terms that
 * went into it; a scale of 0 asks for the very number, ANY for none in particular. */
typedef struct {
    double value, scale;
} wanted;
#define ANY __builtin_inf()

/* All n elements of an output as they are now: a check changes those that the tile should. */
wanted *as_is(const char *array, int64_t n);
void add(wanted *to, double term);
void compare(const char *array, const wanted *want, int64_t n);

double activated(double x, int64_t kind);
/* Its derivative: from the output for the kinds that are fused, from the input for the others. */
double slope(double y, int64_t kind);
/* activated() of a wanted sum. */
void activate(wanted *to, int64_t kind);

/* Moments of columns, of no row or of some; and what they should be when more have joined, given as (rows, columns). */
typedef struct {
    convnd_moments have;
    wanted *centre, *mean, *square;
    int64_t columns, counted;
} moments;
moments draw_moments(int64_t columns);
void compare_moments(const moments *m, int64_t rows, const double *values);

/* Winograd's convolution along rows, by the tiles of one table. */
void check_rows_of(const convnd_rowwise_tiles *table);

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t whole(int64_t columns) { return (columns + tiles->lanes - 1) / tiles->lanes * tiles->lanes; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
