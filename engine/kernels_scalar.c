/* The path of every machine: no vectors but those a compiler makes by itself. */
#include "kernels.h"

#define SQZ_TARGET
#include "loops.h"

enum { LANES = 8, DEPTH = 4 };

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES;
    int32_t *sums = out;
    for (uint32_t place = 0; place < t->places; place++, sums += width) {
        const int8_t *w = t->weights;
        memcpy(sums, t->starts, width * sizeof *sums);
        for (size_t row = 0; row < t->rows; row++) {
            const uint8_t *x = t->lines[row] + t->at + place * t->step;
            for (size_t i = 0; i < t->run; i++, x += DEPTH)
                for (uint32_t o = 0; o < width; o++, w += DEPTH)
                    sums[o] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
        }
    }
}

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    for (uint32_t place = 0; place < places; place++, sums += r->vectors * LANES, out += step)
        for (uint32_t o = 0; o < r->outputs; o++) {
            const int64_t offset = r->offsets[o / LANES * LANES + o % LANES / 2 + o % 2 * (LANES / 2)];
            const int64_t level = ((int64_t)sums[o] * r->multipliers[o] + offset) >> 32;
            out[o] = (uint8_t)(level < r->low ? r->low : level > r->high ? r->high : level);
        }
}

static void widen(void *line, const uint8_t *x, size_t n)
{
    memcpy(line, x, n);
}

const sqz_kernels sqz_scalar = {
    LANES, DEPTH, 1, 0, {0, 8, 8, 8, 8}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

static void multiply_floats(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES;
    float *sums = out;
    for (uint32_t place = 0; place < t->places; place++, sums += width) {
        const float *w = t->weights;
        memcpy(sums, t->starts, width * sizeof *sums);
        for (size_t row = 0; row < t->rows; row++) {
            const float *x = (const float *)(const void *)(t->lines[row] + t->at + place * t->step);
            for (size_t i = 0; i < t->run; i++, w += width)
                for (uint32_t o = 0; o < width; o++) sums[o] += x[i] * w[o];
        }
    }
}

const sqz_kernels sqz_scalar_floats = {
    LANES, 1, 4, 0, {0, 8, 8, 8, 8}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
