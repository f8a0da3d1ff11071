/* Plans how a network runs by rows: which operations are needed, in which form the weights of each layer lie in flash,
 * how many rows of each value are in memory, and where they lie (docs/adr/0030-rows.md). */
#include "row_plan.h"

#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "fixed_point.h"
#include "progress.h"
#include "reference.h"
#include "run.h"
#include "subnormal.h"
#include "window.h"

enum {
    ALIGNMENT = 8,             /* of everything in memory, in bytes */
    VECTOR_ALIGNMENT = 16,     /* of stored weights */
    MOST_DECODES = 14,         /* of a layer for an image */
    PACKED = MOST_DECODES + 1, /* in place of a number of decodes: stored weights with 4 bits */
    UNPACKED = 64,             /* so many weights are unpacked in the time of decoding one */
    MOST_BLOCK = 4096,         /* bytes of decoded weights that a block of several vectors may take */
    PLANS_A_LAYER = 200,       /* changes that are tried for each layer, in each round of the search */
    FREEDOM = 50000,           /* first threshold of the search: how much worse a change may be, in bytes of flash */
    MOST_CHANGED = 8,          /* most neighbouring operations that are changed together */
    DEAR = 100,                /* cost of a byte over the limits at the end of the search, in bytes of flash */
    ROUNDS = 4,
    WEIGHTS_A_BYTE = 100, /* see `score` */
    TRIES = 400           /* orders of blocks that are tried for the final plan */
};
#define NEVER UINT32_MAX

/* A piece of memory: for all values of a group (values that lie in the memory of the same host), for the scratch memory
 * of an operation, or for the sums of a mean. */
typedef struct {
    size_t bytes, offset;
    uint32_t first, life; /* the first step in which it is in use, and in how many steps it is */
    uint64_t *used;       /* one bit for each step */
} piece;

typedef struct {
    const sqz_network *from;
    sqz_row_plan *plan;
    sqz_op *ops;
    sqz_value *values;
    uint32_t *inputs, *waits;
    uint32_t op_count, value_count, group_count;
    uint32_t *group; /* of each value: the number of its group of values that lie in each other */
    uint32_t *readers,
        *reader_begin;             /* of each group: operation * 2 + (whether it reads the same rows again and again) */
    uint32_t *height;              /* of each group, */
    size_t *row_bytes;             /* bytes of its rows, */
    uint32_t *ring, *low, *top;    /* rows in memory; the rows from `low` to `top` - 1 exist and will be read */
    uint32_t *begin, *end, *steps; /* of each operation: its first and its last step; the operation of each step */
    uint32_t *done;
    uint32_t step_count;
    size_t words; /* of the bits of a piece */
    piece *pieces;
    uint32_t piece_count;
    uint8_t *conflicts; /* (pieces, pieces) */
    uint32_t *order, *best_order, *placed;
    const uint8_t **streams; /* of each operation: its level stream in the file, */
    uint32_t *stream_bytes;
    size_t *packed_bytes;                 /* of its packed weights; 0 if it has none */
    uint8_t *block;                       /* room for the weights of a block */
    size_t *stored_bytes, *initial_bytes; /* and the bytes of its stored weights, and of their initial sums */
} planner;

static size_t aligned(size_t bytes, size_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* Memory for `count` items of `each` bytes; counted in `used` alone if `memory` is NULL. */
static void *take(uint8_t *memory, size_t *used, size_t count, size_t each)
{
    void *piece = memory != NULL ? memory + *used : NULL;
    *used += aligned(count * each, 16);
    return piece;
}

/* What is left of the graph */

/* The operation of the device that computes the rows of value v, plus 1 (0: the image); NEVER for a value that several
 * operations compute. `number`: of each operation of the file, that of the device, plus 1. */
static void add_waits(const planner *p, const uint32_t *number, uint32_t v, uint32_t *waits, uint32_t *count)
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
static void join_pool(planner *p, const uint32_t *number, uint32_t *layers)
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
static void choose_operations(planner *p, uint32_t *number, uint32_t *layers, uint8_t *needed)
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
static void choose_values(planner *p, uint32_t *renamed)
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
static int reads_again(const planner *p, const sqz_op *op, uint32_t j)
{
    const uint32_t *inputs = p->inputs + op->first_input;
    return p->values[inputs[j]].height < p->values[inputs[0]].height;
}

/* How many rows further down than the same row of the result a window reaches. */
static int64_t reach_down(const sqz_op *op)
{
    return (int64_t)(op->kernel[0] - 1) * op->dilation[0] - op->padding[0];
}

/* Whether two layers make rows of the same group from the same input, like the expand layers of a Fire module. */
static int are_peers(const planner *p, const sqz_op *op, const sqz_op *other)
{
    return op != other && sqz_is_layer(op) && sqz_is_layer(other) && p->group[op->result] == p->group[other->result] &&
           p->inputs[op->first_input] == p->inputs[other->first_input] && op->stride[0] == other->stride[0];
}

/* What operations wait for. Peers compute the same rows one after the other: otherwise parts of rows would be in memory
 * for a long time. So each waits until the others can be computed (`lag`), and does not get ahead of them. */
static void choose_waits(planner *p, const uint32_t *number)
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
            if (!are_peers(p, op, p->ops + j)) continue;
            waits[used + op->wait_count++] = SQZ_PEER + j + 1;
            if (further > (int64_t)op->lag) op->lag = (uint32_t)further;
        }
        used += op->wait_count;
    }
    p->plan->wait_count = used;
}

