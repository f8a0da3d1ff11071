/* For networks that run by rows: prepares the weights and factors of a block of outputs. The weights are stored,
 * packed or decoded (docs/adr/0030-rows.md).
 *
 * A factor is stored in 32 bits, as bias * 512 + (rescaling exponent - SQZ_LEAST_RESCALING).
 *
 * Packed weights: 4 bytes hold 8 weights. The lower half of byte i is weight i, the upper half is weight i + 4. A
 * weight that does not fit 4 bits is replaced by a patch. At `patches` lie first numbers of 32 bits: the index of
 * the first patch of each block of outputs, in the order (groups, blocks), and then the number of patches. The
 * patches follow, each with 16 bits: the lower byte is the distance in weights from the previous patch (for the
 * first one, from the first weight of the block), the upper byte is the weight. */
#include <string.h>

#include "packing.h"
#include "run.h"

enum { RESCALINGS = 512 };

/* The pieces of the scratch memory of a layer, which lie after its lines: offsets in bytes from the start. */
typedef struct {
    size_t initial;                  /* of each output of the block: the value that sums begin with, */
    size_t offsets, multipliers;     /* and its factor, in the vector form or as `sqz_factor` */
    size_t weights, levels, decoder; /* packed and decoded layers: of the block; of one output; of the level stream */
    size_t end;
} pieces;

static pieces cut(const sqz_network *network, const sqz_op *op, const sqz_layout *layout)
{
    const int halves = sqz_made(network, op)->scale.nine_bit;
    const uint32_t most = layout->vectors < op->vectors ? layout->vectors : op->vectors;
    const size_t outputs = op->method == SQZ_DEPTHWISE ? SQZ_CHUNK : (size_t)most * network->kernels->lanes;
    const size_t factor = op->vector ? sizeof(int64_t) << halves : sizeof(sqz_factor);
    pieces p;
    p.initial = sqz_lines_bytes(layout);
    p.offsets = p.initial + sqz_aligned(outputs * sizeof(int32_t));
    p.multipliers = p.offsets + sqz_aligned(outputs * factor);
    p.weights = p.levels = p.decoder = p.end =
        p.multipliers + (op->vector ? sqz_aligned(outputs * sizeof(int32_t)) : 0);
    if (op->stream > 0 || op->patches > 0)
        p.levels = p.decoder = p.end = p.weights + sqz_aligned(most * layout->vector_bytes);
    if (op->stream > 0) {
        p.decoder = p.levels + sqz_aligned((size_t)layout->inputs * op->kernel[0] * op->kernel[1] * sizeof(int32_t));
        p.end = p.decoder + sqz_aligned(sqz_levels_small_memory(sqz_weight_shape(network, op)));
    }
    return p;
}

size_t sqz_block_memory(const sqz_network *network, const sqz_op *op, const sqz_layout *layout)
{
    return cut(network, op, layout).end;
}

/* Write out the factors of a block.
 *
 * In the vector form, (sum * multiplier + offset) >> shift becomes (sum * multiplier * u + offset * u) >> 32 with
 * u = 2^(32 - shift). Then offset * u is bias * 2^28 + 2^31 + zero * 2^32. */
static void write_factors(const sqz_task *task, size_t first, uint32_t outputs, const pieces *p, sqz_block *block)
{
    const sqz_op *op = task->op;
    const sqz_kernels *k = task->network->kernels;
    const sqz_value *y = sqz_result(task);
    const uint32_t *packed = (const uint32_t *)(const void *)(task->network->weights + op->factors);
    const int interleaved = op->method == SQZ_DEPTHWISE && k->interleaved;
    const int64_t half = ((int64_t)1 << 31) + y->scale.zero * ((int64_t)1 << 32);
    sqz_factor *factors = (sqz_factor *)(void *)(task->scratch + p->offsets);
    int64_t *offsets = (int64_t *)(void *)(task->scratch + p->offsets);
    int32_t *multipliers = (int32_t *)(void *)(task->scratch + p->multipliers);
    size_t from = first % op->out;
    for (uint32_t i = 0; i < outputs; i++, from = from + 1 < op->out ? from + 1 : 0) {
        const int32_t rescaling = (int32_t)(packed[from] % RESCALINGS) + SQZ_LEAST_RESCALING;
        const int32_t bias = (int32_t)(packed[from] - packed[from] % RESCALINGS) / RESCALINGS;
        if (op->vector) {
            const uint32_t slot = interleaved ? sqz_slot(k, i) : i, at = (uint32_t)sqz_offset_at(slot, k->lanes);
            multipliers[slot] = sqz_multiplier(rescaling) * (1 << (SQZ_VECTOR_SHIFT - sqz_shift(rescaling)));
            offsets[at] = bias * ((int64_t)1 << 28) + half;
            if (y->scale.nine_bit) offsets[outputs + at] = offsets[at] - ((int64_t)SQZ_HIGHEST << 32);
        } else
            factors[i] = sqz_factor_of(rescaling, bias, y->scale.zero);
    }
    block->segments = NULL;
    block->offsets = offsets;
    block->multipliers = multipliers;
    block->halves = outputs;
    block->factors = factors;
    block->first = 0;
}

