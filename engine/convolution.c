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

/* Where the results of a tile go. */
typedef struct {
    size_t factor;    /* of its first output, among those in the vector form */
    size_t padded;    /* factors of a group in the vector form */
    size_t channel;   /* its first output */
    uint32_t outputs; /* how many */
    size_t position;  /* its first position */
    uint32_t step;    /* positions of the result to the next position of the tile */
} target;

/* Sums of a tile -> stored elements of the result. */
static void finish(const sqz_task *task, const void *sums, const sqz_tile *tile, const target *to)
{
    const sqz_op *op = task->op;
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *y = sqz_result(task);
    const uint32_t width = tile->vectors * k->lanes;
    const int interleaved = op->method == SQZ_DEPTHWISE && k->interleaved;
    const size_t step = to->step * y->pitch;
    uint8_t *out = task->values + y->offset + (to->position * y->pitch + to->channel) * y->bytes;
    if (task->network->floats) {
        for (uint32_t p = 0; p < tile->positions; p++)
            sqz_put_floats(op, (float *)(void *)out + p * step, (const float *)sums + p * width, to->outputs);
        return;
    }
    if (op->vector) {
        const int32_t *multipliers = (const int32_t *)(const void *)(task->network->weights + op->multipliers);
        const int64_t *offsets = (const int64_t *)(const void *)(task->network->weights + op->offsets);
        sqz_rescale r = {
            multipliers + to->factor, offsets + to->factor, tile->vectors, to->outputs, op->low, op->high, interleaved};
        if (y->scale.nine_bit) r.high = SQZ_HIGHEST;
        for (int half = 0; half <= y->scale.nine_bit; half++, r.offsets += to->padded, out += op->out)
            k->rescale(&r, sums, tile->positions, out, step);
        return;
    }
    const sqz_factor *factors = (const sqz_factor *)(const void *)(task->network->weights + op->factors);
    const int32_t *whole = sums;
    for (uint32_t p = 0; p < tile->positions; p++)
        for (uint32_t o = 0; o < to->outputs; o++) {
            const int32_t sum = whole[p * width + (interleaved ? sqz_slot(k, o) : o)];
            const int32_t level = (int32_t)sqz_requantise(op, factors + (to->channel + o) % op->out, sum);
            uint8_t *at = out + (p * step + o) * y->bytes;
            if (y->scale.wide)
                memcpy(at, &level, sizeof level);
            else {
                *at = (uint8_t)(level < SQZ_HIGHEST ? level : SQZ_HIGHEST);
                if (y->scale.nine_bit) at[op->out] = (uint8_t)(level - *at);
            }
        }
}

/* Apply the table of the activation that a layer computes, if any, to `outputs` channels of some positions. */
static void finish_positions(const sqz_task *task, size_t channel, size_t outputs, size_t from, size_t count)
{
    const sqz_network *network = task->network;
    if (task->op->table > 0)
        sqz_look_up_positions(task, sqz_result(task), channel, outputs, from, count,
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
    const uint32_t parts = op->kernel[1] / layout->across, taps = op->kernel[0] * parts;
    if (!layout->direct)
        for (size_t i = *next > first ? *next : first; i < first + layout->reach; *next = ++i)
            copy_line(task, layout, group, (int64_t)i - op->padding[0],
                      copies + i % layout->reach * layout->line_bytes);
    for (uint32_t i = 0; i < layout->lines; i++) {
        const uint32_t tap = i < taps ? i : 0; /* further lines have no weights */
        const size_t down = (size_t)(tap / parts) * op->dilation[0], right = tap % parts * apart;
        if (layout->direct)
            lines[i] =
                task->values + x->offset + row * layout->row_step + down * x->width * x->pitch * x->bytes + right;
        else
            lines[i] = copies + (first + down) % layout->reach * layout->line_bytes + right;
    }
}

/* The units of work are blocks of outputs in one row: (groups, rows, blocks) or, with `blocks_first`, (groups, blocks,
 * rows). Each part of the team takes some. The tiles of a block also request the weights of the next one (those of the
 * next layer after the last block): each tile requests an equal part of them. */
void sqz_packed_layer(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t positions = (size_t)y->height * y->width, each = (size_t)layout.rows * layout.blocks;
    const size_t units = op->groups * each;
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
        const size_t in = unit % each, group = unit / each;
        const uint32_t block = (uint32_t)(layout.blocks_first ? in / layout.rows : in % layout.blocks);
        const uint32_t row = (uint32_t)(layout.blocks_first ? in % layout.rows : in / layout.blocks);
        const uint32_t vector = sqz_first_vector(&layout, block);
        const size_t begin = (size_t)row * layout.columns;
        const size_t columns = positions - begin < layout.columns ? positions - begin : layout.columns;
        if (group * layout.rows + row != fetched) {
            if (row == 0) next = 0;
            fetch(task, &layout, (uint32_t)group, row, &next, lines, copies);
            fetched = group * layout.rows + row;
        }
        tile.vectors = sqz_first_vector(&layout, block + 1) - vector;
        tile.weights = network->weights + op->weights + (group * layout.vectors + vector) * layout.vector_bytes;
        tile.initial = initial + (group * layout.vectors + vector) * k->lanes * 4;
        const uint32_t left = layout.outputs - vector * k->lanes, width = tile.vectors * k->lanes;
        const size_t padded = (size_t)layout.vectors * k->lanes, factor = group * padded + vector * k->lanes;
        const size_t channel = group * layout.outputs + vector * k->lanes;
        target to = {factor, padded, channel, left < width ? left : width, 0, 1};
        const size_t tiles = (columns + k->positions[tile.vectors] - 1) / k->positions[tile.vectors];
        const size_t weights = tile.vectors * layout.vector_bytes, ahead = weights / (layout.rows * tiles) + 1;
        tile.ahead = layout.blocks_first ? (const uint8_t *)tile.weights + weights + row * tiles * ahead : tile.weights;
        tile.ahead_step = layout.blocks_first ? ahead / (layout.lines * layout.packs) + 1 : 0;
        for (size_t i = 0; i < tiles; i++) {
            const size_t from = columns * i / tiles;
            tile.positions = (uint32_t)(columns * (i + 1) / tiles - from);
            tile.begin = from * tile.stride;
            to.position = begin + from;
            k->multiply(&tile, &sums);
            finish(task, &sums, &tile, &to);
            if (layout.blocks_first) tile.ahead += ahead;
        }
        finish_positions(task, channel, to.outputs, begin, columns);
    }
}

