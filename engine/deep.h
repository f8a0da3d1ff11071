/* What deep values ask of the layers around them (`network.h`). */
#ifndef SQZ_DEEP_H
#define SQZ_DEEP_H

#include "network.h"

/* The levels of each output once more behind themselves, for the upper halves of what is read: `outputs` times `each`
 * become twice as many, for which there must be room. Returns how many an output has. */
size_t sqz_both_halves(int32_t *levels, size_t outputs, size_t each);

/* Offsets of the vector form: behind `count` of them those that give the upper halves. */
void sqz_upper_half(int64_t *offsets, size_t count);

#endif
