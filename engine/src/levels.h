/* Level streams: integer weights (levels) in an adaptive range code (docs/FORMAT.md, "Level streams").
 *
 *     sqz_shape shape = {64, 16, 3, 3};
 *     void *memory = malloc(sqz_levels_memory(shape));
 *     int status = sqz_levels_decode(bytes, size, levels, shape, memory);
 *
 * Portable C99, integers only. Nothing is allocated, printed or kept between calls. Whatever the buffers hold, no byte
 * outside them is read or written. `memory` must be aligned as malloc aligns, and need not be cleared. */
#ifndef SQZ_LEVELS_H
#define SQZ_LEVELS_H

#include "sqz.h"

#define SQZ_LARGEST_LEVEL 2097151 /* 2^21 - 1 */
#define SQZ_LARGEST_KERNEL 1024   /* most kernel positions; a larger kernel is coded as 1x1 with more inputs */

/* The shape of a weight tensor, last index fastest. A list of n levels is {n, 1, 1, 1}. All four are at least 1. */
typedef struct {
    uint32_t outputs, inputs, height, width;
} sqz_shape;

/* Bytes of working memory: about 6 kB, 4 bytes for each weight of one output, and 2 bytes for each input. */
size_t sqz_levels_memory(sqz_shape shape);

/* Decode `size` bytes, which must be one whole stream. */
int sqz_levels_decode(const uint8_t *bytes, size_t size, int32_t *levels, sqz_shape shape, void *memory);

/* The same output by output, with less memory: for streams that are known to be whole, of levels below 2^7. Open the
 * stream, then decode the levels of the next outputs, any number of times. */
size_t sqz_levels_small_memory(sqz_shape shape);
void sqz_levels_open(const uint8_t *bytes, size_t size, sqz_shape shape, void *memory);
int sqz_levels_next(int32_t *levels, uint32_t outputs, void *memory);

/* Encode output by output, levels below 2^7. Open a stream with `room` bytes of memory for it, then put the levels of the
 * next outputs, any number of times, then close it. `sqz_levels_put` and `sqz_levels_close` give how many of the first
 * bytes no later level can change; take these away before the next call. They return SQZ_OK or SQZ_NO_ROOM. A stream
 * whose levels are all 0 must not be opened: it has no bytes. */
void sqz_levels_create(uint8_t *bytes, size_t room, sqz_shape shape, void *memory);
int sqz_levels_put(const int32_t *levels, uint32_t outputs, void *memory, size_t *settled);
void sqz_levels_take_away(size_t count, void *memory);
int sqz_levels_close(void *memory, size_t *settled);

/* Encode to `bytes`; if `bytes` is NULL, only count. `*size`: bytes of room before the call, of the stream after it. */
int sqz_levels_encode(const int32_t *levels, sqz_shape shape, uint8_t *bytes, size_t *size, void *memory);

#endif
