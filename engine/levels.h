/* Level streams: integer weights through an adaptive range coder (docs/FORMAT.md, "Level streams").
 *
 *     sqz_shape shape = {64, 16, 3, 3};
 *     void *memory = malloc(sqz_levels_memory(shape));
 *     int status = sqz_levels_decode(bytes, size, levels, shape, memory);
 *
 * Portable C99, integers only. Nothing is allocated, printed or kept between calls; no byte outside the given buffers
 * is touched whatever they hold. `memory` is aligned as malloc aligns and need not be cleared. */
#ifndef SQZ_LEVELS_H
#define SQZ_LEVELS_H

#include <stddef.h>
#include <stdint.h>

#define SQZ_LARGEST_LEVEL 2097151 /* 2^21 - 1 */
#define SQZ_LARGEST_KERNEL 1024   /* places of a kernel; larger ones are coded as more inputs */

enum {
    SQZ_OK = 0,
    SQZ_TRUNCATED = -1, /* the stream ends before the last level */
    SQZ_TRAILING = -2,  /* the stream goes on after the last level */
    SQZ_TOO_LARGE = -3, /* a level over SQZ_LARGEST_LEVEL, or a kernel over SQZ_LARGEST_KERNEL */
    SQZ_NO_ROOM = -4    /* the buffer for the stream is too short */
};

/* A weight, last index fastest. A bias or a list is {its length, 1, 1, 1}. None is 0. */
typedef struct {
    uint32_t outputs, inputs, height, width;
} sqz_shape;

/* Bytes of working memory: some 9 kB, and 4 for each weight of one output, and 2 for each input. */
size_t sqz_levels_memory(sqz_shape shape);

/* Read `size` bytes, which have to be one whole stream. */
int sqz_levels_decode(const uint8_t *bytes, size_t size, int32_t *levels, sqz_shape shape, void *memory);

/* Write a stream to `bytes`, or only count its bytes if `bytes` is NULL; `*size` is room before and bytes after. */
int sqz_levels_encode(const int32_t *levels, sqz_shape shape, uint8_t *bytes, size_t *size, void *memory);

#endif
