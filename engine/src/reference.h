/* Arithmetic of integer networks as docs/FORMAT.md defines it. */
#ifndef SQZ_REFERENCE_H
#define SQZ_REFERENCE_H

#include "network.h"

/* A pixel in steps of value 0 -> its stored element: to nearest, halves to even. */
uint8_t sqz_quantise(float pixel, int32_t zero);

/* The sum of an output -> its stored element, before a 9-bit element is split into halves. */
static inline int64_t sqz_requantise(const sqz_op *op, const sqz_factor *f, int64_t sum)
{
    const int64_t level = (sum * f->multiplier + f->offset) >> f->shift;
    return level < op->low ? op->low : level > op->high ? op->high : level;
}

#endif
