/* The planner: decisions that depend on the graph and the path, not on weights or images. */
#include "plan.h"

#include <string.h>

#include "chains.h"
#include "fixed_point.h"
#include "lists.h"
#include "run.h"
#include "tensors.h"

enum {
    MOST_REPEATS = 8 /* each repeats the weights of a depthwise convolution */
};
/* If the values take more bytes than this, the inputs of a concatenation do not lie inside its result. */
#define MOST_VALUES ((size_t)1 << 28)

static size_t elements(const sqz_value *v)
{
    return (size_t)v->channels * v->height * v->width;
}

/* The element x at which a capped ReLU cuts off: cap / 2^(exponent / 8), to nearest. */
static int64_t cap_level(float cap, int32_t exponent)
{
    const double units = (double)cap * 65536;
    const int64_t c = units < 4294967296.0 ? (int64_t)units : (int64_t)1 << 32, f = sqz_fraction(exponent);
    return f > 0 && c > (INT64_MAX >> 1) / f ? 255 : sqz_round(c * f >> 16);
}

/* Bounds of the stored elements of a result: q = x + zero. */
static void bounds(sqz_op *op, const sqz_scale *scale)
{
    op->low = scale->wide ? -SQZ_WIDEST : 0;
    op->high = scale->wide ? SQZ_WIDEST : SQZ_HIGHEST << scale->nine_bit;
    if (op->kind == SQZ_RELU || op->kind == SQZ_CAPPED) op->low = scale->zero;
    if (op->kind == SQZ_CAPPED) op->high = (int32_t)sqz_clip(cap_level(op->cap, scale->exponent) + scale->zero, 0, 255);
}

static sqz_method choose_method(const sqz_network *network, const sqz_op *op)
{
    if (network->kernels == NULL || (network->floats && sqz_is_depthwise(network, op))) return SQZ_PLAIN;
    return sqz_is_depthwise(network, op) ? SQZ_DEPTHWISE : SQZ_PACKED;
}

/* Note that something inside value v is read at `time`. */
static void keep_until(sqz_network *network, uint32_t v, uint32_t time)
{
    for (;; v = network->values[v].host) {
        if (network->values[v].busy_until < time) network->values[v].busy_until = time;
        if (network->values[v].host == v) return;
    }
}

/* Put value x inside value y, from `channel` on, unless it is inside another one already. Returns whether it was
 * put. */
static int move_in(sqz_network *network, uint32_t x, uint32_t y, uint32_t channel)
{
    if (network->values[x].host != x) return 0;
    network->values[x].host = y;
    network->values[x].host_channel = channel;
    keep_until(network, y, network->values[x].busy_until);
    return 1;
}

/* Let operation `op`, which makes value y, write over its input x, if nothing in the memory of x is read later. */
static int overwrite(sqz_network *network, uint32_t x, uint32_t y)
{
    return network->values[x].busy_until == y && move_in(network, x, y, 0);
}

/* Let value y, a slice of value x, be read where x lies. */
static int read_in_place(sqz_network *network, const sqz_op *op, uint32_t x, uint32_t y)
{
    const sqz_value *source = network->values + x;
    const int32_t columns = (int32_t)op->counts[1]; /* below the number of channels */
    if ((op->counts[1] > 1 && op->steps[1] != 1) || (op->counts[0] > 1 && op->steps[0] != columns) ||
        source->scale.nine_bit)
        return 0;
    const int inside = source->host < x; /* itself a slice of its host */
    network->values[y].host = inside ? source->host : x;
    network->values[y].host_channel = op->start + (inside ? source->host_channel : 0);
    keep_until(network, x, network->values[y].last_read);
    return 1;
}

/* Find operations that need no work of their own, and put their inputs inside their results: a ReLU or a table that its
 * layer computes, or that changes nothing; a flatten of one position; a slice; and, if `join`, concatenations. */
