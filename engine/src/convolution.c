/* Convolutions and linear layers, tile by tile (`sqz_tile` in kernels.h).
 *
 * input (height, width, channels) -> sums (positions, vectors x lanes) of a tile -> result (height, width, outputs)
 *
 * The windows of one row of the result read `kernel[0]` lines. A line is a row of the input itself, or a copy of it
 * with the padding filled in; a copy is kept while later rows need it. */
#include <string.h>

#include "reference.h"
#include "run.h"

enum {
    MOST_COLUMNS = 96,     /* most positions that are computed in one pass over the weights, */
    FEW_COLUMNS = 32,      /* or where all would fit in one pass: several can be shared out evenly */
    MOST_WEIGHTS = 1 << 16 /* most bytes of weights that are read anew for each row: they stay in a near cache */
};

sqz_shape sqz_weight_shape(const sqz_network *network, const sqz_op *op)
{
    const sqz_value *x = sqz_source(network, op);
    const uint32_t inputs = (x->channels >> x->scale.nine_bit) / op->groups;
    const sqz_shape whole = {op->out, inputs, op->kernel[0], op->kernel[1]};
    const sqz_shape flat = {op->out, inputs * op->kernel[0] * op->kernel[1], 1, 1};
    return (uint64_t)op->kernel[0] * op->kernel[1] <= SQZ_LARGEST_KERNEL ? whole : flat;
}

sqz_layout sqz_layout_of(const sqz_network *network, const sqz_op *op)
{
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const sqz_value *x = sqz_source(network, op), *y = sqz_made(network, op);
    const int pointwise = op->kernel[0] == 1 && op->kernel[1] == 1 && op->stride[0] == 1 && op->stride[1] == 1;
    const int depthwise = op->method == SQZ_DEPTHWISE;
    const uint32_t groups = depthwise ? 1 : op->groups;
    sqz_layout layout;
    layout.inputs = x->channels / groups;
    layout.outputs = op->out / groups * op->repeat;
    layout.vectors = (depthwise ? (uint32_t)sqz_aligned(layout.outputs) : layout.outputs + k->lanes - 1) / k->lanes;
    layout.blocks = (layout.vectors + op->vectors - 1) / op->vectors;
    layout.across = op->dilation[1] == 1 && !depthwise ? op->kernel[1] : 1;
    layout.lines = op->kernel[0] * (op->kernel[1] / layout.across);
    layout.reach = (op->kernel[0] - 1) * op->dilation[0] + 1;
    layout.packs = ((size_t)layout.across * layout.inputs + k->depth - 1) / k->depth;
    layout.vector_bytes = layout.lines * layout.packs * k->lanes * k->depth * k->bytes;
    layout.direct = k->bytes == x->bytes && groups == 1 && !sqz_is_padded(op) &&
                    ((layout.across == 1 && op->repeat == 1) || x->pitch == x->channels);
    if (depthwise) {
        layout.lines = (layout.lines + k->taps - 1) / k->taps * k->taps;
        layout.vector_bytes = (size_t)layout.lines * k->lanes * k->bytes;
    }
    layout.rows = y->height;
    layout.columns = y->width;
    layout.flat = pointwise && layout.direct && !depthwise && op->least >= y->height && x->ring == x->height &&
                  y->ring == y->height;
    if (layout.flat) {
        const uint32_t positions = y->height * y->width, most = positions > MOST_COLUMNS ? MOST_COLUMNS : FEW_COLUMNS;
        layout.rows = (positions + most - 1) / most;
        layout.columns = (positions + layout.rows - 1) / layout.rows;
    }
    layout.line_bytes = sqz_aligned(sqz_line_positions(op, y) * layout.inputs * k->bytes + SQZ_SLACK);
    layout.blocks_first = layout.rows == 1 || op->stream > 0 || layout.vectors * layout.vector_bytes > MOST_WEIGHTS;
    return layout;
}

