/* Applies and makes deltas (docs/FORMAT.md, "Deltas"). One function (`code_parts`) does both, so that they cannot
 * differ. `squeezenet/sqz/delta_reference.py` does the same in Python. */
#include "delta.h"

#include "budget.h"
#include "differences.h"
#include "graph.h"
#include "plan.h"
#include "sha256.h"

enum {
    HEADER = 24,       /* bytes of the header of a `.sqz` file */
    DELTA_HEADER = 88, /* of a delta */
    CHECKED = 16,      /* the checksum covers the bytes from this offset on */
    WHOLE = 0,         /* kinds: the body is the new file; */
    LEVELS = 1,        /* or what differs between the levels of both */
    STREAMS = 3,       /* of a layer: exponents, levels, biases */
    MOST_LEVEL = 127,
    MOST_EXPONENT = 1 << 12,
    MOST_BIAS = (1 << 22) - 1,
    LEVEL_BYTES = 3, /* room for each level of an output that is being written, */
    NUMBER_BYTES = 8 /* and for each number of a list */
};

/* Gives out memory from front to back. If the memory is too small, the bytes are only counted. */
typedef struct {
    uint8_t *memory;
    size_t room, used, most;
} arena;

static void *take(arena *a, size_t bytes)
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

typedef struct {
    const uint8_t *bytes;
    size_t size;
} stream;

/* The new file as it is written. */
typedef struct {
    sqz_write write;
    void *context;
    sqz_sha256 digest;
    size_t at, size; /* bytes that were written; of the whole file */
} output;

static int emit(output *o, const uint8_t *bytes, size_t count)
{
    if (count > o->size - o->at) return SQZ_BAD_STREAM;
    if (count == 0) return SQZ_OK;
    if (o->write(o->context, o->at, bytes, count) != 0) return SQZ_STOPPED;
    sqz_sha256_take(&o->digest, bytes, count);
    o->at += count;
    return SQZ_OK;
}

static int emit_varint(output *o, size_t value)
{
    uint8_t bytes[5];
    size_t count = 0;
    for (; value > 127; value >>= 7) bytes[count++] = (uint8_t)(value & 127) | 128;
    bytes[count++] = (uint8_t)value;
    return emit(o, bytes, count);
}

/* Find the parts of a file, given the bytes from its header to the end of its graph at least. If `whole`, `bytes` are
 * those of the whole file, and each part gets its place. */
static int find_parts(arena *a, const uint8_t *front, size_t bytes, size_t file_bytes, int whole, part **parts,
                      uint32_t *count)
{
    sqz_network *network;
    uint32_t ops, reads;
    const size_t graph = sqz_little(front + 16), text = sqz_little(front + 20);
    if (graph > bytes - HEADER || (whole && text > bytes - HEADER - graph)) return SQZ_TRUNCATED;
    const sqz_cursor c = {front + HEADER, front + HEADER + graph, SQZ_OK};
    sqz_cursor rest = {c.end + (whole ? text : 0), front + bytes, SQZ_OK};
    int status = sqz_graph_count(c, &ops, &reads);
    if (status != SQZ_OK) return status;
    *parts = take(a, ops * sizeof **parts);
    const size_t mark = a->used;
    uint8_t *memory = take(a, sqz_lay_out(NULL, ops, reads, &network) + SQZ_ALIGNMENT);
    a->used = mark;
    if (memory == NULL) return SQZ_NO_ROOM;
    sqz_lay_out(sqz_align(memory), ops, reads, &network);
    status = sqz_graph_read(c, file_bytes, network);
    if (status == SQZ_OK && whole) status = sqz_graph_scales(&rest, network);
    *count = 0;
    for (uint32_t i = 0; i < ops && status == SQZ_OK; i++) {
        static const sqz_shape table = {0, 0, 0, 0};
        const sqz_op *op = network->ops + i;
        if (!sqz_is_layer(op) && op->kind != SQZ_ACTIVATION) continue;
        part *p = *parts + (*count)++;
        p->shape = sqz_is_layer(op) ? sqz_weight_shape(network, op) : table;
        p->at = whole ? rest.at : NULL;
        for (int streams = sqz_is_layer(op) ? STREAMS : 1; streams > 0 && whole; streams--)
            sqz_take(&rest, sqz_take_varint(&rest, INT32_MAX));
        status = rest.status;
    }
    return status;
}