static void merge_values(sqz_network *network, int join)
{
    for (uint32_t v = 0; v <= network->op_count; v++) {
        sqz_value *value = network->values + v;
        value->host = v;
        value->host_channel = 0;
        /* By rows, readers do not run one after the other: an operation may only overwrite what it reads alone. */
        value->busy_until = network->by_rows && value->reader_count > 1 ? UINT32_MAX : value->last_read;
    }
    for (uint32_t i = 0; i < network->op_count; i++) {
        sqz_op *op = network->ops + i;
        const uint32_t y = i + 1, x = network->inputs[op->first_input];
        const sqz_value *source = network->values + x;
        sqz_op *maker =
            x > 0 && source->reader_count == 1 ? network->ops + x - 1 : NULL; /* whose result only op reads */
        if (maker != NULL && !sqz_is_layer(maker)) maker = NULL;
        op->skip = op->relu = 0;
        op->table = 0;
        bounds(op, &network->values[y].scale);
        switch (op->kind) {
        case SQZ_RELU:
        case SQZ_CAPPED:
            if (!network->floats && op->low == 0 && op->high >= SQZ_HIGHEST)
                op->skip = move_in(network, x, y, 0);
            else if (maker != NULL && (op->skip = move_in(network, x, y, 0)) != 0) {
                maker->low = op->low;
                maker->high = op->high;
                maker->cap = op->cap;
                maker->relu = 1;
            } else
                overwrite(network, x, y);
            break;
        case SQZ_ACTIVATION:
            if (!network->floats && maker != NULL && choose_method(network, maker) != SQZ_PLAIN &&
                (op->skip = move_in(network, x, y, 0)) != 0)
                maker->table = i;
            else
                overwrite(network, x, y);
            break;
        case SQZ_ADD:
        case SQZ_MULTIPLY: overwrite(network, x, y); break;
        case SQZ_SELECT: op->skip = read_in_place(network, op, x, y); break;
        case SQZ_FLATTEN:
            if (source->height == 1 && source->width == 1) op->skip = move_in(network, x, y, 0);
            break;
        case SQZ_CONCAT:
            op->skip = join;
            for (uint32_t j = 0, channel = 0; j < op->inputs; j++) {
                const uint32_t part = network->inputs[op->first_input + j];
                if (!join || !move_in(network, part, y, channel)) op->skip = 0;
                channel += network->values[part].channels;
            }
            break;
        default: break;
        }
    }
}

/* Give every host its offset: that of the first gap between busy hosts that is large enough. A host is busy from the
 * time at which the first of its values is made until the last read of any of them. Returns the bytes of all values. */
static size_t assign_offsets(sqz_network *network)
{
    size_t used = 0;
    uint32_t count = 0;
    for (uint32_t v = network->op_count + 1; v-- > 0;) { /* hosts before the values inside them: these come earlier */
        sqz_value *value = network->values + v, *host = network->values + value->host;
        value->offset = SIZE_MAX;
        if (host <= value) continue;
        value->host_channel += host->host_channel;
        value->host = host->host;
    }
    for (uint32_t v = 0; v <= network->op_count; v++) { /* slices lie in earlier values, which are no slices */
        sqz_value *value = network->values + v, *host = network->values + value->host;
        if (host >= value) continue;
        value->host_channel += host->host_channel;
        value->host = host->host;
    }
    for (uint32_t time = 0; time <= network->op_count; time++) {
        const uint32_t v = network->values[time].host;
        sqz_value *value = network->values + v;
        if (value->offset != SIZE_MAX) continue;
        const size_t size = sqz_aligned(elements(value) * value->bytes + SQZ_SLACK);
        uint32_t kept = 0, where = 0;
        size_t at = 0;
        for (uint32_t i = 0; i < count; i++)
            if (network->values[network->live[i]].busy_until >= time) network->live[kept++] = network->live[i];
        for (count = kept; where < count; where++) { /* in the order of their offsets */
            const sqz_value *other = network->values + network->live[where];
            if (other->offset - at >= size) break;
            at = other->offset + sqz_aligned(elements(other) * other->bytes + SQZ_SLACK);
        }
        memmove(network->live + where + 1, network->live + where, (count - where) * sizeof *network->live);
        network->live[where] = v;
        count++;
        value->offset = at;
        if (at + size > used) used = at + size;
    }
    for (uint32_t v = 0; v <= network->op_count; v++) {
        sqz_value *value = network->values + v;
        const sqz_value *host = network->values + value->host;
        value->pitch = host->channels;
        if (host != value) value->offset = host->offset + (size_t)value->host_channel * value->bytes;
    }
    return used;
}

