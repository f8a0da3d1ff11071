/* Planner of rows, 1: what is left of the graph on the device: the operations that need work, their values, and what
 * each operation waits for. */
#include <string.h>

#include "planner.h"

/* Add to `waits` the operations of the device that compute rows of value v: their numbers plus 1; 0 is the image.
 * `number`: of each operation of the file, that of the device, plus 1. */
static void add_waits(const sqz_planner *p, const uint32_t *number, uint32_t v, uint32_t *waits, uint32_t *count)
{
    const sqz_network *from = p->from;
    const sqz_op *op = v > 0 ? from->ops + v - 1 : NULL;
    const uint32_t found = v > 0 ? number[v - 1] : 0;
    if (op != NULL && (op->skip || p->ops[found - 1].rows == 0)) {
        for (uint32_t i = 0; i < op->inputs; i++) add_waits(p, number, from->inputs[op->first_input + i], waits, count);
        return;
    }
    for (uint32_t i = 0; i < *count; i++)
        if (waits[i] == found) return;
    waits[(*count)++] = found;
}

/* The layer that can compute the mean of its result, which the global average `op` reads alone; NULL if there is
 * none. */
static const sqz_op *layer_of_mean(const sqz_network *from, const sqz_op *op)
{
    if (op->work != sqz_global_average) return NULL;
    for (uint32_t v = from->inputs[op->first_input];;) {
        const sqz_op *maker = v > 0 ? from->ops + v - 1 : NULL;
        if (maker == NULL || from->values[v].reader_count != 1) return NULL;
        if (maker->work == sqz_packed_layer) return maker;
        if (!maker->skip || maker->inputs != 1 || maker->kind == SQZ_SELECT) return NULL;
        v = from->inputs[maker->first_input];
    }
}

/* Find the layers that make value v, if all of them are packed layers and nothing else reads what they make. `layers`
 * gets their numbers in the file. Returns whether it is so. */
static int only_layers(const sqz_network *from, uint32_t v, uint32_t *layers, uint32_t *count)
{
    const sqz_op *op = v > 0 ? from->ops + v - 1 : NULL;
    if (op == NULL || from->values[v].reader_count != 1) return 0;
    if (op->work == sqz_packed_layer) {
        layers[(*count)++] = v - 1;
        return 1;
    }
    if (!op->skip ||
        (op->kind != SQZ_RELU && op->kind != SQZ_CAPPED && op->kind != SQZ_ACTIVATION && op->kind != SQZ_CONCAT))
        return 0;
    for (uint32_t i = 0; i < op->inputs; i++)
        if (!only_layers(from, from->inputs[op->first_input + i], layers, count)) return 0;
    return 1;
}

/* Let layers compute the maximum pool that reads them. The operation stays in the list, with no rows to compute, for
 * its fields are needed. */
static void join_pool(sqz_planner *p, const uint32_t *number, uint32_t *layers)
{
    const sqz_network *from = p->from;
    sqz_op *pool = p->ops + p->op_count - 1;
    uint32_t count = 0;
    if (pool->kind != SQZ_MAX_POOL || pool->dilation[0] != 1 || pool->dilation[1] != 1 ||
        !only_layers(from, from->inputs[pool->first_input], layers, &count))
        return;
    pool->rows = 0;
    pool->work = NULL;
    for (uint32_t i = 0; i < count; i++) {
        sqz_op *layer = p->ops + number[layers[i]] - 1;
        layer->work = sqz_pool_layer;
        layer->finish = sqz_finish_pool;
        layer->pool = p->op_count;
        layer->channel = from->values[layer->result].host_channel;
    }
}

/* The operations that the last value depends on, without those that need no work. */
static void choose_operations(sqz_planner *p, uint32_t *number, uint32_t *layers, uint8_t *needed)
{
    const sqz_network *from = p->from;
    memset(needed, 0, from->op_count + 1);
    needed[from->op_count] = 1;
    for (uint32_t v = from->op_count; v > 0; v--)
        for (uint32_t i = 0; needed[v] && i < from->ops[v - 1].inputs; i++)
            needed[from->inputs[from->ops[v - 1].first_input + i]] = 1;
    p->op_count = 0;
    for (uint32_t i = 0; i < from->op_count; i++) {
        const sqz_op *op = from->ops + i, *maker = layer_of_mean(from, op);
        number[i] = 0;
        if (op->skip || !needed[i + 1]) continue;
        if (maker != NULL) {
            number[i] = number[maker - from->ops];
            sqz_op *layer = p->ops + number[i] - 1;
            layer->mean = i + 1;
            layer->result = from->inputs[op->first_input];
            layer->work = sqz_mean_layer;
            layer->finish = sqz_finish_mean;
            continue;
        }
        sqz_op *copy = p->ops + p->op_count;
        *copy = *op;
        copy->least = 1;
        if (op->work == sqz_global_average) copy->mean = i + 1;
        if (op->work == sqz_max_pool) copy->work = sqz_max_pool_rows;
        if (sqz_is_layer(op)) copy->block = sqz_block_stored;
        p->plan->infos[p->op_count].op = i;
        number[i] = ++p->op_count;
        join_pool(p, number, layers);
    }
}

