/* The table of this level and element type, and the end of its names. */

#define CONV_ENTRY(H, V) .conv[V][H] = NAME(conv_##V##_##H),
#define DEPTHWISE_ENTRY(H, V) .depthwise[V][H] = NAME(depthwise_##V##_##H),
#define WEIGHT_ENTRY(H, V) .weight[V][H] = NAME(weight_##V##_##H),
#define DEPTHWISE_WEIGHT_ENTRY(H, V) .depthwise_weight[V][H] = NAME(depthwise_weight_##V##_##H),
const convnd_tiles NAME(convnd_tiles) = {
    .itemsize = sizeof(real), .lanes = VL, .height = {0, HEIGHT_1, HEIGHT_2},
    EACH_HEIGHT_1(CONV_ENTRY) EACH_HEIGHT_2(CONV_ENTRY)
    EACH_HEIGHT_1(DEPTHWISE_ENTRY) EACH_HEIGHT_2(DEPTHWISE_ENTRY)
    EACH_HEIGHT_1(WEIGHT_ENTRY) EACH_HEIGHT_2(WEIGHT_ENTRY)
    EACH_HEIGHT_1(DEPTHWISE_WEIGHT_ENTRY) EACH_HEIGHT_2(DEPTHWISE_WEIGHT_ENTRY)
    .pool_max = NAME(pool_max), .pool_sum = NAME(pool_sum), .pool_grad = NAME(pool_grad),
    .activate = NAME(activate_all), .activate_grad = NAME(activate_grad_all),
    .scale_shift = NAME(scale_shift), .combine = NAME(combine),
    .softmax = NAME(softmax), .log_softmax = NAME(log_softmax),
    .softmax_grad = NAME(softmax_grad), .log_softmax_grad = NAME(log_softmax_grad),
    .dropout = NAME(dropout),
    .column_sum = NAME(column_sum), .column_deviation = NAME(column_deviation), .column_product = NAME(column_product),
};
#undef CONV_ENTRY
#undef DEPTHWISE_ENTRY
#undef WEIGHT_ENTRY
#undef DEPTHWISE_WEIGHT_ENTRY

#undef real
#undef integer
#undef vec
#undef vec_u
#undef mask
#undef VL
#undef load
#undef store
#undef splat
#undef load_part
#undef store_part
#undef choose
#undef larger
#undef EXP_LOW
#undef GAUSS_MOST
#undef ERFC_CENTRE
#undef ERFC_TERMS
#undef ROUND_SHIFT
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_FACTORIAL
#undef EXP_TERMS
#undef EXPONENT_BIAS
#undef MANTISSA_BITS
#undef LOG_LAST
#undef TANH_TERMS
#undef TANH_SMALL
