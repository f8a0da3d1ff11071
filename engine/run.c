/* One image through the network, operation by operation. */
#include "run.h"

#include <string.h>

#include "fixed_point.h"
#include "floats.h"
#include "reference.h"
#include "subnormal.h"

enum { CHUNK = 512 };                        /* pixels of a channel that are quantised at once */
#define MOST_SUM ((uint64_t)INT32_MAX / 255) /* most bytes whose sum always fits 32 bits */

/* Whether the fast form of an addition is exact: its sums fit 32 bits. */
static int sums_fit(const sqz_network *network, const sqz_op *op)
{
    const int32_t exponent = network->values[(op - network->ops) + 1].scale.exponent;
    int64_t most = 256 * 65536;
    for (uint32_t i = 0; i < op->inputs; i++)
        most += 255 * sqz_fraction(exponent - network->values[network->inputs[op->first_input + i]].scale.exponent);
    return most < INT32_MAX / 2;
}

/* Whether the fast form of a product is exact. */
static int product_fits(const sqz_network *network, const sqz_op *op)
{
    int32_t d = network->values[(op - network->ops) + 1].scale.exponent;
    for (uint32_t i = 0; i < op->inputs; i++) d -= network->values[network->inputs[op->first_input + i]].scale.exponent;
    return sqz_shift(d) >= 8 && sqz_shift(d) < 32;
}

/* The fast form of an operation; NULL where there is only the reference. */
static void (*fast_form(const sqz_network *network, const sqz_op *op))(const sqz_task *, unsigned)
{
    const sqz_value *x = sqz_source(network, op);
    if (network->kernels == NULL) return NULL;
    if (network->floats) return sqz_is_layer(op) && op->method == SQZ_PACKED ? sqz_packed_layer : NULL;
    switch (op->kind) {
    case SQZ_CONVOLUTION:
    case SQZ_LINEAR:
        return op->method == SQZ_PACKED ? sqz_packed_layer : op->method == SQZ_DEPTHWISE ? sqz_depthwise : NULL;
    case SQZ_MAX_POOL:
    case SQZ_AVERAGE_POOL:
    case SQZ_ADAPTIVE_POOL:
        if (op->maximum) return sqz_max_pool;
        return (uint64_t)x->height * x->width <= MOST_SUM ? sqz_average_pool : NULL;
    case SQZ_GLOBAL_AVERAGE: return (uint64_t)x->height * x->width <= MOST_SUM ? sqz_global_average : NULL;
    case SQZ_ADD: return sums_fit(network, op) ? sqz_add : NULL;
    case SQZ_MULTIPLY: return product_fits(network, op) ? sqz_multiply : NULL;
    case SQZ_RELU:
    case SQZ_CAPPED: return x->scale.nine_bit ? NULL : sqz_look_up;
    case SQZ_ACTIVATION: return sqz_look_up;
    case SQZ_CONCAT: return sqz_concatenate;
    case SQZ_SELECT: return sqz_select;
    default: return NULL;
    }
}

/* Image (channels, height, width), float -> value 0 (height, width, channels), quantised in an integer network. */
static void read_image(const void *data, unsigned part)
{
    const sqz_task *task = data;
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *y = task->network->values;
    const float factor = sqz_step(-y->scale.exponent);
    const size_t positions = (size_t)y->height * y->width, end = sqz_part_start(positions, part + 1, task->parts);
    uint8_t levels[3 * CHUNK];
    for (size_t position = sqz_part_start(positions, part, task->parts); position < end; position += CHUNK) {
        const size_t n = end - position < CHUNK ? end - position : CHUNK;
        uint8_t *out = task->values + y->offset + position * y->pitch * y->bytes;
        for (size_t c = 0; c < y->channels; c++) {
            const float *pixels = task->image + c * positions + position;
            if (task->network->floats)
                for (size_t i = 0; i < n; i++) ((float *)(void *)out)[i * y->pitch + c] = pixels[i];
            else if (k != NULL)
                k->quantise(levels + c * CHUNK, pixels, factor, y->scale.zero, n);
            else
                for (size_t i = 0; i < n; i++) levels[c * CHUNK + i] = sqz_quantise(pixels[i] * factor, y->scale.zero);
        }
        if (task->network->floats) continue;
        if (k != NULL && y->channels == 3 && y->pitch == 3)
            k->interleave(out, levels, CHUNK, 3, n);
        else
            for (size_t c = 0; c < y->channels; c++)
                for (size_t i = 0; i < n; i++) out[i * y->pitch + c] = levels[c * CHUNK + i];
    }
}

/* The last value -> logits, as real numbers. */
static void write_logits(const sqz_network *network, const uint8_t *values, float *logits)
{
    const sqz_value *x = network->values + network->op_count;
    const float step = sqz_step(x->scale.exponent);
    if (network->floats) {
        memcpy(logits, values + x->offset, x->channels * sizeof *logits);
        return;
    }
    for (size_t i = 0; i < x->channels; i++) {
        int32_t wide;
        if (x->scale.wide)
            memcpy(&wide, values + x->offset + 4 * i, sizeof wide);
        else
            wide = values[x->offset + i] - x->scale.zero;
        logits[i] = (float)wide * step;
    }
}

/* One part of the work of an operation. */
static void compute(const void *data, unsigned part)
{
    const sqz_task *task = data;
    void (*work)(const sqz_task *, unsigned) = fast_form(task->network, task->op);
    const size_t rows = sqz_result(task)->height;
    const size_t from = sqz_part_start(rows, part, task->parts), to = sqz_part_start(rows, part + 1, task->parts);
    if (work != NULL)
        work(task, part);
    else if (task->network->floats)
        sqz_floats(task->network, task->op, task->values, from, to);
    else
        sqz_reference(task->network, task->op, task->values, from, to);
}

/* One part of reading the image or of an operation on floats, with subnormal floats as zeros. */
static void work_on_floats(const void *data, unsigned part)
{
    const sqz_task *task = data;
    const uint64_t before = sqz_flush_subnormal();
    (task->op == NULL ? read_image : compute)(data, part);
    sqz_restore_subnormal(before);
}

void sqz_run(const sqz_network *network, const float *image, float *logits, void *running, const sqz_team *team)
{
    sqz_task task = {network, NULL, image, sqz_align(running), NULL, team != NULL ? team->parts : 1};
    task.scratch = task.values + network->values_bytes;
    for (uint32_t i = 0; i <= network->op_count; i++) {
        void (*work)(const void *, unsigned) = network->floats || i == 0 ? work_on_floats : compute;
        task.op = i > 0 ? network->ops + i - 1 : NULL;
        if (i > 0 && task.op->skip) continue;
        if (task.parts > 1)
            team->each(team->context, work, &task);
        else
            work(&task, 0);
    }
    write_logits(network, task.values, logits);
}
