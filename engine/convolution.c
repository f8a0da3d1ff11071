/* Convolutions and linear layers, tile by tile (`sqz_tile` in kernels.h).
 *
 * input (height, width, channels) -> sums (positions, vectors x lanes) of a tile -> result (height, width, outputs)
 *
 * The windows of one row of the result read `kernel[0]` lines. A line is a row of the input itself, or a copy of it
 * with the padding filled in; a copy is kept while later rows need it. */
#include <string.h>

#include "floats.h"
#include "reference.h"
#include "run.h"

/* Sums of a tile -> stored elements of the result. `vector` is the tile's first vector among those of its group,
 * `position` its first position. */
static void finish(const sqz_task *task, const sqz_layout *layout, const void *sums, const sqz_tile *tile,
                   uint32_t group, uint32_t vector, size_t position)
{
    const sqz_op *op = task->op;
    const sqz_value *y = sqz_result(task);
    const uint32_t lanes = task->network->kernels->lanes, first = vector * lanes;
    const uint32_t left = layout->outputs - first, width = tile->vectors * lanes;
    const uint32_t outputs = left < width ? left : width;
    const size_t channel = (size_t)group * layout->outputs + first;
    uint8_t *out = task->values + y->offset + (position * y->pitch + channel) * y->bytes;
    if (task->network->floats) {
        for (uint32_t p = 0; p < tile->positions; p++)
            sqz_put_floats(op, (float *)(void *)out + p * y->pitch, (const float *)sums + p * width, outputs);
        return;
    }
    if (op->vector) {
        const size_t padded = (size_t)layout->vectors * lanes, at = group * padded + first;
        const int32_t *multipliers = (const int32_t *)(const void *)(task->network->weights + op->multipliers);
        const int64_t *offsets = (const int64_t *)(const void *)(task->network->weights + op->offsets);
        sqz_rescale r = {multipliers + at, offsets + at, tile->vectors, outputs, op->low, op->high};
        if (y->scale.nine_bit) r.high = SQZ_HIGHEST;
        for (int half = 0; half <= y->scale.nine_bit; half++, r.offsets += padded, out += op->out)
            task->network->kernels->rescale(&r, sums, tile->positions, out, y->pitch);
        return;
    }
    const sqz_factor *f = (const sqz_factor *)(const void *)(task->network->weights + op->factors) + channel;
    const int32_t *whole = sums;
    for (uint32_t p = 0; p < tile->positions; p++)
        for (uint32_t o = 0; o < outputs; o++) {
            const int32_t level = (int32_t)sqz_requantise(op, f + o, whole[p * width + o]);
            uint8_t *to = out + (p * y->pitch + o) * y->bytes;
            if (y->scale.wide)
                memcpy(to, &level, sizeof level);
            else {
                *to = (uint8_t)(level < SQZ_HIGHEST ? level : SQZ_HIGHEST);
                if (y->scale.nine_bit) to[op->out] = (uint8_t)(level - *to);
            }
        }
}

/* Apply the table of the activation that a layer computes, if any, to `outputs` channels of some positions. */
static void finish_positions(const sqz_task *task, size_t channel, size_t outputs, size_t from, size_t count)
{
    const sqz_network *network = task->network;
    const sqz_value *y = sqz_result(task);
    if (task->op->table == 0) return;
    network->kernels->look_up(task->values + y->offset + from * y->pitch + channel, outputs, y->pitch, count,
                              network->weights + network->ops[task->op->table].weights);
}

/* Copy n elements to a line from its element `at` on; if `from` is NULL, write n zero points. */
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

/* Copy a row of the inputs of a group, with the padding filled in: (positions, inputs). */
static void copy_line(const sqz_task *task, const sqz_layout *layout, uint32_t group, int64_t row, uint8_t *line)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op);
    const size_t n = layout->inputs, across = sqz_line_positions(op, sqz_result(task));
    const size_t before = op->padding[1] < across ? op->padding[1] : across;
    const size_t most = row >= 0 && row < (int64_t)x->height ? x->width : 0;
    const size_t inside = across - before < most ? across - before : most;
    const uint8_t *from = task->values + x->offset + group * n * x->bytes;
    put_line(task, line, 0, NULL, before * n);
    if (inside > 0) from += (size_t)row * x->width * x->pitch * x->bytes;
    if (x->pitch == n)
        put_line(task, line, before * n, from, inside * n);
    else
        for (size_t i = 0; i < inside; i++) put_line(task, line, (before + i) * n, from + i * x->pitch * x->bytes, n);
    put_line(task, line, (before + inside) * n, NULL, (across - before - inside) * n);
}

/* Point `lines` at the lines that the windows of a row read. `next`: first row of the padded input not yet copied. */
static void fetch(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t row, size_t *next,
                  const uint8_t **lines, uint8_t *copies)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op);
    const size_t first = (size_t)row * op->stride[0], pixel = (layout->direct ? x->pitch : layout->inputs);
    const size_t apart = layout->across * op->dilation[1] * pixel * task->network->kernels->bytes;
    const uint32_t parts = layout->lines / op->kernel[0]; /* into which a row of the kernel is split by dilation */
    if (!layout->direct)
        for (size_t i = *next > first ? *next : first; i < first + layout->reach; *next = ++i)
            copy_line(task, layout, group, (int64_t)i - op->padding[0],
                      copies + i % layout->reach * layout->line_bytes);
    for (uint32_t i = 0; i < layout->lines; i++) {
        const size_t down = (size_t)(i / parts) * op->dilation[0], right = i % parts * apart;
        if (layout->direct)
            lines[i] =
                task->values + x->offset + row * layout->row_step + down * x->width * x->pitch * x->bytes + right;
        else
            lines[i] = copies + (first + down) % layout->reach * layout->line_bytes + right;
    }
}

