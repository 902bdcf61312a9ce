/* The tables of this level and element type, in one. */

extern const convnd_conv_tiles NAME(convnd_conv_tiles);
extern const convnd_narrow_tiles NAME(convnd_narrow_tiles);
extern const convnd_weight_tiles NAME(convnd_weight_tiles);
extern const convnd_depthwise_tiles NAME(convnd_depthwise_tiles);
extern const convnd_winograd_tiles NAME(convnd_winograd_tiles);
extern const convnd_rowwise_tiles NAME(convnd_rowwise_tiles);
#ifdef __AVX512F__
extern const convnd_rowwise_tiles NAME(convnd_rowwise_pair_tiles);
#define PAIRS NAME(convnd_rowwise_pair_tiles)
#else
#define PAIRS NAME(convnd_rowwise_tiles)
#endif
extern const convnd_pool_tiles NAME(convnd_pool_tiles);
extern const convnd_axes_tiles NAME(convnd_axes_tiles);
extern const convnd_moves_tiles NAME(convnd_moves_tiles);
extern const convnd_pointwise_tiles NAME(convnd_pointwise_tiles);
extern const convnd_segment_tiles NAME(convnd_segment_tiles);
extern const convnd_spectrum_tiles NAME(convnd_spectrum_tiles);
extern const convnd_peak_tiles NAME(convnd_peak_tiles);

const convnd_tiles NAME(convnd_tiles) = {
    .itemsize = sizeof(real), .lanes = VL, .height = {0, HEIGHT_1, HEIGHT_2, 0, HEIGHT_4},
    .slide = HEIGHT_SLIDE,
    .conv = &NAME(convnd_conv_tiles), .narrow = &NAME(convnd_narrow_tiles), .weight = &NAME(convnd_weight_tiles),
    .depthwise = &NAME(convnd_depthwise_tiles), .winograd = &NAME(convnd_winograd_tiles),
    .rowwise = &NAME(convnd_rowwise_tiles), .rowwise_pairs = &PAIRS,
    .pool = &NAME(convnd_pool_tiles), .axes = &NAME(convnd_axes_tiles), .moves = &NAME(convnd_moves_tiles),
    .pointwise = &NAME(convnd_pointwise_tiles), .segment = &NAME(convnd_segment_tiles),
    .spectrum = &NAME(convnd_spectrum_tiles), .peak = &NAME(convnd_peak_tiles),
};
#undef PAIRS
