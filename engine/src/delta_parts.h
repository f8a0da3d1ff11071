/* The parts of a `.sqz` file that a delta codes: its layers and tables; and the memory that deltas work in. */
#ifndef SQZ_DELTA_PARTS_H
#define SQZ_DELTA_PARTS_H

#include "graph.h"
#include "levels.h"

enum {
    SQZ_FILE_HEADER = 24, /* bytes of the header of a `.sqz` file */
    STREAMS = 3           /* of a layer: exponents, levels, biases */
};

/* Gives out memory from front to back. If the memory is too small, the bytes are only counted. */
typedef struct {
    uint8_t *memory;
    size_t room, used, most;
} arena;

static inline void *take(arena *a, size_t bytes)
{
    const size_t at = a->used;
    a->used += sqz_aligned(bytes);
    if (a->used > a->most) a->most = a->used;
    return a->used <= a->room ? a->memory + at : NULL;
}

/* A layer or a table of a file. */
typedef struct {
    sqz_shape shape;   /* no outputs: a table */
    const uint8_t *at; /* the length of its first stream; NULL if it is to be made */
} part;

/* Find the parts of a file, given the bytes from its header to the end of its graph at least. If `whole`, `bytes` are
 * those of the whole file, and each part gets its place. */
int sqz_delta_parts(arena *a, const uint8_t *front, size_t bytes, size_t file_bytes, int whole, part **parts,
                    uint32_t *count);

#endif
