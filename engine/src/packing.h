/* How the weights and factors of an output are laid out for a path. */
#ifndef SQZ_PACKING_H
#define SQZ_PACKING_H

#include <string.h>

#include "fixed_point.h"
#include "plan.h"

enum { SQZ_VECTOR_SHIFT = 32 }; /* the shift of all factors in the vector form */

/* Store weight i, a level or the bits of a float, in `bytes` bytes. */
static inline void sqz_store_weight(uint8_t *at, size_t i, uint32_t bytes, const void *weight)
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

/* The weights of one output in one line: (inputs, area) -> (packs, depth). Packs lie `step` bytes apart: between them
 * are the packs of the other outputs of the block. */
static inline void pack_line(uint8_t *to, const uint32_t *weights, const sqz_layout *layout, size_t area, size_t depth,
                             size_t step, uint32_t bytes)
{
    size_t part = 0;
    for (size_t x = 0; x < layout->across; x++)
        for (size_t input = 0; input < layout->inputs; input++) {
            sqz_store_weight(to, part, bytes, weights + input * area + x);
            if (++part == depth) part = 0, to += step;
        }
}

/* Write the weights of one output of a group, (inputs, kernel) levels or floats, in the order of `sqz_tile`: as
 * output `o` of a block whose packs are `step` bytes apart. `area`: number of kernel positions. */
static inline void sqz_pack_output(uint8_t *to, const uint32_t *weights, const sqz_kernels *k, const sqz_layout *layout,
                                   size_t area, uint32_t o, size_t step)
{
    uint8_t *at = to + (size_t)o * k->depth * k->bytes;
    for (size_t line = 0; line < layout->lines; line++, at += layout->packs * step, weights += layout->across) {
        if (k->bytes == 1)
            pack_line(at, weights, layout, area, k->depth, step, 1);
        else if (k->bytes == 2)
            pack_line(at, weights, layout, area, k->depth, step, 2);
        else
            pack_line(at, weights, layout, area, k->depth, step, 4);
    }
}

/* Index of the offset of output `o` of a group (sqz_rescale): even lanes of a vector first, then odd lanes. */
static inline size_t sqz_offset_at(uint32_t o, uint32_t lanes)
{
    const uint32_t lane = o % lanes;
    return o - lane + lane / 2 + (lane % 2) * (lanes / 2);
}

/* The factor of an output from its rescaling exponent and its bias; `zero`: the zero point of the result. */
static inline sqz_factor sqz_factor_of(int32_t rescaling, int32_t bias, int32_t zero)
{
    const int32_t shift = sqz_shift(rescaling);
    sqz_factor f = {bias * ((int64_t)1 << (shift - 4)) + ((int64_t)1 << (shift - 1)), sqz_multiplier(rescaling), shift};
    f.offset += zero * ((int64_t)1 << shift); /* a stored element is q = x + zero */
    return f;
}

#endif
