/* Convolutions and linear layers by tiles (`sqz_tile`): some places of a row, and some vectors of outputs, at once.
 *
 * The lines that a row of windows reads are either rows of the input itself or copies of them with the padding filled
 * in; a copied line is kept while windows need it. */
#include <string.h>

#include "floats.h"
#include "reference.h"
#include "run.h"

/* What is left to do with sums: rescale them to levels. `first` is the first output, all of a group's counted up to
 * whole vectors; `channel` is where it goes. */
static void finish(const sqz_task *task, const sqz_layout *layout, const void *sums, const sqz_tile *tile,
                   uint32_t group, uint32_t vector, size_t place)
{
    const sqz_op *op = task->op;
    const sqz_value *y = sqz_result(task);
    const uint32_t lanes = task->network->kernels->lanes, first = vector * lanes;
    const uint32_t left = layout->outputs - first, width = tile->vectors * lanes;
    const uint32_t outputs = left < width ? left : width;
    const size_t channel = (size_t)group * layout->outputs + first;
    uint8_t *out = task->values + y->at + (place * y->step + channel) * y->bytes;
    if (task->network->floats) {
        for (uint32_t p = 0; p < tile->places; p++)
            sqz_put_floats(op, (float *)(void *)out + p * y->step, (const float *)sums + p * width, outputs);
        return;
    }
    if (op->vector) {
        const size_t padded = (size_t)layout->vectors * lanes, at = group * padded + first;
        const int32_t *multipliers = (const int32_t *)(const void *)(task->network->weights + op->multipliers);
        const int64_t *offsets = (const int64_t *)(const void *)(task->network->weights + op->offsets);
        sqz_rescale r = {multipliers + at, offsets + at, tile->vectors, outputs, op->low, op->high};
        if (y->scale.deep) r.high = SQZ_HIGHEST;
        for (int half = 0; half <= y->scale.deep; half++, r.offsets += padded, out += op->out)
            task->network->kernels->rescale(&r, sums, tile->places, out, y->step);
        return;
    }
    const sqz_factor *f = (const sqz_factor *)(const void *)(task->network->weights + op->factors) + channel;
    const int32_t *whole = sums;
    for (uint32_t p = 0; p < tile->places; p++)
        for (uint32_t o = 0; o < outputs; o++) {
            const int32_t level = (int32_t)sqz_requantise(op, f + o, whole[p * width + o]);
            uint8_t *to = out + (p * y->step + o) * y->bytes;
            if (y->scale.wide)
                memcpy(to, &level, sizeof level);
            else {
                *to = (uint8_t)(level < SQZ_HIGHEST ? level : SQZ_HIGHEST);
                if (y->scale.deep) to[op->out] = (uint8_t)(level - *to);
            }
        }
}

/* Copy n elements to a line, or fill it with n zeros. */
static void put_line(const sqz_task *task, uint8_t *line, size_t at, const uint8_t *from, size_t n)
{
    const sqz_kernels *k = task->network->kernels;
    uint8_t zeros[SQZ_CHUNK];
    if (task->network->floats && from != NULL)
        memcpy(line + at * k->bytes, from, n * k->bytes);
    else if (task->network->floats)
        memset(line + at * k->bytes, 0, n * k->bytes);
    else if (from != NULL)
        k->widen(line + at * k->bytes, from, n);
    else {
        memset(zeros, sqz_source(task->network, task->op)->scale.zero, sizeof zeros);
        for (size_t i = 0; i < n; i += sizeof zeros)
            k->widen(line + (at + i) * k->bytes, zeros, n - i < sizeof zeros ? n - i : sizeof zeros);
    }
}

/* A row of a group's inputs, padding filled in: (places, inputs). */
static void copy_line(const sqz_task *task, const sqz_layout *layout, uint32_t group, int64_t row, uint8_t *line)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op);
    const size_t n = layout->inputs;
    const size_t across = ((size_t)sqz_result(task)->width - 1) * op->stride[1] + op->kernel[1];
    const size_t before = op->padding[1] < across ? op->padding[1] : across;
    const size_t most = row >= 0 && row < (int64_t)x->height ? x->width : 0;
    const size_t inside = across - before < most ? across - before : most;
    const uint8_t *from = task->values + x->at + group * n * x->bytes;
    put_line(task, line, 0, NULL, before * n);
    if (inside > 0) from += (size_t)row * x->width * x->step * x->bytes;
    if (x->step == n)
        put_line(task, line, before * n, from, inside * n);
    else
        for (size_t i = 0; i < inside; i++)
            put_line(task, line, (before + i) * n, from + i * x->step * x->bytes, n);
    put_line(task, line, (before + inside) * n, NULL, (across - before - inside) * n);
}