/* The groups that each operation reads. */
static void list_readers(planner *p)
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

/* Where weights lie */

/* Bytes of `initial`, if a layer with stored weights needs it: 0 if all sums begin with 0. */
static size_t initial_bytes(const planner *p, uint32_t i)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    const sqz_layout layout = sqz_layout_of(p->from, op);
    const uint32_t groups = op->method == SQZ_DEPTHWISE ? 1 : op->groups;
    const size_t bytes = (size_t)groups * layout.vectors * p->from->kernels->lanes * sizeof(int32_t);
    for (size_t at = 0; at < bytes; at++)
        if (p->from->weights[op->initial + at] != 0) return bytes;
    return 0;
}

/* Vectors of a block that is decoded or unpacked. */
static uint32_t few_vectors(const sqz_layout *layout)
{
    uint32_t vectors = SQZ_VECTORS;
    while (vectors > 1 && vectors * layout->vector_bytes > MOST_BLOCK) vectors--;
    return vectors;
}

static int fits_four_bits(int8_t weight)
{
    return weight >= -8 && weight < 8;
}

/* Copy the weights of a vector, from its block of stored weights to its block (`width` vectors, of which it is number
 * `at`) in the plan. */
static void copy_vector(const planner *p, uint32_t i, uint32_t group, uint32_t vector, uint32_t width, uint32_t at,
                        uint8_t *to)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    const sqz_layout layout = sqz_layout_of(p->from, op);
    const size_t chunk = layout.vector_bytes / (layout.lines * layout.packs);
    uint32_t block = 0;
    while (sqz_first_vector(&layout, block + 1) <= vector) block++;
    const uint32_t first = sqz_first_vector(&layout, block), wide = sqz_first_vector(&layout, block + 1) - first;
    const uint8_t *from =
        p->from->weights + op->weights + ((size_t)group * layout.vectors + first) * layout.vector_bytes;
    for (size_t pack = 0; pack < layout.lines * layout.packs; pack++)
        memcpy(to + (pack * width + at) * chunk, from + (pack * wide + vector - first) * chunk, chunk);
}

/* Pack the weights of a layer (blocks.c) to `to`, and their patches to `patches`; if both are NULL, only count. Returns the
 * bytes of the patches. */
static size_t pack(const planner *p, uint32_t i, uint8_t *to, uint8_t *patches)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    sqz_layout layout = sqz_layout_of(p->from, op);
    layout.blocks = (layout.vectors + few_vectors(&layout) - 1) / few_vectors(&layout);
    uint32_t *begin = (uint32_t *)(void *)patches, count = 0;
    const size_t blocks = (size_t)op->groups * layout.blocks;
    uint16_t *list = patches != NULL ? (uint16_t *)(void *)(begin + blocks + 1) : NULL;
    for (uint32_t b = 0; b < blocks; b++) {
        const uint32_t group = b / layout.blocks, in = b % layout.blocks, first = sqz_first_vector(&layout, in);
        const uint32_t width = sqz_first_vector(&layout, in + 1) - first;
        uint32_t last = 0;
        for (uint32_t at = 0; at < width; at++) copy_vector(p, i, group, first + at, width, at, p->block);
        if (patches != NULL) begin[b] = count;
        for (uint32_t j = 0; j < width * layout.vector_bytes; j++) {
            const uint8_t weight = p->block[j];
            if (to != NULL) to[j / 8 * 4 + j % 4] |= (uint8_t)((weight & 15) << j % 8 / 4 * 4);
            if (fits_four_bits((int8_t)weight) && j - last < 255) continue;
            if (list != NULL) list[count] = (uint16_t)(weight << 8 | (j - last));
            last = j;
            count++;
        }
        if (to != NULL) to += width * layout.vector_bytes / 2;
    }
    if (patches != NULL) begin[blocks] = count;
    return aligned((blocks + 1) * sizeof *begin + count * sizeof *list, sizeof *begin);
}