/* Whether two values are the same elements in the same memory, such as the result of a layer and of its ReLU. */
static int is_same(const sqz_value *a, const sqz_value *b)
{
    return a->host == b->host && a->host_channel == b->host_channel && a->channels == b->channels &&
           a->height == b->height && a->width == b->width && a->scale.exponent == b->scale.exponent &&
           a->scale.zero == b->scale.zero && a->scale.wide == b->scale.wide && a->scale.nine_bit == b->scale.nine_bit;
}

/* Keep the values that the operations read and make, with new numbers. */
static void choose_values(sqz_planner *p, uint32_t *renamed)
{
    const sqz_network *from = p->from;
    uint32_t inputs = 0, groups = 0;
    memset(renamed, 0, (from->op_count + 1) * sizeof *renamed);
    renamed[0] = renamed[from->op_count] = 1;
    for (uint32_t i = 0; i < p->op_count; i++) {
        const sqz_op *op = p->ops + i;
        for (uint32_t j = 0; j < op->inputs; j++) renamed[from->inputs[op->first_input + j]] = 1;
        renamed[op->result] = 1;
        renamed[op->mean > 0 ? op->mean : op->result] = 1;
    }
    p->value_count = 0;
    for (uint32_t v = 0; v <= from->op_count; v++) {
        uint32_t w = 0;
        if (!renamed[v]) continue;
        while (w < p->value_count && !is_same(p->values + w, from->values + v)) w++;
        renamed[v] = w;
        if (w < p->value_count) continue;
        p->values[w] = from->values[v];
        p->group[w] = from->values[v].host;
        p->value_count++;
    }
    for (uint32_t v = 0; v < p->value_count; v++) { /* groups, numbered in the order of their first values */
        const uint32_t host = p->group[v];
        uint32_t w = 0;
        while (p->values[w].host != host) w++;
        p->group[v] = w < v ? p->group[w] : groups;
        if (w < v) continue;
        p->height[groups] = p->values[v].height;
        p->row_bytes[groups++] = (size_t)p->values[v].width * p->values[v].pitch * p->values[v].bytes;
    }
    p->group_count = groups;
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_op *op = p->ops + i;
        const uint32_t first = op->first_input;
        op->first_input = inputs;
        for (uint32_t j = 0; j < op->inputs; j++) p->inputs[inputs++] = renamed[from->inputs[first + j]];
        op->result = renamed[op->result];
        if (op->mean > 0) op->mean = renamed[op->mean];
    }
    p->plan->rows.logits = renamed[from->op_count];
    p->plan->network.input_count = inputs;
}

/* Whether an operation reads input j again and again: one position for all positions of the result. */
static int reads_again(const sqz_planner *p, const sqz_op *op, uint32_t j)
{
    const uint32_t *inputs = p->inputs + op->first_input;
    return p->values[inputs[j]].height < p->values[inputs[0]].height;
}

/* How many rows further down than the same row of the result a window reaches. */
static int64_t reach_down(const sqz_op *op)
{
    return (int64_t)(op->kernel[0] - 1) * op->dilation[0] - op->padding[0];
}

int sqz_are_peers(const sqz_planner *p, const sqz_op *op, const sqz_op *other)
{
    return op != other && sqz_is_layer(op) && sqz_is_layer(other) && p->group[op->result] == p->group[other->result] &&
           p->inputs[op->first_input] == p->inputs[other->first_input] && op->stride[0] == other->stride[0];
}

/* What operations wait for. Peers compute the same rows one after the other: otherwise parts of rows would be in memory
 * for a long time. So each waits until the others can be computed (`lag`), and does not get ahead of them. */
static void choose_waits(sqz_planner *p, const uint32_t *number)
{
    uint32_t *waits = p->waits, used = 0;
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_op *op = p->ops + i;
        const sqz_op *given = p->from->ops + p->plan->infos[i].op;
        op->waits = used;
        for (uint32_t j = 0; j < given->inputs && op->rows > 0; j++)
            add_waits(p, number, p->from->inputs[given->first_input + j], waits + used, &op->wait_count);
        for (uint32_t j = 0; j < p->op_count; j++) {
            const int64_t further = reach_down(p->ops + j) - reach_down(op);
            if (!sqz_are_peers(p, op, p->ops + j)) continue;
            waits[used + op->wait_count++] = SQZ_PEER + j + 1;
            if (further > (int64_t)op->lag) op->lag = (uint32_t)further;
        }
        used += op->wait_count;
    }
    p->plan->wait_count = used;
}

/* The groups that each operation reads. */
static void list_readers(sqz_planner *p)
{
    uint32_t count = 0;
    for (uint32_t g = 0; g < p->group_count; g++) {
        p->reader_begin[g] = count;
        for (uint32_t i = 0; i < p->op_count; i++)
            for (uint32_t j = 0; j < p->ops[i].inputs; j++)
                if (p->group[p->inputs[p->ops[i].first_input + j]] == g)
                    p->readers[count++] = 2 * i + (uint32_t)reads_again(p, p->ops + i, j);
    }
    p->reader_begin[p->group_count] = count;
}

void sqz_plan_graph(sqz_planner *p, uint32_t *number, uint32_t *renamed, uint8_t *needed)
{
    choose_operations(p, number, renamed, needed);
    choose_values(p, renamed);
    choose_waits(p, number);
    list_readers(p);
}
