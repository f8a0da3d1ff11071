/* Pools, means, sums, products, tables and copies of integer networks. The inner loops go over channels, which are
 * neighbours in memory. */
#include <string.h>

#include "fixed_point.h"
#include "run.h"
#include "window.h"

enum { COPIES = 1024 }; /* bytes of copies of an input that is the same at all positions */

void sqz_max_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_first_row(task, part + 1), row = x->width * x->pitch;
    uint8_t *line = sqz_scratch(task, part); /* (width, channels): the largest element of each column of the windows */
    for (size_t v = sqz_first_row(task, part); v < end; v++) {
        const sqz_span rows = sqz_span_of(op, x, 0, v);
        const uint8_t *from = task->values + x->offset + rows.from * row;
        uint8_t *out = task->values + y->offset + v * y->width * y->pitch;
        k->maximum(line, from, row - x->pitch + x->channels, rows.step * row, rows.count);
        for (uint32_t h = 0; h < y->width; h++, out += y->pitch) {
            const sqz_span columns = sqz_span_of(op, x, 1, h);
            k->maximum(out, line + columns.from * x->pitch, y->channels, columns.step * x->pitch, columns.count);
        }
    }
}

/* The same for a ring of rows, where the rows of a window may lie in two places. It needs no line of scratch memory.
 *
 * `most` has three rows of a chunk of channels: the middle one is the largest elements of a row of the window. One of
 * its neighbours is the largest elements of the rows before, and the other one becomes the largest of both. */
void sqz_max_pool_rows(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1);
    uint8_t most[3 * SQZ_CHUNK + SQZ_SLACK];
    for (size_t position = sqz_first_position(task, part); position < end; position++) {
        const sqz_span rows = sqz_span_of(op, x, 0, position / y->width);
        const sqz_span columns = sqz_span_of(op, x, 1, position % y->width);
        for (size_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            uint8_t *out = most;
            for (size_t a = 0; a < rows.count; a++) {
                const uint8_t *from = sqz_at(task, x, (rows.from + a * rows.step) * x->width + columns.from) + c;
                k->maximum(a == 0 ? out : most + SQZ_CHUNK, from, n, columns.step * x->pitch, columns.count);
                if (a == 0) continue;
                uint8_t *const before = out;
                out = out == most ? most + 2 * SQZ_CHUNK : most;
                k->maximum(out, before == most ? before : most + SQZ_CHUNK, n, SQZ_CHUNK, 2);
            }
            memcpy(sqz_at(task, y, position) + c, out, n);
        }
    }
}

/* As sqz_mean_layer for a mean: the elements of a layer go from each tile to the windows of the pool. */
void sqz_finish_pool(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                     const sqz_place *to)
{
    const sqz_network *network = task->network;
    const sqz_op *op = task->op, *pool = network->ops + op->pool - 1;
    const sqz_value *x = sqz_result(task), *y = sqz_made(network, pool);
    const size_t n = (size_t)tile->positions * to->outputs;
    uint8_t stored[2 * SQZ_MOST_SUMS + SQZ_SLACK];
    sqz_store(task, sums, tile, block, to, stored, to->outputs, SQZ_MOST_SUMS);
    if (op->table > 0) network->kernels->look_up(stored, n, 0, 1, network->weights + op->look_up);
    for (uint32_t p = 0; p < tile->positions; p++) {
        const uint32_t row = (uint32_t)(to->position + p) / x->width, column = (uint32_t)(to->position + p) % x->width;
        const sqz_windows down = sqz_windows_at(pool, y, 0, row), across = sqz_windows_at(pool, y, 1, column);
        for (uint32_t v = down.from; v < down.end; v++)
            for (uint32_t h = across.from; h < across.end; h++)
                for (size_t half = 0; half <= (size_t)x->scale.nine_bit; half++) {
                    const uint8_t *from = stored + half * SQZ_MOST_SUMS + p * to->outputs;
                    uint8_t *out =
                        sqz_at(task, y, (size_t)v * y->width + h) + half * op->out + op->channel + to->channel;
                    for (uint32_t o = 0; o < to->outputs; o++) out[o] = from[o] > out[o] ? from[o] : out[o];
                }
    }
}

/* The windows that begin in these rows are cleared first: stored elements are at least 0. */
void sqz_pool_layer(const sqz_task *task, unsigned part)
{
    const sqz_op *op = task->op, *pool = task->network->ops + op->pool - 1;
    const sqz_value *y = sqz_made(task->network, pool);
    const uint32_t end = sqz_windows_at(pool, y, 0, task->to - 1).end;
    for (uint32_t v = task->from > 0 ? sqz_windows_at(pool, y, 0, task->from - 1).end : 0; v < end; v++)
        for (uint32_t h = 0; h < y->width; h++)
            for (size_t half = 0; half <= (size_t)y->scale.nine_bit; half++)
                memset(sqz_at(task, y, (size_t)v * y->width + h) + half * op->out + op->channel, 0, op->out);
    sqz_packed_layer(task, part);
}

