/* Reads the scales of an untrusted file, and checks that the operations can compute with them. */
#include "fixed_point.h"
#include "graph.h"

#define MOST_EXPONENT 255          /* largest magnitude of a scale exponent */
#define MOST_STORED_EXPONENT 4096u /* the largest that is read; `scales_fit` then applies MOST_EXPONENT */
#define WIDE 256u                  /* in the file, instead of a zero point: the value is wide */
#define NINE_BIT 257u              /* in the file, instead of a zero point: the value has 9 bits */

static sqz_scale take_scale(sqz_cursor *c)
{
    const uint32_t folded = sqz_take_varint(c, 2 * MOST_STORED_EXPONENT), zero = sqz_take_varint(c, NINE_BIT);
    const sqz_scale scale = {sqz_unfold(folded), (int32_t)(zero < WIDE ? zero : 0), zero == WIDE, zero == NINE_BIT};
    return scale;
}

static int same_scale(const sqz_scale *a, const sqz_scale *b)
{
    return a->exponent == b->exponent && a->zero == b->zero && a->wide == b->wide && a->nine_bit == b->nine_bit;
}

/* Whether the file has a scale for the result of an operation. */
static int has_scale(const sqz_op *op)
{
    return sqz_is_layer(op) || op->kind == SQZ_ADD || op->kind == SQZ_MULTIPLY || op->kind == SQZ_ACTIVATION;
}

/* Whether an operation may read or make a 9-bit value. */
static int allows_nine_bits(const sqz_op *op)
{
    switch (op->kind) {
    case SQZ_CONVOLUTION: return op->groups == 1;
    case SQZ_ADAPTIVE_POOL: return op->maximum;
    case SQZ_LINEAR:
    case SQZ_RELU:
    case SQZ_MAX_POOL:
    case SQZ_SELECT:
    case SQZ_UPSAMPLE:
    case SQZ_FLATTEN: return 1;
    default: return 0;
    }
}

static int allowed(int32_t rescaling)
{
    return rescaling >= SQZ_LEAST_RESCALING && rescaling <= SQZ_MOST_RESCALING;
}

static int scales_fit(const sqz_network *network, const sqz_op *op, const sqz_scale *result)
{
    int32_t product = result->exponent;
    if (op->kind == SQZ_NORMALISATION || op->kind == SQZ_LAYER_NORM) return 0; /* have no integer form */
    if (result->wide && has_scale(op) && !sqz_is_layer(op)) return 0;
    for (uint32_t i = 0; i < op->inputs; i++) {
        const sqz_scale *x = &network->values[network->inputs[op->first_input + i]].scale;
        if (x->wide && op->kind != SQZ_FLATTEN) return 0;
        if ((x->nine_bit || result->nine_bit) && !allows_nine_bits(op)) return 0;
        if (op->kind == SQZ_ADD && !allowed(result->exponent - x->exponent)) return 0;
        if (op->kind == SQZ_CONCAT && !same_scale(x, result)) return 0;
        product -= x->exponent;
    }
    if (op->kind == SQZ_MULTIPLY && !allowed(product)) return 0;
    return result->exponent >= -MOST_EXPONENT && result->exponent <= MOST_EXPONENT;
}

int sqz_graph_scales(sqz_cursor *c, sqz_network *network)
{
    for (uint32_t v = 0; v <= network->op_count && c->status == SQZ_OK; v++) {
        const sqz_op *op = v > 0 ? network->ops + v - 1 : NULL;
        sqz_scale *scale = &network->values[v].scale;
        if (op == NULL || has_scale(op))
            *scale = take_scale(c);
        else {
            *scale = sqz_source(network, op)->scale;
            if (op->kind == SQZ_GLOBAL_AVERAGE && sqz_take_varint(c, 1) == 1) {
                scale->exponent -= SQZ_FINER;
                scale->zero = 0;
                scale->wide = 1;
            }
        }
    }
    const sqz_scale *image = &network->values[0].scale;
    if (image->wide || image->nine_bit || network->values[network->op_count].scale.nine_bit ||
        image->exponent < -MOST_EXPONENT || image->exponent > MOST_EXPONENT)
        sqz_fail(c, SQZ_BAD_GRAPH);
    for (uint32_t v = 1; v <= network->op_count; v++)
        if (!scales_fit(network, network->ops + v - 1, &network->values[v].scale)) sqz_fail(c, SQZ_BAD_GRAPH);
    for (uint32_t v = 0; v <= network->op_count; v++) network->values[v].channels <<= network->values[v].scale.nine_bit;
    return c->status;
}
