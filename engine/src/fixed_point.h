/* Arithmetic of integer networks (docs/FORMAT.md, "Integer networks"). A rescaling exponent d, in eighths of an octave,
 * stands for the factor 2^(-d / 8). `>>` of a negative number must round down, as all compilers for two's complement
 * do. */
#ifndef SQZ_FIXED_POINT_H
#define SQZ_FIXED_POINT_H

#include <stdint.h>

enum { SQZ_LEAST_RESCALING = -80, SQZ_MOST_RESCALING = 200 }; /* bounds of a rescaling exponent */

/* The whole octaves of d = 8 * octaves - eighths, with eighths from 0 to 7. */
static inline int32_t sqz_octaves(int32_t d)
{
    return (d + 8 * 128 + 7) / 8 - 128;
}

/* 2^(-d / 8) = multiplier / 2^shift, rounded */
static inline int32_t sqz_multiplier(int32_t d)
{
    static const int32_t roots[8] = {32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097};
    return roots[8 * sqz_octaves(d) - d];
}

static inline int32_t sqz_shift(int32_t d)
{
    return 15 + sqz_octaves(d);
}

/* 2^(-d / 8) in 65,536ths, rounded down; below 2^49 if d is the difference of two scale exponents. */
static inline int64_t sqz_fraction(int32_t d)
{
    const int32_t shift = sqz_shift(d), multiplier = sqz_multiplier(d); /* below 2^16 */
    if (shift > 16) return shift < 32 ? multiplier >> (shift - 16) : 0;
    return (int64_t)multiplier * ((int64_t)1 << (16 - shift));
}

/* 65,536ths -> integer, to nearest, halves up. */
static inline int64_t sqz_round(int64_t fraction)
{
    return (fraction + 32768) >> 16;
}

/* 1 / count in 65,536ths, to nearest: a sum times this is a mean. */
static inline int64_t sqz_reciprocal(uint64_t count)
{
    return (int64_t)((65536 + count / 2) / count);
}

static inline int64_t sqz_clip(int64_t n, int64_t low, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

/* The step of a value, 2^(exponent / 8): the real number that the integer 1 stands for. */
static inline float sqz_step(int32_t exponent)
{
    float step = (float)sqz_multiplier(-exponent);
    for (int32_t i = sqz_shift(-exponent); i > 0; i--) step *= 0.5f;
    for (int32_t i = sqz_shift(-exponent); i < 0; i++) step *= 2;
    return step;
}

#endif
