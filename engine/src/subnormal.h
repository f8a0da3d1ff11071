/* Between the two calls below, subnormal floats (below 2^-126) count as zero in the calling thread. A processor may
 * take a hundred times longer for a subnormal float, and a hostile file may consist of them. */
#ifndef SQZ_SUBNORMAL_H
#define SQZ_SUBNORMAL_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <xmmintrin.h>

static inline uint64_t sqz_flush_subnormal(void)
{
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* subnormal results, and subnormal operands */
    return before;
}

static inline void sqz_restore_subnormal(uint64_t before)
{
    _mm_setcsr((unsigned)before);
}

#elif defined(__aarch64__) && defined(__GNUC__)

static inline uint64_t sqz_flush_subnormal(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | UINT64_C(1) << 24));
    return before;
}

static inline void sqz_restore_subnormal(uint64_t before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}

#else

static inline uint64_t sqz_flush_subnormal(void)
{
    return 0;
}

static inline void sqz_restore_subnormal(uint64_t before)
{
    (void)before;
}

#endif
#endif
