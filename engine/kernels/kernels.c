/* The paths, and which of them this machine has. */
#include "kernels.h"

#if (defined(SQZ_ARM_DOT) || defined(SQZ_ARM_MATRIX)) && defined(__linux__)
#include <sys/auxv.h>
#endif

#ifdef SQZ_X86
#include <cpuid.h>

/* Whether the processor has these instructions, and the operating system saves their registers: bits 0x06 of XCR0 are
 * those of AVX, 0xe6 those of AVX-512. `__builtin_cpu_supports` tells the same, in 4 kB of code. */
static int x86_has(uint32_t leaf7_b, uint32_t leaf7_c, uint32_t registers)
{
    const uint32_t leaf1_c = bit_FMA | bit_OSXSAVE | bit_AVX;
    uint32_t a, b, c, d, kept, upper;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf1_c) != leaf1_c) return 0;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(upper) : "c"(0));
    return (kept & registers) == registers && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & leaf7_b) == leaf7_b &&
           (c & leaf7_c) == leaf7_c;
}
#endif

#ifdef SQZ_X86_VNNI
static int has_avxvnni(void)
{
#ifdef SQZ_VNNI_OF_AVX512
    return sqz_has_path(SQZ_AVX512VNNI);
#else
    uint32_t a, b, c, d;
    return x86_has(bit_AVX2, 0, 0x06) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
#endif
}
#endif

#ifdef SQZ_ARM_DOT
static int has_dot_product(void)
{
#if defined(__ARM_FEATURE_DOTPROD) /* the compiler may use dot products anywhere, as on Apple's machines */
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}
#endif

#ifdef SQZ_ARM_MATRIX
static int has_matrix_product(void)
{
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP2) >> 13 & 1) != 0; /* HWCAP2_I8MM */
#else
    return 0;
#endif
}
#endif

const char *sqz_path_name(sqz_path path)
{
    static const char *const names[SQZ_PATHS] = {"reference", "scalar",  "small",    "avx2",    "avxvnni", "avx512vnni",
                                                 "neon",      "neondot", "neoni8mm", "simd128", "dsp",     "mve"};
    return path < SQZ_PATHS ? names[path] : "";
}

int sqz_has_path(sqz_path path)
{
    switch (path) {
    case SQZ_REFERENCE:
    case SQZ_SCALAR: return 1;
#ifdef SQZ_WITHOUT_VECTORS
    case SQZ_SMALL: return 1;
#endif
#ifdef SQZ_X86
    case SQZ_AVX2: return x86_has(bit_AVX2, 0, 0x06);
#ifdef SQZ_X86_VNNI
    case SQZ_AVXVNNI: return has_avxvnni();
#endif
    case SQZ_AVX512VNNI:
        return x86_has(bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ, bit_AVX512VNNI, 0xe6);
#endif
#ifdef SQZ_ARM
    case SQZ_NEON: return 1;
#endif
#ifdef SQZ_ARM_DOT
    case SQZ_NEONDOT: return has_dot_product();
#endif
#ifdef SQZ_ARM_MATRIX
    case SQZ_NEONI8MM: return has_matrix_product();
#endif
#ifdef __wasm_simd128__
    case SQZ_SIMD128: return 1;
#endif
#ifdef SQZ_CORTEX_DSP
    case SQZ_DSP: return 1;
#endif
#ifdef SQZ_CORTEX_MVE
    case SQZ_MVE: return 1;
#endif
    default: return 0;
    }
}

sqz_path sqz_best_path(void)
{
    int path = SQZ_PATHS - 1;
    while (!sqz_has_path((sqz_path)path)) path--;
    return (sqz_path)path;
}

const sqz_kernels *sqz_kernels_of(sqz_path path, int floats)
{
    if (path == SQZ_REFERENCE || !sqz_has_path(path)) return NULL;
#ifdef SQZ_X86
    if (path == SQZ_AVX2) return floats ? &sqz_avx2_floats : &sqz_avx2;
#ifdef SQZ_X86_VNNI
    if (path == SQZ_AVXVNNI) return floats ? &sqz_avx2_floats : &sqz_avxvnni;
#endif
    if (path == SQZ_AVX512VNNI && floats) return &sqz_avx512_floats;
    if (path == SQZ_AVX512VNNI) return x86_has(0, bit_AVX512VBMI, 0xe6) ? &sqz_avx512vbmi : &sqz_avx512vnni;
#endif
#ifdef SQZ_ARM
    if (path == SQZ_NEON) return floats ? &sqz_neon_floats : &sqz_neon;
#endif
#ifdef SQZ_ARM_DOT
    if (path == SQZ_NEONDOT) return floats ? &sqz_neon_floats : &sqz_neondot;
#endif
#ifdef SQZ_ARM_MATRIX
    if (path == SQZ_NEONI8MM) return floats ? &sqz_neon_floats : &sqz_neoni8mm;
#endif
#ifdef __wasm_simd128__
    if (path == SQZ_SIMD128) return floats ? &sqz_simd128_floats : &sqz_simd128;
#endif
#ifdef SQZ_WITHOUT_VECTORS
    if (path == SQZ_SMALL && !floats) return &sqz_small;
#endif
#ifdef SQZ_CORTEX_DSP
    if (path == SQZ_DSP && !floats) return &sqz_dsp;
#endif
#ifdef SQZ_CORTEX_MVE
    if (path == SQZ_MVE && !floats) return &sqz_mve;
#endif
#ifdef SQZ_ONLY_SIMD128 /* a program that runs nothing else */
    return floats ? &sqz_simd128_floats : &sqz_simd128;
#else
    return floats ? &sqz_scalar_floats : &sqz_scalar;
#endif
}
