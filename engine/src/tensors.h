/* Weights and biases: the codings of docs/FORMAT.md, "Weights" and "Floats", and level streams at a cursor. */
#ifndef SQZ_TENSORS_H
#define SQZ_TENSORS_H

#include "cursor.h"
#include "levels.h"

/* Bytes of memory to decode a float weight tensor of this shape, and then its biases. */
size_t sqz_tensor_memory(sqz_shape shape);

/* A weight tensor, in any coding. */
void sqz_take_weight(sqz_cursor *c, float *weight, sqz_shape shape, void *memory);

/* A list of `count` floats. */
void sqz_take_floats(sqz_cursor *c, float *values, size_t count, void *memory);

/* A level stream with its length before it; `memory` as `sqz_levels_memory` says. */
void sqz_take_levels(sqz_cursor *c, int32_t *levels, sqz_shape shape, void *memory);

#endif
