/* The weights of a layer: decoded, checked, and laid out for the path. */
#ifndef SQZ_LAYERS_H
#define SQZ_LAYERS_H

#include "cursor.h"
#include "network.h"

enum {
    SQZ_SHIFTED = 1 /* a bit of the coding of a layer: a stream with shifts of the input channels comes first */
};

/* The coding of the layer of an integer network that begins at the cursor. */
uint32_t sqz_take_coding(const sqz_network *network, sqz_cursor *c);

/* Read a layer at the cursor, with `network->decoding_bytes` of memory. Returns SQZ_OK or the damage. */
int sqz_integer_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory);
int sqz_float_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory);

#endif
