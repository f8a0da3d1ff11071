/* Weights and biases of float networks (docs/FORMAT.md, "Weights", "Floats"). */
#ifndef SQZ_TENSORS_H
#define SQZ_TENSORS_H

#include "cursor.h"

/* Bytes of memory to read a weight of a shape, and a bias of as many numbers as it has outputs. */
size_t sqz_tensor_memory(sqz_shape shape);

void sqz_take_weight(sqz_cursor *c, float *weight, sqz_shape shape, void *memory);

void sqz_take_floats(sqz_cursor *c, float *values, size_t count, void *memory);

#endif
