/* The table of tiles: inner loops without Python, threads or memory of their own.
 *
 * Every instruction set has one table for each element type; tile.c fills them. Sizes and steps count elements.
 */
#ifndef CONVND_TILE_H
#define CONVND_TILE_H

#include <stddef.h>
#include <stdint.h>

enum { CONVND_MAX_HEIGHT = 28, CONVND_MAX_VECTORS = 4, CONVND_MAX_BELOW = 6 };

typedef enum {
    ACT_NONE, ACT_RELU, ACT_LEAKY_RELU, ACT_SIGMOID, ACT_TANH, ACT_ELU, /* derivative follows from the output */
    ACT_GELU, ACT_SILU, ACT_SOFTPLUS, ACT_SELU, ACT_HARDSIGMOID, ACT_HARDSWISH, ACT_ABSOLUTE
} convnd_activation;

/* `tiles` tiles, one after the other, of `height` positions x one panel of filters.
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
    int64_t tiles;
    const int64_t *runs; /* IN  pairs: x offset, w offset */
    int64_t n_runs;
    int64_t length;      /* of a run */
    int64_t depth;       /* of a tap: a run has length / depth taps (dot); runs below each other (below) */
    int64_t lanes;       /* filters of the panel that exist */
    int64_t activation;  /* applied as the sums are stored */
    int64_t streams;     /* the panel is full, and the sums go past the caches */
    int64_t fresh;       /* bits of the runs whose inputs nobody has read before: memory is asked for the next tile's, */
    int64_t ahead;       /* which the last tile finds so much further (dot: each) */
} convnd_conv_args;

/* A tile of `height` rows of the weight's gradient x one panel of filters, summed over positions.
 *
 *     acc[m acc_step + f] (+)= sum over segments and p of x[seg.x + p x_step + rows[m]] * g[seg.g + p g_step + f]
 *
 * where a plain tile's row m is m further. The tiles without vectors of filters take one filter and steps of 1. */
typedef struct {
    const char *x;           /* IN */
    const char *g;           /* IN  whole panels */
    char *acc;               /* IN and OUT */
    int64_t x_step, g_step, acc_step;
    const int64_t *rows;
    const int64_t *segments; /* IN  triples: x offset, g offset, positions */
    int64_t n_segments;
    int64_t lanes;           /* filters of the panel that exist: only these are stored */
    int64_t fresh;           /* the sums replace what is in acc */
    const char *ask;         /* memory is asked for a line from here on with each position, */
    int64_t ask_step;        /* so many bytes apart; 0 asks for nothing new */
} convnd_weight_args;

/* Depthwise: `rows` rows of `tiles` tiles of `height` outputs x `panels` panels of channels next to each other.
 *
 *     out[m][f] = activation(start[f] + sum over runs and taps j of x[run.x + at x_step + f] w[run.w + j][f])
 *
 * where at = m stride + j dilation, for low <= at < high only: one chain, runs in order and taps ascending in each. */
typedef struct {
    const char *x;       /* IN  the first output's first tap */
    const char *w;       /* IN  packed [panel][tap][channel of the panel] */
    const char *start;   /* IN  [panel][channel] */
    char *out;           /* OUT */
    int64_t x_step;      /* from one position to the next */
    int64_t out_step;    /* from one output to the next */
    int64_t stride, dilation, low, high; /* positions */
    const int64_t *runs; /* IN  pairs: x offset, first tap */
    int64_t n_runs, taps;
    int64_t new_runs;    /* of these, the last: their inputs are first read in this row of outputs */
    int64_t rows, x_row, out_row; /* how many, and from one to the next */
    int64_t below;       /* the next row comes before what follows in this one: memory is asked for that */
    int64_t asks;        /* memory for what comes next: 1 into the second cache, 2 into the first as well */
    int64_t tiles;
    int64_t panels, pack; /* how many, and from one's weights to the next's */
    int64_t activation;
    int64_t streams;      /* without an activation: past the caches */
} convnd_depthwise_args;