void sqz_block_stored(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block)
{
    const sqz_op *op = task->op;
    const uint8_t *memory = task->network->weights;
    const uint32_t lanes = task->network->kernels->lanes;
    const size_t vector = (size_t)group * layout->vectors + first;
    const pieces p = cut(task->network, op, layout);
    write_factors(task, (size_t)group * layout->outputs + first * lanes, vectors * lanes, &p, block);
    block->weights = memory + op->weights + vector * layout->vector_bytes;
    if (op->initial > 0)
        block->initial = memory + op->initial + vector * lanes * sizeof(int32_t);
    else
        block->initial = memset(task->scratch + p.initial, 0, vectors * lanes * sizeof(int32_t));
}

/* The four weights in the lower halves of four bytes: bit 3 of each is copied to the bits above it. */
static uint32_t unpacked(uint32_t word)
{
    const uint32_t x = word & 0x0F0F0F0F;
    return x | (x & 0x08080808) * 30;
}

void sqz_block_packed(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block)
{
    const sqz_op *op = task->op;
    const uint8_t *memory = task->network->weights;
    const uint32_t *patches = (const uint32_t *)(const void *)(memory + op->patches);
    const size_t bytes = vectors * layout->vector_bytes, vector = (size_t)group * layout->vectors + first;
    uint32_t *weights = (uint32_t *)(void *)(task->scratch + cut(task->network, op, layout).weights);
    uint32_t at = 0;
    while (at < layout->blocks && sqz_first_vector(layout, at) != first) at++;
    sqz_block_stored(task, layout, group, first, vectors, block);
    const uint32_t *packed = (const uint32_t *)(const void *)(memory + op->weights + vector * layout->vector_bytes / 2);
    for (size_t i = 0; i < bytes / 8; i++) {
        weights[2 * i] = unpacked(packed[i]);
        weights[2 * i + 1] = unpacked(packed[i] >> 4);
    }
    const uint32_t *begin = patches + group * layout->blocks + at;
    const uint16_t *list = (const uint16_t *)(const void *)(patches + op->groups * layout->blocks + 1);
    size_t patched = 0;
    for (uint32_t i = begin[0]; i < begin[1]; i++) {
        patched += list[i] & 255;
        ((uint8_t *)weights)[patched] = (uint8_t)(list[i] >> 8);
    }
    block->weights = (const uint8_t *)weights;
}

void sqz_block_decoded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                       sqz_block *block)
{
    const sqz_op *op = task->op;
    const sqz_kernels *k = task->network->kernels;
    const sqz_scale *from = &sqz_source(task->network, op)->scale;
    const pieces p = cut(task->network, op, layout);
    const uint32_t outputs = vectors * k->lanes, begin = first * k->lanes;
    const size_t area = (size_t)op->kernel[0] * op->kernel[1], each = layout->inputs * area >> from->nine_bit;
    uint8_t *weights = task->scratch + p.weights, *decoder = task->scratch + p.decoder;
    int32_t *levels = (int32_t *)(void *)(task->scratch + p.levels);
    int32_t *initial = (int32_t *)(void *)(task->scratch + p.initial);
    if (group == 0 && first == 0)
        sqz_levels_open(task->network->weights + op->weights, op->stream, sqz_weight_shape(task->network, op), decoder);
    write_factors(task, (size_t)group * layout->outputs + begin, outputs, &p, block);
    memset(weights, 0, vectors * layout->vector_bytes);
    memset(initial, 0, outputs * sizeof *initial);
    for (uint32_t o = 0; o < outputs && begin + o < layout->outputs; o++) {
        int32_t sum = 0;
        sqz_levels_next(levels, 1, decoder);
        if (from->nine_bit) memcpy(levels + each, levels, each * sizeof *levels);
        sqz_pack_output(weights, (const uint32_t *)(const void *)levels, k, layout, area, o,
                        (size_t)outputs * k->depth * k->bytes);
        for (size_t i = 0; i < each << from->nine_bit; i++) sum += levels[i];
        initial[o] = -(from->zero - k->centre) * sum;
    }
    block->weights = weights;
    block->initial = initial;
}