static inline void store(const sqz_task *task, const int32_t *sums, const sqz_tile *tile, const sqz_block *block,
                         const sqz_place *to, uint8_t *out, size_t step, size_t upper)
{
    const sqz_op *op = task->op;
    const sqz_kernels *k = sqz_kernels_for(task->network, task->op);
    const sqz_value *y = sqz_result(task);
    const uint32_t width = tile->vectors * k->lanes;
    const int interleaved = op->method == SQZ_DEPTHWISE && k->interleaved;
    if (op->vector) {
        sqz_rescale r = {block->multipliers, block->offsets, tile->vectors, to->outputs, op->low,
                         op->high,           interleaved};
        if (y->scale.nine_bit) r.high = SQZ_HIGHEST;
        for (int half = 0; half <= y->scale.nine_bit; half++, r.offsets += block->halves, out += upper)
            k->rescale(&r, sums, tile->positions, out, step);
        return;
    }
    for (uint32_t p = 0; p < tile->positions; p++)
        for (uint32_t o = 0; o < to->outputs; o++) {
            const int32_t sum = sums[p * width + (interleaved ? sqz_slot(k, o) : o)];
            const int32_t level = (int32_t)sqz_requantise(op, block->factors + (block->first + o) % op->out, sum);
            uint8_t *at = out + (p * step + o) * y->bytes;
            if (y->scale.wide)
                memcpy(at, &level, sizeof level);
            else {
                *at = (uint8_t)(level < SQZ_HIGHEST ? level : SQZ_HIGHEST);
                if (y->scale.nine_bit) at[upper] = (uint8_t)(level - *at);
            }
        }
}

void sqz_store(const sqz_task *task, const int32_t *sums, const sqz_tile *tile, const sqz_block *block,
               const sqz_place *to, uint8_t *out, size_t step, size_t upper)
{
    store(task, sums, tile, block, to, out, step, upper);
}

void sqz_finish(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                const sqz_place *to)
{
    const sqz_value *y = sqz_result(task);
    store(task, sums, tile, block, to, sqz_at(task, y, to->position) + to->channel * y->bytes, to->step * y->pitch,
          task->op->out);
}

/* Apply the table of the activation that a layer computes, if any, to `outputs` channels of some positions. */
void sqz_finish_positions(const sqz_task *task, size_t channel, size_t outputs, size_t from, size_t count)
{
    if (task->op->table > 0)
        sqz_look_up_positions(task, sqz_result(task), channel, outputs, from, count,
                              task->network->weights + task->op->look_up);
}

/* Copy n elements to a line from its element `at` on; if `from` is NULL, write n zero points. */
static void put_line(const sqz_task *task, uint8_t *line, size_t at, const uint8_t *from, size_t n)
{
    const sqz_kernels *k = sqz_kernels_for(task->network, task->op);
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
    const uint8_t *from = sqz_at(task, x, inside > 0 ? (size_t)row * x->width : 0) + group * n * x->bytes;
    put_line(task, line, 0, NULL, before * n);
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
    const size_t apart = layout->across * op->dilation[1] * pixel * sqz_kernels_for(task->network, op)->bytes;
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
                sqz_at(task, x, layout->flat ? (size_t)row * layout->columns : (first + down) * x->width) + right;
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
    const sqz_op *op = task->op;
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const uint32_t begin_row = layout.flat ? 0 : task->from, rows = layout.flat ? layout.rows : task->to - task->from;
    const size_t positions = (size_t)y->height * y->width, each = (size_t)rows * layout.blocks;
    const size_t units = op->groups * each;
    const size_t end = sqz_part_start(units, part + 1, task->parts);
    const uint8_t **lines = (const uint8_t **)(void *)sqz_scratch(task, part);
    uint8_t *copies = sqz_scratch(task, part) + sqz_aligned(layout.lines * sizeof(uint64_t));
    size_t next = 0, fetched = SIZE_MAX, prepared = SIZE_MAX;
    sqz_block weights;
    union {
        int32_t whole[SQZ_MOST_SUMS];
        float real[SQZ_MOST_SUMS];
    } SQZ_WHOLE_LINES sums;
    sqz_tile tile;
    tile.lines = lines;
    tile.rows = layout.lines;
    tile.packs = layout.packs;
    tile.stride = op->stride[1] * (layout.direct ? x->pitch : layout.inputs) * k->bytes;
    for (size_t unit = sqz_part_start(units, part, task->parts); unit < end; unit++) {
        const size_t in = unit % each, group = unit / each;
        const uint32_t block = (uint32_t)(layout.blocks_first ? in / rows : in % layout.blocks);
        const uint32_t row = begin_row + (uint32_t)(layout.blocks_first ? in % rows : in / layout.blocks);
        const uint32_t vector = sqz_first_vector(&layout, block);
        const size_t begin = (size_t)row * layout.columns;
        const size_t columns = positions - begin < layout.columns ? positions - begin : layout.columns;
        if (group * layout.rows + row != fetched) {
            if (row == begin_row) next = 0;
            fetch(task, &layout, (uint32_t)group, row, &next, lines, copies);
            fetched = group * layout.rows + row;
        }
        tile.vectors = sqz_first_vector(&layout, block + 1) - vector;
        if (group * layout.blocks + block != prepared)
            op->block(task, &layout, (uint32_t)group, vector, tile.vectors, &weights);
        prepared = group * layout.blocks + block;
        tile.weights = weights.weights;
        tile.segments = weights.segments;
        tile.initial = weights.initial;
        const uint32_t left = layout.outputs - vector * k->lanes, width = tile.vectors * k->lanes;
        sqz_place to = {group * layout.outputs + vector * k->lanes, left < width ? left : width, 0, 1};
        const size_t tiles = (columns + k->positions[tile.vectors] - 1) / k->positions[tile.vectors];
        const size_t bytes = tile.vectors * layout.vector_bytes, ahead = bytes / (rows * tiles) + 1;
        tile.ahead = layout.blocks_first ? weights.weights + bytes + (row - begin_row) * tiles * ahead : tile.weights;
        tile.ahead_step = layout.blocks_first ? ahead / (layout.lines * layout.packs) + 1 : 0;
        for (size_t i = 0; i < tiles; i++) {
            const size_t from = columns * i / tiles;
            tile.positions = (uint32_t)(columns * (i + 1) / tiles - from);
            tile.begin = from * tile.stride;
            to.position = begin + from;
            k->multiply(&tile, &sums);
            op->finish(task, &sums, &tile, &weights, &to);
            if (layout.blocks_first) tile.ahead += ahead;
        }
        if (op->mean == 0 && op->pool == 0) sqz_finish_positions(task, to.channel, to.outputs, begin, columns);
    }
}