/* Bytes of scratch memory that one part of the team needs for an operation. */
static size_t scratch(const sqz_network *network, const sqz_op *op)
{
    const sqz_value *x = sqz_source(network, op);
    if (network->kernels == NULL) return 0;
    if (!network->floats && op->maximum) return sqz_aligned(x->width * x->pitch + SQZ_SLACK);
    if (!sqz_is_layer(op) || op->method == SQZ_PLAIN) return 0;
    const sqz_layout layout = sqz_layout_of(network, op);
    size_t most = sqz_lines_bytes(&layout);
#ifdef SQZ_LISTS
    if (sqz_strip_bytes(network, op) > most) most = sqz_strip_bytes(network, op);
#endif
    return most;
}

/* Reserve `bytes` at the end of the memory; returns their offset. */
static size_t reserve(size_t *used, size_t bytes)
{
    const size_t at = *used;
    *used += sqz_aligned(bytes);
    return at;
}

/* Neighbouring positions with few channels are computed as one position with more, so that they fill whole chunks. */
static uint32_t choose_repeat(const sqz_op *op, const sqz_value *y)
{
    uint32_t repeat = 1;
    if (op->stride[1] > 1 || y->pitch != y->channels) return 1;
    while (repeat < MOST_REPEATS && repeat * op->out % SQZ_CHUNK > 0) repeat *= 2;
    return repeat * op->out % SQZ_CHUNK > 0 ? 1 : repeat;
}

/* Reserve memory for the weights of a layer, and count the bytes that decoding it takes. */
static void plan_weights(sqz_network *network, sqz_op *op)
{
    const sqz_value *x = sqz_source(network, op), *y = sqz_made(network, op);
    const size_t inputs = x->channels / op->groups, area = (size_t)op->kernel[0] * op->kernel[1];
    const size_t count = op->out * inputs * area;
    size_t *used = &network->weights_bytes, padded = op->out, bytes = network->floats ? count * sizeof(float) : count;
    op->method = choose_method(network, op);
    op->repeat = op->method == SQZ_DEPTHWISE ? choose_repeat(op, y) : 1;
    sqz_use_chains(op, 0);
    op->least = y->height;
    op->block = sqz_block_loaded;
    op->finish = network->floats ? sqz_finish_floats : sqz_finish;
    if (op->method != SQZ_PLAIN) {
        const sqz_layout layout = sqz_layout_of(network, op);
        const uint32_t vectors = (op->method == SQZ_DEPTHWISE ? 1 : op->groups) * layout.vectors;
        padded = (size_t)vectors * network->kernels->lanes;
        bytes = vectors * layout.vector_bytes;
        if (op->method == SQZ_PACKED && sqz_has_chains(network)) {
            sqz_use_chains(op, 1);
            const sqz_layout chains = sqz_layout_of(network, op);
            const size_t room = vectors * sqz_vector_room(network, op, &chains);
            if (room > bytes) bytes = room;
            op->segments = reserve(used, vectors * sqz_most_packs(network->kernels, &chains) * sizeof(uint16_t));
            sqz_use_chains(op, 0); /* takes more scratch memory */
        }
    }
    op->weights_bytes = bytes;
    op->weights = reserve(used, bytes);
    op->factors = reserve(used, op->out * sizeof(sqz_factor));
    op->initial = reserve(used, padded * sizeof(int32_t));
    op->multipliers = reserve(used, padded * sizeof(int32_t));
    op->offsets = reserve(used, (padded << y->scale.nine_bit) * sizeof(int64_t));
    const sqz_shape shape = sqz_weight_shape(network, op);
    const sqz_shape list = {op->out, 1, 1, 1};
    size_t most = network->floats ? sqz_tensor_memory(shape) : sqz_levels_memory(shape);
    if (sqz_levels_memory(list) > most) most = sqz_levels_memory(list);
    most = sqz_aligned(most) + sqz_aligned(count * sizeof(int32_t)) + 2 * sqz_aligned(op->out * sizeof(int32_t));
    if (most > network->decoding_bytes) network->decoding_bytes = most;
}