/* The bytes of the packed weights of a layer; 0 if they are not worth it. */
static size_t measure_packed(const planner *p, uint32_t i)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    if (p->from->kernels->bytes != 1 || op->method != SQZ_PACKED || sqz_layout_of(p->from, op).vector_bytes % 8 > 0)
        return 0;
    const size_t bytes = p->stored_bytes[i] / 2 + pack(p, i, NULL, NULL);
    return bytes < p->stored_bytes[i] / 8 * 7 ? bytes : 0;
}

/* Find the level streams in the file, and count the bytes of both places. */
static void measure_weights(planner *p)
{
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_row_op *info = p->plan->infos + i;
        const sqz_op *op = p->from->ops + info->op;
        p->streams[i] = NULL;
        p->stream_bytes[i] = 0;
        if (!sqz_is_layer(op)) continue;
        const sqz_layout layout = sqz_layout_of(p->from, op);
        const uint32_t groups = op->method == SQZ_DEPTHWISE ? 1 : op->groups;
        const sqz_shape shape = sqz_weight_shape(p->from, op);
        sqz_cursor c = {op->coded, p->from->coded_end, SQZ_OK};
        sqz_take(&c, sqz_take_varint(&c, INT32_MAX));
        p->stream_bytes[i] = sqz_take_varint(&c, INT32_MAX);
        p->streams[i] = sqz_take(&c, p->stream_bytes[i]);
        p->initial_bytes[i] = initial_bytes(p, i);
        p->stored_bytes[i] = groups * layout.vectors * layout.vector_bytes;
        info->place = SQZ_STORED;
        info->weights = shape.outputs * shape.inputs * shape.height * shape.width;
        if (op->method == SQZ_DEPTHWISE || p->stream_bytes[i] >= p->stored_bytes[i]) p->stream_bytes[i] = 0;
        p->packed_bytes[i] = p->stream_bytes[i] > 0 ? measure_packed(p, i) : 0;
    }
}

/* What `place` was told. */
static uint32_t choice_of(const planner *p, uint32_t i)
{
    const sqz_row_op *info = p->plan->infos + i;
    return info->place == SQZ_HALVED ? PACKED : info->decodes;
}

/* Let a layer decode its weights at most `choice` times, or read stored weights (0), or packed ones (PACKED). Where it
 * cannot, it reads stored ones. */
static void place(planner *p, uint32_t i, uint32_t choice)
{
    sqz_op *op = p->ops + i;
    const sqz_layout layout = sqz_layout_of(p->from, p->from->ops + p->plan->infos[i].op);
    sqz_row_op *info = p->plan->infos + i;
    const int packed = choice == PACKED && p->packed_bytes[i] > 0, decoded = choice < PACKED && choice > 0;
    info->place = packed ? SQZ_HALVED : decoded ? SQZ_DECODED : SQZ_STORED;
    op->stream = decoded ? p->stream_bytes[i] : 0;
    op->patches = (size_t)packed;
    op->block = packed ? sqz_block_packed : decoded ? sqz_block_decoded : sqz_block_stored;
    op->least = decoded && choice < op->rows ? (op->rows + choice - 1) / choice : 1;
    op->vectors = packed || decoded ? few_vectors(&layout) : SQZ_VECTORS;
    info->decodes = decoded ? (op->rows + op->least - 1) / op->least : 0;
}

/* Append bytes to the weights; only counted if `weights` is NULL. */
static size_t append(uint8_t *weights, size_t *used, const void *from, size_t bytes, size_t alignment)
{
    const size_t at = aligned(*used, alignment);
    if (weights != NULL) memcpy(weights + at, from, bytes);
    *used = at + bytes;
    return at;
}

/* The factor of an output in 32 bits (blocks.c). */
static uint32_t packed_factor(const sqz_factor *f, int32_t zero)
{
    int32_t d = SQZ_LEAST_RESCALING;
    while (sqz_shift(d) != f->shift || sqz_multiplier(d) != f->multiplier) d++;
    const int64_t rest = f->offset - zero * ((int64_t)1 << f->shift) - ((int64_t)1 << (f->shift - 1));
    return (uint32_t)(rest / ((int64_t)1 << (f->shift - 4)) * 512) + (uint32_t)(d - SQZ_LEAST_RESCALING);
}