/* Its weight gradient: some runs of `taps` taps, for `panels` vectors of channels next to each other.
 *
 *     acc[run.acc + j][f] += sum over rows and outputs m of x[run.x + at x_step + f] g[m g_step + f] */
enum { CONVND_MAX_TAPS = 8 };
typedef struct {
    const char *x;       /* IN */
    const char *g;       /* IN */
    char *acc;           /* IN and OUT  [panel][tap][channel] */
    int64_t x_step, g_step;
    int64_t stride, dilation, low, high;
    const int64_t *runs; /* IN  pairs: x offset, acc offset */
    int64_t rows, x_row, g_row; /* how many, and from one to the next */
    int64_t outputs;
    int64_t panels, pack;
    int64_t below;       /* as above */
    int64_t asks;        /* memory for what comes next: 1 into the second cache, 2 into both (groups: the first) */
    int64_t group;       /* channels and filters of a group (weight_part only) */
} convnd_depthwise_weight_args;

/* Winograd's transforms take an array apart into tiles, along at most so many axes and into at most so many frequencies. */
enum { CONVND_WINOGRAD_AXES = 4, CONVND_WINOGRAD_MOST = 256 };

typedef struct {
    int64_t alpha;   /* frequencies = outputs + taps - 1; all three are 1 on an axis that isn't transformed */
    int64_t outputs;
    int64_t taps;
} convnd_winograd_axis;

/* Of each column: a centre, the mean's distance from it, squared deviations from the mean. IN and OUT, to whole vectors; at
 * first zeros. */
typedef struct {
    char *centre, *mean, *square;
} convnd_moments;

/* One tile: a box of positions in a spatial array, and its frequencies, frequency_step apart, channels side by side. */
typedef struct {
    const convnd_winograd_axis *axes;
    const char *x;       /* IN */
    const char *x_end;   /* nothing is read from here on */
    const char *start;   /* IN  the bias, padded with zeros to whole vectors */
    char *y;             /* OUT */
    int64_t step[CONVND_WINOGRAD_AXES];                              /* from one element of the box to the next */
    int64_t from[CONVND_WINOGRAD_AXES], to[CONVND_WINOGRAD_AXES];    /* the elements that exist */
    int64_t frequency_step;
    int64_t channels;
    int64_t activation;
    int64_t streams;        /* outputs, or weights, go past the caches: only where channels fill whole lines of it */
    int64_t asks;           /* memory is asked for what the next tile of the row reads, but by planes */
    convnd_moments moments; /* of `counted` outputs before; NULL: none are wanted */
    int64_t counted;
} convnd_winograd_args;

/* out (count, panel) = x (count, depth) times a packed panel of w, where count is a multiple of the tallest tile's, or any where
 * `any_count`. */
typedef struct {
    const char *x;
    const char *w;
    char *out;
    int64_t x_step, out_step, count, depth;
    int64_t ahead;       /* bytes from this panel of w to the one that is asked for meanwhile */
    const char *ask;     /* lines of memory that are wanted next: */
    int64_t share;       /* each tile asks for so many, at most `depth` */
} convnd_winograd_product;

/* A row's tiles, `residue` the first one's number among the `apart` that lie between each other: inputs of `width` channels to
 * their frequencies (tiles, width, 8) or, wide, (tiles, width / lanes, 8, lanes), in turns (tiles, 8, width). */
typedef struct {
    const char *x;       /* IN  the first element of the first tile */
    char *to;            /* OUT */
    int64_t alpha, tiles, width;
    int64_t element;     /* from one element of a tile to the next */
    int64_t apart, residue;
    int64_t step;        /* from a tile to the one between whose elements it lies, */
    int64_t onward;      /* and from the first of these to the first of the next */
    int64_t wide;        /* channels fill vectors */
} convnd_rowwise_input;

