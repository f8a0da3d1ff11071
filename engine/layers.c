/* The weights of a layer: decoded, checked, and laid out for the path. */
#include "cursor.h"
#include "deep.h"
#include "fixed_point.h"
#include "layers.h"
#include "plan.h"
#include "tensors.h"

enum {
    MOST_LEVEL = 127,
    MOST_BIAS = 1 << 22,
    MOST_WEIGHT_EXPONENT = 4096,
    LEAST_SHIFT = 17,
    MOST_SHIFT = 32
};

/* What a layer is in the file. */
typedef struct {
    int32_t *levels, *exponents, *biases;
    size_t each; /* levels of one output */
} layer;

static void take_stream(sqz_cursor *c, int32_t *levels, sqz_shape shape, void *memory)
{
    const size_t size = sqz_take_varint(c, INT32_MAX);
    const uint8_t *bytes = sqz_take(c, size);
    if (bytes != NULL && sqz_levels_decode(bytes, size, levels, shape, memory) != SQZ_OK) sqz_fail(c, SQZ_BAD_STREAM);
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
    memory += sqz_aligned((op->out * found.each << sqz_source(network, op)->scale.deep) * sizeof *found.levels);
    take_stream(c, found.exponents, list, memory);
    take_stream(c, found.levels, shape, memory);
    take_stream(c, found.biases, list, memory);
    if (sqz_source(network, op)->scale.deep) found.each = sqz_both_halves(found.levels, op->out, found.each);
    return found;
}

/* Check a layer, and make the factor of each output. */
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
        const int64_t drop = to->exponent - from->exponent - exponent;
        if (largest > MOST_LEVEL || exponent > MOST_WEIGHT_EXPONENT || exponent < -MOST_WEIGHT_EXPONENT || bias >= MOST_BIAS ||
            bias <= -MOST_BIAS || drop < SQZ_LEAST_DROP || drop > SQZ_MOST_DROP || 255 * sum > INT32_MAX)
            return SQZ_BAD_STREAM;
        const int32_t shift = sqz_shift((int32_t)drop);
        factors[o].multiplier = sqz_multiplier((int32_t)drop);
        factors[o].shift = shift;
        factors[o].offset = bias * ((int64_t)1 << (shift - 4)) + ((int64_t)1 << (shift - 1));
        factors[o].offset += to->zero * ((int64_t)1 << shift); /* what is stored is x + zero */
        if (shift < LEAST_SHIFT || shift > MOST_SHIFT) op->vector = 0;
    }
    return SQZ_OK;
}

/* Where output `o` of a group stands among the offsets of its vector: first the even lanes, then the odd ones. */
static size_t offset_at(uint32_t o, uint32_t lanes)
{
    const uint32_t lane = o % lanes;
    return o - lane + lane / 2 + (lane % 2) * (lanes / 2);
}

/* Factors as vectors, those of each group beginning with a new vector; `padded` outputs a group. */
static void lay_out_factors(const sqz_network *network, const sqz_op *op, const sqz_factor *factors, uint32_t padded)
{
    const uint32_t outputs = op->method == SQZ_DEPTHWISE ? op->out : op->out / op->groups;
    const uint32_t groups = op->out / outputs, lanes = network->kernels->lanes;
    int32_t *multipliers = (int32_t *)(void *)(network->weights + op->multipliers);
    int64_t *offsets = (int64_t *)(void *)(network->weights + op->offsets);
    for (uint32_t group = 0; group < groups; group++)
        for (uint32_t o = 0; o < padded; o++) {
            const sqz_factor *f = factors + group * outputs + o;
            const int used = op->vector && o < outputs;
            const size_t first = (size_t)group * padded;
            multipliers[first + o] = used ? f->multiplier * (1 << (MOST_SHIFT - f->shift)) : 0;
            offsets[first + offset_at(o, lanes)] = used ? f->offset * ((int64_t)1 << (MOST_SHIFT - f->shift)) : 0;
        }
    if (network->values[op - network->ops + 1].scale.deep) sqz_upper_half(offsets, padded);
}

/* A weight in the form in which it is multiplied. */
static void store(uint8_t *at, size_t i, uint32_t bytes, const void *weight)
{
    int32_t level;
    memcpy(&level, weight, sizeof level);
    if (bytes == 4) /* a float */
        memcpy(at + 4 * i, weight, 4);
    else if (bytes == 2)
        ((int16_t *)(void *)at)[i] = (int16_t)level;
    else
        ((int8_t *)at)[i] = (int8_t)level;
}

/* One line of a kernel of one output: (inputs, area) -> `depth` products side by side, those of the other outputs of the
 * block between them and the next. */
