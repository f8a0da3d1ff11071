/* Deltas, which turn an old `.sqz` file into a new one (docs/FORMAT.md, "Deltas").
 *
 *     size_t room = sizeof memory;
 *     int status = sqz_delta_apply(old, old_bytes, delta, delta_bytes, memory, &room, write, file);
 *
 * The old file and the delta are only read, from the start to the end, and may lie in flash or in a mapped file. The
 * new file is written in pieces, in order. The same call always writes the same bytes: after a power cut, call it
 * again and skip the bytes that are already written. The new file must not be used unless the status is SQZ_OK.
 *
 * As in the rest of the engine, the code is portable C99 and allocates and prints nothing. `memory` must be aligned
 * as malloc aligns. */
#ifndef SQZ_DELTA_H
#define SQZ_DELTA_H

#include "sqz.h"

enum {
    SQZ_NOT_DELTA = -11, /* does not begin with the magic bytes of a delta */
    SQZ_WRONG_OLD = -12, /* the delta is for another old file */
    SQZ_STOPPED = -13    /* `write` returned a failure */
};

/* Takes the next bytes of the new file, which begin at `offset`. Returns 0, or something else to stop. */
typedef int (*sqz_write)(void *context, size_t offset, const uint8_t *bytes, size_t count);

/* Write the new file. `*room`: before the call the bytes of `memory`, after the call the bytes that were needed. If the
 * memory is too small, the status is SQZ_NO_ROOM, and nothing was written. If not even the graphs of both files fitted,
 * `*room` may still be too small after the call: then call again. */
int sqz_delta_apply(const uint8_t *old, size_t old_bytes, const uint8_t *delta, size_t delta_bytes, void *memory,
                    size_t *room, sqz_write write, void *context);

/* Code the levels of `new_file`, given those of `old`; only the maker of a delta needs this. sqz_open must accept
 * both files. `plan` has for each layer and each table of the new file: the number of the old one that it is
 * compared with, from 1, or 0 for none; the rescaling of biases; the number of runs; and three numbers for each run.
 * `bytes` gets the stream of the range coder, which follows the front in the body of a delta. `*size`: before the
 * call the bytes of room, after it the bytes of the stream. `*room` is as above; SQZ_NO_ROOM is also the status if
 * `*size` was too small. */
int sqz_delta_encode(const uint8_t *old, size_t old_bytes, const uint8_t *new_file, size_t new_bytes,
                     const int32_t *plan, size_t plan_length, uint8_t *bytes, size_t *size, void *memory, size_t *room);

#endif