typedef struct {
    int64_t x;           /* where its frequencies begin */
    int64_t out;         /* where its first output is */
    int64_t exist;       /* outputs */
} convnd_rowwise_tile;

/* Tiles of a panel of filters: sums of x[tile.x + runs[r] + 8 k + f] * w[(r width + k) alpha + f] (or, in turns, [f
 * depth + r width + k]), to outputs; wide, x lies that way. */
typedef struct {
    const char *x;       /* IN  frequencies */
    const char *w;       /* IN  a panel's */
    const char *start;   /* IN  a panel of the bias */
    char *out;           /* OUT */
    const convnd_rowwise_tile *tile;
    int64_t tiles;       /* a multiple of those at once */
    int64_t out_step;    /* from one output of a tile to the next */
    const int64_t *runs;
    int64_t n_runs, width, wide;
    int64_t lanes;       /* filters of the panel that exist */
    int64_t activation;
    int64_t streams;     /* the panel is full, and the outputs go past the caches */
    convnd_moments moments; /* of the outputs; NULL: none are wanted */
    const char *ask, *ask_end; /* memory that is wanted next: it is asked for */
} convnd_rowwise_args;

/* The weight's gradient: tiles of a panel of outputs' gradients to frequencies, times those of inputs x[rows[r] + tile.x + f],
 * summed up over tiles. */
typedef struct {
    const char *x;
    const char *g;       /* IN  outputs' gradients */
    char *frequencies;   /* room for (tiles, alpha, lanes) */
    char *sum;           /* IN and OUT  (rows, alpha, lanes) */
    const convnd_rowwise_tile *tile;
    int64_t tiles;
    int64_t out_step;
    const int64_t *rows;
    int64_t n_rows;
    int64_t lanes;
    const convnd_rowwise_tile *next; /* tiles whose outputs' gradients, from next_g on, memory is asked for */
    int64_t next_tiles;
    const char *next_g;
} convnd_rowwise_sums;

/* Rows that are counted in: the moments of `counted` rows before become those of them all. */
typedef struct {
    const char *x; /* IN  (rows, lanes), x_step apart */
    char *to;      /* OUT  the same, past the caches; NULL: nowhere */
    convnd_moments moments;
    int64_t x_step, to_step, rows, lanes, counted;
} convnd_count_args;

/* A normalisation, by channel: activation(x scale + shift). */
typedef struct {
    const char *scale; /* IN  NULL: none */
    const char *shift; /* IN */
    int64_t activation;
} convnd_norm;

/* Outputs in a row, each over its region: `n_runs` runs of `length` positions, with `pitch` numbers each.
 *
 *     out[o][c] = max, or sum / divisor, over runs r and k of x[p][c] at the positions p = o x_next + runs[r] + k x_step
 *
 * index[o][c] is first + p of the first largest, or -1 where there is none. Sums of long regions go through levels of
 * 256 positions, counted from the region's first. The largest may be of normalised numbers; winner[o][c] is the x it
 * came from then. */
typedef struct {
    const char *x;       /* IN */
    const char *x_end;   /* nothing is read from here on */
    char *out;           /* OUT */
    int32_t *index;      /* OUT  of max, or NULL */
    char *winner;        /* OUT  of max with a norm */
    convnd_norm norm;
    const int64_t *runs; /* IN */
    int64_t n_runs, length, x_step;
    int64_t outputs, x_next, first;
    int64_t channels, pitch;
    double divisor;
    int64_t asks;        /* a sum asks memory for what comes next */
} convnd_pool_args;

/* Some columns of a row of a pool's gradient: a position sums over the outputs whose regions hold it.
 *
 *     out[i][c] = sum over these outputs o of g[o][c] scale, or of g[o][c] where index[o][c] is the position: first + i
 *
 * A region's scale is 1 / divisor, or 1 / its positions if the divisor is 0. Where there is an x, a normalisation's
 * gradient follows: out times the activation's slope at x scale + shift, times scale, + x b + c. */