/* Everything that coding the parts needs. */
typedef struct {
    coder c;
    direction way;
    arena *a;
    sqz_differences *m;
    const part *old_parts;
    uint32_t old_count, next; /* the number, from 1, of the old part that was compared last */
    const uint8_t *old_end, *new_end;
    uint32_t follows, aligned, same[STREAMS + 1]; /* contexts */
    const int32_t *plan, *plan_end;               /* a writer only */
    output *o;                                    /* a reader only */
} walk;

static stream next_stream(sqz_cursor *c)
{
    stream s;
    s.size = sqz_take_varint(c, INT32_MAX);
    s.bytes = sqz_take(c, s.size);
    return s;
}

static int32_t planned(walk *w)
{
    return w->plan < w->plan_end ? *w->plan++ : 0;
}

static uint32_t flag(walk *w, uint32_t *context, uint32_t bit)
{
    return w->way == READ ? sqz_code_flag(w->m, &w->c, context, bit, READ)
                          : sqz_code_flag(w->m, &w->c, context, bit, WRITE);
}

static uint32_t natural(walk *w, unsigned kind, uint32_t value)
{
    return sqz_code_natural(w->m, &w->c, kind, value, w->way);
}

static int ended(const walk *w)
{
    return w->way == READ && w->c.at > w->c.end + 3;
}

static int emit_stream(walk *w, stream s)
{
    const int status = emit_varint(w->o, s.size);
    return status == SQZ_OK ? emit(w->o, s.bytes, s.size) : status;
}

/* Code a stream as it is. */
static int code_raw(walk *w, stream s)
{
    uint8_t piece[64];
    size_t held = 0;
    const uint32_t size = natural(w, SQZ_LENGTH, (uint32_t)s.size);
    int status = w->way == READ ? emit_varint(w->o, size) : SQZ_OK;
    for (uint32_t i = 0; i < size && status == SQZ_OK; i++) {
        uint32_t byte = 0;
        for (unsigned left = 8; left-- > 0;)
            byte = byte << 1 | (w->way == READ ? split(&w->c, 32768, 0, READ)
                                               : split(&w->c, 32768, s.bytes[i] >> left & 1u, WRITE));
        if (ended(w)) return SQZ_BAD_STREAM;
        if (w->way == WRITE) continue;
        piece[held++] = (uint8_t)byte;
        if (held == sizeof piece || i + 1 == size) {
            status = emit(w->o, piece, held);
            held = 0;
        }
    }
    return status;
}

/* Which outputs belong together: (old outputs to skip, outputs that both have, outputs of the new file alone). */
typedef struct {
    const uint32_t (*runs)[3];
    uint32_t count;
} pairing;

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

