"""The tiles of the instruction set in use."""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from "tile/tile.h":
    enum:
        CONVND_MAX_TAPS
        CONVND_MAX_BELOW
        CONVND_MAX_VECTORS

    ctypedef struct convnd_conv_args:
        const char *x
        const char *w
        const char *start
        char *out
        int64_t x_step
        int64_t out_step
        int64_t tiles
        const int64_t *runs
        int64_t n_runs
        int64_t length
        int64_t depth
        int64_t lanes
        int64_t activation
        int64_t streams
        int64_t fresh
        int64_t ahead

    ctypedef struct convnd_weight_args:
        const char *x
        const char *g
        char *acc
        int64_t x_step
        int64_t g_step
        int64_t acc_step
        const int64_t *rows
        const int64_t *segments
        int64_t n_segments
        int64_t lanes
        int64_t fresh
        const char *ask
        int64_t ask_step

    ctypedef struct convnd_depthwise_args:
        const char *x
        const char *w
        const char *start
        char *out
        int64_t x_step
        int64_t out_step
        int64_t stride
        int64_t dilation
        int64_t low
        int64_t high
        const int64_t *runs
        int64_t n_runs
        int64_t taps
        int64_t new_runs
        int64_t rows
        int64_t x_row
        int64_t out_row
        int64_t below
        int64_t asks
        int64_t tiles
        int64_t panels
        int64_t pack
        int64_t activation
        int64_t streams

    ctypedef struct convnd_depthwise_weight_args:
        const char *x
        const char *g
        char *acc
        int64_t x_step
        int64_t g_step
        int64_t stride
        int64_t dilation
        int64_t low
        int64_t high
        const int64_t *runs
        int64_t rows
        int64_t x_row
        int64_t g_row
        int64_t outputs
        int64_t panels
        int64_t pack
        int64_t below
        int64_t asks
        int64_t group

    int CONVND_WINOGRAD_AXES
    int CONVND_WINOGRAD_MOST

    ctypedef struct convnd_winograd_axis:
        int64_t alpha
        int64_t outputs
        int64_t taps

    ctypedef struct convnd_moments:
        char *centre
        char *mean
        char *square

    ctypedef struct convnd_winograd_args:
        const convnd_winograd_axis *axes
        const char *x
        const char *x_end
        const char *start
        char *y
        int64_t step[4]
        int64_t from_ "from"[4]
        int64_t to[4]
        int64_t frequency_step
        int64_t channels
        int64_t activation
        int64_t streams
        int64_t asks
        convnd_moments moments
        int64_t counted

    ctypedef struct convnd_winograd_product:
        const char *x
        const char *w
        char *out
        int64_t x_step
        int64_t out_step
        int64_t count
        int64_t depth
        int64_t ahead
        const char *ask
        int64_t share

    ctypedef struct convnd_count_args:
        const char *x
        char *to
        convnd_moments moments
        int64_t x_step
        int64_t to_step
        int64_t rows
        int64_t lanes
        int64_t counted

    ctypedef struct convnd_norm:
        const char *scale
        const char *shift
        int64_t activation

    ctypedef struct convnd_pool_args:
        const char *x
        const char *x_end
        char *out
        int32_t *index
        char *winner
        convnd_norm norm
        const int64_t *runs
        int64_t n_runs
        int64_t length
        int64_t x_step
        int64_t outputs
        int64_t x_next
        int64_t first
        int64_t channels
        int64_t pitch
        double divisor
        int64_t asks

    ctypedef struct convnd_holder:
        int64_t output
        int64_t count

    ctypedef struct convnd_pool_grad_args:
        const char *g
        const char *g_end
        const int32_t *index
        char *out
        const char *x
        convnd_norm norm
        const char *b
        const char *c
        const convnd_holder *outer
        int64_t n_outer
        const convnd_holder *inner
        const int64_t *inner_first
        int64_t outputs
        int64_t column
        int64_t columns
        int64_t channels
        int64_t first
        double divisor
        int64_t streams

    ctypedef void (*convnd_activate_tile)(
        const char *x, char *out, int64_t n, int64_t activation) noexcept nogil
    ctypedef void (*convnd_activate_grad_tile)(
        const char *y, const char *g, char *out, int64_t n, int64_t activation) noexcept nogil
    ctypedef void (*convnd_scale_tile)(
        const char *x, const char *scale, const char *shift, char *out, int64_t n, int64_t width,
        int64_t activation, int64_t streams) noexcept nogil
    ctypedef void (*convnd_leaky_tile)(
        const char *x, const char *g, const char *slope, char *out, int64_t n, int64_t width) noexcept nogil
    ctypedef void (*convnd_centred_tile)(
        const char *g, const char *x, const char *near, const char *scale, const char *b, const char *c, char *out,
        int64_t n, int64_t width, int64_t streams) noexcept nogil
    ctypedef void (*convnd_norm_grad_tile)(
        const char *g, const char *x, const convnd_norm *norm, const char *b, const char *c, char *out, int64_t n,
        int64_t width, int64_t streams) noexcept nogil
    ctypedef void (*convnd_softmax_tile)(const char *x, char *out, int64_t rows, int64_t channels) noexcept nogil
    ctypedef void (*convnd_standard_tile)(
        const char *x, const char *scale, const char *shift, char *out, double eps, int64_t rows,
        int64_t channels, int64_t streams) noexcept nogil
    ctypedef void (*convnd_standard_grad_tile)(
        const char *x, const char *g, const char *scale, char *out, double eps, int64_t rows,
        int64_t channels, int64_t streams) noexcept nogil
    ctypedef void (*convnd_softmax_grad_tile)(
        const char *y, const char *g, char *out, int64_t rows, int64_t channels) noexcept nogil
    ctypedef void (*convnd_dropout_tile)(
        uint64_t key, uint64_t first, uint64_t threshold, double keep, char *out, int64_t n) noexcept nogil
    ctypedef void (*convnd_sum_tile)(
        const char *x, char *sum, int64_t rows, int64_t step, int64_t width) noexcept nogil
    ctypedef void (*convnd_deviation_tile)(
        const char *x, const char *mean, char *sum, char *square, int64_t rows, int64_t step,
        int64_t width) noexcept nogil
    ctypedef void (*convnd_product_tile)(
        const char *g, const char *x, const char *mean, const convnd_norm *norm, char *sum, char *product,
        int64_t rows, int64_t step, int64_t width) noexcept nogil
    ctypedef void (*convnd_pool_tile)(const convnd_pool_args *) noexcept nogil
    ctypedef void (*convnd_pool_grad_tile)(const convnd_pool_grad_args *) noexcept nogil
    ctypedef void (*convnd_pool_scatter_tile)(
        const char *g, const int32_t *index, char *out, int64_t channels) noexcept nogil
    ctypedef void (*convnd_pool_scatter_part_tile)(
        const char *g, const int32_t *index, char *out, int64_t low, int64_t high, int64_t channels) noexcept nogil
    ctypedef struct convnd_fft_args:
        char *x
        char *scratch
        const char *twiddles
        const int64_t *radices
        int64_t length
        int64_t step

    ctypedef void (*convnd_fft_tile)(const convnd_fft_args *) noexcept nogil
    ctypedef void (*convnd_spectrum_multiply_tile)(
        char *z, const char *w, const int64_t *negative, int64_t points) noexcept nogil
    ctypedef void (*convnd_spectrum_correlate_tile)(
        const char *z, const char *h, char *sum, const int64_t *negative, int64_t points) noexcept nogil
    ctypedef void (*convnd_conv_tile)(const convnd_conv_args *) noexcept nogil
    ctypedef void (*convnd_weight_tile)(const convnd_weight_args *) noexcept nogil
    ctypedef void (*convnd_depthwise_tile)(const convnd_depthwise_args *) noexcept nogil
    ctypedef void (*convnd_depthwise_weight_tile)(const convnd_depthwise_weight_args *) noexcept nogil
    ctypedef void (*convnd_winograd_tile)(const convnd_winograd_args *) noexcept nogil
    ctypedef void (*convnd_multiply_tile)(const convnd_winograd_product *) noexcept nogil

    ctypedef struct convnd_adam:
        double first
        double second
        double rate
        double root
        double eps
        double pull
        double shrink

    ctypedef struct convnd_descent:
        double rate
        double momentum
        double pull
        int64_t nesterov

    ctypedef void (*convnd_adam_tile)(
        const convnd_adam *, const char *g, char *p, char *m, char *s, int64_t n) noexcept nogil
    ctypedef void (*convnd_descent_tile)(
        const convnd_descent *, const char *g, char *p, char *v, int64_t n) noexcept nogil

    ctypedef struct convnd_conv_tiles:
        convnd_conv_tile plain[5][29]

    ctypedef struct convnd_narrow_tiles:
        convnd_conv_tile dot[5][29]
        convnd_conv_tile along[5][29]
        convnd_conv_tile group[9][29]
        int64_t height[5]
        convnd_conv_tile below[7]
        int64_t across

    ctypedef struct convnd_weight_tiles:
        convnd_weight_tile plain[5][29]
        convnd_weight_tile rows[5][29]
        int64_t height[5]
        void (*copy)(
            char *to, int64_t to_step, const char *from_, int64_t from_step, int64_t rows, int64_t width) noexcept nogil
        void (*add)(char *sum, const char *more, int64_t n) noexcept nogil

    ctypedef struct convnd_depthwise_tiles:
        int64_t height[3]
        int64_t tall[3]
        convnd_depthwise_tile forward[3][29]
        convnd_depthwise_weight_tile weight[4][9]
        convnd_depthwise_weight_tile group_weight[9][9]
        int64_t group_taps[9]
        void (*forward_part)(const convnd_depthwise_args *, int64_t height, int64_t lanes) noexcept nogil
        void (*weight_part)(
            const convnd_depthwise_weight_args *, int64_t rows, int64_t taps, int64_t lanes) noexcept nogil

    ctypedef struct convnd_winograd_tiles:
        convnd_winograd_tile input
        convnd_winograd_tile gradient
        convnd_winograd_tile output
        convnd_winograd_tile weight
        convnd_winograd_tile weight_gradient
        convnd_multiply_tile multiply[5]
        int64_t any_count[5]

    ctypedef struct convnd_rowwise_input:
        const char *x
        char *to
        int64_t alpha
        int64_t tiles
        int64_t width
        int64_t element
        int64_t apart
        int64_t residue
        int64_t step
        int64_t onward
        int64_t wide

    ctypedef struct convnd_rowwise_tile:
        int64_t x
        int64_t out
        int64_t exist

    ctypedef struct convnd_rowwise_args:
        const char *x
        const char *w
        const char *start
        char *out
        const convnd_rowwise_tile *tile
        int64_t tiles
        int64_t out_step
        const int64_t *runs
        int64_t n_runs
        int64_t width
        int64_t wide
        int64_t lanes
        int64_t activation
        int64_t streams
        convnd_moments moments
        const char *ask
        const char *ask_end

    ctypedef struct convnd_rowwise_sums:
        const char *x
        const char *g
        char *frequencies
        char *sum
        const convnd_rowwise_tile *tile
        int64_t tiles
        int64_t out_step
        const int64_t *rows
        int64_t n_rows
        int64_t lanes
        const convnd_rowwise_tile *next
        int64_t next_tiles
        const char *next_g

    ctypedef struct convnd_rowwise_tiles:
        int64_t height[9]
        int64_t lanes
        int64_t turns
        void (*outputs[9][8])(const convnd_rowwise_args *) noexcept nogil
        void (*input)(const convnd_rowwise_input *) noexcept nogil
        void (*weight)(int64_t alpha, int64_t outputs, const char *w, int64_t tap_step, int64_t filters, int64_t depth,
                       int64_t lanes, char *to) noexcept nogil
        void (*sums[9][8])(const convnd_rowwise_sums *) noexcept nogil
        void (*weight_gradient)(int64_t alpha, int64_t outputs, const char *sum, int64_t rows, int64_t filters,
                                int64_t tap_step, int64_t lanes, char *w) noexcept nogil

    ctypedef struct convnd_pool_tiles:
        convnd_pool_tile max
        convnd_pool_tile sum
        convnd_pool_tile squares
        convnd_pool_grad_tile grad
        convnd_pool_scatter_tile scatter
        convnd_pool_scatter_part_tile scatter_part

    ctypedef struct convnd_axes_tiles:
        void (*copy)(const char *x, char *out, int64_t n, int64_t streams) noexcept nogil
        void (*combine)(
            const char *x, const int64_t *offsets, const double *weights, int64_t terms, char *out,
            int64_t n) noexcept nogil
        void (*blend)(
            const char *x, const int64_t *first, const int64_t *index, const double *weights, char *out, int64_t begin,
            int64_t end, int64_t channels, int64_t streams) noexcept nogil

    int64_t RUN_ZEROS
    int64_t RUN_PICK

    ctypedef struct convnd_run:
        int64_t to
        int64_t from_ "from"
        int64_t count

    ctypedef struct convnd_moves_tiles:
        void (*take)(
            const char *x, int64_t x_step, int64_t channels, char *out, int64_t out_step, int64_t rows,
            const convnd_run *runs, int64_t n_runs, const int64_t *index, int64_t streams) noexcept nogil
        void (*add)(const char *x, const char *y, char *out, int64_t n, int64_t streams) noexcept nogil
        void (*multiply)(const char *x, const char *y, char *out, int64_t n, int64_t streams) noexcept nogil
        void (*multiply_rows)(
            const char *x, const char *factor, char *out, int64_t rows, int64_t channels,
            int64_t streams) noexcept nogil
        void (*keep)(const char *x, const char *kept, char *out, int64_t n, int64_t width) noexcept nogil
        void (*sum)(const char *x, int64_t step, int64_t rows, char *out, int64_t width) noexcept nogil
        void (*turn)(const char *x, int64_t x_step, char *out, int64_t out_step, int64_t rows,
                     int64_t columns) noexcept nogil
        void (*maxout)(const char *x, char *out, int64_t groups, int64_t pieces) noexcept nogil
        void (*maxout_grad)(const char *x, const char *g, char *out, int64_t groups, int64_t pieces) noexcept nogil

    ctypedef struct convnd_pointwise_tiles:
        convnd_activate_tile activate
        convnd_activate_grad_tile activate_grad
        convnd_scale_tile scale_shift
        convnd_leaky_tile leaky
        convnd_centred_tile centred
        convnd_norm_grad_tile norm_grad
        convnd_softmax_tile softmax
        convnd_softmax_tile log_softmax
        convnd_softmax_grad_tile softmax_grad
        convnd_softmax_grad_tile log_softmax_grad
        convnd_standard_tile standard
        convnd_standard_grad_tile standard_grad
        convnd_dropout_tile dropout
        convnd_adam_tile adam
        convnd_descent_tile descent

    ctypedef struct convnd_spectrum_tiles:
        convnd_fft_tile fft
        convnd_spectrum_multiply_tile multiply
        convnd_spectrum_correlate_tile correlate

    ctypedef struct convnd_segment_tiles:
        convnd_sum_tile sum
        convnd_sum_tile square
        convnd_deviation_tile deviation
        convnd_product_tile product
        void (*count)(const convnd_count_args *) noexcept nogil

    ctypedef struct convnd_peak_tiles:
        void (*multiply_add)(char *out, int64_t rounds) noexcept nogil
        int64_t chains

    ctypedef struct convnd_tiles:
        int64_t itemsize
        int64_t lanes
        int64_t height[5]
        int64_t slide
        const convnd_conv_tiles *conv
        const convnd_narrow_tiles *narrow
        const convnd_weight_tiles *weight
        const convnd_depthwise_tiles *depthwise
        const convnd_winograd_tiles *winograd
        const convnd_rowwise_tiles *rowwise
        const convnd_rowwise_tiles *rowwise_pairs
        const convnd_pool_tiles *pool
        const convnd_axes_tiles *axes
        const convnd_moves_tiles *moves
        const convnd_pointwise_tiles *pointwise
        const convnd_segment_tiles *segment
        const convnd_spectrum_tiles *spectrum
        const convnd_peak_tiles *peak

cdef const convnd_tiles *tiles(int64_t itemsize) noexcept nogil

# Whether a core has two multiply-add units as wide as an AVX-512 vector, whatever instruction set is in use.
cdef bint two_wide() noexcept nogil

# Bytes of results from which they go straight to memory (see stream).
cdef int64_t stream_bytes
