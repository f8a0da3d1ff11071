/* Chains (kernels.h): where they end, and how packs are split. */
#ifndef SQZ_CHAINS_H
#define SQZ_CHAINS_H

#include "plan.h"

/* Packs of a block in chains, those that are split counted twice, are at most this many. It is also the most segments
 * that a block has. Packs for signed activations are never split. */
static inline size_t sqz_most_packs(const sqz_kernels *k, const sqz_layout *layout)
{
    const size_t packs = layout->lines * layout->packs;
    return k->centre > 0 ? packs : packs + packs / 2;
}

/* Choose how a packed layer is computed: from then on, its layout is another one. */
static inline void sqz_use_chains(sqz_op *op, int chains)
{
    op->chains = chains;
    op->vectors = chains ? SQZ_CHAIN_VECTORS : SQZ_VECTORS;
}

/* Bytes of memory for the weights of a vector. */
static inline size_t sqz_vector_room(const sqz_network *network, const sqz_op *op, const sqz_layout *layout)
{
    const size_t each = layout->vector_bytes / (layout->lines * layout->packs);
    return op->chains ? sqz_most_packs(network->kernels, layout) * each : layout->vector_bytes;
}

/* The segments of the block of outputs that begins with `vector`, counted through all groups. */
static inline uint16_t *sqz_segments_of(const sqz_network *network, const sqz_op *op, const sqz_layout *layout,
                                        size_t vector)
{
    return (uint16_t *)(void *)(network->weights + op->segments) + vector * sqz_most_packs(network->kernels, layout);
}

/* Turn the weights of a block, in the order of `sqz_tile`, into chains, and write their segments. `outputs`: vectors x
 * lanes of the block. Returns 0 if chains would take more time than products in 32 bits: then the layer is to be laid
 * out for these. */
int sqz_lay_out_chains(int8_t *weights, const sqz_kernels *k, const sqz_layout *layout, uint32_t outputs,
                       uint16_t *segments);

#endif
