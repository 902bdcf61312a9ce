/* Winograd's convolution along rows with panels of two vectors, where these are other tiles. */
#include "check.h"

void check_rowwise_pairs(void) {
    if (tiles->rowwise_pairs != tiles->rowwise) check_rows_of(tiles->rowwise_pairs);
}
