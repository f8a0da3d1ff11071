/* The stream of a delta: everything that coding the parts of a new file needs. */
#ifndef SQZ_DELTA_WALK_H
#define SQZ_DELTA_WALK_H

#include "cursor.h"
#include "delta_output.h"
#include "delta_parts.h"
#include "differences.h"

typedef struct {
    const uint8_t *bytes;
    size_t size;
} stream;

/* Where the coding of a delta is. */
typedef struct {
    coder c;
    direction way;
    sqz_output_coder *code_output; /* of the direction */
    int version;                   /* of the delta */
    arena *a;
    sqz_differences *m;
    const part *old_parts;
    uint32_t old_count, next; /* the number, from 1, of the old part that was compared last */
    const uint8_t *old_end, *new_end;
    uint32_t follows, aligned, same[STREAMS + 1]; /* contexts */
    const int32_t *plan, *plan_end;               /* a writer only */
    output *o;                                    /* a reader only */
} walk;

/* Which outputs belong together: (old outputs to skip, outputs that both have, outputs of the new file alone). */
typedef struct {
    const uint32_t (*runs)[3];
    uint32_t count;
} pairing;

/* Code all parts of the new file. */
int sqz_delta_code_parts(walk *w, const part *parts, uint32_t count);

/* The bytes that `sqz_delta_code_parts` needs at most. */
size_t sqz_delta_parts_memory(const part *old, uint32_t old_count, const part *new_ones, uint32_t count);

/* Code the three streams of a layer, compared with the old layer `old`. `rescaling`: of biases, for a writer. */
int sqz_delta_code_layer(walk *w, sqz_shape shape, const part *old, const part *given, pairing p, int32_t rescaling);

/* The bytes that `sqz_delta_code_layer` needs for these shapes. */
size_t sqz_delta_layer_memory(sqz_shape old, sqz_shape shape);

static inline stream next_stream(sqz_cursor *c)
{
    stream s;
    s.size = sqz_take_varint(c, INT32_MAX);
    s.bytes = sqz_take(c, s.size);
    return s;
}

static inline uint32_t flag(walk *w, uint32_t *context, uint32_t bit)
{
    return w->way == READ ? sqz_code_flag(w->m, &w->c, context, bit, READ)
                          : sqz_code_flag(w->m, &w->c, context, bit, WRITE);
}

static inline uint32_t natural(walk *w, unsigned kind, uint32_t value)
{
    return sqz_code_natural(w->m, &w->c, kind, value, w->way);
}

static inline int ended(const walk *w)
{
    return w->way == READ && w->c.at > w->c.end + 3;
}

static inline int emit_stream(walk *w, stream s)
{
    const int status = emit_varint(w->o, s.size);
    return status == SQZ_OK ? emit(w->o, s.bytes, s.size) : status;
}

#endif
