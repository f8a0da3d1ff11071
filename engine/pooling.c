/* Pools, means and sums of integer networks. The inner loops go over channels, which are neighbours in memory. */
#include <string.h>

#include "fixed_point.h"
#include "run.h"

/* The rows (or columns) of the input that a window covers: padding is left out. */
typedef struct {
    size_t from, count;
} span;

static span covered(uint32_t position, uint32_t kernel, uint32_t stride, uint32_t padding, uint32_t size)
{
    const int64_t begin = (int64_t)position * stride - padding, end = begin + kernel;
    const int64_t from = begin < 0 ? 0 : begin, to = end < (int64_t)size ? end : (int64_t)size;
    const span s = {(size_t)from, (size_t)(to - from)};
    return s;
}

void sqz_max_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_part_start(y->height, part + 1, task->parts), row = x->width * x->pitch;
    uint8_t *line = sqz_scratch(task, part); /* (width, channels): the largest element of each column of the windows */
    for (size_t v = sqz_part_start(y->height, part, task->parts); v < end; v++) {
        const span rows = covered((uint32_t)v, op->kernel[0], op->stride[0], op->padding[0], x->height);
        uint8_t *out = task->values + y->offset + v * y->width * y->pitch;
        k->maximum(line, task->values + x->offset + rows.from * row, row - x->pitch + x->channels, row, rows.count);
        for (uint32_t h = 0; h < y->width; h++, out += y->pitch) {
            const span columns = covered(h, op->kernel[1], op->stride[1], op->padding[1], x->width);
            k->maximum(out, line + columns.from * x->pitch, y->channels, x->pitch, columns.count);
        }
    }
}

/* Sum over the window, times the reciprocal of the kernel's size: padding counts as x = 0. */
void sqz_average_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t positions = (size_t)y->height * y->width, end = sqz_part_start(positions, part + 1, task->parts);
    const int64_t reciprocal = sqz_reciprocal((uint64_t)op->kernel[0] * op->kernel[1]);
    const int32_t zero = x->scale.zero;
    for (size_t position = sqz_part_start(positions, part, task->parts); position < end; position++) {
        const uint32_t v = (uint32_t)(position / y->width), h = (uint32_t)(position % y->width);
        const span rows = covered(v, op->kernel[0], op->stride[0], op->padding[0], x->height);
        const span columns = covered(h, op->kernel[1], op->stride[1], op->padding[1], x->width);
        const int64_t zeros = (int64_t)(rows.count * columns.count) * zero;
        for (size_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            int32_t sums[SQZ_CHUNK] = {0};
            uint8_t *out = task->values + y->offset + position * y->pitch + c;
            for (size_t a = rows.from; a < rows.from + rows.count; a++)
                for (size_t b = columns.from; b < columns.from + columns.count; b++)
                    k->accumulate(sums, task->values + x->offset + (a * x->width + b) * x->pitch + c, n);
            for (size_t i = 0; i < n; i++)
                out[i] = (uint8_t)sqz_clip(sqz_round((sums[i] - zeros) * reciprocal) + zero, 0, 255);
        }
    }
}

/* (height, width, channels) -> (1, 1, channels). The step of a wide result is 1/256 of the input's. */
void sqz_global_average(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *x = sqz_source(task->network, task->op), *y = sqz_result(task);
    const size_t chunks = (x->channels + SQZ_CHUNK - 1) / SQZ_CHUNK;
    const size_t end = sqz_part_start(chunks, part + 1, task->parts);
    const size_t positions = (size_t)x->height * x->width;
    const int64_t reciprocal = sqz_reciprocal(positions), zeros = (int64_t)positions * x->scale.zero;
    for (size_t chunk = sqz_part_start(chunks, part, task->parts); chunk < end; chunk++) {
        const size_t c = chunk * SQZ_CHUNK, n = x->channels - c < SQZ_CHUNK ? x->channels - c : SQZ_CHUNK;
        int32_t sums[SQZ_CHUNK] = {0};
        for (size_t i = 0; i < positions; i++) k->accumulate(sums, task->values + x->offset + i * x->pitch + c, n);
        for (size_t i = 0; i < n; i++) {
            const int64_t mean = (sums[i] - zeros) * reciprocal;
            const int32_t wide = (int32_t)((mean + 128) >> 8);
            if (y->scale.wide)
                memcpy(task->values + y->offset + 4 * (c + i), &wide, sizeof wide);
            else
                task->values[y->offset + c + i] = (uint8_t)sqz_clip(sqz_round(mean) + y->scale.zero, 0, 255);
        }
    }
}

/* x = a * 2^((ea - e) / 8) + b * 2^((eb - e) / 8), in 65,536ths, where e, ea, eb are the scale exponents. */
void sqz_add(const sqz_task *task, unsigned part)
{
    const uint32_t *inputs = task->network->inputs + task->op->first_input;
    const sqz_value *a = task->network->values + inputs[0], *b = task->network->values + inputs[1];
    const sqz_value *y = sqz_result(task);
    const int64_t first = sqz_fraction(y->scale.exponent - a->scale.exponent);
    const int64_t second = sqz_fraction(y->scale.exponent - b->scale.exponent);
    const int64_t offset = 32768 + y->scale.zero * 65536 - a->scale.zero * first - b->scale.zero * second;
    const int32_t fractions[2] = {(int32_t)first, (int32_t)second};
    const uint8_t *left = task->values + a->offset, *right = task->values + b->offset;
    uint8_t *out = task->values + y->offset;
    const size_t positions = (size_t)y->height * y->width, end = sqz_part_start(positions, part + 1, task->parts);
    for (size_t position = sqz_part_start(positions, part, task->parts); position < end; position++)
        task->network->kernels->add(out + position * y->pitch, left + position * a->pitch, right + position * b->pitch,
                                    fractions, (int32_t)offset, y->channels);
}
