/* The new file as a delta writes it: in pieces, with their SHA-256. */
#ifndef SQZ_DELTA_OUTPUT_H
#define SQZ_DELTA_OUTPUT_H

#include "delta.h"
#include "sha256.h"

typedef struct {
    sqz_write write;
    void *context;
    sqz_sha256 digest;
    size_t at, size; /* bytes that were written; of the whole file */
} output;

static inline int emit(output *o, const uint8_t *bytes, size_t count)
{
    if (count > o->size - o->at) return SQZ_BAD_STREAM;
    if (count == 0) return SQZ_OK;
    if (o->write(o->context, o->at, bytes, count) != 0) return SQZ_STOPPED;
    sqz_sha256_take(&o->digest, bytes, count);
    o->at += count;
    return SQZ_OK;
}

static inline int emit_varint(output *o, size_t value)
{
    uint8_t bytes[5];
    size_t count = 0;
    for (; value > 127; value >>= 7) bytes[count++] = (uint8_t)(value & 127) | 128;
    bytes[count++] = (uint8_t)value;
    return emit(o, bytes, count);
}

#endif
