/* Codes a layer of a delta: its exponents, its levels, its biases (docs/FORMAT.md, "Deltas"). */
#include "delta_walk.h"

enum {
    MOST_LEVEL = 127,
    MOST_EXPONENT = 1 << 12,
    MOST_BIAS = (1 << 22) - 1,
    LEVEL_BYTES = 3, /* room for each level of an output that is being written, */
    NUMBER_BYTES = 8 /* and for each number of a list */
};

/* Goes through a pairing, output by output. */
typedef struct {
    pairing p;
    uint32_t run, at, output; /* number of the run; place in it; the next old output */
} pair;

enum { NONE = -1 };

/* The old output at the place of the next new one, or NONE. */
static int64_t next_pair(pair *q)
{
    if (q->p.count == 0) return q->output++;
    while (q->at == 0 || q->at > q->p.runs[q->run][1] + q->p.runs[q->run][2]) {
        if (q->at > 0) q->run++;
        q->at = 1;
        q->output += q->p.runs[q->run][0];
    }
    return q->at++ <= q->p.runs[q->run][1] ? (int64_t)q->output++ : NONE;
}

static pair first_pair(pairing p)
{
    const pair q = {p, 0, 0, 0};
    return q;
}

/* The numbers of a stream of a list. */
static int read_list(walk *w, stream s, uint32_t count, int32_t **numbers)
{
    const sqz_shape shape = {count, 1, 1, 1};
    *numbers = take(w->a, count * sizeof **numbers);
    const size_t mark = w->a->used;
    void *memory = take(w->a, sqz_levels_memory(shape));
    w->a->used = mark;
    if (memory == NULL) return SQZ_NO_ROOM;
    return sqz_levels_decode(s.bytes, s.size, *numbers, shape, memory);
}

/* Write the stream of a list, which must have `size` bytes. */
static int write_list(walk *w, const int32_t *numbers, uint32_t count, size_t size)
{
    const sqz_shape shape = {count, 1, 1, 1};
    const size_t mark = w->a->used;
    size_t found = (size_t)NUMBER_BYTES * count + SQZ_ALIGNMENT;
    uint8_t *bytes = take(w->a, found);
    void *memory = take(w->a, sqz_levels_memory(shape));
    w->a->used = mark;
    if (memory == NULL) return SQZ_NO_ROOM;
    if (sqz_levels_encode(numbers, shape, bytes, &found, memory) != SQZ_OK || found != size) return SQZ_BAD_STREAM;
    const stream s = {bytes, size};
    return emit_stream(w, s);
}

/* Differences from one number to the next -> the numbers. */
static void add_up(int32_t *numbers, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) numbers[i] = (int32_t)((uint32_t)numbers[i] + (uint32_t)numbers[i - 1]);
}

static void take_apart(int32_t *numbers, uint32_t count)
{
    for (uint32_t i = count; i-- > 1;) numbers[i] -= numbers[i - 1];
}

static int code_exponents(walk *w, pairing p, uint32_t count, const int32_t *old, int32_t *new_ones)
{
    pair q = first_pair(p);
    int64_t shift = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int64_t source = next_pair(&q);
        int64_t found;
        if (source == NONE) {
            const int64_t last = i > 0 ? new_ones[i - 1] : 0;
            found = last + sqz_code_whole(w->m, &w->c, SQZ_FRESH_STEP, new_ones[i] - last, w->way);
        } else {
            const int64_t moved = (int64_t)new_ones[i] - old[source] - shift;
            if (flag(w, &w->m->same_step, moved != 0)) shift += sqz_code_whole(w->m, &w->c, SQZ_STEP, moved, w->way);
            found = old[source] + shift;
        }
        if (ended(w)) return SQZ_BAD_STREAM;
        if (found > MOST_EXPONENT || found < -MOST_EXPONENT) return SQZ_BAD_STREAM;
        new_ones[i] = (int32_t)found;
    }
    return SQZ_OK;
}

static int code_biases(walk *w, pairing p, uint32_t count, const int32_t *old, int32_t *new_ones, int32_t rescaling)
{
    pair q = first_pair(p);
    int64_t recent = 0;
    const int64_t moved = sqz_code_whole(w->m, &w->c, SQZ_BIAS_STEP, rescaling, w->way);
    if (moved > SQZ_MOST_RESCALING_OF_LEVELS || moved < -SQZ_MOST_RESCALING_OF_LEVELS) return SQZ_BAD_STREAM;
    for (uint32_t i = 0; i < count; i++) {
        const int64_t source = next_pair(&q);
        int32_t part;
        unsigned kind = SQZ_FRESH_BIAS, bits = 0;
        for (int64_t size = recent >> 4; size > 0; size >>= 1) bits++;
        if (source != NONE) kind = SQZ_BIAS + (bits < 15 ? bits : 15);
        const int64_t forecast = source == NONE ? 0 : sqz_rescaled(old[source], (int32_t)moved, &part);
        const int64_t difference = sqz_code_whole(w->m, &w->c, kind, new_ones[i] - forecast, w->way);
        if (ended(w)) return SQZ_BAD_STREAM;
        if (forecast + difference > MOST_BIAS || forecast + difference < -MOST_BIAS) return SQZ_BAD_STREAM;
        new_ones[i] = (int32_t)(forecast + difference);
        if (source != NONE) recent += (((difference < 0 ? -difference : difference) << 4) - recent) >> 2;
    }
    return SQZ_OK;
}

