"""The tiles of the instruction set in use."""

from libc.stdint cimport int64_t

cdef extern from "tile/tile.h":
    ctypedef struct convnd_conv_args:
        const char *x
        const char *w
        const char *start
        char *out
        int64_t x_step
        int64_t out_step
        const int64_t *runs
        int64_t n_runs
        int64_t length
        int64_t lanes
        int64_t activation

    ctypedef struct convnd_weight_args:
        const char *x
        const char *g
        char *acc
        int64_t x_step
        int64_t x_row
        int64_t g_step
        const int64_t *segments
        int64_t n_segments
        int64_t lanes

    ctypedef void (*convnd_conv_tile)(const convnd_conv_args *) noexcept nogil
    ctypedef void (*convnd_weight_tile)(const convnd_weight_args *) noexcept nogil

    ctypedef struct convnd_tiles:
        int64_t itemsize
        int64_t lanes
        int64_t height[3]
        convnd_conv_tile conv[3][29]
        convnd_conv_tile depthwise[3][29]
        convnd_weight_tile weight[3][29]
        convnd_weight_tile depthwise_weight[3][29]

cdef const convnd_tiles *tiles(int64_t itemsize) noexcept nogil
