/* Pools and sums by whole rows of channels. */
#include <string.h>

#include "fixed_point.h"
#include "run.h"

/* The part of a window that lies on the input, along one side. */
typedef struct {
    size_t from, count;
} span;

static span covered(uint32_t place, uint32_t kernel, uint32_t stride, uint32_t padding, uint32_t size)
{
    const int64_t begin = (int64_t)place * stride - padding, end = begin + kernel;
    const int64_t from = begin < 0 ? 0 : begin, to = end < (int64_t)size ? end : (int64_t)size;
    const span s = {(size_t)from, (size_t)(to - from)};
    return s;
}

void sqz_max_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t end = sqz_share(y->height, part + 1, task->parts), row = x->width * x->step;
    uint8_t *line = sqz_scratch(task, part); /* the largest of each column of the windows */
    for (size_t v = sqz_share(y->height, part, task->parts); v < end; v++) {
        const span rows = covered((uint32_t)v, op->kernel[0], op->stride[0], op->padding[0], x->height);
        uint8_t *out = task->values + y->at + v * y->width * y->step;
        k->maximum(line, task->values + x->at + rows.from * row, row - x->step + x->channels, row, rows.count);
        for (uint32_t h = 0; h < y->width; h++, out += y->step) {
            const span columns = covered(h, op->kernel[1], op->stride[1], op->padding[1], x->width);
            k->maximum(out, line + columns.from * x->step, y->channels, x->step, columns.count);
        }
    }
}

void sqz_average_pool(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op), *y = sqz_result(task);
    const size_t places = (size_t)y->height * y->width, end = sqz_share(places, part + 1, task->parts);
    const int64_t share = sqz_reciprocal((uint64_t)op->kernel[0] * op->kernel[1]);
    const int32_t zero = x->scale.zero;
    for (size_t place = sqz_share(places, part, task->parts); place < end; place++) {
        const uint32_t v = (uint32_t)(place / y->width), h = (uint32_t)(place % y->width);
        const span rows = covered(v, op->kernel[0], op->stride[0], op->padding[0], x->height);
        const span columns = covered(h, op->kernel[1], op->stride[1], op->padding[1], x->width);
        const int64_t zeros = (int64_t)(rows.count * columns.count) * zero;
        for (size_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            int32_t sums[SQZ_CHUNK] = {0};
            uint8_t *out = task->values + y->at + place * y->step + c;
            for (size_t a = rows.from; a < rows.from + rows.count; a++)
                for (size_t b = columns.from; b < columns.from + columns.count; b++)
                    k->total(sums, task->values + x->at + (a * x->width + b) * x->step + c, n);
            for (size_t i = 0; i < n; i++)
                out[i] = (uint8_t)sqz_clip(sqz_round((sums[i] - zeros) * share) + zero, 0, 255);
        }
    }
}

void sqz_global_average(const sqz_task *task, unsigned part)
{
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *x = sqz_source(task->network, task->op), *y = sqz_result(task);
    const size_t chunks = (x->channels + SQZ_CHUNK - 1) / SQZ_CHUNK, end = sqz_share(chunks, part + 1, task->parts);
    const size_t places = (size_t)x->height * x->width;
    const int64_t share = sqz_reciprocal(places), zeros = (int64_t)places * x->scale.zero;
    for (size_t chunk = sqz_share(chunks, part, task->parts); chunk < end; chunk++) {
        const size_t c = chunk * SQZ_CHUNK, n = x->channels - c < SQZ_CHUNK ? x->channels - c : SQZ_CHUNK;
        int32_t sums[SQZ_CHUNK] = {0};
        for (size_t i = 0; i < places; i++) k->total(sums, task->values + x->at + i * x->step + c, n);
        for (size_t i = 0; i < n; i++) {
            const int64_t mean = (sums[i] - zeros) * share;
            const int32_t wide = (int32_t)((mean + 128) >> 8);
            if (y->scale.wide)
                memcpy(task->values + y->at + 4 * (c + i), &wide, sizeof wide);
            else
                task->values[y->at + c + i] = (uint8_t)sqz_clip(sqz_round(mean) + y->scale.zero, 0, 255);
        }
    }
}

void sqz_add(const sqz_task *task, unsigned part)
{
    const uint32_t *inputs = task->network->inputs + task->op->from;
    const sqz_value *a = task->network->values + inputs[0], *b = task->network->values + inputs[1];
    const sqz_value *y = sqz_result(task);
    const int64_t first = sqz_fraction(y->scale.exponent - a->scale.exponent);
    const int64_t second = sqz_fraction(y->scale.exponent - b->scale.exponent);
    const int64_t offset = 32768 + y->scale.zero * 65536 - a->scale.zero * first - b->scale.zero * second;
    const int32_t fractions[2] = {(int32_t)first, (int32_t)second};
    const size_t places = (size_t)y->height * y->width, end = sqz_share(places, part + 1, task->parts);
    for (size_t place = sqz_share(places, part, task->parts); place < end; place++)
        task->network->kernels->add(task->values + y->at + place * y->step, task->values + a->at + place * a->step,
                                    task->values + b->at + place * b->step, fractions, (int32_t)offset, y->channels);
}
