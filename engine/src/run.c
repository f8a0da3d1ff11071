/* One image through the network, operation by operation. */
#include "run.h"

#include <string.h>

#include "fixed_point.h"
#include "reference.h"
#include "subnormal.h"

enum { CHUNK = 512 }; /* pixels of a channel that are quantised at once */

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
    task->op->work(task, part);
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
    sqz_task task = {network, NULL, image, sqz_align(running), NULL, 0, 0, team != NULL ? team->parts : 1};
    task.scratch = task.values + network->values_bytes;
    for (uint32_t i = 0; i <= network->op_count; i++) {
        void (*work)(const void *, unsigned) = network->floats || i == 0 ? work_on_floats : compute;
        task.op = i > 0 ? network->ops + i - 1 : NULL;
        if (i > 0 && task.op->skip) continue;
        if (i > 0) task.to = task.op->rows;
        if (task.parts > 1)
            team->each(team->context, work, &task);
        else
            work(&task, 0);
    }
    write_logits(network, task.values, logits);
}