typedef struct {
    int64_t output; /* its number among the outputs, of these axes */
    int64_t count;  /* positions of its region */
} convnd_holder;
typedef struct {
    const char *g;              /* IN  the sample's first */
    const char *g_end;          /* nothing is read from here on */
    const int32_t *index;       /* IN  of max, else NULL */
    char *out;                  /* OUT the row's first */
    const char *x;              /* IN  the row's first, or NULL */
    convnd_norm norm;
    const char *b, *c;          /* IN  by channel */
    const convnd_holder *outer; /* IN  what holds the row on the axes before the last */
    int64_t n_outer;
    const convnd_holder *inner; /* IN  what holds the columns on the last axis; column i's begin at inner_first[i] */
    const int64_t *inner_first;
    int64_t outputs, column, columns, channels, first; /* outputs: on the last axis */
    double divisor;
    int64_t streams;            /* channels fill whole vectors, and the results go past the caches */
} convnd_pool_grad_args;

/* In place, the transform of a column of signals, real parts in one vector and imaginary ones in the next:
 *
 *     x[k] = sum over t of x[t] exp(2 pi i k t / length), x[t] at x + t step */
typedef struct {
    char *x;                /* IN and OUT */
    char *scratch;          /* four vectors for each point */
    const char *twiddles;   /* IN  pass by pass, for p < left / radix: exp(2 pi i p j / left), j = 1 ... radix - 1 */
    const int64_t *radices; /* IN  2, 3 or 4, their product the length */
    int64_t length, step;
} convnd_fft_args;

/* Products of depthwise spectra, a column of `points` frequencies; negative[k] is the number of -k. In place,
 * z'[k] = w[k].a z[-k] + w[k].b conj z[k]; and sum[k] += the real signals' x[-k] conj g[-k], as pairs, of z and h. */
typedef void (*convnd_spectrum_multiply_tile)(char *z, const char *w, const int64_t *negative, int64_t points);
typedef void (*convnd_spectrum_correlate_tile)(const char *z, const char *h, char *sum, const int64_t *negative,
                                               int64_t points);

/* Elementwise on n numbers; `streams`: out and width are whole cache lines, which go past the caches. A vector by channel is repeated to `width` numbers and starts again after each width. */
typedef void (*convnd_activate_tile)(const char *x, char *out, int64_t n, int64_t activation);
typedef void (*convnd_activate_grad_tile)(const char *y, const char *g, char *out, int64_t n, int64_t activation);
typedef void (*convnd_scale_tile)(const char *x, const char *scale, const char *shift, char *out, int64_t n,
                                  int64_t width, int64_t activation, int64_t streams);
/* g where x is positive, else g times the slope of its channel. */
typedef void (*convnd_leaky_tile)(const char *x, const char *g, const char *slope, char *out, int64_t n, int64_t width);
/* (x - near) b + c, and g scale more if g isn't NULL. */
typedef void (*convnd_centred_tile)(const char *g, const char *x, const char *near, const char *scale, const char *b,
                                    const char *c, char *out, int64_t n, int64_t width, int64_t streams);
/* A normalisation's gradient to x: g times the activation's slope times scale, + x b + c. */
typedef void (*convnd_norm_grad_tile)(const char *g, const char *x, const convnd_norm *norm, const char *b,
                                      const char *c, char *out, int64_t n, int64_t width, int64_t streams);
/* One step of Adam, in place: m and s are the running means of g and g g, with g += pull p before, p -= shrink p beside,
 *
 *     p -= rate m / (sqrt(s) / root + eps) */
