/* Every operation of integer networks as docs/FORMAT.md defines it, in plain loops. */
#ifndef SQZ_REFERENCE_H
#define SQZ_REFERENCE_H

#include "network.h"

/* Compute rows `from` to `to` - 1 of the result of an operation. `values`: the start of the running memory. */
void sqz_reference(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to);

/* A pixel in steps of value 0 -> its stored element: to nearest, halves to even. */
uint8_t sqz_quantise(float pixel, int32_t zero);

/* The sum of an output -> its stored element, before a 9-bit element is split into halves. */
static inline int64_t sqz_requantise(const sqz_op *op, const sqz_factor *f, int64_t sum)
{
    const int64_t level = (sum * f->multiplier + f->offset) >> f->shift;
    return level < op->low ? op->low : level > op->high ? op->high : level;
}

#endif
