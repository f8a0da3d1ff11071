/* Makes the front of a new file (docs/FORMAT.md, "Deltas"). */
#include "delta_front.h"

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

int sqz_delta_write_front(sqz_cursor *c, const uint8_t *old, size_t old_bytes, size_t size, output *o)
{
    sink to = {o, NULL, 0, 0};
    return take_front(c, old, old_bytes, size, &to);
}

int sqz_delta_read_front(arena *a, sqz_cursor body, const uint8_t *old, size_t old_bytes, size_t size, uint8_t **front,
                         size_t *bytes)
{
    uint8_t header[SQZ_FILE_HEADER];
    sink to = {NULL, header, 0, SQZ_FILE_HEADER};
    sqz_cursor again = body;
    int status = take_front(&body, old, old_bytes, size, &to);
    if (status != SQZ_OK) return status;
    if (to.at < SQZ_FILE_HEADER) return SQZ_TRUNCATED;
    const size_t graph = sqz_little(header + 16);
    if (graph > size - SQZ_FILE_HEADER) return SQZ_TRUNCATED; /* `take_front` gave no more than `size` bytes */
    *bytes = SQZ_FILE_HEADER + graph;
    *front = take(a, *bytes);
    if (*front == NULL) return SQZ_NO_ROOM;
    const sink all = {NULL, *front, 0, *bytes};
    to = all;
    status = take_front(&again, old, old_bytes, size, &to);
    return status == SQZ_OK && to.at < to.room ? SQZ_TRUNCATED : status;
}