/* Byte of the image -> stored element, for each channel; as sqz_normalise and sqz_run compute it. */
static void make_table(const sqz_network *from, uint8_t *table)
{
    const sqz_preparation *prepared = &from->preparation;
    const float factor = sqz_step(-from->values[0].scale.exponent);
    const uint64_t before = sqz_flush_subnormal();
    for (uint32_t i = 0; i < sqz_channel_count(prepared) * SQZ_TABLE; i++) {
        const float pixel = ((float)(i % SQZ_TABLE) - prepared->mean[i / SQZ_TABLE]) / prepared->std[i / SQZ_TABLE];
        table[i] = sqz_quantise(pixel * factor, from->values[0].scale.zero);
    }
    sqz_restore_subnormal(before);
}

/* Lay out `weights` (NULL: only count). Returns its bytes. */
static size_t lay_out_weights(planner *p, uint8_t *weights)
{
    sqz_row_plan *plan = p->plan;
    uint8_t table[3 * SQZ_TABLE];
    size_t used = 0;
    plan->stored = plan->packed = plan->streams = plan->factors = 0;
    if (weights != NULL) make_table(p->from, table);
    plan->rows.table = append(weights, &used, table, sqz_channel_count(&p->from->preparation) * SQZ_TABLE, 1);
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_op *op = p->ops + i;
        const size_t before = used;
        const sqz_op *given = p->from->ops + plan->infos[i].op;
        if (op->table > 0 || op->kind == SQZ_ACTIVATION)
            op->look_up = append(weights, &used, p->from->weights + given->look_up, SQZ_TABLE, 1);
        if (sqz_is_layer(op)) {
            const sqz_factor *factors = (const sqz_factor *)(const void *)(p->from->weights + given->factors);
            const size_t initial = op->stream > 0 ? 0 : p->initial_bytes[i];
            op->factors = append(NULL, &used, NULL, op->out * sizeof(uint32_t), sizeof(uint32_t));
            for (uint32_t o = 0; weights != NULL && o < op->out; o++) {
                const uint32_t word = packed_factor(factors + o, sqz_made(p->from, given)->scale.zero);
                memcpy(weights + op->factors + o * sizeof word, &word, sizeof word);
            }
            op->initial = initial > 0 ? append(weights, &used, p->from->weights + given->initial, initial, 4) : 0;
            plan->factors += op->out * sizeof(uint32_t) + initial;
            if (op->stream > 0)
                op->weights = append(weights, &used, p->streams[i], op->stream, 1);
            else if (op->patches > 0) {
                op->weights = append(NULL, &used, NULL, p->stored_bytes[i] / 2, VECTOR_ALIGNMENT);
                op->patches = append(NULL, &used, NULL, p->packed_bytes[i] - p->stored_bytes[i] / 2, sizeof(uint32_t));
                if (weights != NULL) pack(p, i, weights + op->weights, weights + op->patches);
            } else
                op->weights =
                    append(weights, &used, p->from->weights + given->weights, p->stored_bytes[i], VECTOR_ALIGNMENT);
            if (op->stream > 0)
                plan->streams += op->stream;
            else if (op->patches > 0)
                plan->packed += p->packed_bytes[i];
            else
                plan->stored += p->stored_bytes[i];
        }
        plan->infos[i].flash = used - before;
    }
    return used + SQZ_SLACK;
}

/* How many rows are in memory, and when */

/* The first row of a group that an operation will read again. */
static uint32_t lowest_row(const planner *p, uint32_t g)
{
    uint32_t lowest = p->reader_begin[g] < p->reader_begin[g + 1] ? p->height[g] : 0;
    for (uint32_t r = p->reader_begin[g]; r < p->reader_begin[g + 1]; r++) {
        const uint32_t i = p->readers[r] / 2, done = p->done[i + 1];
        uint32_t kept = sqz_rows_kept(&p->plan->network, p->ops + i, done);
        if (p->readers[r] % 2 > 0) kept = done < p->ops[i].rows ? 0 : p->height[g];
        if (kept < lowest) lowest = kept;
    }
    return lowest;
}

/* Note that a piece is in use in step `step`. */
static void use(planner *p, uint32_t n, uint32_t step)
{
    piece *x = p->pieces + n;
    const uint64_t bit = (uint64_t)1 << step % 64;
    if (x->life == 0) x->first = step;
    x->life += (x->used[step / 64] & bit) == 0;
    x->used[step / 64] |= bit;
}

