/* The weights of a layer: decoded, checked, and laid out as the path multiplies them. */
#include "chains.h"
#include "cursor.h"
#include "fixed_point.h"
#include "layers.h"
#include "lists.h"
#include "packing.h"
#include "run.h"
#include "tensors.h"

enum {
    MOST_LEVEL = 127,            /* largest magnitude of a level */
    MOST_BIAS = 1 << 22,         /* largest magnitude of a bias, plus 1 */
    MOST_WEIGHT_EXPONENT = 4096, /* largest magnitude of the scale exponent of weights */
    LEAST_SHIFT = 17             /* the vector form of a factor has shifts from 17 to 32 */
};

/* A layer as the file has it. */
typedef struct {
    int32_t *levels;    /* (outputs, each) */
    int32_t *exponents; /* scale exponent of the weights of each output, less that of the output before */
    int32_t *biases;    /* of each output, in sixteenths of the step of the result */
    size_t each;        /* levels of one output */
} layer;

/* The weights of a layer that reads a 9-bit value: the levels (outputs, each) become (outputs, 2, each), once for the
 * lower halves and once for the upper ones (network.h). There must be room for them. */
static void repeat_levels(int32_t *levels, size_t outputs, size_t each)
{
    for (size_t from = outputs; from-- > 0;)
        for (size_t to = 2 * from + 2; to-- > 2 * from;)
            memmove(levels + to * each, levels + from * each, each * sizeof *levels);
}

static layer take_layer(sqz_cursor *c, const sqz_network *network, const sqz_op *op, uint8_t *memory)
{
    const sqz_shape shape = sqz_weight_shape(network, op), list = {op->out, 1, 1, 1};
    layer found;
    found.each = (size_t)shape.inputs * shape.height * shape.width;
    found.exponents = (int32_t *)(void *)memory;
    memory += sqz_aligned(op->out * sizeof *found.exponents);
    found.biases = (int32_t *)(void *)memory;
    memory += sqz_aligned(op->out * sizeof *found.biases);
    found.levels = (int32_t *)(void *)memory;
    memory += sqz_aligned((op->out * found.each << sqz_source(network, op)->scale.nine_bit) * sizeof *found.levels);
    sqz_take_levels(c, found.exponents, list, memory);
    sqz_take_levels(c, found.levels, shape, memory);
    sqz_take_levels(c, found.biases, list, memory);
    if (sqz_source(network, op)->scale.nine_bit) {
        repeat_levels(found.levels, op->out, found.each);
        found.each *= 2;
    }
    return found;
}

/* Check a layer against the limits of docs/FORMAT.md, and compute the factor of each output. */
static int take_factors(const layer *l, sqz_op *op, const sqz_scale *from, const sqz_scale *to, sqz_factor *factors)
{
    int64_t exponent = 0;
    op->vector = !to->wide;
    for (uint32_t o = 0; o < op->out; o++) {
        const int64_t bias = l->biases[o];
        const int32_t *levels = l->levels + o * l->each;
        uint64_t sum = 0;
        int32_t largest = 0;
        exponent += l->exponents[o];
        for (size_t i = 0; i < l->each; i++) {
            const int32_t magnitude = levels[i] < 0 ? -levels[i] : levels[i];
            largest = magnitude > largest ? magnitude : largest;
            sum += (uint32_t)magnitude;
        }
        const int64_t rescaling = to->exponent - from->exponent - exponent;
        if (largest > MOST_LEVEL || exponent > MOST_WEIGHT_EXPONENT || exponent < -MOST_WEIGHT_EXPONENT ||
            bias >= MOST_BIAS || bias <= -MOST_BIAS || rescaling < SQZ_LEAST_RESCALING ||
            rescaling > SQZ_MOST_RESCALING || 255 * sum > INT32_MAX)
            return SQZ_BAD_STREAM;
        factors[o] = sqz_factor_of((int32_t)rescaling, (int32_t)bias, to->zero);
        if (factors[o].shift < LEAST_SHIFT || factors[o].shift > SQZ_VECTOR_SHIFT) op->vector = 0;
    }
    return SQZ_OK;
}

