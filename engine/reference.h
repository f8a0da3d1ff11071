/* Every operation as docs/FORMAT.md words it, with nothing done to be fast. */
#ifndef SQZ_REFERENCE_H
#define SQZ_REFERENCE_H

#include "network.h"

/* Compute rows `from` to `to` of the operation's result; `values` is where values begin. */
void sqz_reference(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to);

/* A pixel on the scale of value 0, as it is stored: to nearest, halves to even. */
uint8_t sqz_enter(float pixel, int32_t zero);

/* The sums of a layer's outputs as they are stored. */
static inline int64_t sqz_requantise(const sqz_op *op, const sqz_factor *f, int64_t sum)
{
    const int64_t level = (sum * f->multiplier + f->offset) >> f->shift;
    return level < op->low ? op->low : level > op->high ? op->high : level;
}

#endif