static inline void pack_line(uint8_t *to, const uint32_t *weights, const sqz_op *op, size_t inputs, size_t depth,
                             size_t step, uint32_t bytes)
{
    const size_t area = (size_t)op->kernel[0] * op->kernel[1];
    size_t part = 0;
    for (size_t x = 0; x < op->kernel[1]; x++)
        for (size_t input = 0; input < inputs; input++) {
            store(to, part, bytes, weights + input * area + x);
            if (++part == depth) part = 0, to += step;
        }
}

/* Weights, levels or floats, as `sqz_tile` has them. */
static void pack(const sqz_network *network, const sqz_op *op, const uint32_t *weights)
{
    const sqz_layout layout = sqz_layout_of(network, op);
    const sqz_kernels *k = network->kernels;
    const size_t each = (size_t)layout.inputs * op->kernel[0] * op->kernel[1], place = (size_t)k->depth * k->bytes;
    memset(network->weights + op->weights, 0, (size_t)op->groups * layout.vectors * layout.taps);
    for (uint32_t group = 0; group < op->groups; group++)
        for (uint32_t block = 0; block < layout.blocks; block++) {
            const uint32_t first = sqz_first_vector(&layout, block) * k->lanes;
            const uint32_t width = sqz_first_vector(&layout, block + 1) * k->lanes - first;
            const size_t vector = (size_t)group * layout.vectors + first / k->lanes, step = width * place;
            uint8_t *to = network->weights + op->weights + vector * layout.taps;
            for (uint32_t o = first; o < first + width && o < layout.outputs; o++)
                for (size_t line = 0; line < op->kernel[0]; line++) {
                    const uint32_t *from = weights + ((size_t)group * layout.outputs + o) * each + line * op->kernel[1];
                    uint8_t *at = to + line * layout.run * step + (o - first) * place;
                    if (k->bytes == 1)
                        pack_line(at, from, op, layout.inputs, k->depth, step, 1);
                    else if (k->bytes == 2)
                        pack_line(at, from, op, layout.inputs, k->depth, step, 2);
                    else
                        pack_line(at, from, op, layout.inputs, k->depth, step, 4);
                }
        }
}

/* What the sums of each output begin with. Padding holds the zero of the input, which so counts as nothing. */
static void lay_out_starts(const sqz_network *network, const sqz_op *op, const layer *l, int32_t zero)
{
    const int32_t left = zero - network->kernels->centre; /* of the zero in what is multiplied */
    const sqz_layout layout = sqz_layout_of(network, op);
    const size_t padded = (size_t)layout.vectors * network->kernels->lanes;
    int32_t *starts = (int32_t *)(void *)(network->weights + op->starts);
    memset(starts, 0, op->groups * padded * sizeof *starts);
    for (size_t o = 0; o < op->out; o++) {
        int32_t *start = starts + o / layout.outputs * padded + o % layout.outputs;
        int32_t sum = 0; /* with 255 times it below 2^31, which was checked */
        for (size_t i = 0; i < l->each; i++) sum += l->levels[o * l->each + i];
        *start = -left * sum;
    }
}

int sqz_integer_layer(sqz_network *network, sqz_op *op, sqz_cursor *c, uint8_t *memory)
{
    const sqz_scale *from = &sqz_source(network, op)->scale, *to = &network->values[op - network->ops + 1].scale;
    const layer l = take_layer(c, network, op, memory);
    sqz_factor *factors = (sqz_factor *)(void *)(network->weights + op->factors);
    uint8_t *weights = network->weights + op->weights;
    if (c->status == SQZ_OK) c->status = take_factors(&l, op, from, to, factors);
    if (c->status != SQZ_OK) return c->status;
    if (op->method == SQZ_PACKED) {
        const sqz_layout layout = sqz_layout_of(network, op);
        pack(network, op, (const uint32_t *)(const void *)l.levels);
        lay_out_starts(network, op, &l, from->zero);
        lay_out_factors(network, op, factors, layout.vectors * network->kernels->lanes);
    } else if (op->method == SQZ_DEPTHWISE) { /* (kernel, channels) */
        for (size_t o = 0; o < op->out; o++)
            for (size_t tap = 0; tap < l.each; tap++) store(weights, tap * op->out + o, 1, l.levels + o * l.each + tap);
        lay_out_factors(network, op, factors, (uint32_t)sqz_aligned(op->out));
    } else
        for (size_t i = 0; i < op->out * l.each; i++) store(weights, i, 1, l.levels + i);
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
        float *starts = (float *)(void *)(network->weights + op->starts);
        memset(starts, 0, op->groups * padded * sizeof *starts);
        for (size_t o = 0; o < op->out; o++) starts[o / layout.outputs * padded + o % layout.outputs] = biases[o];
        pack(network, op, (const uint32_t *)(const void *)found);
    } else
        memcpy(network->weights + op->weights, found, weights * sizeof *found);
    return SQZ_OK;
}
