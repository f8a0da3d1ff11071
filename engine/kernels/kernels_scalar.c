/* The portable path: no vectors but those that a compiler makes by itself. */
#include "kernels.h"

enum { LANES = 8, DEPTH = 4 };

#define SQZ_TARGET
#define LINE uint8_t
#define LINE_WEIGHT int8_t
#include "loops.h"

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES;
    int32_t *sums = out;
    for (uint32_t position = 0; position < t->positions; position++, sums += width) {
        const int8_t *w = t->weights;
        memcpy(sums, t->initial, width * sizeof *sums);
        for (size_t row = 0; row < t->rows; row++) {
            const uint8_t *x = t->lines[row] + t->begin + position * t->stride;
            for (size_t i = 0; i < t->packs; i++, x += DEPTH)
                for (uint32_t o = 0; o < width; o++, w += DEPTH)
                    sums[o] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
        }
    }
}

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    for (uint32_t position = 0; position < positions; position++, sums += r->vectors * LANES, out += step)
        for (uint32_t o = 0; o < r->outputs; o++) {
            const int64_t offset = r->offsets[o / LANES * LANES + o % LANES / 2 + o % 2 * (LANES / 2)];
            const int64_t level = ((int64_t)sums[o] * r->multipliers[o] + offset) >> 32;
            out[o] = (uint8_t)(level < r->low ? r->low : level > r->high ? r->high : level);
        }
}

const sqz_kernels sqz_scalar = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 1,
    .positions = {0, 8, 8, 8, 8},
    .multiply = multiply,
    .rescale = rescale,
    .taps = 1,
    .depthwise = depthwise,
    .widen = widen_to_bytes,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};

#ifndef SQZ_NO_FLOATS
static void multiply_floats(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES;
    float *sums = out;
    for (uint32_t position = 0; position < t->positions; position++, sums += width) {
        const float *w = t->weights;
        memcpy(sums, t->initial, width * sizeof *sums);
        for (size_t row = 0; row < t->rows; row++) {
            const float *x = (const float *)(const void *)(t->lines[row] + t->begin + position * t->stride);
            for (size_t i = 0; i < t->packs; i++, w += width)
                for (uint32_t o = 0; o < width; o++) sums[o] += x[i] * w[o];
        }
    }
}

const sqz_kernels sqz_scalar_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 8, 8, 8, 8}, .multiply = multiply_floats};
#endif