static int code_pairing(walk *w, uint32_t old_outputs, uint32_t outputs, int32_t planned_runs, pairing *p)
{
    p->count = 0;
    p->runs = NULL;
    if (flag(w, &w->aligned, planned_runs > 0) == 0) return old_outputs == outputs ? SQZ_OK : SQZ_BAD_STREAM;
    const uint32_t count = natural(w, SQZ_RUNS, (uint32_t)planned_runs - 1) + 1;
    uint64_t read = 0, made = 0;
    if (count == 0 || count > outputs) return SQZ_BAD_STREAM;
    uint32_t (*runs)[3] = take(w->a, count * sizeof *runs);
    if (runs == NULL) return SQZ_NO_ROOM;
    for (uint32_t i = 0; i < count; i++) {
        for (int j = 0; j < 3; j++) runs[i][j] = natural(w, SQZ_RUN, w->way == WRITE ? (uint32_t)planned(w) : 0);
        if (ended(w)) return SQZ_BAD_STREAM;
        read += (uint64_t)runs[i][0] + runs[i][1];
        made += (uint64_t)runs[i][1] + runs[i][2];
        if (read > old_outputs || made > outputs || (runs[i][1] == 0 && runs[i][2] == 0)) return SQZ_BAD_STREAM;
    }
    p->runs = (const uint32_t (*)[3])runs;
    p->count = count;
    return made == outputs ? SQZ_OK : SQZ_BAD_STREAM;
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
        if (!sqz_code_output(w->m, &w->c, shape, memory, i, row, rescaling, now, w->way) || ended(w))
            return SQZ_BAD_STREAM;
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

static int code_layer(walk *w, sqz_shape shape, const part *old, const part *given, pairing p, int32_t rescaling)
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

static int code_table(walk *w, const part *old, const part *given)
{
    sqz_cursor from = {old->at, w->old_end, SQZ_OK}, to = {given->at, w->new_end, SQZ_OK};
    const stream before = next_stream(&from);
    stream after = {NULL, 0};
    if (w->way == WRITE) after = next_stream(&to);
    if (from.status != SQZ_OK || to.status != SQZ_OK) return SQZ_TRUNCATED;
    const int equal =
        before.size == after.size && w->way == WRITE && memcmp(before.bytes, after.bytes, after.size) == 0;
    if (flag(w, w->same + STREAMS, !equal) != 0) return code_raw(w, after);
    return w->way == READ ? emit_stream(w, before) : SQZ_OK;
}

static int same_kind(sqz_shape a, sqz_shape b)
{
    return (a.outputs > 0) == (b.outputs > 0) && a.inputs == b.inputs && a.height == b.height && a.width == b.width;
}

/* Code one part of the new file: which part of the old one it is compared with, then its streams. */
static int code_part(walk *w, const part *given)
{
    uint32_t number = (uint32_t)planned(w);
    const int32_t rescaling = planned(w), runs = planned(w);
    pairing p = {NULL, 0};
    if (flag(w, &w->follows, number != w->next + 1))
        number = natural(w, SQZ_OLD_PART, number);
    else
        number = w->next + 1;
    if (ended(w)) return SQZ_BAD_STREAM;
    if (number == 0) {
        sqz_cursor to = {given->at, w->new_end, SQZ_OK};
        int status = SQZ_OK;
        for (int left = given->shape.outputs > 0 ? STREAMS : 1; left > 0 && status == SQZ_OK; left--) {
            stream s = {NULL, 0};
            if (w->way == WRITE) s = next_stream(&to);
            status = to.status == SQZ_OK ? code_raw(w, s) : to.status;
        }
        return status;
    }
    if (number > w->old_count || !same_kind(w->old_parts[number - 1].shape, given->shape)) return SQZ_BAD_STREAM;
    const part *old = w->old_parts + number - 1;
    w->next = number;
    if (given->shape.outputs == 0) return code_table(w, old, given);
    const int status = code_pairing(w, old->shape.outputs, given->shape.outputs, runs, &p);
    return status == SQZ_OK ? code_layer(w, given->shape, old, given, p, rescaling) : status;
}

static int code_parts(walk *w, const part *parts, uint32_t count)
{
    int status = SQZ_OK;
    w->m = take(w->a, sizeof *w->m);
    if (w->m == NULL) return SQZ_NO_ROOM;
    sqz_differences_start(w->m);
    w->follows = w->aligned = CERTAIN / 2 << 10;
    for (int i = 0; i <= STREAMS; i++) w->same[i] = CERTAIN / 2 << 10;
    for (uint32_t i = 0; i < count && status == SQZ_OK; i++) {
        const size_t mark = w->a->used;
        status = code_part(w, parts + i);
        w->a->used = mark;
    }
    return status;
}

/* The bytes that `code_parts` needs at most. */
static size_t memory_for_parts(const part *old, uint32_t old_count, const part *new_ones, uint32_t count)
{
    size_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < old_count; j++) {
            const sqz_shape a = old[j].shape, b = new_ones[i].shape, list = {1, 1, 1, 1};
            arena counted = {NULL, 0, 0, 0};
            if (!same_kind(a, b) || b.outputs == 0) continue;
            const size_t cells = (size_t)b.inputs * b.height * b.width;
            take(&counted, (size_t)b.outputs * 3 * sizeof(uint32_t));
            for (int k = 0; k < 2; k++) {
                take(&counted, a.outputs * sizeof(int32_t));
                take(&counted, b.outputs * sizeof(int32_t));
            }
            const size_t mark = counted.used;
            take(&counted, (size_t)NUMBER_BYTES * b.outputs + SQZ_ALIGNMENT);
            take(&counted, sqz_levels_memory(list));
            counted.used = mark;
            for (int k = 0; k < 2; k++) {
                take(&counted, cells * sizeof(int32_t));
                take(&counted, sqz_levels_small_memory(b));
            }
            take(&counted, sqz_differences_memory(b));
            take(&counted, LEVEL_BYTES * cells + SQZ_ALIGNMENT);
            if (counted.most > most) most = counted.most;
        }
    return most + sqz_aligned(sizeof(sqz_differences));
}

