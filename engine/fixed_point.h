/* Scales in eighths of an octave (docs/FORMAT.md, "Integer networks"). `>>` of a negative number rounds down, as every
 * compiler for a machine of two's complement does it. */
#ifndef SQZ_FIXED_POINT_H
#define SQZ_FIXED_POINT_H

#include <stdint.h>

enum { SQZ_LEAST_DROP = -80, SQZ_MOST_DROP = 200 };

/* `drop` = 8 octaves - eighths, eighths from 0 to 7. */
static inline int32_t sqz_octaves(int32_t drop)
{
    return (drop + 8 * 128 + 7) / 8 - 128;
}

/* 2^(-drop / 8) = multiplier / 2^shift */
static inline int32_t sqz_multiplier(int32_t drop)
{
    static const int32_t roots[8] = {32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097};
    return roots[8 * sqz_octaves(drop) - drop];
}

static inline int32_t sqz_shift(int32_t drop)
{
    return 15 + sqz_octaves(drop);
}

/* 2^(-drop / 8) in 65,536ths, rounded down; below 2^49 for a drop of a scale. */
static inline int64_t sqz_fraction(int32_t drop)
{
    const int32_t shift = sqz_shift(drop), multiplier = sqz_multiplier(drop); /* which is below 2^16 */
    if (shift > 16) return shift < 32 ? multiplier >> (shift - 16) : 0;
    return (int64_t)multiplier * ((int64_t)1 << (16 - shift));
}

/* 65,536ths to a whole number, halves up. */
static inline int64_t sqz_round(int64_t fraction)
{
    return (fraction + 32768) >> 16;
}

/* The rounded reciprocal of `count` in 65,536ths: what makes a mean of a sum. */
static inline int64_t sqz_reciprocal(uint64_t count)
{
    return (int64_t)((65536 + count / 2) / count);
}

static inline int64_t sqz_clip(int64_t n, int64_t low, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

/* The real number that one more means: 2^(exponent / 8). */
static inline float sqz_step(int32_t exponent)
{
    float step = (float)sqz_multiplier(-exponent);
    for (int32_t i = sqz_shift(-exponent); i > 0; i--) step *= 0.5f;
    for (int32_t i = sqz_shift(-exponent); i < 0; i++) step *= 2;
    return step;
}

#endif