/* The rows of the group of value v up to `end` are written. */
static void write_rows(planner *p, uint32_t v, uint32_t end)
{
    const uint32_t g = p->group[v];
    use(p, g, p->step_count);
    if (end > p->top[g]) p->top[g] = end;
    if (p->top[g] > p->low[g] && p->top[g] - p->low[g] > p->ring[g]) p->ring[g] = p->top[g] - p->low[g];
    if (p->ring[g] == 0) p->ring[g] = 1;
}

/* One step is over: the groups that have rows are in use in the next one, too. */
static void end_step(planner *p)
{
    p->step_count++;
    for (uint32_t g = 0; g < p->group_count; g++)
        if (p->top[g] > p->low[g]) use(p, g, p->step_count);
}

/* The rows of a maximum pool that have begun after `end` rows of its input. */
static uint32_t touched(const planner *p, const sqz_op *pool, uint32_t end)
{
    return sqz_windows_at(pool, p->values + pool->result, 0, end - 1).end;
}

/* Run the executor on counters alone. */
static void simulate(planner *p)
{
    const uint32_t height = p->values[0].height;
    memset(p->done, 0, (p->op_count + 1) * sizeof *p->done);
    memset(p->ring, 0, p->group_count * sizeof *p->ring);
    memset(p->top, 0, p->group_count * sizeof *p->top);
    memset(p->low, 0, p->group_count * sizeof *p->low);
    memset(p->begin, 0xFF, p->op_count * sizeof *p->begin);
    p->piece_count = p->group_count + 2 * p->op_count;
    for (uint32_t n = 0; n < p->piece_count; n++) {
        p->pieces[n].first = p->pieces[n].life = 0;
        memset(p->pieces[n].used, 0, p->words * sizeof(uint64_t));
    }
    p->step_count = 0;
    while (p->done[0] < height) {
        const sqz_op *op;
        write_rows(p, 0, p->done[0] + 1);
        p->done[0]++;
        end_step(p);
        while ((op = sqz_rows_next(&p->plan->rows, p->done)) != NULL) {
            const uint32_t i = (uint32_t)(op - p->ops), end = sqz_next_end(op, p->done[i + 1]);
            use(p, p->group_count + 2 * i, p->step_count);
            if (op->pool > 0)
                write_rows(p, p->ops[op->pool - 1].result, touched(p, p->ops + op->pool - 1, end));
            else if (op->mean == 0)
                write_rows(p, op->result, end);
            else if (end == op->rows)
                write_rows(p, op->mean, 1);
            p->done[i + 1] = end;
            for (uint32_t j = 0; j < op->inputs; j++) {
                const uint32_t g = p->group[p->inputs[op->first_input + j]];
                use(p, g, p->step_count);
                p->low[g] = lowest_row(p, g);
            }
            if (p->begin[i] == NEVER) p->begin[i] = p->step_count;
            p->end[i] = p->step_count;
            end_step(p);
        }
    }
    for (uint32_t i = 0; i < p->op_count; i++)
        for (uint32_t step = p->begin[i]; p->ops[i].mean > 0 && step <= p->end[i]; step++)
            use(p, p->group_count + 2 * i + 1, step);
}

/* Where everything lies in memory */

/* The bytes of all pieces: groups, then the scratch memory and the sums of each operation. */
static void measure_pieces(planner *p)
{
    for (uint32_t v = 0; v < p->value_count; v++) { /* what a layer passes to a mean or to a pool has no memory */
        p->values[v].ring = p->ring[p->group[v]];
        if (p->values[v].ring == 0) p->values[v].ring = p->values[v].height;
    }
    for (uint32_t g = 0; g < p->group_count; g++) p->pieces[g].bytes = aligned(p->ring[g] * p->row_bytes[g], ALIGNMENT);
    for (uint32_t i = 0; i < p->op_count; i++) {
        const sqz_op *op = p->ops + i;
        size_t scratch = 0, sums = 0;
        if (sqz_is_layer(op)) {
            const sqz_layout layout = sqz_layout_of(&p->plan->network, op);
            scratch = sqz_block_memory(&p->plan->network, op, &layout);
        }
        if (op->mean > 0) sums = p->values[op->mean].channels * sizeof(int32_t);
        p->plan->infos[i].scratch = scratch;
        p->pieces[p->group_count + 2 * i].bytes = aligned(scratch, ALIGNMENT);
        p->pieces[p->group_count + 2 * i + 1].bytes = aligned(sums, ALIGNMENT);
    }
}

/* Which pieces are in use at the same time. */
static void find_conflicts(planner *p)
{
    const uint32_t n = p->piece_count, words = p->step_count / 64 + 1;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < a; b++) {
            uint32_t w = 0;
            while (w < words && (p->pieces[a].used[w] & p->pieces[b].used[w]) == 0) w++;
            p->conflicts[(size_t)a * n + b] = p->conflicts[(size_t)b * n + a] = w < words;
        }
}

