/* Decoding all layers of a network, which the parts of a team share. */
#include "cursor.h"
#include "layers.h"
#include "plan.h"

enum {
    MOST_PARTS = 64,   /* parts that get layers; others have nothing to do */
    COST_OF_A_BYTE = 5 /* decoding a byte of a stream takes as long as 5 pruned weights */
};

/* Float networks: where a layer ends is known only after it was decoded, so one part decodes all of them. */
static int load_in_order(sqz_network *network, uint8_t *decoding)
{
    sqz_cursor c = {network->coded, network->coded_end, SQZ_OK};
    for (uint32_t i = 0; i < network->op_count; i++)
        if (sqz_is_layer(network->ops + i)) {
            const int status = sqz_float_layer(network, network->ops + i, &c, decoding);
            if (status != SQZ_OK) return status;
        }
    return c.at == c.end ? SQZ_OK : SQZ_TRAILING;
}

/* Find where the layers of an integer network begin, three streams each, and the tables of activations, one stream
 * each: the lengths are in the file. Stops at a
 * layer whose lengths are damaged; decoding it will report that. Returns how many operations were looked at. */
static uint32_t find_layers(const sqz_network *network, sqz_cursor *c)
{
    uint32_t i = 0;
    for (; i < network->op_count && c->status == SQZ_OK; i++) {
        sqz_op *op = network->ops + i;
        if (!sqz_is_coded(network, op)) continue;
        op->coded = c->at;
        op->status = SQZ_OK;
        for (int streams = sqz_is_layer(op) ? 3 : 1; streams > 0; streams--) sqz_take(c, sqz_take_varint(c, INT32_MAX));
        op->cost = COST_OF_A_BYTE * (uint64_t)(c->at - op->coded);
        if (!sqz_is_layer(op)) continue;
        const sqz_shape shape = sqz_weight_shape(network, op);
        op->cost += (uint64_t)shape.outputs * shape.inputs * shape.height * shape.width;
    }
    return i;
}

/* Assign each layer to the part with the least work so far, beginning with the last layer: often it is the largest. */
static void assign_layers(const sqz_network *network, uint32_t count, unsigned parts)
{
    uint64_t costs[MOST_PARTS] = {0};
    while (count-- > 0) {
        sqz_op *op = network->ops + count;
        if (!sqz_is_coded(network, op)) continue;
        op->part = 0;
        for (unsigned part = 1; part < parts && part < MOST_PARTS; part++)
            if (costs[part] < costs[op->part]) op->part = part;
        costs[op->part] += op->cost;
    }
}

typedef struct {
    sqz_network *network;
    uint8_t *decoding; /* working memory of all parts */
    uint32_t count;    /* operations that were looked at */
} loading;

static void load_some(const void *task, unsigned part)
{
    const loading *p = task;
    for (uint32_t i = 0; i < p->count; i++) {
        sqz_op *op = p->network->ops + i;
        if (!sqz_is_coded(p->network, op) || op->part != part) continue;
        sqz_cursor c = {op->coded, p->network->coded_end, SQZ_OK};
        uint8_t *memory = p->decoding + part * p->network->decoding_bytes;
        op->status =
            sqz_is_layer(op) ? sqz_integer_layer(p->network, op, &c, memory) : sqz_table(p->network, op, &c, memory);
        if (op->status != SQZ_OK) return;
    }
}

/* Of several damaged layers the first one in the file is reported, for any number of parts. */
static int load_in_parts(sqz_network *network, uint8_t *decoding, const sqz_team *team)
{
    sqz_cursor c = {network->coded, network->coded_end, SQZ_OK};
    const loading task = {network, decoding, find_layers(network, &c)};
    assign_layers(network, task.count, team != NULL ? team->parts : 1);
    if (team != NULL)
        team->each(team->context, load_some, &task);
    else
        load_some(&task, 0);
    for (uint32_t i = 0; i < task.count; i++)
        if (sqz_is_coded(network, network->ops + i) && network->ops[i].status != SQZ_OK) return network->ops[i].status;
    return c.status != SQZ_OK || c.at == c.end ? c.status : SQZ_TRAILING;
}

int sqz_load_weights(sqz_network *network, void *weights, void *decoding, const sqz_team *team)
{
    network->weights = sqz_align(weights);
    return network->floats ? load_in_order(network, decoding) : load_in_parts(network, decoding, team);
}
