/* Layers in lists, strip by strip: a strip is some rows of the result, as many as a tile has room for. The part of the
 * input that a strip reads is copied in another order: input by input, row by row. So one weight multiplies the
 * activations of neighbouring positions, which lie side by side. */
#include "lists.h"

#include "run.h"

#ifdef SQZ_LISTS
enum {
    PLACES = 1 << 16,    /* limit of a place */
    VECTOR = 8,          /* positions that are computed by one instruction */
    COST_OF_AN_ENTRY = 2 /* besides its products: in the time of the products of a vector */
};

/* With a stride of s, a row has first the positions 0, s, 2 s, ..., then 1, s + 1, ... */
typedef struct {
    uint32_t inputs, outputs;   /* of a group */
    uint32_t rows, strips;      /* rows of the result in a strip; strips */
    uint32_t source_rows;       /* rows of the input that a strip reads */
    size_t phase, pitch, input; /* elements of one of the s parts of a row; of a row; of an input */
} strips;

static strips strips_of(const sqz_network *network, const sqz_op *op)
{
    const sqz_value *x = sqz_source(network, op), *y = sqz_made(network, op);
    const uint32_t across = op->stride[1], down = op->stride[0];
    strips s;
    s.inputs = x->channels / op->groups;
    s.outputs = op->out / op->groups;
    s.phase = (sqz_line_positions(op, y) + across - 1) / across;
    s.pitch = s.phase * across;
    s.rows = 1;
    if (across == 1 && down == 1)
        while (s.rows < y->height && s.rows * s.pitch + y->width <= SQZ_LIST_POSITIONS) s.rows++;
    s.strips = (y->height + s.rows - 1) / s.rows;
    s.source_rows = (s.rows - 1) * down + (op->kernel[0] - 1) * op->dilation[0] + 1;
    s.input = s.source_rows * s.pitch;
    return s;
}

size_t sqz_strip_bytes(const sqz_network *network, const sqz_op *op)
{
    if (network->kernels != &sqz_simd128 || op->method != SQZ_PACKED) return 0;
    const strips s = strips_of(network, op);
    return (uint64_t)s.inputs * s.input < PLACES ? s.inputs * s.input * sizeof(int16_t) + SQZ_SLACK : 0;
}

/* The place of the activation that kernel position `tap` multiplies, for the first input. */
static size_t place_of(const strips *s, const sqz_op *op, size_t tap)
{
    const size_t down = tap / op->kernel[1] * op->dilation[0], right = tap % op->kernel[1] * op->dilation[1];
    return down * s->pitch + right % op->stride[1] * s->phase + right / op->stride[1];
}

/* Writes the chains of an output. Returns their end, or NULL if there is no room. */
static sqz_entry *write_list(sqz_entry *to, const sqz_entry *end, const int32_t *levels, const strips *s,
                             const sqz_op *op)
{
    const size_t area = (size_t)op->kernel[0] * op->kernel[1];
    int32_t up = 0, down = 0; /* sums of the positive levels of a chain, and of the magnitudes of its negative ones */
    sqz_entry *first = to;
    if (end - to < 1) return NULL;
    *to++ = (sqz_entry){0, 0};
    for (size_t i = 0; i < s->inputs; i++)
        for (size_t tap = 0; tap < area; tap++) {
            const int32_t level = levels[i * area + tap];
            if (level == 0) continue;
            if (end - to < 2) return NULL;
            if (up + level > SQZ_CHAIN_LEVELS || down - level > SQZ_CHAIN_LEVELS) {
                first = to++;
                *first = (sqz_entry){0, 0};
                up = down = 0;
            }
            if (level > 0)
                up += level;
            else
                down -= level;
            *to++ = (sqz_entry){(uint16_t)(i * s->input + place_of(s, op, tap)), (int16_t)level};
            first->place++;
        }
    first->weight = 1;
    return to;
}

int sqz_lay_out_lists(const sqz_network *network, const sqz_op *op, const int32_t *levels)
{
    const strips s = strips_of(network, op);
    const sqz_value *y = sqz_made(network, op);
    const size_t each = (size_t)s.inputs * op->kernel[0] * op->kernel[1];
    const size_t vectors = (((size_t)s.rows - 1) * s.pitch + y->width + VECTOR - 1) / VECTOR;
    sqz_entry *const lists = (sqz_entry *)(void *)(network->weights + op->weights), *to = lists;
    const sqz_entry *end = to + op->weights_bytes / sizeof *to;
    if (sqz_strip_bytes(network, op) == 0) return 0;
    for (uint32_t o = 0; o < op->out; o++) {
        to = write_list(to, end, levels + o * each, &s, op);
        if (to == NULL) return 0;
    }
    return (uint64_t)(to - lists) * s.strips * (vectors + COST_OF_AN_ENTRY) <
           (uint64_t)op->out * each * y->height * y->width / VECTOR;
}

