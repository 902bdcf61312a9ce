/* Constants of the element type float. */
#define real float
#define integer int32_t
#define IN_BLOCK 4 /* numbers of 16 bytes */
#define EXP_LOW (-87.3f)
#define GAUSS_MOST 13.2f
#define TAIL_CENTRE 4.75f
#define TAIL_TERMS {-0.001306835561990738f, 0.00022592779714614153f, 0.011543290689587593f, -0.05062868446111679f, \
    0.13810686767101288f, -0.2841838300228119f, 0.47206443548202515f, -0.6535893678665161f, 0.7664163112640381f}
#define ROUND_SHIFT 12582912.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define EXP_TERMS {0.001378061779701256f, 0.008385218957394363f, 0.04167035659185775f, 0.1666635320845727f, \
    0.49999979388213917f, 1.0f}
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define LOG_LAST 15
#define TANH_MOST 10.0f
#define BLEND(m, b, a) _mm512_mask_blend_ps(m, (__m512)(b), (__m512)(a))
#define COMPARE(x, y, how) _mm512_cmp_ps_mask((__m512)(x), (__m512)(y), how)
#define PERMUTE(a, lanes, b) (vec)_mm512_permutex2var_ps((__m512)(a), (__m512i)(lanes), (__m512)(b))
#define ABOUT_INVERSE(a) (vec)_mm512_rcp14_ps((__m512)(a))
#if defined(__AVX512F__)
#define LARGER(a, b) _mm512_max_ps((__m512)(a), (__m512)(b))
#elif defined(__AVX__)
#define LARGER(a, b) _mm256_max_ps((__m256)(a), (__m256)(b))
#elif defined(__SSE2__)
#define LARGER(a, b) _mm_max_ps((__m128)(a), (__m128)(b))
#endif
#define LEAST_MAGNITUDE(a, b) (vec)_mm512_range_ps((__m512)(a), (__m512)(b), 10)
#define MULTIPLY_LESS(a, b, c) (vec)_mm512_fmsub_ps((__m512)(a), (__m512)(b), (__m512)(c))