/* Some positions of a chunk of channels of a depthwise convolution, from `first` on; each is `repeat` positions of the
 * result. The first position of the row is `begin`. */
static void depthwise_chunk(const sqz_task *task, sqz_tile *tile, target *to, size_t begin, size_t first, size_t count)
{
    const sqz_kernels *k = task->network->kernels;
    const uint32_t block = k->lanes * k->taps;
    int32_t sums[SQZ_MOST_SUMS];
    tile->vectors = (to->outputs + block - 1) / block * k->taps;
    for (size_t i = 0; i < count; i += tile->positions) {
        tile->positions = (uint32_t)(count - i < SQZ_MOST_SUMS / SQZ_CHUNK ? count - i : SQZ_MOST_SUMS / SQZ_CHUNK);
        tile->begin = (first + i) * tile->stride + to->channel * k->bytes;
        to->position = begin + (first + i) * to->step;
        k->depthwise(tile, sums);
        finish(task, sums, tile, to);
    }
}

/* Depthwise convolution: each channel has its own kernel. The parts of the team take rows. */
void sqz_depthwise(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_kernels *k = network->kernels;
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t pixel = layout.direct ? x->pitch : layout.inputs,
                 end = sqz_part_start(y->height, part + 1, task->parts);
    const size_t whole = y->width / op->repeat, rest = y->width % op->repeat * y->channels;
    const uint8_t **lines = (const uint8_t **)(void *)sqz_scratch(task, part);
    uint8_t *copies = sqz_scratch(task, part) + sqz_aligned(layout.lines * sizeof *lines);
    size_t next = 0;
    sqz_tile tile;
    tile.lines = lines;
    tile.rows = layout.lines;
    tile.stride = (op->repeat > 1 ? op->repeat : op->stride[1]) * pixel * k->bytes;
    for (size_t row = sqz_part_start(y->height, part, task->parts); row < end; row++) {
        const size_t begin = row * y->width;
        fetch(task, &layout, 0, (uint32_t)row, &next, lines, copies);
        for (uint32_t c = 0; c < layout.outputs; c += SQZ_CHUNK) {
            const uint32_t left = layout.outputs - c;
            target to = {c, 0, c, left < SQZ_CHUNK ? left : SQZ_CHUNK, 0, op->repeat};
            tile.weights = network->weights + op->weights + (size_t)c * layout.lines * k->bytes;
            tile.initial = network->weights + op->initial + c * sizeof(int32_t);
            depthwise_chunk(task, &tile, &to, begin, 0, whole);
            if (rest <= c) continue;
            to.outputs = (uint32_t)(rest - c < SQZ_CHUNK ? rest - c : SQZ_CHUNK);
            depthwise_chunk(task, &tile, &to, begin, whole, 1);
        }
        finish_positions(task, 0, y->channels, begin, y->width);
    }
}
