/* The planner: where values lie in memory, how each layer is computed, how much memory that takes. */
#ifndef SQZ_PLAN_H
#define SQZ_PLAN_H

#include "kernels.h"
#include "levels.h"

/* How a packed or depthwise layer walks through its input. */
struct sqz_layout {
    uint32_t inputs, outputs; /* channels of one group; a depthwise convolution is one group of all channels */
    uint32_t vectors, blocks; /* vectors (kernels.h) of outputs of one group; blocks of at most SQZ_VECTORS vectors */
    uint32_t lines, across;   /* of a window: lines, and columns of the kernel that lie side by side in a line */
    uint32_t reach;           /* rows of the input from the first to the last one of a window */
    size_t packs;             /* packs (kernels.h) of a window in one line */
    size_t vector_bytes;      /* bytes of the weights of one vector */
    int direct;               /* windows are read where the input lies, without a copy of its lines */
    uint32_t rows, columns;   /* of the result */
    int flat;                 /* a direct 1x1 convolution with stride 1 of whole values: rows have another length */
    size_t line_bytes;        /* bytes of a copied line */
    int blocks_first;         /* all rows of a block of outputs are computed before the next block */
};

/* The kernels that compute a layer. */
static inline const sqz_kernels *sqz_kernels_for(const sqz_network *network, const sqz_op *op)
{
#if defined(SQZ_ROWS_ONLY) || !defined(SQZ_CHAINS)
    (void)op;
    return network->kernels;
#else
    return op->chains ? network->kernels->chains : network->kernels;
#endif
}

#ifndef SQZ_ROWS_ONLY
/* Whether layers may be in chains (kernels.h). */
static inline int sqz_has_chains(const sqz_network *network)
{
#ifdef SQZ_CHAINS
    return network->kernels->chains != NULL && !network->by_rows;
#else
    (void)network;
    return 0;
#endif
}
#endif

/* Fill what depends on the graph and the path alone: offsets of values and weights, methods, bytes of memory. */
void sqz_plan(sqz_network *network);

/* The shape in which a layer's weights are coded in the file. */
sqz_shape sqz_weight_shape(const sqz_network *network, const sqz_op *op);

sqz_layout sqz_layout_of(const sqz_network *network, const sqz_op *op);

/* Bytes of scratch memory of a layer: the addresses of lines (8 bytes each, also where pointers are smaller), then
 * the copied lines. */
static inline size_t sqz_lines_bytes(const sqz_layout *layout)
{
    return sqz_aligned(layout->lines * sizeof(uint64_t)) + (layout->direct ? 0 : layout->reach * layout->line_bytes);
}

/* Whether windows reach over an edge of the input. */
static inline int sqz_is_padded(const sqz_op *op)
{
    return (op->padding[0] | op->padding[1] | op->padding[2] | op->padding[3]) > 0;
}

/* Positions of the padded input from the first to the last one that the windows of a row of the result y read. */
static inline size_t sqz_line_positions(const sqz_op *op, const sqz_value *y)
{
    return ((size_t)y->width - 1) * op->stride[1] + ((size_t)op->kernel[1] - 1) * op->dilation[1] + 1;
}

/* The first vector of a block: blocks differ by at most one vector. */
static inline uint32_t sqz_first_vector(const sqz_layout *layout, uint32_t block)
{
    return (uint32_t)sqz_part_start(layout->vectors, block, layout->blocks);
}

#endif
