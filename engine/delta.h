/* Deltas: what turns one `.sqz` file into another one (docs/FORMAT.md, "Deltas").
 *
 *     size_t room = sizeof memory;
 *     int status = sqz_delta_apply(old, old_bytes, delta, delta_bytes, memory, &room, write, file);
 *
 * Old file and delta are only read, from the start to the end, and may lie in flash or in a mapped file. The new file is
 * written in pieces, in order. The same call always writes the same bytes: after a power cut, call it again and skip
 * what is there already. The new file must not be used unless the status is SQZ_OK.
 *
 * Like the rest of the engine: portable C99, nothing is allocated or printed. `memory` must be aligned as malloc aligns. */
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

/* Write the new file. `*room`: bytes of memory; on return the bytes that were needed. If there are too few, the status is
 * SQZ_NO_ROOM, and nothing was written; the number on return may be too small still, as long as the graphs did not fit. */
int sqz_delta_apply(const uint8_t *old, size_t old_bytes, const uint8_t *delta, size_t delta_bytes, void *memory,
                    size_t *room, sqz_write write, void *context);

/* For a workshop: code the levels of `new`, given those of `old`. Both are files that sqz_open
 * accepts. `plan` has for each layer and each table of the new file: the number of the old one it is compared
 * with, from 1, or 0; the rescaling of biases; how many runs follow, then three numbers for each. `bytes` gets the
 * stream of the range coder, which follows the front in the body of a delta; `*size`: bytes of room before the call, of
 * the stream after it. `*room` is as above; SQZ_NO_ROOM is also the status if `*size` was too small. */
int sqz_delta_encode(const uint8_t *old, size_t old_bytes, const uint8_t *new_file, size_t new_bytes,
                     const int32_t *plan, size_t plan_length, uint8_t *bytes, size_t *size, void *memory, size_t *room);

#endif