typedef struct {
    double first, second; /* how much of m and s stays */
    double rate, root, eps, pull, shrink;
} convnd_adam;
typedef void (*convnd_adam_tile)(const convnd_adam *, const char *g, char *p, char *m, char *s, int64_t n);
/* One step of gradient descent, in place: v = momentum v + g, with g += pull p before; p -= rate v, or with Nesterov's
 * momentum rate (g + momentum v). Without momentum there is no v. */
typedef struct {
    double rate, momentum, pull;
    int64_t nesterov;
} convnd_descent;
typedef void (*convnd_descent_tile)(const convnd_descent *, const char *g, char *p, char *v, int64_t n);
/* (rows, channels) at a time; the gradient takes the output. */
typedef void (*convnd_softmax_tile)(const char *x, char *out, int64_t rows, int64_t channels);
typedef void (*convnd_softmax_grad_tile)(const char *y, const char *g, char *out, int64_t rows, int64_t channels);
/* Rows to mean 0 and variance 1, then times scale, plus shift, unless they are NULL; and the gradient to x. `streams`:
 * channels fill whole cache lines, and the results go past the caches. */
typedef void (*convnd_standard_tile)(const char *x, const char *scale, const char *shift, char *out, double eps,
                                     int64_t rows, int64_t channels, int64_t streams);
typedef void (*convnd_standard_grad_tile)(const char *x, const char *g, const char *scale, char *out, double eps,
                                          int64_t rows, int64_t channels, int64_t streams);
/* out[i] = keep if draw number first + i of this key is at least the threshold, else 0 */
typedef void (*convnd_dropout_tile)(uint64_t key, uint64_t first, uint64_t threshold, double keep, char *out,
                                    int64_t n);

/* Sums over `rows` rows, `step` apart, of `width` columns: of x; of x - mean and its square; of g and g (x - mean), the
 * g times the slope of a normalisation's activation. */
typedef void (*convnd_sum_tile)(const char *x, char *sum, int64_t rows, int64_t step, int64_t width);
typedef void (*convnd_deviation_tile)(const char *x, const char *mean, char *sum, char *square, int64_t rows,
                                      int64_t step, int64_t width);
typedef void (*convnd_product_tile)(const char *g, const char *x, const char *mean, const convnd_norm *norm, char *sum,
                                    char *product, int64_t rows, int64_t step, int64_t width);
typedef void (*convnd_count_tile)(const convnd_count_args *);

typedef void (*convnd_pool_tile)(const convnd_pool_args *);
typedef void (*convnd_pool_grad_tile)(const convnd_pool_grad_args *);
/* One output of max: out[index[c]][c] += g[c]; of a part only where low <= index[c] < high. */
typedef void (*convnd_pool_scatter_tile)(const char *g, const int32_t *index, char *out, int64_t channels);
typedef void (*convnd_pool_scatter_part_tile)(const char *g, const int32_t *index, char *out, int64_t low, int64_t high,
                                              int64_t channels);
typedef void (*convnd_conv_tile)(const convnd_conv_args *);
typedef void (*convnd_weight_tile)(const convnd_weight_args *);
typedef void (*convnd_fft_tile)(const convnd_fft_args *);
typedef void (*convnd_depthwise_tile)(const convnd_depthwise_args *);
typedef void (*convnd_depthwise_weight_tile)(const convnd_depthwise_weight_args *);

typedef void (*convnd_winograd_tile)(const convnd_winograd_args *);
typedef void (*convnd_multiply_tile)(const convnd_winograd_product *);

/* One table for each family of tiles, and one of them all. */
typedef struct {
    convnd_conv_tile plain[CONVND_MAX_VECTORS + 1][CONVND_MAX_HEIGHT + 1]; /* [vectors][height] */
} convnd_conv_tiles;

typedef struct {
    convnd_conv_tile dot[5][CONVND_MAX_HEIGHT + 1], along[5][CONVND_MAX_HEIGHT + 1]; /* [filters][height] */
    convnd_conv_tile group[9][CONVND_MAX_HEIGHT + 1]; /* [channels of a group: 2, 4 or 8][height], two vectors */
    int64_t height[5];                                /* tallest of dot and along */
    convnd_conv_tile below[CONVND_MAX_BELOW + 1];     /* [rows] of `across` vectors along positions, one filter */
    int64_t across;
} convnd_narrow_tiles;