/* A layer of both files, as it is coded. */
typedef struct {
    sqz_shape shape;      /* of the new one */
    uint32_t old_outputs; /* of the old one */
    pairing p;
    const int32_t *old_exponents, *exponents;
    stream old, given; /* the levels in the old file; and in the new one, for a writer */
    size_t size;       /* bytes of the new stream, for a reader */
} layer;

/* The new stream of levels as it is written, for a reader. */
typedef struct {
    uint8_t *bytes; /* not yet emitted */
    void *memory;
    size_t left; /* bytes that are still to come */
    int some;    /* whether there was a level other than 0 */
} creation;

static int emit_settled(walk *w, creation *made, size_t settled)
{
    if (settled > made->left) return SQZ_BAD_STREAM;
    const int status = emit(w->o, made->bytes, settled);
    made->left -= settled;
    sqz_levels_take_away(settled, made->memory);
    return status;
}

static int put_output(walk *w, creation *made, const int32_t *levels, size_t cells)
{
    size_t settled;
    for (size_t i = 0; i < cells && !made->some; i++) made->some = levels[i] != 0;
    if (made->left == 0) return made->some ? SQZ_BAD_STREAM : SQZ_OK;
    if (sqz_levels_put(levels, 1, made->memory, &settled) != SQZ_OK) return SQZ_BAD_STREAM;
    return emit_settled(w, made, settled);
}

static int close_levels(walk *w, creation *made)
{
    size_t settled;
    if (made->left == 0) return SQZ_OK;
    if (!made->some || sqz_levels_close(made->memory, &settled) != SQZ_OK) return SQZ_BAD_STREAM;
    const int status = emit_settled(w, made, settled);
    return status == SQZ_OK && made->left > 0 ? SQZ_BAD_STREAM : status;
}

static int code_levels(walk *w, const layer *l)
{
    const sqz_shape shape = l->shape, old_shape = {l->old_outputs, shape.inputs, shape.height, shape.width};
    const size_t cells = (size_t)shape.inputs * shape.height * shape.width, room = LEVEL_BYTES * cells + SQZ_ALIGNMENT;
    int32_t *before = take(w->a, cells * sizeof *before), *now = take(w->a, cells * sizeof *now);
    void *memory = take(w->a, sqz_differences_memory(shape)), *old_coding = take(w->a, sqz_levels_small_memory(shape));
    creation made = {NULL, take(w->a, sqz_levels_small_memory(shape)), l->size, 0};
    made.bytes = take(w->a, room);
    pair q = first_pair(l->p);
    int64_t read = 0; /* old outputs that were decoded */
    int status = w->way == READ ? emit_varint(w->o, l->size) : SQZ_OK;
    if (made.bytes == NULL) return SQZ_NO_ROOM;
    sqz_levels_open(l->old.bytes, l->old.size, old_shape, old_coding);
    if (w->way == WRITE)
        sqz_levels_open(l->given.bytes, l->given.size, shape, made.memory);
    else if (l->size > 0)
        sqz_levels_create(made.bytes, room, shape, made.memory);
    sqz_differences_layer(w->m, shape, memory);
    for (uint32_t i = 0; i < shape.outputs && status == SQZ_OK; i++) {
        const int64_t source = next_pair(&q);
        const int32_t rescaling = source == NONE ? 0 : l->old_exponents[source] - l->exponents[i];
        for (; read <= source && status == SQZ_OK; read++) status = sqz_levels_next(before, 1, old_coding);
        if (w->way == WRITE && status == SQZ_OK) status = sqz_levels_next(now, 1, made.memory);
        if (status != SQZ_OK) return status;
        const int32_t *row = source == NONE ? NULL : before;
        if (!w->code_output(w->m, &w->c, shape, memory, i, row, rescaling, now) || ended(w)) return SQZ_BAD_STREAM;
        if (w->way == READ) status = put_output(w, &made, now, cells);
    }
    return status == SQZ_OK && w->way == READ ? close_levels(w, &made) : status;
}

/* Code whether stream `which` of a layer is the same in both files, and if not, the bytes of the new one. */
static int code_same(walk *w, int which, pairing p, stream old, stream given, size_t *size, int *same)
{
    const int equal = old.size == given.size && w->way == WRITE && memcmp(old.bytes, given.bytes, old.size) == 0;
    *same = p.count == 0 && flag(w, w->same + which, !equal) == 0;
    if (*same) return w->way == READ ? emit_stream(w, old) : SQZ_OK;
    const int64_t grown = (int64_t)given.size - (int64_t)old.size;
    const int64_t found = (int64_t)old.size + sqz_code_whole(w->m, &w->c, SQZ_STREAM_SIZE, grown, w->way);
    *size = (size_t)found;
    return found < 0 || ended(w) ? SQZ_BAD_STREAM : SQZ_OK;
}

