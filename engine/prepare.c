/* All layers of a network, shared out among those who prepare them. */
#include "cursor.h"
#include "layers.h"
#include "plan.h"

enum {
    MOST_PARTS = 64,     /* that share layers out; others have nothing to do */
    EFFORT_OF_A_BYTE = 5 /* the same as reading so many zeros whose codes take next to nothing */
};

/* The layers of a float network follow each other: where one ends is known once it was read. */
static int prepare_in_order(sqz_network *network, uint8_t *decoding)
{
    sqz_cursor c = {network->at, network->end, SQZ_OK};
    for (uint32_t i = 0; i < network->count; i++)
        if (sqz_is_layer(network->ops + i)) {
            const int status = sqz_float_layer(network, network->ops + i, &c, decoding);
            if (status != SQZ_OK) return status;
        }
    return c.at == c.end ? SQZ_OK : SQZ_TRAILING;
}

/* Find the layers of an integer network, whose streams say how long they are. Stops at one that cannot be skipped,
 * which will be found damaged when it is read. Returns how many operations were looked at. */
static uint32_t find_layers(const sqz_network *network, sqz_cursor *c)
{
    uint32_t i = 0;
    for (; i < network->count && c->status == SQZ_OK; i++) {
        sqz_op *op = network->ops + i;
        if (!sqz_is_layer(op)) continue;
        op->at = c->at;
        op->status = SQZ_OK;
        for (int stream = 0; stream < 3; stream++) sqz_take(c, sqz_take_varint(c, INT32_MAX));
        op->effort = EFFORT_OF_A_BYTE * (uint64_t)(c->at - op->at);
        const sqz_shape shape = sqz_weight_shape(network, op);
        op->effort += (uint64_t)shape.outputs * shape.inputs * shape.height * shape.width;
    }
    return i;
}

/* Each layer to the part that has least to do so far; the last first, since it often is the largest. */
static void share_out(const sqz_network *network, uint32_t count, unsigned parts)
{
    uint64_t efforts[MOST_PARTS] = {0};
    while (count-- > 0) {
        sqz_op *op = network->ops + count;
        if (!sqz_is_layer(op)) continue;
        op->part = 0;
        for (unsigned part = 1; part < parts && part < MOST_PARTS; part++)
            if (efforts[part] < efforts[op->part]) op->part = part;
        efforts[op->part] += op->effort;
    }
}

typedef struct {
    sqz_network *network;
    uint8_t *decoding;
    uint32_t count;
} preparing;

static void prepare_some(const void *task, unsigned part)
{
    const preparing *p = task;
    for (uint32_t i = 0; i < p->count; i++) {
        sqz_op *op = p->network->ops + i;
        if (!sqz_is_layer(op) || op->part != part) continue;
        sqz_cursor c = {op->at, p->network->end, SQZ_OK};
        op->status = sqz_integer_layer(p->network, op, &c, p->decoding + part * p->network->decoding_bytes);
        if (op->status != SQZ_OK) return;
    }
}

/* The first damage in the order of the file is what is told, whoever finds it. */
static int prepare_shared_out(sqz_network *network, uint8_t *decoding, const sqz_team *team)
{
    sqz_cursor c = {network->at, network->end, SQZ_OK};
    const preparing task = {network, decoding, find_layers(network, &c)};
    share_out(network, task.count, team != NULL ? team->parts : 1);
    if (team != NULL)
        team->each(team->context, prepare_some, &task);
    else
        prepare_some(&task, 0);
    for (uint32_t i = 0; i < task.count; i++)
        if (sqz_is_layer(network->ops + i) && network->ops[i].status != SQZ_OK) return network->ops[i].status;
    return c.status != SQZ_OK || c.at == c.end ? c.status : SQZ_TRAILING;
}

int sqz_prepare(sqz_network *network, void *weights, void *decoding, const sqz_team *team)
{
    network->weights = sqz_align(weights);
    return network->floats ? prepare_in_order(network, decoding) : prepare_shared_out(network, decoding, team);
}