/* Reserve memory for the table of an activation. */
static void plan_table(sqz_network *network, sqz_op *op)
{
    const sqz_shape list = {SQZ_TABLE, 1, 1, 1};
    const size_t most = sqz_aligned(SQZ_TABLE * sizeof(int32_t)) + sqz_aligned(sqz_levels_memory(list));
    op->look_up = reserve(&network->weights_bytes, SQZ_TABLE);
    if (most > network->decoding_bytes) network->decoding_bytes = most;
}

#define MOST_SUM ((uint64_t)INT32_MAX / 255) /* most bytes whose sum always fits 32 bits */

/* Whether the fast form of an addition is exact: its sums fit 32 bits. */
static int sums_fit(const sqz_network *network, const sqz_op *op)
{
    const int32_t exponent = sqz_made(network, op)->scale.exponent;
    int64_t most = 256 * 65536;
    for (uint32_t i = 0; i < op->inputs; i++)
        most += 255 * sqz_fraction(exponent - network->values[network->inputs[op->first_input + i]].scale.exponent);
    return most < INT32_MAX / 2;
}

/* Whether the fast form of a product is exact. */
static int product_fits(const sqz_network *network, const sqz_op *op)
{
    int32_t d = sqz_made(network, op)->scale.exponent;
    for (uint32_t i = 0; i < op->inputs; i++) d -= network->values[network->inputs[op->first_input + i]].scale.exponent;
    return sqz_shift(d) >= 8 && sqz_shift(d) < 32;
}

/* The function that computes an operation: the plain loops where there is no fast form. */
static void (*choose_work(const sqz_network *network, const sqz_op *op))(const sqz_task *, unsigned)
{
    const sqz_value *x = sqz_source(network, op);
    if (network->floats) return sqz_is_layer(op) && op->method == SQZ_PACKED ? sqz_packed_layer : sqz_plain_floats;
    if (network->kernels == NULL) return sqz_plain;
    switch (op->kind) {
    case SQZ_CONVOLUTION:
    case SQZ_LINEAR: return op->method == SQZ_PACKED ? sqz_packed_layer : sqz_depthwise;
    case SQZ_MAX_POOL:
    case SQZ_AVERAGE_POOL:
    case SQZ_ADAPTIVE_POOL:
        if (op->maximum) return sqz_max_pool;
        return (uint64_t)x->height * x->width <= MOST_SUM ? sqz_average_pool : sqz_plain;
    case SQZ_GLOBAL_AVERAGE: return (uint64_t)x->height * x->width <= MOST_SUM ? sqz_global_average : sqz_plain;
    case SQZ_ADD: return sums_fit(network, op) ? sqz_add : sqz_plain;
    case SQZ_MULTIPLY: return product_fits(network, op) ? sqz_multiply : sqz_plain;
    case SQZ_RELU:
    case SQZ_CAPPED: return x->scale.nine_bit ? sqz_plain : sqz_look_up;
    case SQZ_ACTIVATION: return sqz_look_up;
    case SQZ_CONCAT: return sqz_concatenate;
    case SQZ_SELECT: return sqz_select;
    default: return sqz_plain;
    }
}

void sqz_plan(sqz_network *network)
{
    for (uint32_t v = 0; v <= network->op_count; v++) {
        network->values[v].bytes = network->floats || network->values[v].scale.wide ? 4 : 1;
        network->values[v].ring = network->values[v].height;
    }
    merge_values(network, 1);
    network->values_bytes = assign_offsets(network);
    if (network->values_bytes > MOST_VALUES && !network->by_rows) {
        merge_values(network, 0);
        network->values_bytes = assign_offsets(network);
    }
    network->weights_bytes = network->decoding_bytes = network->scratch_bytes = 0;
    for (uint32_t i = 0; i < network->op_count; i++) {
        sqz_op *op = network->ops + i;
        if (sqz_is_layer(op))
            plan_weights(network, op);
        else if (sqz_is_coded(network, op))
            plan_table(network, op);
        op->work = choose_work(network, op);
        op->rows = op->work == sqz_global_average ? sqz_source(network, op)->height : sqz_made(network, op)->height;
        op->least = op->rows;
        const size_t bytes = scratch(network, op);
        if (bytes > network->scratch_bytes) network->scratch_bytes = bytes;
    }
    for (uint32_t i = 0; i < network->op_count; i++)
        if (network->ops[i].table > 0) network->ops[i].look_up = network->ops[network->ops[i].table].look_up;
}