/* Give all pieces an offset, in the order of `order`: that of the first gap between the pieces that conflict with it.
 * Returns the bytes of all. */
static size_t first_fit(planner *p, const uint32_t *order)
{
    size_t used = 0;
    uint32_t count = 0; /* placed, in the order of their offsets */
    for (uint32_t i = 0; i < p->piece_count; i++) {
        const uint32_t n = order[i];
        piece *x = p->pieces + n;
        size_t at = 0;
        if (x->bytes == 0) continue;
        for (uint32_t j = 0; j < count; j++) {
            const piece *y = p->pieces + p->placed[j];
            if (!p->conflicts[(size_t)n * p->piece_count + p->placed[j]] || y->offset + y->bytes <= at) continue;
            if (y->offset >= at + x->bytes) break;
            at = y->offset + y->bytes;
        }
        x->offset = at;
        if (at + x->bytes > used) used = at + x->bytes;
        uint32_t where = count++;
        for (; where > 0 && p->pieces[p->placed[where - 1]].offset > at; where--)
            p->placed[where] = p->placed[where - 1];
        p->placed[where] = n;
    }
    return used;
}

/* Sort the pieces: the largest (kind 0) or the earliest (1) first, or those of the longest life (2). */
static void sort_pieces(planner *p, int kind)
{
    for (uint32_t i = 0; i < p->piece_count; i++) {
        const piece *x = p->pieces + i;
        uint32_t where = i;
        for (; where > 0; where--) {
            const piece *y = p->pieces + p->order[where - 1];
            const int earlier = kind == 0   ? x->bytes > y->bytes
                                : kind == 1 ? x->first < y->first || (x->first == y->first && x->bytes > y->bytes)
                                            : x->life > y->life || (x->life == y->life && x->bytes > y->bytes);
            if (!earlier) break;
            p->order[where] = p->order[where - 1];
        }
        p->order[where] = i;
    }
}

/* Place all pieces; `tries`: how many changed orders are tried after the sorted ones. Returns the bytes of all. */
static size_t place_pieces(planner *p, uint32_t tries)
{
    const uint32_t n = p->piece_count;
    size_t best = SIZE_MAX;
    uint32_t random = 1;
    for (int kind = 0; kind < 3; kind++) {
        sort_pieces(p, kind);
        const size_t bytes = first_fit(p, p->order);
        if (bytes >= best) continue;
        best = bytes;
        memcpy(p->best_order, p->order, n * sizeof *p->order);
    }
    for (uint32_t i = 0; i < tries; i++) { /* move a piece to another place in the best order */
        memcpy(p->order, p->best_order, n * sizeof *p->order);
        random = random * 1664525 + 1013904223;
        const uint32_t a = (random >> 8) % n;
        random = random * 1664525 + 1013904223;
        const uint32_t b = (random >> 8) % n, moved = p->order[a];
        if (a < b)
            memmove(p->order + a, p->order + a + 1, (b - a) * sizeof *p->order);
        else
            memmove(p->order + b + 1, p->order + b, (a - b) * sizeof *p->order);
        p->order[b] = moved;
        const size_t bytes = first_fit(p, p->order);
        if (bytes > best) continue;
        best = bytes;
        memcpy(p->best_order, p->order, n * sizeof *p->order);
    }
    return first_fit(p, p->best_order);
}

static size_t counter_bytes(const planner *p)
{
    return aligned((p->op_count + 1) * sizeof(uint32_t), ALIGNMENT);
}

/* Bytes of memory of the plan as it is now. */
static size_t memory(planner *p, uint32_t tries)
{
    simulate(p);
    measure_pieces(p);
    find_conflicts(p);
    return counter_bytes(p) + place_pieces(p, tries) + SQZ_SLACK;
}