/* Point `lines` at what the windows of a row read. `next` is the first row of padded input that was not yet copied. */
static void fetch(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t row, size_t *next,
                  const uint8_t **lines, uint8_t *copies)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op);
    const size_t first = (size_t)row * op->stride[0], height = op->kernel[0];
    for (size_t i = 0; i < height; i++) {
        if (layout->direct)
            lines[i] = task->values + x->at + row * layout->advance + i * x->width * x->step * x->bytes;
        else {
            uint8_t *line = copies + (first + i) % height * layout->line;
            if (first + i >= *next) {
                copy_line(task, layout, group, (int64_t)(first + i) - op->padding[0], line);
                *next = first + i + 1;
            }
            lines[i] = line;
        }
    }
}

void sqz_packed_layer(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t places = (size_t)y->height * y->width, units = (size_t)op->groups * layout.rows * layout.blocks;
    const size_t end = sqz_share(units, part + 1, task->parts);
    const uint8_t **lines = (const uint8_t **)(void *)sqz_scratch(task, part);
    uint8_t *copies = sqz_scratch(task, part) + sqz_aligned(op->kernel[0] * sizeof *lines);
    const uint8_t *starts = network->weights + op->starts;
    size_t next = 0, fetched = SIZE_MAX;
    union {
        int32_t whole[SQZ_MOST_SUMS];
        float real[SQZ_MOST_SUMS];
    } sums;
    sqz_tile tile;
    tile.lines = lines;
    tile.rows = op->kernel[0];
    tile.run = layout.run;
    tile.step = op->stride[1] * (layout.direct ? x->step : layout.inputs) * k->bytes;
    for (size_t unit = sqz_share(units, part, task->parts); unit < end; unit++) {
        const uint32_t block = (uint32_t)(unit % layout.blocks), group = (uint32_t)(unit / layout.blocks / layout.rows);
        const uint32_t row = (uint32_t)(unit / layout.blocks % layout.rows), vector = sqz_first_vector(&layout, block);
        const size_t begin = (size_t)row * layout.columns;
        const size_t columns = places - begin < layout.columns ? places - begin : layout.columns;
        if (unit / layout.blocks != fetched) {
            if (row == 0) next = 0;
            fetch(task, &layout, group, row, &next, lines, copies);
            fetched = unit / layout.blocks;
        }
        tile.vectors = sqz_first_vector(&layout, block + 1) - vector;
        tile.weights = network->weights + op->weights + ((size_t)group * layout.vectors + vector) * layout.taps;
        tile.starts = starts + ((size_t)group * layout.vectors + vector) * k->lanes * 4;
        const size_t tiles = (columns + k->places[tile.vectors] - 1) / k->places[tile.vectors];
        for (size_t i = 0; i < tiles; i++) {
            const size_t from = columns * i / tiles;
            tile.places = (uint32_t)(columns * (i + 1) / tiles - from);
            tile.at = from * tile.step;
            k->multiply(&tile, &sums);
            finish(task, &layout, &sums, &tile, group, vector, begin + from);
        }
    }
}

void sqz_depthwise(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const int8_t *weights = (const int8_t *)network->weights + op->weights;
    const size_t places = (size_t)y->height * y->width, end = sqz_share(places, part + 1, task->parts);
    sqz_layout layout; /* as `finish` sees it: one group of all channels */
    layout.outputs = y->channels;
    layout.vectors = (uint32_t)sqz_aligned(y->channels) / k->lanes;
    sqz_tile tile;
    tile.vectors = SQZ_CHUNK / k->lanes;
    tile.places = 1;
    for (size_t place = sqz_share(places, part, task->parts); place < end; place++)
        for (uint32_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            int32_t sums[SQZ_CHUNK] = {0};
            for (size_t a = 0; a < op->kernel[0]; a++)
                for (size_t b = 0; b < op->kernel[1]; b++) {
                    const size_t v = place / y->width * op->stride[0] + a, h = place % y->width * op->stride[1] + b;
                    if (v < op->padding[0] || h < op->padding[1] || v - op->padding[0] >= x->height ||
                        h - op->padding[1] >= x->width)
                        continue;
                    const size_t at = ((v - op->padding[0]) * x->width + h - op->padding[1]) * x->step + c;
                    const int8_t *tap = weights + (a * op->kernel[1] + b) * y->channels + c;
                    k->weigh(sums, task->values + x->at + at, tap, x->scale.zero, n);
                }
            finish(task, &layout, sums, &tile, 0, c / k->lanes, place);
        }
}
