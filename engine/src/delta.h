/* Makes deltas. A device only applies them: sqz_delta_apply in sqz.h, which has the errors of both. */
#ifndef SQZ_DELTA_H
#define SQZ_DELTA_H

#include "sqz.h"

/* Code the levels of `new_file`, given those of `old`; only the maker of a delta needs this. sqz_open must accept
 * both files. `plan` has for each layer and each table of the new file: the number of the old one that it is
 * compared with, from 1, or 0 for none; the rescaling of biases; the number of runs; and three numbers for each run.
 * `bytes` gets the stream of the range coder, which follows the front in the body of a delta. `*size`: before the
 * call the bytes of room, after it the bytes of the stream. `*room` is as for sqz_delta_apply; SQZ_NO_ROOM is also the status if
 * `*size` was too small. */
int sqz_delta_encode(const uint8_t *old, size_t old_bytes, const uint8_t *new_file, size_t new_bytes,
                     const int32_t *plan, size_t plan_length, uint8_t *bytes, size_t *size, void *memory, size_t *room);

#endif