/* Write the offsets into the tables. */
static void finish(planner *p, size_t bytes)
{
    sqz_row_plan *plan = p->plan;
    const size_t start = counter_bytes(p);
    plan->rows.done = 0;
    plan->rows.bytes = bytes;
    plan->rows.reversed = p->from->preparation.channels == SQZ_BGR;
    for (uint32_t v = 0; v < p->value_count; v++)
        p->values[v].offset =
            start + p->pieces[p->group[v]].offset + (size_t)p->values[v].host_channel * p->values[v].bytes;
    for (uint32_t i = 0; i < p->op_count; i++) {
        p->ops[i].scratch = start + p->pieces[p->group_count + 2 * i].offset;
        p->ops[i].sums = start + p->pieces[p->group_count + 2 * i + 1].offset;
        plan->decoded += (uint64_t)plan->infos[i].decodes * plan->infos[i].weights;
    }
    plan->steps = p->step_count;
    plan->values_bytes = 0;
    for (uint32_t t = 0; t < p->step_count; t++) {
        size_t live = 0;
        for (uint32_t g = 0; g < p->group_count; g++)
            if (p->pieces[g].used[t / 64] >> t % 64 & 1) live += p->pieces[g].bytes;
        if (live > plan->values_bytes) plan->values_bytes = live;
    }
}

/* What a choice of places costs, in bytes of flash: WEIGHTS_A_BYTE decoded weights cost as much as a byte. With a limit
 * of flash, only decoding costs something. `over`: bytes over the limits. */
static double rate(planner *p, size_t ram, size_t flash, double *over)
{
    const size_t bytes = memory(p, 0), weights = lay_out_weights(p, NULL);
    double decoded = 0;
    for (uint32_t i = 0; i < p->op_count; i++) decoded += (double)p->plan->infos[i].decodes * p->plan->infos[i].weights;
    *over = (bytes > ram ? (double)(bytes - ram) : 0) + (flash > 0 && weights > flash ? (double)(weights - flash) : 0);
    return decoded / WEIGHTS_A_BYTE + (flash > 0 ? 0 : (double)weights);
}

/* Change the places of the layers from i to j and of the peers of layer i. Returns whether that changes anything. */
static int place_some(planner *p, uint32_t i, uint32_t j, uint32_t choice)
{
    int changed = 0;
    for (uint32_t k = 0; k < p->op_count; k++) {
        const uint32_t before = choice_of(p, k);
        if (p->stream_bytes[k] == 0 || ((k < i || k > j) && !are_peers(p, p->ops + i, p->ops + k))) continue;
        place(p, k, choice);
        changed |= choice_of(p, k) != before;
    }
    return changed;
}

static void save_places(const planner *p, uint32_t *choices)
{
    for (uint32_t i = 0; i < p->op_count; i++) choices[i] = choice_of(p, i);
}

static void restore_places(planner *p, const uint32_t *choices)
{
    for (uint32_t i = 0; i < p->op_count; i++)
        if (p->stream_bytes[i] > 0) place(p, i, choices[i]);
}

/* A pseudo-random number below n. */
static uint32_t choose(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % n;
}

/* Choose the places of weights by threshold accepting (a simple form of simulated annealing): some layers get another
 * number of decodes; a worse choice is accepted if it is not much worse, and less and less so. A byte over the limits
 * costs more and more. Each round begins with the best choice so far. */
static int search(planner *p, size_t ram, size_t flash, uint32_t *best_places, uint32_t *places)
{
    uint32_t random = 1, plans = 0;
    double over, best_over;
    if (ram == 0) ram = memory(p, 0);
    double best = rate(p, ram, flash, &best_over);
    for (uint32_t i = 0; i < p->op_count; i++) plans += p->stream_bytes[i] > 0 ? PLANS_A_LAYER : 0;
    save_places(p, best_places);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double current = best, current_over = best_over;
        restore_places(p, best_places);
        for (uint32_t tried = 0; tried < plans; tried++) {
            const double progress = (double)tried / plans, fine = round % 2 > 0 ? DEAR : DEAR * progress * progress + 1;
            const uint32_t i = choose(&random, p->op_count), more = choose(&random, 2) * choose(&random, MOST_CHANGED);
            save_places(p, places);
            if (!place_some(p, i, i + more, choose(&random, PACKED + 1))) continue;
            const double cost = rate(p, ram, flash, &over);
            if (cost + fine * over > current + fine * current_over + FREEDOM * (1 - progress)) {
                restore_places(p, places);
                continue;
            }
            current = cost;
            current_over = over;
            if (over > best_over || (over == best_over && cost >= best)) continue;
            best = cost;
            best_over = over;
            save_places(p, best_places);
        }
    }
    restore_places(p, best_places);
    return best_over > 0 ? SQZ_NO_PLAN : SQZ_OK;
}

