/* One family of tiles for one instruction set: this file is compiled once for each of both, with FAMILY (its header),
 * CONVND_LEVEL and CONVND_VECTOR set. */
#include "tile.h"
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))
#define SLOW static __attribute__((noinline, unused)) /* off the inner loops: one copy, out of line */
#define UNROLL _Pragma("GCC unroll 32")
#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)

/* Heights of panels one, two and four vectors wide: as many accumulators as the registers hold beside the weights and an
 * input. 7 x 4 reads 11 vectors for 28 multiply-adds, 14 x 2 reads 16; with 16 registers, four wouldn't leave enough. */
#define HEIGHTS_6(F, V) F(1, V) F(2, V) F(3, V) F(4, V) F(5, V) F(6, V)
#define HEIGHTS_12(F, V) HEIGHTS_6(F, V) F(7, V) F(8, V) F(9, V) F(10, V) F(11, V) F(12, V)
#define HEIGHTS_14(F, V) HEIGHTS_12(F, V) F(13, V) F(14, V)
#define HEIGHTS_28(F, V) HEIGHTS_14(F, V) F(15, V) F(16, V) F(17, V) F(18, V) F(19, V) F(20, V) F(21, V) F(22, V) \
    F(23, V) F(24, V) F(25, V) F(26, V) F(27, V) F(28, V)
#if defined(__AVX512F__) || defined(__aarch64__)
#define EACH_HEIGHT_1(F) HEIGHTS_28(F, 1)
#define EACH_HEIGHT_2(F) HEIGHTS_14(F, 2)
#define EACH_HEIGHT_4(F) HEIGHTS_6(F, 4) F(7, 4)
#define WIDE_PANELS
enum { HEIGHT_1 = 28, HEIGHT_2 = 14, HEIGHT_4 = 7, HEIGHT_SLIDE = 14 };
#else
#define EACH_HEIGHT_1(F) HEIGHTS_12(F, 1)
#define EACH_HEIGHT_2(F) HEIGHTS_6(F, 2)
#define EACH_HEIGHT_4(F)
enum { HEIGHT_1 = 12, HEIGHT_2 = 6, HEIGHT_4 = 0, HEIGHT_SLIDE = 12 };
#endif

#define NAME(x) JOIN(x, CONVND_LEVEL, f32)
#include "float32.h"
#include "vector.h"
#include FAMILY
#include "end.h"
#define NAME(x) JOIN(x, CONVND_LEVEL, f64)
#include "float64.h"
#include "vector.h"
#include FAMILY
#include "end.h"
