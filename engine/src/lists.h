/* Layers that are computed from lists of the weights that are not 0 (sqz_entry in kernels.h). */
#ifndef SQZ_LISTS_H
#define SQZ_LISTS_H

#include "network.h"

/* Bytes of scratch memory of a layer in lists; 0 if the layer cannot be computed so. */
size_t sqz_strip_bytes(const sqz_network *network, const sqz_op *op);

/* Write the lists of a layer with the levels (outputs, inputs of a group, kernel) to the memory of its weights. Returns 0
 * if the layer is computed faster with all weights. */
int sqz_lay_out_lists(const sqz_network *network, const sqz_op *op, const int32_t *levels);

/* Computes such a layer. */
void sqz_list_layer(const sqz_task *task, unsigned part);

#endif