/* Bytes of the largest block of packed weights. */
static size_t largest_block(const sqz_network *from)
{
    size_t largest = MOST_BLOCK;
    for (uint32_t i = 0; i < from->op_count; i++) {
        if (!sqz_is_layer(from->ops + i)) continue;
        const size_t bytes = sqz_layout_of(from, from->ops + i).vector_bytes;
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

/* Reserve all arrays; returns the bytes. */
static size_t reserve(planner *p, uint8_t *memory, size_t wait_count)
{
    const sqz_network *from = p->from;
    const size_t n = from->op_count, most = 3 * n + 1;
    size_t used = 0;
    p->ops = take(memory, &used, n, sizeof *p->ops);
    p->values = take(memory, &used, n + 1, sizeof *p->values);
    p->inputs = take(memory, &used, from->input_count, sizeof *p->inputs);
    p->waits = take(memory, &used, wait_count, sizeof *p->waits);
    p->plan->infos = take(memory, &used, n, sizeof *p->plan->infos);
    p->group = take(memory, &used, n + 1, sizeof *p->group);
    p->readers = take(memory, &used, from->input_count, sizeof *p->readers);
    p->reader_begin = take(memory, &used, n + 2, sizeof *p->reader_begin);
    p->height = take(memory, &used, n + 1, sizeof *p->height);
    p->row_bytes = take(memory, &used, n + 1, sizeof *p->row_bytes);
    p->ring = take(memory, &used, n + 1, sizeof *p->ring);
    p->low = take(memory, &used, n + 1, sizeof *p->low);
    p->top = take(memory, &used, n + 1, sizeof *p->top);
    p->begin = take(memory, &used, n, sizeof *p->begin);
    p->end = take(memory, &used, n, sizeof *p->end);
    p->done = take(memory, &used, n + 1, sizeof *p->done);
    p->pieces = take(memory, &used, most, sizeof *p->pieces);
    uint64_t *bits = take(memory, &used, most * p->words, sizeof *bits);
    for (size_t i = 0; i < most && memory != NULL; i++) p->pieces[i].used = bits + i * p->words;
    p->conflicts = take(memory, &used, most * most, 1);
    p->order = take(memory, &used, most, sizeof *p->order);
    p->best_order = take(memory, &used, most, sizeof *p->best_order);
    p->placed = take(memory, &used, most, sizeof *p->placed);
    p->streams = take(memory, &used, n, sizeof *p->streams);
    p->stream_bytes = take(memory, &used, n, sizeof *p->stream_bytes);
    p->stored_bytes = take(memory, &used, n, sizeof *p->stored_bytes);
    p->initial_bytes = take(memory, &used, n, sizeof *p->initial_bytes);
    p->packed_bytes = take(memory, &used, n, sizeof *p->packed_bytes);
    p->block = take(memory, &used, largest_block(from), 1);
    return used;
}

int sqz_plan_rows(const sqz_network *network, size_t ram, size_t flash, sqz_row_plan *plan)
{
    planner p;
    const uint32_t n = network->op_count;
    memset(&p, 0, sizeof p);
    memset(plan, 0, sizeof *plan);
    p.from = network;
    p.plan = plan;
    size_t steps = network->values[0].height;
    for (uint32_t i = 0; i < n; i++) steps += network->ops[i].rows;
    p.words = steps / 64 + 1;
    const size_t wait_count = ((size_t)network->input_count + n) * (n + 1), bytes = reserve(&p, NULL, wait_count);
    plan->memory = calloc(1, bytes + 3 * (size_t)(n + 1) * sizeof(uint32_t) + n + 1);
    if (plan->memory == NULL) return SQZ_NO_MEMORY;
    reserve(&p, plan->memory, wait_count);
    uint32_t *number = (uint32_t *)(void *)((uint8_t *)plan->memory + bytes), *renamed = number + n + 1;
    choose_operations(&p, number, renamed, (uint8_t *)(renamed + 2 * (n + 1)));
    choose_values(&p, renamed);
    choose_waits(&p, number);
    plan->network.kernels = network->kernels;
    plan->network.op_count = p.op_count;
    plan->network.ops = p.ops;
    plan->network.values = p.values;
    plan->network.inputs = p.inputs;
    plan->rows.network = &plan->network;
    plan->rows.waits = p.waits;
    plan->value_count = p.value_count;
    list_readers(&p);
    measure_weights(&p);
    const int status = search(&p, ram, flash, number, renamed);
    if (status != SQZ_OK) return status;
    finish(&p, memory(&p, TRIES));
    plan->weights_bytes = lay_out_weights(&p, NULL);
    plan->network.weights = calloc(plan->weights_bytes, 1);
    if (plan->network.weights == NULL) return SQZ_NO_MEMORY;
    lay_out_weights(&p, plan->network.weights);
    return SQZ_OK;
}

void sqz_free_rows(sqz_row_plan *plan)
{
    free(plan->network.weights);
    free(plan->memory);
}