/* Copy what a strip of a group reads. */
static void copy_strip(const sqz_task *task, const strips *s, size_t strip, uint32_t group, int16_t *to)
{
    const sqz_op *op = task->op;
    const sqz_value *x = sqz_source(task->network, op);
    const uint32_t stride = op->stride[1];
    for (uint32_t r = 0; r < s->source_rows; r++, to += s->pitch) {
        const int64_t row = (int64_t)(strip * s->rows * op->stride[0] + r) - op->padding[0];
        const int inside = row >= 0 && row < x->height;
        const uint8_t *from = sqz_at(task, x, inside ? (size_t)row * x->width : 0) + (size_t)group * s->inputs;
        for (uint32_t p = 0; p < s->pitch; p++) {
            const int64_t column = (int64_t)p - op->padding[1];
            int16_t *at = to + p % stride * s->phase + p / stride;
            if (inside && column >= 0 && column < x->width)
                sqz_spread(at, s->input, from + (size_t)column * x->pitch, s->inputs);
            else
                for (size_t i = 0; i < s->inputs; i++) at[i * s->input] = (int16_t)x->scale.zero;
        }
    }
}

/* The outputs of a group at the positions of a strip, whose input was copied. Returns the entries of the next group. */
static const sqz_entry *compute_strip(const sqz_task *task, const strips *s, size_t strip, uint32_t group,
                                      const int16_t *copy, const sqz_entry *entries)
{
    const sqz_op *op = task->op;
    const sqz_value *y = sqz_result(task);
    const uint32_t lanes = task->network->kernels->lanes;
    const sqz_layout layout = sqz_layout_of(task->network, op);
    const size_t first = strip * s->rows, left = y->height - first, rows = left < s->rows ? left : s->rows;
    const size_t tiles = ((size_t)y->width + SQZ_LIST_POSITIONS - 1) / SQZ_LIST_POSITIONS;
    int32_t sums[SQZ_MOST_SUMS];
    for (uint32_t o = 0; o < s->outputs; o += SQZ_LIST_OUTPUTS) {
        const uint32_t rest = s->outputs - o, outputs = rest < SQZ_LIST_OUTPUTS ? rest : SQZ_LIST_OUTPUTS;
        const sqz_entry *next = entries;
        sqz_block block;
        sqz_tile tile;
        tile.vectors = (outputs + lanes - 1) / lanes;
        op->block(task, &layout, group, o / lanes, tile.vectors, &block);
        for (size_t i = 0; i < tiles; i++) {
            const size_t from = y->width * i / tiles, columns = y->width * (i + 1) / tiles - from;
            const sqz_list_tile lists = {
                copy + from,        entries, block.initial,        (uint32_t)rows, (uint32_t)columns,
                (uint32_t)s->pitch, outputs, tile.vectors * lanes,
            };
            const sqz_place to = {group * s->outputs + o, outputs, first * y->width + from, 1};
            next = sqz_multiply_lists(&lists, sums);
            tile.positions = (uint32_t)(rows * columns);
            op->finish(task, sums, &tile, &block, &to);
        }
        entries = next;
    }
    return entries;
}

/* The parts of the team take strips. */
void sqz_list_layer(const sqz_task *task, unsigned part)
{
    const sqz_op *op = task->op;
    const sqz_value *y = sqz_result(task);
    const strips s = strips_of(task->network, op);
    const size_t end = sqz_part_start(s.strips, part + 1, task->parts);
    int16_t *copy = (int16_t *)(void *)sqz_scratch(task, part);
    for (size_t strip = sqz_part_start(s.strips, part, task->parts); strip < end; strip++) {
        const sqz_entry *entries = (const sqz_entry *)(const void *)(task->network->weights + op->weights);
        for (uint32_t group = 0; group < op->groups; group++) {
            copy_strip(task, &s, strip, group, copy);
            entries = compute_strip(task, &s, strip, group, copy, entries);
        }
        const size_t begin = strip * s.rows * y->width, left = (size_t)y->height * y->width - begin;
        sqz_finish_positions(task, 0, y->channels, begin, left < s.rows * y->width ? left : s.rows * y->width);
    }
}
#endif
