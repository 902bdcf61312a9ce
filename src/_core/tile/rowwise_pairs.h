/* Winograd's convolution along rows with panels of two vectors of filters, for 32 registers. */
#ifdef __AVX512F__
#define PAIRS
#include "rowwise.h"
#undef PAIRS
#endif
