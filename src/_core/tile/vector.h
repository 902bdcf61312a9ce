/* Vectors of the element type `real`, by GCC and Clang vector extensions. Included once for each type.
 *
 * Needs: real, integer (of the same width), NAME(x) giving names of this level and type their own suffix. */

typedef real NAME(vec) __attribute__((vector_size(CONVND_VECTOR), aligned(CONVND_VECTOR), may_alias));
typedef real NAME(vec_u) __attribute__((vector_size(CONVND_VECTOR), aligned(sizeof(real)), may_alias));
typedef integer NAME(mask) __attribute__((vector_size(CONVND_VECTOR), aligned(CONVND_VECTOR), may_alias));
typedef integer NAME(mask_any) __attribute__((vector_size(CONVND_VECTOR), aligned(sizeof(integer)), may_alias));
typedef long long NAME(line) __attribute__((vector_size(CONVND_VECTOR), aligned(CONVND_VECTOR), may_alias));
#define vec NAME(vec)
#define vec_u NAME(vec_u)
#define mask NAME(mask)
#define VL ((int64_t)(CONVND_VECTOR / sizeof(real)))
#define IN_LINE ((int64_t)(64 / sizeof(real))) /* numbers in a line of the cache */

/* Keeps a vector in a register: gcc would rather load it again for each multiply-add that takes it. */
#if defined(__x86_64__)
#define HELD(a) __asm__("" : "+v"(a))
#elif defined(__aarch64__)
#define HELD(a) __asm__("" : "+w"(a))
#else
#define HELD(a) (void)(a)
#endif

/* To the next row. The compiler must not see where that is: it would work out the places of all of a tile's rows
 * beforehand, more than there are registers, and take them from the stack. */
#define ONWARD(pointer, step) { (pointer) += (step); __asm__("" : "+r"(pointer)); }

INLINE vec NAME(load)(const real *p) { return *(const vec_u *)p; }
INLINE void NAME(store)(real *p, vec a) { *(vec_u *)p = a; }
/* To where nothing is read soon: past the caches, whole and aligned vectors. */
INLINE void NAME(stream)(real *p, vec a) {
#if defined(__AVX512F__)
    __builtin_ia32_movntdq512((NAME(line) *)p, (NAME(line))a);
#elif defined(__AVX__)
    __builtin_ia32_movntdq256((NAME(line) *)p, (NAME(line))a);
#elif defined(__SSE2__)
    __builtin_ia32_movntdq((NAME(line) *)p, (NAME(line))a);
#else
    NAME(store)(p, a);
#endif
}
INLINE vec NAME(splat)(real a) { return a - (vec){0}; }

/* In each lane the value of lane k of its group of `group` lanes. */
INLINE vec NAME(spread)(vec x, const int group, const int k) {
#if defined(__clang__)
    vec y = {0};
    UNROLL for (int i = 0; i < VL; i++) y[i] = x[(i / group * group + k) % VL];
    return y;
#else
    mask from = {0};
    UNROLL for (int i = 0; i < VL; i++) from[i] = (i / group * group + k) % VL;
    return __builtin_shuffle(x, from);
#endif
}

/* Lane i takes that of lane i ^ by. */
INLINE vec NAME(swap)(vec x, const int by) {
#if defined(__clang__)
    vec y = {0};
    UNROLL for (int i = 0; i < VL; i++) y[i] = x[i ^ by];
    return y;
#else
    static const integer lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return __builtin_shuffle(x, *(const NAME(mask_any) *)lanes ^ by);
#endif
}

/* The first n elements; the other lanes are zero, so the operations on them are those of a full vector. */
SLOW vec NAME(load_part)(const real *p, int64_t n) {
    real a[VL];
    if (n >= VL) return NAME(load)(p);
    for (int64_t i = 0; i < VL; i++) a[i] = i < n ? p[i] : 0;
    return NAME(load)(a);
}
/* By a pointer: gcc leaves the upper halves of registers dirty after a call that only takes a vector, and the baseline
 * instructions that follow then wait for them. */
SLOW void NAME(copy_part)(real *to, const real *from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = from[i];
}
INLINE void NAME(store_part)(real *p, vec a, int64_t n) {
    real part[VL];
    NAME(store)(part, a);
    NAME(copy_part)(p, part, n < VL ? n : VL);
}

/* Where the mask is set a, else b. */
INLINE vec NAME(choose)(mask m, vec a, vec b) { return (vec)(((mask)a & m) | ((mask)b & ~m)); }
/* Where x < y (or x <= y) a, else b. With AVX-512 in two instructions, of which compilers make more from `choose`. */
#if defined(__AVX512F__)
INLINE vec NAME(choose_less)(vec x, vec y, vec a, vec b) { return (vec)BLEND(COMPARE(x, y, _CMP_LT_OQ), b, a); }
INLINE vec NAME(choose_up_to)(vec x, vec y, vec a, vec b) { return (vec)BLEND(COMPARE(x, y, _CMP_LE_OQ), b, a); }
/* Where x or y is NaN. */
#define unordered_mask __mmask16
INLINE __mmask16 NAME(unordered)(vec x, vec y) { return COMPARE(x, y, _CMP_UNORD_Q); }
INLINE int NAME(any_unordered)(__mmask16 m) { return m != 0; }
#else
INLINE vec NAME(choose_less)(vec x, vec y, vec a, vec b) { return NAME(choose)(x < y, a, b); }
INLINE vec NAME(choose_up_to)(vec x, vec y, vec a, vec b) { return NAME(choose)(x <= y, a, b); }
#define unordered_mask mask
INLINE mask NAME(unordered)(vec x, vec y) { return (x != x) | (y != y); }
INLINE int NAME(any_unordered)(mask m) {
    integer any = 0;
    UNROLL for (int i = 0; i < VL; i++) any |= m[i];
    return any != 0;
}
#endif
/* b where a isn't larger: where they are equal, or either is NaN. */
#if defined(LARGER)
INLINE vec NAME(larger)(vec a, vec b) { return (vec)LARGER(a, b); }
#else
INLINE vec NAME(larger)(vec a, vec b) { return NAME(choose)(a > b, a, b); }
#endif

#define load NAME(load)
#define store NAME(store)
#define stream NAME(stream)
#define splat NAME(splat)
#define load_part NAME(load_part)
#define store_part NAME(store_part)
#define choose NAME(choose)
#define choose_less NAME(choose_less)
#define choose_up_to NAME(choose_up_to)
#define larger NAME(larger)
#define unordered NAME(unordered)
