/* Where values lie, how layers are computed, how much memory that takes. */
#ifndef SQZ_PLAN_H
#define SQZ_PLAN_H

#include "kernels.h"

/* How a packed convolution (or linear layer) goes through its input. */
typedef struct {
    uint32_t inputs, outputs; /* of one group */
    uint32_t vectors, blocks; /* of the outputs of one group; a block is computed at once */
    size_t run;               /* groups of activations in a line's window */
    size_t taps;              /* bytes of the weights of one vector */
    int direct;               /* windows are read where the input stands, else from copied lines */
    uint32_t rows, columns;   /* of the result; its places are cut anew where no window has more than one */
    size_t advance;           /* where the input stands: bytes from what one row reads to what the next does */
    size_t line;              /* bytes of a copied line */
} sqz_layout;

void sqz_plan(sqz_network *network);

/* Of a layer's levels, as they are coded. */
sqz_shape sqz_weight_shape(const sqz_network *network, const sqz_op *op);

sqz_layout sqz_layout_of(const sqz_network *network, const sqz_op *op);

static inline uint32_t sqz_first_vector(const sqz_layout *layout, uint32_t block)
{
    return (uint32_t)sqz_share(layout->vectors, block, layout->blocks);
}

#endif
