/* The executor of rows.h. */
#include "rows.h"

#include <string.h>

#include "progress.h"
#include "run.h"

/* Whether the first `need` rows of the result of operation w - 1 (w = 0: of the image) are computed; `done` rows are. A
 * mean must be complete. A value with fewer than `need` rows must be complete too: it is the same at all positions. */
static int is_there(const sqz_network *network, uint32_t w, uint32_t done, uint32_t need)
{
    const sqz_op *maker = network->ops + w - 1;
    if (w == 0) return done >= need || done == network->values[0].height;
    if (done == maker->rows) return 1;
    if (maker->pool > 0) return sqz_pooled(network->ops + maker->pool - 1, done) >= need;
    return maker->mean == 0 && done >= need;
}

const sqz_op *sqz_rows_next(const sqz_rows *rows, const uint32_t *done)
{
    const sqz_network *network = rows->network;
    for (uint32_t i = network->op_count; i-- > 0;) {
        const sqz_op *op = network->ops + i;
        if (done[i + 1] == op->rows) continue;
        const uint32_t need = sqz_rows_needed(network, op, sqz_next_end(op, done[i + 1])) + op->lag;
        uint32_t there = 0;
        while (there < op->wait_count) {
            const uint32_t w = rows->waits[op->waits + there], peer = w & SQZ_PEER;
            if (peer > 0 ? done[w - peer] < done[i + 1] : !is_there(network, w, done[w], need)) break;
            there++;
        }
        if (there == op->wait_count) return op;
    }
    return NULL;
}

static uint32_t *counters(const sqz_rows *rows, void *memory)
{
    return (uint32_t *)(void *)((uint8_t *)memory + rows->done);
}

void sqz_rows_start(const sqz_rows *rows, void *memory)
{
    memset(counters(rows, memory), 0, (rows->network->op_count + 1) * sizeof(uint32_t));
}

/* Bytes of a row of the image -> a row of value 0. */
static void read_row(const sqz_rows *rows, uint8_t *memory, uint32_t row, const uint8_t *pixels)
{
    const sqz_value *y = rows->network->values;
    const uint8_t *table = rows->network->weights + rows->table;
    uint8_t *out = memory + y->offset + (size_t)(row % y->ring) * y->width * y->pitch;
    for (uint32_t x = 0; x < y->width; x++, out += y->pitch, pixels += y->channels)
        for (uint32_t c = 0; c < y->channels; c++)
            out[c] = table[SQZ_TABLE * c + pixels[rows->reversed ? y->channels - 1 - c : c]];
}

void sqz_rows_push(const sqz_rows *rows, void *memory, const uint8_t *pixels)
{
    uint32_t *done = counters(rows, memory);
    sqz_task task = {rows->network, NULL, NULL, memory, NULL, 0, 0, 1};
    read_row(rows, memory, done[0]++, pixels);
    while ((task.op = sqz_rows_next(rows, done)) != NULL) {
        uint32_t *progress = done + (task.op - rows->network->ops) + 1;
        task.scratch = (uint8_t *)memory + task.op->scratch;
        task.from = *progress;
        task.to = sqz_next_end(task.op, task.from);
        task.op->work(&task, 0);
        *progress = task.to;
    }
}

void sqz_rows_logits(const sqz_rows *rows, const void *memory, int32_t *logits)
{
    const sqz_value *x = rows->network->values + rows->logits;
    const uint8_t *from = (const uint8_t *)memory + x->offset;
    for (uint32_t i = 0; i < x->channels; i++) {
        if (x->scale.wide)
            memcpy(logits + i, from + 4 * (size_t)i, sizeof *logits);
        else
            logits[i] = from[i] - x->scale.zero;
    }
}
