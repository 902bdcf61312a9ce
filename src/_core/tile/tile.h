/* The table of tiles: inner loops without Python, threads or memory of their own.
 *
 * Every instruction set has one table for each element type; tile.c fills them. Sizes and steps count elements.
 */
#ifndef CONVND_TILE_H
#define CONVND_TILE_H

#include <stdint.h>

enum { CONVND_MAX_HEIGHT = 28 };

typedef enum {
    ACT_NONE, ACT_RELU, ACT_LEAKY_RELU, ACT_SIGMOID, ACT_TANH, ACT_ELU, /* derivative follows from the output */
    ACT_GELU, ACT_SILU, ACT_SOFTPLUS
} convnd_activation;

/* A tile of `height` positions x one panel of filters.
 *
 *     sum[m][f] = start[f] or out[m][f], then += x[m x_step + run.x + k] * w[(run.w + k) panel + f]
 *
 * for the runs in order and k ascending in each: one chain of multiply-adds an element. */
typedef struct {
    const char *x;       /* IN  first position */
    const char *w;       /* IN  packed panel */
    const char *start;   /* IN  a panel of values to start from; NULL: go on from out */
    char *out;           /* IN and OUT */
    int64_t x_step;      /* from one position to the next */
    int64_t out_step;
    const int64_t *runs; /* IN  pairs: x offset, w offset */
    int64_t n_runs;
    int64_t length;      /* of a run */
    int64_t lanes;       /* filters of the panel that exist */
    int64_t activation;  /* applied as the sums are stored */
} convnd_conv_args;

/* A tile of `height` weights rows x one panel of filters, summed over positions.
 *
 *     acc[m][f] += sum over segments and p of x[seg.x + p x_step + m x_row] * g[seg.g + p g_step + f] */
typedef struct {
    const char *x;           /* IN */
    const char *g;           /* IN */
    char *acc;               /* IN and OUT, a full panel wide */
    int64_t x_step, x_row, g_step;
    const int64_t *segments; /* IN  triples: x offset, g offset, positions */
    int64_t n_segments;
    int64_t lanes;           /* filters of the panel that exist */
} convnd_weight_args;

typedef void (*convnd_conv_tile)(const convnd_conv_args *);
typedef void (*convnd_weight_tile)(const convnd_weight_args *);

typedef struct {
    int64_t itemsize;
    int64_t lanes;       /* elements of a vector */
    int64_t height[3];   /* tallest tile of panels 1 and 2 vectors wide ([0] unused) */
    convnd_conv_tile conv[3][CONVND_MAX_HEIGHT + 1];          /* [vectors][height] */
    convnd_conv_tile depthwise[3][CONVND_MAX_HEIGHT + 1];
    convnd_weight_tile weight[3][CONVND_MAX_HEIGHT + 1];
    convnd_weight_tile depthwise_weight[3][CONVND_MAX_HEIGHT + 1];
} convnd_tiles;

/* Flush denormals on this thread; returns the state to put back. */
#if defined(__x86_64__)
#include <xmmintrin.h>
static inline uint64_t convnd_flush_denormals(void) {
    uint64_t state = _mm_getcsr();
    _mm_setcsr((unsigned)state | 0x8040u); /* FTZ, DAZ */
    return state;
}
static inline void convnd_restore_denormals(uint64_t state) { _mm_setcsr((unsigned)state); }
#elif defined(__aarch64__)
static inline uint64_t convnd_flush_denormals(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" : : "r"(state | (1u << 24))); /* FZ */
    return state;
}
static inline void convnd_restore_denormals(uint64_t state) { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
#else
static inline uint64_t convnd_flush_denormals(void) { return 0; }
static inline void convnd_restore_denormals(uint64_t state) { (void)state; }
#endif

#endif