/* Sum over the window, times the reciprocal of how many elements count: padding is x = 0. */
void sqz_average_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1);
    const int32_t zero = x->scale.zero;
    for (size_t position = sqz_first_position(task, part); position < end; position++) {
        const sqz_span rows = sqz_span_of(op, x, 0, position / y->width);
        const sqz_span columns = sqz_span_of(op, x, 1, position % y->width);
        const int64_t zeros = (int64_t)(rows.count * columns.count) * zero;
        const int64_t reciprocal = sqz_reciprocal((uint64_t)rows.mean * columns.mean);
        for (size_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            int32_t sums[SQZ_CHUNK] = {0};
            uint8_t *out = sqz_at(task, y, position) + c;
            for (size_t a = 0; a < rows.count; a++) {
                const uint8_t *from = sqz_at(task, x, (rows.from + a * rows.step) * x->width + columns.from) + c;
                k->accumulate(sums, from, n, columns.step * x->pitch, columns.count);
            }
            for (size_t i = 0; i < n; i++)
                out[i] = (uint8_t)sqz_clip(sqz_round((sums[i] - zeros) * reciprocal) + zero, 0, 255);
        }
    }
}

/* Sums over all positions -> n channels of the mean, value y, from channel c on. */
static void put_means(const sqz_task *task, const sqz_value *x, const sqz_value *y, size_t c, size_t n,
                      const int32_t *sums)
{
    const size_t positions = (size_t)x->height * x->width;
    const int64_t reciprocal = sqz_reciprocal(positions), zeros = (int64_t)positions * x->scale.zero;
    uint8_t *out = task->values + y->offset;
    for (size_t i = 0; i < n; i++) {
        const int64_t mean = (sums[i] - zeros) * reciprocal;
        const int32_t wide = (int32_t)((mean + 128) >> 8);
        if (y->scale.wide)
            memcpy(out + 4 * (c + i), &wide, sizeof wide);
        else
            out[c + i] = (uint8_t)sqz_clip(sqz_round(mean) + y->scale.zero, 0, 255);
    }
}

/* The sums of a mean, between rows. */
static int32_t *sums_of(const sqz_task *task)
{
    return (int32_t *)(void *)(task->values + task->op->sums);
}

/* (height, width, channels) -> (1, 1, channels). The step of a wide result is 1/256 of the input's. If not all rows are
 * there at once, the sums of those before are in memory. */
void sqz_global_average(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *x = sqz_source(task->network, task->op), *y = sqz_result(task);
    const size_t chunks = (x->channels + SQZ_CHUNK - 1) / SQZ_CHUNK;
    const size_t last = sqz_part_start(chunks, part + 1, task->parts), end = (size_t)task->to * x->width;
    for (size_t chunk = sqz_part_start(chunks, part, task->parts); chunk < last; chunk++) {
        const size_t c = chunk * SQZ_CHUNK, n = x->channels - c < SQZ_CHUNK ? x->channels - c : SQZ_CHUNK;
        int32_t sums[SQZ_CHUNK] = {0};
        if (task->from > 0) memcpy(sums, sums_of(task) + c, n * sizeof *sums);
        for (size_t position = (size_t)task->from * x->width, count; position < end; position += count) {
            count = sqz_contiguous(x, position, end - position);
            k->accumulate(sums, sqz_at(task, x, position) + c, n, x->pitch, count);
        }
        if (task->to < x->height)
            memcpy(sums_of(task) + c, sums, n * sizeof *sums);
        else
            put_means(task, x, y, c, n, sums);
    }
}

/* The result of the layer exists only for the positions of one tile. */
void sqz_finish_mean(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                     const sqz_place *to)
{
    const sqz_kernels *k = task->network->kernels;
    uint8_t stored[SQZ_MOST_SUMS + SQZ_SLACK];
    int32_t totals[SQZ_CHUNK] = {0}, *all = sums_of(task) + to->channel;
    sqz_store(task, sums, tile, block, to, stored, to->outputs, 0);
    if (task->op->table > 0)
        k->look_up(stored, (size_t)tile->positions * to->outputs, 0, 1, task->network->weights + task->op->look_up);
    k->accumulate(totals, stored, to->outputs, to->outputs, tile->positions);
    for (uint32_t o = 0; o < to->outputs; o++) all[o] += totals[o];
}

void sqz_mean_layer(const sqz_task *task, unsigned part)
{
    const sqz_value *y = sqz_result(task);
    if (task->from == 0) memset(sums_of(task), 0, y->channels * sizeof(int32_t));
    sqz_packed_layer(task, part);
    if (task->to == y->height)
        put_means(task, y, task->network->values + task->op->mean, 0, y->channels, sums_of(task));
}

/* The constants of a sum or of a product, as the kernels take them. */
typedef struct {
    int32_t fractions[2], offset;
    sqz_product product;
} constants;

/* Sums or products of all elements. The kernel gets as many positions at once as lie side by side. If the second input
 * is the same at all positions, several copies of it are laid side by side. */
