/* The front of a new file: all bytes before its first level stream, as pieces of the old file and new bytes. */
#ifndef SQZ_DELTA_FRONT_H
#define SQZ_DELTA_FRONT_H

#include "cursor.h"
#include "delta_output.h"
#include "delta_parts.h"

/* Write the front to `o`. `c`: the body of the delta, from its start; it goes to the end of the pieces. `size`: of the
 * new file. */
int sqz_delta_write_front(sqz_cursor *c, const uint8_t *old, size_t old_bytes, size_t size, output *o);

/* Read the header of the new file, then all up to the end of its graph, to memory. */
int sqz_delta_read_front(arena *a, sqz_cursor body, const uint8_t *old, size_t old_bytes, size_t size, uint8_t **front,
                         size_t *bytes);

#endif