typedef struct {
    convnd_weight_tile plain[CONVND_MAX_VECTORS + 1][CONVND_MAX_HEIGHT + 1]; /* [vectors][height] */
    convnd_weight_tile rows[CONVND_MAX_VECTORS + 1][CONVND_MAX_HEIGHT + 1];  /* [0]: one filter; lanes are positions */
    int64_t height[CONVND_MAX_VECTORS + 1];                                  /* tallest of these */
    void (*copy)(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t rows, int64_t width);
    void (*add)(char *sum, const char *more, int64_t n);
} convnd_weight_tiles;

typedef struct {
    int64_t height[3];   /* tallest tile of panels 1 and 2 vectors wide */
    int64_t tall[3];     /* the same where rows of taps are long */
    convnd_depthwise_tile forward[3][CONVND_MAX_HEIGHT + 1];
    convnd_depthwise_weight_tile weight[4][CONVND_MAX_TAPS + 1]; /* [rows][taps] */
    convnd_depthwise_weight_tile group_weight[9][CONVND_MAX_TAPS + 1]; /* [channels of a group: 2, 4 or 8][taps], one row */
    int64_t group_taps[9];                                             /* the most of these */
    void (*forward_part)(const convnd_depthwise_args *, int64_t height, int64_t lanes);
    void (*weight_part)(const convnd_depthwise_weight_args *, int64_t rows, int64_t taps, int64_t lanes);
} convnd_depthwise_tiles;

typedef struct {
    convnd_winograd_tile input, gradient, output, weight, weight_gradient;
    convnd_multiply_tile multiply[CONVND_MAX_VECTORS + 1]; /* [vectors] */
    int64_t any_count[CONVND_MAX_VECTORS + 1];             /* whether that takes a count that isn't a multiple */
} convnd_winograd_tiles;

typedef struct {
    int64_t height[9];   /* [frequencies] tiles at once */
    int64_t lanes;       /* filters of a panel */
    int64_t turns;       /* frequencies have their turns: a weight's panel is (alpha, depth, lanes), not (depth, alpha, lanes) */
    void (*outputs[9][8])(const convnd_rowwise_args *); /* [frequencies][outputs] */
    void (*input)(const convnd_rowwise_input *);
    /* A panel of a weight: taps tap_step apart, each of `depth` rows of `filters` numbers, to its frequencies. */
    void (*weight)(int64_t alpha, int64_t outputs, const char *w, int64_t tap_step, int64_t filters, int64_t depth,
                   int64_t lanes, char *to);
    void (*sums[9][8])(const convnd_rowwise_sums *); /* [frequencies][outputs] */
    /* The transpose, from a panel's sums (rows, alpha, lanes). */
    void (*weight_gradient)(int64_t alpha, int64_t outputs, const char *sum, int64_t rows, int64_t filters,
                            int64_t tap_step, int64_t lanes, char *w);
} convnd_rowwise_tiles;

typedef struct {
    convnd_pool_tile max, sum, squares;
    convnd_pool_grad_tile grad;
    convnd_pool_scatter_tile scatter;
    convnd_pool_scatter_part_tile scatter_part;
} convnd_pool_tiles;

/* Weighted sums of positions; offsets in numbers, taps of output q first[q] ... first[q + 1] - 1. */
typedef struct {
    void (*copy)(const char *x, char *out, int64_t n, int64_t streams);
    void (*combine)(const char *x, const int64_t *offsets, const double *weights, int64_t terms, char *out, int64_t n);
    void (*blend)(const char *x, const int64_t *first, const int64_t *index, const double *weights, char *out,
                  int64_t begin, int64_t end, int64_t channels, int64_t streams);
} convnd_axes_tiles;

