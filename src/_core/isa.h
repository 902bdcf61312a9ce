/* The instruction sets this library was built for, best last, and whether this processor has them. */
#ifndef CONVND_ISA_H
#define CONVND_ISA_H

#include "tile/tile.h"

typedef struct {
    const char *name;
    const convnd_tiles *tiles[2]; /* float, double */
    int (*available)(void);
} convnd_level;

static int convnd_always(void) { return 1; }

#if defined(__x86_64__)
#include <cpuid.h>

extern const convnd_tiles convnd_tiles_baseline_f32, convnd_tiles_baseline_f64;
extern const convnd_tiles convnd_tiles_v3_f32, convnd_tiles_v3_f64;
extern const convnd_tiles convnd_tiles_v4_f32, convnd_tiles_v4_f64;

static int convnd_has_v3(void) {
    unsigned a, b, c = 0, d, extended = 0;
    __builtin_cpu_init();
    __get_cpuid(1, &a, &b, &c, &d);
    __get_cpuid(0x80000001u, &a, &b, &extended, &d);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && (c >> 22 & 1) /* MOVBE */ && (c >> 29 & 1) /* F16C */ &&
           (extended >> 5 & 1) /* LZCNT */;
}
static int convnd_has_v4(void) {
    return convnd_has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
/* Whether tiles have stores that go past the caches. */
static int convnd_streams(void) { return 1; }
/* How the name of the processor's maker begins. */
static unsigned convnd_maker(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(0, &a, &b, &c, &d);
    return b;
}
static int convnd_intel(void) { return convnd_maker() == 0x756e6547u; } /* "Genu" of GenuineIntel */
static int convnd_amd(void) { return convnd_maker() == 0x68747541u; }   /* "Auth" of AuthenticAMD */
/* Zen 3 or Zen 4. */
static int convnd_zen(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    return convnd_amd() && (a >> 8 & 15) + (a >> 20 & 255) == 0x19;
}
/* Whether a core has two multiply-add units as wide as an AVX-512 vector. Zen 4's are half as wide. */
static int convnd_two_wide(void) { return convnd_has_v4() && !convnd_zen(); }
static const convnd_level convnd_levels[] = {
    {"x86-64", {&convnd_tiles_baseline_f32, &convnd_tiles_baseline_f64}, convnd_always},
    {"x86-64-v3", {&convnd_tiles_v3_f32, &convnd_tiles_v3_f64}, convnd_has_v3},
    {"x86-64-v4", {&convnd_tiles_v4_f32, &convnd_tiles_v4_f64}, convnd_has_v4},
};
#elif defined(__aarch64__)
extern const convnd_tiles convnd_tiles_neon_f32, convnd_tiles_neon_f64;
static int convnd_streams(void) { return 0; }
static int convnd_intel(void) { return 0; }
static int convnd_amd(void) { return 0; }
static int convnd_zen(void) { return 0; }
static int convnd_two_wide(void) { return 0; }
static const convnd_level convnd_levels[] = {{"neon", {&convnd_tiles_neon_f32, &convnd_tiles_neon_f64}, convnd_always}};
#else
extern const convnd_tiles convnd_tiles_baseline_f32, convnd_tiles_baseline_f64;
static int convnd_streams(void) { return 0; }
static int convnd_intel(void) { return 0; }
static int convnd_amd(void) { return 0; }
static int convnd_zen(void) { return 0; }
static int convnd_two_wide(void) { return 0; }
static const convnd_level convnd_levels[] = {
    {"baseline", {&convnd_tiles_baseline_f32, &convnd_tiles_baseline_f64}, convnd_always}};
#endif

enum { CONVND_LEVELS = sizeof(convnd_levels) / sizeof(convnd_levels[0]) };

#endif