static void join(const sqz_task *task, unsigned part, const constants *c)
{
    const sqz_kernels *k = task->network->kernels;
    const uint32_t *inputs = task->network->inputs + task->op->first_input;
    const sqz_value *a = task->network->values + inputs[0], *b = task->network->values + inputs[1];
    const sqz_value *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1), n = y->channels;
    const int same = (size_t)b->height * b->width == 1; /* at all positions */
    size_t position = sqz_first_position(task, part), most = 1, count;
    const uint8_t *right = sqz_at(task, b, 0);
    uint8_t copies[COPIES + SQZ_SLACK];
    if (y->pitch == n && a->pitch == n && !same && b->pitch == n) most = SIZE_MAX;
    if (y->pitch == n && a->pitch == n && same && 2 * n <= COPIES) {
        most = COPIES / n;
        for (size_t i = 0; i < most; i++) memcpy(copies + i * n, right, n);
        right = copies;
    }
    for (; position < end; position += count) {
        count = sqz_contiguous(y, position, end - position < most ? end - position : most);
        count = sqz_contiguous(a, position, count);
        if (!same) count = sqz_contiguous(b, position, count);
        const uint8_t *first = sqz_at(task, a, position), *second = same ? right : sqz_at(task, b, position);
        uint8_t *out = sqz_at(task, y, position);
        if (task->op->kind == SQZ_ADD)
            k->add(out, first, second, c->fractions, c->offset, count * n);
        else
            k->multiply_values(out, first, second, &c->product, count * n);
    }
}

/* x = a * 2^((ea - e) / 8) + b * 2^((eb - e) / 8), in 65,536ths, where e, ea, eb are the scale exponents. */
void sqz_add(const sqz_task *task, unsigned part)
{
    const uint32_t *inputs = task->network->inputs + task->op->first_input;
    const sqz_scale *a = &task->network->values[inputs[0]].scale, *b = &task->network->values[inputs[1]].scale;
    const sqz_scale *y = &sqz_result(task)->scale;
    const int64_t first = sqz_fraction(y->exponent - a->exponent), second = sqz_fraction(y->exponent - b->exponent);
    const int64_t offset = 32768 + y->zero * 65536 - a->zero * first - b->zero * second;
    constants c = {{(int32_t)first, (int32_t)second}, (int32_t)offset, {{0, 0, 0}, 0, 0, 0, 0}};
    join(task, part, &c);
}

void sqz_multiply(const sqz_task *task, unsigned part)
{
    const uint32_t *inputs = task->network->inputs + task->op->first_input;
    const sqz_scale *a = &task->network->values[inputs[0]].scale, *b = &task->network->values[inputs[1]].scale;
    const sqz_scale *y = &sqz_result(task)->scale;
    const int32_t d = y->exponent - a->exponent - b->exponent, m = sqz_multiplier(d), s = sqz_shift(d);
    constants c = {{0, 0}, 0, {{a->zero, b->zero, y->zero}, m >> 8, m & 255, 1 << (s - 1), s - 8}};
    join(task, part, &c);
}

/* An activation or a ReLU: the result is written over the input, or over a copy of it. */
void sqz_look_up(const sqz_task *task, unsigned part)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1);
    uint8_t limits[SQZ_TABLE];
    const uint8_t *table = limits;
    if (op->kind == SQZ_ACTIVATION)
        table = task->network->weights + op->look_up;
    else
        for (int32_t q = 0; q < SQZ_TABLE; q++) limits[q] = (uint8_t)sqz_clip(q, op->low, op->high);
    for (size_t first = sqz_first_position(task, part), count; first < end; first += count) {
        count = sqz_contiguous(y, first, end - first);
        if (y->offset != x->offset)
            for (size_t position = first; position < first + count; position++)
                memcpy(sqz_at(task, y, position), sqz_at(task, x, position), y->channels);
        sqz_look_up_positions(task, y, 0, y->channels, first, count, table);
    }
}

void sqz_concatenate(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const uint32_t *inputs = network->inputs + task->op->first_input;
    const sqz_value *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1);
    for (size_t position = sqz_first_position(task, part); position < end; position++) {
        uint8_t *out = sqz_at(task, y, position);
        for (uint32_t i = 0; i < task->op->inputs; i++) {
            const sqz_value *x = network->values + inputs[i];
            const uint8_t *from = sqz_at(task, x, position);
            if (from != out) memcpy(out, from, x->channels); /* it may lie inside the result already */
            out += x->channels;
        }
    }
}

void sqz_select(const sqz_task *task, unsigned part)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_first_position(task, part + 1);
    for (size_t position = sqz_first_position(task, part); position < end; position++)
        for (size_t half = 0; half <= (size_t)y->scale.nine_bit; half++) {
            const uint8_t *from = sqz_at(task, x, position) + half * (x->channels / 2) + op->start;
            uint8_t *out = sqz_at(task, y, position) + half * (y->channels / 2);
            if (op->counts[1] == 2 && op->steps[0] == 1)
                task->network->kernels->interleave(out, from, op->steps[1], 2, op->counts[0]);
            else
                for (int64_t i = 0; i < op->counts[0]; i++)
                    for (int64_t j = 0; j < op->counts[1]; j++) *out++ = from[i * op->steps[0] + j * op->steps[1]];
        }
}