/* Channels of the result that are made alike: next to each other in both; zeros; or each from its own. */
enum { RUN_ZEROS = -1, RUN_PICK = -2 };
typedef struct {
    int64_t to, from, count;
} convnd_run;

typedef struct {
    void (*take)(const char *x, int64_t x_step, int64_t channels, char *out, int64_t out_step, int64_t rows,
                 const convnd_run *runs, int64_t n_runs, const int64_t *index, int64_t streams);
    void (*add)(const char *x, const char *y, char *out, int64_t n, int64_t streams);
    void (*multiply)(const char *x, const char *y, char *out, int64_t n, int64_t streams);
    void (*multiply_rows)(const char *x, const char *factor, char *out, int64_t rows, int64_t channels, int64_t streams);
    void (*keep)(const char *x, const char *kept, char *out, int64_t n, int64_t width);
    void (*sum)(const char *x, int64_t step, int64_t rows, char *out, int64_t width);
    void (*turn)(const char *x, int64_t x_step, char *out, int64_t out_step, int64_t rows, int64_t columns);
    void (*maxout)(const char *x, char *out, int64_t groups, int64_t pieces);
    void (*maxout_grad)(const char *x, const char *g, char *out, int64_t groups, int64_t pieces);
} convnd_moves_tiles;

typedef struct {
    convnd_activate_tile activate;
    convnd_activate_grad_tile activate_grad;
    convnd_scale_tile scale_shift;
    convnd_leaky_tile leaky;
    convnd_centred_tile centred;
    convnd_norm_grad_tile norm_grad;
    convnd_softmax_tile softmax, log_softmax;
    convnd_softmax_grad_tile softmax_grad, log_softmax_grad;
    convnd_standard_tile standard;
    convnd_standard_grad_tile standard_grad;
    convnd_dropout_tile dropout;
    convnd_adam_tile adam;
    convnd_descent_tile descent;
} convnd_pointwise_tiles;

typedef struct {
    convnd_sum_tile sum, square;
    convnd_deviation_tile deviation;
    convnd_product_tile product;
    convnd_count_tile count;
} convnd_segment_tiles;

typedef struct {
    convnd_fft_tile fft;
    convnd_spectrum_multiply_tile multiply;
    convnd_spectrum_correlate_tile correlate;
} convnd_spectrum_tiles;

typedef struct {
    void (*multiply_add)(char *out, int64_t rounds); /* out: chains vectors */
    int64_t chains;
} convnd_peak_tiles;

typedef struct {
    int64_t itemsize;
    int64_t lanes;       /* elements of a vector */
    int64_t height[CONVND_MAX_VECTORS + 1]; /* tallest tile of panels 1, 2 and 4 vectors wide; 0 where there is none */
    int64_t slide;       /* tallest convolution tile that makes use of neighbouring inputs */
    const convnd_conv_tiles *conv;
    const convnd_narrow_tiles *narrow;
    const convnd_weight_tiles *weight;
    const convnd_depthwise_tiles *depthwise;
    const convnd_winograd_tiles *winograd;
    const convnd_rowwise_tiles *rowwise;
    const convnd_rowwise_tiles *rowwise_pairs; /* of panels of two vectors; with 32 registers, in turns as well */
    const convnd_pool_tiles *pool;
    const convnd_axes_tiles *axes;
    const convnd_moves_tiles *moves;
    const convnd_pointwise_tiles *pointwise;
    const convnd_segment_tiles *segment;
    const convnd_spectrum_tiles *spectrum;
    const convnd_peak_tiles *peak;
} convnd_tiles;

/* Stores that went past the caches are seen by all threads from here on. */
#if defined(__x86_64__)
static inline void convnd_settle(void) { __builtin_ia32_sfence(); }
#else
static inline void convnd_settle(void) {}
#endif

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
