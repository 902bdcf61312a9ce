/* Constants of the element type double. */
#define real double
#define integer int64_t
#define IN_BLOCK 2 /* numbers of 16 bytes */
#define EXP_LOW (-708.0)
#define GAUSS_MOST 37.62
#define TAIL_CENTRE 5.25
#define TAIL_TERMS {-9.47094868995631e-10, -2.6709441957627052e-09, 6.480552566712496e-09, 2.4624669299236247e-08, \
    -3.8917643859467146e-08, -1.6130456333052767e-07, 2.9880517266971054e-07, 9.513774360914735e-07, \
    -2.7702859129449073e-06, -4.335591509823358e-06, 2.671741923394275e-05, -6.988786459466613e-06, \
    -0.00021609540786975958, 0.0005940683734065545, 0.00033492254958358337, -0.007662188223579417, \
    0.032094106125339146, -0.08894663843569019, 0.19169593124979034, -0.34115021928794076, 0.5164116391700146, \
    -0.6758533698803841, 0.7716264239532752}
#define ROUND_SHIFT 6755399441055744.0
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_TERMS {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, \
    1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0}
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#define LOG_LAST 37
#define TANH_MOST 20.0
#define BLEND(m, b, a) _mm512_mask_blend_pd(m, (__m512d)(b), (__m512d)(a))
#define COMPARE(x, y, how) _mm512_cmp_pd_mask((__m512d)(x), (__m512d)(y), how)
#define PERMUTE(a, lanes, b) (vec)_mm512_permutex2var_pd((__m512d)(a), (__m512i)(lanes), (__m512d)(b))
#if defined(__AVX512F__)
#define LARGER(a, b) _mm512_max_pd((__m512d)(a), (__m512d)(b))
#elif defined(__AVX__)
#define LARGER(a, b) _mm256_max_pd((__m256d)(a), (__m256d)(b))
#elif defined(__SSE2__)
#define LARGER(a, b) _mm_max_pd((__m128d)(a), (__m128d)(b))
#endif
#define LEAST_MAGNITUDE(a, b) (vec)_mm512_range_pd((__m512d)(a), (__m512d)(b), 10)
#define MULTIPLY_LESS(a, b, c) (vec)_mm512_fmsub_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