/* Where the front of a new file goes: to the output, or its first bytes to memory. */
typedef struct {
    output *o;
    uint8_t *bytes;
    size_t at, room;
} sink;

static int pour(sink *to, const uint8_t *bytes, size_t count)
{
    if (to->o != NULL) return emit(to->o, bytes, count);
    for (; count > 0 && to->at < to->room; count--) to->bytes[to->at++] = *bytes++;
    return SQZ_OK;
}

/* Take the pieces of the front from the delta. `size`: of the new file. */
static int take_front(sqz_cursor *c, const uint8_t *old, size_t old_bytes, size_t size, sink *to)
{
    const uint32_t most = (uint32_t)size;
    int64_t expected = 0;
    uint64_t made = 0;
    for (uint32_t pieces = sqz_take_varint(c, most); pieces > 0; pieces--) {
        const uint32_t folded = sqz_take_varint(c, INT32_MAX), copied = sqz_take_varint(c, most);
        const uint32_t inserted = sqz_take_varint(c, INT32_MAX);
        const int64_t from = expected + (folded & 1 ? -(int64_t)(folded >> 1) - 1 : (int64_t)(folded >> 1));
        if (c->status != SQZ_OK) return c->status;
        made += (uint64_t)copied + inserted;
        if (from < 0 || from + copied > (int64_t)old_bytes || made > size) return SQZ_BAD_STREAM;
        const uint8_t *bytes = sqz_take(c, inserted);
        if (bytes == NULL) return c->status;
        int status = pour(to, old + from, copied);
        if (status == SQZ_OK) status = pour(to, bytes, inserted);
        if (status != SQZ_OK) return status;
        expected = from + copied + inserted;
    }
    return c->status;
}

/* Read the header of the new file, then all up to the end of its graph, to memory. */
static int read_front(arena *a, sqz_cursor body, const uint8_t *old, size_t old_bytes, size_t size, uint8_t **front,
                      size_t *bytes)
{
    uint8_t header[HEADER];
    sink to = {NULL, header, 0, HEADER};
    sqz_cursor again = body;
    int status = take_front(&body, old, old_bytes, size, &to);
    if (status != SQZ_OK) return status;
    if (to.at < HEADER) return SQZ_TRUNCATED;
    *bytes = HEADER + (size_t)sqz_little(header + 16);
    if (*bytes > size) return SQZ_TRUNCATED;
    *front = take(a, *bytes);
    if (*front == NULL) return SQZ_NO_ROOM;
    const sink all = {NULL, *front, 0, *bytes};
    to = all;
    status = take_front(&again, old, old_bytes, size, &to);
    return status == SQZ_OK && to.at < to.room ? SQZ_TRUNCATED : status;
}

static int apply_levels(const uint8_t *old, size_t old_bytes, sqz_cursor body, arena *a, output *o)
{
    part *old_parts, *parts;
    uint32_t old_count, count;
    uint8_t *front;
    size_t bytes;
    walk w;
    if (old_bytes < HEADER) return SQZ_TRUNCATED;
    int status = read_front(a, body, old, old_bytes, o->size, &front, &bytes);
    if (status == SQZ_OK) status = find_parts(a, front, bytes, o->size, 0, &parts, &count);
    if (status == SQZ_OK) status = find_parts(a, old, old_bytes, old_bytes, 1, &old_parts, &old_count);
    if (status != SQZ_OK) return status;
    const size_t needed = a->used + memory_for_parts(old_parts, old_count, parts, count);
    if (needed > a->most) a->most = needed;
    if (needed > a->room) return SQZ_NO_ROOM;
    sink to = {o, NULL, 0, 0};
    status = take_front(&body, old, old_bytes, o->size, &to);
    if (status != SQZ_OK) return status;
    memset(&w, 0, sizeof w);
    w.c = reader(body.at, (size_t)(body.end - body.at));
    w.way = READ;
    w.a = a;
    w.old_parts = old_parts;
    w.old_count = old_count;
    w.old_end = old + old_bytes;
    w.o = o;
    status = code_parts(&w, parts, count);
    return status == SQZ_OK && end_of_reading(&w.c) != SQZ_OK ? SQZ_BAD_STREAM : status;
}

