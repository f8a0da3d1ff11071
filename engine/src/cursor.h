/* Reads numbers of the format. The first failure stays in `status`; after it every read gives 0. */
#ifndef SQZ_CURSOR_H
#define SQZ_CURSOR_H

#include <string.h>

#include "sqz.h"

typedef struct {
    const uint8_t *at, *end; /* the next byte, and the end */
    int status;
} sqz_cursor;

/* Set the status, unless there was a failure before. Returns 0. */
static inline int sqz_fail(sqz_cursor *c, int status)
{
    if (c->status == SQZ_OK) c->status = status;
    return 0;
}

/* The next `count` bytes, or NULL. */
static inline const uint8_t *sqz_take(sqz_cursor *c, size_t count)
{
    if (c->status != SQZ_OK || count > (size_t)(c->end - c->at)) {
        sqz_fail(c, SQZ_TRUNCATED);
        return NULL;
    }
    c->at += count;
    return c->at - count;
}

static inline uint32_t sqz_take_byte(sqz_cursor *c)
{
    const uint8_t *at = sqz_take(c, 1);
    return at != NULL ? *at : 0;
}

/* The 32-bit number of four bytes, least significant first. */
static inline uint32_t sqz_little(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* A varint of at most `limit`. */
static inline uint32_t sqz_take_varint(sqz_cursor *c, uint32_t limit)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint32_t byte = sqz_take_byte(c);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            if ((byte == 0 && shift > 0) || value > limit) break;
            return c->status == SQZ_OK ? (uint32_t)value : 0;
        }
    }
    sqz_fail(c, SQZ_BAD_STREAM);
    return 0;
}

/* A finite float. */
static inline float sqz_take_float(sqz_cursor *c)
{
    const uint8_t *at = sqz_take(c, 4);
    uint32_t bits = at != NULL ? sqz_little(at) : 0;
    float value;
    if ((bits >> 23 & 255) == 255) {
        sqz_fail(c, SQZ_BAD_STREAM);
        bits = 0;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A number with a sign, from the number without one that is in the file. */
static inline int32_t sqz_unfold(uint32_t folded)
{
    return folded % 2 > 0 ? -(int32_t)(folded / 2) - 1 : (int32_t)(folded / 2);
}

#endif
