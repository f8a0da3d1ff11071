/* Codes the parts of a new file, one after another (docs/FORMAT.md, "Deltas"). One function reads and writes, so that
 * the two cannot differ. `squeezenet/sqz/delta_reference.py` does the same in Python. */
#include "delta_walk.h"

static int32_t planned(walk *w)
{
    return w->plan < w->plan_end ? *w->plan++ : 0;
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
    return status == SQZ_OK ? sqz_delta_code_layer(w, given->shape, old, given, p, rescaling) : status;
}

int sqz_delta_code_parts(walk *w, const part *parts, uint32_t count)
{
    int status = SQZ_OK;
    w->m = take(w->a, sizeof *w->m);
    if (w->m == NULL) return SQZ_NO_ROOM;
    sqz_differences_start(w->m, w->version);
    w->follows = w->aligned = CERTAIN / 2 << 10;
    for (int i = 0; i <= STREAMS; i++) w->same[i] = CERTAIN / 2 << 10;
    for (uint32_t i = 0; i < count && status == SQZ_OK; i++) {
        const size_t mark = w->a->used;
        status = code_part(w, parts + i);
        w->a->used = mark;
    }
    return status;
}

size_t sqz_delta_parts_memory(const part *old, uint32_t old_count, const part *new_ones, uint32_t count)
{
    size_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < old_count; j++) {
            const sqz_shape a = old[j].shape, b = new_ones[i].shape;
            if (!same_kind(a, b) || b.outputs == 0) continue;
            const size_t runs = sqz_aligned((size_t)b.outputs * 3 * sizeof(uint32_t));
            const size_t needed = runs + sqz_delta_layer_memory(a, b);
            if (needed > most) most = needed;
        }
    return most + sqz_aligned(sizeof(sqz_differences));
}
