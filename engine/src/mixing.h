/* Mixing of predictions (docs/FORMAT.md, "Mixed text"): weighted sums of log-odds. Texts and deltas use it. */
#ifndef SQZ_MIXING_H
#define SQZ_MIXING_H

#include <stdint.h>

/* 2^16 / (1 + e^-x) for x = -8, -7.5, ... 8, rounded. */
static const uint16_t sqz_logistic[33] = {22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
                                          4972,  7812,  11953, 17625, 24743, 32768, 40793, 47911, 53583, 57724, 60564,
                                          62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};

/* 2^16 times the probability whose log-odds are x / 256; x is limited to -2047 to 2047. */
static inline uint32_t sqz_squash(int64_t x)
{
    const uint32_t at = (uint32_t)((x < -2047 ? -2047 : x > 2047 ? 2047 : (int32_t)x) + 2048);
    const uint32_t i = at >> 7, part = at & 127;
    return (sqz_logistic[i] * (128 - part) + sqz_logistic[i + 1] * part) >> 7;
}

/* The inverse: for a probability in units of 2^-12, the largest x that `sqz_squash` takes at most there. */
static inline void sqz_fill_stretched(int16_t stretched[4096])
{
    int32_t x = -2047;
    for (uint32_t i = 0; i < 4096; i++) {
        while (x < 2047 && sqz_squash(x + 1) <= 16 * i + 8) x++;
        stretched[i] = (int16_t)x;
    }
}

#endif
