/* The operations of float networks. Layers with many outputs are in convolution.c instead. */
#ifndef SQZ_FLOATS_H
#define SQZ_FLOATS_H

#include <math.h>
#include <string.h>

#include "network.h"

/* Compute rows `from` to `to` - 1 of the result of an operation. `values`: the start of the running memory. */
void sqz_floats(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to);

/* Apply the ReLU that follows the layer, if `op->relu`; then store n results of the layer. */
static inline void sqz_put_floats(const sqz_op *op, float *restrict out, const float *restrict x, size_t n)
{
    const float most = op->cap > 0 ? op->cap : INFINITY;
    if (op->relu)
        for (size_t i = 0; i < n; i++) {
            const float y = x[i] > 0 ? x[i] : 0;
            out[i] = y < most ? y : most;
        }
    else
        memcpy(out, x, n * sizeof *out);
}

#endif