/* The units of work are blocks of outputs in one row: (groups, rows, blocks). Each part of the team takes some. */
void sqz_packed_layer(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t positions = (size_t)y->height * y->width, units = (size_t)op->groups * layout.rows * layout.blocks;
    const size_t end = sqz_part_start(units, part + 1, task->parts);
    const uint8_t **lines = (const uint8_t **)(void *)sqz_scratch(task, part);
    uint8_t *copies = sqz_scratch(task, part) + sqz_aligned(layout.lines * sizeof *lines);
    const uint8_t *initial = network->weights + op->initial;
    size_t next = 0, fetched = SIZE_MAX;
    union {
        int32_t whole[SQZ_MOST_SUMS];
        float real[SQZ_MOST_SUMS];
    } sums;
    sqz_tile tile;
    tile.lines = lines;
    tile.rows = layout.lines;
    tile.packs = layout.packs;
    tile.stride = op->stride[1] * (layout.direct ? x->pitch : layout.inputs) * k->bytes;
    for (size_t unit = sqz_part_start(units, part, task->parts); unit < end; unit++) {
        const uint32_t block = (uint32_t)(unit % layout.blocks), group = (uint32_t)(unit / layout.blocks / layout.rows);
        const uint32_t row = (uint32_t)(unit / layout.blocks % layout.rows), vector = sqz_first_vector(&layout, block);
        const size_t begin = (size_t)row * layout.columns;
        const size_t columns = positions - begin < layout.columns ? positions - begin : layout.columns;
        if (unit / layout.blocks != fetched) {
            if (row == 0) next = 0;
            fetch(task, &layout, group, row, &next, lines, copies);
            fetched = unit / layout.blocks;
        }
        tile.vectors = sqz_first_vector(&layout, block + 1) - vector;
        tile.weights = network->weights + op->weights + ((size_t)group * layout.vectors + vector) * layout.vector_bytes;
        tile.initial = initial + ((size_t)group * layout.vectors + vector) * k->lanes * 4;
        const size_t tiles = (columns + k->positions[tile.vectors] - 1) / k->positions[tile.vectors];
        for (size_t i = 0; i < tiles; i++) {
            const size_t from = columns * i / tiles;
            tile.positions = (uint32_t)(columns * (i + 1) / tiles - from);
            tile.begin = from * tile.stride;
            k->multiply(&tile, &sums);
            finish(task, &layout, &sums, &tile, group, vector, begin + from);
        }
        const uint32_t first = vector * k->lanes, left = layout.outputs - first, width = tile.vectors * k->lanes;
        finish_positions(task, (size_t)group * layout.outputs + first, left < width ? left : width, begin, columns);
    }
}

/* Depthwise convolution: each channel has its own kernel. Weights (kernel, channels), SQZ_CHUNK channels at once. */
void sqz_depthwise(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const int8_t *weights = (const int8_t *)network->weights + op->weights;
    const size_t positions = (size_t)y->height * y->width, end = sqz_part_start(positions, part + 1, task->parts);
    sqz_layout layout; /* for `finish`: one group of all channels */
    layout.outputs = y->channels;
    layout.vectors = (uint32_t)sqz_aligned(y->channels) / k->lanes;
    sqz_tile tile;
    tile.vectors = SQZ_CHUNK / k->lanes;
    tile.positions = 1;
    for (size_t position = sqz_part_start(positions, part, task->parts); position < end; position++)
        for (uint32_t c = 0; c < y->channels; c += SQZ_CHUNK) {
            const size_t n = y->channels - c < SQZ_CHUNK ? y->channels - c : SQZ_CHUNK;
            int32_t sums[SQZ_CHUNK] = {0};
            for (size_t a = 0; a < op->kernel[0]; a++)
                for (size_t b = 0; b < op->kernel[1]; b++) {
                    const size_t v = position / y->width * op->stride[0] + a * op->dilation[0];
                    const size_t h = position % y->width * op->stride[1] + b * op->dilation[1];
                    if (v < op->padding[0] || h < op->padding[1] || v - op->padding[0] >= x->height ||
                        h - op->padding[1] >= x->width)
                        continue;
                    const size_t at = ((v - op->padding[0]) * x->width + h - op->padding[1]) * x->pitch + c;
                    const int8_t *tap = weights + (a * op->kernel[1] + b) * y->channels + c;
                    k->multiply_accumulate(sums, task->values + x->offset + at, tap, x->scale.zero, n);
                }
            finish(task, &layout, sums, &tile, 0, c / k->lanes, position);
        }
    const size_t first = sqz_part_start(positions, part, task->parts);
    finish_positions(task, 0, y->channels, first, end - first);
}
