/* The weights of a layer: decoded, checked, and laid out for the path. */
#ifndef SQZ_LAYERS_H
#define SQZ_LAYERS_H

#include "cursor.h"
#include "network.h"

/* Read a layer, or the table of an activation, at the cursor, with `network->decoding_bytes` of memory. Returns SQZ_OK
 * or the damage. */
int sqz_table(sqz_network *network, const sqz_op *op, sqz_cursor *c, uint8_t *memory);
int sqz_integer_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory);
int sqz_float_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory);

#endif