static int check_digest(const uint8_t *bytes, size_t count, const uint8_t *expected)
{
    sqz_sha256 s;
    uint8_t digest[32];
    sqz_sha256_start(&s);
    sqz_sha256_take(&s, bytes, count);
    sqz_sha256_end(&s, digest);
    return memcmp(digest, expected, sizeof digest) == 0;
}

static int check_delta(const uint8_t *delta, size_t bytes)
{
    static const uint8_t magic[4] = {0x89, 'S', 'Q', 'D'};
    if (bytes == 0 || memcmp(delta, magic, bytes < sizeof magic ? bytes : sizeof magic) != 0) return SQZ_NOT_DELTA;
    if (bytes < DELTA_HEADER) return SQZ_TRUNCATED;
    if (delta[4] != 1 || delta[5] > LEVELS || delta[6] != 0 || delta[7] != 0) return SQZ_VERSION;
    if (sqz_little(delta + 8) != bytes) return sqz_little(delta + 8) > bytes ? SQZ_TRUNCATED : SQZ_TRAILING;
    if (sqz_crc32(0, delta + CHECKED, bytes - CHECKED) != sqz_little(delta + 12)) return SQZ_CHECKSUM;
    const uint64_t old = sqz_little(delta + 16), made = sqz_little(delta + 20);
    return old > SQZ_MAX_MODEL_FILE || made > SQZ_MAX_MODEL_FILE ||
                   made > SQZ_DELTA_BYTES_A_BYTE * (old + bytes) + SQZ_FREE_DELTA
               ? SQZ_LIMIT
               : SQZ_OK;
}

int sqz_delta_apply(const uint8_t *old, size_t old_bytes, const uint8_t *delta, size_t delta_bytes, void *memory,
                    size_t *room, sqz_write write, void *context)
{
    arena a = {memory, *room, 0, 0};
    output o = {write, context, {{0}, 0, {0}}, 0, 0};
    uint8_t digest[32];
    int status = check_delta(delta, delta_bytes);
    if (status != SQZ_OK) return status;
    if (sqz_little(delta + 16) != old_bytes || !check_digest(old, old_bytes, delta + 24)) return SQZ_WRONG_OLD;
    o.size = sqz_little(delta + 20);
    sqz_sha256_start(&o.digest);
    const sqz_cursor body = {delta + DELTA_HEADER, delta + delta_bytes, SQZ_OK};
    if (delta[5] == WHOLE)
        status = emit(&o, body.at, delta_bytes - DELTA_HEADER);
    else
        status = apply_levels(old, old_bytes, body, &a, &o);
    *room = a.most;
    if (status != SQZ_OK) return status;
    sqz_sha256_end(&o.digest, digest);
    return o.at == o.size && memcmp(digest, delta + 56, sizeof digest) == 0 ? SQZ_OK : SQZ_CHECKSUM;
}

SMALL int sqz_delta_encode(const uint8_t *old, size_t old_bytes, const uint8_t *new_file, size_t new_bytes,
                           const int32_t *plan, size_t plan_length, uint8_t *bytes, size_t *size, void *memory,
                           size_t *room)
{
    arena a = {memory, *room, 0, 0};
    part *old_parts, *parts;
    uint32_t old_count, count;
    walk w;
    int status = find_parts(&a, new_file, new_bytes, new_bytes, 1, &parts, &count);
    if (status == SQZ_OK) status = find_parts(&a, old, old_bytes, old_bytes, 1, &old_parts, &old_count);
    if (status == SQZ_OK) {
        memset(&w, 0, sizeof w);
        w.c = writer(bytes, *size);
        w.way = WRITE;
        w.a = &a;
        w.old_parts = old_parts;
        w.old_count = old_count;
        w.old_end = old + old_bytes;
        w.new_end = new_file + new_bytes;
        w.plan = plan;
        w.plan_end = plan + plan_length;
        status = code_parts(&w, parts, count);
    }
    *room = a.most;
    if (status != SQZ_OK) return status;
    const size_t found = end_of_writing(&w.c);
    status = found > *size ? SQZ_NO_ROOM : SQZ_OK;
    *size = found;
    return status;
}