/* Factors in the vector form. Each group fills whole vectors. */
static void lay_out_factors(const sqz_network *network, const sqz_op *op, const sqz_factor *factors)
{
    const sqz_layout layout = sqz_layout_of(network, op);
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const int depthwise = op->method == SQZ_DEPTHWISE;
    const uint32_t groups = depthwise ? 1 : op->groups, padded = layout.vectors * k->lanes;
    int32_t *multipliers = (int32_t *)(void *)(network->weights + op->multipliers);
    int64_t *offsets = (int64_t *)(void *)(network->weights + op->offsets);
    for (uint32_t group = 0; group < groups; group++)
        for (uint32_t o = 0; o < padded; o++) {
            const sqz_factor *f = factors + (group * layout.outputs + o) % op->out;
            const int used = op->vector && o < layout.outputs;
            const size_t first = (size_t)group * padded;
            const uint32_t slot = depthwise && k->interleaved ? sqz_slot(k, o) : o;
            const int64_t unit = used ? (int64_t)1 << (SQZ_VECTOR_SHIFT - f->shift) : 0;
            multipliers[first + slot] = (int32_t)(f->multiplier * unit);
            offsets[first + sqz_offset_at(slot, k->lanes)] = f->offset * unit;
        }
    if (sqz_made(network, op)->scale.nine_bit) /* then the offsets of the upper halves */
        for (size_t i = 0; i < padded; i++) offsets[padded + i] = offsets[i] - ((int64_t)SQZ_HIGHEST << 32);
}

/* Weights (out, inputs, kernel), levels or floats -> the order of `sqz_tile`: (lines, packs, vectors, lanes, depth).
 * Returns 0 if they are too large for the chains in which the layer was to be laid out. */
static int pack(const sqz_network *network, const sqz_op *op, const uint32_t *weights)
{
    const sqz_layout layout = sqz_layout_of(network, op);
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const size_t area = (size_t)op->kernel[0] * op->kernel[1], each = layout.inputs * area;
    const size_t pack_bytes = (size_t)k->depth * k->bytes;
    for (uint32_t group = 0; group < op->groups; group++)
        for (uint32_t block = 0; block < layout.blocks; block++) {
            const uint32_t first = sqz_first_vector(&layout, block) * k->lanes;
            const uint32_t width = sqz_first_vector(&layout, block + 1) * k->lanes - first;
            const size_t vector = (size_t)group * layout.vectors + first / k->lanes, step = width * pack_bytes;
            uint8_t *to = network->weights + op->weights + vector * sqz_vector_room(network, op, &layout);
            memset(to, 0, width / k->lanes * layout.vector_bytes);
            for (uint32_t o = first; o < first + width && o < layout.outputs; o++)
                sqz_pack_output(to, weights + ((size_t)group * layout.outputs + o) * each, k, &layout, area, o - first,
                                step);
            if (sqz_has_chains(network) && op->chains &&
                !sqz_lay_out_chains((int8_t *)to, k, &layout, width, sqz_segments_of(network, op, &layout, vector)))
                return 0;
        }
    return 1;
}

/* In chains, if there are any and if they save time. */
static void lay_out_packed(const sqz_network *network, sqz_op *op, const uint32_t *weights)
{
    if (sqz_has_chains(network)) {
        sqz_use_chains(op, 1);
        if (pack(network, op, weights)) return;
        sqz_use_chains(op, 0);
    }
    pack(network, op, weights);
}

/* Weights (channels, kernel) of a depthwise convolution -> the order of `depthwise` (kernels.h), chunk by chunk; and
 * the values that its sums begin with: the products of the zero point and the weights, negated. */
static void lay_out_depthwise(const sqz_network *network, const sqz_op *op, const layer *l, int32_t zero)
{
    const sqz_layout layout = sqz_layout_of(network, op);
    const sqz_kernels *k = sqz_kernels_for(network, op);
    const uint32_t padded = layout.vectors * k->lanes;
    uint8_t *weights = network->weights + op->weights;
    int32_t *initial = (int32_t *)(void *)(network->weights + op->initial);
    memset(weights, 0, layout.vectors * layout.vector_bytes);
    memset(initial, 0, padded * sizeof *initial);
    for (uint32_t o = 0; o < layout.outputs; o++) {
        const int32_t *levels = l->levels + o % op->out * l->each;
        const uint32_t slot = sqz_slot(k, o), chunk = slot / SQZ_CHUNK, lane = slot % SQZ_CHUNK;
        int32_t sum = 0;
        for (size_t tap = 0; tap < l->each; tap++) {
            const size_t row = (chunk * layout.lines + tap / k->taps * k->taps) * SQZ_CHUNK;
            sqz_store_weight(weights, row + lane * k->taps + tap % k->taps, k->bytes, levels + tap);
            sum += levels[tap];
        }
        initial[k->interleaved ? slot : o] = -zero * sum;
    }
}

/* The values that the integer sums of each output begin with.
 *
 * The kernels multiply stored activations q (less `centre`), and padding holds the zero point. The layer is defined on
 * x = q - zero, so sums begin with -(zero - centre) * (sum of the weights). */
