/* Constants of the element type float. */
#define real float
#define integer int32_t
#define EXP_LOW (-87.3f)
#define EXP_HIGH 88.7f
#define ROUND_SHIFT 12582912.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define EXP_FACTORIAL 5040
#define EXP_TERMS {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define LOG_LAST 15
#define TANH_TERMS {62.0f / 2835, -17.0f / 315, 2.0f / 15, -1.0f / 3}
#define TANH_SMALL 0.25f