/* The numbers of the list that the new file has: those of its stream for a writer, zeros for a reader. */
static int new_list(walk *w, stream given, uint32_t count, int32_t **numbers)
{
    if (w->way == WRITE) return read_list(w, given, count, numbers);
    *numbers = take(w->a, count * sizeof **numbers);
    if (*numbers == NULL) return SQZ_NO_ROOM;
    memset(*numbers, 0, count * sizeof **numbers);
    return SQZ_OK;
}

static int code_exponents_stream(walk *w, layer *l, stream old, stream given, int32_t *old_exponents)
{
    const uint32_t count = l->shape.outputs;
    int32_t *exponents;
    size_t size;
    int same, status = new_list(w, given, count, &exponents);
    if (status == SQZ_OK) status = code_same(w, 0, l->p, old, given, &size, &same);
    if (status != SQZ_OK) return status;
    if (w->way == WRITE) add_up(exponents, count);
    l->exponents = same ? old_exponents : exponents;
    if (same) return SQZ_OK;
    status = code_exponents(w, l->p, count, old_exponents, exponents);
    if (status != SQZ_OK || w->way == WRITE) return status;
    take_apart(exponents, count);
    status = write_list(w, exponents, count, size);
    add_up(exponents, count);
    return status;
}

static int code_biases_stream(walk *w, const layer *l, stream old, stream given, int32_t rescaling)
{
    const uint32_t count = l->shape.outputs;
    int32_t *old_biases, *biases;
    size_t size;
    int same, status = code_same(w, 2, l->p, old, given, &size, &same);
    if (status != SQZ_OK || same) return status;
    status = read_list(w, old, l->old_outputs, &old_biases);
    if (status == SQZ_OK) status = new_list(w, given, count, &biases);
    if (status == SQZ_OK) status = code_biases(w, l->p, count, old_biases, biases, rescaling);
    return status == SQZ_OK && w->way == READ ? write_list(w, biases, count, size) : status;
}

int sqz_delta_code_layer(walk *w, sqz_shape shape, const part *old, const part *given, pairing p, int32_t rescaling)
{
    sqz_cursor from = {old->at, w->old_end, SQZ_OK}, to = {given->at, w->new_end, SQZ_OK};
    stream olds[STREAMS], news[STREAMS];
    int32_t *old_exponents;
    layer l = {shape, old->shape.outputs, p, NULL, NULL, {NULL, 0}, {NULL, 0}, 0};
    int same, status;
    memset(news, 0, sizeof news);
    for (int i = 0; i < STREAMS; i++) olds[i] = next_stream(&from);
    for (int i = 0; i < STREAMS && w->way == WRITE; i++) news[i] = next_stream(&to);
    if (from.status != SQZ_OK || to.status != SQZ_OK) return SQZ_TRUNCATED;
    status = read_list(w, olds[0], l.old_outputs, &old_exponents);
    if (status != SQZ_OK) return status;
    add_up(old_exponents, l.old_outputs);
    l.old_exponents = old_exponents;
    status = code_exponents_stream(w, &l, olds[0], news[0], old_exponents);
    if (status == SQZ_OK) status = code_same(w, 1, p, olds[1], news[1], &l.size, &same);
    if (status == SQZ_OK && !same) {
        const size_t mark = w->a->used;
        l.old = olds[1];
        l.given = news[1];
        status = code_levels(w, &l);
        w->a->used = mark;
    }
    return status == SQZ_OK ? code_biases_stream(w, &l, olds[2], news[2], rescaling) : status;
}

size_t sqz_delta_layer_memory(sqz_shape old, sqz_shape shape)
{
    static const sqz_shape list = {1, 1, 1, 1};
    arena counted = {NULL, 0, 0, 0};
    const size_t cells = (size_t)shape.inputs * shape.height * shape.width;
    for (int k = 0; k < 2; k++) {
        take(&counted, old.outputs * sizeof(int32_t));
        take(&counted, shape.outputs * sizeof(int32_t));
    }
    const size_t mark = counted.used;
    take(&counted, (size_t)NUMBER_BYTES * shape.outputs + SQZ_ALIGNMENT);
    take(&counted, sqz_levels_memory(list));
    counted.used = mark;
    for (int k = 0; k < 2; k++) {
        take(&counted, cells * sizeof(int32_t));
        take(&counted, sqz_levels_small_memory(shape));
    }
    take(&counted, sqz_differences_memory(shape));
    take(&counted, LEVEL_BYTES * cells + SQZ_ALIGNMENT);
    return counted.most;
}