static void lay_out_initial_sums(const sqz_network *network, const sqz_op *op, const layer *l, int32_t zero)
{
    const int32_t offset = zero - network->kernels->centre;
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t padded = (size_t)layout.vectors * network->kernels->lanes;
    int32_t *initial = (int32_t *)(void *)(network->weights + op->initial);
    memset(initial, 0, op->groups * padded * sizeof *initial);
    for (size_t o = 0; o < op->out; o++) {
        int32_t *start = initial + o / layout.outputs * padded + o % layout.outputs;
        int32_t sum = 0; /* 255 times its magnitude is below 2^31, which was checked */
        for (size_t i = 0; i < l->each; i++) sum += l->levels[o * l->each + i];
        *start = -offset * sum;
    }
}

int sqz_table(sqz_network *network, const sqz_op *op, sqz_cursor *c, uint8_t *memory)
{
    const sqz_shape list = {SQZ_TABLE, 1, 1, 1};
    int32_t *steps = (int32_t *)(void *)memory;
    int32_t entry = 0;
    sqz_take_levels(c, steps, list, memory + sqz_aligned(SQZ_TABLE * sizeof *steps));
    for (uint32_t i = 0; i < SQZ_TABLE && c->status == SQZ_OK; i++) {
        entry += steps[i];
        if (entry < 0 || entry > SQZ_HIGHEST) return c->status = SQZ_BAD_STREAM;
        network->weights[op->look_up + i] = (uint8_t)entry;
    }
    return c->status;
}

int sqz_integer_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory)
{
    const sqz_scale *from = &sqz_source(network, op)->scale, *to = &sqz_made(network, op)->scale;
    const layer l = take_layer(c, network, op, memory);
    sqz_factor *factors = (sqz_factor *)(void *)(network->weights + op->factors);
    uint8_t *weights = network->weights + op->weights;
    if (c->status == SQZ_OK) c->status = take_factors(&l, op, from, to, factors);
    if (c->status != SQZ_OK) return c->status;
    if (op->method == SQZ_PACKED) {
#ifdef SQZ_LISTS
        if (sqz_lay_out_lists(network, op, l.levels))
            op->work = sqz_list_layer;
        else
#endif
            lay_out_packed(network, op, (const uint32_t *)(const void *)l.levels);
        lay_out_initial_sums(network, op, &l, from->zero);
        lay_out_factors(network, op, factors);
    } else if (op->method == SQZ_DEPTHWISE) {
        lay_out_depthwise(network, op, &l, from->zero);
        lay_out_factors(network, op, factors);
    } else
        for (size_t i = 0; i < op->out * l.each; i++) sqz_store_weight(weights, i, 1, l.levels + i);
    return SQZ_OK;
}

int sqz_float_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory)
{
    const sqz_shape shape = sqz_weight_shape(network, op);
    const size_t weights = (size_t)shape.outputs * shape.inputs * shape.height * shape.width;
    float *found = (float *)(void *)memory, *biases = (float *)(void *)(network->weights + op->factors);
    memory += sqz_aligned(weights * sizeof *found);
    sqz_take_weight(c, found, shape, memory);
    sqz_take_floats(c, biases, op->out, memory);
    if (c->status != SQZ_OK) return c->status;
    if (op->method == SQZ_PACKED) {
        const sqz_layout layout = sqz_layout_of(network, op);
        const size_t padded = (size_t)layout.vectors * network->kernels->lanes;
        float *initial = (float *)(void *)(network->weights + op->initial);
        memset(initial, 0, op->groups * padded * sizeof *initial);
        for (size_t o = 0; o < op->out; o++) initial[o / layout.outputs * padded + o % layout.outputs] = biases[o];
        pack(network, op, (const uint32_t *)(const void *)found);
    } else if (sqz_is_depthwise(network, op)) { /* (channels, kernel) -> (kernel, channels) */
        float *to = (float *)(void *)(network->weights + op->weights);
        const size_t area = weights / op->out;
        for (size_t i = 0; i < weights; i++) to[i % area * op->out + i / area] = found[i];
    } else
        memcpy(network->weights + op->weights, found, weights * sizeof *found);
    return SQZ_OK;
}

void sqz_block_loaded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block)
{
    const sqz_op *op = task->op;
    const uint8_t *memory = task->network->weights;
    const size_t lanes = task->network->kernels->lanes, vector = (size_t)group * layout->vectors + first;
    const sqz_block found = {memory + op->weights + vector * sqz_vector_room(task->network, op, layout),
                             op->chains ? sqz_segments_of(task->network, op, layout, vector) : NULL,
                             memory + op->initial + vector * lanes * sizeof(int32_t),
                             (const int32_t *)(const void *)(memory + op->multipliers) + vector * lanes,
                             (const int64_t *)(const void *)(memory + op->offsets) + vector * lanes,
                             layout->vectors * lanes,
                             (const sqz_factor *)(const void *)(memory + op->factors),
                             group * layout->outputs + first * lanes};
    (void)vectors;
    *block = found;
}
