/* The operations of float networks. Layers with few outputs are here too; the others are in `convolution.c`. */
#ifndef SQZ_FLOATS_H
#define SQZ_FLOATS_H

#include "network.h"

/* Compute rows `from` to `to` of the operation's result; `values` is where values begin. */
void sqz_floats(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to);

/* Store n results of a layer, with the ReLU behind it if that is to be done here. */
static inline void sqz_put_floats(const sqz_op *op, float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float y = x[i];
        if (op->relu) {
            y = y > 0 ? y : 0;
            if (op->cap > 0) y = y < op->cap ? y : op->cap;
        }
        out[i] = y;
    }
}

#endif