/* Some positions of a chunk of channels of a depthwise convolution, from `first` on; each is `repeat` positions of the
 * result. The first position of the row is `begin`. */
static void depthwise_chunk(const sqz_task *task, sqz_tile *tile, const sqz_block *weights, sqz_place *to, size_t begin,
                            size_t first, size_t count)
{
    const sqz_kernels *k = sqz_kernels_for(task->network, task->op);
    const uint32_t block = k->lanes * k->taps;
    SQZ_WHOLE_LINES int32_t sums[SQZ_MOST_SUMS];
    tile->vectors = (to->outputs + block - 1) / block * k->taps;
    for (size_t i = 0; i < count; i += tile->positions) {
        tile->positions = (uint32_t)(count - i < SQZ_MOST_SUMS / SQZ_CHUNK ? count - i : SQZ_MOST_SUMS / SQZ_CHUNK);
        tile->begin = (first + i) * tile->stride + to->channel * k->bytes;
        to->position = begin + (first + i) * to->step;
        k->depthwise(tile, sums);
        sqz_finish(task, sums, tile, weights, to);
    }
}

/* Depthwise convolution: each channel has its own kernel. The parts of the team take rows. */
void sqz_depthwise(const sqz_task *task, unsigned part)
{
    const sqz_network *network = task->network;
    const sqz_op *op = task->op;
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const sqz_value *x = sqz_source(network, op), *y = sqz_result(task);
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t pixel = layout.direct ? x->pitch : layout.inputs, end = sqz_first_row(task, part + 1);
    const size_t whole = y->width / op->repeat, rest = y->width % op->repeat * y->channels;
    const uint8_t **lines = (const uint8_t **)(void *)sqz_scratch(task, part);
    uint8_t *copies = sqz_scratch(task, part) + sqz_aligned(layout.lines * sizeof(uint64_t));
    size_t next = 0;
    sqz_block weights;
    sqz_tile tile;
    tile.lines = lines;
    tile.rows = layout.lines;
    tile.stride = (op->repeat > 1 ? op->repeat : op->stride[1]) * pixel * k->bytes;
    for (size_t row = sqz_first_row(task, part); row < end; row++) {
        const size_t begin = row * y->width;
        fetch(task, &layout, 0, (uint32_t)row, &next, lines, copies);
        for (uint32_t c = 0; c < layout.outputs; c += SQZ_CHUNK) {
            const uint32_t left = layout.outputs - c;
            sqz_place to = {c, left < SQZ_CHUNK ? left : SQZ_CHUNK, 0, op->repeat};
            op->block(task, &layout, 0, c / k->lanes, SQZ_CHUNK / k->lanes, &weights);
            tile.weights = weights.weights;
            tile.initial = weights.initial;
            depthwise_chunk(task, &tile, &weights, &to, begin, 0, whole);
            if (rest <= c) continue;
            to.outputs = (uint32_t)(rest - c < SQZ_CHUNK ? rest - c : SQZ_CHUNK);
            depthwise_chunk(task, &tile, &weights, &to, begin, whole, 1);
        }
        sqz_finish_positions(task, 0, y->channels, begin, y->width);
    }
}
